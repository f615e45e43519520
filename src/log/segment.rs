//! One file of the log: made with its header and some room behind it, written at its end, closed for good. A segment is
//! written by one run of the server only; what a crash has left of it is never written to again.

use super::disk::{Disk, write_all};
use super::format::{self, RECORDS_AT, Record};
use super::header::{HEADER_PLACES, Header};
use std::io;

/// Zeros that are written ahead of the records: syncing what replaces them needs no change of the file's length or of its
/// blocks, which halves the time of a sync (0.13 ms against 0.29 ms where this was measured).
const RUNWAY_BYTES: u64 = 4 << 20;
/// The first ones of a segment; a log that gets a record a day stays small.
const FIRST_RUNWAY_BYTES: u64 = 256 * 1024;
/// Zeros of one write.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The name of a segment's file.
#[must_use]
pub fn name(number: u32) -> String {
    format!("{number:010}{ENDING}")
}

const ENDING: &str = ".courierlog";

/// The number in the name, if that is one of a segment.
#[must_use]
pub fn number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(ENDING)?;
    (digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// A segment that is there.
pub(super) struct Segment<F> {
    pub header: Header,
    /// Where the records end.
    pub end: u64,
    /// Bytes of the file, as far as they are taken.
    pub bytes: u64,
    pub records: u64,
    /// When the newest of its events was taken, in Unix milliseconds.
    pub newest_ms: u64,
    /// Where the synced records end.
    pub synced: u64,
    /// Open while it is written, and while it is read.
    pub file: Option<F>,
}

impl<F> Segment<F> {
    /// Makes it, with its header on the disk.
    pub fn create<D: Disk<File = F>>(disk: &mut D, header: Header, bytes_max: u64) -> io::Result<Segment<F>> {
        let name = name(header.number);
        let made = disk.create(&name).and_then(|file| {
            let room = (RECORDS_AT + FIRST_RUNWAY_BYTES).min(bytes_max.max(RECORDS_AT));
            write_all(disk, &file, 0, &header.page())?;
            write_zeros(disk, &file, RECORDS_AT, room)?;
            disk.sync(&file)?;
            disk.sync_names()?;
            Ok((file, room))
        });
        match made {
            Ok((file, bytes)) => {
                let (end, synced) = (RECORDS_AT, RECORDS_AT);
                Ok(Segment { header, end, bytes, records: 0, newest_ms: 0, synced, file: Some(file) })
            }
            Err(error) => {
                // The space that it took is what others lack.
                let _ = disk.remove(&name);
                Err(error)
            }
        }
    }

    /// Completes the records in `bytes` for their place and writes them. They count only when [`Segment::wrote`] is
    /// called after it.
    pub fn write<D: Disk<File = F>>(
        &mut self,
        disk: &mut D,
        bytes: &mut [u8],
        bytes_max: u64,
    ) -> io::Result<()> {
        let mut place = 0;
        while place < bytes.len() {
            place +=
                format::finish(&mut bytes[place..], self.header.id, self.end + place as u64, self.synced);
        }
        let end = self.end + bytes.len() as u64;
        if end > self.bytes {
            let runway = (end + RUNWAY_BYTES).min(bytes_max).max(end);
            // Without it the records may still fit, and if not, their own write fails.
            let _ = write_zeros(disk, self.file(), self.bytes, runway);
            self.bytes = runway;
        }
        write_all(disk, self.file(), self.end, bytes)
    }

    pub fn wrote(&mut self, bytes: usize) {
        self.end += bytes as u64;
    }

    pub fn sync<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        if self.synced < self.end {
            disk.sync(self.file())?;
            self.synced = self.end;
        }
        Ok(())
    }

    /// Says that all of it is stored, and cuts it off behind that.
    pub fn close<D: Disk<File = F>>(&mut self, disk: &mut D, last: &Record<'_>) -> io::Result<()> {
        self.sync(disk)?;
        let mut bytes = Vec::new();
        format::encode(last, &mut bytes);
        self.write(disk, &mut bytes, u64::MAX)?;
        self.wrote(bytes.len());
        self.sync(disk)?;
        self.cut(disk);
        self.file = None;
        Ok(())
    }

    /// Gives up what is behind the records; a disk that will not is left alone.
    pub fn cut<D: Disk<File = F>>(&mut self, disk: &mut D) {
        if disk.cut(self.file(), self.end).is_ok() {
            self.bytes = self.end;
        }
    }

    /// Notes in the header that somebody saw events which are not stored. The blocks are the file's own already, so that a
    /// full disk takes it.
    pub fn spoil<D: Disk<File = F>>(&mut self, disk: &mut D) -> io::Result<()> {
        let header = Header { spoiled: true, ..self.header };
        if self.file.is_none() {
            self.file = Some(disk.open(&name(self.header.number))?);
        }
        for at in HEADER_PLACES {
            write_all(disk, self.file(), at, &header.encode())?;
        }
        disk.sync(self.file())?;
        self.header = header;
        Ok(())
    }

    pub fn file(&self) -> &F {
        self.file.as_ref().expect("it is open while it is written")
    }
}

fn write_zeros<D: Disk>(disk: &mut D, file: &D::File, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let length = (to - from).min(ZEROS.len() as u64);
        write_all(disk, file, from, &ZEROS[..length as usize])?;
        from += length;
    }
    Ok(())
}
