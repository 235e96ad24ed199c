"""Runs the stories of tests/stories.json through a program of tests/c and writes their results.

    python3 tests/c/stories.py ROOT OUT.json PROGRAM

The same file comes out of every language; tests/stories/compare.py compares them.
"""

import json
import subprocess
import sys
from pathlib import Path

root, out, program = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
stories = json.loads((root / "tests" / "stories.json").read_text())


def lines(kind: str, story: dict, *words: object) -> list[str]:
    command = [program, kind, str(root / story["model"]), *map(str, words)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    return result.stdout.split("\n")[:-1]


def ids(line: str) -> list[int]:
    return [int(word) for word in line.split()]


results: dict[str, list] = {"embed": [], "tokenize": [], "generate": [], "chat": []}
for story in stories["embed"]:
    bits = lines("embed", story, story.get("prompt_name", ""), *story["texts"])
    results["embed"].append({"model": story["model"], "bits": bits})
for story in stories["tokenize"]:
    found = [ids(line) for line in lines("tokenize", story, *story["texts"])]
    results["tokenize"].append({"model": story["model"], "ids": found})
for story in stories["generate"]:
    choices = [story[name] for name in ("prompt", "max_tokens", "temperature", "seed")]
    tokens, logprobs = lines("generate", story, *choices)
    result = {"model": story["model"], "ids": ids(tokens), "logprobs": logprobs}
    results["generate"].append(result)
for story in stories["chat"]:
    choices = [story[name] for name in ("system", "max_tokens", "temperature", "seed")]
    *found, prompt = lines("chat", story, *choices, *story["turns"])
    replies = [
        {"ids": ids(tokens), "logprobs": logprobs}
        for tokens, logprobs in zip(found[::2], found[1::2], strict=True)
    ]
    results["chat"].append({"model": story["model"], "replies": replies, "prompt": prompt})
out.write_text(json.dumps(results, indent=1) + "\n")
