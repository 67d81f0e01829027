"""Ragstone from Python: a knowledge base to open, keep in step with folders, search, ask and measure (docs/python.md).

What the command line, the page and the servers do is done by the same recipes, so that all of them find the same.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from app.answering.answer import Done, Event, Found, Step, Text, answer
from app.answering.find import lookup
from app.answering.plan import Manner, in_steps, planned
from app.answering.prepared import prepared
from app.keeping import choosing, correcting, naming, unlocking
from app.keeping.index import Progress, Report, quiet, run
from core.config import Config, load
from core.types import Answer, Hit, SearchMode, Turn
from retrieval.embed import Embedder
from retrieval.filters import Filter
from retrieval.home import check_name
from retrieval.index import Index
from retrieval.listing import FileRow, FileState
from retrieval.plugged import embedder_of
from retrieval.search import Result

if TYPE_CHECKING:
    from app.measuring.tune import Tuned

__all__ = [
    "Answer", "Done", "Event", "Filter", "Found", "Hit", "KnowledgeBase", "Report", "Result", "Step", "Text", "Turn"
]  # fmt: skip

T = TypeVar("T")


class KnowledgeBase:
    """A knowledge base by its name: one that is not there yet is made by the first `sync`. Safe to use from threads.

    What is found and answered is what was committed last, also after a rebuild by another process. Names that begin
    with `a` are for asyncio; the work is done in threads, so that the event loop goes on. Everything raises a
    `RagstoneError` that says what is wrong and what to do: `CatalogError` for a knowledge base that is not there,
    `ModelError` for a model that does not answer.
    """

    def __init__(self, name: str, config: Config, embedder: Embedder | None = None) -> None:
        self.name = check_name(name)
        self.config = config
        self.embedder = embedder or embedder_of(config.retrieval)
        self._index: Index | None = None
        self._mutex = threading.Lock()

    @classmethod
    def open(
        cls, name: str = "", *, config: Path | str | None = None, settings: Mapping[str, Any] | None = None
    ) -> Self:
        """A knowledge base, by default that of `app.kb`, by the configuration as the command line reads it.

        `config` is another file of settings, `settings` are single ones: {"retrieval.k": 5}. Raises `ConfigError`.
        """
        cfg = prepared(load(Path(config) if config else None, settings)).config
        return cls(name or cfg.app.kb, cfg)

    def __repr__(self) -> str:
        return f"KnowledgeBase({self.name!r})"  # the configuration holds keys

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Close what is open; the next use opens it again."""
        with self._mutex:
            index, self._index = self._index, None
        if index is not None:
            index.close()

    @property
    def index(self) -> Index:
        """The generation that answers now. Raises `CatalogError` where there is none."""
        with self._mutex:
            if self._index is None or self._index.superseded:
                self._index = Index.open(Path(self.config.app.data), self.name, self.embedder, self.config.app.database)
            return self._index

    def sync(
        self,
        *folders: Path | str,
        rebuild: bool = False,
        allow_empty: bool = False,
        progress: Progress = quiet,
    ) -> Report:
        """Bring the knowledge base up to date with folders, by default all it has; as `ragstone index` does.

        `progress(stage, done, total)` hears how far it is; `total` is 0 where nobody knows. Files that could not be
        read are rows of `Report.failed`, and stop nothing.
        """
        return run(
            self.config, self.name, folders, rebuild=rebuild, allow_empty=allow_empty,
            progress=progress, embedder=self.embedder,
        )  # fmt: skip

    def files(self, state: FileState = "all", name: str = "") -> list[FileRow]:
        """The files whose path holds `name`, with their report cards and why one could not be read.

        `state`: "all", "failed", "stale", "notes" or "left_out", which are those that are not read, with the reason.
        """
        return self.index.catalog.files(state, name, 0, -1)[0]

    def leave_out(self, *paths: str, progress: Progress = quiet) -> Report:
        """Take files, by their paths as `files` has them, out; no run reads them until `take_in`."""
        named = [choosing.found(self.index, path) for path in paths]
        return choosing.leave_out(self.index, named, self.config.ingest, progress)

    def take_in(self, *paths: str, progress: Progress = quiet) -> Report:
        """Read files that were left out by `leave_out`. Raises `CatalogError` for one that was not."""
        named = [choosing.found(self.index, path) for path in paths]
        return choosing.take_in(self.index, named, self.config.ingest, progress)

    def read_by_ocr(self, path: str, pages: Sequence[int], *, progress: Progress = quiet) -> Report:
        """Read these pages of a PDF (from 1) by OCR instead of by their own text; without any, as they are again."""
        named = choosing.found(self.index, path)
        return choosing.read_by_ocr(self.index, named, pages, self.config.ingest, progress)

    def tag(self, *paths: str, add: Sequence[str] = (), remove: Sequence[str] = ()) -> Report:
        """Add tags to those that files have, by their paths, and take others away. They stay when files change."""
        more, less = (naming.tags_of("\n".join(tags)) for tags in (add, remove))
        return naming.tag(
            self.index, [choosing.found(self.index, path) for path in paths], more, less, self.config.ingest
        )

    def label(self, path: str, *, tags: Sequence[str] | None = None, date: str | None = None) -> Report:
        """Give a file these tags and this date (a day, a month or a year); None is what it says of itself."""
        kept = None if tags is None else naming.tags_of("\n".join(tags))
        day = None if date is None else naming.date_of(date)
        return naming.name(self.index, [choosing.found(self.index, path)], kept, day, self.config.ingest)

    def correct(self, chunk_id: int, text: str) -> Report:
        """Have a passage say `text` instead, in place of what was read wrongly, also when its file is read again."""
        return correcting.correct(self.index, chunk_id, text, self.config.ingest)

    def take_back(self, path: str, number: int | None = None) -> Report:
        """Read a file without its correction of that number (from 1), or without any."""
        return correcting.take_back(self.index, choosing.found(self.index, path), number, self.config.ingest)

    def unlock(self, path: str, password: str) -> Report:
        """Read a file that opens with a password only. It is not kept: `ingest.passwords` has those that are."""
        return unlocking.unlock(self.index, choosing.found(self.index, path), password, self.config.ingest)

    def search(
        self,
        question: str,
        *,
        k: int | None = None,
        mode: SearchMode | None = None,
        where: Filter | None = None,
        history: Sequence[Turn] = (),
    ) -> Result:
        """The passages that speak about a question, best first, and how they were found."""
        return waited(self.asearch(question, k=k, mode=mode, where=where, history=history))

    async def asearch(
        self,
        question: str,
        *,
        k: int | None = None,
        mode: SearchMode | None = None,
        where: Filter | None = None,
        history: Sequence[Turn] = (),
    ) -> Result:
        """`search`, for asyncio."""
        changes = {name: value for name, value in (("k", k), ("mode", mode)) if value is not None}
        index = await asyncio.to_thread(lambda: self.index)
        plan = await planned(self.config, index.home, Manner(retrieval=changes))
        return (await lookup(index, question, plan, history, where))[1]

    def ask(
        self, question: str, *, where: Filter | None = None, history: Sequence[Turn] = (), steps: int | None = None
    ) -> Answer:
        """The whole answer to a question, with citations.

        `steps`: in how many searches a model may look for it, instead of `retrieval.steps`.
        """
        return waited(self.aask(question, where=where, history=history, steps=steps))

    async def aask(
        self, question: str, *, where: Filter | None = None, history: Sequence[Turn] = (), steps: int | None = None
    ) -> Answer:
        """`ask`, for asyncio."""
        async with aclosing(self.astream(question, where=where, history=history, steps=steps)) as events:
            async for event in events:
                if isinstance(event, Done):
                    return event.answer
        raise ValueError("an answer stream ended without its answer")

    def stream(
        self, question: str, *, where: Filter | None = None, history: Sequence[Turn] = (), steps: int | None = None
    ) -> Iterator[Event]:
        """The answer as it comes about: `Step` for what is being done, `Found`, then `Text` piece by piece, `Done`."""
        return pulled(lambda: self.astream(question, where=where, history=history, steps=steps))

    async def astream(
        self, question: str, *, where: Filter | None = None, history: Sequence[Turn] = (), steps: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """`stream`, for asyncio. Closing it ends the request to the model."""
        index = await asyncio.to_thread(lambda: self.index)
        plan = await planned(self.config, index.home, in_steps(steps))
        async with aclosing(answer(index, question, plan, history, where)) as events:
            async for event in events:
                yield event

    def evaluate(
        self, folder: Path | str | None = None, *, against: Config | None = None, progress: Progress = quiet
    ) -> dict[str, Any]:
        """Figures of retrieval on the golden set, or on a folder in BEIR form; as `ragstone eval` does.

        `against` is another configuration to compare with. Raises `EvalError` where there are no questions.
        """
        from app.measuring import compare, evaluate

        if folder is not None and against:
            return compare.compare_folder(Path(folder), self.config, against, progress)
        if folder is not None:
            return evaluate.evaluate(Path(folder), self.config, self.embedder, progress=progress)
        questions = self._golden()
        if against:
            return compare.compare_golden(self.index, questions, self.config, against, progress)
        testset = evaluate.golden_testset(self.index, questions)
        return evaluate.report(self.index, testset, self.config, progress=progress)

    def tune(self, unanswerable: Sequence[str] = (), *, progress: Progress = quiet) -> "Tuned":
        """Calibrate the weights of meaning and words, and what is not covered, on the golden set; used from then on."""
        from app.measuring.evaluate import golden_testset
        from app.measuring.tune import tune

        return tune(self.index, golden_testset(self.index, self._golden()), self.config, unanswerable, progress)

    def _golden(self) -> Any:
        from app.measuring.golden import golden_file, read

        return read(golden_file(Path(self.config.app.data), self.name))


def waited(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns, also where an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def pulled(events: Callable[[], AsyncGenerator[T, None]]) -> Iterator[T]:
    """What an asynchronous generator gives, one after the other; its event loop is in a thread of its own."""
    runner, generator = asyncio.Runner(), events()
    with ThreadPoolExecutor(1, thread_name_prefix="answer") as pool:

        async def following() -> T:
            return await anext(generator)

        async def ended() -> None:
            await generator.aclose()

        try:
            while True:
                try:
                    yield pool.submit(runner.run, following()).result()
                except StopAsyncIteration:
                    return
        finally:
            pool.submit(runner.run, ended()).result()
            pool.submit(runner.close).result()
