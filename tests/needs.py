"""What a module of tests needs that not every installation has, or that loads for seconds."""

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest


def needs(*packages: str) -> None:
    """Skip the module that calls this where a package is not installed.

    `pytest.importorskip` imports it, in each worker, whether or not that worker then runs the module: torch and what
    builds on it take seconds.
    """
    for name in packages:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed", allow_module_level=True)


def later(name: str) -> Any:
    """A module that is imported as something of it is used: each worker imports each file of tests, few run it.

    For pyright the import stands beside it, under `TYPE_CHECKING`.
    """
    return _Later(name)


class _Later(ModuleType):
    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.__name__), name)
