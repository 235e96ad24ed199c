"""Word vectors: the recorded answers of gensim, fastText and model2vec; errors; copies."""

import copy
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import emberform
from conftest import REFERENCES, recorded, run_program

WORDS = REFERENCES / "words"


@pytest.mark.parametrize("file", ["word2vec.bin", "word2vec.txt.gz", "glove.txt"])
def test_answers_are_those_of_gensim(file: str) -> None:
    answers, wanted = json.loads((WORDS / "word2vec.json").read_text()), recorded(WORDS / "word2vec.safetensors")
    words = emberform.open_words(WORDS / file)
    assert [words.word(i) for i in range(len(words))] == answers["words"]
    vectors = np.stack([words.vector(word) for word in answers["words"]])
    assert vectors.dtype == np.float32 and np.array_equal(vectors, wanted["vectors"])
    assert np.abs(words.embed(answers["texts"]) - wanted["means"]).max() <= 1e-6
    unit = words.embed(answers["texts"], unit_words=True)
    assert np.abs(unit - wanted["unit_means"]).max() <= 1e-6
    for word, names in answers["nearest"].items():
        found = words.nearest(word, 5)
        assert [near.word for near in found] == names
        assert np.abs([near.cosine for near in found] - wanted[f"nearest.{word}"]).max() <= 1e-6
        assert words.nearest_to(words.vector(word), 6)[1:] == found
    for i, (a, b, c, names) in enumerate(answers["analogies"]):
        found = words.analogy(a, b, c, count=4)
        assert [near.word for near in found] == names
        assert np.abs([near.cosine for near in found] - wanted[f"analogy.{i}"]).max() <= 1e-6
    assert abs(words.similarity("king", "queen") - wanted["similarity"][0]) <= 1e-6


def test_unknown_words_of_fasttext_are_its_own() -> None:
    answers, wanted = json.loads((WORDS / "fasttext.json").read_text()), recorded(WORDS / "fasttext.safetensors")
    words = emberform.open_words(WORDS / "fasttext.bin")
    assert words.has_subwords and "walker" not in words
    assert np.array_equal(np.stack([words.vector(word) for word in answers["unknown"]]), wanted["unknown"])


@pytest.mark.parametrize("folder", ["model2vec", "model2vec-shared", "static-embedding"])
def test_folders(folder: str) -> None:
    texts = json.loads((WORDS / f"{folder}.json").read_text())["texts"]
    words = emberform.open_words(WORDS / folder)
    assert np.abs(words.embed(texts) - recorded(WORDS / f"{folder}.safetensors")["embeddings"]).max() <= 1e-6
    assert words.embed(texts[0], dimensions=3).shape == (3,)


def test_policies_and_errors(tmp_path: Path) -> None:
    words = emberform.open_words(WORDS / "word2vec.txt")
    king = words.vector("king")
    assert np.array_equal(words.embed("king xyzzy", unknown="skip"), king)
    assert np.array_equal(words.embed("king xyzzy", unknown="zero"), king / 2)
    with pytest.raises(ValueError, match="`texts` hold `xyzzy`"):
        words.embed("king xyzzy", unknown="error")
    with pytest.raises(emberform.MissingError):
        words.embed("king", unknown="subwords")
    with pytest.raises(ValueError, match="one of: error, skip"):
        words.embed("king", unknown="drop")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`word` is `xyzzy`"):
        words.nearest("xyzzy")
    with pytest.raises(ValueError, match="want 17"):
        words.nearest_to([1.0, 2.0])
    with pytest.raises(TypeError):
        words.embed(b"king")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        emberform.open_words(tmp_path / "nothing")
    broken = tmp_path / "words"
    broken.write_text("2 3\na 1 2 3\n")
    with pytest.raises(emberform.FormatError, match="ends after 1 words"):
        emberform.open_words(broken)
    with pytest.raises(emberform.UnsupportedError, match="WordVectors"):
        emberform.open(WORDS / "model2vec", device="cpu")


def test_rows_say_what_was_left_out() -> None:
    words = emberform.open_words(WORDS / "word2vec.bin")
    texts = ["king queen", "queen xyzzy plugh", "xyzzy"]
    rows = words.embed_with(texts, unknown="skip")
    assert np.array_equal(rows.values, words.embed(texts, unknown="skip"))
    assert rows.cut == [0, 2, 1] and rows.width == words.width
    assert rows.nearest(words.vector("queen"), 1)[0][0] == 1
    king, queen = rows.values[:2] / np.linalg.norm(rows.values[:2], axis=1, keepdims=True)
    assert abs(rows.cosine(0, 1) - king @ queen) < 1e-6
    assert rows.cosine(0, 2) == 0.0
    with pytest.raises(ValueError, match="xyzzy"):
        words.embed_with(texts, unknown="error")


def test_copies_and_words() -> None:
    words = emberform.open_words(WORDS / "word2vec.bin")
    other = pickle.loads(pickle.dumps(words))
    assert np.array_equal(other.vector("king"), words.vector("king"))
    assert copy.copy(words) is words and copy.deepcopy(words) is words
    assert "king" in words and "King" not in words
    assert words.word(words.index("king") or 0) == "king" and words.word(len(words)) is None
    assert repr(words) == '<WordVectors word2vec binary vectors "word2vec.bin": 30 words of width 17>'
    assert (words.width, words.format, words.path) == (17, "word2vec binary", WORDS / "word2vec.bin")
    assert repr(words.nearest("king", 1)[0]).startswith("<Neighbor \"")


FORK = """
import os, sys
import emberform
words = emberform.open_words(sys.argv[1])
texts = ["the king walks"] * 400
before = words.embed(texts), words.nearest("walker", 5)
child = os.fork()
if child == 0:
    after = words.embed(texts), emberform.open_words(sys.argv[1]).nearest("walker", 5)
    os._exit(0 if (after[0] == before[0]).all() and after[1] == before[1] else 1)
print(os.waitpid(child, 0)[1])
"""


def test_a_fork_computes_too() -> None:
    assert run_program(FORK, str(WORDS / "fasttext.bin"), timeout=60).strip() == "0"
