//! Which of the hub's features a run uses. Most runs use a few, some none beyond the plain ones, some all; what a run
//! uses is drawn often enough to meet itself.

use crate::dice::Dice;
use courier::hub::{RouterQueue, Slow};

#[derive(Clone, Copy, Debug, Default)]
pub struct Features {
    /// Who subscribes besides plain sockets.
    pub v1: bool,
    pub router: bool,
    pub freqsearch: bool,
    pub events: bool,
    pub streams: bool,
    /// What subscribers ask for.
    pub patterns: bool,
    pub filters: bool,
    /// Subscriptions of `courier.v1` begin behind an event, and something is kept of the past.
    pub replays: bool,
    /// What publishers say of their events.
    pub priorities: bool,
    pub exclude: bool,
    pub ttl: bool,
    pub repeats: bool,
    /// How they say it, besides one request per event.
    pub batches: bool,
    pub said: bool,
    /// Everybody shows a token, which lets them do some of it; rules change, tokens end.
    pub auth: bool,
    /// Messages from so many bytes on are compressed for sockets that agree to it; none: never.
    pub zip_bytes_min: Option<usize>,
    /// Some subscriptions of `courier.v1` acknowledge what they get.
    pub acks: bool,
    /// Some channels tell who comes and goes.
    pub presence: bool,
    /// Of the channels named `plain`.
    pub slow: Slow,
    /// `key` is one of so many words; 0: events have none.
    pub keys: u64,
    pub router_queue: RouterQueue,
    /// For how many events queues have room, if that is enough that the last never has to go.
    pub latest_among: Option<usize>,
}

impl Features {
    pub fn draw(dice: &mut Dice) -> Features {
        let percent = *dice.pick(&[0, 25, 25, 25, 60, 100]);
        let mut on = |percent_of: u64| dice.chance(percent * percent_of / 100);
        let mut features = Features {
            v1: on(100),
            router: on(100),
            freqsearch: on(70),
            events: on(70),
            streams: on(70),
            patterns: on(100),
            filters: on(100),
            priorities: on(80),
            exclude: on(100),
            ttl: on(60),
            repeats: on(80),
            batches: on(80),
            said: on(100),
            replays: on(100),
            auth: on(80),
            ..Features::default()
        };
        if on(50) {
            features.slow = *dice.pick(&[Slow::DropOldest, Slow::Conflate]);
            features.keys = dice.below(4) as u64;
        }
        features.acks = features.v1 && dice.chance(percent * 70 / 100);
        features.presence = dice.chance(percent * 60 / 100);
        if dice.chance(percent * 60 / 100) {
            features.zip_bytes_min = Some(*dice.pick(&[1, 60, 300]));
        }
        if dice.chance(percent / 3) {
            features.router_queue.max = dice.range(2, 8) as usize;
        }
        features.exclude &= features.v1;
        features
    }

    /// A queue of the router's subscribers has less room than a run has events.
    pub fn is_router_tight(&self) -> bool {
        self.router_queue.max < RouterQueue::default().max
    }
}
