"""Redis behind a gate: the commands are done by fakeredis, script and all, at once."""

from typing import Any

from fakeredis import FakeAsyncRedis, FakeRedis, FakeServer
from redis.exceptions import ConnectionError as RedisGone

from tests.simulation.world import Line, Verdict, World


class SimulatedRedis(FakeAsyncRedis):
    """What one process has of the Redis that all share; the process changes with every world."""

    world: World
    line: Line

    def __init__(self, server: FakeServer) -> None:
        super().__init__(server=server)  # pyright: ignore[reportUnknownMemberType] - untyped there
        # Done by a client that waits for nothing, so that a command is one step, as in Redis.
        self._done_by = FakeRedis(server=server)

    def belong(self, world: World, line: Line) -> "SimulatedRedis":
        """The same client in the hands of a process."""
        self.world, self.line = world, line
        return self

    async def execute_command(self, *args: Any, **options: Any) -> Any:  # noqa: ANN401
        world = self.world
        verdict = await world.pass_gate(self.line, "command")
        if verdict is Verdict.DROP or world.redis_is_down:
            raise RedisGone("the connection is lost")
        done: object = self._done_by.execute_command(*args, **options)  # type: ignore[no-untyped-call]
        if verdict is Verdict.DIE:
            world.kill(self.line)
            await world.never()
        if verdict is Verdict.LOSE:
            raise RedisGone("the connection is lost")
        verdict = await world.pass_gate(self.line, "reply")
        if verdict is not Verdict.DO:
            raise RedisGone("the connection is lost")
        return done  # pyright: ignore[reportUnknownVariableType] - as above
