"""The data folder of a process that runs: nothing is made in its place where it went away.

Its disk may be unmounted, which leaves an empty folder, or somebody renames it. A new file of accounts or chats would
then be begun on the disk beneath, and the old one be hidden by it or lost from sight.
"""

from pathlib import Path

from core.errors import CatalogError
from core.files import number_of


class DataFolder:
    """The folder of a path as it was when this was made, whatever takes its place later."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._was = number_of(path)

    def check(self, *files: Path) -> None:
        """Raise `CatalogError` where the folder is not there any more, or another one that holds none of `files`.

        One that does hold one is the data folder, back on its disk, which may bear another number then, or put there
        from a copy. One that was not there at first may be made.
        """
        now = number_of(self.path)
        if self._was is None:
            self._was = now
        elif now is None or (now != self._was and not any(file.exists() for file in files)):
            raise CatalogError(
                f"the data folder {str(self.path)!r} is not there any more",
                "mount its disk again, or put it back; to begin anew in another, start the app again",
            )

    def make(self, *files: Path) -> None:
        """The same, and make the folder where it never was."""
        self.check(*files)
        self.path.mkdir(parents=True, exist_ok=True)
        self.check(*files)
