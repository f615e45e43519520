"""TLS records however they come (RFC 8446 5, RFC 5246 6): cut anywhere, empty, full, too long, forged, with alerts and other
messages between them, after a handshake that is odd, slow, or one of very many. What is whole and authentic is heard,
once; anything else ends its connection and nothing but that."""

import json
import os
import random
import socket
import ssl
import struct
import subprocess

import pytest

from support.frames import encode, upgrade_request
from support.process import wait_until
from support.records import (
    ALERT, CHANGE_CIPHER, CLOSE_NOTIFY, DATA, FATAL, HANDSHAKE, RECORD_BYTES, USER_CANCELED, WARNING,
    Forger, Memory, seal,
)  # fmt: skip
from support.tls import Authority, both_ports, openssl, settings, tls_stats
from support.web import RawConnection, encode_publish, encode_request

SEEDS = range(int(os.environ.get("COURIER_TEST_TLS_SEEDS", "12")))  # more find more; the number of a test is its seed
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
OK = b"HTTP/1.1 200"


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def start_tls(start_courier, authority):
    def start(more="", **options):
        return both_ports(start_courier(config=settings(authority.sign("localhost"), None, more), **options))

    return start


@pytest.fixture
def connect(authority):
    """Opens connections of clients whose records a test makes; all are closed at its end."""
    sockets = []

    def opened(courier, kind=Memory, **options):
        sockets.append(socket.create_connection(("127.0.0.1", courier.tls_port), 10))
        context = options.pop("context", None) or authority.context()
        return kind(sockets[-1], context, **options)

    yield opened
    for each in sockets:
        each.close()


def published(courier) -> int:
    """How many events were taken. Every shard is asked, so each has read by then what was sent before."""
    return sum(shard["published"] for shard in courier.stats()["shards"])


def numbered(n: int, channel: str = "a") -> bytes:
    return encode_publish(channel, json.dumps({"n": n}).encode())


def is_gone(peer: Memory) -> bool:
    """Whether the server ends the connection, in whatever way."""
    try:
        peer.until_end()
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
        pass
    return True


class TestCuts:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_record_cut_at_any_byte_is_heard_when_it_is_whole(self, start_tls, authority, connect, version):
        courier = start_tls()
        peer = connect(courier, context=authority.context(maximum_version=version)).handshake()
        peer.raw.sendall(record := peer.seal(numbered(0)))
        peer.until(1, OK)
        for cut in range(1, len(record)):
            record = peer.seal(numbered(0))
            peer.raw.sendall(record[:cut])
            assert published(courier) == cut, cut
            peer.raw.sendall(record[cut:])
            assert peer.until(1, OK) and published(courier) == cut + 1

    def test_two_records_cut_at_any_byte_are_heard_in_turn(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier).handshake()
        first, second = peer.seal(numbered(1)), peer.seal(numbered(2))
        peer.raw.sendall(first + second)
        peer.until(2, OK)
        for cut in range(1, len(first + second)):
            first, second = peer.seal(numbered(1)), peer.seal(numbered(2))
            peer.raw.sendall((first + second)[:cut])
            whole = 2 * cut + (cut >= len(first))
            assert wait_until(lambda whole=whole: published(courier) >= whole) and published(courier) == whole
            peer.raw.sendall((first + second)[cut:])
            peer.until(2, OK)

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_handshake_and_a_request_a_byte_at_a_time_are_heard(self, start_tls, authority, connect, version):
        courier = start_tls()
        context = authority.context(maximum_version=version)
        peer = connect(courier, context=context, cut=lambda data: [data[at : at + 1] for at in range(len(data))]).handshake()
        peer.send(numbered(1))
        assert peer.until(1, OK)

    def test_a_record_per_byte_is_heard(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier).handshake()
        for byte in numbered(1):
            peer.send(bytes([byte]))
        assert peer.until(1, OK) and published(courier) == 1

    @pytest.mark.parametrize("version", VERSIONS)
    def test_much_that_comes_right_behind_the_handshake_is_heard(self, start_tls, authority, connect, version):
        """The step that ends a handshake decrypts the first record behind it too. That one came on top of a whole read,
        which then had no room: the connection was lost, by a fault of the server's own."""
        courier = start_tls()
        peer = connect(courier, context=authority.context(maximum_version=version))
        while True:
            try:
                peer.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                peer.raw.sendall(peer.outgoing.read())
                peer.incoming.write(peer.raw.recv(65536))
        body = b'{"fill":"%s"}' % (b"x" * 300_000)
        peer.tls.write(encode_publish("a", body))
        peer.raw.sendall(peer.outgoing.read())
        assert peer.until(1, OK) and published(courier) == 1

    def test_many_requests_in_one_record_are_answered_in_turn(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier).handshake()
        peer.raw.sendall(record := peer.seal(b"".join(numbered(n) for n in range(60))))
        assert len(record) < RECORD_BYTES
        answers = peer.until(60, OK)
        ids = [json.loads(part.split(b"\r\n\r\n", 1)[1])["id"] for part in answers.split(OK)[1:60]]
        assert [int(text.split("-")[1]) for text in ids] == list(range(1, 60)) and published(courier) == 60

    @pytest.mark.parametrize("seed", SEEDS)
    def test_random_cuts_and_records_change_nothing(self, start_tls, authority, connect, seed):
        """A socket and a publisher whose bytes are put into records at random, and those into segments at random, with
        pauses in which all shards turn."""
        chance = random.Random(seed)
        courier = start_tls()

        def cut(data: bytes):
            at = 0
            while at < len(data):
                size = chance.choice((1, 2, 5, chance.randint(1, 300), chance.randint(1, 40_000)))
                yield data[at : at + size]
                at += size
                if chance.random() < 0.02:
                    published(courier)

        def in_records(peer: Memory, data: bytes):
            for piece in cut(data):
                peer.send(piece)

        version = chance.choice(VERSIONS)
        reader = connect(courier, context=authority.context(maximum_version=version), cut=cut).handshake()
        in_records(reader, upgrade_request("/ws/a", "dGhlIHNhbXBsZSBub25jZQ=="))
        assert b" 101 " in reader.until(1, b"\r\n\r\n")
        publisher = connect(courier, context=authority.context(maximum_version=version), cut=cut).handshake()
        events = [{"n": n, "fill": "x" * chance.choice((0, 10, 2_000, 30_000))} for n in range(12)]
        in_records(publisher, b"".join(encode_publish("a", json.dumps(event).encode()) for event in events))
        assert publisher.until(12, OK).count(b'"clients_reached":1') == 12, seed
        in_records(reader, encode(1, b"ping"))
        got = reader.until(1, b"pong")
        marks = [got.find(b'"n": %d,' % n) for n in range(12)]
        assert -1 not in marks and marks == sorted(marks), (seed, marks)


