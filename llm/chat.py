"""The chat client: messages -> streamed text, from any OpenAI-compatible endpoint, through langchain."""

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from core.config import LlmConfig
from core.errors import ModelError

if TYPE_CHECKING:
    import ssl

    import httpx
    from langchain_core.messages import BaseMessage

_PROBE_TIMEOUT_S = 3.0
_LEFT_OUT_S = 10.0
_FENCE = re.compile(r"^```(?:json)?\s*|\s*```$")
# What the client library raises on an event that is no JSON, no UTF-8, or JSON in another form than OpenAI's.
_GARBLED = (ValueError, TypeError, AttributeError, LookupError)
_THINK_OPEN, _THINK_CLOSE = "<think>", "</think>"


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


class _Replicas:
    """Which addresses did not answer lately, and how many requests this process has under way at each."""

    def __init__(self) -> None:
        self._out: dict[str, float] = {}
        self._busy: Counter[str] = Counter()
        self._mutex = threading.Lock()

    def answering(self, urls: Sequence[str]) -> list[str]:
        """Those that are not left out; all where all are."""
        now = time.monotonic()
        return [url for url in urls if self._out.get(url, 0.0) <= now] or list(urls)

    def leave_out(self, url: str) -> None:
        """Ask an address no more for a while."""
        self._out[url] = time.monotonic() + _LEFT_OUT_S

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


_REPLICAS = _Replicas()


async def probe_all(urls: Sequence[str], cfg: LlmConfig) -> Endpoint:
    """Ask all addresses of a model at once; one endpoint of those that serve the same as the first that answers.

    One that does not answer is left out for 10 seconds. Raises `ModelError` as `probe` does where none answers.
    """
    asked = _REPLICAS.answering(urls)
    found = await asyncio.gather(*(probe(url, cfg) for url in asked), return_exceptions=True)
    there: list[Endpoint] = []
    failures: list[BaseException] = []
    for url, result in zip(asked, found, strict=True):
        if isinstance(result, Endpoint):
            there.append(result)
        else:
            failures.append(result)
            _REPLICAS.leave_out(url)
    if not there:
        raise failures[0]
    first = there[0]
    lengths = [each.context for each in there if each.context]
    others = tuple(each.base_url for each in there[1:] if each.model == first.model)
    return replace(first, context=min(lengths, default=None), others=others)


