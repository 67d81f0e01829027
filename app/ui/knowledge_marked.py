"""Files that are marked in the list of the Knowledge tab, and what is done with all of them at once."""

import html
import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from app.keeping.naming import tags_of
from app.messages.texts import Tongue, tongue
from app.running.library import FileRow, files, leave_out, read_again, tag, take_in
from app.ui import pressed
from app.ui.knowledge_job import begin, for_editors, noted, opened, shown, told
from app.ui.markup import markup
from app.ui.together import Together
from core.text import digest

if TYPE_CHECKING:
    from app.running.bases import State
    from retrieval.index import Index

_MOST = 10_000  # files that can be marked
_STATES = ("all", "failed", "stale", "notes", "left_out")

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "m_mark": "Mark {}", "m_mark_shown": "Mark all that are shown", "m_all": "Mark all that are found",
        "m_none": "Mark none", "m_count": "{} files are marked.", "m_tags": "Tags, with commas between",
        "m_add": "Add tags", "m_remove": "Take tags away", "m_again": "Read again", "m_leave": "Leave out",
        "m_take": "Take in again", "m_no_tags": "Write which tags first.",
        "m_gone": "None of the marked files is there.",
        "m_no_leave": "None of the marked files was left out by choice.",
    },
    "zh": {
        "m_mark": "选中 {}", "m_mark_shown": "选中显示的全部文件", "m_all": "选中找到的全部文件",
        "m_none": "全部取消选中", "m_count": "已选中 {} 个文件。", "m_tags": "标签，用逗号分隔",
        "m_add": "添加标签", "m_remove": "移除标签", "m_again": "重新读取", "m_leave": "不收录",
        "m_take": "重新收录", "m_no_tags": "请先填写标签。", "m_gone": "选中的文件都已不在。",
        "m_no_leave": "选中的文件都不是经人选择而未收录的。",
    },
}  # fmt: skip
Named = tuple[str, str]
Work = Callable[[Any, str, list[Named], str], Callable[[Any], Any]]  # (state, kb, files, tags) -> work of a job


def mark_of(kb: str, folder: str, path: str) -> str:
    """What names a file of a knowledge base in the list of those that are marked."""
    return digest(json.dumps([kb, folder, path])).hex()[:20]


def box(kb: str, row: FileRow, marked: Iterable[str], said: Tongue) -> str:
    """The box before a file in the list; page.js tells which are checked."""
    mark = mark_of(kb, row.folder, row.path)
    label = html.escape(TEXTS[said]["m_mark"].format(row.path), quote=True)
    return f'<input type="checkbox" data-mark="{mark}" aria-label="{label}"{" checked" if mark in marked else ""}>'


def box_of_all(said: Tongue) -> str:
    """The box above those."""
    return f'<input type="checkbox" data-mark="" aria-label="{html.escape(TEXTS[said]["m_mark_shown"], quote=True)}">'


def build(state: "State", say: Any, seen: tuple[Any, Any, Any], turn: Any, together: Together, follow: Any) -> Any:
    """The controls; `seen`: the knowledge base, and by which state and name files are listed. Returns what is marked.

    `turn` changes when the knowledge base may have; `follow` shows a job that is begun.
    """
    import gradio as gr

    chosen, which, name = seen
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    marked, told_marks = gr.State([]), pressed.box("knowledge-marks")
    with gr.Column(visible=False) as editing:
        with gr.Row():
            every = gr.Button(say("m_all"), size="sm", min_width=120, elem_id="knowledge-mark-all")
            none = gr.Button(say("m_none"), size="sm", min_width=120, elem_id="knowledge-mark-none")
        with gr.Column(visible=False, elem_id="knowledge-marked") as doing:
            count = markup("knowledge-marked-count")
            with gr.Row():
                tags = gr.Textbox("", label=say("m_tags"), max_lines=1, min_width=160, elem_id="knowledge-marked-tags")
                add = gr.Button(say("m_add"), size="sm", min_width=90, elem_id="knowledge-marked-add")
                remove = gr.Button(say("m_remove"), size="sm", min_width=90, elem_id="knowledge-marked-remove")
            with gr.Row():
                again = gr.Button(say("m_again"), size="sm", min_width=90, elem_id="knowledge-marked-again")
                leave = gr.Button(say("m_leave"), size="sm", min_width=90, elem_id="knowledge-marked-leave")
                take = gr.Button(say("m_take"), size="sm", min_width=90, elem_id="knowledge-marked-take")
    for_editors(state, editing)
    told_marks.change(_marker, [told_marks, marked], marked, **quietly)
    every.click(_marks_all(state), [chosen, which, name], marked, **quietly)
    none.click(lambda: [], None, marked, **quietly)
    together.when([chosen], lambda _kb, _request: [], [chosen], [marked])
    together.when([marked], _counter, [marked], [count, doing])
    deeds: tuple[tuple[Any, str, Work], ...] = (
        (add, "file.tag", _tags), (remove, "file.tag", _untags), (again, "file.read_again", _again),
        (leave, "file.leave_out", _leaves), (take, "file.take_in", _takes),
    )  # fmt: skip
    for button, deed, work in deeds:
        follow(button.click(_doer(state, deed, work), [chosen, marked, tags], None, **quietly))
    return marked


