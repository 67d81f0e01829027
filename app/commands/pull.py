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
    repo: Annotated[str, typer.Argument(metavar="NAME", help="maker/name as on the hub, or a *.gguf file here.")],
    revision: Annotated[str, typer.Option("--revision", help="Branch, tag or commit; default: the main branch.")] = "",
    source: Annotated[
        str, typer.Option("--from", help="huggingface, modelscope, or the address of a hub like Hugging Face.")
    ] = "huggingface",
    name: Annotated[str, typer.Option("--name", help="Of the result, data/models/NAME; default: its own.")] = "",
    file: Annotated[str, typer.Option("--file", help="Which GGUF file of a repository that has several.")] = "",
    as_json: AsJson = False,
) -> None:
    """Fetch a model's weights (safetensors), tokenizer and configuration, checked by hash; offline afterwards.

    A GGUF file, of the hub or of this machine, is unpacked into such a folder, its weights in bfloat16. Stopped, it
    goes on where it was. HF_TOKEN and MODELSCOPE_API_TOKEN open models that ask for one.
    """
    from llm.gguf import ENDING
    from llm.hub import hub_of
    from llm.pull import pull as fetch
    from llm.pull import take

    def say(line: str) -> None:
        err.print(line, markup=False, highlight=False)

    data = Path(ctx.obj.config.app.data)
    here = repo.endswith(ENDING) and Path(repo).is_file()
    if here:
        done = take(data, Path(repo), name, say)
    else:
        done = fetch(data, hub_of(source, os.environ), repo, revision, name, say, file=file)
    if as_json:
        print_json(asdict(done) | {"folder": str(done.folder)})
        return
    already = "made of a file of this machine" if here else "it was there already"
    came = f"{done.fetched / 1e6:.1f} MB came now" if done.fetched else already
    line = f"{done.folder}: {done.repo} at {done.revision}, {done.files} files, {done.bytes / 1e6:.1f} MB; {came}"
    out.print(line, markup=False, highlight=False, soft_wrap=True)
    if done.left_out:
        say(f"left out: {', '.join(done.left_out[:10])}{' ...' if len(done.left_out) > 10 else ''}")
