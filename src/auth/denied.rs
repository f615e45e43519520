//! Why somebody is not let in: for the peer the words of contract 15, for the log what was wrong. Nothing of the token is
//! in either.

use std::fmt;

/// Why there are no grants. Its text is the reason of contract 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No token where one is required.
    Missing,
    /// Once good, and its time is over.
    Expired,
    /// Not to be trusted; the flaw is for the log, the peer learns only that it is so.
    Invalid(Flaw),
}

/// What is wrong with a token or an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Longer than `TOKEN_BYTES_MAX`.
    TooLong,
    /// Not three parts of Base64url.
    Form,
    /// The header is not a JSON object with distinct members of the right types, or is of another kind of token.
    Header,
    /// The header has `crit` or `b64`, extensions that are not understood here and must not be passed over.
    Extension,
    /// The header names no algorithm that is spoken here; `none` is one of those.
    Algorithm,
    /// No key of that name is pinned to that algorithm.
    UnknownKey,
    /// The signature is not by that key.
    Signature,
    /// The payload is not a JSON object with distinct members.
    Payload,
    /// This claim is missing.
    Lacks(&'static str),
    /// This claim has a value of the wrong type or form.
    Claim(&'static str),
    /// By its `nbf` or `iat` it is from a time to come.
    NotYet,
    /// Not by the issuer that the key belongs to.
    Issuer,
    /// Not for this server.
    Audience,
    /// Taken back by the operator.
    Revoked,
    /// No such API key.
    ApiKey,
    /// A certificate that stood for a service and does not any more.
    Certificate,
}

impl Denied {
    /// The reason of contract 15.
    pub fn reason(self) -> &'static str {
        match self {
            Denied::Missing => "Authentication token required",
            Denied::Expired => "Token expired",
            Denied::Invalid(_) => "Invalid token",
        }
    }

    /// A word for metrics: from a closed list, so that it can be a label.
    pub fn label(self) -> &'static str {
        match self {
            Denied::Missing => "missing",
            Denied::Expired => "expired",
            Denied::Invalid(Flaw::Revoked) => "revoked",
            Denied::Invalid(_) => "invalid",
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl From<Flaw> for Denied {
    fn from(flaw: Flaw) -> Denied {
        Denied::Invalid(flaw)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::TooLong => "longer than a token may be",
            Flaw::Form => "not three parts of Base64url",
            Flaw::Header => "a header that is not one of a JWT",
            Flaw::Extension => "an extension in the header that is not understood",
            Flaw::Algorithm => "an algorithm that is not accepted",
            Flaw::UnknownKey => "no key of that name and algorithm",
            Flaw::Signature => "a signature that is not right",
            Flaw::Payload => "a payload that is no JSON object with distinct members",
            Flaw::Lacks(claim) => return write!(f, "no claim {claim}"),
            Flaw::Claim(claim) => return write!(f, "a value of claim {claim} that is not right"),
            Flaw::NotYet => "a time that is still to come",
            Flaw::Issuer => "another issuer",
            Flaw::Audience => "another audience",
            Flaw::Revoked => "revoked",
            Flaw::ApiKey => "no such API key",
            Flaw::Certificate => "a certificate that stands for no service any more",
        })
    }
}
