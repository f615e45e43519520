//! The clients that are cut: one thread, one epoll set, and a list of who is cut or comes back when.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{Error, Result};

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use crate::Arguments;
use crate::client::{Client, Faults, State};
use crate::process::now_ns;

/// One read: what a client may have missed, and more.
const SCRATCH_BYTES: usize = 1 << 20;
/// Events of one wait.
const READY_MAX: usize = 1024;
/// Connections under way at a time while the crowd gathers; below the server's backlog.
const GATHERING_MAX: usize = 512;
/// Patience with the crowd before and after the storm.
const SETTLE_NS_MAX: u64 = 60_000_000_000;
/// A client that the server has closed comes back after this time.
const REFUSED_PAUSE_NS: u64 = 100_000_000;
/// One in so many returns is cut again this soon, in the middle of the handshake or the replay.
const EARLY_ONE_IN: u64 = 8;
const EARLY_NS_MAX: u64 = 1_000_000;
/// Longest return that is told apart, in microseconds.
const RETURN_US_MAX: u64 = 120_000_000;

/// What the crowd has measured.
pub struct Figures {
    pub faults: Faults,
    /// Returns that have caught up, in microseconds: from the connect, and from `subscribe`.
    pub returned_us: Histogram<u64>,
    pub replayed_us: Histogram<u64>,
    /// Events that came before a return had caught up.
    pub replayed: u64,
    pub cuts: u64,
    /// Cuts that hit a client before it had caught up.
    pub cut_early: u64,
    /// Time away, over all cuts.
    pub away_ns: u64,
}

impl Figures {
    fn new(faults: Faults) -> Figures {
        let histogram = || Histogram::new_with_bounds(1, RETURN_US_MAX, 3).expect("the bounds are in order");
        let (returned_us, replayed_us) = (histogram(), histogram());
        Figures { faults, returned_us, replayed_us, replayed: 0, cuts: 0, cut_early: 0, away_ns: 0 }
    }
}

/// What happens to a client next, and when.
type Due = Reverse<(u64, usize)>;

pub struct Crowd {
    port: u16,
    clients: Vec<Client>,
    /// The time of each client's next turn; an entry of `due` with another time is void.
    turns: Vec<u64>,
    due: BinaryHeap<Due>,
    cuts_left: Vec<u32>,
    plan: Plan,
    set: OwnedFd,
    scratch: Vec<u8>,
    dice: Dice,
    waiting: usize,
    pub figures: Figures,
}

/// When cuts fall: each client once in each slice of the storm.
#[derive(Clone, Copy, Default)]
struct Plan {
    began_ns: u64,
    slice_ns: u64,
    away_ns: u64,
    together: bool,
    cuts: u32,
}

impl Plan {
    /// That of the storm.
    fn of(arguments: &Arguments) -> Plan {
        let slice_ns = arguments.storm * 1_000_000_000 / u64::from(arguments.cuts.max(1));
        let away_ns = arguments.together_ms.unwrap_or(arguments.away_ms) * 1_000_000;
        let together = arguments.together_ms.is_some();
        Plan { began_ns: 0, slice_ns, away_ns: away_ns.min(slice_ns / 2), together, cuts: arguments.cuts }
    }
}

impl Crowd {
    /// Opens all clients and waits until they are subscribed.
    pub fn gather(arguments: &Arguments, port: u16) -> Result<Crowd> {
        let clients: Vec<Client> =
            (0..arguments.clients).map(|i| Client::new(i % arguments.channels, arguments.size)).collect();
        let mut crowd = Crowd {
            port,
            turns: vec![0; clients.len()],
            cuts_left: vec![0; clients.len()],
            clients,
            due: BinaryHeap::new(),
            plan: Plan::default(),
            set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            scratch: vec![0; SCRATCH_BYTES],
            dice: Dice(1),
            waiting: 0,
            figures: Figures::new(Faults::default()),
        };
        let deadline = now_ns() + SETTLE_NS_MAX;
        for first in (0..crowd.clients.len()).step_by(GATHERING_MAX) {
            let now = now_ns();
            for index in first..crowd.clients.len().min(first + GATHERING_MAX) {
                crowd.connect(index, now)?;
            }
            while crowd.waiting > 0 {
                crowd.step(deadline)?;
                crowd.check_patience(deadline, "the crowd does not get together")?;
            }
        }
        Ok(crowd)
    }

    /// Reads until this time.
    pub fn run_until(&mut self, until_ns: u64) -> Result<()> {
        while now_ns() < until_ns {
            self.step(until_ns)?;
        }
        Ok(())
    }

    /// Cuts every client once, which does not count but for its faults: those who come back sit behind those who were never
    /// cut, as they do all through the storm.
    pub fn shake(&mut self, arguments: &Arguments) -> Result<()> {
        self.blow(Plan { cuts: 1, ..Plan::of(arguments) })?;
        self.figures = Figures::new(std::mem::take(&mut self.figures.faults));
        Ok(())
    }

    /// Sends as many away as are away in the storm on average; they come back when it begins. Answers how many.
    pub fn thin(&mut self, arguments: &Arguments) -> usize {
        let Plan { slice_ns, away_ns, .. } = Plan::of(arguments);
        for index in 0..self.clients.len() {
            if self.dice.below(slice_ns) < away_ns / 2 {
                self.clients[index].cut();
            }
        }
        self.clients.iter().filter(|client| client.state == State::Away).count()
    }

    /// The storm: every client is cut as often as asked and has come back at the end. Answers when it began and ended.
    pub fn weather(&mut self, arguments: &Arguments) -> Result<(u64, u64)> {
        self.blow(Plan::of(arguments))
    }

