"""Settings (contract 17, 18): every mistake at once and where it is, and a reload that drops nobody."""

import json
import re
import signal

import pytest

from support.frames import ScriptedPeer
from support.process import PANIC, PROJECT, run_to_end, wait_until

SETTING_NAMES = """
    host port shards listeners log_level log_format log_dir channels max_channels max_clients_per_channel
    max_total_connections max_connections_per_user max_connections_per_address
    max_subscriptions_per_connection heartbeat_interval heartbeat_format max_message_size max_event_size
    outbox history storage channel_options router auth schemas rate_limit cors tls compression shutdown
"""
BAD_FILE = """\
port: 99999
heartbeat_intervall: 30
outbox:
  events: many
  slow: explode
log_level: loud
shutdown: {grace: -1}
channels: 5
"""


class TestSettings:
    def check(self, tmp_path, text: str):
        file = tmp_path / "settings.yaml"
        file.write_text(text)
        return run_to_end("check-config", "--config", str(file))

    def test_all_mistakes_at_once_with_line_and_column(self, tmp_path):
        ended = self.check(tmp_path, BAD_FILE)
        said = ended.stdout + ended.stderr
        assert ended.returncode != 0 and not PANIC.search(said)
        places = set(re.findall(r":(\d+):(\d+)", said)) | set(re.findall(r"line (\d+),? column (\d+)", said))
        assert {int(line) for line, _ in places} == {1, 2, 4, 5, 6, 7, 8}, said

    def test_unknown_key_is_refused_with_the_nearest_name(self, tmp_path):
        said = self.check(tmp_path, "heartbeat_intervall: 30\n").stderr
        assert "heartbeat_intervall" in said
        assert re.search(r"\bheartbeat_interval\b", said)

    def test_nested_unknown_key_is_refused_too(self, tmp_path):
        said = self.check(tmp_path, "outbox: {evnts: 5}\n").stderr
        assert re.search(r"\bevents\b", said)

    @pytest.mark.parametrize(
        "text", ["port: [", "\t- x: {", "port: 1\nport: 2\n", "- 1\n- 2\n", "&a [*a]", "\x00", "port: *x\n"]
    )
    def test_file_that_is_no_settings_is_refused_without_a_panic(self, tmp_path, text):
        ended = self.check(tmp_path, text)
        assert ended.returncode != 0
        assert not PANIC.search(ended.stderr) and ended.stderr.strip()

    def test_serve_refuses_a_bad_file_like_check_config(self, tmp_path):
        file = tmp_path / "settings.yaml"
        file.write_text(BAD_FILE)
        ended = run_to_end("serve", "--config", str(file))
        assert ended.returncode != 0 and not PANIC.search(ended.stderr)
        assert "heartbeat_intervall" in ended.stderr and "explode" in ended.stderr

    def test_good_file_is_good(self, tmp_path):
        assert self.check(tmp_path, "port: 9000\noutbox: {events: 100}\nchannels: [a, b]\n").returncode == 0

    def test_empty_file_means_defaults(self, tmp_path):
        assert self.check(tmp_path, "").returncode == 0

    def test_shipped_file_is_good(self):
        shipped = PROJECT / "config/courier.yaml"
        assert run_to_end("check-config", "--config", str(shipped)).returncode == 0

    @pytest.mark.parametrize(
        "name, value",
        [("port", "abc"), ("shards", "-1"), ("outbox.events", "x"), ("heartbeat_interval", "1.5h")],
    )
    def test_bad_environment_setting_is_named(self, name, value):
        variable = "COURIER_" + name.upper().replace(".", "__")
        ended = run_to_end("serve", settings={"port": 0} | {name: value})
        assert ended.returncode != 0 and not PANIC.search(ended.stderr)
        assert variable in ended.stderr

    def test_variable_in_a_file_is_replaced(self, start_courier, monkeypatch):
        monkeypatch.setenv("NAME_FROM_OUTSIDE", "outside")
        courier = start_courier(config='channels: ["${NAME_FROM_OUTSIDE}.a"]\n')
        assert "outside.a" in courier.get("/channels").json()["channels"]

    def test_missing_variable_in_a_file_is_named(self, tmp_path):
        ended = self.check(tmp_path, 'log_dir: "${NO_SUCH_VARIABLE_HERE}"\n')
        assert ended.returncode != 0 and "NO_SUCH_VARIABLE_HERE" in ended.stderr

    def test_config_doc_names_every_setting_and_is_itself_a_good_file(self, tmp_path):
        ended = run_to_end("config-doc")
        assert ended.returncode == 0
        missing = [name for name in SETTING_NAMES.split() if not re.search(rf"\b{name}\b", ended.stdout)]
        assert not missing


class TestReload:
    def test_sighup_applies_settings_and_drops_nobody(self, start_courier):
        courier = start_courier(config="max_clients_per_channel: 1\n")
        peer = ScriptedPeer(courier.port, "/ws/a")
        assert (
            json.loads(ScriptedPeer(courier.port, "/ws/a").message().payload)["limit_type"] == "per_channel"
        )
        courier.config_path.write_text("max_clients_per_channel: 2\n")
        courier.signal(signal.SIGHUP)

        def second_stays() -> bool:
            return ScriptedPeer(courier.port, "/ws/a").text("ping").message().payload == b"pong"

        wait_until(second_stays, what="the new limit holds")
        assert peer.text("ping").message().payload == b"pong"

    def test_bad_file_on_reload_is_logged_and_changes_nothing(self, start_courier):
        courier = start_courier(config="max_event_size: 2048\n")
        peer = ScriptedPeer(courier.port, "/ws/a")
        courier.config_path.write_text("max_event_sizes: 1\n")
        courier.signal(signal.SIGHUP)
        wait_until(lambda: "max_event_sizes" in courier.stderr(), what="the mistake is logged")
        assert courier.post("/publish/a", b'{"a":"%s"}' % (b"x" * 1500)).status == 200
        assert courier.post("/publish/a", b'{"a":"%s"}' % (b"x" * 2500)).status == 413
        assert peer.text("ping").next().opcode == 1
