"""One file -> one `Document`, by the reader of its suffix, or of what its bytes say that it is.

Whatever goes wrong is a `ReadError` in plain words.
"""

import os
import stat
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

from core.config import IngestConfig
from core.errors import RagstoneError, ReadError
from core.types import Document
from ingest import plugged
from ingest.kind import is_text, kind_of, opens_readably, other_kind, suffix_of
from ingest.reach import Reach
from ingest.readers.archive import Contents, budget_of, read_zip
from ingest.readers.captions import read_captions, read_translations
from ingest.readers.cards import read_cards
from ingest.readers.code import read_code
from ingest.readers.embedded import with_embedded
from ingest.readers.epub import read_epub
from ingest.readers.image import read_image
from ingest.readers.latex import read_latex
from ingest.readers.legacy import read_doc, read_xls
from ingest.readers.legacy_slides import read_ppt
from ingest.readers.mail import read_eml, read_mbox
from ingest.readers.markdown import read_markdown
from ingest.readers.markup import read_html
from ingest.readers.notebook import read_notebook
from ingest.readers.ofd import read_ofd
from ingest.readers.office import read_docx
from ingest.readers.office_xml import read_xml_file
from ingest.readers.opendocument import read_odp, read_odt
from ingest.readers.outline_text import read_asciidoc, read_org, read_rst
from ingest.readers.outlook import read_msg, read_tnef
from ingest.readers.packed import read_packed, read_tar
from ingest.readers.pdf import read_pdf
from ingest.readers.record import read_json, read_json_lines
from ingest.readers.rtf import read_rtf
from ingest.readers.saved_page import read_saved_page, read_web_archive
from ingest.readers.slides import read_pptx
from ingest.readers.table import read_delimited, read_sheets
from ingest.readers.text import read_text

Reader = Callable[[bytes, IngestConfig], Document]
Container = Callable[[bytes, IngestConfig, Contents], Document]  # of a file that holds files

_CLOSED: tuple[tuple[str, str, str], ...] = (  # suffixes without a reader: what they are, what to do
    (
        ".caj .kdh .nh .ceb .cebx",
        "CAJ and CEB are closed formats, which only their own viewers open",
        "open it in CAJViewer or Apabi Reader, print it to a PDF, and index that",
    ),
    (".7z .rar", "7z and RAR archives are not unpacked", "unpack it into the folder, or pack it as .zip"),
    (".pages .numbers .key", "iWork files are not read", "export it from its program as .docx, .xlsx, .pptx or .pdf"),
    (".one .onepkg", "OneNote files are not read", "export the notebook from OneNote as .docx or .pdf"),
    (".chm", "compiled help (CHM) is not read", "unpack it (hh -decompile, or 7-Zip) and index its pages"),
    (".mobi .azw .azw3 .prc", "Kindle books are not read", "save it as .epub, with calibre for example"),
    (".hwp .hwpx", "Hangul documents are not read", "save it as .docx or .pdf from Hancom Office or LibreOffice"),
    (".wpd .wri .sxw .abw", "documents of this old kind are not read", "save it as .docx or .odt from LibreOffice"),
    (".pst .ost", "Outlook data files are not read", "export the mails as .eml or .msg, or the folder as .mbox"),
    (".vsd .vsdx .mpp .pub .xps .oxps", "this kind of file is not read", "export it as .pdf, and index that"),
)


def _refusing(what: str, hint: str) -> Reader:
    """The reader of a kind that is not read: the file is named, with what to do."""

    def refuse(data: bytes, cfg: IngestConfig) -> Document:
        raise ReadError(what, hint)

    return refuse


