//! API keys of backends (contract 12), and the certificates that stand for backends. The file holds no key, only SHA-256
//! hashes and names, with what each may write and read:
//!
//! ```json
//! {"keys": [{"service": "prophet", "id": "k3f9a01c2", "sha256": "…64 hex digits…",
//!            "publish": ["strategy.**"], "channels": [], "created": "2026-01-31T12:00:00.000Z"},
//!           {"service": "matcher", "id": "c1", "certificate": "matcher.example", "publish": ["trade.**"]}]}
//! ```
//!
//! A key has 256 random bits, so a plain hash hides it. `courier key` writes the file; the order of keys does not matter.

use super::certified::Certified;
use super::denied::Flaw;
use super::grants::{Grants, Holder, Origin};
use crate::event::{Pattern, Reach};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq as _;

/// Most keys in a file: far beyond the backends of one server.
pub const API_KEYS_MAX: usize = 4_096;
/// Longest API key that is looked at, in bytes; one made here has 57.
const KEY_BYTES_MAX: usize = 512;
/// Longest name of a certificate, in bytes: that of a host has 253 at most, a URI of SPIFFE 2,048.
const NAME_BYTES_MAX: usize = 2_048;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The service that holds the key.
    pub service: String,
    /// What the operator calls the key; unique.
    pub id: String,
    /// Hash of the key, 64 hex digits. Empty where a certificate is shown in place of a key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// A name in a client's certificate, exactly. Empty where a key is sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub certificate: String,
    /// Patterns that may be published to.
    #[serde(default)]
    pub publish: Vec<String>,
    /// Patterns that may be read.
    #[serde(default)]
    pub channels: Vec<String>,
    /// When it was made, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub created: String,
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeys {
    /// All keys.
    pub keys: Vec<ApiKey>,
}

impl ApiKeys {
    /// Reads a file's text.
    ///
    /// # Errors
    /// What is wrong, with line and column where it is about JSON.
    pub fn parse(text: &str) -> Result<ApiKeys, String> {
        let keys: ApiKeys = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Services::new(&keys).map(|_| keys)
    }
}

/// A new API key: its text, which is shown once, and the hash for the file. `random` are the bytes of a good generator.
pub fn new_api_key(id: &str, random: &[u8; 32]) -> (String, String) {
    // The beginning tells people and secret scanners what it is.
    let key = format!("courier_{id}_{}", BASE64URL_NOPAD.encode(random));
    let hash = data_encoding::HEXLOWER.encode(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    (key, hash)
}

/// The hash of a key, and what it grants.
type Known = ([u8; 32], Arc<Grants>);

/// What a line of the file says of its service.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    service: Box<str>,
    id: Box<str>,
    read: Reach,
    write: Reach,
}

/// All API keys, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services {
    /// By the first bytes of the hash; which of them is looked at tells nothing of the key.
    by_hash: HashMap<u64, Vec<Known>>,
    /// By the name in a certificate.
    by_name: HashMap<Box<str>, Line>,
}

impl Services {
    /// Takes what a file says.
    ///
    /// # Errors
    /// The first thing that is wrong, with the key's place in the list.
    pub fn new(keys: &ApiKeys) -> Result<Services, String> {
        if keys.keys.len() > API_KEYS_MAX {
            return Err(format!("more than {API_KEYS_MAX} keys"));
        }
        let mut services = Services::default();
        let mut ids = std::collections::HashSet::new();
        for (i, key) in keys.keys.iter().enumerate() {
            let at = |what: &str| format!("keys[{i}].{what}");
            if !is_word(&key.id) || !ids.insert(&*key.id) {
                return Err(at("id: must be a word of its own"));
            }
            if !is_word(&key.service) {
                return Err(at(
                    "service: must be 1 to 100 letters, digits, dots, underscores, colons and hyphens",
                ));
            }
            let write = reach(&key.publish).map_err(|error| at(&format!("publish{error}")))?;
            let read = reach(&key.channels).map_err(|error| at(&format!("channels{error}")))?;
            let line = Line { service: key.service.as_str().into(), id: key.id.as_str().into(), read, write };
            let added = match (&*key.sha256, &*key.certificate) {
                ("", "") => Err("sha256: must be there, or certificate"),
                (hash, "") => services.add_key(hash, line),
                ("", name) => services.add_certificate(name, line),
                _ => Err("certificate: is given beside sha256: one of the two"),
            };
            added.map_err(at)?;
        }
        Ok(services)
    }

