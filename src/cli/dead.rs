//! `courier dead list|retry|purge`: the dead letters of a running server.

use super::client::{Client, Words as Server};
use clap::{Args, Subcommand};
use serde_json::Value;
use std::io::Write;
use std::process::ExitCode;

/// Letters that are asked for at once.
const PAGE: u64 = 1_000;

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Words {
    /// Show them, oldest first: a line for each, or as JSON
    List {
        /// Which
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, value_name = "COUNT")]
        limit: Option<u64>,
        /// One JSON object per line, with the event
        #[arg(long)]
        json: bool,
    },
    /// Publish them again; those that are taken are letters no more
    Retry {
        /// Which
        #[command(flatten)]
        which: Which,
    },
    /// Forget them
    Purge {
        /// Which
        #[command(flatten)]
        which: Which,
    },
}

/// Which letters.
#[derive(Args, Debug)]
pub struct Which {
    /// These
    ids: Vec<String>,
    /// Of events of this channel
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// For this reason: refused, expired, unacknowledged, rejected, sink
    #[arg(long)]
    reason: Option<String>,
    /// That died before this time (RFC 3339)
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// All of them
    #[arg(long, conflicts_with_all = ["ids", "channel", "reason", "before"])]
    all: bool,
}

impl Which {
    fn is_said(&self) -> bool {
        self.all || !self.ids.is_empty() || !self.queries()[0].is_empty()
    }

    /// The filter as a query, once per id.
    fn queries(&self) -> Vec<String> {
        let given = [("channel", &self.channel), ("reason", &self.reason), ("before", &self.before)];
        let parts = given
            .iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| format!("{name}={}", escaped(value))));
        let mut filter: Vec<String> = parts.collect();
        if self.all {
            filter.push("all=true".to_owned());
        }
        let with = |id: &String| {
            let own = format!("id={}", escaped(id));
            [filter.as_slice(), &[own]].concat().join("&")
        };
        if self.ids.is_empty() { vec![filter.join("&")] } else { self.ids.iter().map(with).collect() }
    }
}

/// Bytes that may stand in a query as they are; all others are escaped.
fn escaped(value: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    value.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Does it.
pub fn run(words: &Words, server: &Server, out: &mut impl Write) -> ExitCode {
    let done = Client::new(server).and_then(|client| match words {
        Words::List { which, limit, json } => list(&client, which, *limit, *json, out),
        Words::Retry { which } => retry(&client, which, out),
        Words::Purge { which } => purge(&client, which, out),
    });
    match done {
        Ok(code) => code,
        Err(words) => {
            eprintln!("courier: {words}");
            ExitCode::FAILURE
        }
    }
}

fn list(
    client: &Client,
    which: &Which,
    limit: Option<u64>,
    json: bool,
    out: &mut impl Write,
) -> Result<ExitCode, String> {
    let mut left = limit.unwrap_or(u64::MAX);
    for query in which.queries() {
        let query = query.replace("all=true", "");
        let mut after = String::new();
        while left > 0 {
            let target = format!("/dead-letters?{query}&limit={}{after}", left.min(PAGE));
            let page = client.ask("GET", &target)?;
            let letters = page["letters"].as_array().cloned().unwrap_or_default();
            let Some(last) = letters.last() else { break };
            after = format!("&after={}", text(last, "id"));
            left -= letters.len() as u64;
            for letter in letters {
                let line = if json { letter.to_string() } else { line(&letter) };
                writeln!(out, "{line}").map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("-")
}

fn line(letter: &Value) -> String {
    format!(
        "{} {} {} {} attempts={} retries={} {}",
        text(letter, "id"),
        text(letter, "timestamp"),
        text(letter, "channel"),
        text(letter, "reason"),
        letter["attempts"],
        letter["retries"],
        text(letter, "detail")
    )
}

fn retry(client: &Client, which: &Which, out: &mut impl Write) -> Result<ExitCode, String> {
    let (mut retried, mut failed) = (0, 0);
    for query in said(which)? {
        // The server takes some at a time. What failed stays, so it goes on only while that helps.
        loop {
            let answer = client.ask("POST", &format!("/dead-letters/retry?{query}"))?;
            retried += answer["retried"].as_u64().unwrap_or(0);
            let letters = answer["letters"].as_array().cloned().unwrap_or_default();
            for letter in letters.iter().filter(|letter| letter["status"] == "error") {
                failed += 1;
                eprintln!("courier: {}: {}", text(letter, "id"), text(letter, "message"));
            }
            if failed > 0 || answer["left"].as_u64().unwrap_or(0) == 0 {
                break;
            }
        }
    }
    writeln!(out, "{retried} published again, {failed} failed").map_err(|error| error.to_string())?;
    Ok(if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn purge(client: &Client, which: &Which, out: &mut impl Write) -> Result<ExitCode, String> {
    let mut purged = 0;
    for query in said(which)? {
        purged += client.ask("DELETE", &format!("/dead-letters?{query}"))?["purged"].as_u64().unwrap_or(0);
    }
    writeln!(out, "{purged} purged").map_err(|error| error.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn said(which: &Which) -> Result<Vec<String>, String> {
    let words = "say which: ids, --channel, --reason, --before, or --all";
    if which.is_said() { Ok(which.queries()) } else { Err(words.to_owned()) }
}
