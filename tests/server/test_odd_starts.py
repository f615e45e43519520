"""Starts that cannot be right, on every transport that can begin in the past, with history in memory and on disk: positions of the
future and of another numbering, malformed ones, malformed times. Nothing live is held back, no event is wrong, nothing breaks."""

import json
from dataclasses import dataclass
from typing import Callable

import pytest

from support.frames import upgrade_request
from support.history import elsewhere, page, publish_many, shifted
from support.process import Courier
from support.speakers import V1, Arcane, Speaker
from support.sse import EventStream
from support.storage import durable, kill
from support.web import RawConnection

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HELD = 5
MALFORMED = [
    "after=x", "after=", "after=12345678", "after=12345678-", "after=-5", "after=12345678--5", "after=1234567-5", "after=12345678-5-6",
    "after=zzzzzzzz-5", "after=12345678-99999999999999999999", "after=%FF", "since=", "since=yesterday", "since=5", "since=2026-13-01T00:00:00Z",
    "since=2026-02-30T00:00:00Z", "since=2026-01-01", "since=2026-01-01T25:00:00Z", "since=%00",
]  # fmt: skip


def by_command(peer: Speaker, channel: str, after: str) -> Speaker:
    answer = peer.ask({"type": "subscribe", "ref": "1", "channel": channel, "after": after})
    assert answer["type"] == "subscribed", answer
    return peer


class Stream:
    """Server-sent events, read as the sockets are."""

    def __init__(self, port: int, target: str, headers: dict | None = None):
        self.stream = EventStream(port, target, headers)
        assert self.stream.head.status == 200, "an EventSource that gets an error gives up for good"

    def body(self) -> dict:
        return self.stream.event().json()


@dataclass
class Way:
    """How a client begins behind a position."""

    name: str
    begin: Callable  # (port, channel, position) -> something with `body()`


WAYS = [
    Way("courier query", lambda port, channel, after: Speaker(port, f"/ws/{channel}?after={after}")),
    Way("courier command", lambda port, channel, after: by_command(Speaker(port, "/ws"), channel, after)),
    Way("courier.v1 query", lambda port, channel, after: V1(port, f"/ws/{channel}?after={after}")),
    Way("courier.v1 command", lambda port, channel, after: by_command(V1(port), channel, after)),
    Way("events query", lambda port, channel, after: Arcane(port, f"{channel}?after={after}")),
    Way("sse query", lambda port, channel, after: Stream(port, f"/sse/{channel}?after={after}")),
    Way("sse header", lambda port, channel, after: Stream(port, f"/sse/{channel}", {"Last-Event-ID": after})),
]
ways = pytest.mark.parametrize("way", WAYS, ids=[way.name for way in WAYS])


@pytest.fixture(scope="module", params=["memory", "disk"])
def keeper(request, tmp_path_factory):
    """A server that keeps history in memory or on disk, shared by all tests of the file."""
    settings = {} if request.param == "memory" else durable(tmp_path_factory.mktemp("kept"), "interval")
    courier = Courier(settings).start()
    yield courier
    RawConnection.close_all(courier.port)
    courier.stop()


def numbers_until_live(courier, channel: str, peer) -> list:
    """What a client gets, up to an event published now."""
    courier.publish(channel, {"n": "live"})
    numbers = []
    while not numbers or numbers[-1] != "live":
        # Of `courier.v1` answers and gaps are passed over.
        body = V1.body_of(peer.hear_when(V1.is_event)) if isinstance(peer, V1) else peer.body()
        if "n" in body:
            numbers.append(body["n"])
    return numbers


@ways
@pytest.mark.parametrize("ahead", [1, 5000, 1 << 40, (1 << 63) - 1 - HELD])
def test_position_of_the_future_holds_nothing_back(keeper, channel, way, ahead):
    ids = publish_many(keeper, channel, HELD)
    peer = way.begin(keeper.port, channel, shifted(ids[-1], ahead))
    got = numbers_until_live(keeper, channel, peer)
    assert got in (["live"], [*range(HELD), "live"]), "all that is held or nothing; never a part, a double or a hole"


@ways
def test_position_of_another_numbering_gets_all_that_is_held(keeper, channel, way):
    ids = publish_many(keeper, channel, HELD)
    peer = way.begin(keeper.port, channel, elsewhere(ids[2]))
    assert numbers_until_live(keeper, channel, peer) == [*range(HELD), "live"]


