//! A request that is not done: status, and a body that says what, for people and for programs (contract 3.3).

use crate::event::{Channel, Event};
use serde_json::{Map, Value, json};

/// One refused request.
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// A few words that stay the same for the same cause.
    pub error: &'static str,
    /// A sentence.
    pub message: String,
    /// Further facts, beside `error` and `message`.
    pub facts: Map<String, Value>,
    /// Header fields.
    pub fields: Vec<(&'static str, String)>,
    /// The connection ends after the answer.
    pub close: bool,
    /// What no schema let through, where such events are kept.
    pub misfit: Option<Box<Misfit>>,
}

/// An event that was refused for what it is, and would have been let in otherwise.
#[derive(Debug)]
pub struct Misfit {
    /// Where to.
    pub channel: Channel,
    /// As it was published.
    pub event: Event,
}

impl Refusal {
    /// A refusal without further facts.
    pub fn new(status: u16, error: &'static str, message: impl Into<String>) -> Refusal {
        let message = message.into();
        Refusal { status, error, message, facts: Map::new(), fields: Vec::new(), close: false, misfit: None }
    }

    /// Adds a fact to the body.
    pub fn fact(mut self, name: &str, value: impl Into<Value>) -> Refusal {
        self.facts.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header field.
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Refusal {
        self.fields.push((name, value.into()));
        self
    }

    /// Ends the connection after the answer.
    pub fn closing(mut self) -> Refusal {
        self.close = true;
        self
    }

    /// Hands on the event that was refused.
    pub fn keeping(self, channel: &str, event: Event) -> Refusal {
        let misfit = Channel::parse(channel).ok().map(|channel| Box::new(Misfit { channel, event }));
        Refusal { misfit, ..self }
    }

    /// Names one field at fault by its JSON pointer (RFC 6901).
    pub fn at(self, pointer: &str, message: &str) -> Refusal {
        self.fact("validation_errors", json!([{ "field": pointer, "message": message }]))
    }

    /// The body as `{"detail": {…}}`, or as a problem document (RFC 9457).
    pub fn body(&self, problem: bool) -> Vec<u8> {
        let mut body = if problem {
            json!({ "type": "about:blank", "title": self.error, "status": self.status, "detail": self.message })
        } else {
            json!({ "detail": { "error": self.error, "message": self.message } })
        };
        let facts = if problem { body.as_object_mut() } else { body["detail"].as_object_mut() };
        if let Some(facts) = facts {
            facts.extend(self.facts.clone());
        }
        body.to_string().into_bytes()
    }

    /// The media type of [`Refusal::body`].
    pub fn content_type(problem: bool) -> &'static str {
        if problem { "application/problem+json" } else { "application/json" }
    }
}

impl From<crate::wire::http::Refusal> for Refusal {
    fn from(refusal: crate::wire::http::Refusal) -> Refusal {
        Refusal::new(refusal.status, refusal.error, refusal.message).closing()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_state_the_same_facts() {
        let refusal = Refusal::new(400, "Bad", "It is bad").at("/data", "Field required");
        let plain: Value = serde_json::from_slice(&refusal.body(false)).unwrap();
        assert_eq!(plain["detail"]["error"], "Bad");
        assert_eq!(plain["detail"]["validation_errors"][0]["field"], "/data");
        let problem: Value = serde_json::from_slice(&refusal.body(true)).unwrap();
        assert_eq!((&problem["title"], &problem["status"]), (&json!("Bad"), &json!(400)));
        assert_eq!(problem["validation_errors"], plain["detail"]["validation_errors"]);
    }
}
