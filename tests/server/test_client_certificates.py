"""Certificates of clients that stand for services (contract 12, 14): who is let in by one, as whom, to do what, and until
when."""

import hashlib
import json
import signal
import ssl
import time

import pytest

from support.frames import ScriptedPeer
from support.process import run_to_end, wait_until
from support.tls import Authority, both_ports, settings
from support.tokens import REQUIRED, api_keys, bearer, mint
from support.web import RawConnection, encode_request

EVENT = b'{"n":1}'
MATCHER = {"service": "matcher", "id": "c1", "certificate": "matcher.example", "publish": ["trade.**"], "channels": ["trade.*"]}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def matcher(authority):
    return authority.sign("matcher", alt="DNS:matcher.example")


@pytest.fixture
def start_guarded(start_courier, authority, tmp_path):
    """A server that asks for credentials and knows the services of these lines."""
    served = authority.sign("localhost")

    def start(*lines, client_ca=True, more="", **options):
        file = tmp_path / "keys.json"
        file.write_text(json.dumps({"keys": list(lines)}))
        config = settings(served, authority.own.cert if client_ca else None, more)
        courier = both_ports(start_courier(REQUIRED | {"auth.api_keys_file": file} | options, config=config))
        courier.keys_file = file
        return courier

    return start


class Client:
    """Opens connections of one client, with or without a certificate."""

    def __init__(self, courier, authority, pair=None):
        self.courier, self.context = courier, authority.context(pair)

    def connection(self) -> RawConnection:
        return RawConnection(self.courier.tls_port, context=self.context)

    def publish(self, channel: str, headers: dict | None = None):
        with self.connection() as peer:
            return peer.send(encode_request("POST", f"/publish/{channel}", EVENT, headers)).reply()

    def socket(self, path: str, headers: dict | None = None) -> ScriptedPeer:
        return ScriptedPeer(self.courier.tls_port, path, headers=headers, context=self.context)


def refusal(answer) -> tuple[int, str]:
    return answer.status, answer.detail["error"]


class TestPublishing:
    def test_a_service_publishes_where_its_line_says_and_nowhere_else(self, start_guarded, authority, matcher):
        client = Client(start_guarded(MATCHER), authority, matcher)
        assert client.publish("trade.btc").status == 200
        assert refusal(client.publish("global")) == (403, "Publishing not allowed")
        with client.connection() as peer:
            body = json.dumps([{"channel": name, "data": {"n": 1}} for name in ("trade.a", "global")]).encode()
            answer = peer.send(encode_request("POST", "/publish/batch", body)).reply().json()
            assert [item.get("status") == "published" for item in answer] == [True, False], answer

    def test_a_certificate_alone_grants_nothing(self, start_guarded, authority, matcher):
        """That the authority has signed it is no right: the operator's file must know the name."""
        other = MATCHER | {"certificate": "other.example"}
        client = Client(start_guarded(other), authority, matcher)
        assert refusal(client.publish("trade.btc")) == (401, "Authentication token required")
        with client.connection() as peer:
            assert peer.send(encode_request("GET", "/stats")).reply().status == 401
        assert client.socket("/ws/trade.btc").fails_with(1008).reason == "Authentication token required"
        assert client.publish("trade.btc", bearer(mint(publish=["trade.*"]))).status == 200, "a token still counts"

    def test_without_a_certificate_nothing_has_changed(self, start_guarded, authority):
        keys, text = api_keys(forge=["forge.**"])
        courier = start_guarded(MATCHER, *json.loads(text)["keys"])
        client = Client(courier, authority)
        assert refusal(client.publish("trade.btc")) == (401, "Authentication token required")
        assert client.publish("forge.a", {"X-API-Key": keys["forge"]}).status == 200
        assert courier.post("/publish/trade.btc", EVENT).status == 401, "a plain listener sees no certificate"

    def test_certificates_of_others_and_ended_ones_do_not_get_through_the_handshake(self, start_guarded, authority, tmp_path):
        courier = start_guarded(MATCHER)
        foreign = Authority(tmp_path, "stranger").sign("matcher", alt="DNS:matcher.example")
        ended = authority.sign_until("ended", time.time() - 60, alt="DNS:matcher.example")
        for pair in (foreign, ended):
            with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
                Client(courier, authority, pair).publish("trade.btc")
        # The peer is told before its connection goes, and is counted then.
        assert wait_until(lambda: courier.stats()["tls"]["failed"] == 2)
        assert sum(shard["published"] for shard in courier.stats()["shards"]) == 0

    def test_without_an_authority_no_certificate_is_asked_for_and_the_operator_is_told(self, start_guarded, authority, matcher):
        courier = start_guarded(MATCHER, client_ca=False)
        assert refusal(Client(courier, authority, matcher).publish("trade.btc")) == (401, "Authentication token required")
        checked = run_to_end("check-config", courier.config_path, settings=courier.settings)
        assert "certificates have no effect, because tls.client_ca is not set" in checked.stdout + checked.stderr

    def test_the_name_of_the_service_must_be_that_of_the_certificate(self, start_guarded, authority, matcher):
        client = Client(start_guarded(MATCHER), authority, matcher)
        assert client.publish("trade.btc", {"X-Service-Name": "matcher"}).status == 200
        assert refusal(client.publish("trade.btc", {"X-Service-Name": "forge"})) == (403, "Service name mismatch")
        assert refusal(client.publish("trade.btc", {"X-Service-Name": "matcher.example"})) == (403, "Service name mismatch")

    def test_limits_are_those_of_the_service_whatever_shows_it(self, start_guarded, authority, matcher):
        key = "courier_k_of_the_matcher"
        line = {"service": "matcher", "id": "k", "sha256": hashlib.sha256(key.encode()).hexdigest(), "publish": ["trade.**"]}
        limited = {"rate_limit.publish.limit": 3, "rate_limit.publish.require_service_name": True}
        client = Client(start_guarded(MATCHER, line, **limited), authority, matcher)
        statuses = [client.publish("trade.btc").status for _ in range(2)]
        assert statuses + [client.publish("trade.btc", {"X-API-Key": key}).status] == [200] * 3
        answer = client.publish("trade.btc")
        assert refusal(answer) == (429, "Rate limit exceeded") and answer.header("ratelimit-limit") == "3"


