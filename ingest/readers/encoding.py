"""Bytes of a text file -> characters and the name of their encoding; bytes that are no text are refused.

Order of evidence: byte order mark, valid UTF-8, UTF-16 by its zero bytes, what the file declares (HTML, XML),
`ingest.encodings`, chardet, and at the end cp1252. Chinese files are often too short for statistics alone.
"""

import codecs
import re

from core.config import IngestConfig
from core.errors import ConfigError, ReadError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it starts with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (b"\x84\x31\x95\x33", "gb18030"),
)
# Names as they are declared or guessed -> the codec that reads the most of what is called so in practice.
_WIDER = {
    "gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030", "x-gbk": "gb18030", "gb_2312-80": "gb18030",
    "hz-gb-2312": "hz", "big5": "big5hkscs", "big5-hkscs": "big5hkscs", "x-x-big5": "big5hkscs", "cp950": "big5hkscs",
    "shift_jis": "cp932", "shift-jis": "cp932", "sjis": "cp932", "x-sjis": "cp932",
    "euc-kr": "cp949", "ks_c_5601-1987": "cp949",
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "ascii": "cp1252", "us-ascii": "cp1252",
    "iso-8859-9": "cp1254", "tis-620": "cp874",
}  # fmt: skip
_PAGES = {
    936: "gb18030", 54936: "gb18030", 950: "big5hkscs", 1361: "johab", 10000: "mac_roman", 20127: "cp1252",
    20866: "koi8_r", 28591: "cp1252", 50220: "iso2022_jp", 51932: "euc_jp", 51949: "euc_kr", 65001: "utf-8",
}  # fmt: skip
_EAST_ASIAN = frozenset(("gb18030", "big5hkscs", "cp932", "cp949", "euc-jp", "euc-tw"))
_SIGNATURES = (
    (b"%PDF-", "a PDF"),
    (b"PK\x03\x04", "a zip archive or an Office document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old or encrypted Office document"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"{\\rtf", "an RTF document"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"SQLite format 3", "an SQLite database"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"<", "a web page or an XML file"),
)
_CONTROL = re.compile("[\x00-\x08\x0e-\x1a\x1c-\x1f\ufffd]")
_PLAUSIBLE = re.compile("[\t\n\r -~\u00a0-\u024f\u0370-\u05ff\u2010-\u2044\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]")
_FOREIGN = re.compile("[\u0370-\u0fff]")
_FOREIGN_IN_LATIN = re.compile("(?<=[A-Za-z])[\u0370-\u0fff]|[\u0370-\u0fff](?=[A-Za-z])")
_DECLARED = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w:.-]+)|^\s*<\?xml[^>]*?encoding=["']([\w.-]+)""")
_SAMPLE = 65_536


def decode(data: bytes, cfg: IngestConfig, markup: bool = False) -> tuple[str, str]:
    """The characters of a text file and the encoding they were read with; `markup` looks for a declared one.

    Bytes that the encoding does not know become U+FFFD. Raises `ReadError` where the bytes are not text.
    """
    text, encoding = _decode(data, cfg, markup)
    strange = sum(1 for _ in _CONTROL.finditer(text, 0, 1_000_000))
    # Compressed or machine data has a control character in ten; valid UTF text with some is text all the same.
    if strange > (0.4 if encoding.startswith("utf") else 0.04) * min(len(text), 1_000_000):
        kind = signature(data)
        raise ReadError(
            f"not a text file: it looks like {kind}" if kind else "not a text file: it holds binary data",
            "give the file the suffix of what it is, or leave it out with ingest.exclude",
        )
    return text, encoding


def decode_as(data: bytes, name: str, cfg: IngestConfig) -> str:
    """Text whose encoding is declared beside it, as in a mail; a name that is unknown or does not fit is ignored."""
    encoding = _WIDER.get(name.lower(), name.lower())
    try:
        text = _strict(data, encoding) if encoding != "cp1252" else None  # which fits everything and proves nothing
    except (LookupError, ValueError):  # no encoding of text, or a name with characters that no name has
        text = None
    return decode(data, cfg)[0] if text is None else text


def code_page(number: int) -> str:
    """The codec of a Windows code page; empty if there is none."""
    name = _PAGES.get(number, f"cp{number}")
    try:
        codecs.lookup(name)
    except LookupError:
        return ""
    return name


def signature(data: bytes) -> str:
    """What kind of file the first bytes say this is, in words; empty if they say nothing."""
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), "")


