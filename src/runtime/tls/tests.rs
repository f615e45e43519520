//! A shard's end of TLS against a client of rustls, over real sockets.

use super::end::{Setup, TlsEnd};
use super::files::Files;
use super::handshakes::UNDER_WAY_MAX;
use super::keeper;
use super::session::TlsSocket;
use crate::hub::Sent;
use crate::mailbox::doorbell::Doorbell;
use crate::runtime::driver::Received;
use crate::stdx::clock::Clock;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::yield_now;

/// For tests alone: everybody has the key.
const CERT: &str = "-----BEGIN CERTIFICATE-----
MIIBUjCCAQSgAwIBAgIURzc1el7wSDJSD25PGeFYhZHmq1swBQYDK2VwMBQxEjAQ
BgNVBAMMCWxvY2FsaG9zdDAgFw0yNjExMjgyMjEwMjVaGA8yMDgxMDgzMTIyMTAy
NVowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEAFWHcvKVUUTrKtTE3
hYON6N4aHnALRCKOmX4suB0EvxGjZjBkMB0GA1UdDgQWBBSN/7lyfmaof24FF0+H
PAWgPo2oMzAfBgNVHSMEGDAWgBSN/7lyfmaof24FF0+HPAWgPo2oMzAUBgNVHREE
DTALgglsb2NhbGhvc3QwDAYDVR0TAQH/BAIwADAFBgMrZXADQQDzQ2Ip4+z2loK1
II4UxOIKKBmDdILdxGHG2TyXKYU0cMnYFqVofhQCFFnAMn9InugQss9bad8mvweZ
v3AIj5QC
-----END CERTIFICATE-----";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIGJAuKAPNz3ayBUE6MX01KM31eWVpaJv2Zkeo8HH6aBB
-----END PRIVATE KEY-----";

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("courier-tls-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder for temporary files");
        std::fs::write(path.join("cert.pem"), CERT).expect("room on the disk");
        std::fs::write(path.join("key.pem"), KEY).expect("room on the disk");
        Folder(path)
    }

    fn files(&self) -> Files {
        Files { cert: self.0.join("cert.pem"), key: self.0.join("key.pem"), client_ca: PathBuf::new() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A shard's end, with its threads.
fn end(name: &str) -> TlsEnd {
    let folder = Folder::new(name);
    let keeper = keeper::start(&folder.files(), 1, Clock::start()).expect("the files fit");
    let doorbell = Doorbell::new().expect("descriptors are left");
    let setup: Setup = keeper.end(vec![true], &doorbell);
    TlsEnd::new(setup)
}

/// Both ends of a connection: the server's in the end's care, the client's as it is.
fn connected(end: &TlsEnd) -> (Box<TlsSocket>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("somebody has connected");
    server.set_nonblocking(true).expect("a socket");
    client.set_nodelay(true).expect("a socket");
    let socket = end.enter(0, OwnedFd::from(server)).expect("the door is encrypted");
    (socket, client)
}

fn session() -> ClientConnection {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERT.as_bytes()).expect("PEM")).expect("a certificate");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring has suites");
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").expect("a name"))
        .expect("sound")
}

/// Lets the step that is under way end.
fn step(end: &mut TlsEnd, socket: &TlsSocket) {
    loop {
        if let Some(ended) = end.ended() {
            return end.resume(socket, ended);
        }
        yield_now();
    }
}

/// Reads on the server's side until something comes of it.
fn heard(end: &mut TlsEnd, socket: &TlsSocket) -> Vec<u8> {
    let mut scratch = vec![0; 65_536];
    loop {
        match end.receive(socket, &mut scratch) {
            Received::Bytes(n) | Received::More(n) if n > 0 => return scratch[..n].to_vec(),
            Received::End => return Vec::new(),
            _ => yield_now(),
        }
    }
}

/// A connection whose handshake is done.
fn open(end: &mut TlsEnd) -> (Box<TlsSocket>, TcpStream, ClientConnection) {
    let (socket, mut stream) = connected(end);
    let mut client = session();
    let talk = std::thread::spawn(move || {
        while client.is_handshaking() {
            client.complete_io(&mut stream).expect("the server shakes hands");
        }
        (stream, client)
    });
    let mut scratch = vec![0; 65_536];
    while socket.is_greeting() {
        end.receive(&socket, &mut scratch);
        if let Some(ended) = end.ended() {
            end.resume(&socket, ended);
        }
        yield_now();
    }
    let (stream, client) = talk.join().expect("the client does its part");
    (socket, stream, client)
}

/// Reads so many bytes on the client's side.
fn read(client: &mut ClientConnection, stream: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut all = vec![0; bytes];
    rustls::Stream::new(client, stream).read_exact(&mut all).expect("the server sends");
    all
}

#[test]
fn a_session_carries_both_ways_and_ends_with_a_word() {
    let mut end = end("both_ways");
    let (socket, mut stream, mut client) = open(&mut end);
    rustls::Stream::new(&mut client, &mut stream).write_all(b"question").expect("the server reads");
    assert_eq!(heard(&mut end, &socket), b"question");
    assert_eq!(end.send(&socket, b"answer"), Sent::Bytes(6));
    assert_eq!(read(&mut client, &mut stream, 6), b"answer");
    socket.half_close();
    let mut rest = Vec::new();
    // Without close_notify this is an error.
    rustls::Stream::new(&mut client, &mut stream).read_to_end(&mut rest).expect("a clean end");
    assert!(rest.is_empty());
    assert_eq!(end.sockets(), 1);
    drop(socket);
    assert_eq!(end.sockets(), 0);
}

