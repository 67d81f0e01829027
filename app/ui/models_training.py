"""The part of the Models tab on training: a form that makes a command, its run as a job, and the loss curves."""

import base64
import html
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.messages.texts import Tongue, tongue
from app.training import runs
from app.ui.choice import choice
from app.ui.knowledge_job import told
from app.ui.knowledge_result import table
from app.ui.markup import markup
from core.errors import ConfigError
from llm.methods import STAGES, Method, Shape, Stage, default_beta, default_rate, methods

if TYPE_CHECKING:
    from app.running.bases import State
    from app.running.jobs import Job

# Pre-training learns from a knowledge base and distillation from a teacher, which the form does not ask for.
_OFFERED: list[Stage] = [stage for stage in STAGES if stage not in ("pretrain", "distill")]
_POLL_S = 2.0  # while a run is under way; else nothing is asked
TEXTS: dict[Tongue, dict[str, str]] = {
    "en": {
        "t_name": "Name of the result", "t_base": "Base model", "t_data": "Data set", "t_method": "Method",
        "t_stage": "Stage", "t_epochs": "Epochs", "t_rate": "Learning rate (0: the method's)",
        "t_batch": "Rows of a batch", "t_rank": "Rank (LoRA, QLoRA, DoRA)",
        "t_steps": "Most steps (0: as many as the epochs need)",
        "t_resume": "Go on with a run of this name that was stopped", "t_preview": "Preview the command",
        "t_start": "Start training", "t_cancel": "Cancel", "t_command": "Command", "t_run": "Run", "t_state": "state",
        "t_made": "steps", "t_loss": "loss", "t_dev": "loss on the dev set", "t_when": "last change",
        "t_none": "There are no trainings yet.", "t_curve": "{}: loss by step", "t_running": "under way",
        "t_stopped": "stopped", "t_done": "done", "t_failed": "failed", "t_cancelled": "cancelled",
        "t_ending": "ending…",
        "t_by": "begun by {}", "t_step": "step {}", "t_after": "after {} s", "t_needs": "a name, a data set and a base "
        "model are needed", "t_how": "fill in the form",
    },
    "zh": {
        "t_name": "结果的名称", "t_base": "基础模型", "t_data": "数据集", "t_method": "方法",
        "t_stage": "阶段", "t_epochs": "轮数", "t_rate": "学习率（0：用方法自己的）", "t_batch": "每批行数",
        "t_rank": "秩（LoRA、QLoRA、DoRA）", "t_steps": "最多步数（0：按轮数）",
        "t_resume": "继续同名的、已停止的训练", "t_preview": "预览命令",
        "t_start": "开始训练", "t_cancel": "取消", "t_command": "命令", "t_run": "训练", "t_state": "状态",
        "t_made": "步数", "t_loss": "损失", "t_dev": "验证集损失", "t_when": "最近变化",
        "t_none": "还没有训练。", "t_curve": "{}：各步损失", "t_running": "进行中",
        "t_stopped": "已停止", "t_done": "完成", "t_failed": "失败", "t_cancelled": "已取消",
        "t_ending": "正在结束……",
        "t_by": "由 {} 开始", "t_step": "第 {} 步", "t_after": "用时 {} 秒", "t_needs": "需要名称、数据集和基础模型",
        "t_how": "请填写表单",
    },
}  # fmt: skip


