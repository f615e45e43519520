"""Resume on sockets (contract 5, 11): what history holds, then live, without hole or double, in every dialect that can."""

import json

import pytest

from support.flood import offset
from support.frames import upgrade_request
from support.history import Join, elsewhere, page, publish_many, shifted, told_lost
from support.speakers import V1, Arcane, FreqSearch, Router, Speaker
from support.web import RawConnection

LONG_AGO = "1970-01-01T00:00:00Z"
RICH = {"history.size": 20_000}


def numbers(events: list[dict]) -> list:
    return [event["event"]["n"] for event in events]


class TestV1:
    def test_after_a_position_replays_what_was_missed(self, hub, channel):
        ids = publish_many(hub, channel, 10)
        join = Join(hub, channel, after=ids[3])
        assert (join.answer["recovered"], join.answer["replayed"]) == (True, 6)
        assert join.answer["position"] == ids[-1]
        assert [event["id"] for event in join.until_marker()] == ids[4:]
        assert join.gaps == []

    def test_since_a_time_replays_what_came_since(self, hub, channel):
        ids = publish_many(hub, channel, 20)
        events = page(hub, channel)["events"]
        join = Join(hub, channel, since=events[10]["timestamp"])
        wanted = [event["id"] for event in events if event["timestamp"] >= events[10]["timestamp"]]
        assert (join.answer["recovered"], join.answer["replayed"]) == (True, len(wanted))
        assert [event["id"] for event in join.until_marker()] == wanted
        assert wanted[-1] == ids[-1]

    def test_replayed_event_looks_as_the_live_one_did(self, hub, channel):
        live = V1(hub.port)
        live.subscribe(channel)
        start = hub.publish(channel, {"n": 0})["id"]
        hub.post(f"/publish/{channel}", b'{ "b" : 1.50, "a":"\\u00e9", "b": [ ] }')
        late = V1(hub.port)
        late.subscribe(channel, after=shifted(start, -1))
        for _ in range(2):
            assert live.message().payload == late.message().payload

    def test_nothing_missed_is_recovered_too(self, hub, channel):
        position = publish_many(hub, channel, 3)[-1]
        join = Join(hub, channel, after=position)
        assert (join.answer["recovered"], join.answer["replayed"]) == (True, 0)
        assert join.until_marker() == [] and join.gaps == []

    def test_position_of_an_empty_channel_is_a_start(self, hub, channel):
        peer = V1(hub.port)
        position = peer.subscribe(channel)["position"]
        peer.leave()
        ids = publish_many(hub, channel, 4)
        join = Join(hub, channel, after=position)
        assert join.answer["recovered"] is True
        assert [event["id"] for event in join.until_marker()] == ids

    def test_last_position_that_still_joins_and_the_first_that_does_not(self, start_courier):
        courier = start_courier({"history.size": 5})
        ids = publish_many(courier, "a", 20)  # 15 to 19 are held
        whole = Join(courier, "a", after=ids[14])
        assert whole.answer["recovered"] is True
        assert numbers(whole.until_marker(first=5)) == list(range(15, 20)) and whole.gaps == []
        short = Join(courier, "a", after=ids[14])  # the marker has pushed 15 out
        assert short.answer["recovered"] is False
        events = short.until_marker(first=5)
        assert numbers([event for event in events if "n" in event["event"]]) == list(range(16, 20))
        assert told_lost(short.gaps) == {offset(ids[15])}

    def test_gap_says_exactly_what_is_lost_and_comes_before_the_rest(self, start_courier):
        courier = start_courier({"history.size": 10})
        ids = publish_many(courier, "a", 50)
        peer = V1(courier.port)
        answer = peer.subscribe("a", after=ids[4])
        assert (answer["recovered"], answer["replayed"]) == (False, 10)
        gap = peer.hear()
        assert gap["type"] == "gap" and gap["channel"] == "a" and gap["reason"], gap
        assert told_lost([gap]) == {offset(position) for position in ids[5:40]}
        assert [event["n"] for event in peer.bodies(10)] == list(range(40, 50))

    def test_time_before_what_is_held_is_not_recovered(self, start_courier):
        courier = start_courier({"history.size": 10})
        publish_many(courier, "a", 50)
        join = Join(courier, "a", since=LONG_AGO)
        assert join.answer["recovered"] is False
        assert numbers(join.until_marker(first=10)) == list(range(40, 50))

    def test_history_that_is_off_recovers_only_who_missed_nothing(self, start_courier):
        courier = start_courier({"history.size": 0})
        ids = publish_many(courier, "a", 5)
        missed = Join(courier, "a", after=ids[2])
        assert (missed.answer["recovered"], missed.answer["replayed"]) == (False, 0)
        assert missed.until_marker() == [] and told_lost(missed.gaps) == {offset(ids[3]), offset(ids[4])}
        position = courier.publish("a", {"n": 5})["id"]
        assert Join(courier, "a", after=position).answer["recovered"] is True

    def test_filters_hold_for_the_replay(self, hub, channel):
        first = hub.publish(channel, {"type": "b", "n": 0})["id"]
        for n in range(1, 31):
            hub.publish(channel, {"type": "ab"[n % 2], "source": "xy"[n // 2 % 2], "n": n})
        join = Join(hub, channel, after=first, types=["a", "marker"])
        assert join.answer["recovered"] is True
        assert numbers(join.until_marker()) == [n for n in range(1, 31) if n % 2 == 0]

    def test_excluded_connection_does_not_get_the_event_by_replay(self, hub, channel):
        peer = V1(hub.port)
        start = hub.publish(channel, {"n": 0})["id"]
        for n in range(1, 6):
            fields = {"exclude": peer.connection} if n % 2 else {}
            assert hub.post("/publish", {"channel": channel, "data": {"n": n}} | fields).status == 200
        peer.subscribe(channel, after=start)
        peer.gets_only(hub, channel, {"n": 2}, {"n": 4})

    def test_several_channels_each_from_its_own_position(self, hub, channel):
        names = [f"{channel}.{n}" for n in range(20)]
        ids = {name: publish_many(hub, name, 10) for name in names}
        peer = V1(hub.port)
        for n, name in enumerate(names):
            answer = peer.subscribe(name, after=ids[name][n % 10])
            assert answer["recovered"] is True
        wanted = sorted((name, position) for n, name in enumerate(names) for position in ids[name][n % 10 + 1 :])
        got = [peer.event() for _ in wanted]
        assert sorted((event["channel"], event["id"]) for event in got) == wanted
        for name in names:
            own = [offset(event["id"]) for event in got if event["channel"] == name]
            assert own == sorted(own)

    def test_channel_of_the_path_resumes_too(self, hub, channel):
        ids = publish_many(hub, channel, 10)
        peer = V1(hub.port, f"/ws/{channel}?after={ids[5]}")
        got = [peer.hear_when(V1.is_event) for _ in range(4)]
        assert [event["id"] for event in got] == ids[6:]
        subscribed = [message for message in peer.aside if message["type"] == "subscribed"]
        assert not subscribed or subscribed[0]["recovered"] is True

    def test_unsubscribing_ends_the_replay(self, start_courier):
        courier = start_courier(RICH)
        ids = publish_many(courier, "a", 3000)
        peer = V1(courier.port)
        peer.subscribe("a", after=ids[0], id="mine")
        peer.unsubscribe(id="mine")
        peer.aside.clear()
        assert courier.publish("a", {"n": "later"})["clients_reached"] == 0
        assert peer.command("ping")["type"] == "pong" and not peer.aside, "nothing came behind `unsubscribed`"

    def test_event_that_expired_is_not_replayed(self, hub, channel):
        start = hub.publish(channel, {"n": 0})["id"]
        hub.post("/publish", {"channel": channel, "data": {"n": "brief"}, "ttl": 0.2})
        hub.publish(channel, {"n": 1})
        join = Join(hub, channel, after=start)
        assert numbers(join.until_marker()) == ["brief", 1], "not yet"
        while len(page(hub, channel, after=start)["events"]) > 2:
            pass  # each answer is an event to wait for
        join = Join(hub, channel, after=start)
        assert "brief" not in [event["event"].get("n") for event in join.until_marker()]


class TestOddPositions:
    def test_other_numbering_gets_what_is_held_and_is_told(self, hub, channel):
        ids = publish_many(hub, channel, 5)
        join = Join(hub, channel, after=elsewhere(ids[2]))
        assert join.answer["recovered"] is False
        assert [event["id"] for event in join.until_marker()] == ids
        assert join.gaps, "the subscriber is told that something may be missing"

    @pytest.mark.parametrize("ahead", [1, 5000, 1 << 40])
    def test_position_of_the_future_is_refused_or_not_recovered(self, hub, channel, ahead):
        ids = publish_many(hub, channel, 3)
        peer = V1(hub.port)
        answer = peer.command("subscribe", channel=channel, after=shifted(ids[-1], ahead))
        if answer["type"] == "error":
            assert answer["message"]
            return
        assert answer["recovered"] is False
        position = hub.publish(channel, {"n": "live"})["id"]
        got = [peer.hear_when(V1.is_event)]
        while got[-1]["id"] != position:
            got.append(peer.hear_when(V1.is_event))
        offsets = [offset(event["id"]) for event in got]
        assert offsets == list(range(offsets[0], offsets[-1] + 1)), "never a hole, never a live event held back"

    def test_restart_without_durable_history_is_told(self, start_courier):
        first = start_courier()
        ids = publish_many(first, "a", 5)
        first.stop()
        second = start_courier()
        join = Join(second, "a", after=ids[-1])
        assert (join.answer["recovered"], join.answer["replayed"]) == (False, 0)
        assert join.until_marker() == [] and join.gaps
        later = Join(second, "a", after=ids[-1])
        assert later.answer["recovered"] is False and [e["event"]["type"] for e in later.until_marker()] == ["marker"]

    @pytest.mark.parametrize("fields", [
        {"after": ""}, {"after": "x"}, {"after": 5}, {"after": "12345678-"}, {"after": "12345678--1"}, {"after": ["12345678-1"]}, {"after": {}},
        {"after": "12345678-99999999999999999999999"}, {"since": "yesterday"}, {"since": []}, {"since": ""}, {"since": "2026-02-30T00:00:00Z"},
        {"since": True}, {"after": "x" * 5000},
    ])  # fmt: skip
    def test_malformed_is_an_error_and_the_socket_stays(self, hub, channel, fields):
        peer = V1(hub.port)
        error = peer.command("subscribe", channel=channel, **fields)
        assert error["type"] == "error" and error["code"] and next(iter(fields)) in error["message"], error
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 0, "refused means not subscribed"
        peer.subscribe(channel)
        peer.gets_only(hub, channel)

    @pytest.mark.parametrize("path", ["/ws/{}", "/ws/events/{}"])
    @pytest.mark.parametrize("query", ["after=x", "after=", "since=yesterday", "since=", "after=12345678-", "after=5"])
    def test_malformed_query_fails_the_handshake_in_words(self, hub, channel, path, query):
        with RawConnection(hub.port) as connection:
            connection.send(upgrade_request(f"{path.format(channel)}?{query}", "dGhlIHNhbXBsZSBub25jZQ=="))
            answer = connection.reply()
            assert answer.status == 400 and query.partition("=")[0] in json.dumps(answer.detail)

    def test_courier_command_with_a_malformed_position_is_told(self, hub, channel):
        peer = Speaker(hub.port, "/ws")
        for fields in ({"after": "x"}, {"since": "x"}, {"after": 5}):
            error = peer.ask({"type": "subscribe", "channel": channel} | fields)
            assert (error["type"], error["code"]) == ("error", "VALIDATION_ERROR")
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 0

    def test_pattern_with_a_start_is_followed_or_refused_but_never_ignored(self, hub, channel):
        publish_many(hub, f"{channel}.a", 3)
        publish_many(hub, f"{channel}.b", 3)
        peer = V1(hub.port)
        answer = peer.command("subscribe", pattern=f"{channel}.*", since=LONG_AGO)
        if answer["type"] == "error":
            assert answer["message"]
            return
        got = [peer.event() for _ in range(6)]
        for name in (f"{channel}.a", f"{channel}.b"):
            assert [event["event"]["n"] for event in got if event["channel"] == name] == [0, 1, 2]


class TestOtherDialects:
    @pytest.mark.parametrize("by", ["after", "since"])
    def test_courier_by_query(self, hub, channel, by):
        ids = publish_many(hub, channel, 10)
        query, first = (f"after={ids[5]}", 6) if by == "after" else (f"since={LONG_AGO}", 0)
        peer = Speaker(hub.port, f"/ws/{channel}?{query}")
        peer.gets_only(hub, channel, *({"n": n} for n in range(first, 10)))

    def test_courier_by_command(self, hub, channel):
        ids = publish_many(hub, channel, 10)
        peer = Speaker(hub.port, "/ws")
        assert peer.ask({"type": "subscribe", "channel": channel, "after": ids[5]}) == {"type": "subscribed", "channel": channel}
        peer.gets_only(hub, channel, *({"n": n} for n in range(6, 10)))

    def test_courier_of_another_numbering_gets_what_is_held(self, hub, channel):
        ids = publish_many(hub, channel, 4)
        peer = Speaker(hub.port, f"/ws/{channel}?after={elsewhere(ids[1])}")
        peer.gets_only(hub, channel, *({"n": n} for n in range(4)))

    def test_courier_filters_what_it_replays(self, hub, channel):
        for n in range(10):
            hub.publish(channel, {"type": "ab"[n % 2], "n": n})
        peer = Speaker(hub.port, f"/ws/{channel}?since={LONG_AGO}&types=a,marker")
        peer.gets_only(hub, channel, *({"type": "a", "n": n} for n in range(0, 10, 2)))

    @pytest.mark.parametrize("by", ["after", "since"])
    def test_events_says_welcome_first(self, hub, channel, by):
        ids = publish_many(hub, channel, 10)
        query = f"after={shifted(ids[0], -1)}" if by == "after" else f"since={LONG_AGO}"
        peer = Arcane(hub.port, f"{channel}?{query}")
        assert peer.welcome["channel"] == channel
        peer.gets_only(hub, channel, *({"n": n} for n in range(10)))

    @pytest.mark.parametrize("field", ["since", "after"])
    def test_router_subscription_is_followed_or_refused_but_never_ignored(self, hub, channel, field):
        ids = publish_many(hub, channel, 5)
        router = Router(hub.port)
        start = LONG_AGO if field == "since" else shifted(ids[0], -1)
        answer = router.ask({"type": "subscribe", "subscription": {"topics": [channel], field: start}})
        if answer["type"] == "error":
            assert field in answer["error"], answer
            return
        assert [event["n"] for event in router.bodies(5)] == list(range(5))

    def test_freqsearch_is_followed_or_refused_but_never_ignored(self, hub, channel):
        publish_many(hub, channel, 5)
        path = f"/api/v1/ws/events?rooms={channel}&since={LONG_AGO}"
        with RawConnection(hub.port) as probe:
            if probe.send(upgrade_request(path, "dGhlIHNhbXBsZSBub25jZQ==")).reply().status == 400:
                return
        assert [event["n"] for event in FreqSearch(hub.port, path).bodies(5)] == list(range(5))

    async def test_real_clients_resume(self, hub, channel, clients):
        ids = publish_many(hub, channel, 50)
        path = f"/ws/{channel}?after={ids[9]}"
        node = await clients.node()
        sockets = [await node.open(hub.socket_url(path)), await clients.python(hub.socket_url(path))]
        publish_many(hub, channel, 20, start=50)
        for socket in sockets:
            await socket.until(60)
            assert [event["n"] for event in socket.events()] == list(range(10, 70))
