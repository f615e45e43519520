"""What one service may publish in a while (contract 14; sources 1.6, P15, P17 to P19): one more is answered 429, every
answer says what is left, and the limit holds over all shards together."""

import asyncio
import json
import time
from datetime import datetime

import pytest

from support.process import wait_until
from support.speakers import V1, Router
from support.web import Publisher, RawConnection, encode_request

EVENT = {"n": 1}
LIMITED = {"rate_limit.publish.limit": 5}


def publish(courier, service: str | None = "svc", target: str = "/publish/a", body=EVENT, headers=None):
    named = {} if service is None else {"X-Service-Name": service}
    return courier.post(target, body, named | (headers or {}))


def told(answer) -> tuple[int, int]:
    """Limit and remaining of an answer, with all its fields checked."""
    assert answer.header("ratelimit-limit") == answer.header("x-ratelimit-limit")
    assert answer.header("ratelimit-remaining") == answer.header("x-ratelimit-remaining")
    reset = int(answer.header("ratelimit-reset"))
    assert 0 <= reset <= 61
    assert abs(int(answer.header("x-ratelimit-reset")) - (time.time() + reset)) < 5
    return int(answer.header("ratelimit-limit")), int(answer.header("ratelimit-remaining"))


def counted(courier, name: str) -> int:
    return sum(shard[name] for shard in courier.stats()["shards"])


def test_publish_101_is_answered_429_with_every_fact_and_field(start_courier):
    courier = start_courier({"rate_limit.publish.limit": 100, "rate_limit.publish.window": 60})
    for number in range(100):
        answer = publish(courier)
        assert (answer.status, told(answer)) == (200, (100, 99 - number))
    answer = publish(courier)
    assert (answer.status, told(answer)) == (429, (100, 0))
    detail = answer.detail
    assert (detail["error"], detail["limit"], detail["window_seconds"]) == ("Rate limit exceeded", 100, 60)
    assert (detail["remaining"], "svc" in detail["message"]) == (0, True)
    assert 1 <= detail["retry_after_seconds"] <= 61
    assert answer.header("retry-after") == answer.header("ratelimit-reset") == str(detail["retry_after_seconds"])
    assert detail["reset_at"].endswith("Z")
    reset_at = datetime.fromisoformat(detail["reset_at"]).timestamp()
    assert abs(reset_at - time.time() - detail["retry_after_seconds"]) < 5
    assert publish(courier, "another").status == 200, "each service has its own count"
    assert counted(courier, "publishes_limited") == 1
    problem = publish(courier, headers={"Accept": "application/problem+json"})
    assert (problem.status, problem.json()["limit"], problem.json()["status"]) == (429, 100, 429)


def test_every_answer_says_what_is_left(start_courier):
    courier = start_courier(LIMITED)
    for left, status, target, body in [
        (4, 400, "/publish/a", b"{"),
        (3, 400, "/publish", {"channel": "a"}),
        (2, 400, "/publish/no%20channel", EVENT),
        (1, 400, "/publish/batch", b"5"),
        (0, 413, "/publish/a", {"data": "x" * 600_000}),
        (0, 429, "/publish/a", EVENT),
        (0, 429, "/publish/batch", b"[]"),
        (0, 429, "/publish/no%20channel", EVENT),
    ]:
        answer = publish(courier, target=target, body=body)
        assert (answer.status, told(answer)) == (status, (5, left)), (target, answer.body)


def test_without_a_limit_nothing_is_said(hub):
    answer = publish(hub)
    names = [name for name, _ in answer.fields]
    assert answer.status == 200 and not [name for name in names if "ratelimit" in name]


async def test_two_shards_hit_at_once_let_exactly_the_limit_through(start_courier):
    courier = start_courier({"rate_limit.publish.limit": 100})
    publishers = [await Publisher.open(courier.port) for _ in range(20)]

    async def ten(publisher: Publisher, number: int) -> list[int]:
        body, headers = json.dumps(EVENT).encode(), {"X-Service-Name": "svc"}
        sent = [await publisher.send("POST", f"/publish/c{number}", body, headers) for _ in range(10)]
        return [answer.status for answer in sent]

    rounds = await asyncio.gather(*(ten(publisher, number) for number, publisher in enumerate(publishers)))
    statuses = [status for statuses in rounds for status in statuses]
    assert (statuses.count(200), statuses.count(429)) == (100, 100)
    shards = courier.stats()["shards"]
    assert all(shard["published"] + shard["publishes_limited"] > 0 for shard in shards), "both were hit"
    for publisher in publishers:
        publisher.close()


def test_window_slides(start_courier):
    courier = start_courier(LIMITED | {"rate_limit.publish.window": 2})
    began = time.monotonic()
    assert [publish(courier).status for _ in range(6)] == [200] * 5 + [429]
    assert time.monotonic() - began < 2, "too slow a machine to see the window"
    wait_until(lambda: publish(courier).status == 200, what="a place comes free")
    assert 2 <= time.monotonic() - began < 5


