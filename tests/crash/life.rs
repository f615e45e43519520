//! One seed: what is published, what is promised, and what must be there afterwards.

use crate::dice::Dice;
use crate::disk::LyingDisk;
use courier::event::{Channel, Position};
use courier::log::{Details, Entry, Findings, From, Known, Log, Options, Wanted, open};
use courier::stdx::clock::Now;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What a run did.
#[derive(Debug, Default)]
pub struct Sum {
    pub stored: u64,
    pub lives: u64,
    pub torn: u64,
    pub damaged: u64,
    pub full: u64,
    pub unsynced: u64,
}

/// What is known of an event that was published.
struct Published {
    text: String,
    at_ms: u64,
    /// It was said to be stored.
    promised: bool,
}

struct Model {
    dice: Dice,
    disk: LyingDisk,
    options: Options,
    /// By channel and offset: offsets grow over all epochs.
    events: BTreeMap<(String, u64), (u32, Published)>,
    /// Positions under which somebody saw an event.
    seen: HashSet<(String, u32, u64)>,
    numbers: HashMap<String, Position>,
    now: Now,
    /// Bits that flipped; each may cost one event.
    flips: u64,
    /// Segments may have been removed.
    trimmed: bool,
    /// Tells what happens.
    loud: bool,
    sum: Sum,
}

/// Plays one seed; panics where the log breaks a promise.
pub fn play(seed: u64, loud: bool) -> Sum {
    let mut dice = Dice::new(seed);
    let disk = LyingDisk::new(dice.fork());
    let bytes_max = if dice.chance(25) { dice.range(1, 4) * 400_000 } else { 0 };
    let options = Options {
        segment_bytes: dice.range(64, 200) * 1024,
        bytes_max,
        age_max_ms: 0,
        held: dice.chance(60),
        runs_max: *dice.pick(&[8, 32, 1 << 20, 1 << 20]),
    };
    disk.with(|platter| platter.short_writes = *dice.pick(&[0, 0, 20]));
    let now = Now { steady_us: 1, unix_ms: 1_000_000 };
    let mut model = Model {
        dice,
        disk,
        options,
        events: BTreeMap::new(),
        seen: HashSet::new(),
        numbers: HashMap::new(),
        now,
        flips: 0,
        trimmed: bytes_max > 0,
        loud,
        sum: Sum::default(),
    };
    for _ in 0..model.dice.range(2, 4) {
        model.live();
    }
    model.sum
}

impl Model {
    /// One life of a server, and what it left.
    fn live(&mut self) {
        self.sum.lives += 1;
        let Some((mut log, findings)) = self.open() else { return };
        self.tell(|| format!("open: {findings:?}, {} held", self.options.held));
        self.look(&mut log, &findings);
        self.number(&log);
        let end = self.dice.range(1, 400);
        self.disk.with(|platter| {
            platter.power = Some(end);
        });
        for _ in 0..self.dice.range(1, 40) {
            self.mischief();
            self.batch(&mut log);
            if self.disk.is_dead() {
                break;
            }
        }
        if !self.disk.is_dead() && self.dice.chance(40) {
            // A stop that the disk does not let through is a crash.
            let _ = log.stop(self.now);
        }
        self.crash();
    }

    fn open(&mut self) -> Option<(Log<LyingDisk>, Findings)> {
        self.now.unix_ms += 1_000;
        self.now.steady_us += 1_000_000;
        if self.dice.chance(10) {
            // The power goes again while the log is opened.
            let calls = self.dice.range(1, 60);
            self.disk.with(|platter| platter.power = Some(calls));
        }
        let mut draws = self.dice.fork();
        let outcome = open(self.disk.clone(), self.options.clone(), Box::new(move || draws.roll()), self.now);
        if self.disk.is_dead() {
            drop(outcome);
            self.crash();
            return None;
        }
        self.disk.with(|platter| platter.power = None);
        Some(outcome.expect("a disk that works can be opened"))
    }

