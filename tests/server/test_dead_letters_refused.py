"""Dead letters of events that no schema lets through (issue 5): every way to publish, who may make one, retry, bounds."""

import json
import signal

import pytest

from support.process import wait_until
from support.speakers import V1, Router, Speaker
from support.storage import files_that_hold, kill
from support.tokens import REQUIRED, bearer, mint

MISFIT = "Event validation failed"
BAD = {
    "type": "backtest.progress", "source": "cartographe", "backtest_id": "b", "job_id": "j", "user_id": 7,
    "progress": 2, "stage": "run", "message": "half",
}  # fmt: skip
CLOUD = {
    "specversion": "1.0", "id": "1", "source": "s", "type": "forge.job.progress",
    "data": {"job_id": "j", "user_id": "u", "progress": 2, "stage": "run", "message": "half"},
}  # fmt: skip
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
KEPT = {"dead_letters.refused": True, "shards": 3}
ROOT = bearer(mint("root", channels=["**"], publish=["**"]))


@pytest.fixture
def courier(start_courier):
    """Letters and channels live on different cores."""
    return start_courier(KEPT)


def letters(courier, count: int, headers=None) -> list[dict]:
    """All letters, once there are so many."""

    def listed():
        answer = courier.get("/dead-letters?limit=1000", headers)
        assert answer.status == 200, answer.body
        return answer.json()["letters"]

    wait_until(lambda: len(listed()) >= count, what=f"{count} letters")
    found = listed()
    assert len(found) == count, found
    return found


def letter(courier, event: dict, *fields: str, channel: str = "a") -> dict:
    """The only letter, which is of this event and names the failing fields."""
    found = letters(courier, 1)[0]
    assert (found["reason"], found["channel"], found["event"]) == ("refused", channel, event)
    assert (found["position"], found["attempts"], found["retries"], found["subscription"]) == (None, 0, 0, None)
    assert found["detail"].startswith(MISFIT)
    for field in fields:
        assert field in found["detail"], found
    return found


def no_letter(courier):
    """One that is refused behind what came before is the only one."""
    assert courier.post("/publish/last", BAD).status == 400
    letter(courier, BAD, channel="last")


def retry(courier, which: str = "all=true") -> dict:
    answer = courier.post(f"/dead-letters/retry?{which}", b"")
    assert answer.status == 200, answer.body
    return answer.json()


class TestEveryWayToPublish:
    def test_single_is_400_and_kept_byte_for_byte(self, courier):
        peer = Speaker(courier.port, "/ws/a")
        text = json.dumps(BAD).replace(": 2", ' :\t2.0e0, "z": "\\u00e9"')
        answer = courier.post("/publish/a", text.encode())
        assert (answer.status, answer.json()["detail"]["error"]) == (400, MISFIT)
        letter(courier, json.loads(text), "/user_id must be", "/progress must be")
        assert text.encode() in courier.get("/dead-letters").body
        peer.gets_only(courier, "a")
        assert courier.stats()["schemas"]["refused"] == 1
        assert sum(shard["dead_letters"] for shard in courier.stats()["shards"]) == 1

    def test_envelope_keeps_its_priority(self, courier):
        assert courier.post("/publish", {"channel": "a", "data": BAD, "priority": 9, "ttl": 5}).status == 400
        assert letter(courier, BAD)["priority"] == 9

    @pytest.mark.parametrize("lines", [False, True])
    def test_item_of_a_batch(self, courier, lines):
        items = [{"channel": "b", "data": {"n": 1}}, {"channel": "a", "data": BAD}, {"channel": "b", "data": []}]
        body = "\n".join(map(json.dumps, items)) if lines else json.dumps(items)
        headers = {"Content-Type": "application/x-ndjson"} if lines else None
        results = courier.post("/publish/batch", body.encode(), headers).json()
        assert [result["status"] for result in results] == ["published", "error", "error"]
        letter(courier, BAD, "/progress")

    def test_cloud_event_structured_binary_and_in_a_batch(self, courier):
        assert courier.post("/publish/a", CLOUD, STRUCTURED).status == 400
        letter(courier, CLOUD, "/data/progress")
        fields = {f"ce-{name}": CLOUD[name] for name in ("specversion", "id", "source", "type")}
        data = json.dumps(CLOUD["data"]).encode()
        assert courier.post("/publish/b", data, fields | {"Content-Type": "application/json"}).status == 400
        batch = {"Content-Type": "application/cloudevents-batch+json"}
        assert courier.post("/publish/c", json.dumps([CLOUD]).encode(), batch).status == 200
        # Of two shards in one millisecond either may be first.
        assert sorted(found["channel"] for found in letters(courier, 3)) == ["a", "b", "c"]
        assert {found["event"]["data"]["progress"] for found in letters(courier, 3)} == {2}

    def test_socket_of_courier_v1(self, courier):
        answer = V1(courier.port).command("publish", channel="a", data=BAD)
        assert answer["type"] == "error", answer
        letter(courier, BAD, "/user_id")

    def test_socket_of_the_router(self, start_courier, tmp_path):
        (tmp_path / "task.created.json").write_text('{"properties": {"payload": {"required": ["job"]}}}')
        courier = start_courier(KEPT | {"schemas.dir": tmp_path})
        event = {"topic": "a", "type": "task.created", "payload": {"n": 1}, "source": "me", "priority": 7}
        answer = Router(courier.port).ask({"type": "publish", "event": event})
        assert answer["type"] == "error" and "/payload/job" in answer["error"], answer
        found = letters(courier, 1)[0]
        assert (found["router"], found["priority"], found["reason"]) == (True, 7, "refused")
        assert found["event"].items() >= event.items()


