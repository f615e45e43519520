//! Events that have made way for newer ones. Each lies where nobody has looked for long, and letting go of it waits for
//! that memory. Together they wait only once: all are looked at first, which the core does side by side, and then let
//! go.

use crate::event::Event;
use std::hint::black_box;

/// Events that wait at most: as many as a core fetches side by side, and few enough to stay in its first cache.
const TOGETHER: usize = 32;

/// Larger events are let go at once: those that wait are not counted any more as kept, and should not matter.
const BYTES_MAX: u32 = 4096;

#[derive(Default)]
pub struct Leaving(Vec<Event>);

impl Leaving {
    /// Lets go of an event that was counted as so many bytes, sooner or later.
    pub fn add(&mut self, event: Event, bytes: u32) {
        if bytes > BYTES_MAX {
            return;
        }
        self.0.push(event);
        if self.0.len() == TOGETHER {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        black_box(self.0.iter().fold(0, |sum, event| sum ^ event.at_ms()));
        self.0.clear();
    }
}
