//! The load tool's one loop: sockets in an epoll set, publishes by the closed or the open loop, every event booked.

use std::io::Result;

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::dialect::{Dialect, Wish};
use crate::event::{self, Stamp};
use crate::ledger::Ledger;
use crate::nats;
use crate::options::Options;
use crate::process::now_ns;
use crate::publisher::{Publisher, Request};
use crate::reader::Reader;
use crate::stall::Stall;
use crate::subscriber::{self, Frame, HANDSHAKES_MAX, Subscriber};

/// Ready sockets taken per wait.
const READY_MAX: usize = 512;
/// One read, and the longest frame: NATS joins all that waits for a subscriber into one.
const SCRATCH_BYTES: usize = 4 << 20;
/// A run is over when nothing has come for so long, nanoseconds.
const SILENCE_NS_MAX: u64 = 2_000_000_000;
/// Longest latency told apart, nanoseconds; a run is far shorter.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// The open loop's publishes without an answer; a server that far behind has failed the rate.
const BACKLOG_MAX: usize = 20_000;
/// Publisher i has epoll tag `PUBLISHER + i`; subscriber i has tag i.
const PUBLISHER: u64 = 1 << 32;

/// What must not happen, and messages that are none of our events; counted until somebody takes them.
#[derive(Default)]
pub struct Faults {
    /// Publishes answered with other than 2xx.
    pub refused: u64,
    /// Subscribers that the server closed.
    pub closed: u64,
    /// Messages from the server that are not our events (pings, welcomes).
    pub other: u64,
    /// Due publishes that were left out because the backlog was full.
    pub overdue: u64,
}

/// Sockets, accounts and clocks of one run.
pub struct Drive {
    options: Options,
    set: OwnedFd,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    requests: Vec<Request>,
    reader: Reader,
    subscribers_of: Vec<u64>,
    scratch: Vec<u8>,
    ready: Vec<epoll::Event>,
    progress_ns: u64,
    /// Who got what.
    pub ledger: Ledger,
    /// Nanoseconds from the publish to each delivery.
    pub latency: Histogram<u64>,
    /// Longest time without a delivery while one was owed.
    pub stall: Stall,
    /// Publishes sent.
    pub published: u64,
    /// What went wrong beside the ledger's.
    pub faults: Faults,
    /// Nanoseconds during which nothing was ready: this tool's slack.
    pub slack_ns: u64,
}

impl Drive {
    /// An empty run; [`Self::connect`] and [`Self::connect_publishers`] open its sockets.
    pub fn new(options: &Options) -> Result<Self> {
        let fields = options.credentials();
        let request = |c| match options.nats {
            true => Request::nats(&channel_name(c), c as u32, options.size),
            false => {
                let path = options.publish_path.replace("{}", &channel_name(c));
                Request::http(&path, &fields, c as u32, options.size)
            }
        };
        Ok(Self {
            set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            subscribers: Vec::with_capacity(options.subscribers),
            publishers: Vec::new(),
            requests: (0..options.channels).map(request).collect(),
            reader: Reader::new(options.size, options.dialect == Dialect::Sse),
            subscribers_of: vec![0; options.channels],
            scratch: vec![0; SCRATCH_BYTES],
            ready: Vec::with_capacity(READY_MAX),
            progress_ns: now_ns(),
            ledger: Ledger::new(options.subscribers, options.channels, options.publishers),
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order"),
            stall: Stall::new(&options.pid)?,
            published: 0,
            faults: Faults::default(),
            slack_ns: 0,
            options: options.clone(),
        })
    }

    /// Opens subscribers until there are `target`.
    pub fn connect(&mut self, target: usize) -> Result<()> {
        while self.subscribers.len() < target {
            let first = self.subscribers.len();
            let batch = first..target.min(first + HANDSHAKES_MAX);
            let wish = |i| self.options.wish(&channel_name(i % self.options.channels));
            let wishes: Vec<Wish> = batch.map(wish).collect();
            for subscriber in subscriber::open_all(self.options.port, &wishes)? {
                if self.options.nats {
                    let channel = channel_name(self.subscribers.len() % self.options.channels);
                    subscriber::say(
                        &subscriber.socket,
                        &[nats::connect(), nats::subscribe(&channel)].concat(),
                    )?;
                }
                self.admit(subscriber)?;
            }
        }
        Ok(())
    }

    fn admit(&mut self, subscriber: Subscriber) -> Result<()> {
        let index = self.subscribers.len();
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP;
        epoll::add(&self.set, &subscriber.socket, epoll::EventData::new_u64(index as u64), flags)?;
        self.subscribers_of[index % self.options.channels] += 1;
        self.subscribers.push(subscriber);
        Ok(())
    }

