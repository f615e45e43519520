//! A mesh of lanes and doorbells against plain queues: sends, receives, parks and wakes in any order, on one thread. Each
//! lane keeps order and bound, nothing is lost or doubled, and a parked shard with something in its lanes is always rung.
#![no_main]
use arbitrary::Arbitrary;
use courier::mailbox::doorbell::Doorbell;
use courier::mailbox::lanes::{Port, mesh};
use std::collections::VecDeque;
use std::sync::Arc;

#[derive(Arbitrary, Debug)]
struct Input {
    shards: u8,
    batches_per_lane: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Send { from: u8, to: u8 },
    Receive { to: u8, from: u8 },
    ReceiveAll { to: u8 },
    Park { shard: u8 },
    Unpark { shard: u8 },
    Ring { shard: u8 },
}

struct Checked {
    doorbells: Vec<Arc<Doorbell>>,
    ports: Vec<Port<u64>>,
    /// What each lane holds, by receiving and sending shard.
    lanes: Vec<Vec<VecDeque<u64>>>,
    batches_per_lane: usize,
    /// Asleep, not yet rung.
    asleep: Vec<bool>,
    rings: Vec<u64>,
    refused: Vec<u64>,
    next: u64,
}

impl Checked {
    fn send(&mut self, from: usize, to: usize) {
        let batch = self.next;
        self.next += 1;
        let lane = &mut self.lanes[to][from];
        if lane.len() == self.batches_per_lane {
            assert_eq!(self.ports[from].send(to, batch), Err(batch));
            self.refused[from] += 1;
        } else {
            assert_eq!(self.ports[from].send(to, batch), Ok(()));
            lane.push_back(batch);
            self.expect_ring(to);
        }
    }

    fn expect_ring(&mut self, shard: usize) {
        self.rings[shard] += u64::from(self.asleep[shard]);
        self.asleep[shard] = false;
    }

    fn receive(&mut self, to: usize, from: usize) {
        assert_eq!(self.ports[to].receive(from), self.lanes[to][from].pop_front());
    }

    /// As a shard does: declare it, look a last time, stay awake if there is anything.
    fn park(&mut self, shard: usize) {
        self.doorbells[shard].park();
        self.asleep[shard] = true;
        let anything = self.lanes[shard].iter().any(|lane| !lane.is_empty());
        assert_eq!(self.ports[shard].is_empty(), !anything);
        if anything {
            self.unpark(shard);
        }
    }

    fn unpark(&mut self, shard: usize) {
        self.doorbells[shard].unpark();
        self.asleep[shard] = false;
    }

    fn ring(&mut self, shard: usize) {
        assert_eq!(self.doorbells[shard].ring(), self.asleep[shard]);
        self.expect_ring(shard);
    }

    fn check(&self) {
        for (shard, port) in self.ports.iter().enumerate() {
            assert_eq!(self.doorbells[shard].rings(), self.rings[shard]);
            assert_eq!(port.refused(), self.refused[shard]);
            for (from, lane) in self.lanes[shard].iter().enumerate() {
                assert_eq!(port.depth(from), lane.len());
                assert!(!self.asleep[shard] || lane.is_empty(), "asleep on a message");
            }
        }
    }
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let shards = usize::from(input.shards % 4) + 1;
    let batches_per_lane = usize::from(input.batches_per_lane % 8) + 1;
    let doorbells: Vec<Arc<Doorbell>> = (0..shards).map(|_| Doorbell::new().expect("eventfd")).collect();
    let mut checked = Checked {
        ports: mesh(shards, batches_per_lane, &doorbells),
        doorbells,
        lanes: vec![vec![VecDeque::new(); shards]; shards],
        batches_per_lane,
        asleep: vec![false; shards],
        rings: vec![0; shards],
        refused: vec![0; shards],
        next: 0,
    };
    let shard_of = |byte: u8| usize::from(byte) % shards;
    for step in input.steps {
        match step {
            Step::Send { from, to } => checked.send(shard_of(from), shard_of(to)),
            Step::Receive { to, from } => checked.receive(shard_of(to), shard_of(from)),
            Step::ReceiveAll { to } => {
                for from in 0..shards {
                    (0..=batches_per_lane).for_each(|_| checked.receive(shard_of(to), from));
                }
            }
            Step::Park { shard } => checked.park(shard_of(shard)),
            Step::Unpark { shard } => checked.unpark(shard_of(shard)),
            Step::Ring { shard } => checked.ring(shard_of(shard)),
        }
        checked.check();
    }
});
