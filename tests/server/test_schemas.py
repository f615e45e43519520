"""Events are checked against the schemas of their types: what is refused and how, what is stamped, what a folder and a
reload change, and what the command line says of schema files."""

import json
import signal
import threading
from pathlib import Path

import pytest

from support.process import PROJECT, run_to_end, wait_until
from support.speakers import Speaker

EXAMPLES = json.loads((PROJECT / "tests/schemas/examples.json").read_text())
PROGRESS = {
    "type": "backtest.progress", "source": "cartographe", "backtest_id": "b", "job_id": "j", "user_id": "u",
    "progress": 0.5, "stage": "run", "message": "half",
}  # fmt: skip
NESTED = {
    "type": "forge.job.progress", "metadata": {"source": "forge"},
    "data": {"job_id": "j", "user_id": "u", "progress": 0.5, "stage": "run", "message": "half"},
}  # fmt: skip


def refused(courier, event, channel="strategy.a", headers=None) -> dict:
    answer = courier.post(f"/publish/{channel}", event, headers)
    assert answer.status == 400, (answer.status, answer.body)
    return answer.json()["detail"]


def fields(detail: dict) -> list[str]:
    return [error["field"] for error in detail["validation_errors"]]


class TestKnownTypes:
    @pytest.mark.parametrize("kind", sorted(EXAMPLES["types"]))
    def test_good_ones_pass_and_bad_ones_are_named_field_by_field(self, hub, kind):
        for event in EXAMPLES["types"][kind]["good"]:
            assert hub.publish("any.channel", event)["event_type"] == kind
        for example in EXAMPLES["types"][kind]["bad"][:12]:
            detail = refused(hub, example["event"])
            assert detail["error"] == "Event validation failed" and detail["event_type"] == kind
            assert set(example["fields"]) <= set(fields(detail)), (example, detail)

    def test_what_the_documents_show_passes(self, hub):
        for event in EXAMPLES["shown"]:
            hub.publish("sys", event)

    def test_progress_out_of_range_is_400_in_both_forms(self, hub):
        for value in (-0.1, 1.1, 2, "0.5", None, True):
            assert fields(refused(hub, PROGRESS | {"progress": value})) == ["/progress"]
            nested = NESTED | {"data": NESTED["data"] | {"progress": value}}
            assert fields(refused(hub, nested)) == ["/data/progress"]
        for value in (0, 1, 0.5, 1.0):
            hub.publish("backtest.b", PROGRESS | {"progress": value})

    def test_every_failing_field_is_named_at_once(self, hub):
        detail = refused(hub, {"type": "trade.signal_generated", "source": "s", "direction": "up", "confidence": 7,
                               "strategy_id": 1})  # fmt: skip
        assert {"/direction", "/confidence", "/strategy_id", "/user_id", "/signal_id", "/token", "/reason",
                "/price_at_signal"} == set(fields(detail))  # fmt: skip
        messages = {error["field"]: error["message"] for error in detail["validation_errors"]}
        assert messages["/direction"] == 'must be one of "buy", "sell"'
        assert messages["/confidence"] == "must be at most 1"
        assert messages["/token"] == "Field required"

    def test_both_ways_to_publish_and_a_batch_and_a_socket_ask_the_same(self, hub, channel):
        bad = PROGRESS | {"progress": 2}
        enveloped = hub.post("/publish", {"channel": channel, "data": bad})
        assert (enveloped.status, fields(enveloped.json()["detail"])) == (400, ["/progress"])
        results = hub.post("/publish/batch", json.dumps(
            [{"channel": channel, "data": bad}, {"channel": channel, "data": PROGRESS}]).encode()).json()  # fmt: skip
        assert [result.get("code", 200) for result in results] == [400, 200]
        assert fields(results[0]["detail"]) == ["/progress"]
        cloud = {"specversion": "1.0", "id": "1", "source": "s", "type": "backtest.progress"}
        data = {name: PROGRESS[name] for name in ("backtest_id", "job_id", "user_id", "progress", "stage", "message")}
        structured = {"Content-Type": "application/cloudevents+json"}
        assert hub.post(f"/publish/{channel}", cloud | {"data": data}, structured).status == 200
        detail = refused(hub, cloud | {"data": data | {"progress": 2}}, channel, structured)
        assert fields(detail) == ["/data/progress"]

    def test_problem_document_has_the_same_facts(self, hub):
        answer = hub.post("/publish/a", PROGRESS | {"progress": 2}, {"Accept": "application/problem+json"})
        body = answer.json()
        assert (body["title"], body["status"]) == ("Event validation failed", 400)
        assert (fields(body), body["event_type"]) == (["/progress"], "backtest.progress")

    def test_nothing_of_a_refused_event_is_delivered_or_kept(self, hub, channel):
        peer = Speaker(hub.port, f"/ws/{channel}")
        refused(hub, PROGRESS | {"progress": 2}, channel)
        hub.publish(channel, {"n": 1})
        assert peer.event() == {"n": 1}
        assert len(hub.get(f"/history/{channel}").json()["events"]) == 1

    def test_source_must_still_be_the_service(self, hub):
        detail = refused(hub, PROGRESS, headers={"X-Service-Name": "other"})
        assert detail["error"] == "Event source mismatch"


