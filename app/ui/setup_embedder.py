"""The second step of setting up: which embedder reads the documents; what another would take, and the way back."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.messages.texts import TEXTS as CHAT_TEXTS
from app.messages.texts import Tongue, tongue
from app.running import embedders
from app.running.embedders import Examined, Offer
from app.ui import pressed
from app.ui.knowledge_job import noted, pressable, shown, told
from app.ui.knowledge_result import duration, lines, result, table
from app.ui.knowledge_result import panel as job_panel
from app.ui.markup import markup
from app.ui.setup_part import Part, begin, canceller, latest
from core.config import Config
from core.errors import ConfigError

if TYPE_CHECKING:
    from app.running.bases import State

_EXAMINE, _FETCH, _CHANGE, _BACK = "setup-examine", "setup-fetch", "setup-change", "setup-back"
_ALL = (_EXAMINE, _FETCH, _CHANGE, _BACK)
_HUBS = ("huggingface", "modelscope")
# What those that are offered read, as their makers say; what one here reads is found out by its examination.
_READS: dict[str, dict[Tongue, str]] = {
    "multilingual": {"en": "Chinese, English and about 90 more", "zh": "中文、英文及约 90 种其他语言"},
    "english": {"en": "English", "zh": "英文"},
    "BAAI/bge-m3": {"en": "Chinese, English and about 100 more", "zh": "中文、英文及约 100 种其他语言"},
    "intfloat/multilingual-e5-base": {"en": "Chinese, English and about 90 more", "zh": "中文、英文及约 90 种其他语言"},
    "Qwen/Qwen3-Embedding-0.6B": {"en": "Chinese, English and about 100 more", "zh": "中文、英文及约 100 种其他语言"},
}

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "e_about": "It turns passages into numbers by which they are found by meaning. The one that comes with the app "
        "suits most; a larger one finds a little more and takes longer.",
        "e_name": "Embedder: one of the list, a folder on the machine, or maker/name on a hub",
        "e_source": "Download from", "e_examine": "Try it here", "e_fetch": "Download", "e_use": "Use it",
        "e_anew": "Embed anew and use it", "e_back": "Back to the one before", "e_cancel": "Cancel",
        "in_use": "in use", "state_here": "here", "state_packed": "comes with the app, unpacked on first use",
        "state_away": "to be downloaded", "e_reads": "reads", "e_reads_none": "neither English nor Chinese",
        "e_speed": "speed here", "per_second": "{:,.0f} passages a second", "e_longest": "longest text",
        "e_tokens": "{:,} tokens", "e_numbers": "numbers a vector", "e_kb": "knowledge base",
        "e_passages": "passages", "e_time": "time here", "e_takes": "These knowledge bases would be embedded anew, "
        "each beside what answers meanwhile, and then swapped. The generation before stays, and leads back.",
        "e_nothing": "No knowledge base needs to be embedded anew.", "e_none": "Choose an embedder first.",
        "e_fetched": "It lies in {}. Try it next.", "e_changed": "{} embeds from now on.",
        "e_went_back": "{} embeds again, and the knowledge bases are as they were.",
        "e_way": "Back leads to {}: {}.",
    },
    "zh": {
        "e_about": "嵌入模型把段落变成数字，使它们能按语义被找到。随软件提供的模型适合多数情况；"
        "更大的模型找得更准一些，也更慢。",
        "e_name": "嵌入模型：列表中的一个、本机上的文件夹，或模型站上的 maker/name",
        "e_source": "下载来源", "e_examine": "在本机试用", "e_fetch": "下载", "e_use": "使用它",
        "e_anew": "重新嵌入并使用它", "e_back": "回退到之前的模型", "e_cancel": "取消",
        "in_use": "正在使用", "state_here": "已在本机", "state_packed": "随软件提供，首次使用时解压",
        "state_away": "需要下载", "e_reads": "可读语言", "e_reads_none": "中文和英文都读不懂",
        "e_speed": "本机速度", "per_second": "每秒 {:,.0f} 个段落", "e_longest": "最长文本",
        "e_tokens": "{:,} 个词元", "e_numbers": "向量维数", "e_kb": "知识库",
        "e_passages": "段落数", "e_time": "本机用时",
        "e_takes": "以下知识库需要重新嵌入：期间旧版本照常回答，完成后切换。旧版本会保留，可以回退。",
        "e_nothing": "没有知识库需要重新嵌入。", "e_none": "请先选择一个嵌入模型。",
        "e_fetched": "已存放在 {}。接下来请试用。", "e_changed": "今后由 {} 嵌入。",
        "e_went_back": "恢复由 {} 嵌入，知识库与之前相同。",
        "e_way": "可以回退 {}：{}。",
    },
}  # fmt: skip


def build(state: "State", say: Any, kb: str) -> Part:
    """The step."""
    import gradio as gr

    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    listed, pick = markup("setup-embedders"), pressed.box("setup-embedders")
    name = gr.Textbox("", label=say("e_name"), max_lines=1, max_length=4096, elem_id="setup-embedder")
    source = gr.Radio(list(_HUBS), value=_HUBS[0], label=say("e_source"), visible=False, elem_id="setup-source")
    with gr.Row():
        examine = gr.Button(say("e_examine"), variant="primary", elem_id="setup-examine", min_width=120)
        fetch = gr.Button(say("e_fetch"), variant="primary", visible=False, elem_id="setup-fetch", min_width=120)
    found, ready = markup("setup-examined"), gr.State("")  # the examination that is shown
    with gr.Row():
        use = gr.Button(say("e_use"), variant="primary", visible=False, elem_id="setup-use", min_width=120)
        cancel = gr.Button(say("e_cancel"), variant="stop", visible=False, elem_id="setup-embed-cancel", min_width=120)
        back = gr.Button(say("e_back"), visible=False, elem_id="setup-back", min_width=120)
    pick.change(_picker(state), [pick], [name], **quietly)
    name.change(_chooser(state), [name], [examine, fetch, source], **quietly)
    begins = [
        examine.click(_examiner(state), [name], None, **quietly),
        fetch.click(_fetcher(state), [name, source], None, **quietly),
        use.click(_user(state), [ready], None, **quietly),
        back.click(_backer(state), None, None, **quietly),
        cancel.click(canceller(state, lambda: [latest(state, *_ALL)]), None, None, **quietly),
    ]
    return Part([found, use, cancel, ready], [listed, back], begins, [])


def named(cfg: Config, value: str) -> str:
    """What an embedder is called, by the value that chooses it."""
    return next((offer.name for offer in embedders.offers(cfg) if offer.value == value), value)


def lists(state: "State", said: Tongue) -> list[Any]:
    """The embedders to choose from, and whether there is a way back."""
    import gradio as gr

    texts, now = TEXTS[said], embedders.chosen(state.cfg.retrieval)
    rows = [f"<li>{pressable(offer.value, _offered(offer, now, said), offer.value == now)}</li>"
            for offer in embedders.offers(state.cfg)]  # fmt: skip
    before, way = embedders.earlier(state), ""
    if before:
        value = next(iter(before.values()))
        bases = ", ".join(kb for kb, made in before.items() if made == value)
        way = lines([texts["e_way"].format(named(state.cfg, value), bases)])
    body = f'{lines([texts["e_about"]])}<ul class="rs-rows">{"".join(rows)}</ul>{way}'
    return [body, gr.update(visible=bool(before))]


def _offered(offer: Offer, now: str, said: Tongue) -> str:
    texts = TEXTS[said]
    facts = [
        _READS.get(offer.value, {}).get(said, ""), f"{offer.megabytes} MB" if offer.megabytes else "",
        texts[f"state_{offer.state}"],
    ]  # fmt: skip
    mark = f"✓ {texts['in_use']} · " if offer.value == now else ""
    about = html.escape(" · ".join(fact for fact in facts if fact))
    return f'<b>{html.escape(offer.name)}</b><span class="rs-about">{mark}{about}</span>'


def panel(state: "State", said: Tongue) -> list[Any]:
    """What the last work on embedders came to, or how far it is; what can be done; the examination's id."""
    import gradio as gr

    job, texts = latest(state, *_ALL), TEXTS[said]
    hidden = gr.update(visible=False)
    if job is None:
        return ["", hidden, hidden, ""]
    cancel = gr.update(visible=job.state == "running")
    if job.state != "done":
        return [job_panel(job, [], said), hidden, cancel, ""]
    done = job.result
    if isinstance(done, Examined):
        other = done.anew or done.value != embedders.chosen(state.cfg.retrieval)
        use = gr.update(visible=True, value=texts["e_anew" if done.anew else "e_use"]) if other else hidden
        return [examined(done, said), use, cancel, job.id if other else ""]
    if isinstance(done, Path):
        body = lines([texts["e_fetched"].format(done)])
    elif isinstance(done, str):
        body = lines([texts["e_went_back"].format(named(state.cfg, done))])
    else:
        value = embedders.chosen(state.cfg.retrieval)
        body = lines([texts["e_changed"].format(named(state.cfg, value))])
        body += "".join(f"<h4>{html.escape(kb)}</h4>{result(report, [], said)}" for kb, report in done.items())
    return [f'<div class="rs-job" data-state="done">{body}</div>', hidden, cancel, ""]


