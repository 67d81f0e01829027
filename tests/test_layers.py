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
# Of app: words, then what is done with a knowledge base, what lasts while people use it, and above them the surfaces.
RECIPES = ("messages", "answering", "keeping", "measuring", "running", "prompting", "training", "upkeep")
SURFACES = ("api", "frameworks", "http", "ui", "serving", "commands", "cli")
HEAVY = (
    "torch",
    "sentence_transformers",
    "faiss",
    "tantivy",
    "gradio",
    "llama_index",
    "langchain_core",
    "openai",
    "s3fs",
    "distributed",
)
# What a file of tests imports within a test or a fixture, or by `tests.needs.later`: each worker imports each file.
LATE = {"torch", "transformers", "sentence_transformers", "peft", "openai", "llama_index"}
APART = ("plugged_parts.py",)  # imported by name, by the tests that need it
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


def parts(file: Path) -> set[str]:
    """The parts of the house that a file imports: a folder of the top, or of app, `app/answering`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FOLDERS:
            names.add("/".join(node.module.split(".")[: 2 if node.module.startswith("app.") else 1]))
    return names


def part_of(file: Path) -> str:
    where = file.relative_to(ROOT).with_suffix("").parts
    return "/".join(where[:2]) if where[0] == "app" else where[0]


def drawn() -> str:
    """What imports what, as a Mermaid graph; an arrow is left out where others lead there too."""
    imports: dict[str, set[str]] = {}
    for file in SOURCES:
        if file.stem != "__init__":
            imports.setdefault(part_of(file), set()).update(parts(file) - {part_of(file)})

    def below(part: str) -> set[str]:
        return imports[part].union(*map(below, imports[part]))

    lines = []
    for part in sorted(imports):
        direct = imports[part] - set().union(*map(below, imports[part]))
        lines += [f"    {part} --> {other}" for other in sorted(direct)]
    return "\n".join(["```mermaid", "graph TD", *lines, "```"])


def test_a_recipe_knows_no_surface_and_nothing_of_app_imports_what_stands_above_it() -> None:
    order = [f"app/{name}" for name in (*RECIPES, *SURFACES)]
    wrong = {}
    for file in sorted((ROOT / "app").glob("[!_]*/*.py")) + sorted((ROOT / "app").glob("[!_]*.py")):
        allowed = order[: order.index(part_of(file)) + 1]
        if others := {other for other in parts(file) if other.startswith("app/")} - set(allowed):
            wrong[str(file.relative_to(ROOT))] = others
    assert wrong == {}


def test_the_drawing_of_the_architecture_is_that_of_the_imports() -> None:
    assert drawn() in (ROOT / "docs" / "architecture.md").read_text("utf-8"), f"docs/architecture.md needs\n{drawn()}"


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


def test_what_loads_for_seconds_is_not_imported_by_every_worker() -> None:
    wrong = {}
    for file in sorted((ROOT / "tests").rglob("*.py")):
        body = ast.parse(file.read_text("utf-8")).body
        names = {node.module or "" for node in body if isinstance(node, ast.ImportFrom)}
        names |= {alias.name for node in body if isinstance(node, ast.Import) for alias in node.names}
        late = {name for name in names if LATE & set(name.split("."))}
        if late and file.name not in APART:
            wrong[str(file.relative_to(ROOT))] = late
    assert wrong == {}
