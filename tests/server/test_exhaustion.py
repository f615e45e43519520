"""No descriptors left, storms of connects and resets: the server stays up, loses nothing, and recovers."""

import contextlib
import json
import random
import resource
import socket
import struct
import time

import pytest

from support import sandbox
from support.frames import ScriptedPeer, encode, upgrade_request
from support.process import wait_until
from support.web import RawConnection, encode_request

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
STORM_SOCKETS = 5000
STORM_SEED = 20_260_101
DESCRIPTORS_IN_RESERVE = 16  # a server may keep a few back, to refuse politely or to log


def connect_until_full(port: int, count: int) -> list[socket.socket]:
    """Opens up to `count` connections; the backlog takes those that the server has no descriptor for."""
    opened = []
    for _ in range(count):
        connection = socket.socket()
        connection.settimeout(1)
        try:
            connection.connect(("127.0.0.1", port))
        except OSError:
            connection.close()
            break
        opened.append(connection)
    return opened


def exhaust_and_recover(courier, count: int):
    peer = ScriptedPeer(courier.port, "/ws/bystander")
    publisher = RawConnection(courier.port)
    publish = encode_request("POST", "/publish/bystander", b'{"n":1}')
    assert publisher.send(publish).reply().json()["clients_reached"] == 1
    opened = connect_until_full(courier.port, count)
    wait_until(lambda: is_full(courier), what="all descriptors are taken")
    for _ in range(50):
        assert publisher.send(publish).reply().json()["clients_reached"] == 1
    spent, started = cpu_seconds(courier), time.monotonic()
    for _ in range(51):
        assert json.loads(peer.message().payload) == {"n": 1}
    while time.monotonic() - started < 1:
        assert peer.text("ping").message().payload == b"pong"
        peer.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            peer.socket.recv(1)
        peer.socket.settimeout(10)
    assert cpu_seconds(courier) - spent < 0.8 * (time.monotonic() - started), (
        "no core spins while descriptors are short"
    )
    for connection in opened:
        connection.close()
    wait_until(
        lambda: courier.get("/health/live").status == 200, seconds=20, what="new connections are served again"
    )
    assert courier.publish("bystander", {"n": 2})["clients_reached"] == 1
    assert json.loads(peer.message().payload) == {"n": 2}
    wait_until(lambda: courier.descriptors() < 64, seconds=20, what="the descriptors are given back")
    peer.leave()
    publisher.socket.close()


def is_full(courier) -> bool:
    limit = resource.prlimit(courier.pid, resource.RLIMIT_NOFILE)[0]
    return courier.descriptors() >= limit - DESCRIPTORS_IN_RESERVE


def cpu_seconds(courier) -> float:
    with open(f"/proc/{courier.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.serial
def test_exhausted_small_descriptor_limit_is_survived(start_courier):
    settings = {"max_total_connections": 100, "limits.head_timeout": 60}
    courier = start_courier(settings, prefix=sandbox.with_limits(nofile=512))
    exhaust_and_recover(courier, 900)


@pytest.mark.serial
@pytest.mark.timeout(300)  # 20,000 handshakes on a machine that may be busy
def test_exhausted_20_000_descriptors_are_survived(start_courier):
    own, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The test needs a descriptor for each of the server's, and some of its own.
    limit = min(20_000, hard - 1000)
    if limit < 15_000:
        pytest.skip(f"the machine grants only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        courier = start_courier({"limits.head_timeout": 90}, prefix=sandbox.with_limits(nofile=limit))
        exhaust_and_recover(courier, limit + 500)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (own, hard))


@pytest.mark.serial
def test_5_000_connects_and_resets_in_random_order_leave_the_counts_right(start_courier):
    courier, chance = start_courier(), random.Random(STORM_SEED)
    peer, opened, sent = ScriptedPeer(courier.port, "/ws/storm"), [], 0
    words = [
        b"", b"GET", encode_request("GET", "/health"), upgrade_request("/ws/storm", KEY), upgrade_request("/ws", KEY),
        upgrade_request("/ws/storm", KEY) + encode(1, b'{"type":"subscribe","channel":"other"}'),
        upgrade_request("/ws/storm", KEY) + encode(1, b"ping")[:3], upgrade_request("/ws/bad%20name", KEY),
        b"POST /publish/other HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n{",
    ]  # fmt: skip
    for number in range(STORM_SOCKETS):
        connection = socket.create_connection(("127.0.0.1", courier.port))
        connection.sendall(chance.choice(words))
        opened.append(connection)
        while len(opened) > 200 or (opened and chance.random() < 0.5):
            end(opened.pop(chance.randrange(len(opened))), chance)
        if number % 50 == 0:
            assert courier.publish("storm", {"n": sent})["clients_reached"] >= 1
            sent += 1
    for connection in opened:
        end(connection, chance)
    assert [json.loads(peer.message().payload)["n"] for _ in range(sent)] == list(range(sent))
    courier.await_clients(1)
    wait_until(
        lambda: courier.publish("storm", {"n": -1})["clients_reached"] == 1,
        what="the storm's sockets are gone",
    )
    wait_until(lambda: courier.descriptors() < 64, what="the descriptors are given back")
    assert courier.get("/health").json()["channels"]["storm"] == 1


def end(connection: socket.socket, chance: random.Random):
    """Closes with a FIN, half-closes first, or resets."""
    way = chance.randrange(3)
    if way == 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif way == 1:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
    connection.close()
