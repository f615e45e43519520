//! Key sets of token issuers (RFC 7517), from their URLs: one thread fetches them at the start, every few minutes, and soon
//! after a token named a key that nobody knows, but never twice within [`NUDGED_AGAIN_S`]. A fetch that fails changes nothing; a
//! key that is announced no longer is kept for [`RETIRED_S`], for the tokens that it signed. What changed is announced as the
//! list of all keys.

use crate::auth::{KEY_SET_BYTES_MAX, Key, KeySet, Remote};
use crate::stdx::clock::Clock;
use crossbeam_channel::{Receiver, Sender, bounded, select};
use std::time::Duration;
use std::{io, thread};

/// Seconds between two fetches of a set that is well, give or take a tenth, so that many servers do not ask at once.
const REFRESH_S: u64 = 300;
/// Seconds until the first retry; it doubles up to [`REFRESH_S`].
const RETRY_S: u64 = 5;
/// Seconds within which unknown keys, however many tokens name them, make for one fetch.
pub const NUDGED_AGAIN_S: u64 = 10;
/// Seconds for which a key is kept that its issuer announces no longer: more than tokens usually live.
pub const RETIRED_S: u64 = 3_600;
/// Seconds that one fetch may take: others wait for it.
const FETCH_S: u64 = 10;
/// Most keys of one set, with those that are retired.
const KEYS_MAX: usize = 256;

/// The thread; it ends when this is dropped.
pub struct Fetcher {
    orders: Sender<Vec<Remote>>,
}

impl Fetcher {
    /// Starts the thread, which calls `announce` with all keys whenever they change. A word in `nudges` says that a token
    /// names a key that nobody knows; their sender must live as long as this.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        remotes: Vec<Remote>,
        nudges: Receiver<()>,
        announce: impl Fn(Vec<Key>) + Send + 'static,
    ) -> io::Result<Fetcher> {
        let (orders, inbox) = bounded(1);
        let clock = Clock::start();
        thread::Builder::new().name("key sets".to_owned()).spawn(move || {
            let now_s = move || clock.now().unix_ms / 1_000;
            run(Shelf::new(remotes), &inbox, &nudges, now_s, &announce);
        })?;
        Ok(Fetcher { orders })
    }

    /// Other sets, after a reload; what is kept of those that stay, stays. All keys are announced anew.
    pub fn set(&self, remotes: Vec<Remote>) {
        // It is full only while a fetch hangs, which ends within seconds.
        if self.orders.send_timeout(remotes, Duration::from_secs(FETCH_S * 2)).is_err() {
            tracing::error!("the key sets of the settings were not taken; reload again");
        }
    }
}

fn run(
    mut shelf: Shelf,
    orders: &Receiver<Vec<Remote>>,
    nudges: &Receiver<()>,
    now_s: impl Fn() -> u64,
    announce: &dyn Fn(Vec<Key>),
) {
    let mut told = Some(Vec::new());
    loop {
        let keys = shelf.keys(now_s());
        if told.as_ref() != Some(&keys) {
            tracing::info!(keys = keys.len(), "keys of token issuers");
            told = Some(keys.clone());
            announce(keys);
        }
        let wait_s = if shelf.due(now_s()).is_some() { 0 } else { shelf.wait_s(now_s()) };
        let wait = Duration::from_secs(wait_s);
        select! {
            recv(orders) -> remotes => {
                let Ok(remotes) = remotes else { return };
                shelf.replace(remotes);
                told = None;
                continue;
            }
            recv(nudges) -> _ => shelf.nudged(now_s()),
            default(wait) => {}
        }
        if let Some(i) = shelf.due(now_s()) {
            let fetched = fetch(&shelf.sets[i].remote);
            if let Err(error) = &fetched {
                tracing::warn!(
                    url = shown(&shelf.sets[i].remote.url),
                    "key set not fetched; what is known stays: {error}"
                );
            }
            shelf.take(i, fetched.ok(), now_s(), jitter());
        }
    }
}

/// From 0 to 1.
fn jitter() -> f64 {
    let mut byte = [0];
    let random = ring::rand::SystemRandom::new();
    let drawn = ring::rand::SecureRandom::fill(&random, &mut byte);
    if drawn.is_ok() { f64::from(byte[0]) / 256.0 } else { 0.5 }
}

