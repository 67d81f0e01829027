"""The Versions part of the Prompt lab: a version with its text, edited and checked while typing, saved as the next."""

import html
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.answering.promotions import Choice, chosen, promote
from app.messages.errors_zh import says
from app.messages.texts import tongue
from app.prompting.compare import scores_of
from app.running.users import User
from app.ui.choice import choice
from app.ui.knowledge_job import noted, shown, told
from app.ui.lab_seen import marked_by, seen_by
from app.ui.lab_show import about, differences, messages, problem
from app.ui.lab_texts import TEXTS
from app.ui.markup import markup
from core.errors import ConfigError, PromptError
from prompts.load import Prompt, load, parent_of, versions
from prompts.resting import demonstrated, resting
from prompts.versions import demos_toml, diff, names, save, with_demos

if TYPE_CHECKING:
    from app.running.bases import State

_LANGUAGES = ("en", "zh")
_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


def labels(state: "State", request: gr.Request) -> list[str]:
    """All versions of the library that an editor may see, and damaged ones, which say so. Raises `AccessError`."""
    library, sees = Path(state.cfg.prompts.library), seen_by(state, state.users.require(request, "editor"))

    def listed(name: str, number: int) -> bool:
        try:
            return sees(load(library, name, number))
        except PromptError:
            return True

    every = [(name, number) for name in names(library) for number in versions(library, name)]
    return [f"{name}/v{number:03d}" for name, number in every if listed(name, number)]


def read(state: "State", label: str | None, request: gr.Request) -> Prompt:
    """A version by its label, for an editor who may see it. Raises `AccessError`, `PromptError`."""
    user = state.users.require(request, "editor")
    if not label:
        raise shown(TEXTS[tongue(request)]["pick_version"])
    return of_label(state, label, user)


def of_label(state: "State", label: str, user: User) -> Prompt:
    """The version that a label such as answer/v001 names, as far as a user may see it. Raises `PromptError`."""
    library, sees = Path(state.cfg.prompts.library), seen_by(state, user)
    choice = chosen(library, label, sees)
    return load(library, choice.name, choice.version)


def build(state: "State", say: Any, kb: Any, turn: Any) -> tuple[Any, Any]:
    """The part; returns the list of versions and the one to compare with. `turn` changes where a list may have."""
    quietly: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    version = choice(label=say("version"), elem_id="lab-version")
    described = markup("lab-about")
    with gr.Accordion(say("differs"), open=False, elem_id="lab-differs"):
        other = choice(label=say("other"), elem_id="lab-other")
        difference = markup("lab-diff")
    boxes = []
    for language in _LANGUAGES:
        with gr.Row():
            for part, lines, scale in (("system", 10, 3), ("user", 4, 1)):
                box = gr.Textbox("", label=say(f"{part}_{language}"), lines=lines, max_lines=24, min_width=280,
                                 scale=scale, elem_id=f"lab-{part}-{language}")  # fmt: skip
                boxes.append(box)
    demos = gr.Textbox("", label=say("demos_toml"), lines=2, max_lines=16, elem_id="lab-demos")
    notes = gr.Textbox("", label=say("new_notes"), max_lines=2, elem_id="lab-notes")
    form = [version, *boxes, demos, notes]
    wrong = markup("lab-problem")
    saving = gr.Button(say("save"), variant="primary", elem_id="lab-save")
    said = gr.Markdown(elem_id="lab-said")
    with gr.Accordion(say("preview"), open=False, elem_id="lab-preview"):
        preview = markup("lab-messages")
    settings = gr.Textbox("", label=say("settings"), info=say("settings_info"), max_lines=1, elem_id="lab-settings")
    promoting = gr.Button(say("promote"), elem_id="lab-promote")

    in_form = gr.State("")  # the version that the form was filled with
    filled = [in_form, described, other, difference, *boxes, demos, notes, wrong, preview]
    version.change(_picker(state, len(filled)), [version, kb, in_form], filled, **quietly)
    other.input(_differ(state), [version, other], difference, **quietly)
    gr.on([box.change for box in (*boxes, demos)], _checker(state), form, [wrong, preview],
          trigger_mode="always_last", **quietly)  # fmt: skip
    saving.click(_saver(state), [*form, kb, turn], [version, said, turn], **quietly)
    promoting.click(_promoter(state), [version, kb, settings, turn], [said, turn], **quietly)
    return version, other


def _picker(state: "State", count: int) -> Any:
    def pick(label: str | None, kb: str | None, in_form: str, request: gr.Request) -> Any:
        """A version into the form; one that is there already stays, with what was typed since."""
        if label == in_form:
            return tuple(gr.skip() for _ in range(count))
        prompt = read(state, label, request)
        scores = {}
        if kb:
            state.users.require(request, "editor", kb)
            scores = scores_of(state.bases.get(kb).home)
        above = parent_of(prompt)
        parent = f"{above[0]}/v{above[1]:03d}" if above else ""
        there = labels(state, request)
        parent = parent if parent in there else ""
        texts = [text for language in _LANGUAGES for text in prompt.parts.get(language, ("", ""))]
        return (
            label, about(prompt, scores, tongue(request)),
            gr.Dropdown(choices=there, value=parent or None),
            _compared(state, prompt, parent, request),
            *texts, "\n".join(demos_toml(prompt.demos)).strip(), "", "", _preview(prompt),
        )  # fmt: skip

    return told(pick)


