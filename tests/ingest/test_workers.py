import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from core.config import Config
from core.errors import ConfigError, ReadError
from ingest import workers
from ingest.read import read_file
from ingest.workers import read_apart
from tests.conftest import ROOT

Write = Callable[[str, str], Path]
HANDBOOK = ROOT / "examples" / "handbook"


@pytest.fixture
def _alone() -> Iterator[None]:
    """The test starts and ends without workers."""
    workers.close()
    yield
    workers.close()


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that takes many seconds to read."""
    file = tmp_path_factory.mktemp("slow") / "slow.md"
    file.write_text("- *one* `two` [three](four)\n" * 200_000, encoding="utf-8")
    return file


def mine(parent: int | None = None) -> list[psutil.Process]:
    """The workers of a process."""
    children = psutil.Process(parent).children()
    return [child for child in children if not gone(child) and "ingest.workers" in " ".join(child.cmdline())]


def wait_until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def wait_for_busy(parent: int | None = None) -> psutil.Process:
    """A worker that is at work; starting takes less processor time."""
    busy: list[psutil.Process] = []
    wait_until(lambda: busy.extend(worker for worker in mine(parent) if worker.cpu_times().user > 0.8) or busy)
    return busy[0]


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("file", sorted(f for f in HANDBOOK.rglob("*") if f.is_file()), ids=lambda file: file.name)
def test_a_file_read_apart_gives_the_same_document_and_the_hash_of_its_bytes(file: Path, cfg: Config) -> None:
    reading = read_apart(file, cfg.ingest)
    assert reading.document == read_file(file, cfg.ingest)
    assert reading.hash == hashlib.blake2b(file.read_bytes(), digest_size=20).hexdigest()
    assert reading.seconds > 0


@pytest.mark.usefixtures("_alone")
def test_a_file_that_takes_too_long_names_the_setting_and_the_next_file_is_read(cfg: Config, slow: Path) -> None:
    impatient = cfg.ingest.model_copy(update={"read_seconds": 0.2})
    started = time.monotonic()
    with pytest.raises(ReadError, match=r"longer than 0\.2 s") as error:
        read_apart(slow, impatient)
    assert "ingest.read_seconds" in error.value.hint
    assert time.monotonic() - started < 10
    assert mine() == []
    assert "25 days" in read_apart(HANDBOOK / "people" / "leave-policy.md", cfg.ingest).document.text


@pytest.mark.usefixtures("_alone")
@pytest.mark.parametrize(
    ("how", "message", "hint"),
    [
        (signal.SIGKILL, "its reader was killed", "tried again next time"),
        (signal.SIGSEGV, r"its reader crashed \(SIGSEGV\)", "other files go on"),
    ],
)
def test_a_worker_that_dies_over_a_file_is_one_error_and_the_next_file_is_read(
    how: signal.Signals, message: str, hint: str, cfg: Config, slow: Path, write: Write
) -> None:
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_apart, slow, cfg.ingest)
        wait_for_busy().send_signal(how)
        with pytest.raises(ReadError, match=message) as error:
            reading.result(timeout=20)
    assert hint in error.value.hint
    assert error.value.transient == (how == signal.SIGKILL)
    assert read_apart(write("next.txt", "still read"), cfg.ingest).document.text == "still read"


@pytest.mark.usefixtures("_alone")
def test_an_idle_worker_that_was_killed_is_replaced_without_an_error(cfg: Config, write: Write) -> None:
    file = write("a.txt", "as ever")
    read_apart(file, cfg.ingest)
    (worker,) = mine()
    worker.kill()
    wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE)
    assert read_apart(file, cfg.ingest).document.text == "as ever"


def test_a_file_that_wants_more_memory_than_allowed_is_an_error_and_the_next_is_read(
    cfg: Config, tmp_path: Path, write: Write
) -> None:
    small = cfg.ingest.model_copy(update={"read_mb": 256})
    wide = tmp_path / "wide.txt"
    wide.write_text("\N{GRINNING FACE}字 words\n" * 4_000_000, encoding="utf-8")  # 4 bytes a character in memory
    with pytest.raises(ReadError) as error:
        read_apart(wide, small)
    assert "memory" in error.value.message or "ingest.read_mb" in error.value.hint
    assert read_apart(write("next.txt", "still read"), small).document.text == "still read"
    assert "LT-300" in read_apart(HANDBOOK / "products" / "lt-300-manual.pdf", small).document.text


def test_a_lower_limit_of_the_system_is_kept_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    code = """import resource
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
from pathlib import Path
from core.config import IngestConfig
from ingest.workers import read_apart
print(read_apart(Path("a.txt"), IngestConfig(read_mb=2048)).document.text)"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "words\n", done.stderr


def test_odd_characters_survive_or_are_replaced_one_for_one(cfg: Config, tmp_path: Path) -> None:
    text = 'line\u2028separator paragraph\u2029 next\u0085line \\ "quoted" 汉字 \N{GRINNING FACE} end'
    file = tmp_path / "odd.txt"
    file.write_text(text, encoding="utf-8")
    assert read_apart(file, cfg.ingest).document == read_file(file, cfg.ingest)
    for name, data in {
        "nul.txt": b"before\x00after, and more words",
        "lone.json": rb'{"name": "lone \ud800 surrogate", "then": "more words"}',
        "lone.txt": b"lone \xed\xa0\x80 surrogate, and more words",
    }.items():
        file = tmp_path / name
        file.write_bytes(data)
        here, apart = read_file(file, cfg.ingest), read_apart(file, cfg.ingest).document
        assert len(apart.text) == len(here.text)
        assert apart.text == here.text.encode("utf-8", "replace").decode()
        assert apart.sections == here.sections