async def probe(base_url: str, cfg: LlmConfig) -> Endpoint:
    """Ask an endpoint what it serves. `llm.model` must be among it; without one the first model is taken.

    Raises `ModelError` where nothing answers in 3 seconds, or not like an OpenAI-compatible server.
    """
    import httpx

    url = base_url.rstrip("/") + "/models"
    headers = {"Authorization": f"Bearer {cfg.api_key}"} if cfg.api_key else {}
    try:
        if (httpx.URL(url).port or 0) > 65535:
            raise httpx.InvalidURL("a port is at most 65535")
        async with _client(base_url, _PROBE_TIMEOUT_S) as client:
            response = await client.get(url, headers=headers)
    except httpx.TimeoutException:
        hint = "the server may be busy or starting; try again, or see its log"
        raise ModelError(f"{base_url} did not answer within {_PROBE_TIMEOUT_S:g} s", hint, retryable=True) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _unreachable(base_url, str(error)) from None
    if response.status_code in (401, 403):
        raise _unauthorised(base_url)
    try:
        served = {row["id"]: row.get("max_model_len") for row in response.json()["data"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ModelError(
            f"{url} answered HTTP {response.status_code}, but not with a list of models",
            "llm.base_url must be the address of an OpenAI-compatible API and usually ends in /v1",
        ) from None
    if not served:
        raise ModelError(f"{base_url} serves no model", "load a model in that server")
    model = cfg.model or next(iter(served))
    if model not in served:
        raise ModelError(f"{base_url} does not serve model {model!r}", f"set llm.model to one of: {', '.join(served)}")
    return Endpoint(base_url, model, cfg.api_key, served[model])


async def stream(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None = None
) -> AsyncGenerator[str, None]:
    """Stream an answer piece by piece; closing the generator ends the request at the server.

    `form` is the API's `response_format`. What a reasoning model writes between <think> tags is left out. Of several
    addresses the least busy one is asked; another, where that one cannot be reached.
    Raises `ModelError` for a server that is down, slow, refuses, is out of context or breaks off.
    """
    import openai

    urls = (endpoint.base_url, *endpoint.others)
    while True:
        with _REPLICAS.least_busy(urls) as url:
            said = False
            try:
                async with aclosing(_stream_from(replace(endpoint, base_url=url), cfg, messages, form)) as pieces:
                    async for piece in pieces:
                        said = True
                        yield piece
                return
            except ModelError as error:
                reached = not isinstance(error.__cause__, openai.APIConnectionError)
                if said or reached or len(urls) == 1 or isinstance(error.__cause__, openai.APITimeoutError):
                    raise
                _REPLICAS.leave_out(url)
                urls = tuple(other for other in urls if other != url)


async def _stream_from(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", form: dict[str, Any] | None
) -> AsyncGenerator[str, None]:
    import httpx
    import openai
    from langchain_openai import ChatOpenAI
    from pydantic import SecretStr

    finish: str | None = None
    async with _client(endpoint.base_url, cfg.timeout_s) as client:
        model = ChatOpenAI(
            model=endpoint.model,
            base_url=endpoint.base_url,
            api_key=SecretStr(endpoint.api_key or "none"),
            temperature=cfg.temperature,
            top_p=cfg.top_p,
            seed=cfg.seed if cfg.seed >= 0 else None,
            extra_body=_beyond_openai(cfg) or None,
            max_tokens=cfg.max_tokens,  # type: ignore[call-arg]  # an alias pyright does not see
            timeout=cfg.timeout_s,
            max_retries=1,
            stream_usage=False,
            model_kwargs={"response_format": form} if form else {},
            stream_chunk_timeout=None,  # its wait_for loses a cancellation now and then; timeout_s bounds each read
            http_async_client=client,
        )
        try:
            async for piece in _without_thinking(_texts(model.astream(messages))):
                if isinstance(piece, _Finish):
                    finish = piece.reason
                else:
                    yield piece
        except (openai.APIError, httpx.HTTPError, *_GARBLED) as error:
            raise explain(error, endpoint, cfg) from error
    if finish is None:
        raise _broke_off(endpoint.base_url)
    if finish == "length":
        yield " …"


def _beyond_openai(cfg: LlmConfig) -> dict[str, Any]:
    """The sampling settings that OpenAI's own API would refuse, where they change anything."""
    told: dict[str, Any] = {"top_k": cfg.top_k} if cfg.top_k > 0 else {}
    return told | ({"repetition_penalty": cfg.repetition_penalty} if cfg.repetition_penalty != 1.0 else {})


def load_client() -> None:
    """Import what the first request needs."""
    import langchain_openai  # noqa: F401


async def ask_json(
    endpoint: Endpoint, cfg: LlmConfig, messages: "list[BaseMessage]", name: str, schema: dict[str, Any]
) -> Any:
    """A reply in the form of a JSON schema; servers that cannot hold a model to one are asked without.

    Raises `ModelError` as `stream` does, and where the reply is no JSON.
    """
    held = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, "strict": True}}
    try:
        text = await _whole(stream(endpoint, cfg, messages, held))
    except ModelError as error:
        if error.retryable:
            raise
        text = await _whole(stream(endpoint, cfg, messages))
    try:
        return read_json(text)
    except ValueError:
        raise ModelError(
            f"the model replied with {text[:80]!r} where JSON was asked for", "try a larger model"
        ) from None


def read_json(reply: str) -> Any:
    """The JSON of a model's reply, fenced or not. Raises `ValueError` where it is none, or its text is no Unicode."""
    try:
        value = json.loads(_FENCE.sub("", reply.strip()))
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


async def _whole(pieces: AsyncGenerator[str, None]) -> str:
    async with aclosing(pieces):
        return "".join([piece async for piece in pieces])


def _client(url: str, timeout_s: float) -> "httpx.AsyncClient":
    import httpx

    return httpx.AsyncClient(timeout=timeout_s, trust_env=not _is_local(url), verify=_certificates())