class TestHostileEvents:
    def test_ten_thousand_fields_are_told_up_to_a_bound(self, hub):
        data = NESTED["data"] | {f"k{n}": n for n in range(10_000)}
        detail = refused(hub, NESTED | {"data": data})
        assert len(detail["validation_errors"]) == 100 and detail["validation_errors_total"] == 10_000

    def test_names_and_values_of_any_length_are_not_sent_back(self, hub):
        event = NESTED | {"data": NESTED["data"] | {"x" * 100_000: 1, "message": ["secret" * 10_000]}}
        answer = hub.post("/publish/a", event)
        assert answer.status == 400 and len(answer.body) < 4_000 and b"secret" not in answer.body

    def test_a_name_said_twice_is_refused(self, hub):
        text = json.dumps(PROGRESS)[:-1] + ', "progress": 5, "\\u0070rogress": 0.1}'
        assert fields(refused(hub, text.encode())) == ["/progress"]

    @pytest.mark.parametrize("number, good", [("1e999", False), ("-1e999", False), ("1e-999", True), ("9" * 400, False)])
    def test_numbers_of_any_size_are_judged(self, hub, number, good):
        text = json.dumps(PROGRESS).replace("0.5", number)
        assert hub.post("/publish/a", text.encode()).status == (200 if good else 400)

    def test_a_deep_event_is_judged_or_refused(self, hub):
        deep = lambda n: b'{"type":"order.filled","more":' + b"[" * n + b"]" * n + b"}"  # noqa: E731
        assert hub.post("/publish/a", deep(120)).status == 200
        assert hub.post("/publish/a", deep(128)).status == 400

    def test_half_a_megabyte_of_wrong_items_does_not_hold_the_shard(self, hub):
        answer = hub.post("/publish/a", {"type": "dashboard.signal", "reasons": [1] * 150_000})
        assert answer.status == 400 and len(answer.body) < 1_000


class TestStamp:
    def heard(self, courier, event) -> dict:
        peer = Speaker(courier.port, "/ws/stamped")
        answer = courier.publish("stamped", event)
        heard = peer.event()
        peer.leave()
        assert heard.get("timestamp", heard.get("metadata", {}).get("timestamp", answer["timestamp"])) == answer["timestamp"]
        return heard

    def test_a_checked_event_without_a_timestamp_gets_one_in_its_form(self, hub):
        heard = self.heard(hub, PROGRESS)
        assert heard.pop("timestamp").endswith("Z") and heard == PROGRESS
        heard = self.heard(hub, NESTED)
        assert heard["metadata"].pop("timestamp").endswith("Z") and heard == NESTED

    def test_its_own_timestamp_is_kept_and_answered(self, hub):
        own = PROGRESS | {"timestamp": "2026-11-21T14:36:15.123Z"}
        assert self.heard(hub, own) == own

    def test_what_no_schema_checks_is_forwarded_verbatim(self, hub):
        for event in ({"type": "mine", "n": 1}, {"event": "subscription.created"}, {"type": "task.running", "n": 1}):
            assert self.heard(hub, event) == event

    def test_never_means_never(self, start_courier):
        assert self.heard(start_courier({"stamp": "never"}), PROGRESS) == PROGRESS