_READERS: tuple[tuple[Reader, str], ...] = (
    (
        read_text,
        ".txt .text .log .bib .yaml .yml .toml .ini .cfg .conf .properties",
    ),
    (read_captions, ".vtt .srt .ass .ssa .lrc"),
    (read_rst, ".rst .rest"),
    (read_asciidoc, ".adoc .asciidoc"),
    (read_org, ".org"),
    (read_latex, ".tex .latex"),
    (read_cards, ".ics .vcf"),
    (read_translations, ".po .pot"),
    (read_markdown, ".md .markdown .mdx"),
    (read_html, ".html .htm .xhtml"),
    (read_saved_page, ".mhtml .mht"),
    (read_web_archive, ".webarchive"),
    (read_xml_file, ".xml .svg .dbk .tei .jats .nxml .fods .fb2"),
    (read_image, ".png .jpg .jpeg .tif .tiff .bmp .webp .gif .jp2"),
    (read_epub, ".epub"),
    (read_docx, ".docx .docm .dotx .dotm"),
    (read_pptx, ".pptx .pptm .ppsx .ppsm .potx"),
    (read_sheets, ".xlsx .xlsm .xlsb .xltx .xltm .ods"),
    (read_odt, ".odt .ott .fodt"),
    (read_odp, ".odp .otp .fodp"),
    (read_rtf, ".rtf"),
    (read_ofd, ".ofd"),
    *((_refusing(what, hint), suffixes) for suffixes, what, hint in _CLOSED),
    (read_doc, ".doc .dot .wps .wpt"),
    (read_ppt, ".ppt .pps .pot .dps"),
    (read_xls, ".xls .xlt .et"),
    (read_notebook, ".ipynb"),
    (read_delimited, ".csv .tsv"),
    (read_json, ".json .geojson"),
    (read_json_lines, ".jsonl .ndjson"),
    (
        read_code,
        ".py .pyi .js .mjs .cjs .jsx .ts .tsx .vue .svelte .java .kt .kts .scala .groovy .gradle .go .rs .c .h .cc "
        ".cpp .cxx .hpp .hh .cs .fs .vb .m .mm .swift .dart .rb .php .pl .pm .lua .r .jl .hs .ex .exs .erl .clj .el "
        ".sh .bash .zsh .fish .ps1 .psm1 .bat .cmd .sql .proto .graphql .thrift .css .scss .less .tf .cmake",
    ),
)
_CONTAINERS: tuple[tuple[Container, str], ...] = (
    (read_zip, ".zip"),
    (read_tar, ".tar"),
    (read_packed, ".gz .tgz .bz2 .tbz .tbz2 .xz .txz"),
    (read_pdf, ".pdf"),
    (read_eml, ".eml"),
    (read_mbox, ".mbox"),
    (read_msg, ".msg"),
    (read_tnef, ".tnef"),
)
_PLAIN = {suffix: reader for reader, suffixes in _READERS for suffix in suffixes.split()}
_HOLDING = {suffix: reader for reader, suffixes in _CONTAINERS for suffix in suffixes.split()}
_READS: dict[str, Reader | Container] = {**_PLAIN, **_HOLDING}
_REFUSED = frozenset(suffix for suffixes, _, _ in _CLOSED for suffix in suffixes.split())
SUFFIXES = frozenset((*_PLAIN, *_HOLDING))
# Formats that hold text as it is: one that looks like a web page or a mail may well be a note about one.
_TEXTS = frozenset(
    suffix
    for suffix in SUFFIXES
    if _PLAIN.get(suffix) in (
        read_text, read_captions, read_markdown, read_html, read_xml_file, read_saved_page, read_code, read_delimited,
        read_json, read_json_lines, read_notebook, read_odt, read_odp, read_rst, read_asciidoc, read_org, read_latex,
        read_cards, read_translations,
    ) or suffix in (".eml", ".mbox")
)  # fmt: skip
_PACKAGES = (read_docx, read_pptx, read_sheets)  # that may hold files as objects
_RESTORE = "restore it from a copy, or leave it out with ingest.exclude"


class _Known:
    """The suffixes that have a reader, of ours or of others, who are looked for where we have none."""

    def __init__(self, cfg: IngestConfig) -> None:
        self.cfg = cfg

    def __contains__(self, suffix: object) -> bool:
        return suffix in SUFFIXES or suffix in plugged.readers(self.cfg)


def supported(path: str | Path, cfg: IngestConfig) -> bool:
    """Whether there is a reader for a file: for its suffix, or, where it has none, for what it begins with."""
    suffix = suffix_of(str(path))
    return suffix in _Known(cfg) if suffix else opens_readably(path, lambda head: bool(plugged.begins(head, cfg)))


