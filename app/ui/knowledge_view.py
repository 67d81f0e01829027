"""A passage beside the page that it stands on, and turning from one to the next: for the parts of the Knowledge tab."""

import base64
import html
from typing import TYPE_CHECKING, Any

from app.answering.view import has_picture, page_picture, passage, passage_text
from app.messages.errors_zh import says
from app.messages.texts import Tongue, tongue, version_notes
from app.ui.knowledge_job import opened, told
from app.ui.markup import markup
from app.ui.render import named
from app.ui.together import Together
from core.errors import ReadError
from core.types import Hit

if TYPE_CHECKING:
    from app.running.bases import State
    from retrieval.index import Index

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "page_before": "« Page", "before": "‹ Passage", "after": "Passage ›", "page_after": "Page »",
        "page": "page {}", "number": "passage {} of {}", "tokens": "{} tokens",
        "drawn": "Page {} of {}, passage marked",
    },
    "zh": {
        "page_before": "« 上一页", "before": "‹ 上一段", "after": "下一段 ›", "page_after": "下一页 »",
        "page": "第 {} 页", "number": "第 {} 段，共 {} 段", "tokens": "{} 个词元",
        "drawn": "{1} 的第 {0} 页，段落已标出",
    },
}  # fmt: skip
_TURNS = ("previous_page", "previous", "next", "next_page")


def build(state: "State", say: Any, chosen: Any, together: Together, name: str) -> Any:
    """The viewer; returns the state that holds what it shows: (knowledge base, id of the passage, 0 for none).

    A passage of another knowledge base than the `chosen` one is not shown. `name` begins the viewer's ids.
    """
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    chunk = gr.State(("", 0))
    shown = markup(f"{name}-passage")
    with gr.Row():
        labels = zip(_TURNS, ("page_before", "before", "after", "page_after"), strict=True)
        buttons = [
            gr.Button(say(label), size="sm", min_width=90, visible=False, elem_id=f"{name}-{turn}".replace("_", "-"))
            for turn, label in labels
        ]
    for turn, button in zip(_TURNS, buttons, strict=True):
        button.click(_turner(state, turn), [chosen, chunk], chunk, **quietly)
    together.when([chosen, chunk], _shower(state), [chosen, chunk], [shown, *buttons])
    return chunk


def _turner(state: "State", turn: str) -> Any:
    import gradio as gr

    def to(kb: str, chunk: tuple[str, int], request: gr.Request) -> tuple[str, int]:
        index = opened(state, request, kb)
        return kb, getattr(index.catalog.neighbours(passage(index, chunk[1])), turn) or chunk[1]

    return told(to)


def _shower(state: "State") -> Any:
    import gradio as gr

    def show(kb: str | None, chunk: tuple[str, int], request: gr.Request) -> Any:
        named, chunk_id = chunk
        if not kb or not chunk_id or named != kb:
            return "", *(gr.update(visible=False) for _ in _TURNS)
        index = opened(state, request, kb)
        hit = passage(index, chunk_id)
        turns = index.catalog.neighbours(hit)
        buttons = [
            gr.update(visible=hit.page is not None or "page" not in turn, interactive=getattr(turns, turn) is not None)
            for turn in _TURNS
        ]
        return described(state, index, hit, tongue(request)), *buttons

    return told(show)


def described(state: "State", index: "Index", hit: Hit, said: Tongue) -> str:
    """A passage with its page as a picture, where it has one, and the text around it."""
    texts = TEXTS[said]
    card = index.catalog.card(hit.document_id)
    chunks, pages = (card.chunks, card.pages) if card else (hit.ordinal + 1, hit.page)  # else: gone since it was found
    facts = [texts["number"].format(hit.ordinal + 1, chunks), texts["tokens"].format(hit.tokens), hit.language]
    if hit.page:
        facts.insert(0, texts["page"].format(f"{hit.page} / {pages}"))
    heading = " › ".join(dict.fromkeys(part for part in (hit.title, *hit.headings) if part))
    around = passage_text(index, hit)
    notes = "".join(f'<div class="rs-note">{html.escape(note)}</div>' for note in version_notes(hit, said))
    return (
        f'<div class="rs-passage"><div class="rs-view-head">{named(hit)} · '
        f'{html.escape(" · ".join(facts))}</div><div class="rs-heading">{html.escape(heading)}</div>{notes}'
        f'<div class="rs-view-both">{_picture(state, index, hit, said)}<div class="rs-text">'
        f'<span class="rs-around">{html.escape(around.before)}</span><mark>{html.escape(around.text)}</mark>'
        f'<span class="rs-around">{html.escape(around.after)}</span></div></div></div>'
    )


def _picture(state: "State", index: "Index", hit: Hit, said: Tongue) -> str:
    if not has_picture(hit):
        return ""
    try:
        data = base64.b64encode(page_picture(index, hit.chunk_id, state.cfg.ingest)).decode()
    except ReadError as error:
        return f'<div class="rs-problem" role="alert">⚠️ {html.escape(says(error, said))}</div>'
    alt = html.escape(TEXTS[said]["drawn"].format(hit.page, hit.path))
    return f'<img class="rs-leaf" alt="{alt}" src="data:image/png;base64,{data}">'
