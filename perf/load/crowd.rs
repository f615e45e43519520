//! Channels and idle connections that have nothing to do with what is measured. Cost must grow with work, not with them.

use std::io::{Error, ErrorKind, Result};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::dialect::Wish;
use crate::options::Options;
use crate::publisher::{Publisher, Request};
use crate::subscriber::{self, HANDSHAKES_MAX, Subscriber};

/// Publishes under way while the channels are made.
const PUBLISHES_MAX: usize = 256;
/// Longest wait for the answers to them.
const ANSWER_WAIT: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };
/// Room for the answers to [`PUBLISHES_MAX`] publishes.
const SCRATCH_BYTES: usize = 256 << 10;

/// Idle connections, open as long as this lives; nobody reads them.
pub struct Crowd {
    connections: Vec<Subscriber>,
}

impl Crowd {
    /// Makes `crowd_channels` channels by one publish to each, and spreads `crowd_connections` subscribers over them.
    pub fn gather(options: &Options) -> Result<Self> {
        let mut connections = Vec::with_capacity(options.crowd_connections);
        if options.crowd_channels > 0 {
            make_channels(options)?;
        }
        while connections.len() < options.crowd_connections {
            let next = connections.len()..options.crowd_connections.min(connections.len() + HANDSHAKES_MAX);
            let wishes: Vec<Wish> = next
                .map(|i| options.wish(&name(i * options.crowd_channels / options.crowd_connections)))
                .collect();
            connections.extend(subscriber::open_all(options.port, &wishes)?);
        }
        Ok(Self { connections })
    }

    /// How many connections the server has closed since it was asked last.
    pub fn take_closed(&mut self) -> u64 {
        let before = self.connections.len();
        self.connections.retain(|connection| !is_closed(connection));
        (before - self.connections.len()) as u64
    }
}

fn is_closed(connection: &Subscriber) -> bool {
    match recv(&connection.socket, &mut [0; 1][..], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
        Ok((read, _)) => read == 0,
        Err(error) => error != Errno::AGAIN,
    }
}

fn name(channel: usize) -> String {
    format!("crowd.{channel}")
}

fn make_channels(options: &Options) -> Result<()> {
    let count = options.crowd_channels;
    let path = |channel| options.publish_path.replace("{}", &name(channel));
    let fields = options.credentials();
    let requests: Vec<Request> =
        (0..count).map(|c| Request::http(&path(c), &fields, c as u32, options.size)).collect();
    let mut publisher = Publisher::new(subscriber::dial(options.port)?, 0, count);
    let mut scratch = vec![0; SCRATCH_BYTES];
    for first in (0..count).step_by(PUBLISHES_MAX) {
        for _ in first..count.min(first + PUBLISHES_MAX) {
            publisher.queue(0, &requests, 0);
        }
        while publisher.in_flight > 0 {
            publisher.flush()?;
            wait_readable(&publisher)?;
            if publisher.answers(&mut scratch)?.1 > 0 {
                return Err(Error::new(ErrorKind::ConnectionRefused, "a publish of the crowd was refused"));
            }
        }
    }
    Ok(())
}

fn wait_readable(publisher: &Publisher) -> Result<()> {
    match poll(&mut [PollFd::new(&publisher.socket, PollFlags::IN)], Some(&ANSWER_WAIT))? {
        0 => Err(Error::new(ErrorKind::TimedOut, "no answer to a publish of the crowd")),
        _ => Ok(()),
    }
}
