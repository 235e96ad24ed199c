"""Runs the stories of tests/stories.json and writes their results, to the last bit.

    python tests/python/stories.py ROOT OUT.json

ROOT is the folder that the stories' model paths start from. The same file comes out of every
language: ids as they are, floats as the 8 hex digits of their 32 bits, joined.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emberform


def bits(values: NDArray[np.float32]) -> str:
    return values.astype(">f4").tobytes().hex()


def hexed(text: str) -> str:
    return text.encode().hex()


def tokens(stream: emberform.Stream) -> tuple[list[int], str]:
    found = [piece.token for piece in stream if piece.token is not None]
    logprobs = np.array([token.logprob for token in found], np.float32)
    return [token.id for token in found], bits(logprobs)


def main(root: Path, out: Path) -> None:
    stories = json.loads((root / "tests" / "stories.json").read_text())
    kinds = (
        *("embed", "nearest", "tokenize", "generate", "batch", "chat", "task", "beams", "forward"),
        *("late", "experts", "words"),
    )
    results: dict[str, list[object]] = {kind: [] for kind in kinds}
    models: dict[tuple[str, str | None], emberform.Model] = {}

    def model(story: dict[str, Any]) -> emberform.Model:
        name, precision = story["model"], story.get("precision")
        if (name, precision) not in models:
            opened = emberform.open(root / name, device="cpu", precision=precision)
            models[name, precision] = opened
        return models[name, precision]

    for story in stories["embed"]:
        vectors = model(story).embed(story["texts"], prompt_name=story.get("prompt_name"))
        results["embed"].append({"model": story["model"], "bits": [bits(row) for row in vectors]})
    for story in stories["nearest"]:
        rows_of = model(story).embed_with(story["texts"])
        near_rows = [
            [row, bits(np.array([cosine, rows_of.cosine(0, row)], np.float32))]
            for row, cosine in rows_of.nearest(model(story).embed(story["query"]), story["count"])
        ]
        results["nearest"].append({"model": story["model"], "rows": near_rows})
    for story in stories["tokenize"]:
        tokenizer = model(story).tokenizer
        ids = [tokenizer.encode(text).ids.tolist() for text in story["texts"]]
        results["tokenize"].append({"model": story["model"], "ids": ids})
    for story in stories["generate"]:
        options = {name: story[name] for name in ("max_tokens", "temperature", "seed")}
        ids, logprobs = tokens(model(story).generate(story["prompt"], **options))
        results["generate"].append({"model": story["model"], "ids": ids, "logprobs": logprobs})
    for story in stories["batch"]:
        options = {name: story[name] for name in ("max_tokens", "temperature", "seed")}
        batch = model(story).batch()
        for row in story["ids"]:
            batch.add_ids(row, **options)
        made: list[list[emberform.Token]] = [[] for _ in story["ids"]]
        for sequence, piece in batch:
            if piece.token is not None:
                made[sequence].append(piece.token)
        rows_made = [
            [[token.id for token in row], bits(np.array([token.logprob for token in row], np.float32))]
            for row in made
        ]
        results["batch"].append({"model": story["model"], "rows": rows_made})
    for story in stories["chat"]:
        options = {name: story[name] for name in ("max_tokens", "temperature", "seed")}
        chat = model(story).chat(system=story["system"])
        replies = []
        for turn in story["turns"]:
            ids, logprobs = tokens(chat.say(turn, **options))
            replies.append({"ids": ids, "logprobs": logprobs})
        prompt = hexed(chat.prompt())
        results["chat"].append({"model": story["model"], "replies": replies, "prompt": prompt})
    for story in stories["task"]:
        rows = model(story).token_classify(story["texts"], aggregation=story["aggregation"])
        entities = [
            [[hexed(one.label), hexed(one.text), bits(np.array([one.score], np.float32))] for one in row]
            for row in rows
        ]
        results["task"].append({"model": story["model"], "entities": entities})
    for story in stories["beams"]:
        session = model(story).session()
        if model(story).spec.encoder is None:
            session.feed(story["source"])
        else:
            session.read_source(story["source"])
        names = ("max_tokens", "beams", "sequences", "length_penalty", "early_stopping", "no_repeat_ngram")
        found = session.beams(**{name: story[name] for name in names})
        beams = [[beam.ids.tolist(), bits(np.array([beam.score], np.float32))] for beam in found]
        results["beams"].append({"model": story["model"], "rows": beams})
    for story in stories["forward"]:
        layers = {name: story[name] for name in ("hidden_states", "attentions")}
        output = model(story).forward_with(story["ids"], decoder_ids=story["decoder_ids"] or None, **layers)
        kept = [output.values, *output.hidden_states.values(), *output.attentions.values()]
        results["forward"].append({"model": story["model"], "bits": [bits(one) for one in kept]})
    for story in stories["late"]:
        queries = model(story).embed_tokens(story["queries"], "query")
        documents = model(story).embed_tokens(story["documents"], "document")
        vectors_of = [bits(one.vectors) for one in queries + documents]
        sums = [bits(np.array([a.max_sim(b) for b in documents], np.float32)) for a in queries]
        results["late"].append({"model": story["model"], "bits": vectors_of, "scores": sums})
    for story in stories["experts"]:
        load = [block.tolist() for block in model(story).expert_load(story["ids"])]
        results["experts"].append({"model": story["model"], "load": load})
    for story in stories["words"]:
        words = emberform.open_words(root / story["model"])
        rows_of_bits = [bits(row) for row in words.embed(story["texts"])]
        near = words.nearest(story["nearest"], story["count"])
        nearest = [[hexed(one.word), bits(np.array([one.cosine], np.float32))] for one in near]
        results["words"].append({"model": story["model"], "bits": rows_of_bits, "nearest": nearest})
    out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
