"""The files of a knowledge base: what each gave, why one could not be read, and its passages one by one."""

import html
import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from app.messages.errors_zh import says
from app.messages.texts import Tongue, tongue
from app.running.library import FileRow, delete_upload, failed, file_row, files, first_chunk, read_again
from app.ui import knowledge_choose, knowledge_marked, knowledge_name, knowledge_view, pressed
from app.ui.knowledge_job import begin, for_editors, noted, opened, pressable, shown, told
from app.ui.knowledge_result import duration
from app.ui.markup import markup
from app.ui.together import Together
from core.errors import CatalogError
from core.types import Card

if TYPE_CHECKING:
    from app.running.bases import State

_PAGE = 25  # files that are shown at once
_LABELS = {"failed": "failed_only", "left_out": "omitted"}
_STATES = ("all", "failed", "stale", "notes", "left_out")

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "omitted": "left out", "why_left_out": "left out",
        "state": "Show", "all": "all", "failed_only": "failed", "stale": "stale", "notes": "with notes",
        "name": "Name contains", "earlier": "‹", "later": "›", "range": "{} – {} of {}", "no_file": "No such file.",
        "card_name": "file", "remarks": "remarks",
        "card_language": "language", "card_pages": "pages", "characters": "characters", "card_chunks": "passages",
        "tables": "tables", "ocr": "OCR pages", "empty": "no text on pages", "encoding": "encoding",
        "took": "read in", "card_notes": "notes", "why_stale": "cannot be read as it is now", "failure": "not read",
        "stop": ". ", "tags_shown": "tags", "date_shown": "date",
        "reread": "Read it again", "reread_failed": "Read all failed files again", "delete": "Delete the upload…",
        "delete_yes": "Yes, delete it", "delete_no": "Keep it", "no_choice": "Choose a file in the list first.",
        "ask_delete": "Delete “{}” from the server, with what it said?", "none_failed": "No file has failed.",
    },
    "zh": {
        "omitted": "未收录", "why_left_out": "未收录",
        "state": "显示", "all": "全部", "failed_only": "失败", "stale": "过时", "notes": "有备注",
        "name": "名称包含", "earlier": "‹", "later": "›", "range": "{} – {}，共 {}", "no_file": "没有这样的文件。",
        "card_name": "文件", "remarks": "备注",
        "card_language": "语言", "card_pages": "页数", "characters": "字符数", "card_chunks": "段落数",
        "tables": "表格数", "ocr": "OCR 页", "empty": "没有文字的页", "encoding": "编码",
        "took": "读取用时", "card_notes": "备注", "why_stale": "目前的文件无法读取", "failure": "未能读取",
        "stop": "。", "tags_shown": "标签", "date_shown": "日期",
        "reread": "重新读取", "reread_failed": "重新读取所有失败的文件", "delete": "删除上传的文件……",
        "delete_yes": "确定删除", "delete_no": "保留", "no_choice": "请先在列表中选择一个文件。",
        "ask_delete": "从服务器删除“{}”及其内容？", "none_failed": "没有失败的文件。",
    },
}  # fmt: skip


def build(state: "State", say: Any, chosen: Any, turn: Any, together: Together, follow: Any) -> Any:
    """The part of the tab. `chosen`: the knowledge base; `turn` changes when it may have; `follow` shows a job.

    Returns what chooses which files are listed.
    The chosen file names its knowledge base, so that it is none of another's, however late a choice arrives.
    """
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    first, file = gr.State(0), gr.State("")
    choices = [(say(_LABELS.get(name, name)), name) for name in _STATES]
    with gr.Row():
        which = gr.Radio(choices, value="all", label=say("state"), elem_id="knowledge-state", min_width=260)
        name = gr.Textbox("", label=say("name"), max_lines=1, elem_id="knowledge-search-name", min_width=160)
    listed, row = markup("knowledge-files"), pressed.box("knowledge-files")
    with gr.Row():
        earlier = gr.Button(say("earlier"), size="sm", min_width=60, elem_id="knowledge-earlier")
        later = gr.Button(say("later"), size="sm", min_width=60, elem_id="knowledge-later")
    marked = knowledge_marked.build(state, say, (chosen, which, name), turn, together, follow)
    card = markup("knowledge-card")
    with gr.Column(visible=False) as editing:
        with gr.Row():
            again = gr.Button(say("reread"), size="sm", elem_id="knowledge-reread")
            again_all = gr.Button(say("reread_failed"), size="sm", elem_id="knowledge-reread-failed")
            delete = gr.Button(say("delete"), size="sm", elem_id="knowledge-delete", visible=False)
        with gr.Group(visible=False) as asking:
            question = markup("knowledge-delete-ask", padding=True)
            with gr.Row():
                really = gr.Button(say("delete_yes"), variant="stop", elem_id="knowledge-delete-yes")
                keep = gr.Button(say("delete_no"), elem_id="knowledge-delete-no")
        choosing = gr.Column()
    for_editors(state, editing)
    corrected = gr.Column()
    chunk = knowledge_view.build(state, say, chosen, together, "knowledge-file")
    knowledge_name.build_passage(state, say, chosen, chunk, together, follow)
    with choosing:
        seen = (chosen, file, turn, chunk)
        knowledge_choose.build(state, say, seen, partial(_row, state), together, follow)
    with corrected:
        knowledge_name.build(state, say, seen, partial(_row, state), together, follow)
    look, shown_list = _lister(state), [listed, first]
    inputs = [chosen, which, name, first, file, marked]
    together.when([turn, file, marked], look, inputs, shown_list)
    together.when([chosen, which, name], look, [*inputs[:3], gr.State(0), file, marked], shown_list)
    earlier.click(_lister(state, -_PAGE), inputs, shown_list, **quietly)
    later.click(_lister(state, _PAGE), inputs, shown_list, **quietly)
    row.change(_picker(state), [chosen, row], [file, chunk], **quietly)
    together.when([chosen, file, turn], _carder(state), [chosen, file], [card, delete, asking])
    follow(again.click(_reader(state), [chosen, file], None, **quietly))
    follow(again_all.click(_reader_of_failed(state), chosen, None, **quietly))
    delete.click(_asker(state), [chosen, file], [asking, question], **quietly)
    keep.click(lambda: gr.update(visible=False), None, asking, **quietly)
    follow(really.click(_deleter(state), [chosen, file], [file, chunk], **quietly))
    return which


