"""Filters (contract 9): types, priorities, sources; all given ones hold; by query, by command, on every way in."""

import pytest

from support.speakers import V1, Speaker
from support.sse import EventStream

EVENTS = [
    {"type": kind, "source": source, "priority_given": priority}
    for kind in ("task.failed", "task.created", "taskx", "task", "order.new", "task.failed.twice")
    for source in ("a", "b")
    for priority in (1, 5, 9)
]
PASSES = {
    "types=task.failed": lambda e: e["type"] == "task.failed",
    "types=task.failed,order.new": lambda e: e["type"] in ("task.failed", "order.new"),
    "types=task.*": lambda e: e["type"].startswith("task."),
    "types=task.*,taskx": lambda e: e["type"].startswith("task.") or e["type"] == "taskx",
    "types=no.such": lambda e: False,
    "priorities=9": lambda e: e["priority_given"] == 9,
    "sources=b": lambda e: e["source"] == "b",
    "sources=a,b": lambda e: True,
    "types=task.failed&sources=b": lambda e: (e["type"], e["source"]) == ("task.failed", "b"),
    "types=task.*&sources=a&priorities=9": lambda e: e["type"].startswith("task.")
    and (e["source"], e["priority_given"]) == ("a", 9),
}


def publish_all(courier, channel: str) -> list[dict]:
    """Publishes all combinations, each numbered; answers them as they were published."""
    published = [event | {"n": n} for n, event in enumerate(EVENTS)]
    for event in published:
        answer = courier.post("/publish", {"channel": channel, "data": event, "priority": event["priority_given"]})
        assert answer.status == 200, answer.body
    return published


def fields_of(query: str) -> dict:
    """A query as the fields of a subscribe command."""
    fields = {name: value.split(",") for name, value in (part.split("=") for part in query.split("&"))}
    if "priorities" in fields:
        fields["priorities"] = [int(value) for value in fields["priorities"]]
    return fields


@pytest.mark.parametrize("query", PASSES)
class TestWhatPasses:
    def test_by_query(self, hub, channel, query):
        peer = Speaker(hub.port, f"/ws/{channel}?{query}")
        ended = Speaker(hub.port, f"/ws/{channel}")
        published = publish_all(hub, channel)
        wanted = [event for event in published if PASSES[query](event)]
        assert ended.bodies(len(published)) == published
        assert peer.bodies(len(wanted)) == wanted
        assert peer.ask("ping") == "pong"

    def test_by_query_with_the_envelope(self, hub, channel, query):
        peer = V1(hub.port, f"/ws/{channel}?{query}")
        wanted = [event for event in publish_all(hub, channel) if PASSES[query](event)]
        got = []
        while len(got) < len(wanted):
            message = peer.hear()
            got += [message["event"]] if message["type"] == "event" else []
        assert got == wanted
        assert peer.command("ping") and not [m for m in peer.aside if m["type"] == "event"]

    def test_by_command(self, hub, channel, query):
        peer = V1(hub.port)
        peer.subscribe(channel, **fields_of(query))
        peer.subscribe(pattern=f"{channel}.x.*", **fields_of(query))
        wanted = [event for event in publish_all(hub, channel) if PASSES[query](event)]
        assert peer.bodies(len(wanted)) == wanted
        wanted = [event for event in publish_all(hub, f"{channel}.x.y") if PASSES[query](event)]
        assert peer.bodies(len(wanted)) == wanted
        assert peer.command("ping") and not peer.aside

    def test_over_server_sent_events(self, hub, channel, query):
        stream = EventStream(hub.port, f"/sse/{channel}?{query}")
        wanted = [event for event in publish_all(hub, channel) if PASSES[query](event)]
        assert [sent.json() for sent in stream.events(len(wanted))] == wanted
        stream.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            stream.event()


