"""Connections and what they keep (contract 14): too many in a second are closed before anything is read, those of an
address are counted from the moment of a reload, what is unfinished is bounded; all over all shards together."""

import json
import socket
import time

from support.frames import CONTINUATION, PING, PONG, TEXT, ScriptedPeer
from support.process import wait_until
from support.web import RawConnection


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


def test_limit_per_address_that_is_set_by_reload_counts_those_who_are_in(start_courier):
    courier = start_courier(config="max_connections_per_address: 0\n")
    held = [ScriptedPeer(courier.port, f"/ws/c{number}") for number in range(8)]
    courier.config_path.write_text("max_connections_per_address: 6\nrate_limit: {publish: {limit: 1000}}\n")
    courier.signal(1)
    wait_until(lambda: reloaded(courier, 20), what="both shards are reloaded")
    assert refused(courier)
    for peer in held[:2]:
        peer.leave()
    courier.await_clients(6)
    assert refused(courier), "six are in still"
    held[2].leave()
    courier.await_clients(5)
    assert not refused(courier)


def reloaded(courier, connections: int) -> bool:
    """Whether so many connections in a row, which the kernel spreads over the shards, are served by the new settings."""
    answers = (courier.post("/publish/a", {"n": 1}) for _ in range(connections))
    return all(answer.header("ratelimit-limit") for answer in answers)


def refused(courier) -> bool:
    peer = ScriptedPeer(courier.port, "/ws/late")
    said = peer.text("ping").message().payload
    if said == b"pong":
        return False
    assert json.loads(said)["limit_type"] == "per_address"
    return True


def test_what_is_unfinished_is_bounded_over_all_shards(start_courier):
    """Eight half-sent bodies fit no bound of four of the largest: as many as do not are refused, wherever they are.

    The refusal was not written as the request had asked for it: what it had said was dropped first.
    """
    courier = start_courier({"limits.unfinished_bytes": 1024, "max_message_size": 1000})
    wish = b"Accept: application/problem+json\r\n"
    head = b"POST /publish/a HTTP/1.1\r\nHost: test\r\n%sContent-Length: 1000000\r\n\r\n" % wish
    peers = [RawConnection(courier.port) for _ in range(8)]
    for peer in peers:
        peer.send_past_refusal(head + b" " * 900_000)
    wait_until(lambda: counted(courier, "overloads") >= 4, what="what does not fit is refused")
    replies = [peer.reply("POST") for peer in peers if peer.send_past_refusal(b" " * 99_990 + b'{"n":1}   ')]
    answers = [reply.status for reply in replies]
    assert 4 <= answers.count(503) == counted(courier, "overloads") <= 6
    assert answers.count(200) == 8 - answers.count(503)
    refused = {reply.header("content-type") for reply in replies if reply.status == 503}
    assert refused == {"application/problem+json"}
    with RawConnection(courier.port) as peer:
        peer.send(head + b" " * 999_990 + b'{"n":1}   ')
        assert peer.reply("POST").status == 200, "what is answered is kept no more"


def test_a_message_whose_fragments_came_whole_is_unfinished_all_the_same(start_courier):
    """Of eight unfinished messages four fit the bound, and who sends more is closed.

    A fragment that ended where a read ended was counted but not judged: such sockets kept as much as they liked.
    """
    limits = {"max_event_size": 1000, "max_message_size": 1000, "limits.unfinished_bytes": 4000}
    courier = start_courier(limits)
    held = [ScriptedPeer(courier.port, f"/ws/c{number}") for number in range(4)]
    late = [ScriptedPeer(courier.port, f"/ws/c{number}") for number in range(4)]
    start = b'{"type":"' + b"x" * 891
    for peer in held:
        assert peer.frame(TEXT, start, final=False).frame(PING).next().opcode == PONG
    for peer in late:
        peer.frame(TEXT, start, final=False).fails_with(1013)
    assert counted(courier, "overloads") == 4
    for peer in held:
        assert json.loads(peer.frame(CONTINUATION, b'"}').message().payload)["size_bytes"] == 902
    again = ScriptedPeer(courier.port, "/ws/c0")
    assert again.frame(TEXT, start, final=False).frame(PING).next().opcode == PONG, "what is done is kept no more"


def counted(courier, name: str) -> int:
    return sum(shard[name] for shard in courier.stats()["shards"])
