"""TLS (contract 2, 17): who may speak it and how, what goes through it, and what becomes of those who do not."""

import contextlib
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
from pathlib import Path

import pytest

from support import replies
from support.frames import CLOSE, ScriptedPeer
from support.process import run_to_end, wait_until
from support.records import Memory
from support.tls import Authority, both_ports, openssl, settings, tls_stats
from support.web import RawConnection, encode_request

MIB = 1 << 20
HISTORY = "channel_options: [{match: '**', history: {size: 1000, ttl: 3600}}]\n"
HELLO_HEADER = b"\x16\x03\x01"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def pair(authority):
    return authority.sign("localhost")


@pytest.fixture
def start_tls(start_courier, pair):
    def start(of=pair, client_ca=None, more="", **options):
        return both_ports(start_courier(config=settings(of, client_ca, more), **options))

    return start


def get(connection: RawConnection, target: str = "/health/live"):
    return connection.send(encode_request("GET", target)).reply()


def s_client(port: int, *arguments, given: bytes = b"", check: bool = False):
    done = openssl("s_client", "-connect", f"127.0.0.1:{port}", *arguments, given=given, check=check)
    return done.returncode, done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")


def bytes_taken_at_once(receive_buffer: int) -> int:
    """What the kernel takes of somebody who writes to a peer that does not read."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        peer.connect(server.getsockname())
        writer, _ = server.accept()
        with writer, contextlib.suppress(BlockingIOError):
            writer.setblocking(False)
            taken = 0
            while True:
                taken += writer.send(bytes(128 << 10))
    return taken


def askers(courier, authority) -> dict[int, Memory]:
    """Peers that have asked for answers of all lengths around what the kernel takes at once, and read their beginnings.

    Between two answers lies less than the 128 KiB that are encrypted at once: of some of them the last record has to wait.
    """
    step = 50_000
    middle = bytes_taken_at_once(receive_buffer=4096) // step
    assert 16 < middle < 600, "the system's tcp_wmem is one for which this test is not made"
    for n in range(middle + 8):
        courier.publish("long", {"n": n, "fill": "x" * step})
    peers = {}
    for limit in range(middle - 8, middle + 8):
        connection = RawConnection(courier.tls_port, receive_buffer=4096)
        peers[limit] = peer = Memory(connection.socket, authority.context()).handshake()
        peer.send(encode_request("GET", f"/history/long?limit={limit}"))
        peer.begun = peer.receive()  # what the kernel took of it went out in one turn
    return peers


class TestClients:
    async def test_python_and_node_sockets_get_events_over_tls(self, start_tls, authority, clients, monkeypatch):
        courier = start_tls()
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(authority.own.cert))
        url = f"wss://localhost:{courier.tls_port}/ws/news"
        python = await clients.python(url, ssl=authority.context())
        node = await (await clients.node()).open(url)
        plain = await clients.python(courier.socket_url("/ws/news"))
        assert courier.publish("news", {"type": "hello", "text": "é"})["clients_reached"] == 3
        for client in (python, node, plain):
            await client.until(1)
            assert client.events() == [{"type": "hello", "text": "é"}]
        assert tls_stats(courier)["sockets"] == 2 and tls_stats(courier)["handshakes"] == 2

    def test_curl_publishes_and_keeps_its_connection(self, start_tls, authority):
        courier = start_tls()
        url = f"https://localhost:{courier.tls_port}"
        done = subprocess.run(
            ["curl", "-sS", "--cacert", authority.own.cert, f"{url}/publish/a", "-d", '{"n":1}',
             "--next", "-sS", "--cacert", authority.own.cert, f"{url}/health/live"],
            capture_output=True, timeout=20,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert b'"status":"published"' in done.stdout and b'{"status":"alive"}' in done.stdout
        assert tls_stats(courier)["handshakes"] == 1

    @pytest.mark.parametrize("key", ["p256", "p384", "ed25519", "rsa2048", "rsa4096"])
    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_every_kind_of_key_serves_both_versions(self, start_tls, authority, key, version):
        courier = start_tls(authority.sign(key, key=key))
        with RawConnection(courier.tls_port, context=authority.context(maximum_version=version)) as peer:
            assert get(peer).status == 200
            assert peer.socket.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


class TestProtocol:
    @pytest.mark.parametrize("version", ["-tls1", "-tls1_1"])
    def test_versions_before_1_2_are_refused(self, start_tls, version):
        courier = start_tls()
        code, said = s_client(courier.tls_port, version, "-cipher", "ALL:@SECLEVEL=0")
        assert code != 0 and "alert" in said and "New, (NONE)" in said, said

    def test_weak_ciphers_are_refused(self, start_tls):
        courier = start_tls()
        for cipher in ("AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"):
            code, said = s_client(courier.tls_port, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")
            assert code != 0 and "handshake failure" in said, (cipher, said)

    def test_alpn_is_http_1_1_and_nothing_else(self, start_tls, authority):
        courier = start_tls()
        context = authority.context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with RawConnection(courier.tls_port, context=context) as peer:
            assert peer.socket.selected_alpn_protocol() == "http/1.1"
        context.set_alpn_protocols(["h2"])
        with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
            RawConnection(courier.tls_port, context=context)

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_sessions_are_resumed_on_every_shard(self, start_tls, authority, version):
        courier = start_tls()
        context = authority.context(maximum_version=version)
        with RawConnection(courier.tls_port, context=context) as first:
            assert get(first).status == 200
            session = first.socket.session
        for _ in range(12):  # the kernel spreads them over both shards
            with socket.create_connection(("127.0.0.1", courier.tls_port), 10) as raw:
                again = context.wrap_socket(raw, server_hostname="localhost", session=session)
                assert again.session_reused
                again.sendall(encode_request("GET", "/health/live"))
                assert again.recv(16).startswith(b"HTTP/1.1 200")
                session = again.session if version == ssl.TLSVersion.TLSv1_3 else session
                again.close()
        assert tls_stats(courier)["resumed"] == 12
        assert min(shard["tls_handshakes"] for shard in courier.stats()["shards"]) > 0

    def test_a_scan_finds_nothing_but_tls_1_2_and_1_3_with_strong_ciphers(self, start_tls):
        courier = start_tls()
        scan = subprocess.run(
            ["sslscan", "--no-colour", f"127.0.0.1:{courier.tls_port}"], capture_output=True, text=True, timeout=60
        )
        assert scan.returncode == 0, scan.stderr
        lines = [line.split() for line in scan.stdout.splitlines()]
        states = {line[0]: line[1] for line in lines if len(line) == 2 and line[1] in ("enabled", "disabled")}
        assert states == {
            "SSLv2": "disabled", "SSLv3": "disabled", "TLSv1.0": "disabled", "TLSv1.1": "disabled",
            "TLSv1.2": "enabled", "TLSv1.3": "enabled",
        }  # fmt: skip
        ciphers = [line[4] for line in lines if line and line[0] in ("Accepted", "Preferred")]
        assert ciphers and all("GCM" in name or "CHACHA20" in name for name in ciphers), ciphers
        assert "vulnerable to heartbleed" not in scan.stdout.replace("not vulnerable", "")
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0)


class TestClientCertificates:
    def test_a_good_one_and_none_are_let_in_and_a_foreign_one_is_not(self, start_tls, authority, tmp_path):
        courier = start_tls(client_ca=authority.own.cert, more="log_level: debug\n")
        foreign = Authority(tmp_path, "stranger").sign("matcher")
        good = authority.sign("matcher", alt="DNS:matcher.example")
        for client in (good, None):
            with RawConnection(courier.tls_port, context=authority.context(client)) as peer:
                assert get(peer).status == 200
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            with RawConnection(courier.tls_port, context=authority.context(foreign)) as peer:
                get(peer)
        wait_until(lambda: tls_stats(courier)["failed"] == 1)
        assert tls_stats(courier)["handshakes"] == 2
        lines = [json.loads(line) for line in courier.stderr().splitlines()]
        shown = [line for line in lines if line["message"] == "a client has shown its certificate"]
        assert len(shown) == 1 and "matcher.example" in shown[0]["names"]


class TestStrangers:
    def test_plain_http_is_told_to_speak_tls(self, start_tls):
        courier = start_tls()
        with RawConnection(courier.tls_port) as peer:
            answer = get(peer)
            assert answer.status == 400 and "TLS" in answer.detail["message"]
            assert peer.ends()
        wait_until(lambda: tls_stats(courier)["failed"] == 1)

    def test_tls_on_a_plain_port_ends_at_once(self, start_tls, authority):
        courier = start_tls()
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            RawConnection(courier.port, context=authority.context())

    @pytest.mark.parametrize(
        "bytes_sent",
        [b"\x00" * 64, b"\xff" * 5000, b"\x80\x2e\x01\x00\x02" + b"a" * 40, HELLO_HEADER + b"\xff\xff" + b"x" * 70_000,
         HELLO_HEADER + b"\x00\x04\x01\x00\x00\x00", HELLO_HEADER + b"\x00\x00" * 3, b"\x17\x03\x03\x00\x05hello",
         b"\x15\x03\x03\x00\x02\x02\x28"],
        ids=["zeros", "ones", "sslv2", "too_long", "empty_hello", "empty_record", "data_first", "alert_first"],
    )  # fmt: skip
    def test_garbage_ends_the_connection(self, start_tls, bytes_sent):
        courier = start_tls()
        with RawConnection(courier.tls_port) as peer:
            peer.send_past_refusal(bytes_sent)
            peer.drain()
        wait_until(lambda: tls_stats(courier)["sockets"] == 0)
        assert tls_stats(courier)["failed"] == 1
        assert courier.get("/health/live").status == 200

    def test_a_slow_handshake_is_cut_at_the_limit(self, start_tls):
        courier = start_tls(more="limits: {head_timeout: 1}\n")
        silent, half = RawConnection(courier.tls_port), RawConnection(courier.tls_port)
        half.send(HELLO_HEADER + b"\x02\x00" + b"\x01\x00\x01\xfc")
        for peer in (silent, half):
            assert peer.ends()
        wait_until(lambda: tls_stats(courier)["sockets"] == 0)
        assert tls_stats(courier)["failed"] == 1, "who says nothing has begun nothing"


def ranks(courier, name: str) -> list[tuple[int, int]]:
    """Policy and nice value of the server's threads of this name (proc_pid_stat(5), fields 41 and 19)."""
    found = []
    for task in Path(f"/proc/{courier.pid}/task").iterdir():
        of, _, rest = (task / "stat").read_text().partition("(")[2].rpartition(")")
        if of == name:
            fields = rest.split()
            found.append((int(fields[38]), int(fields[16])))
    return sorted(found)


