"""Fan-out over clients and cores (contract 8, 11): isolation, one order per channel, each event exactly once."""

import asyncio
import json
import random
from collections import Counter

import pytest

from support.web import Publisher

SOCKETS = 1000
OVERTIME_SECONDS = 40
READERS_BEHIND_MAX = 100  # events: less than an outbox holds, so that a busy machine makes no reader slow


def sent_by(events: list[dict], publisher: int) -> list[int]:
    return [event["n"] for event in events if event["publisher"] == publisher]


async def test_channels_are_isolated(hub, channel, clients):
    names = [f"{channel}.{number}" for number in range(10)]
    sockets = await clients.many(lambda number: hub.socket_url(f"/ws/{names[number % 10]}"), 30)
    for round_number in range(5):
        for number, name in enumerate(names):
            assert hub.publish(name, {"of": number, "round": round_number})["clients_reached"] == 3
    for number, socket in enumerate(sockets):
        await socket.until(5)
        assert socket.events() == [{"of": number % 10, "round": r} for r in range(5)]


async def test_names_that_share_a_prefix_are_different_channels(hub, channel, clients):
    names = [channel, channel + ".a", channel + ".A", channel + ".a.", channel + ".a:b", channel + "-a"]
    sockets = [await clients.python(hub.socket_url(f"/ws/{name}")) for name in names]
    for name in names:
        assert hub.publish(name, {"to": name})["clients_reached"] == 1
    for name, socket in zip(names, sockets, strict=True):
        await socket.until(1)
        assert socket.events() == [{"to": name}]


async def test_publish_right_after_a_connect_is_never_missed(hub, channel, clients):
    publisher = await Publisher.open(hub.port)
    for number in range(200):
        name = f"{channel}.{number}"
        socket = await clients.python(hub.socket_url(f"/ws/{name}"))
        assert (await publisher.publish(name, {"n": number}))["clients_reached"] == 1
        await socket.until(1)
        await socket.close()


async def test_publish_right_after_subscribed_is_never_missed(hub, channel, clients):
    publisher = await Publisher.open(hub.port)
    socket = await clients.python(hub.socket_url("/ws"))
    for number in range(100):
        name = f"{channel}.{number}"
        await socket.send(json.dumps({"type": "subscribe", "channel": name}))
        await socket.until(2 * number + 1)
        assert (await publisher.publish(name, {"n": number}))["clients_reached"] == 1
        await socket.until(2 * number + 2)


async def test_event_reaches_three_real_clients(hub, channel, clients):
    url = hub.socket_url(f"/ws/{channel}")
    node = await clients.node()
    chromium = await clients.chromium(f"http://127.0.0.1:{hub.port}/health")
    sockets = [await clients.python(url), await node.open(url), await chromium.open(url)]
    texts = [json.dumps({"n": n, "text": "é😀" * (n + 1)}, ensure_ascii=n % 2 == 0) for n in range(50)]
    for text in texts:
        assert hub.publish(channel, text.encode())["clients_reached"] == 3
    for socket in sockets:
        assert await socket.until(50) == texts


async def test_browser_publishes_pings_and_subscribes(hub, channel, clients):
    chromium = await clients.chromium(f"http://127.0.0.1:{hub.port}/health")
    socket = await chromium.open(hub.socket_url("/ws"))
    await socket.send(json.dumps({"type": "subscribe", "channel": channel}))
    await socket.until(1)
    await socket.send("ping")
    await socket.until(2)
    body = json.dumps({"channel": channel, "data": {"from": "the page"}})
    answer = await chromium.fetch("POST", f"http://127.0.0.1:{hub.port}/publish", body)
    assert (answer["status"], json.loads(answer["body"])["clients_reached"]) == (200, 1)
    await socket.until(3)
    assert socket.messages[1:] == ["pong", '{"from": "the page"}']
    refused = await chromium.open(hub.socket_url("/ws/bad%20name"))
    assert await refused.closed() == (1008, "Invalid channel name")


async def test_node_client_reads_codes_and_reasons(hub, channel, clients):
    node = await clients.node()
    refused = await node.open(hub.socket_url("/ws/bad%20name"))
    assert await refused.closed() == (1008, "Invalid channel name")
    socket = await node.open(hub.socket_url(f"/ws/{channel}"))
    await socket.send("ping")
    assert await socket.until(1) == ["pong"]
    await socket.close()
    assert socket.code == 1000


