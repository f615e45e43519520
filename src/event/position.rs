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
        const HEX: &[u8; 16] = b"0123456789abcdef";
        for shift in (0..8).rev() {
            out.push(HEX[(self.epoch >> (shift * 4)) as usize & 0xf]);
        }
        out.push(b'-');
        write_decimal(self.offset, out);
    }
}

/// Appends `n` in decimal.
pub(crate) fn write_decimal(mut n: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
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
