//! `${VARIABLE}` and `${VARIABLE:-default}` in the values of a settings file; `$${` is a literal `${`. What comes
//! out is not expanded again.
use super::apply::join;
use super::mistakes::{Quoted, Report};
use super::yaml::{FILE_BYTES_MAX, Form, Node, Value};
use std::collections::HashMap;

/// The environment and how much of it has been put into this file.
pub(super) struct Expander<'a> {
    environment: HashMap<&'a str, &'a str>,
    bytes: usize,
}

impl<'a> Expander<'a> {
    pub fn new(environment: &'a [(String, String)]) -> Self {
        let environment = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { environment, bytes: 0 }
    }

    /// Expands every text in the tree; a text that cannot be becomes a reported, broken value.
    pub fn tree(&mut self, node: &mut Node, key: &str, report: &mut Report) {
        match &mut node.value {
            Value::Null | Value::Broken => {}
            Value::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.tree(item, &format!("{key}[{i}]"), report);
                }
            }
            Value::Map(entries) => {
                for entry in entries {
                    self.tree(&mut entry.node, &join(key, &entry.key), report);
                }
            }
            Value::Scalar(text, _) if !text.contains("${") => {}
            Value::Scalar(text, _) => match self.text(text) {
                Ok(text) => node.value = Value::Scalar(text, Form::Bare),
                Err(message) => {
                    report.add(node.at, key, message);
                    node.value = Value::Broken;
                }
            },
        }
    }

    fn text(&mut self, text: &str) -> Result<String, String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            let (before, from) = rest.split_at(start);
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = &from[2..];
                continue;
            }
            out.push_str(before);
            let end = from.find('}').ok_or("`${` without its `}`; a literal one is written `$${`")?;
            let value = self.variable(&from[2..end])?;
            self.bytes = self.bytes.saturating_add(value.len());
            // The environment may be large and named many times: the file's own bound holds for what comes of it.
            if self.bytes > FILE_BYTES_MAX {
                return Err(format!("the variables put in so far make more than {FILE_BYTES_MAX} bytes"));
            }
            out.push_str(value);
            rest = &from[end + 1..];
        }
        out.push_str(rest);
        Ok(out)
    }

    fn variable<'t>(&self, inside: &'t str) -> Result<&'t str, String>
    where
        'a: 't,
    {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if name.is_empty() || !name.bytes().all(word) || name.as_bytes()[0].is_ascii_digit() {
            return Err(format!("`${{{}}}` does not name a variable", Quoted(inside)));
        }
        match (self.environment.get(name).copied(), default) {
            (None | Some(""), Some(default)) => Ok(default),
            (Some(value), _) => Ok(value),
            (None, None) => Err(format!(
                "the variable {name} is not set; set it, or write a default: ${{{name}:-...}}",
                name = Quoted(name)
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let pairs = [("A", "one"), ("EMPTY", ""), ("NESTED", "${A}")];
        let environment = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Expander::new(&environment).text(text)
    }

    #[test]
    fn variables_and_defaults_are_put_in_once() {
        let expected = [
            ("${A}", "one"),
            ("x${A}y${A}", "xoneyone"),
            ("${NONE:-two}", "two"),
            ("${EMPTY:-two}${EMPTY}", "two"),
            ("${A:-two}", "one"),
            ("${NONE:-}", ""),
            ("${NESTED}", "${A}"),
            ("$${A} costs $5", "${A} costs $5"),
            ("$$${A}", "$${A}"),
        ];
        for (text, result) in expected {
            assert_eq!(expanded(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_put_in_is_told() {
        let expected = [
            ("${NONE}", "the variable NONE is not set"),
            ("${A", "without its `}`"),
            ("${}", "does not name a variable"),
            ("${1A}", "does not name a variable"),
            ("${A B}", "does not name a variable"),
        ];
        for (text, words) in expected {
            assert!(expanded(text).unwrap_err().contains(words), "{text}");
        }
    }

    #[test]
    fn expansion_is_bounded_over_the_whole_file() {
        let environment = [("BIG".to_owned(), "x".repeat(FILE_BYTES_MAX / 2))];
        let mut expander = Expander::new(&environment);
        assert!(expander.text("${BIG}").is_ok() && expander.text("${BIG}").is_ok());
        assert!(expander.text("${BIG}").unwrap_err().contains("more than"));
        assert!(Expander::new(&environment).text(&"${BIG}".repeat(10_000)).is_err());
    }
}
