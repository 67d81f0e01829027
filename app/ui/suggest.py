"""What can be asked: questions made of a knowledge base's own headings, for the page of an empty conversation."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from app.messages.texts import Tongue
from app.running.bases import Bases
from core.errors import CatalogError
from retrieval.reading import Heading

_SHOWN = 4
_DOCUMENTS, _CHUNKS = 60, 12  # that came last, and of each after its first
_NUMBER = re.compile(  # in front of a heading
    r"^(?:[§#]?\d+(?:\.\d+)*[.)、]?|第[\d一二三四五六七八九十百]+[章节条部分]+|[一二三四五六七八九十]+、)\s*"
)
_SAYS: dict[Tongue, str] = {"en": "What does “{}” say about “{}”?", "zh": "《{}》里关于“{}”是怎么说的？"}
_LENGTHS: dict[Tongue, tuple[int, int]] = {"en": (4, 60), "zh": (2, 30)}  # characters of a heading, and of a title


def suggestions(bases: Bases, chosen: Sequence[str], said: Tongue) -> list[str]:
    """A few questions, each of another document, those in the page's language first; none where nothing suits."""
    found: list[Heading] = []
    for kb in chosen:
        try:
            found += bases.get(kb).catalog.headings(_DOCUMENTS, _CHUNKS)
        except CatalogError:
            continue  # one that cannot be opened can be asked nothing
    own = _questions((one for one in found if _tongue(one) == said), set())
    questions = list(islice(own, _SHOWN))
    other = _questions((one for one in found if _tongue(one) != said), set())
    return questions + list(islice(other, _SHOWN - len(questions)))


def _tongue(heading: Heading) -> Tongue:
    return "zh" if heading.language == "zh" else "en"


def _questions(found: Iterable[Heading], asked: set[int]) -> Iterator[str]:
    for one in found:
        tongue = _tongue(one)
        least, most = _LENGTHS[tongue]
        title, about = (" ".join(_NUMBER.sub("", text).split()) for text in (one.title, one.heading))
        suits = least <= len(about) <= most and 0 < len(title) <= most and about != title
        if suits and one.document_id not in asked and one.language in ("en", "zh"):
            asked.add(one.document_id)
            yield _SAYS[tongue].format(title, about)
