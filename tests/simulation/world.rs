//! The machine: shards, the fake network between them and the clients, virtual time, and the scheduler that draws
//! from the seed what happens next. A shard turns only when something gives it a reason, as in the real loop, so a
//! forgotten wake shows as a client that waits for ever.

use crate::client::{Client, Scene};
use crate::dice::Dice;
use crate::model::{Model, Trace};
use crate::net::{Fd, Net};
use crate::plan::Plan;
use crate::rights::Moment;
use crate::tokens;
use courier::hub::{Batch, Bounds};
use courier::mailbox::budget::Budget;
use courier::mailbox::census::Census;
use courier::mailbox::doorbell::Doorbell;
use courier::mailbox::drain::{Drain, Stage};
use courier::mailbox::lanes::mesh;
use courier::mailbox::load::Loads;
use courier::mailbox::notice::Notice;
use courier::mailbox::pulse::Pulse;
use courier::mailbox::tally::Tally;
use courier::mailbox::users::Users;
use courier::runtime::shard::{Rest, Shard, Shared};
use courier::stdx::clock::Now;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Rounds after which a world that should come to rest is taken for one that never does.
const ROUNDS_MAX: usize = 50_000;
/// 2026-11-21, for timestamps.
pub const UNIX_MS: u64 = 1_795_271_775_123;
/// The virtual time at which its first second is over.
const SECOND_US: u64 = (1000 - UNIX_MS % 1000) * 1000;
/// Clients come from so many addresses.
const ADDRESSES: usize = 3;

/// Of an event without its padding, in the largest envelope.
const FRAME_BYTES_MAX: usize = 2000;
/// Whose rights end is told within so long.
pub const JUDGED_WITHIN_US: u64 = 1_000_000;

/// That the queue of a router's subscriber takes for each event that may wait.
const ROUTER_EVENT_BYTES: usize = 4096;

/// The virtual time at which the time of day was so; runs do not last until midnight.
pub fn us_of(stamp: &str) -> u64 {
    let number = |from: usize, to: usize| stamp[from..to].parse::<u64>().expect("digits");
    let of_day = ((number(11, 13) * 60 + number(14, 16)) * 60 + number(17, 19)) * 1000 + number(20, 23);
    (of_day - UNIX_MS % 86_400_000) * 1000
}

pub struct Core {
    /// None once it is done.
    pub shard: Option<Shard<Net>>,
    rest: Rest,
    stage: Stage,
    arriving: VecDeque<(Fd, IpAddr)>,
    /// The rules that it has taken.
    policy: usize,
    /// When it turned last.
    turned_us: u64,
}

pub struct World {
    pub plan: Plan,
    pub dice: Dice,
    pub net: Net,
    pub cores: Vec<Core>,
    pub shared: Arc<Shared>,
    pub clients: Vec<Client>,
    /// Who hears everything, where it is told who comes and goes.
    pub watcher: Option<usize>,
    pub model: Model,
    pub now_us: u64,
    pub step: u64,
}

impl World {
    pub fn new(seed: u64, trace: Option<Trace>) -> World {
        let mut dice = Dice::new(seed);
        let mut plan = Plan::draw(&mut dice);
        let shards = plan.shards;
        let doorbells: Vec<Arc<Doorbell>> =
            (0..shards).map(|_| Doorbell::new().expect("an eventfd")).collect();
        let ports = mesh::<Batch>(shards, plan.lane_batches, &doorbells);
        let shared = Arc::new(Shared {
            history: Budget::new(shards, plan.history_bytes_max),
            backlog: Budget::new(shards, u64::MAX),
            census: Census::new(plan.sockets_max, plan.sockets_per_address_max),
            routers: Census::new(0, 0),
            users: Users::new(0),
            kept: Budget::new(0, plan.kept_bytes_max as u64),
            counts: courier::runtime::shard::Counts::default(),
            tally: Tally::new(shards),
            drain: Drain::new(shards),
            loads: Loads::new(shards),
            reload: Notice::default(),
            doorbells,
        });
        let holes = plan.features.priorities || plan.features.ttl;
        let mut model = Model::new(std::mem::take(&mut plan.channels), holes);
        model.trace = trace;
        tokens::begin(&mut model, plan.features, &mut dice);
        let cores = ports.into_iter().enumerate().map(|(number, port)| {
            let mut draws = dice.fork();
            let draw = Box::new(move || draws.roll() as u32);
            let shard =
                Shard::new(plan.options(number, &model), Arc::clone(&shared), port, Pulse::new(), draw);
            let rest = Rest { deadline_us: None, again: true, done: false };
            let (stage, arriving) = (Stage::Serving, VecDeque::new());
            Core { shard: Some(shard), rest, stage, arriving, policy: 0, turned_us: 0 }
        });
        let cores = cores.collect();
        let net = Net::new(shards, (plan.pipe_min, plan.pipe_max), plan.short_sends, dice.fork());
        // Tokens end with whole seconds: one of those comes while much is going on.
        let now_us = if plan.features.auth { dice.range(SECOND_US - 400_000, SECOND_US) } else { 1 };
        let clients = Vec::new();
        let world = World { plan, dice, net, cores, shared, clients, watcher: None, model, now_us, step: 0 };
        let plan = &world.plan;
        let text = format!("{:?}, outbox {:?}, lane {:?}", plan.features, plan.outbox, plan.lane);
        world.note(|| text);
        world
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        self.model.note(|| format!("step {} at {} us: {}", self.step, self.now_us, text()));
    }