def _lister(state: "State", step: int = 0) -> Any:
    import gradio as gr

    def look(
        kb: str | None, which: Any, name: str, first: int, file: str, marked: list[str], request: gr.Request
    ) -> Any:
        """One page of the list, `step` files on from `first`."""
        if not kb:
            return "", 0
        index, said = opened(state, request, kb), tongue(request)
        texts = TEXTS[said]
        first = max(first + step, 0)
        rows, total = files(index, which if which in _STATES else "all", name, first, _PAGE)
        if not rows and total:  # beyond the end, or files left meanwhile
            first = (total - 1) // _PAGE * _PAGE
            rows, total = files(index, which, name, first, _PAGE)
        if not rows:
            return f'<div class="rs-empty">{html.escape(texts["no_file"])}</div>', 0
        marks = marked if state.users.of(request).may("editor") else None
        span = texts["range"].format(first + 1, first + len(rows), total)
        return f'<div class="rs-line">{html.escape(span)}</div>{_table(kb, rows, file, said, marks)}', first

    return told(look)


def _key(kb: str, row: FileRow) -> str:
    return json.dumps([kb, row.folder, row.path], ensure_ascii=False)


def _named(kb: str | None, file: str) -> tuple[str, str] | None:
    """Folder and path of the chosen file; None where none of this knowledge base is chosen."""
    named, folder, path = json.loads(file) if file else ("", "", "")
    return (str(folder), str(path)) if file and named == kb else None


def _row(state: "State", request: Any, kb: str, file: str, role: Any = "reader") -> FileRow:
    index = opened(state, request, kb, role)
    if not (named := _named(kb, file)):
        raise shown(TEXTS[tongue(request)]["no_choice"])
    return file_row(index, *named)


