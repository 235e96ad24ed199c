"""Continues a text, piece by piece.

python examples/python/generate.py [--device auto|cpu|gpu] [--tokens 64] [--temperature 0] [--seed 0]
                                   [MODEL] [PROMPT ...]
"""

import argparse

import emberform


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("model", nargs="?", default="models/gemma3-270m-q4_k_m.gguf")
    parser.add_argument("prompt", nargs="*", default=["Question: Why is the sky blue?\nAnswer:"])
    arguments = parser.parse_args()

    model = emberform.open(arguments.model, device=arguments.device)
    print(model)
    prompt = " ".join(arguments.prompt)
    stream = model.generate(
        prompt,
        max_tokens=arguments.tokens,
        temperature=arguments.temperature,
        seed=arguments.seed,
        repetition_penalty=1.2,
    )
    print(prompt, end="")
    for piece in stream:  # Ctrl-C works between tokens, and while the prompt is read
        print(piece, end="", flush=True)
    stats = stream.stats
    print(
        f"\n[{stream.finish_reason}: {stats.tokens} tokens, {stats.tokens_per_second:.0f} a second; "
        f"the prompt's {stats.prompt_tokens} at {stats.prefill_per_second:.0f} a second]"
    )


if __name__ == "__main__":
    main()
