"""The HTTP surface: an OpenAI-compatible API over the knowledge bases, MCP, pictures of pages, health and metrics."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from app.answering.view import page_picture
from app.http import mcp
from app.http.gate import Gate
from app.http.headers import SecurityHeaders
from app.http.login import add_login
from app.http.models_api import add_models
from app.http.openai_api import add_openai
from app.http.overview_api import add_overview
from app.http.sign_on import add_sign_on
from app.http.visit import Aside
from app.running.bases import State
from app.running.limits import caller
from app.running.metrics import CONTENT_TYPE
from core.errors import CatalogError


def build(state: State) -> FastAPI:
    """The API behind its gate: /healthz, /metrics, /login, /v1, /mcp, pictures of pages."""
    tools = mcp.build(state, mcp.of_request(state))
    transport = mcp.http(tools)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with tools.session_manager.run():
            yield

    api = FastAPI(title="Ragstone", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    api.router.routes += transport

    @api.get("/healthz")
    def healthz() -> JSONResponse:
        if state.failure:
            why = {} if state.users.on else {"error": str(state.failure)}  # this page is for everybody
            return JSONResponse({"status": "failed"} | why, 500)
        try:
            state.bases.check_there()
        except CatalogError as error:  # until its disk is back
            return JSONResponse({"status": "failed"} | ({} if state.users.on else {"error": str(error)}), 503)
        if not state.ready.is_set():
            return JSONResponse({"status": "starting"}, 503)
        said: dict[str, Any] = {"status": "ok"}
        if state.vllm:
            replicas = [replica.state for replica in state.vllm.status().replicas]
            said |= {"vllm": replicas} | ({"status": "degraded"} if "running" not in replicas else {})
        if state.fell_back:
            said |= {"status": "degraded", "model": "fell back" if state.users.on else state.fell_back}
        if state.watching:  # questions are answered, from what was indexed before
            said |= {"status": "degraded", "watching": "failing" if state.users.on else state.watching}
        return JSONResponse(said)

    @api.get("/metrics")
    def metrics(request: Request) -> Response:
        user = state.users.of(request)
        chunks = {kb: count for kb, count in state.bases.chunks().items() if user.sees(kb)}
        return Response(state.metrics.render(chunks), media_type=CONTENT_TYPE)

    add_sign_on(api, state, add_login(api, state))
    add_models(api, state)
    aside = Aside()
    _add_pictures(api, state, aside)
    add_overview(api, state, aside)
    add_openai(api, state)  # the last one, which says what there is not
    api.add_middleware(Gate, state=state)
    api.add_middleware(SecurityHeaders)
    return api


def _add_pictures(api: FastAPI, state: State, aside: Aside) -> None:
    @api.get("/view/{kb}/{chunk_id}.png", response_model=None)
    async def view(kb: str, chunk_id: int, request: Request) -> Response:
        """The page that a passage stands on, with the passage marked."""
        user = await run_in_threadpool(state.users.require, request, "reader", kb)

        def drawn() -> bytes:
            return page_picture(state.bases.get(kb), chunk_id, state.cfg.ingest)

        return await aside.picture(request, caller(request, user.id), drawn)
