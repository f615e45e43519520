"""Limits of a request (contract 2, 14): head, fields, body, parts of an event, and the time for each."""

import pytest

from support.web import RawConnection, encode_chunked, encode_publish, encode_request

KIB = 1024
HEAD_BYTES_MAX = 16 * KIB
EVENT_BYTES_MAX = 1024 * KIB


def test_head_of_16_kib_is_read_and_more_is_431(hub):
    def head(size: int) -> bytes:
        start = b"GET /health/live HTTP/1.1\r\nHost: test\r\nX-Fill: "
        return start + b"a" * (size - len(start) - 4) + b"\r\n\r\n"

    with RawConnection(hub.port) as connection:
        assert connection.send(head(HEAD_BYTES_MAX)).reply().status == 200
    with RawConnection(hub.port) as connection:
        assert connection.send_past_refusal(head(HEAD_BYTES_MAX + 1)).reply().status == 431
        assert connection.ends()


def test_100_fields_are_read_and_one_more_is_431(hub):
    def head(count: int) -> bytes:
        fields = b"".join(b"X-%d: 1\r\n" % number for number in range(count - 1))
        return b"GET /health/live HTTP/1.1\r\nHost: test\r\n" + fields + b"\r\n"

    with RawConnection(hub.port) as connection:
        assert connection.send(head(100)).reply().status == 200
    with RawConnection(hub.port) as connection:
        assert connection.send_past_refusal(head(101)).reply().status == 431


def test_event_of_1_mib_is_taken_and_a_larger_body_is_413_with_the_sizes(hub, channel):
    fill = EVENT_BYTES_MAX - len(b'{"fill":""}')
    assert hub.post(f"/publish/{channel}", b'{"fill":"%s"}' % (b"a" * fill)).status == 200
    answer = hub.post(f"/publish/{channel}", b'{"fill":"%s"}' % (b"a" * (fill + 1)))
    assert answer.status == 413
    assert answer.detail["max_size_bytes"] == EVENT_BYTES_MAX
    assert answer.detail["size_bytes"] == EVENT_BYTES_MAX + 1


def test_chunked_body_over_the_limit_is_413(hub, channel):
    piece = b"4000\r\n" + b"a" * 0x4000 + b"\r\n"
    with RawConnection(hub.port) as connection:
        connection.send_past_refusal(encode_chunked(channel, piece * 80))
        assert connection.reply().status == 413


def test_announced_body_over_the_limit_is_refused_before_it_is_sent(hub, channel):
    with RawConnection(hub.port) as connection:
        head = (
            b"POST /publish/%s HTTP/1.1\r\nHost: test\r\nContent-Length: 99999999999\r\n\r\n"
            % channel.encode()
        )
        answer = connection.send(head).reply()
        assert (answer.status, answer.detail["size_bytes"]) == (413, 99999999999)
        assert connection.ends()


def test_the_event_limit_is_a_setting(start_courier):
    courier = start_courier({"max_event_size": 1024})
    assert courier.post("/publish/a", b'{"a":"%s"}' % (b"a" * 900)).status == 200
    assert courier.post("/publish/a", b'{"a":"%s"}' % (b"a" * 1100)).detail["max_size_bytes"] == 1024


@pytest.mark.parametrize(
    "part, size, limit", [("metadata", 11 * KIB, 10 * KIB), ("data", 513 * KIB, 512 * KIB)]
)
def test_parts_of_a_nested_event_have_limits_of_their_own(hub, channel, part, size, limit):
    event = {"type": "x", "metadata": {"source": "s"}, "data": {"a": 1}}
    event[part] = event[part] | {"fill": "a" * size}
    answer = hub.post(f"/publish/{channel}", event)
    assert answer.status == 413
    assert answer.detail["max_size_bytes"] == limit


def test_slow_head_is_408(start_courier):
    courier = start_courier({"limits.head_timeout": 1})
    with RawConnection(courier.port) as connection:
        answer = connection.send(b"GET /health HTTP/1.1\r\nHost:").reply()
        assert answer.status == 408
        assert connection.ends()


def test_slow_body_is_408(start_courier):
    courier = start_courier({"limits.body_timeout": 1})
    with RawConnection(courier.port) as connection:
        answer = connection.send(encode_publish("a")[:-1]).reply()
        assert answer.status == 408
        assert connection.ends()


def test_a_long_answer_comes_whole_to_who_reads_it_for_longer_than_a_body_may_take(start_courier):
    """The time of a peer that leaves answers in the server ran from its request on, however much it read meanwhile."""
    courier = start_courier({"limits.head_timeout": 0.3, "limits.body_timeout": 3})
    for n in range(24):
        assert courier.post("/publish/long", {"n": n, "fill": "x" * 1_000_000}).status == 200
    with RawConnection(courier.port, receive_buffer=4096) as slow:
        slow.send(encode_request("GET", "/history/long"))
        parts = []
        for missing in 12 * [1_200_000] + [9_600_000]:
            with RawConnection(courier.port) as clock:  # the time of a head passes
                assert clock.send(b"GET /health HTTP/1.1\r\nHost:").reply().status == 408
            while missing and (part := slow.socket.recv(min(missing, 64 * KIB))):
                parts.append(part)
                missing -= len(part)
        slow.unread = b"".join(parts)
        assert [event["event"]["n"] for event in slow.reply().json()["events"]] == list(range(24))


def test_who_was_answered_for_good_and_goes_on_saying_something_goes(start_courier):
    """Each byte that came told of room to send, too, and began the time anew in which the peer may close."""
    courier = start_courier({"limits.head_timeout": 0.3})
    with RawConnection(courier.port) as chatty:
        chatty.send(encode_request("GET", "/health/live", headers={"Connection": "close"}))
        assert chatty.reply().status == 200
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(40):
                with RawConnection(courier.port) as clock:  # the time of a head passes
                    assert clock.send(b"GET /health HTTP/1.1\r\nHost:").reply().status == 408
                chatty.send(b"x")


def test_limit_is_per_head_and_not_per_connection(start_courier):
    courier = start_courier({"limits.head_timeout": 1})
    with RawConnection(courier.port) as idle, RawConnection(courier.port) as slow:
        assert idle.send(encode_request("GET", "/health/live")).reply().status == 200
        assert slow.send(b"GET /health HTTP/1.1\r\nHost:").reply().status == 408
        assert idle.send(encode_request("GET", "/health/live")).reply().status == 200
