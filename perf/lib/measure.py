"""Runs workloads: every contestant once per round, the order turned each time, and keeps each round's figures."""

import json
import statistics
import subprocess
import time
from dataclasses import dataclass, replace
from typing import Callable

import bars
import servers
from servers import EXAMPLES, LOAD_CORE, Unavailable
from workloads import CLOSE_ROUNDS, FAULTS, GROUPS, WORKLOADS, Workload

LOAD_SECONDS_MAX = 60
# Rivals that no bar of the workload names run in this many rounds only: a whole run stays below ten minutes.
ROUNDS_WITHOUT_BAR = 3
# Between two servers: sockets of the last one are gone by then.
PAUSE_SECONDS = 0.05


@dataclass(frozen=True)
class Contestant:
    """A server under a workload; `base` names the contestant its figures are divided by.

    With `also` every round measures that one too, and counts the mean of both.
    """

    name: str
    start: Callable
    workload: Workload
    base: str
    rounds: int
    also: Callable | None = None


def contestants(key, options, couriers, rivals):
    """Who runs in the workload `key`: the floor, the Courier binaries (name -> path) and the rivals (name -> start)."""
    workload = WORKLOADS[key]
    asked = min(options.rounds, workload.rounds_max)
    rounds = max(asked, CLOSE_ROUNDS) if workload.close else asked
    if key in GROUPS:
        return [contestant for name, path in couriers.items() for contestant in group(key, name, path, rounds, options)]
    if workload.like:
        return [contestant for name, path in couriers.items() for contestant in pair(key, name, path, rounds)]
    base = workload.base
    against = options.base or base
    found = [Contestant(base, servers.floor(base.split()[1]), workload, against, rounds)] if base else []
    found += [Contestant(name, servers.courier(path), workload, against, rounds) for name, path in couriers.items()]
    if not base:
        return found
    for name, start in rivals.items():
        turns = rounds if bars.names_rival(key, name) else min(asked, ROUNDS_WITHOUT_BAR)
        found.append(Contestant(name, start, workload, against, turns))
    return found


def group(key, name, path, rounds, options):
    """One Courier binary under the workload that all are like, and under each of the group that was asked for."""
    wanted = [feature for feature in options.features if feature.split(".")[0] == key.split(".")[0]]
    wanted += [WORKLOADS[feature].like for feature in wanted]
    for member in WORKLOADS:
        if member in wanted:
            workload = WORKLOADS[member]
            base = f"{name} {workload.like or member}"
            yield Contestant(f"{name} {member}", servers.courier_for(path, workload), workload, base, rounds)


def pair(key, name, path, rounds):
    """One Courier binary under the workload that this one is like, and under this one.

    Two shards stand on both cores, and a delivery to a tool on the same core costs little more than half as much
    (1,630 ns against 2,850: nobody has to be woken on another core). Their base is the mean of one shard on either core.
    """
    workload, like = WORKLOADS[key], WORKLOADS[WORKLOADS[key].like]
    base = f"{name} {workload.like}"
    also = None
    if workload.shards > 1:
        also, like = servers.courier(path, core=LOAD_CORE), replace(like, options=workload.options)
    yield Contestant(base, servers.courier(path), like, base, rounds, also)
    yield Contestant(f"{name} {key}", servers.courier_for(path, workload), workload, base, rounds)


def load_command(server, workload, seconds):
    command = [str(EXAMPLES / "load"), "--port", str(server.port), "--core", str(LOAD_CORE)]
    command += [word for pid in server.pids for word in ("--pid", str(pid))]
    command += ["--bearer", servers.TOKEN] if workload.secured else []
    return command + workload.options.split() + ["--seconds", str(workload.seconds or seconds)] + server.options


def measure(contestant, seconds):
    """The figures of one round; `{"failed": why}` if there is nothing to show for it."""
    runs = [run(start, contestant.workload, seconds) for start in (contestant.start, contestant.also) if start]
    failed = [result for result in runs if "failed" in result]
    return failed[0] if failed else mean(runs)


def mean(runs):
    """The mean of each figure; faults are summed, and of stalls the longest counts."""
    def join(figure):
        return sum if figure in FAULTS else max if figure.endswith("_ms") else statistics.mean

    return {figure: join(figure)([result[figure] for result in runs]) for figure in runs[0]}


def run(start, workload, seconds):
    try:
        server = start()
    except Unavailable as reason:
        return {"failed": str(reason)}
    try:
        done = subprocess.run(load_command(server, workload, seconds), capture_output=True, text=True,
                              timeout=LOAD_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return {"failed": f"the load tool took longer than {LOAD_SECONDS_MAX} s"}
    finally:
        server.stop()
    if done.returncode != 0:
        return {"failed": done.stderr.strip()}
    result = json.loads(done.stdout)
    if result.get("delivered") == 0:
        return {"failed": f"nothing was delivered in the measured part: {json.dumps(result)}"}
    return result


def rounds(taking_part, options):
    """Name -> one result per round; None in rounds in which a contestant did not take part."""
    results = {contestant.name: [] for contestant in taking_part}
    for number in range(max(contestant.rounds for contestant in taking_part)):
        turn = number % len(taking_part)
        for contestant in taking_part[turn:] + taking_part[:turn]:
            takes_part = number < contestant.rounds
            results[contestant.name].append(measure(contestant, options.seconds) if takes_part else None)
            time.sleep(PAUSE_SECONDS if takes_part else 0)
    return results
