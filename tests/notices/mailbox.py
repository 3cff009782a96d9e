"""A mail server on this machine that keeps what it is given, or refuses it. RFC 5321, the least."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


@dataclass(slots=True)
class Mailbox:
    """`refuses` is how many messages are put off first."""

    refuses: int = 0
    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list[EmailMessage])
    recipients: list[str] = field(default_factory=list[str])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        writer.write(b"220 mailbox\r\n")
        while line := (await reader.readline()).strip():
            match line.split(b":")[0].split(b" ")[0].upper():
                case b"MAIL" if self.refuses:
                    self.refuses -= 1
                    writer.write(b"451 try again later\r\n")
                case b"RCPT":
                    self.recipients.append(line.decode().partition(":")[2].strip("<> "))
                    writer.write(b"250 ok\r\n")
                case b"DATA":
                    writer.write(b"354 go on\r\n")
                    body = await reader.readuntil(b"\r\n.\r\n")
                    message = message_from_bytes(_text(body), policy=default)
                    assert isinstance(message, EmailMessage)
                    self.messages.append(message)
                    self.arrived.set()
                    writer.write(b"250 kept\r\n")
                case b"QUIT":
                    writer.write(b"221 bye\r\n")
                    break
                case _:
                    writer.write(b"250 mailbox\r\n")
        writer.close()


def _text(body: bytes) -> bytes:
    """The message, without what ends it, and with the lines of this machine."""
    return body.removesuffix(b".\r\n").replace(b"\r\n", b"\n")


@asynccontextmanager
async def mailbox(*, refuses: int = 0) -> AsyncGenerator[Mailbox]:
    """A mailbox that listens."""
    made = Mailbox(refuses)
    server = await asyncio.start_server(made.converse, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