class TestNames:
    @pytest.mark.parametrize(
        ("alt", "named", "good"),
        [
            ("URI:spiffe://desk/matcher", "spiffe://desk/matcher", True),
            ("DNS:first.example,DNS:matcher.example", "matcher.example", True),
            ("IP:127.0.0.1", "someone", True),
            ("DNS:matcher.example", "someone", False),
            ("DNS:matcher.example.evil.test", "matcher.example", False),
            ("DNS:*.example", "matcher.example", False),
            ("email:matcher.example@a.test", "matcher.example@a.test", False),
        ],
        ids=["uri", "second_name", "common_name", "common_name_beside_another", "longer", "star", "mail"],
    )
    def test_a_name_counts_letter_by_letter(self, start_guarded, authority, alt, named, good):
        client = Client(start_guarded(MATCHER | {"certificate": named}), authority, authority.sign("someone", alt=alt))
        assert client.publish("trade.btc").status == (200 if good else 401)

    def test_the_first_name_that_the_file_knows_decides(self, start_guarded, authority):
        lines = [{"service": name, "id": name, "certificate": f"{name}.example", "publish": [f"{name}.*"]} for name in "ab"]
        both = authority.sign("both", alt="DNS:nobody.example,DNS:b.example,DNS:a.example")
        client = Client(start_guarded(*lines), authority, both)
        assert [client.publish(f"{name}.x").status for name in "ab"] == [403, 200]

    def test_mistakes_in_the_file_are_told(self, start_guarded, tmp_path):
        file = tmp_path / "bad.json"
        for line, words in [
            (MATCHER | {"sha256": "0" * 64}, "keys[0].certificate: is given beside sha256"),
            (MATCHER | {"certificate": "*.example"}, "keys[0].certificate: must be a name"),
            (MATCHER | {"certificate": ""}, "keys[0].sha256: must be there, or certificate"),
        ]:
            file.write_text(json.dumps({"keys": [line]}))
            ended = run_to_end("check-config", settings=REQUIRED | {"auth.api_keys_file": file})
            assert ended.returncode != 0 and words in ended.stderr, ended.stderr


