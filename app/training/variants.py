"""A/B: a share of the chats is answered by a second model or adapter, and votes tell which is liked better.

`llm.ab_percent`, `llm.ab_base_url` and `llm.ab_model` describe variant B; A is what answers without them. Which one a
chat has follows from its id alone, so it is the same after a restart; raising the share moves chats from A to B only.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from app.training.votes import Vote
from core.config import LlmConfig
from core.errors import ConfigError

Name = Literal["", "A", "B"]

_PARTS = 1 << 32
_Z = 1.96  # of a 95% interval


@dataclass(frozen=True, slots=True)
class Variant:
    """Who answers a chat: `name` is "" where nothing is compared, `llm` the settings to answer it by."""

    name: Name
    llm: LlmConfig


@dataclass(frozen=True, slots=True)
class Tally:
    """The votes on a variant's answers; `low` and `high` are a 95% interval of the share that was liked.

    Wilson (1927): it keeps its promise for few votes too. A correction counts as a vote against.
    """

    variant: str
    model: str
    up: int
    down: int
    low: float
    high: float


def variant_for(cfg: LlmConfig, chat_id: str) -> Variant:
    """The variant of a chat. Raises `ConfigError` where a share is set, but no second variant."""
    if not cfg.ab_percent:
        return Variant("", cfg)
    if not cfg.ab_base_url and not cfg.ab_model:
        raise ConfigError(
            "llm.ab_percent is set, but no second variant", "set llm.ab_model or llm.ab_base_url, or llm.ab_percent = 0"
        )
    told = f"{cfg.ab_base_url}\n{cfg.ab_model}\n{chat_id}"  # another comparison divides the chats anew
    place = int.from_bytes(hashlib.sha256(told.encode()).digest()[:4]) / _PARTS
    if place >= cfg.ab_percent / 100:
        return Variant("A", cfg)
    if cfg.ab_base_url:
        update = {"backend": "openai", "base_url": cfg.ab_base_url, "base_urls": [], "model": cfg.ab_model}
    else:  # an endpoint is asked for it by name; the app's own vLLM loads it as an adapter
        update = {"model": cfg.ab_model, "adapter": cfg.ab_model}
    return Variant("B", cfg.model_copy(update=update))


def tallies(votes: Iterable[Vote]) -> list[Tally]:
    """The votes by variant and model, in their order."""
    counts: Counter[tuple[str, str, bool]] = Counter()
    for vote in votes:
        counts[vote.variant, vote.model, vote.vote == "up" and not vote.correction] += 1
    groups = sorted({(variant, model) for variant, model, _ in counts})
    return [_tally(*group, counts[*group, True], counts[*group, False]) for group in groups]


def _tally(variant: str, model: str, up: int, down: int) -> Tally:
    n = up + down
    share = up / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Tally(variant, model, up, down, max(middle - half, 0.0), min(middle + half, 1.0))
