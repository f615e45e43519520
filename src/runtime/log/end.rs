//! A shard's end of the log: nothing here waits. When the queue to the log is full, requests stay here until there is
//! news, which comes because the log has so much to do.

use super::{News, Request};
use crate::event::Channel;
use crate::hub::{LogFound, LogOutcome, LogRead, LogWrite, Logged};
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::collections::VecDeque;

/// One per shard.
pub struct LogEnd {
    pub(super) shard: usize,
    pub(super) requests: Sender<Request>,
    pub(super) news: Receiver<News>,
    /// Requests that found the queue full. Writes are bounded by the hub, reads by who asks for them.
    waiting: VecDeque<Request>,
    logged: VecDeque<Logged>,
    found: VecDeque<LogFound>,
    trimmed: VecDeque<(Channel, u64)>,
    /// The last write that was handed over, and the last that is known to have ended.
    handed: u64,
    ended: u64,
}

impl LogEnd {
    pub(super) fn new(shard: usize, requests: Sender<Request>, news: Receiver<News>) -> LogEnd {
        LogEnd {
            shard,
            requests,
            news,
            waiting: VecDeque::new(),
            logged: VecDeque::new(),
            found: VecDeque::new(),
            trimmed: VecDeque::new(),
            handed: 0,
            ended: 0,
        }
    }

    /// Hands writes over, all of them.
    pub fn log(&mut self, writes: &mut Vec<LogWrite>) {
        let Some(last) = writes.last() else { return };
        self.handed = last.sequence;
        let (shard, writes) = (self.shard, std::mem::take(writes));
        self.waiting.push_back(Request::Write { shard, writes });
        self.send();
    }

    /// Asks for events.
    pub fn read(&mut self, read: LogRead) {
        self.waiting.push_back(Request::Read { shard: self.shard, read });
        self.send();
    }

    /// How writes ended, if there is news.
    pub fn logged(&mut self) -> Option<Logged> {
        self.hear();
        let logged = self.logged.pop_front()?;
        self.ended = logged.up_to;
        Some(logged)
    }

    /// What was found, if there is news.
    pub fn found(&mut self) -> Option<LogFound> {
        self.found.pop_front()
    }

    /// A channel that lost its oldest events, if there is news.
    pub fn trimmed(&mut self) -> Option<(Channel, u64)> {
        self.trimmed.pop_front()
    }

    /// Whether every write has ended.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.handed == self.ended
    }

    /// The last look before a sleep.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.news.is_empty() || !self.logged.is_empty() || !self.found.is_empty() || !self.trimmed.is_empty()
    }

    fn hear(&mut self) {
        let mut heard = false;
        while let Ok(news) = self.news.try_recv() {
            heard = true;
            match news {
                News::Logged(logged) => self.logged.push_back(logged),
                News::Found(found) => self.found.push_back(found),
                News::Trimmed(trimmed) => self.trimmed.extend(trimmed),
            }
        }
        if heard && !self.waiting.is_empty() {
            self.send();
        }
    }

    fn send(&mut self) {
        while let Some(request) = self.waiting.pop_front() {
            match self.requests.try_send(request) {
                Ok(()) => {}
                Err(TrySendError::Full(request)) => {
                    self.waiting.push_front(request);
                    return;
                }
                Err(TrySendError::Disconnected(request)) => self.refuse(request),
            }
        }
    }

    /// The log's thread has ended by a fault: nothing is stored any more.
    fn refuse(&mut self, request: Request) {
        match request {
            Request::Write { writes, .. } => {
                let up_to = writes.last().map_or(self.ended, |write| write.sequence);
                self.logged.push_back(Logged { up_to, outcome: LogOutcome::Failed });
            }
            Request::Read { read, .. } => {
                self.found.push_back(LogFound { key: read.key, events: Vec::new(), next: read.below });
            }
        }
    }
}
