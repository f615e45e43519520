//! Bounded queues between shards, one per ordered pair, so each has one writer and one reader and keeps order. A shard
//! sends at most one batch per turn and peer. A full lane gives the batch back and counts it: the sender decides what
//! to refuse, and no shard ever waits for another. The lane to oneself exists too, so that nobody needs a special case.
//!
//! Memory: shards x shards x `batches_per_lane` slots of `size_of::<T>() + 8` bytes, allocated at the start.
//! 64 shards x 64 x 64 slots x 64 bytes = 16 MiB; 4 shards: 64 KiB.
use super::doorbell::Doorbell;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::cell::Cell;
use std::sync::Arc;

/// A shard's end of all its lanes. Moves to the shard's thread and stays there (not `Sync`).
pub struct Port<T> {
    shard: usize,
    /// By receiving shard.
    outbound: Vec<Outbound<T>>,
    /// By sending shard.
    inbound: Vec<Receiver<T>>,
    refused: Cell<u64>,
}

struct Outbound<T> {
    lane: Sender<T>,
    doorbell: Arc<Doorbell>,
}

/// All lanes between `shards` shards, each for `batches_per_lane` batches; the ports come in the order of the shards.
///
/// # Panics
/// If there is not one doorbell per shard, or a lane would hold nothing.
#[must_use]
pub fn mesh<T: Send>(shards: usize, batches_per_lane: usize, doorbells: &[Arc<Doorbell>]) -> Vec<Port<T>> {
    assert_eq!(doorbells.len(), shards, "one doorbell per shard");
    assert!(batches_per_lane > 0, "a lane without room would make its ends wait for each other");
    let mut ports: Vec<Port<T>> = (0..shards)
        .map(|shard| Port { shard, outbound: Vec::new(), inbound: Vec::new(), refused: Cell::new(0) })
        .collect();
    for from in 0..shards {
        for to in 0..shards {
            let (lane, inbound) = bounded(batches_per_lane);
            ports[from].outbound.push(Outbound { lane, doorbell: Arc::clone(&doorbells[to]) });
            ports[to].inbound.push(inbound);
        }
    }
    ports
}

