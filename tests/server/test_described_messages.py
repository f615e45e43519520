"""What sockets say is what /asyncapi.json says (contract 2): live messages of every dialect against its schemas."""

import json

import jsonschema
import pytest

from support.process import Courier
from support.speakers import V1, Arcane, FreqSearch, Router, Speaker

CONFIG = "channel_options: [{match: 'room.*', presence: true}]\n"
# The other dialects tell every object's kind; here an event may have any type, and these are the server's own.
COURIER_WORDS = {"ping", "pong", "subscribed", "unsubscribed", "ack", "error", "shutdown"}
# Told only after losses, or of tokens that end: their own tests provoke them.
NOT_PROVOKED = {
    "courier.v1.server.authenticated",
    "courier.v1.server.expiring",
    "courier.v1.server.gap",
    "echo.server.message",
}
EVENT = {"type": "chat", "n": 1}


@pytest.fixture(scope="module")
def conversation() -> dict:
    """By dialect, all messages that a server said to scripted peers."""
    courier = Courier({"heartbeat_interval": 1}, config=CONFIG).start()
    try:
        peers = [talk(courier) for talk in (courier_talk, v1_talk, events_talk, router_talk, freqsearch_talk)]
        document = courier.get("/asyncapi.json").json()
        courier.signal(15)
        for _, peer, heard in peers:
            heard += rest(peer)
        courier.wait_exit()
    finally:
        courier.stop()
    return {"document": document, "heard": [(dialect, message) for dialect, _, all in peers for message in all]}


def rest(peer) -> list:
    """Everything up to the close."""
    heard = list(peer.aside)
    while (frame := peer.next()).opcode != 8:
        if frame.opcode == 1 and frame.payload not in (b"ping", b"pong"):
            heard.append(json.loads(frame.payload))
    return heard


def courier_talk(courier):
    peer, heard = Speaker(courier.port, "/ws/room.1"), []
    for word in ({"type": "subscribe", "channel": "b"}, {"type": "ping"}, {"type": "hello"}, "no object"):
        heard.append(peer.say(word).hear_when(lambda message: message.get("type") in COURIER_WORDS))
    heard.append(peer.say({"type": "unsubscribe", "channel": "b"}).hear_when(lambda m: m["type"] == "unsubscribed"))
    courier.publish("room.1", EVENT)
    heard.append(peer.hear_when(lambda message: message == EVENT))
    heard.append(peer.hear_when(lambda message: message["type"] == "ping"))
    return "courier", peer, heard


def v1_talk(courier):
    peer = V1(courier.port)
    heard = [peer.welcome, peer.subscribe("room.2"), peer.subscribe(pattern="a.*", id="mine")]
    heard += [peer.command(kind, channel="room.2") for kind in ("presence", "history", "unheard of")]
    heard += [peer.command("publish", channel="room.2", data=EVENT), peer.command("ping"), peer.command("auth")]
    heard += [peer.subscribe("room.9", ack=True), peer.command("ack", channel="room.9", id="00000000-1")]
    heard.append(peer.unsubscribe(id="mine"))
    heard.append(peer.hear_when(lambda message: message["type"] == "ping"))
    return "courier.v1", peer, heard


def events_talk(courier):
    peer = Arcane(courier.port, "room.3")
    courier.publish("room.3", EVENT)
    return "events", peer, [peer.welcome]


def router_talk(courier):
    peer = Router(courier.port)
    subscription = peer.subscribe("room.4")
    heard = [peer.welcome, peer.publish("room.4", EVENT, source="s", target="t")]
    heard += [peer.ask({"type": "ping", "echo": 1}), peer.ask({"type": "get_health"}), peer.ask("no object")]
    courier.publish("room.4", EVENT)
    again = {"type": "subscribe", "subscription": {"topics": ["x"]}}
    heard += [peer.ask(again), peer.unsubscribe(subscription)]
    heard += [peer.ask({"type": "subscribe", "subscription": {"topics": ["y"], "ack": True}})]
    heard += [peer.ask({"type": "ack", "event_id": "unknown"})]
    return "router", peer, heard


def freqsearch_talk(courier):
    peer = FreqSearch(courier.port)
    courier.publish("room.5", EVENT)
    return "freqsearch", peer, []


def name_of(dialect: str, message: dict) -> str:
    """Which of the described messages this one is."""
    kind = message.get("type")
    is_event = {
        "courier": kind not in COURIER_WORDS, "events": kind != "connection", "freqsearch": True
    }.get(dialect, False)  # fmt: skip
    return f"{dialect}.server.{'event' if is_event else kind}"


def faults(components: dict, name: str, message: dict) -> list[str]:
    """What of a message is not as it is described."""
    if name not in components["messages"]:
        return [f"{name} is not described"]
    payload = components["messages"][name]["payload"]
    found = jsonschema.Draft202012Validator(payload | {"components": components}).iter_errors(message)
    told = [f"{name}{fault.json_path}: {fault.message}" for fault in found]
    # Events are whatever was published; what the server says has no member that is not described.
    more = set(message) - set(payload["properties"]) if "properties" in payload else set()
    return told + [f"{name}: {member} is not described" for member in sorted(more)]


def test_every_message_is_as_described(conversation):
    components = conversation["document"]["components"]
    found = [
        fault for dialect, message in conversation["heard"]
        for fault in faults(components, name_of(dialect, message), message)
    ]  # fmt: skip
    assert not found, "\n".join(found)


def test_every_described_message_was_heard(conversation):
    described = {name for name in conversation["document"]["components"]["messages"] if ".server." in name}
    heard = {name_of(dialect, message) for dialect, message in conversation["heard"]}
    assert heard == described - NOT_PROVOKED


def test_a_message_that_is_not_as_described_is_found(conversation):
    components = conversation["document"]["components"]
    schema = components["messages"]["courier.v1.server.event"]["payload"] | {"components": components}
    validator = jsonschema.Draft202012Validator(schema)
    event = next(m for dialect, m in conversation["heard"] if name_of(dialect, m) == "courier.v1.server.event")
    assert validator.is_valid(event)
    for broken in (event | {"id": 5}, event | {"channel": "a b"}, {"type": "event"}):
        assert not validator.is_valid(broken)
