"""Slow consumers (contract 10): who does not read is cut, nobody else loses an event, memory is bounded."""

import json

import pytest

from support.frames import CLOSE, PeerClosed, ScriptedPeer
from support.process import wait_until
from support.web import Publisher

EVENT_FILL = "x" * 4000
EVENTS_MAX = 20_000
SMALL_BUFFER_BYTES = 4096
MIB = 1 << 20


def stuck_peer(courier, path: str) -> ScriptedPeer:
    """A socket whose kernel buffer is small and that reads nothing until a test asks it to."""
    return ScriptedPeer(courier.port, path, receive_buffer=SMALL_BUFFER_BYTES)


def slow_consumers(courier) -> int:
    return sum(shard["slow_consumers"] for shard in courier.stats()["shards"])


async def publish_until_reached(publisher: Publisher, channel: str, wanted: int, sockets=()) -> int:
    """Publishes at the pace of the readers until an event reaches only `wanted`; answers how many."""
    for n in range(EVENTS_MAX):
        answer = await publisher.publish(channel, {"n": n, "fill": EVENT_FILL})
        if n % 50 == 49:
            for socket in sockets:
                await socket.until(n - 49)
        if answer["clients_reached"] == wanted:
            return n + 1
    raise AssertionError(f"still more than {wanted} reached after {EVENTS_MAX} events")


@pytest.mark.serial
@pytest.mark.parametrize("stuck_count", [1, 20])
async def test_slow_subscriber_is_closed_and_others_keep_receiving(start_courier, clients, stuck_count):
    courier = start_courier()
    stuck = [stuck_peer(courier, "/ws/busy") for _ in range(stuck_count)]
    sockets = await clients.many(courier.socket_url("/ws/busy"), 6)
    publisher = await Publisher.open(courier.port)
    sent = await publish_until_reached(publisher, "busy", 6, sockets)
    for socket in sockets:
        await socket.until(sent)
        assert [event["n"] for event in socket.events()] == list(range(sent))
    courier.await_clients(6)
    assert slow_consumers(courier) == stuck_count
    for peer in stuck:
        peer.socket.close()


@pytest.mark.serial
async def test_slow_subscriber_that_reads_on_finds_no_hole_and_then_the_reason(start_courier):
    courier = start_courier()
    peer = stuck_peer(courier, "/ws/busy")
    publisher = await Publisher.open(courier.port)
    sent = await publish_until_reached(publisher, "busy", 0)
    numbers, close = [], None
    try:
        while (frame := peer.next()).opcode != CLOSE:
            numbers.append(json.loads(frame.payload)["n"])
        close = (frame.code, frame.reason)
    except PeerClosed:
        pass
    assert numbers == list(range(len(numbers)))
    assert 0 < len(numbers) < sent
    assert close in ((1013, "Slow consumer"), None), (
        "a connection that is cut may end before the reason fits in"
    )
    courier.await_clients(0)
    assert slow_consumers(courier) == 1


@pytest.mark.serial
async def test_slow_subscriber_of_one_channel_delays_no_other(start_courier, clients):
    courier = start_courier()
    stuck = [stuck_peer(courier, "/ws/busy") for _ in range(10)]
    socket = await clients.python(courier.socket_url("/ws/calm"))
    busy, calm = await Publisher.open(courier.port), await Publisher.open(courier.port)
    for n in range(300):
        for _ in range(10):
            await busy.publish("busy", {"fill": EVENT_FILL})
        assert (await calm.publish("calm", {"n": n}))["clients_reached"] == 1
        await socket.until(n + 1, 2)
    for peer in stuck:
        peer.socket.close()


@pytest.mark.serial
async def test_memory_stays_bounded_with_many_that_do_not_read(start_courier):
    """Without a bound, 60 sockets times 40 MB of events would have to be held."""
    courier = start_courier()
    stuck = [stuck_peer(courier, "/ws/busy") for _ in range(60)]
    publisher = await Publisher.open(courier.port)
    await publisher.publish("busy", {"n": 0})
    before, most = courier.resident_bytes(), 0
    for _ in range(1200):
        await publisher.publish("busy", {"fill": "x" * 32_000})
        most = max(most, courier.resident_bytes())
    assert most - before < 96 * MIB
    courier.await_clients(0)
    assert courier.publish("busy", {"n": 1})["clients_reached"] == 0
    for peer in stuck:
        peer.socket.close()


@pytest.mark.serial
async def test_outbox_size_is_a_setting(start_courier):
    small, large = (
        start_courier({"outbox.events": 16}),
        start_courier({"outbox.events": 2048, "outbox.bytes": 64 * MIB}),
    )
    counts = []
    for courier in (small, large):
        peer = stuck_peer(courier, "/ws/busy")
        counts.append(await publish_until_reached(await Publisher.open(courier.port), "busy", 0))
        peer.socket.close()
    assert counts[1] - counts[0] > 1500


@pytest.mark.serial
def test_client_that_reads_no_answers_is_bounded_and_harms_nobody(start_courier):
    courier = start_courier()
    peer = ScriptedPeer(courier.port, "/ws/calm")
    before = courier.resident_bytes()
    greedy = stuck_peer(courier, "/ws/greedy")
    greedy.socket.settimeout(2)
    try:
        for _ in range(40):
            greedy.socket.sendall(b"".join(b"\x81\x84\0\0\0\0ping" for _ in range(50_000)))
    except (TimeoutError, ConnectionError):
        pass
    assert courier.resident_bytes() - before < 64 * MIB
    assert courier.publish("calm", {"n": 1})["clients_reached"] == 1
    assert json.loads(peer.message().payload) == {"n": 1}
    greedy.socket.close()
    wait_until(lambda: courier.stats()["active_clients"] == 1, what="the greedy socket is gone")
