"""A mail server on this machine that keeps what it is given, or refuses it. RFC 5321, the least."""

import asyncio
import ssl
from base64 import b64decode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default


@dataclass(slots=True)
class Mailbox:
    """`refuses` is how many messages are put off first; with `tls`, STARTTLS is offered.

    `logins` are what users said of themselves, and whether that was said in TLS.
    """

    refuses: int = 0
    tls: ssl.SSLContext | None = None
    port: int = 0
    messages: list[EmailMessage] = field(default_factory=list[EmailMessage])
    recipients: list[str] = field(default_factory=list[str])
    logins: list[tuple[bytes, bool]] = field(default_factory=list[tuple[bytes, bool]])
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        private = False
        writer.write(b"220 mailbox\r\n")
        while line := (await reader.readline()).strip():
            match line.split(b":")[0].split(b" ")[0].upper():
                case b"EHLO":
                    starts = self.tls is not None and not private
                    writer.write(b"250-mailbox\r\n" + b"250-STARTTLS\r\n" * starts)
                    writer.write(b"250 AUTH PLAIN\r\n")
                case b"STARTTLS" if self.tls is not None:
                    writer.write(b"220 go on\r\n")
                    try:
                        await writer.start_tls(self.tls)
                    except ssl.SSLError:
                        break  # we are not believed
                    private = True
                case b"AUTH":
                    self.logins.append((b64decode(line.rpartition(b" ")[2]), private))
                    writer.write(b"235 welcome\r\n")
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
async def mailbox(
    *, refuses: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Mailbox]:
    """A mailbox that listens."""
    made = Mailbox(refuses, tls)
    server = await asyncio.start_server(made.converse, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
