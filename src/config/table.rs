//! The form of the settings table: `settings!` turns each section, written once with its fields, docs, defaults
//! and rules, into a plain struct, its `Default`, and a walk over its fields. Parsing, suggestions, environment
//! names and `config-doc` all use that walk, so a new key is one entry in `settings.rs`. Called only from
//! `config/`; it reads no file and knows no key by name.
use super::mistakes::Report;
use super::yaml::Node;

/// How one value is read, written and described. `T` is the field's type in the settings struct.
pub(super) trait Rule<T> {
    /// Reads the node into a value; reports why not, and answers `None`, when it breaks the rule.
    fn read(&self, node: &Node, key: &str, report: &mut Report) -> Option<T>;
    /// The value as YAML that reads back to the same value.
    fn write(&self, value: &T) -> String;
    /// What values are allowed, in a few words ("1 to 65535"); empty when the key's doc says it.
    fn describe(&self) -> String;
    /// The fields below, when the value is a section.
    fn section<'a>(&self, _value: &'a mut T) -> Option<&'a mut dyn Section> {
        None
    }
    /// Whether a later release brings what the key asks for.
    fn planned(&self) -> bool {
        false
    }
}

/// One place in the settings, its type erased.
pub(super) trait Field {
    /// Reads the node into this place; on a mistake the place keeps its value.
    fn read(&mut self, node: &Node, key: &str, report: &mut Report);
    /// The value as YAML.
    fn write(&self) -> String;
    /// What values are allowed.
    fn describe(&self) -> String;
    /// The fields below, when this place is a section.
    fn section(&mut self) -> Option<&mut dyn Section>;
    /// Whether a later release brings it.
    fn planned(&self) -> bool;
}

/// Gets each field's key, doc lines and place.
pub(super) type Visit<'a> = dyn FnMut(&'static str, &'static [&'static str], &mut dyn Field) + 'a;

/// A struct of settings: a walk over its fields with their names and docs, in the order of the table.
pub(super) trait Section {
    /// Calls `visit` with each field.
    fn each(&mut self, visit: &mut Visit<'_>);
}

/// A field of the struct together with its rule.
pub(super) struct Bound<'a, T, R: Rule<T>> {
    pub value: &'a mut T,
    pub rule: R,
}

impl<T, R: Rule<T>> Field for Bound<'_, T, R> {
    fn read(&mut self, node: &Node, key: &str, report: &mut Report) {
        if let Some(value) = self.rule.read(node, key, report) {
            *self.value = value;
        }
    }
    fn write(&self) -> String {
        self.rule.write(self.value)
    }
    fn describe(&self) -> String {
        self.rule.describe()
    }
    fn section(&mut self) -> Option<&mut dyn Section> {
        self.rule.section(self.value)
    }
    fn planned(&self) -> bool {
        self.rule.planned()
    }
}

/// The rule of a field that is itself a section; its values come key by key, so it reads nothing at once.
pub(super) struct Nested;

impl<T: Section> Rule<T> for Nested {
    fn read(&self, _: &Node, _: &str, _: &mut Report) -> Option<T> {
        None
    }
    fn write(&self, _: &T) -> String {
        String::new()
    }
    fn describe(&self) -> String {
        String::new()
    }
    fn section<'a>(&self, value: &'a mut T) -> Option<&'a mut dyn Section> {
        Some(value)
    }
}

/// A type whose values are words of a closed list.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Each accepted word and its meaning; the first word of a value is the one written back.
    const WORDS: &'static [(&'static str, Self)];
    /// Words of the contract whose feature a later release brings.
    const LATER: &'static [&'static str];
}

/// Writes settings structs: `field as "key": Type = default, Rule;` where `as "key"` is needed only when the key's
/// name differs from the field's (a unit in the field's name, a keyword of the language), and the rule is left out
/// for a planned key, whose default is its rule.
macro_rules! settings {
    ($(
        $(#[doc = $about:literal])+
        $name:ident {
            $( $(#[doc = $doc:literal])+ $field:ident $(as $key:literal)? : $type:ty = $default:expr $(, $rule:expr)?; )+
        }
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[doc = $doc])+ pub $field: $type, )+
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $crate::config::table::Section for $name {
            fn each(&mut self, visit: &mut $crate::config::table::Visit<'_>) {
                $( visit(
                    $crate::config::table::settings!(@key $field $($key)?),
                    &[$($doc),+],
                    &mut $crate::config::table::Bound { value: &mut self.$field, rule: $crate::config::table::settings!(@rule $default $(, $rule)?) },
                ); )+
            }
        }
    )+};
    (@rule $default:expr) => { $default };
    (@rule $default:expr, $rule:expr) => { $rule };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
}

/// Writes an enum of words: `Variant = "word" | "other spelling",` and after `later` the words not built yet.
macro_rules! words {
    ($(
        $(#[doc = $about:literal])+
        $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal $(| $other:literal)*, )+ }
        $( later $($later:literal),+; )?
    )+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $( $(#[doc = $doc])+ $variant, )+
        }

        impl $crate::config::table::Word for $name {
            const WORDS: &'static [(&'static str, Self)] =
                &[$( ($word, Self::$variant), $( ($other, Self::$variant), )* )+];
            const LATER: &'static [&'static str] = &[$( $($later),+ )?];
        }
    )+};
}

pub(super) use {settings, words};
