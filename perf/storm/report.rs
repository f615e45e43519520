//! What the storm has shown, and the verdict.
use std::process::ExitCode;

use hdrhistogram::Histogram;

use crate::Arguments;
use crate::client::Faults;
use crate::crowd::Figures;
use crate::witness::{Published, Watched};

/// A return has caught up within this time for 99 of 100.
const RETURN_P99_US_MAX: u64 = 500_000;
/// Events are at most so many times later for those who are not cut.
const LATE_RATIO_MAX: f64 = 2.0;
/// Longest lateness that is told apart, in microseconds.
const LATE_US_MAX: u64 = 60_000_000;

/// All that one run has measured.
pub struct Report {
    pub arguments: Arguments,
    pub published: Published,
    pub watched: Watched,
    /// When the usual time began, which ends when the storm begins, and how many clients were away in it.
    pub usual_ns: u64,
    pub thinned: usize,
    /// When the storm began and ended, in nanoseconds of the monotonic clock.
    pub storm: (u64, u64),
    /// Events that some client of the crowd never got.
    pub missing: u64,
    pub crowd: Figures,
    pub cpu_ns: u64,
    pub resident: u64,
}

impl Report {
    /// Prints everything and decides.
    pub fn judge(&self, short: bool) -> ExitCode {
        let Arguments { clients, cuts, channels, rate, shards, .. } = self.arguments;
        let published: u64 = self.published.per_channel.iter().sum();
        println!(
            "{clients} clients on {channels} channels, {shards} shard(s), {rate} events/s; each cut {cuts} times: {} cuts, {} of them \
             before the replay had caught up; {published} events published, {} came by replay",
            self.crowd.cuts, self.crowd.cut_early, self.crowd.replayed
        );
        println!(
            "away: {} in the usual time, {} on average in the storm",
            self.thinned,
            self.crowd.away_ns / (self.storm.1 - self.storm.0).max(1)
        );
        println!(
            "server: {:.1} s of CPU, {} MiB resident at the end\n",
            self.cpu_ns as f64 / 1e9,
            self.resident >> 20
        );
        println!("{:<14}{:>10}{:>10}{:>10}{:>10}{:>10}  us", "", "count", "p50", "p99", "p99.9", "max");
        let (usual, storm) = self.lateness();
        line("return", &self.crowd.returned_us);
        line("replay", &self.crowd.replayed_us);
        line("live, usual", &usual);
        line("live, storm", &storm);
        let ratio = storm.value_at_quantile(0.99) as f64 / usual.value_at_quantile(0.99).max(1) as f64;
        let return_p99_us = self.crowd.returned_us.value_at_quantile(0.99);
        println!();
        let delivered = self.all_delivered();
        let quick = verdict("return p99", return_p99_us as f64 / 1e3, RETURN_P99_US_MAX as f64 / 1e3, "ms");
        let level = verdict("live p99, storm to usual", ratio, LATE_RATIO_MAX, "times") || short;
        let kept = delivered && quick && level;
        println!("{}", if kept { "promise kept" } else { "PROMISE BROKEN" });
        if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn all_delivered(&self) -> bool {
        let mut clean = self.missing == 0 && self.published.refused == 0;
        println!("never delivered: {}; publishes refused: {}", self.missing, self.published.refused);
        for (who, faults) in [("crowd", &self.crowd.faults), ("witnesses", &self.watched.faults)] {
            let Faults { missed, doubled, wrong, unrecovered, closed, first_word } = faults;
            println!(
                "{who}: missed {missed}, doubled {doubled}, wrong {wrong}, unrecovered {unrecovered}, closed {closed}"
            );
            if let Some(word) = first_word {
                println!("{who}: the first unexpected word: {word}");
            }
            clean &= missed + doubled + wrong + unrecovered + closed == 0 && first_word.is_none();
        }
        let behind = self
            .watched
            .seen
            .iter()
            .filter(|(channel, seen)| *seen != self.published.per_channel[*channel])
            .count();
        println!("witnesses that did not get all: {behind}");
        clean && behind == 0
    }

    fn lateness(&self) -> (Histogram<u64>, Histogram<u64>) {
        let histogram = || Histogram::new_with_bounds(1, LATE_US_MAX, 3).expect("the bounds are in order");
        let (mut usual, mut storm) = (histogram(), histogram());
        for (sent_ns, late_ns) in &self.watched.late {
            if *sent_ns >= self.storm.0 && *sent_ns < self.storm.1 {
                storm.saturating_record(late_ns / 1_000);
            } else if *sent_ns >= self.usual_ns && *sent_ns < self.storm.0 {
                usual.saturating_record(late_ns / 1_000);
            }
        }
        (usual, storm)
    }
}

fn line(name: &str, histogram: &Histogram<u64>) {
    let at = |quantile| histogram.value_at_quantile(quantile);
    println!(
        "{name:<14}{:>10}{:>10}{:>10}{:>10}{:>10}",
        histogram.len(),
        at(0.5),
        at(0.99),
        at(0.999),
        histogram.max()
    );
}

fn verdict(name: &str, value: f64, max: f64, unit: &str) -> bool {
    let kept = value <= max;
    println!("{name}: {value:.2} {unit}, at most {max:.0}: {}", if kept { "kept" } else { "MISSED" });
    kept
}
