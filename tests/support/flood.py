"""Readers that do not read, and more events than the kernel's buffers hold: for queues, priorities and slow modes."""

from support.web import Publisher

SMALL_BUFFER_BYTES = 4096
FILL = "x" * 16_000
EVENTS_BEYOND_BUFFERS = 800  # of FILL: 12.8 MB, where a socket's send buffer grows to 4 MiB at most by Linux's default
ROOMY = {"outbox.events": 100_000, "outbox.bytes": 64 << 20}  # a queue that holds all of a flood


async def flood(courier, channel: str, count: int = EVENTS_BEYOND_BUFFERS, *, start: int = 0, **fields) -> list[str]:
    """Publishes `count` numbered, filled events one after the other and answers their positions."""
    publisher = await Publisher.open(courier.port)
    ids = [
        (await publisher.publish(channel, {"n": n, "fill": FILL} | fields))["id"] for n in range(start, start + count)
    ]
    publisher.close()
    return ids


def offset(position) -> int:
    """The number of a position, given as text or as the number itself."""
    return int(str(position).rpartition("-")[2])
