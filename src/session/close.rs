//! Reasons to close a socket (contract 15): the one table that code, clients, documents and metrics share.

/// Why the server closes a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Everything is said.
    Normal,
    /// The server goes away.
    Shutdown,
    /// The peer broke RFC 6455.
    Protocol,
    /// The peer sent a binary message.
    TextOnly,
    /// The peer sent text that is not UTF-8.
    InvalidUtf8,
    /// There was no token, and one is needed.
    TokenRequired,
    /// The token is not one of this server's issuers, or was revoked.
    InvalidToken,
    /// The token has ended.
    TokenExpired,
    /// The token does not let its bearer hear this channel.
    Unauthorized,
    /// The channel's name is outside the grammar.
    InvalidChannel,
    /// A limit on connections is reached.
    ConnectionLimit,
    /// The channel has as many clients as it may.
    ChannelFull,
    /// The page's origin is not on the list.
    Origin,
    /// More messages than the client may send.
    TooManyMessages,
    /// A message beyond the limit.
    TooBig,
    /// A fault of the server's own.
    Internal,
    /// The peer does not read what it asked for.
    SlowConsumer,
    /// The server protects itself.
    Overloaded,
}

/// When a client may come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Not without a change on its side.
    No,
    /// Later.
    Later,
    /// With a new token.
    WithToken,
    /// Soon, at a random moment, so that not all come at once.
    WithJitter,
}

impl Reason {
    /// All of them, for documents and tests.
    pub const ALL: [Reason; 18] = [
        Reason::Normal,
        Reason::Shutdown,
        Reason::Protocol,
        Reason::TextOnly,
        Reason::InvalidUtf8,
        Reason::TokenRequired,
        Reason::InvalidToken,
        Reason::TokenExpired,
        Reason::Unauthorized,
        Reason::InvalidChannel,
        Reason::ConnectionLimit,
        Reason::ChannelFull,
        Reason::Origin,
        Reason::TooManyMessages,
        Reason::TooBig,
        Reason::Internal,
        Reason::SlowConsumer,
        Reason::Overloaded,
    ];

    /// Status code (RFC 6455 7.4), words, and whether to come back.
    const fn row(self) -> (u16, &'static str, Retry) {
        match self {
            Reason::Normal => (1000, "Normal closure", Retry::No),
            Reason::Shutdown => (1001, "Server shutting down for maintenance", Retry::WithJitter),
            Reason::Protocol => (1002, "Protocol error", Retry::No),
            Reason::TextOnly => (1003, "Text messages only", Retry::No),
            Reason::InvalidUtf8 => (1007, "Invalid UTF-8", Retry::No),
            Reason::TokenRequired => (1008, "Authentication token required", Retry::No),
            Reason::InvalidToken => (1008, "Invalid token", Retry::No),
            Reason::TokenExpired => (1008, "Token expired", Retry::WithToken),
            Reason::Unauthorized => (1008, "Unauthorized access to channel", Retry::No),
            Reason::InvalidChannel => (1008, "Invalid channel name", Retry::No),
            Reason::ConnectionLimit => (1008, "Connection limit exceeded", Retry::Later),
            Reason::ChannelFull => (1008, "Channel full", Retry::Later),
            Reason::Origin => (1008, "Origin not allowed", Retry::No),
            Reason::TooManyMessages => (1008, "Too many messages", Retry::No),
            Reason::TooBig => (1009, "Message too big", Retry::No),
            Reason::Internal => (1011, "Internal error", Retry::Later),
            Reason::SlowConsumer => (1013, "Slow consumer", Retry::Later),
            Reason::Overloaded => (1013, "Server overloaded", Retry::Later),
        }
    }

    /// The status code.
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// The words that go with it; for [`Reason::Shutdown`] a setting may give others.
    pub const fn text(self) -> &'static str {
        self.row().1
    }

    /// Whether a client may come back.
    pub const fn retry(self) -> Retry {
        self.row().2
    }

    /// The reason for a violation that the codec found.
    pub fn of_violation(code: u16) -> Reason {
        match code {
            1007 => Reason::InvalidUtf8,
            1009 => Reason::TooBig,
            _ => Reason::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_may_be_sent_and_fits_a_control_frame() {
        for reason in Reason::ALL {
            assert!(crate::wire::websocket::close::valid_code(reason.code()), "{reason:?}");
            assert!(reason.text().len() <= 123, "{reason:?}");
        }
    }
}
