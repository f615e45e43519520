//! Which cores the shards run on: one per core that this process may use, as the affinity mask and the CPU quota of its
//! control group say. Looks and answers; pinning is done where the executor is made.
use std::io;
use std::num::NonZero;
use std::thread::available_parallelism;

use rustix::thread::{CpuSet, sched_getaffinity};

/// Where each shard runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The core of each shard; `None` leaves it to the kernel.
    pub cores: Vec<Option<usize>>,
    /// One sentence for the operator when the placement is not one shard per core.
    pub note: Option<String>,
}

/// Places `shards` shards; 0 means one per available core.
///
/// # Errors
/// The kernel does not tell the affinity mask.
pub fn place(shards: usize) -> io::Result<Placement> {
    let allowed = sched_getaffinity(None)?;
    let cores: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core)).collect();
    // Also reads the CPU quota of the control group.
    let available = available_parallelism().map_or(cores.len(), NonZero::get).min(cores.len());
    Ok(arrange(&cores, available, shards))
}

fn arrange(cores: &[usize], available: usize, shards: usize) -> Placement {
    let wanted = if shards == 0 { available.max(1) } else { shards };
    if wanted > cores.len() {
        let note = format!(
            "{wanted} shards on {} cores: shards share cores and are not pinned, which costs latency; `shards: 0` places \
             one per core",
            cores.len()
        );
        return Placement { cores: vec![None; wanted], note: Some(note) };
    }
    let note = (wanted > available).then(|| {
        format!("{wanted} shards, but the CPU quota of this control group is worth {available} cores")
    });
    Placement { cores: cores[..wanted].iter().copied().map(Some).collect(), note }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_means_one_pinned_shard_per_available_core() {
        let placement = arrange(&[2, 3, 7], 3, 0);
        assert_eq!(placement, Placement { cores: vec![Some(2), Some(3), Some(7)], note: None });
    }

    #[test]
    fn a_cpu_quota_lowers_the_default_and_is_told_when_exceeded() {
        assert_eq!(arrange(&[0, 1, 2, 3], 2, 0).cores, [Some(0), Some(1)]);
        let exceeded = arrange(&[0, 1, 2, 3], 2, 4);
        assert_eq!(exceeded.cores.len(), 4);
        assert!(exceeded.note.expect("a note").contains("quota"));
    }

    #[test]
    fn more_shards_than_cores_run_unpinned_with_a_note() {
        let placement = arrange(&[0, 1], 2, 5);
        assert_eq!(placement.cores, [None; 5]);
        assert!(placement.note.expect("a note").contains("not pinned"));
    }

    #[test]
    fn this_machine_has_at_least_one_core() {
        let placement = place(0).expect("the kernel tells");
        assert!(!placement.cores.is_empty());
    }
}
