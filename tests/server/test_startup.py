"""Starting (contract 12, 17, 18): settings, one clear sentence per failure, and what the logs keep back."""

import json
import os
import re
import shutil
import signal
import socket

import pytest

from support import sandbox
from support.frames import ScriptedPeer
from support.process import BINARY, PANIC, Courier, run_to_end

ERROR_LINES_MAX = 6  # one sentence, and the command that mends it


def refusal(*arguments, **options) -> str:
    """What a start that must fail says: one clear sentence on stderr and no trace of a panic."""
    ended = run_to_end(*(arguments or ("serve",)), **options)
    assert ended.returncode != 0, ended.stdout
    assert not PANIC.search(ended.stderr), ended.stderr
    assert 0 < len(ended.stderr.strip().splitlines()) <= ERROR_LINES_MAX, ended.stderr
    assert "listens on" not in ended.stdout
    return ended.stderr


@pytest.fixture
def unprivileged():
    """A binary and a prefix that run it without root's rights."""
    copy = sandbox.readable_copy(BINARY)
    yield copy, sandbox.without_rights()
    shutil.rmtree(copy.parent)


class TestGoodStart:
    def test_says_where_it_listens_and_how_to_try_it(self, start_courier):
        courier = start_courier()
        rest = [courier._read_line(), courier._read_line()]
        assert courier.first_line == f"Courier listens on http://127.0.0.1:{courier.port}"
        assert all(f":{courier.port}/" in line for line in rest), rest

    def test_says_it_only_when_it_serves(self):
        for _ in range(5):
            courier = Courier().start()
            assert courier.get("/health").status == 200
            courier.stop()

    def test_serve_is_the_default_command(self, start_courier):
        assert start_courier(arguments=()).get("/health").status == 200

    def test_flag_beats_environment_beats_file(self, start_courier):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            taken = probe.getsockname()[1]
            probe.listen()
            by_environment = start_courier({"port": 0}, config=f"port: {taken}\n")
            by_flag = start_courier({"port": taken}, arguments=("serve", "0"))
        assert taken not in (by_environment.port, by_flag.port)

    def test_restart_on_the_same_port_succeeds_at_once(self, start_courier):
        first = start_courier()
        peers = [ScriptedPeer(first.port, "/ws/a") for _ in range(20)]
        first.stop()
        second = start_courier({"port": first.port})
        assert second.port == first.port
        assert second.publish("a", {"n": 1})["clients_reached"] == 0
        for peer in peers:
            peer.socket.close()

    def test_shards_default_to_the_available_cores(self, start_courier):
        assert len(start_courier({"shards": None}).stats()["shards"]) == len(os.sched_getaffinity(0))

    def test_one_shard_is_enough(self, start_courier):
        courier = start_courier({"shards": 1})
        peer = ScriptedPeer(courier.port, "/ws/a")
        assert courier.publish("a", {"n": 1})["clients_reached"] == 1
        peer.leave()

    def test_missing_settings_file_by_default_is_fine_and_by_flag_is_not(self):
        assert "nowhere.yaml" in refusal("serve", "--config", "nowhere.yaml")


class TestRefusedStart:
    def test_port_taken_by_another_program(self):
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            holder.listen()
            port = holder.getsockname()[1]
            said = refusal("serve", str(port))
        assert str(port) in said
        assert re.search("in use|taken|already", said)

    def test_port_taken_by_another_courier(self, start_courier):
        courier = start_courier()
        said = refusal(settings={"port": courier.port})
        assert str(courier.port) in said
        assert courier.get("/health").status == 200

    def test_privileged_port_without_permission(self, unprivileged):
        binary, prefix = unprivileged
        said = refusal("serve", "80", binary=binary, prefix=prefix)
        assert "80" in said
        assert re.search("permission|privileged|not allowed", said, re.IGNORECASE)

    @pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
    def test_io_uring_blocked_or_missing(self, error):
        said = refusal(settings={"port": 0}, prefix=sandbox.without_io_uring(error))
        assert "io_uring" in said

    def test_file_limit_too_low(self):
        said = refusal(settings={"port": 0}, prefix=sandbox.with_limits(nofile=24))
        assert re.search("nofile|ulimit|open files|file limit|descriptor", said)

    def test_locked_memory_too_low(self, unprivileged):
        binary, prefix = unprivileged
        said = refusal(settings={"port": 0}, binary=binary, prefix=sandbox.with_limits(memlock=4096) + prefix)
        assert re.search("memlock|locked memory|ulimit -l", said)

    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])
    def test_other_address_without_auth(self, host):
        said = refusal(settings={"port": 0, "host": host})
        assert "insecure" in said

    def test_other_address_with_auth_insecure_is_served(self, start_courier):
        courier = start_courier({"host": "0.0.0.0", "auth.mode": "insecure"})
        assert courier.get("/health").status == 200

    @pytest.mark.parametrize("argument", ["65536", "-1", "http", "8766x"])
    def test_port_argument_that_is_none(self, argument):
        ended = run_to_end("serve", "--", argument)
        assert ended.returncode != 0 and not PANIC.search(ended.stderr)
        assert argument in ended.stderr

    @pytest.mark.parametrize("host", ["nonsense", "300.1.1.1", "192.0.2.1"])
    def test_host_that_is_none_of_ours(self, host):
        assert host in refusal(settings={"port": 0, "host": host, "auth.mode": "insecure"})


