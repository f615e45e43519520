//! An event as a document, laid out flat beside its text: one slot per value, in the order of the text, each knowing
//! where it ends. Nothing is copied, and an event of usual size needs no memory but the caller's stack.

use crate::event::{Stray, Walk, Word};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::collections::HashSet;

/// Values of an event that stand on the stack: a typical one has 10 to 20.
const SLOTS_ON_STACK: usize = 32;

/// Members of one object that are compared with each other one by one to find a name said twice; more are hashed.
const NAMES_COMPARED_MAX: u32 = 32;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    True,
    False,
    Number,
    /// One that means what is written.
    String,
    /// One with a backslash.
    EscapedString,
    Array,
    Object,
}

/// One value. Positions are bytes in the text, of a string those between its quotes.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    pub kind: Kind,
    name_escaped: bool,
    name: (u32, u32),
    pub start: u32,
    pub end: u32,
    /// The slot behind this value and all that is in it.
    pub next: u32,
    /// Members or items.
    pub count: u32,
}

/// The document of one text.
pub struct Document<'t> {
    text: &'t str,
    slots: SmallVec<[Slot; SLOTS_ON_STACK]>,
    /// Members whose name was said before in the same object.
    repeated: Vec<u32>,
}

impl<'t> Document<'t> {
    /// Reads a text of at most 4 GiB.
    ///
    /// # Errors
    /// It is not JSON, or nests too deep.
    pub fn read(text: &'t str) -> Result<Document<'t>, Stray> {
        let mut document = Document { text, slots: SmallVec::new(), repeated: Vec::new() };
        let mut walk = Walk::new(text);
        document.value(&mut walk, (0, 0), false)?;
        walk.end()?;
        Ok(document)
    }

    /// What it was read from.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// One of them; the first is the whole.
    pub fn slot(&self, index: u32) -> &Slot {
        &self.slots[index as usize]
    }

    /// Members whose name was said before in the same object.
    pub fn repeated(&self) -> &[u32] {
        &self.repeated
    }

    /// The text of a value; of a string without its quotes.
    pub fn raw(&self, index: u32) -> &'t str {
        let slot = self.slot(index);
        &self.text[slot.start as usize..slot.end as usize]
    }

    /// What a member is called.
    pub fn name(&self, index: u32) -> Cow<'t, str> {
        let raw = self.raw_name(index);
        if self.slot(index).name_escaped { Word::text_of(raw) } else { Cow::Borrowed(raw) }
    }

    fn raw_name(&self, index: u32) -> &'t str {
        let (start, end) = self.slot(index).name;
        &self.text[start as usize..end as usize]
    }

    /// The members or items of a value.
    pub fn children(&self, index: u32) -> Children<'_, 't> {
        let slot = self.slot(index);
        let at = if matches!(slot.kind, Kind::Array | Kind::Object) { index + 1 } else { slot.next };
        Children { document: self, at, end: slot.next }
    }

    /// A member of an object.
    #[inline]
    pub fn member(&self, index: u32, name: &str) -> Option<u32> {
        self.children(index).find(|child| self.is_named(*child, name))
    }

    #[inline]
    fn is_named(&self, index: u32, name: &str) -> bool {
        let raw = self.raw_name(index);
        if self.slot(index).name_escaped { Word::text_of(raw) == name } else { raw == name }
    }

    /// Where a value stands, as a JSON pointer (RFC 6901).
    pub fn pointer(&self, index: u32) -> String {
        let (mut pointer, mut at) = (String::new(), 0);
        while at != index {
            let holds = |child: &u32| (*child..self.slot(*child).next).contains(&index);
            let Some((number, child)) = self.children(at).enumerate().find(|(_, child)| holds(child)) else {
                break;
            };
            match self.slot(at).kind {
                Kind::Object => super::words::push_segment(&mut pointer, &self.name(child)),
                _ => super::words::push_segment(&mut pointer, &number.to_string()),
            }
            at = child;
        }
        pointer
    }

    fn value(&mut self, walk: &mut Walk<'t>, name: (u32, u32), name_escaped: bool) -> Result<(), Stray> {
        let (index, start) = (self.slots.len(), walk.at());
        let slot = |kind, range: (usize, usize)| Slot {
            kind,
            name_escaped,
            name,
            start: range.0 as u32,
            end: range.1 as u32,
            next: index as u32 + 1,
            count: 0,
        };
        match walk.ahead() {
            b'"' => {
                let word = walk.string_value()?.ok_or(Stray::Syntax)?;
                let kind = if word.is_escaped() { Kind::EscapedString } else { Kind::String };
                self.slots.push(slot(kind, (word.range().start, word.range().end)));
                return Ok(());
            }
            b'{' => {
                self.slots.push(slot(Kind::Object, (start, start)));
                self.members(walk, index)?;
            }
            b'[' => {
                self.slots.push(slot(Kind::Array, (start, start)));
                let mut more = walk.enter_list()?;
                while more {
                    self.slots[index].count += 1;
                    self.value(walk, (0, 0), false)?;
                    more = walk.more_items()?;
                }
            }
            first => {
                walk.pass()?;
                let kind = match first {
                    b'n' => Kind::Null,
                    b't' => Kind::True,
                    b'f' => Kind::False,
                    _ => Kind::Number,
                };
                self.slots.push(slot(kind, (start, walk.at())));
                return Ok(());
            }
        }
        self.slots[index].end = walk.at() as u32;
        self.slots[index].next = self.slots.len() as u32;
        Ok(())
    }

    fn members(&mut self, walk: &mut Walk<'t>, index: usize) -> Result<(), Stray> {
        // One bit per kind of name seen: names that share none differ.
        let mut seen = 0u64;
        let mut more = walk.enter()?;
        while more {
            let word = walk.key_word()?;
            let (range, child) = (word.range(), self.slots.len() as u32);
            self.slots[index].count += 1;
            self.value(walk, (range.start as u32, range.end as u32), word.is_escaped())?;
            let bit = 1u64 << sort_of(&self.text.as_bytes()[range]);
            let doubtful = seen & bit != 0 || word.is_escaped();
            seen |= if word.is_escaped() { u64::MAX } else { bit };
            if doubtful && self.slots[index].count <= NAMES_COMPARED_MAX {
                self.compare(index as u32, child);
            }
            more = walk.more()?;
        }
        if self.slots[index].count > NAMES_COMPARED_MAX {
            self.hash_names(index as u32);
        }
        Ok(())
    }

    fn compare(&mut self, object: u32, child: u32) {
        let name = self.name(child);
        let before = Children { document: self, at: object + 1, end: child };
        if before.into_iter().any(|other| self.is_named(other, &name)) {
            self.repeated.push(child);
        }
    }

    #[cold]
    fn hash_names(&mut self, object: u32) {
        let mut seen: HashSet<Cow<'t, str>, foldhash::quality::RandomState> = HashSet::default();
        let (mut at, end) = (object + 1, self.slots.len() as u32);
        let mut number = 0;
        while at < end {
            number += 1;
            if !seen.insert(self.name(at)) && number > NAMES_COMPARED_MAX {
                self.repeated.push(at);
            }
            at = self.slot(at).next;
        }
    }
}

