"""What each setting means, in English and Chinese, and which of them the file states otherwise by now."""

import tomllib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from app.messages.texts import Tongue
from core.config import PATHS, Config, Settings, default_path, load
from core.places import DEFAULTS

_CHINESE = Path(__file__).with_name("settings_zh.toml")


@cache
def meanings(tongue: Tongue) -> dict[str, str]:
    """What each "section.key" means: the comment above it in the project's config.toml, or its translation.

    Keys that stand together below one comment share it.
    """
    return _chinese() if tongue == "zh" else _comments(DEFAULTS)


def _comments(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    section, comment, fresh = "", "", True
    for line in file.read_text("utf-8").splitlines():
        if line.startswith("["):
            section, comment, fresh = line.strip("[]"), "", True
        elif line.startswith("# "):
            comment, fresh = (line[2:] if fresh else f"{comment} {line[2:]}"), False
        elif "=" in line:
            found[f"{section}.{line.split('=')[0].strip()}"] = comment
            fresh = True
        else:
            fresh = True
    return found


def _chinese() -> dict[str, str]:
    sections = tomllib.loads(_CHINESE.read_text("utf-8"))
    return {f"{section}.{key}": text for section, keys in sections.items() for key, text in keys.items()}


def not_default(settings: Settings) -> set[str]:
    """The keys whose value is another than by default; config.toml may well list the defaults."""
    plain = replace(settings, config=Config()).rows()
    usual = {name: default_path(name, settings.file) if name in PATHS else value for name, value, _ in plain}
    return {name for name, value, _ in settings.rows() if value != usual[name]}


def changed(settings: Settings) -> dict[str, Any]:
    """What would be another value if the app were started now: the keys with their new values, secrets masked.

    What a flag set stays as it is. Raises `ConfigError` where the file cannot be read any more.
    """
    now = {name: value for name, value, _ in load(settings.file).rows()}
    fixed = ("flag", "ragstone promote")
    return {
        name: now[name] for name, value, origin in settings.rows() if origin not in fixed and now[name] != value
    }  # fmt: skip
