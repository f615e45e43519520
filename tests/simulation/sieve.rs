//! The slow matchers that the server is held to: a pattern over channel names, a filter over events. Written the
//! plainest way; nothing here is shared with `src`.

/// What a subscription lets through; an empty list is no condition.
#[derive(Clone, Default)]
pub struct Sieve {
    pub types: Vec<String>,
    /// By number, each one named.
    pub priorities: Vec<u8>,
    pub sources: Vec<String>,
}

impl Sieve {
    pub fn is_open(&self) -> bool {
        self.types.is_empty() && self.priorities.is_empty() && self.sources.is_empty()
    }

    pub fn passes(&self, kind: &str, source: Option<&str>, priority: u8) -> bool {
        let takes = |wanted: &String| match wanted.strip_suffix(".*") {
            Some(family) => kind.strip_prefix(family).is_some_and(|rest| rest.starts_with('.')),
            None => wanted == kind,
        };
        (self.types.is_empty() || self.types.iter().any(takes))
            && (self.priorities.is_empty() || self.priorities.contains(&priority))
            && (self.sources.is_empty() || self.sources.iter().any(|wanted| Some(&**wanted) == source))
    }
}

/// Whether a pattern covers a channel.
pub fn covers(pattern: &str, channel: &str) -> bool {
    let wanted: Vec<&str> = pattern.split('.').collect();
    let given: Vec<&str> = channel.split('.').collect();
    pattern == "*" || covers_from(&wanted, &given)
}

fn covers_from(wanted: &[&str], given: &[&str]) -> bool {
    match (wanted, given) {
        ([], []) => true,
        (["**"], [_, ..]) => true,
        ([first, wanted @ ..], [segment, given @ ..]) => {
            (*first == "*" || first == segment) && covers_from(wanted, given)
        }
        _ => false,
    }
}
