"""The tags and the date of one file on the Knowledge tab, and what was corrected of it."""

import html
from typing import TYPE_CHECKING, Any

from app.answering.view import passage
from app.keeping.naming import date_of, tags_of
from app.messages.texts import Tongue, tongue
from app.running.library import correct, name, take_back
from app.ui import pressed
from app.ui.knowledge_choose import Row, choice_of, still_there
from app.ui.knowledge_job import begin, for_editors, noted, opened, told
from app.ui.markup import markup
from app.ui.together import Together

if TYPE_CHECKING:
    from app.running.bases import State

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "n_tags": "Tags of this file, with commas between", "n_date": "Date: a day, month or year",
        "n_save": "Save tags and date", "n_own": "As the file itself says",
        "n_correct": "Correct what was read…", "n_text": "What this passage should say",
        "n_keep": "Save the correction",
        "n_leave": "Leave it as it is", "n_back": "Take back", "n_made": "Corrected by hand, in this order:",
        "n_was": "read: {}", "n_now": "corrected: {}",
    },
    "zh": {
        "n_tags": "此文件的标签，用逗号分隔", "n_date": "日期：日、月或年",
        "n_save": "保存标签和日期", "n_own": "按文件本身",
        "n_correct": "更正读出的内容……", "n_text": "这一段应为", "n_keep": "保存更正",
        "n_leave": "保持不变", "n_back": "撤回", "n_made": "经人工更正，依次为：",
        "n_was": "读出：{}", "n_now": "更正为：{}",
    },
}  # fmt: skip
_SHOWN = 300  # characters of a correction


def build(state: "State", say: Any, seen: tuple[Any, Any, Any, Any], row: Row, together: Together, follow: Any) -> None:
    """The controls below a file's card; arguments as for `knowledge_choose.build`."""
    import gradio as gr

    chosen, file, turn, _ = seen
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Column(visible=False) as naming:
        with gr.Row():
            tags = gr.Textbox("", label=say("n_tags"), max_lines=1, min_width=160, elem_id="knowledge-tags")
            date = gr.Textbox("", label=say("n_date"), max_lines=1, min_width=120, elem_id="knowledge-date")
        with gr.Row():
            save = gr.Button(say("n_save"), size="sm", elem_id="knowledge-name-save")
            own = gr.Button(say("n_own"), size="sm", elem_id="knowledge-name-own")
    made, taken = markup("knowledge-corrections"), pressed.box("knowledge-corrections")
    together.when([chosen, file, turn], _shower(state, row), [chosen, file], [naming, tags, date, own, made])
    follow(save.click(_namer(state, row), [chosen, file, tags, date], None, **quietly))
    follow(own.click(_namer(state, row, own=True), [chosen, file, tags, date], None, **quietly))
    follow(taken.change(_taker(state, row), [chosen, file, taken], None, **quietly))


def build_passage(state: "State", say: Any, chosen: Any, chunk: Any, together: Together, follow: Any) -> None:
    """The controls below a passage, which correct it."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    with gr.Column(visible=False) as editing:
        begins = gr.Button(say("n_correct"), size="sm", visible=False, elem_id="knowledge-correct")
        with gr.Column(visible=False) as writing:
            text = gr.Textbox("", label=say("n_text"), lines=6, max_lines=20, elem_id="knowledge-correct-text")
            with gr.Row():
                keep = gr.Button(say("n_keep"), size="sm", variant="primary", elem_id="knowledge-correct-save")
                leave = gr.Button(say("n_leave"), size="sm", elem_id="knowledge-correct-leave")
    for_editors(state, editing)

    def shut(kb: str | None, shown: tuple[str, int], _: gr.Request) -> Any:
        there = bool(kb and shown[1] and shown[0] == kb)
        return gr.update(visible=there), gr.update(visible=False)

    def opens(kb: str, shown: tuple[str, int], request: gr.Request) -> Any:
        index = opened(state, request, kb, "editor")
        return passage(index, shown[1] if shown[0] == kb else 0).text, gr.update(visible=True)

    def saves(kb: str, shown: tuple[str, int], written: str, request: gr.Request) -> Any:
        index, user = opened(state, request, kb, "editor"), state.users.of(request)
        hit = passage(index, shown[1] if shown[0] == kb else 0)
        run = lambda progress: correct(state.bases, kb, hit.chunk_id, written, progress)  # noqa: E731
        begin(state, "index", kb, user.name, run, tongue(request))
        noted(state, request, "file.correct", kb, hit.path)
        return gr.update(visible=False)

    together.when([chosen, chunk], shut, [chosen, chunk], [begins, writing])
    begins.click(told(opens), [chosen, chunk], [text, writing], **quietly)
    leave.click(lambda: gr.update(visible=False), None, writing, **quietly)
    follow(keep.click(told(saves), [chosen, chunk, text], writing, **quietly))


def _shower(state: "State", row: Row) -> Any:
    import gradio as gr

    def show(kb: str | None, file: str, request: gr.Request) -> Any:
        """The tags and the date of the chosen file, and its corrections."""
        found = still_there(row, request, kb, file)
        if not kb or found is None:
            return [gr.update(visible=False), "", "", gr.update(visible=False), ""]
        choice, editor = choice_of(state.bases.get(kb), found), state.users.of(request).may("editor")
        chosen = choice.tags is not None or choice.date is not None
        tags = found.card.tags if found.card else choice.tags or ()
        date = found.card.date if found.card else choice.date or ""
        said = tongue(request)
        return (
            gr.update(visible=editor and not found.left_out),
            ("，" if said == "zh" else ", ").join(tags),
            date,
            gr.update(visible=chosen),
            _corrections(choice.corrections, said, editor=editor),
        )

    return told(show)


def _corrections(made: Any, said: Tongue, *, editor: bool) -> str:
    texts = TEXTS[said]
    if not made:
        return ""
    rows = ""
    for number, each in enumerate(made, start=1):
        way = f' <button type="button" class="rs-go" data-value="{number}">{html.escape(texts["n_back"])}</button>'
        was, now = (
            texts[key].format(text.strip()[:_SHOWN]) for key, text in (("n_was", each.was), ("n_now", each.now))
        )
        rows += f"<li><del>{html.escape(was)}</del><br><ins>{html.escape(now)}</ins>{way if editor else ''}</li>"
    return f'<div class="rs-note">{html.escape(texts["n_made"])}<ol>{rows}</ol></div>'


def _namer(state: "State", row: Row, *, own: bool = False) -> Any:
    import gradio as gr

    def save(kb: str, file: str, tags: str, date: str, request: gr.Request) -> None:
        found, user = row(request, kb, file, "editor"), state.users.of(request)
        told_tags, day = (None, None) if own else (tags_of(tags), date_of(date))
        run = lambda progress: name(state.bases, kb, [(found.folder, found.path)], told_tags, day, progress)  # noqa: E731
        begin(state, "index", kb, user.name, run, tongue(request))
        noted(state, request, "file.tag", kb, found.path)

    return told(save)


def _taker(state: "State", row: Row) -> Any:
    import gradio as gr

    def take(kb: str, file: str, what: str, request: gr.Request) -> None:
        found, user = row(request, kb, file, "editor"), state.users.of(request)
        number = pressed.read(what).get("value", "")
        if not number.isascii() or not number.isdecimal() or len(number) > 4:
            return
        run = lambda progress: take_back(state.bases, kb, (found.folder, found.path), int(number), progress)  # noqa: E731
        begin(state, "index", kb, user.name, run, tongue(request))
        noted(state, request, "file.take_back", kb, found.path)

    return told(take)
