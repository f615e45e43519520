//! The words on the command line of the load tool: one run is one set of sockets and one way to publish.

use clap::Parser;

use crate::dialect::{Dialect, Wish};
use crate::subscriber::COMPRESSION;

/// Everything that shapes one run. Counts are totals, not per connection, unless the name says otherwise.
#[derive(Parser, Clone, Debug)]
#[command(name = "load", about = "Opens WebSocket subscribers, publishes over HTTP, and counts what arrives")]
pub struct Options {
    /// Port of the server on 127.0.0.1
    #[arg(long)]
    pub port: u16,
    /// Process of the server, for its CPU time and memory (repeat for several)
    #[arg(long)]
    pub pid: Vec<u32>,
    /// Subscribers in all; subscriber i listens to channel i modulo `channels`
    #[arg(long, default_value_t = 1000)]
    pub subscribers: usize,
    /// Channels in all
    #[arg(long, default_value_t = 1)]
    pub channels: usize,
    /// Publisher connections
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Closed loop: unanswered publishes in all, spread evenly over the publishers (pipelined)
    #[arg(long, default_value_t = 1)]
    pub in_flight: usize,
    /// Closed loop, and the next publish waits until every subscriber has the last one
    #[arg(long)]
    pub lockstep: bool,
    /// Open loop: publishes per second, each timed from the moment it was due; 0 is the closed loop
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// Connect only: memory and CPU per connection, then CPU while nothing happens
    #[arg(long)]
    pub idle: bool,
    /// Size of an event in bytes
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// Length of the measured part in seconds
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Length of the part before it, which does not count, in seconds
    #[arg(long, default_value_t = 0.3)]
    pub warmup: f64,
    /// Core that this tool keeps to
    #[arg(long)]
    pub core: Option<usize>,
    /// Sleep while nothing is ready, as a client would; without this the tool spins, so that the server never pays for
    /// waking a halted core (5 us and more on a virtual one, and the more often the idler this tool is)
    #[arg(long)]
    pub sleep: bool,
    /// Path to publish to; `{}` is the channel
    #[arg(long, default_value = "/publish/{}")]
    pub publish_path: String,
    /// Path to subscribe at, in place of the dialect's; `{}` is the channel
    #[arg(long)]
    pub subscribe_path: Option<String>,
    /// What the subscribers speak
    #[arg(long, value_enum, default_value_t = Dialect::Courier)]
    pub dialect: Dialect,
    /// Subscribe by pattern: one for all subscribers where there is one channel, else one of its own for each channel
    #[arg(long)]
    pub patterns: bool,
    /// Ask for events of this type only; those of this tool are of the type `load`
    #[arg(long)]
    pub types: Option<String>,
    /// Send this token with every handshake and every publish
    #[arg(long)]
    pub bearer: Option<String>,
    /// Ask for compressed messages; one that is not compressed counts as lost
    #[arg(long)]
    pub deflate: bool,
    /// Speak NATS' own protocol (inside WebSocket) instead of HTTP and raw events
    #[arg(long)]
    pub nats: bool,
    /// Other channels that exist meanwhile
    #[arg(long, default_value_t = 0)]
    pub crowd_channels: usize,
    /// Idle connections meanwhile, spread over the other channels
    #[arg(long, default_value_t = 0)]
    pub crowd_connections: usize,
    /// Print `ready` after the warm-up, then measure and report once for each line on standard input, until that ends
    #[arg(long)]
    pub gate: bool,
    /// Length of the part before each measured one, which does not count either, in seconds: at the gate all grows cold
    #[arg(long, default_value_t = 0.0)]
    pub lead_in: f64,
}

impl Options {
    /// Finds combinations that cannot run; the text names the option to change.
    pub fn check(&self) -> Result<(), String> {
        if self.channels == 0 || self.publishers == 0 || self.subscribers == 0 {
            return Err("--subscribers, --channels and --publishers must be at least 1".into());
        }
        if self.in_flight < self.publishers && self.rate == 0.0 {
            return Err("--in-flight must be at least --publishers".into());
        }
        if self.size < crate::event::SIZE_MIN {
            return Err(format!("--size must be at least {}", crate::event::SIZE_MIN));
        }
        if self.nats && (!self.subscribers.is_multiple_of(self.channels) || self.crowd_channels > 0) {
            return Err("--nats needs as many --subscribers on each channel, and no crowd".into());
        }
        if self.nats && self.size > crate::nats::EVENT_BYTES_MAX {
            return Err(format!("--nats takes events of at most {} bytes", crate::nats::EVENT_BYTES_MAX));
        }
        if self.patterns && !self.dialect.knows_patterns() {
            return Err("--patterns needs --dialect v1 or router".into());
        }
        if self.types.is_some() && !self.dialect.knows_types() {
            return Err("--types needs --dialect courier, v1 or sse".into());
        }
        if self.deflate && self.dialect == Dialect::Sse {
            return Err("--deflate is for sockets".into());
        }
        if self.crowd_connections > 0 && self.crowd_channels == 0 {
            return Err("--crowd-connections needs --crowd-channels".into());
        }
        Ok(())
    }

    /// How a subscriber asks for `channel`.
    pub fn wish(&self, channel: &str) -> Wish {
        let pattern = self.patterns.then(|| self.pattern(channel));
        let mut wish = self.dialect.wish(channel, pattern.as_deref());
        if let Some(path) = &self.subscribe_path {
            wish.path = path.replace("{}", channel);
        }
        if let Some(types) = &self.types {
            wish.path += &format!("{}types={types}", if wish.path.contains('?') { '&' } else { '?' });
        }
        wish.fields += &self.credentials();
        if self.deflate {
            wish.fields += &format!("Sec-WebSocket-Extensions: {COMPRESSION}\r\n");
        }
        wish
    }

    /// The field that carries the token, with its line end; empty without one.
    pub fn credentials(&self) -> String {
        self.bearer.as_ref().map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"))
    }

    /// `load.*` for the only channel, `*.7` for `load.7` of many.
    fn pattern(&self, channel: &str) -> String {
        let (family, number) = channel.split_once('.').expect("channels of this tool have two segments");
        if self.channels == 1 { format!("{family}.*") } else { format!("*.{number}") }
    }

    /// Unanswered publishes that one publisher may have.
    pub fn depth(&self) -> usize {
        self.in_flight / self.publishers
    }
}
