//! Many publishes in one request (contract 3.2): a JSON array or NDJSON goes in, one text per item comes out, and the
//! results are put together in order however they arrive. What an item says is admission's business.

use super::Refusal;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::fmt;

/// Items of one batch. Each may wait for another shard, and its answer is about 200 bytes: 2 MB of answers at most,
/// some milliseconds of work.
pub const ITEMS_MAX: usize = 10_000;

/// What lines of JSON are called.
const NDJSON: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// The texts of the items, in order; a refusal where one is not even text.
#[derive(Debug)]
pub struct Items<'b>(Source<'b>);

#[derive(Debug)]
enum Source<'b> {
    Array(std::vec::IntoIter<&'b RawValue>),
    /// Lines to come, and how many of them are items.
    Lines(&'b [u8], usize),
}

/// Takes a body apart: by its type, `application/x-ndjson` (also `ndjson`, `jsonl`) or `application/json`, else by its
/// first byte.
///
/// # Errors
/// 400 when the body is no array and no lines of objects, or holds more than [`ITEMS_MAX`] items.
pub fn items<'b>(content_type: Option<&str>, body: &'b [u8]) -> Result<Items<'b>, Refusal> {
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    let media =
        content_type.map(|text| text.split(';').next().unwrap_or_default().trim()).unwrap_or_default();
    let is = |known: &&str| known.eq_ignore_ascii_case(media);
    if NDJSON.iter().any(is) || (first == Some(&b'{') && !is(&"application/json")) {
        return lines(body);
    }
    if first == Some(&b'[') {
        return array(body);
    }
    serde_json::from_slice::<serde::de::IgnoredAny>(body).map_err(|error| invalid_json(&error))?;
    Err(Refusal::new(400, "Invalid request", "The body must be a JSON array, or one JSON object per line")
        .at("", "must be an array"))
}

/// As [`items`], where only an array will do.
///
/// # Errors
/// As [`items`].
pub fn array(body: &[u8]) -> Result<Items<'_>, Refusal> {
    let list: List<'_> = serde_json::from_slice(body).map_err(|error| match error.classify() {
        Category::Data if error.to_string().starts_with(TOO_MANY) => too_many(),
        Category::Data => {
            Refusal::new(400, "Invalid request", "The body must be a JSON array").at("", "must be an array")
        }
        _ => invalid_json(&error),
    })?;
    Ok(Items(Source::Array(list.0.into_iter())))
}

fn lines(body: &[u8]) -> Result<Items<'_>, Refusal> {
    let count = body.split(|byte| *byte == b'\n').filter(|line| !is_blank(line)).count();
    if count > ITEMS_MAX { Err(too_many()) } else { Ok(Items(Source::Lines(body, count))) }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

impl<'b> Iterator for Items<'b> {
    type Item = Result<&'b str, Refusal>;

    fn next(&mut self) -> Option<Result<&'b str, Refusal>> {
        match &mut self.0 {
            Source::Array(items) => items.next().map(|item| Ok(item.get())),
            Source::Lines(rest, left) => loop {
                let end = rest.iter().position(|byte| *byte == b'\n');
                let line = &rest[..end.unwrap_or(rest.len())];
                *rest = end.map_or(&[], |end| &rest[end + 1..]);
                if !is_blank(line) {
                    *left -= 1;
                    return Some(std::str::from_utf8(line).map_err(|_| not_utf8()));
                }
                if rest.is_empty() {
                    return None;
                }
            },
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Source::Array(items) => items.len(),
            Source::Lines(_, left) => *left,
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Items<'_> {}

/// An array's items, unread.
struct List<'b>(Vec<&'b RawValue>);

/// How the reader's own word for it begins.
const TOO_MANY: &str = "too many items";

impl<'de> Deserialize<'de> for List<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<List<'de>, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = List<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<List<'de>, A::Error> {
                let mut list = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if list.len() == ITEMS_MAX {
                        return Err(serde::de::Error::custom(TOO_MANY));
                    }
                    list.push(item);
                }
                Ok(List(list))
            }
        }
        deserializer.deserialize_seq(Reader)
    }
}

fn too_many() -> Refusal {
    let why = format!("at most {ITEMS_MAX} items");
    Refusal::new(400, "Batch too large", format!("A batch holds {why}"))
        .fact("max_items", ITEMS_MAX)
        .at("", &why)
}

fn invalid_json(error: &serde_json::Error) -> Refusal {
    Refusal::new(400, "Invalid JSON", format!("The body is not valid JSON: {error}"))
}

fn not_utf8() -> Refusal {
    Refusal::new(400, "Invalid JSON", "The line is not UTF-8")
}

/// The idempotency key of one item of a batch that came with a key.
pub fn key_of_item(key: &str, item: usize) -> String {
    format!("{key}/{item}")
}

