"""The golden questions of a knowledge base: drafted, judged and mended by a person, and what a search makes of them."""

import asyncio
import html
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app.answering.backend import resolve
from app.measuring.draft import Drafts, draft
from app.measuring.golden import (
    GoldenQuestion,
    Status,
    add,
    append,
    edit,
    forget,
    golden_file,
    locate,
    read,
    set_status,
)
from app.messages.texts import Tongue, tongue
from app.running.library import measure_golden
from app.ui import knowledge_view, pressed
from app.ui.knowledge_job import begin, for_editors, opened, pressable, shown, told
from app.ui.markup import markup
from app.ui.together import Together

if TYPE_CHECKING:
    from app.running.bases import State

_PAGE = 20  # questions that are shown at once
_Asked = tuple[str, str]  # the knowledge base and the id of the chosen question, "" for none
_MARKS: dict[Status, str] = {"draft": "✎", "approved": "✓", "rejected": "✗"}

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "g_status": "Show", "g_all": "all", "draft": "drafts", "approved": "approved", "rejected": "rejected",
        "g_earlier": "‹", "g_later": "›", "count": "How many", "draft_some": "Draft questions",
        "measure": "Measure retrieval", "g_question": "Question", "g_answer": "Answer (optional)",
        "g_evidence": "Sentences of the document that answer it, one a line",
        "g_file": "File, as the list of files has it",
        "approve": "✓ Approve", "reject": "✗ Reject", "save": "Save changes", "g_delete": "Delete",
        "g_new": "Add as new", "form": "The question", "g_choose": "Choose a question first.",
        "none_yet": "No question yet: draft some, or write your own.",
        "sums": "{} drafts, {} approved, {} rejected", "by_model": "by the model", "by_person": "by a person",
        "by_rule": "from the document",
    },
    "zh": {
        "g_status": "显示", "g_all": "全部", "draft": "草稿", "approved": "已通过", "rejected": "已拒绝",
        "g_earlier": "‹", "g_later": "›", "count": "数量", "draft_some": "起草问题",
        "measure": "评测检索", "g_question": "问题", "g_answer": "答案（可选）",
        "g_evidence": "文档中能回答它的句子，每行一句", "g_file": "文件，与文件列表中一致",
        "approve": "✓ 通过", "reject": "✗ 拒绝", "save": "保存修改", "g_delete": "删除", "g_new": "作为新问题添加",
        "form": "问题内容", "none_yet": "还没有问题：请起草一些，或自己写。", "g_choose": "请先选择一个问题。",
        "sums": "{} 个草稿，{} 个已通过，{} 个已拒绝", "by_model": "模型所写", "by_person": "人工所写",
        "by_rule": "取自文档",
    },
}  # fmt: skip


