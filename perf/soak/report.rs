//! What was measured, and the verdict. Every lateness goes into a distribution; those that a person could notice are kept
//! with their time, so that each can be compared with what the control thread of the same core saw at that time.
use std::fmt::{self, Write};
use std::sync::Arc;

use courier::mailbox::pulse::{Phase, Pulse};
use hdrhistogram::Histogram;
use rustix::event::poll;
use rustix::time::Timespec;

/// A lateness from here on is kept with its time.
const STALL_US: u64 = 4_000;

/// A wait for the core from here on is kept with its time.
const DENIED_US: u64 = 500;

/// How many of them; more would only repeat what the distribution says.
const STALLS_MAX: usize = 200_000;

/// The promise: not held up this much longer than the machine itself explains.
const EXCESS_US_MAX: u64 = 20_000;

/// The same when wrong parks are provoked: one may follow the other before the executor gets to run. A second tells
/// parks that were ended, however many, from a hang, which lasts for many.
const PROVOKED_EXCESS_US_MAX: u64 = 1_000_000;

/// What the control saw shortly before or after counts as the same time.
const SAME_TIME_US: u64 = 100_000;

/// A hang shows as one lateness above this, or as shards that do not end.
const HANG_US: u64 = 1_000_000;

/// How long shards may take to end before they count as hung, in steps of 100 ms. They end their files first, and a slow disk
/// has kept one for 10 s.
const END_STEPS: u32 = 600;

/// Longest lateness that a distribution tells apart: one hour.
const LATE_US_MAX: u64 = 3_600_000_000;

/// What was late; see the table in `main`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Pickup,
    Hop,
    Timer,
    Gap,
    RoundTrip,
    File,
    Control,
}

impl What {
    const ALL: [What; 7] =
        [What::Pickup, What::Hop, What::Timer, What::Gap, What::RoundTrip, What::File, What::Control];

    fn name(self) -> &'static str {
        match self {
            What::Pickup => "pickup",
            What::Hop => "hop",
            What::Timer => "timer",
            What::Gap => "gap",
            What::RoundTrip => "round trip",
            What::File => "file",
            What::Control => "control",
        }
    }

    /// Held up by nothing but the shard's executor. A file waits for the disk and a round trip for its client too.
    fn is_promised(self) -> bool {
        matches!(self, What::Pickup | What::Hop | What::Timer | What::Gap)
    }
}

/// What a run is to show, beside that nothing was held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Nothing,
    /// Wrong parks that the watchdog ended.
    Kicks,
    /// A wrong park that nobody ended.
    Hang,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Kept,
    /// What was expected did not come; nothing is wrong, and nothing is proved.
    NothingProvoked,
    Broken,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Kept => "promise kept",
            Verdict::NothingProvoked => "nothing provoked",
            Verdict::Broken => "PROMISE BROKEN",
        })
    }
}

/// What one thread has measured.
pub struct Records {
    shard: Option<usize>,
    late: Vec<Histogram<u64>>,
    stalls: Vec<Stall>,
    denied: Vec<Denied>,
}

/// The kernel kept a runnable shard waiting for its core, somewhere between two looks.
struct Denied {
    from_us: u64,
    to_us: u64,
    us: u64,
}

#[derive(Clone, Copy)]
struct Stall {
    what: What,
    shard: Option<usize>,
    due_us: u64,
    ended_us: u64,
}

impl Stall {
    fn us(&self) -> u64 {
        self.ended_us - self.due_us
    }
}

impl Records {
    pub fn new(shard: Option<usize>) -> Records {
        let empty = || Histogram::new_with_bounds(1, LATE_US_MAX, 3).expect("the bounds are in order");
        Records {
            shard,
            late: What::ALL.iter().map(|_| empty()).collect(),
            stalls: Vec::new(),
            denied: Vec::new(),
        }
    }

    /// Something was due and has ended, in microseconds of the clock.
    pub fn late(&mut self, what: What, due_us: u64, ended_us: u64) {
        let ended_us = ended_us.max(due_us);
        self.late[what as usize].saturating_record(ended_us - due_us);
        if ended_us - due_us >= STALL_US && self.stalls.len() < STALLS_MAX {
            self.stalls.push(Stall { what, shard: self.shard, due_us, ended_us });
        }
    }
}

impl Records {
    /// Between two looks the shard was runnable for this long without running.
    pub fn core_denied(&mut self, from_us: u64, to_us: u64, us: u64) {
        if us >= DENIED_US && self.denied.len() < STALLS_MAX {
            self.denied.push(Denied { from_us, to_us, us });
        }
    }

    /// The parts of its stalls within that time.
    fn late_us(&self, from_us: u64, to_us: u64) -> u64 {
        let part = |late: &Stall| late.ended_us.min(to_us).saturating_sub(late.due_us.max(from_us));
        self.stalls.iter().map(part).sum()
    }
}

/// All that one run has measured.
pub struct Report {
    pub seconds: u64,
    pub cpu_us: u64,
    pub hung: bool,
    pub kicks: Vec<u64>,
    pub turns: Vec<u64>,
    pub from_shards: Vec<Records>,
    pub from_clients: Vec<Records>,
    pub control: Vec<Records>,
}

