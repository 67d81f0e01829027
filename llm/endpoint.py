"""Servers of models: what answers at an address, which of several is asked, and what each failure is called."""

import asyncio
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.config import LlmConfig
from core.errors import ModelError

if TYPE_CHECKING:
    import ssl

    import httpx

_PROBE_TIMEOUT_S = 3.0
_LEFT_OUT_S = 10.0
_ALIVE_S = 2.0
# What servers that send neither a code nor a parameter say of a prompt that is too long: vLLM before 0.6, LM Studio.
_CONTEXT = re.compile(r"maximum context length|context (?:length|window|size)|max_model_len", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model at an address; `context` is its longest prompt plus answer in tokens, where the server says.

    `others`: further addresses that serve the same.
    """

    base_url: str
    model: str
    api_key: str
    context: int | None = None
    others: tuple[str, ...] = ()


_Asked = tuple[tuple[str, ...], str, str]  # addresses, llm.model, key


class _Servers:
    """What this process knows of servers: which did not answer lately, which are writing, what they serve.

    A server that was heard writing moments ago is there: what it serves is not asked anew for each of many questions.
    """

    def __init__(self) -> None:
        self._out: dict[str, float] = {}
        self._heard: dict[str, float] = {}
        self._busy: Counter[str] = Counter()
        self._found: dict[_Asked, tuple[float, Endpoint]] = {}
        self._mutex = threading.Lock()

    def answering(self, urls: Sequence[str]) -> list[str]:
        """Those that are not left out; all where all are."""
        now = time.monotonic()
        return [url for url in urls if self._out.get(url, 0.0) <= now] or list(urls)

    def leave_out(self, url: str) -> None:
        """Ask an address no more for a while."""
        self._out[url] = time.monotonic() + _LEFT_OUT_S
        self.forget(url)

    def heard(self, url: str) -> None:
        """It is writing an answer."""
        self._heard[url] = time.monotonic()

    def forget(self, url: str) -> None:
        """It failed, so nothing is known of it."""
        self._heard.pop(url, None)

    def keep(self, asked: _Asked, endpoint: Endpoint) -> None:
        """Remember what was found at some addresses."""
        self._found[asked] = (time.monotonic(), endpoint)

    def known(self, asked: _Asked) -> Endpoint | None:
        """What was found there lately, while its server is heard."""
        found, endpoint = self._found.get(asked, (0.0, None))
        now = time.monotonic()
        if endpoint is None or now - found > _LEFT_OUT_S:
            return None
        return endpoint if now - self._heard.get(endpoint.base_url, -_ALIVE_S) < _ALIVE_S else None

    @property
    def writing(self) -> int:
        """Requests under way at all addresses."""
        return self._busy.total()

    @contextmanager
    def least_busy(self, urls: Sequence[str]) -> Iterator[str]:
        """The address with the fewest requests under way, this one counted until the end."""
        with self._mutex:
            url = min(self.answering(urls), key=self._busy.__getitem__)
            self._busy[url] += 1
        try:
            yield url
        finally:
            with self._mutex:
                self._busy[url] -= 1


SERVERS = _Servers()


async def probe_all(urls: Sequence[str], cfg: LlmConfig) -> Endpoint:
    """Ask all addresses of a model at once; one endpoint of those that serve the same as the first that answers.

    One that does not answer is left out for 10 seconds; while one is writing, the answer is 10 seconds old at most.
    Raises `ModelError` as `probe` does where none answers.
    """
    question = (tuple(urls), cfg.model, cfg.api_key)
    if known := SERVERS.known(question):
        return known
    asked = SERVERS.answering(urls)
    found = await asyncio.gather(*(probe(url, cfg) for url in asked), return_exceptions=True)
    there: list[Endpoint] = []
    failures: list[BaseException] = []
    for url, result in zip(asked, found, strict=True):
        if isinstance(result, Endpoint):
            there.append(result)
        else:
            failures.append(result)
            SERVERS.leave_out(url)
    if not there:
        raise failures[0]
    first = there[0]
    lengths = [each.context for each in there if each.context]
    others = tuple(each.base_url for each in there[1:] if each.model == first.model)
    endpoint = replace(first, context=min(lengths, default=None), others=others)
    SERVERS.keep(question, endpoint)
    return endpoint


async def probe(base_url: str, cfg: LlmConfig) -> Endpoint:
    """Ask an endpoint what it serves. `llm.model` must be among it; without one the first model is taken.

    Raises `ModelError` where nothing answers in 3 seconds, or not like an OpenAI-compatible server.
    """
    found = await served(base_url, cfg.api_key)
    model = cfg.model or next(iter(found))
    if model not in found:
        raise ModelError(f"{base_url} does not serve model {model!r}", f"set llm.model to one of: {', '.join(found)}")
    return Endpoint(base_url, model, cfg.api_key, _context(found, model))


async def served(base_url: str, api_key: str = "") -> dict[str, dict[str, Any]]:
    """What an endpoint says of each model that it serves, by name; at least one. Raises as `probe` does."""
    import httpx

    url = base_url.rstrip("/") + "/models"
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        if (httpx.URL(url).port or 0) > 65535:
            raise httpx.InvalidURL("a port is at most 65535")
        async with client_of(base_url, _PROBE_TIMEOUT_S) as client:
            response = await client.get(url, headers=headers)
    except httpx.TimeoutException:
        hint = "the server may be busy or starting; try again, or see its log"
        raise ModelError(f"{base_url} did not answer within {_PROBE_TIMEOUT_S:g} s", hint, retryable=True) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise unreachable(base_url, str(error)) from None
    if response.status_code in (401, 403):
        raise _unauthorised(base_url)
    try:
        found = {row["id"]: row for row in response.json()["data"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{url} answered HTTP {response.status_code}, but not with a list of models",
            "llm.base_url must be the address of an OpenAI-compatible API and usually ends in /v1",
        ) from None
    if not found:
        raise ModelError(f"{base_url} serves no model", "load a model in that server")
    return found


def _context(found: dict[str, Any], model: str) -> int | None:
    """The context of a model; vLLM tells an adapter's by the name of its parent alone."""
    asked: set[str] = set()
    while model in found and model not in asked:
        asked.add(model)
        if (length := _length(found[model])) is not None:
            return length
        model = str(found[model].get("parent"))
    wholes = {_length(row) for row in found.values() if not row.get("parent")}
    return wholes.pop() if model != "None" and len(wholes) == 1 else None  # its parent has another name here


def _length(row: dict[str, Any]) -> int | None:
    """The context of one request, as vLLM and SGLang tell it, or llama.cpp, which shares its own among its slots."""
    own = row.get("meta")
    told = row.get("max_model_len", own.get("n_ctx") if isinstance(own, dict) else None)
    return told if isinstance(told, int) else None


def client_of(url: str, timeout_s: float) -> "httpx.AsyncClient":
    """A client for one address; no proxy stands before a server of this machine."""
    import httpx

    return httpx.AsyncClient(timeout=timeout_s, trust_env=not is_local(url), verify=certificates())


@cache
def certificates() -> "ssl.SSLContext":
    """What https servers are checked by, read once: it takes 25 ms, which a client would take for each request."""
    import httpx

    return httpx.create_ssl_context()


def is_local(url: str) -> bool:
    """Whether a server runs on this machine, so that no proxy stands before it."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


# --- what failures are called ----------------------------------------------------------------------------------------


def refusal(endpoint: Endpoint, status: int, told: Any) -> ModelError:
    """An answer other than 200; `told` is its JSON, in OpenAI's form or without the frame around it."""
    where = endpoint.base_url
    if status in (401, 403):
        return _unauthorised(where)
    if status == 404:
        return ModelError(f"{where} does not serve model {endpoint.model!r}", "set llm.model to one that it serves")
    if status == 429:
        return ModelError(f"{where} refuses more requests for now", "wait a little and try again", retryable=True)
    if status not in (400, 413, 422):
        return ModelError(f"{where} answered HTTP {status}", "see the server's log", retryable=True)
    text = str(_detail(told).get("message") or told)[:300]
    if about_length(told):
        return ModelError(
            f"the prompt and the answer do not fit the model's context: {text}",
            "lower retrieval.context_tokens or llm.max_tokens, or serve the model with a longer context",
        )
    return ModelError(f"{where} refused the request: {text}", "check the sampling settings under [llm]")


def about_length(told: Any) -> bool:
    """Whether a refusal says that prompt and answer are too long."""
    detail = _detail(told)
    named = detail.get("code") == "context_length_exceeded" or detail.get("param") in (
        "input_tokens", "input_text", "max_tokens", "max_completion_tokens", "messages", "prompt",
    )  # fmt: skip
    return named or "n_ctx" in detail or _CONTEXT.search(str(detail.get("message") or told)[:300]) is not None


def _detail(told: Any) -> dict[str, Any]:
    detail = told.get("error", told) if isinstance(told, dict) else {}
    return detail if isinstance(detail, dict) else {"message": detail}


def no_answer(base_url: str, finish: str, thought: bool) -> ModelError:
    """A reply that ended without a word of an answer."""
    why, hint = "", "ask again, or use another model"
    if finish == "length":
        why, hint = "llm.max_tokens were used up", "raise llm.max_tokens"
        why += " by its thoughts" if thought else ""
    elif finish == "tool_calls":
        why, hint = "it called a tool instead", "serve it without tools, or use another model"
    elif finish == "content_filter":
        why, hint = "a filter of its server held it back", "see the server's settings"
    elif thought:
        why = "all that it wrote was taken for its thoughts"
        hint = "check the reasoning parser that the server has for the model (vLLM: --reasoning-parser)"
    return ModelError(f"the model wrote no answer at {base_url}" + (f": {why}" if why else ""), hint)


def late(base_url: str, seconds: float) -> ModelError:
    """Nothing came in time."""
    hint = "raise llm.timeout_s, or use a smaller model"
    return ModelError(f"{base_url} did not answer within {seconds:g} s", hint, retryable=True)


def garbled(base_url: str, detail: str) -> ModelError:
    """Something came that is no answer."""
    return ModelError(
        f"{base_url} sent something that is no answer: {detail[:200]}",
        "check that llm.base_url is an OpenAI-compatible server, and see its log",
        retryable=True,
    )


def broke_off(base_url: str) -> ModelError:
    """An answer that was begun has no end."""
    hint = "try again; where it happens again, see the server's log"
    return ModelError(f"{base_url} broke off in the middle of the answer", hint, retryable=True)


def unreachable(base_url: str, detail: str) -> ModelError:
    """Nothing answers there."""
    return ModelError(
        f"no model server answers at {base_url} ({detail or 'connection failed'})",
        "start it, or correct llm.base_url in config.toml",
        retryable=True,
    )


def _unauthorised(base_url: str) -> ModelError:
    return ModelError(f"{base_url} refuses the key", "set RAGSTONE_LLM__API_KEY to a key that the server accepts")
