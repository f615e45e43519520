"""Profile-guided builds: a binary that counts where it goes, trained under load, and the same code built again with those counts.

What is hot then lies together and what is not lies apart, so that less of it is fetched again after each system call.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import measure
import servers
from servers import PERF, ROOT, Server, Unavailable, courier_for
from workloads import FAULTS, FEATURES, WORKLOADS

TARGET = servers.TARGET / "pgo"
# What says how is trained, besides the code itself.
TRAINING = [PERF / "lib" / "guided.py", PERF / "lib" / "workloads.py", PERF / "tls" / "run"]
# The variable that says where a counting binary writes.
COUNTS = "LLVM_PROFILE_FILE"
# One that counts may be later than the rate wants.
LATE = ["overdue"]
# Measured part of a workload that has none of its own.
TRAINING_SECONDS = 1.0
# The whole program need not be linked as one to be counted: that would take twice as long, and the profile is the same
# (of 2,311 functions that ran all had the same hash).
COUNTING = ["-Clto=off", "-Clinker-plugin-lto=off"]
# Those beside a crowd do nothing that the plain ones do not, and an idle server does nothing.
PLAIN = [key for key in WORKLOADS if "." not in key and key not in ("AG", "CG", "I")]
OF_RIVALS = [key for key in PLAIN if not WORKLOADS[key].like]
# So many both cores can do with a build that counts.
HANDSHAKES_PER_S = "200"


def courier():
    """This tree's server, trained in the workloads of `perf/run` with each feature, and in `perf/tls/run`."""
    return build("courier", ROOT, train_courier)


def axum():
    """The rival `perf/rivals/axum`, trained in those workloads that it can do."""
    return build("rival-axum", PERF / "rivals" / "axum",
                 lambda binary: load(lambda _: lambda: Server([binary]), OF_RIVALS), "--locked")


def train_courier(binary):
    load(lambda workload: courier_for(binary, workload), [*PLAIN, *FEATURES])
    done = subprocess.run(["perf/tls/run", HANDSHAKES_PER_S], cwd=ROOT, env={**os.environ, "COURIER_BINARY": str(binary)},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise Unavailable(f"the training in perf/tls/run went wrong:\n{done.stdout}")
    say("trained in perf/tls/run")


def build(name, crate, train, *words):
    """Builds the binary `name` of the crate in that folder, guided by what `train(binary)` has it do; returns its path.

    The same code is not trained again in the same way. Raises `Unavailable` if a step cannot be done.
    """
    target = TARGET / name
    merge = tool("llvm-profdata")
    counting = cargo(name, crate, target / "counting", [f"-Cprofile-generate={target}", *COUNTING], words)
    # Its name says what was trained: Cargo looks at the flags alone.
    profile = target / f"{digest(counting, *TRAINING)}.profdata"
    if not profile.exists():
        learn(lambda: train(counting), merge, profile)
        # Made by another profile: Cargo would keep every one.
        shutil.rmtree(target / "guided", ignore_errors=True)
        for other in set(target.glob("*.profdata")) - {profile}:
            other.unlink()
    return cargo(name, crate, target / "guided", [f"-Cprofile-use={profile}"], words)


def cargo(name, crate, target, flags, words):
    """Builds the binary `name` with flags for rustc besides those of the environment, and words for Cargo; returns its path.

    Flags that are set in Cargo's own configuration do not count.
    """
    host = rustc("-vV").split("host: ")[1].split("\n")[0]
    # With a target that is named, the flags are not for build scripts and macros.
    command = ["cargo", "build", "--release", "--bin", name, "--target", host, "--target-dir", target, *words]
    encoded = os.environ.get("CARGO_ENCODED_RUSTFLAGS", "\x1f".join(os.environ.get("RUSTFLAGS", "").split()))
    # Unlike those of RUSTFLAGS they may hold blanks.
    environment = {**os.environ, "CARGO_ENCODED_RUSTFLAGS": "\x1f".join([encoded, *flags]).strip("\x1f")}
    if subprocess.run(list(map(str, command)), cwd=crate, env=environment).returncode:
        raise Unavailable(f"{name} could not be built with {' '.join(flags)}")
    return target / host / "release" / name


def learn(run, merge, profile):
    """Writes what the processes that `run` starts have counted to the file `profile`."""
    with tempfile.TemporaryDirectory() as raw:
        os.environ[COUNTS] = f"{raw}/%p.profraw"  # one for each process
        try:
            run()
        finally:
            del os.environ[COUNTS]
        unfinished = profile.with_suffix(".new")
        if subprocess.run([merge, "merge", "--sparse", "-o", unfinished, *written(raw)]).returncode:
            raise Unavailable("the counts could not be merged")
        unfinished.rename(profile)


def written(folder):
    return [counts for counts in pathlib.Path(folder).glob("*.profraw") if counts.stat().st_size]


def tool(name):
    """The path of a tool of rustc's own LLVM: another one need not know its format."""
    path = pathlib.Path(rustc("--print", "target-libdir")).parent / "bin" / name
    if not path.exists() and shutil.which("rustup"):
        subprocess.run(["rustup", "component", "add", "llvm-tools"], stdout=sys.stderr, cwd=ROOT)
    if not path.exists():
        raise Unavailable(f"{path} is missing: `rustup component add llvm-tools`")
    return path


def rustc(*words):
    done = subprocess.run(["rustc", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        raise Unavailable(f"rustc {' '.join(words)} failed")
    return done.stdout.strip()


def digest(*paths):
    content = hashlib.sha256()
    for path in paths:
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


def load(start, keys):
    """Puts each of these workloads on a server of its own, started by `start(workload)`."""
    folder = pathlib.Path(os.environ[COUNTS]).parent
    for number, key in enumerate(keys, 1):
        bench = measure.Bench(start(WORKLOADS[key]), WORKLOADS[key], TRAINING_SECONDS)
        try:
            result = bench.measure()
        finally:
            bench.stop()
        wrong = {fault: result[fault] for fault in ["failed", *FAULTS] if fault not in LATE and result.get(fault)}
        if wrong:
            raise Unavailable(f"the training in {key} went wrong: {wrong}")
        if len(written(folder)) < number:
            raise Unavailable(f"the training in {key} left no counts: they are written when a server ends by itself")
        say(f"trained in {key}: {WORKLOADS[key].what}")


def say(what):
    """What goes on is no output: that is the binary's path."""
    print(what, file=sys.stderr, flush=True)
