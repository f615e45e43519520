"""The router's event model, matching and filters (sources 2.3, 2.4, contract 6), and its request/reply convention."""

import uuid
from datetime import datetime

import pytest

from support.originals import gadugi_event
from support.process import wait_until
from support.speakers import Router

EVENT_TYPES = """agent.started agent.stopped agent.failed agent.completed task.created task.assigned task.started
    task.progress task.completed task.failed workflow.started workflow.step_completed workflow.completed
    workflow.failed system.alert system.error system.info custom""".split()
PRIORITY_NAMES = {"LOWEST": 1, "LOW": 3, "NORMAL": 5, "HIGH": 7, "CRITICAL": 9, "SYSTEM": 10}
MODEL_FIELDS = set(gadugi_event("t", {}))
METADATA_FIELDS = set(gadugi_event("t", {})["metadata"])


@pytest.fixture
def peer(hub):
    return Router(hub.port)


def is_utc(text: str) -> bool:
    """An ISO time with the offset +00:00, as the source writes it."""
    return text.endswith("+00:00") and datetime.fromisoformat(text) is not None


class TestModel:
    def published(self, peer: Router, channel: str, **fields) -> dict:
        peer.subscribe(channel)
        peer.publish(channel, **fields)
        return peer.event()["event"]

    def test_all_fields_round_trip(self, peer, channel):
        sent = gadugi_event(channel, {"n": [1, {"x": None}]}, 7, "task.failed", "someone", "me")
        sent["metadata"] |= {
            "correlation_id": "c", "causation_id": "d", "user_id": "u", "session_id": "s", "trace_id": "t",
            "span_id": "p", "tags": {"k": "v"}, "headers": {"h": "w"}}  # fmt: skip
        peer.subscribe(channel)
        peer.ask({"type": "publish", "event": sent})
        got = peer.event()["event"]
        told = {"delivery_status", "delivery_attempts", "last_delivery_attempt"}
        assert {k: v for k, v in got.items() if k not in told} == {k: v for k, v in sent.items() if k not in told}

    def test_missing_fields_get_their_defaults(self, peer, channel):
        event = self.published(peer, channel)
        assert set(event) == MODEL_FIELDS and set(event["metadata"]) == METADATA_FIELDS
        assert uuid.UUID(event["id"]) and is_utc(event["timestamp"])
        wanted = {"topic": channel, "type": "custom", "priority": 5, "source": peer.client_id, "target": None,
                  "payload": {}, "version": "1.0", "delivery_attempts": 0, "delivery_error": None}  # fmt: skip
        assert {name: event[name] for name in wanted} == wanted

    def test_empty_source_is_the_client(self, peer, channel):
        assert self.published(peer, channel, source="")["source"] == peer.client_id

    @pytest.mark.parametrize("kind", EVENT_TYPES)
    def test_type_without_topic_is_the_topic(self, peer, kind):
        peer.subscribe(kind)
        marker = {"marker": str(uuid.uuid4())}
        answer = peer.ask({"type": "publish", "event": {"type": kind, "payload": marker}})
        assert answer["status"] == "queued"
        event = peer.event()["event"]
        assert (event["topic"], event["type"], event["payload"]) == (kind, kind, marker)

    def test_unknown_type_becomes_custom_and_the_topic_keeps_the_text(self, hub, peer, channel):
        kind = f"{channel}.never.heard.of"
        peer.subscribe(kind)
        peer.ask({"type": "publish", "event": {"type": kind}})
        event = peer.event()["event"]
        assert (event["topic"], event["type"]) == (kind, "custom")

    def test_neither_topic_nor_type_is_refused_because_no_channel_has_an_empty_name(self, hub):
        publisher = Router(hub.port)
        answer = publisher.ask({"type": "publish", "event": {"payload": {"n": 1}}})
        assert answer["type"] == "error" and answer["error"].startswith("Failed to publish event: ")
        assert publisher.ask({"type": "ping", "echo": 1})["echo"] == 1

    @pytest.mark.parametrize("priority", [*range(1, 11), *PRIORITY_NAMES])
    def test_priorities_are_numbers_or_names(self, peer, channel, priority):
        event = self.published(peer, channel, priority=priority)
        assert event["priority"] == PRIORITY_NAMES.get(priority, priority)

    def test_target_is_carried_and_does_not_route(self, hub, channel):
        peers = [Router(hub.port) for _ in range(3)]
        for peer in peers:
            peer.subscribe(channel)
        peers[0].publish(channel, {"n": 1}, target=peers[1].client_id)
        assert [peer.event()["event"]["target"] for peer in peers] == [peers[1].client_id] * 3

    def test_own_events_come_back(self, peer, channel):
        assert self.published(peer, channel, payload={"n": 1})["payload"] == {"n": 1}


