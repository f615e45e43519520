//! What a subscriber wants of a channel's events (contract 9): by type, by priority, by source. Equal filters compare
//! equal however they were written, so that the hub asks each distinct one once per event. Of a subscription to a
//! pattern it also says how far its holder's rights reach (contract 12).

use super::{Event, Priority, Reach};

/// A set of priorities; as many bits as there are priorities, so that a floor and a list are the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Priorities(u16);

impl Priorities {
    /// Every one: no condition.
    pub const ALL: Priorities = Priorities(0b111_1111_1110);

    /// This one and those above.
    pub fn floor(priority: Priority) -> Priorities {
        Priorities(Priorities::ALL.0 & !((1 << priority.number()) - 1))
    }

    /// Exactly these; none given is no condition.
    pub fn only(priorities: impl IntoIterator<Item = Priority>) -> Priorities {
        match priorities.into_iter().fold(0, |bits, priority| bits | 1 << priority.number()) {
            0 => Priorities::ALL,
            bits => Priorities(bits),
        }
    }

    /// Whether this one is in it.
    pub fn contains(self, priority: Priority) -> bool {
        self.0 >> priority.number() & 1 == 1
    }
}

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Filter {
    types: Box<[Box<str>]>,
    priorities: Priorities,
    sources: Box<[Box<str>]>,
    /// Of a subscription to a pattern: the channels that may be heard through it.
    reach: Option<Reach>,
}

impl Filter {
    /// `types` are exact, or end in `.*`, which is every type that begins with what stands before the star. An empty
    /// list is no condition. `None` when there is no condition at all.
    pub fn new(types: Vec<String>, priorities: Priorities, sources: Vec<String>) -> Option<Filter> {
        let filter = Filter { types: sorted(types), priorities, sources: sorted(sources), reach: None };
        let any = filter.types.is_empty() && filter.sources.is_empty() && priorities == Priorities::ALL;
        (!any).then_some(filter)
    }

    /// `filter`, for whoever may hear no more than `reach`; `None` is no bound.
    pub fn within(filter: Option<Filter>, reach: Option<Reach>) -> Option<Filter> {
        let any =
            || Filter { types: [].into(), priorities: Priorities::ALL, sources: [].into(), reach: None };
        match (filter, reach) {
            (None, None) => None,
            (filter, Some(reach)) => Some(Filter { reach: Some(reach), ..filter.unwrap_or_else(any) }),
            (Some(filter), None) => Some(Filter { reach: None, ..filter }).filter(|filter| *filter != any()),
        }
    }

    /// Whether events of this channel may come at all. Asked once per channel, not per event.
    pub fn covers(&self, channel: &str) -> bool {
        self.reach.as_ref().is_none_or(|reach| reach.covers(channel))
    }

    /// Whether an event, of a channel that it covers, meets every condition.
    pub fn passes(&self, event: &Event) -> bool {
        self.priorities.contains(event.priority())
            && (self.types.is_empty() || event.kind().is_some_and(|kind| self.takes_type(kind)))
            && (self.sources.is_empty() || event.source().is_some_and(|source| has(&self.sources, source)))
    }

    fn takes_type(&self, kind: &str) -> bool {
        has(&self.types, kind)
            || self.types.iter().filter_map(|wanted| family(wanted)).any(|prefix| kind.starts_with(prefix))
    }
}

/// What a type must begin with, if the condition is not an exact one.
fn family(wanted: &str) -> Option<&str> {
    wanted.strip_suffix('*').filter(|prefix| prefix.ends_with('.'))
}

fn sorted(mut words: Vec<String>) -> Box<[Box<str>]> {
    words.sort_unstable();
    words.dedup();
    words.into_iter().map(String::into_boxed_str).collect()
}

fn has(words: &[Box<str>], word: &str) -> bool {
    words.binary_search_by(|known| (**known).cmp(word)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Extras, Facts};

    fn event(text: &str, priority: u64) -> Event {
        let extras = Extras { priority: Priority::new(priority).unwrap(), ..Extras::default() };
        Event::new(text, &Facts::read(text).unwrap(), Some(Box::new(extras)), 0)
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn all_conditions_must_hold() {
        let floor = Priorities::floor(Priority::new(7).unwrap());
        let filter = Filter::new(words(&["order.*", "a"]), floor, words(&["s"])).unwrap();
        for (kind, source, priority, passes) in [
            ("order.filled", "s", 7, true),
            ("order.x.y", "s", 10, true),
            ("a", "s", 7, true),
            ("order", "s", 7, false),
            ("orders", "s", 7, false),
            ("a", "s", 6, false),
            ("a", "t", 7, false),
            ("ab", "s", 7, false),
        ] {
            let event = event(&format!(r#"{{"type":"{kind}","source":"{source}"}}"#), priority);
            assert_eq!(filter.passes(&event), passes, "{kind} {source} {priority}");
        }
        assert!(!filter.passes(&event(r#"{"source":"s"}"#, 7)));
    }

    #[test]
    fn a_reach_bounds_any_filter_and_is_taken_off_again() {
        let reach = Reach::new(vec![(crate::event::Pattern::parse("a.*").unwrap(), true)]);
        let types = Filter::new(words(&["x"]), Priorities::ALL, vec![]);
        for filter in [None, types] {
            let bound = Filter::within(filter.clone(), Some(reach.clone()));
            let covers = |channel| bound.as_ref().unwrap().covers(channel);
            assert!(covers("a.b") && !covers("b.a") && bound != filter);
            assert_eq!(Filter::within(bound, None), filter);
            assert!(filter.is_none_or(|filter| filter.covers("b.a")));
        }
    }

    #[test]
    fn equal_filters_are_equal_and_no_condition_is_no_filter() {
        let one = Filter::new(words(&["b", "a", "b"]), Priorities::ALL, vec![]);
        assert_eq!(one, Filter::new(words(&["a", "b"]), Priorities::only([]), vec![]));
        assert_eq!(Filter::new(vec![], Priorities::only([]), vec![]), None);
        let exact = Priorities::only([Priority::new(2).unwrap()]);
        assert!(exact.contains(Priority::new(2).unwrap()) && !exact.contains(Priority::NORMAL));
    }
}