def build(state: "State", say: Any, part: Any) -> None:
    """What stands in `part`, a tab, which is filled when it is chosen."""
    import gradio as gr

    with gr.Row(equal_height=True):
        name = gr.Textbox(label=say("t_name"), max_lines=1, elem_id="models-train-name", min_width=160)
        base = choice(label=say("t_base"), allow_custom_value=True, elem_id="models-train-base", min_width=160)
        data = choice(label=say("t_data"), allow_custom_value=True, elem_id="models-train-data", min_width=160)
    with gr.Row(equal_height=True):
        method = gr.Dropdown(
            list(methods()), value="lora", label=say("t_method"), elem_id="models-method", min_width=120
        )
        stage = gr.Dropdown(_OFFERED, value="sft", label=say("t_stage"), elem_id="models-stage", min_width=120)
        epochs = gr.Number(3.0, label=say("t_epochs"), minimum=0.01, elem_id="models-epochs", min_width=120)
        rate = gr.Number(0.0, label=say("t_rate"), minimum=0.0, elem_id="models-rate", min_width=120)
        batch = gr.Number(8, label=say("t_batch"), minimum=1, precision=0, elem_id="models-batch", min_width=120)
        rank = gr.Number(16, label=say("t_rank"), minimum=1, precision=0, elem_id="models-rank", min_width=120)
        steps = gr.Number(0, label=say("t_steps"), minimum=0, precision=0, elem_id="models-steps", min_width=120)
    resume = gr.Checkbox(False, label=say("t_resume"), elem_id="models-resume")
    with gr.Row():
        preview = gr.Button(say("t_preview"), elem_id="models-preview", min_width=120)
        start = gr.Button(say("t_start"), variant="primary", elem_id="models-train", min_width=120)
        cancel = gr.Button(say("t_cancel"), variant="stop", visible=False, elem_id="models-train-cancel", min_width=90)
    command = gr.Textbox(label=say("t_command"), interactive=False, lines=2, buttons=["copy"], elem_id="models-command")
    job = markup("models-job")
    shown = markup("models-runs")
    with gr.Row(equal_height=True):
        run = choice(label=say("t_run"), elem_id="models-run", scale=4, min_width=160)
        refresh = gr.Button(say("refresh"), elem_id="models-runs-refresh", scale=1, min_width=90)
    curve = markup("models-curve")
    timer = gr.Timer(_POLL_S, active=False)
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    form = [name, base, data, method, stage, epochs, rate, batch, rank, steps, resume]
    poll, watched = _poller(state), [job, cancel, timer, shown, run, curve]
    part.select(_choices(state), [base, data], [base, data], **quietly)
    part.select(poll, run, watched, **quietly)
    timer.tick(poll, run, watched, **quietly)
    refresh.click(_choices(state), [base, data], [base, data], **quietly).then(poll, run, watched, **quietly)
    run.change(_drawer(state), run, curve, **quietly)
    preview.click(_previewer(state), form, command, **quietly)
    start.click(_starter(state), form, [command, run], **quietly).success(poll, run, watched, **quietly)
    cancel.click(_canceller(state), None, None, **quietly).then(poll, run, watched, **quietly)


def _choices(state: "State") -> Any:
    import gradio as gr

    def load(base: str | None, data: str | None, request: gr.Request) -> Any:
        if not state.users.of(request).may("admin"):
            return gr.skip(), gr.skip()
        bases, sets = runs.base_folders(state.cfg), runs.datasets(state.cfg)
        return (
            gr.Dropdown(choices=bases, value=base or next(iter(bases), None)),
            gr.Dropdown(choices=sets, value=data or next(iter(sets), None)),
        )

    return told(load)


def _filled(state: "State", act: Callable[[list[str], str, str], Any]) -> Any:
    """A callback of the filled form: `act` gets the command, the name of the run, and who asks. Admins only."""
    import gradio as gr

    def run(
        name: str | None, base: str | None, data: str | None, method: Method, stage: Stage, epochs: float, rate: float,
        batch: float, rank: float, steps: float, resume: bool, request: gr.Request,
    ) -> Any:  # fmt: skip
        from app.training.adapt import Request, command_line
        from llm.trainers import Settings, check_settings

        user, texts = state.users.require(request, "admin"), TEXTS[tongue(request)]
        name = (name or "").strip()
        if not name or not base or not data:
            raise ConfigError(texts["t_needs"], texts["t_how"])
        settings = Settings(
            method, stage, Shape(rank=int(rank)), epochs, int(batch), max_steps=int(steps),
            learning_rate=rate or default_rate(method, stage), beta=default_beta(stage),
        )  # fmt: skip
        check_settings(settings)
        words = command_line(Request(name, base, data, settings)) + (["--resume"] if resume else [])
        return act(words, name, user.name)

    return told(run)


