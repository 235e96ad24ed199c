"""Several sequences decoded together: each gives what it gives alone."""

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emberform
from conftest import GOLDEN

PROMPTS = ["The capital of France is", "One, two, three,", "Water"]


def ids_of(pieces: list[tuple[int, emberform.Piece]], sequence: int) -> list[int]:
    return [piece.token.id for number, piece in pieces if number == sequence and piece.token]


def test_each_gives_what_it_gives_alone(tiny_decoder: emberform.Model) -> None:
    options: dict[str, Any] = {"max_tokens": 10, "temperature": 0.9, "seed": 3, "ignore_eos": True, "logprobs": 2}
    batch = tiny_decoder.generate_all(PROMPTS, **options)
    assert batch.running == 3 and "3 running" in repr(batch) and batch.sequences == [0, 1, 2]
    pieces = list(batch)
    for number, prompt in enumerate(PROMPTS):
        alone = list(tiny_decoder.generate(prompt, **options))
        assert ids_of(pieces, number) == [piece.token.id for piece in alone if piece.token]
        assert batch.finish_reason(number) == "length"
        stats = batch.stats(number)
        assert stats is not None and stats.tokens == 10 and stats.prompt_tokens > 0
    assert all(len(piece.token.top) == 2 for _, piece in pieces if piece.token)
    assert batch.running == 0 and batch.cache_bytes == 0 and list(batch) == []
    assert batch.stats(3) is None and batch.finish_reason(3) is None
    texts = tiny_decoder.generate_all(PROMPTS, **options).texts()
    assert texts == [tiny_decoder.generate(prompt, **options).text() for prompt in PROMPTS]
    assert tiny_decoder.generate_all(PROMPTS[0], **options).texts() == texts[:1]


def test_others_join_and_leave(gemma: emberform.Model) -> None:
    batch = gemma.batch()
    assert list(batch) == [] and batch.texts() == []
    assert batch.add(PROMPTS[0], max_tokens=8, temperature=0) == 0
    assert batch.add(PROMPTS[1], max_tokens=64, temperature=0, ignore_eos=True) == 1
    pieces = [next(batch) for _ in range(6)]
    assert batch.cache_bytes > 0
    ids = gemma.tokenizer.encode(PROMPTS[2]).ids
    assert batch.add_ids(ids, max_tokens=3, temperature=0, ignore_eos=True) == 2
    assert batch.remove(1) and not batch.remove(1) and batch.running == 2
    assert batch.sequences == [0, 2]
    pieces += batch
    assert batch.finish_reason(0) == batch.finish_reason(2) == "length"
    assert len(ids_of(pieces, 0)) == 8 and len(ids_of(pieces, 1)) == 3 and len(ids_of(pieces, 2)) == 3
    text = "".join(piece.text for number, piece in pieces if number == 0)
    assert "France" in text and text == gemma.generate(PROMPTS[0], max_tokens=8, temperature=0).text()


def test_cancel_from_another_thread(gemma: emberform.Model) -> None:
    batch = gemma.generate_all(["one two three " * 5000, PROMPTS[0]], max_tokens=4)
    refused: list[str] = []

    def later() -> None:
        time.sleep(0.3)
        for use in (lambda: next(batch), lambda: batch.add("a"), lambda: batch.running):
            with pytest.raises(ValueError, match="`batch` is in use by another thread") as raised:
                use()
            refused.append(str(raised.value))
        batch.cancel()

    thread = threading.Thread(target=later)
    thread.start()
    start = time.monotonic()
    assert list(batch) == []
    took = time.monotonic() - start
    thread.join()
    assert len(refused) == 3 and took < 3
    assert batch.finish_reason(0) == batch.finish_reason(1) == "cancelled"
    assert batch.add(PROMPTS[0]) == 2 and list(batch) == [] and batch.finish_reason(2) == "cancelled"


def test_one_is_cancelled_from_another_thread(gemma: emberform.Model) -> None:
    batch = gemma.generate_all(["one two three " * 5000, PROMPTS[0]], max_tokens=4, temperature=0)
    batch.cancel(7)  # there is none
    timer = threading.Timer(0.3, batch.cancel, (0,))
    timer.start()
    start = time.monotonic()
    pieces = list(batch)
    assert time.monotonic() - start < 3
    assert {number for number, _ in pieces} == {1}
    assert batch.finish_reason(0) == "cancelled" and batch.finish_reason(1) == "length"


def broken(folder: Path, token: int) -> Path:
    """A copy of a small decoder whose vector of one token is no number."""
    shutil.copytree(GOLDEN / "mixtral", folder)
    file = folder / "model.safetensors"
    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    table = json.loads(data[8:start])["model.embed_tokens.weight"]
    width = table["shape"][1]
    at = start + table["data_offsets"][0] + 4 * width * token
    data[at : at + 4 * width] = np.full(width, np.nan, "<f4").tobytes()
    file.write_bytes(data)
    return folder


def test_what_goes_wrong_with_one_is_raised_with_its_number(tmp_path: Path) -> None:
    model = emberform.open(broken(tmp_path / "broken", 46), device="cpu")
    batch = model.batch()
    for ids in ([5, 6], [5, 46], [7]):
        batch.add_ids(ids, max_tokens=4, ignore_eos=True)
    pieces: list[tuple[int, emberform.Piece]] = []
    with pytest.raises(emberform.NotFiniteError, match="logits") as raised:
        pieces.extend(batch)  # keeps what came before
    assert raised.value.sequence == 1
    pieces.extend(batch)
    assert [len(ids_of(pieces, number)) for number in range(3)] == [4, 0, 4]
    assert batch.finish_reason(0) == batch.finish_reason(2) == "length" and batch.finish_reason(1) is None
    session = model.session()
    session.feed([46])
    with pytest.raises(emberform.NotFiniteError) as alone:
        next(session.generate(max_tokens=1))
    assert alone.value.sequence is None
    wrong = model.batch()
    wrong.add_ids([46])
    with pytest.raises(emberform.NotFiniteError):
        wrong.texts()


def test_what_is_wrong_is_named(gemma: emberform.Model, minilm: emberform.Model) -> None:
    with pytest.raises(ValueError, match="`prompts` is empty"):
        gemma.generate_all([])
    with pytest.raises(ValueError, match="`prompts` holds at 1 a prompt of .* window"):
        gemma.generate_all(["a", "one " * 40_000])
    with pytest.raises(ValueError, match="`top_p`"):
        gemma.generate_all(["a"], top_p=2.0)
    with pytest.raises(TypeError):
        gemma.generate_all([1])  # type: ignore[list-item]
    batch = gemma.batch()
    with pytest.raises(ValueError, match="`ids` has no tokens"):
        batch.add_ids([])
    with pytest.raises(ValueError, match="`ids` hold 1000000"):
        batch.add_ids([10**6])
    with pytest.raises(emberform.TooLongError, match="do not fit"):
        batch.add("one " * 40_000)
    with pytest.raises(ValueError, match="`temperature`"):
        batch.add("a", temperature=-1)
    for call in (batch.stats, batch.finish_reason, batch.remove, batch.cancel):
        with pytest.raises(ValueError, match="`sequence` is -1"):
            call(-1)
    assert batch.running == 0 and batch.sequences == []
    with pytest.raises(emberform.MissingError, match="encoder"):
        minilm.batch()
    with pytest.raises(emberform.MissingError, match="encoder"):
        minilm.generate_all(["a"])
    with pytest.raises(TypeError, match="Batch"):
        emberform.Batch()
