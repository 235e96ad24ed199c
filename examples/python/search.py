"""Searches the paragraphs of a text file by meaning.

python examples/python/search.py [--device auto|cpu|gpu] [--model DIR] [--count 3] FILE QUERY ...
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import emberform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--model", default="models/minilm")
    parser.add_argument("--count", type=int, default=3)
    parser.add_argument("file", nargs="?", type=Path, default=Path("README.md"))
    parser.add_argument("query", nargs="*", default=["Which models does it open?"])
    arguments = parser.parse_args()

    parts = arguments.file.read_text().split("\n\n")
    paragraphs = [part.strip() for part in parts if len(part.strip()) > 20]
    model = emberform.open(arguments.model, device=arguments.device)

    def progress(done: int, of: int) -> None:
        print(f"\r{done} of {of} paragraphs", end="", file=sys.stderr)

    watched = sys.stderr.isatty()
    rows = model.embed(paragraphs, normalize=True, progress=progress if watched else None)
    # A folder made for search says what to put before a query; others have no such prompt.
    prompt = "query" if "query" in model.prompts else None
    query = model.embed(" ".join(arguments.query), normalize=True, prompt_name=prompt)

    scores = rows @ query
    for i in np.argsort(-scores)[: arguments.count]:
        print(f"{scores[i]:.2f}  " + paragraphs[i].replace("\n", "\n      ") + "\n")


if __name__ == "__main__":
    main()
