"""Dialect `freqsearch` as its hub promises it (sources 3, contract 6): envelope, exact type filter, silence, limits, clients."""

import json
from datetime import datetime

import pytest

from support.frames import BINARY, CONTINUATION, PING, PONG, TEXT, PeerClosed, ScriptedPeer, encode
from support.originals import JavaScriptOriginals
from support.speakers import FreqSearch
from support.web import Publisher

PATH = FreqSearch.path
MESSAGE_BYTES_MAX = 512
LISTED_TYPES = """optimization.iteration.started optimization.iteration.completed optimization.new_best
    optimization.completed optimization.failed backtest.submitted backtest.completed backtest.failed task.running
    task.failed task.cancelled strategy.discovered strategy.needs_processing strategy.ready_for_backtest
    strategy.approved strategy.evolve strategy.archived agent.status.changed agent.status.update scout.trigger
    scout.started scout.progress scout.completed scout.failed scout.cancelled""".split()


@pytest.fixture
def hub(start_courier):
    """A server of the test's own: this dialect hears every event of the server."""
    return start_courier()


@pytest.fixture
async def originals():
    driver = await JavaScriptOriginals.launch()
    yield driver
    await driver.stop()


def typed(kind: str, n: int = 0) -> dict:
    return {"type": kind, "n": n}


class TestEnvelope:
    def test_there_is_no_welcome(self, hub):
        assert FreqSearch(hub.port).ask("ping") == "pong"

    def test_is_type_data_and_timestamp(self, hub):
        peer = FreqSearch(hub.port)
        event = {"type": "task.running", "event_id": "e", "job_id": "j", "nested": {"a": [1, None]}}
        hub.publish("tasks", event)
        message = peer.event()
        assert set(message) == {"type", "data", "timestamp"}
        assert (message["type"], message["data"]) == ("task.running", event)
        assert datetime.fromisoformat(message["timestamp"]).tzinfo is not None

    def test_data_is_the_event_verbatim(self, hub):
        peer = FreqSearch(hub.port)
        text = b'{ "type":"x" , "n" : 1.50, "u":"\\u00e9" }'
        hub.post("/publish/a", text)
        assert text in peer.message().payload

    def test_every_listed_type_arrives_under_its_name(self, hub):
        peer = FreqSearch(hub.port)
        for kind in LISTED_TYPES:
            hub.publish("strategies", typed(kind))
        assert [peer.event()["type"] for _ in LISTED_TYPES] == LISTED_TYPES

    def test_one_event_per_frame(self, hub):
        """The source joins events by newline; here that is an option (contract 6)."""
        peer, peers = FreqSearch(hub.port), [FreqSearch(hub.port) for _ in range(3)]
        with_newlines = b'{"type":"x",\n"n":\n1}'
        for _ in range(100):
            hub.post("/publish/a", with_newlines)
        for each in [peer, *peers]:
            for _ in range(100):
                assert json.loads(each.message().payload)["data"] == {"type": "x", "n": 1}