class TestWhatIsNone:
    def test_off_unless_wanted(self, start_courier):
        courier = start_courier()
        assert courier.post("/publish/a", BAD).status == 400
        courier.post("/publish", {"channel": "b", "data": {"n": 1}, "ttl": 0.05, "keep": True})
        assert [found["channel"] for found in letters(courier, 1)] == ["b"]

    def test_what_is_refused_for_another_reason(self, courier):
        for body, status in ((b"{", 400), (b"[]", 400), (b"{}", 400), (b'{"data":"' + b"x" * 600_000 + b'"}', 413)):
            assert courier.post("/publish/a", body).status == status
        assert courier.post("/publish/a b", BAD).status == 400
        assert courier.post("/publish/a", BAD, {"X-Service-Name": "other"}).status == 400
        no_letter(courier)

    def test_none_of_the_channel_of_letters_itself(self, courier):
        assert courier.post("/publish/courier.dead", BAD).status == 400
        assert sum(shard["dead_letters_dropped"] for shard in courier.stats()["shards"]) == 0
        no_letter(courier)

    def test_none_of_who_may_not_publish_there(self, start_courier):
        courier = start_courier(KEPT | REQUIRED)
        alice = bearer(mint(publish=["news.*"]))
        batch = [{"channel": name, "data": BAD} for name in ("secret", "news.a")]
        assert courier.post("/publish/secret", BAD, alice).status in (400, 403)
        assert courier.post("/publish/batch", json.dumps(batch).encode(), alice).status == 200
        V1(courier.port, headers=alice).command("publish", channel="secret", data=BAD)
        assert courier.post("/publish/news.b", BAD, alice).status == 400
        assert sorted(found["channel"] for found in letters(courier, 2, ROOT)) == ["news.a", "news.b"]


class TestRetry:
    def test_refused_again_it_dies_again_with_the_new_reason(self, courier):
        courier.post("/publish/a", BAD)
        first = letter(courier, BAD)
        for retries in (1, 2):
            said = retry(courier)
            assert (said["retried"], said["failed"]) == (0, 1)
            assert said["letters"][0]["error"] == MISFIT and "/progress" in said["letters"][0]["message"]
            again = wait_until(lambda: letters(courier, 1)[0], what="it is a letter again")
            assert (again["event"], again["retries"], again["reason"]) == (BAD, retries, "refused")
            assert again["id"] != first["id"] and "/progress" in again["detail"]

    @pytest.mark.parametrize("event, fields", [(BAD, None), (CLOUD, STRUCTURED)])
    def test_taken_when_the_schema_lets_it_through(self, start_courier, event, fields):
        courier = start_courier({"shards": 3}, config="dead_letters: {refused: true}\n")
        text = json.dumps(event)
        assert courier.post("/publish/a", text.encode(), fields).status == 400
        letter(courier, event)
        courier.config_path.write_text('schemas: {mode: "off"}\n')
        courier.signal(signal.SIGHUP)
        wait_until(lambda: courier.post("/publish/b", BAD).status == 200, what="reloaded")
        peer = Speaker(courier.port, "/ws/a")
        said = retry(courier, "channel=a")
        assert (said["retried"], said["letters"][0]["clients_reached"]) == (1, 1)
        assert peer.message().payload == text.encode()
        assert courier.get("/dead-letters?channel=a").json()["total"] == 0

    def test_good_cloud_event_is_one_when_it_comes_back(self, courier):
        """Its attributes are the metadata that its schema asks for: seen as a plain event it would be refused."""
        peer = V1(courier.port)
        peer.subscribe("a", ack=True, ack_timeout=60, max_attempts=1)
        good = CLOUD | {"data": CLOUD["data"] | {"progress": 0.5}}
        assert courier.post("/publish/a", good, STRUCTURED).status == 200
        peer.say({"type": "nack", "id": peer.event()["id"], "dead": True})
        assert letters(courier, 1)[0]["reason"] == "rejected"
        said = retry(courier)
        assert (said["retried"], said["failed"]) == (1, 0), said
        assert peer.body() == good

    def test_setting_changes_on_reload(self, start_courier):
        courier = start_courier({"shards": 2}, config="dead_letters: {refused: false}\n")
        assert courier.post("/publish/a", BAD).status == 400
        courier.config_path.write_text("dead_letters: {refused: true}\n")
        courier.signal(signal.SIGHUP)

        def kept() -> bool:
            courier.post("/publish/b", BAD)
            return courier.get("/dead-letters").json()["total"] > 0

        wait_until(kept, what="reloaded")
        assert {found["channel"] for found in courier.get("/dead-letters").json()["letters"]} == {"b"}


