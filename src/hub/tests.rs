//! Stories of single hubs; sequences of any kind are tried by `fuzz/targets/hub.rs`, several shards by
//! `tests/simulation`.

use super::*;
use std::io::IoSlice;

/// Takes nothing.
struct Full;

impl Outlet for Full {
    fn send(&mut self, _: u32, _: &[u8]) -> Sent {
        Sent::Bytes(0)
    }
    fn send_all(&mut self, _: u32, _: &[IoSlice<'_>]) -> Sent {
        Sent::Bytes(0)
    }
}

fn hub() -> Hub {
    let options = Options {
        shard: 0,
        shards: 1,
        outbox: Bounds { events_max: 2, bytes_max: 1000, control_bytes_max: 1000 },
        lane: LaneBounds { events_max: 10, bytes_max: 1000 },
        channels: ChannelOptions::default(),
        ephemeral_idle_us: 1,
    };
    Hub::new(options, Box::new(|| 1))
}

fn publish(hub: &mut Hub) -> Published {
    let origin = Origin { connection: Key { slot: 9, generation: 1 }, request: 0 };
    let frame = Frame::text("{\"x\":1}", &mut Vec::new());
    match hub.publish("a", frame, origin, 0, &mut Full) {
        Publishing::Done(published) => published,
        other => panic!("{other:?}"),
    }
}

/// A subscriber was found slow, left, and a new connection took its slot, all in one turn: the new one was closed.
#[test]
fn who_is_given_up_is_not_mistaken_for_the_next_in_its_slot() {
    let (old, new) = (Key { slot: 0, generation: 1 }, Key { slot: 0, generation: 2 });
    let mut hub = hub();
    hub.admit(old);
    assert_eq!(hub.join(old, "a", 0), Joining::Done);
    for _ in 0..2 {
        publish(&mut hub);
        hub.flush(&mut Full);
    }
    assert_eq!((publish(&mut hub).reached, hub.has_cut()), (0, true));
    hub.dismiss(old, 0);
    hub.admit(new);
    assert_eq!((hub.take_cut(), hub.take_cut()), (Some((old, Cut::Slow)), None));
}
