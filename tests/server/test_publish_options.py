"""Options of a publish (contract 3.1, 3.2): exclude, ttl, id and Idempotency-Key; one order over all dialects and cores."""

import asyncio
import json
import uuid

import pytest

from support.flood import EVENTS_BEYOND_BUFFERS, ROOMY, SMALL_BUFFER_BYTES, flood
from support.process import wait_until
from support.speakers import V1, Arcane, FreqSearch, Router, Speaker
from support.sse import EventStream
from support.web import Publisher, RawConnection, encode_publish


def publish(hub, channel: str, data: dict, headers: dict | None = None, **options) -> dict:
    answer = hub.post("/publish", {"channel": channel, "data": data} | options, headers)
    assert answer.status == 200, answer.body
    return answer.json()


class TestExclude:
    def test_the_excluded_connection_gets_nothing(self, hub, channel):
        peers = [V1(hub.port) for _ in range(6)]
        for peer in peers:
            peer.subscribe(channel)
        for number, peer in enumerate(peers):
            assert publish(hub, channel, {"n": number}, exclude=peer.connection)["clients_reached"] == 5
        hub.publish(channel, {"n": "end"})
        for number, peer in enumerate(peers):
            assert [body["n"] for body in peer.bodies(6)] == [n for n in range(6) if n != number] + ["end"]

    def test_sender_excludes_itself_from_its_socket(self, hub, channel):
        sender, other = V1(hub.port), V1(hub.port)
        for peer in (sender, other):
            peer.subscribe(channel)
            peer.subscribe(pattern=f"{channel}.**")
        answer = sender.command("publish", channel=channel, data={"n": 1}, exclude=sender.connection)
        assert (answer["type"], answer["clients_reached"]) == ("published", 1)
        other.gets_only(hub, channel, {"n": 1})
        assert sender.body() == {"type": "marker", "marker": True}

    def test_unknown_connection_excludes_nobody(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        assert publish(hub, channel, {"n": 1}, exclude="conn_000000000000")["clients_reached"] == 1
        assert peer.event() == {"n": 1}

    def test_connection_that_has_left_excludes_nobody_who_came_after(self, hub, channel):
        gone = V1(hub.port)
        gone.leave()
        peers = [Speaker(hub.port, f"/ws/{channel}") for _ in range(8)]
        assert publish(hub, channel, {"n": 1}, exclude=gone.connection)["clients_reached"] == len(peers)

    @pytest.mark.parametrize("exclude", [5, [], {}, True])
    def test_wrong_type_is_named(self, hub, channel, exclude):
        answer = hub.post("/publish", {"channel": channel, "data": {"n": 1}, "exclude": exclude})
        assert answer.status == 400
        assert [fault["field"] for fault in answer.detail["validation_errors"]] == ["/exclude"]


class TestTimeToLive:
    async def test_expired_event_is_not_delivered(self, start_courier, clients):
        """A stalled reader's queue holds mortal events; two heartbeats of another socket pass before it reads: longer than
        the event may live, and shorter than a silent peer is kept (two heartbeats after a ping)."""
        courier = start_courier(ROOMY | {"heartbeat_interval": 2})
        clock = await clients.python(courier.socket_url("/ws/clock"))
        peer = Speaker(courier.port, "/ws/a", receive_buffer=SMALL_BUFFER_BYTES)
        await flood(courier, "a")
        publish(courier, "a", {"mortal": 1}, ttl=1)
        publish(courier, "a", {"mortal": 60}, ttl=60)
        publish(courier, "a", {"immortal": True})
        beats = len(clock.messages)
        await clock.until(beats + 2)
        read = []
        while not read or "immortal" not in read[-1]:
            message = peer.hear()
            read += [message] if message.get("type") != "ping" else []
        assert [event["n"] for event in read if "n" in event] == list(range(EVENTS_BEYOND_BUFFERS))
        assert [event for event in read if "mortal" in event] == [{"mortal": 60}]

    def test_living_event_is_delivered_unchanged(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        assert publish(hub, channel, {"n": 1}, ttl=30)["clients_reached"] == 1
        assert peer.event() == {"n": 1}

    @pytest.mark.parametrize("ttl", [-1, "soon", [], {}, True])
    def test_what_is_no_time_is_named(self, hub, channel, ttl):
        answer = hub.post("/publish", {"channel": channel, "data": {"n": 1}, "ttl": ttl})
        assert answer.status == 400
        assert [fault["field"] for fault in answer.detail["validation_errors"]] == ["/ttl"]

    @pytest.mark.parametrize("ttl", [1e300, 2**63, 10**40, 0.25])
    def test_odd_times_do_no_harm(self, hub, channel, ttl):
        assert hub.post("/publish", {"channel": channel, "data": {"n": 1}, "ttl": ttl}).status in (200, 400)
        Speaker(hub.port, f"/ws/{channel}").gets_only(hub, channel)


def await_known(first: dict, repeat):
    """Repeats until the channel's core knows the first answer, of which it may learn after the publisher. A repeat in between
    is told the same id, and of the rest what that core knows."""

    def is_known():
        again = repeat()
        assert again["id"] == first["id"]
        return again == first

    wait_until(is_known, what="the first answer is known")


class TestIdempotency:
    @pytest.mark.parametrize("by_header", [False, True])
    def test_repeat_answers_the_first_result_and_delivers_nothing(self, hub, channel, by_header):
        """Each repeat comes over a new connection, so over both cores."""
        peer, key = Speaker(hub.port, f"/ws/{channel}"), str(uuid.uuid4())
        options = {"headers": {"Idempotency-Key": key}} if by_header else {"id": key}
        first = publish(hub, channel, {"n": 1}, **options)
        await_known(first, lambda: publish(hub, channel, {"n": 0}, **options))
        for n in range(12):
            assert publish(hub, channel, {"n": n}, **options) == first
        peer.gets_only(hub, channel, {"n": 1})

    def test_header_works_on_both_forms(self, hub, channel):
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        first = hub.post(f"/publish/{channel}", {"n": 1}, headers).json()
        await_known(first, lambda: hub.post(f"/publish/{channel}", {"n": 2}, headers).json())
        assert hub.post(f"/publish/{channel}", {"n": 2}, headers).json() == first
        assert publish(hub, channel, {"n": 3}, headers) == first

    def test_other_id_and_no_id_are_delivered(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        for n, options in enumerate([{"id": "a"}, {"id": "b"}, {}, {}, {"id": "A"}]):
            publish(hub, channel, {"n": n}, **options)
        publish(hub, channel, {"n": "repeat"}, id="b")
        peer.gets_only(hub, channel, *[{"n": n} for n in range(5)])

    def test_ids_belong_to_their_channel(self, hub, channel):
        ids = [publish(hub, f"{channel}.{n}", {"n": n}, id="same") for n in range(6)]
        assert [answer["channel"] for answer in ids] == [f"{channel}.{n}" for n in range(6)]

    def test_refused_publish_leaves_its_id_free(self, hub, channel):
        assert hub.post("/publish", {"channel": channel, "data": {}, "id": "x"}).status == 400
        peer = Speaker(hub.port, f"/ws/{channel}")
        assert publish(hub, channel, {"n": 1}, id="x")["clients_reached"] == 1
        peer.gets_only(hub, channel, {"n": 1})

    async def test_simultaneous_repeats_deliver_once(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        publishers = await asyncio.gather(*(Publisher.open(hub.port) for _ in range(16)))
        for n in range(20):
            body = json.dumps({"channel": channel, "data": {"n": n}, "id": f"race{n}"}).encode()
            answers = await asyncio.gather(*(publisher.send("POST", "/publish", body) for publisher in publishers))
            assert {answer.status for answer in answers} == {200}
            told = {(answer.json()["id"], answer.json()["timestamp"]) for answer in answers}
            assert len(told) == 1, "each was told when it came itself, and not when the first did"
        peer.gets_only(hub, channel, *[{"n": n} for n in range(20)])

    def test_hasty_repeat_does_not_take_the_place_of_the_first_answer(self, hub, channel):
        """The second of two that came at once was answered before the other core had told whom the first had reached, and what
        it was told was kept for all repeats to come."""
        peers = [Speaker(hub.port, f"/ws/{channel}") for _ in range(8)]
        with RawConnection(hub.port) as connection:
            for n in range(20):
                twice = encode_publish(channel, extra=b"Idempotency-Key: twice%d\r\n" % n)
                connection.send(twice + twice)
                first, hasty = (connection.reply().json() for _ in range(2))
                assert (first["clients_reached"], hasty["id"]) == (len(peers), first["id"])
                await_known(first, lambda: publish(hub, channel, {"n": n}, id=f"twice{n}"))

    def test_repeat_from_a_socket_is_a_repeat_too(self, hub, channel):
        peer, listener = V1(hub.port), Speaker(hub.port, f"/ws/{channel}")
        first = peer.command("publish", channel=channel, data={"n": 1}, id="once")
        again = publish(hub, channel, {"n": 2}, id="once")
        assert again["id"] == first["id"]
        listener.gets_only(hub, channel, {"n": 1})

    @pytest.mark.parametrize("key", ["x" * 5000, "ü", 'a"b\\c', " "])
    def test_odd_ids_are_answered(self, hub, channel, key):
        statuses = {hub.post("/publish", {"channel": channel, "data": {"n": n}, "id": key}).status for n in range(2)}
        assert statuses in ({200}, {400})
        Speaker(hub.port, f"/ws/{channel}").gets_only(hub, channel)


class Everyone:
    """One listener of each dialect, and a stream, on one channel."""

    def __init__(self, hub, channel: str):
        self.raw, self.arcane = Speaker(hub.port, f"/ws/{channel}"), Arcane(hub.port, channel)
        self.v1, self.wide, self.router = V1(hub.port), V1(hub.port), Router(hub.port)
        self.v1.subscribe(channel)
        self.wide.subscribe(pattern=f"{channel[: channel.rindex('.')]}.*")
        self.router.subscribe(channel)
        self.freqsearch, self.stream = FreqSearch(hub.port), EventStream(hub.port, f"/sse/{channel}")
        self.channel = channel

    def hear(self) -> tuple[dict, dict, dict]:
        """The next event: as it stands in the raw dialect, the router's form and freqsearch's. All others must agree."""
        raw = self.raw.event()
        assert self.arcane.event() == raw
        messages = [self.v1.event(), self.wide.event()]
        assert messages[0] == messages[1]
        sent = self.stream.event()
        assert (sent.json(), sent.id) == (raw, messages[0]["id"])
        assert (messages[0]["channel"], messages[0]["event"]) == (self.channel, raw)
        self.position = messages[0]["id"]
        enveloped = self.freqsearch.event()
        return raw, self.router.event()["event"], enveloped


@pytest.fixture
def everyone(start_courier):
    courier = start_courier()
    everyone = Everyone(courier, "orders.eu")
    everyone.courier = courier
    return everyone


class TestEveryDialectHearsEveryOther:
    def test_published_over_http(self, everyone):
        event = {"type": "order.new", "source": "shop", "n": 1}
        answer = everyone.courier.publish("orders.eu", event)
        assert answer["clients_reached"] == 7
        raw, routed, enveloped = everyone.hear()
        assert (raw, everyone.position) == (event, answer["id"])
        assert (routed["topic"], routed["payload"], routed["source"]) == ("orders.eu", event, "shop")
        assert (enveloped["type"], enveloped["data"]) == ("order.new", event)

    def test_published_by_the_router(self, everyone):
        publisher = Router(everyone.courier.port)
        answer = publisher.publish("orders.eu", {"n": 2}, type="task.created", priority=9, source="agent")
        raw, routed, enveloped = everyone.hear()
        wanted = {"topic": "orders.eu", "type": "task.created", "payload": {"n": 2}, "source": "agent"}
        assert {name: routed[name] for name in wanted} == wanted and routed["id"] == answer["event_id"]
        assert {name: raw[name] for name in wanted} == wanted and raw["id"] == answer["event_id"]
        assert (enveloped["type"], enveloped["data"]) == ("task.created", raw)

    def test_published_by_v1(self, everyone):
        publisher, event = V1(everyone.courier.port), {"type": "order.paid", "n": 3}
        answer = publisher.command("publish", channel="orders.eu", data=event)
        assert answer["clients_reached"] == 7
        raw, routed, enveloped = everyone.hear()
        assert (raw, routed["payload"], enveloped["data"]) == (event, event, event)
        assert everyone.position == answer["id"]

    def test_filters_see_events_of_every_origin(self, everyone):
        courier = everyone.courier
        typed = Speaker(courier.port, "/ws/orders.eu?types=task.*&sources=agent")
        urgent = V1(courier.port)
        urgent.subscribe("orders.eu", priorities=[9])
        router = Router(courier.port)
        router.publish("orders.eu", {"n": 1}, type="task.failed", source="agent", priority="CRITICAL")
        router.publish("orders.eu", {"n": 2}, type="custom", source="agent")
        publish(courier, "orders.eu", {"type": "task.x", "source": "agent", "n": 3}, priority=9)
        first, second = typed.event(), typed.event()
        assert (first["payload"], second["n"]) == ({"n": 1}, 3)
        assert [urgent.body()["source"] for _ in range(2)] == ["agent", "agent"]

    async def test_order_is_one_over_all_dialects_and_both_shards(self, start_courier):
        """Six publishers of three kinds; every listener of every kind sees the same order, and the same positions."""
        courier, listeners = start_courier(), []
        for _ in range(3):
            peers = Speaker(courier.port, "/ws/a.b"), Arcane(courier.port, "a.b"), V1(courier.port), V1(courier.port), \
                Router(courier.port), FreqSearch(courier.port)  # fmt: skip
            peers[2].subscribe("a.b")
            peers[3].subscribe(pattern="a.*")
            peers[4].subscribe("a.*")
            listeners.append(peers)
        await asyncio.gather(*(asyncio.to_thread(self.publish_some, courier, number) for number in range(6)))
        orders = set()
        for raw, arcane, exact, wide, router, everything in listeners:
            orders.add(tuple(self.mark(raw.event()) for _ in range(300)))
            orders.add(tuple(self.mark(arcane.event()) for _ in range(300)))
            orders.add(tuple(self.mark(everything.body()) for _ in range(300)))
            orders.add(tuple(self.mark(router.event()["event"]["payload"]) for _ in range(300)))
            for peer in (exact, wide):
                events = [peer.event() for _ in range(300)]
                orders.add(tuple(self.mark(event["event"]) for event in events))
                offsets = [int(event["id"].split("-")[1]) for event in events]
                assert offsets == list(range(offsets[0], offsets[0] + 300))
        assert len(orders) == 1

    @staticmethod
    def mark(event: dict) -> tuple:
        """Who published it and which one it is; a router event carries that in its payload."""
        event = event.get("payload", event)
        return event["by"], event["n"]

    @staticmethod
    def publish_some(courier, number: int):
        if number % 3 == 0:
            for n in range(50):
                courier.publish("a.b", {"by": number, "n": n})
        elif number % 3 == 1:
            router = Router(courier.port)
            for n in range(50):
                router.publish("a.b", {"by": number, "n": n})
        else:
            peer = V1(courier.port)
            for n in range(50):
                peer.command("publish", channel="a.b", data={"by": number, "n": n})


class TestCorrelation:
    def test_v1_request_and_reply_over_a_reply_channel(self, hub, channel):
        asking, answering, correlation = V1(hub.port), V1(hub.port), str(uuid.uuid4())
        asking.subscribe(f"{channel}.reply")
        answering.subscribe(f"{channel}.request")
        request = {"correlation_id": correlation, "reply_to": f"{channel}.reply", "question": 6}
        assert asking.command("publish", channel=f"{channel}.request", data=request)["clients_reached"] == 1
        got = answering.body()
        assert got == request
        reply = {"correlation_id": got["correlation_id"], "answer": got["question"] * 7}
        answering.command("publish", channel=got["reply_to"], data=reply)
        assert asking.body() == {"correlation_id": correlation, "answer": 42}

    def test_router_and_http_share_a_conversation(self, hub, channel):
        service, correlation = Router(hub.port), str(uuid.uuid4())
        service.subscribe(f"{channel}.request")
        listener = Speaker(hub.port, f"/ws/{channel}.reply")
        hub.publish(f"{channel}.request", {"correlation_id": correlation, "question": 6})
        question = service.event()["event"]["payload"]
        service.publish(f"{channel}.reply", {"answer": 42}, metadata={"correlation_id": question["correlation_id"]})
        reply = listener.event()
        assert (reply["payload"], reply["metadata"]["correlation_id"]) == ({"answer": 42}, correlation)
