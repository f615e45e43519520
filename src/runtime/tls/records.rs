//! What rustls makes of bytes: records in, plaintext out, and back. Functions over a session and slices, without socket or
//! state of their own.
use rustls::server::ServerConnectionData;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
};

use super::Conn;

/// A record's header: type, version, length (RFC 8446 5.1).
const HEADER_BYTES: usize = 5;

/// What the longest record says (RFC 8446 5.1).
pub(super) const PLAINTEXT_BYTES_MAX: usize = 1 << 14;

/// The longest record of any version, encrypted (RFC 5246 6.2.3).
const RECORD_BYTES_MAX: usize = PLAINTEXT_BYTES_MAX + 2048;

/// Change of cipher, alert, handshake, data.
const KINDS: std::ops::RangeInclusive<u8> = 20..=23;

/// Room for an alert record in any version.
const ALERT_BYTES: usize = 128;

/// Room for most of what a session says of its own; grows for a long chain of certificates.
const FLIGHT_BYTES: usize = 4096;

/// The length of the record that `bytes` begins with, if it is whole; all, if it is none or too long: rustls refuses it.
pub(super) fn record_bytes(bytes: &[u8]) -> Option<usize> {
    let &kind = bytes.first()?;
    if !KINDS.contains(&kind) {
        return Some(bytes.len());
    }
    let &[_, _, _, high, low] = bytes.first_chunk::<HEADER_BYTES>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > RECORD_BYTES_MAX {
        return Some(bytes.len());
    }
    let length = HEADER_BYTES + length;
    (bytes.len() >= length).then_some(length)
}

/// Hands the writing side of a session to `write`.
fn traffic<T>(
    conn: &mut Conn,
    incoming: &mut [u8],
    write: impl FnOnce(&mut WriteTraffic<'_, ServerConnectionData>) -> T,
) -> Option<T> {
    // What the session has to say of its own went out when it was read; that the peer has closed is said once.
    for _ in 0..2 {
        match conn.process_tls_records(incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => return Some(write(&mut traffic)),
            Ok(ConnectionState::PeerClosed) => {}
            _ => return None,
        }
    }
    None
}

/// Encrypts `bytes` into `out`; answers how long that is, `None` when the session can encrypt no more.
pub(super) fn encrypt(
    conn: &mut Conn,
    incoming: &mut [u8],
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Option<usize> {
    traffic(conn, incoming, |traffic| {
        loop {
            match traffic.encrypt(bytes, out) {
                Ok(written) => return Some(written),
                Err(EncryptError::InsufficientSize(error)) if error.required_size > out.len() => {
                    out.resize(error.required_size, 0);
                }
                Err(_) => return None,
            }
        }
    })?
}

/// The record that says that nothing more comes (RFC 8446 6.1); empty where the session cannot say it.
pub(super) fn close_notify(conn: &mut Conn, incoming: &mut [u8]) -> Vec<u8> {
    let mut alert = vec![0; ALERT_BYTES];
    let written = traffic(conn, incoming, |traffic| traffic.queue_close_notify(&mut alert));
    alert.truncate(written.and_then(Result::ok).unwrap_or(0));
    alert
}

/// What one look into a session gave.
pub(super) enum Advance {
    /// Something was made to send.
    Further,
    /// More must come first, or the handshake is done.
    Halted,
    /// The peer broke the rules, or has nothing that suits.
    Failed(rustls::Error),
}

/// Lets a session look at what has come and say what it has to say; answers what of `incoming` it is done with.
pub(super) fn advance(conn: &mut Conn, incoming: &mut [u8], outgoing: &mut Vec<u8>) -> (usize, Advance) {
    let UnbufferedStatus { discard, state } = conn.process_tls_records(incoming);
    let advance = match state {
        Ok(ConnectionState::EncodeTlsData(record)) => {
            encode(record, outgoing);
            Advance::Further
        }
        Ok(ConnectionState::TransmitTlsData(sent)) => {
            sent.done();
            Advance::Further
        }
        Ok(_) => Advance::Halted,
        Err(error) => Advance::Failed(error),
    };
    (discard, advance)
}

/// The alert that says what was wrong. Looks at no more input: a session fails once, and rustls panics when it is to look
/// and does not get again what it has kept of a message that is not whole. It has its say before it looks.
pub(super) fn farewell(conn: &mut Conn, outgoing: &mut Vec<u8>) {
    while conn.wants_write() {
        let (_, Advance::Further) = advance(conn, &mut [], outgoing) else { return };
    }
}

/// Appends a record of a session's own to `out`.
fn encode(mut record: EncodeTlsData<'_, ServerConnectionData>, out: &mut Vec<u8>) {
    let start = out.len();
    let mut room = FLIGHT_BYTES;
    loop {
        out.resize(start + room, 0);
        match record.encode(&mut out[start..]) {
            Ok(written) => return out.truncate(start + written),
            Err(EncodeError::InsufficientSize(error)) if error.required_size > room => {
                room = error.required_size;
            }
            Err(_) => return out.truncate(start),
        }
    }
}

/// What a read gave.
pub(super) struct Decrypted {
    /// Of plaintext.
    pub bytes: usize,
    /// Of the ciphertext.
    pub taken: usize,
    /// What the session has to say of its own.
    pub answer: Vec<u8>,
    pub end: End,
}

/// How a session stands after a read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It goes on.
    Open,
    /// The peer sends no more.
    Closed,
    /// The peer broke the rules.
    Failed,
}

/// Decrypts what is whole of `cipher` into `into`, which has room for as much, and for one record that the last step of a
/// handshake has decrypted.
pub(super) fn decrypt(conn: &mut Conn, cipher: &mut [u8], into: &mut [u8]) -> Decrypted {
    let mut decrypted = Decrypted { bytes: 0, taken: 0, answer: Vec::new(), end: End::Open };
    loop {
        let rest = &mut cipher[decrypted.taken..];
        let UnbufferedStatus { mut discard, state } = conn.process_tls_records(rest);
        let mut halted = false;
        match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(Ok(record)) = traffic.next_record() {
                    discard += record.discard;
                    let from = decrypted.bytes;
                    decrypted.bytes += record.payload.len();
                    into[from..decrypted.bytes].copy_from_slice(record.payload);
                }
            }
            Ok(ConnectionState::EncodeTlsData(record)) => encode(record, &mut decrypted.answer),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(ConnectionState::PeerClosed) => decrypted.end = End::Closed,
            Ok(_) => halted = true,
            Err(error) => {
                tracing::debug!(%error, "a TLS connection failed");
                (decrypted.end, halted) = (End::Failed, true);
            }
        }
        decrypted.taken += discard;
        if halted {
            break;
        }
    }
    if decrypted.end == End::Failed {
        farewell(conn, &mut decrypted.answer);
    }
    decrypted
}
