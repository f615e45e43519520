"""HTTP rules on the one port (contract 2): methods, versions, keep-alive, pipelining, body framing and limits."""

import json
import re
import subprocess

import pytest

from support.process import wait_until
from support.web import EVENT, RawConnection, encode_chunked, encode_publish, encode_request

LATER_GET = ["/metrics", "/admin", "/admin/channels", "/admin/connections"]


@pytest.mark.parametrize(
    "path", ["/nope", "/publish/a/b", "/health/other", "/ws/a/b", "/Health", "/stats/", "/echo"]
)
def test_unknown_path_is_404(hub, path):
    assert hub.get(path).status == 404


@pytest.mark.parametrize("path", LATER_GET)
def test_path_of_a_later_landing_is_404(hub, path):
    assert hub.get(path).status == 404


@pytest.mark.parametrize(
    "method, path, allowed",
    [
        ("GET", "/publish", "POST"),
        ("GET", "/publish/a", "POST"),
        ("PUT", "/publish/a", "POST"),
        ("DELETE", "/publish/a", "POST"),
        ("POST", "/health", "GET"),
        ("POST", "/health/live", "GET"),
        ("POST", "/health/ready", "GET"),
        ("DELETE", "/stats", "GET"),
        ("PATCH", "/channels", "GET"),
        ("BREW", "/stats", "GET"),
    ],
)
def test_known_path_with_another_method_is_405_with_allow(hub, method, path, allowed):
    answer = hub.request(method, path, b"" if method != "GET" else None)
    assert answer.status == 405
    assert allowed in answer.tokens("allow")
    assert method not in answer.tokens("allow")


@pytest.mark.parametrize("path", ["/health", "/stats", "/channels", "/health/live", "/health/ready"])
def test_head_has_the_fields_of_get_and_no_body(hub, path):
    with RawConnection(hub.port) as connection:
        connection.send(b"HEAD %s HTTP/1.1\r\nHost: test\r\n\r\n" % path.encode())
        head = connection.reply("HEAD")
        connection.send(encode_request("GET", path))
        get = connection.reply()
    assert (
        (head.status, head.header("content-type"))
        == (get.status, get.header("content-type"))
        == (200, "application/json")
    )
    assert int(head.header("content-length")) > 0


def test_head_of_an_unknown_path_is_404_without_a_body(hub):
    with RawConnection(hub.port) as connection:
        connection.send(b"HEAD /nope HTTP/1.1\r\nHost: test\r\n\r\n", encode_request("GET", "/health/live"))
        assert connection.reply("HEAD").status == 404
        assert connection.reply().json() == {"status": "alive"}


class TestCors:
    CONFIG = 'cors: {allowed_origins: ["https://app.example"]}\n'

    def preflight(self, courier, origin):
        headers = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type, x-service-name",
        }
        return courier.request("OPTIONS", "/publish", None, headers)

    def test_preflight_of_an_allowed_origin_names_methods_and_headers(self, start_courier):
        answer = self.preflight(start_courier(config=self.CONFIG), "https://app.example")
        assert answer.status in (200, 204)
        assert answer.header("access-control-allow-origin") == "https://app.example"
        assert "POST" in answer.tokens("access-control-allow-methods")
        allowed = {name.lower() for name in answer.tokens("access-control-allow-headers")}
        assert {"content-type", "x-service-name"} <= allowed
        assert "origin" in {name.lower() for name in answer.tokens("vary")}

    def test_preflight_of_another_origin_is_not_allowed(self, start_courier):
        answer = self.preflight(start_courier(config=self.CONFIG), "https://evil.example")
        assert answer.header("access-control-allow-origin") is None

    def test_without_configured_origins_no_foreign_origin_is_allowed(self, hub):
        answer = self.preflight(hub, "https://evil.example")
        assert answer.status < 500
        assert answer.header("access-control-allow-origin") is None

    def test_answer_to_an_allowed_origin_is_readable_by_its_page(self, start_courier):
        courier = start_courier(config=self.CONFIG)
        answer = courier.post("/publish/a", EVENT, {"Origin": "https://app.example"})
        assert answer.header("access-control-allow-origin") == "https://app.example"
        refused = courier.post("/publish/a", b"nonsense", {"Origin": "https://app.example"})
        assert refused.header("access-control-allow-origin") == "https://app.example"


