//! What a connection was let in with: its holder's rights, until when they last, and whether it was told that they end.
//! The clock of the server decides: a connection lives until its token's `exp`; one that was let in by the leeway after
//! that, until the leeway ends too.

use crate::auth::Grants;
use std::sync::Arc;

/// A client is told so long before its token ends, in milliseconds: time enough to fetch another, even after sleeping
/// through a first try. Of a token that ends sooner than twice that, at half of its time.
const TOLD_BEFORE_MS: u64 = 60_000;

/// The rights of one connection.
#[derive(Debug)]
pub struct Pass {
    grants: Arc<Grants>,
    ends_at_ms: Option<u64>,
    tell_at_ms: Option<u64>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing before then, in milliseconds since 1970; `None`: ever.
    At(Option<u64>),
    /// To tell that it ends, in so many seconds.
    Tell(u64),
    /// It has ended.
    Ended,
}

impl Pass {
    /// For a connection that is let in, or renewed, now; `tells`: its dialect has words for the end to come.
    pub fn new(grants: Arc<Grants>, tells: bool, now_ms: u64) -> Pass {
        let in_time = grants.expires_at_s().filter(|at_s| at_s.saturating_mul(1000) > now_ms);
        let ends_at_ms = in_time.or(grants.ends_at_s()).map(|at_s| at_s.saturating_mul(1000));
        let before = |end: u64| TOLD_BEFORE_MS.min(end.saturating_sub(now_ms) / 2);
        let tell_at_ms = ends_at_ms.filter(|_| tells).map(|end| end - before(end));
        Pass { grants, ends_at_ms, tell_at_ms }
    }

    /// The rights.
    pub fn grants(&self) -> &Arc<Grants> {
        &self.grants
    }

    /// Other rights until the same moment: the rules have changed.
    pub fn replace(&mut self, grants: Arc<Grants>) {
        self.grants = grants;
    }

    /// When there is something to do next, in milliseconds since 1970.
    pub fn next_ms(&self) -> Option<u64> {
        self.tell_at_ms.or(self.ends_at_ms)
    }

    /// Whether it has ended.
    pub fn has_ended(&self, now_ms: u64) -> bool {
        self.ends_at_ms.is_some_and(|end| end <= now_ms)
    }

    /// What is to be done now; a telling is due once.
    pub fn due(&mut self, now_ms: u64) -> Due {
        if self.has_ended(now_ms) {
            return Due::Ended;
        }
        match self.tell_at_ms.take_if(|at| *at <= now_ms) {
            Some(_) => Due::Tell(self.ends_at_ms.unwrap_or(now_ms).saturating_sub(now_ms).div_ceil(1000)),
            None => Due::At(self.next_ms()),
        }
    }
}
