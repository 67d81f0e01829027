"""The form of OpenAI's chat completions: what a request may say, what errors look like, where an answer is cut."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from core.text import unfinished

_CODES = {401: "invalid_api_key", 403: "permission_denied", 404: "not_found", 429: "rate_limit_exceeded"}

_MESSAGES = 2000  # of a conversation: what is read of a request holds up everybody's
_Values = Annotated[tuple[str, ...], Field(max_length=200)]  # of a part of a filter
_NO_TOOLS = "answers are written from documents: no tool is called"
_UNLIKE: dict[str, tuple[Any, ...]] = {  # what is not done, and the values that ask for nothing
    "n": (1,), "logprobs": (False,), "top_logprobs": (0,), "logit_bias": ({},), "presence_penalty": (0,),
    "frequency_penalty": (0,), "min_p": (0,), "min_tokens": (0,), "best_of": (1,), "echo": (False,), "suffix": ("",),
    "use_beam_search": (False,), "ignore_eos": (False,), "bad_words": ([],), "stop_token_ids": ([],),
    "modalities": (["text"],), "audio": (), "prediction": (), "web_search_options": (), "reasoning_effort": (),
    "guided_json": (), "guided_regex": (), "guided_choice": (), "guided_grammar": (), "structured_outputs": (),
    "chat_template": (), "chat_template_kwargs": ({},), "continue_final_message": (False,),
    "add_generation_prompt": (True,),
}  # fmt: skip
_WITHOUT_EFFECT = frozenset({  # of OpenAI's: what they say is not about the answer
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
    "parallel_tool_calls", "tools", "tool_choice", "functions", "function_call",
})  # fmt: skip
_OF_A_MODEL = ("temperature", "top_p", "top_k", "repetition_penalty", "seed", "max_tokens", "max_completion_tokens")


class _Message(BaseModel):
    """A message; its text is what its parts say, a line each."""

    model_config = ConfigDict(extra="ignore")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | None = None
    tool_calls: list[Any] | None = None
    function_call: Any = None

    @field_validator("role", mode="before")
    @classmethod
    def _said(cls, role: Any) -> Any:
        if role in ("tool", "function"):
            raise ValueError(f"{_NO_TOOLS}, so none replies")
        return role

    @field_validator("content", mode="before")
    @classmethod
    def _joined(cls, content: Any) -> Any:
        return "\n".join(_text(part) for part in content) if isinstance(content, list) else content

    @field_validator("tool_calls", "function_call")
    @classmethod
    def _none(cls, calls: Any) -> Any:
        if calls:
            raise ValueError(_NO_TOOLS)
        return calls

    def text(self) -> str:
        return self.content or ""

    @property
    def instructs(self) -> bool:
        """Whether it is not said in the conversation, but about it."""
        return self.role in ("system", "developer")


def _text(part: Any) -> str:
    """The text of a part of a content. Raises `ValueError` for a part that is something else."""
    match part:
        case str():
            return part
        case {"type": "text", "text": str(text)} | {"type": "refusal", "refusal": str(text)}:
            return text
        case {"type": str(kind)}:
            raise ValueError(f"a part of type {kind[:40]!r}: questions are text here, parts are of type 'text'")
    raise ValueError("a part is {'type': 'text', 'text': ...}")


class _Filter(BaseModel):
    """What the search is limited to, as `retrieval.filters.Filter` has it."""

    model_config = ConfigDict(extra="forbid")

    paths: _Values = ()
    types: _Values = ()
    languages: _Values = ()
    tags: _Values = ()
    since: str = ""
    until: str = ""


class _Extension(BaseModel):
    """What a request may say beyond the OpenAI form."""

    model_config = ConfigDict(extra="forbid")

    filter: _Filter = _Filter()
    also: tuple[str, ...] = Field((), max_length=20)  # further knowledge bases that are searched
    steps: int | None = Field(None, ge=0, le=10)  # searches at most, instead of retrieval.steps


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore")
    include_usage: bool = False


class _ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="allow")
    type: str


class ChatRequest(BaseModel):
    """The fields of an OpenAI chat completion, and vLLM's own, that mean something here.

    `refused` names what would change the answer and is not done, `unknown` what is in none of the lists.
    """

    model_config = ConfigDict(extra="allow")
    model: str
    messages: list[_Message] = Field(min_length=1, max_length=_MESSAGES)
    stream: bool = False
    stream_options: _StreamOptions | None = None
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

    def refused(self) -> tuple[str, str] | None:
        """A field that asks for what is not done, and why it is not."""
        given = {name: value for name, value in (self.model_extra or {}).items() if value is not None}
        for name, idle in _UNLIKE.items():
            if name in given and given[name] not in idle:
                return name, f"is not done here; leave it out{f', or send {idle[0]!r}' if idle else ''}"
        for tools, choice in (("tools", "tool_choice"), ("functions", "function_call")):
            chosen = given.get(choice, "auto")
            if chosen not in ("none", "auto"):
                return choice, _NO_TOOLS
            if given.get(tools) and chosen != "none":
                return tools, f"{_NO_TOOLS}; leave them out, or send {choice} 'none'"
        if self.stream_options is not None and not self.stream:
            return "stream_options", "is for streams: send it with stream true"
        return None

    def form(self) -> dict[str, Any] | None:
        """The form that an answer is to have, where that is not plain text."""
        wanted = self.response_format
        return wanted.model_dump() if wanted and wanted.type != "text" else None

    def instructions(self) -> str:
        """What the system messages say."""
        return "\n\n".join(m.text().strip() for m in self.messages if m.instructs and m.text().strip())

    def said(self) -> list[_Message]:
        """The conversation, without what says nothing; it ends with what is asked now."""
        spoken = [m for m in self.messages if not m.instructs]
        return [m for m in spoken[:-1] if m.text().strip()] + spoken[-1:]

    def unheard(self, by_model: bool) -> list[str]:
        """What of the request had no effect on its answer, `by_model` or quoted without one."""
        named = sorted((self.model_extra or {}).keys() - _WITHOUT_EFFECT - _UNLIKE.keys())
        if by_model:
            return named
        given = [name for name in _OF_A_MODEL if getattr(self, name) is not None]
        return [*(["system messages"] if self.instructions() else []), *given, *named]


class Cut:
    """Cuts a text that comes in pieces before the first of some sequences, which may stand across pieces.

    `over`: there was one.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops, self._held, self.over = stops, "", False

    def feed(self, piece: str) -> str:
        """What may be shown now; what may yet become one of the sequences is held back."""
        if self.over:
            return ""
        self._held += piece
        found = [at for at in (self._held.find(stop) for stop in self._stops) if at >= 0]
        if found:
            shown, self._held, self.over = self._held[: min(found)], "", True
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