/// The part of a URL that a log may show: not the name and password before its host, nor its query, which may hold a key.
fn shown(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// A redirect is not followed: it could lead away from https, or to another's keys.
fn fetch(remote: &Remote) -> Result<KeySet, String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(FETCH_S)))
        .max_redirects(0)
        .max_redirects_will_error(true)
        .https_only(remote.url.starts_with("https://"))
        .build();
    let agent = ureq::Agent::new_with_config(config);
    let mut answer = agent.get(&remote.url).call().map_err(|error| error.to_string())?;
    let body = answer.body_mut().with_config().limit(KEY_SET_BYTES_MAX as u64).read_to_string();
    KeySet::parse(&body.map_err(|error| error.to_string())?, &remote.terms)
}

/// What is known of all sets.
struct Shelf {
    sets: Vec<Set>,
}

struct Set {
    remote: Remote,
    /// With the second until which a key is kept that is no longer announced.
    keys: Vec<(Key, Option<u64>)>,
    due_s: u64,
    tried_s: u64,
    failures: u32,
}

impl Shelf {
    fn new(remotes: Vec<Remote>) -> Shelf {
        let set = |remote| Set { remote, keys: Vec::new(), due_s: 0, tried_s: 0, failures: 0 };
        Shelf { sets: remotes.into_iter().map(set).collect() }
    }

    fn replace(&mut self, remotes: Vec<Remote>) {
        let mut before = std::mem::take(&mut self.sets);
        *self = Shelf::new(remotes);
        for set in &mut self.sets {
            if let Some(i) = before.iter().position(|old| old.remote == set.remote) {
                *set = before.swap_remove(i);
            }
        }
    }

    /// A set to fetch now.
    fn due(&self, now_s: u64) -> Option<usize> {
        self.sets.iter().position(|set| set.due_s <= now_s)
    }

    fn wait_s(&self, now_s: u64) -> u64 {
        let due = self.sets.iter().map(|set| set.due_s.saturating_sub(now_s)).min();
        due.unwrap_or(REFRESH_S).clamp(1, REFRESH_S)
    }

    /// Some token names a key that is in no set.
    fn nudged(&mut self, now_s: u64) {
        for set in &mut self.sets {
            set.due_s = set.due_s.min(now_s.max(set.tried_s + NUDGED_AGAIN_S));
        }
    }

    /// What a fetch brought; `None`: it failed. `jitter` is from 0 to 1.
    fn take(&mut self, i: usize, fetched: Option<KeySet>, now_s: u64, jitter: f64) {
        let set = &mut self.sets[i];
        set.tried_s = now_s;
        let Some(fetched) = fetched else {
            set.due_s = now_s + REFRESH_S.min(RETRY_S << set.failures.min(10));
            set.failures += 1;
            return;
        };
        set.failures = 0;
        set.due_s = now_s + (REFRESH_S as f64 * (0.9 + 0.2 * jitter)) as u64;
        let mut keys: Vec<_> = fetched.keys.into_iter().map(|key| (key, None)).collect();
        for (key, until) in set.keys.drain(..) {
            let until_s = until.unwrap_or(now_s + RETIRED_S);
            if until_s > now_s && keys.len() < KEYS_MAX && keys.iter().all(|(known, _)| *known != key) {
                keys.push((key, Some(until_s)));
            }
        }
        set.keys = keys;
    }

