//! Schemas from files to what the shards check against: at the start, on a reload, and for the command line.

use crate::config::{SchemaMode, Settings};
use crate::schema::{FILE_BYTES_MAX, Mistake, Mode, Policy, Schemas, Source};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// Files of one folder; more are a wrong folder rather than schemas.
const FILES_MAX: usize = 1_000;

/// What the settings want checked; `None` when they want nothing checked anywhere.
///
/// # Errors
/// Every mistake in every file of `schemas.dir`.
pub fn policy(settings: &Settings) -> Result<Option<Arc<Policy>>, Vec<Mistake>> {
    let options = &settings.channel_options;
    // The first option that matches a channel decides, also by saying nothing.
    let of = |option: &crate::config::ChannelOption| option.schema.map_or(mode(settings.schemas.mode), mode);
    let said = options.iter().any(|option| option.schema.is_some());
    let channels: Vec<(String, Mode)> = match said {
        true => options.iter().map(|option| (option.pattern.clone(), of(option))).collect(),
        false => Vec::new(),
    };
    let mode = mode(settings.schemas.mode);
    let off = mode == Mode::Off && channels.iter().all(|(_, mode)| *mode == Mode::Off);
    let schemas = Arc::new(compile(&settings.schemas.dir)?);
    Ok((!off).then(|| Arc::new(Policy { mode, channels, schemas })))
}

fn mode(word: SchemaMode) -> Mode {
    match word {
        SchemaMode::Strict => Mode::Strict,
        SchemaMode::Known => Mode::Known,
        SchemaMode::Off => Mode::Off,
    }
}

/// The shipped schemas and those of a folder, if one is named.
///
/// # Errors
/// Every mistake in every file.
pub fn compile(dir: &str) -> Result<Schemas, Vec<Mistake>> {
    let (sources, mut mistakes) =
        if dir.is_empty() { Default::default() } else { read_folder(Path::new(dir)) };
    match Schemas::compile(&sources) {
        Ok(schemas) if mistakes.is_empty() => Ok(schemas),
        Ok(_) => Err(mistakes),
        Err(found) => {
            mistakes.extend(found);
            Err(mistakes)
        }
    }
}

/// The files `*.json` of a folder, by name, and what could not be read.
fn read_folder(dir: &Path) -> (Vec<Source>, Vec<Mistake>) {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => return (Vec::new(), vec![mistake(dir, format!("cannot be read: {error}"))]),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    if paths.len() > FILES_MAX {
        return (Vec::new(), vec![mistake(dir, format!("holds more than {FILES_MAX} schema files"))]);
    }
    paths.sort();
    let (mut sources, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths {
        match read(&path) {
            Ok(source) => sources.push(source),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    (sources, mistakes)
}

/// One file, of which no more is read than may be in it.
///
/// # Errors
/// It cannot be read, or is too large.
pub fn read(path: &Path) -> Result<Source, Mistake> {
    let mut bytes = Vec::new();
    let most = FILE_BYTES_MAX as u64 + 1;
    let read = fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| mistake(path, format!("cannot be read: {error}")))?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(mistake(path, format!("is larger than the {FILE_BYTES_MAX} bytes of a schema file")));
    }
    let text = String::from_utf8(bytes).map_err(|_| mistake(path, "is not UTF-8 text".to_owned()))?;
    let kind = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Source { name: path.display().to_string(), kind, text })
}

fn mistake(path: &Path, words: String) -> Mistake {
    Mistake { file: path.display().to_string(), pointer: String::new(), words }
}

/// All of them, a line each.
pub fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n")
}
