//! From the settings of `auth` and the files they name to the policy that judges tokens: keys, rules, API keys,
//! revocations. Called once, when every source has been read; each mistake, also one in a file, is told where the file's
//! name was written. It reads through the function it is given, and without one it leaves files alone.
use super::auth::{Auth, JwtKey, KEYS_MAX, RULES_MAX, Secret};
use super::mistakes::Report;
use super::settings::Settings;
use super::words::AuthMode;
use crate::auth::{
    Algorithm, ApiKeys, BadKey, HMAC_SECRET_BYTES_GOOD, KEY_SET_BYTES_MAX, Key, KeySet, Policy,
    REVOKED_BYTES_MAX, Remote, Revoked, Rule, Services, Terms,
};

/// Reads a file of at most so many bytes, or says why not.
pub type ReadFile = fn(&str, usize) -> Result<Vec<u8>, String>;

/// Largest PEM file and secret, in bytes.
const KEY_BYTES_MAX: usize = 64 * 1024;
/// Largest file of API keys, in bytes.
const API_KEYS_BYTES_MAX: usize = 8 << 20;

/// Where it is said what is wrong, what has no effect, and what should be mended.
pub(super) struct Said<'a> {
    pub report: &'a mut Report,
    pub notes: &'a mut Vec<String>,
    pub warnings: &'a mut Vec<String>,
}

/// The policy that the settings ask for; what is wrong is reported and left out.
pub(super) fn policy(settings: &Settings, files: Option<ReadFile>, said: &mut Said<'_>) -> Policy {
    let auth = &settings.auth;
    let mut policy = Policy {
        leeway_s: auth.jwt.leeway,
        wallet_required: auth.jwt.require_wallet,
        rules: rules(auth, said.report),
        ..Policy::default()
    };
    let mut maker = Maker { files, said: &mut *said, policy: &mut policy };
    maker.keys(auth);
    maker.api_keys(&auth.api_keys_file, settings.tls.client_ca.is_empty());
    maker.revoked(&auth.revoked_file);
    if auth.mode == AuthMode::Required && !lets_somebody_in(auth) {
        let mend = "auth.jwt.secret (or secret_file, public_key_file, jwks, keys) or auth.api_keys_file";
        said.report.add_where_set("auth.mode", format_args!("required lets nobody in without {mend}"));
    }
    if auth.mode != AuthMode::Required && lets_somebody_in(auth) {
        said.notes.push(
            "auth.jwt and auth.api_keys_file have no effect, because auth.mode is not required".to_owned(),
        );
    }
    policy
}

fn lets_somebody_in(auth: &Auth) -> bool {
    let jwt = &auth.jwt;
    let files = [&jwt.secret_file, &jwt.public_key_file, &jwt.jwks, &auth.api_keys_file];
    !jwt.secret.expose().is_empty() || !jwt.keys.is_empty() || files.iter().any(|file| !file.is_empty())
}

fn rules(auth: &Auth, report: &mut Report) -> Vec<Rule> {
    if auth.rules.len() > RULES_MAX {
        report.add_where_set("auth.rules", format_args!("must be at most {RULES_MAX} rules"));
    }
    let mut rules = Vec::new();
    for (i, words) in auth.rules.iter().enumerate() {
        if words.subscribe.is_none() && words.publish.is_none() {
            let key = format!("auth.rules[{i}].match");
            report.add_where_set(&key, "says nothing: give subscribe or publish, or both");
        }
        if let Ok(rule) = Rule::parse(&words.pattern) {
            rules.push(rule.saying(words.subscribe, words.publish));
        }
    }
    rules
}

struct Maker<'a, 's> {
    files: Option<ReadFile>,
    said: &'a mut Said<'s>,
    policy: &'a mut Policy,
}

impl Maker<'_, '_> {
    fn keys(&mut self, auth: &Auth) {
        let jwt = &auth.jwt;
        let main = JwtKey {
            kid: String::new(),
            algorithm: jwt.algorithm,
            secret: jwt.secret.clone(),
            secret_file: jwt.secret_file.clone(),
            public_key_file: jwt.public_key_file.clone(),
            jwks: jwt.jwks.clone(),
            issuer: jwt.issuer.clone(),
            audience: jwt.audience.clone(),
        };
        self.entry("auth.jwt", &main);
        if jwt.keys.len() > KEYS_MAX {
            self.said.report.add_where_set("auth.jwt.keys", format_args!("must be at most {KEYS_MAX} keys"));
        }
        for (i, key) in jwt.keys.iter().enumerate() {
            let path = format!("auth.jwt.keys[{i}]");
            let mut key = key.clone();
            for (own, common) in [(&mut key.issuer, &jwt.issuer), (&mut key.audience, &jwt.audience)] {
                if own.is_empty() {
                    own.clone_from(common);
                }
            }
            let files = [&key.secret_file, &key.public_key_file, &key.jwks];
            if key.secret.expose().is_empty() && files.iter().all(|file| file.is_empty()) {
                let needs = "needs secret, secret_file, public_key_file or jwks";
                self.said.report.add_where_set(&format!("{path}.algorithm"), needs);
            }
            self.entry(&path, &key);
        }
    }

