"""The part of the Models tab on the models there are: which answers, what was measured, promote and roll back."""

import html
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.messages.texts import Tongue, tongue
from app.running import model_server
from app.training.promote import promote_model
from app.ui.choice import choice
from app.ui.knowledge_job import noted, told
from app.ui.knowledge_result import table
from app.ui.markup import markup
from core.errors import ConfigError
from llm import registry
from llm.registry import parity_of, size

if TYPE_CHECKING:
    from app.running.bases import State

_SHOWN = 12  # figures of a model in the list
TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "r_model": "Model", "r_promote": "Promote", "r_force": "In spite of a missing or failed proof",
        "r_back": "Roll back", "r_name": "name", "r_kind": "kind", "r_size": "size", "r_parity": "proof",
        "r_finished": "finished", "r_metrics": "measured", "r_base": "made of", "r_none": "There are no models yet: "
        "train one, or fetch one with `ragstone pull`.", "r_answers": "answers", "r_check": "check", "r_found": "found",
        "r_limit": "limit", "r_report": "Proof that it is served as it was trained", "r_no_report": "No proof yet: "
        "`ragstone parity {} --data DATA` makes one.", "r_passed": "passed", "r_failed": "not passed",
        "r_now": "{} is promoted: a model server that runs changes to it, else the next start serves it.",
        "r_no_promoted": "No model is promoted.", "r_record": "Record (run.json)",
        "r_other": "llm.vllm_model or llm.backend says otherwise, so what is promoted has no effect.",
    },
    "zh": {
        "r_model": "模型", "r_promote": "启用", "r_force": "即使没有一致性证明或证明未通过",
        "r_back": "回退", "r_name": "名称", "r_kind": "种类", "r_size": "大小", "r_parity": "一致性证明",
        "r_finished": "完成时间", "r_metrics": "测量结果", "r_base": "来源", "r_none": "还没有模型：请训练一个，"
        "或用 `ragstone pull` 获取。", "r_answers": "正在回答", "r_check": "检查项", "r_found": "结果",
        "r_limit": "界限", "r_report": "服务与训练一致的证明", "r_no_report": "还没有证明：可用 "
        "`ragstone parity {} --data DATA` 生成。", "r_passed": "通过", "r_failed": "未通过",
        "r_now": "已启用 {}：正在运行的模型服务会切换到它，否则下次启动时生效。", "r_no_promoted": "没有启用任何模型。",
        "r_other": "llm.vllm_model 或 llm.backend 另有指定，启用的模型不起作用。", "r_record": "记录（run.json）",
    },
}  # fmt: skip


def build(state: "State", say: Any, part: Any) -> None:
    """What stands in `part`, a tab, which is filled when it is chosen."""
    import gradio as gr

    shown = markup("models-registry")
    name = choice(label=say("r_model"), elem_id="models-model")
    force = gr.Checkbox(False, label=say("r_force"), elem_id="models-force")
    with gr.Row():
        promote = gr.Button(say("r_promote"), variant="primary", elem_id="models-promote", min_width=90)
        back = gr.Button(say("r_back"), elem_id="models-rollback", min_width=90)
        refresh = gr.Button(say("refresh"), elem_id="models-registry-refresh", min_width=90)
    report = markup("models-report")
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    look, describe = _looker(state), _describer(state)
    part.select(look, name, [shown, name], **quietly)
    refresh.click(look, name, [shown, name], **quietly).then(describe, name, report, **quietly)
    name.change(describe, name, report, **quietly)
    promoted = promote.click(_promoter(state), [name, force], None, api_visibility="private")
    promoted.success(look, name, [shown, name], **quietly)
    promoted.success(lambda: False, None, force, **quietly)
    back.click(_roller(state), None, None, api_visibility="private").success(look, name, [shown, name], **quietly)


