//! A disk that lies as real ones do: what was not synced may be lost after a power loss, sector by sector, a write may be
//! cut within a sector, files may come and go, a write may be short, space may run out, a sync may fail and forget what
//! it was asked for. And a bit may flip in what was safe.

use crate::dice::Dice;
use courier::log::Disk;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::rc::Rc;

const SECTOR: usize = 512;

/// A handle of the one disk; the log holds another.
#[derive(Clone)]
pub struct LyingDisk(Rc<RefCell<Platter>>);

pub struct Platter {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    safe_names: BTreeMap<String, usize>,
    dice: Dice,
    /// Calls until the power goes.
    pub power: Option<u64>,
    /// Bytes that files may still grow by.
    pub space: u64,
    /// In so many of a hundred syncs.
    pub sync_fails: u64,
    /// In so many of a hundred writes.
    pub short_writes: u64,
    /// Nothing may be made, written or removed.
    pub read_only: bool,
}

#[derive(Default)]
struct Inode {
    /// What reads give.
    now: Vec<u8>,
    /// What a power loss leaves.
    safe: Vec<u8>,
    /// Sectors on their way from one to the other.
    dirty: BTreeSet<usize>,
}

impl LyingDisk {
    pub fn new(dice: Dice) -> LyingDisk {
        LyingDisk(Rc::new(RefCell::new(Platter {
            files: Vec::new(),
            names: BTreeMap::new(),
            safe_names: BTreeMap::new(),
            dice,
            power: None,
            space: u64::MAX,
            sync_fails: 0,
            short_writes: 0,
            read_only: false,
        })))
    }

    pub fn with<R>(&self, act: impl FnOnce(&mut Platter) -> R) -> R {
        act(&mut self.0.borrow_mut())
    }

    pub fn is_dead(&self) -> bool {
        self.with(|platter| platter.power == Some(0))
    }
}

impl Platter {
    /// The power goes, and comes back.
    pub fn lose_power(&mut self) {
        self.power = None;
        for inode in &mut self.files {
            inode.crash(&mut self.dice);
        }
        let mut names = self.safe_names.clone();
        let both = self.names.keys().chain(self.safe_names.keys()).cloned().collect::<BTreeSet<_>>();
        for name in both.into_iter().filter(|_| self.dice.chance(50)) {
            match self.names.get(&name) {
                Some(inode) => names.insert(name, *inode),
                None => names.remove(&name),
            };
        }
        self.names.clone_from(&names);
        self.safe_names = names;
    }

    /// One bit of a file changes, by itself. Answers whether there was one.
    pub fn flip(&mut self) -> bool {
        let full: Vec<usize> =
            self.names.values().copied().filter(|inode| !self.files[*inode].safe.is_empty()).collect();
        if full.is_empty() {
            return false;
        }
        let inode = &mut self.files[*self.dice.pick(&full)];
        // Where there is something: most of a new file is zeros.
        let written: Vec<usize> = (0..inode.safe.len()).filter(|at| inode.safe[*at] != 0).collect();
        if written.is_empty() {
            return false;
        }
        let at = *self.dice.pick(&written);
        inode.safe[at] ^= 1 << self.dice.below(8);
        inode.now[at] = inode.safe[at];
        true
    }

