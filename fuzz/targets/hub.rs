//! One to three hubs by operations: joins, leaves, publishes, mail that is taken, delayed and put back, flushes into
//! sockets that take little. The model sees only answers and what members are sent: every member gets a contiguous part
//! of its channel's order, beginning and ending where it was told, and every publish is answered with the right count.
#![no_main]
use arbitrary::Arbitrary;
use courier::event::{Channel, Frame, Position};
use courier::hub::*;
use courier::stdx::slab::Key;
use std::collections::VecDeque;
use std::io::IoSlice;

const MEMBERS: usize = 6;
const CHANNELS: usize = 4;
const EVENTS_MAX: usize = 3;
const LANE_EVENTS_MAX: usize = 4;

#[derive(Arbitrary, Debug)]
struct Input {
    shards: u8,
    owners: [u8; CHANNELS],
    clients_max: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Join { hub: u8, member: u8, channel: u8 },
    Leave { hub: u8, member: u8, channel: u8 },
    Publish { hub: u8, channel: u8 },
    Pong { hub: u8, member: u8 },
    Dismiss { hub: u8, member: u8 },
    Flush { hub: u8 },
    Room { hub: u8, member: u8, bytes: u8 },
    Take { from: u8, to: u8 },
    PutBack { from: u8, to: u8 },
    Receive { to: u8, from: u8 },
    Evict { hub: u8 },
}

#[derive(Default)]
struct Pipe {
    room: usize,
    out: Vec<u8>,
    refused: bool,
}

/// The sockets of one hub.
struct Pipes<'p>(&'p mut [Pipe]);

impl Outlet for Pipes<'_> {
    fn send(&mut self, member: u32, bytes: &[u8]) -> Sent {
        self.send_all(member, &[IoSlice::new(bytes)])
    }

    fn send_all(&mut self, member: u32, slices: &[IoSlice<'_>]) -> Sent {
        let pipe = &mut self.0[member as usize];
        let before = pipe.out.len();
        for slice in slices {
            let n = slice.len().min(pipe.room);
            pipe.out.extend_from_slice(&slice[..n]);
            pipe.room -= n;
            pipe.refused |= n < slice.len();
        }
        Sent::Bytes(pipe.out.len() - before)
    }
}

/// One subscription: when it was answered and when it was ended, counted in operations, and what came.
struct Session {
    channel: usize,
    since: usize,
    until: Option<usize>,
    cut: bool,
    got: Vec<usize>,
}

#[derive(Default)]
struct Member {
    generation: u32,
    sessions: Vec<Session>,
    open: [Option<usize>; CHANNELS],
    /// Ends of subscriptions that the member has heard of.
    left: [usize; CHANNELS],
    /// Channels that this slot ever asked for: a member that goes may be counted though it saw nothing.
    lost: [usize; CHANNELS],
    asked: [bool; CHANNELS],
    read: usize,
}

struct Event {
    channel: usize,
    began: usize,
    /// When it was answered, and with what.
    answered: Option<(usize, Result<Published, Refusal>)>,
    got: usize,
}

struct World {
    hubs: Vec<Hub>,
    pipes: Vec<Vec<Pipe>>,
    members: Vec<Vec<Member>>,
    lanes: Vec<Vec<VecDeque<Batch>>>,
    names: Vec<String>,
    events: Vec<Event>,
    clock: usize,
}

fn key(slot: usize, generation: u32) -> Key {
    Key { slot: slot as u32, generation }
}

impl World {
    fn new(input: &Input) -> World {
        let shards = usize::from(input.shards % 3) + 1;
        let options = |shard| Options {
            shard,
            shards,
            outbox: Bounds { events_max: EVENTS_MAX, bytes_max: 1000, control_bytes_max: 100_000 },
            lane: LaneBounds { events_max: LANE_EVENTS_MAX, bytes_max: 1000 },
            channels: ChannelOptions { clients_max: u32::from(input.clients_max % 8), ..Default::default() },
            ephemeral_idle_us: 1,
        };
        let hub = |shard| {
            let mut epoch = shard as u32 * 1000;
            Hub::new(options(shard), Box::new(move || (epoch += 1, epoch).1))
        };
        World {
            hubs: (0..shards).map(hub).collect(),
            pipes: (0..shards).map(|_| (0..MEMBERS).map(|_| Pipe::default()).collect()).collect(),
            members: (0..shards).map(|_| (0..MEMBERS).map(|_| Member::default()).collect()).collect(),
            lanes: (0..shards).map(|_| (0..shards).map(|_| VecDeque::new()).collect()).collect(),
            names: names(&input.owners, shards),
            events: Vec::new(),
            clock: 0,
        }
    }

