"""Dead letters (issue 5, sources G38): what becomes one, list, retry and purge over HTTP and by command, their bounds."""

import json
import re
from urllib.parse import urlencode

import pytest

from support.flood import offset
from support.process import PANIC, run_to_end, wait_until
from support.speakers import V1, FreqSearch, Router, Speaker
from support.storage import durable, files_that_hold, kill

LETTERS_CHANNEL = "courier.dead"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
FIELDS = {
    "id", "type", "channel", "position", "reason", "detail", "attempts", "retries", "subscription", "priority",
    "router", "timestamp", "event",
}  # fmt: skip
SHORT = 0.05


@pytest.fixture
def courier(start_courier):
    """Letters and channels live on different cores."""
    return start_courier({"shards": 3})


def listed(courier, **query) -> dict:
    answer = courier.get("/dead-letters?" + urlencode(query))
    assert answer.status == 200, answer.body
    found = answer.json()
    for letter in found["letters"]:
        assert set(letter) == FIELDS and TIME.match(letter["timestamp"]) and letter["detail"], letter
        assert letter["type"] == "dead_letter"
    return found


def keep(courier, channel: str, event: dict, ttl: float = SHORT, **fields) -> dict:
    body = {"channel": channel, "data": event, "ttl": ttl, "keep": True} | fields
    answer = courier.post("/publish", body)
    assert answer.status == 200, answer.body
    return answer.json()


def bury(courier, channel: str, *events: dict) -> list[dict]:
    """Makes dead letters of events that nobody hears. Answers the letters, in the order of the events."""
    known = listed(courier, channel=channel, limit=1000)["total"]
    for event in events:
        keep(courier, channel, event)
    wait_until(lambda: listed(courier, channel=channel)["total"] == known + len(events), what="the letters are there")
    return listed(courier, channel=channel, limit=1000)["letters"][known:]


def retry(courier, status: int = 200, **query) -> dict:
    answer = courier.post("/dead-letters/retry?" + urlencode(query), b"")
    assert answer.status == status, (answer.status, answer.body)
    return answer.json()


def purge(courier, status: int = 200, **query):
    answer = courier.request("DELETE", "/dead-letters?" + urlencode(query))
    assert answer.status == status, (answer.status, answer.body)
    return answer.json()


