//! One client as a state machine over received bytes: connecting, asking, catching up, live. It checks that its channel's
//! offsets follow each other over all its lives, and that each event carries the number that belongs to its offset.
use std::io::{Error, Result};

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::event;
use crate::frame::first_frame;
use crate::wire::{self, CLOSE, HEAD_END, Message, Position, TEXT};

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Without a socket.
    Away,
    /// The socket is being opened.
    Connecting,
    /// The upgrade is asked for.
    Upgrading,
    /// `subscribe` is asked for.
    Joining,
    /// Everything up to this offset is still to come.
    CatchingUp(u64),
    /// All that comes is new.
    Live,
}

/// What went wrong, counted over all clients and lives.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Events that were skipped.
    pub missed: u64,
    /// Events that came again.
    pub doubled: u64,
    /// Events whose content is not what was published at their offset.
    pub wrong: u64,
    /// Returns that were answered `recovered: false`, and `gap` messages.
    pub unrecovered: u64,
    /// Sockets that the server closed or refused.
    pub closed: u64,
    /// The first `error` message or unexpected answer.
    pub first_word: Option<String>,
}

impl Faults {
    fn hear(&mut self, text: &[u8]) {
        self.first_word
            .get_or_insert_with(|| String::from_utf8_lossy(&text[..text.len().min(300)]).into_owned());
    }
}

/// A client. `socket` is there unless it is away.
pub struct Client {
    pub channel: usize,
    pub state: State,
    pub socket: Option<OwnedFd>,
    /// When the present life began and when it asked for its events.
    pub began_ns: u64,
    pub asked_ns: u64,
    /// The last event seen; before the first one, where the subscription began.
    pub last: Option<Position>,
    /// The offset at which this client began: the event behind it is the channel's number 0.
    pub base: u64,
    /// When the events that came since the last look were sent, in nanoseconds.
    pub sent_ns: Vec<u64>,
    size: usize,
    partial: Vec<u8>,
}

impl Client {
    pub fn new(channel: usize, size: usize) -> Client {
        let (socket, partial) = (None, Vec::new());
        Client {
            channel,
            state: State::Away,
            socket,
            began_ns: 0,
            asked_ns: 0,
            last: None,
            base: 0,
            sent_ns: Vec::new(),
            size,
            partial,
        }
    }

    /// Begins a life.
    pub fn dial(&mut self, port: u16, now_ns: u64) -> Result<&OwnedFd> {
        self.partial.clear();
        self.state = State::Connecting;
        self.began_ns = now_ns;
        Ok(self.socket.insert(wire::dial(port)?))
    }

    /// Ends a life without a word.
    pub fn cut(&mut self) {
        self.socket = None;
        self.partial = Vec::new();
        self.state = State::Away;
    }

    /// The socket takes bytes: asks for the upgrade if that is due.
    pub fn writable(&mut self) -> Result<()> {
        if self.state == State::Connecting {
            self.say(wire::upgrade().as_bytes())?;
            self.state = State::Upgrading;
        }
        Ok(())
    }

