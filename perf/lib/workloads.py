"""The workloads: what the load tool does in each, which figures count, and whom they are compared with."""

from dataclasses import dataclass

CROWD_CHANNELS, CROWD_CONNECTIONS = 100_000, 15_000


@dataclass(frozen=True)
class Workload:
    """`options` are the load tool's; `figures` are (figure, heading) pairs, the first of which is the main one.

    `base` is the contestant that ratios are against. A workload that is `like` another one measures only Courier:
    as it is under the other workload (the base), and under this one.
    """

    what: str
    options: str
    figures: list
    base: str = "floor send"
    like: str = ""
    shards: int = 1
    seconds: float = 0.0  # measured part; 0: what the command line says
    rounds_max: int = 1000
    # So many times the rounds that the command line says, where a bar is near to what is measured: the error of 50 is wider than
    # what is between.
    rounds_times: int = 1
    # All servers start anew after so many rounds: the same binary, started twice, differs by some percent for as long as it
    # runs, of which the error within one start shows nothing.
    start_rounds: int = 5
    history: int = 0  # events that the server keeps of a channel
    secured: bool = False  # the server asks for a token on every handshake and publish, and gets one
    checked: bool = False  # a schema of `perf/schemas` holds for every event

    @property
    def fresh(self):
        """What an idle connection costs is measured while it is opened: once after each start."""
        return "--idle" in self.options


NS_DELIVERY = ("cpu_ns_per_delivery", "CPU ns per delivery")
US_PUBLISH = ("cpu_us_per_publish", "CPU us per publish")
STALL = ("stall_ms", "longest stall ms")
LATENCY = [("p50_us", "p50 us"), ("p99_us", "p99 us"), ("p999_us", "p99.9 us")]
IDLE_SHARE = ("idle_cpu_share", "share of a core while idle")
# Making the crowd leaves the kernel something to do: without the longer warm-up others take the server's core for 9 % of the
# measured part, and every run has a stall of 30 to 50 ms, with older builds as well; with it 4 ms.
CROWD = f" --crowd-channels {CROWD_CHANNELS} --crowd-connections {CROWD_CONNECTIONS} --warmup 2"
# It takes some five seconds.
CROWD_ROUNDS = 10
BESIDE = f"beside {CROWD_CHANNELS:,} other channels and {CROWD_CONNECTIONS:,} idle connections"

A = Workload("fan-out to 1,000, one event at a time", "--lockstep", [NS_DELIVERY, STALL])
C = Workload("1,000 channels, one subscriber each, 64 publishers", "--channels 1000 --publishers 64 --in-flight 64",
             [US_PUBLISH, STALL], rounds_times=2)

WORKLOADS = {
    "A": A,
    "B": Workload("fan-out to 1,000, 16 publishers, 32 in flight", "--publishers 16 --in-flight 32",
                  [NS_DELIVERY, ("p99_us", "p99 us"), STALL], base="floor join", seconds=0.3, rounds_max=25),
    "C": C,
    # In a tenth of a second the worst publish alone would be the p99.
    "D": Workload("1,000 publishes/s to 100 subscribers", "--subscribers 100 --rate 1000", [*LATENCY, STALL],
                  seconds=0.6, rounds_max=25),
    "E": Workload("16 KiB events to 100 subscribers, 32 in flight",
                  "--subscribers 100 --publishers 16 --in-flight 32 --size 16384", [NS_DELIVERY, STALL]),
    "F": Workload("10,000 idle connections", "--subscribers 10000 --idle",
                  [("resident_bytes_each", "resident bytes each"), ("cpu_us_per_connect", "CPU us per connect"),
                   IDLE_SHARE], rounds_max=5, start_rounds=1),
    # From a few starts no error can be told.
    "L": Workload("a lone publish to one subscriber, 100/s", "--subscribers 1 --rate 100", [US_PUBLISH, STALL],
                  seconds=1.0, rounds_max=10, start_rounds=1),
    # The tool sleeps here: it shares a core with a shard. How long a core takes to wake differs by the half from one moment to
    # the next, and a start from another by 7 %: half of the error of 20 starts with 5 rounds each.
    "A2": Workload("A with two shards, against the mean of one shard on either core", A.options + " --sleep",
                   [NS_DELIVERY, STALL], base="courier A", like="A", shards=2, seconds=0.3, rounds_times=3, start_rounds=3),
    "AG": Workload(f"A {BESIDE}", A.options + CROWD, A.figures, base="courier A", like="A",
                   start_rounds=CROWD_ROUNDS),
    "CG": Workload(f"C {BESIDE}", C.options + CROWD, C.figures, base="courier C", like="C",
                   start_rounds=CROWD_ROUNDS),
    "I": Workload("1,000 idle connections, 5 s", "--subscribers 1000 --idle", [IDLE_SHARE], base="", seconds=5.0,
                  rounds_max=2, start_rounds=1),
}


