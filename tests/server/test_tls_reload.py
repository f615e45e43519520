"""Certificates that change under a running server, and how it says goodbye over TLS (contract 12, 17, 19)."""

import json
import signal
import ssl

import pytest

from support.frames import CLOSE, ScriptedPeer
from support.process import wait_until
from support.tls import Authority, both_ports, settings, tls_stats
from support.web import RawConnection, encode_request


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def served(authority, tmp_path):
    """A certificate and key in places of the test's own."""
    return Authority(tmp_path, "own").sign("first")


def serial(courier, context=None) -> str:
    """Of the certificate that a new connection is shown."""
    context = context or unverified()
    with RawConnection(courier.tls_port, context=context) as peer:
        return peer.socket.getpeercert(binary_form=True).hex()


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def replace(pair, by):
    for old, new in ((pair.key, by.key), (pair.cert, by.cert)):
        old.write_bytes(new.read_bytes())


@pytest.mark.parametrize("told", [True, False], ids=["on_sighup", "when_files_change"])
def test_new_certificates_are_taken_and_open_connections_stay(start_courier, authority, served, told):
    courier = both_ports(start_courier(config=settings(served)))
    before = serial(courier)
    stays = ScriptedPeer(courier.tls_port, "/ws/a", context=unverified())
    replace(served, authority.sign("second", key="rsa2048"))
    if told:
        courier.signal(signal.SIGHUP)
    wait_until(lambda: tls_stats(courier)["certificate_reloads"] > 0)
    wait_until(lambda: serial(courier) != before, what="the new certificate")
    courier.publish("a", {"n": 1})
    assert json.loads(stays.message().payload) == {"n": 1}
    assert stays.text("ping").message().payload == b"pong"


def test_what_is_bad_changes_nothing_and_is_counted(start_courier, authority, served):
    courier = both_ports(start_courier(config=settings(served)))
    before = serial(courier)
    good = served.cert.read_bytes()
    served.cert.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n")
    wait_until(lambda: tls_stats(courier)["certificate_reloads_failed"] == 1)
    assert serial(courier) == before
    served.cert.write_bytes(authority.sign("another").cert.read_bytes())  # of another key
    wait_until(lambda: tls_stats(courier)["certificate_reloads_failed"] == 2)
    assert serial(courier) == before
    courier.signal(signal.SIGHUP)
    wait_until(lambda: "tls.key: is not the key of the certificate" in courier.stderr())
    served.cert.write_bytes(good)
    wait_until(lambda: tls_stats(courier)["certificate_reloads"] > 0)
    assert serial(courier) == before


def test_another_authority_of_clients_ends_old_tickets(start_courier, authority, served, tmp_path):
    """A ticket carries the client's certificate, which is not verified again when it is used."""
    first, second = Authority(tmp_path, "first_ca"), Authority(tmp_path, "second_ca")
    trusted = tmp_path / "clients.pem"
    trusted.write_bytes(first.own.cert.read_bytes())
    courier = both_ports(start_courier(config=settings(served, trusted)))
    client = first.sign("matcher")
    context = unverified()
    context.load_cert_chain(client.cert, client.key)
    with RawConnection(courier.tls_port, context=context) as peer:
        assert peer.send(encode_request("GET", "/health/live")).reply().status == 200
        session = peer.socket.session
    trusted.write_bytes(second.own.cert.read_bytes())
    wait_until(lambda: tls_stats(courier)["certificate_reloads"] == 1)
    with RawConnection(courier.tls_port) as raw, pytest.raises((ssl.SSLError, ConnectionResetError)):
        again = context.wrap_socket(raw.socket, server_hostname="localhost", session=session)
        again.sendall(encode_request("GET", "/health/live"))
        again.recv(1)
    assert tls_stats(courier)["resumed"] == 0


def test_a_stop_sends_what_is_queued_a_close_frame_and_close_notify(start_courier, served):
    courier = both_ports(start_courier(config=settings(served)))
    peers = [ScriptedPeer(courier.tls_port, "/ws/a", context=unverified()) for _ in range(6)]
    for peer in peers:
        peer.socket.suppress_ragged_eofs = False  # an end without close_notify is an error
    for n in range(50):
        courier.publish("a", {"n": n, "fill": "x" * 5000})
    courier.signal(signal.SIGTERM)
    for peer in peers:
        said = []
        while (frame := peer.next()).opcode != CLOSE:
            said.append(json.loads(frame.payload))
        assert [event["n"] for event in said if "n" in event] == list(range(50))
        assert said[-1]["type"] == "shutdown" and frame.code == 1001
        assert peer.socket.recv(1) == b""
    assert courier.wait_exit() == 0


def test_a_publisher_that_closes_gets_close_notify(start_courier, served):
    courier = both_ports(start_courier(config=settings(served)))
    with RawConnection(courier.tls_port, context=unverified()) as peer:
        peer.socket.suppress_ragged_eofs = False
        peer.send(encode_request("POST", "/publish/a", b'{"n":1}', {"Connection": "close"}))
        assert peer.reply().status == 200
        assert peer.socket.recv(1) == b""
