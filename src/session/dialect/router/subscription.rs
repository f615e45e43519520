//! The router's subscriptions (`sources.md` 2.4): topics, of which one must match, and a filter.

use super::super::forms;
use super::super::uuid::{is_uuid, random_uuid, uuid_text};
use super::{TYPES, acks};
use crate::event::{Channel, Pattern};
use crate::session::command::{
    Context, Fault, Fields, PriorityMode, Ref, Subscribe, Target, cut, read_filter,
};
use crate::session::query::Start;

const NAMES: [&str; 12] = [
    "id",
    "topics",
    "types",
    "priorities",
    "priority_mode",
    "sources",
    "since",
    "after",
    "ack",
    "max_retries",
    "retry_delay",
    "timeout",
];

/// Reads a subscription; without one, it is to everything. What else is in it (`batch_size`) changes
/// nothing, and no more do the retry fields without `ack`.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn read(json: Option<&str>, context: &mut Context<'_>) -> Result<Subscribe, String> {
    let fields = Fields::read(json.unwrap_or("{}"), &NAMES).map_err(|_| "subscription must be an object")?;
    let fault = |fault: Fault| fault.0;
    if let Some(field) = ["since", "after"].into_iter().find(|field| fields.raw(field).is_some()) {
        return Err(format!("{field} is not available here: topics have no positions in this dialect"));
    }
    let types = fields.strings("types", TYPES.len()).map_err(fault)?;
    if let Some(unknown) = types.iter().find(|kind| !TYPES.contains(&&***kind)) {
        return Err(format!("'{}' is not a valid EventType", cut(unknown)));
    }
    let mode = match fields.string("priority_mode").map_err(fault)?.as_deref() {
        None | Some("floor") => PriorityMode::Floor,
        Some("exact") => PriorityMode::Exact,
        Some(_) => return Err("priority_mode must be floor or exact".to_owned()),
    };
    let id = fields.string("id").map_err(fault)?.filter(|id| is_uuid(id));
    let topics = fields.strings("topics", context.topics_max).map_err(fault)?;
    let acks = acks::wish(&fields).map_err(fault)?;
    Ok(Subscribe {
        reference: Ref::default(),
        id: id.map_or_else(|| uuid_text(&random_uuid(context.draw)).into(), |id| id.into()),
        targets: targets(topics.iter().map(|topic| &**topic)),
        filter: read_filter(&fields, mode).map_err(fault)?,
        from: Start::Live,
        form: if acks.is_some() { forms::ROUTER_ACKED } else { forms::ROUTER },
        acks,
        topics: fields.raw("topics").unwrap_or("[\"*\"]").into(),
    })
}

/// What to listen to for these topics; no topic at all is every one. A topic that no channel can have, such as
/// `user*`, is let through and matches nothing.
fn targets<'s>(topics: impl Iterator<Item = &'s str>) -> Vec<Target> {
    let mut given = false;
    let mut patterns: Vec<Pattern> = Vec::new();
    for topic in topics {
        given = true;
        let Ok(pattern) = Pattern::parse(topic) else { continue };
        if patterns.iter().any(|known| covers(known, &pattern)) {
            continue;
        }
        patterns.retain(|known| !covers(&pattern, known));
        patterns.push(pattern);
    }
    if !given {
        patterns.extend(Pattern::parse("*"));
    }
    let target = |pattern: Pattern| match Channel::parse(pattern.as_str()) {
        Ok(channel) => Target::Channel(channel),
        Err(_) => Target::Pattern(pattern),
    };
    patterns.into_iter().map(target).collect()
}

/// Whether every channel of `inner` is one of `outer`. A star in `inner` is a segment that only a star can meet.
fn covers(outer: &Pattern, inner: &Pattern) -> bool {
    let (endless, wide) = (inner.as_str().ends_with("**"), outer.as_str().ends_with("**"));
    outer.is_all() || !inner.is_all() && (wide || !endless) && outer.matches(inner.as_str())
}

#[cfg(test)]
mod tests {
    use super::super::subscribed;
    use super::*;
    use crate::event::{Filter, Priorities, Priority};
    use serde_json::{Value, json};

    const OWN_ID: &str = "01234567-89ab-CDEF-0123-456789abcdef";

    fn asked(subscription: Option<&str>) -> Result<Subscribe, String> {
        let mut draw = || u64::MAX;
        read(subscription, &mut Context { client_id: "c", unix_ms: 0, topics_max: 128, draw: &mut draw })
    }

