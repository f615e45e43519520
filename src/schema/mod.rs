//! What an event of a known type looks like: JSON Schemas 2020-12 (contract 13), compiled once at start and shared by all
//! shards. Admission asks [`Policy::check`], and only what it lets through becomes an event. An event becomes a document
//! only if its type has a schema; of all others this room looks up the type and no more.

mod compile;
mod cost;
mod document;
mod form;
mod kinds;
mod reading;
mod shipped;
mod words;

pub use compile::{FILE_BYTES_MAX, Mistake, Source};
pub use shipped::SHIPPED;
pub use words::{FAULTS_MAX, Fault, Faults};

use crate::event::{Facts, matches};
use document::{Document, Kind};
use form::Form;
use kinds::Kinds;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How strictly events are checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// An event of a type without a schema is refused. One that says no type passes.
    Strict,
    /// Events of types that have a schema are checked, others pass.
    #[default]
    Known,
    /// Nothing is checked.
    Off,
}

/// Characters of a list of event types in a message.
const LIST_CHARS_MAX: usize = 2_000;

/// All schemas of a server.
pub struct Schemas {
    by_kind: Kinds<Described>,
    /// The types as a list that is short enough to be told.
    supported: String,
}

struct Described {
    description: String,
    forms: Vec<Form>,
}

impl Schemas {
    /// Compiles the schemas that the binary carries, with `more` in the place of those of the same type.
    ///
    /// # Errors
    /// Every mistake in `more`.
    pub fn compile(more: &[Source]) -> Result<Schemas, Vec<Mistake>> {
        let mut kinds: BTreeMap<String, Described> = BTreeMap::new();
        let mut mistakes = Vec::new();
        let mut take =
            |source: &Source, kinds: &mut BTreeMap<String, Described>| match compile::compile(source) {
                Ok(compiled) => {
                    let none = || Described { description: String::new(), forms: Vec::new() };
                    let described = kinds.entry(compiled.kind).or_insert_with(none);
                    described.forms.extend(compiled.forms);
                    if described.description.is_empty() {
                        described.description = compiled.description;
                    }
                }
                Err(found) => mistakes.extend(found),
            };
        more.iter().for_each(|source| take(source, &mut kinds));
        for (kind, text) in SHIPPED {
            if !kinds.contains_key(*kind) {
                let source = Source {
                    name: format!("{kind}.json (shipped)"),
                    kind: (*kind).into(),
                    text: (*text).into(),
                };
                take(&source, &mut kinds);
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let supported = listed(kinds.keys());
        Ok(Schemas { by_kind: kinds.into_iter().collect(), supported })
    }

    /// Compiles one file alone.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn of_file(source: &Source) -> Result<Schemas, Vec<Mistake>> {
        let compile::Compiled { kind, forms, description } = compile::compile(source)?;
        let supported = kind.clone();
        Ok(Schemas { by_kind: [(kind, Described { description, forms })].into_iter().collect(), supported })
    }

    /// Whether events of this type have a schema on some channel.
    pub fn knows(&self, kind: &str) -> bool {
        self.by_kind.get(kind).is_some()
    }

    /// The types, in order, each with how many forms it has, the files they come from, and what it is.
    pub fn list(&self) -> Vec<(&str, usize, Vec<&str>, &str)> {
        let mut rows: Vec<_> = self
            .by_kind
            .iter()
            .map(|(kind, described)| {
                let mut files: Vec<&str> = described.forms.iter().map(|form| &*form.file).collect();
                files.dedup();
                (kind, described.forms.len(), files, described.description.as_str())
            })
            .collect();
        rows.sort();
        rows
    }
}

fn listed<'k>(kinds: impl ExactSizeIterator<Item = &'k String>) -> String {
    let (count, mut list) = (kinds.len(), String::new());
    for kind in kinds {
        if list.len() + kind.len() > LIST_CHARS_MAX {
            return format!("{list}, … ({count} in all)");
        }
        list.push_str(if list.is_empty() { "" } else { ", " });
        list.push_str(kind);
    }
    list
}

/// What a server checks, and where.
pub struct Policy {
    /// Of all channels that no other line names.
    pub mode: Mode,
    /// By channel pattern, the first that matches.
    pub channels: Vec<(String, Mode)>,
    /// What is checked against.
    pub schemas: Arc<Schemas>,
}