class TestDoctor:
    def test_reports_each_precondition(self):
        ended = run_to_end("doctor")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        for word in (
            "io_uring",
            "memlock|locked memory",
            "nofile|open files|file limit|descriptor",
            "kernel",
        ):
            assert re.search(word, ended.stdout, re.IGNORECASE), word

    def test_says_what_is_wrong_and_the_command_that_mends_it(self):
        ended = run_to_end("doctor", prefix=sandbox.without_io_uring("EPERM"))
        assert ended.returncode != 0
        assert not PANIC.search(ended.stderr)
        assert re.search("sysctl|seccomp", ended.stdout + ended.stderr)

    def test_low_file_limit_is_found(self):
        ended = run_to_end("doctor", prefix=sandbox.with_limits(nofile=64))
        assert re.search(r"ulimit -n|LimitNOFILE|nofile", ended.stdout + ended.stderr)

    def test_says_what_is_open_and_what_makes_a_lock_weak(self):
        """A secret of one byte on a public address without TLS was `ok`."""
        told = run_to_end("doctor", settings={"host": "0.0.0.0", "auth.mode": "insecure"}).stdout
        assert "short   access         anybody who reaches the port may" in told
        required = {"auth.mode": "required", "auth.jwt.secret": "hunter2"}
        told = run_to_end("doctor", settings=required | {"host": "0.0.0.0", "port": 8766}).stdout
        assert "ok      access         a token, or the API key" in told and "open without: /health" in told
        assert "short   access         auth.jwt.secret has 7 bytes and can be guessed" in told
        assert "short   access         tokens and events pass 0.0.0.0:8766 unencrypted" in told and "hunter2" not in told
        told = run_to_end("doctor", settings=required | {"auth.jwt.secret": "x" * 32}).stdout
        assert told.count(" access ") == 1, "on loopback a good secret is all it takes"


class TestLogs:
    SECRET = "eyJhbGciOiJIUzI1NiJ9.tell-nobody.signature"
    PAYLOAD = "payload-that-no-log-may-hold"

    @pytest.mark.parametrize("level", ["info", "debug", "trace"])
    def test_logs_are_json_lines_without_tokens_or_payloads(self, start_courier, level):
        courier = start_courier({"log_level": level})
        peer = ScriptedPeer(
            courier.port, f"/ws/a?token={self.SECRET}", headers={"Authorization": f"Bearer {self.SECRET}"}
        )
        courier.publish("a", {"text": self.PAYLOAD})
        assert self.PAYLOAD.encode() in peer.message().payload
        peer.text(json.dumps({"type": "x", "text": self.PAYLOAD})).message()
        courier.post("/publish/a", b"{%s" % self.PAYLOAD.encode())
        courier.post("/publish", {"channel": self.PAYLOAD + " ", "data": {}})
        courier.get(f"/stats?token={self.SECRET}")
        courier.get(
            f"/nope?token={self.SECRET}",
            {"Authorization": f"Bearer {self.SECRET}", "Cookie": f"token={self.SECRET}"},
        )
        peer.frame(0x3, self.PAYLOAD.encode()).drain()
        courier.signal(signal.SIGTERM)
        assert courier.wait_exit() == 0
        lines = courier.stderr().splitlines()
        assert lines, "start and stop are logged"
        assert all({"timestamp", "level"} <= set(json.loads(line)) for line in lines)
        assert "tell-nobody" not in courier.stderr()
        assert self.PAYLOAD not in courier.stderr()

    def test_nothing_is_logged_per_event_at_info(self, start_courier):
        courier = start_courier()
        peer = ScriptedPeer(courier.port, "/ws/a")
        before = len(courier.stderr().splitlines())
        for n in range(100):
            courier.publish("a", {"n": n})
        peer.leave()
        assert len(courier.stderr().splitlines()) - before < 20

    def test_text_logs_by_setting(self, start_courier):
        courier = start_courier({"log_format": "text"})
        courier.logs_are_json = False
        courier.signal(signal.SIGTERM)
        assert courier.wait_exit() == 0
        lines = courier.stderr().splitlines()
        assert lines and not any(line.startswith("{") for line in lines)
