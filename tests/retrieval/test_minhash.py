import random

import pytest

from retrieval.minhash import SIMILAR, bands, similarity, sketch

WORDS = [f"word{i}" for i in range(2000)]


def document(seed: int, words: int = 800) -> list[str]:
    return random.Random(seed).choices(WORDS, k=words)


def edited(words: list[str], share: float, seed: int = 9) -> list[str]:
    rng = random.Random(seed)
    return [rng.choice(WORDS) if rng.random() < share else word for word in words]


def jaccard(one: str, other: str) -> float:
    first, second = ({t[i : i + 8] for i in range(len(t) - 7)} for t in (one, other))
    return len(first & second) / len(first | second)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.05, 0.1, 0.3, 0.6])
@pytest.mark.parametrize("words", [60, 800])
def test_the_estimate_is_near_the_exact_jaccard_similarity(share: float, words: int) -> None:
    errors = []
    for seed in range(10):
        one = document(seed, words)
        first, second = "".join(one), "".join(edited(one, share, seed + 50))
        errors.append(similarity(sketch(first), sketch(second)) - jaccard(first, second))
    assert abs(sum(errors) / len(errors)) < 0.05
    assert max(map(abs, errors)) < 0.2


def test_similar_documents_share_a_band_and_unrelated_ones_do_not() -> None:
    for seed in range(30):
        words = document(seed)
        base = sketch(" ".join(words))
        near = sketch(" ".join(edited(words, 0.005)))
        assert similarity(base, near) >= SIMILAR
        assert set(bands(base)) & set(bands(near))
        other = sketch(" ".join(document(seed + 1000)))
        assert similarity(base, other) < 0.5
        assert not set(bands(base)) & set(bands(other))


def test_white_space_case_and_width_do_not_count() -> None:
    words = document(1)
    assert sketch(" ".join(words)) == sketch("\n\n".join(words).upper())
    chinese = "".join(chr(0x4E00 + random.Random(i).randrange(3000)) for i in range(400))
    assert similarity(sketch(chinese), sketch(chinese[:200] + "\n" + chinese[200:])) == 1.0


def test_short_texts_are_like_nothing() -> None:
    assert sketch("too short to tell") == b""
    assert bands(b"") == []
    assert similarity(b"", b"") == 0.0
