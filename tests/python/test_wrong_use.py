"""Wrong use: each case has its exception, which says what was wrong; none ends the process."""

import copy
import pickle
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import emberform
from conftest import GOLDEN, MINILM

Use = Callable[[Any, Any, Any], object]  # of a decoder, an encoder, a tokenizer

PROMPT = "The sky is"
# What stands before the name of an argument of a wrong type: a note to the exception, which Python
# shows below its message. Before Python 3.11 there are no notes, and the name is missing.
NOTE = "while processing "
# One row a case: what is done, the exception, and what its message must hold.
CASES: list[tuple[str, Use, type[Exception], str]] = [
    ("open nothing", lambda d, e, t: emberform.open("no/such/model"), FileNotFoundError, "no/such/model"),
    ("open an empty path", lambda d, e, t: emberform.open(""), FileNotFoundError, "No such file"),
    ("open a number", lambda d, e, t: emberform.open(3), TypeError, NOTE + "'path'"),  # type: ignore[arg-type]
    ("open a path with a zero", lambda d, e, t: emberform.open("a\0b"), OSError, "cannot read"),
    ("open a text file", lambda d, e, t: emberform.open(__file__), emberform.FormatError, "test_wrong_use.py"),
    ("open a folder without a model", lambda d, e, t: emberform.open(GOLDEN), FileNotFoundError, "config.json"),
    ("a device of no form", lambda d, e, t: emberform.open(MINILM, device="tpu"), ValueError, "`device` is `tpu`"),
    ("a device that is not there", lambda d, e, t: emberform.open(MINILM, device="gpu:99"), emberform.DeviceError, "gpu:99"),
    ("a device that is a number", lambda d, e, t: emberform.open(MINILM, device=0), TypeError, NOTE + "'device'"),  # type: ignore[arg-type]
    ("a precision that is not known", lambda d, e, t: emberform.open(MINILM, precision="f64"), ValueError, "`precision` is `f64`"),  # type: ignore[arg-type]
    ("a precision that is a number", lambda d, e, t: emberform.open(MINILM, precision=8), TypeError, NOTE + "'precision'"),  # type: ignore[arg-type]
    ("no threads", lambda d, e, t: emberform.open(MINILM, threads=0), ValueError, "`threads` is 0"),
    ("threads below 0", lambda d, e, t: emberform.open(MINILM, threads=-1), ValueError, "`threads` is -1"),
    ("threads of 1.5", lambda d, e, t: emberform.open(MINILM, threads=1.5), TypeError, NOTE + "'threads'"),  # type: ignore[arg-type]
    ("a device by position", lambda d, e, t: emberform.open(MINILM, "cpu"), TypeError, "positional"),  # type: ignore[call-arg]
    ("make a model", lambda d, e, t: emberform.Model(), TypeError, "Model"),
    ("embed a number", lambda d, e, t: e.embed(3), TypeError, NOTE + "'texts'"),
    ("embed None", lambda d, e, t: e.embed(None), TypeError, NOTE + "'texts'"),
    ("embed bytes", lambda d, e, t: e.embed(b"text"), TypeError, "bytes"),
    ("embed a list with a number", lambda d, e, t: e.embed(["a", 3]), TypeError, "item 1 is int"),
    ("embed a list of lists", lambda d, e, t: e.embed([["a"]]), TypeError, "item 0 is list"),
    ("embed half a character", lambda d, e, t: e.embed("\ud800"), UnicodeEncodeError, "surrogates"),
    ("embed half a character in a list", lambda d, e, t: e.embed(["a", "\udfff"]), UnicodeEncodeError, "surrogates"),
    ("an option that is not there", lambda d, e, t: e.embed("a", nomalize=True), TypeError, "nomalize"),
    ("max_tokens of 0", lambda d, e, t: e.embed("a", max_tokens=0), ValueError, "`max_tokens` is 0"),
    ("max_tokens below 0", lambda d, e, t: e.embed("a", max_tokens=-1), ValueError, "`max_tokens` is -1"),
    ("max_tokens beyond the window", lambda d, e, t: e.embed("a", max_tokens=10**6), ValueError, "`max_tokens` is 1000000"),
    ("max_tokens beyond 64 bits", lambda d, e, t: e.embed("a", max_tokens=2**64), ValueError, "`max_tokens` is 18446744073709551616"),
    ("max_tokens as text", lambda d, e, t: e.embed("a", max_tokens="7"), TypeError, NOTE + "'max_tokens'"),
    ("max_tokens of 1.5", lambda d, e, t: e.embed("a", max_tokens=1.5), TypeError, NOTE + "'max_tokens'"),
    ("dimensions of 0", lambda d, e, t: e.embed("a", dimensions=0), ValueError, "`dimensions`"),
    ("dimensions beyond the width", lambda d, e, t: e.embed("a", dimensions=10**9), ValueError, "`dimensions`"),
    ("batch_tokens of 0", lambda d, e, t: e.embed("a", batch_tokens=0), ValueError, "`batch_tokens` is 0"),
    ("a prompt that is not there", lambda d, e, t: e.embed("a", prompt_name="no"), ValueError, "`prompt_name` is `no`"),
    ("a pooling that is not known", lambda d, e, t: e.embed("a", pooling="median"), emberform.UnsupportedError, "median"),
    ("progress that is no callable", lambda d, e, t: e.embed("a", progress=3), TypeError, NOTE + "'progress'"),
    ("generate with an encoder", lambda d, e, t: e.generate("a"), emberform.MissingError, "encoder"),
    ("a session of an encoder", lambda d, e, t: e.session(), emberform.MissingError, "encoder"),
    ("a prompt of bytes", lambda d, e, t: d.generate(b"a"), TypeError, NOTE + "'prompt'"),
    ("a prompt of a list", lambda d, e, t: d.generate(["a"]), TypeError, NOTE + "'prompt'"),
    ("a prompt beyond the window", lambda d, e, t: d.generate("a cat " * 5000), emberform.TooLongError, "do not fit"),
    ("a window as ValueError", lambda d, e, t: d.generate("a cat " * 5000), ValueError, "do not fit"),
    ("a temperature below 0", lambda d, e, t: d.generate(PROMPT, temperature=-1), ValueError, "`temperature`"),
    ("a temperature of NaN", lambda d, e, t: d.generate(PROMPT, temperature=float("nan")), ValueError, "`temperature`"),
    ("a temperature as text", lambda d, e, t: d.generate(PROMPT, temperature="hot"), TypeError, NOTE + "'temperature'"),
    ("top_p of 0", lambda d, e, t: d.generate(PROMPT, top_p=0), ValueError, "`top_p`"),
    ("min_p above 1", lambda d, e, t: d.generate(PROMPT, min_p=1.5), ValueError, "`min_p`"),
    ("repetition_penalty of 0", lambda d, e, t: d.generate(PROMPT, repetition_penalty=0), ValueError, "`repetition_penalty`"),
    ("frequency_penalty of 3", lambda d, e, t: d.generate(PROMPT, frequency_penalty=3), ValueError, "`frequency_penalty`"),
    ("a seed below 0", lambda d, e, t: d.generate(PROMPT, seed=-1), ValueError, "`seed` is -1"),
    ("an empty stop", lambda d, e, t: d.generate(PROMPT, stop=["a", ""]), ValueError, "`stop`"),
    ("a stop of numbers", lambda d, e, t: d.generate(PROMPT, stop=[1]), TypeError, NOTE + "'stop'"),
    ("a stop id beyond the vocabulary", lambda d, e, t: d.generate(PROMPT, stop_ids=[10**6]), ValueError, "`stop_ids`"),
    ("logprobs beyond the vocabulary", lambda d, e, t: d.generate(PROMPT, logprobs=10**7), ValueError, "`logprobs`"),
    ("prefill_chunk of 0", lambda d, e, t: d.generate(PROMPT, prefill_chunk=0), ValueError, "`prefill_chunk`"),
    ("generate before a prompt", lambda d, e, t: d.session().generate(), ValueError, "`session` has nothing to go on from"),
    ("a chat of an encoder", lambda d, e, t: e.chat(), emberform.MissingError, "encoder"),
    ("a chat without a template", lambda d, e, t: d.chat(), emberform.MissingError, "chat needs a chat template"),
    ("a chat prompt without a template", lambda d, e, t: d.chat_prompt([]), emberform.MissingError, "chat_prompt needs"),
    ("answer without a template", lambda d, e, t: d.generate_chat([]), emberform.MissingError, "generate_chat needs"),
    ("a system message of bytes", lambda d, e, t: d.chat(b"system"), TypeError, NOTE + "'system'"),
    ("messages that are one text", lambda d, e, t: d.chat_prompt("hi"), TypeError, "item 0 is str"),
    ("messages that are one message", lambda d, e, t: d.chat_prompt({"role": "user", "content": "a"}), TypeError, "item 0 is str"),
    ("messages of a number", lambda d, e, t: d.chat_prompt(3), TypeError, NOTE + "'messages'"),
    ("a message that is a pair", lambda d, e, t: d.chat_prompt([("user", "a")]), TypeError, "item 0 is tuple"),
    ("a message without content", lambda d, e, t: d.chat_prompt([{"role": "user"}]), ValueError, "`messages` lack `content` in item 0"),
    ("a message without a role", lambda d, e, t: d.chat_prompt([{"content": "a"}]), ValueError, "`messages` lack `role` in item 0"),
    ("a message of no role", lambda d, e, t: d.chat_prompt([{"role": "", "content": "a"}]), ValueError, "`role` is empty"),
    ("a message with more", lambda d, e, t: d.chat_prompt([{"role": "user", "content": "a", "name": "b"}]), ValueError, "`messages` hold 'name' in item 0"),
    ("content in parts", lambda d, e, t: d.chat_prompt([{"role": "user", "content": [{"type": "text"}]}]), TypeError, "`content` of item 0 is list"),
    ("half a character in a message", lambda d, e, t: d.chat_prompt([{"role": "user", "content": "\ud800"}]), UnicodeEncodeError, "surrogates"),
    ("variables that are a list", lambda d, e, t: d.chat_prompt([], variables=["a"]), TypeError, NOTE + "'variables'"),
    ("a variable that is a list", lambda d, e, t: d.chat_prompt([], variables={"a": []}), TypeError, "list"),
    ("a variable that is a float", lambda d, e, t: d.chat_prompt([], variables={"a": 1.5}), TypeError, "float"),
    ("a variable beyond 64 bits", lambda d, e, t: d.chat_prompt([], variables={"a": 2**63}), ValueError, "`variables` hold 9223372036854775808"),
    ("an option of generating that is not there", lambda d, e, t: d.generate_chat([], max_token=3), TypeError, "max_token"),
    ("make a chat", lambda d, e, t: emberform.Chat(), TypeError, "Chat"),
    ("feed an id beyond the vocabulary", lambda d, e, t: d.session().feed([10**6]), ValueError, "`ids` hold 1000000"),
    ("feed beyond the window", lambda d, e, t: d.session().feed([1] * 10**5), emberform.TooLongError, "100000 tokens"),
    ("forward an id below 0", lambda d, e, t: e.forward([1, -2]), ValueError, "`ids` hold -2"),
    ("forward an array with one below 0", lambda d, e, t: e.forward(np.array([1, -2])), ValueError, "`ids` hold -2"),
    ("forward an id beyond 32 bits", lambda d, e, t: e.forward([2**32]), ValueError, "`ids` hold 4294967296"),
    ("forward an id beyond 64 bits", lambda d, e, t: e.forward([2**70]), ValueError, "`ids` hold"),
    ("forward a wide array", lambda d, e, t: e.forward(np.array([2**63], np.uint64)), ValueError, "`ids` hold"),
    ("forward floats", lambda d, e, t: e.forward(np.array([1.0])), TypeError, "float64"),
    ("forward a list of floats", lambda d, e, t: e.forward([1.0]), TypeError, "item 0 is float"),
    ("forward text", lambda d, e, t: e.forward("a text"), TypeError, "tokenizer"),
    ("forward a list of text", lambda d, e, t: e.forward(["a text"]), TypeError, "item 0 is str"),
    ("forward three dimensions", lambda d, e, t: e.forward(np.zeros((1, 1, 1), int)), ValueError, "3 dimensions"),
    ("forward a number", lambda d, e, t: e.forward(3), ValueError, "0 dimensions"),
    ("forward a generator", lambda d, e, t: e.forward(i for i in [1]), TypeError, "whole numbers"),
    ("decode two rows", lambda d, e, t: t.decode(np.zeros((2, 2), int)), ValueError, "2 dimensions"),
    ("decode an id that is no token", lambda d, e, t: t.decode([10**6]), ValueError, "`ids` holds 1000000"),
    ("push an id that is no token", lambda d, e, t: t.stream().push(10**6), ValueError, "1000000"),
    ("push a negative id", lambda d, e, t: t.stream().push(-1), ValueError, "`id` is -1"),
    ("the token of no id", lambda d, e, t: t.token(10**6), IndexError, "1000000"),
    ("the id of no token", lambda d, e, t: t.id("no such token"), KeyError, "no such token"),
    ("encode a number", lambda d, e, t: t.encode(3), TypeError, NOTE + "'text'"),
    ("a limit without room", lambda d, e, t: t.encode("a", limit=1), ValueError, "`limit` is 1"),
    ("a limit for a pair", lambda d, e, t: t.encode("a", "b", limit=9), ValueError, "`limit`"),
    ("a stride without room", lambda d, e, t: t.encode_windows("a b c d e f g", limit=4, stride=2), ValueError, "`stride`"),
    ("a tokenizer from noise", lambda d, e, t: emberform.Tokenizer.from_bytes(b"\x00noise"), emberform.Error, "bytes"),
    ("a tokenizer of nothing", lambda d, e, t: emberform.Tokenizer.open("no/such/file"), FileNotFoundError, "no/such/file"),
    ("set an attribute", lambda d, e, t: setattr(e, "width", 3), AttributeError, "width"),
    ("pickle a stream", lambda d, e, t: pickle.dumps(d.generate(PROMPT)), TypeError, "Stream"),
    ("copy a session", lambda d, e, t: copy.copy(d.session()), TypeError, "Session"),
]


