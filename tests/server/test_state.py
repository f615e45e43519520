"""State (contract 8, 16): /health, /stats and /channels tell the right shapes and the right numbers."""

import json
import re
from datetime import datetime

import pytest

from support.frames import ScriptedPeer
from support.process import wait_until

METRICS = {"active_connections", "active_channels", "total_messages_sent", "total_messages_received"}


def channels(courier) -> dict:
    return courier.get("/channels").json()["channels"]


def subscribe(peer: ScriptedPeer, name: str):
    peer.text(json.dumps({"type": "subscribe", "channel": name}))
    assert json.loads(peer.message().payload)["type"] == "subscribed"


class TestHealth:
    def test_has_the_promised_fields(self, hub):
        answer = hub.get("/health")
        health = answer.json()
        assert (answer.status, health["status"]) == (200, "healthy")
        assert answer.header("content-type") == "application/json"
        assert re.match(r"\d+\.\d+\.\d+", health["version"])
        assert isinstance(health["environment"], str)
        assert health["uptime_seconds"] >= 0
        assert isinstance(health["channels"], dict)
        assert isinstance(health["components"], dict) and health["components"]
        assert isinstance(health["checks"], dict) and health["checks"]
        assert set(health["metrics"]) >= METRICS
        datetime.fromisoformat(health["timestamp"])

    def test_live_and_ready(self, hub):
        assert hub.get("/health/live").json() == {"status": "alive"}
        assert hub.get("/health/ready").json() == {"status": "ready", "ready": True}

    def test_counts_clients_and_channels(self, start_courier):
        courier = start_courier()
        peers = [ScriptedPeer(courier.port, path) for path in ("/ws/a", "/ws/a", "/ws/b", "/ws")]
        courier.publish("c", {"n": 1})
        health = courier.get("/health").json()
        assert health["total_clients"] == 4
        assert health["channels"] == {"a": 2, "b": 1, "c": 0}
        assert health["metrics"]["active_connections"] == 4
        assert health["metrics"]["active_channels"] == 3
        for peer in peers:
            peer.leave()


class TestStats:
    def test_has_the_promised_fields_and_numbers(self, start_courier):
        courier = start_courier({"max_clients_per_channel": 7})
        peers = [ScriptedPeer(courier.port, "/ws/a") for _ in range(3)]
        for n in range(5):
            courier.publish("a", {"n": n})
        for peer in peers:
            assert [json.loads(peer.message().payload)["n"] for _ in range(5)] == list(range(5))
        peers.pop().leave()
        courier.await_clients(2)
        stats = courier.stats()
        assert stats["uptime_seconds"] >= 0
        assert stats["total_connections"] == 3, "sockets ever"
        assert stats["active_clients"] == 2
        assert stats["active_channels"] == 1
        assert stats["channels"] == {"a": {"active_clients": 2, "max_clients": 7}}
        assert stats["total_messages_sent"] >= 15
        assert isinstance(stats["total_messages_received"], int)
        assert len(stats["shards"]) == 2

    def test_no_limit_is_called_unlimited(self, hub, channel):
        hub.publish(channel, {"n": 1})
        assert hub.stats()["channels"][channel] == {"active_clients": 0, "max_clients": "unlimited"}

    def test_numbers_grow_by_what_happened(self, start_courier):
        courier = start_courier()
        peers = [ScriptedPeer(courier.port, "/ws/a") for _ in range(4)]
        first = courier.stats()
        for n in range(10):
            courier.publish("a", {"n": n})
        for peer in peers:
            for _ in range(10):
                peer.message()
        second = courier.stats()
        assert second["total_messages_sent"] - first["total_messages_sent"] == 40
        assert second["total_messages_received"] - first["total_messages_received"] == 10

    def test_socket_on_many_channels_is_one_client(self, start_courier):
        courier = start_courier()
        peer = ScriptedPeer(courier.port, "/ws")
        for n in range(20):
            subscribe(peer, f"c{n}")
        stats = courier.stats()
        assert (stats["active_clients"], stats["active_channels"]) == (1, 20)
        assert {entry["active_clients"] for entry in stats["channels"].values()} == {1}


