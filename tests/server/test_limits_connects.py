"""New connections in a second (contract 14): what is too much is closed before anything is read, over all shards."""

import socket
import time

from support.process import wait_until


def connects(port: int, count: int) -> list[bool]:
    """Opens so many connections at once; which of them were kept."""
    peers = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(count)]
    kept = []
    for peer in peers:
        with peer:
            try:
                peer.sendall(b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n")
                kept.append(peer.recv(1) == b"H")
            except (ConnectionResetError, BrokenPipeError):
                kept.append(False)
    return kept


def test_connections_beyond_the_limit_of_a_second_are_closed(start_courier):
    courier = start_courier({"rate_limit.connects_per_second": 20})
    # One window is free of what came before, and nobody else connects.
    began = time.monotonic()
    kept = connects(courier.port, 60).count(True)
    seconds = time.monotonic() - began
    assert 20 <= kept <= 20 * (int(seconds) + 1) < 60
    stats = wait_until(lambda: asked(courier), what="the window is over")
    assert sum(shard["connects_limited"] for shard in stats["shards"]) >= 60 - kept
    assert all(shard["accepted"] > 0 for shard in stats["shards"]), "both shards were hit"


def asked(courier) -> dict | None:
    try:
        return courier.stats()
    except (OSError, AssertionError):
        return None
