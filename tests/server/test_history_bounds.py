"""What history holds (contract 8, 11, 17): bounds by count, age and bytes over all cores; memory comes back."""

import pytest

from support.flood import offset
from support.history import numbers_of, page, publish_filled, publish_many
from support.process import wait_until
from support.speakers import Speaker
from support.web import RawConnection, encode_publish

DEFAULT_SIZE = 256
KILOBYTE = 1024
SHARED_BUDGET = 1 << 20  # the least that a test can fill quickly


class TestBounds:
    def test_count_is_256_by_default(self, hub, channel):
        ids = publish_many(hub, channel, DEFAULT_SIZE + 44)
        found = page(hub, channel, limit=1000)
        assert [event["id"] for event in found["events"]] == ids[44:]
        assert (offset(found["first"]), offset(found["last"])) == (offset(ids[44]), offset(ids[-1]))

    def test_count_by_pattern_first_match_wins(self, start_courier):
        options = """
channel_options:
  - {match: 'off.**', history: {size: 0}}
  - {match: 'few.*', history: {size: 3}}
  - {match: '**', history: {size: 10}}
"""
        courier = start_courier(config=options)
        for name, held in (("off.a", 0), ("few.a", 3), ("few.a.b", 10), ("other", 10)):
            ids = publish_many(courier, name, 15)
            assert [event["id"] for event in page(courier, name)["events"]] == ids[15 - held :], name

    def test_size_0_keeps_nothing_and_numbers_go_on(self, start_courier):
        courier = start_courier({"history.size": 0})
        ids = publish_many(courier, "a", 5)
        found = page(courier, "a")
        assert found["events"] == [] and found["epoch"] == ids[0].split("-")[0]
        assert [offset(position) for position in ids] == list(range(offset(ids[0]), offset(ids[0]) + 5))

    def test_age_ends_events_even_when_the_channel_is_idle(self, start_courier):
        courier = start_courier({"history.ttl": 1})
        ids = publish_many(courier, "a", 5)
        wait_until(lambda: page(courier, "a")["events"] == [], what="all have grown old")
        late = publish_many(courier, "a", 2, start=5)
        found = page(courier, "a")
        assert [event["id"] for event in found["events"]] == late
        assert offset(late[0]) == offset(ids[-1]) + 1

    def test_event_with_a_ttl_of_its_own_is_gone_when_it_is_over(self, hub, channel):
        publish_many(hub, channel, 1)
        assert hub.post("/publish", {"channel": channel, "data": {"n": "brief"}, "ttl": 0.3}).status == 200
        publish_many(hub, channel, 1, start=1)
        wait_until(lambda: numbers_of(page(hub, channel)) == [0, 1], what="the brief one is gone")

    def test_one_budget_for_all_channels_and_the_oldest_go_first(self, start_courier):
        courier = start_courier({"history.max_bytes": SHARED_BUDGET, "history.size": 1000})
        names, count, fill = [f"ch.{n}" for n in range(12)], 240, "x" * (16 * KILOBYTE)
        for n in range(count):
            courier.publish(names[n % len(names)], {"n": n, "fill": fill})

        def held() -> list[int]:
            return sorted(n for name in names for n in numbers_of(page(courier, name, limit=1000)))

        most = SHARED_BUDGET // len(fill)
        wait_until(lambda: len(held()) <= most, what="the budget holds")
        kept = held()
        assert len(kept) > most // 2, "the budget is used"
        assert count - 1 in kept, "the newest is there"
        # Two shards learn of each other's age once per turn: near the border a few may go out of order.
        assert kept[0] >= count - most - 24 and kept[8:] == list(range(kept[8], count)), kept

    def test_event_larger_than_the_budget_is_delivered_and_not_kept(self, start_courier):
        courier = start_courier({"history.max_bytes": 64 * KILOBYTE})
        peer = Speaker(courier.port, "/ws/a")
        courier.publish("a", {"n": 0, "fill": "x" * 100 * KILOBYTE})
        assert peer.body()["n"] == 0
        wait_until(lambda: page(courier, "a")["events"] == [], what="it does not fit")
        publish_many(courier, "a", 3, start=1)
        assert numbers_of(page(courier, "a")) == [1, 2, 3]

    @pytest.mark.serial
    def test_memory_stays_within_the_budget(self, start_courier):
        courier = start_courier({"history.max_bytes": 8 << 20, "history.size": 100_000})
        before = courier.resident_bytes()
        with RawConnection(courier.port) as connection:
            for n in range(2000):
                connection.send(encode_publish(f"ch.{n % 50}", b'{"fill":"%s"}' % (b"x" * 30_000)))
                connection.reply()
        assert courier.resident_bytes() - before < (8 << 20) * 2 + (16 << 20), "60 MB went through"

    @pytest.mark.serial
    def test_memory_of_idle_channels_is_used_again(self, start_courier):
        """Three times 20 MB in channels that nobody touches again: what has grown old makes room for what comes."""
        courier = start_courier({"history.ttl": 1})
        before = courier.resident_bytes()
        for wave in range(3):
            for n in range(400):
                publish_filled(courier, f"w{wave}.{n}", range(5), 10_000)
            wait_until(lambda wave=wave: page(courier, f"w{wave}.399")["events"] == [], what="the last has grown old")
        assert courier.resident_bytes() - before < 48 << 20

    def test_ephemeral_channel_goes_after_its_events(self, start_courier):
        courier = start_courier({"history.ttl": 1})
        peer = Speaker(courier.port, "/ws/forge.job.1")
        publish_many(courier, "forge.job.1", 2)
        peer.leave()
        assert numbers_of(page(courier, "forge.job.1")) == [0, 1], "a late reader finds the result"
        wait_until(lambda: "forge.job.1" not in courier.get("/channels").json()["channels"], what="the channel is gone")
        assert page(courier, "forge.job.1")["events"] == []
