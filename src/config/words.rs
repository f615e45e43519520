//! The closed lists of words that settings take. An enum has only what is built: a word whose feature a later
//! release brings stands after `later`, is refused as such, and moves up when it is built.
use super::table::words;

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

    /// Which events get a timestamp when they have none (contract 3.4).
    Stamp {
        /// Those checked against a schema.
        Validated = "validated",
        /// All.
        Always = "always",
        /// None: every event is forwarded byte for byte.
        Never = "never",
    }

    /// What becomes of a connection whose queue is full (contract 10).
    Slow {
        /// It is closed with 1013 `Slow consumer`.
        Disconnect = "disconnect",
    } later "drop_oldest", "conflate";

    /// Who may publish and subscribe (contract 12).
    AuthMode {
        /// Anybody who reaches the port, which must be on loopback.
        Off = "off",
        /// Anybody, on any address: written on purpose.
        Insecure = "insecure",
    } later "required";
}
