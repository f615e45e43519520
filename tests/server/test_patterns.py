"""Patterns (contract 1): `*` is one segment, a last `**` one or more, `*` alone every channel; over two shards, live."""

import asyncio
import json

import pytest

from support.process import Courier, wait_until
from support.speakers import V1, Router, Speaker
from support.web import Publisher

MATCHES = [
    ("a.*", "a.b", True), ("a.*", "a", False), ("a.*", "a.b.c", False), ("a.*", "A.b", False), ("a.*", "ab.c", False),
    ("*.b", "a.b", True), ("*.b", "b", False), ("*.b", "a.a.b", False), ("a.*.c", "a.b.c", True), ("a.*.c", "a.c", False),
    ("a.**", "a.b", True), ("a.**", "a.b.c.d", True), ("a.**", "a", False), ("**", "a", True), ("**", "a.b.c", True),
    ("*", "a", True), ("*", "a.b.c", True), ("*.*", "a.b", True), ("*.*", "a", False), ("*.**", "a.b.c", True),
    ("*.**", "a", False), ("a.*.**", "a.b.c", True), ("a.*.**", "a.b", False), ("*.b.*", "a.b.c", True),
    ("a-b.*", "a-b.c_d", True), ("a:b.*", "a:b.c", True), ("a.b", "a.b", True),
]  # fmt: skip
INVALID = ["", "a*", "*a", "a.b*", "**.a", "a.**.b", "***", "a.***", "a b.*", "a.*.é", "x" * 101, "a/*", "a.[b]"]
NAMES = 10  # channels: enough that both shards own some


@pytest.fixture(scope="module")
def lonely():
    """A server where no one else listens: patterns like `*` hear all of it."""
    courier = Courier().start()
    yield courier
    courier.stop()


@pytest.mark.parametrize("pattern, name, wanted", MATCHES)
def test_table(lonely, pattern, name, wanted):
    peer = V1(lonely.port)
    peer.subscribe(pattern=pattern)
    position = lonely.publish(name, {"on": name})
    assert position["clients_reached"] == wanted
    if wanted:
        event = peer.event()
        assert (event["channel"], event["id"], event["event"]) == (name, position["id"], {"on": name})
    peer.leave()
    lonely.await_clients(0)


@pytest.mark.parametrize("pattern", INVALID)
def test_what_is_no_pattern_is_an_error_and_the_socket_stays(hub, channel, pattern):
    peer = V1(hub.port)
    assert peer.command("subscribe", pattern=pattern)["type"] == "error"
    peer.subscribe(channel)
    peer.gets_only(hub, channel)


def test_answer_names_the_subscription(hub, channel):
    peer = V1(hub.port)
    answer = peer.subscribe(pattern=f"{channel}.*", id="wide")
    assert answer["id"] == "wide"
    assert hub.publish(f"{channel}.x", {"n": 1})["clients_reached"] == 1
    peer.unsubscribe(id="wide")
    assert hub.publish(f"{channel}.x", {"n": 2})["clients_reached"] == 0


def test_exact_and_overlapping_patterns_deliver_one_copy(hub, channel):
    peer, name = V1(hub.port), f"{channel}.a.b"
    peer.subscribe(name)
    for pattern in (f"{channel}.**", f"{channel}.a.*", f"{channel}.*.b"):
        peer.subscribe(pattern=pattern)
    assert hub.publish(name, {"n": 1})["clients_reached"] == 1
    peer.gets_only(hub, name, {"n": 1})


def test_one_of_two_overlapping_patterns_may_go(hub, channel):
    peer, name = V1(hub.port), f"{channel}.a.b"
    peer.subscribe(pattern=f"{channel}.**", id="one")
    peer.subscribe(pattern=f"{channel}.*.b", id="two")
    peer.unsubscribe(id="one")
    peer.gets_only(hub, name)
    assert hub.publish(f"{channel}.c", {"n": 1})["clients_reached"] == 0


def test_channels_made_later_are_matched_too(hub, channel):
    peers = [V1(hub.port) for _ in range(6)]
    for peer in peers:
        peer.subscribe(pattern=f"{channel}.**")
    for n in range(NAMES):
        assert hub.publish(f"{channel}.new.{n}", {"n": n})["clients_reached"] == 6
    for peer in peers:
        assert sorted(event["n"] for event in peer.bodies(NAMES)) == list(range(NAMES))


def test_exact_pattern_and_router_subscribers_see_one_order(hub, channel):
    """The same positions in the same order, on every core, whatever the way of subscribing."""
    exact, wide, routers = [], [], []
    for _ in range(4):
        exact.append(V1(hub.port))
        wide.append(V1(hub.port))
        routers.append(Router(hub.port))
        for n in range(NAMES):
            exact[-1].subscribe(f"{channel}.{n}")
        wide[-1].subscribe(pattern=f"{channel}.*")
        routers[-1].subscribe(f"{channel}.*")
    ids = {f"{channel}.{n}": [] for n in range(NAMES)}
    for k in range(20):
        for name in ids:
            answer = hub.publish(name, {"k": k})
            assert answer["clients_reached"] == 12
            ids[name].append(answer["id"])
    for peer in [*exact, *wide]:
        got = {name: [] for name in ids}
        for _ in range(20 * NAMES):
            event = peer.event()
            got[event["channel"]].append(event["id"])
        assert got == ids
    for router in routers:
        got = {name: [] for name in ids}
        for _ in range(20 * NAMES):
            event = router.event()["event"]
            got[event["topic"]].append(event["payload"]["k"])
        assert all(ks == list(range(20)) for ks in got.values())