def _looker(state: "State") -> Any:
    import gradio as gr

    def look(name: str | None, request: gr.Request) -> Any:
        """All models, and which of them is chosen."""
        if not state.users.of(request).may("admin"):
            return gr.skip(), gr.skip()
        texts, data = TEXTS[tongue(request)], Path(state.cfg.app.data)
        found, answers = registry.models(data), registry.promoted(data)
        keys = ("r_answers", "r_name", "r_kind", "r_size", "r_parity", "r_finished", "r_metrics", "r_base")
        rows = [
            (
                "✅" if m.name == answers else "", m.name, m.kind or "?", size(m.bytes), parity_of(m.folder),
                m.finished, m.problem or _figures(m.metrics), Path(m.base).name,
            )
            for m in found
        ]  # fmt: skip
        told_now = texts["r_now"].format(answers) if answers else texts["r_no_promoted"]
        if answers and model_server.startable(state.settings) != str(registry.home(data, answers)):
            told_now = texts["r_other"]
        body = table([texts[key] for key in keys], rows) if rows else ""
        notes = (told_now,) if rows else (texts["r_none"],)
        names = [m.name for m in found]
        return (
            body + "".join(f'<div class="rs-note">{html.escape(note)}</div>' for note in notes),
            gr.Dropdown(choices=names, value=name if name in names else answers or next(iter(names), None)),
        )

    return told(look)


def _figures(metrics: dict[str, Any]) -> str:
    """What was measured, in one cell."""
    told_: list[str] = []
    for key, value in metrics.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        told_ += [f"{' '.join(filter(None, (key, k)))} {_number(v)}" for k, v in inner if isinstance(v, int | float)]
    return ", ".join(told_[:_SHOWN])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _describer(state: "State") -> Any:
    import gradio as gr

    def describe(name: str | None, request: gr.Request) -> str:
        """A model's proof, and all that is recorded of it."""
        if not name or not state.users.of(request).may("admin"):
            return ""
        texts = TEXTS[tongue(request)]
        folder = registry.home(Path(state.cfg.app.data), name)
        record = json.dumps(registry.read_record(folder), ensure_ascii=False, indent=1)
        return (
            f"<h4>{html.escape(texts['r_report'])}</h4>{_proof(folder, texts)}"
            f'<details class="rs-list"><summary>{html.escape(texts["r_record"])}</summary>'
            f'<pre class="rs-log" tabindex="0">{html.escape(record)}</pre></details>'
        )

    return told(describe)


def _proof(folder: Path, texts: dict[str, str]) -> str:
    file = folder / registry.PARITY
    if not file.exists():
        return f'<div class="rs-note">{html.escape(texts["r_no_report"].format(folder.name))}</div>'
    try:
        report = json.loads(file.read_text("utf-8"))
        rows = [
            (f"{'✅' if c['passed'] else '❌'} {name}", f"{c['found']:.4f}", f"{c['sign']} {c['limit']:g}")
            for name, c in report["checks"].items()
        ]
        causes = "".join(f"<li>{html.escape(str(cause))}</li>" for cause in report["causes"])
        head = f"{texts['r_passed' if report['passed'] else 'r_failed']} · {report['finished']} · {report['against']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{str(file)!r} is no parity report: {error}", "remove it, and make it anew") from None
    told_ = table([texts["r_check"], texts["r_found"], texts["r_limit"]], rows)
    return f'<div class="rs-line">{html.escape(head)}</div>{told_}' + (f"<ul>{causes}</ul>" if causes else "")


def _promoter(state: "State") -> Any:
    import gradio as gr

    def promote(name: str | None, force: bool, request: gr.Request) -> None:
        state.users.require(request, "admin")
        if not name:
            raise ConfigError("no model is chosen", "choose one in the list")
        promote_model(Path(state.cfg.app.data), name, force=force)
        noted(state, request, "model.promote", name, "forced" if force else "")

    return told(promote)


def _roller(state: "State") -> Any:
    import gradio as gr

    def roll_back(request: gr.Request) -> None:
        state.users.require(request, "admin")
        noted(state, request, "model.rollback", registry.roll_back(Path(state.cfg.app.data)))

    return told(roll_back)