MATCHES = [
    ("*", "one", True), ("*", "two.parts", True), ("*", "a.b.c.d", True),
    ("task.*", "task.a", True), ("task.*", "task", False), ("task.*", "task.a.b", False),
    ("*.failed", "task.failed", True), ("*.failed", "a.task.failed", False), ("*.failed", "failed", False),
    ("a.*.c", "a.b.c", True), ("a.*.c", "a.b.b.c", False), ("*.*", "a.b", True), ("*.*", "a", False),
    ("user*", "user1", False), ("user*", "user", False), ("Task.a", "task.a", False), ("task.a", "task.a", True),
    ("task.?", "task.a", False), ("task.[a]", "task.a", False), ("a.**", "a.b", True), ("a.**", "a.b.c", True),
    ("a.**", "a", False), ("task.a", "task.ab", False),
]  # fmt: skip


def receivers_of_first(peer: Router, exact: str) -> set[str]:
    """Subscriptions that got event 1, known for sure once `exact` has got event 2."""
    receivers = set()
    while True:
        event = peer.event()
        if event["event"]["payload"]["n"] == 1:
            receivers.add(event["subscription_id"])
        elif event["subscription_id"] == exact:
            return receivers


class TestMatching:
    @pytest.mark.parametrize("pattern, topic, wanted", MATCHES)
    def test_table(self, hub, pattern, topic, wanted):
        """A source of its own keeps the test's events apart from all others; the exact subscription tells the end."""
        peer, own = Router(hub.port), str(uuid.uuid4())
        by_pattern, exact = peer.subscribe(pattern, sources=[own]), peer.subscribe(topic, sources=[own])
        peer.publish(topic, {"n": 1}, source=own)
        peer.publish(topic, {"n": 2}, source=own)
        assert (by_pattern in receivers_of_first(peer, exact)) == wanted

    def test_any_of_several_topics(self, peer, channel):
        subscription = peer.subscribe(f"{channel}.a", f"{channel}.b.*")
        for topic in ("a", "b", "b.x", "c"):
            peer.publish(f"{channel}.{topic}", {"topic": topic})
        peer.publish(f"{channel}.a", {"topic": "end"})
        assert [peer.event()["event"]["payload"]["topic"] for _ in range(3)] == ["a", "b.x", "end"]
        assert peer.unsubscribe(subscription)["type"] == "unsubscribed"

    def test_empty_topics_match_all(self, peer, channel):
        peer.subscribe(sources=[channel])
        peer.publish(f"{channel}.x.y", {"n": 1}, source=channel)
        assert peer.event()["event"]["payload"] == {"n": 1}

    def test_one_copy_per_matching_subscription(self, peer, channel):
        ids = {peer.subscribe(*topics) for topics in ([channel], [f"{channel}"], ["test.*.*"], [channel, "test.*.*"])}
        peer.publish(channel, {"n": 1})
        got = [peer.event() for _ in ids]
        assert {event["subscription_id"] for event in got} == ids
        assert [event["event"]["payload"] for event in got] == [{"n": 1}] * 4

    def test_subscriptions_vanish_with_their_client(self, hub, channel):
        peer = Router(hub.port)
        peer.subscribe(channel)
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 1
        peer.reset()
        wait_until(lambda: hub.publish(channel, {"n": 1})["clients_reached"] == 0, what="the subscription vanished")


