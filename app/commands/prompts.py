"""Commands on prompts (list, show, diff, new, import, export, compare, demos, promote, rollback), and tune prompt."""

import asyncio
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from app.commands.assess import tune
from app.commands.prompts_shown import (
    bases_by_id,
    note_newest,
    note_unsaid,
    quoted_base,
    show_compared,
    show_standing,
    show_study,
    version_row,
)  # fmt: skip
from app.commands.terminal import AsJson, Kb, Steps, noted, opened, out, print_json, progress_bars
from core.config import Config, Settings
from core.errors import ConfigError, PromptError
from prompts import versions as library_of
from prompts.load import Prompt, load, versions
from prompts.resting import inherited

prompting = typer.Typer(help="The prompts: versions side by side, and which one answers a knowledge base.")

Label = Annotated[str, typer.Argument(help="A prompt, e.g. answer or answer/v002; without a version the newest.")]
Variants = Annotated[
    list[str],
    typer.Argument(help="Two or more, the first is compared with: e.g. answer/v001 answer/v002,temperature=0."),
]
Scores = Annotated[
    str, typer.Option("--objective", help="Scores whose mean decides, comma-separated, e.g. token_f1,citation_f1.")
]
Questions = Annotated[
    Path | None, typer.Option("--questions", help="A JSONL file of questions; default: the approved golden set.")
]
Judged = Annotated[bool, typer.Option("--judge", help="Have the model grade the answers too, by the prompt `judge`.")]


@prompting.command("list")
def list_(ctx: typer.Context, kb: Kb = None, as_json: AsJson = False) -> None:
    """List all versions: what each was made of, what it scored, and which one answers the knowledge base."""
    from app.answering.promotions import present
    from app.prompting.compare import scores_of

    cfg: Config = ctx.obj.config
    library, home = Path(cfg.prompts.library), _home(ctx.obj, kb)
    now, scored = present(cfg, home), scores_of(home)
    bases = bases_by_id(cfg)
    rows: list[dict[str, Any]] = [
        version_row(prompt, scored, now.label.partition(" ")[0]) | {"rests_on": quoted_base(prompt, bases)}
        for name in library_of.names(library)
        for prompt in (load(library, name, number) for number in versions(library, name))
    ]
    if as_json:
        print_json({"kb": home.name, "present": now.model_dump(exclude_none=True), "prompts": rows})
        return
    table = Table(box=None)
    for column in ("", "prompt", "parent", "quotes", "score", "notes"):
        table.add_column(column, overflow="fold")
    for row in rows:
        best = max((own["objective"] for own in row["scores"].values()), default=None)
        score = "" if best is None else f"{best:.3f}"
        told = (row["prompt"], row["parent"], row["rests_on"], score, row["notes"])
        table.add_row("→" if row["answers"] else "", *map(escape, told))
    out.print(table)


@prompting.command()
def show(ctx: typer.Context, label: Label) -> None:
    """Print the file of a version."""
    prompt = _read(ctx.obj.config, label)
    sys.stdout.write((_library(ctx.obj.config) / prompt.name / f"v{prompt.version:03d}.toml").read_text("utf-8"))


@prompting.command()
def diff(
    ctx: typer.Context, label: Label, other: Annotated[str, typer.Argument()] = "", as_json: AsJson = False
) -> None:
    """Show what differs between two versions; with one, between it and its parent."""
    from prompts.load import parent_of

    one = _read(ctx.obj.config, label)
    if other:
        pair = (one, _read(ctx.obj.config, other))
    elif parent := parent_of(one):
        pair = (load(_library(ctx.obj.config), *parent), one)
    else:
        raise PromptError(f"{one.label} has no parent", "name another version to compare it with")
    sections = library_of.diff(*pair)
    if as_json:
        print_json({"from": pair[0].label, "to": pair[1].label, "sections": sections})
        return
    for section, text in sections.items():
        out.print(f"[bold]{escape(section)}[/bold]\n{escape(text)}", highlight=False)
    if not sections:
        out.print(f"{pair[0].label} and {pair[1].label} say the same", markup=False, highlight=False)


