//! How much one peer may do in a while: judgements about times that are given. It knows no clock, no lock and no socket;
//! where what was counted is kept is the caller's business.

mod window;

pub use window::{Quota, Rate, Taken, Window};

use crate::event::ConnectionId;
use std::fmt;
use std::net::IpAddr;

/// Of whom something is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who<'w> {
    /// A service that publishes, by the name that it gives.
    Service(&'w str),
    /// Somebody with a token.
    User(&'w str),
    /// Whoever comes from an address and says no name.
    Address(IpAddr),
    /// One connection, whoever it is.
    Connection(ConnectionId),
}

/// So many characters of a name are said back.
const SHOWN_CHARS_MAX: usize = 100;

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Service(name) => write!(f, "service '{}'", cut(name)),
            Who::User(id) => write!(f, "user '{}'", cut(id)),
            Who::Address(address) => write!(f, "address {}", address.to_canonical()),
            Who::Connection(_) => f.write_str("this connection"),
        }
    }
}

fn cut(name: &str) -> &str {
    name.char_indices().nth(SHOWN_CHARS_MAX).map_or(name, |(end, _)| &name[..end])
}
