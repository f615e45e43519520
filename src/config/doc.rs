//! Settings as text: the commented file that `config-doc` prints, and the list of what differs from the defaults.
use super::apply::join;
use super::settings::Settings;
use super::table::Section;
use std::fmt::Write;

const HEAD: &str = "\
# All settings of Courier with their defaults. This file is what `courier config-doc` prints.
#
# Read in this order, the later wins: built-in defaults, this file (--config FILE, else config/courier.yaml),
# environment (COURIER_PORT, COURIER_OUTBOX__EVENTS; lists between commas), flags. In a value, ${NAME} is replaced
# by the environment, and ${NAME:-text} has a default. `courier check-config FILE` tells all mistakes at once.
# What a later release brings is marked 'not built yet'; it stays at the value shown.
";

/// The settings as a commented YAML file that reads back to the same settings.
#[must_use]
pub fn to_yaml(settings: &Settings) -> String {
    let mut out = HEAD.to_owned();
    section(&mut settings.clone(), "", &mut out);
    out
}

fn section(section: &mut dyn Section, indent: &str, out: &mut String) {
    section.each(&mut |key, doc, field| {
        if indent.is_empty() {
            out.push('\n');
        }
        for line in doc {
            let _ = writeln!(out, "{indent}#{line}");
        }
        let (value, about) = (field.write(), field.describe());
        if let Some(inner) = field.section() {
            let _ = writeln!(out, "{indent}{key}:");
            self::section(inner, &format!("{indent}  "), out);
        } else {
            let about = if about.is_empty() { about } else { format!("  # {about}") };
            let _ = writeln!(out, "{indent}{key}: {value}{about}");
        }
    });
}

/// Each dotted key whose value is not the default, with its value as YAML.
#[must_use]
pub fn changes(settings: &Settings) -> Vec<(String, String)> {
    let defaults = values(&Settings::default());
    values(settings)
        .into_iter()
        .zip(defaults)
        .filter(|(now, default)| now != default)
        .map(|(now, _)| now)
        .collect()
}

/// Each dotted key and its value as YAML, in the order of the table.
pub(super) fn values(settings: &Settings) -> Vec<(String, String)> {
    let mut all = Vec::new();
    walk(&mut settings.clone(), "", &mut all);
    all
}

fn walk(section: &mut dyn Section, path: &str, all: &mut Vec<(String, String)>) {
    section.each(&mut |name, _, field| {
        let key = join(path, name);
        let value = field.write();
        match field.section() {
            Some(inner) => walk(inner, &key, all),
            None => all.push((key, value)),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::config::{ChannelHistory, ChannelOption, Sources, load};

    #[test]
    fn written_settings_read_back_the_same() {
        let mut settings = Settings::default();
        settings.shutdown.reason = "${HOME} \"quoted\" # é \u{2028}$${x".to_owned();
        settings.channels = vec!["a".to_owned(), "null".to_owned(), "1".to_owned()];
        let option =
            ChannelOption { pattern: "**".to_owned(), max_clients: Some(0), ..ChannelOption::default() };
        let history = ChannelHistory { size: Some(5), ..ChannelHistory::default() };
        let other = ChannelOption { pattern: "a".to_owned(), history, ..ChannelOption::default() };
        settings.channel_options = vec![option, other];
        settings.heartbeat_interval_ms = 1_234;
        let file = Some(("f".into(), to_yaml(&settings)));
        assert_eq!(load(Sources { file, ..Sources::default() }).unwrap().settings, settings);
        let keys: Vec<String> = changes(&settings).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["channels", "heartbeat_interval", "channel_options", "shutdown.reason"]);
    }

    #[test]
    fn every_key_has_a_doc_of_its_own_that_fits_the_line() {
        let text = to_yaml(&Settings::default());
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        for pair in
            lines.windows(2).filter(|pair| pair[1].trim_start().starts_with(|c: char| c.is_ascii_lowercase()))
        {
            assert!(pair[0].trim_start().starts_with("# "), "{} has no doc", pair[1]);
        }
    }
}
