//! What somebody may read or write: an ordered list of patterns, each allowed or denied, of which the first that covers a
//! channel decides; what none covers is denied. A plain value beside `Filter`, so that the hub asks each distinct one
//! once per event however many connections share it. Where it comes from is the business of `auth`.

use super::Pattern;
use std::sync::{Arc, LazyLock};

/// An ordered list of allowed and denied patterns, cheap to clone; equal lists compare and hash equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reach(Arc<[(Pattern, bool)]>);

/// How much of a pattern a [`Reach`] covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Every channel that the pattern covers: nothing needs to be asked per event.
    Whole,
    /// Perhaps some of them: each event's channel must be asked for.
    Part,
    /// None of them.
    Nothing,
}

impl Reach {
    /// The first pattern that covers a channel says whether it is allowed (`true`).
    pub fn new(lines: Vec<(Pattern, bool)>) -> Reach {
        Reach(lines.into())
    }

    /// Every channel.
    pub fn everything() -> Reach {
        static ALL: LazyLock<Reach> = LazyLock::new(|| {
            let all = Pattern::parse("**").expect("the grammar has this pattern");
            Reach::new(vec![(all, true)])
        });
        ALL.clone()
    }

    /// No channel.
    pub fn nothing() -> Reach {
        static NONE: LazyLock<Reach> = LazyLock::new(|| Reach::new(Vec::new()));
        NONE.clone()
    }

    /// Whether a channel of this name is within it.
    pub fn covers(&self, channel: &str) -> bool {
        self.0.iter().find(|(pattern, _)| pattern.matches(channel)).is_some_and(|(_, allowed)| *allowed)
    }

    /// How much of `pattern` is within it. `Part` may also be said where it is nothing, if patterns overlap in a way
    /// that only channels can tell; `Whole` and `Nothing` are certain.
    pub fn extent(&self, pattern: &Pattern) -> Extent {
        let (mut some_allowed, mut some_denied) = (false, false);
        for (line, allowed) in self.0.iter().filter(|(line, _)| meets(line, pattern)) {
            if contains(line, pattern) {
                return match (allowed, some_allowed, some_denied) {
                    (true, _, false) => Extent::Whole,
                    (false, false, _) => Extent::Nothing,
                    _ => Extent::Part,
                };
            }
            if *allowed { some_allowed = true } else { some_denied = true }
        }
        if some_allowed { Extent::Part } else { Extent::Nothing }
    }

    /// The patterns in their order, with whether they are allowed.
    pub fn lines(&self) -> &[(Pattern, bool)] {
        &self.0
    }
}

/// Whether every channel that `inner` covers is one that `outer` covers.
fn contains(outer: &Pattern, inner: &Pattern) -> bool {
    if outer.is_all() || inner.is_all() {
        return outer.is_all();
    }
    let (mut wide, mut narrow) = (outer.as_str().split('.'), inner.as_str().split('.'));
    loop {
        match (wide.next(), narrow.next()) {
            (None, None) | (Some("**"), Some(_)) => return true,
            (Some(_), Some("**")) | (None, Some(_)) | (Some(_), None) => return false,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

/// Whether some channel is covered by both.
fn meets(one: &Pattern, other: &Pattern) -> bool {
    if one.is_all() || other.is_all() {
        return true;
    }
    let (mut one, mut other) = (one.as_str().split('.'), other.as_str().split('.'));
    loop {
        match (one.next(), other.next()) {
            (None, None) | (Some("**"), Some(_)) | (Some(_), Some("**")) => return true,
            (None, Some(_)) | (Some(_), None) => return false,
            (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
            (Some(one), Some(other)) if one == other => {}
            (Some(_), Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(lines: &[(&str, bool)]) -> Reach {
        Reach::new(lines.iter().map(|(text, allowed)| (Pattern::parse(text).unwrap(), *allowed)).collect())
    }

    #[test]
    fn the_first_pattern_decides_and_the_rest_is_denied() {
        let reach = reach(&[("a.secret", false), ("a.*", true), ("b.**", true)]);
        for (channel, covered) in
            [("a.x", true), ("a.secret", false), ("a", false), ("b.x.y", true), ("c", false), ("A.x", false)]
        {
            assert_eq!(reach.covers(channel), covered, "{channel}");
        }
        assert!(Reach::everything().covers("x.y") && !Reach::nothing().covers("x"));
    }

    /// Every pattern over a small alphabet against every channel over it: what `extent` says for certain is so.
    #[test]
    fn the_extent_agrees_with_asking_for_every_channel() {
        let patterns = words(&["a", "b", "*"], 3)
            .into_iter()
            .flat_map(|text| [text.clone(), format!("{text}.**")])
            .chain(["**".to_owned()])
            .collect::<Vec<_>>();
        let channels = words(&["a", "b", "c"], 4);
        let mut seen = [0usize; 3];
        for (i, first) in patterns.iter().enumerate() {
            let second = &patterns[(i * 7 + 3) % patterns.len()];
            for allowed in [true, false] {
                let reach = reach(&[(first, allowed), (second, !allowed)]);
                for asked in &patterns {
                    let pattern = Pattern::parse(asked).unwrap();
                    let mut covered =
                        channels.iter().filter(|channel| pattern.matches(channel)).map(|c| reach.covers(c));
                    let extent = reach.extent(&pattern);
                    seen[extent as usize] += 1;
                    let right = match extent {
                        Extent::Whole => covered.all(|covered| covered),
                        Extent::Nothing => covered.all(|covered| !covered),
                        Extent::Part => true,
                    };
                    assert!(right, "{first} {allowed}, {second}: {asked} is said to be {extent:?}");
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 500), "{seen:?}");
    }

    fn words(alphabet: &[&str], segments_max: usize) -> Vec<String> {
        let mut all: Vec<String> = alphabet.iter().map(|word| (*word).to_owned()).collect();
        let mut longest = all.clone();
        for _ in 1..segments_max {
            longest = longest
                .iter()
                .flat_map(|text| alphabet.iter().map(move |word| format!("{text}.{word}")))
                .collect();
            all.extend(longest.iter().cloned());
        }
        all
    }
}
