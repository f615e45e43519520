//! What a path and its query ask for, before anybody is asked whether it may be had.

use crate::event::{Channel, Form};
use crate::session::Refusal;
use crate::session::command::{Subscribe, Target};
use crate::session::credentials::Asker;
use crate::session::dialect::freqsearch::Interest;
use crate::session::dialect::{Dialect, forms};
use crate::session::query::{Format, Start, Wanted};
use crate::session::route::Socket;
use crate::session::subscriber::Speech;
use crate::wire::http::query as pairs;

/// A connection that is about to get events.
pub(super) struct Plan {
    pub speech: Speech,
    /// Messages may be compressed.
    pub zipped: bool,
    pub targets: Vec<Target>,
    pub wanted: Wanted,
    pub form: Form,
    /// Of dialect `freqsearch`.
    pub interest: Option<Interest>,
    /// Of the greeting of a stream, what answers requests before it.
    pub answers_bytes: usize,
    /// Who opens it.
    pub asker: Asker,
}

pub(super) fn speech(wanted: Socket<'_>, speaks_v1: bool) -> Speech {
    Speech::Socket(match wanted {
        Socket::Channel(_) | Socket::Open if speaks_v1 => Dialect::V1,
        Socket::Channel(_) | Socket::Open => Dialect::Courier,
        Socket::Events(_) => Dialect::Events,
        Socket::FreqSearch => Dialect::FreqSearch,
        Socket::Router => Dialect::Router,
        Socket::Echo => return Speech::Echo,
    })
}

/// What a path and its query ask for; nothing when the path names no valid channel.
pub(super) fn plan(
    wanted: Socket<'_>,
    speech: Speech,
    raw: &str,
    query: Wanted,
    zipped: bool,
) -> Option<Plan> {
    let mut interest = None;
    let targets = match wanted {
        Socket::Channel(channel) | Socket::Events(channel) => {
            vec![channel.and_then(channel_target)?]
        }
        Socket::FreqSearch => {
            let rooms = pairs(raw).find(|(name, _)| name == "rooms").map(|(_, list)| list);
            let interest = interest.insert(Interest::in_rooms(&rooms.unwrap_or_default())?);
            interest.targets()
        }
        Socket::Open | Socket::Router | Socket::Echo => Vec::new(),
    };
    let cloud = query.format == Format::CloudEvents;
    let form = match speech {
        Speech::Socket(Dialect::Courier) if cloud => forms::CLOUD,
        Speech::Socket(Dialect::V1) if cloud => forms::V1_CLOUD,
        Speech::Socket(dialect) => dialect.manners().form,
        Speech::Stream | Speech::Echo => Form::RAW,
    };
    Some(Plan { speech, zipped, targets, wanted: query, form, interest, answers_bytes: 0, asker: None })
}

/// A place in the past is one of a channel, so a socket whose path names none has none.
pub(super) fn may_begin_in_the_past(wanted: Socket<'_>, asked: &Wanted) -> Result<(), Refusal> {
    if asked.places.len() > 1 {
        let why = "names a place in several channels, and the socket has one";
        return Err(Refusal::new(400, "Invalid query", format!("after: {why}")).at("/after", why));
    }
    let why = "since and after need a channel in the path";
    match (wanted, asked.from) {
        (_, Start::Live) | (Socket::Channel(_) | Socket::Events(_), _) => Ok(()),
        _ => Err(Refusal::new(400, "Invalid query", why).at("/since", why)),
    }
}

pub(super) fn channel_target(name: &str) -> Option<Target> {
    Channel::parse(name).ok().map(Target::Channel)
}

/// The subscription that comes with a path, as if it had been asked for by command.
pub(super) fn subscription(target: &Target, wanted: &Wanted, form: Form) -> Subscribe {
    Subscribe {
        reference: Default::default(),
        id: target.as_str().into(),
        targets: vec![target.clone()],
        filter: wanted.filter.clone(),
        from: Default::default(),
        form,
        acks: None,
        topics: "".into(),
    }
}
