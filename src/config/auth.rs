//! The part of the settings table that says who may do what (contract 12), and the kinds of values that only it has. What
//! the values mean together is `policy.rs`.
use super::grammar::{cookie_name, free_text, key_set, optional_file, rule_pattern};
use super::lists::Sections;
use super::mistakes::Report;
use super::rules::{Flag, Maybe, OneOf, Text, Whole};
use super::table::{Nested, Rule, settings};
use super::words::{AuthMode, Reject};
use super::yaml::{Node, Value};
use crate::auth::Algorithm;
use std::fmt;

/// Most seconds by which clocks may differ; more is no clock.
pub const LEEWAY_S_MAX: u64 = 300;
/// Most rules: each is bound to every new token.
pub const RULES_MAX: usize = 256;
/// Most entries of auth.jwt.keys.
pub const KEYS_MAX: usize = 64;

settings! {
    /// Who may publish and subscribe (contract 12).
    Auth {
        /// off: anybody, on loopback only. insecure: anybody, on any address. required: who has a token or an API key.
        mode: AuthMode = AuthMode::Off, OneOf;
        /// How a refusal is told to a socket: close (accepted, then closed with 1008) or http (401, 403).
        reject: Reject = Reject::Close, OneOf;
        /// Cookie that may bring a token, from pages of the server and of cors.allowed_origins. Empty: none.
        cookie: String = "courier_token".to_owned(), Text(cookie_name);
        /// Tokens. The older place for this section, jwt at the top, is read too.
        jwt: Jwt = Jwt::default(), Nested;
        /// Who may do what, the first match that says something wins, such as {match: "user.{user_id}.**", subscribe: true};
        /// publish too. {claim} is a segment of the token's claim. Then come the token's claims channels and publish; what
        /// nothing allows is denied. Empty: the built-in rules.
        rules: Vec<AuthRule> = Vec::new(), Sections("match", "match: \"user.{user_id}.**\", subscribe: true");
        /// File of the services' API keys, and of the names in certificates of clients (tls.client_ca) that stand for
        /// services; courier key writes it. Empty: none.
        api_keys_file: String = String::new(), Text(optional_file);
        /// File of revoked tokens and users, a line each: token ID, user ID, user ID before SECONDS. Empty: none.
        revoked_file: String = String::new(), Text(optional_file);
    }

    /// How tokens are verified (contract 12).
    Jwt {
        /// The one algorithm that is accepted: HS256, HS384, HS512, RS256 to RS512, PS256 to PS512, ES256, ES384 or EdDSA.
        /// If it is left out, a public key is used with RS256, ES256, ES384 or EdDSA, by its kind.
        algorithm: Algorithm = Algorithm::Hs256, Signature;
        /// Shared secret of the HS algorithms, 32 bytes or more; better "${VARIABLE}" or secret_file than the text itself.
        secret: Secret = Secret::default(), Hidden;
        /// File whose content is the secret; newlines at its end are not a part of it.
        secret_file: String = String::new(), Text(optional_file);
        /// PEM file of the public key of the other algorithms.
        public_key_file: String = String::new(), Text(optional_file);
        /// File or URL (https) of a JWKS, which is fetched again every now and then.
        jwks: String = String::new(), Text(key_set);
        /// Required iss. Empty: any.
        issuer: String = String::new(), Text(free_text);
        /// Required aud. Empty: any.
        audience: String = String::new(), Text(free_text);
        /// Seconds by which clocks may differ.
        leeway: u64 = 30, Whole(0, LEEWAY_S_MAX);
        /// Whether a token must have wallet_address (or wallet) beside user_id (or sub), exp and iat.
        require_wallet: bool = true, Flag;
        /// More keys, such as {kid: "2026", algorithm: EdDSA, public_key_file: new.pem, issuer: "https://id.example"};
        /// secret, secret_file, jwks and audience too. Issuer and audience are those above where they are left out.
        keys: Vec<JwtKey> = Vec::new(), Sections("algorithm", "algorithm: EdDSA, public_key_file: new.pem");
    }

    /// One more key, or key set, of tokens.
    JwtKey {
        /// Its name: tokens that name a key are verified only with that one. Empty: with any.
        kid: String = String::new(), Text(free_text);
        /// The one algorithm that it verifies.
        algorithm: Algorithm = Algorithm::Hs256, Signature;
        /// As auth.jwt.secret.
        secret: Secret = Secret::default(), Hidden;
        /// As auth.jwt.secret_file.
        secret_file: String = String::new(), Text(optional_file);
        /// As auth.jwt.public_key_file.
        public_key_file: String = String::new(), Text(optional_file);
        /// As auth.jwt.jwks.
        jwks: String = String::new(), Text(key_set);
        /// Required iss.
        issuer: String = String::new(), Text(free_text);
        /// Required aud.
        audience: String = String::new(), Text(free_text);
    }

    /// One rule (contract 12).
    AuthRule {
        /// Channels that it is about, a pattern in which {claim} stands for a claim of the token.
        pattern as "match": String = String::new(), Text(rule_pattern);
        /// Whether they may be read. Left out: the next rule says.
        subscribe: Option<bool> = None, Maybe(Flag);
        /// Whether they may be written. Left out: the next rule says.
        publish: Option<bool> = None, Maybe(Flag);
    }
}

/// A text that no message, list of changes or debug output shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "\"***\"" })
    }
}

/// The rule of a secret.
#[derive(Clone, Copy)]
struct Hidden;

impl Rule<Secret> for Hidden {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<Secret> {
        match &node.value {
            Value::Broken => None,
            Value::Scalar(text, _) => Some(Secret(text.clone())),
            Value::Null | Value::List(_) | Value::Map(_) => {
                report.add(node.at, key, "must be a text");
                None
            }
        }
    }
    fn write(&self, value: &Secret) -> String {
        format!("{value:?}")
    }
    fn describe(&self) -> String {
        String::new()
    }
}

/// The name of a signature algorithm, in either case.
#[derive(Clone, Copy)]
struct Signature;

impl Rule<Algorithm> for Signature {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<Algorithm> {
        let name = match &node.value {
            Value::Broken => return None,
            Value::Scalar(text, _) => text.as_str(),
            _ => "",
        };
        let found = Algorithm::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name));
        if found.is_none() {
            let names: Vec<&str> = Algorithm::ALL.iter().map(|known| known.name()).collect();
            report.refuse(node, key, format_args!("one of {}", names.join(", ")));
        }
        found
    }
    fn write(&self, value: &Algorithm) -> String {
        value.name().to_owned()
    }
    fn describe(&self) -> String {
        String::new()
    }
}
