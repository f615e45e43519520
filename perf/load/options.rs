//! The words on the command line of the load tool: one run is one set of sockets and one way to publish.

use clap::Parser;

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
    /// Path to publish to; `{}` is the channel
    #[arg(long, default_value = "/publish/{}")]
    pub publish_path: String,
    /// Path to subscribe at; `{}` is the channel
    #[arg(long, default_value = "/ws/{}")]
    pub subscribe_path: String,
    /// Print `ready` after the warm-up and `done` after the report, and wait each time for a line on standard input
    #[arg(long)]
    pub gate: bool,
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
        Ok(())
    }

    /// Unanswered publishes that one publisher may have.
    pub fn depth(&self) -> usize {
        self.in_flight / self.publishers
    }
}
