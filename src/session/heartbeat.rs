//! The heartbeat of sockets and streams: what goes out when nothing else does, and when nobody is thought to be there.

use super::dialect::{self, Dialect, courier};
use super::subscriber::{Speech, Subscriber};
use super::{Heartbeat, Options};
use crate::wire::sse;
use crate::wire::websocket::frame::{Opcode, write_frame};

/// A stream carries a comment so often (contract 7), in microseconds.
const STREAM_COMMENT_US: u64 = 15_000_000;

/// A protocol ping goes out at the first heartbeat without a word since the last; the peer is given up two heartbeats
/// after that (contract 4), at the third in all.
const SILENT_MAX: u8 = 3;

/// What a heartbeat asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Beat {
    /// Send what is in the buffer, if anything; the next heartbeat is in so many microseconds.
    Next(u64),
    /// Nobody is there.
    Lost,
}

impl Subscriber {
    /// When the first heartbeat is due, in microseconds from now.
    pub fn first_beat_us(&self, options: &Options) -> u64 {
        match self.speech {
            Speech::Stream => STREAM_COMMENT_US,
            Speech::Socket(dialect) => every_us(dialect, options),
            Speech::Echo => options.heartbeat_us,
        }
    }

    /// A heartbeat is due. What to send is appended to `out`.
    pub fn beat(&mut self, options: &Options, out: &mut Vec<u8>) -> Beat {
        let dialect = match self.speech {
            Speech::Stream => {
                sse::write_comment("", out);
                return Beat::Next(STREAM_COMMENT_US);
            }
            Speech::Echo => None,
            Speech::Socket(dialect) => Some(dialect),
        };
        let heartbeat = dialect.map(|dialect| dialect.manners().heartbeat);
        if let Some(dialect::Heartbeat::Protocol { every_us: Some(every), silence_us_max: Some(silence) }) =
            heartbeat
        {
            return self.ping_and_look(every, silence - every, out);
        }
        self.silent = if self.heard { 0 } else { self.silent + 1 };
        self.heard = false;
        if self.silent >= SILENT_MAX {
            return Beat::Lost;
        }
        write_heartbeat(heartbeat, options.heartbeat, out);
        if self.silent > 0 {
            write_frame(Opcode::Ping, b"", out);
        }
        Beat::Next(options.heartbeat_us)
    }

    /// Pings every so often, and looks a little later whether anything was said since.
    fn ping_and_look(&mut self, every_us: u64, patience_us: u64, out: &mut Vec<u8>) -> Beat {
        let patience_us = patience_us.min(every_us);
        if self.silent == 1 {
            if !self.heard {
                return Beat::Lost;
            }
            self.silent = 0;
            if every_us > patience_us {
                return Beat::Next(every_us - patience_us);
            }
        }
        self.silent = 1;
        self.heard = false;
        write_frame(Opcode::Ping, b"", out);
        Beat::Next(patience_us)
    }
}

/// Microseconds from one heartbeat to the next.
fn every_us(dialect: Dialect, options: &Options) -> u64 {
    match dialect.manners().heartbeat {
        dialect::Heartbeat::Protocol { every_us, .. } => every_us.unwrap_or(options.heartbeat_us),
        dialect::Heartbeat::Configured | dialect::Heartbeat::Json => options.heartbeat_us,
    }
}

fn write_heartbeat(heartbeat: Option<dialect::Heartbeat>, configured: Heartbeat, out: &mut Vec<u8>) {
    let (json, text) = match heartbeat {
        Some(dialect::Heartbeat::Configured) => {
            (configured != Heartbeat::Text, matches!(configured, Heartbeat::Text | Heartbeat::Both))
        }
        Some(dialect::Heartbeat::Json) => (true, false),
        Some(dialect::Heartbeat::Protocol { .. }) | None => (false, false),
    };
    if json {
        write_frame(Opcode::Text, courier::PING.as_bytes(), out);
    }
    if text {
        write_frame(Opcode::Text, b"ping", out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::subscriber::{Heard, Lent};
    use crate::session::tests_support::options;
    use crate::wire::websocket::deflate::Inflater;

    /// What a heartbeat asks for, and whether it pings; `says` is whether the peer said something before it.
    fn beat(subscriber: &mut Subscriber, says: bool) -> (Beat, bool) {
        let mut out = Vec::new();
        subscriber.heard |= says;
        let beat = subscriber.beat(&options(), &mut out);
        (beat, out.first() == Some(&0x89))
    }

    #[test]
    fn freqsearch_pings_every_54_seconds_and_gives_up_a_peer_that_is_silent_for_60() {
        let mut subscriber = Subscriber::new(Speech::Socket(Dialect::FreqSearch));
        assert_eq!(subscriber.first_beat_us(&options()), 54_000_000);
        assert_eq!(beat(&mut subscriber, false), (Beat::Next(6_000_000), true));
        assert_eq!(beat(&mut subscriber, true), (Beat::Next(48_000_000), false));
        assert_eq!(beat(&mut subscriber, false), (Beat::Next(6_000_000), true));
        assert_eq!(beat(&mut subscriber, false), (Beat::Lost, false));
    }

    #[test]
    fn the_router_pings_every_20_seconds_and_waits_20_for_the_pong() {
        let mut subscriber = Subscriber::new(Speech::Socket(Dialect::Router));
        assert_eq!(subscriber.first_beat_us(&options()), 20_000_000);
        assert_eq!(beat(&mut subscriber, false), (Beat::Next(20_000_000), true));
        assert_eq!(beat(&mut subscriber, true), (Beat::Next(20_000_000), true));
        assert_eq!(beat(&mut subscriber, false), (Beat::Lost, false));
    }

    #[test]
    fn a_stream_carries_a_comment_every_15_seconds_and_hears_nothing() {
        let mut subscriber = Subscriber::new(Speech::Stream);
        let mut out = Vec::new();
        assert_eq!(subscriber.beat(&options(), &mut out), Beat::Next(15_000_000));
        assert!(out.starts_with(b":"));
        let mut said = Vec::new();
        let heard = subscriber.hear(
            &mut b"GET /".to_vec(),
            &options(),
            &mut Lent { out: &mut out, said: &mut said, inflater: &mut Inflater::default() },
        );
        assert_eq!(heard, Heard::Frame(5, None));
    }
}
