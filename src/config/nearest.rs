//! The known key that a person most likely meant: by edit distance among the section's own keys, then over the
//! whole table, then by the last words alone.
use super::apply::join;
use super::settings::Settings;
use super::table::Section;

/// Longest key that is compared; the longest known one has 38 characters.
const KEY_CHARS_MAX: usize = 64;

/// The known key nearest to `key`, which the section `path` does not have.
pub(super) fn key(section: &mut dyn Section, path: &str, key: &str) -> Option<String> {
    let given = plain(key)?;
    let mut siblings = Vec::new();
    section.each(&mut |name, _, _| siblings.push(join(path, name)));
    let everywhere = keys(&mut Settings::default());
    let leaf = plain(key.rsplit('.').next().unwrap_or_default())?;
    nearest(&given, &siblings)
        .or_else(|| nearest(&given, &everywhere))
        .or_else(|| ending_in(&given, &everywhere))
        .or_else(|| ending_in(&leaf, &everywhere))
}

/// All dotted keys, sections too, in the order of the table.
pub(super) fn keys(section: &mut dyn Section) -> Vec<String> {
    let mut all = Vec::new();
    walk(section, "", &mut all);
    all
}

fn walk(section: &mut dyn Section, path: &str, all: &mut Vec<String>) {
    section.each(&mut |name, _, field| {
        let key = join(path, name);
        all.push(key.clone());
        if let Some(inner) = field.section() {
            walk(inner, &key, all);
        }
    });
}

/// A key without what people mix up: case, and dots, hyphens and underscores between words.
fn plain(key: &str) -> Option<Vec<char>> {
    let unify = |c: char| if matches!(c, '.' | '-') { '_' } else { c.to_ascii_lowercase() };
    let chars: Vec<char> = key.chars().map(unify).take(KEY_CHARS_MAX + 1).collect();
    (chars.len() <= KEY_CHARS_MAX).then_some(chars)
}

/// The first key whose last words are the given ones: a key without its section.
fn ending_in(words: &[char], known: &[String]) -> Option<String> {
    let ends = |key: &str| plain(key)?.strip_suffix(words)?.last().map(|before| *before == '_');
    known.iter().find(|key| !words.is_empty() && ends(key) == Some(true)).cloned()
}

fn nearest(given: &[char], known: &[String]) -> Option<String> {
    let distances = known.iter().filter_map(|key| Some((distance(given, &plain(key)?), key)));
    let (distance, key) = distances.min_by_key(|(distance, _)| *distance)?;
    // A third of the letters may be wrong; more is another word.
    (distance <= (given.len() / 3).max(1)).then(|| key.clone())
}

/// Levenshtein's distance with swapped neighbours counted once, in three rows.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let changed = above[j] + usize::from(a[i] != b[j]);
            let mut least = changed.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(path: &str, given: &str) -> Option<String> {
        key(&mut Settings::default(), path, given)
    }

    #[test]
    fn slips_of_the_pen_find_their_key() {
        let expected = [
            ("prot", "port"),
            ("Port", "port"),
            ("heartbeatInterval", "heartbeat_interval"),
            ("heartbeat-interval", "heartbeat_interval"),
            ("heartbeat_intervall", "heartbeat_interval"),
            ("shutdown_timeout", "shutdown.timeout"),
            ("allowed_origins", "cors.allowed_origins"),
            ("jwt_secret", "auth.jwt.secret"),
            ("loglevel", "log_level"),
            ("max_client_per_channel", "max_clients_per_channel"),
        ];
        for (given, known) in expected {
            assert_eq!(near("", given).as_deref(), Some(known), "{given}");
        }
    }

    #[test]
    fn words_of_another_kind_find_nothing() {
        for given in ["zzzz", "", "colour", &"p".repeat(100_000)] {
            assert_eq!(near("", given), None, "{given:.20}");
        }
    }

    #[test]
    fn distance_counts_changes_and_swaps() {
        let count =
            |a: &str, b: &str| distance(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!([count("", "abc"), count("abc", ""), count("abc", "abc")], [3, 3, 0]);
        assert_eq!([count("prot", "port"), count("kitten", "sitting"), count("ab", "b")], [1, 3, 1]);
    }
}
