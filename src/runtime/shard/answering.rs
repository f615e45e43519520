//! Answers go out to connections that speak HTTP: after each part of what was ready, and before the fan-out.

use super::super::driver::Driver;
use super::Shard;
use super::connection::{End, Protocol};
use crate::hub::Sent;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

/// When in a turn answers are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// Between two parts of what was ready.
    Part,
    /// When all was served.
    Last,
}

impl<D: Driver> Shard<D> {
    /// Writes the answers that there are now, one send per publisher. Connections that had too much waiting go on with the
    /// last answers of a turn only: else they would be served again for each part of it.
    pub(super) fn write_answers(&mut self, driver: &mut D, pass: Pass, now: Now) {
        self.intake.unanswered = 0;
        let mut writers = std::mem::take(&mut self.writers);
        for key in writers.drain(..) {
            self.guarded(key, now, |shard| shard.write_answer(driver, key, pass, now));
        }
        // Some have listed themselves again; they are written the next time.
        writers.append(&mut self.writers);
        self.writers = writers;
    }

    fn write_answer(&mut self, driver: &mut D, key: Key, pass: Pass, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Http(publisher) = &mut connection.protocol else { return };
        publisher.listed = false;
        if publisher.blocked {
            return;
        }
        if publisher.out.len() > publisher.out_sent {
            let sent = match driver.send(&connection.socket, &publisher.out[publisher.out_sent..]) {
                Sent::Gone => return self.forget(key, now),
                Sent::Bytes(n) => n,
            };
            publisher.out_sent += sent;
            publisher.blocked = publisher.out_sent < publisher.out.len();
            if !publisher.blocked {
                publisher.out.clear();
                publisher.out_sent = 0;
            } else if sent > 0 {
                publisher.sent_some(now.steady_us);
            }
        }
        if !publisher.blocked && publisher.closing && publisher.is_settled() {
            return self.end_http(driver, key, now);
        }
        match pass {
            Pass::Last => self.resume(driver, key, now),
            Pass::Part if publisher.held || publisher.unread => {
                publisher.listed = true;
                self.writers.push(key);
            }
            Pass::Part => {}
        }
    }

    /// The last answer is out, or the session has it: nothing more is sent, and what the peer still says is not heard.
    pub(super) fn end_http(&mut self, driver: &mut D, key: Key, now: Now) {
        let Some(publisher) = self.take_publisher(key) else { return };
        self.kept_bytes -= publisher.kept_bytes();
        let Some(connection) = self.connections.get_mut(key) else { return };
        let half_closed = driver.is_flushed(&connection.socket);
        if half_closed {
            driver.half_close(&connection.socket);
        }
        let end = End { socket: false, half_closed };
        self.wheel.set(key.slot, now.steady_us + end.patience_us(&self.options.session));
        connection.protocol = Protocol::Ending(end);
    }

    /// Goes on with a connection that had too much waiting, if it has not any more.
    pub(super) fn resume(&mut self, driver: &mut D, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Http(publisher) = &mut connection.protocol else { return };
        if publisher.is_paused() {
            return;
        }
        if publisher.unread || publisher.held {
            // The time of what waited begins.
            publisher.since_us = now.steady_us;
        }
        if std::mem::take(&mut publisher.unread) {
            self.hungry.push(key);
        }
        if std::mem::take(&mut publisher.held) {
            self.guarded(key, now, |shard| shard.requests(driver, key, &mut [], now));
        }
    }
}