    fn wish(subscription: &str) -> Subscribe {
        asked(Some(subscription)).unwrap()
    }

    fn said(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn targets_of(topics: &str) -> Vec<String> {
        let wish = wish(&format!(r#"{{"topics":{topics}}}"#));
        wish.targets.iter().map(|target| target.as_str().to_owned()).collect()
    }

    #[test]
    fn a_subscription_without_words_is_to_everything_and_gets_an_id_of_the_server() {
        for subscription in [None, Some("{}"), Some(r#"{"max_retries":3,"id":"x"}"#)] {
            let wish = asked(subscription).unwrap();
            assert!(matches!(&wish.targets[..], [Target::Pattern(all)] if all.is_all()));
            assert_eq!((wish.filter.as_ref(), wish.id.len(), wish.form), (None, 36, forms::ROUTER));
            assert!(wish.label().is_some());
            let answer = json!({"type":"subscribed","subscription_id":*wish.id,"topics":["*"]});
            assert_eq!(said(&subscribed(&wish)), answer);
        }
    }

    #[test]
    fn a_uuid_of_the_client_is_kept_and_its_topics_are_said_back() {
        let wish = wish(&format!(r#"{{"id":"{OWN_ID}","topics":["task.*","a.b"]}}"#));
        assert_eq!(wish.label().as_ref().map(uuid_text), Some(OWN_ID));
        assert_eq!(
            said(&subscribed(&wish)),
            json!({"type":"subscribed","subscription_id":OWN_ID,"topics":["task.*","a.b"]})
        );
        assert!(matches!(&wish.targets[..], [Target::Pattern(_), Target::Channel(_)]));
    }

    #[test]
    fn topics_match_as_the_original_matches_and_none_covers_another() {
        assert_eq!(targets_of("[]"), ["*"]);
        assert_eq!(targets_of(r#"["user*"]"#), [""; 0]);
        assert_eq!(targets_of(r#"["a b","","a"]"#), ["a"]);
        assert_eq!(targets_of(r#"["a.b","a.*","a.c","a.**","*.b"]"#), ["a.**", "*.b"]);
        assert_eq!(targets_of(r#"["a.*","a.**"]"#), ["a.**"]);
        assert_eq!(targets_of(r#"["a.**","a.*.c","a"]"#), ["a.**", "a"]);
        assert_eq!(targets_of(r#"["x","**","*"]"#), ["**"]);
        assert_eq!(targets_of(r#"["*.*","*","*.*.**"]"#), ["*"]);
    }

    #[test]
    fn the_least_priority_is_a_floor_unless_told_otherwise() {
        let of = |priorities| Filter::new(Vec::new(), priorities, Vec::new());
        let number = |n| Priority::new(n).unwrap();
        assert_eq!(wish(r#"{"priorities":[9,7]}"#).filter, of(Priorities::floor(number(7))));
        assert_eq!(wish(r#"{"priorities":["HIGH",2]}"#).filter, of(Priorities::floor(number(2))));
        let exact = r#"{"priorities":["HIGH",9],"priority_mode":"exact"}"#;
        assert_eq!(wish(exact).filter, of(Priorities::only([number(7), number(9)])));
        let types = wish(r#"{"types":["task.failed"],"sources":["a"]}"#).filter;
        assert_eq!(types, Filter::new(vec!["task.failed".into()], Priorities::ALL, vec!["a".into()]));
    }

    #[test]
    fn a_bad_subscription_is_told_and_nothing_is_made() {
        let topics = format!(r#"{{"topics":[{}"a"]}}"#, "\"a\",".repeat(10_000));
        for (subscription, words) in [
            ("7", "subscription must be an object"),
            (r#"{"types":["foo"]}"#, "'foo' is not a valid EventType"),
            (r#"{"topics":"a"}"#, "topics must be a list of strings"),
            (r#"{"topics":[1]}"#, "topics must be a list of strings"),
            (&topics, "topics has 10001 items, 128 are allowed"),
            (r#"{"priorities":[11]}"#, "11 is not a priority"),
            (r#"{"priority_mode":"most"}"#, "priority_mode must be floor or exact"),
        ] {
            assert_eq!(asked(Some(subscription)).unwrap_err(), words);
        }
        // A hundred stars make a topic that no channel is long enough for.
        assert_eq!(targets_of(&format!(r#"["{}"]"#, ["*"; 100].join("."))), [""; 0]);
    }
}