class TestWhatBecomesOne:
    def test_event_that_expires_unseen_is_kept_whole(self, courier):
        text = '{ "b" : 1.50, "a":"\\u00e9", "b": [ ] }'
        body = f'{{"channel":"a","data":{text},"ttl":{SHORT},"keep":true,"priority":9}}'.encode()
        position = courier.post("/publish", body).json()["id"]
        letter = wait_until(lambda: listed(courier)["letters"], what="it has expired")[0]
        assert (letter["reason"], letter["channel"], letter["position"]) == ("expired", "a", position)
        assert (letter["attempts"], letter["retries"], letter["priority"]) == (0, 0, 9)
        assert letter["subscription"] is None
        assert text.encode() in courier.get("/dead-letters").body, "verbatim"

    def test_event_that_was_seen_or_not_asked_for_is_none(self, courier):
        """Live, through a queue beside another subscription, and out of the history: each is seen."""
        alone, beside = Speaker(courier.port, "/ws/alone"), V1(courier.port)
        beside.subscribe("queued")
        beside.subscribe("other")
        keep(courier, "alone", {"n": 1})
        keep(courier, "queued", {"n": 2})
        assert alone.body() == {"n": 1} and beside.body() == {"n": 2}
        late = keep(courier, "replayed", {"n": 3}, ttl=0.5)["id"]
        replayed = Speaker(courier.port, f"/ws/replayed?after={late.split('-')[0]}-{offset(late) - 1}")
        assert replayed.body() == {"n": 3}
        courier.post("/publish", {"channel": "plain", "data": {"n": 4}, "ttl": SHORT})
        courier.post("/publish", {"channel": "timeless", "data": {"n": 5}, "keep": True})
        keep(courier, "last", {"n": 6}, ttl=0.8)  # the last to expire: when it is there the others would be too
        wait_until(lambda: listed(courier)["letters"], what="the last has expired")
        assert [letter["channel"] for letter in listed(courier)["letters"]] == ["last"]

    def test_event_that_expires_in_the_queue_of_a_subscriber_is_one(self, start_courier):
        """Put into a queue, and gone from it before the socket took it: `clients_reached` counts it, nobody saw it."""
        from support.flood import SMALL_BUFFER_BYTES, FILL

        courier = start_courier({"outbox.events": 100_000, "outbox.bytes": 64 << 20})
        stuck = Speaker(courier.port, "/ws/a", receive_buffer=SMALL_BUFFER_BYTES)
        for n in range(800):
            courier.publish("a", {"n": n, "fill": FILL})
        assert keep(courier, "a", {"lost": True})["clients_reached"] == 1
        letter = wait_until(lambda: listed(courier)["letters"], what="it has expired in the queue")[0]
        assert letter["event"] == {"lost": True}
        stuck.reset()

    def test_setting_keeps_all_that_expire(self, start_courier):
        courier = start_courier({"dead_letters.expired": True})
        courier.post("/publish", {"channel": "a", "data": {"n": 1}, "ttl": SHORT})
        wait_until(lambda: listed(courier)["total"] == 1, what="it has expired")

    def test_keep_on_a_socket_and_in_a_batch(self, courier):
        peer = V1(courier.port)
        assert peer.command("publish", channel="a", data={"n": 1}, ttl=SHORT, keep=True)["type"] == "published"
        courier.post("/publish/batch", json.dumps([{"channel": "b", "data": {"n": 2}, "ttl": SHORT, "keep": True}]).encode())
        wait_until(lambda: listed(courier)["total"] == 2, what="both have expired")

    @pytest.mark.parametrize("value", ["yes", 1, [], "true", {}])
    def test_keep_is_a_boolean(self, courier, value):
        answer = courier.post("/publish", {"channel": "a", "data": {"n": 1}, "ttl": 1, "keep": value})
        assert answer.status == 400
        assert [error["field"] for error in answer.detail["validation_errors"]] == ["/keep"]

    def test_letter_is_told_on_its_own_channel_and_to_no_pattern(self, courier):
        keep(courier, "a", {"n": 1}, ttl=1)  # before there is somebody who would hear it
        exact, everything, router = V1(courier.port), V1(courier.port), Router(courier.port)
        exact.subscribe(LETTERS_CHANNEL)
        everything.subscribe(None, pattern="*")
        router.subscribe("*", "courier.*")
        all_of_it = FreqSearch(courier.port)
        told = exact.event()
        letter = listed(courier)["letters"][0]
        assert (told["id"], told["event"]) == (letter["id"], {name: letter[name] for name in FIELDS - {"id"}})
        purge(courier, id=letter["id"])
        gone = exact.body()
        assert (gone["type"], gone["ids"]) == ("dead_letter.purged", [letter["id"]])
        for n, peer in enumerate((everything, router, all_of_it.fence())):
            peer.gets_only(courier, "b", *[{"type": "marker", "marker": True}] * n)

    def test_its_channel_takes_no_publish(self, courier):
        assert courier.post(f"/publish/{LETTERS_CHANNEL}", {"n": 1}).status == 403
        assert courier.post("/publish", {"channel": LETTERS_CHANNEL, "data": {"n": 1}}).status == 403
        assert V1(courier.port).command("publish", channel=LETTERS_CHANNEL, data={"n": 1})["type"] == "error"
        answer = Router(courier.port).ask({"type": "publish", "event": {"topic": LETTERS_CHANNEL, "payload": {}}})
        assert answer["type"] == "error", answer
        assert listed(courier)["total"] == 0


