//! What happens at a moment: each connection has one timer, and what it means depends on what the connection is.

use super::super::driver::Driver;
use super::Shard;
use super::connection::Protocol;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

impl<D: Driver> Shard<D> {
    /// A connection must agree with its socket on how to speak, in the time that a head has.
    pub fn await_greeting(&mut self, token: u64, now: Now) {
        self.wheel.set(Key::from_u64(token).slot, now.steady_us + self.options.session.head_us);
    }

    /// Timers that are due, and channels whose time is over.
    pub(super) fn expire(&mut self, driver: &D, now: Now) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expired(now.steady_us, &mut due);
        for slot in due.drain(..) {
            self.timer(driver, slot, now);
        }
        self.due = due;
        // It may send events again.
        if !self.has_suspects() {
            self.hub.sweep(now.steady_us);
        }
    }

    #[inline(never)]
    fn timer(&mut self, driver: &D, slot: u32, now: Now) {
        let Some(key) = self.connections.key_at(slot) else { return };
        let connection = self.connections.get_mut(key).expect("just found");
        match &connection.protocol {
            Protocol::Http(_) if driver.is_greeting(&connection.socket) => self.forget(key, now),
            Protocol::Http(_) => self.request_timer(driver, key, now),
            Protocol::Socket(_) => self.heartbeat(key, now),
            Protocol::Opening(_) | Protocol::Ending(_) => self.forget(key, now),
        }
    }
}
