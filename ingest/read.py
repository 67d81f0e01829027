"""One file -> one `Document`, by the reader of its suffix; whatever goes wrong is a `ReadError` in plain words."""

import stat
from collections.abc import Callable
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

from core.config import IngestConfig
from core.errors import RagstoneError, ReadError
from core.types import Document
from ingest.readers.markdown import read_markdown
from ingest.readers.markup import read_html, read_xml
from ingest.readers.office import read_docx
from ingest.readers.pdf import read_pdf
from ingest.readers.record import read_json, read_json_lines
from ingest.readers.slides import read_pptx
from ingest.readers.table import read_delimited, read_sheets
from ingest.readers.text import read_captions, read_text

Reader = Callable[[bytes, IngestConfig], Document]

_READERS: tuple[tuple[Reader, str], ...] = (
    (read_text, ".txt .text .log .rst .org .yaml .yml .toml .ini .cfg"),
    (read_captions, ".vtt .srt"),
    (read_markdown, ".md .markdown .mdx"),
    (read_html, ".html .htm .xhtml"),
    (read_xml, ".xml"),
    (read_pdf, ".pdf"),
    (read_docx, ".docx .docm"),
    (read_pptx, ".pptx .pptm"),
    (read_sheets, ".xlsx .xlsm .xls .ods"),
    (read_delimited, ".csv .tsv"),
    (read_json, ".json .geojson"),
    (read_json_lines, ".jsonl .ndjson"),
)
SUFFIXES: dict[str, Reader] = {suffix: reader for reader, suffixes in _READERS for suffix in suffixes.split()}
_RESTORE = "restore it from a copy, or leave it out with ingest.exclude"


def supported(path: str | Path) -> bool:
    """Whether there is a reader for files of this name."""
    return Path(path).suffix.lower() in SUFFIXES


def read_file(path: Path, cfg: IngestConfig) -> Document:
    """Read one file. Raises `ReadError`, which does not repeat the path, where no text can be had from it."""
    suffix = path.suffix.lower()
    reader = SUFFIXES.get(suffix)
    if reader is None:
        raise ReadError(f"no reader for {suffix or 'files without a suffix'}", f"known are {' '.join(SUFFIXES)}")
    data = _load(path, cfg)
    try:
        document = reader(data, cfg)
    except RagstoneError:
        raise
    except MemoryError:
        raise ReadError("not enough memory to read it", "split the file, or lower ingest.max_file_mb") from None
    except RecursionError:
        raise ReadError(f"damaged {suffix} file: nested too deeply", _RESTORE) from None
    except (BadZipFile, ZlibError, KeyError) as error:  # a package with a broken or a missing member
        raise ReadError(f"damaged {suffix} file: {_words(error)}", _RESTORE) from error
    except Exception as error:
        # Parsers meet hostile bytes here, and lxml, python-docx, python-pptx and calamine let nearly every type
        # through: ValueError, TypeError, AttributeError, IndexError, XMLSyntaxError. One bad file must not end a run.
        kind = type(error).__name__
        raise ReadError(f"damaged {suffix} file: {kind}: {_words(error)}", _RESTORE) from error
    if not document.text.strip():
        raise ReadError("no text in it", "there is nothing to index; leave it out with ingest.exclude")
    return document


def _load(path: Path, cfg: IngestConfig) -> bytes:
    limit = cfg.max_file_mb * 1_000_000
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise ReadError("a folder, not a file", "rename the folder, or leave it out with ingest.exclude")
        if not stat.S_ISREG(info.st_mode):  # reading a pipe would wait for ever
            raise ReadError("not a regular file but a pipe, socket or device", "leave it out with ingest.exclude")
        if info.st_size > limit:
            raise _too_large(info.st_size, cfg)
        with path.open("rb") as handle:
            data = handle.read(limit + 1)
    except FileNotFoundError:
        raise ReadError("disappeared between the scan and the read", "run the same command again") from None
    except PermissionError:
        hint = "give the user that runs ragstone read permission (chmod u+r)"
        raise ReadError("no permission to read", hint) from None
    except OSError as error:
        raise ReadError(f"cannot be read: {error.strerror or error}", "check the file and its disk") from None
    if len(data) > limit:  # it grew meanwhile
        raise _too_large(len(data), cfg)
    if not data:
        raise ReadError("the file is empty", "0 bytes: restore it, or leave it out with ingest.exclude")
    return data


def _too_large(size: int, cfg: IngestConfig) -> ReadError:
    message = f"too large: {size / 1e6:,.1f} MB, the limit is {cfg.max_file_mb} MB"
    return ReadError(message, "raise ingest.max_file_mb in config.toml, or split the file")


def _words(error: Exception) -> str:
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    return text[:200] or type(error).__name__