class TestModes:
    def test_strict_refuses_types_that_nothing_describes(self, start_courier):
        courier = start_courier({"schemas.mode": "strict"})
        detail = refused(courier, {"type": "mine"})
        assert detail["error"] == "Event validation failed" and detail["event_type"] == "mine"
        assert detail["message"].startswith("Unknown event type: mine. Supported types: agent.completed, ")
        assert fields(detail) == ["/type"]
        assert len(refused(courier, {"type": "x" * 100_000})["message"]) < 3_000
        courier.publish("a", {"event": "payment.completed"})
        courier.publish("a", PROGRESS)

    def test_off_checks_nothing(self, start_courier):
        courier = start_courier({"schemas.mode": "off"})
        peer = Speaker(courier.port, "/ws/a")
        courier.publish("a", PROGRESS | {"progress": 7})
        assert peer.event() == PROGRESS | {"progress": 7}

    def test_a_channel_may_differ(self, start_courier):
        courier = start_courier(config='schemas: {mode: "off"}\nchannel_options: [{match: "s.*", schema: strict}, '
                                       '{match: "k.**", schema: known}]')  # fmt: skip
        bad = PROGRESS | {"progress": 7}
        courier.publish("a", bad)
        courier.publish("k.a.b", {"type": "mine"})
        assert fields(refused(courier, bad, "k.a.b")) == ["/progress"]
        assert fields(refused(courier, {"type": "mine"}, "s.a")) == ["/type"]

    def test_refusals_are_counted_by_type(self, start_courier):
        courier = start_courier({"schemas.mode": "strict"})
        for event in (PROGRESS | {"progress": 7}, PROGRESS | {"progress": 8}, {"type": "a"}, {"type": "b"}):
            refused(courier, event)
        assert courier.stats()["schemas"] == {
            "refused": 4, "refused_by_type": {"backtest.progress": 2, "(other)": 2},
        }  # fmt: skip


class TestFolder:
    OWN = {"required": ["n"], "properties": {"n": {"type": "integer"}}}

    def test_adds_types_and_replaces_shipped_ones(self, start_courier, tmp_path):
        (tmp_path / "mine.json").write_text(json.dumps(self.OWN))
        (tmp_path / "backtest.progress.json").write_text("true")
        courier = start_courier({"schemas.dir": tmp_path})
        assert fields(refused(courier, {"type": "mine"})) == ["/n"]
        courier.publish("a", PROGRESS | {"progress": 7})
        assert fields(refused(courier, {"type": "scout.progress", "progress": 101})) == ["/progress"]

    def test_mistakes_are_all_told_at_the_start(self, tmp_path):
        (tmp_path / "a.json").write_text('{"type": "strin"}')
        (tmp_path / "b.json").write_text('{"properties": {"x": {"$ref": "http://127.0.0.1:1/x.json"}}}')
        ended = run_to_end("serve", settings={"schemas.dir": tmp_path, "port": 0})
        assert ended.returncode == 1
        assert f"{tmp_path}/a.json: /type: " in ended.stderr
        assert f"{tmp_path}/b.json: /properties/x/$ref: leads to nothing in this file" in ended.stderr
        ended = run_to_end("check-config", settings={"schemas.dir": tmp_path})
        assert ended.returncode == 1 and "/a.json: /type: " in ended.stderr

    def test_reload_takes_new_schemas_and_keeps_the_old_ones_on_a_mistake(self, start_courier, tmp_path):
        courier = start_courier({"schemas.dir": tmp_path})
        courier.publish("a", {"type": "mine"})
        (tmp_path / "mine.json").write_text(json.dumps(self.OWN))
        peer = Speaker(courier.port, "/ws/other")
        courier.signal(signal.SIGHUP)
        wait_until(lambda: courier.post("/publish/a", {"type": "mine"}).status == 400, what="the new schema holds")
        (tmp_path / "mine.json").write_text('{"required": 5}')
        courier.signal(signal.SIGHUP)
        wait_until(lambda: "mine.json: /required: " in courier.stderr(), what="the mistake is logged")
        assert fields(refused(courier, {"type": "mine"})) == ["/n"]
        courier.publish("other", {"n": 1})
        assert peer.event() == {"n": 1}, "no client was dropped"

    def test_nothing_is_fetched(self, tmp_path):
        """A reference to a server is refused, and the server never hears of it."""
        import socket

        asked = threading.Event()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(0.5)
        (tmp_path / "a.json").write_text(
            json.dumps({"$id": "http://127.0.0.1/a", "$ref": f"http://127.0.0.1:{listener.getsockname()[1]}/x.json"})
        )
        ended = run_to_end("schema", "check", tmp_path / "a.json")
        try:
            listener.accept()
            asked.set()
        except TimeoutError:
            pass
        listener.close()
        assert ended.returncode == 1 and not asked.is_set(), ended.stderr


