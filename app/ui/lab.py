"""The Prompt lab: versions of prompts, side by side on questions, tuned, and chosen for a knowledge base."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import gradio as gr

from app.answering.promotions import present, promoted, roll_back
from app.messages.texts import tongue
from app.ui import lab_edit, lab_runs
from app.ui.choice import choice
from app.ui.knowledge_job import noted, opened, shown, told
from app.ui.lab_seen import marked_by, seen_by, sees_all
from app.ui.lab_show import standing
from app.ui.lab_texts import TEXTS
from app.ui.markup import markup
from app.ui.together import Together, on_load
from core.errors import PromptError
from prompts.resting import inherited
from prompts.versions import read_file, take_over

if TYPE_CHECKING:
    from app.running.bases import State

NAME, ROLE = "lab", "editor"
__all__ = ["NAME", "ROLE", "TEXTS", "build"]
_POLL_S = 1.0  # while a job runs; else nothing is asked
_QUIETLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


def build(state: "State", say: Any, kb: str) -> None:
    """The tab. `turn` changes when a version, a promotion or a study may have come."""
    with gr.Row():
        base = choice(label=say("kb"), elem_id="lab-kb", scale=4, min_width=200)
        refresh = gr.Button(say("refresh"), size="sm", elem_id="lab-refresh", scale=1, min_width=90)
        back = gr.Button(say("rollback"), size="sm", elem_id="lab-rollback", scale=1, min_width=90)
    now = markup("lab-standing")
    turn, seen = gr.State(0), gr.State("")
    timer, together = gr.Timer(_POLL_S, active=False), Together()
    watched: list[Any] = []

    def follow(event: Any) -> None:
        followed.append(event)

    followed: list[Any] = []
    with gr.Tabs(elem_id="lab-parts"):
        with gr.Tab(say("versions"), elem_id="lab-tab-versions"):
            version, _ = lab_edit.build(state, say, base, turn)
        with gr.Tab(say("compare"), elem_id="lab-tab-compare"):
            variants, compared, stop = lab_runs.build_compare(state, say, base, follow)
        with gr.Tab(say("tune"), elem_id="lab-tab-tune"):
            studied, stop_study = lab_runs.build_tune(state, say, base, turn, together, follow)
        with gr.Tab(say("carry"), elem_id="lab-tab-carry"):
            given = gr.File(label=say("file"), file_count="single", file_types=[".toml"], height=110,
                            elem_id="lab-file")  # fmt: skip
            importing = gr.Button(say("import"), elem_id="lab-import")
            taken = gr.Markdown(elem_id="lab-taken")
            exported = choice(label=say("chosen"), multiselect=True, elem_id="lab-chosen")
            exporting = gr.Button(say("export"), elem_id="lab-export")
            packed = markup("lab-pack")
    watched = [compared, stop, studied, stop_study, timer, seen, turn]
    poll = lab_runs.poller(state)
    for event in followed:
        event.success(poll, [base, seen, turn], watched, **_QUIETLY)
    choices = _choices(state, kb)
    lists = [base, version, variants, exported, now]
    on_load(choices, [base, version], lists)
    refresh.click(choices, [base, version], lists, **_QUIETLY)
    together.when([turn], choices, [base, version], lists)
    together.when([base], _standing(state), [base], [now])
    together.when([base], poll, [base, seen, turn], watched)
    together.wire()
    timer.tick(poll, [base, seen, turn], watched, **_QUIETLY)
    back.click(_roller(state), [base, turn], turn, **_QUIETLY)
    importing.click(_importer(state), [given, base, turn], [taken, turn], **_QUIETLY)
    exporting.click(_exporter(state), exported, packed, **_QUIETLY)


def _choices(state: "State", kb: str) -> Any:
    def load(chosen: str | None, label: str | None, request: gr.Request) -> Any:
        """What can be chosen; nothing for those who may not see this tab."""
        user = state.users.of(request)
        if not user.may("editor"):
            return tuple(gr.skip() for _ in range(5))
        names = user.seen(state.bases.names())
        base = next((name for name in (chosen, kb, *names) if name in names), None)
        there = lab_edit.labels(state, request)
        if label not in there:
            label = present(state.cfg, state.bases.data / base).label.partition(" ")[0] if base else ""
            label = label if label in there else there[0]
        lists = [gr.Dropdown(choices=there), gr.Dropdown(choices=there)]
        return (
            gr.Dropdown(choices=names, value=base),
            gr.Dropdown(choices=there, value=label),
            *lists,
            _told(state, base, request),
        )

    return told(load)


def _told(state: "State", kb: str | None, request: gr.Request) -> str:
    said = tongue(request)
    if not kb:
        return f'<div class="rs-empty">{html.escape(TEXTS[said]["no_base"])}</div>'
    home = opened(state, request, kb, "editor").home
    return standing(present(state.cfg, home), promoted(home) if state.cfg.prompts.promoted else None, said)


def _standing(state: "State") -> Any:
    def stands(kb: str | None, request: gr.Request) -> str:
        return _told(state, kb, request)

    return told(stands)


def _roller(state: "State") -> Any:
    def back(kb: str | None, turn: int, request: gr.Request) -> int:
        roll_back(opened(state, request, kb, "editor").home)
        noted(state, request, "prompt.rollback", kb or "")
        return turn + 1

    return told(back)


def _importer(state: "State") -> Any:
    def take(file: str | None, kb: str | None, turn: int, request: gr.Request) -> Any:
        user = state.users.require(request, "editor")
        texts = TEXTS[tongue(request)]
        if not file:
            raise shown(texts["no_file"])
        library = Path(state.cfg.prompts.library)
        given = [inherited(library, prompt) for prompt in read_file(Path(file))]
        if not sees_all(user):  # who does sees what says nothing
            given = [marked_by(state, prompt, kb, request) for prompt in given]
        if hidden := [prompt for prompt in given if not seen_by(state, user)(prompt)]:
            raise PromptError(
                f"prompt {hidden[0].label} quotes documents of a knowledge base that you do not see here",
                "have somebody import it who does, or choose a knowledge base first",
            )
        found = take_over(library, given)
        for prompt, is_new in found:
            if is_new:
                noted(state, request, "prompt.import", prompt.label)
        Path(file).unlink(missing_ok=True)  # the copy that Gradio received
        new = sum(is_new for _, is_new in found)
        names = ", ".join(prompt.label for prompt, _ in found)
        return html.escape(f"{texts['taken'].format(new, len(found) - new)}: {names}"), turn + 1

    return told(take)


def _exporter(state: "State") -> Any:
    def give(labels: list[str] | None, request: gr.Request) -> str:
        """A link to a file of some versions."""
        prompts = [lab_edit.read(state, label, request) for label in labels or [None]]
        name = f"{prompts[0].name}-v{prompts[0].version:03d}.toml" if len(prompts) == 1 else "prompts.toml"
        asked = urlencode([("label", prompt.label) for prompt in prompts])
        return f'<a href="prompts.toml?{html.escape(asked)}" download="{html.escape(name)}">⤓ {html.escape(name)}</a>'

    return told(give)
