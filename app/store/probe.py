"""Whether Redis answers."""

from redis.asyncio import Redis
from redis.exceptions import RedisError


async def redis_trouble(redis: Redis) -> str | None:
    """Why Redis cannot be used, or None."""
    try:
        await redis.ping()  # pyright: ignore[reportUnknownMemberType] - untyped options
    except (RedisError, OSError):
        return "cannot be reached"
    return None
