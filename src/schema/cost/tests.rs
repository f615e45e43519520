//! Which schemas pass and which are refused, and that the validator's work bears it out: counted in looks at values, on
//! events as deep as events may be.

use super::*;
use crate::event::Facts;
use crate::schema::reading::looks;
use crate::schema::{Mode, Policy, Schemas, Source, Verdict};
use serde_json::json;
use std::sync::Arc;

fn refused(schema: &Value) -> Option<(String, String)> {
    judge(schema).err()
}

/// Schemas that refer back to themselves, and look at each value a bounded number of times.
fn harmless() -> Vec<Value> {
    let tree = json!({ "$id": "https://x.test/tree", "$dynamicAnchor": "node", "type": "object",
        "properties": { "v": true, "a": { "$dynamicRef": "#node" } } });
    vec![
        json!({ "properties": { "a": { "$ref": "#" } } }),
        json!({ "properties": { "a": { "items": { "$ref": "#" } }, "b": { "$ref": "#" } }, "required": ["v"] }),
        json!({ "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" }, "v": { "type": "integer" } } }),
        json!({ "properties": { "a": { "$ref": "#" } }, "patternProperties": { "^x-": { "$ref": "#" } } }),
        json!({ "properties": { "v": { "type": "integer" } }, "additionalProperties": { "$ref": "#" } }),
        json!({ "anyOf": [{ "type": "string" }, { "items": { "$ref": "#" } },
            { "additionalProperties": { "$ref": "#" } }] }),
        json!({ "$ref": "#/$defs/n", "$defs": { "n": { "oneOf": [{ "type": "integer" },
            { "properties": { "a": { "$ref": "#/$defs/n" }, "v": { "type": "string" } }, "type": "object" }] } } }),
        json!({ "prefixItems": [{ "$ref": "#" }, { "$ref": "#" }], "items": { "$ref": "#" },
            "properties": { "a": { "$ref": "#" } } }),
        json!({ "$ref": "#/$defs/a", "$defs": { "a": { "properties": { "a": { "$ref": "#/$defs/b" } } },
            "b": { "properties": { "a": { "$ref": "#/$defs/a" } }, "required": ["v"] } } }),
        json!({ "$anchor": "n", "allOf": [{ "$ref": "#" }], "properties": { "a": { "$ref": "#n" } } }),
        json!({ "$id": "https://x.test/strict", "$dynamicAnchor": "node", "$ref": "tree",
            "unevaluatedProperties": false, "$defs": { "tree": tree } }),
        json!({ "propertyNames": { "$ref": "#" }, "properties": { "a": { "$ref": "#" } } }),
        json!({ "properties": { "a": { "$ref": "https://json-schema.org/draft/2020-12/schema" } } }),
    ]
}

/// Schemas whose work multiplies with the depth of an event, each with the place that is told.
fn costly() -> Vec<(&'static str, Value)> {
    let twice = json!([{ "$ref": "#" }, { "$ref": "#" }]);
    vec![
        ("/properties/a", json!({ "properties": { "a": { "allOf": twice } } })),
        ("/properties/a", json!({ "properties": { "a": { "anyOf": twice, "required": ["v"] } } })),
        ("/properties/a", json!({ "properties": { "a": { "if": twice[0], "then": twice[1] } } })),
        ("/properties/a", json!({ "properties": { "a": { "not": twice[0], "$ref": "#" } } })),
        ("/items", json!({ "items": { "allOf": twice } })),
        (
            "/patternProperties/a",
            json!({ "properties": { "a": { "$ref": "#" } }, "additionalProperties": false,
            "patternProperties": { "a": { "$ref": "#" } } }),
        ),
        ("/contains", json!({ "items": { "$ref": "#" }, "contains": { "$ref": "#" } })),
        (
            "/allOf/0/properties/a",
            json!({ "allOf": [{ "properties": { "a": twice[0] } }, { "properties": { "a": twice[1] } }] }),
        ),
        (
            "/oneOf/0/properties/a",
            json!({ "oneOf": [{ "properties": { "op": { "const": "x" }, "a": { "$ref": "#" } } },
            { "properties": { "op": { "const": "y" }, "a": { "$ref": "#" } } }] }),
        ),
        (
            "/properties/a",
            json!({ "$dynamicAnchor": "n",
            "properties": { "a": { "allOf": [{ "$dynamicRef": "#n" }, { "$ref": "#" }] } } }),
        ),
        (
            "/$defs/a/properties/a",
            json!({ "$ref": "#/$defs/a", "$defs": {
            "a": { "properties": { "a": { "$ref": "#/$defs/b" } } },
            "b": { "allOf": [{ "$ref": "#/$defs/c" }, { "$ref": "#/$defs/a" }] },
            "c": { "$ref": "#/$defs/a" } } }),
        ),
        (
            "/anyOf/0/properties/a",
            json!({ "unevaluatedProperties": false, "anyOf": [{ "properties": { "a": { "$ref": "#" } } }] }),
        ),
    ]
}