class TestOddRecords:
    def test_empty_records_are_passed_over(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier, Forger)
        request = numbered(1)
        for part in (b"", request[:7], b"", b"", request[7:], b""):
            peer.say(DATA, part)
        assert peer.until(1, OK)
        peer.raw.sendall(b"".join(peer.record(DATA, b"") for _ in range(20)) + peer.record(DATA, numbered(2)))
        assert peer.until(1, OK) and published(courier) == 2

    def test_a_flood_of_empty_records_costs_nobody_else_anything(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier, Forger)
        flood = b"".join(peer.record(DATA, b"") for _ in range(3_000))
        before = courier.resident_bytes()
        for at in range(0, len(flood), 1_000):
            try:
                peer.raw.sendall(flood[at : at + 1_000])
            except (BrokenPipeError, ConnectionResetError):
                break
        assert courier.publish("b", {"n": 1})["clients_reached"] == 0
        assert courier.resident_bytes() - before < 4 << 20

    @pytest.mark.parametrize(("size", "good"), [(RECORD_BYTES - 1, True), (RECORD_BYTES, True), (RECORD_BYTES + 1, False)])
    def test_the_longest_record_is_heard_and_a_longer_one_is_not(self, start_tls, connect, size, good):
        courier = start_tls()
        peer = connect(courier, Forger)
        body = b'{"fill":"%s"}'
        empty = len(encode_publish("a", body % b""))
        event = next(body % (b"x" * n) for n in range(size - empty - 9, size) if len(encode_publish("a", body % (b"x" * n))) == size)
        peer.say(DATA, encode_publish("a", event))
        if good:
            assert peer.until(1, OK)
        else:
            with pytest.raises(ssl.SSLError, match="(?i)record.overflow"):
                peer.until_end()
        assert published(courier) == good

    @pytest.mark.parametrize("length", [(1 << 14) + 2049, 0xFFFF])
    def test_a_length_that_no_record_has_ends_the_connection_at_once(self, start_tls, connect, length):
        courier = start_tls()
        peer = connect(courier, Forger)
        peer.raw.sendall(struct.pack(">BHH", DATA, 0x0303, length) + b"x" * 100)
        assert is_gone(peer) and wait_until(lambda: tls_stats(courier)["sockets"] == 0)

    @pytest.mark.parametrize("kind", [0, 19, 24, 71, 255])
    def test_a_kind_that_no_record_has_ends_the_connection(self, start_tls, connect, kind):
        courier = start_tls()
        peer = connect(courier, Forger)
        peer.raw.sendall(peer.record(kind, numbered(1)))
        assert is_gone(peer) and wait_until(lambda: tls_stats(courier)["sockets"] == 0) and published(courier) == 0

    @pytest.mark.parametrize("kind", [Memory, Forger])
    def test_a_record_that_is_not_authentic_ends_the_connection(self, start_tls, connect, kind):
        courier = start_tls()
        peer = connect(courier, kind).handshake()
        peer.raw.sendall(b"\x17\x03\x03" + struct.pack(">H", 100) + b"\x00" * 100)
        with pytest.raises(ssl.SSLError, match="(?i)bad.record.mac"):
            peer.receive()
        peer.raw.close()
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0)

    def test_a_record_that_comes_twice_or_out_of_turn_is_not_authentic(self, start_tls, connect):
        courier = start_tls()
        for order in ((0, 0), (1, 0)):
            before, peer = published(courier), connect(courier, Forger)
            records = [peer.record(DATA, numbered(n)) for n in range(2)]
            peer.raw.sendall(b"".join(records[n] for n in order))
            heard = before + (order[0] == 0)
            assert is_gone(peer) and wait_until(lambda heard=heard: published(courier) >= heard)
            assert published(courier) == heard

    @pytest.mark.parametrize("seed", SEEDS)
    def test_after_a_bit_that_is_turned_nothing_is_heard(self, start_tls, authority, connect, seed):
        chance = random.Random(seed)
        courier = start_tls()
        version = chance.choice(VERSIONS)
        peer = connect(courier, context=authority.context(maximum_version=version)).handshake()
        records = [bytearray(peer.seal(numbered(n))) for n in range(8)]
        turned, bit = chance.randrange(8), chance.randrange(8)
        # The version of a record is not looked at (RFC 8446 5.1), and a length that grows waits for more.
        at = chance.choice([0, *range(5, len(records[turned]))])
        records[turned][at] ^= 1 << bit
        stream, sent = b"".join(records), 0
        try:
            while sent < len(stream):
                size = chance.randint(1, 200)
                peer.raw.sendall(stream[sent : sent + size])
                sent += size
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert is_gone(peer)
        assert wait_until(lambda: published(courier) >= turned) and published(courier) == turned, seed
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0)

    def test_a_record_that_is_cut_short_ends_with_its_connection(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier).handshake()
        peer.raw.sendall(peer.seal(numbered(1))[:-5])
        peer.raw.close()
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0) and published(courier) == 0