impl Report {
    /// Prints everything and decides.
    pub fn judge(&self, expected: Expected) -> Verdict {
        print!("{}", self.table());
        let worst = self.worst();
        let excess = self.worst_excess();
        self.print_worst("worst stall", worst);
        self.print_worst(
            "worst beyond the control",
            self.promised().max_by_key(|stall| stall.us().saturating_sub(self.control_us(stall))),
        );
        self.print_worst("worst that is not explained", excess.map(|(stall, _)| stall));
        let excess_us = excess.map_or(0, |(_, excess_us)| excess_us);
        let kicks: u64 = self.kicks.iter().sum();
        let hang = self.hung || worst.is_some_and(|stall| stall.us() > HANG_US);
        let allowed_us = if expected == Expected::Kicks { PROVOKED_EXCESS_US_MAX } else { EXCESS_US_MAX };
        println!(
            "beyond what the machine explains: {:.1} ms, allowed {:.0} ms",
            ms(excess_us),
            ms(allowed_us)
        );
        println!("wrong parks ended by the watchdog: {kicks} {:?}; hang: {hang}", self.kicks);
        let verdict = match expected {
            Expected::Hang if hang => Verdict::Kept,
            Expected::Hang => Verdict::NothingProvoked,
            _ if hang || excess_us > allowed_us => Verdict::Broken,
            Expected::Kicks if kicks == 0 => Verdict::NothingProvoked,
            Expected::Kicks | Expected::Nothing => Verdict::Kept,
        };
        println!("{verdict}");
        verdict
    }

    fn table(&self) -> String {
        let mut text = format!(
            "{} s, turns {:?}, process CPU {:.2} % of a core\n\n{:<11}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}  us\n",
            self.seconds,
            self.turns,
            self.cpu_us as f64 / self.seconds as f64 / 10_000.0,
            "",
            "count",
            "p50",
            "p99",
            "p99.9",
            "p99.99",
            "max"
        );
        for what in What::ALL {
            let mut all =
                Histogram::<u64>::new_with_bounds(1, LATE_US_MAX, 3).expect("the bounds are in order");
            for records in self.all() {
                all.add(&records.late[what as usize]).expect("all have the same bounds");
            }
            let at = |quantile| all.value_at_quantile(quantile);
            let (p50, p99, p999, p9999) = (at(0.5), at(0.99), at(0.999), at(0.9999));
            let (name, count, max) = (what.name(), all.len(), all.max());
            writeln!(text, "{name:<11}{count:>10}{p50:>10}{p99:>10}{p999:>10}{p9999:>10}{max:>10}")
                .expect("a string");
        }
        text.push('\n');
        text
    }

    fn all(&self) -> impl Iterator<Item = &Records> {
        self.from_shards.iter().chain(&self.from_clients).chain(&self.control)
    }

    fn promised(&self) -> impl Iterator<Item = Stall> {
        self.from_shards
            .iter()
            .flat_map(|records| records.stalls.iter().copied())
            .filter(|s| s.what.is_promised())
    }

    fn worst(&self) -> Option<Stall> {
        self.promised().max_by_key(Stall::us)
    }

    /// The machine explains a stall by as much as the control of the same core was late about then, or by all the time within
    /// it in which the control was late or the kernel kept the shard itself waiting for the core: a thread that works waits
    /// longer than one that only sleeps. A host that takes its cores away for a tenth of a second may do so twice while one
    /// timer waits.
    fn worst_excess(&self) -> Option<(Stall, u64)> {
        let explained_us =
            |stall: &Stall| self.control_us(stall).max(self.held_us(stall)).max(self.elsewhere_us(stall));
        let excess = |stall: Stall| (stall, stall.us().saturating_sub(explained_us(&stall)));
        self.promised().map(excess).max_by_key(|&(_, excess_us)| excess_us)
    }

    fn beside(&self, stall: &Stall) -> impl Iterator<Item = &Records> + Clone {
        let shard = stall.shard;
        self.control.iter().filter(move |records| records.shard == shard)
    }

    /// The worst that the control of the same core saw while the stall lasted.
    fn control_us(&self, stall: &Stall) -> u64 {
        let (from_us, to_us) = (stall.due_us.saturating_sub(SAME_TIME_US), stall.ended_us + SAME_TIME_US);
        let at_that_time = |other: &&Stall| other.due_us <= to_us && other.ended_us >= from_us;
        let stalls = self.beside(stall).flat_map(|records| &records.stalls).filter(at_that_time);
        stalls.map(Stall::us).max().unwrap_or(0)
    }

    /// How long the kernel kept the shard waiting for its core while the stall lasted.
    fn denied_us(&self, stall: &Stall) -> u64 {
        self.denied(stall).map(|denied| denied.us).sum::<u64>().min(stall.us())
    }

