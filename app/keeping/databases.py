"""What works where the knowledge bases lie in a database (`app.database`); docs/databases.md says the same."""

from core.config import Config
from core.errors import ConfigError

COMMANDS = frozenset(
    {
        "ask", "backup", "chat", "completion", "config", "files", "index", "migrate", "purge", "remove", "restore",
        "rollback", "search", "verify",
    }
)  # fmt: skip


def refuse(cfg: Config, what: str) -> None:
    """Raise `ConfigError` where a database is configured, for what does not work with one yet."""
    if cfg.app.database:
        raise ConfigError(
            f"{what} does not work with app.database yet",
            f"what does: {', '.join(sorted(COMMANDS))}; without app.database everything works, in files",
        )
