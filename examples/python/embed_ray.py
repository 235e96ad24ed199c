"""Embeds the lines of a large text file on a Ray cluster, and goes on where it was stopped.

python examples/python/embed_ray.py [--model DIR] [--workers 2] [--lines 1000] FILE OUT

OUT gets one `part-00000.npy` for each `--lines` lines, float32 [lines, D]; parts that are there are
not made again. FILE and OUT must be seen by all machines of the cluster under the same path.
Needs `pip install 'ray[data]'`; without a cluster, Ray starts one on this machine.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data

import emberform


class Embedder:
    """A worker: opens the model once, then makes one part after the other."""

    def __init__(self, model: str, file: str, out: str) -> None:
        self.model = emberform.open(model)
        self.file = file
        self.out = Path(out)

    def __call__(self, parts: dict[str, Any]) -> dict[str, Any]:
        for part, start, end in zip(parts["part"], parts["start"], parts["end"]):
            with open(self.file, "rb") as file:
                file.seek(int(start))
                lines = file.read(int(end - start)).decode().removesuffix("\n").split("\n")
            # Under its name only when it is whole: a part that is there is finished.
            half = self.out / f".part-{part:05}.{os.getpid()}.npy"
            np.save(half, self.model.embed(lines))
            half.replace(self.out / f"part-{part:05}.npy")
        return {"part": parts["part"], "worker": np.full(len(parts["part"]), os.getpid())}


def split(file: Path, lines: int) -> list[dict[str, int]]:
    """Where each part begins and ends, in bytes."""
    places, start, end = [], 0, 0
    with file.open("rb") as text:
        for number, line in enumerate(text, 1):
            end += len(line)
            if number % lines == 0:
                places.append((start, end))
                start = end
    if end > start:
        places.append((start, end))
    return [{"part": part, "start": start, "end": end} for part, (start, end) in enumerate(places)]


def embed_file(model: str, file: Path, out: Path, workers: int, lines: int) -> tuple[int, int]:
    """Makes the parts that are missing; gives how many, and by how many workers."""
    out.mkdir(parents=True, exist_ok=True)
    parts = split(file, lines)
    missing = [part for part in parts if not (out / f"part-{part['part']:05}.npy").exists()]
    if not missing:
        return 0, 0
    done = ray.data.from_items(missing, override_num_blocks=len(missing)).map_batches(
        Embedder,
        fn_constructor_args=(str(Path(model).resolve()), str(file.resolve()), str(out.resolve())),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
    )
    rows = done.take_all()
    return len(rows), len({row["worker"] for row in rows})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="models/minilm")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    made, workers = embed_file(
        arguments.model, arguments.file, arguments.out, arguments.workers, arguments.lines
    )
    print(f"{made} parts made by {workers} workers, in {arguments.out}")


if __name__ == "__main__":
    main()
