//! Where an event stands in its channel: `<epoch>-<offset>` (contract 1).

use std::fmt;

/// Eight hex digits that name the channel's numbering, and a number that grows by one per event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Drawn at random when the owner starts numbering the channel.
    pub epoch: u32,
    /// 1 for the first event of the epoch.
    pub offset: u64,
}

/// The longest text form: 8 hex digits, a hyphen, 20 decimal digits.
pub const POSITION_BYTES_MAX: usize = 29;

impl Position {
    /// Reads the text form: the inverse of [`Position::write`].
    pub fn parse(text: &str) -> Option<Position> {
        let (epoch, offset) = text.split_once('-')?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let sound = epoch.len() == 8
            && epoch.bytes().all(lower_hex)
            && !offset.is_empty()
            && offset.bytes().all(|b| b.is_ascii_digit());
        sound
            .then_some(Position { epoch: u32::from_str_radix(epoch, 16).ok()?, offset: offset.parse().ok()? })
    }

    /// Appends the text form without allocating.
    pub fn write(self, out: &mut Vec<u8>) {
        let [a, b, c, d, e, f, g, h] = hex(self.epoch);
        out.extend_from_slice(&[a, b, c, d, e, f, g, h, b'-']);
        write_decimal(self.offset, out);
    }
}

/// Eight hex digits, made together: each half-byte in a byte of its own.
#[inline]
fn hex(n: u32) -> [u8; 8] {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut halves = u64::from(n);
    halves = (halves | halves << 16) & 0x0000_ffff_0000_ffff;
    halves = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    halves = (halves | halves << 4) & (ONES * 0x0f);
    // 1 in each that is above nine, which goes on with letters.
    let letters = (halves + ONES * 6) >> 4 & ONES;
    (halves + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10)).to_be_bytes()
}

/// Appends `n` in decimal.
#[inline]
pub(crate) fn write_decimal(n: u64, out: &mut Vec<u8>) {
    if n < 10 {
        return out.push(b'0' + n as u8);
    }
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_are_written() {
        let ends = (0..20).map(|power| 10u64.pow(power)).flat_map(|n| [n - 1, n, n + 1, n.saturating_mul(2)]);
        for n in ends.chain(0..1_100).chain([u64::MAX]) {
            let mut out = b"=".to_vec();
            write_decimal(n, &mut out);
            assert_eq!(out, format!("={n}").into_bytes());
        }
    }

    #[test]
    fn every_digit_of_an_epoch_is_written_at_every_place() {
        for place in 0..8 {
            for digit in 0..16u32 {
                for around in [0, u32::MAX, 0x9a9a_9a9a] {
                    let n = around & !(0xf << (place * 4)) | digit << (place * 4);
                    assert_eq!(hex(n), *format!("{n:08x}").as_bytes());
                }
            }
        }
    }

    #[test]
    fn both_ways_of_writing_agree() {
        for (epoch, offset) in [(0, 0), (1, 1), (0xdead_beef, 10), (u32::MAX, u64::MAX)] {
            let position = Position { epoch, offset };
            let mut out = Vec::new();
            position.write(&mut out);
            assert_eq!(out, position.to_string().into_bytes());
            assert!(out.len() <= POSITION_BYTES_MAX);
        }
    }
}
