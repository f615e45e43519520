//! What one event can cost at most, told from the schema alone, before any event comes: how often the parts of a schema
//! look at one value and at what it stands in, and how deep they call each other on the way. A schema that refers back
//! to itself is fine while each value is looked at a bounded number of times, as in a tree of any shape; one that refers
//! back twice for the same value doubles with each level of the event, and is refused.
//!
//! A schema is a graph of parts. Steps *here* (`allOf`, `$ref`) stay at the value, steps *below* go to a member or an
//! item. All ways that stay at one value are counted one by one, as the validator goes them; of the steps below, only
//! those that can lead to the same member or item add up. What comes out is never less than what an event can cost.

mod culprit;
mod graph;
mod walks;

use graph::Graph;
use serde_json::Value;
use std::collections::HashMap;
use walks::{Beyond, Stay, stay};

/// How often parts of a schema may look at the values along one way into an event, and so at any one value: with
/// nothing but a few nanoseconds for each, a value may cost a millisecond and no more.
pub const LOOKS_MAX: u64 = 100_000;
/// Parts that may stand in each other's calls, at the deepest value of an event: a tree takes some three for each of the
/// 128 levels. Each takes a kilobyte of stack in a build that is not optimized, and a shard has 2 MiB.
const CALLS_MAX: u64 = 1_000;
/// Steps that this judgement itself takes: a few hundred milliseconds.
const STEPS_MAX: u64 = 10_000_000;
/// Levels of an event.
const LEVELS: usize = crate::event::DEPTH_MAX;

/// Judges a schema.
///
/// # Errors
/// Where and why an event can cost more than is bounded.
pub fn judge(schema: &Value) -> Result<(), (String, String)> {
    let registry = graph::registry(schema).map_err(|error| (String::new(), error.to_string()))?;
    let mut graph = Graph::of(schema, &registry)?;
    let mut steps = STEPS_MAX;
    let ways = match Ways::through(&mut graph, &mut steps) {
        Ok(ways) => ways,
        Err((part, beyond)) => return Err((graph.pointer(part), beyond.to_string())),
    };
    let (looks, calls) = ways.most(&mut steps).map_err(|beyond| (String::new(), beyond.to_string()))?;
    if looks > LOOKS_MAX {
        return Err(
            culprit::find(&graph, &ways).unwrap_or_else(|| (String::new(), Beyond::Looks.to_string()))
        );
    }
    if calls > CALLS_MAX {
        return Err((String::new(), Beyond::Calls.to_string()));
    }
    Ok(())
}

/// From where to where an event leads through a schema: the parts at which a value is met first, each with what it
/// comes to at that value, and the parts that one member or item of it then meets.
struct Ways {
    /// The first is the whole.
    places: Vec<Place>,
}

/// A part at which a value is met.
struct Place {
    part: u32,
    stay: Stay,
    /// For each kind of member or item: the places that meet it, and how often.
    next: Vec<Vec<(u32, u64)>>,
}

impl Ways {
    fn through(graph: &mut Graph<'_>, steps: &mut u64) -> Result<Ways, (u32, Beyond)> {
        let mut known = HashMap::from([(0, 0)]);
        let mut parts = vec![0];
        let mut places = Vec::new();
        while let Some(part) = parts.get(places.len()).copied() {
            let mut stay = stay(graph, part, steps).map_err(|beyond| (part, beyond))?;
            let groups = walks::groups(graph, &mut stay, steps).map_err(|beyond| (part, beyond))?;
            let mut place = |part| {
                *known.entry(part).or_insert_with(|| {
                    parts.push(part);
                    parts.len() as u32 - 1
                })
            };
            let next = groups
                .into_iter()
                .map(|group| group.into_iter().map(|(part, times)| (place(part), times)).collect())
                .collect();
            places.push(Place { part, stay, next });
        }
        Ok(Ways { places })
    }

    /// The most looks and calls along one way into an event of any depth.
    fn most(&self, steps: &mut u64) -> Result<(u64, u64), Beyond> {
        let mut most: Vec<(u64, u64)> = self.places.iter().map(|place| place.most(&[])).collect();
        for _ in 0..LEVELS {
            let next: Vec<(u64, u64)> = self.places.iter().map(|place| place.most(&most)).collect();
            let edges = self.places.iter().flat_map(|place| &place.next).map(|group| group.len() as u64 + 1);
            walks::spend(steps, edges.sum())?;
            if next == most || next[0].0 > LOOKS_MAX {
                return Ok(next[0]);
            }
            most = next;
        }
        Ok(most[0])
    }
}

impl Place {
    fn most(&self, below: &[(u64, u64)]) -> (u64, u64) {
        let of = |place: u32| below.get(place as usize).copied().unwrap_or_default();
        let looks = |group: &Vec<(u32, u64)>| {
            group
                .iter()
                .fold(0u64, |sum, (place, times)| sum.saturating_add(of(*place).0.saturating_mul(*times)))
        };
        let calls = |group: &Vec<(u32, u64)>| group.iter().map(|(place, _)| of(*place).1).max().unwrap_or(0);
        let (most_looks, most_calls) = (self.next.iter().map(looks).max(), self.next.iter().map(calls).max());
        let looks = self.stay.looks.saturating_add(most_looks.unwrap_or(0)).min(2 * LOOKS_MAX);
        (looks, (self.stay.calls + most_calls.unwrap_or(0)).min(2 * CALLS_MAX))
    }
}

#[cfg(test)]
mod tests;
