"""Bad input over HTTP: a clear answer, nothing lost, and the server alive and right after it (`unharmed`)."""

import pytest

from support.frames import ScriptedPeer
from support.web import RawConnection, encode_request

HEAD = b"POST /publish/bad HTTP/1.1\r\nHost: test\r\n"
EVENT = b'{"n":1}'
CLOSE_BY_SERVER_SECONDS = 5


pytestmark = pytest.mark.usefixtures("unharmed")


def first_answer(hub, data: bytes):
    """The status of the first answer and whether the server then closes without serving anything more."""
    with RawConnection(hub.port, timeout=CLOSE_BY_SERVER_SECONDS) as connection:
        answer = connection.send_past_refusal(data).reply()
        return answer.status, connection.ends()


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n"
BROKEN_FRAMING = {
    "conflicting lengths": HEAD + b"Content-Length: 7\r\nContent-Length: 8\r\n\r\n" + EVENT,
    "repeated length": HEAD + b"Content-Length: 7\r\nContent-Length: 7\r\n\r\n" + EVENT,
    "list of lengths": HEAD + b"Content-Length: 7, 8\r\n\r\n" + EVENT,
    "length with chunked": HEAD + b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked with length": HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "signed length": HEAD + b"Content-Length: +7\r\n\r\n" + EVENT,
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n",
    "hexadecimal length": HEAD + b"Content-Length: 0x7\r\n\r\n" + EVENT,
    "empty length": HEAD + b"Content-Length: \r\n\r\n" + EVENT,
    "inner space in length": HEAD + b"Content-Length: 7 7\r\n\r\n" + EVENT,
    "unknown coding": HEAD + b"Transfer-Encoding: gzip\r\n\r\n" + EVENT,
    "chunked not last": HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two fields": HEAD
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "odd chunked": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked over 1.0": HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "space before colon": HEAD + b"Content-Length : 7\r\n\r\n" + EVENT,
}
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
BROKEN_CHUNKS = {
    "no size": CHUNKED + b"\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size that is no number": CHUNKED + b"seven\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "negative size": CHUNKED + b"-7\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "prefixed size": CHUNKED + b"0x7\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "size over 64 bits": CHUNKED + b"10000000000000007\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "data longer than its size": CHUNKED + b"6\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "data shorter than its size": CHUNKED + b"8\r\n" + EVENT + b"\r\n0\r\n\r\n",
    "bare LF after size": CHUNKED + b"7\n" + EVENT + b"\r\n0\r\n\r\n",
    "bare LF after data": CHUNKED + b"7\r\n" + EVENT + b"\n0\r\n\r\n",
    "NUL in extension": CHUNKED + b"7;a=\x00\r\n" + EVENT + b"\r\n0\r\n\r\n",
}
BROKEN_HEADS = {
    "no method": b" / HTTP/1.1\r\nHost: test\r\n\r\n",
    "no version": b"GET /health\r\nHost: test\r\n\r\n",
    "two spaces": b"GET  /health HTTP/1.1\r\nHost: test\r\n\r\n",
    "space in target": b"GET /hea lth HTTP/1.1\r\nHost: test\r\n\r\n",
    "bare LF": b"GET /health HTTP/1.1\nHost: test\n\n",
    "bare LF between fields": b"GET /health HTTP/1.1\r\nHost: test\nX-A: 1\r\n\r\n",
    "bare CR": b"GET /health HTTP/1.1\r\nHost: test\rX-A: 1\r\n\r\n",
    "NUL in target": b"GET /hea\x00lth HTTP/1.1\r\nHost: test\r\n\r\n",
    "NUL in name": b"GET /health HTTP/1.1\r\nHo\x00st: test\r\n\r\n",
    "NUL in value": b"GET /health HTTP/1.1\r\nHost: te\x00st\r\n\r\n",
    "obs-fold": b"GET /health HTTP/1.1\r\nHost: test\r\nX-A: 1\r\n 2\r\n\r\n",
    "space before first field": b"GET /health HTTP/1.1\r\n Host: test\r\n\r\n",
    "field without colon": b"GET /health HTTP/1.1\r\nHost: test\r\nnonsense\r\n\r\n",
    "empty field name": b"GET /health HTTP/1.1\r\nHost: test\r\n: 1\r\n\r\n",
    "control in value": b"GET /health HTTP/1.1\r\nHost: test\r\nX-A: \x01\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "TLS hello": bytes.fromhex("16030100c8010000c40303") + bytes(200),
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "garbage": bytes(range(128, 256)) * 4 + b"\r\n\r\n",
}