def features(key, patterns, rooms):
    """The workload `key` with one feature each, and `key.*`, under which they stand in one table.

    `patterns` says what is subscribed by, `rooms` how freqsearch is asked.
    """
    plain = WORKLOADS[key]
    rows = [
        ("v1", "in the envelope of courier.v1", "--dialect v1", key),
        ("events", "by dialect events", "--dialect events", key),
        ("router", "in the router's envelope, with an id of each subscription's own", "--dialect router", key),
        ("freqsearch", "in the envelope of freqsearch", f"--dialect freqsearch {rooms}", key),
        ("sse", "as server-sent events", "--dialect sse", key),
        ("history", f"with a history of {HISTORY_EVENTS} events a channel, the default", FILL, key),
        ("auth", "a token with every handshake and publish", "", key),
        ("schema", "a schema for every event", "", key),
        ("filter", "a filter by type that passes", "--types load", key),
        ("pattern", f"in the envelope of courier.v1, by {patterns}", "--dialect v1 --patterns", key),
        ("2k", f"events of {FEATURE_BYTES:,} bytes", f"--size {FEATURE_BYTES}", key),
        ("deflate", f"events of {FEATURE_BYTES:,} bytes, compressed", f"--size {FEATURE_BYTES} --deflate", f"{key}.2k"),
    ]
    yield f"{key}.*", Workload(f"{key} with one feature each", plain.options, plain.figures, base=f"courier {key}")
    for name, what, options, like in rows:
        yield (f"{key}.{name}", Workload(what, f"{plain.options} {options}", plain.figures, base=f"courier {like}",
                                         like=like, history=HISTORY_EVENTS if name == "history" else 0,
                                         secured=name == "auth", checked=name == "schema"))


HISTORY_EVENTS = 256
# What 1,000 channels take to be full at some 120,000 publishes/s, and a bit: the first touch of memory does not count.
FILL = "--warmup 3"
# Enough to be compressed.
FEATURE_BYTES = 2048
# Without rooms the only channel is heard as part of everything, as most clients of freqsearch do.
WORKLOADS |= features("A", "one pattern of 1,000 subscribers", "--subscribe-path /api/v1/ws/events")
WORKLOADS |= features("C", "1,000 patterns", "")
WORKLOADS |= {
    "F.*": Workload("F with one feature each", WORKLOADS["F"].options, WORKLOADS["F"].figures, base="courier F",
                    rounds_max=5, start_rounds=1),
    "F.auth": Workload("a token with every handshake", WORKLOADS["F"].options, WORKLOADS["F"].figures,
                       base="courier F", like="F", secured=True, rounds_max=5, start_rounds=1),
}
GROUPS = [key for key in WORKLOADS if key.endswith(".*")]
FEATURES = [key for key in WORKLOADS if "." in key and key not in GROUPS]
FAULTS = ["lost", "doubled", "out_of_order", "misrouted", "disagreeing", "refused", "closed", "overdue"]
