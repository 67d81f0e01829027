"""The text of a mail, plain or HTML: which form says more, and what of it is quoted from the mails before."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from core.config import IngestConfig
from core.text import tokens
from core.types import Document
from ingest.readers.archive import Contents
from ingest.readers.markup import read_html
from ingest.readers.ocr import ocr_obstacle
from ingest.readers.text import Part, collapse, parts_of

QUOTED = "quoted"  # the last heading of what a mail repeats from others
_ADDRESS = re.compile(r"<?\b(?:https?://|mailto:)\S+")
_SMALL_PICTURE = 5_000  # bytes: a logo, a pixel that counts readers
_NO_TEXT = "no text found in the picture"
_DIVIDER = re.compile(
    r"\s*-{2,}\s*(?:original message|forwarded message|forwarded by .*|ursprüngliche nachricht|message d'origine|"
    r"mensaje original|原始邮件|原邮件|轉寄郵件|转发邮件.*|原始郵件|元のメッセージ)\s*-*\s*",
    re.I,
)
_SENDER = re.compile(r"\s*\**(?:from|von|de|da|发件人|寄件者|寄件人|差出人)\**\s*[:：]", re.I)
_SENT = re.compile(
    r"\s*\**(?:sent|date|gesendet|datum|envoyé|fecha|enviado|inviato|发送时间|发件时间|日期|時間|时间|寄件日期|送信日時)\**\s*[:：]",
    re.I,
)
_WROTE = re.compile(
    r"\s*(?:on\b.{4,200}\bwrote|am\b.{4,200}\bschrieb.{0,100}|le\b.{4,200}\ba écrit|el\b.{4,200}\bescribió|"
    r"(?:在|于).{3,200}写道|.{3,200}(?:写道|寫道|のメール))\s*[:：]\s*",
    re.I | re.S,
)


def noted(body: Document, contents: Contents) -> list[Part]:
    """The parts of a text of a message, what is quoted apart; its notes go among those of the whole."""
    contents.failures += body.notes
    contents.tables += body.tables
    return [part for own in parts_of(body) for part in _split(own)]


def mail_page(text: str, cfg: IngestConfig) -> Document:
    """An HTML text, its quotations marked with `>`."""
    return read_html(b"\xef\xbb\xbf" + text.encode("utf-8", "replace"), cfg, quotes=True)


def is_fuller(bodies: Sequence[Document], others: Sequence[Document]) -> bool:
    """Whether a form of a text says more than another: it has a table, or words that the other lacks."""
    own, other = (
        sum(char.isalnum() for body in each for char in _ADDRESS.sub("", body.text)) for each in (bodies, others)
    )
    return own > 0.5 * other if any(body.tables for body in bodies) else own > 1.3 * other + 20


def repeats(bodies: Sequence[Document], others: Sequence[Document]) -> bool:
    """Whether a form of a text says what another says, by half of its words."""
    own, other = ({word for body in each for word in tokens(body.text)} for each in (bodies, others))
    return len(other & own) >= 0.5 * len(other)


def shown_picture(name: str, data: bytes, cfg: IngestConfig, contents: Contents) -> None:
    """A picture in the text of a message, recognised; one that is too small for a text is passed over."""
    if len(data) < _SMALL_PICTURE or not contents.readable(name):
        return
    if ocr_obstacle(cfg):
        contents.failures.append(f"{name}: a picture in the text, not recognised")
        return
    before = len(contents.failures)
    contents.add(name, data)
    contents.failures[before:] = [note for note in contents.failures[before:] if not note.endswith(_NO_TEXT)]


def _split(part: Part) -> Iterator[Part]:
    """A text as it alternates between what its sender wrote and what is quoted."""
    lines = part.text.split("\n")
    start, at = 0, 0
    while at < len(lines):
        end, said = _quotation(lines, at)
        if end > at:
            yield replace(part, text="\n".join(lines[start:at]))
            text = "\n".join(re.sub(r"^(?:> ?)+(?=\|)", "", line) for line in lines[at:end])
            yield replace(part, text=text, headings=(*part.headings, f"{QUOTED}: {said}" if said else QUOTED))
            start = at = end
        else:
            at += 1
    yield replace(part, text="\n".join(lines[start:]))


def _quotation(lines: Sequence[str], at: int) -> tuple[int, str]:
    """Where a quotation that begins at a line ends, and who is quoted; the line itself where none begins."""
    line = lines[at]
    if line.lstrip().startswith(">"):
        return _marked_end(lines, at), ""
    if _DIVIDER.fullmatch(line) or (_SENDER.match(line) and any(map(_SENT.match, lines[at + 1 : at + 5]))):
        return len(lines), collapse(next((said for said in lines[at : at + 4] if _SENDER.match(said)), ""))[:80]
    for taken in (1, 2):  # a line that was broken for sending
        said = "\n".join(lines[at : at + taken])
        if len(said) < 400 and _WROTE.fullmatch(said):
            below = next((i for i in range(at + taken, len(lines)) if lines[i].strip()), len(lines))
            marked = below < len(lines) and lines[below].lstrip().startswith(">")
            return _marked_end(lines, below) if marked else len(lines), collapse(said).rstrip(":： ")[:80]
    return at, ""


def _marked_end(lines: Sequence[str], at: int) -> int:
    """Where the lines that begin with `>` end; blank lines between them belong to them."""
    end = at
    for i in range(at, len(lines)):
        if lines[i].lstrip().startswith(">"):
            end = i + 1
        elif lines[i].strip():
            break
    return end
