//! `courier key create|list|revoke`: the services' API keys, and the certificates that stand for services, in the file that
//! `auth.api_keys_file` names. The file holds hashes; a key itself is printed once, when it is made. A running server takes
//! the change at the next reload.

use crate::auth::{ApiKey, ApiKeys, new_api_key};
use crate::stdx::clock::{Clock, rfc3339_ms};
use clap::Subcommand;
use ring::rand::SecureRandom;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::ExitCode;

/// What is asked.
#[derive(Subcommand)]
pub enum Words {
    /// Make a key for a service and print it, or let a certificate stand for the service
    Create {
        /// The service, as it says in X-Service-Name
        service: String,
        /// Patterns of channels that it may publish to, between commas
        #[arg(long, value_delimiter = ',', value_name = "PATTERNS", default_value = "**")]
        publish: Vec<String>,
        /// Patterns of channels that it may read, between commas
        #[arg(long, value_delimiter = ',', value_name = "PATTERNS")]
        channels: Vec<String>,
        /// What to call the key; a random word if not given
        #[arg(long)]
        id: Option<String>,
        /// No key: clients are the service that show a certificate with this name (tls.client_ca says whose count)
        #[arg(long, value_name = "NAME")]
        certificate: Option<String>,
    },
    /// List the keys
    List,
    /// Take a key back
    Revoke {
        /// What the key is called
        id: String,
    },
}

/// Does it with a file of keys.
pub fn run(words: &Words, file: &Path) -> ExitCode {
    match act(words, file) {
        Ok(said) => {
            print!("{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("courier: {}: {error}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn act(words: &Words, file: &Path) -> Result<String, String> {
    let mut keys = read(file)?;
    match words {
        Words::Create { service, publish, channels, id, certificate } => {
            let random: [u8; 36] = random()?;
            let made = || format!("k{}", data_encoding::HEXLOWER.encode(&random[32..]));
            let id = id.clone().unwrap_or_else(made);
            let (key, sha256) = new_api_key(&id, random.first_chunk().ok_or("too little randomness")?);
            let (said, sha256) = match certificate {
                Some(name) => (format!("{id}: certificates of {name} stand for {service}\n"), String::new()),
                None => (format!("{key}\n"), sha256),
            };
            keys.keys.push(ApiKey {
                service: service.clone(),
                id: id.clone(),
                sha256,
                certificate: certificate.clone().unwrap_or_default(),
                publish: publish.clone(),
                channels: channels.clone(),
                created: now(),
            });
            write(file, &keys)?;
            Ok(said)
        }
        Words::List => Ok(keys.keys.iter().map(line).collect()),
        Words::Revoke { id } => {
            let before = keys.keys.len();
            keys.keys.retain(|key| key.id != *id);
            if keys.keys.len() == before {
                return Err(format!("no key is called {id}; `courier key list` tells all"));
            }
            write(file, &keys)?;
            Ok(format!("{id} is revoked; a running server takes it at the next `courier reload`\n"))
        }
    }
}

fn line(key: &ApiKey) -> String {
    let ApiKey { service, id, publish, channels, created, certificate, .. } = key;
    let by = if certificate.is_empty() { String::new() } else { format!("  certificate {certificate}") };
    format!("{id}  {service}{by}  publish {}  read {}  {created}\n", patterns(publish), patterns(channels))
}

fn patterns(list: &[String]) -> String {
    if list.is_empty() { "-".to_owned() } else { list.join(",") }
}

/// A file that is not there has no keys.
fn read(file: &Path) -> Result<ApiKeys, String> {
    match std::fs::read_to_string(file) {
        Ok(text) => ApiKeys::parse(&text),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(ApiKeys::default()),
        Err(error) => Err(error.to_string()),
    }
}

/// Whole or not at all, for the owner's eyes alone.
fn write(file: &Path, keys: &ApiKeys) -> Result<(), String> {
    let text = serde_json::to_string_pretty(keys).map_err(|error| error.to_string())?;
    ApiKeys::parse(&text)?;
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let open = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let written = open.and_then(|mut new| {
        new.write_all(text.as_bytes())?;
        new.write_all(b"\n")?;
        new.sync_all()?;
        std::fs::rename(&beside, file)
    });
    written.map_err(|error| error.to_string())
}

fn random() -> Result<[u8; 36], String> {
    let mut bytes = [0; 36];
    let random = ring::rand::SystemRandom::new();
    random.fill(&mut bytes).map_err(|_| "the kernel gives no randomness".to_owned())?;
    Ok(bytes)
}

fn now() -> String {
    let mut text = [0; 24];
    rfc3339_ms(Clock::start().now().unix_ms, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}
