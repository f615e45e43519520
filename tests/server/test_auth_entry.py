"""Who gets in where a token is required (contract 12): each place a token may be in, each way it may be wrong, each path."""

import json

import pytest

from support.frames import ScriptedPeer
from support.process import Courier, wait_until
from support.tokens import REQUIRED, SECRET, bearer, mint
from support.web import RawConnection

SOCKETS = ["/ws/global", "/ws", "/ws/events/global", "/api/v1/ws/events", "/", "/router"]


@pytest.fixture(scope="module")
def guarded():
    """One server of the module that asks for tokens."""
    courier = Courier(REQUIRED).start()
    yield courier
    courier.stop()


def reason(courier, path: str, headers: dict | None = None) -> str:
    """Why a socket is closed that is accepted and closed at once."""
    return ScriptedPeer(courier.port, path, headers=headers).fails_with(1008).reason


def lives(peer: ScriptedPeer) -> bool:
    """Whether the socket answers, whatever it speaks."""
    peer.frame(0x9, b"hello")
    while (frame := peer.next()).opcode == 0x1:
        pass
    return frame.opcode == 0xA and frame.payload == b"hello"


class TestPlaces:
    def test_in_the_query(self, guarded):
        assert lives(ScriptedPeer(guarded.port, f"/ws/global?token={mint()}"))

    def test_in_the_authorization_field(self, guarded):
        assert lives(ScriptedPeer(guarded.port, "/ws/global", headers=bearer(mint())))

    def test_in_the_subprotocol_which_is_selected(self, guarded):
        token = mint()
        peer = ScriptedPeer(guarded.port, "/ws/global", headers={"Sec-WebSocket-Protocol": f"bearer.{token}"})
        assert peer.handshake.header("sec-websocket-protocol") == f"bearer.{token}"
        assert lives(peer)
        both = {"Sec-WebSocket-Protocol": f"courier.v1, bearer.{token}"}
        peer = ScriptedPeer(guarded.port, "/ws", headers=both)
        assert peer.handshake.header("sec-websocket-protocol") == "courier.v1"
        assert json.loads(peer.message().payload)["expires_at"].endswith("Z")

    def test_a_cookie_of_an_own_page(self, guarded):
        cookie = {"Cookie": f"theme=dark; courier_token={mint()}"}
        assert lives(ScriptedPeer(guarded.port, "/ws/global", headers=cookie))
        own = cookie | {"Origin": f"http://127.0.0.1:{guarded.port}", "Host": f"127.0.0.1:{guarded.port}"}
        assert lives(ScriptedPeer(guarded.port, "/ws/global", headers=own))

    def test_a_cookie_with_the_name_of_the_settings(self, start_courier):
        courier = start_courier(REQUIRED | {"auth.cookie": "session"})
        assert reason(courier, "/ws/global", {"Cookie": f"courier_token={mint()}"}) == "Authentication token required"
        assert lives(ScriptedPeer(courier.port, "/ws/global", headers={"Cookie": f"session={mint()}"}))

    def test_cookies_of_pages_that_only_a_star_allows_do_not_count(self, start_courier):
        courier = start_courier(REQUIRED | {"cors.allowed_origins": "*,https://app.example"})
        cookie = {"Cookie": f"courier_token={mint()}"}
        evil = cookie | {"Origin": "https://evil.example"}
        assert reason(courier, "/ws/global", evil) == "Authentication token required"
        assert courier.post("/publish/global", b'{"n":1}', evil).status == 401
        assert courier.get("/stats", evil).status == 401
        listed = cookie | {"Origin": "https://app.example"}
        assert lives(ScriptedPeer(courier.port, "/ws/global", headers=listed))

    def test_different_tokens_in_two_places_are_refused(self, guarded):
        path = f"/ws/global?token={mint()}"
        assert reason(guarded, path, bearer(mint())) == "Invalid token"
        answer = guarded.get(f"/stats?token={mint()}", bearer(mint()))
        assert (answer.status, answer.json()["detail"]["error"]) == (401, "Invalid token")
        assert "different tokens" in answer.json()["detail"]["message"]
        same = mint()
        assert lives(ScriptedPeer(guarded.port, f"/ws/global?token={same}", headers=bearer(same)))

    def test_different_tokens_in_one_place_are_refused_too(self, guarded):
        """Below one domain a neighbour can put a cookie of that name before the browser's own (cookie tossing): the first one
        won, and the page was somebody else without knowing."""
        one, other = mint("alice"), mint("mallory")
        for path, headers in [
            ("/stats", {"Cookie": f"courier_token={other}; courier_token={one}"}),
            ("/stats", {"Cookie": f"courier_token={other}", "cookie": f"courier_token={one}"}),
            (f"/stats?token={other}&token={one}", {}),
            ("/stats", {"X-API-Key": "courier_a", "x-api-key": "courier_b"}),
        ]:
            answer = guarded.get(path, headers)
            assert (answer.status, answer.json()["detail"]["error"]) == (401, "Invalid token"), (path, headers)
            assert "different tokens" in answer.json()["detail"]["message"]
        offers = {"Sec-WebSocket-Protocol": f"bearer.{other}, bearer.{one}"}
        assert reason(guarded, "/ws/global", offers) == "Invalid token"
        twice = {"Cookie": f"courier_token={one}; lang=\xe9; courier_token={one}"}
        assert guarded.get("/stats", twice).status == 200, "other cookies may be in any encoding"


