//! Whom a client's certificate names. The room that speaks TLS has verified it and makes this of it; what it is worth is
//! for [`super::Gate`] to say.

/// A certificate that an authority of the operator's has signed, and that was valid when its connection began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certified {
    /// Its alternative names, hosts and URIs, in their order; the common name of its subject if it has none.
    pub names: Vec<Box<str>>,
    /// The second, since 1970, at which it ends.
    pub ends_at_s: u64,
    /// SHA-256 of the whole.
    pub fingerprint: [u8; 32],
}
