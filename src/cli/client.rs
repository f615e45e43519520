//! One request to a running server and its answer: for commands that act on one. Plain HTTP/1.1, one connection each.

use crate::config;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

/// A server that does not answer for so long is taken for none.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A token, where the server wants one; not an argument, which everybody on the machine could read.
const TOKEN_VARIABLE: &str = "COURIER_TOKEN";

/// Which server.
#[derive(clap::Args, Debug)]
pub struct Words {
    /// The server, such as 127.0.0.1:8766; without it, the one that the settings are for
    #[arg(long, value_name = "HOST:PORT", global = true)]
    server: Option<String>,
    /// The settings file, for the server's address; config/courier.yaml if it is there
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

/// A server that can be asked.
pub struct Client {
    address: SocketAddr,
    token: Option<String>,
}

impl Client {
    /// The server that is meant.
    ///
    /// # Errors
    /// Words for the person who asked.
    pub fn new(words: &Words) -> Result<Client, String> {
        let address = match &words.server {
            Some(server) => {
                let bare = server.strip_prefix("http://").unwrap_or(server).trim_end_matches('/');
                let found = bare.to_socket_addrs().map_err(|error| format!("{server}: {error}"))?.next();
                found.ok_or_else(|| format!("{server} has no address"))?
            }
            None => {
                let loaded = config::read(words.config.as_deref(), Vec::new())
                    .map_err(|mistakes| mistakes.to_string())?;
                loaded.settings.listen_address()
            }
        };
        Ok(Client { address, token: std::env::var(TOKEN_VARIABLE).ok() })
    }

    /// Asks, and waits for a JSON body.
    ///
    /// # Errors
    /// The server is not there, or refused: its own words.
    pub fn ask(&self, method: &str, target: &str) -> Result<Value, String> {
        let lost = |error| format!("no answer from the server at {}: {error}", self.address);
        let mut stream = TcpStream::connect_timeout(&self.address, TIMEOUT).map_err(lost)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(lost)?;
        let token =
            self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n{token}\r\n",
            self.address
        );
        stream.write_all(head.as_bytes()).map_err(lost)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map_err(lost)?;
        read(&answer).unwrap_or_else(|| Err(format!("the server at {} does not speak HTTP", self.address)))
    }
}

/// The body of an answer, or the words of a refusal; `None` when it is neither.
fn read(answer: &[u8]) -> Option<Result<Value, String>> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status: u16 = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let body: Value = serde_json::from_slice(&answer[end + 4..]).ok()?;
    if status == 200 {
        return Some(Ok(body));
    }
    let words = body["detail"]["message"].as_str().unwrap_or("no reason given");
    Some(Err(format!("{words} ({status})")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_body_or_the_words_of_the_refusal() {
        let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\": 1 }";
        assert_eq!(read(ok).unwrap().unwrap()["a"], 1);
        let no =
            b"HTTP/1.1 404 Not Found\r\n\r\n{\"detail\":{\"error\":\"x\",\"message\":\"There is none\"}}";
        assert_eq!(read(no).unwrap().unwrap_err(), "There is none (404)");
        for strange in [&b""[..], b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.1 20"] {
            assert!(read(strange).is_none());
        }
    }
}
