//! `courier token --user USER`: prints a token that is signed with the secret of the settings, for tests and for trying.

use crate::auth::mint;
use crate::config::Loaded;
use crate::stdx::clock::Clock;
use clap::Args;
use ring::rand::SecureRandom;
use serde_json::{Map, Value};
use std::process::ExitCode;

/// Longest life of such a token, in seconds: a year.
const TTL_S_MAX: u64 = 366 * 86_400;

/// What the token says.
#[derive(Args)]
pub struct Words {
    /// Its user (claim user_id)
    #[arg(long)]
    user: String,
    /// The user's wallet (claim wallet_address)
    #[arg(long, default_value = "none")]
    wallet: String,
    /// Seconds for which it is good
    #[arg(long, default_value_t = 3_600, value_parser = clap::value_parser!(u64).range(1..=TTL_S_MAX))]
    ttl: u64,
    /// Patterns of channels that it may read beyond the rules, between commas
    #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
    channels: Vec<String>,
    /// Patterns of channels that it may publish to, between commas
    #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
    publish: Vec<String>,
    /// Its id (claim jti), by which it can be revoked; a random one if not given
    #[arg(long)]
    id: Option<String>,
}

/// Prints it.
pub fn run(words: &Words, loaded: &Loaded) -> ExitCode {
    match token(words, loaded, Clock::start().now().unix_ms / 1_000) {
        Ok(token) => {
            println!("{token}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("courier: {error}");
            ExitCode::FAILURE
        }
    }
}

fn token(words: &Words, loaded: &Loaded, now_s: u64) -> Result<String, String> {
    let patterns = words.channels.iter().chain(&words.publish);
    for text in patterns {
        crate::event::Pattern::parse(text).map_err(|bad| format!("{text}: {bad}"))?;
    }
    let mut claims = Map::new();
    let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    say("user_id", words.user.as_str().into());
    say("wallet_address", words.wallet.as_str().into());
    say("iat", now_s.into());
    say("exp", (now_s + words.ttl).into());
    say("jti", words.id.clone().map_or_else(random_id, Ok)?.into());
    for (name, list) in [("channels", &words.channels), ("publish", &words.publish)] {
        if !list.is_empty() {
            say(name, list.clone().into());
        }
    }
    let jwt = &loaded.settings.auth.jwt;
    for (name, text) in [("iss", &jwt.issuer), ("aud", &jwt.audience)] {
        if !text.is_empty() {
            say(name, text.as_str().into());
        }
    }
    let payload = Value::Object(claims).to_string();
    let token = loaded.policy.keys.iter().find_map(|key| mint(key, &payload));
    token.ok_or_else(|| {
        "no secret to sign with: give auth.jwt.secret or auth.jwt.secret_file (other algorithms are for issuers)".to_owned()
    })
}

fn random_id() -> Result<String, String> {
    let mut bytes = [0; 12];
    let random = ring::rand::SystemRandom::new();
    random.fill(&mut bytes).map_err(|_| "the kernel gives no randomness".to_owned())?;
    Ok(data_encoding::HEXLOWER.encode(&bytes))
}
