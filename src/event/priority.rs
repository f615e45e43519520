//! How urgent an event is: 1 to 10, some with names (contract 6). Most are NORMAL, and only others cost anything.

use serde_json::Value;
use std::fmt;

/// From 1, the least urgent, to 10. The higher goes first wherever a queue forms.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

/// The names, for messages about them.
pub const PRIORITY_NAMES: [(&str, Priority); 6] = [
    ("LOWEST", Priority(1)),
    ("LOW", Priority(3)),
    ("NORMAL", Priority(5)),
    ("HIGH", Priority(7)),
    ("CRITICAL", Priority(9)),
    ("SYSTEM", Priority(10)),
];

impl Priority {
    /// Of an event that says nothing.
    pub const NORMAL: Priority = Priority(5);

    /// A number from 1 to 10.
    pub fn new(number: u64) -> Option<Priority> {
        (1..=10).contains(&number).then_some(Priority(number as u8))
    }

    /// A JSON number from 1 to 10, or a name in any case.
    pub fn parse(value: &Value) -> Option<Priority> {
        match value {
            Value::String(name) => Priority::named(name),
            number => number.as_f64().filter(|n| n.fract() == 0.0).and_then(|n| Priority::new(n as u64)),
        }
    }

    /// A name in any case.
    pub fn named(name: &str) -> Option<Priority> {
        PRIORITY_NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, priority)| *priority)
    }

    /// As a query writes it: a name or digits.
    pub fn word(word: &str) -> Option<Priority> {
        Priority::named(word).or_else(|| Priority::new(word.parse().ok()?))
    }

    /// 1 to 10.
    pub fn number(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Priority {
        Priority::NORMAL
    }
}

impl fmt::Debug for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_and_names_are_read_and_nothing_else() {
        for (value, number) in
            [(json!(1), 1), (json!(10), 10), (json!(4.0), 4), (json!("high"), 7), (json!("SYSTEM"), 10)]
        {
            assert_eq!(Priority::parse(&value).map(Priority::number), Some(number), "{value}");
        }
        for value in
            [json!(0), json!(11), json!(-1), json!(5.5), json!("7"), json!("urgent"), json!(null), json!([5])]
        {
            assert_eq!(Priority::parse(&value), None, "{value}");
        }
        assert_eq!((Priority::word("7"), Priority::word("Low")), (Priority::new(7), Priority::new(3)));
        assert_eq!((Priority::word("0"), Priority::word("")), (None, None));
    }
}
