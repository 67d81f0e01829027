"""Files are read and embedded by workers of a Dask cluster: real processes, on loopback."""

import asyncio
import pickle
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.keeping import team, wire
from app.keeping.index import Report, run
from app.keeping.wire import EMBED, READ, address_of, dask
from core.config import Config
from core.errors import WorkersError
from retrieval.embed import Embedder
from retrieval.index import Index
from tests.app.tiny_embedder import build
from tests.cluster import DEADLY, HELD, Cluster, certificates, cluster, end, until
from tests.conftest import ROOT

pytestmark = pytest.mark.slow
HANDBOOK = ROOT / "examples" / "handbook"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with two workers that fit."""
    with cluster(tmp_path_factory.mktemp("cluster"), "one", "two") as made:
        yield made


def contents(cfg: Config, kb: str, embedder: Embedder) -> tuple[list[Any], dict[bytes, np.ndarray]]:
    """All that a knowledge base holds but times: documents with their chunks, and the vector of every key."""
    index = Index.open(Path(cfg.app.data), kb, embedder)
    catalog = index.catalog
    documents = []
    for file in catalog.known_files(catalog.folders()[0], ""):
        chunks = [
            (h.ordinal, h.start, h.end, h.text, h.headings, h.page, h.language) for h in catalog.chunks_of(file.id)
        ]
        documents.append((file.path, file.hash, chunks))
    cards = [(c.path, c.language, c.characters, c.chunks, c.tables, c.encoding, c.notes) for c in catalog.cards()]
    vectors: dict[bytes, np.ndarray] = {}
    by_chunk = {chunk: key for key, chunk in catalog.keys().items()}
    for file in catalog.known_files(catalog.folders()[0], ""):
        for chunk, vector in zip(*catalog.vectors_of(file.id), strict=True):
            if int(chunk) in by_chunk:
                vectors[by_chunk[int(chunk)]] = vector
    index.close()
    return [sorted(documents), sorted(cards)], vectors


def counted(report: Report) -> tuple[object, ...]:
    failed = [(error.path, error.error, error.hint) for error in report.failed]
    return report.added, report.changed, report.unchanged, report.embedded, report.cache_hits, report.chunks, failed


def test_what_workers_read_and_embed_is_what_this_machine_would_have(
    two: Cluster, cfg: Config, embedder: Embedder
) -> None:
    there = run(two.of(cfg), "there", [HANDBOOK], embedder=embedder)
    here = run(cfg, "here", [HANDBOOK], embedder=embedder)
    assert there.added > 20
    assert counted(there) == counted(here)
    (told, far), (own, near) = contents(cfg, "there", embedder), contents(cfg, "here", embedder)
    assert told == own
    assert far.keys() == near.keys()
    assert (
        max(float(np.abs(far[key] - near[key]).max()) for key in near) < 2e-3
    )  # float16 of a product in other batches
    again = run(two.of(cfg), "there", [HANDBOOK], embedder=embedder)
    assert (again.unchanged, again.embedded) == (here.added, 0)


def test_interrupted_it_keeps_what_was_committed_and_lets_go_of_the_workers(
    two: Cluster, cfg: Config, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.keeping.index._FLUSH_FILES", 1)

    def interrupted(stage: str, done: int, total: int) -> None:
        if stage == "index" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(two.of(cfg), "there", [HANDBOOK], embedder=embedder, progress=interrupted)
    assert [thread.name for thread in threading.enumerate() if thread.name == "team"] == []
    assert Index.open(Path(cfg.app.data), "there", embedder).counts().documents == 3
    report = run(two.of(cfg), "there", [HANDBOOK], embedder=embedder)
    assert (report.unchanged, report.failed) == (3, [])


def test_a_file_that_explodes_is_a_failed_row_as_it_is_here(
    two: Cluster, cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    with zipfile.ZipFile(docs / "bomb.docx", "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("[Content_Types].xml", "<x/>")
        package.writestr("word/document.xml", b"\0" * 60_000_000)
    (docs / "empty.md").touch()
    (docs / "leave.md").write_text("# Leave\n\nEverybody has 25 days of leave.\n")
    there, here = (run(c, kb, [docs], embedder=embedder) for c, kb in ((two.of(cfg), "there"), (cfg, "here")))
    assert there.added == 1
    assert [error.path for error in there.failed] == ["bomb.docx", "empty.md"]
    assert counted(there) == counted(here)


def test_limits_of_time_hold_on_a_worker(two: Cluster, cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "long.html").write_text("<p>a word</p>" * 2_000_000)
    hasty = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"read_seconds": 0.2})})
    report = run(two.of(hasty), "there", [docs], embedder=embedder)
    assert [error.error for error in report.failed] == ["reading it took longer than 0.2 s"]


def test_a_worker_that_embeds_otherwise_is_refused_by_name(two: Cluster, cfg: Config, tmp_path: Path) -> None:
    other = build(tmp_path / "tiny")
    with pytest.raises(WorkersError) as error:
        run(two.of(cfg), "there", [HANDBOOK / "it"], embedder=other)
    assert re.search(r"worker (one|two) is not used: it embeds by 'all-MiniLM-L6-v2'", error.value.message)
    assert "set retrieval.embedder to the same model there" in error.value.message
    assert Index.open(Path(cfg.app.data), "there", other).counts().documents == 0


def test_one_that_does_not_fit_is_told_and_the_others_work(cfg: Config, embedder: Embedder, tmp_path: Path) -> None:
    build(tmp_path / "tiny")
    with cluster(tmp_path / "cluster", "fits") as made:
        made.worker("other", env={"RAGSTONE_RETRIEVAL__EMBEDDER": str(tmp_path / "tiny")})
        report = run(made.of(cfg), "there", [HANDBOOK / "it"], embedder=embedder)
    assert report.added == len([*(HANDBOOK / "it").iterdir()])
    assert [note for note in report.notes if "worker other is not used: it embeds by" in note]


@pytest.mark.parametrize("what", ["worker", "scheduler too"])
def test_a_worker_that_is_killed_over_a_file_costs_a_retry(
    what: str, cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(12):
        (docs / f"{number:02d}.md").write_text(f"# Rule {number}\n\nRoom {number} closes at {number} o'clock.\n")
    (docs / "05.md").write_text(f"# Rule 5\n\nThis one {HELD}.\n")
    with cluster(tmp_path / "cluster") as made:
        first = made.worker("first", faulty=True)
        reports: list[Report] = []
        indexing = threading.Thread(
            target=lambda: reports.append(run(made.of(cfg), "there", [docs], embedder=embedder)), daemon=True
        )
        indexing.start()
        until((made.folder / "held").exists, "the file that is held")
        if what == "scheduler too":
            end(made.processes[0])
            made.scheduler()
        made.worker("second")
        end(first)
        indexing.join(timeout=180)
    assert reports[0].added == 13 - 1
    assert reports[0].failed == []


def test_a_file_that_ends_every_worker_is_a_failed_row_and_no_endless_loop(
    cfg: Config, embedder: Embedder, tmp_path: Path
) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(6):
        (docs / f"{number}.md").write_text(f"# Rule {number}\n\nRoom {number} closes at {number} o'clock.\n")
    (docs / "3.md").write_text(f"# Rule 3\n\nThis one {DEADLY}.\n")
    with cluster(tmp_path / "cluster") as made:
        over = threading.Event()
        alive = [made.worker("w0", faulty=True)]

        def restarted() -> None:  # as a service manager does
            while not over.wait(0.1):
                if alive[-1].poll() is not None:
                    alive.append(made.worker(f"w{len(alive)}", faulty=True, wait=False))

        keeper = threading.Thread(target=restarted)
        keeper.start()
        try:
            report = run(made.of(cfg), "there", [docs], embedder=embedder)
        finally:
            over.set()
            keeper.join()
    assert report.added == 5
    assert [(error.path, error.error) for error in report.failed] == [
        ("3.md", "3 workers went away while they read it")
    ]
    assert len(alive) == 4


def test_where_nobody_works_a_run_ends_and_keeps_what_it_has(
    cfg: Config, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(team, "_FIRST_S", 1.0)
    monkeypatch.setattr(team, "_NOBODY_S", 1.0)
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "1.md").write_text(f"# Rule\n\nThis one {DEADLY}.\n")
    with cluster(tmp_path / "cluster") as made:
        with pytest.raises(WorkersError, match="nobody works for"):
            run(made.of(cfg), "there", [docs], embedder=embedder)
        made.worker("one", faulty=True)
        with pytest.raises(WorkersError, match="nobody works for"):
            run(made.of(cfg), "there", [docs], embedder=embedder)


def test_without_a_certificate_of_the_cluster_nobody_gets_in(
    cfg: Config, embedder: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, foreign = certificates(tmp_path / "own"), certificates(tmp_path / "foreign")
    with cluster(tmp_path / "cluster", "one", settings=own) as made:
        report = run(made.of(cfg), "there", [HANDBOOK / "it"], embedder=embedder)
        assert report.added == len([*(HANDBOOK / "it").iterdir()])
        assert "works for tls://" in made.log("one")
        monkeypatch.setitem(wire._SETTINGS, "distributed.comm.timeouts.connect", "2s")
        for settings in (foreign, {}):
            made.settings = settings
            stranger = cfg.model_copy(update={"ingest": cfg.ingest.model_copy(update={"workers": made.url})})
            with pytest.raises(WorkersError, match="no scheduler answers at"):
                run(made.of(stranger), "other", [HANDBOOK / "it"], embedder=embedder)


class Evil:
    """What runs code where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.file), "w"))


