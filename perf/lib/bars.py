"""What Courier must show, in one place: each bar, what it is against, and whether a run meets it."""

from dataclasses import dataclass

import figures
from workloads import FAULTS, GROUPS, WORKLOADS

ANY = "each"


@dataclass(frozen=True)
class Bar:
    """A figure is at most `limit`: times the best of `against` in the same run, or as it is if that is empty."""

    workload: str
    figure: str
    limit: float
    against: tuple = ()
    what: str = ""


SEND, JOIN = ("floor send",), ("floor join",)
BARS = [
    Bar("A", "cpu_ns_per_delivery", 1.08, SEND, "CPU per delivery, against the bare send loop"),
    Bar("B", "cpu_ns_per_delivery", 1.25, JOIN, "CPU per delivery, against the joining loop"),
    Bar("B", "p99_us", 1.0, ("bun",), "p99, against Bun's"),
    Bar("C", "cpu_us_per_publish", 0.70, ("nchan", "bun", "axum"),
        "CPU per publish, against the best of nchan, Bun, axum"),
    Bar("D", "p50_us", 1.15, SEND, "p50, against the bare loop's"),
    Bar("D", "p99_us", 1.15, SEND, "p99, against the bare loop's"),
    Bar("E", "cpu_ns_per_delivery", 0.75, SEND, "CPU per delivery, against the bare send loop"),
    Bar("F", "resident_bytes_each", 512, (), "resident bytes of an idle connection"),
    Bar("F", "cpu_us_per_connect", 1.0, ("nchan",), "CPU per connect, against nchan's"),
    Bar("F", "cpu_us_per_connect", 20, (), "CPU us per connect (50,000 handshakes/s on one core)"),
    Bar("L", "cpu_us_per_publish", 1.5, SEND, "CPU of a lone publish, against a plain epoll loop"),
    Bar("A2", "cpu_ns_per_delivery", 1.05, ("courier A",),
        "CPU per delivery of two shards, against one shard on either core"),
    Bar("AG", "cpu_ns_per_delivery", 1.05, ("courier A",), "A beside a crowd, against A alone"),
    Bar("CG", "cpu_us_per_publish", 1.05, ("courier C",), "C beside a crowd, against C alone"),
    Bar("I", "idle_cpu_share", 0.01, (), "share of a core of an idle server"),
    Bar(ANY, "faults", 0, (), "events lost, doubled, out of order; refused publishes; closed subscribers"),
    Bar(ANY, "stall_ms", 20, (), "longest stall in ms, without the time in which the load tool or the server had no core"),
]
# System calls per publish in C: one publish has one answer and one ready subscriber.
READS = ("read", "readv", "recvfrom", "recvmsg")
WRITES = ("write", "writev", "sendto", "sendmsg", "sendmmsg")
WAITS = ("epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "io_uring_enter")
CALL_BARS = [
    Bar("C", READS, 1.1, (), "reads per publish"),
    Bar("C", WRITES, 2.0, (), "writes per publish: one per answer, one per ready subscriber"),
    Bar("C", WAITS, 0.15, (), "epoll and io_uring calls per publish"),
]


@dataclass(frozen=True)
class Verdict:
    """`measured` is what `bar.limit` is compared with, None if it could not be measured; `note` says what is missing.

    `error` is its standard error, None of what is a sum, the worst or a single value.
    """

    bar: Bar
    subject: str
    measured: float | None
    note: str
    error: float | None = None

    @property
    def met(self):
        return None if self.measured is None else self.measured <= self.bar.limit

    @property
    def word(self):
        near = self.error is not None and abs(self.measured - self.bar.limit) <= self.error
        word = {None: "not measured", True: "met", False: "NOT MET"}[self.met]
        return f"{word}, within the error" if near else word


def names_rival(workload, name):
    return any(bar.workload == workload and name in bar.against for bar in BARS)


def verdicts(kept, subjects, missing):
    """Every bar for which this run has the workload; `kept` is workload -> contestant -> runs."""
    for bar in BARS:
        for subject in subjects:
            if bar.workload == ANY:
                yield over_all(bar, subject, kept)
            elif bar.workload in kept:
                yield judge(bar, subject, kept[bar.workload], missing)


def judge(bar, subject, results, missing):
    workload = WORKLOADS[bar.workload]
    runs = results.get(f"{subject} {bar.workload}" if workload.like else subject, [])
    if not bar.against:
        return over(bar, subject, figures.values(runs, bar.figure), "")
    against = [f"{subject} {workload.like}"] if workload.like else [name for name in bar.against if name in results]
    medians = {name: figures.median_of(results[name], bar.figure) for name in against}
    medians = {name: middle for name, middle in medians.items() if middle is not None}
    absent = [f"{name} {missing.get(name, 'did not run')}" for name in bar.against
              if name not in medians and not workload.like]
    if not medians:
        return Verdict(bar, subject, None, "; ".join(absent))
    best = min(medians, key=medians.get)
    note = f"best: {best}" if len(bar.against) > 1 else ""
    note = "; ".join([*filter(None, [note]), *(f"without {name}" for name in absent)])
    return over(bar, subject, figures.ratios(runs, results[best], bar.figure), note)


def over(bar, subject, values, note):
    """The verdict on the median of `values`, one of each round."""
    return Verdict(bar, subject, figures.median(values), note, figures.error(values))


def over_all(bar, subject, kept):
    """Faults are summed over all runs of Courier, the stall is the worst of them."""
    names = {subject, *(f"{subject} {key}" for key in WORKLOADS)}
    runs = [(name if key in GROUPS else key, run) for key, results in kept.items() for name in results if name in names
            for run in figures.good(results[name])]
    failed = sum(bool(run and "failed" in run) for results in kept.values() for name in results if name in names
                 for run in results[name])
    if bar.figure == "faults":
        count = sum(run.get(fault, 0) for _, run in runs for fault in FAULTS)
        return Verdict(bar, subject, count + failed if runs else None, f"{failed} runs failed" if failed else "")
    return worst_stall(bar, subject, runs, kept)


def worst_stall(bar, subject, runs, kept):
    """A server that is ready to run and has no core cannot do better; what it waited is told beside.

    Neither can one whose core the host has given to somebody else, which is known in whole ticks of 10 ms only.
    """
    stalls = [(run["stall_ms"], run["stall_server_waited_ms"] + run["stall_stolen_ms"], key)
              for key, run in runs if "stall_ms" in run]
    if not stalls:
        return Verdict(bar, subject, None, "")
    own, where = max((max(stall - waited, 0.0), key) for stall, waited, key in stalls)
    worst, waited, there = max(stalls)
    over = sum(stall > bar.limit for stall, _, _ in stalls)
    floors = [run["stall_ms"] for results in kept.values() for name in results if name.startswith("floor")
              for run in figures.good(results[name]) if "stall_ms" in run]
    note = (f"in {where}; with the waits the worst is {worst:.1f} in {there}, of which {waited:.1f} without a core, and "
            f"{over} of {len(stalls)} runs are over; the floor's worst: {max(floors, default=0):.1f}")
    return Verdict(bar, subject, own, note)


def call_verdicts(subject, workload, per_publish):
    """`per_publish` is system call -> calls per publish."""
    for bar in CALL_BARS:
        if bar.workload == workload:
            yield Verdict(bar, subject, sum(per_publish.get(call, 0) for call in bar.figure), "")