#[test]
fn references_back_pass_while_each_value_is_looked_at_a_bounded_number_of_times() {
    for schema in harmless() {
        assert_eq!(refused(&schema), None, "{schema}");
    }
}

#[test]
fn references_that_multiply_with_depth_are_refused_with_the_place_and_the_references() {
    for (pointer, schema) in costly() {
        let (at, words) = refused(&schema).unwrap_or_else(|| panic!("taken: {schema}"));
        assert!(words.starts_with("leads back to itself"), "{schema}: {words}");
        assert_eq!(at, pointer, "{schema}: {words}");
    }
    let (_, words) = refused(&costly()[0].1).unwrap();
    assert!(words.contains("(/properties/a/allOf/0/$ref, /properties/a/allOf/1/$ref)"), "{words}");
    let (_, words) = refused(&costly()[10].1).unwrap();
    assert!(words.contains("(/$defs/b/allOf/0/$ref, /$defs/b/allOf/1/$ref)"), "{words}");
    let (_, words) = refused(&costly()[7].1).unwrap();
    assert!(words.contains("(/allOf/0/properties/a/$ref, /allOf/1/properties/a/$ref)"), "{words}");
}

/// Neither doubles alone, but a value four levels down may be come to by all the ways to change from one to the next.
#[test]
fn chains_of_turning_parts_are_counted() {
    let link = |n: usize| {
        let both = json!([{ "$ref": format!("#/$defs/d{n}") }, { "$ref": format!("#/$defs/d{}", n + 1) }]);
        (format!("d{n}"), json!({ "properties": { "a": { "allOf": both } } }))
    };
    let chain = |long: usize| {
        let mut defs: serde_json::Map<String, Value> = (0..long).map(link).collect();
        defs.insert(format!("d{long}"), json!({ "type": "object" }));
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    };
    assert_eq!(refused(&chain(2)), None);
    assert!(refused(&chain(5)).unwrap().1.starts_with("can look at one value"));
}

#[test]
fn what_asks_again_for_unevaluated_ones_is_counted() {
    let nested = |deep: usize| {
        (0..deep).fold(
            json!({ "type": "object" }),
            |inner, _| json!({ "anyOf": [inner], "unevaluatedProperties": false }),
        )
    };
    assert_eq!(refused(&nested(3)), None);
    assert!(refused(&nested(25)).is_some());
}

#[test]
fn calls_that_no_stack_holds_are_refused() {
    let chain: serde_json::Map<String, Value> =
        (0..200).map(|n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }))).collect();
    let mut schema = json!({ "$ref": "#/$defs/d0", "$defs": chain });
    schema["$defs"]["d200"] = json!({ "properties": { "a": { "$ref": "#" } } });
    assert!(refused(&schema).unwrap().1.starts_with("nests too deep"));
    let mut slow = json!({ "$ref": "#/$defs/d180", "$defs": chain });
    slow["$defs"]["d200"] = json!({ "properties": { "a": { "$ref": "#/$defs/d180" } } });
    assert!(refused(&slow).unwrap().1.starts_with("nests too deep"));
}

