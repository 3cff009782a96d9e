"""E-mail is handed to the operator's server, once a notice, and never with a password in clear."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from app.notices.mail import Mailer, mail_server
from app.notices.poster import NotDelivered
from tests.backends import skip
from tests.notices.mailbox import Mailbox, mailbox

SENDER = "fathom@gateway.example"


def mailer(there: Mailbox, *, user: str = "", trusted: ssl.SSLContext | None = None) -> Mailer:
    """One that hands in at the mailbox."""
    server = mail_server(f"smtp://{user}127.0.0.1:{there.port}", sender=SENDER)
    return Mailer(server, trusted=trusted)


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 with its key, made here and believed nowhere."""
    made = folder / "mailbox.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    named = ["-subj", "/CN=mailbox", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(made), "-out", str(folder / "certificate.pem")]
    subprocess.run(["openssl", *command.split(), *named, *files], check=True, capture_output=True)
    made.write_text(made.read_text() + (folder / "certificate.pem").read_text())
    return made


async def send(sender: Mailer, subject: str = "spent", text: str = "80 % of $10") -> None:
    """A message to the treasurer."""
    await sender.send("cfo@acme.example", subject=subject, text=text, notice_id="msg_1")


async def test_a_message_arrives_as_it_was_written() -> None:
    """Beyond ASCII, too; its id is the notice's, so that a repeat can be told."""
    async with mailbox() as there:
        await send(mailer(there), "Budget für acme", "80 % von 10 €\n")
        (message,) = there.messages
        assert message["Subject"] == "Budget für acme"
        assert message.get_content() == "80 % von 10 €\n"
        assert (message["From"], message["To"]) == (SENDER, "cfo@acme.example")
        assert message["Message-ID"] == "<msg_1@gateway.example>"
        assert there.recipients == ["cfo@acme.example"]


async def test_a_server_that_refuses_is_a_failure() -> None:
    """To be tried again."""
    async with mailbox(refuses=1) as there:
        with pytest.raises(NotDelivered) as failed:
            await send(mailer(there))
        assert not failed.value.final
        await send(mailer(there))
        assert len(there.messages) == 1


async def test_a_password_is_not_said_without_tls() -> None:
    """Whether the server does not offer it, or somebody in between hides that it does."""
    async with mailbox() as there:
        with pytest.raises(NotDelivered, match="SMTPNotSupportedError"):
            await send(mailer(there, user="fathom:secret@"))
        assert there.messages == []


async def test_a_password_is_said_in_tls(tmp_path: Path) -> None:
    """The session begins in clear, and goes on in TLS with a server that proves who it is."""
    if shutil.which("openssl") is None:
        skip("no openssl to make a certificate with")
    pem = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    async with mailbox(tls=tls) as there:
        trusted = ssl.create_default_context(cafile=str(pem))
        await send(mailer(there, user="fathom:secret@", trusted=trusted))
        assert there.logins == [(b"\0fathom\0secret", True)]
        assert len(there.messages) == 1


async def test_a_server_that_cannot_prove_who_it_is_is_told_nothing(tmp_path: Path) -> None:
    """Neither the password nor the message."""
    if shutil.which("openssl") is None:
        skip("no openssl to make a certificate with")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate(tmp_path))
    async with mailbox(tls=tls) as there:
        with pytest.raises(NotDelivered, match="SSLCertVerificationError"):
            await send(mailer(there, user="fathom:secret@"))
        assert (there.logins, there.messages) == ([], [])


async def test_a_server_that_is_not_there_or_not_named_is_a_failure() -> None:
    """And says no more than that."""
    with pytest.raises(NotDelivered, match="ConnectionRefusedError"):
        await send(Mailer(mail_server("smtp://127.0.0.1:1", sender=SENDER)))
    with pytest.raises(NotDelivered, match="FATHOM_SMTP_URL"):
        await send(Mailer(None))


def test_a_servers_url_is_read_whole() -> None:
    """User and password as any URL writes them."""
    server = mail_server("smtps://a%40b:p%2Fw@mail.example", sender=SENDER)
    assert (server.scheme, server.host, server.port) == ("smtps", "mail.example", 465)
    assert (server.user, server.password) == ("a@b", "p/w")
    assert mail_server("smtp://mail.example", sender=SENDER).port == 587
