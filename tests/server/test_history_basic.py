"""History, replay and resume in short (contract 5, 7, 11): one story per way."""

from support.speakers import V1, Speaker
from support.sse import EventStream


def publish(courier, channel: str, first: int, last: int) -> list[str]:
    return [courier.publish(channel, {"n": n})["id"] for n in range(first, last)]


def test_page_has_what_was_published(hub, channel):
    ids = publish(hub, channel, 0, 5)
    page = hub.get(f"/history/{channel}?after={ids[1]}&limit=2&order=newest").json()
    assert [event["id"] for event in page["events"]] == [ids[4], ids[3]]
    assert (page["first"], page["last"], page["epoch"]) == (ids[0], ids[4], ids[0].split("-")[0])
    assert hub.get(f"/history/{channel}.none").json()["epoch"] is None


def test_who_comes_back_gets_what_it_missed_and_then_what_is_live(hub, channel):
    ids = publish(hub, channel, 0, 10)
    peer = V1(hub.port)
    answer = peer.subscribe(channel, after=ids[3])
    assert (answer["recovered"], answer["replayed"], answer["position"]) == (True, 6, ids[9])
    raw = Speaker(hub.port, f"/ws/{channel}?after={ids[3]}")
    stream = EventStream(hub.port, f"/sse/{channel}", {"Last-Event-ID": ids[3]})
    publish(hub, channel, 10, 12)
    assert [event["n"] for event in peer.bodies(8)] == list(range(4, 12))
    assert [event["n"] for event in raw.bodies(8)] == list(range(4, 12))
    assert [sent.json()["n"] for sent in stream.events(8)] == list(range(4, 12))


def test_history_over_budget_loses_the_oldest_on_all_shards(start_courier):
    courier = start_courier({"history.max_bytes": 100_000})
    for n in range(200):
        courier.post(f"/publish/ch.{n % 20}", b'{"n":%d,"fill":"%s"}' % (n, b"x" * 1000))
    assert sum(shard["history_bytes"] for shard in courier.get("/stats").json()["shards"]) < 110_000
    assert courier.get("/history/ch.19").json()["events"][-1]["event"]["n"] == 199
