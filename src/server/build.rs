//! From settings to each room's own options.

use super::describe;
use crate::admin::Facts;
use crate::auth::{Gate, Policy};
use crate::config::{self, AuthMode, Dialect, HeartbeatFormat, Listener, Reject, Settings, Stamp};
use crate::event::Channel;
use crate::hub::{
    self, Batch, Bounds, ChannelOptions, ChannelRule, Fsync, Keep, LaneBounds, LetterBounds, RouterQueue,
    Slow,
};
use crate::mailbox::budget::Budget;
use crate::mailbox::census::Census;
use crate::mailbox::doorbell::Doorbell;
use crate::mailbox::drain::Drain;
use crate::mailbox::lanes::{Port, mesh};
use crate::mailbox::load::Loads;
use crate::mailbox::notice::Notice;
use crate::mailbox::tally::Tally;
use crate::mailbox::users::Users;
use crate::rate::Rate;
use crate::runtime::log;
use crate::runtime::preflight::DESCRIPTORS_PER_LISTENER;
use crate::runtime::shard::{Auth, Counts, Options, Rates, Shared};
use crate::session::dialect::forms::{FREQSEARCH, FREQSEARCH_Z, RENDERERS};
use crate::session::origin::Origins;
use crate::session::subscriber::ECHO_BYTES_MAX;
use crate::session::{self, Door, Heartbeat, RouterLimits, admission};
use crate::stdx::clock::Now;
use rustix::process::{Resource, getrlimit};
use std::sync::Arc;

/// Descriptors that are not connections: rings, sets, eventfds, timers and logs, with room to spare.
const RESERVED_DESCRIPTORS: u64 = 64;
/// Of each shard beside its connections.
const RESERVED_PER_SHARD: u64 = 24;

/// Answers of a peer that asks and does not read, in bytes: some thousand pongs.
const CONTROL_BYTES_MAX: usize = 64 * 1024;
/// As above where the peer may ask for long answers: `/echo`.
const ECHO_CONTROL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An ephemeral channel that nobody came to hear is forgotten after a minute.
const EPHEMERAL_IDLE_US: u64 = 60_000_000;

/// Connections that are judged again, or closed for want of rights, in one turn: a millisecond or two, in which nobody else is
/// served.
const JUDGED_PER_TURN: usize = 500;

/// The kernel gives buffers that were read back to the core they came from, and interrupts that core when 33 wait there
/// (`skb_attempt_defer_free`, `net.core.skb_defer_max`), which on a virtual machine took 2 % of the CPU of workload C. A peer
/// that is answered goes on, and takes them back by that.
const READS_TOGETHER: usize = 16;

/// The path `/echo` exists when this variable is `1` (contract 2).
const ECHO_VARIABLE: &str = "COURIER_TEST_ECHO";

/// What the shards share.
pub fn shared(settings: &Settings, shards: usize, doorbells: Vec<Arc<Doorbell>>) -> Shared {
    Shared {
        census: Census::new(settings.max_total_connections, settings.max_connections_per_address),
        routers: Census::new(settings.router.max_clients, 0),
        users: Users::new(settings.max_connections_per_user),
        kept: Budget::new(0, kept_bytes_max(settings)),
        counts: Counts::default(),
        tally: Tally::new(shards),
        history: Budget::new(shards, history_bytes_max(settings)),
        backlog: Budget::new(shards, backlog_bytes_max(settings)),
        drain: Drain::new(shards),
        loads: Loads::new(shards),
        reload: Notice::default(),
        doorbells,
    }
}

/// The lanes between them.
pub fn ports(settings: &Settings, shared: &Shared) -> Vec<Port<Batch>> {
    mesh(shared.doorbells.len(), settings.mailbox.batches, &shared.doorbells)
}

/// What one shard is told.
pub fn options(settings: &Settings, shard: usize, shards: usize, now: Now) -> Options {
    let session = session(settings);
    let mut options = Options {
        limits: admission::Limits {
            event_bytes_max: settings.max_event_size,
            payload_bytes_max: settings.max_payload_size,
            metadata_bytes_max: settings.max_metadata_size,
        },
        rates: rates(settings),
        hub: hub(settings, shard, shards, session.echo),
        auth: None,
        judged_per_turn: JUDGED_PER_TURN,
        reads_together: READS_TOGETHER,
        connections_max: connections_max(settings, shards),
        sockets_max: settings.max_total_connections,
        sockets_per_address_max: settings.max_connections_per_address,
        sockets_per_user_max: settings.max_connections_per_user,
        channels_max: settings.max_channels,
        grace_us: settings.shutdown.grace_ms * 1000,
        drain_us: settings.shutdown.timeout_ms * 1000,
        facts: Facts {
            version: env!("CARGO_PKG_VERSION"),
            environment: settings.environment.clone(),
            sockets_max: settings.max_total_connections,
            started_us: now.steady_us,
            certificates: None,
            documents: Arc::default(),
        },
        session,
    };
    options.facts.documents = Arc::new(describe::documents(&options, settings));
    options
}

