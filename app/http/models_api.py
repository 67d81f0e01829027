"""The knowledge bases' own models over HTTP: vectors by their embedder, and order by the reranker, where one is."""

import asyncio
import base64
import time
import uuid
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from app.http.models_form import EmbeddingRequest, RerankRequest
from app.http.openai_form import error_body
from app.http.visit import LEFT, no_model, visitor, while_there
from app.running.bases import State
from app.running.limits import caller
from core.types import F32
from prompts.context import estimate_tokens
from retrieval.embed import Embedder
from retrieval.rerank import Scored, reranker_of

_AT_A_TIME = 64  # texts, after which it is seen whether anybody still waits
_SPECIAL = 2  # tokens around a text


def add_models(api: FastAPI, state: State) -> None:
    """/v1/embeddings and /v1/rerank."""

    @api.post("/v1/embeddings", response_model=None)
    async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
        user, known = await run_in_threadpool(visitor, state, request)
        if asked.model not in known:
            return no_model(asked.model)
        with state.limits.admit(caller(request, user.id)):
            embedder = (await asyncio.to_thread(state.bases.get, asked.model)).embedder
            tokens = await asyncio.to_thread(_read, embedder, asked)
            vectors = await while_there(request, _embedded(embedder, asked))
        if vectors is None:
            return Response(status_code=LEFT)
        data = [
            {"object": "embedding", "index": n, "embedding": _written(vector, asked.encoding_format)}
            for n, vector in enumerate(vectors)
        ]
        body = {"object": "list", "model": asked.model, "data": data, "usage": _usage(tokens)}
        return JSONResponse(body | {"ragstone": {"embedder": embedder.name}})

    @api.post("/v1/rerank", response_model=None)
    async def rerank(asked: RerankRequest, request: Request) -> Response:
        user, known = await run_in_threadpool(visitor, state, request)
        if asked.model not in known:
            return no_model(asked.model)
        with state.limits.admit(caller(request, user.id)):
            reranker = reranker_of(state.cfg.retrieval)
            if reranker is None:
                why = "no reranker is configured: set retrieval.reranker or retrieval.rerank_url"
                return JSONResponse(error_body(400, why, code="no_reranker", param="model"), 400)
            work = asyncio.to_thread(reranker.scored, asked.query, asked.documents)
            scored = await while_there(request, work)
        if scored is None:
            return Response(status_code=LEFT)
        tokens = estimate_tokens(asked.query) * len(asked.documents) + sum(map(estimate_tokens, asked.documents))
        notes = [scored.note] if scored.note else []
        body = {"id": f"rerank-{uuid.uuid4().hex}", "model": asked.model, "created": int(time.time())}
        body |= {"usage": _usage(tokens), "results": _ordered(asked, scored)}
        return JSONResponse(body | {"ragstone": {"reranker": reranker.name, "notes": notes}})


def _read(embedder: Embedder, asked: EmbeddingRequest) -> int:
    """How many tokens the texts are; raises where the embedder cannot do as asked."""
    if asked.dimensions not in (None, embedder.dimension):
        _refuse("dimensions", f"vectors of {embedder.name} have {embedder.dimension} numbers")
    readings = embedder.read(asked.input)
    room = embedder.max_tokens - _SPECIAL - embedder.read([embedder.prompts[0 if asked.is_query else 1]])[0].tokens
    for n, reading in enumerate(readings):
        if not reading.readable:
            _refuse("input", f"{embedder.name} cannot read text {n}: its vector would mean nothing")
        if reading.tokens > room and not asked.truncate:
            _refuse(
                "input", f"text {n} has {reading.tokens} tokens, {embedder.name} reads {room}; or send truncate true"
            )
    return sum(min(reading.tokens, room) for reading in readings)


def _refuse(field: str, why: str) -> None:
    raise RequestValidationError([{"loc": (field,), "msg": why}])


async def _embedded(embedder: Embedder, asked: EmbeddingRequest) -> F32:
    found = []
    for start in range(0, len(asked.input), _AT_A_TIME):
        texts = asked.input[start : start + _AT_A_TIME]
        if asked.is_query:
            found.append(await asyncio.to_thread(lambda own=texts: np.stack([embedder.embed_query(t) for t in own])))
        else:
            found.append(await asyncio.to_thread(embedder.embed_passages, texts))
    return np.concatenate(found)


def _written(vector: F32, form: str) -> list[float] | str:
    """A vector as numbers, or as the bytes of 32-bit ones, the lowest first."""
    return vector.tolist() if form == "float" else base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _ordered(asked: RerankRequest, scored: Scored) -> list[dict[str, Any]]:
    order = sorted(range(len(scored.scores)), key=lambda n: -scored.scores[n])[: asked.top_n]
    rows: list[dict[str, Any]] = [{"index": n, "relevance_score": scored.scores[n]} for n in order]
    if asked.return_documents:
        rows = [row | {"document": {"text": asked.documents[row["index"]]}} for row in rows]
    return rows


def _usage(tokens: int) -> dict[str, int]:
    return {"prompt_tokens": tokens, "total_tokens": tokens}
