"""One recorded puzzle searched in this process, printed as what must repeat: run as a module.

`python -m tests.solve.repeat <database url> <concurrency>` prints a JSON object on the last line.
"""

import asyncio
import json
import sys

from app.data.game24 import puzzles
from app.settings import Settings, read_config
from app.wiring import open_gateway
from tests.gateway import Json, open_account, served

SEED = 3
PUZZLE = 7
"""Neither of the two easiest, so that its search grows a tree."""


def body(concurrency: int, seed: int) -> Json:
    """The request: a search that two experts take part in."""
    puzzle = puzzles()[PUZZLE]
    config = {"numbers": list(puzzle.numbers), "target": 24}
    return {
        "input": puzzle.problem,
        "mode": "search",
        "seed": seed,
        "evaluators": [{"type": "expression", "config": config}],
        "search": {"max_nodes": 12, "patience": 12, "concurrency": concurrency},
    }


async def repeatable(database_url: str, concurrency: int, *, seed: int = SEED) -> Json:
    """Tree, answer and cost lines of the search, without ids and times."""
    settings = Settings(database_url=database_url)
    async with open_gateway(settings, read_config(None)) as gateway:
        account = await open_account(gateway)
        async with served(gateway, account.key) as (_, client):
            response = await client.post("/v1/solve", json=body(concurrency, seed))
            solve: Json = response.raise_for_status().json()
            tree = (await client.get(solve["links"]["tree"])).raise_for_status().json()
    return {
        "text": solve["output_text"],
        "cost": solve["cost"],
        "usage": solve["usage"],
        "search": solve["search"],
        "lineage": solve["lineage"],
        "nodes": tree["nodes"],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(repeatable(sys.argv[1], int(sys.argv[2])))))  # noqa: T201
