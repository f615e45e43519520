//! How an event looks on a socket. The hub knows forms by number only; what each looks like is a table of functions
//! that the dialects provide.

use super::{Channel, Event, Position};

/// Which rendering of an event a subscriber gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Form(pub u8);

impl Form {
    /// The event itself as one text frame: made with the event, so it needs no renderer.
    pub const RAW: Form = Form(0);
}

/// At most so many forms, as many as an event keeps room for.
pub const FORMS_MAX: usize = 12;

/// Writes an event as it goes onto the socket, header included. Answers where a label of [`LABEL_BYTES`] is to be
/// spliced in, if the form has one; the header counts it.
pub type Renderer = fn(&Event, &Channel, Position, &mut Vec<u8>) -> Option<u32>;

/// One renderer per form, in the order of [`Form`]'s numbers; that of [`Form::RAW`] is never called.
pub type Renderers = &'static [Renderer];

/// One try to deliver an event that is to be acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The how manieth, from 1.
    pub number: u32,
    /// The name of the subscription, as JSON.
    pub subscription: &'a str,
    /// When the one before went out, in Unix milliseconds.
    pub before_ms: Option<u64>,
    /// Why that was not the last.
    pub error: Option<&'a str>,
}

/// Writes how the text of such an event begins: what takes the place of the brace that its rendering begins with.
pub type Heading = fn(&Attempt<'_>) -> String;

/// What is spliced into a rendering for one subscription: a UUID's text.
pub type Label = [u8; LABEL_BYTES];

/// The length of a [`Label`].
pub const LABEL_BYTES: usize = 36;

/// An event in one form.
#[derive(Debug)]
pub struct Rendered {
    /// What goes onto the socket, but for the label.
    pub bytes: Box<[u8]>,
    /// Where the label goes.
    pub splice_at: Option<u32>,
}

impl Rendered {
    /// Bytes on the wire, the label included.
    pub fn wire_bytes(&self) -> usize {
        self.bytes.len() + if self.splice_at.is_some() { LABEL_BYTES } else { 0 }
    }
}
