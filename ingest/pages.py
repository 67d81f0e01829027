"""A page of the web -> a folder that holds it as one file, and is scanned and read as any other.

<data>/<kb>/web/<hash of the address>/
  objects/      the page, named after its address, with the suffix of what its server says that it is
  known.json    its ETag, its time, the hash of its bytes, when it was asked for, and what failed then

What cannot be had stays as it was; only what its host says is gone (404, 410) is removed.
"""

import hashlib
import json
import os
import re
import threading
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from core.config import IngestConfig
from core.errors import ReadError
from core.files import make_folder, name_whole, write_whole
from core.sources import checked, mirror, place
from core.types import FileError
from ingest import web
from ingest.mirror import held, told
from ingest.scan import Plan, printable

# "off": web pages are switched off, which is told; "due": what was asked for long ago; "now": whatever was before
Asking = Literal["off", "due", "now"]

_KNOWN = "known.json"
_AGAIN_S = 3600.0  # after a failure
_PAUSE_S = 1.0  # between two pages of one host
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")
_LONGEST = 60  # characters of a name, of which each may take four bytes
SWITCH_ON = "an admin sets app.web_pages to true in the settings, or in config.toml"
_asked: dict[str, float] = {}  # hosts, and when this process may ask them next
_asking = threading.Lock()


class Row(NamedTuple):
    """What is known of a page. `name`: of its file, "" where there is none; `asked`: when, in seconds since 1970."""

    name: str = ""
    etag: str = ""
    modified: str = ""
    hash: str = ""
    asked: float = 0.0
    error: str = ""
    hint: str = ""
    gone: bool = False


def check_page(address: str) -> None:
    """Raise `ReadError` where the host of an address is not found, or is not on the public network."""
    web.looked_up(*web.endpoint(urlsplit(address)))


def refresh(home: Path, source: str, cfg: IngestConfig, asking: Asking | None) -> Plan:
    """Bring the mirror of a page up to date; returns what failed, as the start of a plan. None asks for nothing.

    Raises `ReadError` where the page cannot be had and there is no copy of it, or the disk fails; `CatalogError` while
    another process is at it.
    """
    folder, objects = mirror(home, source), place(home, source)
    with told(source), held(folder):
        make_folder(objects)
        before = _known(folder / _KNOWN)
        there = bool(before.name) and _hash(objects / before.name) == before.hash
        if asking == "now" or (asking == "due" and (_is_due(before, cfg) or not (there or before.gone))):
            row = _fetched(source, objects, before if there else before._replace(etag="", modified=""), there, cfg)
            write_whole(folder / _KNOWN, json.dumps(row._asdict()))
        elif asking == "off":
            row = before._replace(error="web pages are not asked for again: app.web_pages is off", hint=SWITCH_ON)
            write_whole(folder / _KNOWN, json.dumps(row._asdict()))
        else:
            row = before
        _drop_all_but(objects, row.name)
    if not row.name and not row.gone:
        raise ReadError(
            row.error or "this page was not fetched yet", row.hint or "bring the whole knowledge base up to date first"
        )
    if row.error and asking is not None:
        known = (row.error, row.hint) == (before.error, before.hint)
        return Plan(failed=[FileError(source, row.error, row.hint, known=known)])
    return Plan()


def _is_due(before: Row, cfg: IngestConfig) -> bool:
    every = min(cfg.web_every_s, _AGAIN_S) if before.error else cfg.web_every_s
    return not 0 <= time.time() - before.asked < every


def _fetched(source: str, objects: Path, before: Row, there: bool, cfg: IngestConfig) -> Row:
    """Ask for a page; returns what is known of it from now on."""
    asked = time.time()
    try:
        _wait(urlsplit(checked(source)).hostname or "")  # a catalog from elsewhere may name what is none
        page = web.fetch(
            source, most=cfg.max_file_mb * 1_000_000, seconds=cfg.web_seconds, etag=before.etag,
            modified=before.modified,
        )  # fmt: skip
    except web.GoneError as error:
        if before.name:  # its document is deleted, as that of a deleted file
            return Row(asked=asked, gone=True)
        return Row(asked=asked, error=error.message, hint=error.hint, gone=before.gone)
    except ReadError as error:
        kept = before if there else Row(gone=before.gone)
        return kept._replace(asked=asked, error=error.message, hint=error.hint)
    if page is None:
        return before._replace(asked=asked, error="", hint="", gone=False)
    digest, name = hashlib.sha256(page.data).hexdigest(), _name(source, page.suffix)
    if not there or (name, digest) != (before.name, before.hash):
        _put(objects / name, page)
    return Row(name, page.etag, page.modified, digest, asked)


def _wait(host: str) -> None:
    """A pause where a page of the same host was asked for just now."""
    with _asking:
        now = time.monotonic()
        turn = max(_asked.get(host, now), now)
        _asked[host] = turn + _PAUSE_S
        for other in [other for other, until in _asked.items() if until < now]:
            del _asked[other]
    if turn > now:
        time.sleep(turn - now)


def _put(file: Path, page: web.Page) -> None:
    aside = file.parent.parent / "page.writing"  # beside the folder that is scanned
    aside.write_bytes(page.data)
    with suppress(ValueError, TypeError, OverflowError, OSError):  # its server says no time, or one that is none
        changed = parsedate_to_datetime(page.modified).timestamp()
        os.utime(aside, (changed, changed))  # which version of a document is the newest is told by it
    name_whole(aside, file)


def _name(source: str, suffix: str) -> str:
    """The name of the file: the last name in the address, or the host.

    >>> _name("https://example.org/hr/annual%20leave.php?id=7", ".html")
    'annual leave.html'
    """
    parts = urlsplit(source)
    last = unquote(parts.path.rstrip("/").rpartition("/")[2])
    last = "".join(c for c in last if c.isprintable() and c not in '/\\:*?"<>|[]')
    stem = printable(_SUFFIX.sub("", last)).strip(" .~")[:_LONGEST].strip()
    return (stem or (parts.hostname or "page").replace(":", "-")[:_LONGEST]) + suffix


def _drop_all_but(objects: Path, name: str) -> None:
    for file in objects.iterdir():
        if file.name != name:
            file.unlink()


def _hash(file: Path) -> str:
    try:
        with file.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""


def _known(file: Path) -> Row:
    """What is known of a page; what is damaged is nothing."""
    with suppress(OSError, ValueError, TypeError):
        row = Row(**json.loads(file.read_text("utf-8")))
        if row.name == Path(row.name).name and isinstance(row.asked, int | float):
            return row
    return Row()
