//! API keys of backends (contract 12). The file holds no key, only SHA-256 hashes, with what each may write and read:
//!
//! ```json
//! {"keys": [{"service": "prophet", "id": "k3f9a01c2", "sha256": "…64 hex digits…",
//!            "publish": ["strategy.**"], "channels": [], "created": "2026-01-31T12:00:00.000Z"}]}
//! ```
//!
//! A key has 256 random bits, so a plain hash hides it. `courier key` writes the file; the order of keys does not matter.

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

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The service that holds the key.
    pub service: String,
    /// What the operator calls the key; unique.
    pub id: String,
    /// Hash of the key, 64 hex digits.
    pub sha256: String,
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

/// All API keys, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Services {
    /// By the first bytes of the hash; which of them is looked at tells nothing of the key.
    by_hash: HashMap<u64, Vec<Known>>,
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
            let hash = hash_of(&key.sha256).ok_or_else(|| at("sha256: must be 64 hex digits"))?;
            let write = reach(&key.publish).map_err(|error| at(&format!("publish{error}")))?;
            let read = reach(&key.channels).map_err(|error| at(&format!("channels{error}")))?;
            let same = services.by_hash.entry(start(&hash)).or_default();
            if same.iter().any(|(known, _)| *known == hash) {
                return Err(at("sha256: is that of another key"));
            }
            same.push((hash, Arc::new(grants(&key.service, &key.id, hash, read, write))));
        }
        Ok(services)
    }

    /// Whether nobody has a key.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
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

fn grants(service: &str, id: &str, hash: [u8; 32], read: Reach, write: Reach) -> Grants {
    Grants {
        holder: Holder::Service { name: service.into() },
        issuer: None,
        token_id: Some(id.into()),
        issued_at_s: 0,
        expires_at_s: None,
        ends_at_s: None,
        read,
        write,
        origin: Origin::ApiKey(hash),
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
    fn what_is_wrong_in_the_file_is_named() {
        let (_, good) = made("k1", 1);
        let with = |change: &dyn Fn(&mut ApiKey)| {
            let mut key = good.clone();
            change(&mut key);
            Services::new(&file(&[key])).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(&|key| key.sha256.truncate(63)), "keys[0].sha256: must be 64 hex digits");
        assert!(with(&|key| key.service.clear()).starts_with("keys[0].service: must be"));
        assert_eq!(
            with(&|key| key.publish.push("a*".to_owned())),
            "keys[0].publish[1]: A star must be a whole segment, and ** the last one"
        );
        let twice = Services::new(&file(&[good.clone(), ApiKey { id: "k2".to_owned(), ..good.clone() }]));
        assert_eq!(twice.map(|_| ()).unwrap_err(), "keys[1].sha256: is that of another key");
        assert!(ApiKeys::parse("{\"keys\": [\n{}]}").unwrap_err().contains("line 2"));
        assert!(ApiKeys::parse(r#"{"keys": [], "more": 1}"#).unwrap_err().contains("more"));
        let text = serde_json::to_string(&file(&[good])).unwrap();
        assert_eq!(ApiKeys::parse(&text).unwrap().keys.len(), 1);
    }
}
