//! The kinds of single values: how a node becomes a number, a time, a word or a checked text, what to say when it
//! cannot, and how the value is written back. Used by the table in `settings.rs`; no rule knows which key it reads.
//! Kinds of several values are in `lists.rs`.
use super::grammar::endpoint;
use super::mistakes::Report;
use super::table::{Rule, Word};
use super::yaml::{Form, Node, Value};
use std::fmt::Display;
use std::net::SocketAddr;

/// A whole number from the first to the second.
#[derive(Clone, Copy)]
pub(super) struct Whole(pub u64, pub u64);

impl Whole {
    /// Zero too, where it has a meaning of its own that the key's doc tells.
    pub fn or_zero(self) -> WholeOrZero {
        WholeOrZero(self)
    }

    fn number(self, node: &Node, key: &str, zero: bool, report: &mut Report) -> Option<u64> {
        let must = || format!("{} to {}", self.0, self.1);
        let digits = match &node.value {
            Value::Broken => return None,
            Value::Scalar(text, Form::Plain | Form::Bare) => text.strip_prefix('-').unwrap_or(text),
            Value::Scalar(text, Form::Quoted) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                report.refuse(node, key, "a number without quotes");
                return None;
            }
            _ => "",
        };
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            report.refuse(node, key, format_args!("a whole number, {}", must()));
            return None;
        }
        if digits.len() > 1 && digits.starts_with('0') {
            report.refuse(node, key, "a whole number without leading zeros");
            return None;
        }
        let negative = matches!(&node.value, Value::Scalar(text, _) if text.starts_with('-'));
        let number = digits.parse::<u64>().ok().filter(|number| !negative || *number == 0);
        let allowed = number.filter(|n| (self.0..=self.1).contains(n) || (zero && *n == 0));
        if allowed.is_none() {
            report.refuse(node, key, must());
        }
        allowed
    }
}

impl<T: TryFrom<u64> + Display> Rule<T> for Whole {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<T> {
        // A bound wider than the field's type is a slip in the table, which a test finds.
        self.number(node, key, false, report).and_then(|number| T::try_from(number).ok())
    }
    fn write(&self, value: &T) -> String {
        value.to_string()
    }
    fn describe(&self) -> String {
        format!("{} to {}", self.0, self.1)
    }
}

/// A whole number, or zero.
#[derive(Clone, Copy)]
pub(super) struct WholeOrZero(Whole);

impl<T: TryFrom<u64> + Display> Rule<T> for WholeOrZero {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<T> {
        self.0.number(node, key, true, report).and_then(|number| T::try_from(number).ok())
    }
    fn write(&self, value: &T) -> String {
        value.to_string()
    }
    fn describe(&self) -> String {
        format!("{} to {}, or 0", self.0.0, self.0.1)
    }
}

/// Seconds with up to three decimals, kept in milliseconds; the bounds are in milliseconds.
#[derive(Clone, Copy)]
pub(super) struct Seconds(pub u64, pub u64);

impl Rule<u64> for Seconds {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<u64> {
        let text = match &node.value {
            Value::Broken => return None,
            Value::Scalar(text, Form::Plain | Form::Bare) => text,
            _ => "",
        };
        let value = milliseconds(text).filter(|ms| (self.0..=self.1).contains(ms));
        if value.is_none() {
            report.refuse(node, key, Rule::<u64>::describe(self));
        }
        value
    }
    fn write(&self, value: &u64) -> String {
        seconds(*value)
    }
    fn describe(&self) -> String {
        format!("{} to {} seconds", seconds(self.0), seconds(self.1))
    }
}

/// `12.5` to 12500; at most three decimals, so that nothing is rounded.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
        return None;
    }
    let thousandths = format!("{decimals:0<3}").parse::<u64>().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(1_000)?.checked_add(thousandths)
}

fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// true or false, and the other ways in which people write them.
#[derive(Clone, Copy)]
pub(super) struct Flag;

