//! `courier schema check|test|list`: looks at schema files, and at events through them, without a server.

use crate::config::{self, Settings};
use crate::event::Facts;
use crate::schema::{Mistake, Mode, Policy, Schemas, Verdict};
use crate::server::schemas;
use clap::Subcommand;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// What is asked.
#[derive(Subcommand)]
pub enum Words {
    /// Say of every file whether it is a JSON Schema that Courier takes, and what is wrong where
    Check {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check events against the schemas of a type, or against a file
    Test {
        /// The event type, or a schema file (a name that ends in .json)
        schema: String,
        /// Files with an event each; - is standard input
        #[arg(required = true)]
        events: Vec<PathBuf>,
        /// As if published to this channel
        #[arg(long, default_value = "test")]
        channel: String,
    },
    /// Say which event types have a schema, and where it comes from
    List,
}

/// Does it, with the settings' schemas.
pub fn run(words: &Words, file: Option<&Path>, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let done = match words {
        Words::Check { files } => check(files, out, err),
        Words::Test { schema, events, channel } => match pick(schema, file) {
            Ok((schemas, kind)) => test(schemas, &kind, events, channel, out, err),
            Err(words) => writeln!(err, "{words}").map(|()| false),
        },
        Words::List => match all(file) {
            Ok(schemas) => list(&schemas, out),
            Err(words) => writeln!(err, "{words}").map(|()| false),
        },
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        // Who reads has seen enough, as `head` has.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn check(files: &[PathBuf], out: &mut dyn Write, err: &mut dyn Write) -> io::Result<bool> {
    let mut good = true;
    for path in files {
        let found: Result<Schemas, Vec<Mistake>> =
            schemas::read(path).map_err(|mistake| vec![mistake]).and_then(|source| Schemas::of_file(&source));
        match found {
            Ok(schemas) => {
                for (kind, forms, _, _) in schemas.list() {
                    writeln!(out, "{}: ok, event type {kind}, {}", path.display(), count(forms))?;
                }
            }
            Err(mistakes) => {
                good = false;
                writeln!(err, "{}", schemas::lines(&mistakes))?;
            }
        }
    }
    Ok(good)
}

fn count(forms: usize) -> String {
    if forms == 1 { "1 form".to_owned() } else { format!("{forms} forms") }
}

fn all(file: Option<&Path>) -> Result<Schemas, String> {
    let loaded = config::read(file, Vec::new()).map_err(|mistakes| mistakes.to_string())?;
    let Settings { schemas: words, .. } = loaded.settings;
    schemas::compile(&words.dir).map_err(|mistakes| schemas::lines(&mistakes))
}

/// The schemas to test with, and the event type.
fn pick(schema: &str, file: Option<&Path>) -> Result<(Schemas, String), String> {
    if schema.ends_with(".json") {
        let source = schemas::read(Path::new(schema)).map_err(|mistake| mistake.to_string())?;
        let schemas = Schemas::of_file(&source).map_err(|mistakes| schemas::lines(&mistakes))?;
        let kind = schemas.list().first().map(|row| row.0.to_owned()).unwrap_or_default();
        return Ok((schemas, kind));
    }
    let schemas = all(file)?;
    if schemas.knows(schema) {
        return Ok((schemas, schema.to_owned()));
    }
    Err(format!("{schema}: no schema has this event type; `courier schema list` tells which there are"))
}

fn test(
    schemas: Schemas,
    kind: &str,
    events: &[PathBuf],
    channel: &str,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<bool> {
    let policy = Policy { mode: Mode::Strict, channels: Vec::new(), schemas: Arc::new(schemas) };
    let mut good = true;
    for path in events {
        let name = path.display();
        match judge(&policy, kind, path, channel) {
            Ok(()) => writeln!(out, "{name}: ok")?,
            Err(lines) => {
                good = false;
                for line in lines {
                    writeln!(err, "{name}: {line}")?;
                }
            }
        }
    }
    Ok(good)
}

fn judge(policy: &Policy, kind: &str, path: &Path, channel: &str) -> Result<(), Vec<String>> {
    let read =
        if path == Path::new("-") { io::read_to_string(io::stdin()) } else { fs::read_to_string(path) };
    let text = read.map_err(|error| vec![format!("cannot be read: {error}")])?;
    let mut facts = Facts::read(&text).map_err(|why| vec![why.to_string()])?;
    match facts.kind.0.as_deref() {
        Some(own) if own != kind => {
            return Err(vec![format!("/type is {own}, and the schema is that of {kind}")]);
        }
        // Said by the schema, if it wants one.
        _ => facts.kind.0 = Some(kind.into()),
    }
    match policy.check(channel, &text, &facts) {
        Verdict::Fits { .. } | Verdict::Unchecked => Ok(()),
        Verdict::UnknownType(_) => Err(vec![format!("no schema of {kind} is for the channel {channel}")]),
        Verdict::Misfit(faults) => {
            let mut lines: Vec<String> = faults.list.iter().map(ToString::to_string).collect();
            let more = faults.total.saturating_sub(lines.len());
            lines.extend((more > 0).then(|| format!("and {more} more")));
            Err(lines)
        }
    }
}

fn list(schemas: &Schemas, out: &mut dyn Write) -> io::Result<bool> {
    for (kind, forms, files, description) in schemas.list() {
        writeln!(out, "{kind}  {}, {}", count(forms), files.join(", "))?;
        if !description.is_empty() {
            writeln!(out, "    {description}")?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(words: &Words) -> (ExitCode, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(words, None, &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn shipped_files_are_good_and_are_listed() {
        let files: Vec<PathBuf> =
            fs::read_dir("config/schemas").unwrap().map(|entry| entry.unwrap().path()).collect();
        let (code, out, err) = run_on(&Words::Check { files: files.clone() });
        assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
        assert_eq!(out.lines().count(), files.len());
        let (code, out, _) = run_on(&Words::List);
        assert_eq!(code, ExitCode::SUCCESS);
        assert!(out.contains("\nbacktest.completed  3 forms, backtest.completed.json (shipped)\n"), "{out}");
    }

    #[test]
    fn a_type_that_nothing_describes_is_told() {
        let words =
            Words::Test { schema: "mine".to_owned(), events: vec!["-".into()], channel: "a".to_owned() };
        let (code, _, err) = run_on(&words);
        assert_eq!(code, ExitCode::FAILURE);
        assert!(err.starts_with("mine: no schema has this event type"), "{err}");
    }
}