def _compared(state: "State", prompt: Prompt, other: str | None, request: gr.Request) -> str:
    return differences(diff(read(state, other, request), prompt), tongue(request)) if other else ""


def _differ(state: "State") -> Any:
    def differ(label: str | None, other: str | None, request: gr.Request) -> str:
        return _compared(state, read(state, label, request), other, request)

    return told(differ)


def _draft(prompt: Prompt, texts: tuple[str, ...]) -> Prompt:
    """What the form holds, made of a version. Raises `PromptError`."""
    *pieces, demos, notes = texts
    pairs = dict(zip(_LANGUAGES, zip(pieces[::2], pieces[1::2], strict=True), strict=True))
    given = {language: pair for language, pair in pairs.items() if any(text.strip() for text in pair)}
    others = {language: pair for language, pair in prompt.parts.items() if language not in _LANGUAGES}
    new = replace(prompt, version=0, parts={**given, **others}, parent=prompt.label, notes=notes.strip())
    return with_demos(new, demos)


def _preview(prompt: Prompt) -> str:
    """The messages in English and Chinese, with the names of the variables where their values will be."""
    values = {name: f"‹{name}›" for name in prompt.variables}
    rendered = [
        (f"{language} · {_ROLES[message.type]}", str(message.content))
        for language in _LANGUAGES
        if language in prompt.parts
        for message in prompt.render(language, values)
    ]
    return messages(rendered)


def _checker(state: "State") -> Any:
    def check(label: str | None, *texts: Any) -> Any:
        *pieces, request = texts
        if not label:
            return "", ""
        try:
            return "", _preview(_draft(read(state, label, request), tuple(pieces)))
        except PromptError as error:
            return problem(says(error, tongue(request))), gr.skip()

    def checking(label: str | None, a: str, b: str, c: str, d: str, demos: str, notes: str, request: gr.Request) -> Any:
        return check(label, a, b, c, d, demos, notes, request)

    return told(checking)


def _saver(state: "State") -> Any:
    def keep(
        label: str | None, a: str, b: str, c: str, d: str, demos: str, notes: str, kb: str | None, turn: int,
        request: gr.Request,
    ) -> Any:  # fmt: skip
        texts = TEXTS[tongue(request)]
        parent = read(state, label, request)
        draft = _draft(parent, (a, b, c, d, demos, notes))
        if resting(parent) == "":
            new = not demonstrated(draft) <= demonstrated(parent)
            draft = replace(draft, rests_on=None if new else "")
            draft = marked_by(state, draft, kb, request)
        saved = save(Path(state.cfg.prompts.library), draft)
        noted(state, request, "prompt.save", saved.label)
        roles = ("answer", "rewrite", "variants", "judge")
        prompts = state.cfg.prompts
        live = any((getattr(prompts, r), getattr(prompts, f"{r}_version")) == (saved.name, 0) for r in roles)
        said = [texts["saved"].format(saved.label)] + [texts["newest"]] * live + [texts["rests"]] * bool(resting(saved))
        line = " ".join(said)
        return gr.Dropdown(choices=labels(state, request), value=saved.label), html.escape(line), turn + 1

    return told(keep)


def _promoter(state: "State") -> Any:
    def set_up(label: str | None, kb: str | None, settings: str, turn: int, request: gr.Request) -> Any:
        texts = TEXTS[tongue(request)]
        prompt = read(state, label, request)
        if not kb:
            raise shown(texts["no_base"])
        state.users.require(request, "editor", kb)
        given = [part for part in settings.split(",") if part.strip()]
        choice = chosen(Path(state.cfg.prompts.library), ",".join([prompt.label, *given]))
        promote_for(state, kb, choice, request)
        return html.escape(texts["standing"].format(choice.label)), turn + 1

    return told(set_up)


def promote_for(state: "State", kb: str, choice: Choice, request: gr.Request) -> None:
    """Answer a knowledge base by a choice. Raises `ConfigError` where promotions do not count, `PromptError`."""
    index, user = state.bases.get(kb), state.users.of(request)
    of_label(state, f"{choice.name}/v{choice.version}", user)
    promote(Path(state.cfg.prompts.library), index.home, choice, user.name, base=index.identity)
    noted(state, request, "prompt.promote", kb, choice.label)
    if not state.cfg.prompts.promoted:
        raise ConfigError("it is promoted, but prompts.promoted is false: the configuration decides", "set it to true")
