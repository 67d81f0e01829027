"""Tar archives, and files packed by gzip, bzip2 or xz -> one document, within the limits of zip archives (archive.py).

Links, devices and pipes in a tar archive are named and never followed. Source: POSIX.1-2017 pax, RFC 1952 (gzip).
"""

import bz2
import gzip
import lzma
import tarfile
from io import BytesIO
from zlib import error as ZlibError

from core.config import IngestConfig
from core.errors import ReadError
from core.types import Document
from ingest.kind import is_text, kind_of, suffix_of
from ingest.readers.archive import MAX_MEMBERS, UNPACK, Contents, paths_of, together, wanted_of

_SHORT = {".tgz": ".tar", ".tbz": ".tar", ".tbz2": ".tar", ".txz": ".tar"}
_PACKED = (".gz", ".bz2", ".xz")


def read_tar(data: bytes, cfg: IngestConfig, contents: Contents) -> Document:
    """Every member of a tar archive that has a reader; its path stands before the headings of its sections."""
    _allowed(cfg)
    members: list[tarfile.TarInfo] = []
    seen = others = 0
    try:
        archive = tarfile.TarFile(fileobj=BytesIO(data), encoding="utf-8", errors="surrogateescape")
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:  # its first member is read here
        raise ReadError(f"damaged tar archive ({error})", "restore it from a copy") from None
    try:
        while member := archive.next():
            seen += 1
            if seen > MAX_MEMBERS or member.size < 0:
                raise ReadError(f"a tar archive of more than {MAX_MEMBERS:,} members, or a damaged one", UNPACK)
            if member.isreg():
                members.append(member)
            elif not member.isdir():
                others += 1
    except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
        if not members:
            raise ReadError(f"damaged tar archive ({error})", "restore it from a copy") from None
        contents.failures.append(f"the archive is damaged, what follows was not read ({error})")
    names = paths_of([member.name.encode("utf-8", "surrogateescape") for member in members], cfg, "utf-8")
    for name, member in wanted_of(zip(names, members, strict=True), contents):
        try:
            packed = archive.extractfile(member)
            content = contents.unpack(packed) if packed else b""
        except (tarfile.TarError, EOFError, OSError, ValueError, OverflowError) as error:
            contents.failures.append(f"{name}: damaged ({error})")
            continue
        if len(content) < member.size:
            contents.failures.append(f"{name}: damaged (cut short)")
        else:
            contents.add(name, content)
    if others:
        contents.failures.append(f"{others} links or devices in the archive were left out")
    return together(contents)


def read_packed(data: bytes, cfg: IngestConfig, contents: Contents) -> Document:
    """The one file that is packed in a .gz, .bz2 or .xz, or the members of the tar archive that is."""
    _allowed(cfg)
    try:
        content = contents.unpack(_opened(data))
    except (OSError, EOFError, ZlibError, lzma.LZMAError, ValueError) as error:
        raise ReadError(f"damaged packed file ({error})", "restore it from a copy") from None
    if not content:
        raise ReadError("an empty file is packed in it", "leave it out with ingest.exclude")
    name = _name(contents.name)
    suffix = suffix_of(name)
    found = kind_of(content)
    if found == ".tar":
        return read_tar(content, cfg, contents)
    if suffix not in contents.suffixes:
        name, suffix = name or "file", found or (".txt" if is_text(content) and not suffix else suffix)
    if suffix not in contents.suffixes:
        raise ReadError(f"no reader for {suffix or 'the kind of file'} that is packed in it", UNPACK)
    contents.add(name, content, suffix)
    return together(contents)


def _allowed(cfg: IngestConfig) -> None:
    if not cfg.archive_files:
        raise ReadError("archives are left out", "raise ingest.archive_files to read what is in them")


def _opened(data: bytes) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    if data.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=BytesIO(data))
    return bz2.BZ2File(BytesIO(data)) if data.startswith(b"BZh") else lzma.LZMAFile(BytesIO(data))


def _name(packed: str) -> str:
    """The name of a file without what packing has put behind it."""
    name = packed.replace("\\", "/").rpartition("/")[2]
    stem, suffix = name[: -len(suffix_of(name)) or None], suffix_of(name)
    return stem + _SHORT[suffix] if suffix in _SHORT else stem if suffix in _PACKED else name
