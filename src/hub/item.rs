//! One thing in a connection's queue.

use super::members::Badge;
use super::parcel::Parcel;
use std::rc::Rc;

pub(super) enum Item {
    /// What opens the socket, behind the answers that HTTP still owed. It is never dropped: they may be half out.
    Greeting(Box<[u8]>),
    Control(Box<[u8]>),
    /// Tells of events that went before. It stays when the queue is given up: they were lost all the same.
    Gap(Box<[u8]>),
    Event {
        parcel: Rc<Parcel>,
        tag: u32,
    },
    /// An event whose id is the places of its member in all its channels, in front of a rendering without its own; or
    /// whose envelope begins anew each time that it comes.
    Tracked {
        parcel: Rc<Parcel>,
        id: Box<[u8]>,
        /// Bytes of the rendering that the id takes the place of.
        skip: u32,
        tag: u32,
        /// It comes again until its subscriber says that it has it.
        acked: bool,
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
        if let Some(places) = label.and_then(|badge| badge.places.as_ref()) {
            let id = places.passed(tag, parcel.position()).into_boxed_slice();
            let own_id = parcel.bytes().iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            return Item::Tracked { parcel: parcel.clone(), id, skip: own_id as u32, tag, acked: false };
        }
        match label.filter(|_| parcel.splice_at().is_some()) {
            None => Item::Event { parcel: parcel.clone(), tag },
            Some(label) => Item::Labelled { parcel: parcel.clone(), label: label.clone(), tag },
        }
    }

    /// Bytes on the wire.
    pub fn len(&self) -> usize {
        match self {
            Item::Greeting(bytes) | Item::Control(bytes) | Item::Gap(bytes) => bytes.len(),
            Item::Event { parcel, .. } => parcel.len(),
            Item::Tracked { parcel, id, skip, .. } => id.len() + parcel.len() - *skip as usize,
            Item::Labelled { parcel, .. } => parcel.labelled_len(),
        }
    }

    /// What goes onto the wire: in one piece, or around and in a label.
    pub fn pieces(&self) -> [&[u8]; 3] {
        match self {
            Item::Greeting(bytes) | Item::Control(bytes) | Item::Gap(bytes) => [bytes, &[], &[]],
            Item::Event { parcel, .. } => [parcel.bytes(), &[], &[]],
            Item::Tracked { parcel, id, skip, .. } => [id, &parcel.bytes()[*skip as usize..], &[]],
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
            Item::Event { parcel, tag }
            | Item::Labelled { parcel, tag, .. }
            | Item::Tracked { parcel, tag, .. } => Some((parcel, *tag)),
            Item::Greeting(_) | Item::Control(_) | Item::Gap(_) => None,
        }
    }
}
