//! What is wrong with the settings: each mistake with its place, all of them collected before anything is refused.
//! Every reader in `config/` reports here; nothing here decides what is a mistake.
use super::yaml::Node;
use std::collections::BTreeMap;
use std::fmt;

/// Most mistakes told at once; more would scroll away, and a file of garbage must not cost memory.
pub const MISTAKES_MAX: usize = 100;
/// Most characters of a person's text that are quoted back in a message.
const QUOTED_CHARS_MAX: usize = 60;

/// A place in a file: line and column count from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At {
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The settings file, by the name that messages use.
    File(String),
    /// An environment variable.
    Variable(String),
    /// A flag of the command, by its key.
    Flag(String),
}

impl Source {
    /// Later sources override earlier ones.
    fn rank(&self) -> u8 {
        match self {
            Self::File(_) => 0,
            Self::Variable(_) => 1,
            Self::Flag(_) => 2,
        }
    }

    /// How a key is written in such a source.
    fn spell(&self, key: &str) -> String {
        match self {
            Self::File(_) => key.to_owned(),
            Self::Variable(_) => super::environment::variable(key),
            Self::Flag(_) => format!("--{key}"),
        }
    }
}

/// One thing that is wrong, shown as `config/courier.yaml:12:7: port: must be 1 to 65535, is 99999`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it was written.
    pub source: Source,
    /// Where in the file; zero for the other sources.
    pub at: At,
    /// The dotted key, empty when the file as a whole is at fault.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::File(name) if self.at.line == 0 => write!(f, "{}: ", Quoted(name))?,
            Source::File(name) => write!(f, "{}:{}:{}: ", Quoted(name), self.at.line, self.at.column)?,
            Source::Variable(name) => write!(f, "{}: ", Quoted(name))?,
            Source::Flag(name) => write!(f, "--{}: ", Quoted(name))?,
        }
        let named_already = match &self.source {
            Source::File(_) => false,
            source @ (Source::Variable(name) | Source::Flag(name)) => {
                *name == self.key || *name == source.spell(&self.key)
            }
        };
        if !self.key.is_empty() && !named_already {
            write!(f, "{}: ", Quoted(&self.key))?;
        }
        f.write_str(&self.message)
    }
}

/// All mistakes of one load, in the order of the sources and lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    /// The first `MISTAKES_MAX` of them.
    pub list: Vec<Mistake>,
    /// How many more there were.
    pub more: usize,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = self.list.iter();
        if let Some(first) = lines.next() {
            write!(f, "{first}")?;
        }
        lines.try_for_each(|mistake| write!(f, "\n{mistake}"))?;
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A person's text as a message may show it: cut, and without control characters that would move a terminal's cursor.
pub(super) struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (count, c) in self.0.chars().enumerate() {
            if count == QUOTED_CHARS_MAX {
                return f.write_str("…");
            }
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

/// Collects the mistakes of one load and remembers where each key was set last.
pub(super) struct Report {
    /// What is being read now.
    pub source: Source,
    /// Where each key that any source sets was set last, by dotted key.
    pub set: BTreeMap<String, (Source, At)>,
    list: Vec<Mistake>,
    more: usize,
}

impl Report {
    pub fn new(source: Source) -> Self {
        Self { source, set: BTreeMap::new(), list: Vec::new(), more: 0 }
    }

    /// A mistake at a place of the present source.
    pub fn add(&mut self, at: At, key: &str, message: impl fmt::Display) {
        let source = self.source.clone();
        self.add_from(source, at, key, message);
    }

    /// A mistake of the value that `key` was last given, whichever source gave it.
    pub fn add_where_set(&mut self, key: &str, message: impl fmt::Display) {
        let (source, at) = self.set.get(key).cloned().unwrap_or((self.source.clone(), At::default()));
        self.add_from(source, at, key, message);
    }

    /// A value that is not what its rule allows.
    pub fn refuse(&mut self, node: &Node, key: &str, must: impl fmt::Display) {
        self.add(node.at, key, format_args!("must be {must}, is {node}"));
    }

    /// A key as a person writes it in the present source.
    pub fn spell(&self, key: &str) -> String {
        self.source.spell(key)
    }

    /// Whether further mistakes would still be listed.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MISTAKES_MAX
    }

    /// How many mistakes there are so far.
    pub fn len(&self) -> usize {
        self.list.len() + self.more
    }

    /// The mistakes, when there are any.
    pub fn finish(mut self) -> Result<(), Mistakes> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list.sort_by_key(|mistake| (mistake.source.rank(), mistake.at));
        Err(Mistakes { list: self.list, more: self.more })
    }

    fn add_from(&mut self, source: Source, at: At, key: &str, message: impl fmt::Display) {
        if self.is_full() {
            self.more += 1;
        } else {
            self.list.push(Mistake { source, at, key: key.to_owned(), message: message.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_cut_and_cannot_move_the_cursor() {
        let shown = Quoted("a\u{1b}[2J\n").to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\n");
        let long = Quoted(&"é".repeat(1_000)).to_string();
        assert_eq!(long.chars().count(), QUOTED_CHARS_MAX + 1);
        let mut report = Report::new(Source::Variable("COURIER_\u{7}".to_owned()));
        report.add(At::default(), "k\u{7}", "x");
        assert_eq!(report.finish().unwrap_err().to_string(), "COURIER_\\u{7}: k\\u{7}: x");
    }
}