class TestAlertsAndMessages:
    @pytest.mark.parametrize("description", [10, 20, 40, 80, 255], ids=lambda number: f"alert{number}")
    def test_a_fatal_alert_ends_the_connection_in_the_middle(self, start_tls, connect, description):
        courier = start_tls()
        peer = connect(courier, Forger)
        request = numbered(1)
        peer.say(DATA, request + request[:20]).say(ALERT, bytes([FATAL, description])).raw.sendall(peer.record(DATA, request[20:]))
        assert is_gone(peer) and wait_until(lambda: tls_stats(courier)["sockets"] == 0)
        assert published(courier) <= 1

    def test_a_warning_changes_nothing_and_many_end_the_connection(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier, Forger)
        peer.say(ALERT, bytes([WARNING, USER_CANCELED])).say(DATA, numbered(1))
        assert peer.until(1, OK)
        with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
            for _ in range(100):
                peer.say(ALERT, bytes([WARNING, USER_CANCELED]))
            peer.until_end()
        assert courier.get("/health/live").status == 200

    @pytest.mark.parametrize("body", [b"", b"\x01", b"\x01\x00\x00", b"\x07\x07"])
    def test_a_malformed_alert_ends_the_connection(self, start_tls, connect, body):
        courier = start_tls()
        peer = connect(courier, Forger).say(ALERT, body)
        assert is_gone(peer) and wait_until(lambda: tls_stats(courier)["sockets"] == 0)

    def test_nothing_is_heard_after_close_notify_and_what_was_asked_before_is_answered(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier, Forger)
        peer.raw.sendall(
            peer.record(DATA, numbered(1)) + peer.record(ALERT, bytes([WARNING, CLOSE_NOTIFY])) + peer.record(DATA, numbered(2))
        )
        assert peer.until_end().count(OK) == 1 and published(courier) == 1
        peer.raw.close()
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0)

    def test_who_closes_without_a_word_is_answered_what_was_whole(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier).handshake()
        peer.raw.sendall(peer.seal(numbered(1) + numbered(2)[:-3]))
        peer.raw.shutdown(socket.SHUT_WR)
        assert peer.until_end().count(OK) == 1 and published(courier) == 1

    def test_a_renegotiation_is_refused_and_the_connection_lives(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier, Forger)
        body = b"\x03\x03" + bytes(32) + bytes.fromhex("000002cca90100")
        hello = b"\x01" + struct.pack(">I", len(body))[1:] + body
        peer.say(HANDSHAKE, hello).say(DATA, numbered(1))
        with pytest.raises(ssl.SSLError, match="(?i)no.renegotiation"):  # to OpenSSL a warning that is the end
            peer.until(1, OK)
        assert wait_until(lambda: published(courier) == 1), "what came behind it is heard"
        try:
            for _ in range(50):
                peer.say(HANDSHAKE, hello)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert is_gone(peer) and tls_stats(courier)["handshakes"] == 1

    def test_openssl_may_not_renegotiate(self, start_tls):
        courier = start_tls()
        with subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{courier.tls_port}", "-tls1_2"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as client:  # fmt: skip
            wait_until(lambda: tls_stats(courier)["handshakes"] == 1)
            said, _ = client.communicate(b"R\n", timeout=30)
        assert b"RENEGOTIATING" in said and b"no renegotiation" in said.lower().replace(b"_", b" "), said
        assert tls_stats(courier)["handshakes"] == 1

    def test_openssl_may_change_its_keys(self, start_tls):
        courier = start_tls()
        with subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{courier.tls_port}", "-tls1_3"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as client:  # fmt: skip
            for command in (b"K\n", b"k\n", b"K\n"):
                client.stdin.write(command)
                client.stdin.flush()
                read_until(client.stdout, b"KEYUPDATE")
            client.stdin.write(encode_request("GET", "/health/live", headers={"Connection": "close"}))
            client.stdin.flush()
            assert b'"alive"' in read_until(client.stdout, b'"alive"')
            client.communicate(timeout=30)

    @pytest.mark.parametrize("body", [b"\x00\x00\x00\x00", b"\x14\x00\x00\x0c" + b"a" * 12, b"\xff\xff\xff\xff", b"\x18\x00\x00\x01\x00"])
    def test_other_messages_of_a_handshake_have_no_place_after_it(self, start_tls, connect, body):
        """One that says that it is longer than any may be ended the shard: the word of farewell was asked for in a way
        that rustls does not bear, and once more as the connection was dropped."""
        courier = start_tls()
        peer = connect(courier, Forger).say(HANDSHAKE, body)
        assert is_gone(peer) and wait_until(lambda: tls_stats(courier)["sockets"] == 0)

    def test_a_change_of_cipher_has_no_place_after_it(self, start_tls, connect):
        courier = start_tls()
        peer = connect(courier, Forger).say(CHANGE_CIPHER, b"\x01")
        assert is_gone(peer) and wait_until(lambda: tls_stats(courier)["sockets"] == 0)