    fn join(&mut self, hub: usize, slot: usize, channel: usize) {
        let member = &mut self.members[hub][slot];
        if member.generation == 0 {
            *member = Member { generation: self.clock as u32 + 1, lost: member.lost, ..Member::default() };
            self.hubs[hub].admit(key(slot, member.generation));
            self.pipes[hub][slot] = Pipe::default();
        }
        let key = key(slot, member.generation);
        member.asked[channel] = true;
        if self.hubs[hub].join(key, &self.names[channel], self.clock as u64) == Joining::Done {
            self.opened(hub, slot, channel);
        }
    }

    fn opened(&mut self, hub: usize, slot: usize, channel: usize) {
        let member = &mut self.members[hub][slot];
        assert!(member.open[channel].is_none(), "joined twice");
        member.open[channel] = Some(member.sessions.len());
        let since = self.clock;
        member.sessions.push(Session { channel, since, until: None, cut: false, got: Vec::new() });
    }

    fn leave(&mut self, hub: usize, slot: usize, channel: usize) {
        let member = &mut self.members[hub][slot];
        let left = self.hubs[hub].leave(key(slot, member.generation), &self.names[channel], self.clock as u64);
        assert_eq!(left, member.open[channel].is_some());
        if let Some(session) = member.open[channel].take() {
            member.sessions[session].until = Some(self.clock);
            // As a shard says `unsubscribed`: what comes behind it belongs to the next subscription.
            let said = format!("left{channel}");
            self.hubs[hub].push_control(key(slot, member.generation), Frame::text(&said, &mut Vec::new()).bytes());
        }
    }

    fn publish(&mut self, hub: usize, channel: usize) {
        let n = self.events.len();
        self.events.push(Event { channel, began: self.clock, answered: None, got: 0 });
        let frame = Frame::text(&n.to_string(), &mut Vec::new());
        let origin = Origin { connection: key(0, 1), request: n as u32 };
        let outlet = &mut Pipes(&mut self.pipes[hub]);
        match self.hubs[hub].publish(&self.names[channel], frame, origin, self.clock as u64, outlet) {
            Publishing::Done(published) => self.answered(n, Ok(published)),
            Publishing::Refused(why) => self.answered(n, Err(why)),
            Publishing::Waiting => {}
        }
    }

    fn answered(&mut self, n: usize, outcome: Result<Published, Refusal>) {
        assert!(self.events[n].answered.is_none(), "answered twice");
        self.events[n].answered = Some((self.clock, outcome));
    }

    /// The connection is gone, with what waits for it.
    fn dismiss(&mut self, hub: usize, slot: usize) {
        self.read(hub, slot);
        let member = &mut self.members[hub][slot];
        self.hubs[hub].dismiss(key(slot, member.generation), self.clock as u64);
        member.sessions.iter_mut().for_each(|session| session.cut = true);
        self.judge(hub, slot);
        let member = &mut self.members[hub][slot];
        for channel in 0..CHANNELS {
            member.lost[channel] += usize::from(member.asked[channel]);
        }
        *member = Member { lost: member.lost, ..Member::default() };
        self.pipes[hub][slot] = Pipe::default();
    }

