import asyncio
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from app.providers.aiohttp_transport import AiohttpTransport
from app.providers.completion import ProviderUnavailable
from tests.providers.test_openai import ASK, provider_at
from tests.providers.upstream import Asked, Upstream, as_documented, upstream

OPENSSL = shutil.which("openssl")
SUBJECT = "/CN=private authority"
EXTENSIONS = (
    "subjectAltName=IP:127.0.0.1",
    "basicConstraints=critical,CA:TRUE",
    "keyUsage=critical,digitalSignature,keyCertSign",
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of a private authority, and of the server that it vouches for: itself."""
    if OPENSSL is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    names = ["-keyout", "key.pem", "-out", "ca.pem", "-days", "2", "-subj", SUBJECT]
    extensions = [part for extension in EXTENSIONS for part in ("-addext", extension)]
    command = [OPENSSL, "req", "-x509", *curve, *names, *extensions]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "ca.pem"


def tls(authority: Path) -> ssl.SSLContext:
    """What the server needs to speak for the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority, authority.with_name("key.pem"))
    return context


async def answered(server: Upstream, transport: AiohttpTransport) -> str:
    """The text of one answer."""
    provider = provider_at(server, transport=transport)
    try:
        return (await provider.complete(ASK, deadline_s=5)).text
    finally:
        await provider.aclose()


class Proxy:
    """An HTTP proxy that remembers the first line of each request; it speaks CONNECT and GET."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass one connection on, both ways."""
        head = await reader.readuntil(b"\r\n\r\n")
        line = head.partition(b"\r\n")[0].decode()
        self.lines.append(line)
        method, target, _ = line.split(" ")
        place = target if method == "CONNECT" else target.split("/")[2]
        host, _, port = place.rpartition(":")
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            # An origin wants the path alone.
            upstream_writer.write(head.replace(f"http://{place}".encode(), b"", 1))
        async with asyncio.TaskGroup() as both:
            both.create_task(_pass_on(reader, upstream_writer))
            both.create_task(_pass_on(upstream_reader, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while some := await reader.read(2**16):
            writer.write(some)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying() -> AsyncGenerator[Proxy]:
    """A proxy on this machine until the block ends."""
    proxy = Proxy()
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield proxy


async def test_private_authority_is_trusted_when_it_is_named(authority: Path) -> None:
    """A model server of one's own has a certificate of one's own."""
    async with upstream(tls=tls(authority)) as server:
        assert await answered(server, AiohttpTransport(ca_file=authority)) == "24"


async def test_certificate_of_an_unknown_authority_is_not_trusted(authority: Path) -> None:
    """Nothing is sent to whoever shows it."""
    async with upstream(tls=tls(authority)) as server:
        with pytest.raises(ProviderUnavailable, match="its certificate is not trusted") as failed:
            await answered(server, AiohttpTransport())
        assert not failed.value.may_have_worked
        assert server.asked == []


async def test_proxy_is_used_when_it_is_named() -> None:
    """It sees the whole request, so that http goes through no proxy but one's own."""
    async with upstream() as server, proxying() as proxy:
        assert await answered(server, AiohttpTransport(proxy=proxy.url)) == "24"
        assert proxy.lines == [f"POST {server.base_url}/chat/completions HTTP/1.1"]


async def test_proxy_sees_no_more_of_https_than_the_address(authority: Path) -> None:
    """The key and the prompt go through the tunnel."""
    async with upstream(tls=tls(authority)) as server, proxying() as proxy:
        assert await answered(server, AiohttpTransport(ca_file=authority, proxy=proxy.url)) == "24"
        place = server.base_url.removeprefix("https://").removesuffix("/v1")
        assert proxy.lines == [f"CONNECT {place} HTTP/1.1"]


@pytest.mark.parametrize("does", ["refuses", "is not there"])
async def test_proxy_that_does_not_connect_has_cost_nothing(authority: Path, does: str) -> None:
    """The vendor was never reached."""

    def forbid(_: Asked) -> bytes:
        return b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n"

    async with upstream(tls=tls(authority)) as server, upstream(forbid) as proxy:
        url = proxy.base_url.removesuffix("/v1") if does == "refuses" else "http://127.0.0.1:1"
        with pytest.raises(ProviderUnavailable, match="the proxy") as failed:
            await answered(server, AiohttpTransport(ca_file=authority, proxy=url))
        assert not failed.value.may_have_worked
        assert server.asked == []


async def test_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where keys are sent is for the configuration to say."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with upstream(as_documented) as server:
        assert await answered(server, AiohttpTransport()) == "24"


def test_file_of_authorities_that_is_missing_is_told_at_start() -> None:
    """Before any call."""
    with pytest.raises(FileNotFoundError):
        AiohttpTransport(ca_file=Path("/nowhere/ca.pem"))
