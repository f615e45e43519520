//! What a connection says with every request that has a body, so that it need not be understood anew each time ([`Seen`]).
//! Kept from the second request on: most connections have only one thing to say. Who never says the same twice is not
//! listened to in this way for long.

use crate::wire::http::{Head, Seen};

/// Lines that are kept in vain until no more are: of a client that sends a trace or a key with each event.
const VAIN_MAX: u8 = 4;

/// More than can be in vain: nothing is kept any more.
const GIVEN_UP: u8 = VAIN_MAX + 1;

/// The habits of one connection.
#[derive(Debug, Default)]
pub struct Habits {
    seen: Option<Box<Seen>>,
    has_asked: bool,
    /// Lines that were kept, less heads that were known by them, or [`GIVEN_UP`].
    vain: u8,
}

impl Habits {
    /// What was seen, to be lent while requests are read.
    pub fn take(&mut self) -> Option<Box<Seen>> {
        self.seen.take()
    }

    /// Puts it back, unless something newer was learnt meanwhile, or nothing is to be kept any more.
    pub fn put_back(&mut self, seen: Option<Box<Seen>>) {
        if self.seen.is_none() && self.vain != GIVEN_UP {
            self.seen = seen;
        }
    }

    /// What was seen has come again.
    pub fn confirm(&mut self) {
        self.vain = self.vain.saturating_sub(1);
    }

    /// A whole request had a head that was not known. Of requests that came together one is enough.
    pub fn learn(&mut self, head: &Head<'_>) {
        if !std::mem::replace(&mut self.has_asked, true) || self.seen.is_some() || self.vain == GIVEN_UP {
            return;
        }
        if self.vain == VAIN_MAX {
            self.vain = GIVEN_UP;
            return;
        }
        if let Some(seen) = Seen::of(head) {
            self.vain += 1;
            self.seen = Some(Box::new(seen));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::publisher::{Next, Publisher};
    use super::*;
    use crate::session::tests_support::options;

    fn post(fields: &str, body: &str) -> String {
        let length = body.len();
        format!("POST /publish/a HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {length}\r\n\r\n{body}")
    }

    /// Has `text` served, and answers whether its lines are kept now.
    fn serve(publisher: &mut Publisher, text: &str) -> bool {
        let (options, seen, mut head) = (options(), publisher.habits.take(), Head::default());
        let next = publisher.next(text.as_bytes(), seen.as_deref(), &mut head, &options, 0);
        assert!(matches!(next, Next::Whole { consumed, .. } if consumed == text.len()), "{text}");
        assert_eq!(head, crate::wire::http::head(text.as_bytes()).unwrap().unwrap());
        let again = seen.as_deref().is_some_and(|seen| Head::default().read_again(text.as_bytes(), seen));
        publisher.habits.put_back(seen);
        again
    }

    #[test]
    fn lines_that_come_again_are_known_from_the_third_request_on() {
        let mut publisher = Publisher::new(0);
        for (known, body) in [(false, "{}"), (false, "{}"), (true, "{}"), (true, "0123456789"), (true, "")] {
            assert_eq!(serve(&mut publisher, &post("X-Service-Name: a\r\n", body)), known);
        }
        // Another client behind the same proxy connection; then that one again.
        assert!(!serve(&mut publisher, &post("X-Service-Name: b\r\n", "{}")));
        assert!(serve(&mut publisher, &post("X-Service-Name: b\r\n", "{}")));
        assert!(!serve(&mut publisher, "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(serve(&mut publisher, &post("X-Service-Name: b\r\n", "{}")));
    }

    #[test]
    fn lines_that_never_come_again_are_not_kept_for_long() {
        let mut publisher = Publisher::new(0);
        for number in 0..20 {
            serve(&mut publisher, &post(&format!("Idempotency-Key: {number}\r\n"), "{}"));
        }
        assert!(publisher.habits.take().is_none(), "the last lines are not kept either");
        assert!(!serve(&mut publisher, &post("", "{}")));
        assert!(!serve(&mut publisher, &post("", "{}")));
    }
}