/// As many calls within each other as pass, on three quarters of the stack that a shard has.
#[test]
fn calls_that_pass_fit_the_stack_of_a_shard() {
    let turning = |links: usize| {
        let link = |n| json!({ "oneOf": [{ "$ref": format!("#/$defs/d{}", n + 1) }, false] });
        let mut defs: serde_json::Map<String, Value> =
            (0..links).map(|n| (format!("d{n}"), link(n))).collect();
        let end = json!({ "type": ["object", "array"], "properties": { "a": { "$ref": "#" } } });
        defs.insert(format!("d{links}"), end);
        json!({ "$ref": "#/$defs/d0", "$defs": defs })
    };
    assert!(refused(&turning(8)).unwrap().1.starts_with("nests too deep"));
    let schema = turning(2);
    assert_eq!(refused(&schema), None);
    let shard = std::thread::Builder::new().stack_size(3 << 19);
    assert!(shard.spawn(move || work(&schema, 128)).unwrap().join().unwrap() > 1_000);
}

#[test]
fn wide_schemas_pass() {
    let wide: serde_json::Map<String, Value> =
        (0..500).map(|n| (format!("p{n}"), json!({ "$ref": "#/$defs/big" }))).collect();
    let big: serde_json::Map<String, Value> =
        (0..500).map(|n| (format!("q{n}"), json!({ "type": "integer" }))).collect();
    assert_eq!(refused(&json!({ "properties": wide, "$defs": { "big": { "properties": big } } })), None);
}

/// An event of type `mine` with `deep` levels, below each name and in lists, whose deepest value no schema of these
/// likes.
fn events(deep: usize) -> Vec<String> {
    let nest = |open: &str, close: &str, levels: usize| {
        format!(r#"{{"type":"mine","v":1,"a":{}"no"{}}}"#, open.repeat(levels), close.repeat(levels))
    };
    vec![
        nest(r#"{"op":"y","v":1,"a":"#, "}", deep - 2),
        nest("[", "]", deep - 2),
        nest(r#"[{"v":1,"a":"#, "}]", deep / 2 - 1),
        nest(r#"{"b":1,"allOf":[{}],"a":"#, "}", deep - 4),
    ]
}

/// The most looks that one event of a depth takes, once compiled.
fn work(schema: &Value, deep: usize) -> u64 {
    let form = |part: &Value| crate::schema::form::Form {
        validator: crate::schema::compile::build(part).unwrap(),
        channels: Arc::new([]),
        named: crate::schema::form::named(part),
        file: "mine.json".into(),
    };
    let forms = crate::schema::form::split(schema).iter().map(form).collect();
    let schemas = Schemas {
        by_kind: [("mine".to_owned(), crate::schema::Described { description: String::new(), forms })]
            .into_iter()
            .collect(),
        supported: String::new(),
    };
    let policy = Policy { mode: Mode::Strict, channels: Vec::new(), schemas: Arc::new(schemas) };
    let judged = events(deep).into_iter().map(|event| {
        looks::taken();
        let facts = Facts::read(&event).unwrap();
        assert_ne!(policy.check("a", &event, &facts), Verdict::Unchecked);
        looks::taken()
    });
    judged.max().unwrap()
}

#[test]
fn what_passes_costs_no_more_than_the_square_of_the_depth() {
    for schema in harmless() {
        let (half, whole) = (work(&schema, 64), work(&schema, 128));
        assert!(whole <= 5 * half && whole < 1_000_000, "{half} and {whole} looks: {schema}");
    }
}

/// The measure would see it: what is refused multiplies with a few levels more.
#[test]
fn what_is_refused_would_double_with_each_level() {
    let all: Vec<(u64, u64)> =
        costly().iter().map(|(_, schema)| (work(schema, 12), work(schema, 16))).collect();
    assert!(all.iter().filter(|(few, more)| *more > 8 * few).count() >= 3, "{all:?}");
}

#[test]
fn the_judgement_itself_is_bounded() {
    let many: Vec<Value> = (0..300).map(|n| json!({ "$ref": format!("#/$defs/d{n}") })).collect();
    let defs: serde_json::Map<String, Value> =
        (0..300).map(|n| (format!("d{n}"), json!({ "allOf": many }))).collect();
    assert!(refused(&json!({ "allOf": many, "$defs": defs })).is_some());
    let source =
        |text: &str| Source { name: "mine.json".to_owned(), kind: "mine".to_owned(), text: text.to_owned() };
    let flat = format!(r#"{{"allOf":[{}]}}"#, vec!["{}"; 80_000].join(","));
    assert!(Schemas::of_file(&source(&flat)).is_ok());
}