class TestChannels:
    def test_has_the_promised_fields(self, start_courier):
        courier = start_courier()
        courier.publish("a", {"n": 1})
        _peer = ScriptedPeer(courier.port, "/ws/b")
        said = courier.get("/channels").json()
        assert (said["status"], said["channels"], said["total_channels"]) == ("success", {"a": 0, "b": 1}, 2)
        assert isinstance(said["message"], str) and said["message"]

    def test_configured_channels_are_listed_from_the_start(self, start_courier):
        courier = start_courier(config="channels: [global, alerts]\n")
        assert channels(courier) == {"global": 0, "alerts": 0}
        assert set(courier.stats()["channels"]) == {"global", "alerts"}

    def test_other_channels_stay_after_the_last_subscriber(self, start_courier):
        courier = start_courier()
        ScriptedPeer(courier.port, "/ws/stays").leave()
        courier.await_clients(0)
        assert channels(courier) == {"stays": 0}

    @pytest.mark.parametrize("name", ["forge.job.1", "backtest.abc", "scratch.x"])
    def test_ephemeral_channel_vanishes_with_its_last_subscriber_and_event(self, start_courier, name):
        courier = start_courier({"history.ttl": 0.5}, config='channel_options: [{match: "scratch.*", ephemeral: true}]\n')
        first, second = ScriptedPeer(courier.port, f"/ws/{name}"), ScriptedPeer(courier.port, f"/ws/{name}")
        assert courier.publish(name, {"n": 1})["clients_reached"] == 2
        first.leave()
        courier.await_clients(1)
        assert channels(courier) == {name: 1}
        second.leave()
        wait_until(lambda: channels(courier) == {}, what="the channel has vanished")
        assert courier.publish(name, {"n": 2})["clients_reached"] == 0, "never 404"

    def test_names_like_the_ephemeral_ones_stay(self, start_courier):
        courier = start_courier()
        for name in ("forge.job", "forge.jobs.1", "backtest", "xbacktest.1"):
            ScriptedPeer(courier.port, f"/ws/{name}").leave()
        courier.await_clients(0)
        assert set(channels(courier)) == {"forge.job", "forge.jobs.1", "backtest", "xbacktest.1"}

    @pytest.mark.parametrize("path", ["/channels", "/stats", "/health"])
    def test_maps_are_cut_at_the_limit_asked_for(self, start_courier, path):
        courier = start_courier()
        for n in range(12):
            courier.publish(f"c{n}", {"n": 1})
        assert len(courier.get(path).json()["channels"]) == 12
        assert len(courier.get(f"{path}?limit=5").json()["channels"]) == 5
        assert courier.get("/channels?limit=5").json()["total_channels"] == 12

    def test_maps_are_cut_at_a_thousand_names(self, start_courier):
        courier = start_courier()
        with_many = ScriptedPeer(courier.port, "/ws")
        for n in range(1100):
            courier.publish(f"c{n}", {"n": 1})
        said = courier.get("/channels").json()
        assert (len(said["channels"]), said["total_channels"]) == (1000, 1100)
        assert courier.stats()["active_channels"] == 1100
        with_many.leave()


class TestChannelLimit:
    def test_longest_idle_empty_channel_goes_first(self, start_courier):
        courier = start_courier({"shards": 1, "max_channels": 5})
        for name in "abcde":
            courier.publish(name, {"n": 1})
        courier.publish("a", {"n": 2})
        courier.publish("f", {"n": 1})
        assert set(channels(courier)) == set("acdef")

    def test_channel_with_a_subscriber_stays_and_keeps_its_events(self, start_courier):
        courier = start_courier({"max_channels": 8})
        peer = ScriptedPeer(courier.port, "/ws/kept")
        for n in range(100):
            assert courier.publish(f"c{n}", {"n": n})["status"] == "published"
        # The shard of the last publish answers it, and looks at the limit at the end of that turn.
        wait_until(lambda: courier.get("/channels").json()["total_channels"] <= 8, what="within the limit")
        said = courier.get("/channels").json()
        assert said["channels"]["kept"] == 1
        assert "c99" in said["channels"]
        assert courier.publish("kept", {"n": 1})["clients_reached"] == 1
        assert json.loads(peer.message().payload) == {"n": 1}

    def test_full_of_subscribed_channels_is_never_an_error(self, start_courier):
        courier = start_courier({"max_channels": 4})
        peers = [ScriptedPeer(courier.port, f"/ws/c{n}") for n in range(8)]
        for n in range(8):
            assert courier.publish(f"c{n}", {"n": n})["clients_reached"] == 1
            assert json.loads(peers[n].message().payload) == {"n": n}
        assert courier.post("/publish/late", {"n": 1}).status == 200

    def test_evicted_channel_starts_a_new_numbering_or_goes_on_but_never_repeats(self, start_courier):
        courier = start_courier({"shards": 1, "max_channels": 2})
        seen = {courier.publish("a", {"n": n})["id"] for n in range(3)}
        for name in "bcd":
            courier.publish(name, {"n": 1})
        assert "a" not in channels(courier)
        assert courier.publish("a", {"n": 9})["id"] not in seen
