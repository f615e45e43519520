//! What a run is like: how many shards, which bounds, how wild. All of it drawn from the seed.

use crate::acks;
use crate::dice::Dice;
use crate::features::Features;
use crate::model::Model;
use crate::tokens;
use courier::admin::Facts;
use courier::event::Channel;
use courier::hub::{self, Bounds, ChannelOptions, ChannelRule, Keep, LaneBounds, LetterBounds, Slow};
use courier::runtime::shard::Options;
use courier::session::dialect::forms;
use courier::session::{self, Heartbeat, Stamp, admission};
use std::sync::OnceLock;

pub const SHARDS_MAX: usize = 4;
/// Names kept ready for each number of shards and each owner.
const NAMES_PER_OWNER: usize = 8;

pub struct ChannelPlan {
    pub name: String,
    pub ephemeral: bool,
    /// Members it may have; 0: no limit.
    pub clients_max: u32,
    pub slow: Slow,
    /// It is told who comes and goes.
    pub presence: bool,
}

pub struct Plan {
    pub features: Features,
    pub shards: usize,
    pub channels: Vec<ChannelPlan>,
    pub steps: u64,
    /// The step at which a stop begins.
    pub stop_at: Option<u64>,
    pub clients_max: usize,
    /// Room of a kernel buffer, at least and at most.
    pub pipe_min: u64,
    pub pipe_max: u64,
    /// Percent of sends that are cut short though there is room.
    pub short_sends: u64,
    /// Percent of new readers that do not always read.
    pub lazy: u64,
    /// Percent of what publishers say that is a burst of more requests than may wait.
    pub bursts: u64,
    /// Percent of the lanes that a turn looks into.
    pub lanes_looked_into: u64,
    /// Turn also after mail and events, as the real turn does, or only when the shard asks for it.
    pub generous: bool,
    pub lane_batches: usize,
    pub outbox: Bounds,
    pub lane: LaneBounds,
    pub payload_max: u64,
    pub channels_max: usize,
    pub connections_max: u32,
    pub sockets_max: usize,
    pub sockets_per_address_max: usize,
    pub subscriptions_max: usize,
    pub kept_bytes_max: usize,
    pub heartbeat_us: u64,
    pub keep_alive_us: u64,
    pub request_us: u64,
    pub grace_us: u64,
    clients_per_channel_max: u32,
    /// Of each family of channels.
    presence: [bool; FAMILIES.len()],
    pub keep: Keep,
    pub history_bytes_max: u64,
    /// Sockets that are refused are told by a status.
    reject_by_status: bool,
    /// How many connections one turn judges again.
    judged_per_turn: usize,
    /// How many reads one part of a turn has.
    reads_together: usize,
}

/// A stop takes at most so long, in microseconds: longer than grace and linger together.
pub const DRAIN_US: u64 = 30_000_000;
/// Room for two events in the router's form.
const ROUTER_PIPE_MIN: u64 = 2000;
pub const EVENT_BYTES_MAX: usize = 3000;
pub const EPHEMERAL_IDLE_US: u64 = 60_000_000;
const LETTERS: LetterBounds =
    LetterBounds { events_max: acks::LETTERS_MAX, bytes_max: 1 << 24, age_max_ms: 0 };
pub const CONTROL_BYTES_MAX: usize = 2000;