impl<T> Port<T> {
    /// Whose port this is, from 0.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// How many shards the mesh joins.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.outbound.len()
    }

    /// Sends and rings. Never waits.
    ///
    /// # Errors
    /// The batch itself when the lane is full, or the other shard has dropped its port.
    pub fn send(&self, to: usize, batch: T) -> Result<(), T> {
        let Outbound { lane, doorbell } = &self.outbound[to];
        match lane.try_send(batch) {
            Ok(()) => {
                doorbell.ring();
                Ok(())
            }
            Err(refusal) => {
                self.refused.set(self.refused.get() + 1);
                Err(refusal.into_inner())
            }
        }
    }

    /// The oldest batch of this lane. Never waits.
    #[must_use]
    pub fn receive(&self, from: usize) -> Option<T> {
        let lane = &self.inbound[from];
        // Asked first because try_recv on an empty lane executes a full fence, and most lanes are empty each turn.
        if lane.is_empty() { None } else { lane.try_recv().ok() }
    }

    /// Whether all inbound lanes are empty: the last look between `Doorbell::park` and sleep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.inbound.iter().all(Receiver::is_empty)
    }

    /// How many sends were given back so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Batches waiting in this inbound lane.
    #[must_use]
    pub fn depth(&self, from: usize) -> usize {
        self.inbound[from].len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn doorbells(shards: usize) -> Vec<Arc<Doorbell>> {
        (0..shards).map(|_| Doorbell::new().expect("eventfd")).collect()
    }

    #[test]
    fn a_full_lane_gives_the_batch_back_and_the_others_still_take_theirs() {
        let ports = mesh(3, 2, &doorbells(3));
        assert_eq!(
            (ports[0].send(1, 10), ports[0].send(1, 11), ports[0].send(1, 12)),
            (Ok(()), Ok(()), Err(12))
        );
        assert_eq!(
            (ports[0].send(2, 20), ports[2].send(1, 30), ports[1].send(1, 40)),
            (Ok(()), Ok(()), Ok(()))
        );
        assert_eq!((ports[0].refused(), ports[2].refused(), ports[1].depth(0)), (1, 0, 2));
        assert_eq!(ports[1].receive(0), Some(10));
        assert_eq!(ports[0].send(1, 12), Ok(()));
        let received: Vec<Option<i32>> = [0, 0, 0, 1, 2].map(|from| ports[1].receive(from)).to_vec();
        assert_eq!(received, [Some(11), Some(12), None, Some(40), Some(30)]);
        assert!(ports[1].is_empty() && !ports[2].is_empty());
    }

    #[test]
    fn a_batch_for_a_shard_that_is_gone_comes_back_and_what_it_sent_still_arrives() {
        let mut ports = mesh(2, 2, &doorbells(2));
        ports[1].send(0, 7).expect("room");
        drop(ports.pop());
        assert_eq!((ports[0].send(1, 8), ports[0].receive(1), ports[0].receive(1)), (Err(8), Some(7), None));
    }

    #[test]
    fn a_sender_rings_only_for_a_parked_shard() {
        let doorbells = doorbells(2);
        let ports = mesh(2, 8, &doorbells);
        ports[0].send(1, 1).expect("room");
        assert_eq!(doorbells[1].rings(), 0);
        doorbells[1].park();
        assert!(!ports[1].is_empty(), "the last look finds what came before the park");
        ports[0].send(1, 2).expect("room");
        ports[0].send(1, 3).expect("room");
        assert_eq!((doorbells[0].rings(), doorbells[1].rings()), (0, 1));
    }

    #[test]
    fn racing_shards_get_every_batch_once_and_in_order() {
        const SHARDS: usize = 3;
        const BATCHES: u64 = 20_000;
        let ports = mesh::<u64>(SHARDS, 4, &doorbells(SHARDS));
        std::thread::scope(|scope| {
            ports.into_iter().for_each(|port| drop(scope.spawn(move || exchange(&port, BATCHES))));
        });
    }

    fn exchange(port: &Port<u64>, batches: u64) {
        let mut sent = vec![0; port.shards()];
        let mut received = vec![0; port.shards()];
        while sent.iter().chain(&received).any(|&count| count < batches) {
            for peer in 0..port.shards() {
                while let Some(batch) = port.receive(peer) {
                    assert_eq!(batch, received[peer]);
                    received[peer] += 1;
                }
                if sent[peer] < batches && port.send(peer, sent[peer]).is_ok() {
                    sent[peer] += 1;
                }
            }
            std::thread::yield_now();
        }
    }

    /// Two tokens chase each other round shards that sleep whenever they hold none. A lost wake stops them for good.
    #[test]
    fn tokens_keep_going_round_shards_that_sleep_between_them() {
        const SHARDS: usize = 3;
        const HOPS: u64 = 15_000;
        let doorbells = doorbells(SHARDS);
        let ports = mesh::<u64>(SHARDS, 4, &doorbells);
        ports[0].send(1, 1).expect("room");
        ports[0].send(2, 1).expect("room");
        std::thread::scope(|scope| {
            for (port, doorbell) in ports.into_iter().zip(&doorbells) {
                scope.spawn(move || pass_on(&port, doorbell, HOPS));
            }
        });
        let rings: u64 = doorbells.iter().map(|doorbell| doorbell.rings()).sum();
        assert!((1..=2 * HOPS + 6).contains(&rings), "at most one wake per hop: {rings}");
    }

    /// Ends after both tokens have made their hops: each then tells all shards with a `u64::MAX`.
    fn pass_on(port: &Port<u64>, doorbell: &Doorbell, hops: u64) {
        let mut ended = 0;
        while ended < 2 {
            for from in 0..port.shards() {
                while let Some(hop) = port.receive(from) {
                    if hop == u64::MAX {
                        ended += 1;
                    } else if hop == hops {
                        (0..port.shards()).for_each(|to| port.send(to, u64::MAX).expect("room"));
                    } else {
                        port.send((port.shard() + 1) % port.shards(), hop + 1).expect("room");
                    }
                }
            }
            if ended < 2 {
                sleep_until_rung(port, doorbell);
            }
        }
    }

    fn sleep_until_rung(port: &Port<u64>, doorbell: &Doorbell) {
        doorbell.park();
        if port.is_empty() {
            let mut polled = [PollFd::from_borrowed_fd(doorbell.fd(), PollFlags::IN)];
            let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
            assert_eq!(poll(&mut polled, Some(&patience)), Ok(1), "a wake was lost");
            rustix::io::read(doorbell.fd(), &mut [0; 8])
                .expect("poll is level-triggered, so this test reads");
        }
        doorbell.unpark();
    }
}
