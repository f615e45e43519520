"""Limits of a user, known by a token (contract 14): connections, messages and publishes count for the user wherever they
come from, over all shards."""

import asyncio
import json

from websockets.exceptions import ConnectionClosed

from support.frames import ScriptedPeer
from support.process import wait_until
from support.speakers import Speaker
from support.tokens import REQUIRED, bearer, mint

EVENT = {"n": 1}


def opened(courier, user: str, path: str = "/ws/global") -> ScriptedPeer:
    return ScriptedPeer(courier.port, path, headers=bearer(mint(user)))


def lives(peer: ScriptedPeer) -> bool:
    return peer.text("ping").message().payload == b"pong"


def counted(courier, name: str) -> int:
    stats = courier.get("/stats", bearer(mint())).json()
    return sum(shard[name] for shard in stats["shards"])


def test_connection_too_many_of_a_user_is_told_and_closed(start_courier):
    courier = start_courier(REQUIRED | {"max_connections_per_user": 3})
    held = [opened(courier, "alice", path) for path in ("/ws/global", "/ws", "/ws/events/global")]
    late = opened(courier, "alice")
    told = json.loads(late.message().payload)
    assert (told["code"], told["limit_type"]) == ("CONNECTION_LIMIT_EXCEEDED", "per_user")
    assert told["message"] == "User connection limit reached: 3"
    assert late.fails_with(1008).reason == "Connection limit exceeded"
    stream = courier.get("/sse/global", bearer(mint("alice")))
    assert stream.status == 503, "a stream is a connection too"
    assert lives(opened(courier, "bob")), "each user has a count"
    assert counted(courier, "refused_per_user") == 2
    held[0].leave()
    wait_until(lambda: takes_another(courier), what="a place comes free")


def takes_another(courier) -> bool:
    return opened(courier, "alice").text("ping").message().payload == b"pong"


async def test_limit_of_a_user_holds_exactly_over_shards(start_courier, clients):
    courier = start_courier(REQUIRED | {"max_connections_per_user": 10})
    token = mint("alice")
    sockets = await clients.many(courier.socket_url(f"/ws/global?token={token}"), 40)
    results = await asyncio.gather(*(pinged_or_closed(socket) for socket in sockets))
    assert (results.count("pong"), results.count("Connection limit exceeded")) == (10, 30)


async def pinged_or_closed(socket) -> str:
    try:
        await socket.send("ping")
    except ConnectionClosed:
        return (await socket.closed())[1]
    await socket.wait_for(lambda: "pong" in socket.messages or socket.code is not None)
    return "pong" if "pong" in socket.messages else socket.reason


def test_messages_of_a_user_count_on_all_sockets(start_courier):
    courier = start_courier(REQUIRED | {"rate_limit.messages.limit": 4})
    alice = [Speaker(courier.port, "/ws/global", headers=bearer(mint("alice"))) for _ in range(2)]
    bob = Speaker(courier.port, "/ws/global", headers=bearer(mint("bob")))
    answers = [alice[number % 2].ask(EVENT)["type"] for number in range(6)]
    assert answers == ["ack"] * 4 + ["error"] * 2
    assert bob.ask(EVENT)["type"] == "ack"


def test_publishes_of_a_user_count_whatever_service_is_named(start_courier):
    courier = start_courier(REQUIRED | {"rate_limit.publish.limit": 4})
    token = mint("alice", publish=["global"])

    def publish(service: str):
        return courier.post("/publish/global", EVENT, bearer(token) | {"X-Service-Name": service})

    statuses = [publish(f"name {number}").status for number in range(5)]
    assert statuses == [200] * 4 + [429]
    assert "alice" in publish("x").detail["message"]
    other = mint("bob", publish=["global"])
    assert courier.post("/publish/global", EVENT, bearer(other)).status == 200


def test_publishes_on_a_socket_count_for_the_user_of_the_socket(start_courier):
    """They counted for whoever had asked last on the same shard: who opened a socket published there without end, and used
    up what others had."""
    courier = start_courier(REQUIRED | {"rate_limit.publish.limit": 2, "shards": 1})
    alice, bob = (mint(name, publish=["global"]) for name in ("alice", "bob"))
    v1 = {"Sec-WebSocket-Protocol": "courier.v1"}
    sockets = [
        (ScriptedPeer(courier.port, "/ws", headers=v1 | bearer(alice)), {"type": "publish", "channel": "global", "data": {"n": 1}}),
        (ScriptedPeer(courier.port, "/router", headers=bearer(alice)), {"type": "publish", "event": {"topic": "global"}}),
    ]
    answers = []
    for peer, publish in sockets:
        peer.message()
        for _ in range(2):
            courier.get("/stats", bearer(bob))
            answers.append(json.loads(peer.text(json.dumps(publish)).message().payload))
    assert [answer["type"] for answer in answers] == ["published", "published", "error", "error"], answers
    assert all("alice" in answer.get("message", answer.get("error")) for answer in answers[2:])
    assert courier.post("/publish/global", EVENT, bearer(alice)).status == 429
    assert [courier.post("/publish/global", EVENT, bearer(bob)).status for _ in range(3)] == [200, 200, 429]
