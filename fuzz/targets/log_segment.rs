//! A folder with any bytes in its segments: opening, reading back and checking never panic, and nothing comes out that was
//! not put in with its checksum. With a prefix that a real log wrote, which then has bytes changed.
#![no_main]
use courier::event::{Channel, Position};
use courier::log::{Details, Disk, Entry, From, Log, Options, Wanted, check, open};
use courier::stdx::clock::Now;
use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

/// Files in memory.
#[derive(Clone, Default)]
struct Memory(Rc<RefCell<BTreeMap<String, Vec<u8>>>>);

impl Disk for Memory {
    type File = String;
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.0.borrow().keys().cloned().collect())
    }
    fn create(&mut self, name: &str) -> io::Result<String> {
        self.0.borrow_mut().insert(name.to_owned(), Vec::new());
        Ok(name.to_owned())
    }
    fn open(&mut self, name: &str) -> io::Result<String> {
        Ok(name.to_owned())
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.0.borrow_mut().remove(name);
        Ok(())
    }
    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn length(&mut self, file: &String) -> io::Result<u64> {
        Ok(self.0.borrow()[file].len() as u64)
    }
    fn read_at(&mut self, file: &String, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let files = self.0.borrow();
        let rest = files[file].get(at as usize..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
    fn write_at(&mut self, file: &String, at: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut files = self.0.borrow_mut();
        let content = files.get_mut(file).expect("it was opened");
        let end = at as usize + bytes.len();
        content.resize(content.len().max(end), 0);
        content[at as usize..end].copy_from_slice(bytes);
        Ok(bytes.len())
    }
    fn sync(&mut self, _: &String) -> io::Result<()> {
        Ok(())
    }
    fn cut(&mut self, file: &String, length: u64) -> io::Result<()> {
        self.0.borrow_mut().get_mut(file).expect("it was opened").truncate(length as usize);
        Ok(())
    }
}

const NOW: Now = Now { steady_us: 1, unix_ms: 1 };
const TEXT: &str = r#"{"n":1}"#;

fn start(disk: &Memory) -> Option<Log<Memory>> {
    open(disk.clone(), Options::default(), Box::new(|| 7), NOW).ok().map(|(log, _)| log)
}

fn written() -> Memory {
    let disk = Memory::default();
    let mut log = start(&disk).expect("an empty folder opens");
    let channel = Channel::parse("c").expect("a name");
    for offset in 1..=8 {
        let position = Position { epoch: 1, offset };
        let (details, text) = (Details { target: Some("t"), ..Details::default() }, TEXT);
        let entry =
            Entry { channel: "c", position, at_ms: offset, expires_ms: 0, priority: 5, details, text };
        log.append(&channel, &entry);
    }
    log.commit(NOW, true).expect("memory takes it");
    disk
}

fuzz_target!(|data: &[u8]| {
    let disk = written();
    if let Some((&[first, at_low, at_high, length], patch)) = data.split_first_chunk::<4>() {
        let mut files = disk.0.borrow_mut();
        let content = files.values_mut().next().expect("a segment was written");
        let at = usize::from(u16::from_le_bytes([at_low, at_high])) % 6_000;
        if first % 3 == 0 {
            content.truncate(at);
        }
        let end = (at + patch.len().min(usize::from(length) * 16)).min(content.len());
        if at < end {
            content[at..end].copy_from_slice(&patch[..end - at]);
        }
        if first % 5 == 0 {
            files.insert("0000000002.courierlog".to_owned(), patch.to_vec());
        }
    }
    let _ = check(&mut disk.clone());
    let Some(mut log) = start(&disk) else { return };
    let wanted = Wanted { from: From::Offset(0), below: u64::MAX, events_max: 100, bytes_max: 1 << 20 };
    let mut last = 0;
    let read = log.read("c", wanted, |entry| {
        assert_eq!((entry.text, entry.position.epoch, entry.at_ms), (TEXT, 1, entry.position.offset));
        assert!(entry.position.offset > last);
        last = entry.position.offset;
    });
    read.expect("memory reads");
    log.stop(NOW).expect("memory takes it");
});
