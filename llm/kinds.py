"""What an endpoint is: each of chat, embedding and reranking is asked of it once, in the smallest way."""

import asyncio
from typing import Any, Literal
from urllib.parse import urlsplit

Kind = Literal["chat", "embedding", "rerank"]

_TIMEOUT_S = 20.0
_LONGEST_REASON = 160
_ASKED: dict[Kind, tuple[str, dict[str, Any]]] = {
    "chat": ("chat/completions", {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}),
    "embedding": ("embeddings", {"input": ["Hello"]}),
    "rerank": ("rerank", {"query": "Hello", "documents": ["Hello"]}),
}


async def kinds(url: str, model: str, key: str) -> dict[Kind, str]:
    """For each kind "" where the endpoint answers it in its form, else why not. Raises nothing."""
    import httpx

    headers = {"Authorization": f"Bearer {key}"} if key else {}
    local = urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    async with httpx.AsyncClient(timeout=_TIMEOUT_S, headers=headers, trust_env=not local) as client:
        found = await asyncio.gather(*(_ask(client, url.rstrip("/"), model, kind) for kind in _ASKED))
    return dict(zip(_ASKED, found, strict=True))


async def _ask(client: Any, url: str, model: str, kind: Kind) -> str:
    import httpx

    path, body = _ASKED[kind]
    try:
        response = await client.post(f"{url}/{path}", json=body | {"model": model})
        told = response.json() if response.status_code == httpx.codes.OK else None
    except httpx.TimeoutException:
        return f"no answer in {_TIMEOUT_S:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return str(error)[:_LONGEST_REASON] or type(error).__name__
    if told is None:
        return f"HTTP {response.status_code}"
    return "" if _formed(told, kind) else "an answer in another form"


def _formed(told: Any, kind: Kind) -> bool:
    try:
        if kind == "chat":
            return "message" in told["choices"][0]
        if kind == "embedding":
            return all(isinstance(number, float | int) for number in told["data"][0]["embedding"])
        return isinstance(told["results"][0]["relevance_score"], float | int)
    except (KeyError, IndexError, TypeError):
        return False
