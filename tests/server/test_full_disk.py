"""A disk that fills up (contract 11): 507, live delivery goes on, and storing comes back with the space."""

import pytest

from support.flood import offset
from support.history import Join, pages, publish_many
from support.process import wait_until
from support.speakers import Speaker
from support.storage import Attempt, durable, fill, kill, small_disk

MEGABYTE = 1 << 20
pytestmark = [pytest.mark.serial, pytest.mark.parametrize("kind", ["tmpfs", "ext4"])]


def test_507_then_live_goes_on_then_recovery(start_courier, tmp_path, kind):
    with small_disk(tmp_path / "disk", kind, 16 * MEGABYTE) as point:
        settings = durable(point / "data", storage__segment_bytes=MEGABYTE)
        courier = start_courier(settings)
        kept = [courier.publish("a", {"n": n})["id"] for n in range(10)]
        ballast = fill(point, 2 * MEGABYTE)
        peer = Speaker(courier.port, "/ws/a")
        n, refused, body = 9, None, b"x" * 30_000
        while refused is None:
            n += 1
            assert n < 2000, "the disk never fills"
            answer = courier.post("/publish/a", b'{"n":%d,"fill":"%s"}' % (n, body))
            assert peer.body()["n"] == n, "live delivery goes on"
            if answer.status == 200:
                assert answer.json()["stored"] == "disk"
                kept.append(answer.json()["id"])
            else:
                refused = answer
        assert refused.status == 507 and refused.detail["message"]
        for _ in range(20):
            n += 1
            answer = courier.post("/publish/a", b'{"n":%d,"fill":"%s"}' % (n, body))
            assert answer.status in (200, 507)
            kept += [answer.json()["id"]] if answer.status == 200 else []
            assert peer.body()["n"] == n
        assert courier.get("/history/a?limit=5").status == 200
        stored = {event["id"] for event in pages(courier, "a", 1000)}
        assert set(kept) <= stored
        ballast.unlink()

        def stores_again():
            nonlocal n
            n += 1
            answer = courier.post("/publish/a", {"n": n})
            kept.extend([answer.json()["id"]] if answer.status == 200 else [])
            return answer.status == 200 and answer.json()["stored"] == "disk"

        wait_until(stores_again, what="it stores again once there is space")
        kept += publish_many(courier, "a", 5, start=n + 1)
        kill(courier)
        second = start_courier(settings)
        ids = [event["id"] for event in pages(second, "a", 1000)]
        assert set(kept) <= set(ids), "everything answered as stored is there"
        assert [offset(position) for position in ids] == sorted({offset(position) for position in ids})
        join = Join(second, "a", after=kept[-3])
        assert [event["id"] for event in join.events(2)] == kept[-2:]
        second.stop()


def test_full_from_the_start_is_told_or_answered_507(tmp_path, kind):
    with small_disk(tmp_path / "disk", kind, 8 * MEGABYTE) as point:
        fill(point, 0)
        start = Attempt(point / "data", storage__segment_bytes=MEGABYTE)
        if start.courier is None:
            assert str(point) in start.refusal
        else:
            assert start.courier.post("/publish/a", {"n": 1}).status == 507
        start.end()
