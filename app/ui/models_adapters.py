"""The part of the Models tab on LoRA adapters: what there is, which knowledge base uses which, what vLLM has loaded."""

import html
from typing import TYPE_CHECKING, Any

from app.answering.adapter import assign, listed, root_of
from app.messages.errors_zh import says
from app.messages.texts import Tongue, tongue
from app.ui.choice import choice
from app.ui.knowledge_job import noted, told
from app.ui.knowledge_result import table
from app.ui.markup import markup
from core.errors import ConfigError, ModelError
from llm import adapters

if TYPE_CHECKING:
    from app.running.bases import State

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "a_name": "adapter", "a_fits": "fits", "a_loaded": "in vLLM", "a_used": "used by", "a_kb": "Knowledge base",
        "a_adapter": "Adapter", "a_assign": "Assign", "a_load": "Load now", "a_unload": "Unload",
        "a_base": "(base model)", "a_none": "There are no adapters in {}.",
        "a_off": "vLLM does not run: an adapter is loaded with the first question.",
        "a_note": "A knowledge base without an adapter is answered by the base model.",
    },
    "zh": {
        "a_name": "适配器", "a_fits": "适用", "a_loaded": "已在 vLLM 中", "a_used": "使用它的知识库", "a_kb": "知识库",
        "a_adapter": "适配器", "a_assign": "指定", "a_load": "立即加载", "a_unload": "卸载", "a_base": "（基础模型）",
        "a_none": "{} 中没有适配器。", "a_off": "vLLM 没有运行：适配器会在第一个问题时加载。",
        "a_note": "没有指定适配器的知识库由基础模型回答。",
    },
}  # fmt: skip


def build(state: "State", say: Any, part: Any) -> None:
    """What stands in `part`, a tab, which is filled when it is chosen."""
    import gradio as gr

    shown = markup("models-adapters")
    with gr.Row(equal_height=True):
        kb = choice(label=say("a_kb"), elem_id="models-adapter-kb", min_width=160)
        name = choice(label=say("a_adapter"), elem_id="models-adapter", min_width=160)
    with gr.Row():
        give = gr.Button(say("a_assign"), variant="primary", elem_id="models-assign", min_width=90)
        load = gr.Button(say("a_load"), elem_id="models-load", min_width=90)
        unload = gr.Button(say("a_unload"), elem_id="models-unload", min_width=90)
        refresh = gr.Button(say("refresh"), elem_id="models-adapters-refresh", min_width=90)
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    look, all_of_it = _looker(state), [shown, kb, name]
    part.select(look, [kb, name], all_of_it, **quietly)
    refresh.click(look, [kb, name], all_of_it, **quietly)
    for button, act in ((give, _giver(state)), (load, _loader(state)), (unload, _unloader(state))):
        button.click(act, [kb, name], None, api_visibility="private").then(look, [kb, name], all_of_it, **quietly)


def _looker(state: "State") -> Any:
    import gradio as gr

    def look(kb: str | None, name: str | None, request: gr.Request) -> Any:
        if not state.users.of(request).may("admin"):
            return gr.skip(), gr.skip(), gr.skip()
        said, rows, there = tongue(request), listed(state.cfg), _loaded(state)
        texts = TEXTS[said]
        bases, names = state.bases.names(), [row.name for row in rows]
        head = [texts[key] for key in ("a_name", "a_fits", "a_loaded", "a_used")]
        cells = [
            (r.name, says(r.problem, said) or "✅", "✅" if r.name in there else "–", ", ".join(r.bases) or "–")
            for r in rows
        ]
        empty = html.escape(texts["a_none"].format(root_of(state.cfg)))
        notes = [texts["a_note"], *([] if state.vllm else [texts["a_off"]])]
        body = table(head, cells) if rows else f'<div class="rs-empty">{empty}</div>'
        return (
            body + "".join(f'<div class="rs-note">{note}</div>' for note in notes),
            gr.Dropdown(choices=bases, value=kb if kb in bases else next(iter(bases), None)),
            gr.Dropdown(choices=[(texts["a_base"], ""), *((n, n) for n in names)], value=name if name in names else ""),
        )

    return told(look)


def _loaded(state: "State") -> set[str]:
    """The adapters that a running vLLM has; of several replicas, those that all have."""
    replicas = state.vllm.status().replicas if state.vllm else ()
    try:
        urls = [each.base_url for each in replicas if each.state == "running"]
        sets = [set(map(adapters.name_of, adapters.loaded(url))) for url in urls]
    except ModelError:  # it crashed a moment ago
        return set()
    return set.intersection(*sets) if sets else set()


def _giver(state: "State") -> Any:
    import gradio as gr

    def give(kb: str | None, name: str, request: gr.Request) -> None:
        state.users.require(request, "admin", kb or "")
        assign(state.cfg, kb or "", name)
        noted(state, request, "adapter.assign", kb or "", name)

    return told(give)


def _loader(state: "State") -> Any:
    import gradio as gr

    def load(_: str | None, name: str, request: gr.Request) -> None:
        state.users.require(request, "admin")
        adapters.load(_urls(state, name), root_of(state.cfg), name, state.cfg.llm)

    return told(load)


def _unloader(state: "State") -> Any:
    import gradio as gr

    def unload(_: str | None, name: str, request: gr.Request) -> None:
        state.users.require(request, "admin")
        adapters.unload(_urls(state, name), name)

    return told(unload)


def _urls(state: "State", name: str) -> tuple[str, ...]:
    if not name:
        raise ConfigError("no adapter is chosen", "choose one in the list")
    if state.vllm is None:
        raise ModelError("vLLM does not run", "start the model server first")
    return state.vllm.base_urls
