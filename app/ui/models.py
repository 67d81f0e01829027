"""The Models tab: the model server and its log, adapters, models and their proofs, training, and what doctor says."""

import html
import time
from typing import TYPE_CHECKING, Any

from app.messages.errors_zh import says
from app.messages.texts import Tongue, tongue
from app.running import model_server
from app.ui import models_adapters, models_registry, models_training
from app.ui.knowledge_job import told
from app.ui.knowledge_result import table
from app.ui.markup import markup

if TYPE_CHECKING:
    from app.running.bases import State

NAME, ROLE = "models", "admin"
_LOOK_S = 5.0
_LINES = 60  # of the log

_TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "tab": "Models", "server": "Model server", "adapters": "Adapters", "registry": "Registry",
        "training": "Training", "checks": "Checks", "start": "Start", "stop": "Stop", "refresh": "Refresh",
        "log": "Log",
        "serves": "vLLM serves {}", "address": "address", "state": "state", "up": "up", "restarts": "restarts",
        "crashes": "crashes", "last_cause": "last cause", "no_server": "The app runs no model server.",
        "would": "It would serve {}.",
        "nothing": "No model is configured for it: set llm.vllm_model, or promote a model.",
        "endpoint": "Answers come from {} (llm.base_url).", "starting": "Starting", "no_log": "There is no log yet.",
        "run_checks": "Run the checks", "what": "what", "found": "found", "hint": "what to do",
        "s_starting": "starting", "s_running": "running", "s_waiting": "waits to start again", "s_failed": "given up",
        "s_stopped": "stopped",
    },
    "zh": {
        "tab": "模型", "server": "模型服务", "adapters": "适配器", "registry": "模型库", "training": "训练",
        "checks": "检查", "start": "启动", "stop": "停止", "refresh": "刷新", "log": "日志",
        "serves": "vLLM 正在服务 {}", "address": "地址", "state": "状态", "up": "已运行", "restarts": "重启次数",
        "crashes": "崩溃次数", "last_cause": "最近原因", "no_server": "本应用没有运行模型服务。",
        "would": "启动后将服务 {}。", "nothing": "没有可服务的模型：请设置 llm.vllm_model，或启用一个模型。",
        "endpoint": "回答来自 {}（llm.base_url）。", "starting": "正在启动", "no_log": "还没有日志。",
        "run_checks": "运行检查", "what": "项目", "found": "结果", "hint": "建议",
        "s_starting": "正在启动", "s_running": "运行中", "s_waiting": "等待重启", "s_failed": "已放弃",
        "s_stopped": "已停止",
    },
}  # fmt: skip
_PARTS = (models_adapters, models_registry, models_training)
TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {key: text for texts in (_TEXTS, *(part.TEXTS for part in _PARTS)) for key, text in texts["en"].items()},
    "zh": {key: text for texts in (_TEXTS, *(part.TEXTS for part in _PARTS)) for key, text in texts["zh"].items()},
}


def build(state: "State", say: Any, kb: str) -> None:
    """The tab, a part for each thing."""
    import gradio as gr

    with gr.Tabs(elem_id="models-parts"):
        with gr.Tab(say("server"), elem_id="models-tab-server"):
            _server(state, say)
        with gr.Tab(say("adapters"), elem_id="models-tab-adapters") as part:
            models_adapters.build(state, say, part)
        with gr.Tab(say("registry"), elem_id="models-tab-registry") as part:
            models_registry.build(state, say, part)
        with gr.Tab(say("training"), elem_id="models-tab-training") as part:
            models_training.build(state, say, part)
        with gr.Tab(say("checks"), elem_id="models-tab-checks"):
            run = gr.Button(say("run_checks"), variant="primary", elem_id="models-run-checks")
            checks = markup("models-checks")
            run.click(_checker(state), None, checks, api_visibility="private")


# --- the model server ------------------------------------------------------------------------------------------------


def _server(state: "State", say: Any) -> None:
    import gradio as gr

    status = markup("models-status")
    with gr.Row():
        start = gr.Button(say("start"), variant="primary", elem_id="models-start", min_width=90)
        stop = gr.Button(say("stop"), variant="stop", elem_id="models-stop", min_width=90)
    with gr.Accordion(say("log"), open=False, elem_id="models-log-part"):
        log = markup("models-log")
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    look, shown = _looker(state), [status, log, start, stop]
    gr.on(None, look, None, shown, **quietly)
    gr.Timer(_LOOK_S).tick(look, None, shown, **quietly)
    start.click(_starter(state), None, None, **quietly).then(look, None, shown, **quietly)
    stop.click(_stopper(state), None, None, api_visibility="private").then(look, None, shown, **quietly)


