"""Whatever happens to a folder between two syncs, and wherever one of them is killed, a sync ends as a fresh build."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from app.keeping.index import chunker, sync
from core.config import Config, load
from retrieval.catalog import Catalog
from retrieval.index import Index
from retrieval.search import search
from retrieval.store import Writes
from tests.app.tiny_embedder import WORDS, TinyEmbedder, build
from tests.retrieval.sql import select

NAMES = ("a.md", "b.md", "c.txt", "d.md", "d.md/a.md", "d.md/b.md", "e/a.md", "e/f/c.txt")  # d.md: a file, or a folder
PARAGRAPHS = (
    *(f"## {WORDS[i]}\n\n{' '.join(WORDS[i * 3 : i * 3 + 20])}." for i in range(12)),
    *(f"{' '.join(WORDS[i * 5 : i * 5 + 9])}. Version {i}." for i in range(10)),
    "这一段文字此处的模型读不懂，只能按字词检索。",
    "Nothing of this paragraph is known to the model at hand, so words alone find it.",
)
QUERIES = (WORDS[4], f"{WORDS[20]} {WORDS[33]}", f"Version 3 {WORDS[16]}", "检索文字", "nothing is known")
TIE = 1e-5  # scores that differ by less may stand in either order

names, paragraphs = st.sampled_from(NAMES), st.sampled_from(PARAGRAPHS)
numbers = st.integers(0, 99)


class Following(RuleBasedStateMachine):
    """A folder, and a knowledge base that follows it."""

    embedder: TinyEmbedder

    def __init__(self) -> None:
        super().__init__()
        self.work = Path(tempfile.mkdtemp(prefix="ragstone-sync-"))
        self.docs, self.spare = self.work / "docs", self.work / "spare"
        self.docs.mkdir()
        flags = {"ingest.chunk_tokens": "24", "retrieval.prefer_newest": "false"}
        self.cfg: Config = load(flags=flags, environ={}).config
        self.patch = pytest.MonkeyPatch()

    def teardown(self) -> None:
        self.patch.undo()
        shutil.rmtree(self.work)

    @initialize(trust_stamps=st.booleans())
    def begin(self, trust_stamps: bool) -> None:
        if trust_stamps:  # else all files are too young for that, and are hashed
            self.patch.setattr("ingest.scan._RACY_NS", 0)

    # What happens to the folder

    def files(self) -> list[Path]:
        return sorted(file for file in self.docs.rglob("*") if file.is_file())

    def some(self) -> bool:
        return bool(self.files())

    def pick(self, number: int) -> Path:
        files = self.files()
        return files[number % len(files)]

    def place(self, source: Path, name: str) -> None:
        """Rename a file from outside to a name in the folder; files and folders in its way leave."""
        target = self.docs / name
        for parent in target.parents:
            if parent.is_file():
                parent.unlink()
        if target.is_dir():
            shutil.rmtree(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)

    @rule(name=names, text=st.lists(paragraphs, min_size=1, max_size=6))
    def add(self, name: str, text: list[str]) -> None:
        self.spare.write_text("\n\n".join(text), encoding="utf-8")
        self.place(self.spare, name)

    @precondition(some)
    @rule(number=numbers, at=numbers, paragraph=paragraphs)
    def edit(self, number: int, at: int, paragraph: str) -> None:
        file = self.pick(number)
        text = file.read_text("utf-8").split("\n\n")
        text[at % len(text)] = paragraph
        file.write_text("\n\n".join(text), encoding="utf-8")

    @precondition(some)
    @rule(number=numbers, name=names)
    def move(self, number: int, name: str) -> None:
        self.pick(number).replace(self.spare)
        self.place(self.spare, name)

    @precondition(some)
    @rule(number=numbers, name=names, keep_time=st.booleans())
    def copy(self, number: int, name: str, keep_time: bool) -> None:
        (shutil.copy2 if keep_time else shutil.copy)(self.pick(number), self.spare)
        self.place(self.spare, name)

    @precondition(some)
    @rule(number=numbers, other=numbers)
    def swap(self, number: int, other: int) -> None:
        one, two = self.pick(number), self.pick(other)
        one.replace(self.spare)
        if two != one:
            two.replace(one)
        self.spare.replace(two)

    @precondition(some)
    @rule(number=numbers)
    def delete(self, number: int) -> None:
        self.pick(number).unlink()

    @precondition(some)
    @rule(number=numbers, seconds=st.integers(0, 2_000_000_000))
    def touch(self, number: int, seconds: int) -> None:
        os.utime(self.pick(number), (seconds, seconds))

    # What follows it

    @contextmanager
    def opened(self, data: str) -> Iterator[Index]:
        index = Index.open_or_create(self.work / data, "kb", self.embedder, chunker(self.cfg.ingest))
        yield index
        index.close()

    @rule(transactions=st.integers(0, 5), committed=st.booleans())
    def kill_a_sync(self, transactions: int, committed: bool) -> None:
        """Kill it within the transaction after so many, or when that is committed."""
        if pid := os.fork():
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert status in (0, -signal.SIGKILL)
            return
        status = 1
        try:
            signal.alarm(60)
            alone()
            self.die(transactions, committed)
            status = 0
        finally:
            os._exit(status)

    def die(self, transactions: int, committed: bool) -> None:
        self.patch.setattr(Catalog, "transaction", dying(Catalog, transactions, committed))
        with self.opened("data") as index:
            sync(index, self.docs, self.cfg.ingest)

    @rule()
    def sync(self) -> None:
        with self.opened("data") as index:
            before, embedded = keys(index, "embeddings"), self.embedder.embedded
            report = sync(index, self.docs, self.cfg.ingest)
            embedded = self.embedder.embedded - embedded
            shutil.rmtree(self.work / "fresh", ignore_errors=True)
            with self.opened("fresh") as fresh:
                sync(fresh, self.docs, self.cfg.ingest)
                assert contents(index) == contents(fresh)
                assert embedded == report.embedded == len(keys(fresh, "chunks") - before)
                assert keys(index, "embeddings") == keys(fresh, "chunks")
                for query in QUERIES:
                    self.compare(query, index, fresh)
            assert index.verify() == []

    def compare(self, query: str, index: Index, fresh: Index) -> None:
        """Each retriever gives the same chunks the same scores; where there are no ties, so does `search`."""
        hits = [search(each, [query], self.cfg.retrieval, k=10) for each in (index, fresh)]
        ranked = [rankings(each, query) for each in (index, fresh)]
        for mine, other in zip(*ranked, strict=True):
            assert mine == pytest.approx(other, abs=1e-4)
        if not any(tied(scores) for scores in ranked[0]):
            assert [(h.path, h.ordinal) for h in hits[0]] == [(h.path, h.ordinal) for h in hits[1]]
            assert [h.score for h in hits[0]] == pytest.approx([h.score for h in hits[1]], abs=1e-4)


def contents(index: Index) -> list[tuple[object, ...]]:
    sql = """SELECT d.path, c.ordinal, c.text, c.headings, c.page, c.key IS NOT NULL FROM chunks c
             JOIN documents d ON d.id = c.document_id ORDER BY 1, 2"""
    return select(index.catalog, sql)


def keys(index: Index, table: str) -> set[bytes]:
    """The distinct texts that have a vector, or that chunks need one for."""
    return {key for (key,) in select(index.catalog, f"SELECT key FROM {table} WHERE key IS NOT NULL")}


def rankings(index: Index, query: str) -> list[dict[tuple[str, int], float]]:
    """Every chunk's score by meaning and by words."""
    dense = index.store.dense(index.embedder.embed_query(query), 1000)
    lexical = index.store.lexical(index.terms(query), 1000)
    hits = index.hits([i for i, _ in dense + lexical])
    return [{(hits[i].path, hits[i].ordinal): score for i, score in found} for found in (dense, lexical)]


