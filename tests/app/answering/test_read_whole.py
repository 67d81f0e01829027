"""The files of a conversation, read whole where a model has the room, in passages where it has not."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.answering.answer import Done, Found, Step, answer
from app.answering.find import Scope
from app.answering.plan import planned
from app.answering.read_whole import NOTE, read_whole
from app.keeping.index import sync
from core.config import Config
from core.types import Answer
from prompts.context import FRAME_TOKENS, estimate_tokens
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.stub_model import Reply, Stub
from tests.retrieval.corpus import build

FIRST = "# Lease\n\nThe notice period is eleven weeks.\n"
SECOND = "# Keys\n\nThe caretaker has two spare keys.\n"


@pytest.fixture
def index(cfg: Config, embedder: Embedder) -> Index:
    """A knowledge base."""
    return build(cfg, embedder)


def held(cfg: Config, embedder: Embedder, folder: Path, files: dict[str, str]) -> Index:
    """Files of a conversation."""
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    kind = f"{cfg.ingest.chunk_tokens}+{cfg.ingest.chunk_overlap}"
    made = Index.open_or_create(Path(cfg.app.data), "0123456789abcdef" * 2, embedder, f"own {kind}")
    sync(made, folder, cfg.ingest)
    return made


@pytest.fixture
def attached(cfg: Config, embedder: Embedder, tmp_path: Path) -> Index:
    return held(cfg, embedder, tmp_path / "dropped", {"keys.md": SECOND, "lease.md": FIRST})


def with_model(cfg: Config, stub: Stub, **retrieval: object) -> Config:
    llm = cfg.llm.model_copy(update={"backend": "openai", "base_url": stub.base_url})
    return cfg.model_copy(update={"llm": llm, "retrieval": cfg.retrieval.model_copy(update=retrieval)})


def asked(
    question: str, cfg: Config, index: Index, attached: Index, also: Sequence[Scope] = ()
) -> tuple[Answer, list[str]]:
    """The answer, and the steps that led to it."""

    async def collect() -> tuple[Answer, list[str]]:
        steps: list[str] = []
        async for event in answer(index, question, await planned(cfg, index.home), also=also, attached=attached):
            if isinstance(event, Step):
                steps.append(event.name)
            elif isinstance(event, Done):
                return event.answer, steps
            elif isinstance(event, Found):
                assert [source.n for source in event.sources] == list(range(1, len(event.sources) + 1))
        raise AssertionError

    return asyncio.run(collect())


def test_files_that_fit_are_read_whole_and_in_order_without_a_search(attached: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("Two keys [1], eleven weeks [2].",))
    done, steps = asked("Is anything missing?", with_model(cfg, stub), attached, attached)
    assert [(source.hit.path, source.hit.kb) for source in done.sources] == [
        ("keys.md", attached.name), ("lease.md", attached.name),
    ]  # fmt: skip
    assert [citation.path for citation in done.citations] == ["keys.md", "lease.md"]
    assert steps == ["write"]
    assert NOTE in done.trace.notes
    assert "two spare keys" in stub.calls[-1].text
    assert "eleven weeks" in stub.calls[-1].text


def test_beside_them_a_knowledge_base_is_searched(index: Index, attached: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("25 days [3].",))
    done, steps = asked("How many days of annual leave?", with_model(cfg, stub), index, attached, [(attached, None)])
    assert [source.hit.path for source in done.sources][:3] == ["keys.md", "lease.md", "leave.md"]
    assert [source.hit.kb for source in done.sources].count(attached.name) == 2
    assert done.citations[0].path == "leave.md"
    assert "search" in steps


def test_files_that_do_not_fit_are_searched(index: Index, attached: Index, cfg: Config, stub: Stub) -> None:
    stub.reply = Reply(("Eleven weeks [1].",))
    tight = with_model(cfg, stub, context_tokens=64)
    for main, also in ((attached, ()), (index, [(attached, None)])):
        done, steps = asked("How long is the notice period of the lease?", tight, main, attached, also)
        assert done.sources[0].hit.path == "lease.md"
        assert NOTE not in done.trace.notes
        assert "search" in steps


def test_beside_knowledge_bases_they_take_no_more_than_half_of_the_room(
    index: Index, attached: Index, cfg: Config, stub: Stub
) -> None:
    stub.reply = Reply(("Two keys [1].",))
    room = sum(estimate_tokens(source.text) + FRAME_TOKENS for source in read_whole(attached, 10_000).sources)
    question = "Who has the spare keys?"
    alone, _ = asked(question, with_model(cfg, stub, context_tokens=room), attached, attached)
    assert NOTE in alone.trace.notes
    for tokens, whole in ((2 * room - 1, False), (2 * room, True)):
        done, _ = asked(question, with_model(cfg, stub, context_tokens=tokens), index, attached, [(attached, None)])
        assert (NOTE in done.trace.notes) == whole


def test_without_a_model_they_are_searched_and_quoted(attached: Index, cfg: Config) -> None:
    done, _ = asked("How long is the notice period?", cfg, attached, attached)
    assert "eleven weeks" in done.text
    assert done.citations[0].path == "lease.md"
    assert NOTE not in done.trace.notes


def test_what_two_passages_have_in_common_is_read_once(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    ingest = cfg.ingest.model_copy(update={"chunk_tokens": 40, "chunk_overlap": 20})
    text = " ".join(f"Sentence number {n} says that room {n} is blue." for n in range(40))
    long = held(cfg.model_copy(update={"ingest": ingest}), embedder, tmp_path / "long", {"long.txt": text})
    read = read_whole(long, 10_000)
    assert len(read.sources) > 5
    assert "".join(source.text for source in read.sources).split() == text.split()
