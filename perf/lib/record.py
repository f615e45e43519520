"""Keeps a run: perf/RESULTS.md with command, commit, machine, date, bars and table; and the machine's description.

The features and the history are parts of their own: each run writes only the parts that it measured.
"""

import datetime
import os
import pathlib
import platform
import re
import subprocess

import bars
import table
from servers import LOAD_CORE, PERF, ROOT, SERVER_CORE
from workloads import GROUPS

RESULTS = PERF / "RESULTS.md"
HEAD = ["# What was measured", "", "Written by `perf/run --record`; only ratios within one run count.", ""]
FEATURES_HEAD = "## Features, by a run of their own against plain Courier"
HISTORY_HEAD = "## History, by a run of its own beside Redis Streams"
HISTORY_ABOUT = """Written by `perf/history/run --record`. Publishes of 200 bytes to 64 channels or streams, each in flight on a
connection of its own; Redis by `XADD`. Interval and `everysec` lose what is not synced yet, `always` answers when it is."""
PARTS = [FEATURES_HEAD, HISTORY_HEAD]


def commit():
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def machine():
    model = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return (f"{platform.system()} {platform.release()}, {model[1] if model else platform.machine()}, "
            f"{os.cpu_count()} cores; server on core {SERVER_CORE}, load on core {LOAD_CORE}; "
            f"load average {os.getloadavg()[0]:.2f}")


def write(command, described, seconds, verdicts, workloads):
    """`workloads` is (key, contestants, results, missing) of each; `described` is commit and machine at the start."""
    described = about(command, described, seconds)
    plain = [workload for workload in workloads if workload[0] not in GROUPS]
    features = [workload for workload in workloads if workload[0] in GROUPS]
    parts = kept()
    if plain:
        lines = [*HEAD, *described, "", "## Bars", "", *table.markdown_verdicts(verdicts), "", "## Table"]
        parts[""] = "\n".join([*lines, *tables(plain)])
    if features:
        faults = table.markdown_verdicts([verdict for verdict in verdicts if verdict.bar.workload == bars.ANY])
        parts[FEATURES_HEAD] = "\n".join([FEATURES_HEAD, "", *described, "", *faults, *tables(features)])
    save(parts)


def write_history(lines):
    """The part of `perf/history/run`: what was measured and the table, in Markdown."""
    save(kept() | {HISTORY_HEAD: "\n".join([HISTORY_HEAD, "", HISTORY_ABOUT, "", *lines])})


def kept():
    """What stands in the file now, by the head of each part; that before all of them has none."""
    parts = {head: "" for head in ["", *PARTS]}
    head = ""
    for line in (RESULTS.read_text() if RESULTS.exists() else "").splitlines():
        head = line if line in PARTS else head
        parts[head] += line + "\n"
    return parts


def save(parts):
    RESULTS.write_text("\n".join(part.rstrip("\n") + "\n" for part in parts.values() if part))


def about(command, described, seconds):
    measured_commit, measured_machine = described
    now = datetime.datetime.now(datetime.timezone.utc)
    return [f"* command: `{command}` ({seconds:.0f} s)", f"* commit: {measured_commit}",
            f"* machine: {measured_machine}", f"* date: {now:%Y-%m-%d %H:%M} UTC"]


def tables(workloads):
    for key, taking_part, results, missing in workloads:
        yield from table.markdown_workload(key, taking_part, results, missing)
