//! The head of a segment: what counts for all of its records, twice, in the layout that the room's page shows.

use super::format::{RECORDS_AT, u32_at, u64_at};

/// The layout that this code writes, and the newest that it reads.
pub const VERSION: u16 = 1;

/// The header's length in bytes; it stands at each of [`HEADER_PLACES`].
pub const HEADER_BYTES: usize = 64;
/// Two copies, in different sectors of any disk that writes at least 512 bytes at once.
pub const HEADER_PLACES: [u64; 2] = [0, 2048];
const HEADER_MAGIC: [u8; 8] = *b"\xffCOURLOG";

const FLAG_HELD: u16 = 1;
const FLAG_SPOILED: u16 = 2;

/// What stands at the head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Grows from segment to segment; also in the file's name.
    pub number: u32,
    /// Drawn at random; part of every checksum, so that no record of another file counts.
    pub id: u64,
    /// When it was made, in Unix milliseconds.
    pub made_ms: u64,
    /// Nobody saw an event before it was synced (`fsync: always`).
    pub held: bool,
    /// Somebody saw events that are not stored.
    pub spoiled: bool,
    /// Channels whose last record stands in an older segment than this do not go on with their epoch.
    pub continues_from: u32,
}

/// Why a file is not a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadHeader {
    /// Nothing was ever written into it.
    Blank,
    /// Written by a later version of Courier, in this format.
    Newer(u16),
    /// Something else, or both copies are damaged.
    Foreign,
}

impl Header {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&HEADER_MAGIC);
        bytes[12..14].copy_from_slice(&VERSION.to_le_bytes());
        let flags = u16::from(self.held) * FLAG_HELD + u16::from(self.spoiled) * FLAG_SPOILED;
        bytes[14..16].copy_from_slice(&flags.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.number.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.continues_from.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.made_ms.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[12..]);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads one copy. Later versions keep the magic, the checksum and the version where they are.
    fn decode(bytes: &[u8]) -> Result<Header, BadHeader> {
        let bytes: &[u8; HEADER_BYTES] =
            bytes.get(..HEADER_BYTES).and_then(|bytes| bytes.try_into().ok()).ok_or(BadHeader::Foreign)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(BadHeader::Blank);
        }
        if bytes[..8] != HEADER_MAGIC || crc32c::crc32c(&bytes[12..]) != u32_at(bytes, 8) {
            return Err(BadHeader::Foreign);
        }
        let version = u16_at(bytes, 12);
        if version > VERSION {
            return Err(BadHeader::Newer(version));
        }
        let flags = u16_at(bytes, 14);
        Ok(Header {
            number: u32_at(bytes, 16),
            continues_from: u32_at(bytes, 20),
            id: u64_at(bytes, 24),
            made_ms: u64_at(bytes, 32),
            held: flags & FLAG_HELD != 0,
            spoiled: flags & FLAG_SPOILED != 0,
        })
    }

    /// Reads the page before the records: the first copy that is whole. Also answers whether the other one is damaged.
    ///
    /// # Errors
    /// No copy is whole.
    pub fn read(page: &[u8]) -> Result<(Header, bool), BadHeader> {
        let copies = HEADER_PLACES.map(|at| Header::decode(page.get(at as usize..).unwrap_or_default()));
        match copies {
            [Err(newer @ BadHeader::Newer(_)), _] | [_, Err(newer @ BadHeader::Newer(_))] => Err(newer),
            // A mark stands in one of them if the power went while it was made.
            [Ok(one), Ok(other)] => {
                Ok((Header { spoiled: one.spoiled || other.spoiled, ..one }, one != other))
            }
            [Ok(header), Err(_)] | [Err(_), Ok(header)] => Ok((header, true)),
            [Err(BadHeader::Blank), Err(BadHeader::Blank)] => Err(BadHeader::Blank),
            // It was made, and the power went.
            _ if is_unfinished(page) => Err(BadHeader::Blank),
            _ => Err(BadHeader::Foreign),
        }
    }

    /// The page before the records.
    #[must_use]
    pub fn page(&self) -> Vec<u8> {
        let mut page = vec![0; RECORDS_AT as usize];
        for at in HEADER_PLACES {
            page[at as usize..at as usize + HEADER_BYTES].copy_from_slice(&self.encode());
        }
        page
    }
}

/// Nothing but beginnings of headers.
fn is_unfinished(page: &[u8]) -> bool {
    let outside = |at: usize| {
        HEADER_PLACES.iter().all(|place| !(0..HEADER_BYTES).contains(&at.wrapping_sub(*place as usize)))
    };
    let begins = |at: u64| {
        let copy = page.get(at as usize..).unwrap_or_default();
        let magic = copy.iter().zip(HEADER_MAGIC).take_while(|(byte, magic)| *byte == magic).count();
        copy.iter().take(HEADER_MAGIC.len()).skip(magic).all(|byte| *byte == 0)
    };
    HEADER_PLACES.into_iter().all(begins)
        && page.iter().enumerate().all(|(at, byte)| *byte == 0 || !outside(at))
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