impl Rule<bool> for Flag {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<bool> {
        let word = match &node.value {
            Value::Broken => return None,
            Value::Scalar(text, Form::Plain | Form::Bare) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        let value = match word.as_str() {
            "true" | "yes" | "on" | "1" => Some(true),
            "false" | "no" | "off" | "0" => Some(false),
            _ => None,
        };
        if value.is_none() {
            report.refuse(node, key, "true or false");
        }
        value
    }
    fn write(&self, value: &bool) -> String {
        value.to_string()
    }
    fn describe(&self) -> String {
        "true or false".to_owned()
    }
}

/// Tells what a text must be when it is not that.
pub(super) type Check = fn(&str) -> Result<(), &'static str>;

/// One text that passes a check.
#[derive(Clone, Copy)]
pub(super) struct Text(pub Check);

impl Rule<String> for Text {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<String> {
        match &node.value {
            Value::Broken => None,
            Value::Scalar(text, _) => match (self.0)(text) {
                Ok(()) => Some(text.clone()),
                Err(must) => {
                    report.refuse(node, key, must);
                    None
                }
            },
            Value::Null | Value::List(_) | Value::Map(_) => {
                report.refuse(node, key, "a text");
                None
            }
        }
    }
    fn write(&self, value: &String) -> String {
        quoted(value)
    }
    fn describe(&self) -> String {
        String::new()
    }
}

/// An IP address, or localhost, with a port.
#[derive(Clone, Copy)]
pub(super) struct Endpoint;

impl Rule<SocketAddr> for Endpoint {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<SocketAddr> {
        let address = match &node.value {
            Value::Broken => return None,
            Value::Scalar(text, _) => endpoint(text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        };
        if address.is_none() {
            report.refuse(node, key, self.describe());
        }
        address
    }
    fn write(&self, value: &SocketAddr) -> String {
        quoted(&value.to_string())
    }
    fn describe(&self) -> String {
        "an IP address or localhost with a port, such as 127.0.0.1:9090 or [::1]:9090".to_owned()
    }
}

/// A YAML double-quoted scalar that stands for the text in a settings file, where `${` must not be expanded; JSON's
/// escapes are a part of YAML's (YAML 1.2 section 7.3.1).
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text.replace("${", "$${")).to_string()
}

/// One word of a closed list.
#[derive(Clone, Copy)]
pub(super) struct OneOf;

impl<T: Word> Rule<T> for OneOf {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<T> {
        let word = match &node.value {
            Value::Broken => return None,
            Value::Scalar(text, _) => text.to_ascii_lowercase(),
            _ => String::new(),
        };
        let found = T::WORDS.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
        if T::LATER.contains(&word.as_str()) {
            report.add(node.at, key, format_args!("{word} is not built yet; so far: {}", words::<T>()));
        } else if found.is_none() {
            report.refuse(node, key, words::<T>());
        }
        found
    }
    fn write(&self, value: &T) -> String {
        let word = T::WORDS.iter().find(|(_, candidate)| candidate == value).map_or("", |(name, _)| name);
        // `off` is false to YAML 1.1 readers, so that tools which rewrite the file would change it.
        if word == "off" { quoted(word) } else { word.to_owned() }
    }
    fn describe(&self) -> String {
        let later = T::LATER.join(" or ");
        let built = words::<T>();
        if later.is_empty() { built } else { format!("{built}; not built yet: {later}") }
    }
}

/// "a, b or c", each value by its first word.
fn words<T: Word>() -> String {
    let mut names: Vec<&str> = Vec::new();
    for (i, (name, value)) in T::WORDS.iter().enumerate() {
        if T::WORDS[..i].iter().all(|(_, earlier)| earlier != value) {
            names.push(name);
        }
    }
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// A value that may be left out of the section it belongs to.
#[derive(Clone, Copy)]
pub(super) struct Maybe<R>(pub R);

impl<T, R: Rule<T>> Rule<Option<T>> for Maybe<R> {
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<Option<T>> {
        self.0.read(node, key, report).map(Some)
    }
    fn write(&self, value: &Option<T>) -> String {
        value.as_ref().map(|value| self.0.write(value)).unwrap_or_default()
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
}

#[cfg(test)]
mod tests {
    use super::super::mistakes::{At, Source};
    use super::*;

    #[test]
    fn seconds_keep_three_decimals_exactly() {
        let expected =
            [("0", 0), ("2.5", 2_500), ("0.001", 1), ("1.05", 1_050), ("007", 7_000), ("3600", 3_600_000)];
        for (text, ms) in expected {
            assert_eq!(milliseconds(text), Some(ms), "{text}");
            assert_eq!(milliseconds(&seconds(ms)), Some(ms), "{text}");
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "1.2345",
            "-1",
            "+1",
            "1e3",
            "1 ",
            "1s",
            "٣",
            "99999999999999999999",
            "18446744073709551615",
        ] {
            assert_eq!(milliseconds(text), None, "{text}");
        }
    }

    #[test]
    fn number_is_digits_and_nothing_else() {
        let read = |text: &str, form| {
            let node = Node { at: At::default(), value: Value::Scalar(text.to_owned(), form) };
            Rule::<u16>::read(
                &Whole(1, 65_535).or_zero(),
                &node,
                "k",
                &mut Report::new(Source::Flag("k".to_owned())),
            )
        };
        for (text, number) in [("0", 0), ("1", 1), ("65535", 65_535)] {
            assert_eq!(read(text, Form::Plain), Some(number));
            assert_eq!(read(text, Form::Quoted), None);
        }
        for text in ["", "-", "-1", "+1", "1.0", "0x10", "1_000", "010", "65536", "99999999999999999999", "१"]
        {
            assert_eq!(read(text, Form::Bare), None, "{text}");
        }
    }
}