/// Who may come in, for all shards alike; `None`: everybody.
pub fn auth(settings: &Settings, policy: Policy) -> Option<Auth> {
    (settings.auth.mode == AuthMode::Required).then(|| Auth {
        gate: Arc::new(Gate::new(policy)),
        unknown_key: None,
        reject_by_status: settings.auth.reject == Reject::Http,
        cookie: settings.auth.cookie.as_str().into(),
    })
}

fn rates(settings: &Settings) -> Rates {
    let config::RateLimit { publish, messages, connects_per_second } = &settings.rate_limit;
    Rates {
        publish: Rate { limit: publish.limit, window_us: publish.window_ms * 1000 },
        needs_service: publish.require_service_name,
        messages: Rate { limit: messages.limit, window_us: messages.window_ms * 1000 },
        by_type: messages.per_type.iter().map(|(kind, limit)| (kind.as_str().into(), *limit)).collect(),
        connects: Rate { limit: *connects_per_second, window_us: 1_000_000 },
    }
}

fn echoes() -> bool {
    std::env::var(ECHO_VARIABLE).is_ok_and(|value| value == "1")
}

fn session(settings: &Settings) -> session::Options {
    session::Options {
        event_bytes_max: settings.max_event_size,
        message_bytes_max: settings.max_message_size,
        subscriptions_max: settings.max_subscriptions_per_connection,
        origins: origins(settings),
        echo: echoes(),
        stamp: match settings.stamp {
            Stamp::Validated => session::Stamp::Validated,
            Stamp::Always => session::Stamp::Always,
            Stamp::Never => session::Stamp::Never,
        },
        schemas: None,
        heartbeat_us: settings.heartbeat_interval_ms * 1000,
        heartbeat: match settings.heartbeat_format {
            HeartbeatFormat::Json => Heartbeat::Json,
            HeartbeatFormat::Text => Heartbeat::Text,
            HeartbeatFormat::Both => Heartbeat::Both,
        },
        head_us: settings.limits.head_timeout_ms * 1000,
        body_us: settings.limits.body_timeout_ms * 1000,
        keep_alive_us: settings.limits.keep_alive_timeout_ms * 1000,
        shutdown_reason: settings.shutdown.reason.clone(),
        doors: std::iter::once(Door::ByPath).chain(settings.listeners.iter().map(door)).collect(),
        compression_bytes_min: settings.compression.enabled.then_some(settings.compression.threshold),
        router: RouterLimits {
            clients_max: settings.router.max_clients,
            queue_events_max: settings.router.max_queue_size,
            multi_queue: settings.router.multi_queue,
        },
        keep_expired: settings.dead_letters.expired,
        keep_refused: settings.dead_letters.refused && settings.dead_letters.events > 0,
    }
}

/// Without auth every address is one of loopback (`config::judge`).
fn origins(settings: &Settings) -> Origins {
    let origins = Origins::new(&settings.cors.allowed_origins);
    if settings.auth.mode == AuthMode::Off { origins.on_loopback() } else { origins }
}

fn door(listener: &Listener) -> Door {
    match listener.dialect {
        Dialect::Courier => Door::ByPath,
        Dialect::Router => Door::Router,
        Dialect::Events => Door::Events,
        Dialect::Freqsearch => Door::FreqSearch,
    }
}

