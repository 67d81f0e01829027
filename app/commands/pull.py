"""The command `ragstone pull`: a model from a hub into the models folder."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.commands.terminal import AsJson, err, out, print_json

fetching = typer.Typer()


@fetching.command()
def pull(
    ctx: typer.Context,
    repo: Annotated[str, typer.Argument(metavar="NAME", help="The model as on the hub: maker/name.")],
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit; default: the main branch.")] = "",
    source: Annotated[
        str, typer.Option("--from", help="huggingface, modelscope, or the address of a hub like Hugging Face.")
    ] = "huggingface",
    name: Annotated[str, typer.Option("--name", help="Of the result, data/models/NAME; default: its own.")] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch a model's weights (safetensors), tokenizer and configuration, checked by hash; offline afterwards.

    Stopped, it goes on where it was. HF_TOKEN and MODELSCOPE_API_TOKEN open models that ask for one.
    """
    from llm.hub import hub_of
    from llm.pull import pull as fetch

    def say(line: str) -> None:
        err.print(line, markup=False, highlight=False)

    hub = hub_of(source, os.environ)
    done = fetch(Path(ctx.obj.config.app.data), hub, repo, revision, name, say)
    if as_json:
        print_json(asdict(done) | {"folder": str(done.folder)})
        return
    came = f"{done.fetched / 1e6:.1f} MB came now" if done.fetched else "it was there already"
    line = f"{done.folder}: {done.repo} at {done.revision}, {done.files} files, {done.bytes / 1e6:.1f} MB; {came}"
    out.print(line, markup=False, highlight=False, soft_wrap=True)
    if done.left_out:
        say(f"left out: {', '.join(done.left_out[:10])}{' ...' if len(done.left_out) > 10 else ''}")
