"""Sending by e-mail, through the operator's own server."""

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Final
from urllib.parse import unquote, urlsplit

from app.notices.poster import NotDelivered

TIMEOUT_S: Final = 10.0
"""For each step of the conversation; a thread does it, which nobody can cut short."""

PORTS: Final = {"smtp": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class MailServer:
    """Where mail is handed in, and by whom. `smtps` is TLS from the start."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str | None
    sender: str

    @property
    def domain(self) -> str:
        """Of the sender."""
        return self.sender.rpartition("@")[2]


def mail_server(url: str, *, sender: str) -> MailServer:
    """The server at `smtp[s]://[user:password@]host[:port]`, with user and password unquoted."""
    parts = urlsplit(url)
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    port = PORTS[parts.scheme] if parts.port is None else parts.port
    return MailServer(parts.scheme, parts.hostname or "", port, user, password, sender)


class Mailer:
    """Hands messages to a server, or refuses where there is none.

    `trusted` says whose certificates are believed; those that this machine believes, unless given.
    """

    def __init__(self, server: MailServer | None, *, trusted: ssl.SSLContext | None = None) -> None:
        self._server, self._trusted = server, trusted

    async def send(self, to: str, *, subject: str, text: str, notice_id: str) -> None:
        """Send a plain message; a repeat has the same Message-ID. Raises NotDelivered."""
        if self._server is None:
            raise NotDelivered("FATHOM_SMTP_URL is not set")
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self._server.sender, to, subject
        message["Message-ID"] = f"<{notice_id}@{self._server.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text)
        try:
            trusted = ssl.create_default_context() if self._trusted is None else self._trusted
            await asyncio.to_thread(_hand_in, self._server, message, trusted)
        except smtplib.SMTPResponseException as error:
            raise NotDelivered(f"smtp {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise NotDelivered(type(error).__name__) from None


def _hand_in(server: MailServer, message: EmailMessage, trusted: ssl.SSLContext) -> None:
    with _connected(server, trusted) as session:
        session.ehlo()
        private = server.scheme == "smtps"
        if not private and session.has_extn("starttls"):
            session.starttls(context=trusted)
            session.ehlo()
            private = True
        if server.user is not None:
            if not private:
                # Whoever sits in between could have hidden the offer to hear the password.
                raise smtplib.SMTPNotSupportedError("no TLS, so no password")
            session.login(server.user, server.password or "")
        session.send_message(message)


def _connected(server: MailServer, trusted: ssl.SSLContext) -> smtplib.SMTP:
    # Named, or it would ask the network what this machine is called.
    here = server.domain
    if server.scheme == "smtps":
        return smtplib.SMTP_SSL(server.host, server.port, here, timeout=TIMEOUT_S, context=trusted)
    return smtplib.SMTP(server.host, server.port, here, timeout=TIMEOUT_S)
