//! The load tool's one loop: sockets in an epoll set, publishes by the closed or the open loop, every event booked.

use std::io::Result;

use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::event;
use crate::ledger::Ledger;
use crate::options::Options;
use crate::process::now_ns;
use crate::publisher::{Publisher, Request};
use crate::subscriber::{self, Frame, Subscriber};

/// Ready sockets taken per wait.
const READY_MAX: usize = 512;
/// One read; larger than what a socket usually holds.
const SCRATCH_BYTES: usize = 512 << 10;
/// Handshakes under way at a time: fills a server's accept loop, stays below any backlog.
const HANDSHAKES_MAX: usize = 128;
/// A run is over when nothing has come for so long, nanoseconds.
const SILENCE_NS_MAX: u64 = 2_000_000_000;
/// Longest latency told apart, nanoseconds; a run is far shorter.
const LATENCY_NS_MAX: u64 = 60_000_000_000;
/// The open loop's publishes without an answer; a server that far behind has failed the rate.
const BACKLOG_MAX: usize = 20_000;
/// Publisher i has epoll tag `PUBLISHER + i`; subscriber i has tag i.
const PUBLISHER: u64 = 1 << 32;

/// Sockets, accounts and clocks of one run.
pub struct Drive {
    options: Options,
    set: OwnedFd,
    subscribers: Vec<Subscriber>,
    publishers: Vec<Publisher>,
    requests: Vec<Request>,
    subscribers_of: Vec<u64>,
    scratch: Vec<u8>,
    ready: Vec<epoll::Event>,
    progress_ns: u64,
    /// Who got what.
    pub ledger: Ledger,
    /// Nanoseconds from the publish to each delivery.
    pub latency: Histogram<u64>,
    /// Publishes sent.
    pub published: u64,
    /// Publishes answered with other than 2xx.
    pub refused: u64,
    /// Subscribers that the server closed.
    pub closed: u64,
    /// Messages from the server that are not our events (pings, welcomes).
    pub other: u64,
    /// Due publishes that were left out because the backlog was full.
    pub overdue: u64,
}

impl Drive {
    /// An empty run; [`Self::connect`] and [`Self::connect_publishers`] open its sockets.
    pub fn new(options: &Options) -> Result<Self> {
        let name = |template: &str, channel: usize| template.replace("{}", &format!("load.{channel}"));
        let request = |c| Request::new(&name(&options.publish_path, c), c as u32, options.size);
        Ok(Self {
            set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            subscribers: Vec::with_capacity(options.subscribers),
            publishers: Vec::new(),
            requests: (0..options.channels).map(request).collect(),
            subscribers_of: vec![0; options.channels],
            scratch: vec![0; SCRATCH_BYTES],
            ready: Vec::with_capacity(READY_MAX),
            progress_ns: now_ns(),
            ledger: Ledger::new(options.subscribers, options.channels, options.publishers),
            latency: Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are in order"),
            published: 0,
            refused: 0,
            closed: 0,
            other: 0,
            overdue: 0,
            options: options.clone(),
        })
    }

    /// Opens subscribers until there are `target`.
    pub fn connect(&mut self, target: usize) -> Result<()> {
        while self.subscribers.len() < target {
            let first = self.subscribers.len();
            let batch = HANDSHAKES_MAX.min(target - first);
            let mut begun = Vec::with_capacity(batch);
            for i in first..first + batch {
                let channel = format!("load.{}", i % self.options.channels);
                let path = self.options.subscribe_path.replace("{}", &channel);
                begun.push(subscriber::begin(self.options.port, &path)?);
            }
            for socket in begun {
                self.admit(subscriber::finish(socket)?)?;
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
            let socket = subscriber::dial(self.options.port)?;
            // Edge-triggered: writable is told once after a full socket, and answers are read until none is left.
            let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT | epoll::EventFlags::ET;
            epoll::add(&self.set, socket.as_fd(), epoll::EventData::new_u64(PUBLISHER + i as u64), flags)?;
            self.publishers.push(Publisher::new(socket, i * channels / count, channels));
        }
        Ok(())
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
                self.queue(from, self.due_ns(start, sent));
            } else {
                self.overdue += 1;
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
                self.queue(from, now);
            }
            self.publishers[from].flush()?;
        }
        Ok(())
    }

    fn queue(&mut self, from: usize, at_ns: u64) {
        let channel = self.publishers[from].queue(from, &self.requests, at_ns);
        self.ledger.owed += self.subscribers_of[channel];
        self.published += 1;
    }

    /// Waits for ready sockets, at most until `until_ns`, and serves them.
    pub fn turn(&mut self, until_ns: u64) -> Result<()> {
        let wait_ns = until_ns.saturating_sub(now_ns());
        let timeout = Timespec {
            tv_sec: (wait_ns / 1_000_000_000).min(1) as i64,
            tv_nsec: (wait_ns % 1_000_000_000) as i64,
        };
        self.ready.clear();
        match epoll::wait(&self.set, spare_capacity(&mut self.ready), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for i in 0..self.ready.len() {
            let tag = self.ready[i].data.u64();
            if tag < PUBLISHER {
                self.read(tag as usize)?
            } else {
                self.answered((tag - PUBLISHER) as usize)?
            }
        }
        if !self.ready.is_empty() {
            self.progress_ns = now_ns();
        }
        Ok(())
    }

    fn answered(&mut self, publisher: usize) -> Result<()> {
        let (_, refused) = self.publishers[publisher].answers(&mut self.scratch)?;
        self.refused += refused as u64;
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
        let (mut at, end) = (0, kept + read);
        while let Some((frame, length)) = subscriber::first_frame(&self.scratch[at..end]) {
            at += length;
            match frame {
                Frame::Text(text) => match event::read(text, self.options.size) {
                    Some(stamp) => {
                        self.ledger.receive(index, stamp);
                        self.latency.saturating_record(now.saturating_sub(stamp.at_ns));
                    }
                    None => self.other += 1,
                },
                Frame::Ping(payload) => subscriber::pong(&self.subscribers[index].socket, payload),
                Frame::Close | Frame::Other => self.other += 1,
            }
        }
        let partial = &mut self.subscribers[index].partial;
        partial.clear();
        partial.extend_from_slice(&self.scratch[at..end]);
        Ok(())
    }

    fn lose(&mut self, index: usize) -> Result<()> {
        self.closed += u64::from(std::mem::replace(&mut self.subscribers[index].open, false));
        Ok(epoll::delete(&self.set, &self.subscribers[index].socket)?)
    }
}
