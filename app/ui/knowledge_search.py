"""The retrieval test: what a question finds under chosen settings, how, and at which stage a sentence was lost."""

import asyncio
import html
from typing import TYPE_CHECKING, Any

from app.answering.find import lookup
from app.answering.plan import Manner, planned
from app.messages.errors_zh import says
from app.messages.texts import TEXTS as CHAT_TEXTS
from app.messages.texts import Tongue, timed, tongue
from app.ui import knowledge_view, pressed
from app.ui.knowledge_job import opened, pressable, shown
from app.ui.markup import markup
from app.ui.together import Together
from core.errors import RagstoneError
from core.types import Candidate, Trace
from prompts.context import shortened
from retrieval.explain import fate, matched
from retrieval.filters import Filter

if TYPE_CHECKING:
    from app.running.bases import State
    from retrieval.index import Index
    from retrieval.search import Result

_TRACED = 40  # candidates that are shown
_TERMS = 6  # of a wording, that a candidate holds
_SHORT = 160  # characters of a passage in the list

TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "question": "Question", "sentence": "A sentence that should be found (which stage loses it?)", "k": "Passages",
        "ask": "Search", "mode": "Mode", "hybrid": "both", "dense": "by meaning", "lexical": "by words",
        "weight": "Share of meaning", "auto": "Share as calibrated", "candidates": "Candidates of each retriever",
        "variants": "Other wordings", "rerank": "Rerank", "filters": "Settings and filters",
        "paths": "Paths, e.g. it/**, **/*.md", "types": "Types, e.g. pdf, docx", "langs": "Languages, e.g. zh, en",
        "tags": "Tags", "since": "Since, e.g. 2025-03", "until": "Until", "nothing": "Nothing was found.",
        "ask_none": "Write a question first.", "wordings": "Wordings that were searched", "weighs": "weight {}",
        "candidate": "passage", "place": "place", "meaning": "{} by meaning", "words": "{} by words, terms",
        "fused": "fused", "reranked": "rerank", "fate": "what became of the sentence", "trace": "Candidates",
        "origin_question": "as asked", "origin_rewritten": "rewritten", "origin_variant": "by the model",
        "origin_feedback": "from the first passages",
    },
    "zh": {
        "question": "问题", "sentence": "应当找到的句子（在哪一步丢失？）", "k": "段落数",
        "ask": "检索", "mode": "方式", "hybrid": "两者", "dense": "按语义", "lexical": "按词语",
        "weight": "语义的比重", "auto": "按校准的比重", "candidates": "每种检索的候选数",
        "variants": "其他问法", "rerank": "重排", "filters": "设置与筛选",
        "paths": "路径，如 it/**, **/*.md", "types": "类型，如 pdf, docx", "langs": "语言，如 zh, en",
        "tags": "标签", "since": "起始，如 2025-03", "until": "截止", "nothing": "什么也没有找到。",
        "ask_none": "请先写一个问题。", "wordings": "检索所用的问法", "weighs": "权重 {}",
        "candidate": "段落", "place": "名次", "meaning": "{} 语义", "words": "{} 词语及命中的词",
        "fused": "融合", "reranked": "重排", "fate": "该句的去向", "trace": "候选段落",
        "origin_question": "原问题", "origin_rewritten": "改写", "origin_variant": "模型所写",
        "origin_feedback": "取自最先找到的段落",
    },
}  # fmt: skip


