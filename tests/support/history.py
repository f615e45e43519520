"""What the history tests share: pages of `GET /history`, positions, joins that are checked event by event."""

from urllib.parse import urlencode

from support.flood import offset
from support.speakers import V1
from support.web import RawConnection, encode_publish

PIPELINED = 20  # a server may stop reading after 64 requests without an answer
NO_SUCH_EPOCH = "00000000"  # epochs are random: one in four thousand million


def page(courier, channel: str, **query) -> dict:
    """One answer of `GET /history/{channel}`, its shape checked: positions of one channel, in one direction."""
    answer = courier.get(target(channel, **query))
    assert answer.status == 200, (answer.status, answer.body)
    found = answer.json()
    assert {"channel", "epoch", "first", "last", "events"} <= set(found) and found["channel"] == channel, found
    for event in found["events"]:
        assert {"id", "timestamp", "event"} <= set(event), event
    offsets = offsets_of(found)
    assert offsets == sorted(set(offsets), reverse=query.get("order") == "newest")
    return found


def target(channel: str, **query) -> str:
    return f"/history/{channel}" + ("?" + urlencode(query) if query else "")


def offsets_of(found: dict) -> list[int]:
    return [offset(event["id"]) for event in found["events"]]


def numbers_of(found: dict) -> list:
    """The `n` of each event of a page."""
    return [event["event"]["n"] for event in found["events"]]


def pages(courier, channel: str, limit: int, **query) -> list[dict]:
    """All events, page by page: each page begins after the last position of the one before."""
    events = []
    while found := page(courier, channel, limit=limit, **query)["events"]:
        assert len(found) <= limit
        events += found
        query = {"after": found[-1]["id"]}
    return events


def publish_many(courier, channel: str, count: int, *, start: int = 0) -> list[str]:
    """Publishes `{"n": …}` one after the other and answers the positions."""
    return [courier.publish(channel, {"n": n})["id"] for n in range(start, start + count)]


def publish_filled(courier, channel: str, numbers: range, size: int) -> list[str]:
    """Publishes numbered events of `size` bytes and more, pipelined on one connection, and answers their positions."""
    ids, fill = [], b"x" * size
    with RawConnection(courier.port) as connection:
        for start in range(numbers.start, numbers.stop, PIPELINED):
            batch = range(start, min(start + PIPELINED, numbers.stop))
            connection.send(b"".join(encode_publish(channel, b'{"n":%d,"fill":"%s"}' % (n, fill)) for n in batch))
            answers = [connection.reply() for _ in batch]
            assert {answer.status for answer in answers} == {200}
            ids += [answer.json()["id"] for answer in answers]
    return ids


def shifted(position: str, by: int) -> str:
    """The position so many events later (or earlier) in the same numbering."""
    epoch, _, number = position.partition("-")
    return f"{epoch}-{int(number) + by}"


def elsewhere(position: str) -> str:
    """The same number in a numbering that never was."""
    return f"{NO_SUCH_EPOCH}-{offset(position)}"


def told_lost(messages: list[dict]) -> set[int]:
    """The offsets that gap messages name, from and to included."""
    gaps = [message for message in messages if message["type"] == "gap"]
    assert all(isinstance(gap["reason"], str) and gap["reason"] for gap in gaps), gaps
    return {n for gap in gaps for n in range(offset(gap["from"]), offset(gap["to"]) + 1)}


class Join:
    """A `courier.v1` subscription with a start, and what came for it: the answer, its gaps, its events in order."""

    def __init__(self, courier, channel: str, **fields):
        self.peer = V1(courier.port)
        self.courier, self.channel = courier, channel
        self.answer = self.peer.subscribe(channel, **fields)
        self.gaps: list[dict] = []

    def events(self, count: int) -> list[dict]:
        """The next `count` events; gaps before them are put aside."""
        events = []
        while len(events) < count:
            message = self.peer.hear()
            assert message["type"] in ("event", "gap") and message["channel"] == self.channel, message
            (events if message["type"] == "event" else self.gaps).append(message)
        return events

    def until_marker(self, *, first: int = 0) -> list[dict]:
        """Everything that waits, up to an event published now; the marker is left out. Where it would push what is replayed
        out of a short history, that comes `first`."""
        events = self.events(first)
        position = self.courier.publish(self.channel, {"type": "marker"})["id"]
        events += self.events(1)
        while events[-1]["id"] != position:
            events += self.events(1)
        return events[:-1]
