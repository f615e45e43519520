//! The log's folder on a real disk: plain positioned reads and writes, and fdatasync. One server at a time.

use crate::log::Disk;
use rustix::fs::{FlockOperation, fdatasync, flock, ftruncate};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Holds the lock of the server that writes; nothing is in it.
const LOCK_NAME: &str = "lock";

/// Events may be private.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A folder with the segments of one log.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    folder: File,
    /// Locked for as long as it is open; `None`: only to be looked at.
    _lock: Option<File>,
}

impl Folder {
    /// Makes the folder if it is missing, and takes it for this process alone.
    ///
    /// # Errors
    /// One sentence for the operator: it cannot be made or written to, or another server has it.
    pub fn take(path: &Path) -> Result<Folder, String> {
        let shown = path.display();
        let failed = |what: &str, error: &io::Error| {
            format!(
                "storage.dir: {shown} cannot be {what}: {error}; durable channels need a folder of their own that this user may write to"
            )
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE).create(path).map_err(|error| failed("made", &error))?;
        let folder = File::open(path).map_err(|error| failed("opened", &error))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(FILE_MODE);
        let lock = options.open(path.join(LOCK_NAME)).map_err(|error| failed("written to", &error))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(format!("storage.dir: {shown} is in use by another server; each needs its own"));
        }
        Ok(Folder { path: path.to_owned(), folder, _lock: Some(lock) })
    }

    /// Only to look at; a server may be writing meanwhile.
    ///
    /// # Errors
    /// There is no such folder, or it may not be read.
    pub fn look(path: &Path) -> io::Result<Folder> {
        let folder = File::open(path)?;
        if !folder.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(Folder { path: path.to_owned(), folder, _lock: None })
    }
}

impl Disk for Folder {
    type File = File;

    fn names(&mut self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn create(&mut self, name: &str) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(FILE_MODE).open(self.path.join(name))
    }

    fn open(&mut self, name: &str) -> io::Result<File> {
        let path = self.path.join(name);
        match OpenOptions::new().read(true).write(true).open(&path) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                File::open(&path)
            }
            outcome => outcome,
        }
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.folder.sync_all()
    }

    fn length(&mut self, file: &File) -> io::Result<u64> {
        Ok(file.metadata()?.len())
    }

    fn read_at(&mut self, file: &File, at: u64, into: &mut [u8]) -> io::Result<usize> {
        file.read_at(into, at)
    }

    fn write_at(&mut self, file: &File, at: u64, bytes: &[u8]) -> io::Result<usize> {
        file.write_at(bytes, at)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        Ok(fdatasync(file)?)
    }

    fn cut(&mut self, file: &File, length: u64) -> io::Result<()> {
        Ok(ftruncate(file, length)?)
    }
}