def build(state: "State", say: Any, chosen: Any, together: Together) -> None:
    """The part of the tab. `chosen`: the knowledge base."""
    import gradio as gr

    cfg = state.cfg.retrieval
    question = gr.Textbox("", label=say("question"), max_lines=3, elem_id="knowledge-question")
    sentence = gr.Textbox("", label=say("sentence"), max_lines=3, elem_id="knowledge-sentence")
    with gr.Accordion(say("filters"), open=False, elem_id="knowledge-settings"):
        modes = [(say(mode), mode) for mode in ("hybrid", "dense", "lexical")]
        mode = gr.Radio(modes, value=cfg.mode, label=say("mode"), elem_id="knowledge-mode")
        with gr.Row():
            k = gr.Slider(1, 50, min(cfg.k, 50), step=1, label=say("k"), elem_id="knowledge-k", min_width=240)
            candidates = gr.Slider(
                1, 1000, min(cfg.candidates, 1000), step=1, label=say("candidates"), elem_id="knowledge-candidates",
                min_width=240,
            )  # fmt: skip
            weight = gr.Slider(
                0, 1, 0.5 if cfg.dense_weight == "auto" else cfg.dense_weight, step=0.05, label=say("weight"),
                elem_id="knowledge-weight", min_width=240,
            )  # fmt: skip
            variants = gr.Slider(
                0, 10, cfg.variants, step=1, label=say("variants"), elem_id="knowledge-variants", min_width=240
            )
        with gr.Row():
            auto = gr.Checkbox(cfg.dense_weight == "auto", label=say("auto"), elem_id="knowledge-auto")
            there = bool(cfg.reranker or cfg.rerank_url)
            rerank = gr.Checkbox(there, label=say("rerank"), visible=there, elem_id="knowledge-rerank")
        with gr.Row():
            filters = [
                gr.Textbox("", label=say(name), max_lines=1, min_width=160, elem_id=f"knowledge-{name}")
                for name in ("paths", "types", "langs", "tags", "since", "until")
            ]
    ask = gr.Button(say("ask"), variant="primary", elem_id="knowledge-ask")
    found, which, searched = markup("knowledge-found"), pressed.box("knowledge-found"), gr.State("")
    chunk = knowledge_view.build(state, say, chosen, together, "knowledge-hit")
    inputs = [chosen, question, sentence, mode, k, candidates, weight, auto, variants, rerank, *filters]
    gr.on([ask.click, question.submit], _searcher(state), inputs, [found, searched], api_visibility="private",
          concurrency_limit=4)  # fmt: skip
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}

    def pick(kb: str, what: str) -> tuple[str, int]:
        number = pressed.read(what).get("value", "")
        return kb, int(number) if number.isdecimal() else 0

    def keep(kb: str, searched: str, _: gr.Request) -> Any:
        """What was found elsewhere goes, however late the page hears of either."""
        return gr.skip() if kb == searched else ""

    which.change(pick, [chosen, which], chunk, **quietly)
    together.when([chosen, searched], keep, [chosen, searched], [found])


def _searcher(state: "State") -> Any:
    import gradio as gr

    async def search(
        kb: str | None, question: str, sentence: str, mode: Any, k: float, candidates: float, weight: float,
        auto: bool, variants: float, rerank: bool, paths: str, types: str, langs: str, tags: str, since: str,
        until: str, request: gr.Request,
    ) -> tuple[str, str]:  # fmt: skip
        texts = TEXTS[tongue(request)]
        if not question.strip():
            raise shown(texts["ask_none"])
        update: dict[str, Any] = {
            "mode": mode, "k": int(k), "candidates": int(candidates), "variants": int(variants),
            "dense_weight": "auto" if auto else float(weight),
        }  # fmt: skip
        try:
            index = await asyncio.to_thread(opened, state, request, kb)
            limits = [_several(text) for text in (paths, types, langs, tags)]
            where = Filter(limits[0], limits[1], limits[2], limits[3], since.strip(), until.strip())
            changes = update | ({} if rerank else {"reranker": "", "rerank_url": ""})
            limit = None if where.empty else where
            plan = await planned(state.cfg, index.home, Manner(retrieval=changes))
            _, result = await lookup(index, question.strip(), plan, where=limit)
            return await asyncio.to_thread(_said, index, result, sentence, tongue(request)), index.name
        except RagstoneError as error:
            raise shown(error, tongue(request)) from None

    return search


def _said(index: "Index", result: "Result", sentence: str, said: Tongue) -> str:
    told = fate(index, result.trace, sentence) if sentence.strip() else []
    return described(index, result, told, said)


def _several(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.replace("，", ",").split(",") if part.strip())


