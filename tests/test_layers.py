"""The house itself: imports run one way, heavy libraries load late, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

FOLDERS = {
    "core": {"core"},
    "ingest": {"core", "ingest"},
    "retrieval": {"core", "retrieval"},
    "llm": {"core", "llm"},
    "prompts": {"core", "prompts"},
    "app": {"core", "ingest", "retrieval", "llm", "prompts", "app"},
}
HEAVY = ("torch", "sentence_transformers", "faiss", "tantivy", "gradio", "llama_index", "langchain_core", "openai")
SOURCES = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_run_one_way(file: Path) -> None:
    allowed = FOLDERS[file.relative_to(ROOT).parts[0]]
    ours = imported(file) & (FOLDERS.keys() | {"tests", "bench"})
    assert ours <= allowed, f"{file.name} may import {sorted(allowed)} only"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_is_past_400_lines(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 400


def test_help_loads_no_heavy_library() -> None:
    code = f"""
import sys
from app.cli import app
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
