//! The log over files in memory: what it says about folders that are not as it left them. Crashes are played in
//! `tests/crash`.

use super::*;
use crate::event::{
    BadEvent, Channel, DEAD_LETTERS, DEPTH_MAX, Event, Extras, Facts, Position, Priority, Text,
};
use crate::stdx::clock::Now;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

const NOW: Now = Now { steady_us: 5_000_000, unix_ms: 1_000_000 };

#[derive(Clone, Default)]
struct Memory {
    files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    read_only: bool,
    /// Nothing that is not there already.
    full: Rc<Cell<bool>>,
    broken: Rc<Cell<bool>>,
}

impl Memory {
    fn allowed(&self) -> io::Result<()> {
        match self.broken.get() {
            true => Err(io::Error::other("it is broken")),
            false if self.read_only => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            false => Ok(()),
        }
    }

    fn has_room(&self, file: &str, end: usize) -> io::Result<()> {
        let length = self.files.borrow().get(file).map(Vec::len);
        let fits = !self.full.get() || length.is_some_and(|length| end <= length);
        if fits { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        change(self.files.borrow_mut().entry(name.to_owned()).or_default());
    }
}

impl Disk for Memory {
    type File = String;
    fn names(&mut self) -> io::Result<Vec<String>> {
        Ok(self.files.borrow().keys().cloned().collect())
    }
    fn create(&mut self, name: &str) -> io::Result<String> {
        self.allowed()?;
        self.has_room(name, 0)?;
        self.change(name, |_| {});
        Ok(name.to_owned())
    }
    fn open(&mut self, name: &str) -> io::Result<String> {
        Ok(name.to_owned())
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.allowed()?;
        self.files.borrow_mut().remove(name).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }
    fn sync_names(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn length(&mut self, file: &String) -> io::Result<u64> {
        Ok(self.files.borrow()[file].len() as u64)
    }
    fn read_at(&mut self, file: &String, at: u64, into: &mut [u8]) -> io::Result<usize> {
        let files = self.files.borrow();
        let rest = files[file].get(at as usize..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
    fn write_at(&mut self, file: &String, at: u64, bytes: &[u8]) -> io::Result<usize> {
        self.allowed()?;
        let end = at as usize + bytes.len();
        self.has_room(file, end)?;
        self.change(file, |content| {
            content.resize(content.len().max(end), 0);
            content[at as usize..end].copy_from_slice(bytes);
        });
        Ok(bytes.len())
    }
    fn sync(&mut self, _: &String) -> io::Result<()> {
        Ok(())
    }
    fn cut(&mut self, file: &String, length: u64) -> io::Result<()> {
        self.allowed()?;
        self.change(file, |content| content.truncate(length as usize));
        Ok(())
    }
}

/// Of each event of [`publish`]: 56 bytes, a name of one, a text of seven.
const RECORD_BYTES: usize = 64;

const FIRST: &str = "0000000001.courierlog";

fn open_in(disk: &Memory, held: bool) -> Result<(Log<Memory>, Findings), OpenError> {
    let mut id = 40;
    let draw = Box::new(move || {
        id += 1;
        id
    });
    let options = Options { held, age_max_ms: 10_000, ..Options::default() };
    open(disk.clone(), options, draw, NOW)
}

fn publish(log: &mut Log<Memory>, offset: u64, at_ms: u64) {
    append(log, offset, at_ms);
    log.commit(NOW, true).unwrap();
}

fn append(log: &mut Log<Memory>, offset: u64, at_ms: u64) {
    let text = format!(r#"{{"n":{offset}}}"#);
    let position = Position { epoch: 0xabc, offset };
    let details = Details::default();
    let entry = Entry { channel: "c", position, at_ms, expires_ms: 0, priority: 5, details, text: &text };
    log.append(&Channel::parse("c").unwrap(), &entry);
}

fn offsets(log: &mut Log<Memory>) -> Vec<u64> {
    let mut offsets = Vec::new();
    let wanted = Wanted { from: From::Offset(0), below: u64::MAX, events_max: 1_000, bytes_max: 1 << 20 };
    log.read("c", wanted, |entry| {
        assert_eq!(entry.text, format!(r#"{{"n":{}}}"#, entry.position.offset));
        offsets.push(entry.position.offset);
    })
    .unwrap();
    offsets
}

fn with_three(held: bool) -> (Memory, Log<Memory>) {
    let disk = Memory::default();
    let (mut log, findings) = open_in(&disk, held).unwrap();
    assert_eq!(findings, Findings::default());
    (1..=3).for_each(|offset| publish(&mut log, offset, 1_000_000));
    (disk, log)
}

#[test]
fn any_flipped_bit_costs_one_event_and_is_found() {
    let (disk, log) = with_three(true);
    drop(log);
    let whole = disk.files.borrow()[FIRST].clone();
    for bit in 0..3 * RECORD_BYTES * 8 {
        let at = 4096 + bit / 8;
        disk.change(FIRST, |content| content.clone_from(&whole));
        disk.change(FIRST, |content| content[at] ^= 1 << (bit % 8));
        disk.files.borrow_mut().retain(|name, _| name == FIRST);
        let (mut log, findings) = open_in(&disk, true).unwrap();
        let left = offsets(&mut log);
        assert_eq!(left.len(), 2, "bit {bit}: {left:?}");
        assert_eq!(findings.damaged.len() + findings.torn.len(), 1, "bit {bit}");
        let known = log.channels().next().unwrap();
        assert!(!known.continues, "a hole may hide an event that was seen");
    }
}

#[test]
fn numbering_goes_on_after_a_stop_and_after_any_end_when_nothing_was_seen_early() {
    for (held, stopped, continues) in [(true, false, true), (false, false, false), (false, true, true)] {
        let (disk, log) = with_three(held);
        if stopped {
            log.stop(NOW).unwrap()
        } else {
            drop(log)
        }
        let (mut log, findings) = open_in(&disk, held).unwrap();
        assert_eq!((findings.stopped, findings.events), (stopped, 3));
        assert_eq!(offsets(&mut log), [1, 2, 3]);
        let known = log.channels().next().unwrap();
        assert_eq!((known.last, known.continues), (Position { epoch: 0xabc, offset: 3 }, continues));
        // And what did not go on does not go on later, however well the runs between have stopped.
        log.stop(NOW).unwrap();
        let (log, _) = open_in(&disk, held).unwrap();
        assert_eq!(log.channels().next().unwrap().continues, continues);
    }
}

/// On a busy machine all of it waited at once, was one segment, and went at once, but for the little that came after it.
#[test]
fn most_of_the_bound_is_left_when_the_oldest_go_however_much_has_waited() {
    let options = Options { bytes_max: 1 << 20, ..Options::default() };
    let mut log = open(Memory::default(), options, Box::new(|| 7), NOW).unwrap().0;
    for offset in 1..=50_000 {
        append(&mut log, offset, NOW.unix_ms);
        if log.batch_is_full() {
            log.commit(NOW, false).unwrap();
        }
    }
    assert_eq!(log.retain(NOW).unwrap().len(), 1);
    assert!((512 << 10..=1 << 20).contains(&log.bytes()), "{} bytes", log.bytes());
}

#[test]
fn a_later_version_is_refused_by_name_and_left_alone() {
    let (disk, log) = with_three(true);
    drop(log);
    disk.change(FIRST, |content| {
        for place in [0, 2048] {
            content[place + 12] = 2;
            let sum = crc32c::crc32c(&content[place + 12..place + 64]);
            content[place + 8..place + 12].copy_from_slice(&sum.to_le_bytes());
        }
    });
    let before = disk.files.borrow().clone();
    let error = open_in(&disk, true).err().unwrap().to_string();
    assert!(
        error.contains(FIRST) && error.contains("later version") && error.contains("format 2"),
        "{error}"
    );
    assert_eq!(*disk.files.borrow(), before);
}

#[test]
fn foreign_and_truncated_files_are_told_and_the_rest_is_read() {
    let (disk, log) = with_three(true);
    drop(log);
    disk.change(FIRST, |content| content.truncate(4096 + 2 * RECORD_BYTES + 30));
    disk.change("0000000007.courierlog", |content| content.extend_from_slice(b"not a log"));
    disk.change("notes.txt", |content| content.extend_from_slice(b"mine"));
    let (mut log, findings) = open_in(&disk, true).unwrap();
    assert_eq!(findings.foreign, ["0000000007.courierlog"]);
    assert_eq!(findings.torn.len(), 1);
    assert_eq!(offsets(&mut log), [1, 2]);
    assert!(disk.files.borrow().contains_key("0000000008.courierlog"), "numbers do not repeat");
    assert_eq!(disk.files.borrow()["0000000007.courierlog"], b"not a log");
    let reports = check(&mut disk.clone()).unwrap();
    assert!(reports[1].unreadable && reports[0].events == 2);
}

#[test]
fn a_damaged_header_costs_nothing_while_its_copy_is_whole() {
    let (disk, log) = with_three(true);
    drop(log);
    disk.change(FIRST, |content| content[..64].fill(0x55));
    assert_eq!(offsets(&mut open_in(&disk, true).unwrap().0), [1, 2, 3]);
}

#[test]
fn a_folder_that_may_only_be_read_is_read_and_told() {
    let (mut disk, log) = with_three(true);
    drop(log);
    disk.read_only = true;
    let (mut log, findings) = open_in(&disk, true).unwrap();
    assert!(findings.unwritable.is_some_and(|cause| cause.contains("read-only")));
    assert_eq!(offsets(&mut log), [1, 2, 3]);
    assert!(log.commit(NOW, true).is_ok(), "nothing to write");
}

#[test]
fn segments_go_when_their_newest_event_is_too_old() {
    let (disk, mut log) = with_three(true);
    assert!(log.retain(NOW).unwrap().is_empty());
    let later = Now { unix_ms: NOW.unix_ms + 10_001, ..NOW };
    assert_eq!(log.retain(later).unwrap(), [(Channel::parse("c").unwrap(), 4)]);
    assert!(offsets(&mut log).is_empty() && log.channels().next().is_none());
    assert!(!disk.files.borrow().contains_key(FIRST));
    publish(&mut log, 4, later.unix_ms);
    assert_eq!(offsets(&mut log), [4]);
}

#[test]
fn an_event_comes_back_as_it_was() {
    let text = r#"{"type":"t","source":"s"}"#;
    let extras = Extras {
        priority: Priority::new(9).unwrap(),
        expires_us: Some(NOW.steady_us + 7_000),
        router: true,
        target: Some("someone".into()),
        correlation_id: Some("é".into()),
        traceparent: Some("00-1".into()),
        ..Extras::default()
    };
    let event = Event::new(text, &Facts::read(text).unwrap(), Some(Box::new(extras.clone())), 77);
    let position = Position { epoch: 1, offset: 1 };
    let entry = Entry::of(&event, "c", position, NOW);
    assert_eq!(entry.expires_ms, NOW.unix_ms + 7);
    let back = entry.event(NOW).unwrap();
    assert_eq!((back.text(), back.extras(), back.at_ms()), (text, Some(&extras), 77));
    assert_eq!((back.kind(), back.source()), (Some("t"), Some("s")));
}

#[test]
fn a_letter_of_the_deepest_event_comes_back() {
    let lists = DEPTH_MAX - 1;
    let deepest = format!(r#"{{"x":{}{}}}"#, "[".repeat(lists), "]".repeat(lists));
    assert!(Facts::read(&deepest).is_ok());
    let letter = format!(r#"{{"type":"dead_letter","event":{deepest}}}"#);
    assert!(matches!(Facts::read(&letter), Err(BadEvent::TooDeep)), "as it was lost");
    let mut facts = Facts::default();
    facts.kind = Text(Some("dead_letter".into()));
    let event = Event::new(&letter, &facts, None, 77);
    let back = |channel| Entry::of(&event, channel, Position { epoch: 1, offset: 1 }, NOW).event(NOW);
    let told = back(DEAD_LETTERS).unwrap();
    assert_eq!((told.text(), told.kind(), told.at_ms()), (&*letter, Some("dead_letter"), 77));
    assert!(back("c").is_none(), "nobody else writes one");
}

/// An event that was numbered, seen by whoever listens, and not stored (507).
fn lose(log: &mut Log<Memory>, offset: u64, text: &str) {
    let position = Position { epoch: 0xabc, offset };
    let details = Details::default();
    let entry = Entry { channel: "c", position, at_ms: 1_000_000, expires_ms: 0, priority: 5, details, text };
    log.append(&Channel::parse("c").unwrap(), &entry);
    log.commit(NOW, true).unwrap_err();
}

#[test]
fn the_number_of_an_event_that_a_full_disk_refused_is_never_given_again() {
    let (disk, mut log) = with_three(true);
    disk.full.set(true);
    lose(&mut log, 4, &format!(r#"{{"x":"{}"}}"#, "x".repeat(1 << 20)));
    drop(log);
    disk.full.set(false);
    let (mut log, findings) = open_in(&disk, true).unwrap();
    assert_eq!((findings.damaged, offsets(&mut log)), (Vec::new(), vec![1, 2, 3]));
    assert!(!log.channels().next().unwrap().continues, "4 names an event that was seen");
}

/// What the header could not be told when the disk took nothing was not tried again.
#[test]
fn a_disk_that_took_nothing_for_a_while_is_told_afterwards_that_numbers_were_seen() {
    let (disk, mut log) = with_three(true);
    disk.broken.set(true);
    lose(&mut log, 4, "{}");
    assert!(log.retain(NOW).unwrap().is_empty(), "it is tried, and the disk still takes nothing");
    disk.broken.set(false);
    log.retain(NOW).unwrap();
    drop(log);
    let (log, _) = open_in(&disk, true).unwrap();
    assert!(!log.channels().next().unwrap().continues);
}

#[test]
fn numbering_goes_on_where_a_later_event_was_stored_after_one_was_not() {
    let (disk, mut log) = with_three(true);
    disk.broken.set(true);
    lose(&mut log, 4, "{}");
    disk.broken.set(false);
    publish(&mut log, 5, 1_000_000);
    drop(log);
    let (mut log, _) = open_in(&disk, true).unwrap();
    assert_eq!(offsets(&mut log), [1, 2, 3, 5]);
    let known = log.channels().next().unwrap();
    assert_eq!((known.last.offset, known.continues), (5, true), "the next is 6");
}