def examined(found: Examined, said: Tongue) -> str:
    """What an embedder is, how fast it is here, and what embedding anew by it would take."""
    texts, words = TEXTS[said], CHAT_TEXTS[said]
    tongues = (", " if said == "en" else "、").join(words[f"lang_{code}"] for code in found.reads)
    facts = {
        "e_reads": tongues or texts["e_reads_none"], "e_speed": texts["per_second"].format(found.per_second),
        "e_longest": texts["e_tokens"].format(found.tokens), "e_numbers": str(found.dimension),
    }  # fmt: skip
    items = "".join(f"<dt>{html.escape(texts[key])}</dt><dd>{html.escape(text)}</dd>" for key, text in facts.items())
    rows = [
        (kb, f"{cost.chunks:,}", duration(cost.seconds)) for kb, cost in found.anew.items()
    ]  # fmt: skip
    head = [texts[key] for key in ("e_kb", "e_passages", "e_time")]
    takes = lines([texts["e_takes"]]) + table(head, rows) if rows else lines([texts["e_nothing"]])
    name = f"<b>{html.escape(found.name)}</b>"
    return f'<div class="rs-job" data-state="done">{name}<dl class="rs-facts">{items}</dl>{takes}</div>'


def _picker(state: "State") -> Any:
    import gradio as gr

    def pick(what: str, request: gr.Request) -> str:
        state.users.require(request, "admin")
        return pressed.read(what).get("value", "")

    return told(pick)


