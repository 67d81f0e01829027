"""Recipe: give files tags and a date in the place of what they say of themselves.

It holds at once, stays when a file is read again or moved, and goes wherever the knowledge base goes.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date

from app.keeping.choosing import Named, by_folder, synced
from app.keeping.index import Progress, Report, chunker, quiet
from core.config import IngestConfig
from core.errors import ReadError
from core.types import Choice
from retrieval.index import Index

_MOST, _LONGEST = 50, 64  # tags of a file, characters of one
_DATE = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?", re.ASCII)
Change = Callable[[Choice, tuple[str, ...]], Choice]  # of what was chosen and the tags that a file has


def tags_of(text: str) -> tuple[str, ...]:
    """The tags that somebody wrote, with commas between: `travel, 差旅`. Raises `ReadError` for one that is none."""
    told = re.split("[,，、;；\n]", text)
    tags = tuple(dict.fromkeys(filter(None, (" ".join(each.split()).casefold() for each in told))))
    if bad := next((tag for tag in tags if len(tag) > _LONGEST or not tag.isprintable()), None):
        raise ReadError(f"{bad[:_LONGEST]!r} is no tag", f"write words of up to {_LONGEST} characters, commas between")
    if len(tags) > _MOST:
        raise ReadError(f"{len(tags)} tags are more than a file can have ({_MOST})", "give fewer tags")
    return tags


def date_of(text: str) -> str:
    """The day, month or year that somebody wrote, "" for none. Raises `ReadError` where it is not in the calendar."""
    text = text.strip()
    if found := _DATE.fullmatch(text):
        with suppress(ValueError):
            date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
            return text
    if not text:
        return ""
    raise ReadError(f"{text!r} is no date", "give a day, a month or a year: 2025-03-01, 2025-03, 2025")


def name(
    index: Index, files: Iterable[Named], tags: Sequence[str] | None, day: str | None, cfg: IngestConfig,
    progress: Progress = quiet,
) -> Report:  # fmt: skip
    """Give files these tags and this date; None is what each says of itself, for which it is read again."""
    kept = None if tags is None else tuple(tags)
    return _named(index, files, lambda choice, _: replace(choice, tags=kept, date=day), cfg, progress)


def tag(
    index: Index, files: Iterable[Named], more: Sequence[str], less: Sequence[str], cfg: IngestConfig,
    progress: Progress = quiet, *, day: str | None = None,
) -> Report:  # fmt: skip
    """Add tags to those that files have, and take others away; with `day`, give them that date too."""

    def change(choice: Choice, has: tuple[str, ...]) -> Choice:
        tags = choice.tags
        if more or less:
            tags = tuple(each for each in dict.fromkeys([*has, *more]) if each not in less)[:_MOST]
        return replace(choice, tags=tags, date=choice.date if day is None else day)

    return _named(index, files, change, cfg, progress)


def _named(index: Index, files: Iterable[Named], change: Change, cfg: IngestConfig, progress: Progress) -> Report:
    index.check_writable(index.embedder, chunker(cfg))
    changed, again = 0, dict[str, list[str]]()
    with index.writing() as catalog, catalog.transaction() as write:
        cards = {(card.folder, card.path): card for card in catalog.cards()}
        for folder, paths in by_folder(files).items():
            folder_id, known = catalog.folder_id(folder), catalog.choices(folder)
            for path in paths:
                card, before = cards.get((folder, path)), known.get(path, Choice())
                after = change(before, card.tags if card else before.tags or ())
                write.choose(folder_id, path, after)
                changed += after != before
                if _left(before.tags, after.tags) or _left(before.date, after.date):
                    again.setdefault(folder, []).append(path)
            write.read_again(folder_id, again.get(folder, ()))
    report = synced(index, again, cfg, progress)
    report.named = changed
    return report


def _left(was: object, now: object) -> bool:
    """Whether what was chosen is left to the file again."""
    return was is not None and now is None
