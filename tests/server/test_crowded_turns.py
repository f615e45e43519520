"""Many connections that say something while the server does not look (contract 2): to each it is as if it were alone."""

import json
import signal
import socket

from support.web import RawConnection, encode_publish

CONNECTIONS = 240
LARGE_BYTES = 100_000  # more than one read takes
BEGINNING_BYTES = 70  # of a request, not its whole head


def event_of(number: int) -> dict:
    """A large one where what does not fit the socket at once is sent later."""
    return {"n": number} | ({"pad": "x" * LARGE_BYTES} if number % 7 == 0 and number % 5 in (0, 4) else {})


def send_what_fits(connection: RawConnection, data: bytes) -> bytes:
    """Answers what is left."""
    connection.socket.setblocking(False)
    sent = connection.socket.send(data)
    connection.socket.settimeout(10)
    return data[sent:]


async def test_what_all_say_while_the_server_sleeps_is_answered_to_each(start_courier, channel, clients):
    hub = start_courier({"shards": 1})
    heard = await clients.python(hub.socket_url(f"/ws/{channel}"))
    everyone = list(enumerate(RawConnection(hub.port) for _ in range(CONNECTIONS)))
    begin, end, babble, vanish, speak = (everyone[kind::5] for kind in range(5))
    request = {n: encode_publish(channel, json.dumps(event_of(n)).encode()) for n, _ in everyone}
    hub.stats()  # it has accepted all of them, who came before
    hub.signal(signal.SIGSTOP)
    for number, connection in everyone:
        if (number, connection) in begin:
            connection.send(request[number][:BEGINNING_BYTES])
            request[number] = request[number][BEGINNING_BYTES:]
        elif (number, connection) in end:
            connection.send(request[number]).socket.shutdown(socket.SHUT_WR)
        elif (number, connection) in babble:
            connection.send(b"\x00\xff\r\n\r\n")
        elif (number, connection) in vanish:
            connection.send(encode_publish(f"{channel}.other")).reset()
        else:
            request[number] = send_what_fits(connection, request[number])
    hub.signal(signal.SIGCONT)
    for number, connection in begin + speak:
        connection.send(request[number])
    for number, connection in begin + end + speak:
        answer = connection.reply("POST")
        assert answer.status == 200 and answer.json()["clients_reached"] == 1, (number, answer)
    for number, connection in babble:
        assert connection.reply().status == 400, number
    assert all(connection.ends() for _, connection in end + babble)
    await heard.until(len(begin + end + speak))
    events = {event["n"]: event for event in heard.events()}
    assert events == {number: event_of(number) for number, _ in begin + end + speak}
    assert len(heard.events()) == len(events), "some came twice"
