//! Looks at the machine before glommio does, because glommio panics or exits where it should explain. Every finding is one
//! sentence that says what is wrong and the command that mends it. The server looks before it starts and stops at
//! hard findings; `courier doctor` prints them all. Looks only; nothing here knows what settings are called.
use std::fs;
use std::io;
use std::net::SocketAddr;

use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::system::uname;
use rustix::thread::{CapabilitySet, capabilities};

/// What glommio asks of `RLIMIT_MEMLOCK`, whatever the kernel then counts.
const LOCKED_BYTES_PER_EXECUTOR: u64 = 512 * 1024;

/// The first kernel that counts rings in the memory of the control group instead of `RLIMIT_MEMLOCK`.
const RINGS_NOT_LOCKED_SINCE: Version = Version(5, 12);

/// The first kernel with every operation that glommio submits.
const KERNEL_MIN: Version = Version(5, 8);

/// Descriptors of one shard beside its connections: rings, epoll set, eventfds, timer, one listener, a park's copy.
const DESCRIPTORS_PER_SHARD: u64 = 16;

/// Descriptors of one shard for each further listener: its socket, and the spare with which one newcomer is turned away.
pub const DESCRIPTORS_PER_LISTENER: u64 = 2;

/// Descriptors of the process beside its shards: standard streams, logs, settings, bridges.
const DESCRIPTORS_OF_PROCESS: u64 = 32;

/// What the server is about to ask of the machine.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// Executors.
    pub shards: usize,
    /// Where it will listen.
    pub addresses: Vec<SocketAddr>,
    /// Connections at the same time; 0 means as many as there is room for.
    pub connections: u64,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Fine,
    /// The server starts, with less than was asked for.
    Short,
    /// The server cannot start.
    Hard,
}

/// One sentence about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The thing, in a word or two.
    pub subject: &'static str,
    /// How bad it is.
    pub verdict: Verdict,
    /// What was found, and how to mend it.
    pub text: String,
}

