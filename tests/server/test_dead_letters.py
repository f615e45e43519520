"""Dead letters (issue 5): what becomes one, the list, retry and purge over HTTP and by command, and their bounds."""

import json
import re

import pytest

from support.flood import offset
from support.process import PANIC, run_to_end, wait_until
from support.speakers import V1, Router, Speaker

LETTERS_CHANNEL = "courier.dead-letters"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
FIELDS = {"id", "channel", "event", "position", "reason", "detail", "deliveries", "timestamp", "subscription"}


@pytest.fixture
def courier(start_courier):
    return start_courier()


def listed(courier, **query) -> dict:
    answer = courier.get("/dead-letters?" + "&".join(f"{name}={value}" for name, value in query.items()))
    assert answer.status == 200, answer.body
    found = answer.json()
    for letter in found["letters"]:
        assert set(letter) >= FIELDS and TIME.match(letter["timestamp"]) and letter["detail"], letter
    return found


def bury(courier, channel: str, *events: dict) -> list[dict]:
    """Makes dead letters of events: a subscriber rejects each. Answers the letters."""
    known = listed(courier, channel=channel, limit=1000)["total"]
    peer = V1(courier.port)
    peer.subscribe(channel, ack=True)
    for event in events:
        position = courier.publish(channel, event)["id"]
        assert peer.event()["id"] == position
        assert peer.command("nack", channel=channel, id=position, dead=True)["count"] == 1
    peer.leave()
    wait_until(lambda: listed(courier, channel=channel)["total"] == known + len(events), what="the letters are there")
    return listed(courier, channel=channel, limit=1000)["letters"][known:]


def keep(courier, channel: str, event: dict, ttl: float) -> dict:
    answer = courier.post("/publish", {"channel": channel, "data": event, "ttl": ttl, "keep": True})
    assert answer.status == 200, answer.body
    return answer.json()


class TestWhatBecomesOne:
    def test_rejected_event_is_kept_whole(self, courier):
        text = b'{ "b" : 1.50, "a":"\\u00e9", "b": [ ] }'
        peer = V1(courier.port)
        subscription = peer.subscribe("a", ack=True)["id"]
        position = courier.post("/publish/a", text).json()["id"]
        peer.event()
        peer.command("nack", channel="a", id=position, dead=True)
        letter = wait_until(lambda: listed(courier)["letters"], what="the letter")[0]
        assert (letter["channel"], letter["position"], letter["reason"]) == ("a", position, "rejected")
        assert (letter["deliveries"], letter["subscription"]) == (1, subscription)
        assert text in courier.get("/dead-letters").body, "verbatim"

    def test_event_that_expires_unseen_when_asked_to_be_kept(self, courier):
        position = keep(courier, "a", {"n": 1}, 0.2)["id"]
        letter = wait_until(lambda: listed(courier)["letters"], what="it has expired")[0]
        assert (letter["reason"], letter["position"], letter["event"], letter["deliveries"]) == ("expired", position, {"n": 1}, 0)

    def test_event_that_was_seen_or_not_asked_for_is_none(self, courier):
        peer = Speaker(courier.port, "/ws/seen")
        keep(courier, "seen", {"n": 1}, 0.2)
        assert peer.body() == {"n": 1}
        late = keep(courier, "replayed", {"n": 2}, 1)["id"]
        replayed = Speaker(courier.port, f"/ws/replayed?after={late.split('-')[0]}-{offset(late) - 1}")
        assert replayed.body() == {"n": 2}
        courier.post("/publish", {"channel": "plain", "data": {"n": 3}, "ttl": 0.2})
        keep(courier, "last", {"n": 4}, 1.3)  # the last to expire: when it is there the others would be too
        wait_until(lambda: listed(courier)["letters"], what="the last has expired")
        assert [letter["channel"] for letter in listed(courier)["letters"]] == ["last"]

    def test_keep_in_the_query_and_on_a_socket(self, courier):
        peer = V1(courier.port)
        assert peer.command("publish", channel="a", data={"n": 1}, ttl=0.2, keep=True)["type"] == "published"
        wait_until(lambda: listed(courier, channel="a")["total"] == 1, what="it has expired")

    @pytest.mark.parametrize("value", ["yes", 1, [], "true"])
    def test_keep_is_a_boolean(self, courier, value):
        answer = courier.post("/publish", {"channel": "a", "data": {"n": 1}, "ttl": 1, "keep": value})
        assert answer.status == 400
        assert [error["field"] for error in answer.detail["validation_errors"]] == ["/keep"]

    def test_letter_is_announced_on_its_own_channel_and_nowhere_else(self, courier):
        exact, everything, router = V1(courier.port), V1(courier.port), Router(courier.port)
        exact.subscribe(LETTERS_CHANNEL)
        everything.subscribe(None, pattern="*")
        router.subscribe("*")
        letter = bury(courier, "a", {"n": 1})[0]
        told = exact.event()["event"]
        assert told["type"] == "dead_letter" and {name: told[name] for name in FIELDS} == {name: letter[name] for name in FIELDS}
        for peer in (everything, router):
            assert peer.body() == {"n": 1}
            peer.gets_only(courier, "b")

    def test_its_channel_takes_no_publish(self, courier):
        assert courier.post(f"/publish/{LETTERS_CHANNEL}", {"n": 1}).status == 403
        assert V1(courier.port).command("publish", channel=LETTERS_CHANNEL, data={"n": 1})["type"] == "error"


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
        assert listed(courier, reason="expired")["letters"] == []
        paged, query = [], {}
        while letters := listed(courier, limit=3, **query)["letters"]:
            paged += [letter["id"] for letter in letters]
            query = {"after": paged[-1]}
        assert paged == ids

    @pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "reason=boredom", "channel=a%20b", "after=nonsense"])
    def test_wrong_question_is_400(self, courier, query):
        answer = courier.get("/dead-letters?" + query)
        assert answer.status == 400 and answer.detail["message"]

    def test_other_methods_are_405(self, courier):
        for target in ("/dead-letters", "/dead-letters/dl_1/retry"):
            answer = courier.request("PUT", target, b"{}")
            assert answer.status == 405 and answer.header("allow")

    def test_empty_list_is_empty(self, courier):
        assert listed(courier) == listed(courier) | {"total": 0, "letters": []}

    def test_it_is_described(self, courier):
        paths = courier.get("/openapi.json").json()["paths"]
        assert {"get", "delete"} <= set(paths["/dead-letters"])
        assert any("retry" in path for path in paths)


