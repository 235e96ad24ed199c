"""Talks with a model: each argument is a question, and without one you are asked.

python examples/python/chat.py [--device auto|cpu|gpu] [--tokens 256] [--system TEXT] [MODEL] [QUESTION ...]
"""

import argparse
import sys

import emberform


def answer(chat: emberform.Chat, question: str, tokens: int) -> None:
    stream = chat.say(question, max_tokens=tokens)
    for piece in stream:
        print(piece, end="", flush=True)
    stats = stream.stats
    print(f"\n[{stats.prompt_tokens} tokens read, {stats.tokens_per_second:.0f} a second generated]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--system", default="You answer in one or two sentences.")
    parser.add_argument("model", nargs="?", default="models/qwen25-coder-0.5b-q4_k_m.gguf")
    parser.add_argument("questions", nargs="*")
    arguments = parser.parse_args()

    model = emberform.open(arguments.model, device=arguments.device)
    print(model)
    chat = model.chat(system=arguments.system)
    for question in arguments.questions:
        print(">", question)
        answer(chat, question, arguments.tokens)
    while not arguments.questions:
        print("> " if sys.stdin.isatty() else "", end="", flush=True)
        # The end of the input, or an empty line, ends the conversation.
        question = sys.stdin.readline().strip()
        if not question:
            break
        answer(chat, question, arguments.tokens)


if __name__ == "__main__":
    main()
