"""A full disk, a failing disk or a kill at any one write, sync or rename loses nothing that was committed.

A driver process with `faults.c` preloaded forks a child per case, which fails at its n-th call; another child then says
what is left. Some calls are drawn, anew each time; every one is tried at night.
"""

import ctypes
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

import retrieval.caches
from app.keeping import index as recipe
from app.keeping import work as reading
from app.keeping.index import run
from core.config import IngestConfig, load
from core.errors import RagstoneError
from core.text import tokens
from core.types import Document, FileEntry, Section
from ingest.reach import Reach
from ingest.read import load_file, read_bytes
from ingest.workers import Reading
from retrieval.catalog import Catalog
from retrieval.embed import Embedder
from retrieval.home import current, generations, promote, rollback
from retrieval.index import Index
from retrieval.search import search
from tests.app import tiny_embedder
from tests.app.tiny_embedder import WORDS
from tests.conftest import ROOT
from tests.retrieval.sql import select

pytestmark = pytest.mark.slow

KB = "kb"
ACTIONS = ("first build", "sync", "rebuild", "promote", "rollback")
# errno, or 0 for a kill; whether all later calls fail too; what a message or its hint must say. SQLite does not pass on
# why a file could not be opened or synced.
FAULTS = {
    "kill": (0, False, ""),
    "full disk": (errno.ENOSPC, True, "full|No space left|free space"),
    "failing disk": (errno.EIO, False, "I/O error|Input/output error|io::Error|check that the disk"),
}
DRAWN = 5  # calls of an action, where not all are tried
SHARES = ("some", pytest.param("all", marks=[pytest.mark.nightly, pytest.mark.timeout(3600)]))
SECONDS = 60  # that a child may take

Row = tuple[int, str, str, int | None, bool]  # ordinal, text, headings, page, has a vector
Documents = dict[str, list[Row]]


Some = TypeVar("Some", bound="Driver")


@dataclass(frozen=True, slots=True)
class End:
    """How a child ended: `status` as of waitpid, and what it left: a value, a message and its hint, or a traceback."""

    status: int
    value: Any = None
    message: str = ""
    hint: str = ""
    crash: str = ""


