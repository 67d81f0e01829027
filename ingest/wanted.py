"""Which files are to be read, by their paths alone: of a folder that is elsewhere."""

from collections.abc import Callable

from core.config import IngestConfig
from core.glob import matcher


def chosen(cfg: IngestConfig) -> Callable[[str], bool]:
    """Whether a file is one to be read, by its path: as the walk over a folder decides it, without a folder."""
    included, excluded = matcher(cfg.include), matcher(cfg.exclude)

    def one(path: str) -> bool:
        if not cfg.hidden and hidden(path):
            return False
        names = path.split("/")
        above = ("/".join(names[:count]) for count in range(1, len(names)))
        if any(excluded(folder) or excluded(folder + "/") for folder in above):
            return False
        return included(path) and not excluded(path)

    return one


def hidden(path: str) -> bool:
    """Whether a path, or a folder that it lies in, has a name that begins with a dot."""
    return path.startswith(".") or "/." in path
