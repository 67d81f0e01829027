"""What a module of tests needs that not every installation has."""

from importlib.util import find_spec

import pytest


def needs(*packages: str) -> None:
    """Skip the module that calls this where a package is not installed.

    `pytest.importorskip` imports it, in each worker, whether or not that worker then runs the module: torch and what
    builds on it take seconds.
    """
    for name in packages:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed", allow_module_level=True)
