"""Zip archives -> one document, and what all files that hold files (mails too) share: limits and notes.

Nothing is written to disk, and no size that an archive states about itself is believed: bytes are counted as they come
out, for all levels of nesting together.
"""

import re
from collections import Counter
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import PurePosixPath
from typing import Protocol, TypeVar
from zipfile import BadZipFile, ZipFile, ZipInfo
from zlib import error as ZlibError

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.readers.encoding import decode, signature
from ingest.readers.package import ASK
from ingest.readers.text import Part, assemble, parts_of
from ingest.readers.unseen import joined

Member = TypeVar("Member")

MAX_MEMBERS = 100_000  # with or without a reader; a member takes a kilobyte before anything is unpacked
_MAX_RATIO, _RATIO_FROM = 200, 50_000_000
_BLOCK = 1_000_000
_NO_FILES = re.compile(r"(?:^|/)(?:__MACOSX/|\.DS_Store$|Thumbs\.db$|desktop\.ini$|~\$)", re.I)
UNPACK = "unpack it into the folder, or leave it out with ingest.exclude"


class _Packed(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(slots=True)
class Budget:
    """What may still be read inside one file, at all levels together."""

    files: int
    size: int  # bytes, unpacked


@dataclass(slots=True)
class Contents:
    """The files inside a file: each is read by the reader of its suffix, and what fails becomes a note."""

    cfg: IngestConfig
    read: "Callable[[bytes, str, Contents], Document]"  # by suffix; raises `ReadError`
    suffixes: Container[str]  # those that have a reader
    budget: Budget
    name: str = ""  # of the file that holds them
    depth: int = 0
    parts: list[Part] = field(default_factory=list)
    tables: int = 0
    failures: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    ocr_pages: frozenset[int] = frozenset()  # of the file that holds them, which are read by OCR in any case

    def readable(self, name: str) -> bool:
        """Whether a file of this name has a reader; one that has none is counted for the notes."""
        suffix = suffix_of(name)
        if suffix not in self.suffixes:
            self.unknown[suffix or "without a suffix"] += 1
        return suffix in self.suffixes

    def add(self, name: str, data: bytes, suffix: str = "") -> None:
        """Read one file; its sections go below `name`."""
        if self.budget.files <= 0:
            self.failures.append(f"{name}: not read, more than {self.cfg.archive_files:,} files (ingest.archive_files)")
            return
        self.budget.files -= 1
        inside = Contents(self.cfg, self.read, self.suffixes, self.budget, name, self.depth + 1)
        if not data:
            self.failures.append(f"{name}: empty")
            return
        try:
            document = self.read(data, suffix or suffix_of(name), inside)
        except ReadError as error:
            self.failures.append(f"{name}: {error.message}")
            return
        self.parts += parts_of(document, (name,))
        self.tables += document.tables
        self.failures += [f"{name}/{note}" for note in document.notes]
        if document.empty_pages:
            self.failures.append(f"{name}: no text on {len(document.empty_pages)} of {document.pages} pages")

    def unpack(self, member: _Packed) -> bytes:
        """The bytes of a packed member. Raises `ReadError` once all members together exceed the budget."""
        blocks: list[bytes] = []
        while block := member.read(min(_BLOCK, self.budget.size + 1)):
            self.budget.size -= len(block)
            if self.budget.size < 0:
                hint = f"if you trust it, {UNPACK}, or raise ingest.archive_mb"
                raise ReadError("unpacks to too much for its size or for ingest.archive_mb: refused as a bomb", hint)
            blocks.append(block)
        return b"".join(blocks)

    def notes(self) -> list[str]:
        """What was not read, files without a reader in one line."""
        failures = joined(self.failures)
        if not self.unknown:
            return failures
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in self.unknown.most_common(10))
        return [*failures, f"files inside without a reader: {kinds}"]


def budget_of(data: bytes, cfg: IngestConfig) -> Budget:
    """What may be unpacked from an outermost file of this size."""
    return Budget(cfg.archive_files, min(cfg.archive_mb << 20, max(_RATIO_FROM, _MAX_RATIO * len(data))))


