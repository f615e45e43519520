//! The table of all settings (contract 17): one entry per key with its default, its rule and its doc, which
//! is the struct's doc and `config-doc`'s comment at once. To add a key, add an entry here; to build a planned one,
//! give it its type. Times are written in seconds and kept in milliseconds.
use super::auth::Auth;
use super::grammar::{
    self, channel_name, channel_pattern, close_reason, file_or_none, folder, listen_address, origin, word,
};
use super::lists::{Listed, Named, Planned, Sections};
use super::rules::{Endpoint, Flag, Maybe, OneOf, Seconds, Text, Whole};
use super::table::{Nested, settings};
use super::words::{Dialect, Fsync, HeartbeatFormat, LogFormat, LogLevel, SchemaMode, Slow, Stamp};
use crate::runtime::tls::Files;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Most shards: beyond any machine of today, and the square of it (mailboxes between pairs) still fits in memory.
pub const SHARDS_MAX: u64 = 1_024;
/// Most connections a limit may name: sixteen times the descriptors a Linux process gets at most by default (2^20).
pub const CONNECTIONS_MAX: u64 = 16 << 20;
/// Most channels a limit may name: at some hundred bytes each they fill the memory of a large machine.
pub const CHANNELS_MAX: u64 = 100_000_000;
/// Most further listeners: each costs every shard a socket, a spare descriptor and a backlog, and there are fewer dialects.
pub const LISTENERS_MAX: usize = 16;
/// Most events of one connection's queue: at a pointer and some words each they still fit beside their bytes.
pub const QUEUE_EVENTS_MAX: u64 = 1 << 20;
/// Largest event or message in bytes: each is held whole in memory, and sent as one frame.
pub const MESSAGE_BYTES_MAX: u64 = 64 << 20;
/// Smallest bound on an event in bytes: `{"type":"ping"}` fits.
pub const EVENT_BYTES_MIN: u64 = 16;
/// Smallest byte bound of a queue: less than a small event with its head cannot carry anything.
pub const QUEUE_BYTES_MIN: u64 = 1_024;
/// Largest byte bound of one connection's queue: one connection may not claim more than 1 GiB.
pub const OUTBOX_BYTES_MAX: u64 = 1 << 30;
/// Largest byte bound of one mailbox: it is held once per pair of shards.
pub const MAILBOX_BYTES_MAX: u64 = 16 << 30;
/// Longest time between two syncs of the log, in milliseconds: so much may be lost with the power.
pub const FSYNC_INTERVAL_MS_MAX: u64 = 60_000;
/// Smallest segment in bytes: below it most of the work is making files.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// Largest segment in bytes: a start reads all of them, and only a whole one can go.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Smallest bound of all segments in bytes: four of the smallest.
pub const STORAGE_BYTES_MIN: u64 = 4 << 20;
/// Largest bound of all segments in bytes: beyond any disk of today.
pub const STORAGE_BYTES_MAX: u64 = 1 << 50;
/// Longest time a setting takes, in milliseconds: one hour; longer is taken for a slip of the unit.
pub const TIME_MS_MAX: u64 = 3_600_000;
/// Shortest timeout or interval in milliseconds: below it the timer wheel would do little else.
pub const TIME_MS_MIN: u64 = 50;

/// Most of anything in one window: more than one machine takes in it.
pub const RATE_MAX: u64 = 1_000_000_000;
/// Most events of one channel's history: at some hundred bytes each a channel fills a small machine.
pub const HISTORY_EVENTS_MAX: u64 = 1 << 24;
/// Longest time for which an event is kept, in milliseconds: a year; longer is taken for a slip of the unit.
pub const HISTORY_MS_MAX: u64 = 366 * 86_400_000;
/// Most dead letters: a list, a purge or a retry looks at each, which takes some milliseconds.
pub const DEAD_LETTERS_MAX: u64 = 100_000;
/// Most bytes of history in memory: a large machine's.
pub const HISTORY_BYTES_MAX: u64 = 1 << 40;

/// Contract 15, code 1001.
const SHUTDOWN_REASON: &str = "Server shutting down for maintenance";