def test_batch_counts_by_item_and_the_rest_is_refused_one_by_one(start_courier):
    courier = start_courier(LIMITED)
    items = [{"channel": "a", "data": {"n": n}} for n in range(3)]
    first = publish(courier, target="/publish/batch", body=json.dumps(items).encode())
    assert ([item["status"] for item in first.json()], told(first)) == (["published"] * 3, (5, 2))
    second = publish(courier, target="/publish/batch", body=json.dumps(items).encode())
    assert (second.status, told(second)) == (200, (5, 0))
    *good, bad = second.json()
    assert [item["status"] for item in good] == ["published"] * 2
    assert (bad["code"], bad["detail"]["error"], bad["detail"]["limit"]) == (429, "Rate limit exceeded", 5)
    third = publish(courier, target="/publish/batch", body=json.dumps(items).encode())
    assert (third.status, third.detail["remaining"]) == (429, 0)
    assert counted(courier, "publishes_limited") == 2


def test_who_says_no_name_counts_for_its_address(start_courier):
    courier = start_courier(LIMITED)
    assert [publish(courier, None).status for _ in range(3)] == [200] * 3
    assert [publish(courier, "").status for _ in range(3)] == [200, 200, 429]
    assert "127.0.0.1" in publish(courier, None).detail["message"]
    assert publish(courier, "named").status == 200


def test_sockets_count_for_their_address_too(start_courier):
    courier = start_courier(LIMITED)
    v1, router = V1(courier.port), Router(courier.port)
    for _ in range(3):
        assert v1.command("publish", channel="a", data=EVENT)["type"] == "published"
    assert router.publish("a")["status"] == "queued"
    assert publish(courier, None).status == 200
    answer = v1.command("publish", channel="a", data=EVENT)
    assert (answer["code"], answer["retry"]) == ("RATE_LIMIT_EXCEEDED", True)
    assert 1 <= answer["retry_after_seconds"] <= 61
    refused = router.ask({"type": "publish", "event": {"topic": "a", "payload": {}}})
    assert refused["type"] == "error" and "Too many requests" in refused["error"]
    assert v1.command("ping")["type"] == "pong"


@pytest.mark.parametrize("target", ["/publish", "/publish/a", "/publish/batch"])
def test_name_is_asked_for_where_it_is_required(start_courier, target):
    courier = start_courier({"rate_limit.publish.require_service_name": True})
    body = {"/publish": {"channel": "a", "data": EVENT}, "/publish/a": EVENT, "/publish/batch": {}}[target]
    for service in (None, ""):
        answer = publish(courier, service, target, body)
        assert (answer.status, answer.detail["error"]) == (422, "Service name required")
        assert answer.detail["validation_errors"][0]["field"] == "/header/X-Service-Name"
    assert publish(courier, "svc", target, body).status == 200


def test_reload_changes_the_limit_for_what_was_counted_before(start_courier):
    courier = start_courier(config="rate_limit: {publish: {limit: 3}}\n")
    assert [publish(courier).status for _ in range(4)] == [200] * 3 + [429]
    courier.config_path.write_text("rate_limit: {publish: {limit: 5}}\n")
    courier.signal(1)
    wait_until(lambda: publish(courier, "probe").header("ratelimit-limit") == "5", what="it is reloaded")
    wait_until(lambda: publish(courier).status == 200, what="on both shards")
    courier.config_path.write_text("\n")
    courier.signal(1)
    wait_until(lambda: publish(courier).header("ratelimit-limit") is None, what="it is off")


def test_pages_of_listed_origins_may_read_what_is_left(start_courier):
    courier = start_courier(LIMITED | {"cors.allowed_origins": "https://app.example"})
    answer = publish(courier, headers={"Origin": "https://app.example"})
    assert {"RateLimit-Remaining", "Retry-After"} <= answer.tokens("access-control-expose-headers")


def test_many_names_grow_no_memory(start_courier):
    """More names than are counted: the counts of those who are gone make way, and the memory stays."""
    courier = start_courier({"rate_limit.publish.limit": 5, "rate_limit.publish.window": 0.1})
    body = json.dumps(EVENT).encode()

    def invent(first: int, count: int):
        with RawConnection(courier.port) as connection:
            for start in range(first, first + count, 50):
                requests = [
                    encode_request("POST", "/publish/a", body, {"X-Service-Name": f"service {n}"})
                    for n in range(start, start + 50)
                ]
                connection.send(*requests)
                assert {connection.reply("POST").status for _ in requests} <= {200, 429}

    invent(0, 70_000)
    resident = courier.resident_bytes()
    invent(1_000_000, 30_000)
    assert courier.resident_bytes() - resident < 2_000_000
    assert counted(courier, "rates_evicted") >= 30_000
