"""`POST /publish/batch` (contract 3.2): an array or NDJSON, one result per item in order, a bad item stops no other."""

import json

import pytest

from support.speakers import Speaker

NDJSON = {"Content-Type": "application/x-ndjson"}
BAD_ITEMS = [
    {}, {"channel": "a"}, {"data": {"n": 1}}, {"channel": "a b", "data": {"n": 1}}, {"channel": "a", "data": {}},
    {"channel": "a", "data": [1]}, {"channel": 5, "data": {"n": 1}}, 5, "text", None, [], {"channel": "a", "data": {"n": 1}, "ttl": "x"},
    {"channel": "a", "data": {"n": 1}, "priority": 11},
]  # fmt: skip


def item(channel: str, n, **options) -> dict:
    return {"channel": channel, "data": {"n": n}} | options


def as_array(items: list) -> tuple[bytes, dict]:
    return json.dumps(items).encode(), {"Content-Type": "application/json"}


def as_lines(items: list) -> tuple[bytes, dict]:
    return b"".join(json.dumps(each).encode() + b"\n" for each in items), NDJSON


FORMS = pytest.mark.parametrize("form", [as_array, as_lines])


def results(hub, form, items: list, headers: dict | None = None) -> list:
    """The results, which stand alone or under `results`; as many as there were items."""
    body, fields = form(items)
    answer = hub.post("/publish/batch", body, fields | (headers or {}))
    assert answer.status == 200, answer.body
    told = answer.json()
    told = told["results"] if isinstance(told, dict) else told
    assert len(told) == len(items)
    return told


def is_published(result: dict) -> bool:
    return result.get("status") == "published"


@FORMS
class TestBatch:
    def test_results_stand_in_order_with_the_fields_of_a_publish(self, hub, channel, form):
        peer = Speaker(hub.port, f"/ws/{channel}.1")
        told = results(hub, form, [item(f"{channel}.{n % 3}", n) for n in range(30)])
        for n, result in enumerate(told):
            assert {"status", "channel", "event_type", "clients_reached", "timestamp", "id"} <= set(result)
            assert (result["status"], result["channel"]) == ("published", f"{channel}.{n % 3}")
            assert result["clients_reached"] == (1 if n % 3 == 1 else 0)
        for of in range(3):
            offsets = [int(result["id"].split("-")[1]) for result in told[of::3]]
            assert offsets == list(range(offsets[0], offsets[0] + 10)), "in order within each channel"
        peer.gets_only(hub, f"{channel}.1", *[{"n": n} for n in range(1, 30, 3)])

    @pytest.mark.parametrize("bad", BAD_ITEMS, ids=range(len(BAD_ITEMS)))
    def test_one_bad_item_does_not_stop_the_others(self, hub, channel, form, bad):
        peer = Speaker(hub.port, f"/ws/{channel}")
        told = results(hub, form, [item(channel, 0), bad, item(channel, 2)])
        assert [is_published(result) for result in told] == [True, False, True]
        assert "error" in json.dumps(told[1])
        peer.gets_only(hub, channel, {"n": 0}, {"n": 2})

    def test_all_bad_is_still_200(self, hub, form):
        assert not any(is_published(result) for result in results(hub, form, BAD_ITEMS))

    def test_events_are_verbatim_and_options_hold(self, hub, channel, form):
        everything, urgent = Speaker(hub.port, f"/ws/{channel}"), Speaker(hub.port, f"/ws/{channel}?priorities=9")
        items = [item(channel, 0), item(channel, 1, priority=9), item(channel, 2, id="k"), item(channel, 3, id="k")]
        told = results(hub, form, items)
        assert told[2]["id"] == told[3]["id"], "a repeat within the batch is a repeat"
        got = everything.bodies(3)
        assert sorted(event["n"] for event in got) == [0, 1, 2], "the urgent one may overtake on its way to another core"
        everything.gets_only(hub, channel)
        assert urgent.event() == {"n": 1}

    def test_a_thousand_items_over_both_cores(self, hub, channel, form):
        peers = [Speaker(hub.port, f"/ws/{channel}.{n}") for n in range(10)]
        told = results(hub, form, [item(f"{channel}.{n % 10}", n) for n in range(1000)])
        assert all(result["clients_reached"] == 1 for result in told)
        for number, peer in enumerate(peers):
            assert [event["n"] for event in peer.bodies(100)] == list(range(number, 1000, 10))


class TestForms:
    def test_event_bytes_pass_unchanged(self, hub, channel):
        peer, event = Speaker(hub.port, f"/ws/{channel}"), b'{ "n" : 1.50, "u":"\\u00e9" }'
        for body, headers in (
            (b'[{"channel":"%s","data":%s}]', {}),
            (b'{"channel":"%s","data":%s}\n', NDJSON),
        ):
            assert hub.post("/publish/batch", body % (channel.encode(), event), headers).status == 200
            assert peer.message().payload == event

    def test_broken_line_is_one_bad_item(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        good = json.dumps(item(channel, 1)).encode()
        answer = hub.post("/publish/batch", good + b"\n{broken\n" + good + b"\n", NDJSON)
        told = answer.json()
        told = told["results"] if isinstance(told, dict) else told
        assert (answer.status, [is_published(result) for result in told]) == (200, [True, False, True])
        peer.gets_only(hub, channel, {"n": 1}, {"n": 1})

    @pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
    def test_last_line_may_end_or_not(self, hub, channel, end):
        lines = b"\r\n".join(json.dumps(item(channel, n)).encode() for n in range(2)) if end == b"\r\n" else b"\n".join(
            json.dumps(item(channel, n)).encode() for n in range(2))  # fmt: skip
        told = hub.post("/publish/batch", lines + end, NDJSON).json()
        told = told["results"] if isinstance(told, dict) else told
        assert [is_published(result) for result in told] == [True, True]

    @pytest.mark.parametrize("body", [b"", b"[{]", b"5", b'"x"', b"null", b"[1,2", b"\xff\xfe"])
    def test_what_is_no_array_is_400(self, hub, body):
        answer = hub.post("/publish/batch", body)
        assert answer.status == 400 and answer.detail["error"]

    def test_empty_array_is_answered(self, hub):
        assert hub.post("/publish/batch", b"[]").status in (200, 400)

    def test_get_is_405_with_allow(self, hub):
        answer = hub.get("/publish/batch")
        assert (answer.status, "POST" in answer.tokens("allow")) == (405, True)

    def test_body_above_the_limit_is_413(self, start_courier):
        courier = start_courier({"max_event_size": 2048})
        body, headers = as_array([item("a", "x" * 100) for _ in range(100)])
        assert courier.post("/publish/batch", body, headers).status == 413
