"""What somebody may do who is in (contract 12): publish, patterns, the end of a token, renewal, revocation, changed rules."""

import json
import signal
import time

import pytest

from support.frames import ScriptedPeer
from support.process import Courier
from support.tokens import REQUIRED, api_keys, bearer, mint
from support.web import RawConnection

V1 = {"Sec-WebSocket-Protocol": "courier.v1"}
ALL = {"channels": ["**"], "publish": ["**"]}


@pytest.fixture(scope="module")
def guarded():
    courier = Courier(REQUIRED).start()
    yield courier
    courier.stop()


class Peer(ScriptedPeer):
    """A socket of dialect courier.v1 that has been welcomed."""

    def __init__(self, courier, token: str, path: str = "/ws"):
        super().__init__(courier.port, path, headers=V1 | bearer(token))
        self.welcome = self.said("welcome")

    def said(self, kind: str) -> dict:
        """The next message of a kind; heartbeats and others before it are passed over."""
        while (message := json.loads(self.message().payload))["type"] != kind:
            pass
        return message

    def ask(self, kind: str, answer: str, **fields) -> dict:
        self.text(json.dumps({"type": kind, "ref": 1} | fields))
        return self.said(answer)


def publish(courier, channel: str, token: str | None = None, **event) -> dict:
    answer = courier.post(f"/publish/{channel}", json.dumps({"n": 1} | event).encode(), bearer(token or mint("root", **ALL)))
    assert answer.status == 200, answer.body
    return answer.json()


class TestPublishing:
    def test_a_token_without_publish_is_403_and_one_without_anything_401(self, guarded):
        assert guarded.post("/publish/global", b'{"n":1}').status == 401
        answer = guarded.post("/publish/global", b'{"n":1}', bearer(mint()))
        assert (answer.status, answer.json()["detail"]["error"]) == (403, "Publishing not allowed")

    def test_the_tokens_own_list_decides_also_item_by_item(self, guarded):
        token = mint(publish=["news.*"])
        assert publish(guarded, "news.a", token)["status"] == "published"
        body = [{"channel": name, "data": {"n": 1}} for name in ("news.a", "global", "news.b")]
        answer = guarded.post("/publish/batch", json.dumps(body).encode(), bearer(token)).json()
        items = answer["results"] if isinstance(answer, dict) else answer
        assert ["published" == item.get("status") for item in items] == [True, False, True], answer

    def test_on_a_socket_too(self, guarded):
        peer = Peer(guarded, mint(publish=["news.*"]))
        assert peer.ask("publish", "published", channel="news.a", data={"n": 1})["channel"] == "news.a"
        assert peer.ask("publish", "error", channel="global", data={"n": 1})["code"] == "FORBIDDEN"

    def test_api_keys_publish_as_their_service_only(self, start_courier, tmp_path):
        keys, text = api_keys(prophet=["strategy.**"])
        (tmp_path / "keys.json").write_text(text)
        courier = start_courier(REQUIRED | {"auth.api_keys_file": tmp_path / "keys.json"})
        for headers in ({"X-API-Key": keys["prophet"]}, bearer(keys["prophet"])):
            assert courier.post("/publish/strategy.1", b'{"n":1}', headers).status == 200
            assert courier.post("/publish/global", b'{"n":1}', headers).status == 403
            named = headers | {"X-Service-Name": "prophet"}
            assert courier.post("/publish/strategy.1", b'{"n":1}', named).status == 200
            answer = courier.post("/publish/strategy.1", b'{"n":1}', headers | {"X-Service-Name": "forge"})
            assert (answer.status, answer.json()["detail"]["error"]) == (403, "Service name mismatch")
        assert courier.post("/publish/strategy.1", b'{"n":1}', {"X-API-Key": keys["prophet"] + "x"}).status == 401

    def test_what_is_no_channel_is_said_only_to_who_may_ask(self, start_courier, tmp_path):
        keys, text = api_keys(prophet=["strategy.**"])
        (tmp_path / "keys.json").write_text(text)
        courier = start_courier(REQUIRED | {"auth.api_keys_file": tmp_path / "keys.json"})
        key, nowhere = {"X-API-Key": keys["prophet"]}, "/publish/no%20channel"
        assert courier.post(nowhere, b'{"n":1}').status == 401
        assert courier.post(nowhere, b'{"n":1}', {"X-API-Key": keys["prophet"] + "x"}).status == 401
        answer = courier.post(nowhere, b'{"n":1}', key | {"X-Service-Name": "forge"})
        assert (answer.status, answer.json()["detail"]["error"]) == (403, "Service name mismatch")
        assert courier.post(nowhere, b'{"n":1}', key).status == 400