settings! {
    /// All settings of a server.
    Settings {
        /// Address to listen on: an IP address or localhost. Any but loopback needs auth (see auth.mode).
        host: String = "127.0.0.1".to_owned(), Text(listen_address);
        /// TCP port of HTTP and WebSocket. 0: the kernel picks a free one and the start line says which.
        port: u16 = 8766, Whole(1, 65_535).or_zero();
        /// Cores that serve, each with its own connections and channels. 0: one per available core.
        shards: usize = 0, Whole(0, SHARDS_MAX);
        /// More addresses, each with the dialect that is spoken there: courier, router, events or freqsearch, such as
        /// {address: "127.0.0.1:9090", dialect: router}. Any but loopback needs auth. Port 0 as above.
        listeners: Vec<Listener> = Vec::new(), Sections("address", "address: \"127.0.0.1:9090\", dialect: router");
        /// A word that /health shows: production, development, test, ...
        environment: String = "development".to_owned(), Text(word);
        /// Least important line that is logged. warn is read as warning, critical as error.
        log_level: LogLevel = LogLevel::Info, OneOf;
        /// The older way to write log_level: debug. It has no effect where log_level is written.
        verbose: bool = false, Flag;
        /// auto: text on a terminal, json elsewhere.
        log_format: LogFormat = LogFormat::Auto, OneOf;
        /// Folder that also gets broker.log, rotated. Empty: none.
        log_dir: Planned = Planned("\"\"");
        /// Channels that are listed from the start; others are made on first use.
        channels: Vec<String> = Vec::new(), Listed(channel_name);
        /// Channels at one time; beyond it the longest idle, empty one goes. 0: no limit.
        max_channels: usize = 1_000_000, Whole(0, CHANNELS_MAX);
        /// Subscribers of one channel; the next is closed with 1008 Channel full. 0: no limit.
        max_clients_per_channel: usize = 0, Whole(0, CONNECTIONS_MAX);
        /// Connections of the whole server; the next is closed with 1008 Connection limit exceeded. 0: no limit.
        max_total_connections: usize = 10_000, Whole(0, CONNECTIONS_MAX);
        /// Connections of one user, known by a token. 0: no limit.
        max_connections_per_user: usize = 0, Whole(0, CONNECTIONS_MAX);
        /// Connections from one IP address. 0: no limit.
        max_connections_per_address: usize = 0, Whole(0, CONNECTIONS_MAX);
        /// Channels that one connection may subscribe to. 0: no limit.
        max_subscriptions_per_connection: usize = 128, Whole(0, CHANNELS_MAX);
        /// Seconds between heartbeats; a peer silent for two of them after a protocol ping is closed.
        heartbeat_interval_ms as "heartbeat_interval": u64 = 30_000, Seconds(TIME_MS_MIN, TIME_MS_MAX);
        /// What the heartbeat of dialect courier is: the JSON object, the bare text ping, or both.
        heartbeat_format: HeartbeatFormat = HeartbeatFormat::Json, OneOf;
        /// Bytes of one message from a client; more is closed with 1009.
        max_message_size: usize = 1 << 20, Whole(EVENT_BYTES_MIN, MESSAGE_BYTES_MAX);
        /// Bytes of one event and of an HTTP body; more is answered 413.
        max_event_size: usize = 1 << 20, Whole(EVENT_BYTES_MIN, MESSAGE_BYTES_MAX);
        /// Bytes of the data within an event; more is answered 413.
        max_payload_size: usize = 512 << 10, Whole(EVENT_BYTES_MIN, MESSAGE_BYTES_MAX);
        /// Bytes of the metadata within an event; more is answered 413.
        max_metadata_size: usize = 10 << 10, Whole(EVENT_BYTES_MIN, MESSAGE_BYTES_MAX);
        /// Which events get a timestamp when they have none: schema-checked ones (validated), always, never.
        stamp: Stamp = Stamp::Validated, OneOf;
        /// What may wait for one connection. One more event, or byte, makes it a slow consumer.
        outbox: Outbox = Outbox::default(), Nested;
        /// What may wait between each pair of shards. When it is full, publishers are answered 503.
        mailbox: Mailbox = Mailbox::default(), Nested;
        /// How long a peer may take.
        limits: Limits = Limits::default(), Nested;
        /// Events that are kept for those who come back.
        history: History = History::default(), Nested;
        /// Events that nobody took.
        dead_letters: DeadLetters = DeadLetters::default(), Nested;
        /// Where durable channels are kept.
        storage: Storage = Storage::default(), Nested;
        /// Exceptions by channel pattern, the first match wins. Each has a match and any of max_clients, ephemeral,
        /// slow, history and presence, such as {match: "user.*", max_clients: 100, ephemeral: true, slow: conflate}.
        channel_options: Vec<ChannelOption> = Vec::new(), Sections("match", "match: \"user.*\", max_clients: 100");
        /// The dialect router.
        router: Router = Router::default(), Nested;
        /// The dialect freqsearch.
        freqsearch: Freqsearch = Freqsearch::default(), Nested;
        /// Who may publish and subscribe. A bare word (auth: insecure) means auth.mode.
        auth: Auth = Auth::default(), Nested;
        /// Checks of events against JSON Schemas.
        schemas: Schemas = Schemas::default(), Nested;
        /// How much one peer may send.
        rate_limit: RateLimit = RateLimit::default(), Nested;
        /// Web pages of other origins.
        cors: Cors = Cors::default(), Nested;
        /// Encryption of the address above (host, port): on as soon as cert and key are given. The addresses of listeners
        /// are encrypted with the same certificate if they say so with tls: true, and plain otherwise.
        tls: Tls = Tls::default(), Nested;
        /// Compression of messages.
        compression: Compression = Compression::default(), Nested;
        /// How the server stops (contract 19).
        shutdown: Shutdown = Shutdown::default(), Nested;
    }

    /// One more address (contract 2).
    Listener {
        /// Where it listens, such as 127.0.0.1:9090, [::1]:9090 or localhost:9090. Port 0: the kernel picks one.
        address: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0), Endpoint;
        /// What is spoken there, on every path.
        dialect: Dialect = Dialect::Courier, OneOf;
        /// Whether it is encrypted, with the certificate of the section tls.
        tls: bool = false, Flag;
    }

    /// What may wait for one connection (contract 10).
    Outbox {
        /// Events that wait for one connection.
        events: usize = 256, Whole(1, QUEUE_EVENTS_MAX);
        /// Bytes that wait for one connection.
        bytes: usize = 1 << 20, Whole(QUEUE_BYTES_MIN, OUTBOX_BYTES_MAX);
        /// Bytes that wait for all connections together, an event counted for each that waits for it. Beyond it the longest
        /// queues go first: closed or shortened as slow says. 0: no bound.
        max_total_bytes: u64 = 1 << 30, Whole(QUEUE_BYTES_MIN, HISTORY_BYTES_MAX).or_zero();
        /// What happens when one of the first two is full: the connection is closed with 1013 (disconnect), or the oldest event
        /// of the lowest priority goes (drop_oldest), or first an older one of the same channel and key (conflate).
        slow: Slow = Slow::Disconnect, OneOf;
    }

    /// Bounds of the queue from one shard to another; each pair of shards has two.
    Mailbox {
        /// Messages: one carries what a shard sent in one turn.
        batches: usize = 256, Whole(1, 1 << 16);
        /// Events in all of those messages.
        events: usize = 16_384, Whole(1, 1 << 24);
        /// Bytes in all of those messages; at least max_event_size.
        bytes: usize = 64 << 20, Whole(QUEUE_BYTES_MIN, MAILBOX_BYTES_MAX);
    }

    /// How long a peer may take (contract 2), and how much all of them together.
    Limits {
        /// Seconds in which an HTTP head must arrive; later is answered 408.
        head_timeout_ms as "head_timeout": u64 = 10_000, Seconds(TIME_MS_MIN, TIME_MS_MAX);
        /// Seconds in which an HTTP body must arrive; later is answered 408. A peer that takes nothing of its answers for so
        /// long is closed.
        body_timeout_ms as "body_timeout": u64 = 10_000, Seconds(TIME_MS_MIN, TIME_MS_MAX);
        /// Seconds for which an HTTP connection may stay open between requests.
        keep_alive_timeout_ms as "keep_alive_timeout": u64 = 75_000, Seconds(TIME_MS_MIN, TIME_MS_MAX);
        /// Bytes of unfinished requests and messages over all connections, though never less than four of the largest;
        /// beyond it who sends more is answered 503 or closed with 1013.
        unfinished_bytes: usize = 256 << 20, Whole(QUEUE_BYTES_MIN, MAILBOX_BYTES_MAX);
    }

    /// Events that are kept for those who come back (contract 11).
    History {
        /// Events per channel. 0: none.
        size: usize = 256, Whole(0, HISTORY_EVENTS_MAX);
        /// Seconds for which an event is kept. 0: no limit.
        ttl_ms as "ttl": u64 = 3_600_000, Seconds(0, HISTORY_MS_MAX);
        /// Bytes over all channels; the oldest events go first. 0: no limit.
        max_bytes: u64 = 256 << 20, Whole(QUEUE_BYTES_MIN, HISTORY_BYTES_MAX).or_zero();
        /// Whether history is also kept on disk, by storage.
        durable: bool = false, Flag;
    }

    /// Events that nobody took. Each is kept with the reason and told on the channel courier.dead; where that is durable
    /// (channel_options), they survive a restart.
    DeadLetters {
        /// Letters that are kept; the oldest go first. 0: none.
        events: usize = 1_000, Whole(0, DEAD_LETTERS_MAX);
        /// Their bytes in memory; the oldest go first.
        bytes: usize = 16 << 20, Whole(QUEUE_BYTES_MIN, OUTBOX_BYTES_MAX);
        /// Seconds for which one is kept. 0: no limit.
        ttl_ms as "ttl": u64 = 30 * 86_400_000, Seconds(0, HISTORY_MS_MAX);
        /// Whether each event with a ttl becomes one when that ends and nobody has received it; else only those that were
        /// published with keep: true.
        expired: bool = false, Flag;
        /// Whether an event that a schema refuses becomes one, if its publisher may publish there. The answer is 400 all the
        /// same.
        refused: bool = false, Flag;
    }

    /// Where durable channels are kept (contract 11).
    Storage {
        /// Folder of the segments.
        dir: String = "data".to_owned(), Text(folder);
        /// When events are forced to the disk: before anybody sees them (always), soon after (interval), or when the kernel
        /// likes (never). The answer to a publish says which it got: "stored": "disk" or "memory".
        fsync: Fsync = Fsync::Interval, OneOf;
        /// Milliseconds between two such moments.
        fsync_interval_ms: u64 = 50, Whole(1, FSYNC_INTERVAL_MS_MAX);
        /// Bytes of one segment file; the oldest events go a file at a time.
        segment_bytes: u64 = 64 << 20, Whole(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        /// Bytes on disk in all; the oldest segments go first. 0: no limit but history.ttl.
        max_bytes: u64 = 0, Whole(STORAGE_BYTES_MIN, STORAGE_BYTES_MAX).or_zero();
    }

    /// What differs for the channels that a pattern matches (contract 8).
    ChannelOption {
        /// Pattern of channel names: * is one segment, ** at the end one or more.
        pattern as "match": String = String::new(), Text(channel_pattern);
        /// Subscribers of each such channel, in place of max_clients_per_channel. 0: no limit.
        max_clients: Option<usize> = None, Maybe(Whole(0, CONNECTIONS_MAX));
        /// Whether such a channel vanishes with its last subscriber.
        ephemeral: Option<bool> = None, Maybe(Flag);
        /// What happens when a queue is full, in place of outbox.slow.
        slow: Option<Slow> = None, Maybe(OneOf);
        /// What is kept of each such channel, in place of history, such as history: {size: 100, ttl: 60}.
        history: ChannelHistory = ChannelHistory::default(), Nested;
        /// How strictly schemas are checked, in place of schemas.mode.
        schema: Option<SchemaMode> = None, Maybe(OneOf);
        /// Whether subscribers may ask who else is there.
        presence: Option<bool> = None, Maybe(Flag);
        /// Whether the priority of events decides what goes first; if not, every event of such a channel is normal.
        priority: Option<bool> = None, Maybe(Flag);
    }

    /// What differs in the history of some channels (contract 8).
    ChannelHistory {
        /// Events per channel, in place of history.size. 0: none.
        size: Option<usize> = None, Maybe(Whole(0, HISTORY_EVENTS_MAX));
        /// Seconds for which an event is kept, in place of history.ttl. 0: no limit.
        ttl_ms as "ttl": Option<u64> = None, Maybe(Seconds(0, HISTORY_MS_MAX));
        /// Whether it is also kept on disk, in place of history.durable.
        durable: Option<bool> = None, Maybe(Flag);
    }

    /// The dialect `router` (contract 6).
    Router {
        /// Connections that speak it, over all shards. 0: no limit but max_total_connections.
        max_clients: usize = 1_000, Whole(0, CONNECTIONS_MAX);
        /// Events that may wait for one such connection, in place of outbox.events, of 4096 bytes on average or outbox.bytes
        /// in all, whichever is more; a full queue keeps the highest ranked.
        max_queue_size: usize = 10_000, Whole(1, QUEUE_EVENTS_MAX);
        /// Whether each range of priorities has a queue of its own in place of that one: 10 has 1000 events, 7 to 9
        /// have 5000, 5 and 6 have 10000, 1 to 4 have 5000.
        multi_queue: bool = false, Flag;
    }

    /// The dialect `freqsearch` (contract 6).
    Freqsearch {
        /// Whether events that are sent together go in one message, each on a line of its own.
        join: bool = false, Flag;
    }

    /// Checks of events against JSON Schemas (contract 13).
    Schemas {
        /// strict: refuse unknown types. known: check known types, pass others. off.
        mode: SchemaMode = SchemaMode::Known, OneOf;
        /// Folder of schema files, TYPE.json each. They go in the place of the shipped ones of the same type. Empty: none.
        dir: String = String::new(), Text(grammar::folder_or_none);
    }

    /// How much one peer may send (contract 14).
    RateLimit {
        /// Publishes of one service.
        publish: RateLimitPublish = RateLimitPublish::default(), Nested;
        /// Messages of one client.
        messages: RateLimitMessages = RateLimitMessages::default(), Nested;
        /// New connections in any second; more are closed before anything is read from them. 0: no limit.
        connects_per_second: u32 = 0, Whole(0, RATE_MAX);
    }

    /// How much one service may publish (contract 14).
    RateLimitPublish {
        /// Publishes in one window, refused ones but for those with 429; the next is answered 429. 0: no limit.
        limit: u32 = 0, Whole(0, RATE_MAX);
        /// Seconds of the window.
        window_ms as "window": u64 = 60_000, Seconds(TIME_MS_MIN, TIME_MS_MAX);
        /// Whether X-Service-Name must be given; without it a publish is answered 422. One without counts for its address.
        require_service_name: bool = false, Flag;
    }

    /// How much one client may say (contract 14).
    RateLimitMessages {
        /// Messages in one window; the next is refused, and 100 refused ones end the connection. 0: no limit.
        limit: u32 = 0, Whole(0, RATE_MAX);
        /// Seconds of the window.
        window_ms as "window": u64 = 60_000, Seconds(TIME_MS_MIN, TIME_MS_MAX);
        /// Limits of some types of messages, each counted by itself, such as {trade: 50, candles: 100}.
        per_type: Vec<(String, u32)> = Vec::new(), Named(Whole(1, RATE_MAX));
    }

    /// Web pages of other origins (contract 12).
    Cors {
        /// Origins such as https://example.com or https://*.example.com, or "*" (without cookies). Empty: pages of the
        /// server itself and clients without an Origin.
        allowed_origins: Vec<String> = Vec::new(), Listed(origin);
    }

    /// Encryption.
    Tls {
        /// PEM file of the certificate chain, the server's own first. Files that change are taken within two seconds.
        cert: String = String::new(), Text(file_or_none);
        /// PEM file of its key.
        key: String = String::new(), Text(file_or_none);
        /// PEM file of the authority that signs client certificates: who shows one must show a good one. Empty: none is
        /// asked for.
        client_ca: String = String::new(), Text(file_or_none);
    }

    /// Compression of messages.
    Compression {
        /// Whether permessage-deflate (RFC 7692) is granted to clients that ask for it.
        enabled: bool = true, Flag;
        /// Bytes from which a message is compressed; shorter ones hardly shrink.
        threshold: usize = 1_024, Whole(0, MESSAGE_BYTES_MAX);
    }

    /// How the server stops (contract 19).
    Shutdown {
        /// Seconds over which the sockets are closed, spread evenly; at most timeout.
        grace_ms as "grace": u64 = 5_000, Seconds(0, TIME_MS_MAX);
        /// Seconds after which the process ends in any case.
        timeout_ms as "timeout": u64 = 30_000, Seconds(0, TIME_MS_MAX);
        /// Text of the close frame (1001), at most 123 bytes (RFC 6455 section 5.5).
        reason: String = SHUTDOWN_REASON.to_owned(), Text(close_reason);
    }
}

impl Settings {
    /// The address to bind: `host` and `port`, where localhost is 127.0.0.1.
    #[must_use]
    pub fn listen_address(&self) -> SocketAddr {
        let ip = grammar::address(&self.host).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        SocketAddr::new(ip, self.port)
    }

    /// The files of the section `tls`, if it is on.
    #[must_use]
    pub fn tls_files(&self) -> Option<Files> {
        let Tls { cert, key, client_ca } = &self.tls;
        let files = || Files { cert: cert.into(), key: key.into(), client_ca: client_ca.into() };
        (!cert.is_empty() && !key.is_empty()).then(files)
    }

    /// Which of [`Settings::addresses`] are encrypted.
    pub fn encrypted(&self) -> impl Iterator<Item = bool> + '_ {
        let further = self.listeners.iter().map(|listener| listener.tls);
        std::iter::once(self.tls_files().is_some()).chain(further)
    }

    /// All addresses to bind: the first, then those of `listeners` in their order.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let further = self.listeners.iter().map(|listener| listener.address);
        std::iter::once(self.listen_address()).chain(further)
    }
}
