"""The network by ids: encoder-decoders, hidden states, attention maps and the load of experts, against what
was recorded from transformers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import emberform
from conftest import GOLDEN, recorded

# The bar of the Rust tests for these files.
REFERENCE = 1e-4


def exact(name: str) -> emberform.Model:
    return emberform.open(GOLDEN / name, device="cpu", precision="f32")


def holding(tensor: str) -> list[str]:
    """The checkpoints that a tensor was recorded of."""
    paths = GOLDEN.glob("*/expected.safetensors")
    return sorted(path.parent.name for path in paths if tensor in recorded(path))


def rows(ids: NDArray[np.int64], mask: NDArray[np.int64]) -> list[list[int]]:
    return [row[kept == 1].tolist() for row, kept in zip(ids, mask, strict=True)]


SEQ2SEQ = holding("target_logits")
LAYERS = sorted(path.parent.name for path in GOLDEN.glob("*/layers.safetensors"))


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_targets_get_the_references_logits(name: str) -> None:
    model, wanted = exact(name), recorded(GOLDEN / name / "expected.safetensors")
    sources = rows(wanted["ids"], wanted["mask"])
    targets = rows(wanted["decoder_ids"], wanted["decoder_mask"])
    found = model.forward(sources, decoder_ids=targets)
    assert found.dtype == np.float32 and found.flags.c_contiguous
    assert found.shape == wanted["target_logits"].shape
    # The sources alone give the encoder's states.
    hidden = model.forward(sources)
    for b, (source, target) in enumerate(zip(sources, targets, strict=True)):
        logits = wanted["target_logits"][b, : len(target)]
        assert np.abs(found[b, : len(target)] - logits).max() <= REFERENCE
        assert not found[b, len(target) :].any()
        assert np.abs(hidden[b, : len(source)] - wanted["hidden"][b, : len(source)]).max() <= REFERENCE
        # One row has no B, and a session gives the same.
        alone = model.forward(np.array(source), decoder_ids=target)
        assert alone.shape == logits.shape and np.abs(alone - logits).max() <= REFERENCE
        session = model.session()
        session.read_source(source)
        session.truncate(0)
        assert np.abs(session.forward(target) - logits).max() <= REFERENCE


def test_a_session_goes_back(tiny_decoder: emberform.Model) -> None:
    session = tiny_decoder.session()
    session.feed([5, 6, 7, 8])
    wanted = session.logits
    session.truncate(9)
    assert len(session) == 4
    session.truncate(3)
    assert session.ids.tolist() == [5, 6, 7] and session.logits.shape == (0,)
    session.feed([8])
    assert np.abs(session.logits - wanted).max() <= 1e-5


def test_the_spec_of_an_encoder_decoder() -> None:
    model = exact("t5")
    spec = model.spec
    assert spec.encoder is not None and spec.encoder.encoder is None
    assert (spec.layers, spec.encoder.layers) == (3, 2) and spec.has_logits
    assert spec.parameters == model.parameters
    assert exact("bert-mlm").spec.encoder is None


@pytest.mark.parametrize("name", LAYERS)
def test_states_and_maps_of_every_layer_are_the_references(name: str) -> None:
    model, wanted = exact(name), recorded(GOLDEN / name / "layers.safetensors")
    inputs = recorded(GOLDEN / name / "expected.safetensors")
    given = rows(inputs["ids"], inputs["mask"])[1:]
    layers = model.spec.layers
    found = model.forward_with(given, hidden_states=range(layers + 1), attentions=range(layers))
    assert found.lengths == [len(row) for row in given]
    assert list(found.hidden_states) == list(range(layers + 1))
    assert list(found.attentions) == list(range(layers))
    assert np.abs(found.values - model.forward(given)).max() <= REFERENCE
    for layer, states in found.hidden_states.items():
        assert states.shape == wanted["states"][layer].shape
        for b, row in enumerate(given):
            kept = slice(0, len(row))
            assert np.abs(states[b, kept] - wanted["states"][layer, b, kept]).max() <= REFERENCE
    for layer, maps in found.attentions.items():
        assert maps.shape == wanted["maps"][layer].shape and maps.dtype == np.float32
        for b, row in enumerate(given):
            kept = slice(0, len(row))
            theirs = wanted["maps"][layer, b, :, kept, kept]
            assert np.abs(maps[b, :, kept, kept] - theirs).max() <= REFERENCE
            assert np.abs(maps[b, :, kept].sum(-1) - 1).max() <= 1e-5


def test_only_what_was_asked_for_is_there() -> None:
    model = exact("bert-mlm")
    plain = model.forward_with([[5, 6, 7], [8]])
    assert plain.hidden_states == {} and plain.attentions == {} and plain.lengths == [3, 1]
    assert np.array_equal(plain.values, model.forward([[5, 6, 7], [8]]))
    one = model.forward_with([5, 6, 7], hidden_states=[1, 1], attentions=(0,))
    heads, width = model.spec.heads, model.spec.width
    assert list(one.hidden_states) == [1] and one.hidden_states[1].shape == (3, width)
    assert one.attentions[0].shape == (heads, 3, 3) and one.values.shape == (3, width)
    # The arrays are kept: those of a second look are the same ones.
    assert one.hidden_states[1] is one.hidden_states[1] and one.values is one.values
    assert repr(one) == f"<Output [3, {width}], hidden states of [1], attentions of [0]>"
    last = model.forward_with([5, 6, 7], hidden_states=[model.spec.layers])
    assert np.array_equal(last.hidden_states[model.spec.layers], last.values)


@pytest.mark.parametrize("name", ["mixtral", "mixtral-stacked-f16"])
def test_the_load_of_experts_is_the_references(name: str) -> None:
    model, wanted = exact(name), recorded(GOLDEN / name / "expected.safetensors")
    given = rows(wanted["ids"], wanted["mask"])
    load = model.expert_load(given)
    assert all(block.dtype == np.int64 for block in load)
    assert np.array_equal(np.stack(load), wanted["load"])
    # One row or several.
    alone = [model.expert_load(row) for row in given]
    assert np.array_equal(np.sum([np.stack(blocks) for blocks in alone], axis=0), wanted["load"])
    assert [block.shape for block in exact("llama-mqa").expert_load([1, 2, 3])] == [(0,), (0,)]


WRONG: list[tuple[str, Callable[[emberform.Model], object], type[Exception], str]] = [
    ("t5", lambda m: m.forward([[3]], decoder_ids=[[1], [2]]), ValueError, "`decoder_ids` are 2 rows for 1"),
    ("t5", lambda m: m.forward([[]], decoder_ids=[[3]]), ValueError, "`ids` hold an empty source"),
    ("t5", lambda m: m.forward([3], decoder_ids=[1 << 20]), ValueError, "`ids` hold 1048576"),
    ("t5", lambda m: m.forward([3], decoder_ids="a"), TypeError, "tokenizer"),  # type: ignore[arg-type]
    ("t5", lambda m: m.forward_with([3], decoder_ids=[3], hidden_states=[0]), ValueError, "`decoder_ids` go without"),
    ("marian", lambda m: m.forward([3], decoder_ids=[3] * 99), emberform.TooLongError, "99 tokens"),
    ("llama-mqa", lambda m: m.forward([3], decoder_ids=[3]), ValueError, "`decoder_ids` go to an encoder-decoder"),
    ("bert-mlm", lambda m: m.forward_with([3], hidden_states=[99]), ValueError, "`hidden_states` hold 99"),
    ("bert-mlm", lambda m: m.forward_with([3], attentions=[-1]), ValueError, "`attentions` is -1"),
    ("bert-mlm", lambda m: m.forward_with([3], attentions=["a"]), TypeError, "attentions"),  # type: ignore[list-item]
    ("bert-mlm", lambda m: m.forward_with([3], attentions=[2**70]), ValueError, "`attentions` is"),
    ("bert-mlm", lambda m: m.forward_with([3], [3]), TypeError, "positional"),  # type: ignore[call-arg]
    ("mixtral", lambda m: m.expert_load([1 << 20]), ValueError, "`ids` hold 1048576"),
    ("mixtral", lambda m: m.expert_load([1] * 9999), emberform.TooLongError, "9999 tokens"),
    ("llama-mqa", lambda m: m.session().read_source([3]), emberform.MissingError, "encoder-decoder"),
    ("t5", lambda m: m.session().read_source([]), ValueError, "`source` has no tokens"),
    ("t5", lambda m: m.session().read_source([1 << 20]), ValueError, "`ids` hold 1048576"),
    ("t5", lambda m: m.session().feed([3]), ValueError, "`read_source`"),
    ("t5", lambda m: m.session().truncate(-1), ValueError, "`length` is -1"),
]


@pytest.mark.parametrize(("name", "use", "kind", "part"), WRONG)
def test_wrong_use(
    name: str, use: Callable[[emberform.Model], object], kind: type[Exception], part: str
) -> None:
    model = exact(name)
    with pytest.raises(kind) as raised:
        use(model)
    assert part in str(raised.value) + str(getattr(raised.value, "__notes__", "")), raised.value
    assert model.forward([[3]]).any()


def test_a_saved_encoder_decoder_opens_again(tmp_path: Path) -> None:
    model = exact("bart")
    model.save(tmp_path / "saved")
    again = emberform.open(tmp_path / "saved", device="cpu", precision="f32")
    wanted = model.forward([[3, 4, 5]], decoder_ids=[[2, 6]])
    assert np.array_equal(again.forward([[3, 4, 5]], decoder_ids=[[2, 6]]), wanted)


def test_the_recordings_are_there() -> None:
    assert len(SEQ2SEQ) >= 7 and len(LAYERS) >= 10
