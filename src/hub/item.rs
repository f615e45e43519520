//! One thing in a connection's queue.

use super::members::Badge;
use super::parcel::Parcel;
use std::rc::Rc;

pub(super) enum Item {
    /// What opens the socket, behind the answers that HTTP still owed. It is never dropped: they may be half out.
    Greeting(Box<[u8]>),
    Control(Box<[u8]>),
    Event {
        parcel: Rc<Parcel>,
        tag: u32,
    },
    /// An event with the label of its subscription, which has a place in the rendering.
    Labelled {
        parcel: Rc<Parcel>,
        label: Rc<Badge>,
        tag: u32,
    },
}

impl Item {
    pub fn event(parcel: &Rc<Parcel>, tag: u32, label: Option<&Rc<Badge>>) -> Item {
        match label.filter(|_| parcel.splice_at().is_some()) {
            None => Item::Event { parcel: parcel.clone(), tag },
            Some(label) => Item::Labelled { parcel: parcel.clone(), label: label.clone(), tag },
        }
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Item::Greeting(bytes) | Item::Control(bytes) => bytes.len(),
            Item::Event { parcel, .. } => parcel.len(),
            Item::Labelled { parcel, .. } => parcel.labelled_len(),
        }
    }

    /// What goes onto the wire: in one piece, or around and in a label.
    pub fn pieces(&self) -> [&[u8]; 3] {
        match self {
            Item::Greeting(bytes) | Item::Control(bytes) => [bytes, &[], &[]],
            Item::Event { parcel, .. } => [parcel.bytes(), &[], &[]],
            Item::Labelled { parcel, label, .. } => {
                let at = parcel.splice_at().expect("no label is kept without a place for it");
                let (head, tail) = parcel.bytes().split_at(at as usize);
                [head, &label.label, tail]
            }
        }
    }

    /// The event in it, if it is one, and the tag of its subscription.
    pub fn parcel(&self) -> Option<(&Rc<Parcel>, u32)> {
        match self {
            Item::Event { parcel, tag } | Item::Labelled { parcel, tag, .. } => Some((parcel, *tag)),
            Item::Greeting(_) | Item::Control(_) => None,
        }
    }
}
