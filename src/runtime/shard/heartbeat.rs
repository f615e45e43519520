//! The heartbeat of sockets and streams: what goes out when nothing else does, and how it is noticed that nobody is
//! there.

use super::super::driver::Driver;
use super::Shard;
use super::connection::Protocol;
use crate::mailbox::drain::Stage;
use crate::session::Reason;
use crate::session::heartbeat::Beat;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

impl<D: Driver> Shard<D> {
    /// A heartbeat is due, or the moment at which a stop sends the connection away.
    pub(super) fn heartbeat(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Protocol::Socket(open) = &mut connection.protocol else { return };
        if self.stage >= Stage::Parting {
            return self.end_socket(key, Reason::Shutdown, true, now);
        }
        self.answer.clear();
        match open.subscriber.beat(&self.options.session, &mut self.answer) {
            Beat::Next(in_us) => {
                if !self.answer.is_empty() {
                    self.hub.push_control(key, &self.answer);
                }
                self.wheel.set(key.slot, now.steady_us + in_us);
            }
            Beat::Lost => {
                self.hub.counters.peers_lost += 1;
                self.forget(key, now);
            }
        }
    }
}