    fn keys(&self, now_s: u64) -> Vec<Key> {
        let kept = self.sets.iter().flat_map(|set| &set.keys);
        kept.filter(|(_, until)| until.is_none_or(|until| until > now_s))
            .map(|(key, _)| key.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{Algorithm, Terms};
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    fn remote(url: &str) -> Remote {
        let (issuer, audience) = (String::new(), String::new());
        Remote {
            url: url.to_owned(),
            terms: Terms { algorithm: Algorithm::EdDsa, issuer, audience, secrets: false },
        }
    }

    fn text(kids: &[&str]) -> String {
        let x = data_encoding::BASE64URL_NOPAD.encode(&[7; 32]);
        let jwk = |kid: &&str| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}"#);
        format!(r#"{{"keys":[{}]}}"#, kids.iter().map(jwk).collect::<Vec<_>>().join(","))
    }

    fn set(kids: &[&str]) -> Option<KeySet> {
        Some(KeySet::parse(&text(kids), &remote("").terms).unwrap())
    }

    fn kids(keys: &[Key]) -> Vec<&str> {
        keys.iter().filter_map(Key::kid).collect()
    }

    #[test]
    fn retired_key_stays_for_an_hour_and_a_failure_changes_nothing() {
        let mut shelf = Shelf::new(vec![remote("u")]);
        shelf.take(0, set(&["a"]), 1_000, 0.5);
        assert_eq!((shelf.due(1_299), shelf.due(1_300)), (None, Some(0)));
        shelf.take(0, set(&["b"]), 1_300, 0.0);
        assert_eq!(kids(&shelf.keys(1_300)), ["b", "a"]);
        for failure in 0..20 {
            shelf.take(0, None, 1_600 + failure, 0.5);
            assert_eq!(kids(&shelf.keys(1_600)), ["b", "a"]);
        }
        assert_eq!(shelf.wait_s(1_619), REFRESH_S);
        assert_eq!(kids(&shelf.keys(1_300 + RETIRED_S)), ["b"]);
        shelf.take(0, set(&["a"]), 2_000, 0.5);
        assert_eq!(kids(&shelf.keys(9_999)), ["a"], "announced again, it is no longer retired");
    }

    #[test]
    fn many_nudges_make_one_fetch() {
        let mut shelf = Shelf::new(vec![remote("u")]);
        shelf.take(0, set(&["a"]), 1_000, 0.5);
        for now_s in 1_000..1_005 {
            shelf.nudged(now_s);
            assert_eq!(shelf.due(now_s), None);
        }
        assert_eq!(shelf.due(1_000 + NUDGED_AGAIN_S), Some(0));
        shelf.take(0, set(&["a"]), 1_010, 0.5);
        assert_eq!(shelf.due(1_011), None);
    }

    #[test]
    fn set_that_stays_at_a_reload_keeps_its_keys() {
        let mut shelf = Shelf::new(vec![remote("u"), remote("v")]);
        shelf.take(0, set(&["a"]), 1_000, 0.5);
        shelf.take(1, set(&["b"]), 1_000, 0.5);
        shelf.replace(vec![remote("w"), remote("u")]);
        assert_eq!(kids(&shelf.keys(1_001)), ["a"]);
        assert_eq!(shelf.due(1_001), Some(0));
    }

    /// An issuer that answers each request with the next text, and then closes.
    fn issuer(answers: Vec<String>) -> (String, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let serve = move || {
            for answer in answers {
                let (mut peer, _) = listener.accept().unwrap();
                let mut head = [0; 4096];
                assert!(peer.read(&mut head).unwrap() > 0);
                peer.write_all(answer.as_bytes()).unwrap();
            }
        };
        (url, thread::spawn(serve))
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn what_a_log_shows_of_a_url_has_no_password_and_no_query() {
        for (url, safe) in [
            ("https://u:p@id.example:8443/a/b?key=k#f", "https://id.example:8443/a/b"),
            ("https://a@b@id.example", "https://id.example"),
            ("https://id.example?u@x/y", "https://id.example"),
            ("https://id.example/@a", "https://id.example/@a"),
        ] {
            assert_eq!(shown(url), safe);
        }
    }

    #[test]
    fn keys_come_from_the_url_and_are_announced() {
        let (url, served) = issuer(vec![ok(&text(&["a", "b"]))]);
        let (tell, told) = bounded(1);
        let (nudge, nudges) = bounded(1);
        let fetcher =
            Fetcher::start(vec![remote(&url)], nudges, move |keys| tell.send(keys).unwrap()).unwrap();
        assert_eq!(kids(&told.recv_timeout(Duration::from_secs(20)).unwrap()), ["a", "b"]);
        nudge.try_send(()).unwrap();
        served.join().unwrap();
        drop(fetcher);
        assert!(told.recv_timeout(Duration::from_secs(20)).is_err(), "the thread ends with its owner");
    }

    #[test]
    fn answer_that_is_no_key_set_is_refused() {
        let large = "x".repeat(KEY_SET_BYTES_MAX + 1);
        let answers = [
            ok("<html>"),
            ok(r#"{"keys":[]}"#),
            ok(&large),
            "HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".to_owned(),
            "nonsense\r\n\r\n".to_owned(),
        ];
        for answer in answers {
            let (url, served) = issuer(vec![answer]);
            let refused = fetch(&remote(&url)).unwrap_err();
            assert!(!refused.is_empty());
            let _ = served.join();
        }
    }
}