class TestEdges:
    def test_events_without_the_field_do_not_pass(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}?types=x&sources=a")
        for event in ({"n": 1}, {"type": "x"}, {"source": "a"}, {"type": None, "source": "a"}, {"type": 5, "source": "a"}):
            hub.publish(channel, event)
        hub.publish(channel, {"type": "x", "source": "a"})
        assert peer.event() == {"type": "x", "source": "a"}

    def test_escaped_type_in_the_event_is_the_same_type(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}?types=task.failed")
        text = b'{"type":"task\\u002efailed"}'
        hub.post(f"/publish/{channel}", text)
        assert peer.message().payload == text

    def test_percent_encoded_query_is_decoded(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}?types=t%C3%A4sk%20one")
        hub.publish(channel, {"type": "other"})
        hub.publish(channel, {"type": "täsk one"})
        assert peer.event() == {"type": "täsk one"}

    def test_clients_reached_counts_those_whose_filter_passes(self, hub, channel):
        peers = [Speaker(hub.port, f"/ws/{channel}?types=kind.{n % 3}") for n in range(9)]
        plain = Speaker(hub.port, f"/ws/{channel}")
        for kind in range(4):
            answer = hub.publish(channel, {"type": f"kind.{kind}"})
            assert answer["clients_reached"] == (4 if kind < 3 else 1)
        assert plain.bodies(4) and [peer.event()["type"] for peer in peers] == [f"kind.{n % 3}" for n in range(9)]

    def test_empty_value_is_no_condition(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}?types=&sources=&priorities=")
        peer.gets_only(hub, channel)

    def test_unknown_query_names_are_ignored(self, hub, channel):
        Speaker(hub.port, f"/ws/{channel}?colour=red&utm_source=x").gets_only(hub, channel)

    @pytest.mark.parametrize("query", ["priorities=0", "priorities=11", "priorities=x", "priorities=5,,x"])
    def test_bad_priority_over_http_is_400(self, hub, channel, query):
        assert EventStream(hub.port, f"/sse/{channel}?{query}").head.status == 400

    def test_filter_is_replaced_by_a_new_subscription(self, hub, channel):
        peer = V1(hub.port)
        peer.subscribe(channel, id="s", types=["a"])
        peer.unsubscribe(id="s")
        peer.subscribe(channel, id="s", types=["b"])
        for kind in "abab":
            hub.publish(channel, {"type": kind})
        assert peer.bodies(2) == [{"type": "b"}] * 2

    def test_channels_of_one_socket_have_their_own_filters(self, hub, channel):
        peer = V1(hub.port)
        for kind in "abc":
            peer.subscribe(f"{channel}.{kind}", types=[kind])
        for name in "abc":
            for kind in "abc":
                hub.publish(f"{channel}.{name}", {"type": kind, "on": name})
        assert peer.bodies(3) == [{"type": kind, "on": kind} for kind in "abc"]

    def test_a_thousand_different_filters_at_once(self, hub, channel):
        peers = [V1(hub.port) for _ in range(10)]
        for number, peer in enumerate(peers):
            for k in range(100):
                peer.say({"type": "subscribe", "ref": str(k), "channel": f"{channel}.{k}", "types": [f"t{number}.{k}", f"all.{k}"]})
            assert [peer.hear()["type"] for _ in range(100)] == ["subscribed"] * 100
        for k in range(0, 100, 7):
            assert hub.publish(f"{channel}.{k}", {"type": f"t3.{k}"})["clients_reached"] == 1
            assert hub.publish(f"{channel}.{k}", {"type": f"all.{k}"})["clients_reached"] == 10
            assert peers[3].bodies(2) == [{"type": f"t3.{k}"}, {"type": f"all.{k}"}]

    def test_long_lists_are_answered(self, hub, channel):
        peer = V1(hub.port)
        answer = peer.command("subscribe", channel=channel, types=[f"kind.{n}" for n in range(5000)])
        assert answer["type"] in ("subscribed", "error")
        if answer["type"] == "subscribed":
            hub.publish(channel, {"type": "kind.5000"})
            hub.publish(channel, {"type": "kind.4999"})
            assert peer.body() == {"type": "kind.4999"}
        assert peer.command("ping")["type"] != "error"
