//! What peers say is read of one connection after the other, and only then looked at. The kernel's way to hand over bytes
//! and a request's way through Courier drive each other out of the core's caches: to go both for each connection in turn
//! costs a twentieth of Courier's own CPU in workload C. Of a large turn it is done in parts, each answered before the next.

use super::super::driver::{Driver, Received};
use super::Shard;
use super::answering::Pass;
use crate::mailbox::drain::Stage;
use crate::session::route::likely_channel;
use crate::stdx::clock::Now;
use crate::stdx::slab::Key;

/// Room for one read: what a socket buffer usually holds. Per shard, not per connection.
const READ_BYTES: usize = 64 * 1024;

/// When so much was read, with the last read up to twice as much, it is looked at: it still comes from the core's own cache.
const WAITING_BYTES_MAX: usize = 64 * 1024;

/// Reads of one connection per turn, so that one that never stops sending does not keep the others waiting.
const READS_PER_TURN: usize = 4;

/// What was read and not looked at yet.
#[derive(Default)]
pub(super) struct Intake {
    bytes: Vec<u8>,
    /// Of whom, and where it ends in `bytes`; no more than are read together.
    waiting: Vec<(Key, usize)>,
    /// Reads since answers were written.
    pub unanswered: usize,
}

impl Intake {
    pub fn new() -> Intake {
        Intake { bytes: vec![0; WAITING_BYTES_MAX + READ_BYTES], waiting: Vec::new(), unanswered: 0 }
    }

    fn len(&self) -> usize {
        self.waiting.last().map_or(0, |(_, end)| *end)
    }
}

impl<D: Driver> Shard<D> {
    /// Reads until nothing is left, or enough for one turn. After a hangup a short read does not mean that nothing is left:
    /// the end is.
    pub(super) fn read(&mut self, driver: &mut D, key: Key, hangup: bool, now: Now) {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.connections.get_mut(key) else { return };
            if connection.protocol.leave_unread() || self.stage == Stage::Done {
                return;
            }
            let at = self.intake.len();
            let room = &mut self.intake.bytes[at..at + READ_BYTES];
            let (n, dry) = match driver.receive(&connection.socket, room) {
                Received::Empty => return,
                Received::End => {
                    self.take_in_read(driver, now);
                    return self.ended_by_peer(driver, key, now);
                }
                Received::More(n) => (n, false),
                Received::Bytes(n) => (n, n < READ_BYTES && !hangup),
            };
            self.intake.waiting.push((key, at + n));
            self.intake.unanswered += 1;
            if self.intake.unanswered >= self.options.reads_together {
                self.take_in_read(driver, now);
                self.write_answers(driver, Pass::Part, now);
            } else if !dry || at + n > WAITING_BYTES_MAX {
                self.take_in_read(driver, now);
            }
            if dry {
                return;
            }
        }
        self.hungry.push(key);
    }

    /// Looks at what was read: after each part, before the mail, and before the end of the turn.
    pub(super) fn take_in_read(&mut self, driver: &mut D, now: Now) {
        if self.intake.waiting.is_empty() {
            return;
        }
        let mut bytes = std::mem::take(&mut self.intake.bytes);
        let mut waiting = std::mem::take(&mut self.intake.waiting);
        // Where they most likely go lies far away: it is fetched for many at a time.
        if waiting.len() > 1 {
            self.hub.look_to(said(&bytes, &waiting).map(likely_channel));
        }
        let mut at = 0;
        for (key, end) in waiting.drain(..) {
            let said = &mut bytes[at..end];
            at = end;
            self.guarded(key, now, |shard| shard.take_in(driver, key, said, now));
            self.hub.look_on();
        }
        self.intake.bytes = bytes;
        self.intake.waiting = waiting;
    }
}

/// What each read brought.
fn said<'b>(bytes: &'b [u8], waiting: &[(Key, usize)]) -> impl Iterator<Item = &'b [u8]> {
    waiting.iter().scan(0, |at, (_, end)| bytes.get(std::mem::replace(at, *end)..*end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_read_has_the_bytes_up_to_its_end() {
        let key = |slot| Key { slot, generation: 1 };
        let waiting = [(key(0), 2), (key(1), 2), (key(0), 5), (key(2), 6)];
        let parts: Vec<&[u8]> = said(b"abcdefrest", &waiting).collect();
        assert_eq!(parts, [&b"ab"[..], b"", b"cde", b"f"]);
    }
}