    /// Reads until the socket is empty (it is edge-triggered).
    ///
    /// # Errors
    /// The server has closed or refused.
    pub fn readable(&mut self, scratch: &mut [u8], now_ns: u64, faults: &mut Faults) -> Result<()> {
        loop {
            let Some(socket) = &self.socket else { return Ok(()) };
            let kept = self.partial.len();
            scratch[..kept].copy_from_slice(&self.partial);
            let read = match recv(socket, &mut scratch[kept..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => return Err(Error::other("the server closed")),
                Ok((read, _)) => read,
                Err(Errno::AGAIN | Errno::NOTCONN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            let end = kept + read;
            let used = self.take(&scratch[..end], now_ns, faults)?;
            self.partial.clear();
            self.partial.extend_from_slice(&scratch[used..end]);
            if end < scratch.len() {
                return Ok(());
            }
        }
    }

    /// Takes what is whole and answers how many bytes that were.
    fn take(&mut self, bytes: &[u8], now_ns: u64, faults: &mut Faults) -> Result<usize> {
        let mut at = 0;
        if self.state == State::Upgrading {
            let Some(end) = bytes.windows(HEAD_END.len()).position(|window| window == HEAD_END) else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                faults.hear(bytes);
                return Err(Error::other("the upgrade was refused"));
            }
            at = end + HEAD_END.len();
            self.asked_ns = now_ns;
            self.say(&wire::subscribe(self.channel, self.last))?;
            self.state = State::Joining;
        }
        while let Some((first, payload, length)) = first_frame(&bytes[at..]) {
            at += length;
            match first {
                TEXT => self.hear(payload, faults),
                CLOSE => {
                    faults.hear(payload.get(2..).unwrap_or_default());
                    return Err(Error::other("the server closed"));
                }
                _ => {}
            }
        }
        Ok(at)
    }

    fn hear(&mut self, payload: &[u8], faults: &mut Faults) {
        let Ok(message) = serde_json::from_slice::<Message>(payload) else { return faults.hear(payload) };
        match message.kind {
            "event" => self.book(&message, faults),
            "subscribed" => self.joined(&message, faults),
            "welcome" | "ping" => {}
            "gap" => {
                faults.unrecovered += 1;
                faults.hear(payload);
            }
            _ => faults.hear(payload),
        }
    }

    fn joined(&mut self, message: &Message, faults: &mut Faults) {
        let Some(head) = message.position.and_then(Position::parse) else {
            faults.wrong += 1;
            return;
        };
        let Some(last) = self.last else {
            (self.last, self.base, self.state) = (Some(head), head.offset, State::Live);
            return;
        };
        if message.recovered != Some(true) {
            faults.unrecovered += 1;
        }
        self.state = if head.offset > last.offset { State::CatchingUp(head.offset) } else { State::Live };
    }

    fn book(&mut self, message: &Message, faults: &mut Faults) {
        let (Some(id), Some(last)) = (message.id.and_then(Position::parse), self.last) else {
            faults.wrong += 1;
            return;
        };
        let due = last.offset + 1;
        if id.offset < due {
            faults.doubled += 1;
            return;
        }
        faults.missed += id.offset - due;
        let stamp = message.event.and_then(|event| event::read(event.get().as_bytes(), self.size));
        let right = |stamp: event::Stamp| u64::from(stamp.seq) == id.offset - self.base - 1;
        if id.epoch != last.epoch || !stamp.is_some_and(right) {
            faults.wrong += 1;
        }
        self.last = Some(id);
        self.sent_ns.extend(stamp.map(|stamp| stamp.at_ns));
        if matches!(self.state, State::CatchingUp(head) if id.offset >= head) {
            self.state = State::Live;
        }
    }

    fn say(&self, bytes: &[u8]) -> Result<()> {
        let socket = self.socket.as_ref().expect("only those with a socket speak");
        match send(socket, bytes, SendFlags::NOSIGNAL)? {
            sent if sent == bytes.len() => Ok(()),
            _ => Err(Error::other("no room for a few bytes")),
        }
    }

    /// How many of the channel's events it has seen or stepped over.
    pub fn seen(&self) -> u64 {
        self.last.map_or(0, |last| last.offset - self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: usize = 128;

    fn frame(text: &str) -> Vec<u8> {
        let length = (text.len() as u16).to_be_bytes();
        [&[TEXT, 126, length[0], length[1]], text.as_bytes()].concat()
    }

    fn event(offset: u64, seq: u32) -> Vec<u8> {
        let mut event = event::template(0, SIZE);
        event::write(&mut event, 0, seq, 7);
        let event = String::from_utf8(event).unwrap();
        frame(&format!(
            "{{\"type\":\"event\",\"channel\":\"storm.0\",\"id\":\"0000000a-{offset}\",\"event\":{event}}}"
        ))
    }

    fn subscribed(offset: u64, recovered: bool) -> Vec<u8> {
        let position = format!("\"position\":\"0000000a-{offset}\",\"recovered\":{recovered}");
        frame(&format!("{{\"type\":\"subscribed\",\"ref\":1,{position},\"replayed\":0}}"))
    }

    /// A client that has begun at offset 5 and has seen offsets 6 and 7, then came back.
    fn returned(head: u64, recovered: bool) -> (Client, Faults) {
        let (mut client, mut faults) = (Client::new(0, SIZE), Faults::default());
        for lives in [[subscribed(5, false), event(6, 0), event(7, 1)].concat(), subscribed(head, recovered)]
        {
            client.state = State::Joining;
            assert_eq!(client.take(&lives, 0, &mut faults).unwrap(), lives.len());
        }
        (client, faults)
    }

    #[test]
    fn a_replay_in_order_has_no_fault_and_ends_at_the_head() {
        let (mut client, mut faults) = returned(9, true);
        assert_eq!(client.state, State::CatchingUp(9));
        client.take(&event(8, 2), 0, &mut faults).unwrap();
        assert_eq!(client.state, State::CatchingUp(9));
        client.take(&[event(9, 3), event(10, 4)].concat(), 0, &mut faults).unwrap();
        assert_eq!((client.state, client.seen()), (State::Live, 5));
        let Faults { missed, doubled, wrong, unrecovered, closed, first_word } = faults;
        assert_eq!((missed, doubled, wrong, unrecovered, closed, first_word), (0, 0, 0, 0, 0, None));
    }

    #[test]
    fn holes_doubles_and_wrong_events_are_found() {
        let (mut client, mut faults) = returned(9, false);
        let bytes = [event(7, 1), event(10, 4), event(11, 4)].concat();
        client.take(&bytes, 0, &mut faults).unwrap();
        assert_eq!((faults.doubled, faults.missed, faults.wrong, faults.unrecovered), (1, 2, 1, 1));
    }

    #[test]
    fn an_incomplete_frame_waits() {
        let (mut client, mut faults) = returned(7, true);
        let bytes = event(8, 2);
        assert!((0..bytes.len()).all(|cut| client.take(&bytes[..cut], 0, &mut faults).unwrap() == 0));
        assert_eq!(client.state, State::Live, "nothing was missed");
    }
}
