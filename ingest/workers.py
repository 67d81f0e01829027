"""Files are read in processes of their own, so that a parser that hangs, crashes or explodes ends one file, not a run.

Parent and worker speak JSON lines over pipes; nothing a parser made is ever unpickled. A worker ends itself by SIGALRM
when its time is over, by RLIMIT_DATA when it wants too much memory, and when its parent is gone.
"""

import atexit
import base64
import contextlib
import dataclasses
import hashlib
import importlib.util
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.config import IngestConfig
from core.errors import ConfigError, ReadError
from core.types import Document, Section
from ingest import plugged
from ingest.reach import Reach

_READERS = 8  # raised when readers learn to read what they could not
_ROOT = Path(__file__).resolve().parent.parent
# `-P` and no `-m`: a module in the working folder, which may hold hostile documents, is never imported.
_START = "import sys; sys.path.insert(0, sys.argv[1]); from ingest.workers import main; main()"


@dataclass(frozen=True, slots=True)
class Reading:
    """A file that was read: its document, the BLAKE2b hash of the very bytes it came from, and how long it took."""

    document: Document
    hash: str
    seconds: float


_IDLE_MOST = max(2, os.cpu_count() or 1)  # workers that wait for a file, a hundred MiB or two each
_idle: list["subprocess.Popen[bytes]"] = []
_mutex = threading.Lock()


def read_apart(
    path: Path, cfg: IngestConfig, ocr_pages: Sequence[int] = (), reach: Reach | None = None
) -> Reading:  # fmt: skip
    """Read one file in a worker process; as many threads may call this as there should be workers.

    `ocr_pages`: pages of a PDF that are read by OCR whatever text they hold. `reach`: where the file must really lie.

    Raises `ReadError` where no text can be had from the file, also where its parser crashed, took longer than
    `cfg.read_seconds` or wanted more than `cfg.read_mb` MiB; `ConfigError` where a setting cannot be used.
    """
    started = time.monotonic()
    where = dataclasses.asdict(reach) if reach else None
    reply = _apart({"path": str(path), "ocr_pages": list(ocr_pages), "reach": where}, cfg)
    return Reading(_document(reply["document"]), reply["hash"], time.monotonic() - started)


def read_sent(name: str, data: bytes, cfg: IngestConfig, ocr_pages: Sequence[int] = ()) -> Reading:
    """As `read_apart`, of a file that lies elsewhere: by its name, without folders, and its bytes. None is written."""
    started = time.monotonic()
    sent = base64.b64encode(data).decode()
    reply = _apart({"name": name, "data": sent, "ocr_pages": list(ocr_pages)}, cfg)
    return Reading(_document(reply["document"]), reply["hash"], time.monotonic() - started)


def draw_apart(path: Path, hash: str, page: int, text: str, cfg: IngestConfig) -> bytes:
    """A page of a PDF as a PNG in which a passage is marked, drawn in a worker process; `hash` as of `Reading`.

    Raises `ReadError` as `read_apart` does, also where the file is no longer the one of that hash.
    """
    reply = _apart({"path": str(path), "hash": hash, "page": page, "text": text}, cfg)
    return base64.b64decode(reply["picture"])


def _apart(task: dict[str, Any], cfg: IngestConfig) -> dict[str, Any]:
    """What a worker makes of a task, within the limits of `cfg`."""
    request = task | {"cfg": cfg.model_dump()}
    with _mutex:
        worker = _idle.pop() if _idle else None
    reply = _ask(worker, request) if worker else None
    if worker and reply is None and _died(worker) == -signal.SIGALRM:
        raise _too_slow(cfg)
    if worker is None or reply is None:  # one that lay idle may have died long before this file
        worker = _start()
        reply = _ask(worker, request)
    if reply is None:
        code = _died(worker)
        raise _too_slow(cfg) if code == -signal.SIGALRM else _crashed(code, cfg)
    with _mutex:
        kept = len(_idle) < _IDLE_MOST
        if kept:
            _idle.append(worker)
    if not kept:
        _end(worker)
    if "error" in reply:
        if reply["config"]:
            raise ConfigError(reply["error"], reply["hint"])
        raise ReadError(reply["error"], reply["hint"], transient=reply["transient"])
    return reply


def reader_identity(cfg: IngestConfig) -> str:
    """Names what decides, beside the file, whether it can be read: a failure is tried again when this changes."""
    fields = "max_file_mb encodings ocr ocr_pages archive_files archive_mb archive_depth read_seconds read_mb".split()
    found = [importlib.util.find_spec("rapidocr") is not None, shutil.which("soffice") is not None]
    return json.dumps([_READERS, cfg.model_dump(include=set(fields)), *found, *plugged.identity(cfg)])