def _table(kb: str, rows: Sequence[FileRow], file: str, said: Tongue, marked: Sequence[str] | None) -> str:
    """The files with what each gave; the name of one can be pressed. `marked`: None where none can be."""
    texts = TEXTS[said]
    columns = ("card_name", "remarks", "card_language", "card_pages", "card_chunks", "characters", "tables", "ocr")
    head = "".join(f"<th scope='col'>{html.escape(texts[name])}</th>" for name in columns)
    marks = set(marked or ())
    boxes = ["" if marked is None else f"<td>{knowledge_marked.box(kb, row, marks, said)}</td>" for row in rows]
    if marked is not None:
        head = f"<th scope='col'>{knowledge_marked.box_of_all(said)}</th>{head}"
    body = "".join(
        f"<tr>{box}<td>{pressable(_key(kb, row), html.escape(row.path), _key(kb, row) == file)}</td>"
        + "".join(f"<td>{html.escape(str(cell or ''))}</td>" for cell in _cells(row, said)) + "</tr>"
        for box, row in zip(boxes, rows, strict=True)
    )  # fmt: skip
    return (
        f'<div class="rs-table" tabindex="0"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cells(row: FileRow, said: Tongue) -> list[object]:
    texts, card, remarks = TEXTS[said], row.card, []
    if row.failure:
        remarks.append(f"❌ {says(row.failure.error, said)}")
    if row.left_out:
        remarks.append(says(row.left_out.error, said))
    if card is None:
        return ["; ".join(remarks), *[""] * 6]
    remarks += [f"⚠️ {texts['stale']}"] if card.stale else []
    remarks += [f"⚠️ {texts['empty']}: {len(card.empty_pages)}"] if card.empty_pages else []
    remarks += [says(note, said) for note in card.notes]
    numbers = [card.pages, card.chunks, f"{card.characters:,}", card.tables, len(card.ocr_pages)]
    return ["; ".join(remarks), card.language, *numbers]


def _picker(state: "State") -> Any:
    import gradio as gr

    def pick(kb: str, what: str, request: gr.Request) -> Any:
        row = _row(state, request, kb, pressed.read(what).get("value", ""))
        chunk = None if row.document_id is None else first_chunk(state.bases.get(kb), row.document_id)
        return _key(kb, row), (kb, chunk or 0)

    return told(pick)


def _carder(state: "State") -> Any:
    import gradio as gr

    def describe(kb: str | None, file: str, request: gr.Request) -> Any:
        hidden = gr.update(visible=False)
        if not kb or not (named := _named(kb, file)):
            return "", hidden, hidden
        folder, path = named
        index, own = opened(state, request, kb), folder == str(state.bases.uploads(kb))
        try:
            row = file_row(index, folder, path)
        except CatalogError:  # it left meanwhile
            return "", gr.update(visible=own), hidden
        pages = knowledge_choose.choice_of(index, row).ocr_pages
        return _card(row, tongue(request), pages), gr.update(visible=own and not row.left_out), hidden

    return told(describe)


def _card(row: FileRow, said: Tongue, ocr_pages: Sequence[int] = ()) -> str:
    texts = TEXTS[said]
    facts: list[tuple[str, object]] = []
    if row.failure:
        told = texts["stop"].join(says(text, said) for text in (row.failure.error, row.failure.hint))
        facts.append((texts["failure"], f"⚠️ {told}"))
    if row.left_out:
        told = texts["stop"].join(filter(None, (says(row.left_out.error, said), says(row.left_out.hint, said))))
        facts.append((texts["why_left_out"], told))
    if row.card:
        facts += _facts(row.card, said)
    if ocr_pages:
        facts.append((knowledge_choose.TEXTS[said]["chosen_pages"], ", ".join(map(str, ocr_pages))))
    items = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(str(value))}</dd>" for name, value in facts)
    return f'<div class="rs-view-head"><b>{html.escape(row.path)}</b></div><dl class="rs-facts">{items}</dl>'


def _facts(card: Card, said: Tongue) -> list[tuple[str, object]]:
    texts = TEXTS[said]
    facts = {
        "why_stale": says(card.stale, said), "card_language": card.language, "card_pages": card.pages,
        "characters": f"{card.characters:,}", "card_chunks": card.chunks, "tables": card.tables,
        "tags_shown": ", ".join(card.tags), "date_shown": card.date,
        "ocr": ", ".join(map(str, card.ocr_pages)), "empty": ", ".join(map(str, card.empty_pages)),
        "encoding": card.encoding, "took": duration(card.seconds),
        "card_notes": "; ".join(says(note, said) for note in card.notes),
    }  # fmt: skip
    return [(texts[name], value) for name, value in facts.items() if value]


def _reader(state: "State") -> Any:
    import gradio as gr

    def again(kb: str, file: str, request: gr.Request) -> None:
        row, user = _row(state, request, kb, file, "editor"), state.users.of(request)
        chosen = [(row.folder, row.path)]
        work = lambda progress: read_again(state.bases, kb, chosen, progress)  # noqa: E731
        begin(state, "index", kb, user.name, work, tongue(request))

    return told(again)


def _reader_of_failed(state: "State") -> Any:
    import gradio as gr

    def again(kb: str, request: gr.Request) -> None:
        chosen, user = failed(opened(state, request, kb, "editor")), state.users.of(request)
        if not chosen:
            raise shown(TEXTS[tongue(request)]["none_failed"])
        work = lambda progress: read_again(state.bases, kb, chosen, progress)  # noqa: E731
        begin(state, "index", kb, user.name, work, tongue(request))

    return told(again)


def _asker(state: "State") -> Any:
    import gradio as gr

    def ask(kb: str, file: str, request: gr.Request) -> Any:
        row = _row(state, request, kb, file, "editor")
        question = TEXTS[tongue(request)]["ask_delete"].format(row.path)
        return gr.update(visible=True), f'<div role="alert">{html.escape(question)}</div>'

    return told(ask)


def _deleter(state: "State") -> Any:
    import gradio as gr

    def delete(kb: str, file: str, request: gr.Request) -> Any:
        row, user = _row(state, request, kb, file, "editor"), state.users.of(request)
        work = lambda progress: delete_upload(state.bases, kb, row.path)  # noqa: E731
        begin(state, "index", kb, user.name, work, tongue(request))
        noted(state, request, "file.delete", kb, row.path)
        return "", (kb, 0)

    return told(delete)