    fn add_key(&mut self, hash: &str, line: Line) -> Result<(), &'static str> {
        let hash = hash_of(hash).ok_or("sha256: must be 64 hex digits")?;
        let same = self.by_hash.entry(start(&hash)).or_default();
        if same.iter().any(|(known, _)| *known == hash) {
            return Err("sha256: is that of another key");
        }
        same.push((hash, Arc::new(line.grants(Origin::ApiKey(hash), None))));
        Ok(())
    }

    fn add_certificate(&mut self, name: &str, line: Line) -> Result<(), &'static str> {
        if name.len() > NAME_BYTES_MAX || name.contains(|c: char| c.is_control() || c == '*') {
            return Err(
                "certificate: must be a name of a certificate, without stars, in 2,048 bytes at most",
            );
        }
        match self.by_name.insert(name.into(), line) {
            None => Ok(()),
            Some(_) => Err("certificate: is that of another line"),
        }
    }

    /// Whether nobody has a key.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty() && self.by_name.is_empty()
    }

    /// Whether certificates of clients stand for services.
    pub fn has_certificates(&self) -> bool {
        !self.by_name.is_empty()
    }

    /// What a certificate grants until it ends: what the line of the first of its names says that has one.
    pub(super) fn certified(&self, certified: &Arc<Certified>) -> Option<Grants> {
        let line = certified.names.iter().find_map(|name| self.by_name.get(name))?;
        Some(line.grants(Origin::Certificate(certified.clone()), Some(certified.ends_at_s)))
    }

    pub(super) fn judge(&self, key: &str) -> Result<Arc<Grants>, Flaw> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Flaw::TooLong);
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
        self.by_hash_of(&hash).ok_or(Flaw::ApiKey)
    }

    pub(super) fn by_hash_of(&self, hash: &[u8; 32]) -> Option<Arc<Grants>> {
        let same = self.by_hash.get(&start(hash))?;
        same.iter().find(|(known, _)| bool::from(known.ct_eq(hash))).map(|(_, grants)| grants.clone())
    }
}

fn is_word(text: &str) -> bool {
    crate::event::Channel::check(text).is_ok()
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    HEXLOWER_PERMISSIVE.decode(text.as_bytes()).ok()?.try_into().ok()
}

