"""The bystander of the bad-input tests; EventSources, and the cable between them and a server."""

import itertools
import json

import pytest

from support.cable import Cable
from support.frames import ScriptedPeer
from support.streams import Streams
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


@pytest.fixture
async def streams():
    """Starts drivers of EventSources, Node's or Chromium's, and stops them at the end."""
    running = []

    async def start(kind, *arguments) -> Streams:
        running.append(await kind(*arguments))
        return running[-1]

    yield start
    for driver in running:
        await driver.stop()


@pytest.fixture
async def lay_cable():
    """Lays cables to servers and removes them at the end."""
    laid = []

    async def lay(port: int) -> Cable:
        laid.append(await Cable.lay(port))
        return laid[-1]

    yield lay
    for cable in laid:
        await cable.remove()
