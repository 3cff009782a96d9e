"""A TCP proxy that can lose what a server says: what it did is done, and nobody hears of it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

CHUNK: Final = 65_536
DONE_S: Final = 0.1
"""How long a server has to carry out what it was sent before the connection is cut."""


class Proxy:
    """Passes bytes between clients and one server on this machine."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._deaf = False
        self.port = 0

    async def lose_acknowledgements(self) -> int:
        """Deliver what clients send, drop every reply to it, then cut; how many were cut."""
        self._deaf = True
        await asyncio.sleep(DONE_S)
        cut = len(self._writers)
        for writer in self._writers:
            writer.transport.abort()
        self._deaf = False
        return cut

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until either side ends."""
        try:
            back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, back_writer}
        self._writers |= both
        with suppress(OSError):
            async with asyncio.TaskGroup() as pumps:
                there = pumps.create_task(self._pump(reader, back_writer, is_reply=False))
                back = pumps.create_task(self._pump(back_reader, writer, is_reply=True))
                await asyncio.wait({there, back}, return_when=asyncio.FIRST_COMPLETED)
                there.cancel()
                back.cancel()
        self._writers -= both
        for one in both:
            one.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                if is_reply and self._deaf:
                    continue
                writer.write(data)
                await writer.drain()


@asynccontextmanager
async def proxy(server_port: int) -> AsyncGenerator[Proxy]:
    """A proxy to a port, until the block ends."""
    running = Proxy(server_port)
    server = await asyncio.start_server(running.connect, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        await running.lose_acknowledgements()
