"""What goes between the one who indexes and the workers of a cluster: addresses, TLS, JSON and bytes.

Dask's processes unpickle what a message names as pickled, before anybody asked for it, and a task of theirs always is.
So no task of theirs is used, messages are text and bytes, and `refuse_pickle` has the interpreter itself refuse to
unpickle anything that names a class or a function: what is then left of a pickle are numbers and texts.
"""

import logging
import pickle
import ssl
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from app.keeping.work import Work
from core.config import IngestConfig
from core.errors import ConfigError, WorkersError
from core.places import is_loopback
from core.types import Chunk, Document, FileEntry
from retrieval.transaction import Indexed

if TYPE_CHECKING:
    from distributed.security import Security

Model = TypeVar("Model", bound=BaseModel)

HELLO, READ, EMBED = "ragstone-hello", "ragstone-read", "ragstone-embed"  # all that a worker does
OURS = "start both by `ragstone worker`, in the same version"
_SCHEMES = ("dask", "tcp", "tls")
_GUIDE = "see docs/workers.md"
# In seconds: so soon a host that was cut off is noticed, and a worker that says nothing is given up.
_SETTINGS = {
    "distributed.comm.timeouts.tcp": "12s",
    "distributed.comm.timeouts.connect": "20s",
    "distributed.comm.retry.count": 0,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.scheduler.http.routes": ["distributed.http.health"],
    "distributed.worker.http.routes": ["distributed.http.health"],
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a scheduler listens, and by which files one proves to belong to its cluster."""

    host: str
    port: int
    encrypted: bool
    security: "Security"

    @property
    def url(self) -> str:
        """As Dask writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls' if self.encrypted else 'tcp'}://{host}:{self.port}"


def address_of(cfg: IngestConfig, *, at: str = "") -> Address:
    """The address of `ingest.workers`, or `at`. Raises `ConfigError` where it is none, or would not be encrypted."""
    text = at or cfg.workers
    scheme, _, rest = text.partition("://")
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    if scheme not in _SCHEMES or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(
            f"{text!r} is no address of a cluster", 'write tls://HOST:PORT, or "dask://127.0.0.1:8786" on one machine'
        )
    files = {"workers_ca": cfg.workers_ca, "workers_cert": cfg.workers_cert, "workers_key": cfg.workers_key}
    missing = [f"ingest.{name}" for name, value in files.items() if not value]
    if len(missing) == len(files) and scheme != "tls":
        if not is_loopback(host):
            raise ConfigError(
                f"{text!r} is not on this machine, and documents go there only encrypted",
                f"set ingest.workers_ca, workers_cert and workers_key; {_GUIDE}",
            )
        return Address(host, int(port), False, _security({}))
    if missing:
        raise ConfigError(f"{text!r} needs {', '.join(missing)}", f"name the PEM files of this machine; {_GUIDE}")
    return Address(host, int(port), True, _security({key: str(Path(v).expanduser()) for key, v in files.items()}))


def _security(files: dict[str, str]) -> "Security":
    """Both sides show a certificate of the cluster's own authority; where there is none, nothing is encrypted."""
    dask()
    from distributed.security import Security

    if not files:
        return Security(require_encryption=False)
    for key, file in files.items():
        if not Path(file).is_file():
            raise ConfigError(f"ingest.{key} = {file!r} is not there", f"name a PEM file; {_GUIDE}")
    ca, cert, key = files["workers_ca"], files["workers_cert"], files["workers_key"]
    roles = {f"tls_{role}_{what}": file for role in ("client", "scheduler", "worker") for what, file in
             (("cert", cert), ("key", key))}  # fmt: skip
    try:
        ssl.create_default_context(cafile=ca).load_cert_chain(cert, key)
    except (ssl.SSLError, OSError) as error:
        raise ConfigError(
            f"the certificate files of ingest.workers_ca, workers_cert and workers_key cannot be used: {error}",
            f"they are PEM files, and the key is that of the certificate, without a password; {_GUIDE}",
        ) from None
    return Security(require_encryption=True, tls_ca_file=ca, **roles)


def dask() -> None:
    """Import and set up Dask. Raises `ConfigError` where its package is missing."""
    try:
        import dask.config
        import distributed  # noqa: F401  # it has settings of its own, which are read now
    except ImportError:
        raise ConfigError(
            "workers need the package distributed, which is not installed", "install it: pip install 'ragstone[dask]'"
        ) from None
    dask.config.set(_SETTINGS)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters of it is said by us


_refusing: set[int] | None = set()  # threads that refuse; None: all do
_hooked = False


def refuse_pickle(*, everywhere: bool = False) -> None:
    """Refuse from now on, in this thread or `everywhere` in the process, to unpickle what names code.

    The interpreter raises the audit event `pickle.find_class` before any class or function of a pickle is looked up
    (https://docs.python.org/3/library/pickle.html#pickle.Unpickler.find_class), in its C and its Python form alike.
    """
    global _refusing, _hooked
    if everywhere:
        _refusing = None
    elif _refusing is not None:
        _refusing.add(threading.get_ident())
    if not _hooked:
        sys.addaudithook(_refuse)
        _hooked = True


def allow_pickle() -> None:
    """Undo it for this thread, which ends: its number is given to another one."""
    if _refusing is not None:
        _refusing.discard(threading.get_ident())


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event == "pickle.find_class" and (_refusing is None or threading.get_ident() in _refusing):
        raise pickle.UnpicklingError(f"refused to unpickle {args[0]}.{args[1]}: nothing between hosts is pickled")


class Read(BaseModel):
    """A file as a worker read and cut it; as JSON, keys and sketch are hexadecimal digits."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    document: Document
    chunks: list[Chunk]
    keys: list[str | None]
    language: str
    sketch: str
    seconds: float
    texts: list[str]


class Failed(BaseModel):
    """Why a worker could not do what it was asked; `kind` names the error."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: str
    error: str
    hint: str = ""
    transient: bool = False


class Hello(BaseModel):
    """What decides how a worker reads, cuts and embeds, and how many files it reads at a time."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str
    embedder: str
    identity: str
    reader: str
    chunker: str
    threads: int


def packed(work: Work) -> str:
    """What was read, as JSON."""
    read = work.indexed
    return Read(
        document=read.document, chunks=list(read.chunks), keys=[key.hex() if key else None for key in read.keys],
        language=read.language, sketch=read.sketch.hex(), seconds=read.seconds, texts=work.texts,
    ).model_dump_json()  # fmt: skip


def unpacked(text: str, entry: FileEntry, content: str) -> Work:
    """The work on a file from JSON; `content` is the hash of the bytes that were sent. Raises `WorkersError`."""
    read = checked(Read, text)
    whole = len(read.chunks) == len(read.keys) == len(read.texts)
    if not whole or any(read.document.text[chunk.start : chunk.end] != chunk.text for chunk in read.chunks):
        raise WorkersError(f"a worker sent passages of {entry.path!r} that do not stand in it", _GUIDE)
    keys = [bytes.fromhex(key) if key else None for key in read.keys]
    entry = replace(entry, hash=content)
    sketch = bytes.fromhex(read.sketch)
    return Work(Indexed(entry, read.document, read.chunks, keys, read.language, sketch, read.seconds), read.texts)


def checked(kind: type[Model], text: Any) -> Model:
    """A message of a worker by its form. Raises `WorkersError`."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise WorkersError(
            f"a worker sent what is no {kind.__name__.lower()}: {first['msg']} ({where})",
            "let all machines run the same version of Ragstone",
        ) from None
