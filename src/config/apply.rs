//! Puts a tree of given values into the settings: finds each key's place, follows older spellings, and refuses
//! unknown keys with the nearest known one. One pass per source; a later pass overrides an earlier one.
use super::mistakes::{At, Quoted, Report, Source};
use super::nearest;
use super::settings::Settings;
use super::table::Section;
use super::yaml::{Entry, Form, Node, Value, parse_within};
use std::collections::HashMap;

/// Sets what the tree gives at the top of the settings.
pub(super) fn root(settings: &mut Settings, node: Node, report: &mut Report) {
    let Some(mut entries) = entries(node, "", report) else { return };
    entries.iter_mut().for_each(follow_older_spelling);
    fill(settings, entries, "", report);
}

/// Sets what the node gives in a section, whose own key is `path`.
pub(super) fn section(section: &mut dyn Section, node: Node, path: &str, report: &mut Report) {
    if let Some(entries) = entries(node, path, report) {
        fill(section, entries, path, report);
    }
}

/// `jwt: {...}` at the top is `auth: {jwt: {...}}`, and `auth: word` is `auth: {mode: word}`.
fn follow_older_spelling(entry: &mut Entry) {
    let inner = match (entry.key.as_str(), &entry.node.value) {
        ("jwt", _) => "jwt",
        ("auth", Value::Scalar(text, _)) if !text.trim_start().starts_with('{') => "mode",
        _ => return,
    };
    let at = entry.node.at;
    let node = std::mem::replace(&mut entry.node, Node { at, value: Value::Null });
    entry.node.value = Value::Map(vec![Entry { key: inner.to_owned(), at: entry.at, node }]);
    "auth".clone_into(&mut entry.key);
}

/// The entries of a section, each key once.
fn entries(node: Node, path: &str, report: &mut Report) -> Option<Vec<Entry>> {
    let mut entries = match node.value {
        Value::Null | Value::Broken => return None,
        Value::Map(entries) => entries,
        Value::Scalar(text, Form::Bare) if text.trim_start().starts_with('{') => {
            let inner = parse_within(&text, node.at, path, report)?;
            // What stands in braces parses to a section or not at all.
            if let Value::Map(entries) = inner.value { entries } else { return None }
        }
        // What stands there is not said again: in the place of `auth.jwt` it may be the secret.
        Value::Scalar(..) => {
            report.add(node.at, path, "must be a section of `key: value` lines, is a text");
            return None;
        }
        Value::List(_) => {
            report.add(node.at, path, "must be a section of `key: value` lines, is a list");
            return None;
        }
    };
    let mut lines = HashMap::new();
    entries.retain(|entry| match lines.get(&entry.key) {
        None => {
            lines.insert(entry.key.clone(), entry.at.line);
            true
        }
        Some(line) => {
            report.add(entry.at, &join(path, &entry.key), format_args!("stands twice, first in line {line}"));
            false
        }
    });
    Some(entries)
}

fn fill(section: &mut dyn Section, entries: Vec<Entry>, path: &str, report: &mut Report) {
    for entry in entries {
        let (key, at) = (join(path, &entry.key), entry.at);
        if !set(section, entry, &key, report) {
            unknown(section, path, at, &key, report);
        }
    }
}

/// Sets one entry; answers whether the section knows its key.
fn set(section: &mut dyn Section, entry: Entry, key: &str, report: &mut Report) -> bool {
    let mut node = Some(entry.node);
    section.each(&mut |name, _, field| {
        let Some(node) = (name == entry.key).then(|| node.take()).flatten() else { return };
        if let Some(inner) = field.section() {
            self::section(inner, node, key, report);
        } else {
            note_place(key, node.at, report);
            field.read(&node, key, report);
        }
    });
    node.is_none()
}

/// Remembers where the key was set; two spellings of one key in the same file contradict each other.
fn note_place(key: &str, at: At, report: &mut Report) {
    let before = report.set.insert(key.to_owned(), (report.source.clone(), at));
    if let (Some((before @ Source::File(_), first)), Source::File(_)) = (&before, &report.source)
        && *before == report.source
    {
        report.add(at, key, format_args!("is set twice, first in line {}", first.line));
    }
}

fn unknown(section: &mut dyn Section, path: &str, at: At, key: &str, report: &mut Report) {
    // Past the list's end nobody reads the suggestion, and each costs a walk over the table.
    let near = if report.is_full() { None } else { nearest::key(section, path, key) };
    match near {
        Some(near) => {
            let near = report.spell(&near);
            report.add(at, key, format_args!("unknown; did you mean `{}`?", Quoted(&near)));
        }
        None => report.add(at, key, "unknown; `courier config-doc` lists all keys"),
    }
}

/// The dotted key of `name` in the section `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
