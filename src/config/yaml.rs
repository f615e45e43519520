//! Text of a settings file to a small tree with a line and a column at every node. A strict part of YAML: one
//! document, no anchors, aliases or tags, keys are words. It knows no key; depth, count and size are
//! bounded, so any text costs bounded memory.
use super::mistakes::{At, Quoted, Report, Source};
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span};
use std::borrow::Cow;
use std::fmt;

/// Most bytes of a settings file: the commented default file is a hundredth of it.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting; the deepest key needs 4. It also bounds the recursion of all readers of the tree.
const DEPTH_MAX: usize = 16;
/// Most values in one file: 100,000 channels are a long list, and 10 MB of nodes.
const NODES_MAX: usize = 100_000;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: At,
    pub value: Value,
}

/// What stands there.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// A word, number or text.
    Scalar(String, Form),
    List(Vec<Node>),
    Map(Vec<Entry>),
    /// A value that was reported as a mistake already.
    Broken,
}

/// How a scalar was written, which decides what it may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Without quotes in a file.
    Plain,
    /// In quotes or as a block: text, never a number.
    Quoted,
    /// Outside of YAML, in a variable or a flag: whatever its key needs.
    Bare,
}

/// `key: value` of a map.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub at: At,
    pub node: Node,
}

impl Node {
    /// A text from a variable or a flag.
    pub fn bare(text: &str, at: At) -> Self {
        Self { at, value: Value::Scalar(text.to_owned(), Form::Bare) }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Null => f.write_str("empty"),
            Value::Scalar(text, Form::Quoted) => write!(f, "the text \"{}\"", Quoted(text)),
            Value::Scalar(text, _) if text.is_empty() => f.write_str("empty"),
            Value::Scalar(text, _) if text.contains(char::is_whitespace) => write!(f, "\"{}\"", Quoted(text)),
            Value::Scalar(text, _) => write!(f, "{}", Quoted(text)),
            Value::List(_) => f.write_str("a list"),
            Value::Map(_) => f.write_str("a section"),
            Value::Broken => f.write_str("not readable"),
        }
    }
}

/// The tree of a whole file; reports and answers `None` when the text cannot be trusted as a whole.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    if text.len() > FILE_BYTES_MAX {
        report.add(
            At::default(),
            "",
            format_args!("is {} bytes, at most {FILE_BYTES_MAX} are read", text.len()),
        );
        return None;
    }
    if let Some(at) = control_character(text) {
        report.add(at, "", "a control character; settings are plain text");
        return None;
    }
    let mut tree = Tree { open: Vec::new(), root: None, nodes: 0 };
    let mut parser = Parser::new_from_str(text);
    let mut documents = 0;
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(pair) => pair,
            Err(error) => {
                syntax_mistake(text, &error, report);
                return None;
            }
        };
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
        }
        if documents > 1 {
            report.add(at(span.start), "", "a second document (---) begins here; a settings file is one");
            return None;
        }
        tree.take(event, span, report)?;
    }
    Some(tree.root.unwrap_or(Node { at: At { line: 1, column: 1 }, value: Value::Null }))
}

/// The tree of YAML text inside a value (a list in a variable); every node and mistake gets the value's place.
pub(super) fn parse_within(text: &str, at: At, key: &str, report: &mut Report) -> Option<Node> {
    let mut inner = Report::new(Source::File(String::new()));
    let node = parse(text, &mut inner);
    if let Err(mistakes) = inner.finish() {
        mistakes.list.iter().for_each(|mistake| report.add(at, key, &mistake.message));
        return None;
    }
    node.map(|mut node| {
        move_to(&mut node, at);
        node
    })
}

fn move_to(node: &mut Node, at: At) {
    node.at = at;
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| move_to(item, at)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| {
            entry.at = at;
            move_to(&mut entry.node, at);
        }),
        Value::Null | Value::Scalar(..) | Value::Broken => {}
    }
}

fn at(mark: Marker) -> At {
    At { line: mark.line(), column: mark.col() + 1 }
}

/// The first character that YAML 1.2 section 5.1 does not allow (NUL would also end the text unseen).
fn control_character(text: &str) -> Option<At> {
    let refused = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    let index = text.find(refused)?;
    let before = &text[..index];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Some(At { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 })
}

fn syntax_mistake(text: &str, error: &ScanError, report: &mut Report) {
    let place = at(*error.marker());
    let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
    let hint = if line.contains('\t') {
        " (the line has a tab; YAML wants spaces)"
    } else if error.info().contains("anchor") {
        " (a text that begins with * or & needs quotes)"
    } else {
        ""
    };
    report.add(place, "", format_args!("not YAML: {}{hint}", error.info()));
}

/// A collection that has begun and not ended.
struct Open {
    at: At,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, At)> },
}

/// Builds the tree from events without recursion.
struct Tree {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
}

