"""A browser that has the server's cookie, and pages of several origins in it (contract 12): the cookie is sent with the
requests of its site, and counts only for those that are the server's own or listed (cross-site WebSocket hijacking)."""

import asyncio
import json
import ssl

import pytest

from support.clients import WAIT_SECONDS, Driver
from support.frames import ScriptedPeer
from support.tls import Authority, both_ports, settings
from support.tokens import REQUIRED, mint

NAME = "hub.test"  # of the server; every name is this machine in that browser
# Of other origins and the same site: whatever a browser thinks of cookies of other sites, with these it sends them.
LISTED, NEIGHBOUR = "https://app.hub.test/", "https://evil.hub.test/"
FOREIGN = "https://evil.example/"


class Browser(Driver):
    @classmethod
    async def with_cookie(cls, **cookie) -> "Browser":
        return await cls.start("cookies.mjs", json.dumps({"domain": NAME, "path": "/", "httpOnly": True} | cookie))

    async def tries(self, kind: str, page: str, url: str) -> dict:
        """Opens a page and in it a socket, a stream or a request; how far it came."""
        number = next(self.numbers)
        self.results[number] = asyncio.get_running_loop().create_future()
        await self.tell({"op": "try", "id": number, "kind": kind, "page": page, "url": url})
        said = await asyncio.wait_for(self.results[number], WAIT_SECONDS)
        return {name: value for name, value in said.items() if name not in ("event", "id")}


@pytest.fixture
async def browser():
    started = []

    async def start(**cookie) -> Browser:
        started.append(await Browser.with_cookie(**cookie))
        return started[-1]

    yield start
    for each in started:
        await each.stop()


def counted(courier, name: str) -> int:
    return sum(shard[name] for shard in courier.stats()["shards"])


@pytest.fixture
def start_hub(start_courier, tmp_path):
    """An encrypted server, since browsers send a cookie from page to page of other sites only if it is `Secure`."""

    def start(origins: str):
        pair = Authority(tmp_path).sign("hub", alt=f"DNS:{NAME}")
        courier = both_ports(start_courier(REQUIRED | {"cors.allowed_origins": origins}, config=settings(pair)))
        courier.name = f"{NAME}:{courier.tls_port}"
        return courier

    return start


ALICE = {"name": "courier_token", "secure": True, "sameSite": "None"}


def counted(courier, name: str) -> int:
    return sum(shard[name] for shard in courier.stats()["shards"])


async def everything(chromium: Browser, page: str, server: str) -> list[dict]:
    """What a socket, a stream and a publish of a page come to."""
    urls = {"socket": f"wss://{server}/ws/a", "stream": f"https://{server}/sse/a", "request": f"https://{server}/publish/a"}
    return [await chromium.tries(kind, page, url) for kind, url in urls.items()]


async def test_own_and_listed_pages_come_in_with_the_cookie_and_foreign_ones_do_not(start_hub, browser):
    courier = start_hub("https://app.hub.test")
    chromium = await browser(**ALICE, value=mint("alice", channels=["a"], publish=["a"]))
    for n, page in enumerate((f"https://{courier.name}/page", LISTED), 1):
        assert await everything(chromium, page, courier.name) == [{"heard": "pong"}, {"heard": "open"}, {"status": 200}], page
        assert counted(courier, "published") == n
    for page in (FOREIGN, NEIGHBOUR):
        opened = counted(courier, "sockets_opened")
        socket, stream, request = await everything(chromium, page, courier.name)
        assert socket == {"code": 1008, "reason": "Origin not allowed"}, page
        assert "heard" not in stream and "status" not in request, page
        assert (counted(courier, "sockets_opened"), counted(courier, "published")) == (opened, 2)


async def test_a_star_lets_foreign_pages_in_but_not_with_the_cookie(start_hub, browser):
    courier = start_hub("*,https://app.hub.test")
    chromium = await browser(**ALICE, value=mint("alice", channels=["a"], publish=["a"]))
    assert await chromium.tries("socket", LISTED, f"wss://{courier.name}/ws/a") == {"heard": "pong"}, "it is sent, then"
    for page in (FOREIGN, NEIGHBOUR):
        socket, stream, request = await everything(chromium, page, courier.name)
        assert socket == {"code": 1008, "reason": "Authentication token required"}, page
        assert "heard" not in stream and "status" not in request and counted(courier, "published") == 0


async def test_a_page_without_the_cookie_is_asked_for_a_token(start_hub, browser):
    courier = start_hub("https://app.hub.test")
    chromium = await browser(**ALICE, value="nonsense")
    own = f"https://{courier.name}/page"
    assert await chromium.tries("socket", own, f"wss://{courier.name}/ws/a") == {"code": 1008, "reason": "Invalid token"}
    chromium = await browser(**ALICE | {"name": "another"}, value="nonsense")
    refused = {"code": 1008, "reason": "Authentication token required"}
    assert await chromium.tries("socket", own, f"wss://{courier.name}/ws/a") == refused
    assert await chromium.tries("request", own, f"https://{courier.name}/publish/a") == {"status": 401}


async def test_a_page_whose_name_points_here_for_a_while_is_no_page_of_the_server(start_courier, browser):
    """DNS rebinding, without auth: the page is loaded from the very address that it asks, under its owner's name."""
    courier = start_courier()
    chromium = await browser(name="any", value="any")
    evil, server = f"evil.example:{courier.port}", f"localhost:{courier.port}"
    refused = {"code": 1008, "reason": "Origin not allowed"}
    assert await chromium.tries("socket", f"http://{evil}/page", f"ws://{evil}/ws/a") == refused
    assert await chromium.tries("request", f"http://{evil}/page", f"http://{evil}/publish/a") == {"status": 403}
    assert await chromium.tries("socket", f"http://{server}/page", f"ws://{server}/ws/a") == {"heard": "pong"}
    assert await chromium.tries("request", f"http://{server}/page", f"http://{server}/publish/a") == {"status": 200}


def test_a_page_of_the_servers_name_that_came_unencrypted_is_not_its_own(start_hub):
    """Who has the line can write such a page, and a browser adds to its requests to the encrypted server the cookies that
    are for encrypted ones only."""
    hub = start_hub("https://app.hub.test")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for origin, opens in [(f"https://{hub.name}", True), (f"http://{hub.name}", False), ("https://app.hub.test", True)]:
        fields = {"Host": hub.name, "Origin": origin, "Cookie": f"courier_token={mint(channels=['a'])}"}
        peer = ScriptedPeer(hub.tls_port, "/ws/a", headers=fields, context=context)
        frame = peer.text("ping").next()
        found = frame.opcode == 1 or (frame.code, frame.reason)
        assert found == (opens or (1008, "Authentication token required")), origin