@prompting.command()
def new(
    ctx: typer.Context, name: Annotated[str, typer.Argument(help="The prompt that the version is of.")],
    file: Annotated[Path, typer.Option("--file", help="The version as a TOML file, as `prompts show` prints one.")],
    parent: Annotated[str, typer.Option("--parent", help="What it was made of; default: what the file says.")] = "",
    notes: Annotated[str, typer.Option("--notes", help="What is new in it; default: what the file says.")] = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Save a file as the next version of a prompt; it is checked first, and nothing is ever overwritten."""
    from dataclasses import replace

    read = library_of.read_file(file, name)
    if len(read) != 1:
        raise PromptError(f"{str(file)!r} holds {len(read)} versions", "`ragstone prompts import` takes over a pack")
    told = replace(read[0], name=name, notes=notes or read[0].notes)
    if parent:
        told = replace(told, parent=_read(ctx.obj.config, parent).label)
    library = _library(ctx.obj.config)
    saved = library_of.save(library, inherited(library, told))
    noted(ctx.obj, "prompt.save", saved.label)
    print_json({"prompt": saved.label, "id": saved.id}) if as_json else out.print(saved.label, highlight=False)
    note_newest(ctx.obj.config, saved)
    note_unsaid(saved)


@prompting.command("import")
def import_(
    ctx: typer.Context, file: Annotated[Path, typer.Argument(help="A version or a pack, as `export` writes them.")],
    name: Annotated[str, typer.Option("--name", help="Of a single version; default: by its file name.")] = "",
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Take over the versions of a file as the next ones here; what is here already is not saved again."""
    library = _library(ctx.obj.config)
    given = [inherited(library, prompt) for prompt in library_of.read_file(file, name)]
    found = library_of.take_over(library, given)
    for prompt, new in found:
        if new:
            noted(ctx.obj, "prompt.import", prompt.label)
            note_unsaid(prompt)
    if as_json:
        print_json({"prompts": [{"prompt": prompt.label, "new": new} for prompt, new in found]})
        return
    for prompt, new in found:
        out.print(f"{prompt.label}{'' if new else ' (here already)'}", markup=False, highlight=False)


@prompting.command()
def export(
    ctx: typer.Context, labels: Annotated[list[str], typer.Argument(help="Versions, or names: all their versions.")],
    to: Annotated[Path, typer.Option("--to", help="The file to write.")],
) -> None:  # fmt: skip
    """Write versions to one file, to be imported elsewhere."""
    from core.files import write_whole

    library = _library(ctx.obj.config)
    chosen = [
        prompt
        for label in labels
        for prompt in (
            [_read(ctx.obj.config, label)]
            if "/" in label
            else [load(library, label, number) for number in versions(library, label) or [0]]
        )
    ]
    if to.exists():
        raise ConfigError(f"{str(to)!r} is there already", "give another name: --to")
    try:
        write_whole(to, library_of.pack(chosen))
    except OSError as error:
        raise ConfigError(f"{str(to)!r} cannot be written: {error.strerror}", "check its folder") from None
    out.print(f"{len(chosen)} versions in {to}", markup=False, highlight=False)


@prompting.command()
def compare(
    ctx: typer.Context, variants: Variants, kb: Kb = None, questions: Questions = None,
    question: Annotated[str, typer.Option("--question", help="Ask this one question only.")] = "",
    objective: Scores = "token_f1,citation_f1", judge: Judged = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Answer the same questions by several prompts, side by side; needs a model."""
    from app.answering.backend import resolve
    from app.answering.promotions import chosen
    from app.prompting.compare import Asked, check_model, compare, golden_questions, read_questions, remember

    settings: Settings = ctx.obj
    cfg = settings.config
    if len(variants) < 2 and not question:
        raise ConfigError("one prompt alone has nothing to be compared with", "name two or more")
    choices = [chosen(_library(cfg), text) for text in variants]
    backend = asyncio.run(resolve(cfg.llm))
    check_model(backend)
    with opened(settings, kb) as index, progress_bars() as progress:
        if question:
            asked = [Asked("", question, None)]
        else:
            asked = read_questions(questions) if questions else golden_questions(index)
        names = _scores(objective)
        result = compare(index, asked, choices, cfg, backend, names=names, judged=judge, progress=progress)
        if not question:
            remember(index.home, result)
    print_json(result) if as_json else show_compared(result)


@prompting.command()
def demos(
    ctx: typer.Context, label: Label, kb: Kb = None, questions: Questions = None,
    count: Annotated[int, typer.Option("--count", min=1, max=8, help="Demonstrations a language.")] = 4,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show a prompt how to reason by answers of the model's own that are right and cited (Auto-CoT): NAME-shown."""
    from app.answering.backend import resolve
    from app.answering.promotions import chosen
    from app.prompting.chains import show as shown_by
    from app.prompting.compare import check_model, golden_questions, read_questions

    settings: Settings = ctx.obj
    cfg = settings.config
    choice = chosen(_library(cfg), label)
    backend = asyncio.run(resolve(cfg.llm))
    check_model(backend)
    with opened(settings, kb) as index, progress_bars() as progress:
        asked = read_questions(questions) if questions else golden_questions(index)
        made = shown_by(index, asked, choice, cfg, backend, count, progress)
        name = index.name
    noted(ctx.obj, "prompt.demos", name, made.prompt.label)
    if as_json:
        print_json({"kb": name, "prompt": made.prompt.label, "demonstrated": made.chosen, "passed_over": made.passed})
        return
    for question in made.chosen:
        out.print(f"  {question}", markup=False, highlight=False)
    out.print(f"{made.prompt.label}: {made.prompt.notes}; {made.passed} answers passed over", markup=False)
    of = f"{choice.name}/v{choice.version:03d}"
    out.print(f"  ragstone prompts compare {of} {made.prompt.label} --kb {shlex.quote(name)}", markup=False)


@prompting.command()
def promote(
    ctx: typer.Context, label: Label, kb: Kb = None,
    temperature: Annotated[float | None, typer.Option("--temperature", min=0, max=2)] = None,
    top_p: Annotated[float | None, typer.Option("--top-p", max=1)] = None,
    k: Annotated[int | None, typer.Option("--k", min=1, max=1000, help="How many passages.")] = None,
    context_tokens: Annotated[int | None, typer.Option("--context-tokens", min=64, max=1_000_000)] = None,
    steps: Steps = None,
    samples: Annotated[int | None, typer.Option("--samples", min=1, max=20, help="Answers that are drawn.")] = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Answer a knowledge base by this version from its next question on; settings not given are the configuration's."""
    from app.answering.promotions import chosen
    from app.answering.promotions import promote as promote_prompt
    from retrieval.index import Index

    given = {
        "temperature": temperature, "top_p": top_p, "k": k, "context_tokens": context_tokens, "steps": steps,
        "samples": samples,
    }  # fmt: skip
    text = ",".join([label, *(f"{key}={value}" for key, value in given.items() if value is not None)])
    home = _home(ctx.obj, kb)
    cfg = ctx.obj.config
    base = Index.identity_in(home.parent, home.name, cfg.app.database) if home.is_dir() else ""
    standing = promote_prompt(_library(cfg), home, chosen(_library(cfg), text), base=base)
    noted(ctx.obj, "prompt.promote", home.name, standing.choice.label)
    show_standing(ctx.obj.config, home.name, standing.choice.label, as_json)


@prompting.command()
def rollback(ctx: typer.Context, kb: Kb = None, as_json: AsJson = False) -> None:
    """Undo the last promotion of a knowledge base."""
    from app.answering.promotions import present, roll_back

    home = _home(ctx.obj, kb)
    roll_back(home)
    noted(ctx.obj, "prompt.rollback", home.name)
    show_standing(ctx.obj.config, home.name, present(ctx.obj.config, home).label, as_json)


@tune.command("prompt")
def tune_prompt(
    ctx: typer.Context, kb: Kb = None, questions: Questions = None,
    trials: Annotated[int, typer.Option("--trials", min=1, max=10_000, help="In all; a study goes on.")] = 30,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="Choose among these; may be repeated.")] = None,
    propose: Annotated[int, typer.Option("--propose", min=0, max=50, help="New wordings by the model.")] = 0,
    demos: Annotated[int, typer.Option("--demos", min=0, max=8, help="Most demonstrations in a prompt.")] = 3,
    objective: Scores = "token_f1,citation_f1", judge: Judged = False,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**31 - 1)] = 0, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Search for a better prompt and settings on half of the questions, and prove it on the others; changes nothing."""
    from app.answering.backend import resolve
    from app.prompting.compare import check_model, golden_questions, read_questions
    from app.prompting.tune import STUDIES, Request
    from app.prompting.tune import tune as run
    from app.running.audit import at_terminal, record_study

    settings: Settings = ctx.obj
    backend = asyncio.run(resolve(settings.config.llm))
    check_model(backend)
    request = Request(trials, seed, _scores(objective), tuple(prompt or ()), propose, demos, judge)
    with opened(settings, kb) as index, progress_bars() as progress:
        asked = read_questions(questions) if questions else golden_questions(index)
        report = run(index, asked, request, settings.config, backend, progress)
        folder = index.home / STUDIES / report["id"]
    record_study(Path(settings.config.app.data), at_terminal(), report)
    if as_json:
        print_json(report | {"folder": str(folder)})
        return
    show_study(report)
    out.print(str(folder / "report.md"), markup=False, highlight=False)


# --- what is meant ---------------------------------------------------------------------------------------------------


def _library(cfg: Config) -> Path:
    return Path(cfg.prompts.library)


def _home(settings: Settings, kb: str | None) -> Path:
    from retrieval.home import check_name

    return Path(settings.config.app.data) / check_name(kb or settings.config.app.kb)


def _read(cfg: Config, label: str) -> Prompt:
    from app.answering.promotions import chosen

    choice = chosen(_library(cfg), label.partition(",")[0])
    return load(_library(cfg), choice.name, choice.version)


def _scores(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
