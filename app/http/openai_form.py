"""The form of OpenAI's chat completions: what a request may say, what errors look like, where an answer is cut."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.text import unfinished

_CODES = {401: "invalid_api_key", 403: "permission_denied", 404: "not_found", 429: "rate_limit_exceeded"}


class _Part(BaseModel):
    type: str
    text: str = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")
    role: str
    content: str | list[_Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class _Filter(BaseModel):
    """What the search is limited to, as `retrieval.filters.Filter` has it."""

    model_config = ConfigDict(extra="forbid")

    paths: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    since: str = ""
    until: str = ""


class _Extension(BaseModel):
    """What a request may say beyond the OpenAI form."""

    model_config = ConfigDict(extra="forbid")

    filter: _Filter = _Filter()
    also: tuple[str, ...] = Field((), max_length=20)  # further knowledge bases that are searched


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class _ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="ignore")
    type: Literal["text"]


class ChatRequest(BaseModel):
    """The fields of an OpenAI chat completion, and vLLM's own, that mean something here; others are ignored.

    What would change the form of the answer and is not done is refused: several choices, log-probabilities, JSON.
    """

    model_config = ConfigDict(extra="ignore")
    model: str
    messages: list[_Message] = Field(min_length=1)
    stream: bool = False
    stream_options: _StreamOptions | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    response_format: _ResponseFormat | None = None
    stop: str | list[str] | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1, le=1_000_000)
    repetition_penalty: float | None = Field(None, gt=0, le=2)
    seed: int | None = Field(None, ge=0, lt=2**63)
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    ragstone: _Extension | None = None

    @field_validator("stop")
    @classmethod
    def _few(cls, stop: str | list[str] | None) -> str | list[str] | None:
        if isinstance(stop, list) and len(stop) > 4:
            raise ValueError("at most 4 sequences")
        return stop

    def stops(self) -> tuple[str, ...]:
        """The sequences at which the answer ends."""
        given = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(filter(None, given))

    def wants_usage(self) -> bool:
        """Whether a stream is to end with its usage."""
        return self.stream_options is not None and self.stream_options.include_usage


class Cut:
    """Cuts a text that comes in pieces before the first of some sequences, which may stand across pieces."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops, self._held, self._over = stops, "", False

    def feed(self, piece: str) -> str:
        """What may be shown now; what may yet become one of the sequences is held back."""
        if self._over:
            return ""
        self._held += piece
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            shown, self._held, self._over = self._held[: min(found)], "", True
            return shown
        at = unfinished(self._held, self._stops)
        shown, self._held = self._held[:at], self._held[at:]
        return shown

    def rest(self) -> str:
        """What was held back, at the end."""
        shown, self._held = self._held, ""
        return shown


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """An error as OpenAI's API writes it."""
    kind = "rate_limit_error" if status == 429 else "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code or _CODES.get(status)}}