def read_file(path: Path, cfg: IngestConfig) -> Document:
    """Read one file. Raises `ReadError`, which does not repeat the path, where no text can be had from it."""
    return read_bytes(path.name, load_file(path, cfg), cfg)


def read_bytes(name: str, data: bytes, cfg: IngestConfig, ocr_pages: Iterable[int] = ()) -> Document:
    """Read the bytes of a file by the reader of its name's suffix. Raises `ReadError` as `read_file` does.

    `ocr_pages`: pages of a PDF that are read by OCR whatever text they hold.
    """
    suffix = suffix_of(name) or kind_of(data) or plugged.begins(data, cfg) or (".txt" if is_text(data) else "")
    if suffix not in _Known(cfg):
        message = f"no reader for {suffix or 'files without a suffix'}"
        raise ReadError(message, f"known are {' '.join(sorted(SUFFIXES))}")
    contents = Contents(cfg, _read, _Known(cfg), budget_of(data, cfg), name, ocr_pages=frozenset(ocr_pages))
    return _read(data, suffix, contents)


def _kind(data: bytes, suffix: str) -> str:
    """The suffix whose reader reads a file: its own, unless its bytes say otherwise."""
    found = other_kind(data, suffix, _TEXTS)
    if found == ".zip" and suffix in _REFUSED:  # what of such a package can be read is no document
        return suffix
    return found if found in SUFFIXES and _READS[found] is not _READS[suffix] else suffix


def _read(data: bytes, suffix: str, contents: Contents) -> Document:
    """Read a file, or one that lies in another, by its suffix; one that holds files puts them into `contents`."""
    cfg = contents.cfg
    given, others = suffix, plugged.reader_of(suffix, cfg, suffix in SUFFIXES)
    try:
        suffix = suffix if others else _kind(data, suffix)
        if others:
            document = plugged.read(data, suffix, others, cfg)
        elif suffix not in _HOLDING:
            document = _PLAIN[suffix](data, cfg)
            document = with_embedded(data, document, contents) if _PLAIN[suffix] in _PACKAGES else document
        elif suffix == ".pdf" or contents.depth <= cfg.archive_depth:  # the pages of one are there at any depth
            document = _HOLDING[suffix](data, cfg, contents)
        else:
            raise ReadError("nested too deeply", "raise ingest.archive_depth, or unpack it into the folder")
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
    if suffix != given:
        document = replace(document, notes=(f"read as {suffix}, which its first bytes say it is", *document.notes))
    return document


def load_file(path: Path, cfg: IngestConfig, reach: Reach | None = None) -> bytes:
    """The bytes of a file, where that lies within reach. Raises `ReadError` where it is too large, empty, no regular
    file, or cannot be read.
    """
    limit = cfg.max_file_mb * 1_000_000
    try:
        info = path.stat() if cfg.follow_symlinks else path.lstat()
        if stat.S_ISLNK(info.st_mode):  # by now: the scan leaves them out
            raise ReadError("a symbolic link", "set ingest.follow_symlinks = true")
        if stat.S_ISDIR(info.st_mode):
            raise ReadError("a folder, not a file", "rename the folder, or leave it out with ingest.exclude")
        if not stat.S_ISREG(info.st_mode):  # reading a pipe would wait for ever
            raise ReadError("not a regular file but a pipe, socket or device", "leave it out with ingest.exclude")
        if info.st_size > limit:
            raise _too_large(info.st_size, cfg)
        with os.fdopen(os.open(path, os.O_RDONLY | (0 if cfg.follow_symlinks else os.O_NOFOLLOW)), "rb") as handle:
            if reach:
                reach.check(handle.fileno(), path)
            data = handle.read(limit + 1)
    except FileNotFoundError:
        raise ReadError("disappeared between the scan and the read", "run the same command again") from None
    except PermissionError:
        hint = "give the user that runs ragstone read permission (chmod u+r)"
        raise ReadError("no permission to read", hint) from None
    except OSError as error:
        hint = "check the file and its disk"
        raise ReadError(f"cannot be read: {error.strerror or error}", hint, transient=True) from None
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
