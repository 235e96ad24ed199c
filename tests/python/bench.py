"""What a short call costs from Python beyond the core's own time. Prints; nothing is asserted.

    cargo build --release -p emberform-python --example core_call
    python tests/python/bench.py [CALLS]

Times are the least and the median of many calls, in microseconds, on small checkpoints of random
weights, so that the call itself is short; the two programs take turns.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import emberform

ROOT = Path(__file__).resolve().parents[2]
EMBEDDER = ROOT / "tests" / "golden" / "checkpoints" / "st-prompts"
DECODER = ROOT / "tests" / "golden" / "checkpoints" / "st-decoder"
PROGRAM = ROOT / "target" / "release" / "examples" / "core_call"
TEXT = "a short text"
Times = dict[str, tuple[float, float]]


def measure(call: Callable[[], object], calls: int) -> tuple[float, float]:
    times = []
    for _ in range(calls + calls // 4):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    times = sorted(times[calls // 4 :])  # the first calls warm up
    return times[0], times[len(times) // 2]


def from_python(calls: int) -> Times:
    model = emberform.open(EMBEDDER, device="cpu")
    decoder = emberform.open(DECODER, device="cpu")
    tokenizer = model.tokenizer
    ids = tokenizer.encode(TEXT).ids
    stream = decoder.generate(TEXT, max_tokens=1 << 20, ignore_eos=True, temperature=0)

    def step() -> None:
        nonlocal stream
        if next(stream, None) is None:
            stream = decoder.generate(TEXT, max_tokens=1 << 20, ignore_eos=True, temperature=0)

    texts = [TEXT]
    return {
        "encode": measure(lambda: tokenizer.encode(TEXT), calls),
        "embed": measure(lambda: model.embed(texts), calls),
        "forward": measure(lambda: model.forward(ids), calls),
        "next": measure(step, calls),
    }


def from_rust(calls: int) -> Times:
    command = [str(PROGRAM), str(EMBEDDER), str(DECODER), TEXT, str(calls)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {name: (least, median) for name, (least, median) in json.loads(output).items()}


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    turns = [(from_rust(calls), from_python(calls)) for _ in range(3)]
    print(f"{'call':8} {'core least':>11} {'median':>8} {'Python least':>13} {'median':>8} {'more: least':>12} {'median':>8}")
    for name in turns[0][0]:
        core = [min(rust[name][i] for rust, _ in turns) / 1000 for i in range(2)]
        python = [min(python[name][i] for _, python in turns) / 1000 for i in range(2)]
        more = [python[i] - core[i] for i in range(2)]
        print(
            f"{name:8} {core[0]:11.1f} {core[1]:8.1f} {python[0]:13.1f} {python[1]:8.1f}"
            f" {more[0]:12.1f} {more[1]:8.1f}"
        )


if __name__ == "__main__":
    main()
