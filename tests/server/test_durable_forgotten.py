"""Durable channels that are forgotten and come again: one that vanished with its last subscriber, of which the log still
has what came before, and one whose events have all expired, of which nobody knows anything."""

import pytest

from support.flood import offset
from support.history import Join, pages, publish_many, shifted, told_lost
from support.process import wait_until
from support.speakers import Speaker
from support.storage import durable, files_that_hold, kill

JOB = "forge.job.7"


def test_numbers_only_grow_and_positions_of_before_resume_after_a_restart(start_courier, tmp_path):
    """It was numbered from 1 again, so that what the log had of before came in the place of what was asked for, and a
    position of before passed over the first events of after."""
    settings = durable(tmp_path, "always", history__size=0, shards=2)
    first = start_courier(settings)
    peer = Speaker(first.port, f"/ws/{JOB}")
    before = publish_many(first, JOB, 4)
    assert [event["n"] for event in peer.bodies(4)] == [0, 1, 2, 3]
    peer.leave()
    wait_until(lambda: JOB not in first.get("/channels").json()["channels"], what="it has vanished")
    after = publish_many(first, JOB, 3, start=4)
    assert after[0].split("-")[0] != before[0].split("-")[0], "another life of the channel"
    assert offset(after[0]) > offset(before[-1])
    assert [event["event"]["n"] for event in pages(first, JOB, 1000)] == [4, 5, 6]
    join = Join(first, JOB, after=before[1])
    assert join.answer["recovered"] is False
    join.peer.leave()
    kill(first)
    second = start_courier(settings)
    assert [event["id"] for event in pages(second, JOB, 1000)] == before + after
    join = Join(second, JOB, after=before[1])
    assert join.answer["recovered"] is True
    assert [event["id"] for event in join.events(5)] == before[2:] + after


def expire(courier, folder, ids: list[str]):
    """Waits until nothing of these events is left, in memory or on the disk."""
    wait_until(lambda: not pages(courier, "a", 1000), what="they have expired")
    wait_until(lambda: not files_that_hold(folder, b'"mark"'), what="their segments are removed")


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_positions_of_events_that_all_expired_never_pass_for_resumed(start_courier, tmp_path, ending):
    settings = durable(tmp_path, "always", history__ttl=1, shards=2)
    first = start_courier(settings)
    before = [first.publish("a", {"n": n, "mark": 1})["id"] for n in range(4)]
    expire(first, tmp_path, before)
    same = first.publish("a", {"n": 4, "mark": 1})["id"]
    assert same == shifted(before[-1], 1), "this life knows what it has numbered"
    join = Join(first, "a", after=before[1])
    assert join.answer["recovered"] is False
    assert [event["id"] for event in join.events(1)] == [same] and told_lost(join.gaps) == {3, 4}
    assert Join(first, "a", after=before[3]).answer["recovered"] is True, "it has missed nothing"
    expire(first, tmp_path, [same])
    first.stop() if ending == "stop" else kill(first)
    settings |= {"history.ttl": 3600}
    second = start_courier(settings)
    after = publish_many(second, "a", 6)
    for position in (before[0], before[3], same, shifted(same, 1)):
        join = Join(second, "a", after=position)
        assert join.answer["recovered"] is False, position
        assert [event["id"] for event in join.events(6)] == after, position
    assert not {*before, same} & set(after)