impl Plan {
    pub fn draw(dice: &mut Dice) -> Plan {
        let mut features = Features::draw(dice);
        let shards = dice.range(1, SHARDS_MAX as u64) as usize;
        let clients_per_channel_max = if dice.chance(20) { dice.range(1, 4) as u32 } else { 0 };
        let count = dice.range(1, 6) as usize;
        let mut channels = draw_channels(dice, shards, count, clients_per_channel_max, features.slow);
        let presence = FAMILIES.map(|_| features.presence && dice.chance(70));
        for channel in &mut channels {
            channel.presence =
                FAMILIES.iter().zip(presence).any(|((word, _), on)| on && channel.name.starts_with(word));
        }
        let steps = 150 + dice.skewed(3000);
        let limit = |dice: &mut Dice, percent: u64, max: u64| {
            if dice.chance(percent) { dice.range(1, max) as usize } else { 0 }
        };
        let outbox = Bounds {
            events_max: if dice.chance(30) { 256 } else { dice.range(2, 8) as usize },
            bytes_max: if dice.chance(50) { 1 << 20 } else { dice.range(100, 2000) as usize },
            control_bytes_max: CONTROL_BYTES_MAX,
            router: features.router_queue,
        };
        let keep = match features.replays {
            true => Keep {
                size: *dice.pick(&[1, 3, 20, 256]),
                ttl_us: *dice.pick(&[500_000, 5_000_000, 20_000_000]),
                durable: false,
            },
            false => Keep::default(),
        };
        let history_bytes_max = *dice.pick(&[2_000, 20_000, 1 << 30]);
        let is_roomy = outbox.events_max >= 4 && outbox.bytes_max == 1 << 20;
        features.latest_among = is_roomy.then_some(outbox.events_max);
        Plan {
            features,
            presence,
            keep,
            history_bytes_max,
            shards,
            channels,
            steps,
            stop_at: dice.chance(35).then(|| dice.range(20, steps)),
            clients_max: dice.range(3, 24) as usize,
            // The router's words are long.
            pipe_min: if features.router { ROUTER_PIPE_MIN } else { 40 },
            pipe_max: *dice.pick(&[100, 300, 1000, 4000, 100_000])
                + if features.router { ROUTER_PIPE_MIN } else { 0 },
            short_sends: *dice.pick(&[0, 0, 5, 30]),
            lazy: *dice.pick(&[0, 20, 60]),
            bursts: if features.router { 0 } else { *dice.pick(&[0, 0, 1, 20]) },
            lanes_looked_into: *dice.pick(&[100, 90, 60, 10]),
            generous: dice.chance(50),
            lane_batches: dice.range(1, 4) as usize,
            outbox,
            lane: LaneBounds {
                events_max: if dice.chance(30) { 1000 } else { dice.range(2, 16) as usize },
                bytes_max: if dice.chance(70) { 1 << 20 } else { dice.range(100, 1000) as usize },
            },
            payload_max: *dice.pick(&[0, 20, 300, 1500]),
            channels_max: limit(dice, 20, 4),
            connections_max: if dice.chance(15) { dice.range(3, 8) as u32 } else { 1000 },
            sockets_max: limit(dice, 15, 8),
            sockets_per_address_max: limit(dice, 15, 4),
            subscriptions_max: limit(dice, 30, 3),
            kept_bytes_max: if dice.chance(15) { dice.range(500, 5000) as usize } else { 1 << 20 },
            heartbeat_us: dice.range(2, 30) * 1_000_000,
            keep_alive_us: dice.range(20, 75) * 1_000_000,
            request_us: dice.range(5, 15) * 1_000_000,
            grace_us: dice.skewed(3_000_000),
            clients_per_channel_max,
            reject_by_status: dice.chance(50),
            judged_per_turn: *dice.pick(&[1, 1, 1, 4]),
            reads_together: *dice.pick(&[1, 2, 3, 16]),
        }
    }

