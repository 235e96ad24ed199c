"""What a static vector cannot do and a contextual one can: a word in two senses.

python examples/python/words.py [--device auto|cpu|gpu] [--words FILE] [--model DIR]
"""

import argparse
from typing import Any

import numpy as np

import emberform

WORD = "bank"
SENTENCES = [
    "The children sat on the bank of the river.",
    "We pulled the boat onto the muddy bank.",
    "She paid the money into her account at the bank.",
]


def cosine(a: Any, b: Any) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--words", default="models/static")
    parser.add_argument("--model", default="models/minilm")
    arguments = parser.parse_args()

    # One vector a word, whatever stands around it.
    words = emberform.open_words(arguments.words)

    # One vector for each token of a text, made of all of it.
    model = emberform.open(arguments.model, device=arguments.device)
    print(f"{words}\n{model}\n")
    fixed, states = [], []
    for sentence in SENTENCES:
        encoding = model.tokenizer.encode(sentence)
        place = [sentence[start:end] for start, end in encoding.offsets].index(WORD)
        fixed.append(words.vector(WORD))  # the sentence is not asked
        states.append(model.forward(encoding.ids)[place])  # [T, D] -> [D]

    print(f"`{WORD}` in two sentences          static  contextual")
    for i, j in [(0, 1), (0, 2), (1, 2)]:
        print(f"  {SENTENCES[i]}\n  {SENTENCES[j]}")
        print(f"{cosine(fixed[i], fixed[j]):36.2f}{cosine(states[i], states[j]):12.2f}")

    print(f"\nnearest to `{WORD}`:")
    for near in words.nearest(WORD, 5):
        print(f"  {near.cosine:.2f} {near.word}")


if __name__ == "__main__":
    main()
