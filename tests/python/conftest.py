"""What the tests share: where models are, and models that are opened once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import emberform

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "checkpoints"
REFERENCES = GOLDEN.parent
MODELS = ROOT / "models"
MINILM = MODELS / "minilm"
GEMMA = MODELS / "gemma3-270m-q4_k_m.gguf"
QWEN = MODELS / "qwen25-coder-0.5b-q4_k_m.gguf"


def recorded(path: Path) -> dict[str, NDArray[Any]]:
    """The tensors of a recording: a safetensors file of floats and whole numbers."""
    kinds = {"F32": "<f4", "I64": "<i8", "I32": "<i4"}
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        data = file.read()
    arrays = {}
    for key, entry in header.items():
        if key != "__metadata__":
            start, end = entry["data_offsets"]
            array = np.frombuffer(data[start:end], kinds[entry["dtype"]])
            arrays[key] = array.reshape(entry["shape"])
    return arrays


def run_program(program: str, *arguments: str, timeout: float = 120) -> str:
    """Runs a program in a Python of its own and gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def minilm() -> Iterator[emberform.Model]:
    with emberform.open(MINILM, device="cpu") as model:
        yield model


@pytest.fixture(scope="session")
def gemma() -> Iterator[emberform.Model]:
    with emberform.open(GEMMA, device="cpu") as model:
        yield model


@pytest.fixture(scope="session")
def tiny() -> Iterator[emberform.Model]:
    """A small embedder with a tokenizer, of random weights."""
    with emberform.open(GOLDEN / "st-prompts", device="cpu") as model:
        yield model


@pytest.fixture(scope="session")
def tiny_decoder() -> Iterator[emberform.Model]:
    """A small decoder with a tokenizer, of random weights."""
    with emberform.open(GOLDEN / "st-decoder", device="cpu") as model:
        yield model
