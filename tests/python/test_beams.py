"""Beam search and rules for next tokens: the recorded sequences of transformers, beam for beam."""

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emberform
from conftest import GOLDEN, GEMMA

BEAMS: dict[str, list[dict[str, Any]]] = json.loads((GOLDEN / "beams.json").read_text())
NAMES = {
    "num_beams": "beams",
    "num_return_sequences": "sequences",
    "length_penalty": "length_penalty",
    "early_stopping": "early_stopping",
    "max_new_tokens": "max_tokens",
    "min_new_tokens": "min_tokens",
    "no_repeat_ngram_size": "no_repeat_ngram",
    "repetition_penalty": "repetition_penalty",
    "suppress_tokens": "suppress",
    "bad_words_ids": "bad_words",
}
STOPPING = {True: "full", False: "likely", "never": "never"}


def options(case: dict[str, Any]) -> dict[str, Any]:
    given = {NAMES[name]: value for name, value in case["options"].items()}
    if "early_stopping" in given:
        given["early_stopping"] = STOPPING[given["early_stopping"]]
    if "eos" in case:
        given |= {"ignore_eos": True, "stop_ids": [case["eos"]]}
    return given


def begun(model: emberform.Model, prompt: list[int]) -> emberform.Session:
    session = model.session()
    if model.spec.encoder is None:
        session.feed(prompt)
    else:
        session.read_source(prompt)
    return session


