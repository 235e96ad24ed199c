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


def listed(numbers: list[int]) -> str:
    return ",".join(map(str, numbers))


def rows_of(rows: list[list[int]]) -> str:
    return ";".join(map(listed, rows))


def ids(line: str) -> list[int]:
    return [int(word) for word in line.split()]


kinds = (
    *("embed", "nearest", "tokenize", "generate", "batch", "chat", "task", "beams", "forward", "late"),
    *("experts", "words"),
)
results: dict[str, list] = {kind: [] for kind in kinds}
for story in stories["embed"]:
    choices = [story.get(name, "") for name in ("precision", "prompt_name")]
    bits = lines("embed", story, *choices, *story["texts"])
    results["embed"].append({"model": story["model"], "bits": bits})
for story in stories["nearest"]:
    found = lines("nearest", story, story["query"], story["count"], *story["texts"])
    near_rows = [[int(line.partition(",")[0]), line.partition(",")[2]] for line in found]
    results["nearest"].append({"model": story["model"], "rows": near_rows})
for story in stories["tokenize"]:
    found = [ids(line) for line in lines("tokenize", story, *story["texts"])]
    results["tokenize"].append({"model": story["model"], "ids": found})
for story in stories["generate"]:
    choices = [story[name] for name in ("prompt", "max_tokens", "temperature", "seed")]
    tokens, logprobs = lines("generate", story, *choices)
    result = {"model": story["model"], "ids": ids(tokens), "logprobs": logprobs}
    results["generate"].append(result)
for story in stories["batch"]:
    choices = [rows_of(story["ids"]), *(story[name] for name in ("max_tokens", "temperature", "seed"))]
    found = lines("batch", story, *choices)
    made = [[ids(tokens), logprobs] for tokens, logprobs in zip(found[::2], found[1::2], strict=True)]
    results["batch"].append({"model": story["model"], "rows": made})
for story in stories["chat"]:
    choices = [story[name] for name in ("system", "max_tokens", "temperature", "seed")]
    *found, prompt = lines("chat", story, *choices, *story["turns"])
    replies = [
        {"ids": ids(tokens), "logprobs": logprobs}
        for tokens, logprobs in zip(found[::2], found[1::2], strict=True)
    ]
    results["chat"].append({"model": story["model"], "replies": replies, "prompt": prompt})
for story in stories["task"]:
    # A blank line ends the entities of a text.
    rows: list[list[list[str]]] = [[]]
    for line in lines("task", story, story["aggregation"], *story["texts"]):
        if line:
            rows[-1].append(line.split(","))
        else:
            rows.append([])
    results["task"].append({"model": story["model"], "entities": rows[:-1]})
for story in stories["beams"]:
    names = ("max_tokens", "beams", "sequences", "length_penalty", "early_stopping", "no_repeat_ngram")
    found = lines("beams", story, listed(story["source"]), *(story[name] for name in names))
    beams = [[ids(line.partition(",")[0]), line.partition(",")[2]] for line in found]
    results["beams"].append({"model": story["model"], "rows": beams})
for story in stories["forward"]:
    rows_in = [rows_of(story[name]) for name in ("ids", "decoder_ids")]
    found = lines("forward", story, *rows_in, listed(story["hidden_states"]), listed(story["attentions"]))
    results["forward"].append({"model": story["model"], "bits": found})
for story in stories["late"]:
    asked = len(story["queries"])
    found = lines("late", story, asked, *story["queries"], *story["documents"])
    texts = asked + len(story["documents"])
    results["late"].append({"model": story["model"], "bits": found[:texts], "scores": found[texts:]})
for story in stories["experts"]:
    found = lines("experts", story, rows_of(story["ids"]))
    results["experts"].append({"model": story["model"], "load": [ids(line) for line in found]})
for story in stories["words"]:
    found = lines("words", story, story["nearest"], story["count"], *story["texts"])
    vectors, near = found[: len(story["texts"])], found[len(story["texts"]) :]
    nearest = [line.split(",") for line in near]
    results["words"].append({"model": story["model"], "bits": vectors, "nearest": nearest})
out.write_text(json.dumps(results, indent=1) + "\n")