def test_patterns_vanish_with_their_socket(hub, channel):
    peer = V1(hub.port)
    peer.subscribe(pattern=f"{channel}.*")
    assert hub.publish(f"{channel}.a", {"n": 1})["clients_reached"] == 1
    peer.reset()
    wait_until(lambda: hub.publish(f"{channel}.a", {"n": 2})["clients_reached"] == 0, what="the pattern is gone")
    assert hub.publish(f"{channel}.never.used", {"n": 2})["clients_reached"] == 0


def test_publish_right_after_subscribed_is_never_missed(hub, channel):
    peer = V1(hub.port)
    for n in range(60):
        peer.subscribe(pattern=f"{channel}.{n}.*", id=str(n))
        for other in range(3):
            assert hub.publish(f"{channel}.{n}.{other}", {"n": n})["clients_reached"] == 1
        assert peer.bodies(3) == [{"n": n}] * 3
        peer.unsubscribe(id=str(n))


def test_many_patterns_of_others_cost_nothing_wrong(hub, channel):
    """Thousands of patterns that do not match, one that does."""
    crowd = [V1(hub.port) for _ in range(40)]
    for number, peer in enumerate(crowd):
        for k in range(100):
            peer.say({"type": "subscribe", "ref": str(k), "pattern": f"{channel}.{number}.{k}.*"})
        for _ in range(100):
            assert peer.hear()["type"] == "subscribed"
    for number in (0, 17, 39):
        assert hub.publish(f"{channel}.{number}.99.x", {"n": number})["clients_reached"] == 1
        assert crowd[number].body() == {"n": number}
    plain = Speaker(hub.port, f"/ws/{channel}")
    plain.gets_only(hub, channel)


def test_depth_and_length_at_the_limit(hub):
    deepest = ".".join("a" * 50)
    peer = V1(hub.port)
    for pattern in (".".join(["*"] * 50), "a.**", ".".join(["a"] * 49 + ["**"])):
        peer.subscribe(pattern=pattern, id=pattern)
        hub.publish(deepest, {"n": 1})
        assert peer.body() == {"n": 1}
        peer.unsubscribe(id=pattern)


@pytest.mark.serial
async def test_subscribe_and_unsubscribe_while_events_flow(hub, channel, clients):
    """Each spell between `subscribed` and the unsubscribe has no hole and no double, on every channel."""
    names = [f"{channel}.{n}" for n in range(NAMES)]
    stop, sent = asyncio.Event(), dict.fromkeys(names, 0)

    async def stream(own: list[str]):
        publisher = await Publisher.open(hub.port)
        while not stop.is_set():
            for name in own:
                await publisher.publish(name, {"n": sent[name]})
                sent[name] += 1
        publisher.close()

    async def listen(number: int):
        socket = await clients.python(hub.socket_url("/ws"), subprotocols=["courier.v1"])
        for spell in range(15):
            heard = Spell(socket)
            pattern = f"{channel}.*" if (number + spell) % 3 else f"{channel}.**"
            await heard.tell({"type": "subscribe", "ref": f"s{spell}", "id": "x", "pattern": pattern})
            before = dict(sent)  # published, or on the way, when `subscribed` was read
            await heard.reaches({name: count + 5 for name, count in before.items()})
            await heard.tell({"type": "unsubscribe", "ref": f"u{spell}", "id": "x"})
            for name, numbers in heard.numbers.items():
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), (name, "no hole, no double")
                assert numbers[0] <= before[name] + 1, (name, "nothing missed after subscribed")

    streams = [asyncio.create_task(stream(names[n::3])) for n in range(3)]
    try:
        await asyncio.gather(*(listen(number) for number in range(4)))
    finally:
        stop.set()
        await asyncio.gather(*streams)


class Spell:
    """What a socket hears from now on: answers by ref, and numbers by channel. Each message is parsed once."""

    def __init__(self, socket):
        self.socket, self.read = socket, len(socket.messages)
        self.answers: dict[str, dict] = {}
        self.numbers: dict[str, list[int]] = {}

    def take(self):
        for text in self.socket.messages[self.read :]:
            message = json.loads(text)
            if message["type"] == "event":
                self.numbers.setdefault(message["channel"], []).append(message["event"]["n"])
            elif "ref" in message:
                self.answers[message["ref"]] = message
        self.read = len(self.socket.messages)

    async def tell(self, order: dict):
        def answered():
            self.take()
            return order["ref"] in self.answers

        await self.socket.send(json.dumps(order))
        await self.socket.wait_for(answered)
        assert self.answers[order["ref"]]["type"] != "error", self.answers

    async def reaches(self, goal: dict[str, int]):
        def reached():
            self.take()
            return all(self.numbers.get(name, [-1])[-1] >= number for name, number in goal.items())

        await self.socket.wait_for(reached)