class TestSockets:
    @pytest.mark.parametrize("path", SOCKETS)
    def test_each_is_accepted_and_closed_with_the_reason(self, guarded, path):
        assert reason(guarded, path) == "Authentication token required"
        assert reason(guarded, path, bearer("nonsense")) == "Invalid token"
        assert reason(guarded, path, bearer(mint(secret=SECRET + "x"))) == "Invalid token"
        assert reason(guarded, path, bearer(mint(ends_in=-60))) == "Token expired"

    @pytest.mark.parametrize("claim", ["user_id", "wallet_address", "iat", "exp"])
    def test_claims_that_are_missing_are_refused(self, guarded, claim):
        token = mint(**{"user_id": "alice"} | {claim: None})
        assert reason(guarded, f"/ws/global?token={token}") == "Invalid token"
        assert guarded.get("/stats", bearer(token)).status == 401

    @pytest.mark.parametrize("path", SOCKETS)
    def test_each_opens_with_a_token(self, guarded, path):
        assert lives(ScriptedPeer(guarded.port, path, headers=bearer(mint())))

    @pytest.mark.parametrize("channel", ["user.bob", "user.bob.orders", "user.ALICE", "user.%62ob", "other", "user", "user.alice2"])
    def test_another_channel_is_refused_with_the_reason(self, guarded, channel):
        for path in (f"/ws/{channel}", f"/ws/events/{channel}"):
            assert reason(guarded, path, bearer(mint())) == "Unauthorized access to channel"

    @pytest.mark.parametrize("channel", ["global", "user.alice", "user.alice.orders", "user.%61lice", "dashboard.alice", "strategy.7", "forge.job.7"])
    def test_channels_of_the_table_open(self, guarded, channel):
        assert lives(ScriptedPeer(guarded.port, f"/ws/{channel}", headers=bearer(mint())))

    @pytest.mark.parametrize("user", ["a.b", "a.", ".", "*", "**", "a.*", "a/b", "ä", "x" * 101])
    def test_an_id_that_is_not_one_segment_has_no_channels_by_the_rules(self, guarded, user):
        """`user.{user_id}.**` of user `a` covers `user.a.b`, so `a.b` must not be bound to the same channels, nor may a
        star widen anything: such a token is good for all that does not depend on the id, and for its own list."""
        token = mint(user, channels=["mine.*"])
        for channel in ("user.a.b", "user.a.b.orders", "user.a", "user.bob", "dashboard.a.b", "dashboard.a", "user.x"):
            assert reason(guarded, f"/ws/{channel}", bearer(token)) == "Unauthorized access to channel", channel
        for channel in ("global", "strategy.7", "mine.1"):
            assert lives(ScriptedPeer(guarded.port, f"/ws/{channel}", headers=bearer(token))), channel

    def test_nobody_who_was_refused_is_counted_or_heard(self, guarded):
        before = guarded.stats()
        peer = ScriptedPeer(guarded.port, "/ws", headers={"Sec-WebSocket-Protocol": "courier.v1"})
        assert peer.fails_with(1008).reason == "Authentication token required"
        after = guarded.stats()
        assert after["total_connections"] == before["total_connections"]
        assert sum(shard["auth_missing"] for shard in after["shards"]) > sum(shard["auth_missing"] for shard in before["shards"])


class TestRejectByStatus:
    def test_sockets_are_answered_401_and_403(self, start_courier):
        courier = start_courier(REQUIRED | {"auth.reject": "http"})
        for path, headers, status, error in [
            ("/ws/global", {}, 401, "Authentication token required"),
            ("/ws/global", bearer("x.y.z"), 401, "Invalid token"),
            ("/ws/global", bearer(mint(ends_in=-60)), 401, "Token expired"),
            ("/ws/user.bob", bearer(mint()), 403, "Unauthorized access to channel"),
            ("/ws/global", bearer(mint()) | {"Origin": "https://evil.example"}, 403, "Origin not allowed"),
        ]:
            upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
            answer = courier.get(path, upgrade | headers)
            assert (answer.status, answer.json()["detail"]["error"]) == (status, error)
            if status == 401:
                assert answer.header("www-authenticate").startswith("Bearer")
        assert lives(ScriptedPeer(courier.port, "/ws/global", headers=bearer(mint())))


