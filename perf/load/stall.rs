//! The longest time in which deliveries were owed and none came, and how much of it was this tool's own lateness: while
//! the tool waits for its core it sees nothing, which says nothing about the server.

use std::io::Result;
use std::thread::sleep;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::pread;

use crate::process::{STEAL_TICK_NS, stolen_ns, usage};

/// How often the tool looks at its own lateness, and the shortest gap worth a look, nanoseconds. A look costs 2 us.
const LOOK_NS: u64 = 1_000_000;
/// How often the tool looks how long the server waited for its core, nanoseconds. A look costs some 10 us per thread; what
/// is taken away from a stall can be too much by what the server waited within this time before it.
const SERVER_LOOK_NS: u64 = 5_000_000;

/// Gaps between deliveries of one run.
pub struct Stall {
    schedstat: OwnedFd,
    /// Start of the present gap, and what the tool's lateness summed up to then; none while nothing is owed.
    since: Option<(u64, u64)>,
    looked_ns: u64,
    late_sum_ns: u64,
    server: Vec<u32>,
    server_looked_ns: u64,
    server_waited_sum_ns: u64,
    stolen_sum_ns: u64,
    /// When to ask again what the host withheld around the longest stall, if a whole tick may be in it, and the sum before it.
    unsettled: Option<(u64, u64)>,
    /// Longest gap, nanoseconds.
    pub gap_ns: u64,
    /// Longest gap after taking away the time in which this tool could not run, nanoseconds.
    pub stall_ns: u64,
    /// How long the server's threads were ready to run and did not, around that time, nanoseconds; nothing is taken away
    /// for it here. Looked at for stalls over a millisecond only, and over up to 5 ms more than the stall.
    pub server_waited_ns: u64,
    /// How long the host kept cores of this machine for others around that time, nanoseconds: all cores together, at least.
    pub stolen_ns: u64,
    /// Longest time between two looks in which this tool was ready to run and did not, nanoseconds.
    pub late_ns: u64,
}