class TestConnections:
    def test_keep_alive_serves_many_requests(self, hub, channel):
        with RawConnection(hub.port) as connection:
            answers = [connection.send(encode_publish(channel)).reply() for _ in range(100)]
        assert {answer.status for answer in answers} == {200}
        numbers = [int(answer.json()["id"].split("-")[1]) for answer in answers]
        assert numbers == list(range(numbers[0], numbers[0] + 100))

    def test_connection_close_is_honoured(self, hub):
        with RawConnection(hub.port) as connection:
            answer = connection.send(
                encode_request("GET", "/health", headers={"Connection": "close"})
            ).reply()
            assert "close" in {token.lower() for token in answer.tokens("connection")}
            assert connection.ends()

    def test_http_1_0_needs_no_host_and_closes(self, hub):
        with RawConnection(hub.port) as connection:
            assert connection.send(b"GET /health HTTP/1.0\r\n\r\n").reply().status == 200
            assert connection.ends()

    def test_http_1_0_publish_works(self, hub, channel):
        request = b"POST /publish/%s HTTP/1.0\r\nContent-Length: 7\r\n\r\n%s" % (channel.encode(), EVENT)
        with RawConnection(hub.port) as connection:
            answer = connection.send(request).reply()
            assert answer.status == 200
            assert "transfer-encoding" not in dict(answer.fields)

    @pytest.mark.parametrize(
        "old, new",
        [
            (b"Length: 7", b"Length: +7"),
            (b"Length: 7", b"Length: 7, 7"),
            (b"Length: 7", b"Length: 99999999999999999999"),
            (b"Length: 7", b"Length:"),
            (b"Length: 7\r\n", b"Length: 7\r\nContent-Length: 7\r\n"),
            (b"Length: 7\r\n", b"Length: 7\r\nTransfer-Encoding: chunked\r\n"),
            (b"Length: 7\r\n", b"Length: 7\n"),
            (b"Host: test\r\n", b""),
            (b"Host: test", b"Host: te st"),
            (b"Host: test", b"Host : test"),
            (b" HTTP/1.1", b" HTTP/1.2"),
            (b" HTTP/1.1", b"  HTTP/1.1"),
            (b"/publish/", b"/publish/#"),
            (b"/publish/", b"publish/"),
            (b"/publish/", b"/publish/\xfc"),
            (b"POST", b"P\x00ST"),
        ],
    )
    def test_connection_that_was_well_behaved_is_refused_like_any_other(self, hub, channel, old, new):
        """A head is known by the lines that came before; whatever differs must be judged as it would be first."""
        broken = encode_publish(channel).replace(old, new)
        with RawConnection(hub.port) as fresh, RawConnection(hub.port) as known:
            refused = fresh.send(broken).reply()
            for number in range(5):
                body = b'{"n":%d}' % 10**number
                assert known.send(encode_publish(f"{channel}.{number}", body)).reply().status == 200
            again = known.send(broken).reply()
            assert again.status >= 400
            assert (again.status, again.json()) == (refused.status, refused.json())
            assert known.ends()

    def test_pipelined_answers_come_in_the_order_of_requests(self, hub, channel):
        names = [f"{channel}.{number % 64}" for number in range(512)]
        with RawConnection(hub.port) as connection:
            connection.send(b"".join(encode_publish(name) for name in names))
            assert [connection.reply().json()["channel"] for _ in names] == names

    def test_pipelined_errors_and_reads_keep_their_place(self, hub, channel):
        requests = [
            (encode_publish(channel), 200), (encode_request("GET", "/nope"), 404), (encode_publish(channel, b"{}"), 400),
            (encode_request("GET", "/publish"), 405), (encode_publish(channel, b"not json"), 400),
            (encode_request("GET", "/health/live"), 200), (encode_chunked(channel, b"7\r\n" + EVENT + b"\r\n"), 200),
        ]  # fmt: skip
        with RawConnection(hub.port) as connection:
            connection.send(b"".join(request for request, _ in requests * 20))
            assert [connection.reply().status for _ in requests * 20] == [
                status for _, status in requests * 20
            ]

    def test_pipelined_request_after_close_is_not_served(self, hub, channel):
        with RawConnection(hub.port) as connection:
            connection.send(encode_publish(channel, extra=b"Connection: close\r\n") + encode_publish(channel))
            assert connection.reply().status == 200
            assert connection.ends()

    def test_requests_may_come_byte_by_byte(self, hub, channel):
        with RawConnection(hub.port) as connection:
            for byte in encode_publish(channel) + encode_chunked(channel, b"7\r\n" + EVENT + b"\r\n"):
                connection.send(bytes([byte]))
            assert (connection.reply().status, connection.reply().status) == (200, 200)

    def test_half_closed_client_still_gets_its_answer(self, hub, channel):
        with RawConnection(hub.port) as connection:
            connection.send(encode_publish(channel) + encode_request("GET", "/health/live"))
            connection.socket.shutdown(1)
            assert (connection.reply().status, connection.reply().status) == (200, 200)
            assert connection.ends()