    fn denied(&self, stall: &Stall) -> impl Iterator<Item = &Denied> {
        let (due_us, ended_us) = (stall.due_us, stall.ended_us);
        let at_that_time = move |denied: &&Denied| denied.from_us <= ended_us && denied.to_us >= due_us;
        self.beside(stall).flat_map(|records| &records.denied).filter(at_that_time)
    }

    /// How long within the stall the control was late or the shard waited for its core; what is both counts once.
    fn held_us(&self, stall: &Stall) -> u64 {
        let control_us =
            |from_us, to_us| self.beside(stall).map(|records| records.late_us(from_us, to_us)).sum::<u64>();
        let besides = self
            .denied(stall)
            .map(|denied| denied.us.saturating_sub(control_us(denied.from_us, denied.to_us)));
        (control_us(stall.due_us, stall.ended_us) + besides.sum::<u64>()).min(stall.us())
    }

    /// How late the control of another core was within the stall. The timer that wakes a thread may be queued on any core that
    /// was awake when the thread went to sleep, and comes when that core does.
    fn elsewhere_us(&self, stall: &Stall) -> u64 {
        let others = self.control.iter().filter(|records| records.shard != stall.shard);
        others.map(|records| records.late_us(stall.due_us, stall.ended_us)).max().unwrap_or(0)
    }

    fn print_worst(&self, title: &str, stall: Option<Stall>) {
        match stall {
            None => println!("{title}: none of {:.0} ms or more", ms(STALL_US)),
            Some(stall) => println!(
                "{title}: {:.1} ms ({} on shard {:?} at {:.1} s); the control there and then: {:.1} ms; \
                 runnable without a core: {:.1} ms",
                ms(stall.us()),
                stall.what.name(),
                stall.shard.unwrap_or_default(),
                stall.due_us as f64 / 1e6,
                ms(self.control_us(&stall)),
                ms(self.denied_us(&stall)),
            ),
        }
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

/// CPU time of this process so far, in microseconds.
pub fn cpu_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}

/// Waits a minute at most for all shards to end.
pub fn all_ended(pulses: &[Arc<Pulse>]) -> bool {
    let step = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    for _ in 0..END_STEPS {
        if pulses.iter().all(|pulse| pulse.phase() == Phase::Gone) {
            return true;
        }
        let _ = poll(&mut [], Some(&step));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stall(due_us: u64, ended_us: u64) -> Stall {
        Stall { what: What::Timer, shard: Some(0), due_us, ended_us }
    }

    /// When the control was late, and when the shard waited for so long.
    fn report(late: &[(u64, u64)], denied: &[(u64, u64, u64)]) -> Report {
        let mut records = Records::new(Some(0));
        late.iter().for_each(|(due_us, ended_us)| records.late(What::Control, *due_us, *ended_us));
        denied.iter().for_each(|(from_us, to_us, us)| records.core_denied(*from_us, *to_us, *us));
        Report {
            seconds: 3,
            cpu_us: 0,
            hung: false,
            kicks: vec![],
            turns: vec![],
            from_shards: vec![],
            from_clients: vec![],
            control: vec![records],
        }
    }

    #[test]
    fn a_stall_is_explained_by_all_that_held_up_its_core_meanwhile() {
        let twice = report(&[(990_000, 1_100_000), (1_101_000, 1_201_000), (2_000_000, 2_100_000)], &[]);
        assert_eq!(twice.held_us(&stall(1_000_000, 1_210_000)), 200_000, "both, from when it was due");
        assert_eq!(twice.held_us(&stall(1_500_000, 1_700_000)), 0, "nothing then");
        assert_eq!(
            twice.held_us(&Stall { shard: Some(1), ..stall(1_000_000, 1_210_000) }),
            0,
            "another core"
        );
        assert_eq!(twice.control_us(&stall(1_050_000, 1_060_000)), 110_000, "the worst, also of before");
    }

    #[test]
    fn nothing_is_proved_where_nothing_was_provoked() {
        let mut quiet = report(&[], &[]);
        assert_eq!(quiet.judge(Expected::Nothing), Verdict::Kept);
        assert_eq!(quiet.judge(Expected::Kicks), Verdict::NothingProvoked);
        assert_eq!(quiet.judge(Expected::Hang), Verdict::NothingProvoked);
        quiet.kicks = vec![0, 1];
        assert_eq!(quiet.judge(Expected::Kicks), Verdict::Kept);
        quiet.hung = true;
        assert_eq!(quiet.judge(Expected::Kicks), Verdict::Broken, "also where others were ended");
        assert_eq!(quiet.judge(Expected::Hang), Verdict::Kept);
    }

    #[test]
    fn what_holds_up_both_the_shard_and_the_control_counts_once() {
        let late = [(1_000_000, 1_100_000)];
        let denied = [(999_000, 1_100_000, 98_000), (1_100_000, 1_130_000, 25_000)];
        let both = report(&late, &denied);
        assert_eq!(both.held_us(&stall(1_000_000, 1_150_000)), 125_000);
        assert_eq!(both.denied_us(&stall(1_000_000, 1_150_000)), 123_000);
        assert_eq!(both.held_us(&stall(1_110_000, 1_120_000)), 10_000, "no longer than it lasted");
    }
}
