//! What the log asks of a disk: one folder of files, written at places and forced to the platter. The real one is in
//! `runtime`, a lying one in the crash simulation. Errors are the system's own, for the operator to read.

use std::io;

/// One folder. No other process writes into it meanwhile.
pub trait Disk {
    /// An open file. Dropping it closes it.
    type File;

    /// The names of all files in the folder, in any order.
    fn names(&mut self) -> io::Result<Vec<String>>;
    /// Makes an empty file, to be read and written; one of that name must not exist.
    fn create(&mut self, name: &str) -> io::Result<Self::File>;
    /// Opens a file, to be read and written; to be read only where that is not allowed.
    fn open(&mut self, name: &str) -> io::Result<Self::File>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Makes sure that files made and removed before stay so after a power loss.
    fn sync_names(&mut self) -> io::Result<()>;
    /// The file's length in bytes.
    fn length(&mut self, file: &Self::File) -> io::Result<u64>;
    /// Reads at a place; fewer bytes than asked for only at the end of the file (zero behind it).
    fn read_at(&mut self, file: &Self::File, at: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Writes at a place, and may write less than all, but never nothing without an error.
    fn write_at(&mut self, file: &Self::File, at: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Makes sure that what was written before stays after a power loss, and the length with it.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// Cuts the file off.
    fn cut(&mut self, file: &Self::File, length: u64) -> io::Result<()>;
}

/// Writes all bytes.
pub(super) fn write_all<D: Disk>(
    disk: &mut D,
    file: &D::File,
    mut at: u64,
    mut bytes: &[u8],
) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match disk.write_at(file, at, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        at += written as u64;
        bytes = &bytes[written..];
    }
    Ok(())
}

/// Reads until `into` is full or the file ends; answers how many bytes.
pub(super) fn read_full<D: Disk>(
    disk: &mut D,
    file: &D::File,
    at: u64,
    into: &mut [u8],
) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match disk.read_at(file, at + filled as u64, &mut into[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
