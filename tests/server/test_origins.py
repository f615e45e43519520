"""Pages of other origins (contract 12, 17): who may read an answer, with or without cookies, and what a browser is told
when it shows one."""

import pytest

from support.frames import ScriptedPeer
from support.process import run_to_end

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
    def test_what_a_browser_may_show_is_neither_sniffed_nor_framed(self, hub, path):
        answer = hub.get(path)
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("x-frame-options") == "DENY"
        assert answer.header("referrer-policy") == "no-referrer"
        policy = answer.header("content-security-policy")
        assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
