"""What a plug-in offers, one protocol for each kind (docs/extending.md has an example of each).

A plug-in is a class, or a function that makes one, which an installed package names as an entry point; it is called
with the settings of config.toml as keywords. It raises what it likes: what went wrong is said with the plug-in's name.

| group | entry point's name | protocol |
|---|---|---|
| `ragstone.readers` | the suffix of the files, in small letters, without its dot | `Reader` |
| `ragstone.embedders` | used as `retrieval.embedder = "plugin:NAME"` | `Embedder` |
| `ragstone.rerankers` | used as `retrieval.reranker = "plugin:NAME"` | `Reranker` |
| `ragstone.chunkers` | used as `ingest.chunker = "plugin:NAME"` | `Chunker` |
| `ragstone.methods` | used as `ragstone finetune model --method NAME` | `TuningMethod` |
| `ragstone.stores` | the scheme of `app.database`: `NAME://...` | `retrieval.store.Home` |
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from core.types import Document

Init = Literal["default", "pissa", "olora", "loftq"]


class Reader(Protocol):
    """Reads one format. It runs in a worker process with the limits `ingest.read_seconds` and `ingest.read_mb`.

    An optional `magic` is a tuple of bytes: files without a suffix that begin with one of them are read too. What it
    could not read of a file stands in the document's `notes`, which are shown on the file's report card.
    """

    def read(self, data: bytes, name: str) -> Document:
        """The document in a file's bytes; without `sections` it is one section. `name` is `file` with the suffix.

        Raise `core.errors.ReadError` with a message and a hint where there is no text to be had.
        """
        ...


class Embedder(Protocol):
    """Makes vectors; these are the two methods of LangChain's `Embeddings`. It is called from several threads.

    Optional attributes: `max_tokens`, the longest text that it reads (512 is assumed); `count_tokens(text) -> int`
    (estimated without it); `identity`, a text that is another one where vectors would be others.
    """

    def embed_documents(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """One vector for each passage, all of one length; they need not be of unit length."""
        ...

    def embed_query(self, text: str) -> Sequence[float]:
        """The vector of a question, of the same length."""
        ...


class Reranker(Protocol):
    """Scores passages. It is called from several threads."""

    def scores(self, query: str, passages: Sequence[str]) -> Sequence[float]:
        """How well each passage answers, in their order; 0 to 1, or log-odds, which then are made so.

        A passage is a line of title and headings, joined by " > ", and its text below; without these its text alone.
        """
        ...


class Chunker(Protocol):
    """Cuts documents. `version` is raised when it cuts otherwise: the next run reads all documents again."""

    version: int

    def spans(self, document: Document, tokens: int, count: Callable[[str], int]) -> Iterable[tuple[int, int]]:
        """(start, end) of each passage in `document.text`, in order of their starts; they may overlap.

        `tokens` is the size that is configured, as `count` measures a text; no passage should be longer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Shape:
    """How large what is trained is. `rank`, `alpha`, `dropout` of LoRA; `virtual_tokens` of prefix, prompt, P-tuning
    and LLaMA-Adapter; `adapted_layers` of LLaMA-Adapter, counted from the top (0: all but the first two).

    `rslora`: alpha is divided by the root of the rank (Kalajdzievski 2023). `init`: what LoRA begins with: "pissa" the
    largest singular values of the weights (Meng et al. 2024), "olora" their QR factors (Büyükakyüz 2024), "loftq" what
    4 bits leave over of them (Li et al. 2023).
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    virtual_tokens: int = 20
    adapted_layers: int = 0
    rslora: bool = False
    init: Init = "default"

    @property
    def saved_rank(self) -> int:
        """The rank of the adapter that is left: what an initialisation took out of the base is given back beside it."""
        return self.rank if self.init == "default" else 2 * self.rank


@dataclass(frozen=True, slots=True)
class Serving:
    """Whether vLLM serves the adapter beside its base, whether it can be merged first, and why not where not."""

    as_adapter: bool
    merged: bool
    reason: str = ""


class TuningMethod(Protocol):
    """A method of fine-tuning by PEFT. `rate` is its learning rate for SFT; DPO takes a tenth."""

    rate: float

    def peft_config(self, shape: Shape, config: Any) -> Any:
        """What PEFT is told, a `peft.PeftConfig`; `config` is the base model's.

        Raise `core.errors.ConfigError` where the method cannot train this model or this shape.
        """
        ...

    def serving(self, rank: int) -> Serving:
        """How what it makes is served by vLLM."""
        ...
