//! How a connection's queue empties: many frames per call, as far as the kernel takes them.

use super::item::Item;
use super::outbox::Outbox;
use super::outlet::{Outlet, Sent};
use std::io::IoSlice;

/// Frames per vectored send: enough to fill a socket buffer with small events, few enough to sit on the stack.
const SLICES_MAX: usize = 64;
/// As many are made where a frame or two wait, as is usual: making 64 costs more than all else about such a send.
const SLICES_FEW: usize = 2 * PIECES;
/// Most pieces of a frame.
const PIECES: usize = 3;

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits any more.
    Empty,
    /// The kernel takes no more now; it says so when it does again.
    Blocked,
    /// The peer is gone.
    Gone,
}

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// How it ended.
    pub end: Flushed,
    /// Events that are wholly out.
    pub delivered: u64,
    /// Events that expired while they waited.
    pub expired: u64,
}

impl Outbox {
    /// Sends as much as the kernel takes, many frames per call.
    pub fn flush(&mut self, member: u32, now_us: u64, outlet: &mut impl Outlet) -> Progress {
        let mut progress = Progress { end: Flushed::Empty, delivered: 0, expired: self.bury(now_us) };
        while !self.items.is_empty() {
            let few = self.items.len() * PIECES <= SLICES_FEW;
            let (sent, wanted) = match few {
                true => self.send_next::<SLICES_FEW>(member, outlet),
                false => self.send_next::<SLICES_MAX>(member, outlet),
            };
            match sent {
                Sent::Bytes(n) => {
                    progress.delivered += self.advance(n);
                    if n < wanted {
                        self.blocked = true;
                        progress.end = Flushed::Blocked;
                        return progress;
                    }
                }
                Sent::Gone => {
                    progress.end = Flushed::Gone;
                    return progress;
                }
            }
        }
        self.mixed = false;
        progress
    }

    /// Sends what is next, as far as it fits `N` slices; answers what became of that, and how many bytes it were.
    #[inline]
    fn send_next<const N: usize>(&self, member: u32, outlet: &mut impl Outlet) -> (Sent, usize) {
        let mut slices = [IoSlice::new(&[]); N];
        let (count, wanted) = self.gather(&mut slices);
        (outlet.send_all(member, &slices[..count]), wanted)
    }

    /// Takes out what has expired, if nothing of it is on the wire. Answers how many events.
    fn bury(&mut self, now_us: u64) -> u64 {
        let before = self.events;
        let mut at = usize::from(self.sent > 0);
        while self.mortals > 0 && at < self.items.len() {
            let expired =
                self.items[at].parcel().is_some_and(|(parcel, _)| parcel.event().is_expired(now_us));
            if expired {
                self.take(at);
            } else {
                at += 1;
            }
        }
        (before - self.events) as u64
    }

    /// What is to be sent next, as far as there are slices for it; answers how many of them, and bytes.
    fn gather<'o>(&'o self, slices: &mut [IoSlice<'o>]) -> (usize, usize) {
        let (mut count, mut wanted, mut skip) = (0, 0, self.sent);
        for item in &self.items {
            if count + PIECES > slices.len() {
                break;
            }
            if let (Item::Event { parcel, .. }, 0) = (item, skip) {
                slices[count] = IoSlice::new(parcel.bytes());
                count += 1;
                wanted += parcel.len();
                continue;
            }
            for piece in item.pieces() {
                let rest = &piece[skip.min(piece.len())..];
                skip -= piece.len() - rest.len();
                if !rest.is_empty() {
                    slices[count] = IoSlice::new(rest);
                    count += 1;
                    wanted += rest.len();
                }
            }
        }
        (count, wanted)
    }

    /// Takes `n` sent bytes off the front; answers how many events that completed.
    #[inline]
    fn advance(&mut self, n: usize) -> u64 {
        let mut left = n + self.sent;
        let before = self.events;
        while let Some(item) = self.items.front() {
            let len = item.len();
            if len > left {
                break;
            }
            left -= len;
            let item = self.items.pop_front().expect("just seen");
            self.ordered_from = self.ordered_from.saturating_sub(1);
            if self.mortals > 0
                && let Some((parcel, _)) = item.parcel()
            {
                parcel.event().see();
            }
            self.discount(&item);
        }
        self.sent = left;
        (before - self.events) as u64
    }
}
