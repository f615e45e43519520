"""More listeners (contract 2, 17): a port that speaks `router` on every path, beside the first one, with the same hub."""

import socket

import pytest

from support.originals import GadugiClient
from support.process import StartFailed, run_to_end
from support.speakers import Router, Speaker
from support.web import RawConnection, request

ATTEMPTS = 5  # a free port may be taken between its choice and the start


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def courier(start_courier):
    for _ in range(ATTEMPTS):
        port = free_port()
        config = f'listeners: [{{address: "127.0.0.1:{port}", dialect: router}}]\n'
        try:
            courier = start_courier(config=config)
        except StartFailed:
            continue
        courier.router_port = port
        yield courier
        RawConnection.close_all(port)
        return
    raise AssertionError("no start with a second listener")


class TestRouterPort:
    @pytest.mark.parametrize("path", ["/", "/router", "/ws/a", "/any/path?x=1", "/ws/events/a", "/api/v1/ws/events", "/a%20b"])
    def test_every_path_speaks_router(self, courier, path):
        peer = Router(courier.router_port, path)
        peer.subscribe("a.*")
        assert peer.publish("a.b", {"n": 1})["status"] == "queued"
        assert peer.body() == {"n": 1}

    def test_both_ports_are_one_hub(self, courier):
        routers = [Router(courier.router_port, "/"), Router(courier.port, "/router")]
        raw = Speaker(courier.port, "/ws/a.b")
        for router in routers:
            router.subscribe("a.b")
        assert courier.publish("a.b", {"n": 1})["clients_reached"] == 3
        assert [router.body() for router in routers] == [{"n": 1}] * 2
        assert raw.event() == {"n": 1}
        routers[0].publish("a.b", {"n": 2})
        assert routers[1].body() == {"n": 2} and raw.event()["payload"] == {"n": 2}

    def test_connections_land_on_all_shards(self, courier):
        peers = [Router(courier.router_port, "/") for _ in range(60)]
        per_shard = [shard["sockets"] for shard in courier.stats()["shards"]]
        assert sum(per_shard) == len(peers) and min(per_shard) > 5, per_shard

    def test_first_port_keeps_its_paths(self, courier):
        assert Speaker(courier.port, "/ws/a").ask("ping") == "pong"
        assert courier.get("/nope").status == 404

    def test_plain_http_there_is_answered_not_hung(self, courier):
        assert request(courier.router_port, "GET", "/").status in (200, 400, 404, 426)

    async def test_original_client_with_nothing_but_host_and_port(self, courier):
        async with GadugiClient(f"ws://127.0.0.1:{courier.router_port}") as client:
            await client.subscribe(topics=["task.*"])
            await client.heard("subscribed")
            courier.publish("task.done", {"n": 1})
            assert (await client.heard("event"))[0]["event"]["payload"] == {"n": 1}


class TestSettings:
    @pytest.mark.parametrize(
        "listeners",
        ["[{address: '127.0.0.1:1', dialect: klingon}]", "[{address: 'nowhere', dialect: router}]", "[5]", "router",
         "[{dialect: router}]", "[{address: '127.0.0.1:70000', dialect: router}]", "[{adress: '127.0.0.1:0'}]"],
    )  # fmt: skip
    def test_bad_listener_is_told_by_check_config(self, tmp_path, listeners):
        file = tmp_path / "settings.yaml"
        file.write_text(f"listeners: {listeners}\n")
        ended = run_to_end("check-config", "--config", str(file))
        assert ended.returncode != 0 and "listeners" in ended.stdout + ended.stderr

    def test_port_that_is_taken_is_told_at_start(self, tmp_path):
        file = tmp_path / "settings.yaml"
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            file.write_text(f'listeners: [{{address: "127.0.0.1:{port}", dialect: router}}]\n')
            ended = run_to_end("serve", "--config", str(file), settings={"port": 0, "shards": 1})
        assert ended.returncode != 0 and str(port) in ended.stderr
