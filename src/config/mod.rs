//! Settings: built-in defaults, then the file, then the environment, then flags, into one plain `Settings` value, or
//! all mistakes at once. `load` is a pure function of texts; only `read` touches the machine. `server/` hands each
//! room its part; nothing below this floor knows that a file exists. The table is `settings.rs`.
mod apply;
mod auth;
mod doc;
mod environment;
mod expand;
mod grammar;
mod judge;
mod lists;
mod mistakes;
mod nearest;
mod policy;
mod rules;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod words;
mod yaml;

pub use auth::{Auth, AuthRule, Jwt, JwtKey, KEYS_MAX, LEEWAY_S_MAX, RULES_MAX, Secret};
pub use doc::{changes, to_yaml};
pub use lists::Planned;
pub use mistakes::{At, MISTAKES_MAX, Mistake, Mistakes, Source};
pub use policy::ReadFile;
pub use settings::*;
pub use words::*;
pub use yaml::FILE_BYTES_MAX;

use mistakes::Report;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// The file that is read when no other is named, relative to the working folder.
pub const DEFAULT_FILE: &str = "config/courier.yaml";

/// Everything that settings are made of.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's name, for messages, and its text.
    pub file: Option<(PathBuf, String)>,
    /// All environment variables: settings, and what `${NAME}` in the file refers to.
    pub environment: Vec<(String, String)>,
    /// Dotted keys and values from the command line.
    pub flags: Vec<(String, String)>,
    /// How the files that settings name (keys, revocations) are read; without it they are left alone.
    pub files: Option<ReadFile>,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The settings, every one within its range.
    pub settings: Settings,
    /// The policy of `auth`, with the files it names.
    pub policy: crate::auth::Policy,
    /// What an operator should know about where they came from, one sentence each.
    pub notes: Vec<String>,
    /// What an operator should mend, though it works, one sentence each.
    pub warnings: Vec<String>,
}

/// Reads the file (`config`, else `config/courier.yaml` if there), the environment, and the files that settings name,
/// and loads them with the flags.
///
/// # Errors
/// All mistakes at once; a file that cannot be read is one.
pub fn read(config: Option<&Path>, flags: Vec<(String, String)>) -> Result<Loaded, Mistakes> {
    load(Sources { files: Some(read_named), ..sources(config, flags)? })
}

/// As [`read`], without the files that settings name: for a command that makes such a file.
///
/// # Errors
/// As [`read`].
pub fn read_alone(config: Option<&Path>) -> Result<Loaded, Mistakes> {
    load(sources(config, Vec::new())?)
}

fn sources(config: Option<&Path>, flags: Vec<(String, String)>) -> Result<Sources, Mistakes> {
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let environment = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value))).collect();
    let default = Path::new(DEFAULT_FILE);
    let file = match config.or_else(|| default.exists().then_some(default)) {
        None => None,
        Some(path) => Some((path.to_owned(), read_text(path)?)),
    };
    Ok(Sources { file, environment, flags, files: None })
}

/// A file that a setting names, relative to the working folder.
fn read_named(path: &str, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    file.take(bytes_max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > bytes_max { Err(format!("is larger than {bytes_max} bytes")) } else { Ok(bytes) }
}

/// The text of a file, of which no more is read than may be in it.
fn read_text(path: &Path) -> Result<String, Mistakes> {
    let mut report = Report::new(Source::File(path.display().to_string()));
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    let read = std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    if let Err(error) = read {
        report.add(At::default(), "", format_args!("cannot be read: {error}"));
    } else if bytes.len() > FILE_BYTES_MAX {
        report.add(
            At::default(),
            "",
            format_args!("is larger than {FILE_BYTES_MAX} bytes; is it the right file?"),
        );
    }
    report.finish()?;
    String::from_utf8(bytes).map_err(|error| not_utf8(path, &error))
}

fn not_utf8(path: &Path, error: &std::string::FromUtf8Error) -> Mistakes {
    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
    let text = String::from_utf8_lossy(before);
    let line_start = text.rfind('\n').map_or(0, |newline| newline + 1);
    let at = At { line: text.matches('\n').count() + 1, column: text[line_start..].chars().count() + 1 };
    let source = Source::File(path.display().to_string());
    let mistake = Mistake { source, at, key: String::new(), message: "not UTF-8 text".to_owned() };
    Mistakes { list: vec![mistake], more: 0 }
}

/// Settings from texts alone: the same sources give the same settings, and no text makes it panic.
///
/// # Errors
/// All mistakes at once, the first `MISTAKES_MAX` of them in words.
pub fn load(sources: Sources) -> Result<Loaded, Mistakes> {
    let mut settings = Settings::default();
    let mut notes = Vec::new();
    let mut report = Report::new(Source::File(String::new()));
    match &sources.file {
        None => notes.push("no settings file: built-in defaults".to_owned()),
        Some((path, text)) => {
            notes.push(format!("settings from {}", path.display()));
            report.source = Source::File(path.display().to_string());
            if let Some(mut node) = yaml::parse(text, &mut report) {
                expand::Expander::new(&sources.environment).tree(&mut node, "", &mut report);
                apply::root(&mut settings, node, &mut report);
            }
        }
    }
    for (name, value) in &sources.environment {
        if environment::is_kubernetes_port(name, value) {
            notes.push(format!("{name} looks set by Kubernetes and is ignored; set the port in the file"));
        } else if let Some(key) = environment::key(name, value) {
            report.source = Source::Variable(name.clone());
            apply::root(&mut settings, environment::tree(&key, value), &mut report);
        }
    }
    for (key, value) in &sources.flags {
        report.source = Source::Flag(key.clone());
        apply::root(&mut settings, environment::tree(key, value), &mut report);
    }
    judge::judge(&mut settings, &mut report, &mut notes);
    let mut warnings = Vec::new();
    let mut said = policy::Said { report: &mut report, notes: &mut notes, warnings: &mut warnings };
    let policy = policy::policy(&settings, sources.files, &mut said);
    report.finish().map(|()| Loaded { settings, policy, notes, warnings })
}