class TestList:
    def test_oldest_first_filtered_and_paged(self, courier):
        first = bury(courier, "a", *({"n": n} for n in range(5)))
        second = bury(courier, "b", *({"n": n} for n in range(3)))
        ids = [letter["id"] for letter in first + second]
        found = listed(courier)
        assert (found["total"], [letter["id"] for letter in found["letters"]]) == (8, ids)
        assert len(set(ids)) == 8
        assert [letter["id"] for letter in listed(courier, channel="b")["letters"]] == ids[5:]
        assert listed(courier, channel="b")["total"] == 3
        assert listed(courier, reason="sink")["letters"] == []
        assert listed(courier, before="2020-01-01T00:00:00Z")["total"] == 0
        assert listed(courier, before="2100-01-01T00:00:00Z")["total"] == 8
        assert [letter["id"] for letter in listed(courier, id=ids[3])["letters"]] == [ids[3]]
        paged, query = [], {}
        while letters := listed(courier, limit=3, **query)["letters"]:
            paged += [letter["id"] for letter in letters]
            query = {"after": paged[-1]}
        assert paged == ids

    @pytest.mark.parametrize(
        "query",
        ["limit=0", "limit=1001", "limit=x", "reason=boredom", "channel=a%20b", "after=nonsense", "id=x", "before=now"],
    )
    def test_wrong_question_is_400(self, courier, query):
        answer = courier.get("/dead-letters?" + query)
        field = "/" + query.split("=")[0]
        assert answer.status == 400 and [e["field"] for e in answer.detail["validation_errors"]] == [field]

    @pytest.mark.parametrize("query", ["", "limit=5", "chanel=a", "all=yes", "all=true&channel=a", "id=", "reason=x"])
    def test_slip_of_the_pen_purges_and_retries_nothing(self, courier, query):
        bury(courier, "a", {"n": 1})
        assert courier.request("DELETE", "/dead-letters?" + query).status == 400
        assert courier.post("/dead-letters/retry?" + query, b"").status == 400
        assert listed(courier)["total"] == 1

    def test_other_methods_are_405(self, courier):
        for target in ("/dead-letters", "/dead-letters/retry"):
            answer = courier.request("PUT", target, b"{}")
            assert answer.status == 405 and answer.header("allow")
        assert courier.request("HEAD", "/dead-letters").status == 200

    def test_empty_list_is_empty(self, courier):
        assert listed(courier) == {"total": 0, "letters": []}

    def test_unknown_letter_is_404(self, courier):
        assert courier.get("/dead-letters?id=00000000-1").status == 404
        purge(courier, 404, id="00000000-1")
        retry(courier, 404, id="00000000-1")


