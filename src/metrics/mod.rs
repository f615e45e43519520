//! Plain counters owned by one shard. A snapshot is a value: adding those of all shards gives
//! the server's.

use std::collections::BTreeMap;

/// What a shard counts while it works; every field only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Publishes taken from this shard's connections and answered with 200.
    pub published: u64,
    /// Publishes refused for what they say or because too many came; who may not publish at all is not counted here.
    pub publishes_refused: u64,
    /// Publishes refused because a mailbox was full.
    pub mailbox_full: u64,
    /// Events numbered by this shard as an owner.
    pub numbered: u64,
    /// Events wholly handed to the kernel, once per subscriber.
    pub deliveries: u64,
    /// Sends that the kernel cut short.
    pub blocked_sends: u64,
    /// Events dropped with the queue of a subscriber that was given up.
    pub events_dropped: u64,
    /// Losses told to subscribers.
    pub gaps: u64,
    /// Losses not told, because too many of one subscriber waited to be.
    pub gaps_untold: u64,
    /// Events that expired before they were delivered, once per subscriber or, where they came too late, per shard.
    pub events_expired: u64,
    /// Resolutions of channels against the patterns of a shard that were forgotten for want of room.
    pub resolutions_dropped: u64,
    /// Publishes answered as an earlier one with the same id.
    pub repeats: u64,
    /// Ids of publishes forgotten before their time, for want of room.
    pub ids_dropped: u64,
    /// Presence events that a full mailbox kept from being told.
    pub presence_dropped: u64,
    /// Subscribers given up because they did not read.
    pub slow_consumers: u64,
    /// Queues that were shortened, or cut off with their connection, because those of all connections held too much.
    pub backlogs_shed: u64,
    /// Messages that clients sent on sockets.
    pub client_messages: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections turned away because the table or the descriptors were used up.
    pub turned_away: u64,
    /// WebSocket sessions opened.
    pub sockets_opened: u64,
    /// WebSocket sessions ended.
    pub sockets_closed: u64,
    /// HTTP requests answered with 4xx or 5xx.
    pub requests_refused: u64,
    /// Sockets closed because the peer answered no ping.
    pub peers_lost: u64,
    /// Channels forgotten to stay within `max_channels`.
    pub channels_evicted: u64,
    /// Kept events that made way for newer ones of their channel.
    pub history_outgrown: u64,
    /// Kept events that went for their age.
    pub history_expired: u64,
    /// Kept events that went, the oldest first, because all channels together had too many bytes.
    pub history_evicted: u64,
    /// Deliveries that a subscriber acknowledged.
    pub acknowledged: u64,
    /// Events that went out again because they were not.
    pub redelivered: u64,
    /// Events given up.
    pub dead_letters: u64,
    /// Of those, the ones that are kept no more, or never were, for want of room.
    pub dead_letters_dropped: u64,
    /// Publishes to durable channels refused because too much waited for the log.
    pub log_full: u64,
    /// Subscriptions that began in the past.
    pub replays: u64,
    /// Of those, the ones that missed events that were not kept any more.
    pub replays_short: u64,
    /// Live events that could not be remembered for a subscription that catches up, which may bring them again.
    pub replays_forgot: u64,
    /// Events of the past that were queued for a subscriber.
    pub replayed: u64,
    /// Requests and sockets refused for want of a token.
    pub auth_missing: u64,
    /// Those refused for a token or key that is not to be trusted, or different ones in two places.
    pub auth_invalid: u64,
    /// Those refused, and sockets closed, because their token had expired.
    pub auth_expired: u64,
    /// Those refused, and sockets closed, because their token was revoked.
    pub auth_revoked: u64,
    /// What was refused, and sockets closed, because the rights of a token did not reach so far.
    pub auth_forbidden: u64,
    /// Streams and sockets refused to pages of other origins.
    pub origins_refused: u64,
    /// Turns of the shard.
    pub turns: u64,
    /// Batches that found their lane full and waited for the next turn.
    pub lanes_full: u64,
    /// Publishes refused because their publisher had published as much as it may in a while.
    pub publishes_limited: u64,
    /// Messages on sockets refused for the same reason.
    pub messages_limited: u64,
    /// Sockets closed because they went on all the same.
    pub flooders_closed: u64,
    /// Connections closed at once because there were too many new ones in a second.
    pub connects_limited: u64,
    /// Idle counts of publishers and clients that made way for others.
    pub rates_evicted: u64,
    /// Publishes and messages counted together with those of others, for want of room for one more name.
    pub rates_shared: u64,
    /// Sockets and streams refused by the limit of all.
    pub refused_global: u64,
    /// Sockets and streams refused by the limit of their user.
    pub refused_per_user: u64,
    /// Sockets and streams refused by the limit of their address.
    pub refused_per_address: u64,
    /// Requests and messages given up because too much was unfinished over all shards.
    pub overloads: u64,
    /// Subscriptions refused by the limit of their channel.
    pub refused_per_channel: u64,
    /// Panics caught in one connection.
    pub panics: u64,
    /// TLS handshakes that were done.
    pub tls_handshakes: u64,
    /// Of those, the ones that resumed a session.
    pub tls_resumed: u64,
    /// TLS handshakes that were begun and came to nothing.
    pub tls_failed: u64,
    /// Publishes refused because they do not fit their schema, or have none and must.
    pub schema_refused: u64,
}

