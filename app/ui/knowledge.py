"""The Knowledge tab: knowledge bases, what is in them and where from, what a search makes of them, golden questions."""

import html
import time
from typing import TYPE_CHECKING, Any

from app.keeping.languages import language_notes
from app.messages.errors_zh import says
from app.messages.texts import TEXTS as CHAT_TEXTS
from app.messages.texts import Tongue, tongue
from app.ui import (
    knowledge_choose,
    knowledge_files,
    knowledge_golden,
    knowledge_marked,
    knowledge_name,
    knowledge_overview,
    knowledge_search,
    knowledge_sources,
    knowledge_troubles,
    knowledge_view,
    pressed,
)
from app.ui.choice import choice
from app.ui.knowledge_job import begin, for_editors, latest, noted, opened, told
from app.ui.knowledge_result import panel
from app.ui.markup import markup
from app.ui.together import Together, on_load
from core.errors import CatalogError, RagstoneError

if TYPE_CHECKING:
    from app.running.bases import State
    from retrieval.index import Index

NAME, ROLE = "knowledge", "reader"
_POLL_S = 1.0  # while a job runs; else nothing is asked

_TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "tab": "Knowledge", "kb": "Knowledge base", "refresh": "Refresh", "cancel": "Cancel", "apply": "Apply",
        "new": "New knowledge base", "new_name": "Its name", "make": "Make it", "sources": "Sources",
        "files": "Files", "search": "Search test", "golden": "Golden set", "documents": "documents",
        "passages": "passages", "embedded": "found by meaning", "embedder": "embedder", "languages": "languages",
        "last_read": "last read", "no_base": "There is no knowledge base yet: make one below.",
        "exists": "there is a knowledge base {!r} already", "choose_other": "choose it above, or another name",
        "cancelling": "It ends after the file or question that it is at.",
    },
    "zh": {
        "tab": "知识库", "kb": "知识库", "refresh": "刷新", "cancel": "取消", "apply": "执行",
        "new": "新建知识库", "new_name": "名称", "make": "新建", "sources": "来源",
        "files": "文件", "search": "检索测试", "golden": "黄金问题", "documents": "个文档",
        "passages": "个段落", "embedded": "个可按语义检索", "embedder": "嵌入模型", "languages": "语言",
        "last_read": "最近读取", "no_base": "还没有知识库：请在下方新建。",
        "exists": "知识库 {!r} 已存在", "choose_other": "请在上方选择它，或换一个名称",
        "cancelling": "将在当前文件或问题处理完后结束。",
    },
}  # fmt: skip
_PARTS = (
    knowledge_troubles, knowledge_sources, knowledge_files, knowledge_choose, knowledge_marked, knowledge_name,
    knowledge_view, knowledge_search, knowledge_golden, knowledge_overview,
)  # fmt: skip
TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {key: text for texts in (_TEXTS, *(part.TEXTS for part in _PARTS)) for key, text in texts["en"].items()},
    "zh": {key: text for texts in (_TEXTS, *(part.TEXTS for part in _PARTS)) for key, text in texts["zh"].items()},
}


def build(state: "State", say: Any, kb: str) -> None:
    """The tab. `shown.change` tells its parts that what they show may be out of date; `follow` shows a job begun."""
    import gradio as gr

    with gr.Row():
        chosen = choice(label=say("kb"), elem_id="knowledge-kb", scale=4, min_width=200)
        refresh = gr.Button(say("refresh"), size="sm", elem_id="knowledge-refresh", scale=1, min_width=90)
    summary, trouble = markup("knowledge-summary"), pressed.box("knowledge-summary")
    job = markup("knowledge-job")
    with gr.Row():
        apply = gr.Button(say("apply"), variant="primary", visible=False, elem_id="knowledge-apply")
        cancel = gr.Button(say("cancel"), variant="stop", visible=False, elem_id="knowledge-cancel")
    shown = gr.State("")
    timer = gr.Timer(_POLL_S, active=False)
    poll, together = _poller(state), Together()
    watched = [job, cancel, apply, timer, shown]
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    def follow(event: Any) -> None:
        event.success(poll, [chosen, shown], watched, **quietly)

    keeping = knowledge_overview.build(state, say, chosen, shown, together)
    with gr.Tabs(elem_id="knowledge-parts") as parts:
        with gr.Tab(say("sources"), elem_id="knowledge-tab-sources"):
            knowledge_sources.build(state, say, chosen, shown, together, follow)
            with gr.Column(visible=False) as making, gr.Accordion(say("new"), open=False, elem_id="knowledge-new"):
                name = gr.Textbox("", label=say("new_name"), max_lines=1, elem_id="knowledge-name")
                make = gr.Button(say("make"), elem_id="knowledge-make")
                made = markup()
        with gr.Tab(say("files"), id="files", elem_id="knowledge-tab-files"):
            which = knowledge_files.build(state, say, chosen, shown, together, follow)
        with gr.Tab(say("search"), elem_id="knowledge-tab-search"):
            knowledge_search.build(state, say, chosen, together)
        with gr.Tab(say("golden"), elem_id="knowledge-tab-golden"):
            knowledge_golden.build(state, say, chosen, shown, together, follow)
    for_editors(state, making, keeping)
    choices = _choices(state, kb)
    on_load(choices, [chosen], [chosen, summary])
    again = refresh.click(choices, chosen, [chosen, summary], **quietly)
    follow(again.success(lambda: str(time.time()), None, shown, **quietly))
    together.when([chosen, shown], _summary(state), [chosen], [summary])
    together.when([chosen], poll, [chosen, shown], watched)
    together.wire()
    trouble.change(_shower, trouble, [parts, which], **quietly)
    timer.tick(poll, [chosen, shown], watched, **quietly)
    make.click(_maker(state), name, [chosen, name, made], **quietly)
    follow(apply.click(_applier(state), chosen, None, **quietly))
    follow(cancel.click(_canceller(state), chosen, None, **quietly))