class TestFilters:
    def kept(self, peer: Router, channel: str, filters: dict, events: list[dict]) -> list:
        """Numbers of the events that pass; a second subscription without filters tells the end."""
        filtered, everything = peer.subscribe(channel, **filters), peer.subscribe(channel)
        for number, event in enumerate([*events, {}]):
            peer.publish(channel, {"n": number}, **event)
        passed, last = [], None
        while last != len(events):
            event = peer.event()
            number = event["event"]["payload"]["n"]
            if event["subscription_id"] == everything:
                last = number
            elif number < len(events):
                assert event["subscription_id"] == filtered
                passed.append(number)
        return passed

    def test_types(self, peer, channel):
        events = [{"type": kind} for kind in ("task.failed", "task.created", "custom", "task.failed")]
        assert self.kept(peer, channel, {"types": ["task.failed", "custom"]}, events) == [0, 2, 3]

    def test_sources(self, peer, channel):
        events = [{"source": name} for name in ("a", "b", "c", "A")] + [{}]
        assert self.kept(peer, channel, {"sources": ["a", "c", peer.client_id]}, events) == [0, 2, 4]

    @pytest.mark.parametrize("floor, kept", [([7, 9], [7, 8, 9, 10]), (["CRITICAL"], [9, 10]), ([10], [10]), ([2], range(2, 11))])
    def test_priorities_are_a_floor(self, peer, channel, floor, kept):
        events = [{"priority": n} for n in range(1, 11)]
        assert self.kept(peer, channel, {"priorities": floor}, events) == [n - 1 for n in kept]

    def test_priorities_are_a_set_in_exact_mode(self, peer, channel):
        events = [{"priority": n} for n in range(1, 11)]
        filters = {"priorities": [7, "LOW"], "priority_mode": "exact"}
        assert self.kept(peer, channel, filters, events) == [2, 6]

    def test_all_given_ones_must_hold(self, peer, channel):
        events = [{"type": kind, "source": source, "priority": priority}
                  for kind in ("task.failed", "custom") for source in ("a", "b") for priority in (5, 9)]  # fmt: skip
        filters = {"types": ["task.failed"], "sources": ["b"], "priorities": [7]}
        assert self.kept(peer, channel, filters, events) == [3]

    def test_empty_lists_are_no_condition(self, peer, channel):
        filters = {"types": [], "sources": [], "priorities": []}
        assert self.kept(peer, channel, filters, [{}, {"priority": 1}, {"type": "task.failed"}]) == [0, 1, 2]


class TestCorrelation:
    def test_request_and_reply_over_a_reply_channel(self, hub, channel):
        """README's convention: the request names where the answer goes; both carry the correlation id."""
        asking, answering = Router(hub.port), Router(hub.port)
        reply_to, correlation = f"{channel}.replies", str(uuid.uuid4())
        asking.subscribe(reply_to)
        answering.subscribe(f"{channel}.requests")
        metadata = {"correlation_id": correlation}
        asking.publish(f"{channel}.requests", {"request_id": "1", "reply_to": reply_to}, metadata=metadata)
        request = answering.event()["event"]
        assert request["metadata"]["correlation_id"] == correlation
        answering.publish(request["payload"]["reply_to"], {"request_id": "1", "answer": 42},
                          metadata={"correlation_id": correlation, "causation_id": request["id"]})  # fmt: skip
        reply = asking.event()["event"]
        assert (reply["metadata"]["correlation_id"], reply["metadata"]["causation_id"]) == (correlation, request["id"])
        assert (reply["payload"]["answer"], reply["source"]) == (42, answering.client_id)
