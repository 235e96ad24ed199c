"""Nothing leaks: resident memory is flat after warm-up."""

import gc
from collections.abc import Callable
from pathlib import Path

import emberform


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def growth(call: Callable[[], object], calls: int) -> int:
    """Bytes that the second half of many calls adds, after the first half warmed up."""
    for _ in range(calls // 2):
        call()
    gc.collect()
    before = resident()
    for _ in range(calls - calls // 2):
        call()
    gc.collect()
    return resident() - before


# Thousands of leaked results, with the objects around them, or a hundred leaked caches would be
# more; what is measured is 0.
BAR = 512 << 10


def test_ten_thousand_embeddings(tiny: emberform.Model) -> None:
    grown = growth(lambda: tiny.embed("a short text of some words"), 10_000)
    print(f"\n{grown / 1024:.0f} KiB in 5000 calls")
    assert grown < BAR


def test_two_hundred_generations(tiny_decoder: emberform.Model) -> None:
    def call() -> None:
        stream = tiny_decoder.generate("a short text", max_tokens=8, ignore_eos=True)
        next(stream)  # and is dropped half way

    def whole() -> None:
        tiny_decoder.generate("a short text", max_tokens=8, ignore_eos=True, stop="§").text()

    grown = growth(call, 200) + growth(whole, 200)
    print(f"\n{grown / 1024:.0f} KiB in 200 generations")
    assert grown < BAR


def test_opening_and_errors(tiny: emberform.Model) -> None:
    def call() -> None:
        with emberform.open(tiny.path, device="cpu") as model:
            model.embed("a text")
            model.tokenizer.encode("a text").offsets
        for wrong in (lambda: tiny.embed("a", max_tokens=0), lambda: emberform.open("no/such/model")):
            try:
                wrong()
            except (ValueError, OSError):
                pass

    grown = growth(call, 400)
    print(f"\n{grown / 1024:.0f} KiB in 200 openings")
    assert grown < BAR
