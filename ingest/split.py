"""Document -> chunks, with llama-index's sentence packer over our own sentence ends and the embedder's tokens.

Small sections are read together, large ones are cut at sentence ends into pieces of even size; a chunk never crosses
a page. `document.text[chunk.start:chunk.end] == chunk.text`, and every character that is not white space is in a chunk.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING

from core.config import IngestConfig
from core.text import language, sentences
from core.types import Chunk, Document, Section

if TYPE_CHECKING:
    from llama_index.core.node_parser import SentenceSplitter

SPLITTER = "sections-sentences-6"

# llama-index drops what its clause expression does not match, so this one matches every character.
_CLAUSE = r"[^,，、;；:：]+[,，、;；:：]*|[,，、;；:：]+"
_NOISE = 200  # characters
_FEW_WORDS, _FEW_CHARACTERS = 3, 6  # in all of a text; characters are Chinese ones
_LETTERS = re.compile(r"[^\W\d_]+")
_ENCODED = re.compile(r"[A-Za-z0-9+/=_-]{40,}")
_MIXED = re.compile(r"\d[A-Za-z]|[A-Za-z]\d|[a-z][A-Z]{2}")
_ARTICLE = re.compile(
    r"^[\s#>*_]*(第[零〇一二三四五六七八九十百千万两\d]+条|(?:Article|Clause|Section|§) ?\d+(?:\.\d+)*)", re.MULTILINE
)
_ITEM = re.compile(r"\s*(?:[-*+•·▪●–—]\s|[(（]?(?:\d{1,3}|[a-z]|[ivx]{1,5}|[一二三四五六七八九十]{1,3})[.)）、．]\s?)")
_FAR = 20_000  # characters before a chunk that are looked at
_LONGEST_LEAD = 200  # characters
_LONGEST_TITLE, _TITLE_LINES = 100, 4  # characters of a line of a table's title; lines
_ENDS = (".", "。", ";", "；", "!", "?", "！", "？")
_LONG_RUN = 400  # characters without a space; longer runs (base64, minified code) are cut before they are measured


def split(document: Document, cfg: IngestConfig, count_tokens: Callable[[str], int]) -> list[Chunk]:
    """Cut a document into chunks of at most `cfg.chunk_tokens` tokens (before overlap is added in front)."""
    chunks: list[Chunk] = []
    for block in _merge_small(document, cfg.chunk_tokens, count_tokens):
        for start, end in _pieces(document.text, block, cfg, count_tokens):
            text = document.text[start:end]
            headings = block.headings + _above(
                document.text[max(block.start, start - _FAR) : start], text, block.headings
            )
            tongue = "und" if says_nothing(text) else language(text)
            chunks.append(Chunk(len(chunks), start, end, text, headings, block.page, tongue, count_tokens(text)))
    return chunks


def says_nothing(text: str) -> bool:
    """Whether a text is found by its words alone: one word over and over, bare figures, encoded data.

    >>> says_nothing("word " * 100), says_nothing("A sentence of several words stands here. " * 10)
    (True, False)
    """
    if len(text) < _NOISE:
        return False
    sample = text[:4000]
    distinct = {word.casefold() for word in _LETTERS.findall(sample)}
    if len(distinct) <= _FEW_WORDS and sum(c > "\u2e7f" for c in set("".join(distinct))) <= _FEW_CHARACTERS:
        return True
    encoded = sum(len(run) for run in _ENCODED.findall(sample) if _MIXED.search(run))
    return encoded > 0.6 * sum(map(len, sample.split()))


def _above(before: str, text: str, headings: tuple[str, ...]) -> tuple[str, ...]:
    """What a chunk needs that stands before it: its article's number, its table's title, what leads into its list."""
    if not before.strip():
        return ()
    found: list[str] = []
    if not _ARTICLE.match(text):
        numbers = _ARTICLE.findall(before)
        found += [numbers[-1]] if numbers and not any(numbers[-1] in heading for heading in headings) else []
    if text.startswith("|") and (title := _title_of_table(before)) and title not in headings:
        found.append(title)
    if (_ITEM.match(text) or _goes_on(before)) and (lead := _lead_in(before)) and lead not in headings:
        found.append(lead)
    return tuple(found)


def _title_of_table(before: str) -> str:
    """The short lines above the table whose rows begin a text: what it is of, in which units, for which period."""
    lines = before.rstrip().split("\n")
    while lines and (not lines[-1].strip() or lines[-1].startswith("|")):
        lines.pop()
    found: list[str] = []
    for line in reversed(lines):
        line = line.strip()
        if not line or line.startswith("|") or line.endswith(_ENDS) or len(line) > _LONGEST_TITLE:
            break
        found.append(line)
        if len(found) == _TITLE_LINES:
            break
    return " ".join(reversed(found))


def _lead_in(before: str) -> str:
    """The line that leads into the list whose items end a text."""
    for line in reversed(before.split("\n")):
        if line.strip() and not _ITEM.match(line) and not line.startswith((" ", "\t")):
            lead = line.strip()
            return "" if lead.endswith(_ENDS) or len(lead) > _LONGEST_LEAD else lead  # a sentence of its own
    return ""


def _goes_on(before: str) -> bool:
    """Whether what follows goes on in an item of a list, set in as its lines are."""
    lines = before.rsplit("\n", 3)
    return len(lines) > 2 and bool(lines[-1]) and not lines[-1].strip() and any(map(_ITEM.match, lines[-3:-1]))


def _merge_small(document: Document, chunk_tokens: int, count_tokens: Callable[[str], int]) -> Iterator[Section]:
    """Join neighbouring sections of a page until they fill a third of a chunk; they keep their common heading path.

    A third: below it a vector says little, above it one topic starts to hide another.
    """
    held: Section | None = None
    held_tokens = 0
    for section in document.sections:
        if not document.text[section.start : section.end].strip():
            continue
        size = count_tokens(document.text[section.start : section.end])
        if (
            held
            and held.page == section.page
            and held_tokens < chunk_tokens // 3
            and held_tokens + size <= chunk_tokens
        ):
            held = Section(held.start, section.end, _joint_path(document.text, held, section), held.page)
            held_tokens += size
            continue
        if held:
            yield held
        held, held_tokens = section, size
    if held:
        yield held


def _joint_path(text: str, first: Section, second: Section) -> tuple[str, ...]:
    """The path of two joined sections: what they share; a heading without text of its own takes its child's."""
    bare = "\n" not in text[first.start : first.end].strip()
    if bare and first.headings and second.headings[: len(first.headings)] == first.headings:
        return second.headings
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(first.headings, second.headings, strict=False))
    return tuple(heading for heading, _ in pairs)