@pytest.mark.parametrize("use, kind, text", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_wrong_use(
    use: Use, kind: type[Exception], text: str, tiny_decoder: emberform.Model, minilm: emberform.Model
) -> None:
    if sys.version_info < (3, 11) and text.startswith(NOTE):
        text = ""
    with pytest.raises(kind, match=re.escape(text)) as raised:
        use(tiny_decoder, minilm, minilm.tokenizer)
    if isinstance(raised.value, emberform.Error):
        assert raised.value.code >= 100
    # Whatever it was, the models go on.
    assert minilm.embed("a").shape == (384,)


def test_there_are_many_cases() -> None:
    assert len(CASES) >= 40 and len({name for name, *_ in CASES}) == len(CASES)


def test_closed() -> None:
    model = emberform.open(GOLDEN / "st-decoder", device="cpu")
    session, stream = model.session(), model.generate(PROMPT, max_tokens=2)
    model.close()
    model.close()
    assert model.closed and "closed" in repr(model)
    uses: list[Callable[[], object]] = [
        lambda: model.embed("a"),
        lambda: model.embed_with("a"),
        lambda: model.warmup(),
        lambda: model.generate("a"),
        lambda: model.forward([1]),
        lambda: model.session(),
        lambda: model.verify(),
        lambda: model.save("elsewhere"),
        lambda: model.beams("a"),
        lambda: model.forward_with([1]),
        lambda: model.expert_load([1]),
        lambda: model.embed_tokens("a", "query"),
        lambda: model.spec,
        lambda: model.tokenizer,
        lambda: model.__enter__(),
        lambda: pickle.dumps(model),
    ]
    for use in uses:
        with pytest.raises(emberform.ClosedError) as raised:
            use()
        assert isinstance(raised.value, ValueError) and raised.value.code == 100
    # Those that were there before keep the weights.
    session.feed([1, 2])
    assert len(session) == 2 and stream.text() is not None


def test_two_threads_on_one_stream(gemma: emberform.Model) -> None:
    stream = gemma.generate("One sheep, two sheep. " * 100, max_tokens=2)
    refused: list[Exception] = []
    ended = threading.Event()

    def disturb() -> None:
        while not ended.is_set() and not refused:
            try:
                next(stream)
            except StopIteration:
                return
            except ValueError as error:
                refused.append(error)
            time.sleep(0.001)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        stream.text()
    except ValueError as error:
        refused.append(error)
    ended.set()
    thread.join()
    assert "in use by another thread" in str(refused[0])
    assert isinstance(stream.text(), str)


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    folder = tmp_path / "bent"
    shutil.copytree(GOLDEN / "bert-plain", folder)
    config = (folder / "config.json").read_text()
    layers = re.search(r'"num_hidden_layers": (\d+)', config)
    assert layers
    more = config.replace(layers[0], f'"num_hidden_layers": {int(layers[1]) + 1}')
    (folder / "config.json").write_text(more)
    with pytest.raises(emberform.WeightsError) as raised:
        emberform.open(folder, device="cpu")
    error = raised.value
    assert error.code == 105 and error.missing and not error.unused
    assert error.missing[0][0] in str(error)
    (folder / "config.json").write_text(config.replace("bert", "nonesuch"))
    with pytest.raises(emberform.UnsupportedError) as unsupported:
        emberform.open(folder, device="cpu")
    assert unsupported.value.code == 104
    (folder / "config.json").write_text("{}")
    with pytest.raises(emberform.ConfigError) as wrong:
        emberform.open(folder, device="cpu")
    assert wrong.value.code == 103


def test_more_than_there_is_memory_for(gemma: emberform.Model) -> None:
    # Beyond what a process can address, whatever the system promises: 2e6 rows of 100 tokens.
    rows = [[2] * 100] + [[2]] * 2_000_000
    with pytest.raises(MemoryError, match="of logits") as raised:
        gemma.forward(rows)
    assert getattr(raised.value, "code") == 111
    assert gemma.forward([2]).any()


def test_codes() -> None:
    codes = {
        "FormatError": 102,
        "ConfigError": 103,
        "UnsupportedError": 104,
        "WeightsError": 105,
        "DeviceError": 106,
        "TooLongError": 107,
        "CancelledError": 108,
        "MissingError": 109,
        "NotFiniteError": 110,
    }
    for name, code in codes.items():
        kind = getattr(emberform, name)
        assert kind.code == code and issubclass(kind, emberform.Error) and kind.__doc__
    with pytest.raises(FileNotFoundError) as missing:
        emberform.open("no/such/model")
    assert getattr(missing.value, "code") == 101 and missing.value.errno == 2
    with pytest.raises(ValueError) as argument:
        emberform.open("no/such/model", device="tpu")
    assert getattr(argument.value, "code") == 100