def _looker(state: "State") -> Any:
    import gradio as gr

    def look(request: gr.Request) -> Any:
        """What the model server does, the end of its log, and what can be done now."""
        if not state.users.of(request).may("admin"):
            return gr.skip(), gr.skip(), gr.skip(), gr.skip()
        texts = TEXTS[tongue(request)]
        busy = _starts(state)
        can_start = state.vllm is None and not busy and model_server.startable(state.settings)
        return (
            _described(state, tongue(request)), _log(state, texts), gr.update(interactive=can_start),
            gr.update(interactive=state.vllm is not None or busy),
        )  # fmt: skip

    return look


def _starts(state: "State") -> bool:
    """Whether a start is under way that can be cancelled."""
    return any(job.state == "running" for job in state.jobs.latest(model_server.JOB))


def _described(state: "State", said: Tongue) -> str:
    texts = TEXTS[said]
    cfg = state.cfg.llm
    lines = []
    if state.vllm is not None:
        told = state.vllm.status()
        lines.append(f"<b>{html.escape(texts['serves'].format(told.model))}</b>")
        head = [texts[key] for key in ("address", "state", "up", "restarts", "crashes", "last_cause")]
        rows = [
            (
                each.base_url, texts[f"s_{each.state}"], _since(each.since) if each.pid else "–", each.restarts,
                len(each.crashes), f"{each.crashes[-1].when} {each.crashes[-1].cause}" if each.crashes else "–",
            )
            for each in told.replicas
        ]  # fmt: skip
        lines.append(table(head, rows))
        if state.switching:
            lines.append(f'<div role="status">⏳ {html.escape(says(state.switching, said))}</div>')
        if state.fell_back:
            lines.append(f'<pre class="rs-problem" role="alert">{html.escape(says(state.fell_back, said))}</pre>')
    elif _starts(state):
        lines.append(f'<div role="status">⏳ {texts["starting"]}: {html.escape(says(state.vllm_status, said))}</div>')
    elif state.vllm_status:
        lines.append(f'<pre class="rs-problem" role="alert">{html.escape(says(state.vllm_status, said))}</pre>')
    else:
        lines.append(texts["no_server"])
        would = model_server.startable(state.settings)
        lines.append(html.escape(texts["would"].format(would)) if would else html.escape(texts["nothing"]))
    if cfg.base_url and cfg.backend in ("auto", "openai"):
        lines.append(html.escape(texts["endpoint"].format(cfg.base_url)))
    return '<div class="rs-line">' + "</div><div class='rs-line'>".join(lines) + "</div>"


def _since(started: float) -> str:
    minutes = int((time.time() - started) // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _log(state: "State", texts: dict[str, str]) -> str:
    lines = model_server.log_tail(state, _LINES)
    if not lines:
        return f'<div class="rs-empty">{html.escape(texts["no_log"])}</div>'
    return f'<pre class="rs-log" tabindex="0">{html.escape(lines)}</pre>'


def _starter(state: "State") -> Any:
    import gradio as gr

    def start(request: gr.Request) -> None:
        user = state.users.require(request, "admin")
        model_server.begin(state, user.name)

    return told(start)


def _stopper(state: "State") -> Any:
    import gradio as gr

    def stop(request: gr.Request) -> None:
        state.users.require(request, "admin")
        for job in state.jobs.latest(model_server.JOB):
            state.jobs.cancel(job.id)
        model_server.stop(state)

    return told(stop)


# --- doctor ----------------------------------------------------------------------------------------------------------


def _checker(state: "State") -> Any:
    import gradio as gr

    def check(request: gr.Request) -> str:
        state.users.require(request, "admin")
        from app.upkeep.doctor import examine

        texts = TEXTS[tongue(request)]
        rows = [(f"{'✅' if c.ok else '❌'} {c.name}", c.detail, c.hint) for c in examine(state.cfg)]
        return table([texts["what"], texts["found"], texts["hint"]], rows)

    return told(check)
