"""How a collection is, for those who keep it: /v1/overview/{knowledge base}."""

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request

from app.answering import unanswered
from app.measuring.overview import overview
from app.running.audit import record
from app.running.bases import State


def add_overview(api: FastAPI, state: State) -> None:
    """The report, and a way to forget the questions in it; for editors of the knowledge base."""

    @api.get("/v1/overview/{kb}")
    def look(kb: str, request: Request, months: Annotated[int | None, Query(ge=1, le=1200)] = None) -> dict[str, Any]:
        state.users.require(request, "editor", kb)
        return overview(state.bases.get(kb), state.cfg, months).as_json()

    @api.delete("/v1/overview/{kb}/questions")
    def forget(kb: str, request: Request, id: Annotated[list[str] | None, Query()] = None) -> dict[str, int]:
        """Forget the questions of these ids, without any all of them."""
        user = state.users.require(request, "editor", kb)
        count = unanswered.forget(state.bases.get(kb).home, id)
        record(state.bases.data, user.name or "api", "questions.forget", kb, f"{count} questions")
        return {"forgotten": count}