def close() -> None:
    """End all workers that are not at work; they start anew when needed."""
    with _mutex:
        workers, _idle[:] = list(_idle), []
    for worker in workers:
        _end(worker)


atexit.register(close)
os.register_at_fork(after_in_child=_idle.clear)  # two processes must not speak to one worker


def _start() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-P", "-c", _START, str(_ROOT)]
    # A session of its own, so that a converter which a reader started ends with it.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)


def _ask(worker: "subprocess.Popen[bytes]", request: dict[str, Any]) -> dict[str, Any] | None:
    """The worker's reply; None where it died over it."""
    assert worker.stdin
    assert worker.stdout
    try:
        worker.stdin.write(json.dumps(request).encode() + b"\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
    except BrokenPipeError:
        return None
    except BaseException:  # interrupted: an answer that nobody waits for must not be taken for the next one's
        _end(worker)
        raise
    return json.loads(line) if line.endswith(b"\n") else None


def _end(worker: "subprocess.Popen[bytes]") -> int:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    for pipe in (worker.stdin, worker.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    return worker.wait()


def _died(worker: "subprocess.Popen[bytes]") -> int:
    """How a worker ended that gave no answer; what it started is ended too."""
    try:
        code = worker.wait(timeout=1)
    except subprocess.TimeoutExpired:
        code = 0
    _end(worker)
    return code


def _too_slow(cfg: IngestConfig) -> ReadError:
    hint = "raise ingest.read_seconds, or split the file"
    return ReadError(f"reading it took longer than {cfg.read_seconds:g} s", hint)


def _crashed(code: int, cfg: IngestConfig) -> ReadError:
    if code == -signal.SIGKILL:  # nothing that the file did by itself
        hint = "the machine ran out of memory, or somebody ended the reader; it is tried again next time"
        return ReadError("its reader was killed", hint, transient=True)
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ReadError(
        f"its reader crashed ({how})",
        f"the file is damaged, or needs more than ingest.read_mb = {cfg.read_mb} MiB to read; other files go on",
    )


def _document(fields: dict[str, Any]) -> Document:
    rows: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    rows["sections"] = tuple(
        Section(start, end, tuple(headings), page) for start, end, headings, page in rows["sections"]
    )
    return Document(**rows)


def main() -> None:
    """Serve requests until the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a parser prints must not end up among the replies
    threading.Thread(target=_end_with_parent, daemon=True).start()
    for line in sys.stdin.buffer:
        request = json.loads(line)
        reply = _work(request, IngestConfig.model_validate(request["cfg"]))
        replies.write(json.dumps(reply, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
        replies.flush()


def _end_with_parent() -> None:
    """End the process group in the middle of a file too, once nobody can ask any more."""
    hangup = select.poll()
    hangup.register(sys.stdin.fileno(), 0)  # POLLHUP is reported unasked
    hangup.poll()
    os.killpg(0, signal.SIGKILL)


def _work(request: dict[str, Any], cfg: IngestConfig) -> dict[str, Any]:
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = cfg.read_mb << 20
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    signal.setitimer(signal.ITIMER_REAL, cfg.read_seconds)
    try:
        return _draw(request, cfg) if "page" in request else _read(request, cfg)
    except (ReadError, ConfigError) as error:
        transient = isinstance(error, ReadError) and error.transient
        config = isinstance(error, ConfigError)
        return {"error": error.message, "hint": error.hint, "config": config, "transient": transient}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _read(request: dict[str, Any], cfg: IngestConfig) -> dict[str, Any]:
    from ingest.read import load_file, read_bytes
    from ingest.unlock import unlocked

    if "data" in request:
        name, data = request["name"], base64.b64decode(request.pop("data"))
    else:
        path, reach = Path(request["path"]), Reach(**request["reach"]) if request["reach"] else None
        name, data = path.name, load_file(path, cfg, reach)
    document = read_bytes(name, unlocked(data, cfg.passwords), cfg, request["ocr_pages"])
    fields = {field.name: getattr(document, field.name) for field in dataclasses.fields(document)}
    fields["sections"] = [(s.start, s.end, s.headings, s.page) for s in document.sections]
    return {"document": fields, "hash": content_hash(data)}


def _draw(request: dict[str, Any], cfg: IngestConfig) -> dict[str, Any]:
    from ingest.picture import draw
    from ingest.read import load_file
    from ingest.unlock import unlocked

    data = load_file(Path(request["path"]), cfg)
    if content_hash(data) != request["hash"]:
        raise ReadError("the file has changed since it was indexed", "index it again, and look once more")
    return {"picture": base64.b64encode(draw(unlocked(data, cfg.passwords), request["page"], request["text"])).decode()}


def content_hash(data: bytes) -> str:
    """What names the content of a file: BLAKE2b of its bytes, 40 hexadecimal digits."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()