def _choices(state: "State", kb: str) -> Any:
    import gradio as gr

    def load(chosen: str | None, request: gr.Request) -> Any:
        user = state.users.of(request)
        names = user.seen(state.bases.names())
        value = next((name for name in (chosen, kb, *names) if name in names), None)
        described = _described(state, value, tongue(request), admin=user.may("admin"))
        return gr.Dropdown(choices=names, value=value), described

    return told(load)


def _shower(what: str) -> Any:
    """Turn to the files that are spoken of; what they are is asked for, and answered, as ever."""
    import gradio as gr

    state = pressed.read(what).get("value", "")
    return (
        (gr.Tabs(selected="files"), gr.Radio(value=state))
        if state in ("failed", "notes", "left_out")
        else (gr.skip(), gr.skip())
    )


def _summary(state: "State") -> Any:
    import gradio as gr

    def describe(kb: str | None, request: gr.Request) -> str:
        user = state.users.require(request, "reader", kb or "")
        return _described(state, kb, tongue(request), admin=user.may("admin"))

    return told(describe)


def _described(state: "State", kb: str | None, said: Tongue, *, admin: bool) -> str:
    texts = TEXTS[said]
    if not kb:
        return f'<div class="rs-empty">{html.escape(texts["no_base"])}</div>'
    try:
        index = state.bases.get(kb)
        return _counts(index, said) + knowledge_troubles.troubles(index, said, admin=admin)
    except RagstoneError as error:  # of one that cannot be opened: others can be chosen
        return f'<pre class="rs-problem" role="alert">{html.escape(says(error, said))}</pre>'


def _counts(index: "Index", said: Tongue) -> str:
    """How much there is, in which languages, since when, and what the embedder cannot read."""
    texts, counts = TEXTS[said], index.counts()
    latest_read = index.catalog.last_read()
    languages = [f"{CHAT_TEXTS[said].get(f'lang_{code}', code)} {n}" for code, n in index.catalog.languages().items()]
    parts = [
        f"<b>{counts.documents}</b> {texts['documents']}", f"<b>{counts.chunks}</b> {texts['passages']}",
        f"{counts.dense} {texts['embedded']}", html.escape(f"{texts['languages']}: {', '.join(languages) or '–'}"),
        html.escape(f"{texts['embedder']}: {index.embedder.name}"),
    ]  # fmt: skip
    if latest_read:
        parts.append(f"{texts['last_read']}: {time.strftime('%Y-%m-%d %H:%M', time.localtime(latest_read))}")
    notes = "".join(f'<div class="rs-note">⚠️ {html.escape(note)}</div>' for note in language_notes(index, said))
    return f'<div class="rs-counts">{" · ".join(parts)}</div>{notes}'


def _poller(state: "State") -> Any:
    import gradio as gr

    def poll(kb: str | None, seen: str, request: gr.Request) -> Any:
        """How far the job on the chosen knowledge base is; asked again while it runs."""
        if kb:  # before the jobs are looked at: who may not see it is told the same whether there is one
            state.users.require(request, "reader", kb)
        job = latest(state, kb)
        if not kb or job is None:
            return "", gr.update(visible=False), gr.update(visible=False), gr.Timer(active=False), gr.skip()
        index = opened(state, request, kb)
        running, editor = job.state == "running", state.users.of(request).may("editor")
        ready = job.key.startswith("plan ") and job.state == "done"
        return (
            panel(job, index.catalog.folders(), tongue(request)),
            gr.update(visible=running and editor),
            gr.update(visible=ready and editor and any(not plan.empty for plan in job.result.plans.values())),
            gr.Timer(active=running),
            gr.skip() if running or seen == job.id else job.id,
        )

    return told(poll)


def _maker(state: "State") -> Any:
    import gradio as gr

    def make(name: str, request: gr.Request) -> Any:
        user, name = state.users.require(request, "editor", name.strip()), name.strip()
        if name in state.bases.names():
            texts = TEXTS[tongue(request)]
            raise CatalogError(texts["exists"].format(name), texts["choose_other"])
        state.bases.make(name)
        noted(state, request, "base.make", name)
        names = user.seen(state.bases.names())
        look_here = f'<span data-look="knowledge-kb" data-made="{html.escape(name)}"></span>'  # page.js does
        return gr.Dropdown(choices=names, value=name), "", look_here

    return told(make)


def _applier(state: "State") -> Any:
    import gradio as gr

    def apply(kb: str, request: gr.Request) -> None:
        user = state.users.require(request, "editor", kb)
        begin(state, "index", kb, user.name, lambda progress: state.bases.update(kb, progress), tongue(request))

    return told(apply)


def _canceller(state: "State") -> Any:
    import gradio as gr

    def cancel(kb: str, request: gr.Request) -> None:
        state.users.require(request, "editor", kb)
        if job := latest(state, kb):
            state.jobs.cancel(job.id)
            gr.Info(TEXTS[tongue(request)]["cancelling"])

    return told(cancel)