    /// Opens the publisher connections.
    pub fn connect_publishers(&mut self) -> Result<()> {
        let (count, channels) = (self.options.publishers, self.options.channels);
        for i in 0..count {
            let socket = self.dial_publisher()?;
            // Edge-triggered: writable is told once after a full socket, and answers are read until none is left.
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&self.set, socket.as_fd(), epoll::EventData::new_u64(PUBLISHER + i as u64), flags)?;
            self.publishers.push(Publisher::new(socket, i * channels / count, channels));
        }
        Ok(())
    }

    fn dial_publisher(&self) -> Result<OwnedFd> {
        if !self.options.nats {
            return subscriber::dial(self.options.port);
        }
        let wish = self.options.wish(&channel_name(0));
        let subscriber = subscriber::open_all(self.options.port, &[wish])?.remove(0);
        subscriber::say(&subscriber.socket, &nats::connect())?;
        Ok(subscriber.socket)
    }

    /// Publishes for `seconds`, then waits for every answer and delivery, or for silence.
    pub fn run(&mut self, seconds: f64) -> Result<()> {
        let start = now_ns();
        let end = start + (seconds * 1e9) as u64;
        let mut sent = 0;
        self.progress_ns = start;
        while now_ns() < end {
            if self.options.rate > 0.0 {
                sent = self.publish_due(start, end, sent)?;
            } else {
                self.publish_freely()?;
            }
            self.turn(end.min(self.due_ns(start, sent)))?;
        }
        while !self.settled() && now_ns() < self.progress_ns + SILENCE_NS_MAX {
            self.publishers.iter_mut().try_for_each(Publisher::flush)?;
            self.turn(now_ns() + SILENCE_NS_MAX / 4)?;
        }
        Ok(())
    }

    fn settled(&self) -> bool {
        self.ledger.outstanding() == 0 && self.publishers.iter().all(|p| p.in_flight == 0)
    }

    /// When publish number `sent` of the open loop is due; never for the closed loop.
    fn due_ns(&self, start: u64, sent: u64) -> u64 {
        if self.options.rate > 0.0 {
            start + (sent as f64 * 1e9 / self.options.rate) as u64
        } else {
            u64::MAX
        }
    }

    /// Open loop: every publish that is due goes out, stamped with the time at which it was due.
    fn publish_due(&mut self, start: u64, end: u64, mut sent: u64) -> Result<u64> {
        let now = now_ns().min(end);
        while self.due_ns(start, sent) <= now {
            let from = sent as usize % self.publishers.len();
            if self.publishers[from].in_flight < BACKLOG_MAX {
                self.queue(from, self.due_ns(start, sent), now);
            } else {
                self.faults.overdue += 1;
            }
            sent += 1;
        }
        self.publishers.iter_mut().try_for_each(Publisher::flush)?;
        Ok(sent)
    }

    /// Closed loop: every publisher is filled up to its depth, unless the last event is still under way in lockstep.
    fn publish_freely(&mut self) -> Result<()> {
        if self.options.lockstep && !self.settled() {
            return self.publishers.iter_mut().try_for_each(Publisher::flush);
        }
        let depth = self.options.depth();
        let now = now_ns();
        for from in 0..self.publishers.len() {
            while self.publishers[from].in_flight < depth {
                self.queue(from, now, now);
            }
            self.publishers[from].flush()?;
        }
        Ok(())
    }

    /// Queues one publish stamped with `at_ns` at `now_ns`.
    fn queue(&mut self, from: usize, at_ns: u64, now_ns: u64) {
        let channel = self.publishers[from].queue(from, &self.requests, at_ns);
        self.ledger.owed += self.subscribers_of[channel];
        self.published += 1;
        self.stall.owed(now_ns);
    }

    /// Waits for ready sockets, at most until `until_ns`, and serves them.
    pub fn turn(&mut self, until_ns: u64) -> Result<()> {
        let begun_ns = now_ns();
        let mut empty_ns = begun_ns;
        while self.look(until_ns.saturating_sub(empty_ns))? == 0 {
            empty_ns = now_ns();
            if empty_ns >= until_ns {
                break;
            }
        }
        self.slack_ns += empty_ns - begun_ns;
        for i in 0..self.ready.len() {
            let tag = self.ready[i].data.u64();
            if tag < PUBLISHER {
                self.read(tag as usize)?
            } else {
                self.answered((tag - PUBLISHER) as usize)?
            }
        }
        let now = now_ns();
        if !self.ready.is_empty() {
            self.progress_ns = now;
        }
        self.stall.turned(now);
        Ok(())
    }

    /// Fills `ready`; sleeps for `wait_ns` at most, if this tool sleeps at all. Answers how many are ready.
    fn look(&mut self, wait_ns: u64) -> Result<usize> {
        let wait_ns = if self.options.sleep { wait_ns } else { 0 };
        let timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000).min(1) as i64,
            tv_nsec: (wait_ns % 1_000_000_000) as i64,
        };
        self.ready.clear();
        match epoll::wait(&self.set, spare_capacity(&mut self.ready), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(self.ready.len()),
            Err(error) => Err(error.into()),
        }
    }

    fn answered(&mut self, publisher: usize) -> Result<()> {
        if self.options.nats {
            self.publishers[publisher].ignore(&mut self.scratch)?;
            return self.publishers[publisher].flush();
        }
        let (_, refused) = self.publishers[publisher].answers(&mut self.scratch)?;
        self.faults.refused += refused as u64;
        self.publishers[publisher].flush()
    }

    /// Reads once (the set is level-triggered for subscribers) and books every whole frame.
    fn read(&mut self, index: usize) -> Result<()> {
        let subscriber = &mut self.subscribers[index];
        let kept = subscriber.partial.len();
        self.scratch[..kept].copy_from_slice(&subscriber.partial);
        let read = match recv(&subscriber.socket, &mut self.scratch[kept..], RecvFlags::DONTWAIT) {
            Ok((read, _)) => read,
            Err(Errno::AGAIN) => return Ok(()),
            Err(_) => 0,
        };
        if read == 0 {
            return self.lose(index);
        }
        let now = now_ns();
        let delivered = self.ledger.delivered;
        // Taken out while frames that borrow it are booked.
        let scratch = std::mem::take(&mut self.scratch);
        let used = self.book_frames(index, &scratch[..kept + read], now)?;
        let partial = &mut self.subscribers[index].partial;
        partial.clear();
        partial.extend_from_slice(&scratch[used..kept + read]);
        self.scratch = scratch;
        if self.ledger.delivered > delivered {
            self.stall.arrived(now, self.ledger.outstanding() > 0);
        }
        Ok(())
    }

    /// Books every whole message in `bytes`; returns how many bytes they have.
    fn book_frames(&mut self, index: usize, bytes: &[u8], now: u64) -> Result<usize> {
        let mut at = 0;
        while let Some((frame, length)) = self.reader.first(&bytes[at..]) {
            at += length;
            match frame {
                Frame::Text(text) if !self.options.deflate => {
                    let stamp = self.reader.stamp(text);
                    self.book(index, stamp, now);
                }
                Frame::Compressed(payload) => {
                    let stamp = self.reader.compressed_stamp(payload)?;
                    self.book(index, stamp, now);
                }
                Frame::Binary(operations) if self.options.nats => {
                    self.book_operations(index, operations, now)
                }
                Frame::Ping(payload) => subscriber::pong(&self.subscribers[index].socket, payload),
                Frame::Text(_) | Frame::Binary(_) | Frame::Close | Frame::Other => self.faults.other += 1,
            }
        }
        Ok(at)
    }

    fn book(&mut self, index: usize, stamp: Option<Stamp>, now: u64) {
        let Some(stamp) = stamp else { return self.faults.other += 1 };
        self.ledger.receive(index, stamp);
        self.latency.saturating_record(now.saturating_sub(stamp.at_ns));
        if self.options.nats {
            self.credit(stamp.from as usize);
        }
    }

    fn book_operations(&mut self, index: usize, mut operations: &[u8], now: u64) {
        while let Some((event, length)) = nats::first_operation(operations) {
            match event {
                Some(event) => self.book(index, event::read(event, self.options.size), now),
                None => self.faults.other += 1,
            }
            operations = operations.get(length..).unwrap_or_default();
        }
    }

    /// Without answers, a publish is no longer in flight once all its deliveries have come (every channel has as many
    /// subscribers, so it does not matter which publish a delivery belongs to).
    fn credit(&mut self, publisher: usize) {
        let Some(publisher) = self.publishers.get_mut(publisher) else { return };
        publisher.deliveries += 1;
        if publisher.deliveries.is_multiple_of(self.subscribers_of[0]) {
            publisher.in_flight = publisher.in_flight.saturating_sub(1);
        }
    }

    fn lose(&mut self, index: usize) -> Result<()> {
        self.faults.closed += u64::from(std::mem::replace(&mut self.subscribers[index].open, false));
        Ok(epoll::delete(&self.set, &self.subscribers[index].socket)?)
    }
}

fn channel_name(channel: usize) -> String {
    format!("load.{channel}")
}