impl Finding {
    fn new(subject: &'static str, verdict: Verdict, text: impl Into<String>) -> Finding {
        Finding { subject, verdict, text: text.into() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// Raises the soft limits of open files and of locked memory to the hard ones, which needs no permission.
pub fn raise_limits() {
    for resource in [Resource::Nofile, Resource::Memlock] {
        let limit = getrlimit(resource);
        // A refusal leaves the limit as it was, and `look` judges that.
        let _ = setrlimit(resource, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Looks at everything, in the order in which a start needs it. Call [`raise_limits`] first.
#[must_use]
pub fn look(needs: &Needs) -> Vec<Finding> {
    let kernel = kernel();
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok();
    let (locked, files) = (getrlimit(Resource::Memlock).current, getrlimit(Resource::Nofile));
    let mut findings = vec![
        judge_kernel(kernel),
        judge_locked(locked, kernel, needs.shards),
        judge_ring(try_ring(), disabled.as_deref().map(str::trim)),
        judge_cores(fs::read("/sys/devices/system/cpu/online").is_ok()),
        judge_files(files.current, files.maximum, needs),
    ];
    let first_free = first_unprivileged_port();
    findings.extend(needs.addresses.iter().map(|address| judge_port(*address, first_free)));
    findings
}

fn kernel() -> Version {
    let uname = uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    Version(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn judge_kernel(kernel: Version) -> Finding {
    let Version(major, minor) = kernel;
    if kernel < KERNEL_MIN {
        let text =
            format!("Linux {major}.{minor} is too old: run Linux 5.8 or newer (Debian 11, Ubuntu 22.04)");
        return Finding::new("kernel", Verdict::Hard, text);
    }
    Finding::new("kernel", Verdict::Fine, format!("Linux {major}.{minor}"))
}

/// Why no ring could be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoRing {
    Refused(Errno),
    Incomplete,
}

/// Makes a small ring and asks it what it can do.
fn try_ring() -> Result<(), NoRing> {
    let refused = |error: io::Error| NoRing::Refused(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    let ring = IoUring::new(2).map_err(refused)?;
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    if OPERATIONS.iter().all(|&code| probe.is_supported(code)) { Ok(()) } else { Err(NoRing::Incomplete) }
}

/// What glommio looks for; it exits the process when one is missing.
const OPERATIONS: [u8; 17] = [
    opcode::Nop::CODE,
    opcode::Fsync::CODE,
    opcode::PollAdd::CODE,
    opcode::PollRemove::CODE,
    opcode::Timeout::CODE,
    opcode::TimeoutRemove::CODE,
    opcode::LinkTimeout::CODE,
    opcode::Accept::CODE,
    opcode::Connect::CODE,
    opcode::Fallocate::CODE,
    opcode::OpenAt::CODE,
    opcode::Close::CODE,
    opcode::Statx::CODE,
    opcode::Read::CODE,
    opcode::Write::CODE,
    opcode::Send::CODE,
    opcode::Recv::CODE,
];

fn judge_ring(ring: Result<(), NoRing>, disabled: Option<&str>) -> Finding {
    let hard = |text: &str| Finding::new("io_uring", Verdict::Hard, text);
    match ring {
        Ok(()) => Finding::new("io_uring", Verdict::Fine, "the kernel gives rings"),
        Err(NoRing::Refused(Errno::PERM | Errno::ACCESS)) if disabled.is_some_and(|value| value != "0") => {
            hard(
                "io_uring is switched off on this machine: allow it with `sysctl -w kernel.io_uring_disabled=0`",
            )
        }
        Err(NoRing::Refused(Errno::PERM | Errno::ACCESS)) => hard(
            "io_uring is blocked, as container runtimes do by default: start the container with \
             `--security-opt seccomp=unconfined`, or a profile that allows io_uring_setup, io_uring_enter and \
             io_uring_register",
        ),
        Err(NoRing::Refused(Errno::NOSYS)) => hard(
            "io_uring is missing: this kernel was built without it, or a sandbox hides it; run on a Linux 5.8 or newer \
             with CONFIG_IO_URING (see it with `grep IO_URING /boot/config-$(uname -r)`)",
        ),
        Err(NoRing::Refused(Errno::NOMEM)) => {
            hard("no memory may be locked for io_uring: raise the limit with `ulimit -l unlimited`")
        }
        Err(NoRing::Refused(Errno::MFILE | Errno::NFILE)) => {
            hard("no descriptor is left for io_uring: raise the limit with `ulimit -n 65536`")
        }
        Err(NoRing::Refused(errno)) => hard(&format!("io_uring does not start: {errno}")),
        Err(NoRing::Incomplete) => hard("io_uring lacks operations: run Linux 5.8 or newer"),
    }
}

/// `None` means no limit.
fn judge_locked(limit: Option<u64>, kernel: Version, shards: usize) -> Finding {
    let counted = if kernel < RINGS_NOT_LOCKED_SINCE { shards.max(1) as u64 } else { 1 };
    let needed_kib = LOCKED_BYTES_PER_EXECUTOR * counted / 1024;
    let Some(limit_kib) = limit.map(|bytes| bytes / 1024).filter(|&kib| kib < needed_kib) else {
        return Finding::new(
            "locked memory",
            Verdict::Fine,
            format!("at least the {needed_kib} KiB that are needed"),
        );
    };
    let text = format!(
        "only {limit_kib} KiB may be locked, {needed_kib} KiB are needed: `ulimit -l {needed_kib}`, in a systemd unit \
         `LimitMEMLOCK={needed_kib}K`, for a container `--ulimit memlock={}`",
        needed_kib * 1024
    );
    Finding::new("locked memory", Verdict::Hard, text)
}

fn judge_cores(readable: bool) -> Finding {
    if readable {
        return Finding::new("cores", Verdict::Fine, "the machine's topology can be read");
    }
    Finding::new(
        "cores",
        Verdict::Hard,
        "/sys/devices/system/cpu cannot be read: `mount -t sysfs sysfs /sys`",
    )
}

fn judge_files(soft: Option<u64>, hard: Option<u64>, needs: &Needs) -> Finding {
    let further = needs.addresses.len().saturating_sub(1) as u64;
    let of_shard = DESCRIPTORS_PER_SHARD + DESCRIPTORS_PER_LISTENER * further;
    let own = DESCRIPTORS_OF_PROCESS + of_shard * needs.shards as u64;
    let wanted = own + needs.connections;
    let limit = soft.unwrap_or(u64::MAX);
    let mend = format!("`ulimit -n {wanted}`, in a systemd unit `LimitNOFILE={wanted}`");
    if limit <= own {
        let text = format!("only {limit} open files are allowed, the server itself needs {own}: {mend}");
        return Finding::new("open files", Verdict::Hard, text);
    }
    if limit < wanted {
        let (room, connections) = (limit - own, needs.connections);
        let first = if hard == soft { "the hard limit must be raised first, as root: " } else { "" };
        let text =
            format!("room for {room} connections, not for the {connections} that are set: {first}{mend}");
        return Finding::new("open files", Verdict::Short, text);
    }
    Finding::new("open files", Verdict::Fine, format!("room for {} connections", limit - own))
}

/// The first port that this process may listen on.
fn first_unprivileged_port() -> u16 {
    let privileged =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::NET_BIND_SERVICE));
    let start = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").ok();
    if privileged { 0 } else { start.and_then(|text| text.trim().parse().ok()).unwrap_or(1024) }
}

fn judge_port(address: SocketAddr, first_free: u16) -> Finding {
    let port = address.port();
    if port == 0 || port >= first_free {
        return Finding::new("port", Verdict::Fine, format!("{address} needs no permission that is missing"));
    }
    let text = format!(
        "port {port} needs a permission: choose {first_free} or more, or `sysctl -w \
         net.ipv4.ip_unprivileged_port_start={port}`, or in a systemd unit `AmbientCapabilities=CAP_NET_BIND_SERVICE`"
    );
    Finding::new("port", Verdict::Hard, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Version = Version(6, 1);

    fn says(finding: &Finding, verdict: Verdict, mend: &str) {
        assert_eq!(finding.verdict, verdict, "{}", finding.text);
        assert!(finding.text.contains(mend), "{}", finding.text);
    }

    #[test]
    fn a_blocked_ring_names_what_blocks_it() {
        let blocked = Err(NoRing::Refused(Errno::PERM));
        says(&judge_ring(blocked, Some("2")), Verdict::Hard, "sysctl -w kernel.io_uring_disabled=0");
        says(&judge_ring(blocked, Some("0")), Verdict::Hard, "seccomp=unconfined");
        says(&judge_ring(blocked, None), Verdict::Hard, "seccomp=unconfined");
        says(&judge_ring(Err(NoRing::Refused(Errno::NOSYS)), None), Verdict::Hard, "CONFIG_IO_URING");
        says(&judge_ring(Err(NoRing::Refused(Errno::NOMEM)), None), Verdict::Hard, "ulimit -l");
        says(&judge_ring(Err(NoRing::Incomplete), None), Verdict::Hard, "5.8");
        says(&judge_ring(Ok(()), None), Verdict::Fine, "");
    }

    #[test]
    fn locked_memory_counts_per_shard_only_on_kernels_that_count_rings() {
        let one = Some(LOCKED_BYTES_PER_EXECUTOR);
        says(&judge_locked(one, NEW, 8), Verdict::Fine, "");
        says(&judge_locked(one, Version(5, 10), 8), Verdict::Hard, "ulimit -l 4096");
        says(&judge_locked(Some(64 * 1024), NEW, 1), Verdict::Hard, "LimitMEMLOCK=512K");
        says(&judge_locked(None, Version(5, 10), 64), Verdict::Fine, "");
    }

    #[test]
    fn few_files_shrink_the_room_and_too_few_are_hard() {
        let needs = Needs { shards: 2, addresses: Vec::new(), connections: 10_000 };
        says(&judge_files(Some(20_000), Some(20_000), &needs), Verdict::Fine, "19936 connections");
        says(&judge_files(Some(1_024), Some(1_024), &needs), Verdict::Short, "as root: `ulimit -n 10064`");
        says(&judge_files(Some(64), Some(64), &needs), Verdict::Hard, "LimitNOFILE=10064");
        says(&judge_files(None, None, &needs), Verdict::Fine, "");
        let three = Needs { addresses: vec![SocketAddr::from(([127, 0, 0, 1], 0)); 3], ..needs };
        says(&judge_files(Some(20_000), Some(20_000), &three), Verdict::Fine, "19928 connections");
    }

    #[test]
    fn a_low_port_needs_a_permission_and_a_chosen_one_does_not() {
        let low: SocketAddr = ([127, 0, 0, 1], 80).into();
        says(&judge_port(low, 1024), Verdict::Hard, "ip_unprivileged_port_start=80");
        says(&judge_port(low, 0), Verdict::Fine, "");
        says(&judge_port(([127, 0, 0, 1], 0).into(), 1024), Verdict::Fine, "");
    }

    #[test]
    fn an_old_kernel_is_hard_and_this_one_is_named() {
        says(&judge_kernel(Version(5, 4)), Verdict::Hard, "5.8");
        says(&judge_kernel(kernel()), Verdict::Fine, "Linux ");
    }
}
