//! Any schema file: it compiles, or every mistake is told in bounded words; what compiled judges events without a panic
//! and, because an input may take a few seconds, in bounded time, whatever refers to whatever. As bytes, and as keywords
//! put together so that most are schemas that refer to each other.
#![no_main]
use arbitrary::{Arbitrary, Unstructured};
use courier::event::Facts;
use courier::schema::{Mode, Policy, Schemas, Source, Verdict};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Ends the schema in an input of bytes; behind it stands an event.
const SEPARATOR: char = '\u{1}';
/// Schemas under `$defs` that references may name.
const DEFS: u8 = 4;

#[derive(Arbitrary, Debug)]
struct Drawn {
    whole: Vec<Keyword>,
    defs: Vec<Vec<Keyword>>,
}

#[derive(Arbitrary, Debug)]
enum Keyword {
    AllOf(Vec<Vec<Keyword>>),
    AnyOf(Vec<Vec<Keyword>>),
    OneOf(Vec<Vec<Keyword>>),
    Not(Vec<Keyword>),
    If(Vec<Keyword>, Vec<Keyword>, Vec<Keyword>),
    Properties(Vec<(Name, Vec<Keyword>)>),
    Patterns(Name, Vec<Keyword>),
    Additional(Vec<Keyword>),
    Names(Vec<Keyword>),
    Dependent(Name, Vec<Keyword>),
    Unevaluated(Option<Vec<Keyword>>),
    UnevaluatedItems(Option<Vec<Keyword>>),
    Items(Vec<Keyword>),
    Prefix(Vec<Vec<Keyword>>),
    Contains(Vec<Keyword>),
    Ref(u8),
    DynamicRef(u8),
    Anchor(u8),
    DynamicAnchor(u8),
    Id(u8),
    Type(u8),
    Required(Name),
    Const(u8),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
enum Name {
    A,
    B,
    Type,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Name::A => "a",
            Name::B => "b",
            Name::Type => "type",
        }
    }
}

fn schema(keywords: &[Keyword]) -> Value {
    let list = |items: &[Vec<Keyword>]| -> Value {
        if items.is_empty() { json!([true]) } else { items.iter().map(|item| schema(item)).collect() }
    };
    let open = |inner: &Option<Vec<Keyword>>| inner.as_ref().map_or(Value::Bool(false), |inner| schema(inner));
    let mut map = Map::new();
    for keyword in keywords {
        let (name, value) = match keyword {
            Keyword::AllOf(items) => ("allOf", list(items)),
            Keyword::AnyOf(items) => ("anyOf", list(items)),
            Keyword::OneOf(items) => ("oneOf", list(items)),
            Keyword::Not(inner) => ("not", schema(inner)),
            Keyword::If(asked, then, otherwise) => {
                map.insert("then".to_owned(), schema(then));
                map.insert("else".to_owned(), schema(otherwise));
                ("if", schema(asked))
            }
            Keyword::Properties(members) => {
                let members = members.iter().map(|(name, inner)| (name.text().to_owned(), schema(inner)));
                ("properties", Value::Object(members.collect()))
            }
            Keyword::Patterns(name, inner) => ("patternProperties", json!({ name.text(): schema(inner) })),
            Keyword::Additional(inner) => ("additionalProperties", schema(inner)),
            Keyword::Names(inner) => ("propertyNames", schema(inner)),
            Keyword::Dependent(name, inner) => ("dependentSchemas", json!({ name.text(): schema(inner) })),
            Keyword::Unevaluated(inner) => ("unevaluatedProperties", open(inner)),
            Keyword::UnevaluatedItems(inner) => ("unevaluatedItems", open(inner)),
            Keyword::Items(inner) => ("items", schema(inner)),
            Keyword::Prefix(items) => ("prefixItems", list(items)),
            Keyword::Contains(inner) => ("contains", schema(inner)),
            Keyword::Ref(to) => ("$ref", json!(place(*to))),
            Keyword::DynamicRef(to) => ("$dynamicRef", json!(format!("#n{}", to % 2))),
            Keyword::Anchor(name) => ("$anchor", json!(format!("n{}", name % 2))),
            Keyword::DynamicAnchor(name) => ("$dynamicAnchor", json!(format!("n{}", name % 2))),
            Keyword::Id(name) => ("$id", json!(format!("https://x.test/{}", name % 3))),
            Keyword::Type(kind) => {
                let kinds = ["object", "array", "string", "integer", "boolean", "null"];
                ("type", json!(kinds[usize::from(*kind) % kinds.len()]))
            }
            Keyword::Required(name) => ("required", json!([name.text()])),
            Keyword::Const(value) => ("const", json!(value)),
        };
        map.insert(name.to_owned(), value);
    }
    Value::Object(map)
}

fn place(to: u8) -> String {
    match to % 8 {
        0 => "#".to_owned(),
        at @ 1..=4 => format!("#/$defs/d{}", at - 1),
        5 => "#n0".to_owned(),
        6 => "https://x.test/0".to_owned(),
        _ => "https://x.test/1#/$defs/d0".to_owned(),
    }
}

fn drawn(data: &[u8]) -> Option<String> {
    let Drawn { whole, mut defs } = Drawn::arbitrary(&mut Unstructured::new(data)).ok()?;
    let mut schema_of_all = schema(&whole);
    defs.resize_with(usize::from(DEFS), Vec::new);
    let defs: Map<String, Value> =
        defs.iter().enumerate().map(|(at, inner)| (format!("d{at}"), schema(inner))).collect();
    schema_of_all["$defs"] = Value::Object(defs);
    Some(schema_of_all.to_string())
}

/// Events that turn in circles if a schema does.
fn events(own: &str) -> Vec<String> {
    let nested = |open: &str, close: &str, n: usize| {
        format!(r#"{{"type":"t","b":1,"a":{}1{}}}"#, open.repeat(n), close.repeat(n))
    };
    vec![
        own.to_owned(),
        nested("", "", 0),
        nested(r#"{"a":"#, "}", 124),
        nested(r#"{"b":[1],"a":"#, "}", 123),
        nested("[", "]", 124),
        nested(r#"[{"b":2,"a":"#, "}]", 62),
        r#"{"type":"t","a":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"}"#.to_owned(),
    ]
}

fn judge(text: &str, event: &str) {
    let source = Source { name: "fuzz.json".to_owned(), kind: "t".to_owned(), text: text.to_owned() };
    let schemas = match Schemas::of_file(&source) {
        Ok(schemas) => Arc::new(schemas),
        Err(mistakes) => {
            assert!(!mistakes.is_empty());
            return assert!(mistakes.iter().all(|mistake| mistake.words.chars().count() <= 201));
        }
    };
    let policy = Policy { mode: Mode::Strict, channels: Vec::new(), schemas };
    for event in events(event) {
        let Ok(mut facts) = Facts::read(&event) else { continue };
        facts.kind.0 = Some(policy.schemas.list()[0].0.to_owned().into());
        if let Verdict::Misfit(faults) = policy.check("a", &event, &facts) {
            assert!(faults.total >= faults.list.len() && !faults.list.is_empty());
        }
    }
}

// The first byte says which of the two.
fuzz_target!(|data: &[u8]| {
    let Some((way, data)) = data.split_first() else { return };
    if way % 4 > 0 {
        if let Some(text) = drawn(data) {
            judge(&text, "{}");
        }
        return;
    }
    let text = String::from_utf8_lossy(data);
    let (schema, event) = text.split_once(SEPARATOR).unwrap_or((&text, "{}"));
    judge(schema, event);
});
