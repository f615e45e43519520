"""One socket with very many subscriptions, where no limit is set (contract 14): the last costs what the first did."""

import pytest

from support.process import wait_until
from support.speakers import V1, Router, Speaker

PARTS = 4
COUNT_PER_PART = 4_000
AT_ONCE = 100  # answers that wait for a peer are bounded


def subscribe(dialect, n: int) -> dict:
    if dialect is Router:
        return {"type": "subscribe", "subscription": {"topics": [f"many.{n}", f"more.{n}"]}}
    return {"type": "subscribe", "channel": f"many.{n}", "ref": n, "id": f"s{n}"}


def cpu_seconds(courier) -> float:
    with open(f"/proc/{courier.pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("dialect", [Speaker, V1, Router])
def test_the_last_of_sixteen_thousand_costs_what_the_first_did(start_courier, dialect):
    courier = start_courier({"max_subscriptions_per_connection": 0})
    peer, costs = dialect(courier.port), []
    for part in range(PARTS):
        before = cpu_seconds(courier)
        for first in range(part * COUNT_PER_PART, (part + 1) * COUNT_PER_PART, AT_ONCE):
            for n in range(first, first + AT_ONCE):
                peer.say(subscribe(dialect, n))
            assert all(peer.read()["type"] == "subscribed" for _ in range(AT_ONCE))
        costs.append(cpu_seconds(courier) - before)
    last = f"many.{PARTS * COUNT_PER_PART - 1}"
    assert courier.publish(last, {"n": 1})["clients_reached"] == 1
    # Tables grow and memory gets slower; what looks at each of the others costs seven times as much in the last part.
    assert costs[-1] < 2.5 * costs[0] + 0.1, costs
    peer.reset()
    wait_until(lambda: courier.publish(last, {"n": 2})["clients_reached"] == 0, what="all have ended")