    fn call(&mut self) -> io::Result<()> {
        match &mut self.power {
            Some(0) => Err(io::Error::other("the power is gone")),
            Some(calls) => {
                *calls -= 1;
                if *calls == 0 { Err(io::Error::other("the power goes")) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    fn change(&mut self) -> io::Result<()> {
        self.call()?;
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

impl Inode {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        if self.now.len() < at + bytes.len() {
            self.now.resize(at + bytes.len(), 0);
        }
        self.now[at..at + bytes.len()].copy_from_slice(bytes);
        self.dirty.extend(at / SECTOR..(at + bytes.len()).div_ceil(SECTOR));
    }

    /// One sector becomes safe, or so much of it.
    fn keep(&mut self, sector: usize, bytes: usize) {
        let from = sector * SECTOR;
        let to = (from + bytes).min(self.now.len());
        if from >= to {
            return;
        }
        if self.safe.len() < to {
            self.safe.resize(to, 0);
        }
        self.safe[from..to].copy_from_slice(&self.now[from..to]);
    }

    fn sync(&mut self) {
        for sector in std::mem::take(&mut self.dirty) {
            self.keep(sector, SECTOR);
        }
        self.safe.resize(self.now.len(), 0);
    }

    /// Some of it becomes safe, and nobody remembers that the rest is not.
    fn fail_to_sync(&mut self, dice: &mut Dice) {
        for sector in std::mem::take(&mut self.dirty) {
            if dice.chance(50) {
                self.keep(sector, SECTOR);
            }
        }
    }

    fn crash(&mut self, dice: &mut Dice) {
        let share = *dice.pick(&[0, 50, 90, 100]);
        let length = if dice.chance(50) { self.now.len() } else { self.safe.len() };
        for sector in std::mem::take(&mut self.dirty) {
            if dice.chance(share) {
                let cut = if dice.chance(10) { dice.below(SECTOR) } else { SECTOR };
                self.keep(sector, cut);
            }
        }
        self.safe.resize(length.max(self.safe.len().min(length)), 0);
        self.now.clone_from(&self.safe);
    }
}

impl Disk for LyingDisk {
    type File = usize;

    fn names(&mut self) -> io::Result<Vec<String>> {
        self.with(|platter| platter.call().map(|()| platter.names.keys().cloned().collect()))
    }

    fn create(&mut self, name: &str) -> io::Result<usize> {
        self.with(|platter| {
            platter.change()?;
            if platter.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            platter.files.push(Inode::default());
            platter.names.insert(name.to_owned(), platter.files.len() - 1);
            Ok(platter.files.len() - 1)
        })
    }

    fn open(&mut self, name: &str) -> io::Result<usize> {
        self.with(|platter| {
            platter.call()?;
            platter.names.get(name).copied().ok_or(io::ErrorKind::NotFound.into())
        })
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.with(|platter| {
            platter.change()?;
            let inode = platter.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
            platter.space = platter.space.saturating_add(platter.files[inode].now.len() as u64);
            Ok(())
        })
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.with(|platter| {
            platter.call()?;
            platter.safe_names.clone_from(&platter.names);
            Ok(())
        })
    }

    fn length(&mut self, file: &usize) -> io::Result<u64> {
        self.with(|platter| platter.call().map(|()| platter.files[*file].now.len() as u64))
    }

    fn read_at(&mut self, file: &usize, at: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|platter| {
            platter.call()?;
            let rest = platter.files[*file].now.get(at as usize..).unwrap_or_default();
            let mut length = rest.len().min(into.len());
            if length > 1 && platter.dice.chance(platter.short_writes) {
                length = 1 + platter.dice.below(length);
                length = length.min(rest.len()).min(into.len());
            }
            into[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        })
    }

    fn write_at(&mut self, file: &usize, at: u64, bytes: &[u8]) -> io::Result<usize> {
        self.with(|platter| {
            let alive = platter.change();
            let length = platter.files[*file].now.len() as u64;
            let room = length.max(at).saturating_add(platter.space).saturating_sub(at);
            let mut taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            if alive.is_err() || (taken > 1 && platter.dice.chance(platter.short_writes)) {
                taken = platter.dice.below(taken.max(1) + 1).min(taken);
            }
            if alive.is_err() && platter.power != Some(0) || platter.read_only {
                return Err(alive.expect_err("it was not allowed"));
            }
            if taken == 0 {
                return Err(alive.err().unwrap_or(io::ErrorKind::StorageFull.into()));
            }
            if platter.power != Some(0)
                || alive.as_ref().is_err_and(|error| error.to_string().contains("goes"))
            {
                platter.files[*file].write(at as usize, &bytes[..taken]);
                let grown = (platter.files[*file].now.len() as u64).saturating_sub(length);
                platter.space -= grown;
            }
            alive.map(|()| taken)
        })
    }

    fn sync(&mut self, file: &usize) -> io::Result<()> {
        self.with(|platter| {
            platter.change()?;
            let Platter { files, dice, sync_fails, .. } = platter;
            if dice.chance(*sync_fails) {
                *sync_fails = 0;
                files[*file].fail_to_sync(dice);
                return Err(io::Error::other("input/output error"));
            }
            files[*file].sync();
            Ok(())
        })
    }

    fn cut(&mut self, file: &usize, length: u64) -> io::Result<()> {
        self.with(|platter| {
            platter.change()?;
            let inode = &mut platter.files[*file];
            let freed = inode.now.len().saturating_sub(length as usize);
            inode.dirty.extend(length as usize / SECTOR..inode.now.len().div_ceil(SECTOR));
            inode.now.truncate(length as usize);
            platter.space = platter.space.saturating_add(freed as u64);
            Ok(())
        })
    }
}