/// What became of a check.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was checked.
    Unchecked,
    /// It fits a schema.
    Fits {
        /// Where its timestamp belongs if it has none.
        stamp: Option<Place>,
    },
    /// It fits none of its type's schemas.
    Misfit(Faults),
    /// Its type has no schema and must have one; the types that have.
    UnknownType(String),
}

/// Where a member can be put into an event's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Right behind an opening brace.
    pub at: usize,
    /// Nothing else stands in those braces.
    pub alone: bool,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = self.schemas.by_kind.len();
        f.debug_struct("Policy").field("mode", &self.mode).field("kinds", &kinds).finish_non_exhaustive()
    }
}

impl Policy {
    /// Checks an event, whose facts were read from `text`.
    #[inline]
    pub fn check(&self, channel: &str, text: &str, facts: &Facts<'_>) -> Verdict {
        let mode = self.mode_of(channel);
        if mode == Mode::Off {
            return Verdict::Unchecked;
        }
        let kind = facts.kind.0.as_deref().unwrap_or_default();
        match self.schemas.by_kind.get(kind) {
            Some(described) => self.fit(channel, described, mode, text, facts),
            None if mode == Mode::Known => Verdict::Unchecked,
            None => self.unknown(kind, text),
        }
    }

    /// How strictly a channel is checked.
    pub fn mode_of(&self, channel: &str) -> Mode {
        let own = self.channels.iter().find(|(pattern, _)| matches(pattern, channel));
        own.map_or(self.mode, |(_, mode)| *mode)
    }

    #[inline(never)]
    fn fit(
        &self,
        channel: &str,
        described: &Described,
        mode: Mode,
        text: &str,
        facts: &Facts<'_>,
    ) -> Verdict {
        let forms = || described.forms.iter().filter(|form| form.is_for(channel));
        if forms().next().is_none() {
            return match mode {
                Mode::Strict => Verdict::UnknownType(self.schemas.supported.clone()),
                _ => Verdict::Unchecked,
            };
        }
        // What is no JSON was refused before.
        let Ok(document) = Document::read(text) else {
            return Verdict::Misfit(Faults::one("", "is not valid JSON"));
        };
        if !document.repeated().is_empty() {
            return Verdict::Misfit(Faults::repeated(&document));
        }
        match forms().find(|form| form.holds(&document)) {
            Some(form) => {
                let stamp = if facts.timestamp.0.is_none() { place(form, &document) } else { None };
                Verdict::Fits { stamp }
            }
            None => Verdict::Misfit(form::faults_of_nearest(forms(), &document)),
        }
    }

    /// A type that no schema describes. What says no type at all passes, as services send such events.
    #[cold]
    fn unknown(&self, kind: &str, text: &str) -> Verdict {
        if !kind.is_empty() {
            return Verdict::UnknownType(self.schemas.supported.clone());
        }
        let Ok(document) = Document::read(text) else { return Verdict::Unchecked };
        let said = document.member(0, "type").map(|index| document.slot(index).kind);
        match said {
            Some(Kind::Number | Kind::True | Kind::Array | Kind::Object) => {
                Verdict::Misfit(Faults::one("/type", "must be a string"))
            }
            // Half a character.
            Some(Kind::EscapedString) => Verdict::UnknownType(self.schemas.supported.clone()),
            _ => Verdict::Unchecked,
        }
    }
}

/// Where the timestamp of an event of this form belongs; `None` if something stands there, or it gets none.
fn place(form: &Form, document: &Document<'_>) -> Option<Place> {
    if form.named.unstamped {
        return None;
    }
    let metadata = document.member(0, "metadata").filter(|_| form.is_nested());
    let holder = metadata.filter(|index| document.slot(*index).kind == Kind::Object).unwrap_or(0);
    if document.member(holder, "timestamp").is_some() {
        return None;
    }
    let slot = document.slot(holder);
    Some(Place { at: slot.start as usize + 1, alone: slot.count == 0 })
}

#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;
    use std::sync::LazyLock;

    /// The shipped schemas, compiled once for all tests.
    pub fn shipped() -> Arc<Schemas> {
        static SHIPPED: LazyLock<Arc<Schemas>> = LazyLock::new(|| Arc::new(Schemas::compile(&[]).unwrap()));
        Arc::clone(&SHIPPED)
    }
}

#[cfg(test)]
mod tests;
