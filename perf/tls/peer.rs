//! A client of the load tool: a socket that may be encrypted, read without waiting, cut into the events that it carries.

use super::frame::first_frame;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// Takes any certificate: the tool is to cost less than the server.
#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// How clients speak TLS; with `resuming` each goes on with the session of the last.
pub fn config(resuming: bool) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("ring has suites");
    let mut config =
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Trusting)).with_no_client_auth();
    if !resuming {
        config.resumption = rustls::client::Resumption::disabled();
    }
    Arc::new(config)
}

/// Begins a session as client of localhost.
pub fn session(config: &Arc<ClientConfig>) -> ClientConnection {
    let name = ServerName::try_from("localhost").expect("a name");
    ClientConnection::new(Arc::clone(config), name).expect("the config is sound")
}

/// One client.
pub struct Peer {
    pub stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    unread: Vec<u8>,
}

impl Peer {
    /// Connects, and shakes hands if there is a config. Waits.
    pub fn connect(address: SocketAddr, config: Option<&Arc<ClientConfig>>) -> io::Result<Peer> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut tls = config.map(|config| Box::new(session(config)));
        if let Some(tls) = &mut tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut stream)?;
            }
        }
        Ok(Peer { stream, tls, unread: Vec::new() })
    }

    /// Sends all. Waits.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.stream.write_all(bytes) };
        tls.writer().write_all(bytes)?;
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Becomes a subscriber of a channel, and reads without waiting from here on.
    pub fn subscribe(&mut self, path: &str) -> io::Result<()> {
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.send(ask.as_bytes())?;
        let end = loop {
            self.fill()?;
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        assert!(self.unread.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&self.unread));
        self.unread.drain(..end);
        self.stream.set_nonblocking(true)
    }

    /// Reads some, waiting if the stream does.
    fn fill(&mut self) -> io::Result<usize> {
        let mut room = [0; 16_384];
        let n = match &mut self.tls {
            None => self.stream.read(&mut room)?,
            Some(tls) => {
                if tls.read_tls(&mut self.stream)? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
                let state = tls.process_new_packets().map_err(io::Error::other)?;
                let n = state.plaintext_bytes_to_read();
                self.unread.reserve(n);
                let start = self.unread.len();
                self.unread.resize(start + n, 0);
                tls.reader().read_exact(&mut self.unread[start..])?;
                return Ok(n);
            }
        };
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.unread.extend_from_slice(&room[..n]);
        Ok(n)
    }

    /// Reads what is there and hands each event to `take`; answers how many there were.
    pub fn events(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut count = 0;
        loop {
            match self.fill() {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(error),
            }
            let mut at = 0;
            while let Some((_, payload, whole)) = first_frame(&self.unread[at..]) {
                take(payload);
                (at, count) = (at + whole, count + 1);
            }
            self.unread.drain(..at);
        }
    }
}
