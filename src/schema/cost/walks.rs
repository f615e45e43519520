//! All that happens at one value: every way through the parts that stay there, one by one, as the validator goes them.

use super::graph::{Below, Graph, Here};
use super::{CALLS_MAX, LOOKS_MAX};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Parts that may stand in each other's calls at one value. What is nested in a file is at most 64; longer chains are
/// made of references.
const HERE_MAX: u64 = 128;

/// Why a schema is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beyond {
    Looks,
    Calls,
    Steps,
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Beyond::Looks => write!(
                f,
                "can look at one value more than {LOOKS_MAX} times, counting what it refers to each time"
            ),
            Beyond::Calls => write!(
                f,
                "nests too deep: {HERE_MAX} references and branches within each other at one value, or {CALLS_MAX} \
                 in an event of 128 levels"
            ),
            Beyond::Steps => f.write_str("is too entangled to tell what an event can cost"),
        }
    }
}

/// Takes steps from those that are left.
pub fn spend(steps: &mut u64, taken: u64) -> Result<(), Beyond> {
    *steps = steps.checked_sub(taken).ok_or(Beyond::Steps)?;
    Ok(())
}

/// What a part comes to at the value that meets it.
pub struct Stay {
    /// How many parts look at it.
    pub looks: u64,
    /// How deep they stand in each other's calls.
    pub calls: u64,
    /// Steps below, by part and number, as they were counted.
    below: Vec<(u32, u32)>,
}

/// Follows all ways that stay at a value.
pub fn stay(graph: &Graph<'_>, part: u32, steps: &mut u64) -> Result<Stay, Beyond> {
    let stay = Stay { looks: 0, calls: 0, below: Vec::new() };
    let mut walker = Walker { graph, entered: Vec::new(), stay, steps };
    walker.visit(part, 1, true)?;
    Ok(walker.stay)
}

struct Walker<'g, 's> {
    graph: &'g Graph<'s>,
    /// References on the way.
    entered: Vec<u32>,
    stay: Stay,
    steps: &'g mut u64,
}

impl Walker<'_, '_> {
    fn visit(&mut self, part: u32, calls: u64, has_members: bool) -> Result<(), Beyond> {
        self.look(calls)?;
        let graph = self.graph;
        let about = graph.at(part);
        if has_members {
            spend(self.steps, about.below.len() as u64)?;
            self.stay.below.extend((0..about.below.len() as u32).map(|number| (part, number)));
        }
        for (how, to) in &about.here {
            let has_members = has_members && *how != Here::Names;
            self.enter(*how, *to, |walker| walker.visit(*to, calls + 1, has_members))?;
        }
        if about.looks_again {
            self.again(part, calls + 1, has_members)?;
        }
        Ok(())
    }

    /// What `unevaluatedProperties` and `unevaluatedItems` do to know what the parts of a part have seen.
    fn again(&mut self, part: u32, calls: u64, has_members: bool) -> Result<(), Beyond> {
        self.look(calls)?;
        let graph = self.graph;
        let about = graph.at(part);
        if has_members && about.looks_again {
            let open = |below: &Below<'_>| matches!(below, Below::Contained | Below::Left | Below::Rest(_));
            let numbers = (0u32..).zip(&about.below).filter(|(_, (below, _))| open(below));
            self.stay.below.extend(numbers.map(|(number, _)| (part, number)));
        }
        for (how, to) in &about.here {
            match how {
                Here::Judged => {
                    self.visit(*to, calls + 1, has_members)?;
                    self.again(*to, calls + 1, has_members)?;
                }
                Here::Chosen | Here::Referred => {
                    self.enter(*how, *to, |walker| walker.again(*to, calls + 1, has_members))?;
                }
                Here::Apart | Here::Names => {}
            }
        }
        Ok(())
    }

    fn look(&mut self, calls: u64) -> Result<(), Beyond> {
        spend(self.steps, 1)?;
        self.stay.looks += 1;
        self.stay.calls = self.stay.calls.max(calls);
        match () {
            () if calls > HERE_MAX => Err(Beyond::Calls),
            () if self.stay.looks > LOOKS_MAX => Err(Beyond::Looks),
            () => Ok(()),
        }
    }

