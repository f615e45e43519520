//! Opens a log in whatever state the last run left it: looks through every segment, rebuilds the index, cuts torn tails
//! off, and begins a segment of this run. Decides whether channels may go on with their numbering.

use super::disk::{Disk, read_full};
use super::format::{RECORDS_AT, Record};
use super::header::{BadHeader, Header, VERSION};
use super::index::Place;
use super::scan::{Found, Scan};
use super::segment::{self, Segment};
use super::store::{Draw, Log, Options};
use crate::event::Channel;
use crate::stdx::clock::Now;
use std::{fmt, io};

/// Why a log cannot be opened. Nothing was changed.
#[derive(Debug)]
pub enum OpenError {
    /// A segment has a later format.
    Newer {
        /// The file.
        name: String,
        /// Its format.
        version: u16,
    },
    /// The disk does not let us.
    Disk {
        /// What it was asked for.
        what: String,
        /// What it said.
        cause: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Newer { name, version } => write!(
                f,
                "{name} was written by a later version of Courier (format {version}, this one reads up to {VERSION}): \
                 start that version, or name another folder in storage.dir"
            ),
            OpenError::Disk { what, cause } => write!(f, "{what}: {cause}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// What opening has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Segments that count.
    pub segments: usize,
    /// Events in them.
    pub events: u64,
    /// The last run stopped by itself, with everything stored.
    pub stopped: bool,
    /// What does not check though it was synced; never delivered.
    pub damaged: Vec<Hole>,
    /// What was being written when the last run ended; no one was told that it is stored.
    pub torn: Vec<Hole>,
    /// Files under a segment's name that are none, or whose headers are damaged. Left alone.
    pub foreign: Vec<String>,
    /// The segment of this run could not be made: events are not stored until that succeeds.
    pub unwritable: Option<String>,
}

/// Bytes of a segment that are no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The file.
    pub name: String,
    /// The first byte.
    pub from: u64,
    /// The first byte behind it.
    pub to: u64,
}

/// What a segment turned out to be.
pub(super) enum Looked<F> {
    Segment(Box<Segment<F>>),
    Blank,
    Foreign,
}

/// How a segment ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Sealed,
    Stopped,
}

/// Opens the log in a folder, which may be empty.
///
/// # Errors
/// A segment of a later format, or a folder that cannot be read. A disk that cannot be written to is a finding.
pub fn open<D: Disk>(
    disk: D,
    options: Options,
    draw: Draw,
    now: Now,
) -> Result<(Log<D>, Findings), OpenError> {
    let mut log = Log::new(disk, options, draw);
    let mut findings = Findings::default();
    let numbers = numbers(&mut log.disk)?;
    let mut newest = None;
    let mut blank = Vec::new();
    let mut broken_from = 0;
    for &number in &numbers {
        let before = (findings.damaged.len(), findings.torn.len());
        let end = match look(&mut log, number)? {
            Looked::Blank => {
                blank.push(number);
                continue;
            }
            Looked::Foreign => {
                findings.foreign.push(segment::name(number));
                broken_from = number;
                continue;
            }
            Looked::Segment(mut segment) => {
                let end = walk(&mut log, &mut segment, &mut findings)?;
                findings.events += segment.records;
                segment.file = None;
                log.segments.push_back(*segment);
                end
            }
        };
        if before != (findings.damaged.len(), findings.torn.len()) {
            broken_from = number;
        }
        newest = Some(end);
    }
    log.next_number = numbers.last().map_or(1, |last| last + 1);
    settle(&mut log, newest, broken_from, &mut findings);
    findings.segments = log.segments.len();
    if let Err(error) = log.begin_segment(now) {
        findings.unwritable = Some(error.to_string());
        return Ok((log, findings));
    }
    clear(&mut log, &blank);
    Ok((log, findings))
}

/// Decides from which segment on numbering goes on: that which the newest says, unless something was lost since then.
fn settle<D: Disk>(log: &mut Log<D>, newest: Option<End>, broken_from: u32, findings: &mut Findings) {
    let Some(end) = newest else { return };
    let header = log.segments.back().expect("the newest is among them").header;
    findings.stopped = end == End::Stopped;
    let whole = !header.spoiled && (end == End::Stopped || (header.held && end == End::Open));
    let goes_on = whole && broken_from < header.continues_from.max(1);
    log.continues_from = if goes_on { header.continues_from } else { log.next_number };
}