/// The result of an item that was refused.
pub fn refused(refusal: &Refusal) -> Vec<u8> {
    let mut detail = refusal.facts.clone();
    detail.insert("error".to_owned(), Value::from(refusal.error));
    detail.insert("message".to_owned(), Value::from(refusal.message.as_str()));
    json!({ "status": "error", "code": refusal.status, "detail": detail }).to_string().into_bytes()
}

/// The results of a batch, which may come in any order.
#[derive(Debug)]
pub struct Results {
    parts: Vec<Option<Box<[u8]>>>,
    waiting: usize,
}

impl Results {
    /// For so many items.
    pub fn new(items: usize) -> Results {
        Results { parts: vec![None; items], waiting: items }
    }

    /// Takes the result of an item: the answer of a publish, or [`refused`]. The first one counts.
    pub fn put(&mut self, item: usize, result: &[u8]) {
        if let Some(part @ None) = self.parts.get_mut(item) {
            *part = Some(result.into());
            self.waiting -= 1;
        }
    }

    /// Whether every item has its result.
    pub fn is_complete(&self) -> bool {
        self.waiting == 0
    }

    /// The whole answer: a JSON array in the order of the items.
    pub fn body(&self) -> Vec<u8> {
        let bytes: usize = self.parts.iter().flatten().map(|part| part.len() + 1).sum();
        let mut body = Vec::with_capacity(bytes + 2);
        body.push(b'[');
        for (at, part) in self.parts.iter().flatten().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            body.extend_from_slice(part);
        }
        body.push(b']');
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(content_type: Option<&str>, body: &str) -> Vec<String> {
        let items = items(content_type, body.as_bytes()).unwrap();
        let count = items.len();
        let texts: Vec<String> = items.map(|item| item.unwrap().trim().to_owned()).collect();
        assert_eq!(texts.len(), count);
        texts
    }

    fn error(content_type: Option<&str>, body: &str) -> &'static str {
        let refusal = items(content_type, body.as_bytes()).unwrap_err();
        assert_eq!(refusal.status, 400);
        refusal.error
    }

    #[test]
    fn arrays_and_lines_give_each_item_as_it_stands() {
        assert_eq!(texts(None, r#" [ {"a" : 1}, 5 ,[{}]] "#), [r#"{"a" : 1}"#, "5", "[{}]"]);
        assert_eq!(texts(None, "{\"a\":1}\r\n\n  \n{b\n{\"c\":3}\n"), [r#"{"a":1}"#, "{b", r#"{"c":3}"#]);
        assert_eq!(texts(Some("application/x-ndjson; charset=utf-8"), "5\n[6]"), ["5", "[6]"]);
        assert_eq!(texts(Some("Application/JSON"), "[]"), Vec::<String>::new());
        assert_eq!(texts(Some("application/x-ndjson"), "\n\n"), Vec::<String>::new());
    }

    #[test]
    fn what_is_no_batch_says_why() {
        assert_eq!(error(None, ""), "Invalid JSON");
        assert_eq!(error(None, "[{]"), "Invalid JSON");
        assert_eq!(error(None, "[1] 2"), "Invalid JSON");
        assert_eq!(error(None, "5"), "Invalid request");
        assert_eq!(error(Some("Application/JSON"), "{}"), "Invalid request");
        assert_eq!(array(b"{}").unwrap_err().error, "Invalid request");
    }

    #[test]
    fn a_line_that_is_not_text_is_refused_alone() {
        let mut items = items(None, b"{}\n\xff\n{}").unwrap();
        assert_eq!(items.len(), 3);
        assert!(items.next().unwrap().is_ok() && items.next().unwrap().is_err());
        assert!(items.next().unwrap().is_ok() && items.next().is_none());
    }

    #[test]
    fn the_number_of_items_is_bounded_to_the_item() {
        let array = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(texts(None, &array(ITEMS_MAX)).len(), ITEMS_MAX);
        assert_eq!(error(None, &array(ITEMS_MAX + 1)), "Batch too large");
        assert_eq!(texts(None, &"{}\n".repeat(ITEMS_MAX)).len(), ITEMS_MAX);
        assert_eq!(error(None, &"{}\n".repeat(ITEMS_MAX + 1)), "Batch too large");
    }

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let mut results = Results::new(3);
        results.put(2, b"3");
        results.put(0, &refused(&Refusal::new(400, "Bad", "It is bad").at("/x", "no")));
        assert!(!results.is_complete());
        results.put(2, b"4");
        results.put(1, b"{}");
        assert!(results.is_complete());
        let body: Value = serde_json::from_slice(&results.body()).unwrap();
        assert_eq!(
            body,
            json!([{ "status": "error", "code": 400, "detail": { "error": "Bad", "message": "It is bad",
                     "validation_errors": [{ "field": "/x", "message": "no" }] } }, {}, 3])
        );
        assert_eq!(Results::new(0).body(), b"[]");
        assert!(Results::new(0).is_complete());
    }
}
