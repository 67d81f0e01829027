"""The parts of the Prompt lab that ask the model: variants side by side, and studies. Both go on without the page."""

import asyncio
import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.answering.backend import Backend, resolve
from app.answering.promotions import Choice, chosen
from app.messages.texts import tongue
from app.prompting.compare import Asked, check_model, compare, golden_questions, read_questions, remember
from app.prompting.study import Request
from app.prompting.tune import studies, tune
from app.running.audit import record_study
from app.running.jobs import Job
from app.ui.choice import choice
from app.ui.knowledge_job import key, noted, opened, shown, told
from app.ui.lab_edit import promote_for
from app.ui.lab_seen import seen_by
from app.ui.lab_show import job_panel, study
from app.ui.lab_texts import TEXTS
from app.ui.markup import markup
from app.ui.together import Together
from prompts.load import load
from prompts.resting import check_for

if TYPE_CHECKING:
    from app.running.bases import State

COMPARE, TUNE = "prompt-compare", "prompt-tune"
_MOST_TRIALS = 500
_QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def latest(state: "State", kind: str, kb: str) -> Job | None:
    """The last job of a kind on a knowledge base."""
    wanted = key(state, kind, kb)
    return next((job for job in state.jobs.latest(wanted) if job.key == wanted), None)


def _backend(state: "State") -> Backend:
    """The model that is asked. Raises `ConfigError` where none is configured."""
    backend = asyncio.run(resolve(state.cfg.llm))
    check_model(backend)
    return backend


# --- side by side ----------------------------------------------------------------------------------------------------


def build_compare(state: "State", say: Any, kb: Any, follow: Any) -> tuple[Any, Any, Any]:
    """The part; returns the list of variants, the panel of its job, and the button that cancels it."""
    variants = choice(
        label=say("variants"), info=say("variants_info"), multiselect=True, allow_custom_value=True,
        elem_id="lab-variants",
    )  # fmt: skip
    question = gr.Textbox("", label=say("question"), info=say("question_info"), max_lines=4, elem_id="lab-question")
    with gr.Row():
        own = gr.File(label=say("set"), file_count="single", file_types=[".jsonl"], height=110, elem_id="lab-set")
        judge = gr.Checkbox(False, label=say("judge"), elem_id="lab-judge")
    with gr.Row():
        run = gr.Button(say("run"), variant="primary", elem_id="lab-run")
        cancel = gr.Button(say("cancel"), variant="stop", visible=False, elem_id="lab-cancel")
    panel = markup("lab-compared")
    follow(run.click(_comparer(state), [kb, variants, question, own, judge], None, **_QUIETLY))
    follow(cancel.click(_canceller(state, COMPARE), kb, None, **_QUIETLY))
    return variants, panel, cancel


def _comparer(state: "State") -> Any:
    def start(
        kb: str | None, variants: list[str] | None, question: str, own: str | None, judge: bool, request: gr.Request
    ) -> None:
        index = opened(state, request, kb, "editor")
        question, cfg = question.strip(), state.cfg
        if len(variants or []) < (1 if question else 2):
            raise shown(TEXTS[tongue(request)]["two"])
        sees, library = seen_by(state, state.users.of(request)), Path(cfg.prompts.library)
        choices = [chosen(library, text, sees) for text in variants or []]
        for each in choices:
            check_for(load(library, each.name, each.version), index.identity, index.name)
        asked = [Asked("", question, None)] if question else read_questions(Path(own)) if own else None
        backend = _backend(state)

        def work(progress: Any) -> dict[str, Any]:
            questions = asked or golden_questions(index)
            result = compare(index, questions, choices, cfg, backend, judged=judge, progress=progress)
            if not question:
                remember(index.home, result)
            return result

        state.jobs.start(key(state, COMPARE, index.name), COMPARE, state.users.of(request).name, work)

    return told(start)


# --- studies ---------------------------------------------------------------------------------------------------------


def build_tune(state: "State", say: Any, kb: Any, turn: Any, together: Together, follow: Any) -> tuple[Any, Any]:
    """The part; returns the panel of its job and the button that cancels it."""
    with gr.Row():
        trials = gr.Number(20, label=say("trials"), minimum=1, maximum=_MOST_TRIALS, precision=0, min_width=110,
                           elem_id="lab-trials")  # fmt: skip
        propose = gr.Number(0, label=say("propose"), minimum=0, maximum=20, precision=0, min_width=110,
                            elem_id="lab-propose")  # fmt: skip
        demos = gr.Number(3, label=say("most_demos"), minimum=0, maximum=8, precision=0, min_width=110,
                          elem_id="lab-most-demos")  # fmt: skip
        judge = gr.Checkbox(False, label=say("judge"), elem_id="lab-tune-judge", min_width=110)
    with gr.Row():
        start = gr.Button(say("start"), variant="primary", elem_id="lab-start")
        cancel = gr.Button(say("cancel"), variant="stop", visible=False, elem_id="lab-tune-cancel")
    panel = markup("lab-studied")
    earlier = choice(label=say("earlier"), elem_id="lab-studies")
    report = markup("lab-report")
    winner = gr.Button(say("promote_best"), elem_id="lab-promote-best")
    said = gr.Markdown(elem_id="lab-tune-said")
    follow(start.click(_starter(state), [kb, trials, propose, demos, judge], None, **_QUIETLY))
    follow(cancel.click(_canceller(state, TUNE), kb, None, **_QUIETLY))
    together.when([kb, turn], _lister(state), [kb, earlier], [earlier])
    earlier.change(_teller(state), [kb, earlier], report, **_QUIETLY)
    winner.click(_winner(state), [kb, earlier, turn], [said, turn], **_QUIETLY)
    return panel, cancel


