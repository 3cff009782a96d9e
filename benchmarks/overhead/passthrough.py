"""The yardstick: FastAPI and aiohttp, which pass a request on and its answer back, and no more.

python -m benchmarks.overhead.passthrough BASE_URL PORT
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn
from fastapi import FastAPI, Request, Response


def passthrough(base_url: str) -> FastAPI:
    """An application that sends every problem to `base_url` as it came."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            app.state.session = session
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/healthz")
    async def health() -> Response:
        return Response()

    @app.post("/v1/solve")
    async def solve(request: Request) -> Response:
        session: aiohttp.ClientSession = request.app.state.session
        headers = {
            "authorization": request.headers["authorization"],
            "content-type": "application/json",
        }
        sent = await request.body()
        async with session.post(f"{base_url}/chat/completions", data=sent, headers=headers) as got:
            return Response(await got.read(), status_code=got.status, media_type="application/json")

    _ = health, solve
    return app


def main() -> None:
    """Serve until killed, as the gateway is served."""
    base_url, port = sys.argv[1], int(sys.argv[2])
    uvicorn.run(passthrough(base_url), port=port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