class TestRetryAndPurge:
    def test_retry_publishes_again_and_the_letter_is_gone(self, courier):
        letter = bury(courier, "a", {"n": 1})[0]
        peer = Speaker(courier.port, "/ws/a")
        said = retry(courier, id=letter["id"])
        assert (said["retried"], said["failed"], said["left"]) == (1, 0, 0)
        done = said["letters"][0]
        assert (done["id"], done["channel"], done["status"], done["clients_reached"]) == (letter["id"], "a", "published", 1)
        assert offset(done["position"]) > offset(letter["position"])
        assert peer.body() == {"n": 1}
        assert listed(courier)["total"] == 0
        retry(courier, 404, id=letter["id"])

    def test_retry_of_all_that_match_keeps_their_order(self, courier):
        bury(courier, "a", *({"n": n} for n in range(10)))
        bury(courier, "b", {"n": "other"})
        peer = Speaker(courier.port, "/ws/a")
        assert retry(courier, channel="a")["retried"] == 10
        assert peer.bodies(10) == [{"n": n} for n in range(10)]
        assert [letter["channel"] for letter in listed(courier)["letters"]] == ["b"]
        assert retry(courier, channel="a") == {"retried": 0, "failed": 0, "left": 0, "letters": []}

    def test_more_than_one_retry_takes_are_left_and_told(self, courier):
        bury(courier, "a", *({"n": n} for n in range(300)))
        said = retry(courier, all="true")
        assert (said["retried"], said["left"]) == (256, 44)
        assert retry(courier, all="true")["retried"] == 44 and listed(courier)["total"] == 0

    def test_router_event_comes_back_as_one(self, courier):
        router = Router(courier.port)
        router.publish("a", {"n": 1}, id="11111111-2222-4333-8444-555555555555")
        letter = bury(courier, "b", {"n": 2})[0]
        assert letter["router"] is False
        router.subscribe("b")
        retry(courier, id=letter["id"])
        assert router.body() == {"n": 2}

    def test_retry_that_cannot_be_taken_stays_with_its_reason(self, start_courier):
        """The limit on sizes was lowered since: each retry is a new death, and the count of retries tells."""
        courier = start_courier(config="max_event_size: 5000\nmailbox: {bytes: 100000}\n")
        bury(courier, "a", {"fill": "x" * 3000})
        courier.config_path.write_text("max_event_size: 1000\nmailbox: {bytes: 100000}\n")
        courier.signal(1)
        wait_until(lambda: courier.post("/publish/b", {"fill": "x" * 3000}).status == 413, what="reloaded")
        for retries in (1, 2):
            said = retry(courier, all="true")
            assert (said["retried"], said["failed"]) == (0, 1)
            assert said["letters"][0]["status"] == "error" and "size" in said["letters"][0]["error"]
            letter = wait_until(lambda: listed(courier)["letters"], what="it is a letter again")[0]
            assert (letter["reason"], letter["retries"]) == ("refused", retries) and "size" in letter["detail"]

    def test_purge_of_one_and_of_all_that_match(self, courier):
        letters = bury(courier, "a", *({"n": n} for n in range(4)))
        bury(courier, "b", {"n": 1})
        assert purge(courier, id=letters[1]["id"]) == {"purged": 1}
        purge(courier, 404, id=letters[1]["id"])
        assert purge(courier, channel="a") == {"purged": 3}
        assert purge(courier, reason="sink") == {"purged": 0}
        assert purge(courier, all="true") == {"purged": 1}
        assert listed(courier)["total"] == 0


class TestBounds:
    def test_oldest_go_by_count_and_it_is_counted(self, start_courier):
        courier = start_courier({"dead_letters.events": 5})
        bury(courier, "a", *({"n": n} for n in range(5)))
        keep(courier, "a", {"n": 5})
        numbers = [1, 2, 3, 4, 5]
        wait_until(lambda: [e["event"]["n"] for e in listed(courier)["letters"]] == numbers, what="the oldest is gone")
        shards = courier.stats()["shards"]
        assert sum(shard["dead_letters"] for shard in shards) == 6
        assert sum(shard["dead_letters_dropped"] for shard in shards) == 1

    def test_oldest_go_by_bytes(self, start_courier):
        courier = start_courier({"dead_letters.bytes": 10_000})
        for n in range(5):
            keep(courier, "a", {"n": n, "fill": "x" * 4000})
            wait_until(lambda n=n: [e["event"]["n"] for e in listed(courier)["letters"]][-1:] == [n], what="it has died")
        assert [letter["event"]["n"] for letter in listed(courier)["letters"]] == [3, 4]

    def test_age_ends_them(self, start_courier):
        courier = start_courier({"dead_letters.ttl": 1})
        bury(courier, "a", {"n": 1})
        wait_until(lambda: listed(courier)["total"] == 0, what="it is too old")

    def test_none_are_kept_where_none_are_wanted(self, start_courier):
        courier = start_courier({"dead_letters.events": 0})
        keep(courier, "a", {"n": 1})
        peer = Speaker(courier.port, "/ws/b")
        courier.post("/publish", {"channel": "b", "data": {"n": 2}, "ttl": 5, "keep": True})
        assert peer.body() == {"n": 2} and listed(courier)["total"] == 0