class Driver:
    """Knowledge bases before and after a change of their folder, and children that go from one to the other."""

    def __init__(self, work: Path, embedder: Embedder) -> None:
        self.work, self.docs, self.data = work, work / "docs", work / "data"
        self.home = self.data / KB
        self.embedder = embedder
        self.load(work / "faults.so")
        flags = {"app.data": str(self.data), "ingest.chunk_tokens": "32"}
        self.cfg = load(flags=flags, environ={}).config
        self.keeping = self.cfg.model_copy(update={"app": self.cfg.app.model_copy(update={"keep_generations": 1})})
        before(self.docs)
        self.old = self._base("old", lambda: run(self.cfg, KB, [self.docs]))
        after(self.docs)
        self._base("next", self._build_next)
        self._start("old")
        self.new = self._base("two", lambda: run(self.keeping, KB, rebuild=True))

    def load(self, library: Path) -> None:
        """Reach what is preloaded into this process."""
        self.shim = ctypes.CDLL(str(library))
        self.shim.calls.restype = ctypes.c_long

    def disarm(self) -> None:
        """Let all calls pass from now on."""
        self.shim.arm(b"", 0, 0, 0)

    def _base(self, name: str, make: Callable[[], object]) -> Documents:
        end = self.child(lambda: (make(), documents(self.home))[1])
        assert not end.status, end
        shutil.copytree(self.data, self.work / "bases" / name)
        return {path: [(*row,) for row in rows] for path, rows in end.value.items()}

    def _start(self, base: str) -> None:
        shutil.rmtree(self.data, ignore_errors=True)
        if base:
            shutil.copytree(self.work / "bases" / base, self.data)
        else:
            self.data.mkdir()

    def _build_next(self) -> None:
        index = Index.open_next(self.data, KB, self.embedder, recipe.chunker(self.cfg.ingest))
        recipe.sync(index, self.docs, self.cfg.ingest)
        index.close()

    def act(self, action: str) -> None:
        """What is to be disturbed, or done again."""
        if action == "first build":
            run(self.cfg, KB, [self.docs])
        elif action == "sync":
            run(self.cfg, KB)
        elif action == "rebuild":
            run(self.cfg, KB, rebuild=True)
        elif action == "promote" and current(self.home) != "g0002":
            promote(self.home, "g0002", 0)
        elif action == "rollback" and current(self.home) != "g0001":
            rollback(self.home)

    def child(self, body: Callable[[], Any]) -> End:
        """Run in a forked child."""
        outcome = self.work / "outcome.json"
        outcome.unlink(missing_ok=True)
        if not (pid := os.fork()):
            signal.alarm(SECONDS)
            try:
                left: dict[str, Any] = {"value": body()}
            except RagstoneError as error:
                left = {"message": error.message, "hint": error.hint}
            except BaseException:
                left = {"crash": traceback.format_exc()}
            self.disarm()
            outcome.write_text(json.dumps(left), encoding="utf-8")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return End(status, **json.loads(outcome.read_text("utf-8"))) if outcome.exists() else End(status)

    def count(self, action: str) -> int:
        """How many calls an action makes."""
        self._start(bases(action))
        end = self.child(lambda: (self.arm(0, 0, False), self.act(action), self.shim.calls())[2])
        assert end.value, end
        return end.value

    def arm(self, n: int, code: int, lasting: bool) -> None:
        """Have the n-th call from now on fail."""
        self.shim.arm(os.fsencode(self.data), ctypes.c_long(n), code, int(lasting))

    def explore(self, action: str, fault: str, share: str) -> dict[str, Any]:
        """Disturb an action at all of its calls, or at some; what was found amiss, and figures."""
        total = self.count(action)
        seed = random.SystemRandom().randrange(10**6)
        points = range(1, total + 1)
        if share != "all":
            points = sorted(random.Random(seed).sample(points, min(DRAWN, total)))
        ends: Counter[str] = Counter()
        amiss: list[str] = []
        for n in points:
            end, found = self.disturb(action, fault, n)
            ends[end] += 1
            amiss += [f"at call {n}: {problem}" for problem in found]
        return {"calls": total, "tried": len(points), "seed": seed, "ends": ends, "amiss": amiss}

    def disturb(self, action: str, fault: str, n: int) -> tuple[str, list[str]]:
        """One case: how the action ended, and what is amiss."""
        code, lasting, cause = FAULTS[fault]
        self._start(bases(action))
        end = self.child(lambda: (self.arm(n, code, lasting), self.act(action))[1])
        amiss: list[str] = []
        if end.crash:
            amiss.append(end.crash)
        elif end.message and (not re.search(cause, end.message + end.hint) or not end.hint):
            amiss.append(f"{end.message!r} names no cause, or {end.hint!r} no remedy")
        elif end.status not in (0, -signal.SIGKILL if fault == "kill" else 0):
            amiss.append(f"it ended with {end.status}")
        done = not (end.status or end.message or end.crash)
        rest = self.child(lambda: self.examine(action, done))
        amiss += rest.value if rest.value is not None else [f"afterwards: {rest}"]
        return end.message or ("done" if done else "crashed" if end.crash else "killed"), amiss

    def read_only(self) -> dict[str, Any]:
        """A disk that becomes read-only: what a search before and after, a sync, a new process say, and what then."""

        def use() -> list[str]:
            index = Index.open(self.data, KB, self.embedder)
            first = self.find(index)
            self.arm(1, errno.EROFS, True)
            return [first, refusal(lambda: self.act("sync")), self.find(index)]

        def come() -> str:
            self.arm(1, errno.EROFS, True)
            return self.find(Index.open(self.data, KB, self.embedder))

        self._start("old")
        found = {"use": self.child(use).value, "amiss": self.child(lambda: self.examine("sync", False)).value}
        self._start("old")
        return found | {"come": self.child(come).value}

    def find(self, index: Index) -> str:
        """The path of the best answer to a question about a file that stays."""
        return search(index, ["codesame0"], self.cfg.retrieval)[0].path

    def examine(self, action: str, done: bool) -> list[str]:
        """What is amiss with the knowledge base after a case, and after the action was done again."""
        amiss: list[str] = []
        if current(self.home) is not None:
            amiss += self.whole(action, done) + self.answering()
        elif action != "first build":
            amiss.append("the knowledge base is gone")
        self.act(action)
        amiss += [f"{name} is not whole" for name in generations(self.home) if not self.known(self.home / name)]
        run(self.cfg, KB, [self.docs])
        if documents(self.home) != self.new:
            amiss.append("done again, it is not what a fresh build gives")
        return amiss + self.answering()

    def whole(self, action: str, done: bool) -> list[str]:
        """Each document must be what it was or what it becomes; of a generation, all of them one or the other."""
        found, target = documents(self.home), self.old if action == "rollback" else self.new
        if done:
            return [] if found == target else ["it ended well, but not all is there"]
        if action not in ("first build", "sync"):
            return [] if found in (self.old, self.new) else ["neither the old nor the new generation answers"]
        amiss = [f"{p} is torn" for p, rows in found.items() if rows not in (self.old.get(p), self.new.get(p))]
        if action == "sync":
            amiss += [f"{path} is lost" for path in self.old.keys() & self.new.keys() - found.keys()]
            if ("moved/from.md" in found) == ("moved/to.md" in found):
                amiss.append("what moved is there twice or not at all")
        return amiss

    def known(self, generation: Path) -> bool:
        """Whether a generation that `rollback` may lead to is one that answered before."""
        return contents(generation) in (self.old, self.new)

    def answering(self) -> list[str]:
        """What is amiss with the answers and the caches."""
        index = Index.open(self.data, KB, self.embedder)
        amiss: list[str] = []
        there = documents(self.home)
        for name in ("same0", "same1"):
            hits = search(index, [f"code{name}"], self.cfg.retrieval)
            if f"{name}.md" in there and not (hits and hits[0].path == f"{name}.md"):
                amiss.append(f"{name}.md is not found")
        return amiss + index.verify()