def _decode(data: bytes, cfg: IngestConfig, markup: bool) -> tuple[str, str]:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, "replace"), encoding
    utf8 = _strict(data, "utf-8")
    if utf8 is not None:
        if len(utf8) < len(data):  # it holds multi-byte characters, which nothing but UTF-8 forms by chance
            return utf8, "utf-8"
        seven_bit = _seven_bit(data)
        if seven_bit:
            return seven_bit
    if b"\0" in data[:_SAMPLE]:
        wide = _utf16(data)
        if wide:
            return wide
    if utf8 is not None:
        return utf8, "utf-8"
    return _declared(data, markup) or _configured(data, cfg) or _mostly_utf8(data) or _mixed(data) or _guessed(data)


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _seven_bit(data: bytes) -> tuple[str, str] | None:
    """HZ and ISO-2022, which write Chinese or Japanese in ASCII bytes."""
    if b"~{" not in data and b"\x1b$" not in data:
        return None
    import chardet

    guess = (chardet.detect(data)["encoding"] or "").lower()
    encoding = _WIDER.get(guess, guess)
    if encoding != "hz" and not encoding.startswith("iso-2022"):
        return None
    text = _strict(data, encoding)
    return (text, encoding) if text is not None else None


def _utf16(data: bytes) -> tuple[str, str] | None:
    """UTF-16 without a mark: one byte order gives ordinary characters and no U+0000."""
    for encoding in ("utf-16-le", "utf-16-be"):
        sample = data[:_SAMPLE].decode(encoding, "replace")
        if sample and "\0" not in sample and len(_PLAUSIBLE.findall(sample)) >= 0.9 * len(sample):
            return data.decode(encoding, "replace"), encoding
    return None


def _declared(data: bytes, markup: bool) -> tuple[str, str] | None:
    found = _DECLARED.search(data[:_SAMPLE].lower()) if markup else None
    if not found:
        return None
    name = (found[1] or found[2]).decode("ascii")
    encoding = _WIDER.get(name, name)
    try:
        codecs.lookup(encoding)
        text = _strict(data, encoding)
    except LookupError:  # an unknown name, or a codec that is no text encoding
        return None
    if text is None or "utf" in encoding:  # that it is no UTF is known by now
        return None
    if encoding == "cp1252":  # what editors declare unasked
        _, guess = _guessed(data[: found.start()] + data[found.end() :])  # chardet believes declarations
        better = _strict(data, guess) if guess in _EAST_ASIAN else None
        return (better, guess) if better is not None else (text, encoding)
    return text, encoding


def _configured(data: bytes, cfg: IngestConfig) -> tuple[str, str] | None:
    for name in cfg.encodings:
        encoding = _WIDER.get(name.lower(), name)
        try:
            text = _strict(data, encoding)
        except LookupError:
            hint = "use names such as gb18030, big5, shift_jis, cp1252"
            raise ConfigError(f"ingest.encodings: unknown encoding {name!r}", hint) from None
        if text is not None:
            return text, encoding
    return None


def _mostly_utf8(data: bytes) -> tuple[str, str] | None:
    """UTF-8 with a few broken bytes (cut in a character, a stray byte): no other encoding looks like it."""
    for part in (data[:_SAMPLE], data):  # most files show it at once
        text = part.decode("utf-8", "replace")
        bad = text.count("\ufffd")
        good = len(re.findall("[^\x00-\x7f\ufffd]", text))
        if good < 20 * (bad - 1) or (part is data and good < 20 * bad):  # the sample may end within a character
            return None
    return data.decode("utf-8", "replace"), "utf-8"


def _mixed(data: bytes) -> tuple[str, str] | None:
    """UTF-8 lines beside lines of another encoding, as in a log that two programs wrote."""
    lines = data.split(b"\n")
    texts = [_strict(line, "utf-8") for line in lines]
    proven = sum(1 for text, line in zip(texts, lines, strict=True) if text and len(line) >= len(text) + 16)
    others = [line for text, line in zip(texts, lines, strict=True) if text is None]
    if not proven or proven * 4 < len(others):
        return None
    read, encoding = _guessed(b"\n".join(others))
    rest = iter(read.split("\n"))
    return "\n".join(next(rest, "") if text is None else text for text in texts), f"utf-8+{encoding}"


def _guessed(data: bytes) -> tuple[str, str]:
    import chardet
    from chardet import EncodingEra

    eras = EncodingEra.MODERN_WEB | EncodingEra.LEGACY_ISO | EncodingEra.LEGACY_REGIONAL
    guess = chardet.detect(data, encoding_era=eras, prefer_superset=True)["encoding"]
    if guess is None:  # chardet takes UTF-16 without a single zero byte for binary data
        wide = _utf16(data)
        if wide:
            return wide
    encoding = _WIDER.get((guess or "").lower(), (guess or "cp1252").lower())
    text = data.decode(encoding, "replace")
    foreign = len(_FOREIGN.findall(text))
    # "cafй": French or German taken for Russian or Greek, whose letters do not stand among Latin ones.
    if text.count("\ufffd") * 50 > len(text) or (foreign and 2 * len(_FOREIGN_IN_LATIN.findall(text)) > foreign):
        return data.decode("cp1252", "replace"), "cp1252"
    return text, encoding
