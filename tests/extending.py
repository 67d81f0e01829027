"""The package of docs/extending.md, as an outsider would install it."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

_BLOCK = re.compile(
    r"^```(?:python|toml)\n# (ragstone_acme/\w+\.py|pyproject\.toml)\n(.*?)^```$", re.DOTALL | re.MULTILINE
)


def installed(folder: Path) -> Path:
    """A folder for PYTHONPATH into which pip installed what the page shows."""
    source, target = folder / "source", folder / "site"
    written = dict(_BLOCK.findall((ROOT / "docs" / "extending.md").read_text("utf-8")))
    for name, text in written.items() | {("ragstone_acme/__init__.py", "")}:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(target), str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def env_with(site: Path, data: Path, **more: str) -> dict[str, str]:
    """The environment of a process that finds the package, with a data folder of its own."""
    own = {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}", "RAGSTONE_DATA": str(data), "RAGSTONE_LLM__BACKEND": "extractive"}
    return os.environ | own | more
