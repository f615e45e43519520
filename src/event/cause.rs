//! Why an event became a dead letter: one table for what is kept, asked for and told.

/// Why nobody got it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was refused when it was published.
    Refused,
    /// Its time was over before anybody had received it.
    Expired,
    /// A subscriber got it as often as it may and did not acknowledge it.
    Unacknowledged,
    /// A subscriber said that it cannot take it.
    Rejected,
    /// A sink outside of this server refused it.
    Sink,
}

impl Cause {
    /// All of them, for documents and tests.
    pub const ALL: [Cause; 5] =
        [Cause::Refused, Cause::Expired, Cause::Unacknowledged, Cause::Rejected, Cause::Sink];

    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Cause::Refused => "refused",
            Cause::Expired => "expired",
            Cause::Unacknowledged => "unacknowledged",
            Cause::Rejected => "rejected",
            Cause::Sink => "sink",
        }
    }

    /// The cause with this word.
    pub fn parse(word: &str) -> Option<Cause> {
        Cause::ALL.into_iter().find(|cause| cause.word() == word)
    }
}
