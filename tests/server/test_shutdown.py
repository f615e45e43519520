"""Stopping (contract 19): no acknowledged publish is lost, sockets are told why, the exit code is 0."""

import asyncio
import json
import signal
import time

import pytest
from websockets.exceptions import InvalidStatus

from support.frames import CLOSE, PeerClosed, ScriptedPeer
from support.process import wait_until
from support.web import Publisher, RawConnection, encode_request

REASON = "Server shutting down for maintenance"
GRACE_SECONDS = 2
SLACK_SECONDS = 3  # beyond the grace: flushing, joining threads, a busy machine


def is_draining(connection: RawConnection) -> bool:
    return connection.send(encode_request("GET", "/health/ready")).reply().status == 503


async def publish_until_refused(port: int, channels: list[str], number: int, acknowledged: dict) -> int:
    """Publishes round robin, recording what is acknowledged, and answers the status of the refusal."""
    publisher = await Publisher.open(port)
    for n in range(1_000_000):
        channel = channels[n % len(channels)]
        body = json.dumps({"publisher": number, "n": n}).encode()
        try:
            answer = await publisher.send("POST", f"/publish/{channel}", body)
        except OSError:
            return 0
        if answer.status != 200:
            return answer.status
        acknowledged[channel].append((number, n))
    raise AssertionError("never refused")


@pytest.mark.serial
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_stop_under_load_loses_no_acknowledged_event(start_courier, clients, number):
    courier = start_courier({"shutdown.grace": GRACE_SECONDS})
    channels = [f"load.{n}" for n in range(8)]
    sockets = await clients.many(lambda n: courier.socket_url(f"/ws/{channels[n % 8]}"), 80)
    acknowledged = {channel: [] for channel in channels}
    publishing = [
        asyncio.create_task(publish_until_refused(courier.port, channels, n, acknowledged)) for n in range(6)
    ]
    await sockets[0].until(40)
    courier.signal(number)
    started = time.monotonic()
    closes = await asyncio.gather(*(socket.closed() for socket in sockets))
    refusals = await asyncio.gather(*publishing)
    assert await asyncio.to_thread(courier.wait_exit, GRACE_SECONDS + SLACK_SECONDS) == 0
    assert time.monotonic() - started < GRACE_SECONDS + SLACK_SECONDS
    assert set(closes) == {(1001, REASON)}
    assert set(refusals) <= {0, 503}
    for n, socket in enumerate(sockets):
        received = [(event["publisher"], event["n"]) for event in socket.events()]
        assert len(received) == len(set(received)), "none came twice"
        missing = set(acknowledged[channels[n % 8]]) - set(received)
        assert not missing, f"acknowledged but not delivered: {sorted(missing)[:5]}"


async def test_shutdown_message_comes_before_the_close(start_courier, clients):
    courier = start_courier()
    sockets = await clients.many(courier.socket_url("/ws/a"), 5)
    courier.signal(signal.SIGTERM)
    for socket in sockets:
        assert await socket.closed() == (1001, REASON)
        told = json.loads(socket.messages[-1])
        assert (told["type"], told["code"]) == ("shutdown", 1001)
        assert told["message"]


async def test_node_and_chromium_read_code_and_reason(start_courier, clients):
    courier = start_courier()
    node = await clients.node()
    chromium = await clients.chromium(f"http://127.0.0.1:{courier.port}/health")
    sockets = [await driver.open(courier.socket_url("/ws/a")) for driver in (node, chromium)]
    courier.signal(signal.SIGTERM)
    for socket in sockets:
        assert await socket.closed() == (1001, REASON)


async def test_reason_is_a_setting(start_courier, clients):
    courier = start_courier({"shutdown.reason": "Moving house"})
    socket = await clients.python(courier.socket_url("/ws/a"))
    courier.signal(signal.SIGTERM)
    assert await socket.closed() == (1001, "Moving house")


