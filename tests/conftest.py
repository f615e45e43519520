"""Fixtures of all black-box tests: a server shared by a file, and servers with settings of their own."""

import gc
import itertools

import pytest

from support.clients import Clients
from support.process import Courier
from support.web import RawConnection

numbers = itertools.count()


def pytest_addoption(parser):
    parser.addoption("--restarts", type=int, default=5, help="how often a server is killed under load (50: the long form)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Reports parse sources; a collection within (a lost task's traceback parses too) breaks CPython 3.11's parser."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.fixture(autouse=True)
def leave_nothing_open():
    """A failed test's frames live on in its report: its connections must not disturb the next test."""
    before = set(RawConnection.alive)
    yield
    for connection in set(RawConnection.alive) - before:
        connection.socket.close()


@pytest.fixture(scope="module")
def hub():
    """A server with default settings on two shards, shared by a file's tests: use names from `channel`."""
    courier = Courier().start()
    yield courier
    RawConnection.close_all(courier.port)
    courier.stop()


@pytest.fixture
def start_courier():
    """Starts servers with settings of the test's own; all are stopped and checked at its end."""
    running = []

    def start(settings=None, **options) -> Courier:
        courier = Courier(settings, **options)
        running.append(courier)
        return courier.start()

    yield start
    for courier in running:
        RawConnection.close_all(courier.port)
    for courier in running:
        courier.stop()


@pytest.fixture
def channel(request) -> str:
    """A channel name that no other test of the file uses."""
    return f"test.{request.node.originalname[:60]}.{next(numbers)}"


@pytest.fixture
async def clients():
    """Opens real clients (Python websockets, Node ws, Chromium) and closes them all at the end."""
    opened = Clients()
    yield opened
    await opened.close()