/// Gives the names of all counters to another macro.
macro_rules! counters {
    ($with:ident) => {
        $with!(published publishes_refused mailbox_full numbered deliveries blocked_sends events_dropped
               gaps gaps_untold events_expired resolutions_dropped repeats ids_dropped presence_dropped
               slow_consumers backlogs_shed client_messages accepted turned_away sockets_opened sockets_closed
               requests_refused peers_lost channels_evicted history_outgrown history_expired
               history_evicted acknowledged redelivered dead_letters dead_letters_dropped log_full replays replays_short replays_forgot replayed auth_missing
               auth_invalid auth_expired auth_revoked auth_forbidden origins_refused turns lanes_full publishes_limited
               messages_limited flooders_closed connects_limited rates_evicted rates_shared refused_global
               refused_per_user refused_per_address refused_per_channel overloads panics
               tls_handshakes tls_resumed tls_failed schema_refused)
    };
}

impl Counters {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Counters) {
        macro_rules! sum {
            ($($field:ident)*) => { $(self.$field += other.$field;)* };
        }
        counters!(sum);
    }

    /// All of them with their names.
    pub fn named(&self) -> Vec<(&'static str, u64)> {
        macro_rules! list {
            ($($field:ident)*) => { vec![$((stringify!($field), self.$field)),*] };
        }
        counters!(list)
    }
}

/// Members of one channel over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelCount {
    /// Now.
    pub clients: u32,
    /// The limit; 0: none.
    pub clients_max: u32,
}

/// One shard at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardState {
    /// Its number.
    pub shard: usize,
    /// Connections of any kind.
    pub connections: usize,
    /// WebSocket sessions.
    pub sockets: usize,
    /// Connections over TLS, whatever their handshake.
    pub tls_sockets: usize,
    /// Channels that it owns.
    pub channels: usize,
    /// Times that the watchdog woke it.
    pub kicks: u64,
    /// Events that wait in the queues of its connections.
    pub events_queued: u64,
    /// Bytes of events in queues that wait for their sockets.
    pub backlog_bytes: u64,
    /// Subscriptions of its connections.
    pub subscriptions: u64,
    /// Events of the past that it keeps.
    pub history_events: u64,
    /// Their bytes.
    pub history_bytes: u64,
    /// When its last event was numbered, in Unix milliseconds.
    pub last_event_ms: Option<u64>,
    /// What it counted.
    pub counters: Counters,
    /// Of [`Counters::schema_refused`], by event type; those that no schema describes are together under the empty name.
    pub misfits: BTreeMap<Box<str>, u64>,
}

/// What TLS listeners serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// When the server's own ends, in Unix milliseconds, if that can be told.
    pub expires_ms: Option<u64>,
    /// How often new ones were taken.
    pub reloads: u64,
    /// How often what was there was bad.
    pub reloads_failed: u64,
}

/// The state of one shard or, added up, of all.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Per shard.
    pub shards: Vec<ShardState>,
    /// By name; at most as many as were asked for.
    pub channels: BTreeMap<String, ChannelCount>,
    /// How many channels there are in all.
    pub channels_total: usize,
}

impl Snapshot {
    /// Adds another shard's, keeping at most `names_max` channels, the first by name.
    pub fn add(&mut self, other: Snapshot, names_max: usize) {
        self.shards.extend(other.shards);
        self.shards.sort_by_key(|state| state.shard);
        self.channels.extend(other.channels);
        while self.channels.len() > names_max {
            self.channels.pop_last();
        }
        self.channels_total += other.channels_total;
    }

    /// All shards' counters.
    pub fn totals(&self) -> Counters {
        let mut totals = Counters::default();
        self.shards.iter().for_each(|state| totals.add(&state.counters));
        totals
    }

    /// Events refused by their schema, by type, over all shards.
    pub fn misfits(&self) -> BTreeMap<&str, u64> {
        let mut sum = BTreeMap::new();
        for (kind, count) in self.shards.iter().flat_map(|state| &state.misfits) {
            *sum.entry(&**kind).or_default() += count;
        }
        sum
    }

    /// WebSocket sessions over all shards.
    pub fn sockets(&self) -> usize {
        self.shards.iter().map(|state| state.sockets).sum()
    }
}
