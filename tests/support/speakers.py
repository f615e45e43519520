"""Scripted peers that speak the dialects (contract 4 to 6): each knows its path, its welcome and how it tells an event.

Answers and events share a socket: while a speaker waits for an answer it puts the events aside, and `event()` takes
those first. What a speaker did not expect fails the test that reads it.
"""

import itertools
import json
from collections import deque

from support.frames import ScriptedPeer

READ_AHEAD_MAX = 20_000  # messages put aside before an answer: more means that the answer never comes


class Speaker(ScriptedPeer):
    """Dialect `courier`: an event is its own message. The other dialects differ from it in what is said here."""

    path = "/ws"
    is_event = staticmethod(lambda message: True)
    body_of = staticmethod(lambda message: message)

    def __init__(self, port: int, path: str | None = None, **options):
        self.aside = deque()
        super().__init__(port, self.path if path is None else path, **options)
        self.greet()

    def greet(self):
        """Reads the welcome where the dialect has one."""

    def say(self, message: dict | str) -> "Speaker":
        return self.text(message if isinstance(message, str) else json.dumps(message))

    def read(self) -> dict | str:
        """The next message from the socket; text that is not JSON (a `pong`) stays text."""
        text = self.message().payload.decode()
        return text if text in ("ping", "pong") else json.loads(text)

    def hear(self) -> dict | str:
        """The next message of any kind, those put aside first."""
        return self.aside.popleft() if self.aside else self.read()

    def hear_when(self, condition) -> dict | str:
        """The next message for which the condition holds; all before it are put aside."""
        for _ in range(READ_AHEAD_MAX):
            message = self.read()
            if condition(message):
                return message
            self.aside.append(message)
        raise AssertionError("the awaited message does not come")

    def ask(self, message: dict | str) -> dict | str:
        """Says one thing and answers the next message: for sockets to which no events flow meanwhile."""
        return self.say(message).read()

    def event(self) -> dict:
        """The next message, which must be an event."""
        message = self.hear()
        assert isinstance(message, dict) and self.is_event(message), message
        return message

    def body(self) -> dict:
        """The next event as it was published over HTTP, without the dialect's envelope."""
        return self.body_of(self.event())

    def bodies(self, count: int) -> list[dict]:
        return [self.body() for _ in range(count)]

    def gets_only(self, courier, channel: str, *expected: dict):
        """These events are waiting and no other: an event published now comes right behind them."""
        marker = {"type": "marker", "marker": True}
        courier.publish(channel, marker)
        assert self.bodies(len(expected) + 1) == [*expected, marker]


class V1(Speaker):
    """Dialect `courier.v1` (contract 5). `ask` returns the answer that carries the question's `ref`."""

    is_event = staticmethod(lambda message: message.get("type") == "event")
    body_of = staticmethod(lambda message: message["event"])

    def __init__(self, port: int, path: str | None = None, *, headers: dict | None = None, **options):
        self.references = itertools.count(1)
        fields = {"Sec-WebSocket-Protocol": "courier.v1"} | (headers or {})
        super().__init__(port, path, headers=fields, **options)

    def greet(self):
        assert self.handshake.header("sec-websocket-protocol") == "courier.v1"
        self.welcome = self.read()
        assert self.welcome["type"] == "welcome", self.welcome
        self.connection = self.welcome["connection"]

    def command(self, kind: str, **fields) -> dict:
        """Sends a command with a `ref` of its own and answers what comes back for it, `error` included."""
        ref = f"r{next(self.references)}"
        self.say({"type": kind, "ref": ref} | fields)
        return self.hear_when(lambda message: message.get("ref") == ref)

    def subscribe(self, channel: str | None = None, **fields) -> dict:
        target = {} if channel is None else {"channel": channel}
        answer = self.command("subscribe", **(target | fields))
        assert answer["type"] == "subscribed", answer
        return answer

    def unsubscribe(self, **fields) -> dict:
        answer = self.command("unsubscribe", **fields)
        assert answer["type"] != "error", answer
        return answer


class Router(Speaker):
    """Dialect `router` (sources 2)."""

    path = "/router"
    is_event = staticmethod(lambda message: message.get("type") == "event")
    body_of = staticmethod(lambda message: message["event"]["payload"])

    def greet(self):
        self.welcome = self.read()
        assert self.welcome["type"] == "welcome", self.welcome
        self.client_id = self.welcome["client_id"]

    def ask(self, message: dict | str) -> dict:
        """Says one thing and answers the next message that is no event."""
        return self.say(message).hear_when(lambda answer: answer["type"] != "event")

    def subscribe(self, *topics: str, **filters) -> str:
        """Subscribes and answers the subscription's id."""
        answer = self.ask({"type": "subscribe", "subscription": {"topics": list(topics)} | filters})
        assert (answer["type"], answer.get("topics")) == ("subscribed", list(topics)), answer
        return answer["subscription_id"]

    def unsubscribe(self, subscription_id: str) -> dict:
        return self.ask({"type": "unsubscribe", "subscription_id": subscription_id})

    def publish(self, topic: str, payload: dict | None = None, **fields) -> dict:
        """Publishes an event and answers the `published` message."""
        event = {"topic": topic, "payload": {} if payload is None else payload} | fields
        answer = self.ask({"type": "publish", "event": event})
        assert answer["type"] == "published", answer
        return answer


class FreqSearch(Speaker):
    """Dialect `freqsearch` (sources 3). Commands have no answer: a text ping behind them tells when they hold."""

    path = "/api/v1/ws/events"
    is_event = staticmethod(lambda message: set(message) == {"type", "data", "timestamp"})
    body_of = staticmethod(lambda message: message["data"])

    def fence(self) -> "FreqSearch":
        self.say("ping").hear_when(lambda message: message == "pong")
        return self

    def subscribe(self, *types: str) -> "FreqSearch":
        return self.say({"action": "subscribe", "event_types": list(types)}).fence()

    def unsubscribe(self, *types: str) -> "FreqSearch":
        return self.say({"action": "unsubscribe", "event_types": list(types)}).fence()


class Arcane(Speaker):
    """Dialect `events` (sources 4)."""

    def __init__(self, port: int, channel: str, **options):
        super().__init__(port, f"/ws/events/{channel}", **options)

    def greet(self):
        self.welcome = self.read()
        assert self.welcome["type"] == "connection", self.welcome
