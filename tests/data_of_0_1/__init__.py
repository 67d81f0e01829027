"""A data folder as version 0.1 wrote it, for the tests that open what an older version made.

`data.tar.xz` holds:

- `users.sqlite`: the admin `ann`, who sees all, and the reader `bob`, who sees the knowledge base `handbook` and has an
  API key. Their passwords are hashed with the least that Argon2id takes.
- `chats.sqlite`: a conversation of each, with one question and an answer with sources; ann's is about `private`.
- `handbook` and `private`: two knowledge bases of the built-in embedder, each with its catalog and both caches.
  `handbook` was made of the files in `documents/`, one of which cannot be read; its folder is called `/srv/documents`.

Nothing of it is made anew: what a later version writes is another fixture.
"""

import tarfile
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENTS = HERE / "documents"
FOLDER = "/srv/documents"  # what the catalog of `handbook` calls it
PRIVATE = "/srv/private"  # the folder of `private`, whose one file is not here
PASSWORDS = {"ann": "ann has a long password", "bob": "bob has a long password"}
KEY = "rs-" + "0" * 43  # bob's


def unpack(data: Path) -> Path:
    """Lay the data folder down, as a folder of this name; returns it."""
    data.mkdir(parents=True)
    with tarfile.open(HERE / "data.tar.xz") as archive:
        archive.extractall(data, filter="data")
    return data
