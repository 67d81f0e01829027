"""What somebody corrected of a file, in the text that was read of it."""

from collections.abc import Iterable
from dataclasses import replace

from core.text import well_formed
from core.types import Correction, Document, Section

_CONTEXT = 200  # characters in front of what is corrected, by which it is told from the same elsewhere
_TOLD_APART = 100
_QUOTED = 60


def corrected(document: Document, corrections: Iterable[Correction]) -> Document:
    """The document with each correction in turn; notes say how many there are, and which no longer fit it."""
    done, lost = 0, list[str]()
    for each in corrections:
        start = _place(document.text, each)
        if start is None:
            lost.append(lost_note(each))
        else:
            done += 1
            document = _with(document, start, start + len(each.was), well_formed(each.now))
    told = [f"corrected by hand: {done}"] if done else []
    return replace(document, notes=(*document.notes, *told, *lost)) if told or lost else document


def lost_note(correction: Correction) -> str:
    """What the notes of a file say where a correction of it no longer fits."""
    return f"a correction no longer fits what is read: {correction.was[:_QUOTED]!r}"


def _place(text: str, correction: Correction) -> int | None:
    """Where what is corrected begins: behind what stood in front of it, or where it stands once."""
    found = text.find(correction.before + correction.was)
    if found >= 0:
        return found + len(correction.before)
    found = text.find(correction.was)
    return found if 0 <= found == text.rfind(correction.was) else None


def _with(document: Document, start: int, end: int, now: str) -> Document:
    """The document with other text in a place; sections that reach into it keep what is theirs."""
    grown = len(now) - (end - start)
    sections: list[Section] = []
    for section in document.sections:
        if section.end <= start:
            sections.append(section)
        elif section.start >= end:
            sections.append(replace(section, start=section.start + grown, end=section.end + grown))
        elif section.start <= start:
            sections.append(replace(section, end=max(section.end + grown, start + len(now))))
        elif section.end > end:  # what is corrected began in the section before
            sections.append(replace(section, start=start + len(now), end=section.end + grown))
    text = document.text[:start] + now + document.text[end:]
    return replace(document, text=text, sections=tuple(sections))


def correction(was: str, now: str) -> Correction | None:
    """What of a passage was corrected, whole lines of it; None where nothing was.

    With what stands in front of them, or with further lines, they are long enough to be told from the same elsewhere.
    """
    if was == now:
        return None
    old, new = was.splitlines(keepends=True), now.splitlines(keepends=True)
    shorter = min(len(old), len(new))
    first = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    rest = shorter - first
    last = next((n for n in range(rest) if old[-1 - n] != new[-1 - n]), rest)
    in_front = "".join(old[:first])[-_CONTEXT:]
    while last and (last == len(old) - first or len(in_front + "".join(old[first : len(old) - last])) < _TOLD_APART):
        last -= 1
    if first == len(old):  # a line was added at the end: it is told by the one before
        first -= 1
        in_front = "".join(old[:first])[-_CONTEXT:]
    return Correction(in_front, "".join(old[first : len(old) - last]), "".join(new[first : len(new) - last]))
