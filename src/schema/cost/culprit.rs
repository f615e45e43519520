//! Which references make a schema cost too much, for the message: a place that one value of it leads back to twice.

use super::Ways;
use super::graph::{Graph, Here};
use std::collections::HashSet;

/// References that a message names.
const NAMED_MAX: usize = 3;

/// The place, and what is wrong with it; `None` if nothing turns back.
pub fn find(graph: &Graph<'_>, ways: &Ways) -> Option<(String, String)> {
    for (at, place) in ways.places.iter().enumerate() {
        for group in &place.next {
            if group.iter().map(|(_, times)| times).sum::<u64>() < 2 {
                continue;
            }
            let back = |(to, _): &&(u32, u64)| ways.leads(*to, at as u32);
            let returning: Vec<&(u32, u64)> = group.iter().filter(back).collect();
            if returning.iter().map(|(_, times)| times).sum::<u64>() >= 2 {
                let starts: Vec<u32> =
                    returning.iter().map(|(to, _)| ways.places[*to as usize].part).collect();
                return Some(said(graph, place.part, &starts));
            }
        }
    }
    None
}

fn said(graph: &Graph<'_>, part: u32, starts: &[u32]) -> (String, String) {
    let mut named: Vec<String> = Vec::new();
    for start in [&[part], starts].concat() {
        let found = references(graph, start).into_iter().filter(|pointer| !named.contains(pointer));
        named.extend(found.collect::<Vec<_>>());
    }
    named.truncate(NAMED_MAX);
    let from = if named.is_empty() { String::new() } else { format!(" ({})", named.join(", ")) };
    let words = format!(
        "leads back to itself more than once for the same value{from}: with each level of an event the work doubles"
    );
    (graph.pointer(part), words)
}

/// The references that stand at a part; where it is only one, those where it leads.
fn references(graph: &Graph<'_>, part: u32) -> Vec<String> {
    let (mut waiting, mut seen, mut found) = (vec![part], HashSet::new(), Vec::new());
    let mut followed = None;
    while let Some(part) = waiting.pop().filter(|part| seen.insert(*part)) {
        for (how, to) in graph.at(part).here.iter().rev() {
            match how {
                Here::Referred => found.push((part, *to)),
                _ => waiting.push(*to),
            }
        }
        if let ([(_, to)], []) = (&found[..], &waiting[..])
            && !seen.contains(to)
        {
            followed = found.pop();
            waiting.extend(followed.map(|(_, to)| to));
        }
    }
    if found.is_empty() {
        found.extend(followed);
    }
    let keyword = |part: u32| if graph.at(part).value.get("$ref").is_some() { "$ref" } else { "$dynamicRef" };
    found.into_iter().map(|(part, _)| format!("{}/{}", graph.pointer(part), keyword(part))).collect()
}

impl Ways {
    fn leads(&self, from: u32, to: u32) -> bool {
        let (mut waiting, mut seen) = (vec![from], HashSet::new());
        while let Some(place) = waiting.pop() {
            if place == to {
                return true;
            }
            if seen.insert(place) {
                waiting.extend(self.places[place as usize].next.iter().flatten().map(|(next, _)| *next));
            }
        }
        false
    }
}
