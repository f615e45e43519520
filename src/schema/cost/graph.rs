//! The parts of a schema and the steps between them. References are looked up as the validator does it, with the same
//! crate, so that anchors, parts with ids of their own and dynamic references lead where they lead there.

use crate::schema::words::push_segment;
use jsonschema::{Draft, ReferencingError, Registry};
use referencing::{Resolver, ResourceRef, uri};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// How `jsonschema` calls a schema that says no id.
const BASE: &str = "json-schema:///";
/// Parts of one file, each counted once for every scope in which a dynamic reference may see it.
const PARTS_MAX: usize = 100_000;

/// A step that stays at the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// `allOf`, `anyOf`, `oneOf`, `if`: asked again where `unevaluated…` wants to know what they saw.
    Judged,
    /// `then`, `else`, `dependentSchemas`: looked into again, but not asked.
    Chosen,
    /// `$ref`, `$dynamicRef`: like those, and not gone twice at one value.
    Referred,
    /// `not`: seen once.
    Apart,
    /// `propertyNames`: of names, which have no members.
    Names,
}

/// A step to a member or an item.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Below<'s> {
    Name(&'s str),
    Pattern(&'s str),
    /// All that a part's `properties` do not name.
    Rest(u32),
    Prefix(usize),
    /// All items from this one on.
    From(usize),
    /// Any item, and asked again by `unevaluatedItems`.
    Contained,
    /// Any item that others left.
    Left,
}

/// A part of a schema.
pub struct Part<'s> {
    pub value: &'s Value,
    /// Reached by a reference, with the base that it has from there.
    referred: bool,
    resolver: u32,
    pub here: Vec<(Here, u32)>,
    pub below: Vec<(Below<'s>, u32)>,
    /// `unevaluated…` looks again at what the steps here saw.
    pub looks_again: bool,
}

/// The parts; the first is the whole.
pub struct Graph<'s> {
    parts: Vec<Part<'s>>,
    known: HashMap<(*const Value, u32), u32>,
    resolvers: Vec<Resolver<'s>>,
    scopes: HashMap<String, u32>,
}

/// What references within a schema may lead to.
///
/// # Errors
/// An id or a reference is none.
pub fn registry(schema: &Value) -> Result<Registry<'_>, ReferencingError> {
    Registry::new().draft(Draft::Draft202012).add(BASE, schema)?.prepare()
}

impl<'s> Graph<'s> {
    /// All parts that an event can meet.
    ///
    /// # Errors
    /// Where a reference leads nowhere, or the parts are too many.
    pub fn of(schema: &'s Value, registry: &'s Registry<'s>) -> Result<Graph<'s>, (String, String)> {
        let fault = |error: ReferencingError| (String::new(), error.to_string());
        let resolver = registry.resolver(uri::from_str(BASE).map_err(fault)?);
        let mut graph =
            Graph { parts: Vec::new(), known: HashMap::new(), resolvers: Vec::new(), scopes: HashMap::new() };
        let resolver = graph.scope(resolver);
        graph.part(schema, false, resolver);
        let mut at = 0;
        while at < graph.parts.len() {
            if graph.parts.len() > PARTS_MAX {
                return Err((String::new(), format!("has more than {PARTS_MAX} parts")));
            }
            graph.expand(at as u32).map_err(|words| (graph.pointer(at as u32), words))?;
            at += 1;
        }
        Ok(graph)
    }

    pub fn at(&self, part: u32) -> &Part<'s> {
        &self.parts[part as usize]
    }

    /// Where a part stands, as a JSON pointer; empty for one of another file.
    pub fn pointer(&self, part: u32) -> String {
        let mut pointer = String::new();
        if !search(self.at(0).value, self.at(part).value, &mut pointer) {
            pointer.clear();
        }
        pointer
    }

    /// The number of a resolver; two that have the same base and see the same dynamic anchors have one.
    fn scope(&mut self, resolver: Resolver<'s>) -> u32 {
        let mut seen: Vec<String> = Vec::new();
        // The outermost counts, and comes last.
        for uri in &resolver.dynamic_scope() {
            seen.retain(|known| known != uri.as_str());
            seen.push(uri.as_str().to_owned());
        }
        seen.push(resolver.base_uri().as_str().to_owned());
        *self.scopes.entry(seen.join(" ")).or_insert_with(|| {
            self.resolvers.push(resolver);
            self.resolvers.len() as u32 - 1
        })
    }

    fn part(&mut self, value: &'s Value, referred: bool, resolver: u32) -> u32 {
        *self.known.entry((std::ptr::from_ref(value), resolver)).or_insert_with(|| {
            let (here, below) = (Vec::new(), Vec::new());
            self.parts.push(Part { value, referred, resolver, here, below, looks_again: false });
            self.parts.len() as u32 - 1
        })
    }