def suffix_of(name: str) -> str:
    """The suffix of a member by its path within the archive, in lower case."""
    return PurePosixPath(name.rstrip("/ .")).suffix.lower()


def read_zip(data: bytes, cfg: IngestConfig, contents: Contents) -> Document:
    """Every member of a zip archive that has a reader; its path stands before the headings of its sections."""
    if not cfg.archive_files:
        raise ReadError("archives are left out", "raise ingest.archive_files to read what is in them")
    if data.count(b"PK\x01\x02") > MAX_MEMBERS:
        raise ReadError(f"a zip archive of more than {MAX_MEMBERS:,} members", UNPACK)
    try:
        archive = ZipFile(BytesIO(data))
    except (BadZipFile, ValueError, NotImplementedError) as error:
        seen = signature(data)
        message = f"not a zip archive: it looks like {seen}" if seen and data[:2] != b"PK" else "damaged zip archive"
        raise ReadError(f"{message} ({error})", "restore it from a copy; join a split archive first") from None
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if any(member.volume for member in members):
            raise ReadError(
                "one part of a split zip archive", "join the parts (zip -s 0), then unpack them or read the whole"
            )
        wanted = wanted_of(zip(_names(members, cfg), members, strict=True), contents)
        if wanted and all(member.flag_bits & 1 for _, member in wanted):
            raise ReadError("the zip archive is password-protected", ASK)
        for name, member in wanted:
            try:
                with archive.open(member) as packed:
                    content = contents.unpack(packed)
            except (BadZipFile, ZlibError, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
                locked = member.flag_bits & 1
                contents.failures.append(f"{name}: " + ("password-protected" if locked else f"damaged ({error})"))
            else:
                contents.add(name, content)
    return together(contents)


def wanted_of(members: Iterable[tuple[str, Member]], contents: Contents) -> list[tuple[str, Member]]:
    """The members to be read, those of a kind without a reader counted. Raises `ReadError` where they are too many."""
    wanted = [(name, member) for name, member in members if not _NO_FILES.search(name) and contents.readable(name)]
    if len(wanted) > contents.budget.files:
        message = f"an archive of {len(wanted):,} files, the limit is {contents.cfg.archive_files:,}"
        raise ReadError(message, f"{UNPACK}, or raise ingest.archive_files")
    return wanted


def _names(members: list[ZipInfo], cfg: IngestConfig) -> list[str]:
    """The paths of the members; those not marked as UTF-8 are bytes of unknown encoding, for zipfile cp437."""
    unmarked = [m.filename.encode("cp437", "replace") for m in members if not m.flag_bits & 0x800]
    read = iter(paths_of(unmarked, cfg, "cp437"))
    return [_inside(m.filename) if m.flag_bits & 0x800 else next(read) for m in members]


def paths_of(names: list[bytes], cfg: IngestConfig, other: str) -> list[str]:
    """Paths within an archive, of unknown encoding; `other` is taken where they are no text in any."""
    together = b"\n".join(names)
    try:
        encoding = "gb18030" if _is_chinese(together) else decode(together, cfg)[1]
    except ReadError:
        encoding = other
    return [_inside(name.decode(encoding, "replace")) for name in names]


def _inside(path: str) -> str:
    return path.replace("\\", "/").lstrip("./")


def _is_chinese(names: bytes) -> bool:
    """Whether these bytes are GBK: names are too short for statistics, but nothing else gives so common characters."""
    try:
        text = names.decode("gbk")
    except UnicodeDecodeError:
        return False
    wide = [char.encode("gbk") for char in text if char > "\x7f"]
    common = sum(1 for char in wide if (0xB0 <= char[0] <= 0xD7 and char[1] >= 0xA1) or 0xA1 <= char[0] <= 0xA3)
    return common > 0.8 * len(wide)


def together(contents: Contents) -> Document:
    """What was read of the members of an archive. Raises `ReadError` where that is nothing."""
    if not contents.parts:
        reasons = "; ".join(contents.notes()[:3])
        raise ReadError(f"nothing in the archive can be read{f': {reasons}' if reasons else ''}", UNPACK)
    return assemble(contents.parts, tables=contents.tables, notes=contents.notes())
