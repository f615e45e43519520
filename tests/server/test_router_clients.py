"""The router's queue (sources 2.5) with clients that do not read, and the original client (sources 2.6)."""

import asyncio
import json
import socket

import pytest

from support.frames import TEXT, encode
from support.originals import GadugiClient
from support.speakers import Router

FILL = "x" * 4000
FLOOD_EVENTS_MAX = 8000


@pytest.mark.serial
class TestQueue:
    """Sources 2.5 with a client that does not read: what a full queue drops, and what overtakes what."""

    def stalled(self, courier) -> Router:
        peer = Router(courier.port, receive_buffer=4096)
        peer.subscribe("work")
        return peer

    def fill(self, publisher: Router) -> list[int]:
        """Publishes normal events until the queue stays full; answers those that were queued."""
        queued, number = [], 0
        while number < FLOOD_EVENTS_MAX and (not queued or number - queued[-1] < 50):
            answer = publisher.publish("work", {"n": number, "fill": FILL})
            if answer["status"] == "queued":
                queued.append(number)
            else:
                assert (answer["status"], answer["reason"]) == ("dropped", "queue_full")
            number += 1
        assert number < FLOOD_EVENTS_MAX, "nothing was dropped"
        return queued

    def read_until(self, peer: Router, last: str) -> list[dict]:
        # With the small buffer it would read for most of a minute, and who answers no ping for so long is dropped.
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        events = []
        while not events or events[-1]["payload"].get("n") != last:
            events.append(peer.event()["event"])
        return events

    def test_full_queue_drops_the_new_one_unless_it_outranks(self, start_courier):
        courier = start_courier(config="router: {max_queue_size: 50}\n")
        stalled, publisher = self.stalled(courier), Router(courier.port)
        queued = self.fill(publisher)
        assert publisher.publish("work", {"n": "equal", "fill": FILL})["status"] == "dropped"
        assert publisher.publish("work", {"n": "low"}, priority="LOW")["status"] == "dropped"
        assert publisher.publish("work", {"n": "high"}, priority="HIGH")["status"] == "queued"
        assert publisher.publish("work", {"n": "critical"}, priority="CRITICAL")["status"] == "queued"
        numbers = [event["payload"]["n"] for event in self.read_until(stalled, queued[-3])]
        assert numbers.index("critical") < numbers.index("high") < numbers.index(queued[-3])
        normal = [n for n in numbers if n not in ("critical", "high")]
        assert normal == queued[:-2], "the newest of the lowest went silently; all else came, in order"
        publisher.publish("work", {"n": "end"})
        self.read_until(stalled, "end")

    def test_short_queue_holds_large_events_and_what_outranks_them(self, start_courier):
        """With one event of 100,000 bytes on its way a queue of 50 was full, even for one of the highest priority."""
        courier = start_courier(config="router: {max_queue_size: 50}\n")
        stalled, publisher = self.stalled(courier), Router(courier.port)
        large, waiting = {"fill": FILL * 25}, 0
        while waiting == 0:
            assert publisher.publish("work", large)["status"] == "queued"
            waiting = publisher.ask({"type": "get_health"})["health"]["events_in_queue"]
        for n in range(5):
            assert publisher.publish("work", large)["status"] == "queued"
        assert publisher.publish("work", {"n": "urgent"}, priority="CRITICAL")["status"] == "queued"
        self.read_until(stalled, "urgent")

    def test_stalled_client_delays_and_costs_nobody_else(self, start_courier):
        courier = start_courier(config="router: {max_queue_size: 50}\n")
        stalled, reader, publisher = self.stalled(courier), Router(courier.port), Router(courier.port)
        reader.subscribe("work")
        for number in range(2000):
            publisher.publish("work", {"n": number, "fill": FILL})
            assert reader.event()["event"]["payload"]["n"] == number
        assert courier.stats()["active_clients"] == 3, "a full queue closes no router client"
        stalled.socket.close()

    def test_higher_priorities_overtake_in_order(self, start_courier):
        courier = start_courier(config="router: {max_queue_size: 100000}\n", settings={"outbox.bytes": 1 << 28})
        stalled, publisher = self.stalled(courier), Router(courier.port)
        for number in range(2500):
            assert publisher.publish("work", {"n": number, "fill": FILL})["status"] == "queued"
        for priority in (10, 7, 9, 1, 7, 9):
            publisher.publish("work", {"n": f"p{priority}"}, priority=priority)
        events = self.read_until(stalled, "p1")
        urgent = [event["priority"] for event in events if event["priority"] > 5]
        assert urgent == [10, 9, 9, 7, 7]
        normal = [event["payload"]["n"] for event in events if event["priority"] == 5]
        assert normal == list(range(2500))
        assert events.index(next(e for e in events if e["priority"] == 7)) < len(events) - 100

    def test_multi_queue_setting_keeps_the_lanes_apart(self, start_courier):
        """A full lane of normal events (10,000) does not keep a low one (5,000) out."""
        courier = start_courier(config="router: {multi_queue: true}\n", settings={"outbox.bytes": 1 << 30})
        stalled, publisher = self.stalled(courier), Router(courier.port)
        event = {"type": "publish", "event": {"topic": "work", "payload": {"fill": "x" * 500}}}
        statuses = []
        for _ in range(40):
            publisher.send(encode(TEXT, json.dumps(event).encode()) * 500)
            statuses += [publisher.read()["status"] for _ in range(500)]
        assert statuses.count("dropped") > 0 and statuses[9999] == "queued"
        assert publisher.publish("work", {"n": "low"}, priority="LOW")["status"] == "queued"
        assert publisher.publish("work", {"n": "high"}, priority="HIGH")["status"] == "queued"
        events = self.read_until(stalled, "low")
        order = [event["payload"].get("n") for event in events]
        assert order.index("high") < order.index("low") == len(order) - 1


