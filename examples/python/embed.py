"""Embeds sentences and prints how alike they are.

python examples/python/embed.py [--device auto|cpu|gpu] [MODEL] [SENTENCE ...]
"""

import argparse

import emberform

SENTENCES = [
    "A cat sleeps on the warm windowsill.",
    "The kitten is napping in the sun.",
    "Stock markets fell sharply on Tuesday.",
    "Bond yields rose after the central bank's decision.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("model", nargs="?", default="models/minilm")
    parser.add_argument("sentences", nargs="*", default=SENTENCES)
    arguments = parser.parse_args()

    with emberform.open(arguments.model, device=arguments.device) as model:
        print(model)
        vectors = model.embed(arguments.sentences, normalize=True)  # [B, D], float32
    for row, sentence in zip(vectors @ vectors.T, arguments.sentences):
        print("".join(f"{cosine:6.2f}" for cosine in row), " ", sentence)


if __name__ == "__main__":
    main()