@ways
def test_position_of_a_channel_that_nobody_knows_is_a_start(keeper, channel, way):
    peer = way.begin(keeper.port, channel, "00000001-7")
    assert numbers_until_live(keeper, channel, peer) == ["live"]


@pytest.mark.parametrize("query", MALFORMED)
@pytest.mark.parametrize("path", ["/ws/{}", "/ws/events/{}", "/sse/{}", "/history/{}"])
def test_malformed_start_is_400_and_named(keeper, channel, path, query):
    publish_many(keeper, channel, 1)
    target = f"{path.format(channel)}?{query}"
    if path.startswith("/ws"):
        with RawConnection(keeper.port) as connection:
            connection.send(upgrade_request(target, KEY))
            answer = connection.reply()
    else:
        answer = keeper.get(target)
    assert answer.status == 400, (answer.status, answer.body)
    assert query.partition("=")[0] in json.dumps(answer.detail)


def test_places_in_several_channels_are_400_on_a_socket_which_has_one(keeper, channel):
    """The first of them was taken, whichever channel it was of."""
    ids = publish_many(keeper, channel, 3)
    with RawConnection(keeper.port) as connection:
        connection.send(upgrade_request(f"/ws/{channel}?after={ids[0]},{ids[1]}", KEY))
        assert connection.reply().status == 400


@pytest.mark.parametrize("dialect", ["courier", "courier.v1"])
def test_malformed_start_in_a_command_is_an_error_and_the_socket_stays(keeper, channel, dialect):
    peer = Speaker(keeper.port, "/ws") if dialect == "courier" else V1(keeper.port)
    for query in MALFORMED:
        field, _, value = query.partition("=")
        if "%" in value:
            continue
        error = peer.ask({"type": "subscribe", "ref": "1", "channel": channel, field: value})
        assert error["type"] == "error" and field in json.dumps(error), (query, error)
    assert keeper.publish(channel, {"n": 1})["clients_reached"] == 0, "refused means not subscribed"


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "1e3", "", "x", "9" * 30])
def test_limit_beyond_bounds_is_400_or_an_error(keeper, channel, limit):
    publish_many(keeper, channel, 2)
    answer = keeper.get(f"/history/{channel}?limit={limit}")
    assert answer.status == 400 and "limit" in json.dumps(answer.detail)
    peer = V1(keeper.port)
    for value in (limit, int(limit) if limit.lstrip("-").isdigit() else True):
        error = peer.ask({"type": "history", "ref": "1", "channel": channel, "limit": value})
        assert error["type"] == "error" and "limit" in json.dumps(error), (value, error)
    peer.subscribe(channel)
    peer.gets_only(keeper, channel)


def test_page_from_the_future_or_another_numbering_has_no_wrong_event(keeper, channel):
    ids = publish_many(keeper, channel, HELD)
    for ahead in (1, 5000, (1 << 63) - 1 - HELD):
        answer = keeper.get(f"/history/{channel}?after={shifted(ids[-1], ahead)}")
        assert answer.status == 400 or answer.json()["events"] == []
    other = keeper.get(f"/history/{channel}?after={elsewhere(ids[2])}")
    assert other.status == 400 or [event["id"] for event in other.json()["events"]] == ids
    assert [event["id"] for event in page(keeper, channel)["events"]] == ids


def test_positions_of_before_a_crash_are_never_answered_with_a_wrong_event(start_courier, tmp_path):
    """What `never` had not written is gone after a crash: its positions are of a future that does not come."""
    settings = durable(tmp_path / "data", "never")
    first = start_courier(settings)
    ids = publish_many(first, "a", HELD)
    kill(first)
    second = start_courier(settings)
    held = [event["event"]["n"] for event in page(second, "a")["events"]]
    for way in WAYS:
        channel_held = [event["event"].get("n") for event in page(second, "a", limit=1000)["events"]]
        got = numbers_until_live(second, "a", way.begin(second.port, "a", ids[-1]))
        assert got[-1] == "live" and held == list(range(len(held)))
        rest = got[:-1]
        assert rest == channel_held[len(channel_held) - len(rest) :], (way.name, rest, channel_held)
