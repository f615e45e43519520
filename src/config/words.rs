//! The closed lists of words that settings take. An enum has only what is built: a word whose feature a later
//! release brings stands after `later`, is refused as such, and moves up when it is built.
use super::table::{Word, words};
use std::fmt;

words! {
    /// How much is logged.
    LogLevel {
        /// Everything, for debugging Courier itself.
        Trace = "trace",
        /// Connects, subscribes and refusals too.
        Debug = "debug",
        /// Start, stop, and what an operator should see once.
        Info = "info",
        /// What is wrong but handled.
        Warn = "warning" | "warn",
        /// What needs a person.
        Error = "error" | "critical",
    }

    /// The form of log lines.
    LogFormat {
        /// Text on a terminal, JSON elsewhere.
        Auto = "auto",
        /// For people.
        Text = "text",
        /// One JSON object per line.
        Json = "json",
    }

    /// What the heartbeat of dialect `courier` looks like (contract 4).
    HeartbeatFormat {
        /// `{"type":"ping"}`.
        Json = "json",
        /// The bare text `ping`.
        Text = "text",
        /// Both, one after the other.
        Both = "both",
    }

    /// When events of durable channels are forced to the disk (contract 11).
    Fsync {
        /// Before anybody sees them.
        Always = "always",
        /// Soon after.
        Interval = "interval",
        /// When the kernel likes.
        Never = "never",
    }

    /// Which events get a timestamp when they have none (contract 3.4).
    Stamp {
        /// Those checked against a schema.
        Validated = "validated",
        /// All.
        Always = "always",
        /// None: every event is forwarded byte for byte.
        Never = "never",
    }

    /// How strictly events are checked against schemas (contract 13).
    SchemaMode {
        /// An event of a type without a schema is refused.
        Strict = "strict",
        /// Events of types that have a schema are checked, others pass.
        Known = "known",
        /// None is checked.
        Off = "off",
    }

    /// What becomes of a connection whose queue is full (contract 10).
    Slow {
        /// It is closed with 1013 `Slow consumer`.
        Disconnect = "disconnect",
        /// The oldest event of the lowest priority goes.
        DropOldest = "drop_oldest",
        /// The older event of the same channel and `key` goes, else as above.
        Conflate = "conflate",
    }

    /// The words that are spoken on every path of a further listener (contract 1).
    Dialect {
        /// As on the first address: the path picks the dialect, and raw events are the rule.
        Courier = "courier",
        /// That of the path `/router`.
        Router = "router",
        /// That of the path `/ws/events/{channel}`.
        Events = "events",
        /// That of the path `/api/v1/ws/events`.
        Freqsearch = "freqsearch",
    }

    /// Who may publish and subscribe (contract 12).
    AuthMode {
        /// Anybody who reaches the port, which must be on loopback.
        Off = "off",
        /// Anybody, on any address: written on purpose.
        Insecure = "insecure",
        /// Who has a token or an API key.
        Required = "required",
    }

    /// How a socket is told that it may not be (contract 12).
    Reject {
        /// Accepted and closed with 1008, which a browser can read.
        Close = "close",
        /// 401 or 403.
        Http = "http",
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Dialect::WORDS.iter().find(|(_, dialect)| dialect == self);
        f.write_str(word.map_or("", |(word, _)| word))
    }
}