class TestHeads:
    @pytest.mark.parametrize("data", [*BROKEN_FRAMING.values()], ids=[*BROKEN_FRAMING])
    def test_ambiguous_framing_is_refused_and_nothing_behind_it_is_served(self, hub, data):
        status, ends = first_answer(hub, data + SMUGGLED)
        assert status in (400, 501)
        assert ends

    @pytest.mark.parametrize("data", [*BROKEN_CHUNKS.values()], ids=[*BROKEN_CHUNKS])
    def test_bad_chunks_are_400_and_a_close(self, hub, data):
        assert first_answer(hub, data + SMUGGLED) == (400, True) or first_answer(hub, data + SMUGGLED) == (
            413,
            True,
        )

    @pytest.mark.parametrize("data", [*BROKEN_HEADS.values()], ids=[*BROKEN_HEADS])
    def test_broken_head_is_400_and_a_close(self, hub, data):
        status, ends = first_answer(hub, data + SMUGGLED)
        assert status in (400, 505)
        assert ends

    @pytest.mark.parametrize(
        "version", [b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2x", b"http/1.1", b"HTTP/1", b"ICY/1.1"]
    )
    def test_other_version_is_refused(self, hub, version):
        status, ends = first_answer(hub, b"GET /health %s\r\nHost: test\r\n\r\n" % version)
        assert (status in (400, 505), ends) == (True, True)

    def test_head_of_1_mb_is_431(self, hub):
        status, ends = first_answer(
            hub, b"GET /health HTTP/1.1\r\nHost: test\r\nX-A: " + b"a" * 1_000_000 + b"\r\n\r\n"
        )
        assert (status, ends) == (431, True)

    def test_target_of_1_mb_is_refused(self, hub):
        status, ends = first_answer(hub, b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: test\r\n\r\n")
        assert (status in (414, 431), ends) == (True, True)

    def test_100_000_fields_are_431(self, hub):
        fields = b"".join(b"a%d:1\r\n" % number for number in range(100_000))
        assert first_answer(hub, b"GET /health HTTP/1.1\r\nHost: test\r\n" + fields + b"\r\n") == (431, True)

    def test_empty_lines_before_a_request_do_no_harm(self, hub):
        with RawConnection(hub.port) as connection:
            assert connection.send(b"\r\n\r\n" + encode_request("GET", "/health/live")).reply().status in (
                200,
                400,
            )

    def test_endless_empty_lines_are_ended(self, hub):
        with RawConnection(hub.port) as connection:
            connection.send_past_refusal(b"\r\n" * 500_000)
            assert connection.reply().status in (400, 431)

    def test_truncated_body_is_no_publish(self, hub):
        peer = ScriptedPeer(hub.port, "/ws/bad")
        with RawConnection(hub.port) as connection:
            connection.send(HEAD + b"Content-Length: 100\r\n\r\n" + EVENT)
            connection.socket.shutdown(1)
            received = connection.drain()
            assert received == b"" or received.startswith(b"HTTP/1.1 400")
        with RawConnection(hub.port) as connection:
            connection.send(CHUNKED + b"7\r\n" + EVENT + b"\r\n")
        assert peer.text("ping").message().payload == b"pong"
        peer.leave()

    def test_connections_that_say_nothing_do_no_harm(self, hub):
        for _ in range(50):
            RawConnection(hub.port).__exit__()

    def test_a_byte_per_second_is_cut_by_the_whole_heads_time(self, start_courier):
        courier = start_courier({"limits.head_timeout": 2})
        with RawConnection(courier.port, timeout=0.5) as connection:
            data = b"GET /health HTTP/1.1\r\nHost: test\r\n\r\n"
            for byte in data:
                connection.send_past_refusal(bytes([byte]))
                try:
                    answer = connection.reply()
                    break
                except TimeoutError:
                    continue
            assert answer.status == 408


class TestTargets:
    @pytest.mark.parametrize(
        "target, status",
        [
            (b"http://test/health/live", 200),
            (b"http://other.example:99/health/live", 200),
            (b"http://test/nope", 404),
            (b"/health/../health/live", 404),
            (b"/../../../../etc/passwd", 404),
            (b"/%2e%2e/%2e%2e/etc/passwd", 404),
            (b"/health%2Flive", 404),
            (b"/health/live%00", (400, 404)),
            (b"/%FF%FE", (400, 404)),
            (b"/%zz", (400, 404)),
            (b"/%", (400, 404)),
            (b"//health//live", 404),
            (b"/health/live?x=%00&y=%zz&z", 200),
            (b"/health/live#fragment", (200, 400, 404)),
            (b"*", (400, 404)),
            (b"health", (400, 404)),
            (b"/\xff", 400),
            (b"/caf\xc3\xa9", (400, 404)),
            (b"/channels?limit=nonsense", (200, 400)),
            (b"/channels?limit=-1", (200, 400)),
            (b"/channels?limit=99999999999999999999999", (200, 400)),
        ],
    )
    def test_odd_target_gets_a_clear_answer(self, hub, target, status):
        with RawConnection(hub.port) as connection:
            answer = connection.send(b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n" % target).reply()
            assert answer.status in (status if isinstance(status, tuple) else (status,))

    @pytest.mark.parametrize(
        "name",
        [
            b"%00",
            b"%2e%00",
            b"%2F",
            b"..%2f..",
            b"%FF",
            b"%C3%28",
            b"%ED%A0%80",
            b"a" * 101,
            b"a" * 9000,
            b"",
        ],
    )
    def test_odd_channel_in_the_path_is_400(self, hub, name):
        with RawConnection(hub.port) as connection:
            answer = connection.send(encode_request("POST", f"/publish/{name.decode()}", EVENT)).reply()
            assert answer.status in ((400, 404) if name == b"" else (400,))

    def test_connect_is_refused(self, hub):
        with RawConnection(hub.port) as connection:
            answer = connection.send(b"CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n").reply()
            assert answer.status in (400, 404, 405, 501)


class TestBodies:
    @pytest.mark.parametrize("opener", [b"[", b'{"a":'], ids=["arrays", "objects"])
    @pytest.mark.parametrize("closed", [True, False])
    def test_json_of_depth_100_000_gets_an_answer(self, hub, opener, closed):
        depth = 100_000
        end = (b"]" if opener == b"[" else b"}") * depth if closed else b""
        deep = opener * depth + b"1" + end
        for target, body in (
            ("/publish/bad", b'{"x":' + deep + b"}"),
            ("/publish", b'{"channel":"bad","data":{"x":%s}}' % deep),
        ):
            answer = hub.post(target, body)
            assert answer.status in ((200, 400) if closed else (400,))

    @pytest.mark.parametrize(
        "event, status",
        [
            (b'{"a":1,"a":2}', 200),
            (b'{"a":"\xff"}', 400),
            (b'{"\xc3\x28":1}', 400),
            (b'{"a":"\xed\xa0\x80"}', 400),
            (b'{"a":"\xf4\x90\x80\x80"}', 400),
            (b'{"a":"\xc0\xaf"}', 400),
            (b"\xef\xbb\xbf" + EVENT, 400),
            (EVENT.decode().encode("utf-16"), 400),
            (rb'{"a":"\ud800"}', 200),
            (rb'{"a":"\uZZZZ"}', 400),
            (rb'{"a":"\x"}', 400),
            (b'{"a":"\n"}', 400),
            (b'{"a":"\x00"}', 400),
            (b'{"a":1e999999}', 200),
            (b'{"a":' + b"9" * 10_000 + b"}", 200),
            (b'{"a":-}', 400),
            (b'{"a":.5}', 400),
            (b'{"a":0x10}', 400),
            (b'{"a":NaN}', 400),
            (b'{"a":Infinity}', 400),
            (EVENT + EVENT, 400),
            (EVENT + b"\x00", 400),
        ],
        ids=range(22),
    )
    @pytest.mark.parametrize("whole", [False, True], ids=["data", "whole"])
    def test_odd_json_is_taken_verbatim_or_refused(self, hub, event, status, whole):
        peer = ScriptedPeer(hub.port, "/ws/bad")
        body = event if whole else b'{"channel":"bad","data":%s}' % event
        answer = hub.post("/publish/bad" if whole else "/publish", body)
        assert answer.status == status
        if status == 200:
            assert peer.message().payload == event
        peer.leave()

    def test_repeated_envelope_member_is_decided(self, hub):
        peer = ScriptedPeer(hub.port, "/ws/bad")
        answer = hub.post(
            "/publish", b'{"channel":"elsewhere","channel":"bad","data":{"n":1},"data":{"n":2}}'
        )
        assert answer.status in (200, 400)
        if answer.status == 200:
            assert answer.json()["channel"] == "bad"
            assert peer.message().payload == b'{"n":2}'
        peer.leave()

    def test_body_over_the_limit_is_413(self, hub):
        assert first_answer(hub, encode_request("POST", "/publish/bad", b"x" * 3_000_000))[0] == 413

    @pytest.mark.parametrize("value", ["5" * 400, "-1e400", "1e-400", '"NORMAL"', "null", "{}", "1.5"])
    def test_odd_priority_and_ttl_get_an_answer(self, hub, value):
        for member in ("priority", "ttl"):
            body = b'{"channel":"bad","data":{"n":1},"%s":%s}' % (member.encode(), value.encode())
            assert hub.post("/publish", body).status in (200, 400)
