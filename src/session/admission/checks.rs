//! What an event is held to that was read: the sizes of contract 14, and whom it says it comes from.

use super::{Limits, too_large};
use crate::event::Facts;
use crate::session::Refusal;
use serde_json::{Map, Value, json};

pub(super) fn check_sizes(event: &str, facts: &Facts<'_>, limits: &Limits) -> Result<(), Refusal> {
    let fits = event.len() <= limits.event_bytes_max
        && facts.data_bytes <= limits.payload_bytes_max
        && facts.metadata_bytes <= limits.metadata_bytes_max;
    if fits { Ok(()) } else { check_each_size(event, facts, limits) }
}

#[cold]
fn check_each_size(event: &str, facts: &Facts<'_>, limits: &Limits) -> Result<(), Refusal> {
    for (component, size, max) in [
        ("event", event.len(), limits.event_bytes_max),
        ("payload", facts.data_bytes, limits.payload_bytes_max),
        ("metadata", facts.metadata_bytes, limits.metadata_bytes_max),
    ] {
        if size > max {
            let mut refusal = too_large(component, size as u64, max);
            add_kind(&mut refusal.facts, facts);
            return Err(refusal);
        }
    }
    Ok(())
}

pub(super) fn check_source(facts: &Facts<'_>, service: Option<&str>) -> Result<(), Refusal> {
    let named = service.filter(|service| !service.is_empty());
    let Some(service) = named else { return Ok(()) };
    let sources = [&facts.source, &facts.second_source].into_iter().filter_map(|text| text.0.as_deref());
    sources
        .into_iter()
        .find(|source| *source != service)
        .map_or(Ok(()), |source| Err(mismatch(source, service, facts)))
}

#[cold]
fn mismatch(source: &str, service: &str, facts: &Facts<'_>) -> Refusal {
    let words = format!("Event source '{source}' does not match X-Service-Name header '{service}'");
    let mut refusal = Refusal::new(400, "Event source mismatch", words);
    add_kind(&mut refusal.facts, facts);
    refusal
}

fn add_kind(to: &mut Map<String, Value>, facts: &Facts<'_>) {
    to.insert("event_type".to_owned(), json!(facts.kind.0));
}