def test_no_process_of_the_cluster_unpickles_or_runs_what_it_is_sent(two: Cluster, cfg: Config, tmp_path: Path) -> None:
    from distributed.comm.core import connect
    from distributed.protocol.serialize import Serialize, ToPickle

    dask()
    url = address_of(two.of(cfg).ingest).url
    mark = tmp_path / "ran"

    async def sent(to: str, message: dict[str, Any]) -> Any:
        comm = await connect(to, timeout=10, deserialize=False)
        try:
            await comm.write(message)
            return await comm.read()
        except OSError:
            return None
        finally:
            comm.abort()

    async def all_of_it() -> list[str]:
        workers = list((await sent(url, {"op": "identity"}))["workers"])
        for to in (url, *workers):
            for op in ("identity", READ, EMBED, "run", "run_function", "register-client", "update-graph"):
                await sent(to, {"op": op, "x": ToPickle(Evil(mark))})
                await sent(to, {"op": op, "function": Serialize(Evil(mark)), "texts": Serialize(Evil(mark))})
                await sent(to, {"op": op, "function": pickle.dumps(Evil(mark)), "args": pickle.dumps(())})
            own = b"open(%r, 'w')" % str(mark)
            await sent(to, {"op": "upload_file", "filename": "evil.py", "data": own, "load": True})
        return workers

    workers = asyncio.run(all_of_it())
    assert len(workers) == 2
    assert not mark.exists()
    assert all(process.poll() is None for process in two.processes)


def test_a_task_of_dask_itself_is_refused(two: Cluster, cfg: Config) -> None:
    from distributed import Client

    dask()
    with pytest.raises((OSError, TimeoutError, ValueError, KeyError)):
        Client(address_of(two.of(cfg).ingest).url, timeout=5)
