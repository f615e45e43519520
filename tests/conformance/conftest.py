"""The echo socket of the conformance tests: `/echo` behind COURIER_TEST_ECHO=1, default limits."""

import pytest

from support.frames import ScriptedPeer
from support.process import Courier


@pytest.fixture(scope="session")
def echo_server():
    courier = Courier({"test_echo": 1}).start()
    yield courier
    courier.stop()


@pytest.fixture
def peer(echo_server):
    """A fresh echo socket; afterwards the server must still serve another one."""
    peer = ScriptedPeer(echo_server.port, "/echo")
    yield peer
    peer.socket.close()
    probe = ScriptedPeer(echo_server.port, "/echo")
    assert probe.text("alive").message().payload == b"alive"
    probe.leave()
