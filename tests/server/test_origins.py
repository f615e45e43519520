"""Pages of other origins (contract 12, 17): who may read an answer, with or without cookies, and what a browser is told
when it shows one."""

import signal

import pytest

from support.frames import ScriptedPeer
from support.process import run_to_end, wait_until
from support.tokens import REQUIRED, bearer, mint
from support.web import RawConnection

WILD = {"cors.allowed_origins": "https://*.example.com"}


def allowed(courier, origin: str, path: str = "/health"):
    answer = courier.get(path, {"Origin": origin})
    return answer.header("access-control-allow-origin"), answer.header("access-control-allow-credentials")


class TestWildcards:
    @pytest.mark.parametrize("origin", ["https://a.example.com", "https://a.b.example.com", "https://A.Example.com"])
    def test_pages_below_the_domain_may_read(self, start_courier, origin):
        assert allowed(start_courier(WILD), origin) == (origin, "true")

    def test_pages_that_only_look_like_it_may_not(self, start_courier):
        courier = start_courier(WILD)
        for origin in (
            "https://example.com",
            "http://a.example.com",
            "https://a.example.com:8443",
            "https://evilexample.com",
            "https://a.example.com.evil.test",
            "https://evil.test/.example.com",
            "null",
        ):
            assert allowed(courier, origin) == (None, None), origin
            peer = ScriptedPeer(courier.port, "/ws/a", headers={"Origin": origin})
            assert peer.fails_with(1008).reason == "Origin not allowed", origin

    def test_a_star_in_the_middle_is_a_mistake(self):
        ended = run_to_end("check-config", settings={"cors.allowed_origins": "https://a.*.example"})
        assert ended.returncode != 0 and "allowed_origins" in ended.stderr


class TestAnybody:
    def test_a_star_lets_everybody_read_without_cookies(self, start_courier):
        courier = start_courier({"cors.allowed_origins": "*"})
        assert allowed(courier, "https://evil.example") == ("*", None)
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        answer = courier.request("OPTIONS", "/publish/a", headers=preflight)
        assert answer.header("access-control-allow-credentials") is None


class TestPages:
    @pytest.mark.parametrize("path", ["/health", "/stats", "/history/a", "/nothing/here", "/openapi.json"])
    def test_what_a_browser_may_show_is_neither_sniffed_nor_framed_nor_kept(self, hub, path):
        """What a page says depends on who asks by a cookie or a token in the address, of which a cache knows nothing."""
        answer = hub.get(path)
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("referrer-policy") == "no-referrer"
        policy = answer.header("content-security-policy")
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy


class TestRebinding:
    """A page whose name its owner lets point at this machine (DNS rebinding) asks a server on loopback as if it were that
    server's own: its Origin and its Host are the same."""

    EVIL = {"Host": "evil.example:8766", "Origin": "http://evil.example:8766"}

    def opens(self, courier, headers: dict) -> bool:
        peer = ScriptedPeer(courier.port, "/ws/a", headers=headers)
        if (frame := peer.text("ping").next()).opcode == 1:
            return True
        assert (frame.code, frame.reason) == (1008, "Origin not allowed")
        return False

    def test_such_a_page_opens_nothing_and_publishes_nothing(self, hub):
        before = sum(shard["origins_refused"] for shard in hub.stats()["shards"])
        assert not self.opens(hub, self.EVIL)
        for method, path in [
            ("GET", "/sse/a"), ("POST", "/publish/a"), ("POST", "/publish"), ("POST", "/publish/batch"),
            ("POST", "/dead-letters/retry"), ("DELETE", "/dead-letters?all=true"),
        ]:  # fmt: skip
            answer = send(hub, method, path, self.EVIL)
            assert (answer.status, answer.detail["error"]) == (403, "Origin not allowed"), path
        assert sum(shard["origins_refused"] for shard in hub.stats()["shards"]) == before + 7

    def test_no_foreign_page_publishes_where_nobody_is_asked_who_they_are(self, hub):
        for origin in ("https://evil.example", "null", "http://localhost:1"):
            assert send(hub, "POST", "/publish/a", {"Origin": origin}).status == 403, origin

    @pytest.mark.parametrize("host", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "hub.localhost:{}", "10.0.0.7:{}"])
    def test_names_and_addresses_that_no_stranger_has_are_the_servers_own(self, hub, host):
        host = host.format(hub.port)
        own = {"Host": host, "Origin": f"http://{host}"}
        assert self.opens(hub, own) and send(hub, "POST", "/publish/a", own).status == 200

    @pytest.mark.parametrize("host", ["courier", "hub.example.com:8766", "evil.example"])
    def test_who_is_no_page_may_call_the_server_what_it_likes(self, hub, host):
        assert self.opens(hub, {"Host": host})
        assert send(hub, "POST", "/publish/a", {"Host": host}).status == 200
        assert send(hub, "GET", "/history/a", {"Host": host}).status == 200

    def test_pages_behind_a_proxy_come_in_once_they_are_listed(self, start_courier):
        own = {"Host": "hub.example.com", "Origin": "https://hub.example.com"}
        courier = start_courier()
        assert not self.opens(courier, own)
        courier = start_courier({"cors.allowed_origins": "https://hub.example.com"})
        assert self.opens(courier, own) and send(courier, "POST", "/publish/a", own).status == 200
        assert not self.opens(courier, self.EVIL)

    def test_where_a_token_is_asked_for_the_name_does_not_matter(self, start_courier):
        courier = start_courier(REQUIRED)
        own = self.EVIL | bearer(mint("root", channels=["a"], publish=["a"]))
        assert self.opens(courier, own) and send(courier, "POST", "/publish/a", own).status == 200

    def test_a_reload_that_begins_or_ends_asking_changes_it(self, start_courier):
        courier = start_courier(config="auth: off\n")
        assert not self.opens(courier, self.EVIL)
        courier.config_path.write_text("auth: insecure\n")
        courier.signal(signal.SIGHUP)
        wait_until(lambda: self.opens(courier, self.EVIL))


def send(courier, method: str, path: str, headers: dict):
    """A request with a Host of the test's own."""
    fields = "".join(f"{name}: {value}\r\n" for name, value in ({"Host": "test"} | headers).items())
    body = b'{"n":1}' if method == "POST" else b""
    with RawConnection(courier.port) as connection:
        connection.send(f"{method} {path} HTTP/1.1\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode(), body)
        return connection.reply(method)