    fn now(&self) -> Now {
        Now { steady_us: self.now_us, unix_ms: UNIX_MS + self.now_us / 1000 }
    }

    pub fn moment(&self) -> Moment {
        Moment { step: self.step, us: self.now_us }
    }

    pub fn scene(&mut self) -> (Scene<'_>, &mut Vec<Client>) {
        self.model.at = self.moment();
        let scene = Scene {
            net: &mut self.net,
            model: &mut self.model,
            dice: &mut self.dice,
            step: self.step,
            now_us: self.now_us,
            keep_alive_us: self.plan.keep_alive_us,
            features: self.plan.features,
        };
        (scene, &mut self.clients)
    }

    /// Lets one client act.
    pub fn with<T>(&mut self, client: usize, act: impl FnOnce(&mut Client, &mut Scene<'_>) -> T) -> T {
        let (mut scene, clients) = self.scene();
        act(&mut clients[client], &mut scene)
    }

    pub fn connect(&mut self) -> usize {
        let shard = self.dice.below(self.plan.shards);
        let address = Ipv4Addr::new(192, 0, 2, self.dice.below(ADDRESSES) as u8);
        let (pipe, fd) = self.net.connect(shard);
        let id = self.clients.len();
        let mut client = Client::new(id, pipe, self.model.ear(id), self.model.channels.len(), self.now_us);
        client.may_be_turned_away = self.plan.connections_max < 1000;
        self.clients.push(client);
        self.model.rights.arrive(self.cores[shard].policy, self.step);
        let token = tokens::some_token(self);
        self.clients[id].show(token, &self.model);
        if self.cores[shard].shard.is_some() {
            self.cores[shard].arriving.push_back((fd, address.into()));
        }
        self.note(|| format!("client {id} connects to shard {shard}"));
        id
    }

    /// Whether something gives the shard a reason to turn.
    pub fn may_turn(&self, number: usize) -> bool {
        let core = &self.cores[number];
        let Some(shard) = &core.shard else { return false };
        core.rest.again
            || !core.arriving.is_empty()
            || !self.net.edges[number].is_empty()
            || shard.mail_waiting()
            || core.rest.deadline_us.is_some_and(|deadline| deadline <= self.now_us)
            || core.stage != self.shared.drain.stage()
    }

    /// One turn. What comes first, and how much of the mail is taken, is drawn unless `all`.
    pub fn turn(&mut self, number: usize, all: bool) {
        if self.plan.features.presence {
            // What it tells of who comes and goes has its own time in each turn.
            let next_us = (self.cores[number].turned_us / 1000 + 1) * 1000;
            self.now_us = self.now_us.max(next_us);
            self.cores[number].turned_us = self.now_us;
        }
        let now = self.now();
        self.net.now_us = self.now_us;
        let mut taken = (0, 0, 0);
        let core = &mut self.cores[number];
        let Some(mut shard) = core.shard.take() else { return };
        core.stage = self.shared.drain.stage();
        let mut arriving = std::mem::take(&mut core.arriving);
        shard.begin_turn(now);
        let mut mail: Vec<usize> = (0..self.plan.shards).collect();
        mail.retain(|_| all || self.dice.chance(self.plan.lanes_looked_into));
        let partly = !all && self.dice.chance(30);
        loop {
            let edges = self.net.edges[number].len();
            let choices = edges + arriving.len() + mail.len();
            if choices == 0 || (partly && self.dice.chance(25)) {
                break;
            }
            let choice = self.dice.below(choices);
            if choice < edges {
                let pipe = self.net.edges[number].swap_remove(choice);
                let (token, what) = self.net.take_edge(pipe);
                shard.ready(&mut self.net, token, what, now);
                taken.0 += 1;
            } else if choice < edges + arriving.len() {
                let (fd, peer) = arriving.pop_front().expect("counted");
                let pipe = Net::pipe_of(&fd);
                if let Some(token) = shard.accepted(fd, peer, 0, now) {
                    self.net.watch(pipe, token);
                }
                taken.1 += 1;
            } else {
                let from = mail.swap_remove(choice - edges - arriving.len());
                let batches = if all || self.dice.chance(70) { usize::MAX } else { self.dice.below(3) };
                let found = (0..batches).take_while(|_| shard.mail_from(&mut self.net, from, now)).count();
                taken.2 += found;
            }
            // At once, so that a token which is gone finds nothing and a freed slot may be used anew in this turn.
            self.net.reap();
        }
        let mut rest = shard.end_turn(&mut self.net, now);
        if self.plan.generous && taken != (0, 0, 0) {
            rest.again = true;
        }
        let core = &mut self.cores[number];
        (core.rest, core.arriving) = (rest, arriving);
        if rest.done {
            drop(shard);
            core.arriving.clear();
        } else {
            core.shard = Some(shard);
        }
        self.net.reap();
        self.follow_rules(number);
        self.note(|| {
            format!("shard {number} turns: {} ready, {} new, {} batches; {rest:?}", taken.0, taken.1, taken.2)
        });
        self.check(number);
    }

    /// Tells all shards of the newest rules.
    pub fn announce(&mut self) {
        self.shared.reload.announce(self.plan.options(0, &self.model));
    }

    /// A shard that has turned has taken them: from then on nothing is queued by the old ones, however many are in.
    fn follow_rules(&mut self, number: usize) {
        let newest = self.model.rights.policies.len().saturating_sub(1);
        if self.cores[number].policy == newest {
            return;
        }
        self.cores[number].policy = newest;
        let now = self.moment();
        for client in self.clients.iter().filter(|client| self.net.pipes[client.pipe].shard == number) {
            self.model.rights.change(client.id, newest, now.step, now);
        }
    }

    /// What must be true of a shard after each of its turns.
    fn check(&self, number: usize) {
        let Some(shard) = &self.cores[number].shard else { return };
        let hub = shard.hub();
        // A shard catches what the work of one connection does, and goes on without it.
        assert_eq!(hub.counters.panics, 0, "a panic in the work of one connection");
        for outbox in hub.outboxes() {
            let (events, bytes) = (outbox.events(), outbox.event_bytes());
            // A full queue may be joined once by what a channel's turn, which has the same bounds, still holds.
            let Bounds { mut events_max, mut bytes_max, router, .. } = self.plan.outbox;
            if self.plan.features.router {
                events_max = events_max.max(router.max);
                bytes_max = bytes_max.max(router.max * ROUTER_EVENT_BYTES);
            }
            // A single event beyond the bound of bytes passes an empty queue.
            let bytes_max = bytes_max.max(self.plan.payload_max as usize + FRAME_BYTES_MAX);
            assert!(events <= 2 * events_max, "an outbox holds {events} events, at most {events_max} wanted");
            assert!(
                bytes <= 2 * bytes_max,
                "an outbox holds {bytes} bytes in {events} events, at most {bytes_max} wanted"
            );
        }
        let shards = self.cores.iter().filter_map(|core| core.shard.as_ref());
        let kept: usize = shards.map(Shard::kept_bytes).sum();
        assert!(kept <= self.plan.kept_bytes_max, "{kept} bytes are kept by all shards");
        assert!(shard.connections() <= self.plan.connections_max as usize);
        for to in 0..self.plan.shards {
            let (events, bytes) = self.shared.loads.of(number, to);
            assert!(events <= self.plan.lane.events_max, "{events} events in a lane");
            assert!(events <= 1 || bytes <= self.plan.lane.bytes_max, "{bytes} bytes in a lane");
        }
        if self.plan.sockets_max > 0 {
            assert!(self.shared.census.total() <= self.plan.sockets_max);
        }
    }

    /// Lets everybody who can act do so until nobody can.
    pub fn settle(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let turning: Vec<usize> = (0..self.plan.shards).filter(|number| self.may_turn(*number)).collect();
            for number in &turning {
                self.turn(*number, true);
            }
            let acting: Vec<usize> = (0..self.clients.len())
                .filter(|id| {
                    let client = &self.clients[*id];
                    client.wants_to_read(&self.net) || client.wants_to_write(&self.net)
                })
                .collect();
            for id in &acting {
                self.with(*id, |client, scene| {
                    client.write(usize::MAX, scene);
                    if client.lazy.is_none() {
                        client.read(usize::MAX, scene);
                    }
                });
            }
            if turning.is_empty() && acting.is_empty() {
                return;
            }
            self.step += 1;
        }
        panic!("the world does not come to rest");
    }

    /// Lets time pass, with everybody at rest between one deadline and the next.
    pub fn pass(&mut self, us: u64) {
        let target_us = self.now_us + us;
        self.note(|| format!("{us} us pass"));
        loop {
            self.settle();
            let deadlines = self.cores.iter().filter(|core| core.shard.is_some());
            let next_us = deadlines.filter_map(|core| core.rest.deadline_us).min().unwrap_or(u64::MAX);
            if next_us >= target_us || self.is_done() {
                break;
            }
            assert!(next_us > self.now_us, "a deadline that is past and does nothing");
            self.now_us = next_us;
        }
        self.now_us = self.now_us.max(target_us);
        self.settle();
    }

    pub fn is_done(&self) -> bool {
        self.cores.iter().all(|core| core.shard.is_none())
    }

    pub fn begin_stop(&mut self) {
        self.note(|| "a stop begins".to_owned());
        self.model.stopping = true;
        self.clients.iter_mut().for_each(|client| client.see_stop(&self.net));
        assert!(self.shared.drain.begin());
    }
}