class TestPatterns:
    def test_what_a_pattern_covers_and_a_token_does_not_never_comes(self, guarded):
        peer = Peer(guarded, mint("alice"))
        assert peer.ask("subscribe", "subscribed", pattern="**")["channel"] == "**"
        for channel in ("user.bob", "user.bob.x", "secret", "user.alice", "private.alice", "user.alice.y"):
            publish(guarded, channel, of=channel)
        assert [peer.said("event")["channel"] for _ in range(2)] == ["user.alice", "user.alice.y"]

    def test_a_pattern_of_which_nothing_may_be_heard_is_refused(self, guarded):
        peer = Peer(guarded, mint("alice"))
        assert peer.ask("subscribe", "error", pattern="user.bob.*")["code"] == "FORBIDDEN"
        assert peer.ask("subscribe", "error", channel="user.bob")["code"] == "FORBIDDEN"
        assert peer.ask("history", "error", channel="user.bob")["code"] == "FORBIDDEN"
        assert peer.ask("presence", "error", channel="user.bob")["code"] == "FORBIDDEN"

    def test_freqsearch_and_router_hear_what_is_theirs(self, guarded):
        token = mint("alice")
        everything = ScriptedPeer(guarded.port, "/api/v1/ws/events", headers=bearer(token))
        router = ScriptedPeer(guarded.port, "/router", headers=bearer(token))
        router.message()
        router.text(json.dumps({"type": "subscribe", "subscription": {"topics": ["*"]}}))
        router.message()
        guarded.await_clients(guarded.stats()["active_clients"])
        for channel in ("user.bob.z", "user.alice.z"):
            publish(guarded, channel, type="t", mark=channel)
        for peer in (everything, router):
            assert b"user.alice.z" in (first := peer.message().payload) and b"user.bob" not in first


class TestExpiry:
    @pytest.mark.parametrize("path", ["/ws/global", "/ws/events/global", "/api/v1/ws/events", "/router"])
    def test_a_token_that_ends_closes_its_socket_within_a_second(self, guarded, path):
        peer = ScriptedPeer(guarded.port, path, headers=bearer(mint(ends_in=2)))
        ends = int(time.time() + 2)
        while (frame := peer.next()).opcode == 0x1:
            pass
        assert (frame.code, frame.reason) == (1008, "Token expired")
        assert -2 < time.time() - ends < 1.5

    def test_the_client_is_told_before_and_renews_in_place(self, guarded):
        peer = Peer(guarded, mint("alice", ends_in=4))
        assert peer.welcome["expires_at"].endswith("Z")
        assert 0 < peer.said("expiring")["in_seconds"] <= 3
        renewed = peer.ask("auth", "authenticated", token=mint("alice", ends_in=600))
        assert renewed["ref"] == 1 and renewed["expires_at"] > peer.welcome["expires_at"]
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert peer.ask("ping", "pong")["ref"] == 1
            time.sleep(0.2)

    def test_a_token_that_does_not_fit_changes_nothing(self, guarded):
        peer = Peer(guarded, mint("alice"))
        assert "another user" in peer.ask("auth", "error", token=mint("bob"))["message"]
        assert peer.ask("auth", "error", token="x.y.z")["message"] == "Invalid token"
        assert peer.ask("auth", "error", token=mint("alice", ends_in=-60))["message"] == "Token expired"
        assert peer.ask("subscribe", "subscribed", channel="user.alice")["channel"] == "user.alice"

    def test_a_narrower_token_ends_what_it_does_not_cover(self, guarded):
        peer = Peer(guarded, mint("alice", channels=["news.*"]))
        for target in ({"channel": "news.a"}, {"channel": "user.alice"}, {"pattern": "news.*"}, {"pattern": "**"}):
            peer.ask("subscribe", "subscribed", id=str(target), **target)
        peer.text(json.dumps({"type": "auth", "ref": 2, "token": mint("alice")}))
        assert [peer.said("unsubscribed")["channel"] for _ in range(2)] == ["news.a", "news.*"]
        assert peer.said("authenticated")["ref"] == 2
        publish(guarded, "news.a")
        publish(guarded, "user.alice")
        assert peer.said("event")["channel"] == "user.alice"

    def test_a_stream_ends_too(self, guarded):
        ends = int(time.time() + 2)
        with RawConnection(guarded.port) as stream:
            stream.send(f"GET /sse/global?token={mint(ends_in=2)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert stream.drain().startswith(b"HTTP/1.1 200")
        assert -2 < time.time() - ends < 1.5


class TestReload:
    def test_revoked_and_narrowed_while_connected(self, start_courier, tmp_path):
        revoked = tmp_path / "revoked.txt"
        revoked.write_text("")
        courier = start_courier(REQUIRED | {"auth.revoked_file": revoked, "shards": 2})
        peers = [ScriptedPeer(courier.port, "/ws/global", headers=bearer(mint("mallory"))) for _ in range(8)]
        others = [ScriptedPeer(courier.port, "/ws/global", headers=bearer(mint("alice"))) for _ in range(8)]
        courier.await_clients(16)
        revoked.write_text("user mallory\n")
        at = time.monotonic()
        courier.signal(signal.SIGHUP)
        assert {peer.fails_with(1008).reason for peer in peers} == {"Invalid token"}
        assert time.monotonic() - at < 2
        assert all(peer.text("ping").message().payload == b"pong" for peer in others)