class TestRetryAndPurge:
    def test_retry_publishes_again_and_the_letter_is_gone(self, courier):
        letter = bury(courier, "a", {"n": 1})[0]
        peer = Speaker(courier.port, "/ws/a")
        answer = courier.post(f"/dead-letters/{letter['id']}/retry", b"")
        assert answer.status == 200, answer.body
        said = answer.json()
        assert (said["status"], said["id"]) == ("retried", letter["id"])
        assert (said["published"]["channel"], said["published"]["clients_reached"]) == ("a", 1)
        assert offset(said["published"]["id"]) > offset(letter["position"])
        assert peer.body() == {"n": 1}
        assert listed(courier)["total"] == 0
        assert courier.post(f"/dead-letters/{letter['id']}/retry", b"").status == 404

    def test_retry_of_all_that_match_keeps_their_order(self, courier):
        bury(courier, "a", *({"n": n} for n in range(10)))
        bury(courier, "b", {"n": "other"})
        peer = Speaker(courier.port, "/ws/a")
        assert courier.post("/dead-letters/retry?channel=a", b"").json() == {"retried": 10, "failed": 0}
        assert peer.bodies(10) == [{"n": n} for n in range(10)]
        assert [letter["channel"] for letter in listed(courier)["letters"]] == ["b"]

    def test_event_that_is_rejected_again_is_a_letter_again(self, courier):
        letter = bury(courier, "a", {"n": 1})[0]
        peer = V1(courier.port)
        peer.subscribe("a", ack=True)
        position = courier.post(f"/dead-letters/{letter['id']}/retry", b"").json()["published"]["id"]
        peer.event()
        peer.command("nack", channel="a", id=position, dead=True)
        again = wait_until(lambda: listed(courier)["letters"], what="the letter")[0]
        assert again["id"] != letter["id"] and again["position"] == position

    def test_purge_of_one_and_of_all_that_match(self, courier):
        letters = bury(courier, "a", *({"n": n} for n in range(4)))
        bury(courier, "b", {"n": 1})
        answer = courier.request("DELETE", f"/dead-letters/{letters[1]['id']}")
        assert (answer.status, answer.json()) == (200, {"purged": 1})
        assert courier.request("DELETE", f"/dead-letters/{letters[1]['id']}").status == 404
        assert courier.request("DELETE", "/dead-letters?channel=a").json() == {"purged": 3}
        assert courier.request("DELETE", "/dead-letters?reason=expired").json() == {"purged": 0}
        assert courier.request("DELETE", "/dead-letters").json() == {"purged": 1}
        assert listed(courier)["total"] == 0

    @pytest.mark.parametrize("target", ["/dead-letters/nonsense", "/dead-letters/dl_000000000000", "/dead-letters/" + "x" * 500])
    def test_unknown_letter_is_404(self, courier, target):
        assert courier.request("DELETE", target).status in (400, 404)
        assert courier.post(target + "/retry", b"").status in (400, 404)


