//! One to three hubs by operations: joins to channels and patterns, through filters, leaves, publishes of any priority,
//! mail that is taken, delayed and put back, flushes into sockets that take little. The model sees only answers and what
//! members are sent: each event at most once, each that a subscription was open for all the while unless a gap tells of
//! it, none that no subscription was open for; per channel and priority in the owner's order; and every publish is
//! answered with the right count.
#![no_main]
use arbitrary::Arbitrary;
use courier::event::{Channel, Extras, Facts, Filter, Pattern, Position, Priorities, Priority};
use courier::hub::*;
use courier::stdx::slab::Key;
use std::collections::VecDeque;
use std::io::IoSlice;

const MEMBERS: usize = 6;
const CHANNELS: usize = 4;
/// Subscriptions that a member may have: one to each channel and one to each pattern.
const PATTERNS: [&str; 3] = ["*", "g0.*", "g1.**"];
const TAGS: usize = CHANNELS + PATTERNS.len();
const FILTERS: u8 = 4;
const EVENTS_MAX: usize = 3;
const LANE_EVENTS_MAX: usize = 4;

#[derive(Arbitrary, Debug)]
struct Input {
    shards: u8,
    owners: [u8; CHANNELS],
    clients_max: u8,
    slow: u8,
    steps: Vec<Step>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Join { hub: u8, member: u8, tag: u8, filter: u8 },
    Refilter { hub: u8, member: u8, tag: u8, filter: u8 },
    Leave { hub: u8, member: u8, tag: u8 },
    Publish { hub: u8, channel: u8, priority: u8 },
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

/// One subscription through one filter: when it was answered and when it was ended, counted in operations.
#[derive(Clone, Copy)]
struct Session {
    tag: usize,
    filter: u8,
    since: usize,
    until: Option<usize>,
}

#[derive(Default)]
struct Member {
    generation: u32,
    sessions: Vec<Session>,
    open: [Option<usize>; TAGS],
    filters: [u8; TAGS],
    /// What its socket has told it so far: which subscriptions are open, through which filter.
    told: [Option<u8>; TAGS],
    got: Vec<usize>,
    gaps: Vec<(usize, Position, Position)>,
    /// It asked for something: one that goes may be counted though it saw nothing.
    asked: bool,
    lost: usize,
    read: usize,
}

struct Event {
    channel: usize,
    priority: u8,
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

fn event(text: &str, priority: u8) -> courier::event::Event {
    let priority = Priority::new(priority.into()).expect("1 to 10");
    let extras = (priority != Priority::NORMAL).then(|| Box::new(Extras { priority, ..Extras::default() }));
    courier::event::Event::new(text, &Facts::default(), extras, 0)
}

fn key(slot: usize, generation: u32) -> Key {
    Key { slot: slot as u32, generation }
}

/// Number 0 lets all pass; the others have a floor each.
fn filter(number: u8) -> Option<Filter> {
    let floor = Priority::new(u64::from(number) * 2 + 1).expect("1 to 10");
    Filter::new(Vec::new(), Priorities::floor(floor), Vec::new())
}

fn passes(number: u8, priority: u8) -> bool {
    priority > number * 2
}

impl World {
    fn new(input: &Input) -> World {
        let shards = usize::from(input.shards % 3) + 1;
        let router = RouterQueue::default();
        let slow = [Slow::Disconnect, Slow::DropOldest][usize::from(input.slow % 2)];
        let options = |shard| Options {
            shard,
            shards,
            outbox: Bounds { events_max: EVENTS_MAX, bytes_max: 1000, control_bytes_max: 100_000, router },
            lane: LaneBounds { events_max: LANE_EVENTS_MAX, bytes_max: 1000 },
            channels: ChannelOptions { clients_max: u32::from(input.clients_max % 8), slow, ..Default::default() },
            fsync: Default::default(),
            letters: Default::default(),
            ephemeral_idle_us: 1,
            renderers: &[],
            lines: &[],
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

    fn covers(&self, tag: usize, channel: usize) -> bool {
        match tag.checked_sub(CHANNELS) {
            None => tag == channel,
            Some(pattern) => courier::event::matches(PATTERNS[pattern], &self.names[channel]),
        }
    }

    fn join(&mut self, hub: usize, slot: usize, tag: usize, number: u8) {
        let member = &mut self.members[hub][slot];
        if member.generation == 0 {
            *member = Member { generation: self.clock as u32 + 1, lost: member.lost, ..Member::default() };
            self.hubs[hub].admit(key(slot, member.generation));
            self.pipes[hub][slot] = Pipe::default();
        }
        let key = key(slot, member.generation);
        member.asked = true;
        let pattern = PATTERNS.get(tag.wrapping_sub(CHANNELS)).map(|text| Pattern::parse(text).expect("a pattern"));
        let wish = match &pattern {
            None => Wish::channel(&self.names[tag]),
            Some(pattern) => Wish::pattern(pattern),
        };
        let wish = Wish { filter: filter(number), ..wish };
        let known = self.hubs[hub].subscriptions_of(key);
        let joining = self.hubs[hub].join(key, tag as u32, &wish, self.clock as u64);
        if self.hubs[hub].subscriptions_of(key) > known {
            self.members[hub][slot].filters[tag] = number;
        }
        if let Joining::Done(_) = joining {
            self.opened(hub, slot, tag);
        }
    }

    fn opened(&mut self, hub: usize, slot: usize, tag: usize) {
        let member = &mut self.members[hub][slot];
        assert!(member.open[tag].is_none(), "joined twice");
        member.open[tag] = Some(member.sessions.len());
        let filter = member.filters[tag];
        member.sessions.push(Session { tag, filter, since: self.clock, until: None });
        self.tell(hub, slot, tag, Some(filter));
    }

    /// As a shard says `subscribed` and `unsubscribed`: what comes behind it is of the subscriptions that are then open.
    fn tell(&mut self, hub: usize, slot: usize, tag: usize, filter: Option<u8>) {
        let key = key(slot, self.members[hub][slot].generation);
        let said = format!("told{tag}{}", filter.map_or("-".to_owned(), |filter| filter.to_string()));
        self.hubs[hub].push_control(key, event(&said, 5).frame());
    }

    fn close(&mut self, hub: usize, slot: usize, tag: usize) {
        let member = &mut self.members[hub][slot];
        let session = member.open[tag].take().expect("it is open");
        member.sessions[session].until = Some(self.clock);
    }

    fn refilter(&mut self, hub: usize, slot: usize, tag: usize, number: u8) {
        let member = &mut self.members[hub][slot];
        let key = key(slot, member.generation);
        let known = self.hubs[hub].refilter(key, tag as u32, filter(number));
        if known {
            member.filters[tag] = number;
        }
        if member.open[tag].is_some() {
            assert!(known);
            self.close(hub, slot, tag);
            self.opened(hub, slot, tag);
        }
    }

    fn leave(&mut self, hub: usize, slot: usize, tag: usize) {
        let member = &mut self.members[hub][slot];
        let left = self.hubs[hub].leave(key(slot, member.generation), tag as u32, self.clock as u64);
        assert_eq!(left, member.open[tag].is_some());
        if left {
            self.close(hub, slot, tag);
            self.tell(hub, slot, tag, None);
        }
    }

    fn publish(&mut self, hub: usize, channel: usize, priority: u8) {
        let n = self.events.len();
        self.events.push(Event { channel, priority, began: self.clock, answered: None, got: 0 });
        let event = event(&n.to_string(), priority);
        let origin = Origin { connection: key(0, 1), request: n as u32, item: 0 };
        let outlet = &mut Pipes(&mut self.pipes[hub]);
        match self.hubs[hub].publish(&self.names[channel], event, origin, self.clock as u64, outlet) {
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
        self.judge_order(hub, slot);
        let member = &mut self.members[hub][slot];
        *member = Member { lost: member.lost + usize::from(member.asked), ..Member::default() };
        self.pipes[hub][slot] = Pipe::default();
    }

    /// What the socket of a member was sent since the last look.
    fn read(&mut self, hub: usize, slot: usize) {
        loop {
            let member = &mut self.members[hub][slot];
            let out = &self.pipes[hub][slot].out;
            let [head, len, ..] = out[member.read..] else { return };
            let end = member.read + 2 + usize::from(len);
            if out.len() < end {
                return;
            }
            let payload = std::str::from_utf8(&out[member.read + 2..end]).expect("text");
            member.read = end;
            assert!(head == 0x81 && len < 126, "the stream is broken");
            if payload == "pong" {
                continue;
            }
            if let Some(told) = payload.strip_prefix("told") {
                let (tag, filter) = told.split_at(1);
                member.told[tag.parse::<usize>().expect("a digit")] = filter.parse().ok();
                continue;
            }
            let n: usize = payload.parse().expect("a number");
            assert!(!member.got.contains(&n), "twice");
            member.got.push(n);
            let told = member.told;
            let event = &mut self.events[n];
            event.got += 1;
            let (channel, priority) = (event.channel, event.priority);
            let open = |tag: &usize| told[*tag].is_some_and(|filter| passes(filter, priority));
            assert!((0..TAGS).filter(open).any(|tag| self.covers(tag, channel)), "event {n} without a subscription");
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
        while let Some(joined) = self.hubs[hub].next_joined() {
            let (slot, tag) = (joined.member.slot as usize, joined.tag as usize);
            assert_eq!(self.members[hub][slot].generation, joined.member.generation);
            if joined.outcome.is_ok() {
                self.opened(hub, slot, tag);
            }
        }
        for gap in std::mem::take(&mut self.hubs[hub].effects.gaps) {
            let channel = self.names.iter().position(|name| name == gap.channel.as_str()).expect("ours");
            let member = &mut self.members[hub][gap.member.slot as usize];
            if member.generation == gap.member.generation {
                member.gaps.push((channel, gap.from, gap.to));
            }
        }
        while let Some((key, _)) = self.hubs[hub].take_cut() {
            if self.members[hub][key.slot as usize].generation == key.generation {
                self.dismiss(hub, key.slot as usize);
            }
        }
    }

    fn flush(&mut self, hub: usize) {
        self.hubs[hub].flush(self.clock as u64, &mut Pipes(&mut self.pipes[hub]));
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
        match &self.events[n].answered {
            Some((_, Ok(published))) => Some(published.position),
            _ => None,
        }
    }

    /// Of one channel and priority, events come in the order of their positions.
    fn judge_order(&self, hub: usize, slot: usize) {
        let got = &self.members[hub][slot].got;
        let kind = |n: usize| (self.events[n].channel, self.events[n].priority);
        for (at, one) in got.iter().enumerate() {
            let next = got[at + 1..].iter().find(|other| kind(**other) == kind(*one));
            if let (Some(one), Some(other)) = (self.position(*one), next.and_then(|n| self.position(*n))) {
                assert!(one.epoch != other.epoch || one.offset < other.offset, "another order");
            }
        }
    }

    /// Whether a member was told that it lost an event.
    fn missed(&self, member: &Member, n: usize) -> bool {
        let Some(at) = self.position(n) else { return false };
        let told = |(channel, from, to): &(usize, Position, Position)| {
            *channel == self.events[n].channel && *from <= at && at <= *to
        };
        member.gaps.iter().any(told)
    }

    /// What one member got, against what it was told.
    fn judge(&self, hub: usize, slot: usize) {
        self.judge_order(hub, slot);
        let member = &self.members[hub][slot];
        for session in &member.sessions {
            for (n, event) in self.events.iter().enumerate() {
                let Some((answered, Ok(_))) = &event.answered else { continue };
                let due = self.covers(session.tag, event.channel)
                    && passes(session.filter, event.priority)
                    && event.began > session.since
                    && session.until.is_none_or(|until| *answered < until);
                assert!(!due || member.got.contains(&n) || self.missed(member, n), "event {n} did not come");
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
        let gone: usize = self.members.iter().flatten().map(|member| member.lost).sum();
        for (n, event) in self.events.iter().enumerate() {
            let missed = self.members.iter().flatten().filter(|member| self.missed(member, n)).count();
            match &event.answered.as_ref().expect("every publish is answered").1 {
                Ok(published) => {
                    let reached = published.reached as usize;
                    let lost = gone + missed;
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

/// Names that the hash gives to these owners, half of them in each of two families; its seed is drawn anew by each
/// process.
fn names(owners: &[u8], shards: usize) -> Vec<String> {
    let mut candidates = (0..2).map(|family| (1000..).map(move |n| format!("g{family}.c{n}"))).collect::<Vec<_>>();
    let owned = |(at, owner): (usize, &u8)| {
        let owner = usize::from(*owner) % shards;
        candidates[at % 2].find(|name| Channel::owner(name, shards) == owner).expect("endless")
    };
    owners.iter().enumerate().map(owned).collect()
}

libfuzzer_sys::fuzz_target!(|input: Input| {
    let mut world = World::new(&input);
    let shards = world.hubs.len();
    let shard = |byte: u8| usize::from(byte) % shards;
    let place = |byte: u8| usize::from(byte) % MEMBERS;
    let channel_of = |byte: u8| usize::from(byte) % CHANNELS;
    let tag_of = |byte: u8| usize::from(byte) % TAGS;
    for step in &input.steps {
        world.clock += 1;
        match *step {
            Step::Join { hub, member, tag, filter } => {
                world.join(shard(hub), place(member), tag_of(tag), filter % FILTERS);
            }
            Step::Refilter { hub, member, tag, filter } => {
                world.refilter(shard(hub), place(member), tag_of(tag), filter % FILTERS);
            }
            Step::Leave { hub, member, tag } => world.leave(shard(hub), place(member), tag_of(tag)),
            Step::Publish { hub, channel, priority } => {
                // Half of them NORMAL, as most events are.
                let priority = if priority < 128 { 5 } else { priority % 10 + 1 };
                world.publish(shard(hub), channel_of(channel), priority);
            }
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
