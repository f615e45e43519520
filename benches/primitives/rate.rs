//! What a limit costs each publish or message that it counts: the look into the shared table and the window itself.

use courier::mailbox::counters::Counters;
use courier::rate::{Rate, Who, Window};
use std::hint::black_box;

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[("rate.window_hit", window_hit)];

/// Services that publish in turn, each once a second: of each 60 publishes count, and one leaves with each that comes.
const SERVICES: u64 = 100;
const RATE: Rate = Rate { limit: 100, window_us: 60_000_000 };

fn window_hit() -> Operation {
    let counters: Counters<Window> = Counters::new(65_536);
    let names: Vec<String> = (0..SERVICES).map(|service| format!("service-{service}")).collect();
    let mut at = 0;
    let mut hit = move || {
        at += 1;
        let (now_us, name) = (at * 10_000, &names[(at % SERVICES) as usize]);
        let look = counters.look(
            &Who::Service(black_box(name)),
            |window| window.is_idle(RATE, now_us),
            |window| {
                let taken = window.take(1, RATE, now_us);
                (taken, taken.granted > 0)
            },
        );
        assert_eq!(black_box(look).found.granted, 1);
    };
    (0..SERVICES * 60).for_each(|_| hit());
    Box::new(hit)
}