class TestSubscriptions:
    def test_nothing_subscribed_means_everything_of_every_channel(self, hub):
        peers = [FreqSearch(hub.port) for _ in range(4)]
        events = [(f"c.{n}", typed(f"kind.{n}", n)) for n in range(20)]
        for channel, event in events:
            hub.publish(channel, event)
        for peer in peers:
            assert sorted(peer.bodies(20), key=lambda event: event["n"]) == [event for _, event in events]

    def test_subscribe_keeps_exactly_those_types(self, hub):
        peer = FreqSearch(hub.port).subscribe("task.failed", "x")
        for kind in ("task.failed", "task.failed.again", "task", "x", "X", "task.*", "y"):
            hub.publish("a", typed(kind))
        hub.publish("a", typed("x", 9))
        assert [peer.event()["type"] for _ in range(3)] == ["task.failed", "x", "x"]

    def test_star_is_no_wildcard(self, hub):
        peer = FreqSearch(hub.port).subscribe("task.*", "*", "end")
        hub.publish("a", typed("task.failed"))
        hub.publish("a", typed("end"))
        assert peer.event()["type"] == "end"

    def test_subscribe_adds_and_unsubscribe_removes(self, hub):
        peer = FreqSearch(hub.port).subscribe("a").subscribe("b", "c").unsubscribe("a", "never")
        for kind in "abcabc":
            hub.publish("x", typed(kind))
        assert [peer.event()["type"] for _ in range(4)] == ["b", "c", "b", "c"]

    def test_unsubscribing_the_last_type_means_everything_again(self, hub):
        peer = FreqSearch(hub.port).subscribe("a").unsubscribe("a")
        hub.publish("x", typed("other"))
        assert peer.event()["type"] == "other"

    def test_unsubscribing_without_ever_subscribing_means_everything(self, hub):
        peer = FreqSearch(hub.port).unsubscribe("a", "b")
        for kind in ("a", "other"):
            hub.publish("x", typed(kind))
        assert [peer.event()["type"] for _ in range(2)] == ["a", "other"]

    def test_event_without_a_type_passes_only_without_a_filter(self, hub):
        everything, filtered = FreqSearch(hub.port), FreqSearch(hub.port).subscribe("x")
        hub.publish("a", {"n": 1})
        hub.publish("a", typed("x"))
        assert everything.bodies(2) == [{"n": 1}, typed("x")]
        assert filtered.body() == typed("x")

    def test_filters_of_clients_are_their_own(self, hub):
        peers = [FreqSearch(hub.port).subscribe(f"kind.{n % 3}") for n in range(9)]
        for n in range(30):
            hub.publish("a", typed(f"kind.{n % 3}", n))
        for number, peer in enumerate(peers):
            assert [event["n"] for event in peer.bodies(10)] == list(range(number % 3, 30, 3))

    def test_filter_changes_while_events_flow(self, hub):
        """Between the fences of two commands exactly the chosen type comes, none lost."""
        peer = FreqSearch(hub.port).subscribe("even")
        expected = []
        for n in range(100):
            kind = "even" if n % 2 == 0 else "odd"
            if n == 50:
                peer.subscribe("odd").unsubscribe("even")
            hub.publish("a", typed(kind, n))
            if (kind == "even") == (n < 50):
                expected.append(n)
        assert [event["n"] for event in peer.bodies(len(expected))] == expected

    async def test_no_event_is_lost_while_others_come_and_go(self, hub, clients):
        """F07: parallel connects and disconnects."""
        steady = [await clients.python(hub.socket_url(PATH)) for _ in range(3)]
        publisher = await Publisher.open(hub.port)
        for n in range(200):
            passing = await clients.python(hub.socket_url(PATH))
            await publisher.publish(f"c.{n % 5}", typed("x", n))
            passing.connection.transport.abort()
        for socket in steady:
            await socket.until(200)
            assert sorted(event["data"]["n"] for event in socket.events()) == list(range(200))


IGNORED = [
    "nonsense", "", "{", "[]", "5", "null", "{}", '{"action":"dance"}', '{"action":5}', '{"action":"subscribe"}',
    '{"action":"subscribe","event_types":"x"}', '{"action":"subscribe","event_types":[]}',
    '{"action":"subscribe","event_types":{}}', '{"action":"unsubscribe"}', '{"type":"ping"}',
    '{"type":"subscribe","channel":"x"}', "PING", '{"action":"subscribe","event_types":null}', "[" * 400,
]  # fmt: skip