def described(index: "Index", result: "Result", told: list[str], said: Tongue) -> str:
    """The passages that were found, what became of the sentence, and every candidate's way through the stages."""
    texts, chat = TEXTS[said], CHAT_TEXTS[said]
    lines = "".join(f'<li class="rs-line">{html.escape(says(line, said))}</li>' for line in told)
    lost = (
        f'<div class="rs-fate" role="status"><b>{html.escape(texts["fate"])}</b><ul>{lines}</ul></div>' if told else ""
    )
    hits = "".join(
        f"<li>{pressable(hit.chunk_id, _label(hit.rank, hit.path, hit.page, hit.text, chat))}</li>"
        for hit in result.hits
    )
    none = "" if hits else f'<div class="rs-empty">{html.escape(texts["nothing"])}</div>'
    return (
        f'<div data-kb="{html.escape(index.name)}">{lost}<ol class="rs-rows">{hits}</ol>{none}'
        f"{_traced(index, result.trace, said)}</div>"
    )


def _label(rank: int, path: str, page: int | None, text: str, chat: dict[str, str]) -> str:
    place = f"{path} · {_page(page, chat)}" if page else path
    short = shortened(" ".join(text[: 2 * _SHORT].split()), _SHORT)
    return f'<span><b>{rank}.</b> {html.escape(place)}</span> <span class="rs-page">{html.escape(short)}</span>'


def _page(page: int, chat: dict[str, str]) -> str:
    return chat["page"].format(page) if "{}" in chat["page"] else f"{chat['page']} {page}"


def _traced(index: "Index", trace: Trace, said: Tongue) -> str:
    texts, chat = TEXTS[said], CHAT_TEXTS[said]
    wordings = "".join(
        f"<li>{html.escape(query.text)} <span class='rs-page'>{html.escape(texts[f'origin_{query.origin}'])}, "
        f"{texts['weighs'].format(f'{query.weight:g}')}</span></li>"
        for query in trace.queries
    )
    numbers = range(1, len(trace.queries) + 1)
    head = [texts["place"], texts["candidate"]]
    head += [texts[which].format(n) for n in numbers for which in ("meaning", "words")]
    head += [texts["fused"], texts["reranked"]]
    rows = trace.candidates[:_TRACED]
    held = index.hits([row.chunk_id for row in rows])
    body = "".join(_candidate(index, trace, row, held[row.chunk_id].text, chat) for row in rows if row.chunk_id in held)
    top = "".join(f"<th scope='col'>{html.escape(name)}</th>" for name in head)
    stages = html.escape(timed(trace.stages, said))
    notes = "".join(f'<div class="rs-note">{html.escape(says(note, said))}</div>' for note in trace.notes)
    return (
        f"{notes}<div class='rs-line'><b>{html.escape(texts['wordings'])}</b></div><ol>{wordings}</ol>"
        f"<div class='rs-line'><b>{html.escape(texts['trace'])}</b> · {stages}</div>"
        f'<div class="rs-table" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _candidate(index: "Index", trace: Trace, row: Candidate, text: str, chat: dict[str, str]) -> str:
    stood = {(place.query, place.retriever): f"#{place.rank} · {place.score:.3f}" for place in row.places}
    lost = chat["lost"].format(chat.get(row.dropped, row.dropped))
    page = f" {_page(row.page, chat)}" if row.page else ""
    cells = [str(row.rank) if row.rank else lost]
    after = []
    for number, query in enumerate(trace.queries):
        terms = " ".join(matched(index, query, text)[:_TERMS])
        words = stood.get((number, "lexical"), "")
        after += [stood.get((number, "dense"), ""), f"{words} · {terms}" if words and terms else words or terms]
    after += [f"{row.fused:.4f}", "" if row.rerank is None else f"{row.rerank:.3f}"]
    name = pressable(row.chunk_id, html.escape(f"{row.path}{page} ·{row.ordinal + 1}"))
    return (
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + f"<td>{name}</td>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in after) + "</tr>"
    )  # fmt: skip