def tied(scores: dict[tuple[str, int], float]) -> bool:
    ordered = sorted(scores.values())
    return any(high - low < TIE for low, high in pairwise(ordered))


def alone() -> None:
    """A forked process has no threads but this one."""
    import faiss
    import torch

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)


def dying(kind: Any, transactions: int, committed: bool) -> Callable[[Any], object]:
    """A catalog's `transaction`, whose user is killed in the one after so many, before or after it is committed."""
    transaction, left = kind.transaction, [transactions]

    @contextmanager
    def doomed(catalog: Any) -> Iterator[Writes]:
        last = left[0] == 0
        left[0] -= 1
        with transaction(catalog) as write:
            yield write
            if last and not committed:
                os.kill(os.getpid(), signal.SIGKILL)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)

    return doomed


def few_and_many(few: int, many: int) -> pytest.MarkDecorator:
    """Tests with a few histories, and at night with many."""
    at_night = pytest.param(many, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize("examples", [few, at_night])


@pytest.mark.slow
@few_and_many(6, 60)
def test_after_any_changes_and_kills_a_sync_equals_a_fresh_build(
    tmp_path_factory: pytest.TempPathFactory, examples: int
) -> None:
    Following.embedder = build(tmp_path_factory.mktemp("tiny"))
    run_state_machine_as_test(Following, settings=machine_settings(examples, 25))


def machine_settings(examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        phases=[Phase.generate],  # to shrink a failure takes minutes
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
