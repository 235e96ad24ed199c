"""Embedding: numbers, shapes, options, progress."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

import emberform
from conftest import GOLDEN, MINILM, REFERENCES, recorded

TEXTS = ["a cat sat", "a dog lay", "bond yields rose"]


def test_the_numbers_are_those_of_sentence_transformers(minilm: emberform.Model) -> None:
    texts = json.loads((REFERENCES / "real" / "minilm.json").read_text())["texts"]
    wanted = recorded(REFERENCES / "real" / "minilm.safetensors")["embeddings"]
    found = minilm.embed(texts)
    # The bar of the Rust tests for this file.
    assert np.abs(found - wanted).max() < 2e-5


def test_shape_type_and_order(minilm: emberform.Model) -> None:
    vectors = minilm.embed(TEXTS)
    assert vectors.shape == (3, minilm.width) and vectors.dtype == np.float32
    assert vectors.flags.c_contiguous and vectors.flags.writeable
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    one = minilm.embed(TEXTS[1])
    assert one.shape == (384,)
    assert np.abs(one - vectors[1]).max() < 1e-5
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert minilm.embed([]).shape == (0, 384)
    assert minilm.embed([""]).shape == (1, 384)


def test_any_iterable_of_text(minilm: emberform.Model) -> None:
    wanted = minilm.embed(TEXTS)
    for given in (tuple(TEXTS), iter(TEXTS), np.array(TEXTS), {text: 0 for text in TEXTS}):
        assert np.array_equal(minilm.embed(given), wanted)


def test_results_live_on(minilm: emberform.Model) -> None:
    with emberform.open(MINILM, device="cpu") as model:
        vectors = model.embed(TEXTS)
    assert np.array_equal(vectors, minilm.embed(TEXTS))
    vectors += 1  # it is ours


def test_options(tiny: emberform.Model) -> None:
    expected = json.loads((GOLDEN / "st-prompts" / "expected.json").read_text())
    assert expected["prompts"].items() <= tiny.prompts.items()
    name = "query"
    plain = tiny.embed("a text", prompt="")
    prompted = tiny.embed("a text", prompt_name=name)
    assert not np.array_equal(plain, prompted)
    assert np.array_equal(prompted, tiny.embed("a text", prompt=tiny.prompts[name]))
    raw = tiny.embed("a text", prompt="", normalize=False)
    assert np.allclose(raw / np.linalg.norm(raw), plain, atol=1e-6)
    assert tiny.embed("a text", dimensions=4).shape == (4,)
    assert not np.array_equal(tiny.embed("a text", pooling="max"), tiny.embed("a text", pooling="cls"))
    long = "one two three four five six"
    cut = tiny.embed(long, max_tokens=4, prompt="")
    assert not np.array_equal(cut, tiny.embed(long, prompt=""))
    assert np.array_equal(cut, tiny.embed(long + " seven eight", max_tokens=4, prompt=""))
    singles = tiny.embed([long, "a text"], batch_tokens=1)
    assert np.abs(singles - tiny.embed([long, "a text"])).max() < 1e-5


def test_rows_compare_and_search(minilm: emberform.Model) -> None:
    rows = minilm.embed_with([*TEXTS, "one " * 400])
    assert len(rows) == 4 and rows.width == minilm.width
    assert np.abs(rows.values[:3] - minilm.embed(TEXTS)).max() < 1e-5
    assert rows.cut[:3] == [0, 0, 0] and rows.cut[3] == 402 - minilm.max_tokens
    for i, j in ((0, 1), (0, 2), (3, 3)):
        a, b = rows.values[i].astype(float), rows.values[j].astype(float)
        assert abs(rows.cosine(i, j) - a @ b / np.sqrt((a @ a) * (b @ b))) < 1e-6
    assert rows.cosine(0, 9) == 0.0
    query = minilm.embed("a kitten rests")
    found = rows.nearest(query, 3)
    wanted = rows.values @ query
    assert [row for row, _ in found] == np.argsort(-wanted)[:3].tolist()
    assert np.allclose([cosine for _, cosine in found], np.sort(wanted)[::-1][:3], atol=1e-6)
    assert len(rows.nearest(query.tolist())) == 4 and rows.nearest(query, 0) == []
    one = minilm.embed_with(TEXTS[0], normalize=False, dimensions=8)
    assert len(one) == 1 and one.values.shape == (1, 8)
    assert repr(one) == "<Embeddings 1 of width 8>"
    assert len(minilm.embed_with([])) == 0 and minilm.embed_with([]).nearest(query) == []
    # The rows are lent: they outlive the object, and nobody writes to them.
    values = one.values
    wanted = values.copy()
    del one
    assert np.array_equal(values, wanted) and not values.flags.writeable
    with pytest.raises(ValueError, match="`query` has 8 numbers; the rows have 384"):
        rows.nearest(values[0])
    with pytest.raises(ValueError, match="`count` is -1"):
        rows.nearest(query, -1)
    with pytest.raises(ValueError, match="`max_tokens` is 0"):
        minilm.embed_with(TEXTS, max_tokens=0)
    calls: list[tuple[int, int]] = []
    minilm.embed_with(TEXTS, progress=lambda done, of: calls.append((done, of)))
    assert calls[-1] == (3, 3)


def test_progress(tiny: emberform.Model) -> None:
    heard: list[tuple[int, int]] = []
    texts = [f"text number {i}" for i in range(50)]
    tiny.embed(texts, batch_tokens=64, progress=lambda done, of: heard.append((done, of)))
    assert len(heard) > 2 and heard[-1] == (50, 50)
    assert [done for done, _ in heard] == sorted({done for done, _ in heard})

    class Enough(Exception):
        pass

    def stop(done: int, of: int) -> None:
        heard.append((done, of))
        raise Enough

    heard.clear()
    with pytest.raises(Enough):
        tiny.embed(texts, batch_tokens=64, progress=stop)
    assert len(heard) == 1
    assert tiny.embed(texts).shape == (50, tiny.width)


def test_a_bar_when_it_is_asked_for(tiny: emberform.Model, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.embed(["a", "b"], progress=False)
    assert capsys.readouterr().err == ""
    tiny.embed([f"text {i}" for i in range(20)], progress=True)
    assert "20/20" in capsys.readouterr().err


def test_what_a_model_says_of_itself(minilm: emberform.Model) -> None:
    assert repr(minilm).startswith('<Model bert "minilm": 6 layers, width 384')
    assert str(minilm) == repr(minilm)
    assert minilm.family == "bert" and minilm.path == MINILM and not minilm.closed
    assert minilm.device.id == "cpu" and minilm.device.kind == "cpu"
    spec = minilm.spec
    assert (spec.layers, spec.width, spec.heads, spec.has_logits) == (6, 384, 12, False)
    assert len(str(spec).splitlines()) > 8 and "384" in str(spec)
    tensor = minilm.tensors[0]
    assert tensor.bytes > 0 and tensor.shape and tensor.name in repr(tensor)
    assert minilm.parameters == sum(int(np.prod(tensor.shape)) for tensor in minilm.tensors)
    assert minilm.memory.weights > 4 * 22_000_000 and "MB" in str(minilm.memory)
    assert minilm.max_tokens == 256
    verification = minilm.verify()
    assert verification.passed and verification.first_wrong is None
    assert verification.steps[0].name == "embed" and "agrees" in str(verification)
    assert any(device.auto for device in emberform.devices())
    assert emberform.build_info()["version"] == emberform.__version__


def test_heads_for_tasks() -> None:
    kinds = {"bert-mlm": "words", "bert-classes": "classes", "bert-tokens-f16": "tokens", "bert-bounds": "bounds"}
    for name, kind in kinds.items():
        model = emberform.open(GOLDEN / name, device="cpu")
        (task,) = model.spec.tasks
        assert task.kind == kind and task.outputs > 1
        assert str(task.outputs) in str(task) and repr(task).startswith(f"<Task {kind}: ")
        assert task == model.spec.tasks[0] and str(task) in str(model.spec)
    both = [task.kind for task in emberform.open(GOLDEN / "bert-pretraining", device="cpu").spec.tasks]
    assert sorted(both) == ["order", "words"]
    assert emberform.open(GOLDEN / "llama-mqa", device="cpu").spec.tasks == []


def test_a_warm_model_gives_the_same(tiny: emberform.Model, tiny_decoder: emberform.Model) -> None:
    wanted, logits = tiny.embed(TEXTS), tiny_decoder.forward([1, 2, 3])
    tiny.warmup()
    tiny_decoder.warmup()
    assert np.array_equal(tiny.embed(TEXTS), wanted)
    assert np.array_equal(tiny_decoder.forward([1, 2, 3]), logits)


def test_a_saved_model_opens_again(tiny: emberform.Model, tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder"
    tiny.save(target)
    assert not list(target.rglob("*.part"))
    with emberform.open(target, device="cpu") as again:
        assert [tensor.name for tensor in again.tensors] == [tensor.name for tensor in tiny.tensors]
        texts = ["a cat sat", "a dog"]
        assert np.array_equal(again.embed(texts), tiny.embed(texts))
        assert again.prompts == tiny.prompts
    with pytest.raises(ValueError, match="`folder` is where the model's own files are"):
        tiny.save(tiny.path / "inside")
    file = tmp_path / "file"
    file.write_text("kept")
    with pytest.raises(FileExistsError):
        tiny.save(file)
    assert file.read_text() == "kept"


def test_a_path_is_any_path(tiny: emberform.Model) -> None:
    for path in (str(tiny.path), tiny.path):
        with emberform.open(path, device="cpu") as model:
            assert model.width == tiny.width
    assert isinstance(tiny.path, Path)


def test_precision_and_threads(minilm: emberform.Model) -> None:
    wanted = minilm.embed(TEXTS)
    with emberform.open(MINILM, device="cpu", threads=2) as model:
        assert np.abs(model.embed(TEXTS) - wanted).max() < 1e-5
    with emberform.open(MINILM, device="cpu", precision="f32", threads=1) as model:
        assert np.abs(model.embed(TEXTS) - wanted).max() < 1e-5
    with emberform.open(MINILM, device="cpu", precision="int8", threads=1) as model:
        vectors = model.embed(TEXTS)
        # Other numbers, of nearly the same direction.
        assert np.abs(vectors - wanted).max() > 1e-5
        assert (vectors * wanted).sum(1).min() > 0.99
        twin = pickle.loads(pickle.dumps(model))
    assert np.array_equal(twin.embed(TEXTS), vectors)
