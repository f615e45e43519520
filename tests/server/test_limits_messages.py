"""What one client may say in a while (contract 4, 14; sources 1.6, X03): what is too much is refused in the words of the
dialect, the socket stays open, and who goes on and on is closed."""

import time

from support.process import wait_until
from support.speakers import V1, Arcane, FreqSearch, Router, Speaker

LIMITED = {"rate_limit.messages.limit": 3}


def counted(courier, name: str) -> int:
    return sum(shard[name] for shard in courier.stats()["shards"])


def test_message_too_many_is_told_and_the_socket_stays_open(start_courier):
    courier = start_courier(LIMITED)
    peer = Speaker(courier.port, "/ws/a")
    assert [peer.ask({"type": "x"})["type"] for _ in range(3)] == ["ack"] * 3
    refused = peer.ask({"type": "x"})
    assert 1 <= refused.pop("retry_after_seconds") <= 61
    assert refused == {
        "type": "error",
        "code": "RATE_LIMIT_EXCEEDED",
        "message": "Rate limit exceeded for message type 'x'",
        "message_type": "x",
    }
    assert courier.publish("a", {"n": 1})["clients_reached"] == 1
    assert peer.event() == {"n": 1}
    assert counted(courier, "messages_limited") == 1
    assert Speaker(courier.port, "/ws/a").ask({"type": "x"})["type"] == "ack", "each client has its own count"


def test_bare_ping_is_free_and_control_messages_count(start_courier):
    courier = start_courier(LIMITED)
    peer = Speaker(courier.port, "/ws/a")
    assert [peer.ask("ping") for _ in range(10)] == ["pong"] * 10
    peer.say({"type": "pong"})
    assert peer.ask({"type": "ping"}) == {"type": "pong"}
    assert peer.ask({"type": "subscribe", "channel": "b"})["type"] == "subscribed"
    for message in ({"type": "ping"}, {"type": "unsubscribe", "channel": "b"}, "no JSON", "[1]"):
        assert peer.ask(message)["code"] == "RATE_LIMIT_EXCEEDED"
    assert courier.publish("b", {"n": 1})["clients_reached"] == 1, "what was refused was not done"
    assert peer.event() == {"n": 1}
    assert peer.ask("ping") == "pong"


def test_types_have_limits_of_their_own(start_courier):
    per_type = {"rate_limit.messages.per_type": "{trade: 2, candles: 4}"}
    courier = start_courier(LIMITED | per_type)
    peer = Speaker(courier.port, "/ws/a")

    def passed(kind: str) -> int:
        return [peer.ask({"type": kind})["type"] for _ in range(6)].count("ack")

    assert [passed("trade"), passed("candles"), passed("other"), passed("another")] == [2, 4, 3, 0]
    only = start_courier(per_type)
    peer = Speaker(only.port, "/ws/a")
    assert [passed("trade"), passed("other")] == [2, 6]


def test_window_slides(start_courier):
    courier = start_courier(LIMITED | {"rate_limit.messages.window": 2})
    peer = Speaker(courier.port, "/ws/a")
    began = time.monotonic()
    assert [peer.ask({"n": 1})["type"] for _ in range(4)] == ["ack"] * 3 + ["error"]
    wait_until(lambda: peer.ask("ping") == "pong" and time.monotonic() > began + 2.1)
    assert peer.ask({"n": 1})["type"] == "ack"


def test_each_dialect_says_it_in_its_words(start_courier):
    courier = start_courier(LIMITED)
    v1 = V1(courier.port)
    assert [v1.command("ping")["type"] for _ in range(3)] == ["pong"] * 3
    answer = v1.command("subscribe", channel="a")
    assert (answer["type"], answer["code"], answer["retry"]) == ("error", "RATE_LIMIT_EXCEEDED", True)
    assert answer["retry_after_seconds"] >= 1 and "subscribe" in answer["message"]
    router = Router(courier.port)
    assert [router.ask({"type": "ping"})["type"] for _ in range(3)] == ["pong"] * 3
    assert router.ask({"type": "ping"})["error"] == "Rate limit exceeded for message type 'ping'"


def test_dialects_without_answers_stay_silent(start_courier):
    courier = start_courier(LIMITED)
    freqsearch, events = FreqSearch(courier.port), Arcane(courier.port, "a")
    for _ in range(6):
        freqsearch.say({"action": "subscribe", "event_types": ["x"]})
        events.say("anything")
    wait_until(lambda: counted(courier, "messages_limited") == 6)
    courier.publish("a", {"type": "x"})
    assert freqsearch.body() == {"type": "x"}
    assert events.body() == {"type": "x"}


def test_client_that_goes_on_after_a_hundred_refusals_is_closed(start_courier):
    courier = start_courier(LIMITED)
    peer, other = Speaker(courier.port, "/ws/a"), Speaker(courier.port, "/ws/a")
    for _ in range(103):
        peer.say({"n": 1})
    answers = [peer.read()["type"] for _ in range(102)]
    assert answers == ["ack"] * 3 + ["error"] * 99
    frame = peer.fails_with(1008)
    assert frame.reason == "Too many messages"
    assert counted(courier, "flooders_closed") == 1
    assert other.ask({"n": 1})["type"] == "ack"
