"""Other processes: spawn, fork, pickles."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import emberform
from conftest import GOLDEN, run_program


def embed_there(model: emberform.Model, tokenizer: emberform.Tokenizer, text: str) -> tuple[list[float], list[int], str]:
    return model.embed(text).tolist(), tokenizer.encode(text).ids.tolist(), model.device.id


def test_a_pool_of_spawned_processes(tiny: emberform.Model) -> None:
    texts = ["a text", "another", "a third"]
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(embed_there, [tiny] * 3, [tiny.tokenizer] * 3, texts))
    for text, (vector, ids, device) in zip(texts, found):
        assert np.array_equal(np.array(vector, np.float32), tiny.embed(text))
        assert ids == tiny.tokenizer.encode(text).ids.tolist() and device == "cpu"


def test_a_model_pickles_by_its_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOLDEN)
    model = emberform.open("st-prompts", device="cpu")
    monkeypatch.chdir(tmp_path)
    data = pickle.dumps(model)
    assert len(data) < 1000
    twin = pickle.loads(data)
    assert np.array_equal(twin.embed("a text"), model.embed("a text")) and twin.path == model.path
    assert copy.copy(model) is model and copy.deepcopy(model) is model


FORK = """
import os, sys, time
import emberform
old = emberform.open(sys.argv[1], device="cpu")
texts = [f"text {i}" for i in range(400)]
old.embed(texts)
tokens = old.tokenizer.count("a text")
child = os.fork()
if child == 0:
    code = 1
    try:
        old.embed(texts)
    except emberform.DeviceError as error:
        assert "spawn" in str(error), error
        # Tokenizers go on, also many texts at once.
        assert old.tokenizer.count("a text") == tokens
        assert len(old.tokenizer.encode_batch(texts)) == len(texts)
        if sys.argv[2] == "open":
            try:
                emberform.open(sys.argv[1], device="cpu").embed(texts)
            except emberform.DeviceError as again:
                assert "spawn" in str(again), again
        code = 0
    os._exit(code)
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    pid, status = os.waitpid(child, os.WNOHANG)
    if pid:
        assert os.waitstatus_to_exitcode(status) == 0, status
        old.embed(texts)
        print("unharmed")
        sys.exit()
    time.sleep(0.02)
os.kill(child, 9)
sys.exit("the child hangs")
"""


@pytest.mark.parametrize("what", ["use", "open"])
def test_fork_says_so_instead_of_hanging(what: str) -> None:
    assert run_program(FORK, str(GOLDEN / "st-prompts"), what, timeout=40) == "unharmed\n"


def test_a_forked_process_that_opens_first_computes() -> None:
    program = """
import os, sys
import emberform
child = os.fork()
if child == 0:
    emberform.open(sys.argv[1], device="cpu").embed([f"text {i}" for i in range(400)])
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    assert run_program(program, str(GOLDEN / "st-prompts"), timeout=40) == "0\n"


def test_log_lines_go_to_logging() -> None:
    program = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
import emberform
emberform.open(sys.argv[1], device="cpu")
"""
    lines = run_program(program, str(GOLDEN / "st-prompts")).splitlines()
    assert lines and all(line.startswith("emberform INFO ") for line in lines)
    assert any("cpu" in line for line in lines)
    silent = "import emberform, sys; emberform.open(sys.argv[1], device='cpu').embed('a')"
    assert run_program(silent, str(GOLDEN / "st-prompts")) == ""
