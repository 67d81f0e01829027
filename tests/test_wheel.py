"""What is installed from a wheel is the whole app: every module and every file that one reads, run from anywhere."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_layers import FOLDERS

pytestmark = pytest.mark.slow

SDIST = "import sys; from setuptools.build_meta import build_sdist; print(build_sdist(sys.argv[1]))"


def tree() -> list[str]:
    """The files of the checkout that git knows or would know."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [name for name in listed if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink()]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("sdist")
    for name in tree():
        if not name.startswith(("tests/", "bench/", "examples/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, source / name)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", SDIST, str(out)], cwd=source, env=env, capture_output=True, check=True)
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, so that nothing is missing there either."""
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(out)]
    done = subprocess.run([*pip, str(sdist)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = out.iterdir()
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with the wheel, which finds all other packages in this one."""
    home = tmp_path_factory.mktemp("installed") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    purelib = next((home / "lib").glob("python*/site-packages"))
    others = dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))
    (purelib / "others.pth").write_text("\n".join(others) + "\n", encoding="utf-8")  # no .pth there is followed
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    return home


def test_the_wheel_has_every_module_and_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {name for name in tree() if name.split("/")[0] in FOLDERS}
    assert held == wanted | {"core/config.toml"}
    assert {f"{folder}/py.typed" for folder in FOLDERS} <= held


def test_the_wheel_says_what_it_is(wheel: Path, sdist: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(archive.read(name).decode())
        settings = archive.read("core/config.toml")
    assert settings == (ROOT / "config.toml").read_bytes()
    assert set(said.get_all("Provides-Extra") or ()) == {
        "ocr",
        "gguf",
        "postgresql",
        "s3",
        "dask",
        "office",
        "benchmarks",
        "train",
        "test",
    }
    assert "Typing :: Typed" in (said.get_all("Classifier") or ())
    assert said["License-Expression"] == "Apache-2.0"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert (said["Version"], sdist.name) == (version, f"ragstone-{version}.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"config.toml", "constraints.txt", "CHANGELOG.md", "LICENSE", "README.md", "SECURITY.md"} <= names


def test_what_is_installed_runs_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    home, docs, empty = (tmp_path / name for name in ("home", "docs", "empty"))
    for folder in (home, docs, empty):
        folder.mkdir()
    (docs / "leave.md").write_text("# Leave\n\nAnnual leave is 25 days a year.", encoding="utf-8")
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XDG_DATA_HOME")}
    env = {key: value for key, value in kept.items() if not key.startswith("RAGSTONE_")} | {
        "HOME": str(home), "RAGSTONE_RETRIEVAL__EMBEDDER": "english",
    }  # fmt: skip

    def run(*command: str) -> str:
        done = subprocess.run(command, cwd=empty, env=env, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    ragstone = str(installed / "bin" / "ragstone")
    where = run(str(installed / "bin" / "python"), "-c", "import app; print(app.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    assert run(ragstone, "--version").startswith("ragstone 0.")
    assert json.loads(run(ragstone, "index", str(docs), "--kb", "work", "--json"))["added"] == 1
    answer = json.loads(run(ragstone, "ask", "How many days of annual leave?", "--kb", "work", "--json"))
    assert "25 days" in answer["answer"]
    assert "answer/v001" in run(ragstone, "prompts", "list", "--kb", "work")
    own = home / ".local" / "share" / "ragstone"
    assert sorted(path.name for path in own.iterdir()) == ["data", "prompts"]
    (own / "config.toml").write_text(run(ragstone, "config", "--defaults"), encoding="utf-8")
    settings = json.loads(run(ragstone, "config", "--json"))
    assert settings["app.port"]["origin"] == str(own / "config.toml")
    assert settings["app.data"]["value"] == str(own / "data")
    assert list(empty.iterdir()) == []
    page = (
        "from app.ui.page import _HERE as h; from app.messages.settings_help import meanings; "
        "from app.messages.errors_zh import says; "
    )
    page += "print((h / 'page.css').stat().st_size, (h / 'page.js').stat().st_size, len(meanings('en')), "
    page += "len(meanings('zh')), says('choose another name', 'zh'))"
    *sizes, said = run(str(installed / "bin" / "python"), "-c", page).split()
    assert all(int(size) > 50 for size in sizes)
    assert said == "换一个名称"
