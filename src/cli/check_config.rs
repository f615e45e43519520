//! `courier check-config [FILE]`: tells every mistake in the settings, or which of them differ from the defaults. It
//! reads what `serve` would read, the environment too, and starts nothing.
use crate::config::{self, DEFAULT_FILE, Loaded};
use crate::server::schemas;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Checks the settings with the file at `path` (else the default file, if there). Exit code 1: there are mistakes,
/// written to `err`.
pub fn run(path: Option<&Path>, out: &mut dyn Write, err: &mut dyn Write) -> ExitCode {
    let name = match path {
        Some(path) => path.display().to_string(),
        None if Path::new(DEFAULT_FILE).exists() => DEFAULT_FILE.to_owned(),
        None => "built-in defaults".to_owned(),
    };
    let written = match config::read(path, Vec::new()) {
        Ok(loaded) => match schemas::policy(&loaded.settings) {
            Ok(_) => tell(&name, &loaded, out).map(|()| ExitCode::SUCCESS),
            Err(mistakes) => writeln!(err, "{}", schemas::lines(&mistakes)).map(|()| ExitCode::FAILURE),
        },
        Err(mistakes) => writeln!(err, "{mistakes}").map(|()| ExitCode::FAILURE),
    };
    written.unwrap_or(ExitCode::FAILURE)
}

fn tell(name: &str, loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{name}: ok")?;
    // The first note repeats where the settings come from.
    for note in loaded.notes.iter().skip(1) {
        writeln!(out, "  note: {note}")?;
    }
    for warning in &loaded.warnings {
        writeln!(out, "  warning: {warning}")?;
    }
    for (key, value) in config::changes(&loaded.settings) {
        writeln!(out, "  {key}: {value}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_on(path: &str) -> (ExitCode, String, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(Some(Path::new(path)), &mut out, &mut err);
        (code, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn good_file_is_ok_and_its_changes_are_listed() {
        let (code, out, err) = run_on("config/development.yaml");
        assert_eq!((code, err.as_str()), (ExitCode::SUCCESS, ""));
        assert!(out.starts_with("config/development.yaml: ok\n"), "{out}");
        assert!(out.contains("\n  log_level: debug\n"), "{out}");
    }

    #[test]
    fn missing_file_is_a_mistake_that_names_it() {
        let (code, out, err) = run_on("config/no-such-file.yaml");
        assert_eq!((code, out.as_str()), (ExitCode::FAILURE, ""));
        assert!(err.starts_with("config/no-such-file.yaml: cannot be read: "), "{err}");
    }
}
