"""The live tree of a solve in Redis: one append-only stream, fenced by token and sequence.

A stream's ids are the events' own numbers, so Redis itself refuses a second event under an old
number. The log can be lost: it is rebuilt from the journal. It never holds a text, only the
search's own events.
"""

import asyncio
import json
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from app.errors import GatewayError
from app.ids import SolveId

TTL_S: Final = 7 * 24 * 3600
"""A tree outlives its solve by as long as its texts are kept."""

COMMAND_S: Final = 2.0
"""How long a command may take before the tree store counts as out of reach."""

COMPRESS_ABOVE_BYTES: Final = 512

APPEND: Final = """
local token, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = tonumber(redis.call('HGET', KEYS[2], 'token') or '0')
local last = tonumber(redis.call('HGET', KEYS[2], 'seq') or '0')
if token < known then return -1 end
if token > known then
  redis.call('DEL', KEYS[1], KEYS[2])
  last = 0
end
if seq <= last then
  local written = redis.call('XRANGE', KEYS[1], seq .. '-0', seq .. '-0')[1]
  if written and written[2][2] ~= ARGV[3] then return -1 end
  return 0
end
if seq ~= last + 1 then return -2 end
redis.call('XADD', KEYS[1], seq .. '-0', 'e', ARGV[3])
redis.call('HSET', KEYS[2], 'token', token, 'seq', seq)
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[2], ARGV[4])
return 1
"""
"""1: appended. 0: this event was appended before (a repeat). -1: a higher token has taken over, or
another process writes under this one. -2: numbers are missing before this one: the log was lost in
between, or was begun anew here because the token is a higher one. A log is one owner's from its
first event to its last: what the owner before it wrote until the last moment, nobody knows."""


class TreeLogFenced(GatewayError):
    """Another process writes this tree now."""


class TreeLogGap(GatewayError):
    """The log does not continue with this number: whoever has the events must write them again."""


class TreeLogUnavailable(GatewayError):
    """Redis is out of reach; the journal has the truth until it is back."""


class TreeLog:
    """Appends events and reads them back; what an event means is the search's business."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        # Sends the script's hash, and the script itself when the server has forgotten it.
        self._append = redis.register_script(APPEND)

    async def append(
        self, solve_id: SolveId, *, token: int, seq: int, event: Mapping[str, Any]
    ) -> None:
        """Add event `seq`; harmless when repeated.

        Raises TreeLogFenced, TreeLogGap or TreeLogUnavailable.
        """
        try:
            async with asyncio.timeout(COMMAND_S):
                verdict = await self._append(
                    keys=[_stream(solve_id), _meta(solve_id)],
                    args=[token, seq, _encode(event), TTL_S],
                )
        except (RedisError, OSError) as error:
            raise TreeLogUnavailable("the tree store is out of reach") from error
        if verdict == -1:
            raise TreeLogFenced(f"the tree of {solve_id} is written by another process")
        if verdict == -2:
            raise TreeLogGap(f"the tree of {solve_id} lacks events before number {seq}")

    async def read(self, solve_id: SolveId, *, after: int = 0) -> Sequence[Mapping[str, Any]]:
        """Events beyond number `after`; none when the log expired, was lost, or is out of reach."""
        try:
            async with asyncio.timeout(COMMAND_S):
                entries = await self._redis.xrange(_stream(solve_id), min=f"{after + 1}-0")
        except (RedisError, OSError):
            return []
        return [_decode(fields or {}) for _, fields in entries or []]


def _stream(solve_id: SolveId) -> str:
    # The braces keep both keys of a solve on one node of a cluster.
    return f"tree:{{{solve_id}}}:l"


def _meta(solve_id: SolveId) -> str:
    return f"tree:{{{solve_id}}}:m"


def _encode(event: Mapping[str, Any]) -> bytes:
    plain = json.dumps(event, separators=(",", ":")).encode()
    return zlib.compress(plain) if len(plain) > COMPRESS_ABOVE_BYTES else plain


def _decode(fields: Mapping[bytes | str, bytes | str]) -> Mapping[str, Any]:
    body = fields[b"e"]
    assert isinstance(body, bytes), "the client is made without decoding"
    # JSON starts with a brace, zlib's header never does.
    plain = body if body.startswith(b"{") else zlib.decompress(body)
    decoded: Mapping[str, Any] = json.loads(plain)
    return decoded
