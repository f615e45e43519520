"""Runs workloads in short slices: every contestant once per round, in an order that is drawn anew each time.

The servers of a workload, and a load tool connected to each, stay for some rounds; those whose turn it is not sleep. What
the machine does to all of them then leaves the ratios within a round alone, and few slices pay for a start.
"""

import contextlib
import itertools
import json
import random
import select
import statistics
import subprocess
from dataclasses import dataclass, replace
from typing import Callable

import bars
import servers
from servers import EXAMPLES, LOAD_CORE, Unavailable
from workloads import FAULTS, GROUPS, WORKLOADS, Workload

# Longest wait for the load tool: a crowd is gathered in some five seconds.
LOAD_SECONDS_MAX = 60
# Before each slice, what does not count, in seconds: after a pause all is cold. With 10 ms of it slices of 50 ms of A cost 20 % less
# where the same server had been measured a moment before, and in D the kernel acknowledges the first 16 events one by one.
LEAD_IN_SECONDS = 0.05
# Rivals that no bar of the workload names run with every so manieth start only: a whole run takes thirteen
# minutes.
STARTS_PER_TURN = 4
# After these the next slice would be another workload, or wait for what does not come.
ENDING_FAULTS = ["lost", "closed"]


class Failed(Exception):
    """A slice without a result, and why."""


@dataclass(frozen=True)
class Contestant:
    """A server under a workload; `base` names the contestant its figures are divided by.

    It takes part after every start whose number `every` divides. With `also` that one is measured too, and the mean counts.
    """

    name: str
    start: Callable
    workload: Workload
    base: str
    every: int = 1
    also: Callable | None = None


def contestants(key, options, couriers, rivals):
    """Who runs in the workload `key`: the floor, the Courier binaries (name -> path) and the rivals (name -> start)."""
    workload = WORKLOADS[key]
    if key in GROUPS:
        return [contestant for name, path in couriers.items() for contestant in group(key, name, path, options)]
    if workload.like:
        return [contestant for name, path in couriers.items() for contestant in pair(key, name, path)]
    base = workload.base
    against = options.base or base
    found = [Contestant(base, servers.floor(base.split()[1]), workload, against)] if base else []
    found += [Contestant(name, servers.courier(path), workload, against) for name, path in couriers.items()]
    if not base:
        return found
    for name, start in rivals.items():
        every = 1 if bars.names_rival(key, name) else STARTS_PER_TURN
        found.append(Contestant(name, start, workload, against, every))
    return found


def group(key, name, path, options):
    """One Courier binary under the workload that all are like, and under each of the group that was asked for."""
    wanted = [feature for feature in options.features if feature.split(".")[0] == key.split(".")[0]]
    wanted += [WORKLOADS[feature].like for feature in wanted]
    for member in WORKLOADS:
        if member in wanted:
            workload = WORKLOADS[member]
            base = f"{name} {workload.like or member}"
            yield Contestant(f"{name} {member}", servers.courier_for(path, workload), workload, base)


def pair(key, name, path):
    """One Courier binary under the workload that this one is like, and under this one.

    Two shards stand on both cores, and a delivery to a tool on the same core costs little more than half as much
    (1,630 ns against 2,850: nobody has to be woken on another core). Their base is the mean of one shard on either core.
    """
    workload, like = WORKLOADS[key], WORKLOADS[WORKLOADS[key].like]
    base = f"{name} {workload.like}"
    also = None
    if workload.shards > 1:
        also = servers.courier(path, core=LOAD_CORE)
        like = replace(like, options=workload.options, seconds=workload.seconds, rounds_times=workload.rounds_times,
                       start_rounds=workload.start_rounds)
    yield Contestant(base, servers.courier(path), like, base, also=also)
    yield Contestant(f"{name} {key}", servers.courier_for(path, workload), workload, base)


def load_command(server, workload, seconds):
    command = [str(EXAMPLES / "load"), "--port", str(server.port), "--core", str(LOAD_CORE)]
    command += [word for pid in server.pids for word in ("--pid", str(pid))]
    command += ["--bearer", servers.TOKEN] if workload.secured else []
    return command + workload.options.split() + ["--seconds", str(workload.seconds or seconds)] + server.options


