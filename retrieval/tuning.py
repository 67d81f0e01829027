"""What was calibrated on a question set for one knowledge base: `data/<kb>/tuning.json`, written by `ragstone tune`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from core.errors import ConfigError
from core.files import write_whole

FILE = "tuning.json"


@dataclass(frozen=True, slots=True)
class Tuning:
    """Per language code the share of the dense ranking in the fusion, 0 to 1; and the least relevance that counts as
    covered, where questions without an answer were given.
    """

    dense_weight: Mapping[str, float] = field(default_factory=dict)
    min_relevance: float | None = None


def load(file: Path) -> Tuning:
    """The calibration of a knowledge base; an empty one where there is none. Raises `ConfigError` for a bad file."""
    try:
        tuning = Tuning(**json.loads(file.read_text("utf-8")))
        values = [*tuning.dense_weight.values(), *([] if tuning.min_relevance is None else [tuning.min_relevance])]
        if not all(0 <= value <= 1 for value in values):
            raise ValueError("a value is not between 0 and 1")
    except FileNotFoundError:
        return Tuning()
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        hint = "delete it, or run `ragstone tune retrieval` again"
        raise ConfigError(f"{str(file)!r} cannot be used: {error}", hint) from None
    return tuning


def save(file: Path, tuning: Tuning) -> None:
    """Write the calibration, whole or not at all."""
    write_whole(file, json.dumps(asdict(tuning), indent=2))