def _chooser(state: "State") -> Any:
    import gradio as gr

    def choose(value: str, request: gr.Request) -> Any:
        """What can be done with what is named: tried where it is here, else downloaded."""
        state.users.require(request, "admin")
        here = not value.strip() or embedders.is_here(value.strip())
        return gr.update(visible=here), gr.update(visible=not here), gr.update(visible=not here)

    return told(choose)


def _named_one(name: str, said: Tongue) -> str:
    if not name.strip():
        raise shown(TEXTS[said]["e_none"])
    return name.strip()


def _examiner(state: "State") -> Any:
    import gradio as gr

    def examine(name: str, request: gr.Request) -> None:
        user, said = state.users.require(request, "admin"), tongue(request)
        value = _named_one(name, said)
        work = lambda progress: embedders.examine(state, value, progress)  # noqa: E731
        begin(state, _EXAMINE, user.name, work, said, *_ALL)

    return told(examine)


def _fetcher(state: "State") -> Any:
    import gradio as gr

    def fetch(name: str, source: str, request: gr.Request) -> None:
        user, said = state.users.require(request, "admin"), tongue(request)
        value = _named_one(name, said)
        hub = source if source in _HUBS else _HUBS[0]
        noted(state, request, "embedder.fetch", value, hub)
        begin(state, _FETCH, user.name, lambda progress: embedders.fetch(state, value, hub, progress), said, *_ALL)

    return told(fetch)


def _user(state: "State") -> Any:
    import gradio as gr

    def use(ready: str, request: gr.Request) -> None:
        """Embed by what was examined, and by nothing else."""
        user, said = state.users.require(request, "admin"), tongue(request)
        job = state.jobs.get(ready)
        if job is None or not isinstance(job.result, Examined):
            raise ConfigError("no embedder was tried", "try it here first")
        value = job.result.value
        noted(state, request, "embedder.use", value)
        begin(state, _CHANGE, user.name, lambda progress: embedders.change(state, value, progress), said, *_ALL)

    return told(use)


def _backer(state: "State") -> Any:
    import gradio as gr

    def back(request: gr.Request) -> None:
        user, said = state.users.require(request, "admin"), tongue(request)
        noted(state, request, "embedder.back")
        begin(state, _BACK, user.name, lambda progress: embedders.back(state), said, *_ALL)

    return told(back)
