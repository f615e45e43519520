//! The turn of a shard: look at the set without waiting, hand out what is ready, look into the mail, let the core answer and
//! flush; then park, visit glommio, or turn again. Chosen by measuring; nothing here knows what a connection means, and
//! only `ring` knows what it waits in.
//!
//! A turn that found work is followed by another one at once, because peers answer meanwhile. glommio gets a pass once per
//! millisecond: its tasks become runnable only in such a pass, so yielding to them between passes would bring nothing.
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::mailbox::doorbell::Doorbell;
use crate::mailbox::pulse::{Phase, Pulse};
use crate::runtime::core::{Core, Next, Ready};
use crate::runtime::guests::Guests;
use crate::runtime::listener::{Door, Listener};
use crate::runtime::readiness::{Events, Readiness, TOKENS_OF_RUNTIME};
use crate::runtime::ring;
use crate::runtime::timer::Deadline;
use crate::stdx::clock::{Clock, Now};

/// The longest that a busy shard keeps glommio waiting.
const VISIT_EVERY_US: u64 = 1_000;

const DOORBELL: u64 = TOKENS_OF_RUNTIME;
const TIMER: u64 = TOKENS_OF_RUNTIME + 1;
const FIRST_DOOR: u64 = TOKENS_OF_RUNTIME + 2;

/// What the turn shares with other threads: who can wake it, and who watches it.
#[derive(Clone)]
pub(crate) struct Bells {
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) pulse: Arc<Pulse>,
    /// Wakes the watchdog before a visit, the only wait that the set cannot tell it of.
    pub(crate) watchdog: Arc<Doorbell>,
}

pub(crate) struct Turn<C> {
    core: C,
    set: Readiness,
    clock: Clock,
    bells: Bells,
    guests: Guests,
    doors: Vec<Door>,
    timer: Deadline,
    visited_us: u64,
}

/// What follows a turn.
enum Then {
    Leave,
    Again,
    Park { due_us: Option<u64> },
}

impl<C: Core> Turn<C> {
    pub(crate) fn new(
        core: C,
        set: Readiness,
        clock: Clock,
        bells: Bells,
        guests: Guests,
        listeners: Vec<Listener>,
    ) -> io::Result<Turn<C>> {
        set.add_wake(&bells.doorbell.fd(), DOORBELL)?;
        let timer = Deadline::new(&set, TIMER)?;
        let tokens = FIRST_DOOR..;
        let doors =
            listeners.into_iter().zip(tokens).map(|(listener, token)| Door::new(listener, &set, token));
        let doors = doors.collect::<io::Result<Vec<Door>>>()?;
        Ok(Turn { core, set, clock, bells, guests, doors, timer, visited_us: 0 })
    }

    /// Turns until the core is done.
    pub(crate) async fn run(&mut self) -> io::Result<()> {
        let mut events = Events::default();
        loop {
            self.bells.pulse.turn();
            self.bells.pulse.set(Phase::Turning);
            let now = self.clock.now();
            match self.turn(&mut events, now)? {
                Then::Leave => return Ok(()),
                Then::Park { due_us } => self.park(due_us, now).await?,
                Then::Again if now.steady_us >= self.visited_us + VISIT_EVERY_US => self.visit(now).await,
                Then::Again => {}
            }
        }
    }

    fn turn(&mut self, events: &mut Events, now: Now) -> io::Result<Then> {
        self.set.look(events)?;
        for index in 0..events.len() {
            let (token, ready) = events.at(index);
            self.hand_out(token, ready, now);
        }
        let had_mail = self.core.mail(&self.set, now);
        let Next { deadline_us, again, done, accepting } = self.core.end_turn(&self.set, now);
        if done {
            return Ok(Then::Leave);
        }
        let mut due_us = deadline_us;
        for door in &mut self.doors {
            due_us = earlier(due_us, door.attend(&self.set, now, accepting));
        }
        let overdue = due_us.is_some_and(|due_us| due_us <= now.steady_us);
        if again || had_mail || overdue || !events.is_empty() {
            return Ok(Then::Again);
        }
        Ok(Then::Park { due_us: earlier(due_us, self.guests.look_us(now)) })
    }

    fn hand_out(&mut self, token: u64, ready: Ready, now: Now) {
        match token {
            TIMER => self.timer.fired(),
            DOORBELL => {} // the mail is looked into in every turn
            FIRST_DOOR.. => self.accept(token, now),
            _ => self.ready(token, ready, now),
        }
    }

    fn accept(&mut self, token: u64, now: Now) {
        let Turn { core, set, doors, .. } = self;
        let door = doors.iter_mut().find(|door| door.token() == token).expect("only doors have such tokens");
        door.accept(set, now, |socket, peer| {
            let entered = catch_unwind(AssertUnwindSafe(|| core.accepted(set, socket, peer, now)));
            if entered.is_err() {
                tracing::error!(%peer, "a panic while a connection was accepted; it is closed");
            }
        });
    }

    /// A panic in the work of one connection closes that connection and nothing else.
    fn ready(&mut self, token: u64, ready: Ready, now: Now) {
        let Turn { core, set, .. } = self;
        if catch_unwind(AssertUnwindSafe(|| core.ready(set, token, ready, now))).is_err() {
            tracing::error!(token, "a panic in the work of one connection; it is closed");
            core.panicked(set, token);
        }
    }

    async fn park(&mut self, due_us: Option<u64>, now: Now) -> io::Result<()> {
        self.bells.doorbell.park();
        // A letter that came before the doorbell was armed has not rung it.
        if !self.core.mail_waiting() {
            if let Some(due_us) = due_us {
                self.timer.arm(due_us, now)?;
            }
            self.bells.pulse.set(Phase::Parked);
            self.set.park().await;
            self.visited_us = self.clock.now().steady_us;
        }
        self.bells.doorbell.unpark();
        Ok(())
    }

    async fn visit(&mut self, now: Now) {
        self.bells.pulse.set(Phase::Visiting);
        self.bells.watchdog.ring();
        ring::visit().await;
        self.visited_us = now.steady_us;
    }
}

fn earlier(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        _ => one.or(other),
    }
}