class TestBadInput:
    @pytest.mark.parametrize("message", IGNORED, ids=range(len(IGNORED)))
    def test_is_ignored_silently(self, hub, message):
        peer, bystander = FreqSearch(hub.port), FreqSearch(hub.port)
        assert peer.say(message).ask("ping") == "pong", "no answer to it came before"
        hub.publish("a", typed("x"))
        assert peer.body() == bystander.body() == typed("x")

    def test_types_that_are_no_text_do_no_harm(self, hub):
        peer = FreqSearch(hub.port).say({"action": "subscribe", "event_types": [5, None, ["x"], {}]}).fence()
        assert peer.unsubscribe("x").ask("ping") == "pong"
        assert FreqSearch(hub.port).ask("ping") == "pong"

    def test_message_of_512_bytes_is_read(self, hub):
        peer = FreqSearch(hub.port)
        order = '{"action":"subscribe","event_types":["x"],"pad":"%s"}'
        whole = order % ("p" * (MESSAGE_BYTES_MAX - len(order) + 2))
        assert len(whole) == MESSAGE_BYTES_MAX
        peer.say(whole).fence()
        hub.publish("a", typed("y"))
        hub.publish("a", typed("x"))
        assert peer.body() == typed("x")

    @pytest.mark.parametrize("frames", [
        encode(TEXT, b"x" * (MESSAGE_BYTES_MAX + 1)),
        encode(TEXT, b"x" * 65_536)[:20],
        encode(TEXT, b"x" * 300, final=False) + encode(CONTINUATION, b"x" * 300),
    ], ids=["one byte more", "length alone", "over fragments"])  # fmt: skip
    def test_longer_message_closes_1009_and_nobody_else(self, hub, frames):
        peer, bystander = FreqSearch(hub.port), FreqSearch(hub.port)
        peer.send_past_refusal(frames)
        assert peer.fails_with(1009).reason == "Message too big"
        bystander.gets_only(hub, "a")

    def test_binary_frame_closes_1003_and_nobody_else(self, hub):
        peer, bystander = FreqSearch(hub.port), FreqSearch(hub.port)
        assert peer.frame(BINARY, b"x").fails_with(1003).reason == "Text messages only"
        bystander.gets_only(hub, "a")

    def test_ten_thousand_subscriptions_are_survived(self, hub):
        peer, bystander = FreqSearch(hub.port), FreqSearch(hub.port)
        for start in range(0, 10_000, 500):
            orders = [{"action": "subscribe", "event_types": [f"kind.{n}"]} for n in range(start, start + 500)]
            peer.send_past_refusal(b"".join(encode(TEXT, json.dumps(order).encode()) for order in orders))
        try:
            peer.fence()
            hub.publish("a", typed("kind.0"))
            assert peer.body() == typed("kind.0"), "what was subscribed first holds"
        except (PeerClosed, TimeoutError) as error:
            assert "1008" in str(error), "a bound may also end the socket, with a reason"
        hub.publish("a", typed("end"))
        assert bystander.hear_when(lambda m: m != "pong" and m["type"] == "end")

    def test_patterns_of_stars_match_nothing(self, hub):
        peer = FreqSearch(hub.port).subscribe("*" * 100, ".".join("*" * 50), "end")
        hub.publish("a", typed(".".join("a" * 50)))
        hub.publish("a", typed("end"))
        assert peer.body() == typed("end")


class TestKeepalive:
    def test_protocol_ping_is_answered_with_its_payload(self, hub):
        peer = FreqSearch(hub.port).frame(PING, b"abc")
        frame = peer.next()
        assert (frame.opcode, frame.payload) == (PONG, b"abc")

    def test_no_json_heartbeat_comes(self, start_courier):
        courier = start_courier({"heartbeat_interval": 1})
        beat, peer = ScriptedPeer(courier.port, "/ws/a"), FreqSearch(courier.port)
        for _ in range(3):
            beat.message()
        assert peer.ask("ping") == "pong", "nothing came in three heartbeats of the others"


@pytest.mark.serial
class TestSlow:
    async def test_slow_client_is_cut_and_others_are_not(self, start_courier, clients):
        courier = start_courier()
        stuck = FreqSearch(courier.port, receive_buffer=4096)
        sockets = [await clients.python(courier.socket_url(PATH)) for _ in range(3)]
        publisher, sent = await Publisher.open(courier.port), 0
        while (await publisher.publish("a", typed("x", sent) | {"fill": "x" * 4000}))["clients_reached"] != 3:
            sent += 1
            assert sent < 8000, "still not cut"
            if sent % 50 == 0:
                for socket in sockets:
                    await socket.until(sent - 50)
        for socket in sockets:
            await socket.until(sent + 1)
            assert [event["data"]["n"] for event in socket.events()] == list(range(sent + 1))
        courier.await_clients(3)
        stuck.socket.close()


