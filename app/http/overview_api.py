"""How a collection is, for those who keep it: /v1/overview/{knowledge base}."""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from app.answering import unanswered
from app.http.visit import LEFT, Aside
from app.measuring.overview import overview
from app.running.audit import record
from app.running.bases import State
from app.running.limits import caller


def add_overview(api: FastAPI, state: State, aside: Aside) -> None:
    """The report, and a way to forget the questions in it; for editors of the knowledge base."""

    @api.get("/v1/overview/{kb}", response_model=None)
    async def look(
        kb: str, request: Request, months: Annotated[int | None, Query(ge=1, le=1200)] = None
    ) -> dict[str, Any] | Response:
        user = await run_in_threadpool(state.users.require, request, "editor", kb)

        def made() -> dict[str, Any]:
            return overview(state.bases.get(kb), state.cfg, months).as_json()

        report = await aside.done(request, caller(request, user.id), made)
        return Response(status_code=LEFT) if report is None else report

    @api.delete("/v1/overview/{kb}/questions")
    def forget(kb: str, request: Request, id: Annotated[list[str] | None, Query()] = None) -> dict[str, int]:
        """Forget the questions of these ids, without any all of them."""
        user = state.users.require(request, "editor", kb)
        count = unanswered.forget(state.bases.get(kb).home, id)
        record(state.bases.data, user.name or "api", "questions.forget", kb, f"{count} questions")
        return {"forgotten": count}
