"""The Set up tab: a folder, an embedder and a model, each ticked where it is there.

It is for the first visit, and for whenever one of them is to be another.
"""

import asyncio
import html
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.answering.backend import resolve
from app.messages.texts import Tongue, tongue
from app.running.bases import State
from app.running.embedders import chosen, is_here
from app.ui import setup_embedder, setup_folder, setup_model
from app.ui.knowledge_job import shown, told
from app.ui.markup import markup
from app.ui.setup_part import Part
from core.config import Config
from core.errors import AccessError, CatalogError, RagstoneError

NAME, ROLE = "setup", "admin"
_POLL_S = 1.0  # while something is under way; else nothing is asked

_TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "tab": "Set up",
        "intro": "Three steps to answers from your own documents. What is there already is ticked; each can wait.",
        "chat": "Go to the chat", "folder": "A folder of documents", "embedder": "An embedder",
        "model": "A model that writes", "step": "Step {}: {}", "done": "✓ Step {}: {} ({})",
        "documents": "{:,} documents",
    },
    "zh": {
        "tab": "开始使用",
        "intro": "三步即可得到来自您自己文档的回答。已具备的会打勾，每一步都可以以后再做。",
        "chat": "前往对话", "folder": "文档文件夹", "embedder": "嵌入模型",
        "model": "撰写回答的模型", "step": "第 {} 步：{}", "done": "✓ 第 {} 步：{}（{}）",
        "documents": "{:,} 个文档",
    },
}  # fmt: skip
_STEPS, _PARTS = ("folder", "embedder", "model"), (setup_folder, setup_embedder, setup_model)
TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {key: text for texts in (_TEXTS, *(part.TEXTS for part in _PARTS)) for key, text in texts["en"].items()},
    "zh": {key: text for texts in (_TEXTS, *(part.TEXTS for part in _PARTS)) for key, text in texts["zh"].items()},
}


@dataclass(frozen=True, slots=True)
class Standing:
    """What of the three is there: documents, the embedder by its name, the model that writes; 0 and "" where not."""

    documents: int
    embedder: str
    model: str


async def standing(state: State) -> Standing:
    """How far an installation is set up."""
    try:
        backend = await resolve(state.cfg.llm)
        model = backend.model if backend.endpoint else ""
    except RagstoneError:
        model = ""
    embedder = await asyncio.to_thread(_embedder, state.cfg)
    return Standing(await asyncio.to_thread(documents, state), embedder, model)


def documents(state: State) -> int:
    """How many documents all knowledge bases hold that can be opened."""
    count = 0
    for name in state.bases.names():
        try:
            count += state.bases.get(name).counts().documents
        except CatalogError:
            continue
    return count


def _embedder(cfg: Config) -> str:
    value = chosen(cfg.retrieval)
    return setup_embedder.named(cfg, value) if is_here(value) else ""


def build(state: State, say: Any, kb: str) -> tuple[Any, list[Any]]:
    """The tab; returns what is called, without an input, when it is opened, and what that fills."""
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    head = markup("setup-head")
    steps: list[gr.Accordion] = []
    parts: list[Part] = []
    for name, part in zip(_STEPS, _PARTS, strict=True):
        with gr.Accordion(say(name), open=False, elem_id=f"setup-step-{name}") as step:
            parts.append(part.build(state, say, kb))
        steps.append(step)
    ended = gr.State("")  # the job whose end was shown last
    timer = gr.Timer(_POLL_S, active=False)
    look, poll = _looker(state, first=False), _poller(state)
    looked = [head, *steps, *(one for part in parts for one in part.lists)]
    watched = [*(one for part in parts for one in part.panels), timer, ended]
    timer.tick(poll, None, watched, **quietly)
    ended.change(look, None, looked, **quietly)
    for part in parts:
        for event in part.begins:
            event.success(poll, None, watched, **quietly)
        for event in part.changes:
            event.success(look, None, looked, **quietly)
    first = _looker(state, first=True)

    async def opened(request: gr.Request) -> list[Any]:
        return [*await first(request), *await asyncio.to_thread(poll, request)]

    return opened, [*looked, *watched]


def _looker(state: State, *, first: bool) -> Any:
    """What is ticked, and what there is to choose from; as it is opened `first`, what lacks is open."""

    async def look(request: gr.Request) -> list[Any]:
        user = await asyncio.to_thread(state.users.of, request)
        if not user.may("admin"):
            raise shown(AccessError("the Set up tab is for admins", "ask an admin"), tongue(request))
        said = tongue(request)
        texts, there = TEXTS[said], await standing(state)
        facts = [texts["documents"].format(there.documents) if there.documents else "", there.embedder, there.model]
        steps = []
        for number, (name, fact) in enumerate(zip(_STEPS, facts, strict=True), start=1):
            label = texts["done" if fact else "step"].format(number, texts[name], fact)
            steps.append(gr.Accordion(label=label, open=not fact) if first else gr.Accordion(label=label))
        head = (
            f'<div class="rs-setup"><p>{html.escape(texts["intro"])}</p>'
            f'<button type="button" class="rs-go" data-go="chat">{html.escape(texts["chat"])}</button></div>'
        )
        folders = [gr.skip()]  # somebody may be on the way to one
        if first:
            folders = await asyncio.to_thread(setup_folder.lists, state)
        found = await asyncio.to_thread(setup_embedder.lists, state, said)
        return [head, *steps, *folders, *found, *await setup_model.lists(state, said)]

    return look


def _poller(state: State) -> Any:
    def poll(request: gr.Request) -> list[Any]:
        """How far long work is; asked again while there is any."""
        state.users.require(request, "admin")
        said, jobs = tongue(request), state.jobs.latest()
        panels = [*setup_folder.panel(state, said), *setup_embedder.panel(state, said), setup_model.panel(state, said)]
        last = max((job for job in jobs if job.state != "running"), key=lambda job: job.ended, default=None)
        return [*panels, gr.Timer(active=any(job.state == "running" for job in jobs)), last.id if last else ""]

    return told(poll)