class TestOriginalClient:
    async def test_handlers_get_events_of_a_subscription(self, hub, channel):
        async with GadugiClient(hub.socket_url("/")) as client, GadugiClient(hub.socket_url("/router")) as other:
            got = []
            client.on("test.*.*")(got.append)
            await client.subscribe(topics=["test.*.*"], types=["task.created"])
            await client.heard("subscribed")
            event_id = await other.publish(channel, {"task": 1}, priority=7, type="task.created")
            await other.publish(channel, {"task": 2}, type="task.failed")
            await other.publish(channel, {"task": 3}, type="task.created")
            await client.heard("event", 2)
            assert [event["payload"]["task"] for event in got] == [1, 3]
            assert (got[0]["id"], got[0]["source"], got[0]["priority"]) == (event_id, other.client_id, 7)

    async def test_its_own_subscription_id_stays_its_own(self, hub, channel):
        """Sources 2.6: it never tells its id, so its callback stays silent and its unsubscribe finds nothing."""
        async with GadugiClient(hub.socket_url("/")) as client:
            called = []
            own = await client.subscribe(topics=[channel], callback=called.append)
            told = (await client.heard("subscribed"))[0]
            assert told["subscription_id"] != own
            await client.publish(channel, {"n": 1})
            assert (await client.heard("event"))[0]["subscription_id"] == told["subscription_id"]
            await client.unsubscribe(own)
            assert (await client.heard("error"))[0]["error"] == "Subscription not found"
            assert called == []

    async def test_heartbeat_with_echo(self, hub):
        async with GadugiClient(hub.socket_url("/"), heartbeat_interval=0.2) as client:
            pongs = await client.heard("pong", 3)
            echoes = [pong["echo"] for pong in pongs]
            assert echoes == sorted(echoes) and all(isinstance(echo, float) for echo in echoes)

    async def test_reconnect_restores_subscriptions_then_sends_the_queue_in_order(self, hub, channel):
        async with GadugiClient(hub.socket_url("/"), reconnect_interval=0.1) as client:
            await client.subscribe(topics=[channel])
            await client.heard("subscribed")
            first = client.client_id
            client.socket.transport.abort()
            while client.state == "connected":
                await asyncio.sleep(0)
            for number in range(20):
                assert await client.publish(channel, {"n": number}) is None
            events = await client.heard("event", 20)
            assert [event["event"]["payload"]["n"] for event in events] == list(range(20))
            assert client.client_id != first

    async def test_hundred_clients_thousand_publishes(self, start_courier):
        """G32: afterwards the health says how many events were processed."""
        courier = start_courier()
        clients = [GadugiClient(courier.socket_url("/"), heartbeat_interval=600) for _ in range(100)]
        await asyncio.gather(*(client.connect() for client in clients))
        for client in clients[:10]:
            await client.subscribe(topics=["load.*"])
            await client.heard("subscribed")
        await asyncio.gather(*(client.publish(f"load.{n % 7}", {"n": n}) for n in range(10) for client in clients))
        for client in clients[:10]:
            await client.heard("event", 1000)
        await clients[0]._send({"type": "get_health"})
        health = (await clients[0].heard("health"))[0]["health"]
        assert (health["events_processed"], health["connected_clients"]) == (1000, 100)
        await asyncio.gather(*(client.__aexit__() for client in clients))
