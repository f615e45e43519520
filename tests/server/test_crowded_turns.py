"""Many connections that say something while the server does not look (contract 2): to each it is as if it were alone."""

import json
import signal
import socket
import ssl

import pytest

from support.frames import ScriptedPeer
from support.tls import Authority, both_ports, settings
from support.web import RawConnection, encode_publish

PEERS_PER_KIND = 40
LARGE_BYTES = 100_000  # more than one read takes
BEGINNING_BYTES = 70  # of a request, not its whole head
NO_REQUEST = b"\x00\xff\r\n\r\n"


def event_of(number: int) -> dict:
    return {"n": number} | ({"pad": "x" * LARGE_BYTES} if number % 7 == 0 else {})


def send_what_fits(connection: RawConnection, data: bytes) -> bytes:
    """Answers what is left."""
    connection.socket.setblocking(False)
    sent = 0
    try:
        while sent < len(data):
            sent += connection.socket.send(data[sent:])
    except (BlockingIOError, ssl.SSLWantWriteError):
        pass
    connection.socket.settimeout(10)
    return data[sent:]


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("shards", [1, 2])
async def test_what_all_say_while_the_server_sleeps_is_answered_to_each(
    start_courier, channel, clients, tmp_path, shards, encrypted
):
    context = None
    if encrypted:
        authority = Authority(tmp_path)
        hub = both_ports(start_courier({"shards": shards}, config=settings(authority.sign("localhost"))))
        context = authority.context()
    else:
        hub = start_courier({"shards": shards})
    port = hub.tls_port if encrypted else hub.port
    other = f"{channel}.other"
    heard = await clients.python(hub.socket_url(f"/ws/{channel}"))
    heard_elsewhere = await clients.python(hub.socket_url(f"/ws/{other}"))
    begin, end, babble, vanish, pipeline = (
        [RawConnection(port, context=context) for _ in range(PEERS_PER_KIND)] for _ in range(5)
    )
    talk = [ScriptedPeer(port, f"/ws/{channel}.talk", context=context) for _ in range(PEERS_PER_KIND)]
    # Nothing can be sent behind the end of the second kind: what it says has to fit.
    small = range(PEERS_PER_KIND, 2 * PEERS_PER_KIND)
    said = [{"n": n} if n in small else event_of(n) for n in range(4 * PEERS_PER_KIND)]
    requests = [encode_publish(channel, json.dumps(event).encode()) for event in said]
    begun, ended, first, second = (requests[kind * PEERS_PER_KIND :][:PEERS_PER_KIND] for kind in range(4))
    hub.signal(signal.SIGSTOP)
    left = []
    for n in range(PEERS_PER_KIND):
        begin[n].send(begun[n][:BEGINNING_BYTES])
        left.append(send_what_fits(pipeline[n], first[n] + second[n]))
        # Of the bytes, also where there are records: to read on must remain possible.
        socket.socket.shutdown(end[n].send(ended[n]).socket, socket.SHUT_WR)
        babble[n].send(NO_REQUEST)
        vanish[n].send(encode_publish(other, b'{"n":1}')).reset()
        talk[n].text("ping").text('{"type":"ping"}')
    hub.signal(signal.SIGCONT)
    for n in range(PEERS_PER_KIND):
        begin[n].send(begun[n][BEGINNING_BYTES:])
        pipeline[n].send(left[n])
    for connection in begin + end + pipeline + pipeline:
        answer = connection.reply("POST")
        assert answer.status == 200 and answer.json()["clients_reached"] == 1, answer
    for connection in babble:
        assert connection.reply().status == 400
    assert all(connection.ends() for connection in end + babble)
    for peer in talk:
        assert [peer.message().payload, peer.message().payload] == [b"pong", b'{"type":"pong"}']
    await heard.until(4 * PEERS_PER_KIND)
    assert sorted(heard.events(), key=lambda event: event["n"]) == said
    assert all(event == {"n": 1} for event in heard_elsewhere.events())
    assert len(heard_elsewhere.events()) <= PEERS_PER_KIND