def refusal(action: Callable[[], object]) -> str:
    """The message and hint of the error that an action ends with."""
    try:
        action()
    except RagstoneError as error:
        return f"{error.message} {error.hint}"
    return ""


def bases(action: str) -> str:
    """Which knowledge base an action starts from."""
    return {"first build": "", "sync": "old", "rebuild": "old", "promote": "next", "rollback": "two"}[action]


def documents(home: Path) -> Documents:
    """All that answers, by path."""
    return contents(home / (current(home) or ""))


def contents(generation: Path) -> Documents:
    """All that one generation holds, by path."""
    catalog = Catalog(generation / "catalog.sqlite")
    found = said(catalog)
    catalog.close()
    return found


def said(catalog: Catalog) -> Documents:
    """All that a catalog holds, by path."""
    found: Documents = {path: [] for (path,) in select(catalog, "SELECT path FROM documents")}
    sql = """SELECT d.path, c.ordinal, c.text, c.headings, c.page, c.key IS NOT NULL FROM chunks c
             JOIN documents d ON d.id = c.document_id ORDER BY 1, 2"""
    for path, *row in select(catalog, sql):
        found[path].append((*row,))  # type: ignore[arg-type]
    return found


def page(name: str, version: int = 0) -> str:
    rng = random.Random(f"{name} {version}")
    sections = (f"## {rng.choice(WORDS)}\n\ncode{name} {' '.join(rng.choices(WORDS, k=40))}." for _ in range(4))
    return f"# {rng.choice(WORDS)}\n\n" + "\n\n".join(sections)