class TestBodies:
    @pytest.mark.parametrize(
        "chunks, trailers",
        [
            (b"7\r\n" + EVENT + b"\r\n", b""),
            (b"".join(b"1\r\n%c\r\n" % byte for byte in EVENT), b""),
            (b'007;name="value";x\r\n' + EVENT + b"\r\n", b""),
            (b"7\r\n" + EVENT + b"\r\n", b"X-Checksum: 1\r\n"),
        ],
        ids=["one", "bytewise", "extensions", "trailer"],
    )
    def test_chunked_body_is_read(self, hub, channel, chunks, trailers):
        with RawConnection(hub.port) as connection:
            connection.send(encode_chunked(channel, chunks, trailers) + encode_request("GET", "/health/live"))
            assert connection.reply().status == 200
            assert connection.reply().json() == {"status": "alive"}

    def test_expect_continue_is_answered_before_the_body(self, hub, channel):
        with RawConnection(hub.port) as connection:
            head, body = encode_publish(channel, extra=b"Expect: 100-continue\r\n").split(b"\r\n\r\n")
            assert connection.send(head + b"\r\n\r\n").reply().status == 100
            assert connection.send(body).reply().status == 200

    def test_expect_continue_of_a_refused_request_gets_the_refusal(self, hub, channel):
        with RawConnection(hub.port) as connection:
            head = b"POST /publish/%s HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
            assert connection.send(head % channel.encode()).reply().status == 413

    def test_body_of_a_get_is_skipped(self, hub):
        with RawConnection(hub.port) as connection:
            connection.send(
                encode_request("GET", "/health/live", b"ignored"), encode_request("GET", "/health/live")
            )
            assert (connection.reply().status, connection.reply().status) == (200, 200)


class TestCurl:
    def curl(self, hub, *arguments: str) -> str:
        command = ["curl", "--silent", "--show-error", "--max-time", "10", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def test_curl_publishes_with_its_own_content_type(self, hub, channel):
        url = f"http://127.0.0.1:{hub.port}/publish"
        out = self.curl(hub, "-d", json.dumps({"channel": channel, "data": {"type": "hello"}}), url)
        assert json.loads(out)["event_type"] == "hello"

    def test_curl_sends_chunked_and_expect(self, hub, channel, tmp_path):
        file = tmp_path / "event"
        file.write_text(json.dumps({"fill": "a" * 200_000}))
        url = f"http://127.0.0.1:{hub.port}/publish/{channel}"
        out = self.curl(
            hub,
            "-H",
            "Transfer-Encoding: chunked",
            "-H",
            "Expect: 100-continue",
            "-T",
            str(file),
            "-X",
            "POST",
            url,
        )
        assert json.loads(out)["status"] == "published"

    def test_curl_reads_head_options_and_http_1_0(self, hub):
        url = f"http://127.0.0.1:{hub.port}/health"
        assert re.match(r"HTTP/1\.1 200", self.curl(hub, "--head", url))
        assert re.match(r"HTTP/1\.1 20[04]", self.curl(hub, "-i", "-X", "OPTIONS", url))
        assert json.loads(self.curl(hub, "--http1.0", url))["status"] == "healthy"

    def test_curl_keeps_its_connection(self, hub):
        url = f"http://127.0.0.1:{hub.port}/health/live"
        out = self.curl(hub, "--write-out", " %{num_connects}\n", url, url, url)
        assert [line.split()[-1] for line in out.splitlines()] == ["1", "0", "0"]


def test_closed_connections_leave_no_descriptors(hub):
    before = hub.descriptors()
    connections = [RawConnection(hub.port) for _ in range(50)]
    for connection in connections:
        connection.send(encode_request("GET", "/health/live")).reply()
        connection.socket.close()
    wait_until(lambda: hub.descriptors() <= before, what="descriptors of closed connections given back")