    /// Everything that is there is right, and everything that was promised is there.
    fn look(&mut self, log: &mut Log<LyingDisk>, findings: &Findings) {
        let mut there = HashSet::new();
        for known in &channels_of(log) {
            let read = self.read_all(log, known.channel.as_str(), known.last.offset + 1);
            assert_eq!(read.last(), Some(&known.last.offset), "{}: its last record", known.channel);
            there.extend(read.into_iter().map(|offset| (known.channel.to_string(), offset)));
        }
        let mut missing: Vec<(String, u64)> = Vec::new();
        for (key, (_, published)) in self.events.iter().filter(|(_, (_, published))| published.promised) {
            assert!(!published.text.is_empty());
            if !there.contains(key) {
                missing.push(key.clone());
            }
        }
        if self.trimmed {
            // What went by its age is all that was before what is left of the same numbering.
            let epoch = |key: &(String, u64)| self.events[key].0;
            missing.retain(|key| {
                there.iter().any(|left| left.0 == key.0 && left.1 < key.1 && epoch(left) == epoch(key))
            });
        }
        assert!(
            missing.len() as u64 <= self.flips,
            "{} promised events are gone, {} bits flipped: {missing:?}; {findings:?}",
            missing.len(),
            self.flips
        );
        if !missing.is_empty() {
            assert!(
                !findings.damaged.is_empty() || !findings.torn.is_empty(),
                "damage was not found: {missing:?}"
            );
        }
        self.sum.torn += findings.torn.len() as u64;
        self.sum.damaged += findings.damaged.len() as u64;
        // What is gone is gone; it is not to be counted to the next flip.
        for key in missing {
            self.events.get_mut(&key).expect("it was published").1.promised = false;
        }
        self.flips = 0;
    }

    fn read_all(&mut self, log: &mut Log<LyingDisk>, channel: &str, below: u64) -> Vec<u64> {
        let mut offsets: Vec<u64> = Vec::new();
        let mut from = From::Offset(0);
        if self.dice.chance(10) {
            from = From::Since(0);
        }
        loop {
            let events_max = *self.dice.pick(&[1, 30, 100, 100]);
            let bytes_max = *self.dice.pick(&[1, 10_000, 100_000, 100_000]);
            let before = offsets.len();
            let wanted = Wanted { from, below, events_max, bytes_max };
            let events = &self.events;
            let next = log
                .read(channel, wanted, |entry| {
                    let offset = entry.position.offset;
                    assert!(offsets.last().is_none_or(|last| *last < offset), "{channel}: order at {offset}");
                    let (epoch, published) = &events[&(channel.to_owned(), offset)];
                    assert_eq!((*epoch, published.text.as_str()), (entry.position.epoch, entry.text));
                    assert_eq!(published.at_ms, entry.at_ms);
                    offsets.push(offset);
                })
                .expect("the disk reads");
            assert!(offsets.len() - before <= events_max);
            if next >= below {
                return offsets;
            }
            assert!(
                offsets.len() > before || matches!(from, From::Offset(from) if from < next),
                "no progress"
            );
            from = From::Offset(next);
        }
    }

    /// Numbering goes on as the log says that it may.
    fn number(&mut self, log: &Log<LyingDisk>) {
        self.numbers.clear();
        for known in channels_of(log) {
            let epoch = if known.continues { known.last.epoch } else { self.dice.roll() as u32 };
            self.numbers.insert(known.channel.to_string(), Position { epoch, offset: known.last.offset });
        }
    }

    /// Something goes wrong with the disk, or is mended.
    fn mischief(&mut self) {
        let Model { dice, disk, .. } = self;
        disk.with(|platter| match dice.below(40) {
            0 => platter.space = dice.range(0, 100_000),
            1..=4 => platter.space = u64::MAX,
            5 => platter.sync_fails = 100,
            _ => {}
        });
    }