def _marker(what: str, marked: list[str]) -> list[str]:
    """What is marked after boxes were checked and unchecked."""
    told = pressed.read(what)
    on, off = told.get("on", "").split(), set(told.get("off", "").split())
    return [mark for mark in dict.fromkeys([*marked, *on]) if mark not in off and len(mark) == 20][:_MOST]


def _marks_all(state: "State") -> Any:
    import gradio as gr

    def mark(kb: str, which: Any, name: str, request: gr.Request) -> list[str]:
        index = opened(state, request, kb, "editor")
        rows, _ = files(index, which if which in _STATES else "all", name, 0, _MOST)
        return [mark_of(kb, row.folder, row.path) for row in rows]

    return told(mark)


def _counter(marked: list[str], request: Any) -> Any:
    import gradio as gr

    label = html.escape(TEXTS[tongue(request)]["m_count"].format(len(marked)))
    return f'<div class="rs-line" role="status">{label}</div>', gr.update(visible=bool(marked))


def _known(index: "Index", kb: str, marked: Iterable[str]) -> list[Named]:
    """The files that are marked, of those that the knowledge base knows."""
    wanted = set(marked)
    rows = (row for state in ("all", "left_out") for row in files(index, state, "", 0, -1)[0])
    named = dict.fromkeys((row.folder, row.path) for row in rows)
    return [file for file in named if mark_of(kb, *file) in wanted]


def _doer(state: "State", deed: str, work: Work) -> Any:
    import gradio as gr

    def do(kb: str, marked: list[str], tags: str, request: gr.Request) -> None:
        index, texts = opened(state, request, kb, "editor"), TEXTS[tongue(request)]
        chosen = _known(index, kb, marked)
        if not chosen:
            raise shown(texts["m_gone"])
        if deed == "file.tag" and not tags_of(tags):
            raise shown(texts["m_no_tags"])
        if deed == "file.take_in":
            out = {(folder, path) for folder in {folder for folder, _ in chosen}
                   for path, choice in index.catalog.choices(folder).items() if choice.left_out}  # fmt: skip
            chosen = [file for file in chosen if file in out]
            if not chosen:
                raise shown(texts["m_no_leave"])
        begin(state, "index", kb, state.users.of(request).name, work(state, kb, chosen, tags), tongue(request))
        noted(state, request, deed, kb, ", ".join(path for _, path in chosen)[:1000])

    return told(do)


def _tags(state: "State", kb: str, chosen: list[Named], tags: str) -> Any:
    return lambda progress: tag(state.bases, kb, chosen, tags_of(tags), (), progress)


def _untags(state: "State", kb: str, chosen: list[Named], tags: str) -> Any:
    return lambda progress: tag(state.bases, kb, chosen, (), tags_of(tags), progress)


def _again(state: "State", kb: str, chosen: list[Named], _: str) -> Any:
    return lambda progress: read_again(state.bases, kb, chosen, progress)


def _leaves(state: "State", kb: str, chosen: list[Named], _: str) -> Any:
    return lambda progress: leave_out(state.bases, kb, chosen, progress)


def _takes(state: "State", kb: str, chosen: list[Named], _: str) -> Any:
    return lambda progress: take_in(state.bases, kb, chosen, progress)