def read_until(stream, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        assert (byte := stream.read(1)), data
        data += byte
    return data


class TestHandshakes:
    @pytest.mark.parametrize("version", [0x0002, 0x0200, 0x0300, 0x0301, 0x0302])
    def test_versions_that_are_gone_are_refused_with_a_word(self, start_tls, version):
        """As clients of old say hello, from SSL 3 on; what openssl here cannot speak any more."""
        courier = start_tls()
        hello = struct.pack(">H", version) + bytes(32) + b"\x00" + struct.pack(">HHH", 4, 0x002F, 0xC009) + b"\x01\x00"
        hello = b"\x01" + struct.pack(">I", len(hello))[1:] + hello
        with RawConnection(courier.tls_port) as peer:
            said = peer.send(b"\x16\x03\x00" + struct.pack(">H", len(hello)) + hello).drain()
        assert said[:1] == b"\x15" and said[5:7] in (b"\x02\x46", b"\x02\x28", b"\x02\x2f"), said
        assert wait_until(lambda: tls_stats(courier)["failed"] == 1) and tls_stats(courier)["handshakes"] == 0

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_hello_that_is_spoilt_at_random_harms_nobody(self, start_tls, authority, connect, seed):
        chance = random.Random(seed)
        courier = start_tls("limits: {head_timeout: 1}\n")
        for _ in range(8):
            peer = connect(courier)
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.do_handshake()
            hello = bytearray(peer.outgoing.read())
            for _ in range(chance.randint(1, 4)):
                at = chance.randrange(len(hello))
                spoil = chance.randrange(3)
                if spoil == 0:
                    hello[at] ^= 1 << chance.randrange(8)
                elif spoil == 1:
                    del hello[at : at + chance.randint(1, 9)]
                else:
                    hello[at:at] = chance.randbytes(chance.randint(1, 9))
            try:
                for at in range(0, len(hello), step := chance.randint(1, 700)):
                    peer.raw.sendall(hello[at : at + step])
            except (BrokenPipeError, ConnectionResetError):
                pass
        good = connect(courier).handshake()
        good.send(numbered(1))
        assert good.until(1, OK), seed
        good.raw.close()
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0), seed

    @pytest.mark.serial
    def test_a_thousand_that_are_half_done_are_bounded_and_cut_off(self, start_tls, authority, connect):
        """A third says nothing, a third half of its hello, a third all of it and then no more, so that the server has
        done its part of the work. Whoever comes meanwhile is served, and at the limit all are gone."""
        courier = start_tls("limits: {head_timeout: 4}\n")
        context = authority.context()
        connect(courier, context=context).handshake()
        before, peers = courier.resident_bytes(), []
        for n in range(1_000):
            peer = connect(courier, context=context)
            peers.append(peer)
            if n % 3:
                with pytest.raises(ssl.SSLWantReadError):
                    peer.tls.do_handshake()
                hello = peer.outgoing.read()
                peer.raw.sendall(hello if n % 3 == 2 else hello[: len(hello) // 2])
        assert courier.resident_bytes() - before < 48 << 20
        good = connect(courier, context=context).handshake()
        good.send(numbered(1))
        assert good.until(1, OK)
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 2, seconds=20)
        stats = tls_stats(courier)
        assert stats["handshakes"] == 2 and stats["failed"] == 1_000 - len(range(0, 1_000, 3)), stats

    def test_a_hello_that_never_ends_is_cut_off_by_its_length(self, start_tls):
        """A message of a handshake may be split into many records, and says that it has 16 MiB."""
        courier = start_tls()
        with RawConnection(courier.tls_port) as peer:
            record = b"\x16\x03\x01\x40\x00"
            peer.send_past_refusal(record + b"\x01\xff\xff\xff" + b"x" * (RECORD_BYTES - 4))
            for _ in range(64):
                peer.send_past_refusal(record + b"x" * RECORD_BYTES)
            peer.drain()
        assert wait_until(lambda: tls_stats(courier)["sockets"] == 0)
        assert tls_stats(courier)["failed"] == 1 and courier.resident_bytes() < 200 << 20


def test_ciphers_and_groups_are_those_that_are_meant(start_tls):
    """What a strict and an odd client agree on; anything weaker is refused (test_tls has the list by a scanner)."""
    courier = start_tls()
    for arguments, word in [
        (("-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"), "TLS_CHACHA20_POLY1305_SHA256"),
        (("-tls1_3", "-ciphersuites", "TLS_AES_128_GCM_SHA256"), "TLS_AES_128_GCM_SHA256"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"), "ECDHE-ECDSA-AES256-GCM-SHA384"),
        (("-tls1_3", "-groups", "X25519"), "X25519"),
        (("-tls1_3", "-groups", "P-384"), "384 bits"),
        (("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"), "handshake failure"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-CCM"), "handshake failure"),
        (("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"), "handshake failure"),
        (("-tls1_2", "-cipher", "AECDH-AES128-SHA:@SECLEVEL=0"), "handshake failure"),
        (("-tls1_2", "-cipher", "eNULL:@SECLEVEL=0"), "handshake failure"),
        (("-tls1_3", "-groups", "ffdhe2048"), "handshake failure"),
    ]:
        done = openssl("s_client", "-connect", f"127.0.0.1:{courier.tls_port}", *arguments, check=False)
        said = (done.stdout + done.stderr).decode(errors="replace")
        assert word in said, (arguments, said)


def test_numbers_of_the_kit_are_right():
    """RFC 8439 2.8.2: what forges records here must forge good ones."""
    key, nonce = bytes(range(0x80, 0xA0)), bytes.fromhex("070000004041424344454647")
    text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    sealed = seal(key, nonce, text, bytes.fromhex("50515253c0c1c2c3c4c5c6c7"))
    assert sealed[-16:].hex() == "1ae10b594f09e26a7e902ecbd0600691"