    fn expand(&mut self, id: u32) -> Result<(), String> {
        let Part { value, referred, resolver, .. } = self.parts[id as usize];
        let Value::Object(map) = value else { return Ok(()) };
        let mut inner = resolver;
        if map.contains_key("$id") && !referred {
            let resource = ResourceRef::new(value, Draft::Draft202012);
            let own = self.resolvers[resolver as usize].in_subresource(resource);
            inner = self.scope(own.map_err(|error| error.to_string())?);
        }
        let mut steps = Steps { graph: self, id, resolver: inner, here: Vec::new(), below: Vec::new() };
        for (keyword, value) in map {
            steps.take(map, keyword, value)?;
        }
        let Steps { here, below, .. } = steps;
        let part = &mut self.parts[id as usize];
        (part.here, part.below) = (here, below);
        part.looks_again = map.contains_key("unevaluatedProperties") || map.contains_key("unevaluatedItems");
        Ok(())
    }
}

/// The steps of one part, as they are found.
struct Steps<'g, 's> {
    graph: &'g mut Graph<'s>,
    id: u32,
    resolver: u32,
    here: Vec<(Here, u32)>,
    below: Vec<(Below<'s>, u32)>,
}

impl<'s> Steps<'_, 's> {
    fn take(
        &mut self,
        map: &'s Map<String, Value>,
        keyword: &'s str,
        value: &'s Value,
    ) -> Result<(), String> {
        match keyword {
            "allOf" | "anyOf" | "oneOf" => self.each_here(value),
            "if" => self.here(Here::Judged, value),
            "then" if map.contains_key("if") => self.here(Here::Chosen, value),
            "else" if map.contains_key("if") => self.here(Here::Chosen, value),
            "not" => self.here(Here::Apart, value),
            "propertyNames" => self.here(Here::Names, value),
            "dependentSchemas" | "dependencies" => self.dependent(value),
            "$ref" | "$dynamicRef" => return self.refer(value),
            "properties" => self.members(value, Below::Name),
            "patternProperties" => self.members(value, Below::Pattern),
            "additionalProperties" => self.below(Below::Rest(self.id), value),
            "unevaluatedProperties" => self.below(Below::Rest(self.id), value),
            "items" => {
                let before = map.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                self.below(Below::From(before), value);
            }
            "prefixItems" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    self.below(Below::Prefix(index), item);
                }
            }
            "contains" => self.below(Below::Contained, value),
            "unevaluatedItems" => self.below(Below::Left, value),
            _ => {}
        }
        Ok(())
    }

    fn here(&mut self, how: Here, value: &'s Value) {
        let part = self.graph.part(value, false, self.resolver);
        self.here.push((how, part));
    }

    fn each_here(&mut self, value: &'s Value) {
        value.as_array().into_iter().flatten().for_each(|item| self.here(Here::Judged, item));
    }

    fn dependent(&mut self, value: &'s Value) {
        let schemas = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_array());
        schemas.for_each(|(_, value)| self.here(Here::Chosen, value));
    }

    fn below(&mut self, to: Below<'s>, value: &'s Value) {
        let part = self.graph.part(value, false, self.resolver);
        self.below.push((to, part));
    }

    fn members(&mut self, value: &'s Value, to: impl Fn(&'s str) -> Below<'s>) {
        value.as_object().into_iter().flatten().for_each(|(name, value)| self.below(to(name), value));
    }

    fn refer(&mut self, value: &'s Value) -> Result<(), String> {
        let Value::String(to) = value else { return Ok(()) };
        let resolver = &self.graph.resolvers[self.resolver as usize];
        let found = resolver.lookup(to).map_err(|error| error.to_string())?;
        let (target, resolver, _) = found.into_inner();
        let scope = self.graph.scope(resolver);
        let part = self.graph.part(target, true, scope);
        // The validator passes over a part that refers to itself.
        if part != self.id {
            self.here.push((Here::Referred, part));
        }
        Ok(())
    }
}

/// Looks for a part of a schema, and leaves the pointer to it.
fn search(within: &Value, part: &Value, pointer: &mut String) -> bool {
    if std::ptr::eq(within, part) {
        return true;
    }
    let length = pointer.len();
    let mut found = |segment: &str, value: &Value| {
        push_segment(pointer, segment);
        let found = search(value, part, pointer);
        if !found {
            pointer.truncate(length);
        }
        found
    };
    match within {
        Value::Object(map) => map.iter().any(|(name, value)| found(name, value)),
        Value::Array(list) => list.iter().enumerate().any(|(index, value)| found(&index.to_string(), value)),
        _ => false,
    }
}