@cache
def _certificates() -> "ssl.SSLContext":
    """What https servers are checked by, read once: it takes 25 ms, which a client would take for each request."""
    import httpx

    return httpx.create_ssl_context()


def _is_local(url: str) -> bool:
    """Whether a server runs on this machine, so that no proxy stands before it."""
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class _Finish:
    reason: str


async def _texts(chunks: AsyncIterator[object]) -> AsyncIterator[str | _Finish]:
    async for chunk in chunks:
        content = getattr(chunk, "content", "")
        if isinstance(content, str) and content:
            yield content.encode(errors="replace").decode()  # half a surrogate pair is no text
        reason = getattr(chunk, "response_metadata", {}).get("finish_reason")
        if reason:
            yield _Finish(reason)


async def _without_thinking(pieces: AsyncIterator[str | _Finish]) -> AsyncIterator[str | _Finish]:
    held, state = "", "start"
    async for piece in pieces:
        if isinstance(piece, _Finish):
            if state == "start" and held:
                yield held
            yield piece
            return
        if state == "answer":
            yield piece
            continue
        held += piece
        if state == "start" and not _THINK_OPEN.startswith(held.lstrip()[: len(_THINK_OPEN)]):
            state = "answer"
            yield held
        elif _THINK_CLOSE in held:
            state = "answer"
            if rest := held.partition(_THINK_CLOSE)[2].lstrip():
                yield rest
        elif held.lstrip().startswith(_THINK_OPEN):
            state = "thinking"


def explain(error: Exception, endpoint: Endpoint, cfg: LlmConfig) -> ModelError:
    """An error of the client library as one that says what to do."""
    import httpx
    import openai

    where = endpoint.base_url
    if isinstance(error, openai.APITimeoutError | httpx.TimeoutException):
        hint = "raise llm.timeout_s, or use a smaller model"
        return ModelError(f"{where} did not answer within {cfg.timeout_s:g} s", hint, retryable=True)
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(where, str(error.__cause__ or error))
    if isinstance(error, httpx.TransportError):  # the client library passes these on once the answer has begun
        return _broke_off(where)
    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return _unauthorised(where)
    if isinstance(error, openai.RateLimitError):
        return ModelError(f"{where} refuses more requests for now", "wait a little and try again", retryable=True)
    if isinstance(error, openai.NotFoundError):
        return ModelError(f"{where} does not serve model {endpoint.model!r}", "set llm.model to one that it serves")
    if isinstance(error, openai.BadRequestError):
        return _bad_request(error, where)
    if isinstance(error, openai.APIStatusError):
        return ModelError(f"{where} answered HTTP {error.status_code}", "see the server's log", retryable=True)
    return ModelError(
        f"{where} sent something that is no answer: {str(error)[:200]}",
        "check that llm.base_url is an OpenAI-compatible server, and see its log",
        retryable=True,
    )


def _bad_request(error: "Exception", where: str) -> ModelError:
    body = getattr(error, "body", None)
    detail = body if isinstance(body, dict) else {}
    text = str(detail.get("message") or error)[:300]
    about_length = detail.get("code") == "context_length_exceeded" or detail.get("param") in (
        "input_tokens", "input_text", "max_tokens", "max_completion_tokens", "messages", "prompt",
    )  # fmt: skip
    if about_length:
        return ModelError(
            f"the prompt and the answer do not fit the model's context: {text}",
            "lower retrieval.context_tokens or llm.max_tokens, or serve the model with a longer context",
        )
    return ModelError(f"{where} refused the request: {text}", "check the sampling settings under [llm]")


def _broke_off(base_url: str) -> ModelError:
    hint = "try again; where it happens again, see the server's log"
    return ModelError(f"{base_url} broke off in the middle of the answer", hint, retryable=True)


def _unreachable(base_url: str, detail: str) -> ModelError:
    return ModelError(
        f"no model server answers at {base_url} ({detail or 'connection failed'})",
        "start it, or correct llm.base_url in config.toml",
        retryable=True,
    )


def _unauthorised(base_url: str) -> ModelError:
    return ModelError(f"{base_url} refuses the key", "set RAGSTONE_LLM__API_KEY to a key that the server accepts")
