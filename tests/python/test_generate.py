"""Generation: streams, sessions, options, async, cancelling."""

import asyncio
import inspect
import threading
import time

import numpy as np
from numpy.typing import NDArray
import pytest

import emberform

PROMPT = "The capital of France is"
# Of whose reading a fast machine has not the half when it is cancelled.
ENDLESS = "One sheep, two sheep. " * 2000


def test_a_stream_tells_how_it_ended(gemma: emberform.Model) -> None:
    stream = gemma.generate(PROMPT, max_tokens=12, temperature=0, logprobs=3)
    assert stream.finish_reason is None and stream.stats.tokens == 0
    pieces = list(stream)
    text = "".join(piece.text for piece in pieces)
    assert "France" in text and text == "".join(map(str, pieces))
    assert stream.finish_reason == "length" and stream.stats.tokens == 12
    assert stream.tokens_per_second > 0 and stream.stats.prefill_per_second > 0
    assert "12 tokens" in repr(stream) and "length" in repr(stream)
    for piece in pieces:
        if piece.token is not None:
            assert piece.token.top[0] == (piece.token.id, piece.token.logprob)
            assert len(piece.token.top) == 3 and piece.token.logprob <= 0
    assert list(stream) == [] and stream.text() == ""
    stop = text[3:9]
    assert gemma.generate(PROMPT, max_tokens=12, temperature=0, stop=stop).text() == text[: text.find(stop)]
    assert gemma.generate(PROMPT, max_tokens=0).text() == ""


def test_seeds(gemma: emberform.Model) -> None:
    def run(seed: int) -> str:
        return gemma.generate(PROMPT, max_tokens=12, temperature=1.0, top_p=0.95, seed=seed).text()

    assert run(7) == run(7)
    assert any(run(seed) != run(7) for seed in range(5))
    assert run(2**64 - 1) == run(2**64 - 1)


def test_options_can_be_kept(gemma: emberform.Model) -> None:
    options: emberform.GenerateOptions = {"max_tokens": 8, "temperature": 0, "ignore_eos": None}
    given = gemma.generate(PROMPT, max_tokens=8, temperature=0).text()
    assert given and gemma.generate(PROMPT, **options).text() == given
    batch = gemma.generate_all([PROMPT], **options)
    assert "".join(piece.text for _, piece in batch) == given
    fewer: emberform.GenerateOptions = {**options, "max_tokens": 3}
    [best] = gemma.beams(PROMPT, beams=2, **fewer)
    assert len(best.ids) == 3

    # Each is a keyword of every method that generates, and explained.
    kept = list(emberform.GenerateOptions.__annotations__)
    methods: dict[type, list[str]] = {
        emberform.Model: ["generate", "generate_all", "generate_chat", "beams"],
        emberform.Session: ["generate", "beams"],
        emberform.Batch: ["add", "add_ids"],
        emberform.Chat: ["say"],
    }
    for kind, names in methods.items():
        for name in names:
            keywords = list(inspect.signature(getattr(kind, name)).parameters)
            assert keywords[-len(kept) :] == kept, f"{kind.__name__}.{name}"
    text = inspect.getdoc(emberform.Model.generate)
    assert text and [name for name in kept if f"`{name}`" not in text] == []


def test_a_session_goes_on_where_it_stands(gemma: emberform.Model) -> None:
    whole = gemma.generate(PROMPT, max_tokens=16, temperature=0).text()
    session = gemma.session()
    assert len(session) == 0 and session and session.logits.shape == (0,)
    with pytest.raises(ValueError, match="session"):
        session.generate()
    session.feed_text(PROMPT)
    first = session.generate(max_tokens=8, temperature=0).text()
    second = session.generate(max_tokens=8, temperature=0)
    assert first + second.text() == whole
    assert second.finish_reason == "length"
    assert session.cache_bytes > 0 and f"{len(session)} tokens" in repr(session)

    ids = session.ids
    assert ids.dtype == np.uint32
    assert gemma.tokenizer.decode(ids).endswith(whole)
    session.reset()
    assert len(session) == 0
    logits = session.forward(ids[:5])
    assert logits.shape == (5, gemma.spec.vocab) and logits.dtype == np.float32
    assert np.array_equal(logits[-1], session.logits)
    other = gemma.session()
    other.feed(ids[:5].tolist())
    assert near(other.logits, session.logits)


def near(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """
    Whether numbers of a quantized model are the same but for activations rounded to 16 bits, which
    another order of sums can round otherwise: the core's bar, a thousandth of the largest number.
    """
    return bool(np.abs(a - b).max() < 1e-3 * np.abs(b).max())


def test_forward(gemma: emberform.Model, minilm: emberform.Model) -> None:
    rows = [[2, 651, 6037], [2, 651]]
    logits = gemma.forward(rows)
    assert logits.shape == (2, 3, gemma.spec.vocab) and logits.flags.c_contiguous
    assert not logits[1, 2].any() and logits[1, 1].any()
    single = gemma.forward(rows[1])
    assert single.shape == (2, gemma.spec.vocab)
    assert near(single, logits[1, :2])
    states = minilm.forward(np.array([[101, 7592, 102], [101, 2088, 102]]))
    assert states.shape == (2, 3, 384)
    assert np.abs(minilm.forward([101, 7592, 102]) - states[0]).max() < 1e-5
    assert minilm.forward([]).shape == (0, 384) and minilm.forward([[], [101]]).shape == (2, 1, 384)


def test_cancelling(gemma: emberform.Model) -> None:
    stream = gemma.generate(PROMPT, max_tokens=100, temperature=0, ignore_eos=True)
    next(stream)
    stream.cancel()
    assert len(list(stream)) <= 1 and stream.finish_reason == "cancelled"

    long = gemma.generate(ENDLESS, max_tokens=4)
    timer = threading.Timer(0.3, long.cancel)
    timer.start()
    start = time.monotonic()
    assert long.text() == "" and long.finish_reason == "cancelled"
    assert time.monotonic() - start < 3

    session = gemma.session()
    threading.Timer(0.3, session.cancel).start()
    with pytest.raises(emberform.CancelledError):
        session.feed_text(ENDLESS)
    session.reset()
    session.feed_text(PROMPT)
    assert "France" in session.generate(max_tokens=8, temperature=0).text()


def test_async_iteration_leaves_the_loop_free(gemma: emberform.Model) -> None:
    wanted = gemma.generate(PROMPT, max_tokens=8, temperature=0).text()
    beats = 0

    async def heartbeat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0.001)

    async def main() -> tuple[str, int, str]:
        beat = asyncio.create_task(heartbeat())
        # Some seconds of work before the first token. A slower machine only beats more often.
        first = gemma.generate("One sheep, two sheep. " * 600, max_tokens=1)
        async for _ in first:
            pass
        during = beats
        streams = [gemma.generate(PROMPT, max_tokens=8, temperature=0) for _ in range(2)]

        async def drain(stream: emberform.Stream) -> str:
            return "".join([piece.text async for piece in stream])

        texts = await asyncio.gather(*map(drain, streams))
        beat.cancel()
        return texts[0], during, texts[1]

    one, during, two = asyncio.run(main())
    assert one == two == wanted
    # A loop that were held would beat once, before the stream began, and once after.
    assert during >= 10


def test_a_cancelled_task_cancels_its_stream(gemma: emberform.Model) -> None:
    stream = gemma.generate(ENDLESS, max_tokens=4)

    async def main() -> None:
        async def drain() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(drain())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    start = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - start < 3
    assert stream.text() == "" and stream.finish_reason == "cancelled"
