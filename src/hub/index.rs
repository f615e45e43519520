//! Which of many patterns cover a channel: a trie over segments, in which a look costs what the matching prefixes
//! cost, however many other patterns there are. Segments are numbered, so that the trie's edges are pairs of numbers.

use super::crowds::NONE;
use crate::event::{CHANNEL_BYTES_MAX, Pattern};
use crate::stdx::slab::Slab;
use std::collections::HashMap;

type Hash = foldhash::quality::RandomState;

/// The segment of a channel that no pattern names.
const UNKNOWN: u32 = NONE;
/// A step of any one segment.
const STAR: u32 = NONE - 1;
const ROOT: u32 = 0;
/// A name of dots only has one segment more than bytes.
const SEGMENTS_MAX: usize = CHANNEL_BYTES_MAX + 1;

/// Patterns, each with a number that its owner chose.
pub struct PatternIndex {
    segments: HashMap<Box<str>, Segment, Hash>,
    segments_made: u32,
    edges: HashMap<(u32, u32), u32, Hash>,
    nodes: Slab<Node>,
    /// Of the pattern `*`.
    all: u32,
}

struct Segment {
    number: u32,
    uses: u32,
}

/// The patterns that share a prefix.
struct Node {
    /// Of the pattern that ends here.
    here: u32,
    /// Of the pattern that ends here with `**`.
    rest: u32,
    /// The child for any segment.
    star: u32,
    /// How many patterns end here or below.
    patterns: u32,
}

impl Default for PatternIndex {
    fn default() -> PatternIndex {
        let mut nodes = Slab::with_limit(STAR);
        let root = nodes.insert(Node::new()).ok().map(|key| key.slot);
        assert_eq!(root, Some(ROOT), "the first slot is 0");
        PatternIndex {
            segments: HashMap::default(),
            segments_made: 0,
            edges: HashMap::default(),
            nodes,
            all: NONE,
        }
    }
}

impl Node {
    fn new() -> Node {
        Node { here: NONE, rest: NONE, star: NONE, patterns: 0 }
    }
}

impl PatternIndex {
    /// Adds a pattern that is not there, under a number.
    pub fn insert(&mut self, pattern: &Pattern, number: u32) {
        if pattern.as_str() == "*" {
            self.all = number;
            return;
        }
        let mut at = ROOT;
        self.node(at).patterns += 1;
        let mut segments = pattern.as_str().split('.').peekable();
        while let Some(segment) = segments.next() {
            if segment == "**" && segments.peek().is_none() {
                self.node(at).rest = number;
                return;
            }
            at = self.step(at, segment);
            self.node(at).patterns += 1;
        }
        self.node(at).here = number;
    }

    fn node(&mut self, slot: u32) -> &mut Node {
        self.nodes.at_mut(slot).expect("an edge leads to a node")
    }

    /// The child for a segment of a pattern, made if there is none.
    fn step(&mut self, from: u32, segment: &str) -> u32 {
        let by = match segment {
            "*" => STAR,
            name => self.number(name),
        };
        let known =
            if by == STAR { self.node(from).star } else { *self.edges.get(&(from, by)).unwrap_or(&NONE) };
        if known != NONE {
            return known;
        }
        let Ok(key) = self.nodes.insert(Node::new()) else { unreachable!("memory ends before the slots do") };
        match by {
            STAR => self.node(from).star = key.slot,
            _ => drop(self.edges.insert((from, by), key.slot)),
        }
        key.slot
    }

    /// The number of a segment, for one more use.
    fn number(&mut self, name: &str) -> u32 {
        if let Some(segment) = self.segments.get_mut(name) {
            segment.uses += 1;
            return segment.number;
        }
        // Numbers are not given again; after 2^32 segments an old one could be, but by then no edge has it.
        self.segments_made = (self.segments_made + 1) % STAR;
        self.segments.insert(name.into(), Segment { number: self.segments_made, uses: 1 });
        self.segments_made
    }