class TestOtherCredentials:
    def test_what_the_request_brings_goes_first(self, start_guarded, authority, matcher):
        """A proxy with a certificate of its own hands on what its clients may do, and not what it may."""
        client = Client(start_guarded(MATCHER), authority, matcher)
        assert refusal(client.publish("trade.btc", bearer(mint("alice")))) == (403, "Publishing not allowed")
        assert refusal(client.publish("trade.btc", bearer(mint("alice", ends_in=-60)))) == (401, "Token expired")
        assert refusal(client.publish("trade.btc", {"X-API-Key": "courier_nonsense"})) == (401, "Invalid token")

    def test_a_browser_that_shows_it_for_a_foreign_page_is_not_let_in_by_it(self, start_guarded, authority, matcher):
        """A browser shows a certificate to whoever asks, for any page, as it sends cookies."""
        listed = {"cors.allowed_origins": "*,https://app.example"}
        client = Client(start_guarded(MATCHER, **listed), authority, matcher)
        for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            assert client.publish("trade.btc", foreign).status == 401, foreign
            assert client.socket("/ws/trade.btc", foreign).fails_with(1008).reason == "Authentication token required"
            with client.connection() as peer:
                assert peer.send(encode_request("GET", "/sse/trade.btc", headers=foreign)).reply().status == 401
        assert client.publish("trade.btc", {"Origin": "https://app.example"}).status == 200


class TestSockets:
    def test_a_service_hears_and_says_what_its_line_allows(self, start_guarded, authority, matcher):
        client = Client(start_guarded(MATCHER), authority, matcher)
        peer = client.socket("/ws/trade.btc")
        assert client.socket("/ws/global").fails_with(1008).reason == "Unauthorized access to channel"
        assert client.publish("trade.btc").json()["clients_reached"] == 1
        assert json.loads(peer.message().payload) == {"n": 1}

    def test_it_ends_with_its_certificate_and_so_do_requests(self, start_guarded, authority):
        ends = int(time.time()) + 5
        brief = authority.sign_until("brief", ends, alt="DNS:matcher.example")
        client = Client(start_guarded(MATCHER), authority, brief)
        peer, kept = client.socket("/ws/trade.btc"), client.connection()
        request = encode_request("POST", "/publish/trade.btc", EVENT)
        assert kept.send(request).reply().status == 200
        assert peer.message()
        assert peer.fails_with(1008).reason == "Token expired"
        assert -0.1 < time.time() - ends < 1.5
        assert refusal(kept.send(request).reply()) == (401, "Token expired"), "the connection is older than the end"

    def test_a_line_that_is_taken_out_ends_what_is_open(self, start_guarded, authority, matcher):
        courier = start_guarded(MATCHER)
        client = Client(courier, authority, matcher)
        peer, kept = client.socket("/ws/trade.btc"), client.connection()
        request = encode_request("POST", "/publish/trade.btc", EVENT)
        assert kept.send(request).reply().status == 200
        assert peer.message()
        courier.keys_file.write_text('{"keys": []}')
        courier.signal(signal.SIGHUP)
        assert peer.fails_with(1008).reason == "Invalid token"
        wait_until(lambda: kept.send(request).reply().status == 401, what="the connection's shard has read it")

    def test_a_line_that_grants_less_is_felt_at_once(self, start_guarded, authority, matcher):
        courier = start_guarded(MATCHER)
        client = Client(courier, authority, matcher)
        peer = client.socket("/ws/trade.btc")
        peer.text("ping").message()
        courier.keys_file.write_text(json.dumps({"keys": [MATCHER | {"channels": []}]}))
        courier.signal(signal.SIGHUP)
        assert peer.fails_with(1008).reason == "Unauthorized access to channel"
        assert client.publish("trade.btc").status == 200


def test_the_command_writes_such_lines(tmp_path):
    file = tmp_path / "keys.json"
    words = ("--certificate", "matcher.example", "--publish", "trade.**", "--id", "c1", "--file", file)
    made = run_to_end("key", "create", "matcher", *words)
    assert made.returncode == 0 and made.stdout == "c1: certificates of matcher.example stand for matcher\n", made.stderr
    line = json.loads(file.read_text())["keys"][0]
    assert {"sha256"} & set(line) == set() and line["certificate"] == "matcher.example"
    assert "c1  matcher  certificate matcher.example  publish trade.**" in run_to_end("key", "list", "--file", file).stdout
    assert run_to_end("key", "create", "other", *words[:-4], "--id", "c2", "--file", file).returncode == 1
