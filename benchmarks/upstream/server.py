"""An upstream that costs nothing: one recorded chat completion, over HTTP/1.1, at once or later.

It runs in a process of its own, so that what it uses is not counted, and prints its port. Its one
argument is how many seconds an answer takes.
"""

import asyncio
import sys
from typing import Final

import httptools

BODY: Final = (
    b'{"id":"chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT","object":"chat.completion",'
    b'"created":1741569952,"model":"gpt-4.1-2025-04-14","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hello! How can I assist you today?","refusal":null,'
    b'"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":19,'
    b'"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":0,'
    b'"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0}},'
    b'"service_tier":"default"}'
)
REPLY: Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_1\r\n"
    b"content-length: %d\r\n\r\n" % len(BODY)
) + BODY


class Answer(asyncio.Protocol):
    """One connection: REPLY to whatever is asked, so long after it is asked completely."""

    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Prepare for the first request."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Parse on."""
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """The request has ended."""
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, REPLY)
        else:
            self._transport.write(REPLY)


async def main() -> None:
    """Serve until killed."""
    latency_s = float(sys.argv[1]) if sys.argv[1:] else 0.0
    server = await asyncio.get_running_loop().create_server(
        lambda: Answer(latency_s), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