def _pieces(
    text: str, block: Section, cfg: IngestConfig, count_tokens: Callable[[str], int]
) -> Iterator[tuple[int, int]]:
    body = text[block.start : block.end]
    total = count_tokens(body)
    size = cfg.chunk_tokens
    if total > size:  # even pieces instead of full ones and a small rest
        size = min(size, -(-total // -(-total // size)) * 17 // 16 + 4)
    pieces = [body.strip()] if total <= size else _splitter(size, cfg.chunk_tokens, count_tokens).split_text(body)
    cursor = 0
    for piece in pieces:
        start = body.index(piece, cursor)  # pieces are in order and do not overlap: only white space lies between
        cursor = start + len(piece)
        lap = (
            0
            if piece.startswith("|")
            else _overlap(body[max(0, start - 8 * cfg.chunk_overlap - 1) : start], cfg.chunk_overlap, count_tokens)
        )
        yield block.start + start - lap, block.start + cursor


def _overlap(before: str, budget: int, count_tokens: Callable[[str], int]) -> int:
    """Characters of whole sentences at the end of `before` that fit the overlap budget in tokens."""
    if not budget:
        return 0
    taken = 0
    for sentence in reversed(sentences(before[-8 * budget :])):
        budget -= count_tokens(sentence)
        if budget < 0:
            break
        taken += len(sentence)
    return len(before[len(before) - taken :].lstrip())


@lru_cache(maxsize=64)
def _splitter(size: int, limit: int, count_tokens: Callable[[str], int]) -> "SentenceSplitter":
    from llama_index.core.node_parser import SentenceSplitter

    return SentenceSplitter(
        chunk_size=size,
        chunk_overlap=0,  # ours is added afterwards, so that pieces can be found again in the text
        # A piece of no tokens (U+FFFD, say) would be repeated as overlap, and then not be found in the text.
        tokenizer=lambda piece: range(count_tokens(piece) or bool(piece.strip())),
        paragraph_separator="\n\n",
        secondary_chunking_regex=_CLAUSE,
        chunking_tokenizer_fn=lambda piece: _sentences(piece, limit),
    )


def _sentences(text: str, limit: int) -> list[str]:
    pieces: list[str] = []
    for sentence in sentences(text):
        if len(sentence) > _LONG_RUN and " | " in sentence:  # a row of a sheet: each value stays with its name
            pieces.extend(_cut_row(sentence, limit))
            continue
        pieces.extend(_cut_runs(sentence, limit) if len(sentence) > _LONG_RUN else [sentence])
    return pieces


def _cut_row(row: str, limit: int) -> Iterator[str]:
    for cell in re.split(r"(?<= \| )", row):
        yield from _cut_runs(cell, limit) if len(cell) > _LONG_RUN else [cell]


def _cut_runs(sentence: str, limit: int) -> Sequence[str]:
    """Cut runs without any break into half-chunk pieces: measuring them a character at a time would take minutes."""
    width = max(limit // 2, 16)
    cut = re.sub(rf"([^\s,，、;；:：]{{{width}}})(?=[^\s,，、;；:：]{{{width}}})", "\\1\0", sentence)
    return cut.split("\0") if "\0" in cut else [sentence]
