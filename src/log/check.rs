//! Looks through a log that nobody serves, without changing it: what `courier log` shows.

use super::disk::{Disk, read_full};
use super::format::{Entry, RECORDS_AT, Record};
use super::header::{BadHeader, Header};
use super::recovery::{Hole, OpenError, numbers};
use super::scan::{Found, Scan};
use super::segment;
use std::io;

/// What one segment turned out to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The file.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Whole events.
    pub events: u64,
    /// When the first and the last of them were taken, in Unix milliseconds.
    pub taken_ms: Option<(u64, u64)>,
    /// How it ends, or what else it is.
    pub ends: &'static str,
    /// Bytes that do not check though they were synced.
    pub damaged: Vec<Hole>,
    /// Bytes that were being written when the server ended.
    pub torn: Vec<Hole>,
    /// It is no segment that this version can read.
    pub unreadable: bool,
}

/// Looks at every segment, the oldest first, and hands out every whole event.
///
/// # Errors
/// The folder or a file cannot be read.
pub fn each<D: Disk>(disk: &mut D, mut event: impl FnMut(&Entry<'_>)) -> Result<Vec<Report>, OpenError> {
    let mut reports = Vec::new();
    for number in numbers(disk)? {
        let name = segment::name(number);
        let failed = |cause| OpenError::Disk { what: format!("{name} cannot be read"), cause };
        reports.push(look(disk, number, &mut event).map_err(failed)?);
    }
    Ok(reports)
}

/// [`each`] without the events.
///
/// # Errors
/// As for [`each`].
pub fn check<D: Disk>(disk: &mut D) -> Result<Vec<Report>, OpenError> {
    each(disk, |_| {})
}

fn look<D: Disk>(disk: &mut D, number: u32, event: &mut impl FnMut(&Entry<'_>)) -> io::Result<Report> {
    let name = segment::name(number);
    let file = disk.open(&name)?;
    let bytes = disk.length(&file)?;
    let mut page = vec![0; RECORDS_AT as usize];
    let read = read_full(disk, &file, 0, &mut page)?;
    let mut report = Report { name, bytes, ..Report::default() };
    match Header::read(&page[..read]) {
        Ok((header, _)) if header.number == number => walk(disk, &file, header, &mut report, event)?,
        Err(BadHeader::Blank) => report.ends = "never used",
        Err(BadHeader::Newer(_)) => {
            (report.ends, report.unreadable) = ("of a later version of Courier", true)
        }
        _ => (report.ends, report.unreadable) = ("not a segment, or its headers are damaged", true),
    }
    Ok(report)
}

fn walk<D: Disk>(
    disk: &mut D,
    file: &D::File,
    header: Header,
    report: &mut Report,
    event: &mut impl FnMut(&Entry<'_>),
) -> io::Result<()> {
    let mut scan = Scan::new(header.id, RECORDS_AT, report.bytes);
    let (mut holes, mut synced) = (Vec::new(), 0);
    report.ends = if header.spoiled { "open, and something was not stored" } else { "open" };
    loop {
        match scan.next(disk, file)? {
            Found::End => break,
            Found::Hole { from, to } => holes.push(Hole { name: report.name.clone(), from, to }),
            Found::Record(_, checked) => {
                synced = synced.max(checked.synced);
                match checked.record {
                    Record::Sealed => report.ends = "sealed",
                    Record::Stopped => report.ends = "stopped",
                    Record::Event(entry) => {
                        let first = report.taken_ms.map_or(entry.at_ms, |(first, _)| first);
                        report.taken_ms = Some((first, entry.at_ms));
                        report.events += 1;
                        event(&entry);
                    }
                }
            }
        }
    }
    (report.damaged, report.torn) = holes.into_iter().partition(|hole| hole.from < synced);
    Ok(())
}