    /// Goes on, unless a reference leads where the way has been at this value: there the validator turns back.
    fn enter(
        &mut self,
        how: Here,
        to: u32,
        go: impl FnOnce(&mut Self) -> Result<(), Beyond>,
    ) -> Result<(), Beyond> {
        if how != Here::Referred {
            return go(self);
        }
        if self.entered.contains(&to) {
            return Ok(());
        }
        self.entered.push(to);
        let gone = go(self);
        self.entered.pop();
        gone
    }
}

/// The steps below, taken together by what can be the same member or item: the parts that meet it, and how often.
pub fn groups(graph: &Graph<'_>, stay: &mut Stay, steps: &mut u64) -> Result<Vec<Vec<(u32, u64)>>, Beyond> {
    let mut counted: HashMap<(Below<'_>, u32), u64> = HashMap::new();
    for (part, number) in std::mem::take(&mut stay.below) {
        *counted.entry(graph.at(part).below[number as usize]).or_default() += 1;
    }
    let mut groups = members(graph, &counted, steps)?;
    groups.extend(items(&counted, steps)?);
    for group in &mut groups {
        group.sort_unstable();
        group.dedup_by(|one, kept| {
            one.0 == kept.0 && {
                kept.1 += one.1;
                true
            }
        });
    }
    groups.retain(|group| !group.is_empty());
    // The same message for the same file.
    groups.sort_unstable();
    Ok(groups)
}

type Counted<'s> = HashMap<(Below<'s>, u32), u64>;

fn members<'s>(
    graph: &Graph<'s>,
    counted: &Counted<'s>,
    steps: &mut u64,
) -> Result<Vec<Vec<(u32, u64)>>, Beyond> {
    let mut by_name: HashMap<&str, Vec<(u32, u64)>> = HashMap::new();
    let mut open = Vec::new();
    for ((below, to), times) in counted {
        match below {
            Below::Name(name) => by_name.entry(*name).or_default().push((*to, *times)),
            Below::Pattern(_) | Below::Rest(_) => open.push((*below, *to, *times)),
            _ => {}
        }
    }
    spend(steps, by_name.len() as u64 * (open.len() as u64 + 1))?;
    for (name, group) in &mut by_name {
        let may = |below: &Below<'_>| match below {
            Below::Pattern(pattern) => may_match(pattern, name),
            Below::Rest(part) => {
                graph.at(*part).value.get("properties").and_then(|own| own.get(name)).is_none()
            }
            _ => false,
        };
        group.extend(open.iter().filter(|(below, ..)| may(below)).map(|(_, to, times)| (*to, *times)));
    }
    let others = open.iter().map(|(_, to, times)| (*to, *times)).collect();
    Ok(by_name.into_values().chain([others]).collect())
}

fn items(counted: &Counted<'_>, steps: &mut u64) -> Result<Vec<Vec<(u32, u64)>>, Beyond> {
    let mut places = HashSet::new();
    let mut all = Vec::new();
    for ((below, to), times) in counted {
        match below {
            Below::Prefix(index) => places.insert(*index),
            Below::From(index) => places.insert(*index),
            Below::Contained | Below::Left => places.insert(usize::MAX),
            _ => continue,
        };
        all.push((*below, *to, *times));
    }
    spend(steps, places.len() as u64 * all.len() as u64)?;
    let mut groups = Vec::new();
    for place in places {
        let may = |below: &Below<'_>| match below {
            Below::Prefix(index) => *index == place,
            Below::From(index) => *index <= place,
            _ => true,
        };
        groups
            .push(all.iter().filter(|(below, ..)| may(below)).map(|(_, to, times)| (*to, *times)).collect());
    }
    Ok(groups)
}

/// Whether a pattern can match a name. Only a plain beginning, such as `^x-`, tells that it cannot.
fn may_match(pattern: &str, name: &str) -> bool {
    let Some(rest) = pattern.strip_prefix('^').filter(|rest| !rest.contains('|')) else { return true };
    let plain =
        rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))).unwrap_or(rest.len());
    // What follows may say that the last character need not be there.
    let sure = if plain < rest.len() { plain.saturating_sub(1) } else { plain };
    name.starts_with(&rest[..sure])
}
