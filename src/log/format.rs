//! Bytes to records, and back: the layout that the room's page shows. Slices in, values out; whatever the
//! bytes are, nothing panics, and what does not carry the right checksum is nothing.

use crate::event::{CHANNEL_BYTES_MAX, Channel, Position};

/// Where the records begin: a page of its own for the headers, which are written again only to mark the segment.
pub const RECORDS_AT: u64 = 4096;
/// Records begin at multiples of it, and places are written down in units of it.
pub const ALIGN: u64 = 8;
/// A record up to its channel, in bytes.
pub const RECORD_HEAD_BYTES: usize = 56;
/// The longest record in bytes: the largest event that the settings allow (64 MiB), and room for the rest.
pub const RECORD_BYTES_MAX: usize = 65 << 20;
/// Longer ones of the strings that are carried along are left out: together they must fit into that room.
const DETAIL_BYTES_MAX: usize = 64 * 1024;

/// A byte that no UTF-8 text has: an event cannot contain a record.
const RECORD_MAGIC: u32 = u32::from_le_bytes([0xff, b'C', b'r', 1]);

const FLAG_ROUTER: u8 = 1;

const KIND_EVENT: u8 = 1;
const KIND_SEALED: u8 = 2;
const KIND_STOPPED: u8 = 3;

/// What a publisher said beside the text, as far as it outlives the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Details<'e> {
    /// The text is an event object of the router dialect.
    pub router: bool,
    /// Who it is for.
    pub target: Option<&'e str>,
    /// What it answers.
    pub correlation_id: Option<&'e str>,
    /// W3C trace context.
    pub traceparent: Option<&'e str>,
}

/// One event as the log keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'e> {
    /// Where it was published; a valid name.
    pub channel: &'e str,
    /// Its place there.
    pub position: Position,
    /// When the server took it, in Unix milliseconds.
    pub at_ms: u64,
    /// Not to be delivered from then on, in Unix milliseconds; 0: never expires.
    pub expires_ms: u64,
    /// 1 to 10.
    pub priority: u8,
    /// The rest.
    pub details: Details<'e>,
    /// Byte for byte as it was published.
    pub text: &'e str,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'e> {
    /// An event.
    Event(Entry<'e>),
    /// The segment is complete; the log goes on in the next.
    Sealed,
    /// The server stopped, and everything that anybody saw is stored.
    Stopped,
}

/// A record that checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked<'e> {
    /// What it says.
    pub record: Record<'e>,
    /// How many bytes of the file it takes, padding included.
    pub bytes: u64,
    /// Up to here the file was known to be synced when it was written.
    pub synced: u64,
}

/// Appends a record, without its checksum and its place ([`finish`]).
pub fn encode(record: &Record<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + RECORD_HEAD_BYTES, 0);
    let kind = match record {
        Record::Event(_) => KIND_EVENT,
        Record::Sealed => KIND_SEALED,
        Record::Stopped => KIND_STOPPED,
    };
    if let Record::Event(entry) = record {
        encode_entry(entry, start, out);
    }
    let length = out.len() - start;
    let head = &mut out[start..];
    head[0..4].copy_from_slice(&RECORD_MAGIC.to_le_bytes());
    head[8..12].copy_from_slice(&(length as u32).to_le_bytes());
    head[12] = kind;
    out.resize(start + length.next_multiple_of(ALIGN as usize), 0);
}

fn encode_entry(entry: &Entry<'_>, start: usize, out: &mut Vec<u8>) {
    debug_assert!(Channel::check(entry.channel).is_ok());
    out.extend_from_slice(entry.channel.as_bytes());
    let details_at = out.len();
    let Details { router, target, correlation_id, traceparent } = entry.details;
    for (tag, value) in [(1, target), (2, correlation_id), (3, traceparent)] {
        if let Some(value) = value.filter(|value| value.len() <= DETAIL_BYTES_MAX) {
            out.push(tag);
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value.as_bytes());
        }
    }
    let details = (out.len() - details_at) as u32;
    out.extend_from_slice(entry.text.as_bytes());
    let head = &mut out[start..];
    head[13] = entry.channel.len() as u8;
    head[14] = entry.priority;
    head[15] = u8::from(router) * FLAG_ROUTER;
    head[16..20].copy_from_slice(&entry.position.epoch.to_le_bytes());
    head[24..32].copy_from_slice(&entry.position.offset.to_le_bytes());
    head[32..40].copy_from_slice(&entry.at_ms.to_le_bytes());
    head[40..48].copy_from_slice(&entry.expires_ms.to_le_bytes());
    head[48..52].copy_from_slice(&details.to_le_bytes());
}