    /// What the socket of a member was sent since the last look.
    fn read(&mut self, hub: usize, slot: usize) {
        let member = &mut self.members[hub][slot];
        let out = &self.pipes[hub][slot].out;
        while let [head, len, ..] = out[member.read..]
            && out.len() >= member.read + 2 + usize::from(len)
        {
            let payload = &out[member.read + 2..member.read + 2 + usize::from(len)];
            member.read += 2 + usize::from(len);
            assert!(head == 0x81 && len < 126, "the stream is broken");
            if payload == b"pong" {
                continue;
            }
            if let Some(channel) = payload.strip_prefix(b"left") {
                member.left[usize::from(channel[0] - b'0')] += 1;
                continue;
            }
            let n: usize = std::str::from_utf8(payload).expect("text").parse().expect("a number");
            let event = &mut self.events[n];
            event.got += 1;
            let sessions = &mut member.sessions;
            let mut sessions = sessions.iter_mut().filter(|session| session.channel == event.channel);
            let session = sessions.nth(member.left[event.channel]);
            let session = session.expect("an event without a subscription");
            assert!(!session.got.contains(&n), "twice");
            session.got.push(n);
        }
    }

    fn take(&mut self, from: usize, to: usize) {
        if let Some(batch) = self.hubs[from].post.take(to) {
            self.lanes[to][from].push_back(batch);
        }
        self.tell_load(from, to);
    }

    /// The youngest batch in a lane turns out not to have been sent.
    fn put_back(&mut self, from: usize, to: usize) {
        if let Some(batch) = self.lanes[to][from].pop_back() {
            self.hubs[from].post.put_back(to, batch);
        }
        self.tell_load(from, to);
    }

    fn tell_load(&mut self, from: usize, to: usize) {
        let loads = self.lanes[to][from].iter().map(|batch| batch.load);
        let sum = loads.fold(Load::default(), |sum, load| Load {
            events: sum.events + load.events,
            bytes: sum.bytes + load.bytes,
        });
        assert!(sum.events <= LANE_EVENTS_MAX, "{} events in a lane", sum.events);
        self.hubs[from].post.set_in_lane(to, sum);
    }

    fn receive(&mut self, to: usize, from: usize) -> bool {
        let Some(batch) = self.lanes[to][from].pop_front() else { return false };
        for mail in batch.mail {
            self.hubs[to].receive(from, mail, self.clock as u64, &mut Pipes(&mut self.pipes[to]));
            self.effects(to);
        }
        self.tell_load(from, to);
        true
    }

    fn effects(&mut self, hub: usize) {
        for answer in std::mem::take(&mut self.hubs[hub].effects.answers) {
            self.answered(answer.origin.request as usize, answer.outcome);
        }
        for joined in std::mem::take(&mut self.hubs[hub].effects.joined) {
            let channel = self.names.iter().position(|name| name == joined.channel.as_str()).expect("ours");
            assert_eq!(self.members[hub][joined.member.slot as usize].generation, joined.member.generation);
            if joined.outcome.is_ok() {
                self.opened(hub, joined.member.slot as usize, channel);
            }
        }
        while let Some((key, _)) = self.hubs[hub].take_cut() {
            if self.members[hub][key.slot as usize].generation == key.generation {
                self.dismiss(hub, key.slot as usize);
            }
        }
    }

    fn flush(&mut self, hub: usize) {
        self.hubs[hub].flush(&mut Pipes(&mut self.pipes[hub]));
        for slot in 0..MEMBERS {
            self.read(hub, slot);
        }
    }

    fn room(&mut self, hub: usize, slot: usize, bytes: usize) {
        let pipe = &mut self.pipes[hub][slot];
        pipe.room += bytes;
        if std::mem::take(&mut pipe.refused) {
            self.hubs[hub].writable(key(slot, self.members[hub][slot].generation));
        }
    }

    fn position(&self, n: usize) -> Option<Position> {
        match self.events[n].answered {
            Some((_, Ok(published))) => Some(published.position),
            _ => None,
        }
    }

    /// What one member got, against what it was told.
    fn judge(&self, hub: usize, slot: usize) {
        for session in &self.members[hub][slot].sessions {
            for pair in session.got.windows(2) {
                if let (Some(one), Some(other)) = (self.position(pair[0]), self.position(pair[1])) {
                    assert_eq!((one.epoch, one.offset + 1), (other.epoch, other.offset), "a hole or another order");
                }
            }
            if session.cut {
                continue;
            }
            for (n, event) in self.events.iter().enumerate() {
                let Some((answered, Ok(_))) = event.answered else { continue };
                let due = event.channel == session.channel
                    && event.began > session.since
                    && session.until.is_none_or(|until| answered < until);
                assert!(!due || session.got.contains(&n), "event {n} did not come");
            }
        }
    }

