//! Dialect `events` (`sources.md` 4): a welcome, then raw events. What clients say is read and ignored.

use crate::session::command::Command;
use serde_json::json;

/// Reads one message: whatever it is, it asks for nothing.
pub fn read(_text: &str) -> Command<'static> {
    Command::Ignore
}

/// Said first. `subscribers` counts this one.
pub fn welcome(channel: &str, subscribers: u32) -> String {
    json!({ "type": "connection", "message": format!("✨ Connected to channel '{channel}' ✨"),
            "channel": channel, "subscribers": subscribers })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_has_the_four_fields() {
        let welcome: serde_json::Value = serde_json::from_str(&welcome("daemon_events", 2)).unwrap();
        let expected = json!({"type":"connection","message":"✨ Connected to channel 'daemon_events' ✨",
                              "channel":"daemon_events","subscribers":2});
        assert_eq!(welcome, expected);
    }

    #[test]
    fn clients_are_heard_out_in_silence() {
        for text in ["", "ping", "{", r#"{"type":"ping"}"#, &"[".repeat(100_000)] {
            assert!(matches!(read(text), Command::Ignore));
        }
    }
}