async def test_draining_server_is_not_ready_and_refuses_sockets_and_publishes(start_courier, clients):
    courier = start_courier({"shutdown.grace": 5})
    sockets = await clients.many(courier.socket_url("/ws/a"), 40)
    with RawConnection(courier.port) as connection:
        assert not is_draining(connection)
        courier.signal(signal.SIGTERM)
        wait_until(lambda: is_draining(connection), seconds=3, what="readiness is false")
        ready = connection.send(encode_request("GET", "/health/ready")).reply()
        assert ready.json() == {"status": "not_ready", "ready": False}
        health = connection.send(encode_request("GET", "/health")).reply()
        assert (health.status, health.json()["status"]) == (503, "draining")
        assert connection.send(encode_request("GET", "/health/live")).reply().status == 200
        refused = connection.send(encode_request("POST", "/publish/a", b'{"n":1}')).reply()
        assert refused.status == 503
        assert int(refused.header("retry-after")) > 0
        assert refused.detail["error"]
    late = courier.post("/publish/a", {"n": 1})
    assert (late.status, late.header("retry-after") is not None) == (503, True)
    with pytest.raises(InvalidStatus) as status:
        await clients.python(courier.socket_url("/ws/a"))
    assert status.value.response.status_code == 503
    assert status.value.response.headers["Retry-After"]
    assert {await socket.closed() for socket in sockets} == {(1001, REASON)}
    assert await asyncio.to_thread(courier.wait_exit) == 0


async def test_closes_are_spread_over_the_grace(start_courier, clients):
    courier = start_courier({"shutdown.grace": GRACE_SECONDS})
    sockets = await clients.many(courier.socket_url("/ws/a"), 100)
    courier.signal(signal.SIGTERM)
    started, times = time.monotonic(), []

    async def note(socket):
        await socket.closed()
        times.append(time.monotonic() - started)

    await asyncio.gather(*(note(socket) for socket in sockets))
    times.sort()
    assert times[-1] - times[0] > GRACE_SECONDS / 3
    assert times[-1] < GRACE_SECONDS + SLACK_SECONDS
    assert times[75] - times[25] > GRACE_SECONDS / 10, "not all in one moment"


def test_server_without_sockets_stops_at_once(start_courier):
    courier = start_courier({"shutdown.grace": 20})
    started = time.monotonic()
    courier.signal(signal.SIGTERM)
    assert courier.wait_exit(5) == 0
    assert time.monotonic() - started < 5


def test_second_signal_ends_at_once(start_courier):
    courier = start_courier({"shutdown.grace": 25})
    courier.expected_exit = None
    peers = [ScriptedPeer(courier.port, "/ws/a") for _ in range(200)]
    with RawConnection(courier.port) as connection:
        courier.signal(signal.SIGTERM)
        wait_until(lambda: is_draining(connection), seconds=3, what="draining")
    started = time.monotonic()
    courier.signal(signal.SIGTERM)
    courier.wait_exit(3)
    assert time.monotonic() - started < 2
    for peer in peers:
        peer.socket.close()


def test_peer_that_never_answers_the_close_holds_nothing_up(start_courier):
    courier = start_courier({"shutdown.grace": 1, "shutdown.timeout": 3})
    peer = ScriptedPeer(courier.port, "/ws/a")
    courier.signal(signal.SIGTERM)
    assert peer.close_frame().code == 1001
    assert courier.wait_exit(3 + SLACK_SECONDS) == 0


@pytest.mark.serial
async def test_peer_that_does_not_read_is_waited_for_no_longer_than_the_timeout(start_courier):
    courier = start_courier(
        {"shutdown.grace": 1, "shutdown.timeout": 3, "outbox.events": 10_000, "outbox.bytes": 64 << 20}
    )
    peer = ScriptedPeer(courier.port, "/ws/a", receive_buffer=4096)
    publisher = await Publisher.open(courier.port)
    for n in range(1500):
        assert (await publisher.publish("a", {"n": n, "fill": "x" * 8000}))["clients_reached"] == 1
    courier.signal(signal.SIGTERM)
    assert await asyncio.to_thread(courier.wait_exit, 3 + SLACK_SECONDS) == 0
    peer.socket.close()


@pytest.mark.serial
async def test_backlog_of_a_peer_that_reads_late_is_flushed(start_courier):
    courier = start_courier(
        {"shutdown.grace": 2, "shutdown.timeout": 20, "outbox.events": 10_000, "outbox.bytes": 64 << 20}
    )
    peer = ScriptedPeer(courier.port, "/ws/a", receive_buffer=4096)
    publisher = await Publisher.open(courier.port)
    for n in range(1500):
        assert (await publisher.publish("a", {"n": n, "fill": "x" * 8000}))["clients_reached"] == 1
    courier.signal(signal.SIGTERM)
    numbers = []
    while (frame := peer.next()).opcode != CLOSE:
        said = json.loads(frame.payload)
        numbers += [said["n"]] if "n" in said else []
    assert numbers == list(range(1500))
    assert (frame.code, frame.reason) == (1001, REASON)
    with pytest.raises(PeerClosed):
        peer.next()
    assert await asyncio.to_thread(courier.wait_exit, 20) == 0
