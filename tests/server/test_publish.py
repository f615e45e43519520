"""Publishing (contract 3.1, 3.3, 3.4): the answer, the refusals, and that events arrive byte for byte."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from support.frames import ScriptedPeer

POSITION = re.compile(r"^([0-9a-f]{8})-([0-9]+)$")
TIMESTAMP = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
BAD_CHANNELS = ["", "a b", "a/b", "é", "a*", "**", "x" * 101, "a\u0000", "a,b", "a%2Eb"]


def publish(hub, body, headers=None):
    return hub.post("/publish", body, headers)


class TestAnswer:
    def test_has_exactly_the_promised_fields(self, hub, channel):
        answer = publish(hub, {"channel": channel, "data": {"type": "greeting", "n": 1}}).json()
        assert set(answer) == {"status", "channel", "event_type", "clients_reached", "timestamp", "id"}
        assert (answer["status"], answer["channel"], answer["event_type"]) == (
            "published",
            channel,
            "greeting",
        )
        assert answer["clients_reached"] == 0
        assert POSITION.match(answer["id"]) and TIMESTAMP.match(answer["timestamp"])

    def test_both_forms_answer_alike(self, hub, channel):
        whole = publish(hub, {"channel": channel, "data": {"type": "x"}}).json()
        short = hub.publish(channel, {"type": "x"})
        assert set(whole) == set(short)
        assert _number(short) == _number(whole) + 1

    def test_event_type_is_null_without_one(self, hub, channel):
        assert hub.publish(channel, {"n": 1})["event_type"] is None

    def test_timestamp_is_the_servers_now_in_utc(self, hub, channel):
        told = datetime.fromisoformat(hub.publish(channel, {"n": 1})["timestamp"])
        assert abs(datetime.now(UTC) - told) < timedelta(seconds=5)

    def test_timestamp_is_the_events_own(self, hub, channel):
        own = "2026-01-02T03:04:05.678Z"
        assert hub.publish(channel, {"type": "x", "timestamp": own})["timestamp"] == own

    def test_optional_fields_are_taken(self, hub, channel):
        body = {"channel": channel, "data": {"n": 1}, "priority": 5, "id": "one", "ttl": 60}
        assert publish(hub, body).status == 200

    def test_position_grows_by_one_per_channel_over_connections(self, hub, channel):
        answers = [hub.publish(channel, {"n": n}) for n in range(20)]
        assert [_number(answer) - _number(answers[0]) for answer in answers] == list(range(20))
        assert len({answer["id"].split("-")[0] for answer in answers}) == 1

    def test_positions_of_channels_are_independent(self, hub, channel):
        first = [hub.publish(f"{channel}.{n}", {"n": 1}) for n in range(8)]
        second = [hub.publish(f"{channel}.{n}", {"n": 2}) for n in range(8)]
        assert [_number(b) - _number(a) for a, b in zip(first, second, strict=True)] == [1] * 8

    @pytest.mark.parametrize("count", [0, 1, 2, 7, 24])
    async def test_clients_reached_is_exact_over_shards(self, hub, channel, clients, count):
        await clients.many(hub.socket_url(f"/ws/{channel}"), count)
        await clients.many(hub.socket_url(f"/ws/{channel}.other"), 3)
        assert [hub.publish(channel, {"n": n})["clients_reached"] for n in range(5)] == [count] * 5

    async def test_clients_reached_follows_leaving_clients(self, hub, channel, clients):
        sockets = await clients.many(hub.socket_url(f"/ws/{channel}"), 6)
        before = hub.stats()["active_clients"]
        for socket in sockets[:4]:
            await socket.close()
        hub.await_clients(before - 4)
        assert hub.publish(channel, {"n": 1})["clients_reached"] == 2


def _number(answer: dict) -> int:
    return int(POSITION.match(answer["id"])[2])


class TestRefusals:
    @pytest.mark.parametrize(
        "body", [b"", b" ", b"{", b"nonsense", b'{"a":1}x', b"{'a':1}", b'{"a":01}', b'{"a":1,}']
    )
    @pytest.mark.parametrize("target", ["/publish", "/publish/refusals"])
    def test_bad_json_is_400(self, hub, target, body):
        answer = hub.post(target, body)
        assert answer.status == 400
        assert answer.detail["error"]
        assert answer.header("content-type") == "application/json"

    @pytest.mark.parametrize("event", [b"[]", b"[1]", b'"text"', b"5", b"null", b"true", b"{}", b" { } "])
    def test_whole_body_must_be_a_non_empty_object(self, hub, event):
        assert hub.post("/publish/refusals", event).detail["error"]

    @pytest.mark.parametrize(
        "body, pointer",
        [
            ({"data": {"n": 1}}, "/channel"),
            ({"channel": 5, "data": {"n": 1}}, "/channel"),
            ({"channel": None, "data": {"n": 1}}, "/channel"),
            ({"channel": "a"}, "/data"),
            ({"channel": "a", "data": {}}, "/data"),
            ({"channel": "a", "data": [1]}, "/data"),
            ({"channel": "a", "data": "text"}, "/data"),
            ({"channel": "a", "data": None}, "/data"),
            ({"channel": "a", "data": {"n": 1}, "priority": [1]}, "/priority"),
            ({"channel": "a", "data": {"n": 1}, "ttl": "soon"}, "/ttl"),
            ({"channel": "a", "data": {"n": 1}, "id": 5}, "/id"),
        ],
    )
    def test_field_at_fault_is_named_by_its_pointer(self, hub, body, pointer):
        answer = publish(hub, body)
        assert answer.status == 400
        faults = answer.detail["validation_errors"]
        assert pointer in [fault["field"] for fault in faults]
        assert all(set(fault) == {"field", "message"} and fault["message"] for fault in faults)

    @pytest.mark.parametrize(
        "body, pointers",
        [
            ({"priority": []}, {"/channel", "/data", "/priority"}),
            ({"channel": "a b"}, {"/channel", "/data"}),
            ({"channel": "a b", "data": {}, "ttl": "x"}, {"/channel", "/data", "/ttl"}),
        ],
    )
    def test_all_faults_are_named_at_once(self, hub, body, pointers):
        faults = publish(hub, body).detail["validation_errors"]
        assert {fault["field"] for fault in faults} == pointers

    @pytest.mark.parametrize("name", BAD_CHANNELS)
    def test_bad_channel_in_the_body_is_400(self, hub, name):
        answer = publish(hub, {"channel": name, "data": {"n": 1}})
        assert answer.status == 400
        assert [fault["field"] for fault in answer.detail["validation_errors"]] == ["/channel"]

    @pytest.mark.parametrize(
        "name", ["a%20b", "a%2Fb", "%C3%A9", "x" * 101, "a%00", "%FF", "a%252Eb", "%", "%4", "%zz"]
    )
    def test_bad_channel_in_the_path_is_400(self, hub, name):
        assert hub.post(f"/publish/{name}", {"n": 1}).detail["error"]

    @pytest.mark.parametrize("name", ["x" * 100, "A-Za_z0.9:-", "%61%2e%62", "."])
    def test_channel_of_the_grammar_is_taken(self, hub, name):
        answer = hub.post(f"/publish/{name}", {"n": 1})
        assert answer.status == 200
        assert answer.json()["channel"] == name.replace("%61%2e%62", "a.b")

    def test_source_mismatch_is_400(self, hub, channel):
        answer = hub.post(f"/publish/{channel}", {"type": "x", "source": "a"}, {"X-Service-Name": "b"})
        assert (answer.status, answer.detail["error"]) == (400, "Event source mismatch")

    @pytest.mark.parametrize(
        "event, headers",
        [
            ({"source": "a"}, {"X-Service-Name": "a"}),
            ({"source": "a"}, {}),
            ({"n": 1}, {"X-Service-Name": "a"}),
        ],
    )
    def test_matching_or_absent_source_is_taken(self, hub, channel, event, headers):
        assert hub.post(f"/publish/{channel}", event, headers).status == 200

    def test_problem_details_hold_the_same_facts(self, hub):
        answer = hub.post("/publish", {"channel": 5}, {"Accept": "application/problem+json"})
        assert (answer.status, answer.header("content-type")) == (400, "application/problem+json")
        problem = answer.json()
        assert problem["status"] == 400
        assert problem["title"] and problem["detail"]
        assert {"/channel", "/data"} <= {fault["field"] for fault in problem["validation_errors"]}

    def test_problem_details_of_a_body_over_the_limit(self, start_courier):
        courier = start_courier({"max_event_size": 1024})
        answer = courier.post(
            "/publish/a", b'{"a":"%s"}' % (b"a" * 2000), {"Accept": "application/problem+json"}
        )
        problem = answer.json()
        assert (answer.status, problem["status"], problem["max_size_bytes"]) == (413, 413, 1024)

    def test_refused_event_is_delivered_to_nobody(self, hub, channel):
        peer = ScriptedPeer(hub.port, f"/ws/{channel}")
        for body in (b"{}", b"[1]", b"{", b"\xff\xfe"):
            assert hub.post(f"/publish/{channel}", body).status == 400
        hub.publish(channel, {"marker": 1})
        assert json.loads(peer.message().payload) == {"marker": 1}
        peer.leave()


VERBATIM = [
    b'{"b":1,"a":2}',
    b'{ "a" :\t1 ,\n  "b" : [ 1 , 2 ] }',
    rb'{"a":"\u00e9\u20ac\uD83D\uDE00\/\n"}',
    '{"a":"é€😀","ключ":"значение"}'.encode(),
    b'{"n":[1e400,-1E-400,1.0E+2,-0.0,123456789012345678901234567890.5,1.10]}',
    b'{"a":1,"a":2,"a":{"a":1,"a":2}}',
    rb'{"lone":"\ud800","pair":"\udc00\ud800","key\udfff":1}',
    rb'{"nul":"\u0000","del":"' + b"\x7f" + rb'","bs":"\\\""}',
    b'{"":{"":[[],{},[{}]]}}',
    b'{"type":"x","timestamp":"yesterday","id":7}',
    b'{"channel":"other","data":{"x":1}}',
    b'{"deep":' + b"[" * 60 + b"]" * 60 + b"}",
    b'{"big":"' + b"0123456789abcdef" * 16000 + b'"}',
]


class TestVerbatim:
    @pytest.mark.parametrize("event", VERBATIM, ids=range(len(VERBATIM)))
    @pytest.mark.parametrize("whole", [False, True], ids=["data", "whole"])
    def test_event_arrives_byte_for_byte(self, hub, channel, event, whole):
        peer = ScriptedPeer(hub.port, f"/ws/{channel}")
        body = event if whole else b'{"channel":"%s", "data": %s }' % (channel.encode(), event)
        answer = hub.post(f"/publish/{channel}" if whole else "/publish", body)
        assert (answer.status, answer.json()["clients_reached"]) == (200, 1)
        assert peer.message().payload.strip() == event
        peer.leave()

    def test_member_order_and_escapes_of_the_envelope_do_not_matter(self, hub, channel):
        peer = ScriptedPeer(hub.port, f"/ws/{channel}")
        body = rb'{"d\u0061ta":{"z": 1, "y" :2},"x-unknown":[{"data":1}],"channel":"%s"}' % channel.encode()
        answer = hub.post("/publish", body)
        if answer.status == 200:
            assert peer.message().payload == b'{"z": 1, "y" :2}'
        else:
            assert answer.detail["validation_errors"], "an unknown member is either ignored or named"
        peer.leave()