    pub fn options(&self, shard: usize, model: &Model) -> Options {
        Options {
            rates: courier::runtime::shard::Rates::default(),
            session: session::Options {
                schemas: None,
                keep_expired: false,
                keep_refused: false,
                event_bytes_max: EVENT_BYTES_MAX,
                message_bytes_max: 1000,
                subscriptions_max: self.subscriptions_max,
                origins: Default::default(),
                echo: false,
                stamp: Stamp::Validated,
                heartbeat_us: self.heartbeat_us,
                heartbeat: Heartbeat::Both,
                head_us: self.request_us,
                body_us: self.request_us,
                keep_alive_us: self.keep_alive_us,
                shutdown_reason: crate::STOP_REASON.to_owned(),
                doors: Vec::new(),
                compression_bytes_min: self.features.zip_bytes_min,
                router: session::RouterLimits::default(),
            },
            auth: tokens::auth(model, self.reject_by_status),
            judged_per_turn: self.judged_per_turn,
            reads_together: self.reads_together,
            limits: admission::Limits {
                event_bytes_max: EVENT_BYTES_MAX,
                payload_bytes_max: EVENT_BYTES_MAX,
                metadata_bytes_max: EVENT_BYTES_MAX,
            },
            hub: hub::Options {
                shard,
                shards: self.shards,
                outbox: self.outbox,
                lane: self.lane,
                channels: ChannelOptions {
                    clients_max: self.clients_per_channel_max,
                    rules: vec![
                        ChannelRule {
                            pattern: "limit.*".into(),
                            clients_max: Some(2),
                            ephemeral: true,
                            presence: self.presence[2],
                            ..ChannelRule::default()
                        },
                        ChannelRule {
                            pattern: "plain.*".into(),
                            slow: Some(self.features.slow),
                            presence: self.presence[0],
                            ..ChannelRule::default()
                        },
                        ChannelRule {
                            pattern: "forge.job.*".into(),
                            presence: self.presence[1],
                            ..ChannelRule::default()
                        },
                    ],
                    keep: self.keep,
                    history_bytes_max: self.history_bytes_max,
                    ..ChannelOptions::default()
                },
                fsync: Default::default(),
                letters: if self.features.acks { LETTERS } else { Default::default() },
                ephemeral_idle_us: EPHEMERAL_IDLE_US,
                renderers: forms::RENDERERS,
                lines: &[],
            },
            connections_max: self.connections_max,
            sockets_max: self.sockets_max,
            sockets_per_address_max: self.sockets_per_address_max,
            sockets_per_user_max: 0,
            channels_max: self.channels_max,
            grace_us: self.grace_us,
            drain_us: DRAIN_US,
            facts: Facts {
                certificates: None,
                version: "0",
                environment: "simulation".into(),
                sockets_max: 0,
                started_us: 0,
                documents: Default::default(),
            },
        }
    }
}

const FAMILIES: [(&str, bool); 3] = [("plain", false), ("forge.job", true), ("limit", true)];

fn draw_channels(
    dice: &mut Dice,
    shards: usize,
    count: usize,
    clients_max: u32,
    slow: Slow,
) -> Vec<ChannelPlan> {
    let mut drawn: Vec<ChannelPlan> = Vec::new();
    while drawn.len() < count {
        let family = if dice.chance(60) { 0 } else { dice.range(1, 2) as usize };
        let (owner, nth) = (dice.below(shards), dice.below(NAMES_PER_OWNER));
        let name = name(shards, owner, family, nth);
        if drawn.iter().any(|channel| channel.name == name) {
            continue;
        }
        let (word, ephemeral) = FAMILIES[family];
        let clients_max = if word == "limit" { 2 } else { clients_max };
        let slow = if family == 0 { slow } else { Slow::Disconnect };
        drawn.push(ChannelPlan { name, ephemeral, clients_max, slow, presence: false });
    }
    drawn
}

/// Owners come from a hash, and a run wants all of them: names are searched for by the owner that they should have; all of
/// a family are of one length.
fn name(shards: usize, owner: usize, family: usize, nth: usize) -> String {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names = Vec::new();
        for shards in 1..=SHARDS_MAX {
            for owner in 0..SHARDS_MAX {
                for (word, _) in FAMILIES {
                    let candidates = (0..9999).map(|n| format!("{word}.{n:04}"));
                    let owned =
                        candidates.filter(|name| owner >= shards || Channel::owner(name, shards) == owner);
                    names.extend(owned.take(NAMES_PER_OWNER));
                }
            }
        }
        names
    });
    names[(((shards - 1) * SHARDS_MAX + owner) * FAMILIES.len() + family) * NAMES_PER_OWNER + nth].clone()
}
