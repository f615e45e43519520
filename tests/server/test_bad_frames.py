"""Bad frames and messages: the right close code, nothing lost, the server alive and right after it (`unharmed`)."""

import json

import pytest

from support.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, ScriptedPeer, close_payload, encode
from support.process import wait_until

pytestmark = pytest.mark.usefixtures("unharmed")


@pytest.mark.parametrize(
    "data, code",
    [
        (encode(TEXT, b"ping", mask=None), 1002),
        (encode(TEXT, b"ping", reserved=4), 1002),
        (encode(TEXT, b"ping", reserved=2), 1002),
        (encode(TEXT, b"ping", reserved=1), 1002),
        (encode(0x3, b"x"), 1002),
        (encode(0xB, b"x"), 1002),
        (encode(PING, b"x" * 126), 1002),
        (encode(CLOSE, close_payload(1000, b"x" * 124)), 1002),
        (encode(PING, b"x", final=False), 1002),
        (encode(CLOSE, close_payload(1000), final=False), 1002),
        (encode(CONTINUATION, b"x"), 1002),
        (encode(TEXT, b"a", final=False) + encode(TEXT, b"b"), 1002),
        (encode(CLOSE, b"\x03"), 1002),
        (encode(CLOSE, close_payload(999)), 1002),
        (encode(CLOSE, close_payload(1005)), 1002),
        (encode(CLOSE, close_payload(1006)), 1002),
        (encode(CLOSE, close_payload(65535)), 1002),
        (encode(CLOSE, close_payload(1000, b"\xff")), 1007),
        (encode(TEXT, b"\xff"), 1007),
        (encode(TEXT, b"\xe2\x82", final=False) + encode(CONTINUATION, b"x"), 1007),
        (encode(TEXT, b"\xf0\x9f", final=False) + encode(PING) + encode(CONTINUATION, b"\x98"), 1007),
        (encode(BINARY, b"x"), 1003),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff" + b"\0\0\0\0", (1002, 1009)),
        (encode(TEXT, b"x" * 10, length_form=64), (1002, None)),
        (b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", 1002),
    ],
    ids=range(25),
)  # fmt: skip
def test_broken_frame_is_closed_with_its_code(hub, data, code):
    peer = ScriptedPeer(hub.port, "/ws/bad")
    peer.send(data)
    codes = code if isinstance(code, tuple) else (code,)
    if None in codes:  # tolerated or refused: either way the peer hears something
        frame = peer.next()
        assert frame.opcode == TEXT or frame.code in codes
        peer.reset()
    else:
        peer.fails_with(*codes)


def test_bytes_after_a_broken_frame_are_not_read(hub):
    peer = ScriptedPeer(hub.port, "/ws/bad")
    peer.send(encode(0x3, b"x") + encode(TEXT, b"ping") * 1000)
    assert peer.next().opcode == CLOSE
    assert peer.ends()


def test_unfinished_fragments_are_dropped_with_their_socket(hub):
    before = hub.resident_bytes()
    for _ in range(200):
        peer = ScriptedPeer(hub.port, "/ws/bad")
        peer.frame(TEXT, b"x" * 500_000, final=False)
        peer.reset()
    wait_until(lambda: hub.stats()["active_clients"] == 1, what="only the bystander is left")
    assert hub.resident_bytes() - before < 64 << 20


def test_many_tiny_fragments_make_one_message(hub):
    peer = ScriptedPeer(hub.port, "/ws/bad")
    text = b'{"type":"%s"}' % (b"x" * 20_000)
    frames = [encode(TEXT, text[:1], final=False)]
    frames += [encode(CONTINUATION, text[at : at + 1], final=False) for at in range(1, len(text))]
    peer.send(b"".join(frames) + encode(CONTINUATION, b""))
    assert json.loads(peer.message().payload)["size_bytes"] == len(text)
    peer.leave()


def test_endless_empty_fragments_do_no_harm(hub):
    peer = ScriptedPeer(hub.port, "/ws/bad")
    peer.send_past_refusal(encode(TEXT, b"", final=False) + encode(CONTINUATION, b"", final=False) * 100_000)
    peer.reset()


def test_ping_flood_is_answered_in_order(hub):
    peer = ScriptedPeer(hub.port, "/ws/bad")
    for base in range(0, 2000, 100):
        peer.send(b"".join(encode(PING, b"%d" % n) for n in range(base, base + 100)))
        assert [peer.next().payload for _ in range(100)] == [b"%d" % n for n in range(base, base + 100)]
    peer.leave()


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_deep_json_from_a_client_gets_an_answer(hub, depth):
    peer = ScriptedPeer(hub.port, "/ws/bad")
    answer = json.loads(peer.text(b'{"type":"x","a":' + b"[" * depth + b"]" * depth + b"}").message().payload)
    assert answer["type"] in ("ack", "error")
    peer.leave()


@pytest.mark.parametrize(
    "message",
    [rb'{"type":"\ud800"}', b'{"type":"subscribe","channel":"a","channel":"b c"}', b'{"type":5}', b'{"type":{"a":1}}',
     b'{"type":"x","n":1e999}', b'{"type":"' + b"t" * 100_000 + b'"}', b'{"type":"ping","type":"x"}', b"\x00", b" ping"],
    ids=range(9),
)  # fmt: skip
def test_odd_client_message_gets_one_answer_and_the_socket_stays(hub, message):
    peer = ScriptedPeer(hub.port, "/ws/bad")
    peer.text(message)
    assert isinstance(json.loads(peer.message().payload), dict)
    assert peer.text("ping").message().payload == b"pong"
    peer.leave()
