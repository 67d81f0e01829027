"""Subtitles and tables of translations -> what is read on the screen, without times, styling and numbers.

Sources: WebVTT (W3C), SubRip, Advanced SubStation Alpha 4.00+, LRC; PO files (GNU gettext manual, 10).
"""

import ast
import re

from core.config import IngestConfig
from core.types import Document, Section
from ingest.readers.encoding import decode
from ingest.readers.text import clean, collapse

_CUE = re.compile(r"(?:^[^\n]*\n)?^[^\n]*\d\d:\d\d[.,]\d{3} --> [^\n]*\n", re.M)
_CUE_TAG = re.compile(r"</?(?:[biuvc]|ruby|rt|lang|font)\b[^<>\n]*>|<\d\d:\d\d[^<>\n]*>|\{\\[^{}\n]*\}")
_SCRIPT = re.compile(r"^\[Script Info\]|^\[V4\+? Styles\]|^Dialogue:", re.M | re.I)
_DRAWING = re.compile(r"\{[^{}\n]*\\p[1-9]")
_OVERRIDE = re.compile(r"\{[^{}\n]*\}")
_SCRIPT_BREAK = re.compile(r"\\[Nn]|\\h")
_SUNG = re.compile(r"^[^\S\n]*(?:\[\d+:\d\d(?:[.:]\d+)?\][^\S\n]*)+", re.M)
_WORD_TIME = re.compile(r"<\d+:\d\d(?:[.:]\d+)?>[^\S\n]?")
_ABOUT = re.compile(r"^\[(ti|ar|al|au|by|offset|length|re|ve|la|#):([^\]\n]*)\][^\S\n]*$", re.M | re.I)
_ENTRY = re.compile(r'^(msgctxt|msgid_plural|msgid|msgstr)(?:\[\d+\])?\s+(".*")\s*$')


def read_captions(data: bytes, cfg: IngestConfig) -> Document:
    """Subtitles (.vtt, .srt, .ass) and lyrics (.lrc) without numbers, times and styling: sentences run on over cues."""
    text, encoding = decode(data, cfg)
    text = re.sub(r"\AWEBVTT[^\n]*\n", "", clean(text) + "\n")
    title = ""
    if _SCRIPT.search(text):
        text = _dialogue(text)
    elif _SUNG.search(text):
        stated = {key.lower(): value.strip() for key, value in _ABOUT.findall(text)}
        title = stated.get("ti", "")
        text = "\n".join(filter(None, (title, stated.get("ar", "")))) + "\n" + _ABOUT.sub("", text)
        text = _WORD_TIME.sub("", _SUNG.sub("", text))
    lines = _CUE_TAG.sub("", _CUE.sub("", text)).split("\n")
    text = "\n".join(line for line in lines if line.strip())
    return Document(text, title, (Section(0, len(text)),), encoding=encoding)


def _dialogue(text: str) -> str:
    """The lines of a script that are spoken; which of its columns is the text, the script says itself."""
    columns, spoken = 10, list[str]()
    events = False
    for line in text.split("\n"):
        key, _, value = line.partition(":")
        if line.startswith("["):
            events = line.strip().lower() == "[events]"
        elif events and key.strip().lower() == "format":
            columns = len(value.split(","))
        elif key.strip().lower() == "dialogue" and not _DRAWING.search(value):
            said = value.split(",", columns - 1)[-1]
            spoken.append(collapse(_SCRIPT_BREAK.sub("\n", _OVERRIDE.sub("", said))))
    return "\n".join(spoken)


def read_translations(data: bytes, cfg: IngestConfig) -> Document:
    """A table of translations: `text = translation` a line. What is unsure (fuzzy) or no longer used is left out."""
    text, encoding = decode(data, cfg)
    lines: list[str] = []
    entry: dict[str, str] = {}
    last, fuzzy = "", False
    for line in [*clean(text).split("\n"), ""]:
        found = _ENTRY.match(line)
        if found and (found[1] in ("msgctxt", "msgid") and "msgid" in entry and last.startswith("msgstr")):
            lines += _translated(entry, fuzzy)
            entry, fuzzy = {}, False
        if found:
            last = line.split(None, 1)[0]
            entry[last] = _quoted(found[2])
        elif line.startswith('"') and last:
            entry[last] += _quoted(line.strip())
        elif line.startswith("#,") and "fuzzy" in line:
            lines += _translated(entry, fuzzy)
            entry, last, fuzzy = {}, "", True
        elif not line.strip() and entry:
            lines += _translated(entry, fuzzy)
            entry, last, fuzzy = {}, "", False
    text = "\n".join(lines)
    return Document(text, "", (Section(0, len(text)),), encoding=encoding)


def _translated(entry: dict[str, str], fuzzy: bool) -> list[str]:
    said = entry.get("msgid", "")
    if not said:  # the head of the file
        return []
    others = [entry[key] for key in entry if key.startswith("msgstr") and entry[key] and not fuzzy]
    left = " / ".join(filter(None, (said, entry.get("msgid_plural", ""))))
    context = f" ({entry['msgctxt']})" if entry.get("msgctxt") else ""
    return [collapse(f"{left}{context} = {' / '.join(others)}" if others else left + context)]


def _quoted(text: str) -> str:
    try:
        said = ast.literal_eval(text)  # a C string without concatenation reads as one of Python
    except (SyntaxError, ValueError):
        return text.strip('"')
    return said if isinstance(said, str) else text
