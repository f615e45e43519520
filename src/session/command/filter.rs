//! The filter that a client writes into a subscription: `types`, `priorities` and `sources` (contract 9).

use super::fields::{Fault, Fields};
use crate::event::{Filter, Priorities, Priority};
use serde_json::Value;

/// The most words in one list of a filter: each may cost a comparison per event.
pub const FILTER_WORDS_MAX: usize = 128;

/// How a list of priorities is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriorityMode {
    /// Exactly these.
    Exact,
    /// The least of them and all above (`sources.md` 2.4).
    Floor,
}

/// Reads the three fields; `None` when they set no condition.
///
/// # Errors
/// [`Fault`] that names the field.
pub fn read_filter(fields: &Fields<'_>, mode: PriorityMode) -> Result<Option<Filter>, Fault> {
    let owned = |name: &str| -> Result<Vec<String>, Fault> {
        Ok(fields.strings(name, FILTER_WORDS_MAX)?.into_iter().map(|word| word.into_owned()).collect())
    };
    Ok(Filter::new(owned("types")?, priorities(fields.raw("priorities"), mode)?, owned("sources")?))
}

fn priorities(json: Option<&str>, mode: PriorityMode) -> Result<Priorities, Fault> {
    let Some(json) = json else { return Ok(Priorities::ALL) };
    let Ok(Value::Array(list)) = serde_json::from_str(json) else {
        return Err(Fault("priorities must be a list".to_owned()));
    };
    if list.len() > FILTER_WORDS_MAX {
        return Err(Fault(format!("priorities has {} items, {FILTER_WORDS_MAX} are allowed", list.len())));
    }
    let read = |value: &Value| {
        Priority::parse(value)
            .ok_or_else(|| Fault(format!("{} is not a priority", super::cut(&value.to_string()))))
    };
    let list = list.iter().map(read).collect::<Result<Vec<Priority>, Fault>>()?;
    Ok(match (mode, list.iter().min()) {
        (PriorityMode::Floor, Some(least)) => Priorities::floor(*least),
        _ => Priorities::only(list),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, mode: PriorityMode) -> Result<Option<Filter>, Fault> {
        read_filter(&Fields::read(text, &["types", "priorities", "sources"]).unwrap(), mode)
    }

    #[test]
    fn a_list_of_priorities_is_a_set_or_a_floor() {
        let of = |priorities| Filter::new(Vec::new(), priorities, Vec::new());
        let number = |n| Priority::new(n).unwrap();
        let text = r#"{"priorities":["high",9]}"#;
        assert_eq!(read(text, PriorityMode::Floor), Ok(of(Priorities::floor(number(7)))));
        assert_eq!(read(text, PriorityMode::Exact), Ok(of(Priorities::only([number(7), number(9)]))));
        for text in ["{}", r#"{"types":[],"priorities":[],"sources":null}"#] {
            assert_eq!(read(text, PriorityMode::Floor), Ok(None));
        }
    }

    #[test]
    fn faults_name_the_field() {
        let long = format!(r#"{{"types":[{}"a"]}}"#, r#""a","#.repeat(10_000));
        for (text, words) in [
            (r#"{"types":"a"}"#, "types must be a list of strings"),
            (r#"{"priorities":7}"#, "priorities must be a list"),
            (r#"{"priorities":[11]}"#, "11 is not a priority"),
            (r#"{"sources":[1]}"#, "sources must be a list of strings"),
            (&long, "types has 10001 items, 128 are allowed"),
        ] {
            assert_eq!(read(text, PriorityMode::Exact), Err(Fault(words.to_owned())), "{text}");
        }
    }
}