impl Stall {
    /// Nothing is owed yet; `server` are the processes of the server.
    pub fn new(server: &[u32]) -> Result<Self> {
        let schedstat = open("/proc/self/schedstat", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut stall = Self {
            schedstat,
            since: None,
            looked_ns: 0,
            late_sum_ns: 0,
            server: server.to_vec(),
            server_looked_ns: 0,
            server_waited_sum_ns: 0,
            stolen_sum_ns: 0,
            unsettled: None,
            gap_ns: 0,
            stall_ns: 0,
            server_waited_ns: 0,
            stolen_ns: 0,
            late_ns: 0,
        };
        stall.late_sum_ns = stall.lateness_ns().unwrap_or(0);
        stall.stolen_sum_ns = stolen_ns();
        Ok(stall)
    }

    /// Forgets what was measured; called while nothing is owed.
    pub fn reset(&mut self) {
        (self.since, self.gap_ns, self.stall_ns, self.late_ns) = (None, 0, 0, 0);
        (self.server_waited_ns, self.stolen_ns, self.unsettled) = (0, 0, None);
    }

    /// Deliveries are owed from now on, if they were not already.
    pub fn owed(&mut self, now_ns: u64) {
        self.since.get_or_insert((now_ns, self.late_sum_ns));
    }

    /// Something came; `more` tells whether something is still owed.
    pub fn arrived(&mut self, now_ns: u64, more: bool) {
        if let Some((since_ns, late_then_ns)) = self.since {
            let gap_ns = now_ns.saturating_sub(since_ns);
            if gap_ns > self.stall_ns && gap_ns > LOOK_NS {
                self.look(now_ns);
            }
            self.gap_ns = self.gap_ns.max(gap_ns);
            let stall_ns = gap_ns.saturating_sub(self.late_sum_ns - late_then_ns);
            if stall_ns > self.stall_ns {
                self.stall_ns = stall_ns;
                let stolen_before_ns = self.stolen_sum_ns;
                (self.server_waited_ns, self.stolen_ns) =
                    if stall_ns > LOOK_NS { self.withheld(now_ns) } else { (0, 0) };
                self.unsettled =
                    (stall_ns > STEAL_TICK_NS).then_some((now_ns + STEAL_TICK_NS, stolen_before_ns));
            }
        }
        self.since = more.then_some((now_ns, self.late_sum_ns));
    }

    /// Called once per turn: looks at the own lateness now and then, so that a gap is charged with little of what was before it.
    pub fn turned(&mut self, now_ns: u64) {
        if now_ns.saturating_sub(self.looked_ns) > LOOK_NS {
            self.look(now_ns);
        }
        if self.unsettled.is_some_and(|(due_ns, _)| now_ns >= due_ns) {
            self.settle_stolen(stolen_ns());
        }
        // Not at the end of a stall, before it is charged: the kernel tells what a thread waited once it runs again.
        let stalling = self.since.is_some_and(|(since_ns, _)| now_ns.saturating_sub(since_ns) > LOOK_NS);
        if !stalling && now_ns.saturating_sub(self.server_looked_ns) > SERVER_LOOK_NS {
            self.withheld(now_ns);
        }
    }

    /// Called when the measured part is over, `now` being the time: waits for what the kernel has yet to tell, a tick at most.
    pub fn settle(&mut self, now: impl Fn() -> u64) {
        if let Some((due_ns, _)) = self.unsettled {
            #[expect(clippy::disallowed_methods, reason = "no event tells of the kernel's tick")]
            sleep(Duration::from_nanos(due_ns.saturating_sub(now())));
            self.settle_stolen(stolen_ns());
        }
    }

    /// A core that the host gives back has its loss counted with its next tick, and a stall ends before that: a server that
    /// had had no core for 100 ms was charged with all of them.
    fn settle_stolen(&mut self, stolen_ns: u64) {
        if let Some((_, before_ns)) = self.unsettled.take() {
            let since_ns = stolen_ns.saturating_sub(before_ns).saturating_sub(STEAL_TICK_NS);
            self.stolen_ns = self.stolen_ns.max(since_ns);
        }
    }

    /// How long the server's threads waited for a core since the last look, and how long the host withheld cores from this
    /// machine at least, nanoseconds. The kernel tells the latter in ticks, of which one may have been nearly full before.
    fn withheld(&mut self, now_ns: u64) -> (u64, u64) {
        let (waited_ns, stolen_ns) = (usage(&self.server).waited_ns, stolen_ns());
        self.server_looked_ns = now_ns;
        let waited_before_ns = std::mem::replace(&mut self.server_waited_sum_ns, waited_ns);
        let stolen_before_ns = std::mem::replace(&mut self.stolen_sum_ns, stolen_ns);
        let stolen_ns = stolen_ns.saturating_sub(stolen_before_ns).saturating_sub(STEAL_TICK_NS);
        (waited_ns.saturating_sub(waited_before_ns), stolen_ns)
    }

    fn look(&mut self, now_ns: u64) {
        let sum_ns = self.lateness_ns().unwrap_or(self.late_sum_ns);
        self.late_ns = self.late_ns.max(sum_ns.saturating_sub(self.late_sum_ns));
        (self.looked_ns, self.late_sum_ns) = (now_ns, sum_ns);
    }

    /// The second figure of the kernel's `schedstat`: nanoseconds spent ready to run without running.
    fn lateness_ns(&self) -> Option<u64> {
        let mut line = [0; 96];
        let (line, _) = pread(&self.schedstat, &mut line[..], 0).ok().map(|read| line.split_at(read))?;
        std::str::from_utf8(line).ok()?.split(' ').nth(1)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn only_time_in_which_something_is_owed_counts() {
        let mut stall = Stall::new(&[]).expect("the kernel keeps schedstat");
        stall.owed(100 * MS);
        stall.owed(103 * MS);
        stall.arrived(104 * MS, true);
        stall.arrived(106 * MS, false);
        stall.owed(200 * MS);
        stall.arrived(201 * MS, false);
        assert_eq!(stall.gap_ns, 4 * MS);
        assert!(stall.stall_ns <= stall.gap_ns);
    }

    /// The turn in which a stall ended looked first and threw away what it saw: a server that had had no core for 33 ms was
    /// charged with all of them.
    #[test]
    fn what_the_server_waited_is_kept_for_the_stall_that_it_explains() {
        let mut stall = Stall::new(&[]).expect("the kernel keeps schedstat");
        stall.turned(100 * MS);
        stall.owed(101 * MS);
        stall.turned(134 * MS);
        assert_eq!(stall.server_looked_ns, 100 * MS);
        stall.arrived(134 * MS, false);
        assert_eq!(stall.server_looked_ns, 134 * MS);
        stall.turned(140 * MS);
        assert_eq!(stall.server_looked_ns, 140 * MS, "while nothing is owed it looks as ever");
    }

    #[test]
    fn what_the_host_withheld_is_asked_for_once_more_a_tick_after_the_stall() {
        let mut stall = Stall::new(&[]).expect("the kernel keeps schedstat");
        stall.owed(100 * MS);
        stall.arrived(200 * MS, true);
        let (due_ns, before_ns) = stall.unsettled.expect("it was a stall");
        assert_eq!(due_ns, 200 * MS + STEAL_TICK_NS);
        stall.settle_stolen(before_ns + 90 * MS);
        assert_eq!(
            (stall.stolen_ns, stall.unsettled),
            (90 * MS - STEAL_TICK_NS, None),
            "less the tick that is not sure"
        );
        stall.settle_stolen(before_ns + 500 * MS);
        assert_eq!(stall.stolen_ns, 90 * MS - STEAL_TICK_NS, "what comes later explains nothing");
        // By the turns, and at the end of what is measured.
        stall.arrived(400 * MS, true);
        stall.turned(400 * MS + STEAL_TICK_NS - 1);
        assert!(stall.unsettled.is_some());
        stall.turned(400 * MS + STEAL_TICK_NS);
        assert!(stall.unsettled.is_none());
        stall.arrived(900 * MS, false);
        stall.settle(|| 900 * MS + STEAL_TICK_NS);
        assert!(stall.unsettled.is_none());
    }

    #[test]
    fn own_lateness_is_read_from_the_kernel() {
        assert!(Stall::new(&[]).expect("the kernel keeps schedstat").lateness_ns().is_some());
    }
}
