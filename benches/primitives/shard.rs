//! A whole shard without a kernel: requests in, answers and frames out. What a publish costs Courier, all told.

use std::hint::black_box;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use courier::config::Settings;
use courier::hub::Sent;
use courier::mailbox::doorbell::Doorbell;
use courier::mailbox::pulse::Pulse;
use courier::runtime::core::Ready;
use courier::runtime::driver::{Driver, Received};
use courier::runtime::shard::Shard;
use courier::server::build;
use courier::stdx::clock::Now;

use crate::{Operation, Primitive};

pub const PRIMITIVES: &[Primitive] = &[
    ("shard.publish_16", || Case::own_channels().operation()),
    ("shard.publish_16_spaced", spaced),
    ("shard.publish_16_traced", traced),
    ("shard.publish_lone", lone),
];

fn lone() -> Operation {
    Case { publishers: 1, ..Case::own_channels() }.operation()
}

/// The event as Python's `json.dumps` writes it: a blank behind each colon and comma.
fn spaced() -> Operation {
    let event = EVENT.replace("\":", "\": ").replace(",\"", ", \"");
    Case { event, ..Case::own_channels() }.operation()
}

/// Every request has a trace of its own (W3C Trace Context), so that no head is like the one before it.
fn traced() -> Operation {
    let trace = |channel: u32| {
        let parent = channel + 1;
        format!("traceparent: 00-{parent:032x}-{parent:016x}-01\r\n")
    };
    Case { publish_fields: trace, ..Case::own_channels() }.operation()
}

/// Subscribers.
const MANY: u32 = 1_000;
/// Long enough ago for no deadline to come near.
const NOW: Now = Now { steady_us: 1_000_000, unix_ms: 1_700_000_000_000 };
pub const EVENT: &str = r#"{"type":"load","channel":"aaaaaaab","from":"aaaaaaaa","seq":"aaaaaaac","at":"aaaaaaaabcdefghp","pad":"order.filled opqrorder.f"}"#;

/// Sockets that take every byte at once, and have to say what is put here.
#[derive(Default)]
struct Plug {
    incoming: Vec<u8>,
}

impl Driver for Plug {
    type Socket = ();

    fn receive(&mut self, (): &(), into: &mut [u8]) -> Received {
        if self.incoming.is_empty() {
            return Received::Empty;
        }
        let n = self.incoming.len();
        into[..n].copy_from_slice(&self.incoming);
        self.incoming.clear();
        Received::Bytes(n)
    }

    fn send(&mut self, (): &(), bytes: &[u8]) -> Sent {
        Sent::Bytes(black_box(bytes).len())
    }

    fn send_all(&mut self, (): &(), slices: &[IoSlice<'_>]) -> Sent {
        Sent::Bytes(black_box(slices).iter().map(|slice| slice.len()).sum())
    }

    fn half_close(&mut self, (): &()) {}
}

struct Server {
    shard: Shard<Plug>,
    plug: Plug,
}

impl Server {
    fn new(settings: &Settings) -> Server {
        let doorbells = vec![Doorbell::new().expect("an eventfd")];
        let shared = Arc::new(build::shared(settings, 1, doorbells));
        let port = build::ports(settings, &shared).remove(0);
        let options = build::options(settings, 0, 1, NOW);
        Server {
            shard: Shard::new(options, shared, port, Pulse::new(), Box::new(|| 7)),
            plug: Plug::default(),
        }
    }

    fn connect(&mut self) -> u64 {
        self.shard.accepted((), IpAddr::V4(Ipv4Addr::LOCALHOST), 0, NOW).expect("there is room")
    }

    fn say(&mut self, token: u64, bytes: &[u8]) {
        self.plug.incoming.extend_from_slice(bytes);
        self.shard.ready(&mut self.plug, token, Ready::new(true, true, false), NOW);
    }