def _starter(state: "State") -> Any:
    def start(kb: str | None, trials: float, propose: float, demos: float, judge: bool, request: gr.Request) -> None:
        index = opened(state, request, kb, "editor")
        if not 1 <= trials <= _MOST_TRIALS or not 0 <= propose <= 20 or not 0 <= demos <= 8:
            raise shown(f"1 – {_MOST_TRIALS}, 0 – 20, 0 – 8")
        asked, backend = golden_questions(index), _backend(state)
        wanted = Request(trials=int(trials), propose=int(propose), demos=int(demos), judged=judge)
        who = state.users.of(request).name or "page"

        def work(progress: Any) -> dict[str, Any]:
            report = tune(index, asked, wanted, state.cfg, backend, progress)
            record_study(state.bases.data, who, report)
            return report

        noted(state, request, "prompt.tune", index.name, f"{wanted.trials} trials")
        state.jobs.start(key(state, TUNE, index.name), TUNE, state.users.of(request).name, work)

    return told(start)


def _lister(state: "State") -> Any:
    def look(kb: str | None, now: str | None, request: gr.Request) -> Any:
        if not kb:
            return gr.Dropdown(choices=[], value=None)
        texts = TEXTS[tongue(request)]
        choices = []
        for each in studies(opened(state, request, kb, "editor").home):
            report = each["report"]
            verdict = texts[report["verdict"].replace(" ", "_")] if report else texts["unfinished"]
            choices.append((f"{each['id']} · {report['when'] + ' · ' if report else ''}{verdict}", each["id"]))
        there = [value for _, value in choices]
        return gr.Dropdown(choices=choices, value=now if now in there else next(iter(there), None))

    return told(look)


def _report(state: "State", kb: str | None, chosen_: str | None, request: gr.Request) -> dict[str, Any] | None:
    home = opened(state, request, kb, "editor").home
    return next((each["report"] for each in studies(home) if each["id"] == chosen_), None)


def _teller(state: "State") -> Any:
    def tell(kb: str | None, which: str | None, request: gr.Request) -> str:
        if not kb or not which:
            return ""
        report = _report(state, kb, which, request)
        texts = TEXTS[tongue(request)]
        if report is None:
            return f'<div class="rs-empty">{html.escape(texts["unfinished"])}</div>'
        return study(report, tongue(request))

    return told(tell)


def _winner(state: "State") -> Any:
    def set_up(kb: str | None, which: str | None, turn: int, request: gr.Request) -> Any:
        report, texts = _report(state, kb, which, request), TEXTS[tongue(request)]
        if not kb or report is None or not report["choice"]:
            raise shown(texts["nothing_won"])
        choice = Choice.model_validate(report["choice"])
        promote_for(state, kb, choice, request)
        return html.escape(texts["standing"].format(choice.label)), turn + 1

    return told(set_up)


# --- both ------------------------------------------------------------------------------------------------------------


def _canceller(state: "State", kind: str) -> Any:
    def cancel(kb: str | None, request: gr.Request) -> None:
        state.users.require(request, "editor", kb or "")
        if kb and (job := latest(state, kind, kb)):
            state.jobs.cancel(job.id)

    return told(cancel)


def poller(state: "State") -> Any:
    """How far both jobs on a knowledge base are; asked again while one runs."""

    def poll(kb: str | None, seen: str, turn: int, request: gr.Request) -> Any:
        if not kb:
            return "", gr.update(visible=False), "", gr.update(visible=False), gr.Timer(active=False), seen, turn
        state.users.require(request, "editor", kb)
        jobs = [latest(state, kind, kb) for kind in (COMPARE, TUNE)]
        running = [job is not None and job.state == "running" for job in jobs]
        now = " ".join(f"{job.id} {job.state}" for job in jobs if job)
        panels = [job_panel(job, tongue(request)) for job in jobs]
        ended = now != seen and not any(running)
        return (
            panels[0], gr.update(visible=running[0]), panels[1], gr.update(visible=running[1]),
            gr.Timer(active=any(running)), now, turn + 1 if ended else gr.skip(),
        )  # fmt: skip

    return told(poll)