@pytest.mark.parametrize("name", BEAMS)
def test_beams_are_the_references(name: str) -> None:
    model = emberform.open(GOLDEN / name, device="cpu", precision="f32")
    for case in BEAMS[name]:
        session = begun(model, case["prompt"])
        before = len(session)
        found = session.beams(**options(case))
        assert [beam.ids.tolist() for beam in found] == case["sequences"], case
        assert all(beam.ids.dtype == np.uint32 and len(beam) == len(beam.ids) for beam in found)
        assert len(session) in (before, 0)
        if case["scores"] is not None:
            assert np.abs([beam.score for beam in found] - np.array(case["scores"])).max() <= 1e-4
        else:
            # One beam is the stream, by the same rules.
            given = {key: value for key, value in options(case).items() if key != "beams"}
            stream = begun(model, case["prompt"]).generate(temperature=0, **given)
            assert [piece.token.id for piece in stream if piece.token] == case["sequences"][0], case


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> emberform.Model:
    """An encoder-decoder of random weights with a tokenizer: a word a token."""
    folder = tmp_path_factory.mktemp("spoken") / "t5"
    shutil.copytree(GOLDEN / "t5", folder)
    words = {f"w{i}": i for i in range(46)} | {"[UNK]": 46}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    tokenizer = {"version": "1.0", "model": model, "pre_tokenizer": {"type": "WhitespaceSplit"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    return emberform.open(folder, device="cpu", precision="f32")


def test_a_source_as_text(spoken: emberform.Model) -> None:
    case = BEAMS["t5"][3]
    assert case["options"]["num_beams"] == 3
    source = " ".join(f"w{i}" for i in case["prompt"])
    found = spoken.beams(source, **options(case))
    assert [beam.ids.tolist() for beam in found] == case["sequences"]
    wanted = [" ".join(f"w{i}" for i in row) for row in case["sequences"]]
    assert [beam.text for beam in found] == wanted == [str(beam) for beam in found]
    assert repr(found[0]) == f'<Beam {found[0].score:.4f} of {len(found[0])} tokens: "{found[0].text}">'
    # Greedy is the first case of that prompt.
    greedy = BEAMS["t5"][0]
    assert greedy["prompt"] == case["prompt"] and greedy["options"] == {"num_beams": 1, "max_new_tokens": 11}
    stream = spoken.generate(source, max_tokens=11)
    assert [piece.token.id for piece in stream if piece.token] == greedy["sequences"][0]
    first = spoken.generate(source, max_tokens=3, first_token=21, min_tokens=3)
    assert next(first).text.strip() == "w21"
    # The source is the prompt, and what was read of it goes with `reset`.
    session = spoken.session()
    session.read_source(case["prompt"])
    session.reset()
    with pytest.raises(ValueError, match="read_source"):
        session.feed([0])


def test_rules_bind_a_decoder(tiny_decoder: emberform.Model) -> None:
    def made(**given: Any) -> list[int]:
        stream = tiny_decoder.generate("a cat", max_tokens=12, temperature=0, ignore_eos=True, **given)
        return [piece.token.id for piece in stream if piece.token]

    free = made()
    assert free[0] not in made(suppress=[free[0]])
    assert free[0] not in made(bad_words=[[free[0]], np.array([1, 2, 3])])
    bound = made(no_repeat_ngram=2)
    pairs = list(zip(bound, bound[1:]))
    assert len(set(pairs)) == len(pairs)
    # The same as beams and as one beam.
    (beam,) = tiny_decoder.beams("a cat", beams=1, max_tokens=12, ignore_eos=True)
    assert beam.ids.tolist() == free and beam.text == tiny_decoder.tokenizer.decode(free)


WRONG: list[tuple[str, Callable[[emberform.Model], object], type[Exception], str]] = [
    ("no beam", lambda m: m.beams("a", beams=0), ValueError, "`beams` is 0"),
    ("beams below 0", lambda m: m.beams("a", beams=-1), ValueError, "`beams` is -1"),
    ("too many beams", lambda m: m.beams("a", beams=1025), ValueError, "1024"),
    ("more sequences than beams", lambda m: m.beams("a", beams=2, sequences=3), ValueError, "`sequences` is 3"),
    ("a penalty that is no number", lambda m: m.beams("a", length_penalty=float("nan")), ValueError, "`length_penalty`"),
    ("a stopping that is not known", lambda m: m.beams("a", early_stopping="soon"), ValueError, "full, likely, never"),  # type: ignore[arg-type]
    ("a stopping that is a bool", lambda m: m.beams("a", early_stopping=True), TypeError, "bool"),  # type: ignore[arg-type]
    ("drawing", lambda m: m.beams("a", temperature=0.7), ValueError, "`temperature` is above 0"),
    ("a stop text", lambda m: m.beams("a", stop="x"), ValueError, "`stop` ends no beam"),
    ("bytes", lambda m: m.beams(b"a"), TypeError, "bytes"),  # type: ignore[arg-type]
    ("a prompt beyond the window", lambda m: m.beams("a cat " * 5000), emberform.TooLongError, "do not fit"),
    ("an option that is not there", lambda m: m.beams("a", num_beams=3), TypeError, "num_beams"),  # type: ignore[call-arg]
    ("beams before a prompt", lambda m: m.session().beams(), ValueError, "`session` has nothing to go on from"),
    ("a suppressed id that is none", lambda m: m.generate("a", suppress=[10**6]), ValueError, "`suppress` holds 1000000"),
    ("a bad word that is none", lambda m: m.generate("a", bad_words=[[1], [10**6]]), ValueError, "`bad_words` holds 1000000"),
    ("a bad word that is a number", lambda m: m.generate("a", bad_words=[3]), ValueError, "0 dimensions"),  # type: ignore[list-item]
    ("a first token below 0", lambda m: m.generate("a", first_token=-1), ValueError, "`first_token` is -1"),
    ("a first token beyond the vocabulary", lambda m: m.generate("a", first_token=10**6), ValueError, "`first_token` holds"),
    ("tokens at least below 0", lambda m: m.generate("a", min_tokens=-1), ValueError, "`min_tokens` is -1"),
]


@pytest.mark.parametrize(("use", "kind", "part"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_use(
    use: Callable[[emberform.Model], object], kind: type[Exception], part: str, tiny_decoder: emberform.Model
) -> None:
    with pytest.raises(kind) as raised:
        use(tiny_decoder)
    assert part in str(raised.value), raised.value


def test_an_encoder_searches_nothing(tiny: emberform.Model) -> None:
    with pytest.raises(emberform.MissingError, match="encoder"):
        tiny.beams("a")
    spoken = emberform.open(GOLDEN / "t5", device="cpu")
    with pytest.raises(emberform.MissingError, match="tokenizer"):
        spoken.beams("a")


def test_a_search_is_cancelled() -> None:
    model = emberform.open(GEMMA, device="cpu")
    session = model.session()
    session.feed_text("One sheep, two sheep")
    timer = threading.Timer(0.2, session.cancel)
    timer.start()
    with pytest.raises(emberform.CancelledError):
        session.beams(beams=8, max_tokens=10000, ignore_eos=True)
    timer.join()
    assert len(session) == 0
    session.reset()
    session.feed([2, 5])
    assert len(session.beams(beams=2, max_tokens=2)[0]) <= 2
