"""A cable between clients and a server: a TCP relay on a port of its own that a test cuts and mends.

Clients that reconnect by themselves keep the relay's address, so what they do after a cut, or after a restart of the
server on another port, is their own doing.
"""

import asyncio
import contextlib

RELAY_BYTES = 65536


class Cable:
    @classmethod
    async def lay(cls, port: int) -> "Cable":
        cable = cls()
        cable.target = port
        cable.whole = True
        cable.writers: set[asyncio.StreamWriter] = set()
        cable.tasks: set[asyncio.Task] = set()
        cable.accepted = 0
        cable.server = await asyncio.start_server(cable._serve, "127.0.0.1", 0)
        cable.port = cable.server.sockets[0].getsockname()[1]
        return cable

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.tasks.add(asyncio.current_task())
        self.writers.add(writer)
        try:
            if self.whole:
                await self._join(reader, writer)
        except OSError:
            pass  # the server is not there, or the cable was cut
        finally:
            writer.close()
            self.writers.discard(writer)
            self.tasks.discard(asyncio.current_task())

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.writers.add(far_writer)
        self.accepted += 1
        ways = [
            asyncio.create_task(self._relay(reader, far_writer)),
            asyncio.create_task(self._relay(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            far_writer.close()
            self.writers.discard(far_writer)

    @staticmethod
    async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        with contextlib.suppress(OSError):
            while data := await reader.read(RELAY_BYTES):
                writer.write(data)
                await writer.drain()

    def cut(self):
        """Ends all connections at once, in the middle of whatever they carry; new ones fail until `mend`."""
        self.whole = False
        for writer in list(self.writers):
            writer.transport.abort()

    def mend(self, port: int | None = None):
        """New connections go through again, to another port if the server has moved."""
        self.target = self.target if port is None else port
        self.whole = True

    async def remove(self):
        self.cut()
        self.server.close()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
