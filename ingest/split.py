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

SPLITTER = "sections-sentences-2"

# llama-index drops what its clause expression does not match, so this one matches every character.
_CLAUSE = r"[^,，、;；:：]+[,，、;；:：]*|[,，、;；:：]+"
_LONG_RUN = 400  # characters without a space; longer runs (base64, minified code) are cut before they are measured


def split(document: Document, cfg: IngestConfig, count_tokens: Callable[[str], int]) -> list[Chunk]:
    """Cut a document into chunks of at most `cfg.chunk_tokens` tokens (before overlap is added in front)."""
    chunks: list[Chunk] = []
    for block in _merge_small(document, cfg.chunk_tokens, count_tokens):
        for start, end in _pieces(document.text, block, cfg, count_tokens):
            text = document.text[start:end]
            chunks.append(
                Chunk(len(chunks), start, end, text, block.headings, block.page, language(text), count_tokens(text))
            )
    return chunks


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
        yield block.start + start - _overlap(body[:start], cfg.chunk_overlap, count_tokens), block.start + cursor


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
        pieces.extend(_cut_runs(sentence, limit) if len(sentence) > _LONG_RUN else [sentence])
    return pieces


def _cut_runs(sentence: str, limit: int) -> Sequence[str]:
    """Cut runs without any break into half-chunk pieces: measuring them a character at a time would take minutes."""
    width = max(limit // 2, 16)
    cut = re.sub(rf"([^\s,，、;；:：]{{{width}}})(?=[^\s,，、;；:：]{{{width}}})", "\\1\0", sentence)
    return cut.split("\0") if "\0" in cut else [sentence]
