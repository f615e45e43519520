"""CloudEvents 1.0 over HTTP (contract 3.5): structured and binary mode on `/publish/{channel}`; traceparent is no obstacle."""

import json

import pytest

from support.speakers import V1, Speaker

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"  # W3C Trace Context, its own example


def cloud_event(**fields) -> dict:
    return {"specversion": "1.0", "id": "e-1", "source": "/shop/1", "type": "com.example.order",
            "data": {"order": 4711}} | fields  # fmt: skip


def binary_headers(**fields) -> dict:
    named = {"specversion": "1.0", "id": "e-1", "source": "/shop/1", "type": "com.example.order"} | fields
    return {"Content-Type": "application/json"} | {f"ce-{name}": value for name, value in named.items() if value is not None}


class TestStructured:
    def test_is_published_under_its_type(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        answer = hub.post(f"/publish/{channel}", cloud_event(), STRUCTURED)
        assert answer.status == 200, answer.body
        told = answer.json()
        assert (told["status"], told["event_type"], told["clients_reached"]) == ("published", "com.example.order", 1)
        assert "4711" in peer.message().payload.decode()

    def test_content_type_may_have_parameters(self, hub, channel):
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        assert hub.post(f"/publish/{channel}", cloud_event(), headers).json()["event_type"] == "com.example.order"

    def test_its_time_is_the_timestamp(self, hub, channel):
        told = hub.post(f"/publish/{channel}", cloud_event(time="2026-01-02T03:04:05.678Z"), STRUCTURED).json()
        assert told["timestamp"] == "2026-01-02T03:04:05.678Z"

    @pytest.mark.parametrize("missing", ["specversion", "id", "source", "type"])
    def test_without_a_required_attribute_is_400(self, hub, channel, missing):
        event = cloud_event()
        del event[missing]
        answer = hub.post(f"/publish/{channel}", event, STRUCTURED)
        assert answer.status == 400 and missing in answer.body.decode()

    @pytest.mark.parametrize(
        "fields",
        [{"specversion": 1}, {"type": 5}, {"type": ""}, {"id": ""}, {"source": None}, {"specversion": "0.1"}],
    )
    def test_bad_attribute_is_400(self, hub, channel, fields):
        assert hub.post(f"/publish/{channel}", cloud_event(**fields), STRUCTURED).status == 400

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"5", b"{}"])
    def test_bad_body_is_400(self, hub, channel, body):
        assert hub.post(f"/publish/{channel}", body, STRUCTURED).status == 400

    @pytest.mark.parametrize(
        "fields", [{"data": "text"}, {"data": None}, {"data_base64": "AAEC", "data": None}, {"subject": "s", "myext": 5}]
    )
    def test_odd_data_is_no_server_error(self, hub, channel, fields):
        assert hub.post(f"/publish/{channel}", cloud_event(**fields), STRUCTURED).status in (200, 400)
        Speaker(hub.port, f"/ws/{channel}").gets_only(hub, channel)


class TestBinary:
    def test_is_published_under_its_type(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        answer = hub.post(f"/publish/{channel}", {"order": 4711}, binary_headers())
        assert answer.status == 200, answer.body
        assert (answer.json()["event_type"], answer.json()["clients_reached"]) == ("com.example.order", 1)
        assert "4711" in peer.message().payload.decode()

    def test_its_time_is_the_timestamp(self, hub, channel):
        headers = binary_headers(time="2026-01-02T03:04:05.678Z")
        assert hub.post(f"/publish/{channel}", {"n": 1}, headers).json()["timestamp"] == "2026-01-02T03:04:05.678Z"

    @pytest.mark.parametrize("missing", ["id", "source", "type"])
    def test_without_a_required_attribute_is_400(self, hub, channel, missing):
        answer = hub.post(f"/publish/{channel}", {"n": 1}, binary_headers(**{missing: None}))
        assert answer.status == 400 and missing in answer.body.decode()

    def test_data_that_is_not_the_json_it_is_said_to_be_is_400(self, hub, channel):
        assert hub.post(f"/publish/{channel}", b"{", binary_headers()).status == 400


class TestBoth:
    def publish_both(self, hub, channel: str):
        assert hub.post(f"/publish/{channel}", cloud_event(), STRUCTURED).status == 200
        assert hub.post(f"/publish/{channel}", {"order": 4711}, binary_headers()).status == 200

    def test_filters_know_type_and_source(self, hub, channel):
        peer = V1(hub.port)
        peer.subscribe(channel, types=["com.example.*"], sources=["/shop/1"])
        other = V1(hub.port)
        other.subscribe(channel, types=["com.other.*"])
        self.publish_both(hub, channel)
        hub.publish(channel, {"type": "com.other.end"})
        assert all("4711" in json.dumps(body) for body in peer.bodies(2))
        assert other.body() == {"type": "com.other.end"}

    def test_traceparent_is_taken(self, hub, channel):
        for headers in (STRUCTURED | {"traceparent": TRACE}, STRUCTURED | {"traceparent": "nonsense"}):
            assert hub.post(f"/publish/{channel}", cloud_event(), headers).status == 200
        assert hub.post(f"/publish/{channel}", {"n": 1}, {"traceparent": TRACE}).status == 200
        assert hub.post(f"/publish/{channel}", cloud_event(traceparent=TRACE), STRUCTURED).status == 200

    def test_plain_json_with_such_fields_stays_plain(self, hub, channel):
        """Only the content type makes a structured CloudEvent: the event is then forwarded verbatim as any other."""
        peer = Speaker(hub.port, f"/ws/{channel}")
        event = json.dumps(cloud_event()).encode()
        hub.post(f"/publish/{channel}", event, {"Content-Type": "application/json"})
        assert peer.message().payload == event

    def test_bad_channel_is_400(self, hub):
        assert hub.post("/publish/a%20b", cloud_event(), STRUCTURED).status == 400

    @pytest.mark.parametrize("path", ["/publish", "/publish/batch"])
    def test_without_a_channel_in_the_path_is_told(self, hub, path):
        """A good CloudEvent on a path without a channel ended in a panic and a connection that closed without a word."""
        batch = STRUCTURED | {"Content-Type": "application/cloudevents-batch+json"}
        for body, headers in [(cloud_event(), STRUCTURED), ({"n": 1}, binary_headers())][: path == "/publish" and 2]:
            answer = hub.post(path, body, headers)
            assert answer.status == 400 and "/channel" in answer.body.decode(), answer.body
        [told] = hub.post(path, json.dumps([cloud_event()]).encode(), batch).json()
        assert (told["status"], told["code"]) == ("error", 400) and "/channel" in json.dumps(told)