class TestBounds:
    def test_oldest_go_by_count_and_it_is_counted(self, start_courier):
        # On one shard: from two they may come to the letters in another order than they were refused in.
        courier = start_courier(KEPT | {"dead_letters.events": 3, "shards": 1})
        for n in range(5):
            assert courier.post("/publish/a", BAD | {"n": n}).status == 400
        wait_until(lambda: [found["event"]["n"] for found in letters(courier, 3)] == [2, 3, 4], what="the oldest are gone")
        assert sum(shard["dead_letters_dropped"] for shard in courier.stats()["shards"]) == 2

    def test_batch_of_thousands_stays_within_count_and_bytes(self, start_courier):
        courier = start_courier(KEPT | {"dead_letters.events": 100, "dead_letters.bytes": 20_000})
        items = [{"channel": "a", "data": BAD | {"n": n}} for n in range(3000)]
        answer = courier.post("/publish/batch", json.dumps(items).encode())
        assert answer.status == 200 and len(answer.json()) == 3000
        stats = wait_until(
            lambda: (s := courier.stats()["shards"]) and sum(x["dead_letters"] for x in s) == 3000 and s, what="all are counted"
        )
        kept = courier.get("/dead-letters?limit=1000").json()["total"]
        assert 1 <= kept <= 100
        assert sum(shard["dead_letters_dropped"] for shard in stats) == 3000 - kept

    def test_none_are_kept_where_none_are_wanted(self, start_courier):
        courier = start_courier(KEPT | {"dead_letters.events": 0})
        assert courier.post("/publish/a", BAD).status == 400
        assert courier.get("/dead-letters").json()["total"] == 0
        assert sum(shard["dead_letters"] for shard in courier.stats()["shards"]) == 0


def nested(levels: int) -> bytes:
    return b'{"type":"backtest.progress","more":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


class TestRestart:
    def test_letter_of_the_deepest_event_is_there_again(self, start_courier, tmp_path):
        """An event may nest 128 levels, and what is told of its letter has one more: it was written, and never read."""
        rules = 'channel_options:\n  - {match: "courier.dead", history: {durable: true, size: 10}}\n'
        settings = KEPT | {"storage.dir": tmp_path, "storage.fsync": "always"}
        first = start_courier(settings, config=rules)
        for levels in (2, 127, 128):
            assert first.post(f"/publish/deep.{levels}", nested(levels)).status == 400
        assert first.post("/publish/deep.129", nested(129)).status == 400
        kept = letters(first, 3)
        # Nobody waits for the disk to have taken a letter, so it is listed before.
        wait_until(lambda: all(files_that_hold(tmp_path, f"deep.{levels}".encode()) for levels in (2, 127, 128)), what="they are written")
        kill(first)
        second = start_courier(settings, config=rules)
        assert letters(second, 3) == kept
        assert nested(128) in second.get("/dead-letters").body
        assert retry(second)["failed"] == 3, "refused by the schema, and not for their depth"
        assert all("nested" not in found["detail"] for found in letters(second, 3))