fn start(hash: &[u8; 32]) -> u64 {
    hash.iter().take(8).fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

fn reach(patterns: &[String]) -> Result<Reach, String> {
    let line = |(i, text): (usize, &String)| {
        Pattern::parse(text).map(|pattern| (pattern, true)).map_err(|bad| format!("[{i}]: {bad}"))
    };
    patterns.iter().enumerate().map(line).collect::<Result<_, _>>().map(Reach::new)
}

impl Line {
    fn grants(&self, origin: Origin, ends_at_s: Option<u64>) -> Grants {
        Grants {
            holder: Holder::Service { name: self.service.clone() },
            issuer: None,
            token_id: Some(self.id.clone()),
            issued_at_s: 0,
            expires_at_s: ends_at_s,
            ends_at_s,
            read: self.read.clone(),
            write: self.write.clone(),
            origin,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(keys: &[ApiKey]) -> ApiKeys {
        ApiKeys { keys: keys.to_vec() }
    }

    fn made(id: &str, byte: u8) -> (String, ApiKey) {
        let (key, sha256) = new_api_key(id, &[byte; 32]);
        let publish = vec!["strategy.**".to_owned()];
        let entry = ApiKey {
            service: "prophet".to_owned(),
            id: id.to_owned(),
            sha256,
            certificate: String::new(),
            publish,
            channels: vec![],
            created: String::new(),
        };
        (key, entry)
    }

    #[test]
    fn key_that_was_made_is_known_and_grants_what_the_file_says() {
        let ((one, first), (two, second)) = (made("k1", 1), made("k2", 2));
        let services = Services::new(&file(&[first.clone(), second])).unwrap();
        let grants = services.judge(&one).unwrap();
        assert_eq!((grants.service(), grants.user()), (Some("prophet"), None));
        assert!(
            grants.may_publish("strategy.7")
                && !grants.may_publish("global")
                && !grants.may_read("strategy.7")
        );
        assert!(services.judge(&two).is_ok());
        assert_eq!(services.judge(&one[..one.len() - 1]), Err(Flaw::ApiKey));
        assert_eq!(services.judge(&first.sha256), Err(Flaw::ApiKey), "a hash is no key");
        assert_eq!(services.judge(&"x".repeat(513)), Err(Flaw::TooLong));
    }

    #[test]
    fn certificate_grants_what_the_line_of_its_name_says_until_it_ends() {
        let (_, key) = made("k1", 1);
        let line = ApiKey { sha256: String::new(), certificate: "spiffe://a/b".to_owned(), ..key };
        let services = Services::new(&file(&[line])).unwrap();
        assert!(!services.is_empty() && services.has_certificates());
        let shown = |names: &[&str]| {
            let names = names.iter().map(|name| (*name).into()).collect();
            services.certified(&Arc::new(Certified { names, ends_at_s: 10, fingerprint: [7; 32] }))
        };
        let grants = shown(&["a.example", "spiffe://a/b"]).unwrap();
        assert_eq!((grants.service(), grants.token_id()), (Some("prophet"), Some("k1")));
        assert!(
            grants.may_publish("strategy.7") && !grants.may_publish("global") && !grants.may_read("global")
        );
        assert!(!grants.ended(9) && grants.ended(10));
        for others in [&[][..], &["prophet"], &["spiffe://a/B"], &["spiffe://a/b "], &["spiffe://a"]] {
            assert_eq!(shown(others), None, "{others:?}");
        }
    }

    #[test]
    fn what_is_wrong_in_the_file_is_named() {
        let (_, good) = made("k1", 1);
        let with = |change: &dyn Fn(&mut ApiKey)| {
            let mut key = good.clone();
            change(&mut key);
            Services::new(&file(&[key])).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(&|key| key.sha256.truncate(63)), "keys[0].sha256: must be 64 hex digits");
        assert_eq!(with(&|key| key.sha256.clear()), "keys[0].sha256: must be there, or certificate");
        assert_eq!(
            with(&|key| key.certificate.push('a')),
            "keys[0].certificate: is given beside sha256: one of the two"
        );
        assert!(with(&|key| key.service.clear()).starts_with("keys[0].service: must be"));
        assert_eq!(
            with(&|key| key.publish.push("a*".to_owned())),
            "keys[0].publish[1]: A star must be a whole segment, and ** the last one"
        );
        let twice = Services::new(&file(&[good.clone(), ApiKey { id: "k2".to_owned(), ..good.clone() }]));
        assert_eq!(twice.map(|_| ()).unwrap_err(), "keys[1].sha256: is that of another key");
        let named =
            |name: &str| ApiKey { sha256: String::new(), certificate: name.to_owned(), ..good.clone() };
        for odd in ["*.example", "a\n", &"x".repeat(2_049)] {
            let error = Services::new(&file(&[named(odd)])).map(|_| ()).unwrap_err();
            assert!(error.starts_with("keys[0].certificate: must be a name"), "{error}");
        }
        let twice = Services::new(&file(&[named("a"), ApiKey { id: "k2".to_owned(), ..named("a") }]));
        assert_eq!(twice.map(|_| ()).unwrap_err(), "keys[1].certificate: is that of another line");
        assert!(ApiKeys::parse("{\"keys\": [\n{}]}").unwrap_err().contains("line 2"));
        assert!(ApiKeys::parse(r#"{"keys": [], "more": 1}"#).unwrap_err().contains("more"));
        let text = serde_json::to_string(&file(&[good])).unwrap();
        assert_eq!(ApiKeys::parse(&text).unwrap().keys.len(), 1);
    }
}
