"""What docs/frameworks.md shows runs as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.slow
def test_the_examples_of_the_docs_run(handbook: Path) -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "frameworks.md").read_text("utf-8"), re.DOTALL)
    examples = [example for example in examples if "langgraph" not in example]  # test_agent.py
    assert len(examples) == 5
    env = os.environ | {"RAGSTONE_DATA": str(handbook), "RAGSTONE_LLM__BACKEND": "extractive"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(examples)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for part in ("25 days [1].", "people/", "True", "probation-and-training.md"):
        assert part in done.stdout, part
