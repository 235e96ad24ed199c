#!/usr/bin/env python3
"""Record sentence-transformers' embeddings of the real MiniLM folder.

  python record_minilm.py MODELS            writes minilm.json and minilm.safetensors
"""
import pathlib
import sys

import corpus
import record  # pins the versions and one thread

import numpy as np
import torch
from safetensors.numpy import save_file

LONG = ("The library keeps its weights mapped rather than read, so that opening a model costs about as much as touching the pages in use, "
        "and a second process that opens the same file shares them. ")


def texts(count):
    """`count` counts a text's tokens. The three texts around the window are found by adding words."""
    out = ["", " ", "   \t\n ", "\n\n", "\u00a0\u3000", "\u200b", "\u0000", "\u0001\u0007 bell \u001b[0m", "\ufffd", "a", ".", "?!...", "[CLS]", "[SEP] [MASK] [PAD]",
           "hello", "Hello", "HELLO", "hello world", "A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby.",
           "A cheetah is running behind its prey.", "How many people live in Berlin?", "Berlin had a population of 3,520,031 registered inhabitants in 2015.",
           "What's the weather like today?", "It isn't, I'd say, what we've expected: they're late.", "bond yields rose as central banks tightened policy"]
    for name in ("german", "french", "vietnamese", "polish", "russian", "greek", "hebrew", "arabic", "hindi", "tamil", "thai", "georgian", "korean", "japanese", "chinese", "yoruba"):
        out.append(corpus.SENTENCES[name].split("\n")[0])
    out += ["😀 👍🏽 👨‍👩‍👧‍👦 🏳️‍🌈 🇰🇷 1️⃣ ❤️‍🔥", "I ❤️ Rust 🦀", "e\u0301 n\u0303 A\u030a vs é ñ Å", "Z\u0351\u036b\u0343a\u034c\u0303l\u0301\u0327g\u0308\u0330o\u0306"]
    out += [corpus.unescape(corpus.CODE[i]) for i in (0, 1, 2, 5, 13)] + [corpus.unescape(corpus.URLS[0]), corpus.NUMBERS[1], corpus.NUMBERS[5], "x" * 150, "a" * 100, "ab" * 49]
    out += [LONG, LONG * 3, LONG * 20]
    for want in (255, 256, 257):
        text = (LONG * 8).split()
        while count(" ".join(text)) > want:
            text.pop()
        while count(" ".join(text)) < want:
            text.append("a")
        out.append(" ".join(text))
    return out


def main():
    from sentence_transformers import SentenceTransformer

    record.check_versions()
    folder = pathlib.Path(sys.argv[1]) / "minilm"
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True, model_kwargs=dict(attn_implementation="eager", dtype=torch.float32))
    count = lambda t: len(model.tokenizer(t, truncation=False)["input_ids"])
    corpus_texts = texts(count)
    kwargs = dict(convert_to_numpy=True, show_progress_bar=False)
    alone = np.stack([model.encode([t], **kwargs)[0] for t in corpus_texts])
    batch = model.encode(corpus_texts, batch_size=32, **kwargs)
    gap = float(np.abs(alone - batch).max())
    assert gap < 2e-6, gap
    modules = [type(m).__name__ for m in model]
    norms = None
    if modules[-1] == "Normalize":  # the length before the last module: raw embedding = embedding * norm
        raw = SentenceTransformer(modules=list(model)[:-1], device="cpu")
        norms = np.array([np.linalg.norm(raw.encode([t], **kwargs)[0]) for t in corpus_texts], np.float32)
    tokens = [count(t) for t in corpus_texts]
    record.write_json(record.GOLDEN / "real" / "minilm.json", {
        "model": "all-MiniLM-L6-v2", "modules": modules, "max_seq_length": model.max_seq_length, "width": int(alone.shape[1]),
        "one_by_one_against_batched": gap, "texts": corpus_texts, "tokens_before_truncation": tokens})
    out = {"embeddings": alone.astype(np.float32)}
    if norms is not None:
        out["norms"] = norms
    save_file(out, record.GOLDEN / "real" / "minilm.safetensors")
    print(len(corpus_texts), "texts,", "tokens", sorted(tokens)[-6:], "max_seq_length", model.max_seq_length, modules, "batched differs by", gap)


if __name__ == "__main__":
    main()