/// Completes the record that begins `bytes` for its place: how far the file is synced, and the checksum. Answers its
/// length with the padding.
pub fn finish(bytes: &mut [u8], id: u64, at: u64, synced: u64) -> usize {
    let length = u32_at(bytes, 8) as usize;
    bytes[20..24].copy_from_slice(&((synced / ALIGN) as u32).to_le_bytes());
    let sum = checksum(&bytes[8..length], id, at);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    length.next_multiple_of(ALIGN as usize)
}

/// The file and the place count: a record that stands elsewhere is not one.
fn checksum(bytes: &[u8], id: u64, at: u64) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&id.to_le_bytes());
    place[8..].copy_from_slice(&at.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), bytes)
}

/// How long the record at the start of `bytes` says that it is, without padding; `None` when there is none. Believed
/// only after [`check`].
#[must_use]
pub fn length(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < RECORD_HEAD_BYTES || u32_at(bytes, 0) != RECORD_MAGIC {
        return None;
    }
    let length = u32_at(bytes, 8) as usize;
    (RECORD_HEAD_BYTES..=RECORD_BYTES_MAX).contains(&length).then_some(length)
}

/// Whether a record may begin here: a look before [`length`].
#[must_use]
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&RECORD_MAGIC.to_le_bytes())
}

/// Reads the record that begins `bytes` and stands at `at` in the segment `id`; `None` when it is not whole.
#[must_use]
pub fn check(bytes: &[u8], id: u64, at: u64) -> Option<Checked<'_>> {
    let length = length(bytes)?;
    let bytes = bytes.get(..length)?;
    if checksum(&bytes[8..], id, at) != u32_at(bytes, 4) {
        return None;
    }
    let record = match bytes[12] {
        KIND_EVENT => Record::Event(decode_entry(bytes)?),
        KIND_SEALED => Record::Sealed,
        KIND_STOPPED => Record::Stopped,
        _ => return None,
    };
    let synced = u64::from(u32_at(bytes, 20)) * ALIGN;
    Some(Checked { record, bytes: (length as u64).next_multiple_of(ALIGN), synced })
}

/// Everything is looked at again, though it carries the checksum: it is what a guest of the folder could forge.
fn decode_entry(bytes: &[u8]) -> Option<Entry<'_>> {
    let (head, body) = bytes.split_at(RECORD_HEAD_BYTES);
    let channel_bytes = usize::from(head[13]);
    if channel_bytes > CHANNEL_BYTES_MAX {
        return None;
    }
    let (channel, body) = body.split_at_checked(channel_bytes)?;
    let (details, text) = body.split_at_checked(u32_at(head, 48) as usize)?;
    let channel = std::str::from_utf8(channel).ok().filter(|name| Channel::check(name).is_ok())?;
    let priority = Some(head[14]).filter(|priority| (1..=10).contains(priority))?;
    Some(Entry {
        channel,
        position: Position { epoch: u32_at(head, 16), offset: u64_at(head, 24) },
        at_ms: u64_at(head, 32),
        expires_ms: u64_at(head, 40),
        priority,
        details: decode_details(details, head[15] & FLAG_ROUTER != 0)?,
        text: std::str::from_utf8(text).ok()?,
    })
}

fn decode_details(mut bytes: &[u8], router: bool) -> Option<Details<'_>> {
    let mut details = Details { router, ..Details::default() };
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at_checked(5)?;
        let (value, rest) = rest.split_at_checked(u32_at(head, 1) as usize)?;
        let value = Some(std::str::from_utf8(value).ok()?);
        match head[0] {
            1 => details.target = value,
            2 => details.correlation_id = value,
            3 => details.traceparent = value,
            _ => return None,
        }
        bytes = rest;
    }
    Some(details)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}
