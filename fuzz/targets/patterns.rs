//! The pattern index against the matcher that looks at one pattern after the other: patterns come and go, and after each
//! step channels are looked up. Segments are drawn from a few, so that patterns share prefixes and channels match.
#![no_main]
use arbitrary::Arbitrary;
use courier::event::{Channel, Pattern};
use courier::hub::PatternIndex;

#[derive(Arbitrary, Debug)]
enum Step {
    Insert(Vec<u8>),
    Remove(u8),
    Look(Vec<u8>),
}

const SEGMENTS: [&str; 8] = ["a", "b", "ab", "", "-", "a:b", "*", "**"];

fn text(segments: &[u8], of: usize) -> String {
    let words: Vec<&str> = segments.iter().map(|byte| SEGMENTS[usize::from(*byte) % of]).collect();
    words.join(".")
}

libfuzzer_sys::fuzz_target!(|steps: Vec<Step>| {
    let mut index = PatternIndex::default();
    let mut known: Vec<(u32, Pattern)> = Vec::new();
    let mut next = 0;
    for step in steps {
        match step {
            Step::Insert(segments) => {
                let Ok(pattern) = Pattern::parse(&text(&segments, 8)) else { continue };
                if known.iter().any(|(_, one)| *one == pattern) {
                    continue;
                }
                index.insert(&pattern, next);
                known.push((next, pattern));
                next += 1;
            }
            Step::Remove(at) if !known.is_empty() => {
                let (_, pattern) = known.remove(usize::from(at) % known.len());
                index.remove(&pattern);
            }
            Step::Remove(_) => {}
            Step::Look(segments) => {
                let channel = text(&segments, 6);
                if Channel::check(&channel).is_err() {
                    continue;
                }
                let mut found = Vec::new();
                index.matching(&channel, &mut found);
                found.sort_unstable();
                let wanted: Vec<u32> =
                    known.iter().filter(|(_, pattern)| pattern.matches(&channel)).map(|(n, _)| *n).collect();
                assert_eq!(found, wanted, "{channel}");
            }
        }
    }
});