fn hub(settings: &Settings, shard: usize, shards: usize, echo: bool) -> hub::Options {
    let rule = |option: &config::ChannelOption| ChannelRule {
        pattern: option.pattern.clone(),
        clients_max: option.max_clients.map(|max| max as u32),
        ephemeral: option.ephemeral.unwrap_or(false),
        slow: option.slow.map(slow),
        presence: option.presence.unwrap_or(false),
        keep_size: option.history.size.map(|size| size as u32),
        keep_ttl_us: option.history.ttl_ms.map(|ms| ms * 1000),
        durable: option.history.durable,
        normal: option.priority == Some(false),
    };
    let configured = settings.channels.iter().filter_map(|name| Channel::parse(name).ok());
    hub::Options {
        shard,
        shards,
        outbox: Bounds {
            events_max: settings.outbox.events,
            bytes_max: settings.outbox.bytes,
            control_bytes_max: if echo { ECHO_CONTROL_BYTES_MAX } else { CONTROL_BYTES_MAX },
            router: RouterQueue { max: settings.router.max_queue_size, multi: settings.router.multi_queue },
        },
        lane: LaneBounds { events_max: settings.mailbox.events, bytes_max: settings.mailbox.bytes },
        channels: ChannelOptions {
            clients_max: settings.max_clients_per_channel as u32,
            rules: settings.channel_options.iter().map(rule).collect(),
            configured: configured.collect(),
            slow: slow(settings.outbox.slow),
            keep: Keep {
                size: settings.history.size as u32,
                ttl_us: settings.history.ttl_ms * 1000,
                durable: settings.history.durable,
            },
            history_bytes_max: history_bytes_max(settings),
        },
        fsync: fsync(settings),
        letters: LetterBounds {
            events_max: settings.dead_letters.events,
            bytes_max: settings.dead_letters.bytes,
            age_max_ms: settings.dead_letters.ttl_ms,
        },
        ephemeral_idle_us: EPHEMERAL_IDLE_US,
        renderers: RENDERERS,
        lines: if settings.freqsearch.join { &[FREQSEARCH, FREQSEARCH_Z] } else { &[] },
    }
}

fn fsync(settings: &Settings) -> Fsync {
    match settings.storage.fsync {
        config::Fsync::Always => Fsync::Always,
        config::Fsync::Interval => Fsync::Interval,
        config::Fsync::Never => Fsync::Never,
    }
}

/// The log, if a channel may be durable.
pub fn log(settings: &Settings, draw: fn() -> u32) -> Option<log::Setup> {
    let histories = settings.channel_options.iter().map(|option| &option.history);
    let ttls = histories.filter(|history| history.durable == Some(true)).map(|history| history.ttl_ms);
    let all = settings.history.durable.then_some(None);
    let ttls: Vec<u64> = ttls.chain(all).map(|ttl_ms| ttl_ms.unwrap_or(settings.history.ttl_ms)).collect();
    // The longest decides, and no limit is longer than any.
    let age_max_ms = if ttls.contains(&0) { 0 } else { *ttls.iter().max()? };
    let storage = &settings.storage;
    Some(log::Setup {
        dir: (&storage.dir).into(),
        options: crate::log::Options {
            segment_bytes: storage.segment_bytes,
            bytes_max: storage.max_bytes,
            age_max_ms,
            held: fsync(settings) == Fsync::Always,
            runs_max: crate::log::RUNS_MAX,
        },
        fsync: fsync(settings),
        interval_us: storage.fsync_interval_ms * 1000,
        draw,
    })
}

/// Bytes that all shards may keep of the past.
pub fn history_bytes_max(settings: &Settings) -> u64 {
    if settings.history.max_bytes == 0 { u64::MAX } else { settings.history.max_bytes }
}

/// Bytes that may wait for the sockets of all connections.
pub fn backlog_bytes_max(settings: &Settings) -> u64 {
    if settings.outbox.max_total_bytes == 0 { u64::MAX } else { settings.outbox.max_total_bytes }
}

fn slow(slow: config::Slow) -> Slow {
    match slow {
        config::Slow::Disconnect => Slow::Disconnect,
        config::Slow::DropOldest => Slow::DropOldest,
        config::Slow::Conflate => Slow::Conflate,
    }
}

/// Bytes of unfinished requests and messages that all shards may keep: never less than a few of the largest.
pub fn kept_bytes_max(settings: &Settings) -> u64 {
    let echo = if echoes() { ECHO_BYTES_MAX } else { 0 };
    let largest = settings.max_event_size.max(settings.max_message_size).max(echo);
    settings.limits.unfinished_bytes.max(4 * largest) as u64
}

/// What the file limit leaves for connections of one shard. The kernel does not spread them evenly, so each may
/// have all but what the others need for themselves; running out is survived by the listener.
fn connections_max(settings: &Settings, shards: usize) -> u32 {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::from(u32::MAX) / 2);
    let of_shard = RESERVED_PER_SHARD + DESCRIPTORS_PER_LISTENER * settings.listeners.len() as u64;
    let left = files.saturating_sub(RESERVED_DESCRIPTORS + of_shard * shards as u64);
    u32::try_from(left).unwrap_or(u32::MAX / 2).max(1)
}