class TestRequests:
    @pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/health", "/openapi.json", "/asyncapi.json"])
    def test_open_to_probes_and_readers(self, guarded, path):
        assert guarded.get(path).status == 200

    @pytest.mark.parametrize("path", ["/stats", "/channels", "/history/global", "/sse/global", "/sse?channel=global"])
    def test_a_token_is_needed_and_said_so(self, guarded, path):
        answer = guarded.get(path)
        assert (answer.status, answer.json()["detail"]["error"]) == (401, "Authentication token required")
        assert answer.header("www-authenticate") == 'Bearer realm="courier"'
        answer = guarded.get(path, bearer(mint(ends_in=-60)))
        assert (answer.status, answer.json()["detail"]["error"]) == (401, "Token expired")
        assert 'error="invalid_token"' in answer.header("www-authenticate")
        assert guarded.get(path, bearer("é".encode().decode("latin-1"))).status == 401

    @pytest.mark.parametrize("path", ["/history/user.bob", "/sse/user.bob", "/sse?channel=global&channel=user.bob"])
    def test_another_users_channel_is_403(self, guarded, path):
        answer = guarded.get(path, bearer(mint()))
        assert (answer.status, answer.json()["detail"]["error"]) == (403, "Unauthorized access to channel")
        problem = guarded.get(path, bearer(mint()) | {"Accept": "application/problem+json"})
        assert problem.json()["title"] == "Unauthorized access to channel"

    def test_a_stream_runs_with_a_token_in_the_query(self, guarded):
        with RawConnection(guarded.port) as stream:
            stream.send(f"GET /sse/user.alice?token={mint()} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert stream.socket.recv(4096).startswith(b"HTTP/1.1 200")

    def test_nobody_learns_the_name_of_a_channel_that_is_not_theirs(self, guarded):
        alice, bob = mint("alice"), mint("bob")
        peers = [
            ScriptedPeer(guarded.port, "/ws/user.alice.x", headers=bearer(alice)),
            ScriptedPeer(guarded.port, "/ws/user.bob.y", headers=bearer(bob)),
        ]
        assert all(lives(peer) for peer in peers)
        for path in ("/channels", "/stats", "/health"):
            seen = guarded.get(path, bearer(alice)).json()["channels"]
            assert "user.alice.x" in seen and not any(name.startswith("user.bob") for name in seen), path
        assert guarded.get("/health").json()["channels"] == {}


def test_strategies_of_others_are_refused_where_a_rule_says_whose_they_are(start_courier):
    rules = 'auth:\n  rules: [{match: "strategy.{user_id}.**", subscribe: true}]\n'
    courier = start_courier(REQUIRED, config=rules)
    assert lives(ScriptedPeer(courier.port, "/ws/strategy.alice.s1", headers=bearer(mint("alice"))))
    for channel in ("strategy.bob.s1", "strategy.s1", "global"):
        assert reason(courier, f"/ws/{channel}", bearer(mint("alice"))) == "Unauthorized access to channel"


def test_off_takes_no_notice_of_tokens(start_courier):
    courier = start_courier()
    assert lives(ScriptedPeer(courier.port, "/ws/user.bob", headers=bearer("nonsense")))
    assert courier.get("/stats?token=x", bearer("y")).status == 200
    offered = {"Sec-WebSocket-Protocol": "bearer.abc"}
    assert ScriptedPeer(courier.port, "/ws/a", headers=offered).handshake.header("sec-websocket-protocol") == "bearer.abc"


def test_logs_name_the_user_and_keep_the_token(start_courier):
    courier = start_courier(REQUIRED | {"log_level": "trace"})
    tokens = [mint("carol"), mint("mallory", secret=SECRET + "x")]
    assert lives(ScriptedPeer(courier.port, f"/ws/user.carol?token={tokens[0]}"))
    assert reason(courier, f"/ws/global?token={tokens[1]}") == "Invalid token"
    assert courier.get("/stats", bearer(tokens[1])).status == 401
    wait_until(lambda: "carol" in courier.stderr(), what="the log says who has come")
    said = courier.stderr()
    assert any("carol" in line and "connected" in line for line in said.splitlines()), said
    for secret in (SECRET, *tokens, *(token.split(".")[1] for token in tokens), *(token.split(".")[2] for token in tokens)):
        assert secret not in said
