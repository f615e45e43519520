"""What waits for the sockets of all connections together has a bound (contract 14): the longest queue goes first."""

import signal
import socket

import pytest

from support.flood import offset
from support.frames import ScriptedPeer
from support.process import wait_until
from support.speakers import V1
from support.web import Publisher

MIB = 1 << 20
EVENT_FILL = "x" * 4000
EVENTS_MAX = 20_000
SMALL_BUFFER_BYTES = 4096
# No queue reaches its own bounds.
WIDE = {"outbox.events": 100_000, "outbox.bytes": 256 * MIB}
TOTAL_BYTES = 4 * MIB


def stuck_peer(courier, path: str) -> ScriptedPeer:
    """A socket whose kernel buffer is small and that reads nothing."""
    return ScriptedPeer(courier.port, path, receive_buffer=SMALL_BUFFER_BYTES)


def counted(courier, name: str) -> int:
    return sum(shard[name] for shard in courier.stats()["shards"])


async def publish(publisher: Publisher, channel: str, count: int) -> dict:
    for n in range(count):
        answer = await publisher.publish(channel, {"n": n, "fill": EVENT_FILL})
    return answer


async def publish_until(publisher: Publisher, channel: str, done) -> dict:
    for _ in range(0, EVENTS_MAX, 50):
        answer = await publish(publisher, channel, 50)
        if done(answer):
            return answer
    raise AssertionError(f"not within {EVENTS_MAX} events")


@pytest.mark.serial
async def test_longest_queue_is_cut_off_first_and_all_together_stay_within_the_bound(start_courier):
    courier = start_courier(WIDE | {"outbox.max_total_bytes": TOTAL_BYTES})
    short, long = stuck_peer(courier, "/ws/short"), stuck_peer(courier, "/ws/long")
    publisher = await Publisher.open(courier.port)
    # The kernel takes some; then both queues grow, the one by a megabyte and the other until it is too much.
    await publish_until(publisher, "short", lambda _: counted(courier, "backlog_bytes") > MIB)

    def over_or_cut(answer):
        assert counted(courier, "backlog_bytes") <= TOTAL_BYTES + MIB
        return answer["clients_reached"] == 0

    await publish_until(publisher, "long", over_or_cut)
    assert (counted(courier, "slow_consumers"), counted(courier, "backlogs_shed")) == (1, 1)
    assert (await publish(publisher, "short", 1))["clients_reached"] == 1, "the shorter one stays"
    short.socket.close()
    long.socket.close()


@pytest.mark.serial
async def test_queue_is_shortened_where_its_channel_drops_the_oldest(start_courier):
    config = "channel_options: [{match: latest, slow: drop_oldest}]\n"
    courier = start_courier(WIDE | {"outbox.max_total_bytes": TOTAL_BYTES}, config=config)
    peer = stuck_peer(courier, "/ws/latest")
    publisher = await Publisher.open(courier.port)

    def shortened(answer):
        assert answer["clients_reached"] == 1 and counted(courier, "backlog_bytes") <= TOTAL_BYTES + MIB
        return counted(courier, "backlogs_shed") >= 3

    await publish_until(publisher, "latest", shortened)
    assert counted(courier, "slow_consumers") == 0 and counted(courier, "events_dropped") > 3 * 400
    peer.socket.close()


@pytest.mark.serial
async def test_queue_that_is_shortened_costs_one_who_acknowledges_nothing(start_courier):
    """Events in flight are dropped from it as any others are, and come again when they are not acknowledged in time."""
    config = "channel_options: [{match: latest, slow: drop_oldest}]\n"
    courier = start_courier(WIDE | {"outbox.max_total_bytes": TOTAL_BYTES}, config=config)
    peer = V1(courier.port, receive_buffer=SMALL_BUFFER_BYTES)
    peer.subscribe("latest", ack=True, ack_timeout=0.5, max_attempts=100)
    publisher = await Publisher.open(courier.port)
    published = 0

    def shortened(answer):
        nonlocal published
        published = answer["id"].rpartition("-")[2]
        return counted(courier, "backlogs_shed") >= 1

    await publish_until(publisher, "latest", shortened)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
    missing = set(range(1, int(published) + 1))
    attempts = set()
    while missing:
        message = peer.hear()
        if message["type"] == "event":
            missing.discard(offset(message["id"]))
            attempts.add(message["attempt"])
            peer.say({"type": "ack", "id": message["id"]})
    assert attempts >= {1, 2}, "those that were dropped came again"
    assert courier.get("/dead-letters").json()["total"] == 0
    peer.socket.close()


@pytest.mark.serial
async def test_bound_is_off_by_zero_and_changes_on_a_reload(start_courier):
    courier = start_courier(WIDE, config="outbox: {max_total_bytes: 0}\n")
    peer = stuck_peer(courier, "/ws/a")
    publisher = await Publisher.open(courier.port)
    await publish_until(publisher, "a", lambda _: counted(courier, "backlog_bytes") > 2 * TOTAL_BYTES)
    assert counted(courier, "slow_consumers") == 0
    courier.config_path.write_text(f"outbox: {{max_total_bytes: {TOTAL_BYTES}}}\n")
    courier.signal(signal.SIGHUP)
    wait_until(lambda: counted(courier, "slow_consumers") == 1, what="the end of the only queue")
    courier.await_clients(0)
    peer.socket.close()
