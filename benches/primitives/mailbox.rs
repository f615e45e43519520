//! One batch from a shard to another, seen from one thread: the instructions, not the cache misses between cores.

use std::hint::black_box;
use std::sync::Arc;

use courier::mailbox::doorbell::Doorbell;
use courier::mailbox::lanes::mesh;

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] =
    &[("mailbox.hop", hop), ("mailbox.hop.std_mpsc", std_mpsc), ("mailbox.empty_look", empty_look)];

/// As large as a batch handle with its facts.
type Batch = [u64; 4];
const BATCHES_PER_LANE: usize = 64;

fn ports() -> Vec<courier::mailbox::lanes::Port<Batch>> {
    let doorbells: Vec<Arc<Doorbell>> =
        (0..2).map(|_| Doorbell::new().expect("an eventfd is to be had")).collect();
    mesh(2, BATCHES_PER_LANE, &doorbells)
}

/// The receiver is awake, so the doorbell is asked and stays silent.
fn hop() -> Operation {
    let ports = ports();
    Box::new(move || {
        ports[0].send(1, black_box([1; 4])).expect("the lane is empty");
        black_box(ports[1].receive(0));
    })
}

fn std_mpsc() -> Operation {
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Batch>(BATCHES_PER_LANE);
    Box::new(move || {
        sender.try_send(black_box([1; 4])).expect("the queue is empty");
        let _ = black_box(receiver.try_recv());
    })
}

/// What each turn pays for a peer that sent nothing.
fn empty_look() -> Operation {
    let ports = ports();
    Box::new(move || {
        black_box(ports[1].receive(black_box(0)));
    })
}
