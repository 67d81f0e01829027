"""What `--help` prints."""

from collections.abc import Iterator
from typing import Any

import typer
from rich.text import Text

from app.cli import app


def texts(command: Any, name: str) -> Iterator[tuple[str, str]]:
    """All texts of the help of a command and of those below it, with whose they are."""
    for whose, text in [("", command.help), *((each.name, getattr(each, "help", "")) for each in command.params)]:
        yield f"{name} {whose}", text or ""
    for below, one in getattr(command, "commands", {}).items():
        yield from texts(one, f"{name} {below}")


def test_no_text_of_the_help_loses_a_bracket_as_markup() -> None:
    found = dict(texts(typer.main.get_command(app), "ragstone"))
    assert len(found) > 100
    lost = {whose: text for whose, text in found.items() if Text.from_markup(text).plain.count("[") != text.count("[")}
    assert lost == {}
