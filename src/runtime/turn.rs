//! The turn of a shard: look at the set without waiting, hand out what is ready, look into the mail, let the core answer and
//! flush; then sleep, visit glommio, or turn again. Chosen by measuring; nothing here knows what a connection means, and
//! only `ring` knows what glommio waits in.
//!
//! A turn that found work is followed by another one at once, because peers answer meanwhile. While no guest waits for
//! glommio the shard sleeps in its epoll set, its deadline in a timer there: one system call where a park in glommio's ring
//! takes ten. While there are
//! guests it parks in the ring, and glommio gets a pass once per millisecond: its tasks become runnable only in such a
//! pass, so yielding to them between passes would bring nothing.
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
use crate::stdx::clock::{Clock, Now, earlier};

/// The longest that a busy shard keeps glommio's guests waiting.
const VISIT_EVERY_US: u64 = 1_000;

/// A turn with so little to do is not one of many: a lone publish takes five calls then, those of the plainest loop.
const LONE: usize = 1;

const DOORBELL: u64 = TOKENS_OF_RUNTIME;
const TIMER: u64 = TOKENS_OF_RUNTIME + 1;
const FIRST_DOOR: u64 = TOKENS_OF_RUNTIME + 2;

/// What the turn shares with other threads: who can wake it, and who watches it.
#[derive(Clone)]
pub(crate) struct Bells {
    pub(crate) doorbell: Arc<Doorbell>,
    pub(crate) pulse: Arc<Pulse>,
    /// Wakes the watchdog before every sleep in glommio.
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

/// What a sleep has left in the events.
enum Woken {
    /// What is ready.
    Looked,
    /// Nothing: look.
    Unknown,
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
        // What was spawned before the first turn runs now, and becomes a guest if it is one.
        self.visit(self.clock.now()).await;
        loop {
            self.set.look(&mut events)?;
            let mut then = self.turn(&events)?;
            while let Then::Park { due_us } = then {
                match self.park(due_us, &mut events).await? {
                    Woken::Looked => then = self.turn(&events)?,
                    Woken::Unknown => break,
                }
            }
            if let Then::Leave = then {
                return Ok(());
            }
            let now = self.clock.now();
            if now.steady_us >= self.visited_us + VISIT_EVERY_US && !self.guests.is_empty() {
                self.visit(now).await;
            }
        }
    }

    fn turn(&mut self, events: &Events) -> io::Result<Then> {
        self.bells.pulse.turn();
        self.bells.pulse.set(Phase::Turning);
        let now = self.clock.now();
        self.core.begin_turn(now);
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
        // Where a sleep is one call, what came alone is followed by it and not by a look: it does not sleep if there is
        // something by now.
        let few = if self.guests.is_empty() { LONE } else { 0 };
        if again || had_mail || overdue || events.len() > few {
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

    #[inline(never)]
    fn accept(&mut self, token: u64, now: Now) {
        let Turn { core, set, doors, .. } = self;
        let number = (token - FIRST_DOOR) as usize;
        let door = doors.get_mut(number).expect("only doors have such tokens");
        door.accept(set, now, |socket, peer| {
            let entered = catch_unwind(AssertUnwindSafe(|| core.accepted(set, socket, peer, number, now)));
            if entered.is_err() {
                tracing::error!(%peer, "a panic while a connection was accepted; it is closed");
            }
        });
    }

    /// A panic in the work of one connection closes that connection and nothing else.
    fn ready(&mut self, token: u64, ready: Ready, now: Now) {
        let Turn { core, set, .. } = self;
        if catch_unwind(AssertUnwindSafe(|| core.ready(set, token, ready, now))).is_err() {
            core.panicked(set, token);
        }
    }

    async fn park(&mut self, due_us: Option<u64>, events: &mut Events) -> io::Result<Woken> {
        self.bells.doorbell.park();
        // A letter that came before the doorbell was armed has not rung it.
        let woken = if self.core.mail_waiting() {
            Woken::Unknown
        } else if self.guests.is_empty() {
            self.bells.pulse.set(Phase::Waiting);
            self.arm(due_us)?;
            self.set.wait(events)?;
            Woken::Looked
        } else {
            self.park_in_ring(due_us).await?;
            Woken::Unknown
        };
        self.bells.doorbell.unpark();
        Ok(woken)
    }

    fn arm(&mut self, due_us: Option<u64>) -> io::Result<()> {
        match due_us {
            Some(due_us) => self.timer.arm(due_us, &self.clock),
            None => Ok(()),
        }
    }

    async fn park_in_ring(&mut self, due_us: Option<u64>) -> io::Result<()> {
        self.arm(due_us)?;
        self.bells.pulse.set(Phase::Parked);
        self.bells.watchdog.ring();
        self.set.park().await;
        self.visited_us = self.clock.now().steady_us;
        Ok(())
    }

    async fn visit(&mut self, now: Now) {
        self.bells.pulse.set(Phase::Visiting);
        self.bells.watchdog.ring();
        ring::visit().await;
        self.visited_us = now.steady_us;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::runtime::executor::{Options, Plan, start};
    use crate::runtime::listener::bind;

    /// Tells each newcomer the number of its door and closes; done after so many.
    struct Porter {
        newcomers_left: usize,
    }

    impl Core for Porter {
        fn accepted(&mut self, _: &Readiness, socket: OwnedFd, _: SocketAddr, door: usize, _: Now) {
            TcpStream::from(socket).write_all(door.to_string().as_bytes()).expect("there is room");
            self.newcomers_left -= 1;
        }

        fn ready(&mut self, _: &Readiness, _: u64, _: Ready, _: Now) {}

        fn mail(&mut self, _: &Readiness, _: Now) -> bool {
            false
        }

        fn end_turn(&mut self, _: &Readiness, _: Now) -> Next {
            Next { done: self.newcomers_left == 0, ..Next::IDLE }
        }

        fn mail_waiting(&self) -> bool {
            false
        }

        fn panicked(&mut self, _: &Readiness, _: u64) {}
    }

    #[test]
    fn a_newcomer_comes_with_the_number_of_its_door() {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners: Vec<Listener> =
            (0..3).flat_map(|_| bind(any_port, 1).expect("loopback has a free port")).collect();
        let addresses: Vec<SocketAddr> = listeners.iter().map(Listener::address).collect();
        let plan = Plan {
            core: None,
            listeners,
            doorbell: Doorbell::new().expect("descriptors are left"),
            pulse: Pulse::new(),
            make: Box::new(|_| Porter { newcomers_left: 3 }),
        };
        let shards =
            start(Clock::start(), vec![plan], Options::default()).expect("this machine runs glommio");
        for (door, address) in addresses.into_iter().enumerate().rev() {
            let mut told = String::new();
            let mut socket = TcpStream::connect(address).expect("it listens");
            socket.read_to_string(&mut told).expect("the shard tells and closes");
            assert_eq!(told, door.to_string());
        }
        assert!(shards.wait().into_iter().all(|end| end.is_ok()));
    }
}