    fn end_turn(&mut self) {
        self.shard.end_turn(&mut self.plug, NOW);
    }
}

/// Who publishes what to whom.
pub struct Case {
    pub settings: Settings,
    /// Publishers that post one event each in a turn, each to the next channel.
    pub publishers: usize,
    pub channels: u32,
    /// Subscribers of each channel.
    pub subscribers: u32,
    /// What a subscriber of a channel asks for, further fields of its request, each with its line end, and what it says
    /// once it is connected.
    pub path: fn(u32) -> String,
    pub fields: &'static str,
    pub command: fn(u32) -> Option<String>,
    /// Where an event goes, what is said with it (each field with its line end), and the event.
    pub publish_to: fn(u32) -> String,
    pub publish_fields: fn(u32) -> String,
    pub event: String,
    /// Turns before all others, beside those that warm every primitive.
    pub turns_before: usize,
}

impl Case {
    /// Workload C: a channel for each of 1,000 subscribers, with the settings that are built in.
    pub fn own_channels() -> Case {
        Case {
            settings: Settings::default(),
            publishers: 16,
            channels: MANY,
            subscribers: 1,
            path: |channel| format!("/ws/load.{channel}"),
            fields: "",
            command: |_| None,
            publish_to: |channel| format!("/publish/load.{channel}"),
            publish_fields: |_| String::new(),
            event: EVENT.to_owned(),
            turns_before: 0,
        }
    }

    /// Workload A: one channel for 1,000 subscribers, and one event after the other.
    pub fn one_channel() -> Case {
        Case { publishers: 1, channels: 1, subscribers: MANY, ..Case::own_channels() }
    }

    /// Each operation is a turn.
    pub fn operation(self) -> Operation {
        let mut server = Server::new(&self.settings);
        for channel in (0..self.channels).flat_map(|channel| (0..self.subscribers).map(move |_| channel)) {
            self.subscribe(&mut server, channel);
        }
        let posts: Vec<Vec<u8>> = (0..self.channels).map(|channel| self.post(channel)).collect();
        let tokens: Vec<u64> = (0..self.publishers).map(|_| server.connect()).collect();
        let mut next = 0;
        let mut turn = move || {
            for token in &tokens {
                server.plug.incoming.clone_from(&posts[next]);
                next = (next + 1) % posts.len();
                server.shard.ready(&mut server.plug, *token, Ready::new(true, true, false), NOW);
            }
            server.end_turn();
            server.shard.hub().counters.deliveries
        };
        let before = turn();
        let each = turn() - before;
        assert_eq!(
            each,
            self.publishers as u64 * u64::from(self.subscribers),
            "a turn reaches whom it should"
        );
        for _ in 0..self.turns_before {
            turn();
        }
        Box::new(move || {
            black_box(turn());
        })
    }

    fn subscribe(&self, server: &mut Server, channel: u32) {
        let token = server.connect();
        let (path, fields) = ((self.path)(channel), self.fields);
        let upgrade = match path.starts_with("/sse/") {
            true => "",
            false => {
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{upgrade}{fields}\r\n");
        server.say(token, request.as_bytes());
        server.end_turn();
        if let Some(command) = (self.command)(channel) {
            server.say(token, &masked(command.as_bytes()));
            server.end_turn();
        }
    }

    fn post(&self, channel: u32) -> Vec<u8> {
        let (path, fields, event) = ((self.publish_to)(channel), (self.publish_fields)(channel), &self.event);
        format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{fields}\
             Content-Length: {}\r\n\r\n{event}",
            event.len()
        )
        .into_bytes()
    }
}

/// A client's text frame of less than 64 KiB, its mask 0. Its length takes the shortest form, else it is refused
/// (RFC 6455 5.2).
fn masked(text: &[u8]) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("less than 64 KiB");
    let long = [&[0x80 | 126][..], &len.to_be_bytes()].concat();
    let len = if len < 126 { vec![0x80 | len as u8] } else { long };
    [&[0x81][..], &len, &[0; 4], text].concat()
}