def test_a_path_that_is_not_utf_8_is_read(cfg: Config, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/bad\xff.txt"
    with open(name, "wb") as handle:
        handle.write(b"words")
    assert read_apart(Path(os.fsdecode(name)), cfg.ingest).document.text == "words"


@pytest.mark.usefixtures("_alone")
def test_what_cannot_be_read_is_the_same_error_as_without_a_worker(cfg: Config, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "empty.txt").touch()
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    for name in ("pipe.txt", "empty.txt", "broken.pdf", "absent.txt", "unknown.xyz"):
        with pytest.raises(ReadError) as here:
            read_file(tmp_path / name, cfg.ingest)
        with pytest.raises(ReadError) as apart:
            read_apart(tmp_path / name, cfg.ingest)
        assert str(apart.value) == str(here.value)
    assert len(mine()) == 1


def test_a_setting_that_cannot_be_used_is_a_config_error(cfg: Config, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("straße".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"ingest\.encodings"):
        read_apart(file, cfg.ingest.model_copy(update={"encodings": ["no-such-encoding"]}))


def test_a_document_named_like_a_module_is_not_imported(tmp_path: Path) -> None:
    for name in ("json.py", "ingest.py", "hashlib.py", "lxml.py", "sitecustomize.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'marker')!r}, 'a').write({name!r})", encoding="utf-8")
    (tmp_path / "page.html").write_text("<p>hello from a page</p>", encoding="utf-8")
    code = f"""import sys; sys.path[0:1] = [{str(ROOT)!r}]
from pathlib import Path
from core.config import IngestConfig
from ingest.workers import read_apart
print(read_apart(Path("page.html"), IngestConfig()).document.text)"""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "hello from a page" in done.stdout, done.stderr
    assert not (tmp_path / "marker").exists()


@pytest.mark.usefixtures("_alone")
def test_what_a_parser_prints_does_not_end_up_among_the_replies(cfg: Config, write: Write) -> None:
    code = "import os, sys; print('noise'); os.write(1, b'more noise\\n'); sys.stdout.flush()"
    start = workers._START.replace(
        "main()",
        f"import ingest.read as r; old = r.read_bytes\n"
        f"def noisy(*a):\n    {code}\n    return old(*a)\nr.read_bytes = noisy; main()",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "_START", start)
        assert read_apart(write("a.txt", "words"), cfg.ingest).document.text == "words"


def test_an_interrupt_leaves_no_answer_for_the_next_question(tmp_path: Path, slow: Path) -> None:
    (tmp_path / "a.txt").write_text("the right answer", encoding="utf-8")
    code = """import sys
from pathlib import Path
from core.config import IngestConfig
from ingest.workers import read_apart
try:
    read_apart(Path(sys.argv[1]), IngestConfig())
except KeyboardInterrupt:
    print("interrupted", read_apart(Path("a.txt"), IngestConfig()).document.text)"""
    command = [sys.executable, "-c", code, str(slow)]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    wait_for_busy(process.pid)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=20)
    assert output == "interrupted the right answer\n"


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("how", ["exit", "kill -9"])
def test_no_worker_survives_its_parent(how: str, busy: bool, tmp_path: Path, slow: Path) -> None:
    (tmp_path / "a.txt").write_text("words", encoding="utf-8")
    code = """import sys, threading
from pathlib import Path
from core.config import IngestConfig
from ingest.workers import read_apart
read_apart(Path("a.txt"), IngestConfig())
if sys.argv[1]:
    threading.Thread(target=read_apart, args=(Path(sys.argv[1]), IngestConfig()), daemon=True).start()
Path("ready").touch()
sys.stdin.read()"""
    command = [sys.executable, "-c", code, str(slow) if busy else ""]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdin=subprocess.PIPE)
    wait_until((tmp_path / "ready").exists)
    worker = wait_for_busy(process.pid) if busy else mine(process.pid)[0]
    if how == "exit":
        process.communicate(timeout=20)
    else:
        process.kill()
        process.wait()
    wait_until(lambda: gone(worker), seconds=3)


@pytest.mark.usefixtures("_alone")
def test_threads_share_workers_and_each_gets_its_own_answer(cfg: Config, tmp_path: Path) -> None:
    files, before = [tmp_path / f"{i}.txt" for i in range(60)], threading.active_count()
    for i, file in enumerate(files):
        file.write_text(f"this is file {i}", encoding="utf-8")
    with ThreadPoolExecutor(3) as pool:
        texts = list(pool.map(lambda file: read_apart(file, cfg.ingest).document.text, files))
    assert texts == [f"this is file {i}" for i in range(60)]
    assert 1 <= len(mine()) <= 3
    assert threading.active_count() < before + 9


@pytest.mark.usefixtures("_alone")
def test_no_more_workers_wait_than_there_are_cores(cfg: Config, write: Write) -> None:
    files = [write(f"{n}.md", f"text {n}") for n in range(24)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda file: read_apart(file, cfg.ingest), files))
    assert 1 <= len(mine()) <= max(2, os.cpu_count() or 1)