/// One of 64 sorts of names, told apart by their length and ends.
#[inline]
fn sort_of(name: &[u8]) -> u32 {
    let (first, last) = (name.first().copied().unwrap_or(0), name.last().copied().unwrap_or(0));
    let middle = name.get(name.len() / 2).copied().unwrap_or(0);
    let mixed = (name.len() as u32)
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(u32::from(first).wrapping_mul(0x85eb_ca6b))
        .wrapping_add(u32::from(last).wrapping_mul(0xc2b2_ae35))
        .wrapping_add(u32::from(middle).wrapping_mul(0x27d4_eb2f));
    mixed >> 26
}

/// The slots of a value's members or items.
#[derive(Clone)]
pub struct Children<'d, 't> {
    document: &'d Document<'t>,
    at: u32,
    end: u32,
}

impl Iterator for Children<'_, '_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.at >= self.end {
            return None;
        }
        let child = self.at;
        self.at = self.document.slot(child).next;
        Some(child)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repeated(text: &str) -> Vec<String> {
        let document = Document::read(text).unwrap();
        document.repeated().iter().map(|index| document.pointer(*index)).collect()
    }

    #[test]
    fn values_know_their_names_their_text_and_their_place() {
        let document = Document::read(r#" {"a":[1,{"b/~":"x\n"}],"c":null,"\u0064":{}} "#).unwrap();
        let list = document.member(0, "a").unwrap();
        let inner = document.children(list).nth(1).unwrap();
        let text = document.member(inner, "b/~").unwrap();
        assert_eq!((document.raw(text), document.slot(text).kind), ("x\\n", Kind::EscapedString));
        assert_eq!(document.pointer(text), "/a/1/b~1~0");
        let empty = document.member(0, "d").unwrap();
        assert_eq!((document.raw(empty), document.slot(empty).count), ("{}", 0));
        assert_eq!(document.member(0, "b/~"), None);
        assert_eq!(document.slot(0).count, 3);
    }

    #[test]
    fn names_said_twice_in_one_object_are_found() {
        assert!(repeated(r#"{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}"#).is_empty());
        assert_eq!(repeated(r#"{"a":1,"b":{"c":1,"c":2},"a":3}"#), ["/b/c", "/a"]);
        assert_eq!(repeated(r#"{"a":1,"\u0061":2}"#), ["/a"]);
        assert_eq!(repeated(r#"{"\u0061":1,"a":2}"#), ["/a"]);
        let many: Vec<String> = (0..100).map(|n| format!("\"k{n}\":0")).collect();
        assert!(repeated(&format!("{{{}}}", many.join(","))).is_empty());
        assert_eq!(repeated(&format!("{{{},\"k7\":1,\"k99\":1}}", many.join(","))), ["/k7", "/k99"]);
        assert_eq!(repeated(&format!("{{\"k3\":1,{}}}", many.join(","))), ["/k3"]);
    }

    #[test]
    fn what_is_no_document_is_refused() {
        for text in ["", "{", "[1,]", "{\"a\"}", "{} {}", "tru"] {
            assert!(Document::read(text).is_err(), "{text}");
        }
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Document::read(&deep(128)).is_ok());
        assert_eq!(Document::read(&deep(129)).err(), Some(Stray::TooDeep));
    }
}
