//! Any event against the shipped schemas: the verdict is that of the same validator over serde_json's document, where
//! that can hold the event; faults are bounded and point into it; a timestamp is put where it stays JSON.
#![no_main]
use courier::event::Facts;
use courier::schema::{Mode, Policy, SHIPPED, Schemas, Verdict};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use std::sync::{Arc, LazyLock};

static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let schemas = Schemas::compile(&[]).unwrap_or_else(|mistakes| panic!("{}", mistakes[0]));
    Policy { mode: Mode::Strict, channels: Vec::new(), schemas: Arc::new(schemas) }
});

/// The second opinion: whole files, over documents of serde_json.
static NAIVE: LazyLock<Vec<jsonschema::Validator>> = LazyLock::new(|| {
    let naive = |(_, text): &(&str, &str)| {
        let schema: Value = serde_json::from_str(text).expect("JSON");
        let stamp = |text: &str| courier::event::unix_ms_since(text).is_some();
        jsonschema::options()
            .should_validate_formats(true)
            .with_format("courier-timestamp", stamp)
            .build(&schema)
            .expect("a schema")
    };
    SHIPPED.iter().map(naive).collect()
});

// The first byte picks the type; the rest is put behind it, so that most inputs are events of that type.
fuzz_target!(|data: &[u8]| {
    let Some((pick, rest)) = data.split_first() else { return };
    let at = usize::from(*pick) % SHIPPED.len();
    let kind = SHIPPED[at].0;
    let rest = String::from_utf8_lossy(rest);
    let text = match rest.strip_prefix('{') {
        Some(_) => rest.clone().into_owned(),
        None => format!(r#"{{"type":"{kind}",{rest}}}"#),
    };
    let Ok(mut facts) = Facts::read(&text) else { return };
    facts.kind.0 = Some(kind.into());
    let verdict = POLICY.check("a", &text, &facts);
    let repeated = matches!(&verdict, Verdict::Misfit(faults) if faults.list[0].message == "is said twice");
    match &verdict {
        Verdict::Fits { stamp: Some(place) } => {
            let comma = if place.alone { "" } else { "," };
            let (before, behind) = text.split_at(place.at);
            let stamped = format!("{before}\"timestamp\":\"2026-11-21T14:36:15.123Z\"{comma}{behind}");
            let facts = Facts::read(&stamped).expect("JSON still");
            assert_eq!(facts.timestamp.0.as_deref(), Some("2026-11-21T14:36:15.123Z"), "{stamped}");
        }
        Verdict::Fits { .. } => {}
        Verdict::Misfit(faults) => {
            assert!(!faults.list.is_empty() && faults.list.len() <= 100 && faults.total >= faults.list.len());
        }
        other => panic!("{other:?}"),
    }
    let Ok(document) = serde_json::from_str::<Value>(&text) else { return };
    if !repeated {
        let fits = matches!(verdict, Verdict::Fits { .. });
        assert_eq!(fits, NAIVE[at].is_valid(&document), "{kind}: {text}: {verdict:?}");
    }
});