def test_handshakes_are_done_in_time_that_nobody_else_wants_and_by_one_thread_in_any_time(start_tls):
    courier = start_tls()
    threads = min(len(courier.stats()["shards"]), 4)
    wanted = [(os.SCHED_OTHER, 5)] + threads * [(os.SCHED_IDLE, 0)]
    # Threads rank themselves as they begin.
    wait_until(lambda: ranks(courier, "handshakes") == wanted, what="one thread ranks low, as many as shards as idle")


class TestLarge:
    async def test_large_events_go_both_ways_whole(self, start_tls, authority, clients):
        courier = start_tls(more="max_payload_size: 1048576\nstamp: never\n")
        url = f"wss://localhost:{courier.tls_port}/ws/large"
        readers = [await clients.python(url, ssl=authority.context()) for _ in range(4)]
        sizes = [1, 16_383, 16_384, 16_385, 65_000, 131_072, MIB - 200]
        with RawConnection(courier.tls_port, context=authority.context()) as publisher:
            for n, size in enumerate(sizes):
                event = json.dumps({"n": n, "fill": "x" * size}).encode()
                publisher.send(encode_request("POST", "/publish/large", event))
                answer = publisher.reply()
                assert answer.status == 200 and answer.json()["clients_reached"] == 4, answer.body
                for reader in readers:
                    await reader.until(n + 1)
        for reader in readers:
            assert [len(event["fill"]) for event in reader.events()] == sizes

    @pytest.mark.serial
    async def test_slow_subscriber_is_closed_and_others_keep_receiving(self, start_tls, authority, clients):
        courier = start_tls(more="max_payload_size: 1048576\n")
        context = authority.context()
        stuck = ScriptedPeer(courier.tls_port, "/ws/busy", receive_buffer=4096, context=context)
        url = f"wss://localhost:{courier.tls_port}/ws/busy"
        others = [await clients.python(url, ssl=context) for _ in range(3)]
        sent = 0
        while courier.publish("busy", {"n": sent, "fill": "x" * 60_000})["clients_reached"] == 4:
            sent += 1
            assert sent < 1000
        sent += 1
        for other in others:
            await other.until(sent)
            assert [event["n"] for event in other.events()] == list(range(sent))
        assert sum(shard["slow_consumers"] for shard in courier.stats()["shards"]) == 1
        numbers, close = [], None
        try:
            while (frame := stuck.next()).opcode != CLOSE:
                numbers.append(json.loads(frame.payload)["n"])
            close = frame.code
        except (AssertionError, ssl.SSLError, OSError):
            pass
        assert numbers == list(range(len(numbers))) and 0 < len(numbers) < sent
        assert close in (1013, None)

    @pytest.mark.serial
    async def test_a_reader_that_pauses_loses_nothing(self, start_tls, authority):
        """What the kernel does not take is owed, encrypted, and goes on when there is room, though nothing more comes."""
        courier = start_tls(more="max_payload_size: 1048576\nstamp: never\noutbox: {bytes: 33554432}\n")
        reader = ScriptedPeer(courier.tls_port, "/ws/paused", receive_buffer=4096, context=authority.context())
        for n in range(12):
            courier.publish("paused", {"n": n, "fill": "x" * 900_000})
        numbers = []
        for _ in range(12):
            numbers.append(json.loads(reader.message().payload)["n"])
        assert numbers == list(range(12))

    @pytest.mark.parametrize("end", ["close_notify", "shutdown", "stop"])
    def test_an_answer_comes_whole_to_who_asked_and_ended(self, start_tls, authority, end):
        """Answers of all lengths around what the kernel takes at once. Those whose last record had to wait for room were
        cut: the server thought that they were out, and let go of a peer that sends no more, or stopped."""
        courier = start_tls(more=HISTORY)
        peers = askers(courier, authority)
        for peer in peers.values():
            if end == "close_notify":
                with pytest.raises(ssl.SSLWantReadError):
                    peer.tls.unwrap()
                peer.raw.sendall(peer.outgoing.read())
            if end != "stop":
                peer.raw.shutdown(socket.SHUT_WR)
        if end == "stop":
            courier.signal(signal.SIGTERM)
        # Those of which Courier itself still has a part come first: a stop waits for them in any case.
        for limit, peer in reversed(peers.items()):
            peer.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
            answer = peer.begun
            while (reply := replies.parse(answer, method="GET")) is None:
                part = peer.receive()
                assert part, f"{limit}: cut after {len(answer)} bytes"
                answer += part
            assert len(reply[0].json()["events"]) == limit
        if end == "stop":
            assert courier.wait_exit() == 0

    def test_a_stop_waits_for_who_takes_nothing_as_long_as_an_answer_may_take(self, start_tls, authority):
        """Where the session owed the last record it was as long as a connection may be idle, or the whole of a stop."""
        courier = start_tls(more=HISTORY + "limits: {body_timeout: 3}\n")
        peers = askers(courier, authority)
        courier.signal(signal.SIGTERM)
        assert courier.wait_exit(seconds=12) == 0, len(peers)

    def test_bytes_of_a_record_that_does_not_end_are_no_sign_of_life(self, start_tls, authority):
        """Each told of room to send, too, and that was taken for an answer that the peer had read."""
        courier = start_tls(more="limits: {keep_alive_timeout: 1, head_timeout: 0.3}\n")
        peer = Memory(RawConnection(courier.tls_port).socket, authority.context()).handshake()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for byte in peer.seal(encode_request("GET", "/health/live"))[:30]:
                with RawConnection(courier.port) as clock:  # the time of a head passes
                    assert clock.send(b"GET /health HTTP/1.1\r\nHost:").reply().status == 408
                peer.raw.sendall(bytes([byte]))

    def test_who_resets_while_an_answer_is_owed_goes_at_once(self, start_tls, authority):
        courier = start_tls(more=HISTORY + "limits: {body_timeout: 60}\n")
        for peer in askers(courier, authority).values():
            peer.raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.raw.close()
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0, seconds=4)


