"""What the command line is to a shell: options that stand anywhere, the version, completion, exit codes."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from core.places import installed_version

NAME = "ragstone"
COMPLETING = "_RAGSTONE_COMPLETE"  # the variable by which a shell asks what could stand next
EXIT_CODES = """Exit codes:

0: done. Files that could not be read before, either, and have not changed since are a note.

1: done, but a file could not be read (with --strict, also one that could not be before), or a check did not pass.

2: an error, told in two lines; what was committed before it is kept.

130: interrupted (Ctrl-C). 143: ended (SIGTERM)."""
_ANYWHERE = ("--set", "--config")

shells = typer.Typer()


class Anywhere(TyperGroup):
    """All commands; what holds for each of them, `--set` and `--config`, may stand before or after its name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the arguments apart, with those options in front."""
        return super().parse_args(ctx, in_front(args))


class Shell(StrEnum):
    """The shells that complete commands."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def in_front(args: Sequence[str]) -> list[str]:
    """The arguments with the options that hold for every command first; nothing after `--` is one of them."""
    first: list[str] = []
    rest: list[str] = []
    left = list(args)
    while left and left[0] != "--":
        argument = left.pop(0)
        if argument in _ANYWHERE:
            first += [argument, *left[:1]]
            left = left[1:]
        elif argument.startswith(tuple(f"{name}=" for name in _ANYWHERE)):
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest + left


def show_version(asked: bool) -> None:
    """Print the version that is installed, and end."""
    if asked:
        typer.echo(f"{NAME} {installed_version()}")
        raise typer.Exit


@shells.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="The shell that is to complete commands, options and --kb.")],
) -> None:
    """Print a script by which a shell completes `ragstone`, e.g. for `eval "$(ragstone completion bash)"`."""
    from typer._completion_shared import get_completion_script

    typer.echo(get_completion_script(prog_name=NAME, complete_var=COMPLETING, shell=shell.value))


def completes(environ: Mapping[str, str]) -> None:
    """Let a shell ask what could stand next, where it does."""
    if COMPLETING in environ:
        from typer._completion_classes import completion_init

        completion_init()


def bases(ctx: typer.Context, incomplete: str) -> list[str]:
    """The knowledge bases whose name begins so, for completion; none where the configuration cannot be read."""
    from pathlib import Path

    from core.config import load
    from core.errors import RagstoneError
    from retrieval.index import Index

    root = ctx.find_root().params
    try:
        cfg = load(root.get("config")).config
        names = Index.names(Path(cfg.app.data), cfg.app.database)
    except RagstoneError:
        return []
    return [name for name in names if name.startswith(incomplete)]
