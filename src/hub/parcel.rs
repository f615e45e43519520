//! An event on its way to members of this shard: in one form, with what a queue must know of it. Wrapped in an `Rc`
//! where it is queued, so that the count that the cores share is touched once per shard and not per subscriber.

use super::slow::Slow;
use crate::event::{Channel, Event, Form, LABEL_BYTES, Position, Priority};
use std::cell::OnceCell;
use std::ops::Deref;
use std::rc::Rc;

/// One event in one form.
#[derive(Clone)]
pub struct Parcel {
    event: Event,
    form: Form,
    /// Bytes on the wire without a label.
    bytes: u32,
    priority: Priority,
    slow: Slow,
    /// May expire while it waits.
    mortal: bool,
    /// Nothing of it is but common: a queue need not look.
    plain: bool,
    position: Position,
    /// Where its loss is to be told.
    channel: Option<Channel>,
}

impl Parcel {
    /// An event in a form in which it was rendered already, unless that is [`Form::RAW`].
    #[inline]
    pub fn new(event: Event, form: Form, position: Position, slow: Slow, channel: &Channel) -> Parcel {
        let bytes = match form {
            Form::RAW => event.frame().len(),
            _ => event.rendering(form).expect("rendered by the caller").bytes.len(),
        };
        let mortal = event.extras().is_some_and(|extras| extras.expires_us.is_some());
        let priority = event.priority();
        Parcel {
            bytes: bytes as u32,
            plain: priority == Priority::NORMAL && !mortal && slow != Slow::Router,
            priority,
            mortal,
            slow,
            form,
            position,
            channel: slow.tells().then(|| channel.clone()),
            event,
        }
    }

    /// An event as it was published, which nobody numbered.
    pub fn raw(event: Event) -> Parcel {
        let channel = Channel::parse("none").expect("a name of letters");
        Parcel::new(event, Form::RAW, Position { epoch: 0, offset: 0 }, Slow::Disconnect, &channel)
    }

    /// What goes onto the wire, but for the label.
    pub fn bytes(&self) -> &[u8] {
        match self.form {
            Form::RAW => self.event.frame(),
            form => &self.event.rendering(form).expect("rendered when it was made").bytes,
        }
    }

    /// Where a label is to be spliced in.
    pub(super) fn splice_at(&self) -> Option<u32> {
        match self.form {
            Form::RAW => None,
            form => self.event.rendering(form)?.splice_at,
        }
    }

    /// The length of [`Parcel::bytes`].
    #[expect(clippy::len_without_is_empty, reason = "a frame has a header, so it is never empty")]
    pub fn len(&self) -> usize {
        self.bytes as usize
    }

    /// Bytes on the wire with a label.
    pub(super) fn labelled_len(&self) -> usize {
        self.len() + LABEL_BYTES
    }

    pub(super) fn event(&self) -> &Event {
        &self.event
    }

    pub(super) fn form(&self) -> Form {
        self.form
    }

    pub(super) fn priority(&self) -> Priority {
        self.priority
    }

    pub(super) fn slow(&self) -> Slow {
        self.slow
    }

    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    pub(super) fn is_mortal(&self) -> bool {
        self.mortal
    }

    pub(super) fn position(&self) -> Position {
        self.position
    }

    pub(super) fn channel(&self) -> Option<&Channel> {
        self.channel.as_ref()
    }
}

/// A parcel in a crowd's turn. Most leave with the turn and are never queued, so that they need no count.
pub(super) struct Carried {
    parcel: Parcel,
    shared: OnceCell<Rc<Parcel>>,
}

impl Carried {
    /// `shared` is the same parcel, if it was queued for somebody.
    pub fn new(parcel: Parcel, shared: Option<&Rc<Parcel>>) -> Carried {
        Carried { parcel, shared: shared.cloned().map_or_else(OnceCell::new, OnceCell::from) }
    }

    /// To be queued.
    pub fn share(&self) -> &Rc<Parcel> {
        self.shared.get_or_init(|| Rc::new(self.parcel.clone()))
    }
}

impl Deref for Carried {
    type Target = Parcel;

    fn deref(&self) -> &Parcel {
        &self.parcel
    }
}
