"""A durable channel that vanishes with its last subscriber and comes again: its log still has what came before."""

from support.flood import offset
from support.history import Join, pages, publish_many
from support.process import wait_until
from support.speakers import Speaker
from support.storage import durable, kill

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
