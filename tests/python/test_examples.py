"""Each example runs and prints what it should; the drop-in classes are what they say they are."""

import asyncio
import importlib.util
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import emberform
from conftest import GEMMA, GOLDEN, MINILM, QWEN, ROOT

EXAMPLES = ROOT / "examples" / "python"
# Ray's own telemetry is off: tests leave the network alone.
ENVIRONMENT = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}


def run(name: str, *arguments: str | Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def load(name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_first() -> None:
    """What the root's README quotes."""
    first, text = run("first.py").split("\n", 1)
    alike, other = map(float, first.split(" and "))
    assert alike > other + 0.3 and len(text.split()) > 3


def test_embed() -> None:
    lines = run("embed.py", "--device", "cpu").splitlines()
    assert lines[0].startswith('<Model bert "minilm"') and len(lines) == 5
    near = [float(word) for word in lines[1].split()[:4]]
    assert near[0] == 1 and near[1] > near[2] + 0.3


def test_search(tmp_path: Path) -> None:
    file = tmp_path / "paragraphs"
    file.write_text(
        "Simmer the tomatoes for an hour and add basil at the end.\n\n"
        "Refunds reach your card within five days of the return.\n\n"
        "Strong winds and heavy rain are expected along the coast tonight.\n"
    )
    first = run("search.py", "--device", "cpu", file, "How long until I get my money back?").splitlines()[0]
    assert float(first.split()[0]) > 0.5 and "Refunds" in first


def test_generate() -> None:
    text = run("generate.py", "--device", "cpu", "--tokens", "12", GEMMA, "The capital of France is")
    assert text.startswith("<Model gemma3_text") and "The capital of France is" in text
    assert re.search(r"^\[[a-z_]+: [0-9]+ tokens, [0-9]+ a second", text, re.M)


def test_words() -> None:
    text = run("words.py", "--device", "cpu")
    pairs = [line.split() for line in text.splitlines() if re.fullmatch(r" +[0-9.]+ +[0-9.]+", line)]
    fixed, near = [float(pair[0]) for pair in pairs], [float(pair[1]) for pair in pairs]
    assert fixed == [1, 1, 1] and near[0] > max(near[1:]) + 0.05


def test_chat() -> None:
    text = run("chat.py", "--device", "cpu", "--tokens", "24", QWEN, "What is 2 + 2? Answer with a number.", "And 3 + 3?")
    assert text.startswith("<Model qwen2") and text.count("\n> ") == 2
    first, second = text.split("\n> ")[1:]
    assert re.search("4.*\n", first.split("\n", 1)[1]) and "6" in second.split("\n", 1)[1]
    read = [int(found) for found in re.findall(r"^\[([0-9]+) tokens read, [0-9]+ a second generated\]$", text, re.M)]
    assert len(read) == 2 and read[1] < read[0], "the second turn reads only what is new"


def test_inspect() -> None:
    text = run("inspect_model.py", "--device", "cpu", "--verify", QWEN)
    for wanted in (r"^  cpu: ", r"^blocks\.0\.attn\.q\.weight +Q", r"^[0-9]+ tensors, ", r"^cpu agrees with the CPU"):
        assert re.search(wanted, text, re.M), wanted


def test_embed_ray(tmp_path: Path) -> None:
    text, out = tmp_path / "lines", tmp_path / "out"
    lines = [f"line {i}: a text about {['sheep', 'bonds', 'rain'][i % 3]}" for i in range(700)]
    text.write_text("\n".join(lines))
    arguments: list[str | Path] = ["--model", GOLDEN / "st-prompts", "--lines", "60", text, out]
    assert "12 parts made by 2 workers" in run("embed_ray.py", *arguments)
    with emberform.open(GOLDEN / "st-prompts", device="cpu") as model:
        wanted = [model.embed(lines[start : start + 60]) for start in range(0, 700, 60)]
        whole = model.embed(lines)
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [f"part-{part:05}.npy" for part in range(12)]
    parts = [np.load(file) for file in files]
    # Part by part to the last bit; other batches may add in another order.
    assert all(np.array_equal(part, one) for part, one in zip(parts, wanted))
    assert np.abs(np.concatenate(parts) - whole).max() < 1e-6

    # It was stopped: one part is missing, and one was left half way.
    files[3].unlink()
    kept = {file.name: file.stat().st_mtime_ns for file in files if file.exists()}
    assert "1 parts made by 1 workers" in run("embed_ray.py", *arguments)
    assert np.array_equal(np.load(files[3]), wanted[3])
    assert kept.items() <= {file.name: file.stat().st_mtime_ns for file in out.iterdir()}.items()
    assert "0 parts made" in run("embed_ray.py", *arguments)


def test_langchain(minilm: emberform.Model) -> None:
    from langchain_core.embeddings import Embeddings

    lines = run("langchain_embeddings.py").splitlines()
    assert "Refunds" in lines[0] and float(lines[0].split()[0]) > 0.5
    embeddings = load("langchain_embeddings").EmberformEmbeddings(minilm)
    assert isinstance(embeddings, Embeddings)
    vectors = embeddings.embed_documents(["a text", "another"])
    assert np.array_equal(np.array(vectors, np.float32), minilm.embed(["a text", "another"]))
    assert all(type(x) is float for x in vectors[0])
    assert np.array_equal(np.array(embeddings.embed_query("a text"), np.float32), minilm.embed("a text"))
    assert asyncio.run(embeddings.aembed_query("a text")) == embeddings.embed_query("a text")
    with emberform.open(GOLDEN / "st-prompts", device="cpu") as tiny:
        prompted = load("langchain_embeddings").EmberformEmbeddings(tiny).embed_query("a text")
        assert np.array_equal(np.array(prompted, np.float32), tiny.embed("a text", prompt_name="query"))


def test_llamaindex(minilm: emberform.Model) -> None:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    lines = run("llamaindex_embedding.py").splitlines()
    assert "Refunds" in lines[0] and float(lines[0].split()[0]) > 0.5
    embedding = load("llamaindex_embedding").EmberformEmbedding(minilm)
    assert isinstance(embedding, BaseEmbedding) and embedding.model_name == "minilm"
    texts = [f"text {i}" for i in range(23)]
    vectors = np.array(embedding.get_text_embedding_batch(texts), np.float32)
    # In batches of ten, which may add in another order.
    assert np.abs(vectors - minilm.embed(texts)).max() < 1e-6
    query = embedding.get_query_embedding("a text")
    assert np.array_equal(np.array(query, np.float32), minilm.embed("a text"))
    assert asyncio.run(embedding.aget_query_embedding("a text")) == query


def test_the_readme(tmp_path: Path) -> None:
    """The package's README: its Python blocks run one after the other, as they stand."""
    text = (ROOT / "bindings-python" / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    assert len(blocks) >= 3
    program = tmp_path / "readme.py"
    program.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 120


def test_models_are_there() -> None:
    assert MINILM.exists() and GEMMA.exists() and QWEN.exists(), "run examples/models/fetch.py"
