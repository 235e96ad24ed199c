#!/usr/bin/env python3
"""Compares two builds of `bench`, in turn on the same machine: speed, start and memory.

    tests/speed/builds.py OLD NEW [--pairs 5] [--only NAME]

OLD and NEW are two programs `target/release/bench`. Each pair runs one after the other, the order
turned every time, so that what else the machine does falls on both. Printed are the median ratio of
new to old (above 1: faster, or less memory) with its least and its greatest. A row below 0.98 says so
in its line and in the exit status. Models are those of examples/models/fetch.py.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parent.parent.parent / "models"
GEMMA = MODELS / "gemma3-270m-q4_k_m.gguf"
QWEN = MODELS / "qwen25-coder-0.5b-q4_k_m.gguf"
MINILM = MODELS / "minilm"

# Name: arguments, and the keys of the line of JSON, with whether more is better.
ROWS = {
    "gemma": (
        ["--model", GEMMA, "--prompt", 512, "--tokens", 128, "--runs", 1],
        {"decode_tokens_s": True, "prefill_tokens_s": True, "start_s": False, "peak_mib": False},
    ),
    "gemma-8": (
        ["--model", GEMMA, "--batch", 8, "--prompt", 64, "--tokens", 64, "--runs", 1, "--inside"],
        {"decode_tokens_s": True},
    ),
    "qwen": (
        ["--model", QWEN, "--prompt", 512, "--tokens", 64, "--runs", 1],
        {"decode_tokens_s": True, "prefill_tokens_s": True, "start_s": False, "peak_mib": False},
    ),
    "minilm": (
        ["--model", MINILM, "--runs", 2],
        {"texts_s": True, "single_texts_s": True, "start_s": False, "peak_mib": False},
    ),
}
BAR = 0.98


def measured(program, arguments):
    command = [program, "--threads", "2", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--only", choices=ROWS)
    asked = parser.parse_args()
    low = False
    for name, (arguments, keys) in ROWS.items():
        if asked.only not in (None, name):
            continue
        ratios = {key: [] for key in keys}
        for pair in range(asked.pairs):
            sides = [("old", asked.old), ("new", asked.new)]
            found = {}
            for side, program in sides if pair % 2 == 0 else sides[::-1]:
                found[side] = measured(program, arguments)
            for key, more in keys.items():
                if key not in found["old"]:
                    sys.exit(f"bench gives no `{key}`, but {', '.join(found['old'])}")
                old, new = found["old"][key], found["new"][key]
                ratios[key].append(new / old if more else old / new)
        for key, all_of_them in ratios.items():
            middle = statistics.median(all_of_them)
            below = middle < BAR
            low |= below
            print(
                f"{name:8} {key:18} {middle:5.3f}  ({min(all_of_them):.3f} to "
                f"{max(all_of_them):.3f}){'  below ' + str(BAR) if below else ''}",
                flush=True,
            )
    sys.exit(1 if low else 0)


if __name__ == "__main__":
    main()
