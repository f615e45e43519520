"""Counts a server's system calls by kind with perf's tracepoints, from the end of the warm-up to the end of the run."""

import json
import os
import signal
import subprocess
import tempfile
import time

from measure import load_command
from servers import START_SECONDS_MAX

# Calls rarer than this per publish are left out.
SHOWN_MIN = 0.001


def per_publish(contestant, seconds):
    """System call -> calls per publish (per connection in F), and the load tool's report."""
    server = contestant.start()
    try:
        counts, result = count(server, contestant.workload, seconds)
    finally:
        server.stop()
    published = result.get("published") or result["connections"]
    return {call: calls / published for call, calls in counts.items()}, result


def print_calls(contestant, calls, result):
    deliveries = result.get("delivered", 0) / result["published"] if result.get("published") else 1
    for call, each in sorted(calls.items(), key=lambda item: -item[1]):
        if each >= SHOWN_MIN:
            print(f"   {contestant.name:14} {call:20} {each:10.3f}  {each / deliveries:9.4f}")


def count(server, workload, seconds):
    load = subprocess.Popen(load_command(server, workload, seconds) + ["--gate"], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    try:
        load.stdout.readline()
        report = tempfile.NamedTemporaryFile("r", suffix=".csv")
        perf = subprocess.Popen(["perf", "stat", "-x,", "-e", "syscalls:sys_enter_*", "-o", report.name, "-p",
                                 ",".join(map(str, server.pids))])
        wait_attached(perf)
        load.stdin.write("\n")
        load.stdin.flush()
        result = json.loads(load.stdout.readline())
        perf.send_signal(signal.SIGINT)
        perf.wait()
        load.communicate(timeout=10)
    finally:
        load.kill()
    lines = [line.split(",") for line in report.read().splitlines() if "sys_enter_" in line]
    counts = {line[2].split("sys_enter_")[1]: int(line[0]) for line in lines if line[0].isdigit()}
    return {call: calls for call, calls in counts.items() if calls}, result


def wait_attached(perf):
    """perf opens one counter per call and thread; it sleeps once all are open."""
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until and perf.poll() is None:
        time.sleep(0.3)
        before = len(os.listdir(f"/proc/{perf.pid}/fd"))
        time.sleep(0.3)
        if before > 50 and before == len(os.listdir(f"/proc/{perf.pid}/fd")):
            return
    raise SystemExit("perf/run: perf could not attach to the server")