    fn batch(&mut self, log: &mut Log<LyingDisk>) {
        let count = self.dice.skewed(40) + 1;
        let mut batch = Vec::new();
        for _ in 0..count {
            batch.push(self.publish(log));
        }
        self.now.unix_ms += self.dice.range(0, 50);
        self.now.steady_us += self.dice.range(0, 300_000);
        let held = self.options.held;
        let mut outcome = log.commit(self.now, held);
        if !held {
            // It is seen at once; a promise is made when it is synced, which here stands for a client that waits.
            self.see(&batch);
        }
        if !held && self.dice.chance(20) && outcome.is_ok() {
            outcome = log.sync();
            let later = self.dice.chance(50);
            if outcome.is_ok() && later {
                assert!(log.is_synced());
            }
        } else if !held {
            outcome = Err(std::io::ErrorKind::Other.into());
        }
        if self.disk.is_dead() {
            return;
        }
        if held {
            self.see(&batch);
        }
        self.tell(|| format!("batch: {outcome:?}: {batch:?}"));
        match outcome {
            Ok(()) => {
                self.sum.stored += count;
                for key in batch {
                    self.events.get_mut(&key).expect("it was published").1.promised = true;
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => self.sum.full += 1,
            Err(_) => self.sum.unsynced += u64::from(held),
        }
        if self.trimmed {
            let mut trimmed = log.retain(self.now).unwrap_or_default();
            // Looking does not bring the end nearer.
            let power = self.disk.with(|platter| platter.power.take());
            trimmed.sort();
            for (channel, first) in trimmed {
                let known = log.channels().find(|known| known.channel == channel);
                let Some(known) = known else { continue };
                let left = self.read_all(log, channel.as_str(), known.last.offset + 1);
                assert!(left.first().is_some_and(|left| *left >= first), "{channel}: trimmed to {first}");
                assert!(self.options.runs_max < 1_000 || left[0] == first, "{channel}: trimmed to {first}");
            }
            self.disk.with(|platter| platter.power = power);
            let (bytes, max) = (log.bytes(), self.options.bytes_max);
            assert!(self.disk.is_dead() || bytes <= max || log.segments() == 1, "{bytes} of {max}");
        }
    }

    fn publish(&mut self, log: &mut Log<LyingDisk>) -> (String, u64) {
        let name = format!("c{}", self.dice.skewed(6));
        let draw = self.dice.roll() as u32;
        let number = self.numbers.entry(name.clone()).or_insert(Position { epoch: draw, offset: 0 });
        number.offset += 1;
        let position = *number;
        let length = if self.dice.chance(1) { self.dice.below(100_000) } else { self.dice.below(600) };
        let text = format!("{{\"n\":\"{}\",\"x\":\"{}\"}}", self.dice.roll(), "x".repeat(length));
        let at_ms = self.now.unix_ms;
        let details = Details { target: self.dice.chance(10).then_some("t"), ..Details::default() };
        let channel = Channel::parse(&name).expect("a name");
        let entry =
            Entry { channel: &name, position, at_ms, expires_ms: 0, priority: 5, details, text: &text };
        log.append(&channel, &entry);
        let published = Published { text, at_ms, promised: false };
        let key = (name, position.offset);
        self.events.insert(key.clone(), (position.epoch, published));
        key
    }

    /// Subscribers got these.
    fn see(&mut self, batch: &[(String, u64)]) {
        for (channel, offset) in batch {
            let epoch = self.events[&(channel.clone(), *offset)].0;
            assert!(self.seen.insert((channel.clone(), epoch, *offset)), "{channel} {offset}: seen twice");
        }
    }

    fn tell(&self, words: impl FnOnce() -> String) {
        if self.loud {
            println!("{}", words());
        }
    }

    fn crash(&mut self) {
        self.tell(|| "crash".into());
        self.disk.with(|platter| {
            platter.lose_power();
            platter.space = u64::MAX;
            platter.sync_fails = 0;
        });
        if self.dice.chance(20) {
            for _ in 0..self.dice.range(1, 3) {
                self.flips += u64::from(self.disk.with(|platter| platter.flip()));
            }
        }
    }
}

/// In order, so that the same seed throws the same dice.
fn channels_of(log: &Log<LyingDisk>) -> Vec<Known> {
    let mut channels: Vec<Known> = log.channels().collect();
    channels.sort_by(|one, other| one.channel.cmp(&other.channel));
    channels
}
