"""The house itself: imports run one way, heavy libraries load late, files stay small."""

import ast
import subprocess
import sys
from pathlib import Path

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


def test_imports_run_one_way() -> None:
    wrong = {}
    for file in SOURCES:
        name = file.relative_to(ROOT)
        if others := imported(file) & (FOLDERS.keys() | {"tests", "bench"}) - FOLDERS[name.parts[0]]:
            wrong[str(name)] = others
    assert wrong == {}


def test_no_file_is_past_400_lines() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text("utf-8").splitlines()) for file in SOURCES}
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_help_loads_no_heavy_library() -> None:
    code = f"""
import sys
from app.cli import app
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"