impl Tree {
    /// Adds one event; `None` when the rest is not worth reading.
    fn take(&mut self, event: Event<'_>, span: Span, report: &mut Report) -> Option<()> {
        let at = at(span.start);
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            report.add(at, "", format_args!("more than {NODES_MAX} values"));
            return None;
        }
        match event {
            Event::Alias(_) => {
                report.add(at, "", "an alias (*name); write the value out, or the text in quotes");
                self.place(Node { at, value: Value::Broken })
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = refuse_extras(anchor, tag.is_some(), at, report);
                self.place(Node { at, value: if plain { scalar(text, style) } else { Value::Broken } })
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_extras(anchor, tag.is_some(), at, report);
                self.begin(at, Content::List(Vec::new()), report)
            }
            Event::MappingStart(anchor, tag) => {
                refuse_extras(anchor, tag.is_some(), at, report);
                let content = Content::Map { entries: Vec::new(), key: None };
                self.begin(at, content, report)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Some(()),
        }
    }

    fn begin(&mut self, at: At, content: Content, report: &mut Report) -> Option<()> {
        if let Some(Open { content: Content::Map { key: None, .. }, .. }) = self.open.last() {
            report.add(at, "", "a list or section stands where a key is expected");
            return None;
        }
        if self.open.len() == DEPTH_MAX {
            report.add(at, "", format_args!("nested deeper than {DEPTH_MAX} levels"));
            return None;
        }
        self.open.push(Open { at, content });
        Some(())
    }

    fn end(&mut self) -> Option<()> {
        let Open { at, content } = self.open.pop()?;
        let value = match content {
            Content::List(items) => Value::List(items),
            Content::Map { entries, .. } => Value::Map(entries),
        };
        self.place(Node { at, value })
    }

    /// Puts a finished node where the innermost open collection wants it.
    fn place(&mut self, node: Node) -> Option<()> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key: key @ Some(_), .. }) => {
                let (key, at) = key.take()?;
                entries.push(Entry { key, at, node });
            }
            Some(Content::Map { key, .. }) => {
                let name = match node.value {
                    Value::Scalar(text, _) => text,
                    Value::Null => "~".to_owned(),
                    Value::List(_) | Value::Map(_) | Value::Broken => return None,
                };

                *key = Some((name, node.at));
            }
        }
        Some(())
    }
}

/// Refuses what makes a value mean something else than it shows; answers whether there was nothing of it.
fn refuse_extras(anchor: usize, tag: bool, at: At, report: &mut Report) -> bool {
    if anchor != 0 {
        report.add(at, "", "an anchor (&name); write the value out, or the text in quotes");
    }
    if tag {
        report.add(at, "", "a tag (!name); write the bare value, or the text in quotes");
    }
    anchor == 0 && !tag
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    match style {
        ScalarStyle::Plain if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") => Value::Null,
        ScalarStyle::Plain => Value::Scalar(text.into_owned(), Form::Plain),
        _ => Value::Scalar(text.into_owned(), Form::Quoted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tell(text: &str) -> Vec<String> {
        let mut report = Report::new(Source::File("f".to_owned()));
        parse(text, &mut report);
        report
            .finish()
            .map_or_else(|mistakes| mistakes.list.iter().map(ToString::to_string).collect(), |()| Vec::new())
    }

    #[test]
    fn what_is_not_plain_yaml_is_told_in_words_with_its_place() {
        let expected = [
            ("a: &x 3\nb: *x\n", "f:1:4: an anchor (&name); write the value out, or the text in quotes"),
            ("a: !!int 3\n", "f:1:4: a tag (!name); write the bare value, or the text in quotes"),
            ("a: 1\n---\nb: 2\n", "f:2:1: a second document (---) begins here; a settings file is one"),
            ("a: 1\nb: \0 2\n", "f:2:4: a control character; settings are plain text"),
            ("? [a]\n: 1\n", "f:1:3: a list or section stands where a key is expected"),
        ];
        for (text, words) in expected {
            assert_eq!(tell(text).first().map(String::as_str), Some(words), "{text:?}");
        }
        let hints = [
            ("a:\n\tb: 1\n", "f:2:2", "tab"),
            ("a: *\n", "f:1:4", "needs quotes"),
            ("a: \"b\n", "f:1:4", "not YAML"),
        ];
        for (text, place, word) in hints {
            let told = tell(text);
            assert!(told[0].starts_with(place) && told[0].contains(word), "{text:?}: {told:?}");
        }
    }

    #[test]
    fn size_depth_and_count_are_bounded() {
        let bombs = [
            "- ".repeat(500_000),
            "[".repeat(1_000_000),
            "{a: ".repeat(200_000),
            "a:\n".repeat(FILE_BYTES_MAX),
            format!("[{}]", "1,".repeat(250_000)),
            "- 1\n".repeat(150_000),
            "? ".repeat(400_000),
            "&a ".repeat(300_000),
        ];
        for bomb in bombs {
            let told = tell(&bomb);
            assert!(!told.is_empty() && told.len() <= super::super::MISTAKES_MAX, "{}", &bomb[..20]);
        }
    }

    #[test]
    fn line_and_column_count_characters_from_one() {
        let mut report = Report::new(Source::File(String::new()));
        let node = parse("# é\nä: \"ö\"\r\nlist:\n  - x\n", &mut report).unwrap();
        let Value::Map(entries) = &node.value else { panic!("{node:?}") };
        assert_eq!(
            (entries[0].at, entries[0].node.at),
            (At { line: 2, column: 1 }, At { line: 2, column: 4 })
        );
        let Value::List(items) = &entries[1].node.value else { panic!("{node:?}") };
        assert_eq!(items[0].at, At { line: 4, column: 5 });
    }
}