def rounds(taking_part, options):
    """Name -> one result per round; None in rounds in which a contestant did not take part."""
    workloads = [contestant.workload for contestant in taking_part]
    wanted = options.rounds * min(workload.rounds_times for workload in workloads)
    count = min(wanted, *(workload.rounds_max for workload in workloads))
    start_rounds = max(workload.start_rounds for workload in workloads)
    results, order = {contestant.name: [] for contestant in taking_part}, random.Random(options.seed)
    for first in range(0, count, start_rounds):
        present = {contestant.name: benches(contestant, options) for contestant in taking_part
                   if first // start_rounds % contestant.every == 0}
        try:
            for bench in itertools.chain(*present.values()):
                bench.prepare()
            for _ in range(first, min(count, first + start_rounds)):
                for name in order.sample(sorted(present), len(present)):
                    drawn = order.sample(present[name], len(present[name]))
                    results[name].append(measure(drawn, first // start_rounds))
                for name in results.keys() - present.keys():
                    results[name].append(None)
        finally:
            for bench in itertools.chain(*present.values()):
                bench.stop()
    return results


def benches(contestant, options):
    return [Bench(start, contestant.workload, options.seconds) for start in (contestant.start, contestant.also) if start]


def measure(benches, start):
    """The figures of one contestant in one round after that start; None if it has failed before, since then."""
    if any(bench.failed for bench in benches):
        return None
    runs = [bench.measure() for bench in benches]
    failed = [result for result in runs if "failed" in result]
    return failed[0] if failed else mean(runs) | {"start": start}


def mean(runs):
    """The mean of each figure; faults are summed, and of stalls the longest counts, with what explains that one."""
    def join(figure):
        return sum if figure in FAULTS else max if figure.endswith("_ms") else statistics.mean

    longest = max(runs, key=lambda result: result.get("stall_ms", 0))
    stall = {figure: longest[figure] for figure in longest if figure.startswith("stall_")}
    return {figure: join(figure)([result[figure] for result in runs]) for figure in runs[0]} | stall


class Bench:
    """A server under load: both are started when they are needed, stay, and sleep while others are measured."""

    def __init__(self, start, workload, seconds):
        self.start, self.workload, self.seconds = start, workload, seconds
        self.server = self.load = None
        self.failed = False

    def prepare(self):
        """Starts both before a round, unless that is what is measured; what goes wrong is told when it goes wrong again."""
        try:
            if not self.workload.fresh:
                self.begin()
        except (Unavailable, Failed):
            self.stop()

    def measure(self):
        """The figures of one slice; `{"failed": why}` if there is nothing to show for it."""
        try:
            self.begin()
            result = self.slice()
        except (Unavailable, Failed) as reason:
            self.failed, result = True, {"failed": str(reason)}
        if self.failed or self.workload.fresh or any(map(result.get, ENDING_FAULTS)):
            self.stop()
        return result

    def begin(self):
        if not self.load:
            self.server = self.server or self.start()
            command = load_command(self.server, self.workload, self.seconds)
            self.load = subprocess.Popen([*command, "--gate", "--lead-in", str(LEAD_IN_SECONDS)], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.said()
            self.server.hold()

    def slice(self):
        if self.server.process.poll() is not None:
            raise Failed(f"the server ended by itself: {self.server.process.returncode}")
        self.server.go_on()
        with contextlib.suppress(BrokenPipeError):  # why it has ended is asked for below
            self.load.stdin.write("\n")
            self.load.stdin.flush()
        result = json.loads(self.said())
        self.server.hold()
        if result.get("delivered") == 0:
            raise Failed(f"nothing was delivered in the measured part: {json.dumps(result)}")
        return result

    def said(self):
        """The next line of the load tool."""
        if not select.select([self.load.stdout], [], [], LOAD_SECONDS_MAX)[0]:
            raise Failed(f"the load tool took longer than {LOAD_SECONDS_MAX} s")
        line = self.load.stdout.readline()
        if not line:
            raise Failed(self.load.stderr.read().strip() or "the load tool said nothing")
        return line

    def stop(self):
        if self.load:
            self.load.kill()
            self.load.communicate()
        if self.server:
            self.server.stop()
        self.server = self.load = None
