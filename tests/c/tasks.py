"""Runs the recorded cases of tasks (tests/golden/checkpoints/task-*/tasks.json) through a program of tests/c and
compares its answers with those of the pipelines. Prints `N passed, N failed`.

    python3 tests/c/tasks.py GOLDEN PROGRAM [quick]     quick: one case a call, for valgrind
"""

import json
import shlex
import subprocess
import sys
from pathlib import Path

golden, program, quick = Path(sys.argv[1]), shlex.split(sys.argv[2]), len(sys.argv) > 3
SCORE = 1e-4  # the bar of the Rust tests


def text(word: str) -> str:
    return bytes.fromhex(word).decode()


def place(whole: str, start: str, end: str) -> tuple[int, int]:
    """Bytes to characters."""
    data = whole.encode()
    return len(data[: int(start)].decode()), len(data[: int(end)].decode())


def check(folder: Path, case: dict) -> None:
    def option(name: str) -> str:
        value = case.get(name)
        return "-" if value is None else str(int(value) if isinstance(value, bool) else value)

    call, result = case["call"], case["result"]
    if call == "fill_mask":
        words = [option("top_k"), case["text"], *(case.get("targets") or [])]
        wanted = [(one["score"], i, one["token"], one["token_str"], one["sequence"]) for i, mask in enumerate(result) for one in mask]
        read = lambda s, i, id, token, all: (s, int(i), int(id), text(token), text(all))  # noqa: E731
    elif call in ("classify", "classify_pairs"):
        words = [option("scoring"), case["text"], *([case["pair"]] if "pair" in case else [])]
        wanted = [(one["score"], one["label"]) for one in result]
        read = lambda s, label, index: (s, text(label))  # noqa: E731
    elif call == "zero_shot":
        words = [option("template"), option("multi_label"), case["text"], *case["labels"]]
        wanted = list(zip(result["scores"], result["labels"], result["labels"], strict=True))
        read = lambda s, label, index: (s, text(label), case["labels"][int(index)])  # noqa: E731
    elif call == "token_classify":
        words = [option("aggregation"), option("stride"), case["text"], *(case.get("ignore") or [])]
        if case.get("ignore") == []:
            words.append("no such label")
        wanted = [
            (one["score"], one["label"], case["text"][one["start"] : one["end"]], one["start"], one["end"], case["aggregation"] == "none")
            for one in result
        ]
        read = lambda s, label, part, a, b, one: (s, text(label), text(part), *place(case["text"], a, b), one == "1")  # noqa: E731
    elif call == "answer":
        names = ("top_k", "handle_impossible_answer", "max_answer_len", "doc_stride")
        tokens = "1" if case.get("align_to_words") is False else "-"
        words = [*map(option, names), tokens, option("max_seq_len"), case["question"], case["passage"]]
        wanted = [(one["score"], one["answer"], one["start"], one["end"]) for one in result]
        read = lambda s, part, a, b: (s, text(part), *place(case["passage"], a, b))  # noqa: E731
    elif call == "rerank":
        words = [case["text"], *case["documents"]]
        wanted = [(one["score"], one["index"]) for one in result]
        read = lambda s, index: (s, int(index))  # noqa: E731
    elif call == "sparse":
        words = [case["text"]]
        wanted = list(zip(result["weights"], result["ids"], strict=True))
        read = lambda s, id: (s, int(id))  # noqa: E731
    elif call == "embed_tokens":
        words = [case["role"], case["text"]]
        wanted = [(x, i) for i, row in enumerate(result) for x in row]
        read = lambda s, i: (s, int(i))  # noqa: E731
    elif call == "max_sim":
        words = [str(len(case["queries"])), *case["queries"], *case["documents"]]
        wanted = [(x, i) for i, row in enumerate(result) for x in row]
        read = lambda s, i: (s, int(i))  # noqa: E731
    else:
        words, wanted, read = [case["text"], case["pair"]], [(result,)], lambda s: (s,)
    done = subprocess.run([*program, call, str(folder), *words], capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout}{done.stderr}"
    found = [read(*line.split("\t")) for line in done.stdout.splitlines()]
    assert len(found) == len(wanted), (found, wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours[1:] == theirs[1:] and abs(float(ours[0]) - theirs[0]) <= SCORE, (ours, theirs)


CALLS = {
    "fill_mask", "classify", "classify_pairs", "zero_shot", "token_classify", "answer", "rerank", "sparse", "embed_tokens",
    "max_sim", "follows",
}
passed, failed, seen = 0, 0, set()
for folder in sorted(golden.glob("task-*")):
    for case in json.loads((folder / "tasks.json").read_text()):
        if quick and case["call"] in seen:
            continue
        seen.add(case["call"])
        try:
            check(folder, case)
            passed += 1
        except AssertionError as error:
            failed += 1
            print(f"failed: {folder.name} {case['call']}: {error}")
if seen != CALLS:
    failed += 1
    print(f"failed: only {sorted(seen)} were there")
print(f"{passed} passed, {failed} failed")
sys.exit(failed > 0)
