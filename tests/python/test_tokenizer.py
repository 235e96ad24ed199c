"""Tokens: ids, offsets, masks, windows, and back."""

import copy
import pickle

import numpy as np
import pytest

import emberform
from conftest import GEMMA, MINILM, QWEN

TEXTS = ["Hello, world!", "unaffable 😀 고양이", "", "  spaces   and\ttabs "]


@pytest.fixture(scope="module", params=[MINILM / "tokenizer.json", GEMMA, QWEN], ids=["bert", "gemma", "qwen"])
def tokenizer(request: pytest.FixtureRequest) -> emberform.Tokenizer:
    return emberform.Tokenizer.open(request.param)


def test_encode_and_decode(tokenizer: emberform.Tokenizer) -> None:
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        assert encoding.ids.dtype == np.uint32 and encoding.ids.shape == (len(encoding),)
        assert len(encoding) == tokenizer.count(text) == len(encoding.type_ids)
        assert encoding.attention_mask.tolist() == [1] * len(encoding)
        assert encoding.special.dtype == np.bool_ and encoding.offsets.shape == (len(encoding), 2)
        bare = tokenizer.encode(text, special=False)
        assert np.array_equal(encoding.ids[~encoding.special], bare.ids)
        assert tokenizer.decode(encoding.ids) == tokenizer.decode(bare.ids.tolist())
    assert tokenizer.decode(tokenizer.encode("hello world").ids).strip() == "hello world"
    assert tokenizer.decode([]) == ""


def test_the_ids_of_bert() -> None:
    tokenizer = emberform.Tokenizer.open(MINILM / "tokenizer.json")
    encoding = tokenizer.encode("Hello, world!")
    assert encoding.ids.tolist() == [101, 7592, 1010, 2088, 999, 102]
    assert encoding.special.tolist() == [True, False, False, False, False, True]
    assert len(tokenizer) == 30522
    assert tokenizer.id("[CLS]") == 101 and tokenizer.token(101) == "[CLS]" and tokenizer.is_special(101)
    assert "hello" in tokenizer and "no such token" not in tokenizer
    pair = tokenizer.encode("a question", "a passage")
    assert pair.type_ids.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert repr(pair) == "<Encoding 7 tokens: [101, 1037, 3160, 102, 1037, 6019, 102]>"


def test_offsets_count_characters(tokenizer: emberform.Tokenizer) -> None:
    text = "naïve 😀 고양이 cat"
    encoding = tokenizer.encode(text)
    places = [text[start:end] for start, end in encoding.offsets.tolist()]
    assert places[-1 - int(encoding.special[-1])].strip() == "cat"
    ends = encoding.offsets[:, 1]
    assert ends.max() == len(text)
    last = tokenizer.encode("x", "ïï cat").offsets if len(tokenizer.encode("x", "y")) else ends
    assert last.max() == len("ïï cat")


def test_limits_and_windows(tokenizer: emberform.Tokenizer) -> None:
    text = " ".join(f"word{i}" for i in range(40))
    whole = tokenizer.encode(text)
    special = int(whole.special.sum())
    cut = tokenizer.encode(text, limit=12)
    assert len(cut) == 12 and cut.cut == len(whole) - 12 and int(cut.special.sum()) == special
    assert "cut" in repr(cut)
    windows = tokenizer.encode_windows(text, limit=16, stride=4)
    assert all(len(window) <= 16 for window in windows)
    bodies = [window.ids[~window.special] for window in windows]
    for before, after in zip(bodies, bodies[1:]):
        assert np.array_equal(before[-4:], after[:4])
    joined = np.concatenate([bodies[0], *(body[4:] for body in bodies[1:])])
    assert np.array_equal(joined, tokenizer.encode(text, special=False).ids)
    assert len(tokenizer.encode_windows("short", limit=16)) == 1


def test_a_batch_is_its_texts(tokenizer: emberform.Tokenizer) -> None:
    batch = tokenizer.encode_batch(TEXTS * 20)
    assert batch == [tokenizer.encode(text) for text in TEXTS] * 20
    assert tokenizer.encode_batch([]) == []
    assert [len(one) for one in tokenizer.encode_batch(["a b c d e f"] * 2, limit=4)] == [4, 4]


def test_a_stream_is_the_text(tokenizer: emberform.Tokenizer) -> None:
    ids = tokenizer.encode("고양이 😀 and so on", special=False).ids
    stream = tokenizer.stream()
    text = "".join(stream.push(int(id)) for id in ids) + stream.finish()
    assert text == tokenizer.decode(ids)
    assert "�" not in text


def test_values_travel(tokenizer: emberform.Tokenizer) -> None:
    twin = pickle.loads(pickle.dumps(tokenizer))
    assert len(twin) == len(tokenizer)
    for text in TEXTS:
        assert twin.encode(text) == tokenizer.encode(text)
    assert copy.copy(tokenizer) is tokenizer and copy.deepcopy(tokenizer) is tokenizer
    assert len(emberform.Tokenizer.from_bytes(tokenizer.to_bytes())) == len(tokenizer)
    assert repr(tokenizer) == f"<Tokenizer of {len(tokenizer)} tokens>" and bool(tokenizer)


def test_ids_of_all_kinds() -> None:
    tokenizer = emberform.Tokenizer.open(MINILM / "tokenizer.json")
    wanted = tokenizer.decode([7592, 2088])

    class Own:
        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
            return np.array([7592, 2088])

    wide = np.array([[7592, 0], [2088, 0]], dtype=np.int64)
    for ids in (
        (7592, 2088),
        [np.int32(7592), 2088],
        np.array([7592, 2088], np.uint32),
        np.array([7592, 2088], np.int16),
        np.array([7592, 2088], np.uint64),
        np.array([7592, 2088], ">i4"),
        wide[:, 0],
        wide.astype(np.uint32)[:, 0],
        memoryview(np.array([7592, 2088]).data),
        Own(),
    ):
        assert tokenizer.decode(ids) == wanted  # type: ignore[arg-type]