#[test]
fn what_the_kernel_does_not_take_is_owed_and_goes_first() {
    let mut end = end("owed");
    let (socket, mut stream, mut client) = open(&mut end);
    let pattern = |n: usize| (0..n).map(|i| (i % 251) as u8).collect::<Vec<u8>>();
    let bytes = pattern(32 << 20);
    let mut taken = 0;
    while let Sent::Bytes(n @ 1..) = end.send(&socket, &bytes[taken..]) {
        taken += n;
    }
    assert!(taken < bytes.len() && !socket.is_flushed(), "the kernel took all of {taken}");
    assert_eq!(end.send(&socket, b"later"), Sent::Bytes(0), "what is owed goes first");
    let reader = std::thread::spawn(move || {
        let all = read(&mut client, &mut stream, taken);
        (all, client, stream)
    });
    while !socket.is_flushed() {
        socket.flush();
        yield_now();
    }
    let (all, mut client, mut stream) = reader.join().expect("the client reads");
    assert!(all == bytes[..taken], "the bytes are not those that were taken");
    assert_eq!(end.send(&socket, b"later"), Sent::Bytes(5));
    assert_eq!(read(&mut client, &mut stream, 5), b"later");
}

#[test]
fn pieces_share_records_and_a_turn_is_one_send() {
    let mut end = end("records");
    let (socket, mut stream, mut client) = open(&mut end);
    assert_eq!(end.send(&socket, b"!"), Sent::Bytes(1));
    assert_eq!(read(&mut client, &mut stream, 1), b"!"); // the tickets are in too
    let piece = [b'x'; 1000];
    let slices = [IoSlice::new(&piece); 60];
    assert_eq!(end.send_all(&socket, &slices), Sent::Bytes(60_000));
    let mut lengths = Vec::new();
    while lengths.iter().sum::<usize>() < 60_000 {
        let mut header = [0; 5];
        stream.read_exact(&mut header).expect("a record");
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        stream.read_exact(&mut vec![0; length]).expect("all of it");
        lengths.push(length - 17); // of type and tag
    }
    assert_eq!(lengths, [16_384, 16_384, 16_384, 10_848]);
}

#[test]
fn a_step_begins_when_a_record_is_whole_and_not_again_before_more_is() {
    let mut end = end("whole");
    let (socket, mut stream) = connected(&end);
    let mut scratch = vec![0; 65_536];
    let mut hello = Vec::new();
    session().write_tls(&mut hello).expect("memory");
    // One message in two records: the first alone leads nowhere.
    let (first, second) = hello[5..].split_at(100);
    let records: Vec<u8> = [first, second]
        .iter()
        .flat_map(|part| [&[22, 3, 1][..], &(part.len() as u16).to_be_bytes(), part].concat())
        .collect();
    for byte in &records[..104] {
        stream.write_all(&[*byte]).expect("the server reads");
        assert_eq!(end.receive(&socket, &mut scratch), Received::Empty);
        assert!(!end.is_busy(), "a record that is not whole is no work");
    }
    stream.write_all(&records[104..105]).expect("the server reads");
    while !end.is_busy() {
        assert_eq!(end.receive(&socket, &mut scratch), Received::Empty);
    }
    step(&mut end, &socket);
    assert_eq!(end.receive(&socket, &mut scratch), Received::Empty);
    assert!(!end.is_busy(), "nothing new has come");
    stream.write_all(&records[105..]).expect("the server reads");
    while !end.is_busy() {
        end.receive(&socket, &mut scratch);
    }
    step(&mut end, &socket);
    let mut answer = [0; 1];
    stream.read_exact(&mut answer).expect("the server says hello");
    assert_eq!(answer, [22]);
}

#[test]
fn who_comes_when_all_places_are_taken_waits_and_gets_one() {
    let mut end = end("places");
    let mut scratch = vec![0; 65_536];
    let mut hello = Vec::new();
    session().write_tls(&mut hello).expect("memory");
    let peers: Vec<_> = (0..UNDER_WAY_MAX as u64 + 3)
        .map(|token| {
            let (socket, mut stream) = connected(&end);
            socket.name(token);
            stream.write_all(&hello).expect("the server reads");
            (socket, stream)
        })
        .collect();
    for (socket, _) in &peers {
        end.receive(socket, &mut scratch);
    }
    assert_eq!(end.next_waiting(), None, "all places are taken");
    let mut served = 0;
    while served < peers.len() {
        let Some(ended) = end.ended() else {
            yield_now();
            continue;
        };
        served += 1;
        let token = ended.token();
        end.resume(&peers[token as usize].0, ended);
        while let Some(waiting) = end.next_waiting() {
            assert!(waiting >= UNDER_WAY_MAX as u64);
            end.begin(&peers[waiting as usize].0);
        }
    }
    for (_, mut stream) in peers {
        let mut answer = [0; 1];
        stream.read_exact(&mut answer).expect("the server says hello");
        assert_eq!(answer, [22]);
    }
}