    /// Lets everything come to its end, and compares.
    fn finish(&mut self) {
        let shards = self.hubs.len();
        for _ in 0..1000 {
            let mut moved = false;
            for (from, to) in (0..shards).flat_map(|from| (0..shards).map(move |to| (from, to))) {
                self.take(from, to);
                moved |= self.receive(to, from);
            }
            for hub in 0..shards {
                (0..MEMBERS).for_each(|slot| self.room(hub, slot, 1 << 20));
                self.flush(hub);
                self.effects(hub);
                moved |= self.hubs[hub].is_dirty();
            }
            if !moved {
                break;
            }
        }
        for (hub, slot) in (0..shards).flat_map(|hub| (0..MEMBERS).map(move |slot| (hub, slot))) {
            self.judge(hub, slot);
        }
        assert!(self.hubs.iter().all(|hub| hub.pending() == 0), "a publish waits for ever");
        for (n, event) in self.events.iter().enumerate() {
            let lost: usize = self.members.iter().flatten().map(|member| member.lost[event.channel]).sum();
            match event.answered.expect("every publish is answered").1 {
                Ok(published) => {
                    let reached = published.reached as usize;
                    assert!(event.got <= reached && reached <= event.got + lost, "event {n}: {reached}, {}", event.got);
                }
                Err(_) => assert_eq!(event.got, 0, "event {n} was refused and delivered"),
            }
        }
        for (hub, slot) in (0..shards).flat_map(|hub| (0..MEMBERS).map(move |slot| (hub, slot))) {
            self.dismiss(hub, slot);
        }
        for _ in 0..3 {
            for (from, to) in (0..shards).flat_map(|from| (0..shards).map(move |to| (from, to))) {
                self.take(from, to);
                self.receive(to, from);
            }
            (0..shards).for_each(|hub| self.flush(hub));
        }
        assert!(self.hubs.iter().all(|hub| hub.heard() == 0), "a channel is heard by nobody");
    }
}

/// Names that the hash gives to these owners; its seed is drawn anew by each process.
fn names(owners: &[u8], shards: usize) -> Vec<String> {
    let mut candidates = (1000..).map(|n| format!("c{n}"));
    let owned = |owner: &u8| {
        candidates.find(|name| Channel::owner(name, shards) == usize::from(*owner) % shards).expect("endless")
    };
    owners.iter().map(owned).collect()
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let mut world = World::new(&input);
    let shards = world.hubs.len();
    let shard = |byte: u8| usize::from(byte) % shards;
    let place = |byte: u8| usize::from(byte) % MEMBERS;
    let channel_of = |byte: u8| usize::from(byte) % CHANNELS;
    for step in &input.steps {
        world.clock += 1;
        match *step {
            Step::Join { hub, member, channel } => world.join(shard(hub), place(member), channel_of(channel)),
            Step::Leave { hub, member, channel } => world.leave(shard(hub), place(member), channel_of(channel)),
            Step::Publish { hub, channel } => world.publish(shard(hub), channel_of(channel)),
            Step::Pong { hub, member } => {
                let key = key(place(member), world.members[shard(hub)][place(member)].generation);
                world.hubs[shard(hub)].push_control(key, b"\x81\x04pong");
            }
            Step::Dismiss { hub, member } => world.dismiss(shard(hub), place(member)),
            Step::Flush { hub } => world.flush(shard(hub)),
            Step::Room { hub, member, bytes } => world.room(shard(hub), place(member), bytes.into()),
            Step::Take { from, to } => world.take(shard(from), shard(to)),
            Step::PutBack { from, to } => world.put_back(shard(from), shard(to)),
            Step::Receive { to, from } => drop(world.receive(shard(to), shard(from))),
            Step::Evict { hub } => world.hubs[shard(hub)].evict(),
        }
        (0..shards).for_each(|hub| world.effects(hub));
    }
    world.clock += 1;
    world.finish();
});
