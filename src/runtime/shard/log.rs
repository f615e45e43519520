//! Between the hub and the log of durable channels: writes and questions go out at the end of a turn, and what became
//! of earlier ones is heard at its start.

use super::super::driver::Driver;
use super::{Shard, Sockets};
use crate::stdx::clock::Now;

impl<D: Driver> Shard<D> {
    /// Hears what became of writes and questions.
    pub(super) fn hear_log(&mut self, driver: &mut D, now: Now) {
        // It may bring any event to anybody.
        if self.has_suspects() {
            return;
        }
        while let Some(logged) = driver.logged() {
            let mut outlet = Sockets { driver: &mut *driver, connections: &self.connections };
            self.hub.logged(logged, now.steady_us, &mut outlet);
            self.effects(driver, now);
        }
        while let Some(found) = driver.log_found() {
            self.hub.log_found(found, now.steady_us);
            self.effects(driver, now);
        }
        while let Some((channel, first)) = driver.log_trimmed() {
            self.hub.log_trimmed(channel.as_str(), first);
        }
    }

    /// Hands over what this turn has for the log.
    pub(super) fn tell_log(&mut self, driver: &mut D) {
        if !self.hub.effects.log.is_empty() {
            driver.log(&mut self.hub.effects.log);
        }
        if !self.hub.effects.reads.is_empty() {
            self.hub.effects.reads.drain(..).for_each(|read| driver.read_log(read));
        }
    }

    /// Before anything is served: channels that the log knows.
    pub fn restore(&mut self, restored: Vec<crate::hub::Restored>, now: Now) {
        self.hub.restore(restored, now.steady_us);
    }
}