/// The numbers of all segments, in order.
pub(super) fn numbers<D: Disk>(disk: &mut D) -> Result<Vec<u32>, OpenError> {
    let names =
        disk.names().map_err(|cause| OpenError::Disk { what: "the folder cannot be read".into(), cause })?;
    let mut numbers: Vec<u32> = names.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn look<D: Disk>(log: &mut Log<D>, number: u32) -> Result<Looked<D::File>, OpenError> {
    let name = segment::name(number);
    let failed = |cause| OpenError::Disk { what: format!("{name} cannot be read"), cause };
    let file = log.disk.open(&name).map_err(failed)?;
    let bytes = log.disk.length(&file).map_err(failed)?;
    let mut page = vec![0; RECORDS_AT as usize];
    let read = read_full(&mut log.disk, &file, 0, &mut page).map_err(failed)?;
    page.truncate(read);
    let header = match Header::read(&page) {
        Ok((header, _)) => header,
        Err(BadHeader::Blank) => {
            let mut rest = Scan::new(0, RECORDS_AT, bytes);
            let empty = rest.next(&mut log.disk, &file).map_err(failed)? == Found::End;
            return Ok(if empty { Looked::Blank } else { Looked::Foreign });
        }
        Err(BadHeader::Newer(version)) => return Err(OpenError::Newer { name, version }),
        Err(BadHeader::Foreign) => return Ok(Looked::Foreign),
    };
    if header.number != number {
        return Ok(Looked::Foreign);
    }
    let (end, synced) = (RECORDS_AT, RECORDS_AT);
    let segment = Segment { header, end, bytes, records: 0, newest_ms: 0, synced, file: Some(file) };
    Ok(Looked::Segment(Box::new(segment)))
}

/// Notes every record of a segment, and every hole.
fn walk<D: Disk>(
    log: &mut Log<D>,
    segment: &mut Segment<D::File>,
    findings: &mut Findings,
) -> Result<End, OpenError> {
    let name = segment::name(segment.header.number);
    let mut scan = Scan::new(segment.header.id, RECORDS_AT, segment.bytes);
    let mut holes: Vec<Hole> = Vec::new();
    let mut synced = RECORDS_AT;
    let mut end = End::Open;
    loop {
        let found = scan
            .next(&mut log.disk, segment.file.as_ref().expect("it was opened"))
            .map_err(|cause| OpenError::Disk { what: format!("{name} cannot be read"), cause })?;
        let (at, checked) = match found {
            Found::Record(at, checked) => (at, checked),
            Found::Hole { from, to } => {
                holes.push(Hole { name: name.clone(), from, to });
                continue;
            }
            Found::End => break,
        };
        segment.end = at + checked.bytes;
        synced = synced.max(checked.synced);
        match checked.record {
            Record::Sealed => end = End::Sealed,
            Record::Stopped => end = End::Stopped,
            Record::Event(entry) => {
                end = End::Open;
                let channel =
                    Channel::parse(entry.channel).expect("a record that checks has a valid channel");
                let place = Place { segment: segment.header.number, at };
                segment.records += 1;
                segment.newest_ms = segment.newest_ms.max(entry.at_ms);
                log.index.add(&channel, entry.position, entry.at_ms, place);
            }
        }
    }
    for hole in holes {
        if hole.from < synced { findings.damaged.push(hole) } else { findings.torn.push(hole) }
    }
    segment.synced = segment.end;
    Ok(end)
}

/// Removes what holds nothing, and what is behind the last records. A disk that does not let us is left as it is.
fn clear<D: Disk>(log: &mut Log<D>, blank: &[u32]) {
    for number in blank {
        let _ = log.disk.remove(&segment::name(*number));
    }
    let Log { segments, disk, .. } = log;
    let own = segments.back().map(|segment| segment.header.number);
    segments.retain_mut(|segment| {
        let number = segment.header.number;
        if Some(number) == own {
            return true;
        }
        if segment.records == 0
            && segment.end == segment.synced
            && disk.remove(&segment::name(number)).is_ok()
        {
            return false;
        }
        if segment.bytes > segment.end
            && let Ok(file) = disk.open(&segment::name(number))
        {
            segment.file = Some(file);
            segment.cut(disk);
            segment.file = None;
        }
        true
    });
}