    /// All that one entry gives.
    fn entry(&mut self, path: &str, words: &JwtKey) {
        if !words.secret.expose().is_empty() && !words.secret_file.is_empty() {
            self.said
                .report
                .add_where_set(&format!("{path}.secret_file"), "is given beside secret: one of the two");
        }
        self.secret(path, words, &words.secret);
        let pem = format!("{path}.public_key_file");
        if let Some(text) = self.file(&pem, &words.public_key_file, KEY_BYTES_MAX) {
            let written = self.said.report.set.contains_key(&format!("{path}.algorithm"));
            let key = if written { Key::pem(words.algorithm, &text) } else { by_its_kind(&text) };
            self.key(&pem, words, key);
        }
        self.key_set(&format!("{path}.jwks"), words);
    }

    fn secret(&mut self, path: &str, words: &JwtKey, secret: &Secret) {
        let (secret_key, file_key) = (format!("{path}.secret"), format!("{path}.secret_file"));
        let text = secret.expose().as_bytes();
        if !text.is_empty() {
            self.strength(&secret_key, text);
            self.key(&secret_key, words, Key::secret(words.algorithm, text));
        }
        if let Some(text) = self.file(&file_key, &words.secret_file, KEY_BYTES_MAX) {
            let end = text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
            self.strength(&file_key, &text[..end]);
            self.key(&file_key, words, Key::secret(words.algorithm, &text[..end]));
        }
    }

    fn strength(&mut self, key: &str, secret: &[u8]) {
        if !secret.is_empty() && secret.len() < HMAC_SECRET_BYTES_GOOD {
            let bytes = secret.len();
            self.said.warnings.push(format!(
                "{key} has {bytes} bytes and can be guessed: take {HMAC_SECRET_BYTES_GOOD} random ones, such as \
                 from `openssl rand -hex 32`"
            ));
        }
    }

    fn key(&mut self, place: &str, words: &JwtKey, key: Result<Key, BadKey>) {
        match key {
            Ok(key) => {
                self.policy.keys.push(key.named(&words.kid).bound_to(&words.issuer, &words.audience));
            }
            Err(bad @ BadKey::Kind) => {
                self.said.report.add_where_set(place, format_args!("is {bad} ({})", words.algorithm));
            }
            Err(bad) => self.said.report.add_where_set(place, format_args!("is {bad}")),
        }
    }

    fn key_set(&mut self, place: &str, words: &JwtKey) {
        let (algorithm, secrets) = (words.algorithm, !words.jwks.contains("://"));
        let (issuer, audience) = (words.issuer.clone(), words.audience.clone());
        let terms = Terms { algorithm, issuer, audience, secrets };
        if !secrets {
            self.policy.remotes.push(Remote { url: words.jwks.clone(), terms });
        } else if let Some(text) = self.text(place, &words.jwks, KEY_SET_BYTES_MAX) {
            match KeySet::parse(&text, &terms) {
                Ok(set) => self.policy.keys.extend(set.keys),
                Err(error) => self.said.report.add_where_set(place, format_args!("is {error}")),
            }
        }
    }

    fn api_keys(&mut self, file: &str, no_client_ca: bool) {
        let place = "auth.api_keys_file";
        let Some(text) = self.text(place, file, API_KEYS_BYTES_MAX) else { return };
        match ApiKeys::parse(&text).and_then(|keys| Services::new(&keys)) {
            Ok(services) => {
                if services.has_certificates() && no_client_ca {
                    let note = "certificates have no effect, because tls.client_ca is not set";
                    self.said.warnings.push(format!("{place}: {note}"));
                }
                self.policy.services = services;
            }
            Err(error) => self.said.report.add_where_set(place, format_args!("{file}: {error}")),
        }
    }

    fn revoked(&mut self, file: &str) {
        let place = "auth.revoked_file";
        let Some(text) = self.text(place, file, REVOKED_BYTES_MAX) else { return };
        match Revoked::parse(&text) {
            Ok(revoked) => self.policy.revoked = revoked,
            Err(error) => self.said.report.add_where_set(place, format_args!("{file}: {error}")),
        }
    }

    fn text(&mut self, place: &str, file: &str, bytes_max: usize) -> Option<String> {
        let text = String::from_utf8(self.file(place, file, bytes_max)?);
        text.map_err(|_| self.said.report.add_where_set(place, format_args!("{file}: not UTF-8 text"))).ok()
    }

    fn file(&mut self, place: &str, file: &str, bytes_max: usize) -> Option<Vec<u8>> {
        let read = self.files.filter(|_| !file.is_empty())?;
        read(file, bytes_max)
            .map_err(|error| self.said.report.add_where_set(place, format_args!("{file}: {error}")))
            .ok()
    }
}

/// The first algorithm that can use the key in a PEM text; which one is no choice of a token.
fn by_its_kind(text: &[u8]) -> Result<Key, BadKey> {
    let algorithms = [Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
    let mut keys = algorithms.into_iter().map(|algorithm| Key::pem(algorithm, text));
    keys.find(|key| !matches!(key, Err(BadKey::Kind))).unwrap_or(Err(BadKey::Kind))
}

#[cfg(test)]
mod tests;
