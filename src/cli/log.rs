//! `courier log check|list|dump`: looks at the log of durable channels, without changing it and without a server.

use crate::log::{Entry, Hole, Report, each};
use crate::runtime::log::Folder;
use crate::stdx::clock::rfc3339_ms;
use clap::Subcommand;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is asked.
#[derive(Subcommand)]
pub enum Words {
    /// Say of every segment whether it is whole; fails if one is damaged
    Check {
        /// The folder; storage.dir of the settings if not given
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Say which channels there are, with their positions and how many events
    List {
        /// The folder; storage.dir of the settings if not given
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
    /// Print events, one JSON object per line: channel, position, time, event
    Dump {
        /// Only this channel
        channel: Option<String>,
        /// The folder; storage.dir of the settings if not given
        #[arg(long, value_name = "FOLDER")]
        dir: Option<PathBuf>,
    },
}

impl Words {
    /// The folder that was named.
    pub fn dir(&self) -> Option<&Path> {
        match self {
            Words::Check { dir } | Words::List { dir } | Words::Dump { dir, .. } => dir.as_deref(),
        }
    }
}

/// Does it with the log in a folder.
pub fn run(words: &Words, dir: &Path) -> ExitCode {
    let mut out = BufWriter::new(io::stdout().lock());
    let outcome = match words {
        Words::Check { .. } => check(dir, &mut out),
        Words::List { .. } => list(dir, &mut out),
        Words::Dump { channel, .. } => dump(dir, channel.as_deref(), &mut out),
    };
    match outcome.and_then(|whole| out.flush().map(|()| whole)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Who reads has seen enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("courier: {}: {error}", dir.display());
            ExitCode::FAILURE
        }
    }
}

/// Every segment with its state. Answers whether all are whole.
fn look(dir: &Path, event: impl FnMut(&Entry<'_>)) -> io::Result<Vec<Report>> {
    each(&mut Folder::look(dir)?, event).map_err(io::Error::other)
}

fn check(dir: &Path, out: &mut dyn Write) -> io::Result<bool> {
    let reports = look(dir, |_| {})?;
    let mut whole = true;
    for report in &reports {
        let taken = report.taken_ms.map(|(first, last)| format!(", {} to {}", time(first), time(last)));
        let Report { name, bytes, events, ends, .. } = report;
        tell(out, &format!("{name}  {bytes} bytes, {events} events{}, {ends}", taken.unwrap_or_default()))?;
        for Hole { from, to, .. } in &report.damaged {
            tell(
                out,
                &format!("  damaged: bytes {from} to {to}; what stood there is lost, the rest is whole"),
            )?;
        }
        for Hole { from, to, .. } in &report.torn {
            tell(out, &format!("  torn: bytes {from} to {to} were being written when the server ended"))?;
        }
        whole &= report.damaged.is_empty() && !report.unreadable;
    }
    let events: u64 = reports.iter().map(|report| report.events).sum();
    let state = if whole { "whole" } else { "DAMAGED" };
    tell(out, &format!("{} segments, {events} events: {state}", reports.len()))?;
    Ok(whole)
}

fn list(dir: &Path, out: &mut dyn Write) -> io::Result<bool> {
    let mut channels: BTreeMap<String, (String, String, u64, u64)> = BTreeMap::new();
    look(dir, |entry| {
        let position = entry.position.to_string();
        match channels.get_mut(entry.channel) {
            Some(seen) => (seen.1, seen.2, seen.3) = (position, seen.2 + 1, entry.at_ms),
            None => {
                channels.insert(entry.channel.to_owned(), (position.clone(), position, 1, entry.at_ms));
            }
        }
    })?;
    for (channel, (first, last, events, at_ms)) in channels {
        tell(out, &format!("{channel}  {events} events, {first} to {last}, the last at {}", time(at_ms)))?;
    }
    Ok(true)
}

fn dump(dir: &Path, channel: Option<&str>, out: &mut dyn Write) -> io::Result<bool> {
    let mut written = Ok(());
    look(dir, |entry| {
        if written.is_ok() && channel.is_none_or(|channel| channel == entry.channel) {
            written = tell(out, &line(entry));
        }
    })?;
    written.map(|()| true)
}

/// A channel's name and a position need no escapes, and an event is JSON already.
fn line(entry: &Entry<'_>) -> String {
    let Entry { channel, position, at_ms, text, .. } = entry;
    format!(r#"{{"channel":"{channel}","id":"{position}","at":"{}","event":{text}}}"#, time(*at_ms))
}

fn time(unix_ms: u64) -> String {
    let mut text = [0; 24];
    rfc3339_ms(unix_ms, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn tell(out: &mut dyn Write, line: &str) -> io::Result<()> {
    writeln!(out, "{line}")
}
