//! The kinds of several values: lists of texts, lists of sections, and the keys that are planned.
//! In a variable or flag a list is YAML in brackets, or words between commas.
use super::apply;
use super::mistakes::Report;
use super::rules::{Check, Text, Whole, quoted};
use super::table::{Rule, Section};
use super::yaml::{Form, Node, Value, parse_within};

/// A list of texts that each pass a check; in a variable they may be separated by commas.
#[derive(Clone, Copy)]
pub(super) struct Listed(pub Check);

impl Rule<Vec<String>> for Listed {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<Vec<String>> {
        let items = items(node, key, report)?;
        let before = report.len();
        let texts = items.iter().enumerate();
        let list =
            texts.filter_map(|(i, item)| Text(self.0).read(item, &format!("{key}[{i}]"), report)).collect();
        (report.len() == before).then_some(list)
    }
    fn write(&self, value: &Vec<String>) -> String {
        format!("[{}]", value.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
    }
    fn describe(&self) -> String {
        String::new()
    }
}

/// The items of a list, which outside of a file is YAML in brackets or a row of words between commas.
fn items(node: &Node, key: &str, report: &mut Report) -> Option<Vec<Node>> {
    match &node.value {
        Value::Broken => None,
        Value::Null => Some(Vec::new()),
        Value::List(items) => Some(items.clone()),
        Value::Scalar(text, Form::Bare) if text.trim_start().starts_with('[') => {
            let inner = parse_within(text, node.at, key, report)?;
            // What stands in brackets parses to a list or not at all.
            if let Value::List(items) = inner.value { Some(items) } else { None }
        }
        Value::Scalar(text, Form::Bare) => {
            let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
            Some(words.map(|word| Node::bare(word, node.at)).collect())
        }
        Value::Scalar(..) | Value::Map(_) => {
            report.refuse(node, key, "a list");
            None
        }
    }
}

/// A list of sections, each of which must give the first key; the second is an example of one.
#[derive(Clone, Copy)]
pub(super) struct Sections(pub &'static str, pub &'static str);

impl<T: Section + Default + Clone> Rule<Vec<T>> for Sections {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<Vec<T>> {
        let Sections(needed, example) = self;
        let items = items(node, key, report)?;
        let before = report.len();
        let mut sections = Vec::with_capacity(items.len());
        for (i, item) in items.into_iter().enumerate() {
            let key = format!("{key}[{i}]");
            if lacks(&item.value, needed) {
                report.add(item.at, &key, format_args!("needs {needed}, such as {{{example}}}"));
            }
            let mut section = T::default();
            apply::section(&mut section, item, &key, report);
            sections.push(section);
        }
        (report.len() == before).then_some(sections)
    }
    fn write(&self, value: &Vec<T>) -> String {
        format!("[{}]", value.iter().map(|section| flow(&mut section.clone())).collect::<Vec<_>>().join(", "))
    }
    fn describe(&self) -> String {
        String::new()
    }
}

/// Whether an item is a section without a key; what is no section at all is refused as that.
fn lacks(item: &Value, key: &str) -> bool {
    match item {
        Value::Null => true,
        Value::Map(entries) => entries.iter().all(|entry| entry.key != key),
        Value::Scalar(..) | Value::List(_) | Value::Broken => false,
    }
}

/// A section on one line, without what is left out or not built.
fn flow(section: &mut dyn Section) -> String {
    let mut pairs = Vec::new();
    section.each(&mut |key, _, field| {
        let text = match field.section() {
            Some(inner) => Some(flow(inner)).filter(|text| text != "{}").unwrap_or_default(),
            None => field.write(),
        };
        if !text.is_empty() && !field.planned() {
            pairs.push(format!("{key}: {text}"));
        }
    });
    format!("{{{}}}", pairs.join(", "))
}

/// Whole numbers by name, such as {trade: 50}.
#[derive(Clone, Copy)]
pub(super) struct Named(pub Whole);

impl Rule<Vec<(String, u32)>> for Named {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<Vec<(String, u32)>> {
        let value = match &node.value {
            Value::Scalar(text, Form::Bare) if text.trim_start().starts_with('{') => {
                parse_within(text, node.at, key, report)?.value
            }
            value => value.clone(),
        };
        let entries = match value {
            Value::Broken => return None,
            Value::Null => Vec::new(),
            Value::Map(entries) => entries,
            Value::Scalar(..) | Value::List(_) => {
                report.refuse(node, key, "names with numbers, such as {trade: 50}");
                return None;
            }
        };
        let before = report.len();
        let mut named: Vec<(String, u32)> = Vec::with_capacity(entries.len());
        for entry in entries {
            let key = apply::join(key, &entry.key);
            if named.iter().any(|(name, _)| *name == entry.key) {
                report.add(entry.at, &key, "stands twice");
            }
            if let Some(number) = self.0.read(&entry.node, &key, report) {
                named.push((entry.key, number));
            }
        }
        (report.len() == before).then_some(named)
    }
    fn write(&self, value: &Vec<(String, u32)>) -> String {
        let pairs: Vec<String> = value.iter().map(|(name, n)| format!("{}: {n}", quoted(name))).collect();
        format!("{{{}}}", pairs.join(", "))
    }
    fn describe(&self) -> String {
        String::new()
    }
}

/// A key of the contract whose feature a later release brings: only its default, given here as YAML, is accepted.
/// It is both the value and its rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned(pub(super) &'static str);

impl Rule<Planned> for Planned {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<Planned> {
        let default = self.0.trim_matches('"');
        let same = match &node.value {
            Value::Null | Value::Broken => true,
            Value::Scalar(text, _) => text == default,
            Value::List(items) => items.is_empty() && default == "[]",
            Value::Map(entries) => entries.is_empty() && default == "{}",
        };
        if !same {
            report.add(node.at, key, format_args!("not built yet; leave it out or at {}", self.0));
        }
        same.then_some(*self)
    }
    fn write(&self, value: &Planned) -> String {
        value.0.to_owned()
    }
    fn describe(&self) -> String {
        "not built yet".to_owned()
    }
    fn planned(&self) -> bool {
        true
    }
}