class TestRestart:
    @pytest.mark.parametrize("fsync", ["always", "interval"])
    def test_letters_of_a_durable_channel_survive_kill_9(self, start_courier, tmp_path, fsync):
        rules = f'channel_options:\n  - {{match: "{LETTERS_CHANNEL}", history: {{durable: true, size: 10}}}}\n'
        settings = {"storage.dir": tmp_path, "storage.fsync": fsync, "shards": 2}
        first = start_courier(settings, config=rules)
        letters = bury(first, "a", *({"n": n} for n in range(30)))
        purge(first, id=letters[3]["id"])
        retry(first, id=letters[5]["id"])
        left = listed(first, limit=1000)["letters"]
        assert len(left) == 28
        wait_until(lambda: files_that_hold(tmp_path, b"retried"), what="written")
        kill(first)
        second = start_courier(settings, config=rules)
        assert wait_until(lambda: listed(second, limit=1000)["letters"] == left, what="all are there again") is True
        more = bury(second, "a", {"n": 30})[0]
        assert offset(more["id"]) > offset(left[-1]["id"])
        assert retry(second, all="true")["retried"] == 29

    def test_without_a_durable_channel_they_end_with_the_server(self, start_courier, tmp_path):
        first = start_courier(durable(tmp_path) | {"history.durable": False})
        bury(first, "a", {"n": 1})
        first.stop()
        assert listed(start_courier(durable(tmp_path) | {"history.durable": False}))["total"] == 0


def dead(courier, *words):
    return run_to_end("dead", *words, "--server", f"127.0.0.1:{courier.port}")


class TestCommand:
    def test_list_as_text_and_as_json(self, courier):
        letters = bury(courier, "a", {"n": 1}, {"n": 2}) + bury(courier, "b", {"n": 3})
        ended = dead(courier, "list")
        assert ended.returncode == 0, ended.stderr
        lines = ended.stdout.splitlines()
        assert len(lines) == 3
        for line, letter in zip(lines, letters, strict=True):
            assert {letter["id"], letter["channel"], "expired"} <= set(line.split())
        ended = dead(courier, "list", "--json", "--channel", "b")
        assert [json.loads(line) for line in ended.stdout.splitlines()] == letters[2:]
        assert len(dead(courier, "list", "--json", "--limit", "2").stdout.splitlines()) == 2
        assert dead(courier, "list", letters[1]["id"]).stdout.splitlines() == lines[1:2]

    def test_retry_and_purge(self, courier):
        letters = bury(courier, "a", *({"n": n} for n in range(4)))
        peer = Speaker(courier.port, "/ws/a")
        ended = dead(courier, "retry", letters[2]["id"], letters[0]["id"])
        assert ended.returncode == 0 and "2" in ended.stdout, ended
        assert peer.bodies(2) == [{"n": 2}, {"n": 0}]
        assert dead(courier, "purge", letters[1]["id"]).returncode == 0
        assert dead(courier, "retry", "--channel", "a").returncode == 0
        assert peer.body() == {"n": 3}
        peer.leave()
        bury(courier, "a", {"n": 1})
        assert "1" in dead(courier, "purge", "--all").stdout
        assert listed(courier)["total"] == 0

    def test_wrong_words_and_unknown_letters_are_told(self, courier):
        for words, code in ((["retry"], 1), (["purge"], 1), (["polish"], 2), (["retry", "00000000-1"], 1), (["purge", "nonsense"], 1)):
            ended = dead(courier, *words)
            assert ended.returncode == code and ended.stderr.strip() and not PANIC.search(ended.stderr), (words, ended)

    def test_server_that_is_not_there_is_told(self, courier):
        courier.stop()
        ended = dead(courier, "list")
        assert ended.returncode == 1 and str(courier.port) in ended.stderr and not PANIC.search(ended.stderr)