def build(state: "State", say: Any, chosen: Any, turn: Any, together: Together, follow: Any) -> None:
    """The part of the tab. `chosen`: the knowledge base; `turn` changes when it may have; `follow` shows a job."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    first, asked, saved = gr.State(0), gr.State(("", "")), gr.State("")
    with gr.Column(visible=False) as working, gr.Row():
        count = gr.Number(10, label=say("count"), minimum=1, maximum=200, precision=0, min_width=100,
                          elem_id="knowledge-count")  # fmt: skip
        drafting = gr.Button(say("draft_some"), elem_id="knowledge-draft", min_width=140)
        measuring = gr.Button(say("measure"), elem_id="knowledge-measure", min_width=140)
    choices = [(say("g_all"), "all"), *((say(status), status) for status in _MARKS)]
    which = gr.Radio(choices, value="all", label=say("g_status"), elem_id="knowledge-golden-status")
    listed, row = markup("knowledge-golden"), pressed.box("knowledge-golden")
    with gr.Row():
        earlier = gr.Button(say("g_earlier"), size="sm", min_width=60, elem_id="knowledge-golden-earlier")
        later = gr.Button(say("g_later"), size="sm", min_width=60, elem_id="knowledge-golden-later")
    with gr.Column(visible=False) as editing, gr.Accordion(say("form"), open=True):
        question = gr.Textbox("", label=say("g_question"), max_lines=4, elem_id="knowledge-golden-question")
        evidence = gr.Textbox("", label=say("g_evidence"), lines=2, max_lines=8, elem_id="knowledge-golden-evidence")
        answer = gr.Textbox("", label=say("g_answer"), max_lines=4, elem_id="knowledge-golden-answer")
        file = gr.Textbox("", label=say("g_file"), max_lines=1, elem_id="knowledge-golden-file")
        with gr.Row():
            labels = ("approve", "reject", "save", "g_new", "g_delete")
            approve, reject, save, new, delete = (
                gr.Button(say(label), size="sm", min_width=110, elem_id=f"knowledge-golden-{label.removeprefix('g_')}")
                for label in labels
            )
    for_editors(state, working)
    for_editors(state, editing)
    chunk = knowledge_view.build(state, say, chosen, together, "knowledge-golden")
    form = [question, evidence, answer, file]
    inputs, lists = [chosen, which, first, asked], [listed, first]
    together.when([turn, saved, asked], _lister(state), inputs, lists)
    together.when([chosen, which], _lister(state), [chosen, which, gr.State(0), asked], lists)
    earlier.click(_lister(state, -_PAGE), inputs, lists, **quietly)
    later.click(_lister(state, _PAGE), inputs, lists, **quietly)
    row.change(_picker(state), [chosen, row], [asked, chunk, *form], **quietly)
    approve.click(_judge(state, "approved"), [chosen, asked], saved, **quietly)
    reject.click(_judge(state, "rejected"), [chosen, asked], saved, **quietly)
    save.click(_editor(state), [chosen, asked, question, evidence, answer], saved, **quietly)
    new.click(_adder(state), [chosen, question, evidence, file], [saved, asked], **quietly)
    delete.click(_deleter(state), [chosen, asked], [saved, asked, chunk], **quietly)
    follow(drafting.click(_drafter(state), [chosen, count], None, **quietly))
    follow(measuring.click(_measurer(state), chosen, None, **quietly))


def _lister(state: "State", step: int = 0) -> Any:
    import gradio as gr

    def look(kb: str | None, which: str, first: int, asked: _Asked, request: gr.Request) -> Any:
        """One page of the questions, `step` on from `first`."""
        if not kb:
            return "", 0
        state.users.require(request, "reader", kb)
        texts = TEXTS[tongue(request)]
        known = read(golden_file(state.bases.data, kb))
        rows = [row for row in known if which in ("all", row.status)]
        first = max(min(first + step, (len(rows) - 1) // _PAGE * _PAGE), 0)
        counts = Counter(row.status for row in known)
        sums = texts["sums"].format(*(counts[status] for status in _MARKS)) if known else texts["none_yet"]
        items = "".join(
            f"<li>{pressable(row.id, _label(row, texts), (kb, row.id) == asked)}</li>"
            for row in rows[first : first + _PAGE]
        )
        return f'<div class="rs-line">{html.escape(sums)}</div><ul class="rs-rows">{items}</ul>', first

    return told(look)


def _label(row: GoldenQuestion, texts: dict[str, str]) -> str:
    place = f"{row.file} p. {row.page}" if row.page else row.file
    source = texts["by_model" if row.source == "model" else "by_person" if row.source == "person" else "by_rule"]
    facts = html.escape(f"{place} · {source} · {row.id}")
    mark = f'<b title="{html.escape(texts[row.status])}">{_MARKS[row.status]}</b>'
    return f'<span>{mark} {html.escape(row.question)}</span> <span class="rs-page">{facts}</span>'


def _picker(state: "State") -> Any:
    import gradio as gr

    def pick(kb: str, what: str, request: gr.Request) -> Any:
        """A question into the form, and the passage that holds its evidence now."""
        index, wanted = opened(state, request, kb), pressed.read(what).get("value", "")
        row = next((row for row in read(golden_file(state.bases.data, kb)) if row.id == wanted), None)
        if row is None:
            raise shown(TEXTS[tongue(request)]["g_choose"])
        located, _ = locate(index, [row])
        homes = sorted(located[0].homes[0]) if located else []
        shown_chunk = (kb, homes[0] if homes else 0)
        return (kb, row.id), shown_chunk, row.question, "\n".join(row.evidence), row.answer, row.file

    return told(pick)


def _sentences(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _one(request: Any, kb: str, asked: _Asked) -> str:
    if not asked[1] or asked[0] != kb:
        raise shown(TEXTS[tongue(request)]["g_choose"])
    return asked[1]


def _judge(state: "State", status: Status) -> Any:
    import gradio as gr

    def judge(kb: str, asked: _Asked, request: gr.Request) -> str:
        state.users.require(request, "editor", kb)
        set_status(golden_file(state.bases.data, kb), [_one(request, kb, asked)], status)
        return str(time.time())

    return told(judge)


def _editor(state: "State") -> Any:
    import gradio as gr

    def change(kb: str, asked: _Asked, question: str, evidence: str, answer: str, request: gr.Request) -> str:
        index = opened(state, request, kb, "editor")
        file = golden_file(state.bases.data, kb)
        edit(index, file, _one(request, kb, asked), question.strip(), _sentences(evidence), answer.strip())
        return str(time.time())

    return told(change)


def _adder(state: "State") -> Any:
    import gradio as gr

    def make(kb: str, question: str, evidence: str, file: str, request: gr.Request) -> Any:
        index = opened(state, request, kb, "editor")
        target = golden_file(state.bases.data, kb)
        return str(time.time()), (kb, add(index, target, question.strip(), _sentences(evidence), file.strip()).id)

    return told(make)


def _deleter(state: "State") -> Any:
    import gradio as gr

    def delete(kb: str, asked: _Asked, request: gr.Request) -> Any:
        state.users.require(request, "editor", kb)
        forget(golden_file(state.bases.data, kb), [_one(request, kb, asked)])
        return str(time.time()), ("", ""), ("", 0)

    return told(delete)


def _drafter(state: "State") -> Any:
    import gradio as gr

    def start(kb: str, count: float, request: gr.Request) -> None:
        index, user = opened(state, request, kb, "editor"), state.users.of(request)
        file = golden_file(state.bases.data, kb)

        async def written(progress: Any) -> Drafts:
            backend = await resolve(state.cfg.llm)
            return await draft(index, state.cfg, int(count), read(file), backend, progress=progress)

        def work(progress: Any) -> Drafts:
            drafts = asyncio.run(written(progress))
            return replace(drafts, questions=tuple(append(file, drafts.questions)))

        begin(state, "draft", kb, user.name, work, tongue(request))

    return told(start)


def _measurer(state: "State") -> Any:
    import gradio as gr

    def start(kb: str, request: gr.Request) -> None:
        user = state.users.require(request, "editor", kb)
        work = lambda progress: measure_golden(state.bases, kb, progress)  # noqa: E731
        begin(state, "evaluate", kb, user.name, work, tongue(request))

    return told(start)