def _previewer(state: "State") -> Any:
    return _filled(state, lambda words, *_: shlex.join(words))


def _starter(state: "State") -> Any:
    import gradio as gr

    def start(words: list[str], name: str, who: str) -> Any:
        runs.begin(state.jobs, state.cfg, name, words[1:], who)
        return shlex.join(words), gr.Dropdown(choices=[name], value=name)

    return _filled(state, start)


def _canceller(state: "State") -> Any:
    import gradio as gr

    def cancel(request: gr.Request) -> None:
        state.users.require(request, "admin")
        for job in state.jobs.latest("finetune "):
            state.jobs.cancel(job.id)

    return told(cancel)


def _poller(state: "State") -> Any:
    import gradio as gr

    def poll(run: str | None, request: gr.Request) -> Any:
        """How far the last run is, all runs, and the curve of the chosen one; asked again while one is under way."""
        if not state.users.of(request).may("admin"):
            return tuple(gr.skip() for _ in range(6))
        texts, data = TEXTS[tongue(request)], Path(state.cfg.app.data)
        job = next(iter(state.jobs.latest("finetune ")), None)
        running = job is not None and job.state == "running"
        found = runs.runs(data)
        names = [each.name for each in found]
        chosen = run if run in names else next(iter(names), None)
        keys = ("t_run", "t_state", "t_made", "t_loss", "t_dev", "t_when")
        rows = [
            (r.name, texts[f"t_{r.state}"], r.steps, _loss(r.loss), _loss(r.dev_loss), r.when) for r in found
        ]  # fmt: skip
        listed = table([texts[key] for key in keys], rows) if rows else f'<div class="rs-empty">{texts["t_none"]}</div>'
        pending = [job.title] if job is not None and running and job.title not in names else []
        value = job.title if job is not None and run == job.title else chosen
        return (
            _panel(job, data, texts), gr.update(visible=running), gr.Timer(active=running), listed,
            gr.Dropdown(choices=[*pending, *names], value=value), _drawn(data, value, texts),
        )  # fmt: skip

    return told(poll)


def _loss(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _panel(job: "Job | None", data: Path, texts: dict[str, str]) -> str:
    """What a job does or came to, with the end of its log."""
    if job is None:
        return ""
    spent = (job.ended or time.time()) - job.started
    facts = [texts[f"t_{job.word}"], texts["t_after"].format(round(spent))]
    facts += [texts["t_step"].format(job.done)] if job.done else []
    facts += [texts["t_by"].format(job.owner)] if job.owner else []
    log = runs.log_tail(data, job.title)
    shown = f'<pre class="rs-log" tabindex="0">{html.escape(log)}</pre>' if log else ""
    return (
        f'<div class="rs-job" role="status" data-state="{job.state}"><b>{html.escape(job.title)}</b> · '
        f"{html.escape(' · '.join(facts))}{shown}</div>"
    )


def _drawer(state: "State") -> Any:
    import gradio as gr

    def draw(run: str | None, request: gr.Request) -> str:
        if not state.users.of(request).may("admin"):
            return ""
        return _drawn(Path(state.cfg.app.data), run, TEXTS[tongue(request)])

    return told(draw)


def _drawn(data: Path, run: str | None, texts: dict[str, str]) -> str:
    """A loss curve as a picture: its style sheet must not reach the page."""
    from app.training.curve import svg

    named = {"training": texts["t_loss"], "dev set": texts["t_dev"]}
    curves = {named[key]: curve for key, curve in (runs.curves(data, run) if run else {}).items()}
    if not curves:
        return ""
    title = texts["t_curve"].format(run)
    picture = base64.b64encode(svg(title, curves).encode()).decode()
    return f'<img class="rs-curve" alt="{html.escape(title)}" src="data:image/svg+xml;base64,{picture}">'