    fn blow(&mut self, plan: Plan) -> Result<(u64, u64)> {
        let began_ns = now_ns();
        self.plan = Plan { began_ns, ..plan };
        self.cuts_left.fill(plan.cuts);
        for index in 0..self.clients.len() {
            match self.clients[index].state {
                State::Away => {
                    let back_ns = began_ns + self.dice.below(plan.away_ns + 1);
                    self.at(index, back_ns);
                }
                _ => self.plan_cut(index),
            }
        }
        let deadline = began_ns + plan.slice_ns * u64::from(plan.cuts) + SETTLE_NS_MAX;
        while !self.due.is_empty() || self.waiting > 0 {
            self.step(deadline)?;
            self.check_patience(deadline, "not all have come back")?;
        }
        Ok((began_ns, now_ns()))
    }

    /// Waits until each client has seen all that was published; answers how many events are missing at the end.
    pub fn settle(&mut self, per_channel: &[u64]) -> Result<u64> {
        let deadline = now_ns() + SETTLE_NS_MAX;
        loop {
            let missing = |client: &Client| per_channel[client.channel].saturating_sub(client.seen());
            let missing = self.clients.iter().map(missing).sum();
            if missing == 0 || now_ns() > deadline {
                return Ok(missing);
            }
            self.step(now_ns() + 10_000_000)?;
        }
    }

    fn check_patience(&self, deadline_ns: u64, words: &str) -> Result<()> {
        match now_ns() > deadline_ns {
            true => Err(Error::other(format!("{words}: {} wait; {:?}", self.waiting, self.figures.faults))),
            false => Ok(()),
        }
    }

    /// One wait: takes what is ready and lets happen what is due.
    fn step(&mut self, until_ns: u64) -> Result<()> {
        let next_ns = self.due.peek().map_or(until_ns, |Reverse((due_ns, _))| until_ns.min(*due_ns));
        let wait_ns = next_ns.saturating_sub(now_ns());
        let wait =
            Timespec { tv_sec: (wait_ns / 1_000_000_000) as i64, tv_nsec: (wait_ns % 1_000_000_000) as i64 };
        let mut ready: Vec<epoll::Event> = Vec::with_capacity(READY_MAX);
        epoll::wait(&self.set, spare_capacity(&mut ready), Some(&wait))?;
        for event in &ready {
            self.take(event.data.u64() as usize, event.flags);
        }
        let now = now_ns();
        while let Some(Reverse((due_ns, index))) =
            self.due.peek().copied().filter(|Reverse((due, _))| *due <= now)
        {
            self.due.pop();
            if self.turns[index] == due_ns {
                self.turn(index, now)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, index: usize, flags: epoll::EventFlags) {
        let client = &mut self.clients[index];
        let (before, seen) = (client.state, client.seen());
        let mut outcome = Ok(());
        if flags.contains(epoll::EventFlags::OUT) {
            outcome = client.writable();
        }
        let now = now_ns();
        let outcome =
            outcome.and_then(|()| client.readable(&mut self.scratch, now, &mut self.figures.faults));
        client.sent_ns.clear();
        if outcome.is_err() {
            return self.closed(index);
        }
        if before != State::Live && before != State::Away {
            self.figures.replayed += client.seen() - seen;
            if client.state == State::Live {
                self.waiting -= 1;
                let us = |since_ns: u64| now_ns().saturating_sub(since_ns) / 1_000;
                if self.plan.slice_ns > 0 {
                    self.figures.returned_us.saturating_record(us(client.began_ns));
                    self.figures.replayed_us.saturating_record(us(client.asked_ns));
                }
            }
        }
    }

    /// The server has closed: comes back soon, which is a fault all the same.
    fn closed(&mut self, index: usize) {
        self.figures.faults.closed += 1;
        if self.clients[index].state != State::Live {
            self.waiting -= 1;
        }
        self.clients[index].cut();
        self.at(index, now_ns() + REFUSED_PAUSE_NS);
    }

    /// A client's time has come: it is cut, or it comes back.
    fn turn(&mut self, index: usize, now: u64) -> Result<()> {
        if self.clients[index].state == State::Away {
            self.connect(index, now)?;
            self.plan_cut(index);
            return Ok(());
        }
        self.figures.cuts += 1;
        self.cuts_left[index] -= 1;
        if self.clients[index].state != State::Live {
            self.figures.cut_early += 1;
            self.waiting -= 1;
        }
        self.clients[index].cut();
        let away_ns = self.dice.below(self.plan.away_ns + 1);
        self.figures.away_ns += away_ns;
        self.at(index, now + away_ns);
        Ok(())
    }

    fn connect(&mut self, index: usize, now: u64) -> Result<()> {
        let socket = self.clients[index].dial(self.port, now)?;
        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
        epoll::add(&self.set, socket, epoll::EventData::new_u64(index as u64), flags)?;
        self.waiting += 1;
        Ok(())
    }

    fn plan_cut(&mut self, index: usize) {
        let left = self.cuts_left[index];
        if left == 0 {
            return;
        }
        if self.clients[index].state != State::Away
            && !self.plan.together
            && self.dice.below(EARLY_ONE_IN) == 0
        {
            let soon_ns = self.dice.below(EARLY_NS_MAX);
            return self.at(index, now_ns() + soon_ns);
        }
        let slice = u64::from(self.plan.cuts - left);
        let within = if self.plan.together { 0 } else { self.dice.below(self.plan.slice_ns / 2) };
        self.at(index, self.plan.began_ns + slice * self.plan.slice_ns + within);
    }

    fn at(&mut self, index: usize, due_ns: u64) {
        self.turns[index] = due_ns;
        self.due.push(Reverse((due_ns, index)));
    }
}

/// Numbers that look random and repeat from run to run (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}
