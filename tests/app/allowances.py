"""A small knowledge base with a question on each of its files, and what data sets made of it hold."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.answering.answer import Found, Step, answer
from app.answering.backend import Backend
from app.answering.plan import planned
from app.measuring import golden
from core.config import Config, load
from core.types import Source
from llm.endpoint import Endpoint
from llm.examples import Example, read_examples
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.stub_model import MODEL, Reply, Stub, serving
from tests.retrieval.corpus import build

THINGS: Sequence[str] = (
    "hotel bicycle laptop canteen training parking telephone clothing medical childcare moving language fitness "
    "library garden museum camera furniture heating laundry postage software travel water"
).split()
BOILERPLATE = "All allowances end with the contract, and what was paid too much is returned within three weeks."
HELD = re.compile(r'<source n="(\d+)" path="([^"]*)"[^\n]*>\n(.*?)\n</source>', re.DOTALL)


def fact(n: int) -> str:
    return f"The {THINGS[n]} allowance is {100 + n} euros a month for every employee who asks for it in writing."


def document(n: int) -> str:
    ends = f"\n\n{BOILERPLATE}" if n % 3 == 0 else ""
    return (
        f"# The {THINGS[n]} allowance\n\n{fact(n)} Ask the {THINGS[n]} desk on floor {n} for the form, fill it in with "
        f"a blue pen, and hand it to colleague number {7 * n} before the {n + 1}th of the month.{ends}"
    )


def documents() -> dict[str, str]:
    found = {f"{THINGS[n]}.md": document(n) for n in range(len(THINGS))}
    for n in (0, 5, 9):  # near copies
        found[f"z-copy-of-{THINGS[n]}.md"] = document(n) + " Thanks."
    return found


def knowledge_base(data: Path, embedder: Embedder) -> Config:
    """A knowledge base of allowances with a question on each."""
    flags = {
        "app.data": str(data), "retrieval.precision": "float32",
        "llm.backend": "extractive", "retrieval.k": "5",
    }  # fmt: skip
    cfg = load(flags=flags, environ={}).config
    build(cfg, embedder, documents()).close()
    asked = [
        golden.made(f"How much is the {thing} allowance?", [fact(n)], f"{thing}.md", "person", status="approved")
        for n, thing in enumerate(THINGS)
    ]
    golden.append(golden.golden_file(Path(cfg.app.data), "kb"), asked)
    return cfg


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory, embedder: Embedder) -> Config:
    """A knowledge base of allowances with a question on each."""
    return knowledge_base(tmp_path_factory.mktemp("data"), embedder)


@pytest.fixture(scope="module")
def index(cfg: Config, embedder: Embedder) -> Iterator[Index]:
    index = Index.open(Path(cfg.app.data), "kb", embedder)
    yield index
    index.close()


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with serving() as running:
        yield running


def home_of(cfg: Config, name: str) -> Path:
    return Path(cfg.app.data).resolve() / "datasets" / name


def rows_of(cfg: Config, name: str) -> dict[str, list[Example]]:
    return {side: read_examples(home_of(cfg, name) / f"{side}.jsonl") for side in ("train", "dev", "test")}


def shown(example: Example) -> str:
    """All that a model is shown before it answers."""
    return "\n".join(message.content for message in example.prompt)


def sources_of(example: Example) -> dict[int, tuple[str, str]]:
    """Number -> (path, text) of the passages in an example's prompt."""
    return {int(n): (path, text) for n, path, text in HELD.findall(shown(example))}


def model(stub: Stub, room: int | None = None) -> Backend:
    """The stub as a backend, with a context of so many tokens."""
    return Backend("openai", MODEL, Endpoint(stub.base_url, MODEL, "", room))


def served(
    index: Index, cfg: Config, stub: Stub, question: str, room: int | None = None
) -> tuple[tuple[Source, ...], list[dict[str, str]]]:
    """The sources and the messages of a question that is really asked."""
    stub.reset()

    async def ask() -> tuple[Source, ...]:
        plan = await planned(cfg, index.home, backend=model(stub, room))
        events = [e async for e in answer(index, question, plan) if not isinstance(e, Step)]
        assert isinstance(events[0], Found)
        return events[0].sources

    sources = asyncio.run(ask())
    return sources, [{k: m[k] for k in ("role", "content")} for m in stub.answers()[-1].body["messages"]]


def with_model(cfg: Config, stub: Stub, reply: str, **more: Any) -> Config:
    stub.reset()
    stub.reply = Reply((reply[:7], reply[7:]), **more)
    return cfg.model_copy(update={"llm": cfg.llm.model_copy(update={"backend": "openai", "base_url": stub.base_url})})
