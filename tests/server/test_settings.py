"""Settings (contract 17, 18): every mistake at once and where it is, and a reload that drops nobody."""

import json
import re
import signal
import socket

import pytest

from support import web
from support.frames import ScriptedPeer
from support.process import PANIC, PROJECT, run_to_end, wait_until
from support.tokens import SECRET

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

    @pytest.mark.parametrize(
        "text, line",
        [
            ("outbox: {slow: conflate}", "outbox.slow: conflate"),
            ("router: {max_clients: 5}", "router.max_clients: 5"),
            ("router: {multi_queue: yes}", "router.multi_queue: true"),
            ("compression: {enabled: false}", "compression.enabled: false"),
            (
                'channel_options: [{match: "a.*", slow: drop_oldest, presence: true}]',
                'channel_options: [{match: "a.*", slow: drop_oldest, presence: true}]',
            ),
            (
                "listeners: [{address: localhost:9090, dialect: router, tls: false}]",
                'listeners: [{address: "127.0.0.1:9090", dialect: router, tls: false}]',
            ),
        ],
    )
    def test_setting_is_taken_and_shown(self, tmp_path, text, line):
        ended = self.check(tmp_path, text + "\n")
        assert ended.returncode == 0, ended.stderr
        assert f"  {line}\n" in ended.stdout

    @pytest.mark.parametrize(
        "text, place, word",
        [
            ("outbox: {slow: explode}", "1:16", "conflate"),
            ("router:\n  max_queue_size: 0", "2:19", "1 to"),
            ("listeners:\n- {dialect: router}", "2:3", "address"),
            ("listeners:\n- {address: 9090}", "2:13", "127.0.0.1:9090"),
            ("listeners:\n- {address: localhost:1, dialect: freqserch}", "2:35", "freqsearch"),
            ("listeners:\n- {address: localhost:1, tls: true}", "2:31", "needs a certificate"),
            ("listeners:\n- {address: 0.0.0.0:1}", "2:13", "insecure"),
            ("port: 9000\nlisteners:\n- {address: localhost:9000}", "3:13", "taken"),
        ],
    )
    def test_mistake_is_told_with_its_place_and_what_is_right(self, tmp_path, text, place, word):
        ended = self.check(tmp_path, text + "\n")
        assert ended.returncode != 0
        assert f":{place}: " in ended.stderr and word in ended.stderr, ended.stderr

    def test_missing_variable_in_a_file_is_named(self, tmp_path):
        ended = self.check(tmp_path, 'log_dir: "${NO_SUCH_VARIABLE_HERE}"\n')
        assert ended.returncode != 0 and "NO_SUCH_VARIABLE_HERE" in ended.stderr

    def test_config_doc_names_every_setting_and_is_itself_a_good_file(self, tmp_path):
        ended = run_to_end("config-doc")
        assert ended.returncode == 0
        missing = [name for name in SETTING_NAMES.split() if not re.search(rf"\b{name}\b", ended.stdout)]
        assert not missing


THREE = """\
listeners:
  - {address: "127.0.0.1:0", dialect: courier}
  - {address: "[::1]:0", dialect: router}
  - {address: "127.0.0.1:0", dialect: freqsearch}
"""
FURTHER = re.compile(r"Courier listens on http://(127\.0\.0\.1|\[::1\]):(\d+) for dialect (\w+)")


def further_listeners(courier, count: int) -> list[tuple[str, int, str]]:
    """Address, port and dialect of each listener that the server says it has beyond the first."""
    found = [FURTHER.fullmatch(courier._read_line()) for _ in range(count)]
    return [(match[1], int(match[2]), match[3]) for match in found]


class TestListeners:
    def test_each_says_where_it_is_and_what_it_speaks(self, start_courier):
        courier = start_courier(config=THREE)
        told = further_listeners(courier, 3)
        assert [(address, dialect) for address, _, dialect in told] == [
            ("127.0.0.1", "courier"), ("[::1]", "router"), ("127.0.0.1", "freqsearch"),
        ]  # fmt: skip
        ports = {courier.port} | {port for _, port, _ in told}
        assert len(ports) == 4
        for address, port, _ in told:
            socket.create_connection((address.strip("[]"), port)).close()

    def test_all_lead_to_the_same_channels_from_every_shard(self, start_courier):
        courier = start_courier(config=THREE)
        _, port, _ = further_listeners(courier, 3)[0]
        peers = [ScriptedPeer(port, "/ws/a") for _ in range(20)] + [ScriptedPeer(courier.port, "/ws/a")]
        assert courier.publish("a", {"n": 1})["clients_reached"] == 21
        answer = web.request(port, "POST", "/publish/a", b'{"n":2}')
        assert (answer.status, answer.json()["clients_reached"]) == (200, 21)
        assert all(shard["sockets"] for shard in courier.stats()["shards"])
        for peer in peers:
            assert [peer.message().payload for _ in range(2)] == [b'{"n": 1}', b'{"n":2}']

    def test_taken_port_is_named_and_nothing_is_served(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            listeners = f'[{{address: "127.0.0.1:{port}", dialect: router}}]'
            ended = run_to_end("serve", settings={"port": 0, "listeners": listeners})
        assert ended.returncode != 0 and "listens on" not in ended.stdout
        assert str(port) in ended.stderr and "taken" in ended.stderr and not PANIC.search(ended.stderr)

    def test_doctor_looks_at_every_address(self):
        ended = run_to_end("doctor", settings={"listeners": "[{address: localhost:9090}]"})
        assert ended.returncode == 0
        assert "127.0.0.1:8766" in ended.stdout and "127.0.0.1:9090" in ended.stdout

    def test_reload_keeps_them_and_says_so(self, start_courier):
        courier = start_courier(config=THREE)
        _, port, _ = further_listeners(courier, 3)[0]
        peer = ScriptedPeer(port, "/ws/a")
        courier.config_path.write_text("router: {max_clients: 1}\ncompression: {enabled: false}\n")
        courier.signal(signal.SIGHUP)
        wait_until(lambda: "settings reloaded" in courier.stderr(), what="the reload is logged")
        assert "listeners takes effect at the next start" in courier.stderr()
        assert courier.stderr().count("takes effect at the next start") == 1, "the others are applied"
        courier.publish("a", {"n": 1})
        assert peer.message().payload == b'{"n": 1}'
        assert web.request(port, "GET", "/health").status == 200


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

    def test_auth_does_not_end_on_an_address_that_stays_open(self, start_courier):
        """Auth off together with a host of loopback is a good file; but the host takes effect at the next start only, so the
        running server let in anybody who reached it."""
        required = {"auth.jwt.secret": SECRET}
        for address in ("host: 0.0.0.0\n", 'listeners: [{address: "0.0.0.0:0"}]\n'):
            courier = start_courier(required, config=f"{address}auth: required\n")
            courier.config_path.write_text("auth: off\n")
            courier.signal(signal.SIGHUP)
            wait_until(lambda: "nothing was reloaded: without auth" in courier.stderr(), what="the refusal is logged")
            assert courier.get("/stats").status == 401
            courier.config_path.write_text("auth: insecure\n")
            courier.signal(signal.SIGHUP)
            wait_until(lambda: courier.get("/stats").status == 200, what="the word that allows it is heard")