@pytest.mark.serial
async def test_order_is_one_and_every_event_comes_once_across_cores(hub, channel, clients):
    """Eight publishers write to the same four channels; each has twelve subscribers, on both shards."""
    names, publishers, each = [f"{channel}.{n}" for n in range(4)], 8, 150
    sockets = await clients.many(lambda number: hub.socket_url(f"/ws/{names[number % 4]}"), 48)
    positions = {name: {} for name in names}

    async def publish_all(number: int):
        publisher = await Publisher.open(hub.port)
        for n in range(each):
            for name in names:
                answer = await publisher.publish(name, {"publisher": number, "n": n})
                assert answer["clients_reached"] == 12
                positions[name][int(answer["id"].split("-")[1])] = (number, n)
        publisher.close()

    await asyncio.gather(*(publish_all(number) for number in range(publishers)))
    for number, socket in enumerate(sockets):
        await socket.until(publishers * each)
        order = positions[names[number % 4]]
        expected = [order[position] for position in sorted(order)]
        assert [(event["publisher"], event["n"]) for event in socket.events()] == expected
    for name in names:
        assert sorted(positions[name]) == list(
            range(min(positions[name]), min(positions[name]) + publishers * each)
        )


@pytest.mark.serial
async def test_pipelined_publishes_keep_their_order(hub, channel, clients):
    sockets = await clients.many(hub.socket_url(f"/ws/{channel}"), 10)
    publisher = await Publisher.open(hub.port)

    async def write(count: int):
        for n in range(count):
            body = b'{"n":%d}' % n
            head = f"POST /publish/{channel} HTTP/1.1\r\nHost: t\r\nContent-Length: {len(body)}\r\n\r\n"
            publisher.writer.write(head.encode() + body)
            await publisher.writer.drain()

    async def read(count: int) -> list[dict]:
        return [(await publisher.receive()).json() for _ in range(count)]

    _, answers = await asyncio.gather(write(2000), read(2000))
    assert all(answer["clients_reached"] == 10 for answer in answers)
    for socket in sockets:
        await socket.until(2000)
        assert [event["n"] for event in socket.events()] == list(range(2000))


@pytest.mark.serial
async def test_subscriber_that_joins_mid_stream_gets_a_gapless_suffix(hub, channel, clients):
    publisher, stop, published = await Publisher.open(hub.port), asyncio.Event(), []

    async def stream():
        while not stop.is_set():
            await publisher.publish(channel, {"n": len(published)})
            published.append(len(published))

    streaming, joined = asyncio.create_task(stream()), []
    for _ in range(40):
        least = len(published)
        joined.append((least, await clients.python(hub.socket_url(f"/ws/{channel}")), len(published)))
    stop.set()
    await streaming
    last = (await publisher.publish(channel, {"n": len(published)}))["clients_reached"]
    assert last == 40
    for least, socket, most in joined:
        await socket.until_message(lambda text: json.loads(text)["n"] == len(published))
        numbers = [event["n"] for event in socket.events()]
        assert numbers == list(range(numbers[0], len(published) + 1))
        assert least <= numbers[0] <= most + 1, "joined at its place in the stream"


@pytest.mark.serial
async def test_a_thousand_sockets_over_all_shards(hub, channel, clients):
    sockets = await clients.many(hub.socket_url(f"/ws/{channel}"), SOCKETS)
    stats = hub.stats()
    assert stats["channels"][channel]["active_clients"] == SOCKETS
    per_shard = [shard["sockets"] for shard in stats["shards"]]
    assert sum(per_shard) == SOCKETS and min(per_shard) > SOCKETS / 4, per_shard
    publisher = await Publisher.open(hub.port)
    for n in range(20):
        assert (await publisher.publish(channel, {"n": n}))["clients_reached"] == SOCKETS
    await asyncio.gather(*(socket.until(20, OVERTIME_SECONDS) for socket in sockets))
    orders = Counter(tuple(event["n"] for event in socket.events()) for socket in sockets)
    assert orders == {tuple(range(20)): SOCKETS}


@pytest.mark.serial
async def test_churn_of_other_sockets_disturbs_nobody(hub, channel, clients):
    chance, stop, sent = random.Random(7), asyncio.Event(), []
    steady = await clients.many(hub.socket_url(f"/ws/{channel}"), 10)
    publisher = await Publisher.open(hub.port)

    async def churn(number: int):
        while not stop.is_set():
            socket = await clients.python(hub.socket_url(f"/ws/{channel}"))
            await socket.until(chance.randrange(3))
            if chance.random() < 0.5:
                socket.connection.transport.abort()
            else:
                await socket.close()

    churning = [asyncio.create_task(churn(number)) for number in range(6)]
    while len(sent) < 1500:
        await steady[len(sent) % 10].until(len(sent) - READERS_BEHIND_MAX)
        assert (await publisher.publish(channel, {"n": len(sent)}))["clients_reached"] >= len(steady)
        sent.append(len(sent))
    stop.set()
    while not all(task.done() for task in churning):
        await publisher.publish(channel, {"n": len(sent)})
        sent.append(len(sent))
        await asyncio.sleep(0)
    for task in churning:
        task.result()
    for socket in steady:
        await socket.until(len(sent))
        assert [event["n"] for event in socket.events()] == sent