def before(docs: Path) -> None:
    (docs / "moved").mkdir(parents=True)
    for name in ("same0", "same1", "edited", "gone", "moved/from"):
        (docs / f"{name}.md").write_text(page(name), encoding="utf-8")


def after(docs: Path) -> None:
    (docs / "edited.md").write_text(page("edited", 1), encoding="utf-8")
    (docs / "gone.md").unlink()
    (docs / "moved/from.md").rename(docs / "moved/to.md")
    (docs / "added.md").write_text(page("added"), encoding="utf-8")


def read_here(path: Path, cfg: IngestConfig, pages: Sequence[int], reach: Reach) -> Reading:
    """Read in this process: a worker writes nothing, and a child would have to start its own."""
    data = load_file(path, cfg, reach)
    return Reading(read_bytes(path.name, data, cfg, pages), hashlib.blake2b(data, digest_size=20).hexdigest(), 0.0)


def warm_up(embedder: Embedder) -> None:
    """Load once what every child needs."""
    import faiss  # noqa: F401
    import tantivy  # noqa: F401

    text = page("warm up")
    document = Document(text, sections=(Section(0, len(text)),))
    reading.prepare(FileEntry("x.md", len(text), 0, 0, 0), document, IngestConfig(chunk_tokens=32), embedder)
    tokens("é")
    embedder.embed_query(text)


def main() -> None:
    """The driver: a JSON line in, a JSON line out."""
    driver = prepared(Driver)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(driver.explore(*request) if request else driver.read_only()), flush=True)


def prepared(kind: type[Some]) -> Some:
    """A driver in a process that has loaded what its children need."""
    work = Path(sys.argv[1])
    embedder = tiny_embedder.load(work / "model")
    warm_up(embedder)
    recipe.embedder_of = lambda *_, **__: embedder
    reading.read_apart = read_here
    retrieval.caches._UNSAVED = 0  # both caches are written by every sync
    return kind(work, embedder)


# In pytest


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[str]"]:
    """The driver with `faults.c`."""
    with driving(tmp_path_factory.mktemp("faults"), "faults.c", "tests.app.keeping.test_faults") as process:
        yield process


@contextmanager
def driving(work: Path, source: str, module: str) -> Iterator["subprocess.Popen[str]"]:
    """A module's `main` with a library preloaded; without a C compiler: fails in CI, or skips."""
    if not (compiler := shutil.which("gcc") or shutil.which("cc")):
        reason = "the fault tests need a C compiler (Debian: apt-get install gcc)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    library = work / "faults.so"
    code = str(Path(__file__).with_name(source))
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), code, "-ldl", "-lpthread"], check=True)
    tiny_embedder.build(work / "model")
    environ = os.environ | {"LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", f"from {module} import main; main()", str(work)]
    process = subprocess.Popen(
        command,
        env=environ,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    yield process
    process.kill()
    process.wait()


def asked(driver: "subprocess.Popen[str]", *request: str) -> dict[str, Any]:
    """The driver's reply: what `explore` found, or without a request `read_only`."""
    assert driver.stdin
    assert driver.stdout
    driver.stdin.write(json.dumps(request) + "\n")
    driver.stdin.flush()
    line = driver.stdout.readline()
    assert line, "the driver died"
    return json.loads(line)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("action", ACTIONS)
def test_nothing_is_lost_and_the_cause_is_named(
    driver: "subprocess.Popen[str]", action: str, fault: str, share: str
) -> None:
    found = asked(driver, action, fault, share)
    print(action, fault, {key: found[key] for key in ("calls", "tried", "seed", "ends")})
    assert found["calls"] > 2
    assert not found["amiss"]


def test_on_a_disk_that_became_read_only_a_knowledge_base_goes_on_answering_and_can_be_opened(
    driver: "subprocess.Popen[str]",
) -> None:
    found = asked(driver)
    first, refused, later = found["use"]
    assert (first, later) == ("same0.md", "same0.md")
    assert "Read-only file system" in refused or "check that the disk" in refused
    assert found["come"] == "same0.md"
    assert found["amiss"] == []
