"""EventSource clients that nobody here wrote: Node's own and Chromium's. One face for both, as `clients` has for sockets."""

import asyncio
import json

from support.clients import WAIT_SECONDS, Driver, DrivenSocket


class Streams(Driver):
    @classmethod
    async def node(cls) -> "Streams":
        return await cls.start("streams.mjs")

    @classmethod
    async def chromium(cls, page_url: str) -> "Streams":
        return await cls.start("chromium_streams.mjs", page_url)

    async def follow(self, url: str, types: list[str] | tuple = ()) -> "Stream":
        """Opens an EventSource that listens for `message` and for these types."""
        stream = Stream(self, next(self.numbers))
        self.sockets[stream.number] = stream
        await self.tell({"op": "open", "id": stream.number, "url": url, "types": list(types)})
        said = await asyncio.wait_for(asyncio.shield(stream.opened), WAIT_SECONDS)
        assert said == "open", "the stream was refused"
        return stream


class Stream(DrivenSocket):
    """One EventSource. A close means that it met an error or was closed; it reconnects by itself after an error."""

    async def heard(self, count: int) -> list[dict]:
        """The first `count` events as `{type, id, data}`."""
        return [json.loads(text) for text in (await self.until(count))[:count]]