class TestCommandLine:
    def test_check_tells_good_files_and_every_mistake(self, tmp_path):
        good, bad, worse = tmp_path / "mine.json", tmp_path / "bad.json", tmp_path / "worse.json"
        good.write_text('{"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}')
        bad.write_text('{"type": 5, "properties": {"x": {"minLength": -1}}}')
        worse.write_text('{"anyOf": [true, {"properties": {"x": {"pattern": "("}}}]}')
        ended = run_to_end("schema", "check", good, bad, worse)
        assert ended.returncode == 1
        assert ended.stdout == f"{good}: ok, event type mine, 2 forms\n"
        assert f"{bad}: /type: " in ended.stderr and f"{bad}: /properties/x/minLength: " in ended.stderr
        assert f"{worse}: /anyOf/1/properties/x/pattern: " in ended.stderr
        assert run_to_end("schema", "check", good).returncode == 0

    def test_check_reads_no_more_of_a_file_than_may_be_in_it(self):
        """A device said to have no bytes was read until memory was out; so it was in schemas.dir, by a link."""
        ended = run_to_end("schema", "check", "/dev/zero")
        assert (ended.returncode, ended.stderr) == (1, "/dev/zero: is larger than the 262144 bytes of a schema file\n")

    def test_check_refuses_references_that_double_the_work_with_each_level(self, tmp_path):
        """Such a file once passed, and one event of 128 levels then held a core for good."""
        twice, tree = tmp_path / "twice.json", tmp_path / "tree.json"
        twice.write_text('{"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}')
        tree.write_text('{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {"type": "integer"}}}')
        ended = run_to_end("schema", "check", twice, tree)
        assert ended.returncode == 1
        assert ended.stdout == f"{tree}: ok, event type tree, 1 form\n"
        assert ended.stderr.startswith(
            f"{twice}: /properties/a: leads back to itself more than once for the same value "
            "(/properties/a/allOf/0/$ref, /properties/a/allOf/1/$ref)"
        )
        ended = run_to_end("serve", settings={"schemas.dir": tmp_path, "port": 0})
        assert ended.returncode == 1 and f"{twice}: /properties/a: leads back" in ended.stderr

    def test_an_event_as_deep_as_may_be_is_judged_by_a_schema_that_turns_back(self, start_courier, tmp_path):
        (tmp_path / "tree.json").write_text(
            '{"properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "n": {"type": "integer"}}}'
        )
        courier = start_courier({"schemas.dir": tmp_path})
        deep = lambda n: '{"type":"tree",' + '"left":{"right":{' * 60 + f'"n":{n}' + "}}" * 60 + "}"  # noqa: E731
        assert courier.post("/publish/a", deep(1).encode()).status == 200
        detail = refused(courier, deep('"one"').encode())
        (field,) = fields(detail)
        assert field.startswith("/left/right/left") and len(field) == 201, "it is told as far as pointers are"

    def test_test_names_each_failing_field(self, tmp_path):
        good, bad = tmp_path / "good.json", tmp_path / "bad.json"
        good.write_text(json.dumps(PROGRESS))
        bad.write_text(json.dumps(PROGRESS | {"progress": 2, "job_id": None}))
        ended = run_to_end("schema", "test", "backtest.progress", good, bad)
        assert (ended.returncode, ended.stdout) == (1, f"{good}: ok\n")
        assert ended.stderr == f"{bad}: /job_id must be a string\n{bad}: /progress must be at most 1\n"
        schema = tmp_path / "own.json"
        schema.write_text('{"required": ["n"]}')
        ended = run_to_end("schema", "test", schema, good)
        assert ended.returncode == 1 and "/type is backtest.progress" in ended.stderr

    def test_list_names_the_shipped_types(self):
        ended = run_to_end("schema", "list")
        assert ended.returncode == 0
        assert all(f"\n{kind}  " in f"\n{ended.stdout}" for kind in EXAMPLES["types"])
        assert {path.stem for path in Path(PROJECT / "config/schemas").glob("*.json")} == set(EXAMPLES["types"])