class TestOriginalClients:
    @pytest.mark.parametrize("types", [None, ["task.failed", "strategy.discovered"]])
    async def test_example_of_the_document(self, hub, originals, types):
        example = await originals.run("freqsearchDocument", hub.socket_url(PATH), types=types)
        witness = FreqSearch(hub.port)
        if types:
            # The example has sent its subscribe in `onopen`; it has no answer, so events tell when it holds.
            await _until_filtered(hub, example)
        for kind in ("task.failed", "task.running", "strategy.discovered"):
            hub.publish("a", {"type": kind, "final": True})
        count = 3 if types is None else 2
        await example.wait_for(lambda: sum("final" in text for text in example.messages) == count)
        kinds = [json.loads(text)[0] for text in example.messages if "final" in text]
        assert kinds == (types or ["task.failed", "task.running", "strategy.discovered"])
        assert witness.event()["type"]

    async def test_frontend_pings_splits_and_closes(self, hub, originals):
        example = await originals.run("freqsearchFrontend", hub.socket_url(PATH), pingEvery=50)
        for n in range(20):
            hub.publish("a", typed("scout.progress", n))
        await example.wait_for(lambda: sum('"pong"' in text for text in example.messages) >= 5)
        await example.wait_for(lambda: sum("scout.progress" in text for text in example.messages) == 20)
        events = [json.loads(text) for text in example.messages if "scout.progress" in text]
        assert [event["data"]["n"] for event in events] == list(range(20))
        await example.close()
        assert example.code == 1000
        hub.await_clients(0)

    async def test_chromium_and_python_hear_the_same(self, hub, clients):
        chromium = await clients.chromium(f"http://127.0.0.1:{hub.port}/health")
        sockets = [await chromium.open(hub.socket_url(PATH)), await clients.python(hub.socket_url(PATH))]
        for n in range(10):
            hub.publish(f"c.{n % 3}", typed("x", n))
        for socket in sockets:
            await socket.until(10)
        assert sorted(sockets[0].messages) == sorted(sockets[1].messages)


async def _until_filtered(hub, example):
    """Publishes probes of an unsubscribed type until one does not arrive before a probe of a subscribed type."""
    for n in range(200):
        hub.publish("a", {"type": "probe.unwanted", "probe": n})
        hub.publish("a", {"type": "task.failed", "probe": n})
        wanted = await example.until_message(
            lambda text, n=n: json.loads(text)[:2] == ["task.failed", {"type": "task.failed", "probe": n}]
        )
        before = example.messages[: example.messages.index(wanted)]
        if not any(json.loads(text)[1] == {"type": "probe.unwanted", "probe": n} for text in before):
            return
    raise AssertionError("the subscription never took hold")


class TestJoin:
    """Several events in one message, each on a line of its own: an option (contract 6)."""

    EVENTS = [{"type": "task.running", "n": n} for n in range(5)]

    def lines(self, courier, peer: FreqSearch) -> list[list[dict]]:
        """What comes of events that are published together, message by message."""
        items = [{"channel": "a", "data": event} for event in self.EVENTS]
        courier.post("/publish/batch", json.dumps(items).encode())
        messages = []
        while sum(map(len, messages)) < len(items):
            messages.append([json.loads(line) for line in peer.message().payload.split(b"\n")])
        assert [line["data"] for message in messages for line in message] == self.EVENTS
        return messages

    @pytest.mark.parametrize("query", ["", "?rooms=a"])
    def test_events_that_leave_together_are_one_message(self, start_courier, query):
        courier = start_courier(config="freqsearch: {join: true}\n")
        assert len(self.lines(courier, FreqSearch(courier.port, PATH + query))) == 1

    def test_it_is_off_unless_asked_for(self, hub):
        assert len(self.lines(hub, FreqSearch(hub.port))) == len(self.EVENTS)


class TestRoomsOfTheAddress:
    def test_narrow_what_comes(self, hub, channel):
        peer = FreqSearch(hub.port, f"/api/v1/ws/events?rooms={channel}")
        for name in (f"{channel}.below", f"{channel}x", channel):
            hub.publish(name, {"type": "t", "in": name})
        assert [body["in"] for body in peer.bodies(2)] == [f"{channel}.below", channel]

    @pytest.mark.parametrize("rooms", ["a%20b", "good,b*", "%C3%A4"])
    def test_one_that_no_channel_can_be_in_closes_1008(self, hub, rooms):
        """It was passed over, and who wanted one room alone heard all of them."""
        close = ScriptedPeer(hub.port, f"/api/v1/ws/events?rooms={rooms}").close_frame()
        assert (close.code, close.reason) == (1008, "Invalid channel name")
