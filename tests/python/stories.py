"""Runs the stories of tests/stories.json and writes their results, to the last bit.

    python tests/python/stories.py ROOT OUT.json

ROOT is the folder that the stories' model paths start from. The same file comes out of every
language: ids as they are, floats as the 8 hex digits of their 32 bits, joined.
"""

import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import emberform


def bits(values: NDArray[np.float32]) -> str:
    return values.astype(">f4").tobytes().hex()


def main(root: Path, out: Path) -> None:
    stories = json.loads((root / "tests" / "stories.json").read_text())
    results: dict[str, list[object]] = {"embed": [], "tokenize": [], "generate": []}
    models: dict[str, emberform.Model] = {}

    def model(story: dict[str, str]) -> emberform.Model:
        name = story["model"]
        if name not in models:
            models[name] = emberform.open(root / name, device="cpu")
        return models[name]

    for story in stories["embed"]:
        vectors = model(story).embed(story["texts"], prompt_name=story.get("prompt_name"))
        results["embed"].append({"model": story["model"], "bits": [bits(row) for row in vectors]})
    for story in stories["tokenize"]:
        tokenizer = model(story).tokenizer
        ids = [tokenizer.encode(text).ids.tolist() for text in story["texts"]]
        results["tokenize"].append({"model": story["model"], "ids": ids})
    for story in stories["generate"]:
        options = {name: story[name] for name in ("max_tokens", "temperature", "seed")}
        pieces = list(model(story).generate(story["prompt"], **options))
        tokens = [piece.token for piece in pieces if piece.token is not None]
        logprobs = np.array([token.logprob for token in tokens], np.float32)
        ids = [token.id for token in tokens]
        results["generate"].append({"model": story["model"], "ids": ids, "logprobs": bits(logprobs)})
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