    /// Takes out a pattern that is there.
    pub fn remove(&mut self, pattern: &Pattern) {
        if pattern.as_str() == "*" {
            self.all = NONE;
            return;
        }
        let mut path = vec![ROOT];
        self.node(ROOT).patterns -= 1;
        let mut rest = false;
        for segment in pattern.as_str().split('.') {
            // `**` is nowhere but at the end.
            rest = segment == "**";
            if !rest {
                let child = self.step_back(path[path.len() - 1], segment);
                path.push(child);
            }
        }
        let last = self.node(path[path.len() - 1]);
        *(if rest { &mut last.rest } else { &mut last.here }) = NONE;
        for node in path.into_iter().filter(|node| *node != ROOT) {
            if self.node(node).patterns == 0
                && let Some(key) = self.nodes.key_at(node)
            {
                self.nodes.remove(key);
            }
        }
    }

    /// One pattern less behind this step; with the last the way there goes. Answers the child's slot.
    fn step_back(&mut self, from: u32, segment: &str) -> u32 {
        let by = match segment {
            "*" => STAR,
            name => {
                let known = self.segments.get_mut(name).expect("a pattern's segments are kept");
                known.uses -= 1;
                let (number, unused) = (known.number, known.uses == 0);
                if unused {
                    self.segments.remove(name);
                }
                number
            }
        };
        let child =
            if by == STAR { self.node(from).star } else { *self.edges.get(&(from, by)).unwrap_or(&NONE) };
        self.node(child).patterns -= 1;
        if self.node(child).patterns == 0 {
            match by {
                STAR => self.node(from).star = NONE,
                _ => drop(self.edges.remove(&(from, by))),
            }
        }
        child
    }

    /// Appends the numbers of all patterns that cover a channel.
    pub fn matching(&self, channel: &str, found: &mut Vec<u32>) {
        if self.all != NONE {
            found.push(self.all);
        }
        if self.nodes.at(ROOT).is_none_or(|root| root.patterns == 0) {
            return;
        }
        let mut segments = [UNKNOWN; SEGMENTS_MAX];
        let mut count = 0;
        for (slot, name) in segments.iter_mut().zip(channel.split('.')) {
            *slot = self.segments.get(name).map_or(UNKNOWN, |segment| segment.number);
            count += 1;
        }
        self.walk(ROOT, &segments[..count], found);
    }

    /// Every node is on one path only, so none is seen twice.
    fn walk(&self, at: u32, segments: &[u32], found: &mut Vec<u32>) {
        let Some(node) = self.nodes.at(at) else { return };
        let Some((&segment, behind)) = segments.split_first() else {
            if node.here != NONE {
                found.push(node.here);
            }
            return;
        };
        if node.rest != NONE {
            found.push(node.rest);
        }
        if segment != UNKNOWN
            && let Some(&child) = self.edges.get(&(at, segment))
        {
            self.walk(child, behind, found);
        }
        if node.star != NONE {
            self.walk(node.star, behind, found);
        }
    }

    /// Nodes and segments that are kept.
    #[cfg(test)]
    fn size(&self) -> (usize, usize, usize) {
        (self.nodes.len(), self.edges.len(), self.segments.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_patterns_are_found_as_one_by_one() {
        let patterns =
            ["*", "**", "a", "a.b", "a.*", "*.b", "a.**", "*.*", "*.b.**", "a.b.c", "..", "*.", "a.*.c"];
        let mut index = PatternIndex::default();
        let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::parse(text).unwrap()).collect();
        for (number, pattern) in patterns.iter().enumerate() {
            index.insert(pattern, number as u32);
        }
        let mut kept: Vec<usize> = (0..patterns.len()).collect();
        loop {
            for channel in
                ["a", "b", "a.b", "a.x", "x.b", "a.b.c", "a.b.c.d", ".", "..", "a.", "x.y.c", "q.b.r.s"]
            {
                let mut found = Vec::new();
                index.matching(channel, &mut found);
                found.sort_unstable();
                let wanted: Vec<u32> =
                    kept.iter().filter(|n| patterns[**n].matches(channel)).map(|n| *n as u32).collect();
                assert_eq!(found, wanted, "{channel} {kept:?}");
            }
            if kept.is_empty() {
                break;
            }
            let gone = kept.remove(kept.len() / 2);
            index.remove(&patterns[gone]);
        }
        assert_eq!(index.size(), (1, 0, 0), "nothing is left behind");
    }
}
