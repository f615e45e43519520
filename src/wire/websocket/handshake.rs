//! The upgrade from HTTP (RFC 6455 4.2): `check` judges the request, `accept` writes the 101.
use crate::wire::http::{Head, Method, Refusal};
use tungstenite::handshake::derive_accept_key;

/// Base64 characters of a key's 16 bytes, without the `==` behind them.
const KEY_CHARACTERS: usize = 22;

/// The key of a sound handshake.
///
/// # Errors
/// 400 for another method than GET, HTTP/1.0 and a missing or malformed key; 426 when no WebSocket is asked for or not
/// version 13, to which the caller adds `Sec-WebSocket-Version: 13` (RFC 6455 4.2.2) and `Upgrade: websocket`.
pub fn check<'h>(head: &Head<'h>) -> Result<&'h str, Refusal> {
    let upgrade_required = |message| Refusal { status: 426, error: "Upgrade required", message };
    if head.method != Method::Get {
        return Err(Refusal::bad("A WebSocket handshake is a GET request"));
    }
    if head.minor == 0 {
        return Err(Refusal::bad("A WebSocket handshake needs HTTP/1.1"));
    }
    let upgrade = head.upgrade.ok_or(upgrade_required("This path speaks WebSocket only"))?;
    if upgrade.version != Some("13") {
        return Err(upgrade_required("This server speaks WebSocket version 13"));
    }
    match upgrade.key {
        Some(key) if key_is_valid(key) => Ok(key),
        Some(_) => Err(Refusal::bad("Sec-WebSocket-Key is not the Base64 of 16 bytes")),
        None => Err(Refusal::bad("Sec-WebSocket-Key is missing")),
    }
}

fn key_is_valid(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    key.strip_suffix("==").is_some_and(|bits| bits.len() == KEY_CHARACTERS && bits.bytes().all(allowed))
}

/// Appends the whole 101 answer. `protocol` is the one that was chosen of those that the client offered,
/// `extensions` the answer to its offers (`deflate::Accepted::header`).
pub fn accept(key: &str, protocol: Option<&str>, extensions: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    write_field(b"Sec-WebSocket-Accept: ", &derive_accept_key(key.as_bytes()), out);
    if let Some(protocol) = protocol {
        write_field(b"Sec-WebSocket-Protocol: ", protocol, out);
    }
    if let Some(extensions) = extensions {
        write_field(b"Sec-WebSocket-Extensions: ", extensions, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(name: &[u8], value: &str, out: &mut Vec<u8>) {
    debug_assert!(!value.contains(['\r', '\n']), "a field value that would split the answer");
    out.extend_from_slice(name);
    out.extend_from_slice(value.as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::head;

    /// The example of RFC 6455 1.3.
    const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://example.com\r\n\
        Sec-WebSocket-Protocol: chat, superchat\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn judged(request: &str) -> Result<String, u16> {
        let head = head(request.as_bytes()).unwrap().unwrap();
        check(&head).map(str::to_owned).map_err(|refusal| refusal.status)
    }

    #[test]
    fn the_example_of_the_rfc_is_accepted_as_there() {
        let key = judged(REQUEST).unwrap();
        let mut out = Vec::new();
        accept(&key, Some("chat"), Some("permessage-deflate"), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: chat\r\n\
             Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        );
    }

    #[test]
    fn an_unsound_handshake_is_refused_with_the_reason() {
        for (from, to, status) in [
            ("GET", "POST", 400),
            ("HTTP/1.1", "HTTP/1.0", 400),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "SGVsbG8sIHdvcmxkIQ==", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQQ=", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j.Q==", 400),
            ("Sec-WebSocket-Version: 13\r\n", "", 426),
            ("Version: 13", "Version: 8", 426),
            ("Version: 13", "Version: 013", 426),
            ("Connection: Upgrade", "Connection: close", 426),
            ("Upgrade: websocket", "Upgrade: h2c", 426),
        ] {
            assert_eq!(judged(&REQUEST.replace(from, to)), Err(status), "{from} -> {to}");
        }
    }
}
