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

pub const PRIMITIVES: &[Primitive] =
    &[("shard.publish_16", || publish(16)), ("shard.publish_lone", || publish(1))];

/// Channels, each with one subscriber.
const CHANNELS: u32 = 1_000;
/// Long enough ago for no deadline to come near.
const NOW: Now = Now { steady_us: 1_000_000, unix_ms: 1_700_000_000_000 };
const EVENT: &str = r#"{"type":"load","channel":"aaaaaaab","from":"aaaaaaaa","seq":"aaaaaaac","at":"aaaaaaaabcdefghp","pad":"order.filled opqrorder.f"}"#;

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
    /// A shard with the settings that are built in.
    fn new() -> Server {
        let doorbells = vec![Doorbell::new().expect("an eventfd")];
        let settings = Settings::default();
        let shared = Arc::new(build::shared(&settings, 1, doorbells));
        let port = build::ports(&settings, &shared).remove(0);
        let options = build::options(&settings, 0, 1, NOW);
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

/// Each operation is a turn in which so many publishers post one event each, to the next channel.
fn publish(publishers: usize) -> Operation {
    let mut server = Server::new();
    for channel in 0..CHANNELS {
        let token = server.connect();
        let request = format!(
            "GET /ws/load.{channel} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        server.say(token, request.as_bytes());
        server.end_turn();
    }
    assert_eq!(server.shard.hub().counters.accepted, u64::from(CHANNELS));
    let posts: Vec<Vec<u8>> = (0..CHANNELS)
        .map(|channel| {
            format!(
                "POST /publish/load.{channel} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{EVENT}",
                EVENT.len()
            )
            .into_bytes()
        })
        .collect();
    let tokens: Vec<u64> = (0..publishers).map(|_| server.connect()).collect();
    let mut posts = (0..posts.len()).cycle().map(move |i| posts[i].clone());
    let mut next = move || posts.next().expect("it goes round");
    Box::new(move || {
        for token in &tokens {
            server.plug.incoming = next();
            server.shard.ready(&mut server.plug, *token, Ready::new(true, true, false), NOW);
        }
        server.end_turn();
    })
}
