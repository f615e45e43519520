"""Connection limits (contract 4, 14): who is too late is told and closed 1008; limits hold over all shards."""

import asyncio
import json

from websockets.exceptions import ConnectionClosed

from support.frames import ScriptedPeer


def answer_to(peer: ScriptedPeer, message: str) -> dict:
    return json.loads(peer.text(message).message().payload)


def refusal(peer: ScriptedPeer) -> tuple[dict, str]:
    told = json.loads(peer.message().payload)
    frame = peer.fails_with(1008)
    assert (told["type"], told["code"]) == ("error", "CONNECTION_LIMIT_EXCEEDED")
    assert told["message"]
    return told, frame.reason


def test_socket_over_the_global_limit_is_told_and_closed(start_courier):
    courier = start_courier({"max_total_connections": 5})
    held = [ScriptedPeer(courier.port, f"/ws/c{number}") for number in range(5)]
    told, reason = refusal(ScriptedPeer(courier.port, "/ws/late"))
    assert (told["limit_type"], reason) == ("global", "Connection limit exceeded")
    assert all(peer.text("ping").message().payload == b"pong" for peer in held)
    assert courier.get("/health").status == 200, "HTTP is served at the limit"
    assert courier.publish("c0", {"n": 1})["clients_reached"] == 1


def test_place_is_free_again_after_a_socket_left(start_courier):
    courier = start_courier({"max_total_connections": 2})
    first, _second = ScriptedPeer(courier.port, "/ws/a"), ScriptedPeer(courier.port, "/ws/a")
    refusal(ScriptedPeer(courier.port, "/ws/a"))
    first.leave()
    courier.await_clients(1)
    assert ScriptedPeer(courier.port, "/ws/a").text("ping").message().payload == b"pong"


async def test_limits_hold_exactly_over_shards(start_courier, clients):
    courier = start_courier({"max_total_connections": 40})
    sockets = await clients.many(courier.socket_url("/ws/a"), 120)
    results = await asyncio.gather(*(pinged_or_closed(socket) for socket in sockets))
    assert results.count("pong") == 40
    assert results.count((1008, "Connection limit exceeded")) == 80
    assert courier.publish("a", {"n": 1})["clients_reached"] == 40


async def pinged_or_closed(socket):
    try:
        await socket.send("ping")
    except ConnectionClosed:
        return await socket.closed()
    await socket.wait_for(lambda: "pong" in socket.messages or socket.code is not None)
    return "pong" if "pong" in socket.messages else (socket.code, socket.reason)


def test_socket_over_the_channel_limit_is_told_and_closed(start_courier):
    courier = start_courier({"max_clients_per_channel": 3})
    held = [ScriptedPeer(courier.port, "/ws/full") for _ in range(3)]
    told, reason = refusal(ScriptedPeer(courier.port, "/ws/full"))
    assert told["limit_type"] == "per_channel"
    assert reason in ("Connection limit exceeded", "Channel full")
    assert courier.publish("full", {"n": 1})["clients_reached"] == 3
    other = ScriptedPeer(courier.port, "/ws/other")
    assert other.text("ping").message().payload == b"pong"
    held[0].leave()
    courier.await_clients(3)
    assert ScriptedPeer(courier.port, "/ws/full").text("ping").message().payload == b"pong"


async def test_channel_limit_holds_exactly_over_shards(start_courier, clients):
    courier = start_courier({"max_clients_per_channel": 10})
    sockets = await clients.many(courier.socket_url("/ws/full"), 40)
    results = await asyncio.gather(*(pinged_or_closed(socket) for socket in sockets))
    assert results.count("pong") == 10
    assert courier.publish("full", {"n": 1})["clients_reached"] == 10


def test_subscribe_command_meets_the_channel_limit_too(start_courier):
    courier = start_courier({"max_clients_per_channel": 1})
    _held, peer = ScriptedPeer(courier.port, "/ws/full"), ScriptedPeer(courier.port, "/ws")
    told = answer_to(peer, '{"type":"subscribe","channel":"full"}')
    assert (told["code"], told["limit_type"]) == ("CONNECTION_LIMIT_EXCEEDED", "per_channel")


def test_channel_limit_by_pattern(start_courier):
    courier = start_courier(config='channel_options: [{match: "room.*", max_clients: 1}]\n')
    _held = [
        ScriptedPeer(courier.port, path) for path in ("/ws/room.a", "/ws/room.b", "/ws/free", "/ws/free")
    ]
    assert refusal(ScriptedPeer(courier.port, "/ws/room.a"))[0]["limit_type"] == "per_channel"


def test_socket_over_the_limit_of_its_address_is_told_and_closed(start_courier):
    courier = start_courier({"max_connections_per_address": 2})
    first, second = ScriptedPeer(courier.port, "/ws/a"), ScriptedPeer(courier.port, "/ws/b")
    told, reason = refusal(ScriptedPeer(courier.port, "/ws/c"))
    assert (told["limit_type"], reason) == ("per_address", "Connection limit exceeded")
    first.leave()
    courier.await_clients(1)
    assert ScriptedPeer(courier.port, "/ws/c").text("ping").message().payload == b"pong"
    assert second.text("ping").message().payload == b"pong"


class TestOrigins:
    """A page of another origin may open a socket only when it is listed (contract 12, 17)."""

    def origin_of(self, courier) -> str:
        return f"http://127.0.0.1:{courier.port}"

    def refused(self, courier, origin: str) -> bool:
        peer = ScriptedPeer(courier.port, "/ws/a", headers={"Origin": origin, "Host": f"127.0.0.1:{courier.port}"})
        peer.text("ping")
        frame = peer.next()
        if frame.opcode == 1:
            assert frame.payload == b"pong"
            return False
        assert (frame.code, frame.reason) == (1008, "Origin not allowed")
        return True

    def test_without_a_list_only_own_pages_may(self, start_courier):
        courier = start_courier()
        assert not self.refused(courier, self.origin_of(courier))
        for foreign in ("https://evil.example", "null", "http://127.0.0.1", self.origin_of(courier) + "0"):
            assert self.refused(courier, foreign), foreign
        assert courier.get("/stats").json()["active_clients"] <= 1

    def test_listed_origins_may_and_others_not(self, start_courier):
        courier = start_courier({"cors.allowed_origins": "https://app.example"})
        assert not self.refused(courier, "https://app.example")
        assert not self.refused(courier, self.origin_of(courier))
        assert self.refused(courier, "https://evil.example")
        answer = courier.get("/health", {"Origin": "https://app.example"})
        assert answer.header("access-control-allow-origin") == "https://app.example"