class TestSettings:
    def test_mistakes_name_the_setting(self, authority, pair, tmp_path):
        other = authority.sign("other")
        garbage = tmp_path / "garbage.pem"
        garbage.write_text("no certificate")
        missing = tmp_path / "missing.pem"
        for tls, key, words in [
            (f"cert: {missing}, key: {pair.key}", "tls.cert", "there is no file"),
            (f"cert: {pair.cert}, key: {missing}", "tls.key", "there is no file"),
            (f"cert: {garbage}, key: {pair.key}", "tls.cert", "holds no certificate"),
            (f"cert: {pair.cert}, key: {garbage}", "tls.key", "holds no private key"),
            (f"cert: {pair.cert}, key: {other.key}", "tls.key", "is not the key of the certificate"),
            (f"cert: {pair.cert}, key: {pair.key}, client_ca: {garbage}", "tls.client_ca", "holds no certificate"),
            (f"cert: {pair.cert}", "tls.cert", "needs tls.key"),
            (f"key: {pair.key}", "tls.key", "needs tls.cert"),
        ]:
            file = tmp_path / "settings.yaml"
            file.write_text(f"tls: {{{tls}}}\n")
            done = run_to_end("serve", "--config", file)
            assert done.returncode != 0 and f": {key}: " in done.stderr and words in done.stderr, done.stderr

    def test_an_encrypted_listener_needs_a_certificate(self, tmp_path):
        file = tmp_path / "settings.yaml"
        file.write_text('listeners: [{address: "127.0.0.1:0", tls: true}]\n')
        done = run_to_end("serve", "--config", file)
        assert done.returncode != 0 and "listeners[0].tls: needs a certificate" in done.stderr, done.stderr

    def test_doctor_tells_how_long_the_certificate_lasts(self, authority, pair, tmp_path):
        for of, word in [(pair, "is valid until"), (authority.sign("ending", days=3), "expires at")]:
            file = tmp_path / "settings.yaml"
            file.write_text(settings(of))
            done = run_to_end("doctor", "--config", file)
            assert word in next(line for line in done.stdout.splitlines() if " certificate " in line), done.stdout

    def test_a_listener_is_encrypted_if_it_says_so(self, start_courier, pair, authority):
        config = settings(pair).replace(":0\"}", ":0\", tls: true, dialect: router}, {address: \"127.0.0.1:0\"}")
        courier = start_courier(config=config)
        line = courier._read_line()
        assert line.startswith("Courier listens on https://") and line.endswith("for dialect router")
        port = int(line.split(":")[2].split(" ")[0])
        courier.port = int(courier._read_line().split(":")[2].split(" ")[0])
        peer = ScriptedPeer(port, "/anything", context=authority.context())
        assert json.loads(peer.message().payload)["type"] == "welcome"