class TestBounds:
    def test_oldest_go_by_count_and_it_is_counted(self, start_courier):
        courier = start_courier({"dead_letters.size": 5})
        bury(courier, "a", *({"n": n} for n in range(5)))
        peer = V1(courier.port)
        peer.subscribe("a", ack=True)
        position = courier.publish("a", {"n": 5})["id"]
        peer.event()
        peer.command("nack", channel="a", id=position, dead=True)
        wait_until(lambda: [each["event"]["n"] for each in listed(courier)["letters"]] == [1, 2, 3, 4, 5], what="the oldest is gone")
        shards = courier.stats()["shards"]
        assert sum(shard["dead_letters_dropped"] for shard in shards) == 1

    def test_age_ends_them(self, start_courier):
        courier = start_courier({"dead_letters.ttl": 1})
        bury(courier, "a", {"n": 1})
        wait_until(lambda: listed(courier)["total"] == 0, what="it is too old")

    def test_size_0_keeps_none(self, start_courier):
        courier = start_courier({"dead_letters.size": 0})
        peer = V1(courier.port)
        peer.subscribe("a", ack=True)
        position = courier.publish("a", {"n": 1})["id"]
        peer.event()
        peer.command("nack", channel="a", id=position, dead=True)
        assert peer.command("ping")["type"] == "pong" and listed(courier)["total"] == 0


def dead_letters(courier, *words):
    return run_to_end("dead-letters", *words, "--server", f"http://127.0.0.1:{courier.port}")


class TestCommand:
    def test_list_as_text_and_as_json(self, courier):
        letters = bury(courier, "a", {"n": 1}, {"n": 2}) + bury(courier, "b", {"n": 3})
        ended = dead_letters(courier, "list")
        assert ended.returncode == 0, ended.stderr
        lines = [line for line in ended.stdout.splitlines() if "dl_" in line]
        assert len(lines) == 3
        for line, letter in zip(lines, letters, strict=True):
            assert letter["id"] in line and letter["channel"] in line.split() and "rejected" in line
        ended = dead_letters(courier, "list", "--json", "--channel", "b")
        assert [json.loads(line) for line in ended.stdout.splitlines()] == letters[2:]
        assert len(dead_letters(courier, "list", "--json", "--limit", "2").stdout.splitlines()) == 2

    def test_retry_and_purge(self, courier):
        letters = bury(courier, "a", *({"n": n} for n in range(4)))
        peer = Speaker(courier.port, "/ws/a")
        ended = dead_letters(courier, "retry", letters[2]["id"], letters[0]["id"])
        assert ended.returncode == 0 and "2" in ended.stdout, ended
        assert peer.bodies(2) == [{"n": 2}, {"n": 0}]
        assert dead_letters(courier, "purge", letters[1]["id"]).returncode == 0
        assert dead_letters(courier, "retry", "--all", "--channel", "a").returncode == 0
        assert peer.body() == {"n": 3}
        bury(courier, "a", {"n": 1})
        assert "1" in dead_letters(courier, "purge", "--all").stdout
        assert listed(courier)["total"] == 0

    def test_wrong_words_and_unknown_letters_are_told(self, courier):
        for words, code in ((["retry"], 2), (["purge"], 2), (["polish"], 2), (["retry", "dl_000000000000"], 1), (["purge", "nonsense"], 1)):
            ended = dead_letters(courier, *words)
            assert ended.returncode == code and ended.stderr.strip() and not PANIC.search(ended.stderr), (words, ended)

    def test_server_that_is_not_there_is_told(self, courier):
        courier.stop()
        ended = dead_letters(courier, "list")
        assert ended.returncode == 1 and str(courier.port) in ended.stderr and not PANIC.search(ended.stderr)
