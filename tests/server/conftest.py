"""The bystander of the bad-input tests."""

import itertools
import json

import pytest

from support.frames import ScriptedPeer
from support.web import RawConnection

events = itertools.count()


@pytest.fixture
def unharmed(hub, leave_nothing_open):
    """Around a test stands a bystander: it gets all its events and no other, and the counts come back."""
    bystander = ScriptedPeer(hub.port, "/ws/bystander")
    clients = hub.stats()["active_clients"]

    def prove():
        number = next(events)
        assert hub.publish("bystander", {"number": number})["clients_reached"] == 1
        assert json.loads(bystander.message().payload) == {"number": number}

    prove()
    yield
    RawConnection.close_all(hub.port, but=bystander)
    prove()
    hub.await_clients(clients)
    assert hub.get("/health").json()["total_clients"] == clients
    assert bystander.text("ping").message().payload == b"pong"
    bystander.leave()
    hub.await_clients(clients - 1)
