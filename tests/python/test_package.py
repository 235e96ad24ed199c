"""The package: what is exported and documented, what importing costs, and that stories run."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import emberform
from conftest import ROOT, run_program


def test_everything_public_is_documented() -> None:
    for name in emberform.__all__:
        value = getattr(emberform, name)
        if name == "__version__":
            continue
        assert inspect.getdoc(value), name
        if not inspect.isclass(value) or issubclass(value, Exception):
            continue
        for member, attribute in vars(value).items():
            if not member.startswith("_"):
                assert inspect.getdoc(attribute), f"{name}.{member}"
    public = {name for name in vars(emberform) if not name.startswith("_")}
    assert public <= set(emberform.__all__)


def test_help_answers() -> None:
    text = run_program("import emberform; help(emberform.Model.embed)")
    for wanted in ("normalize=None", "[B, D]", "float32", "Raises", "progress"):
        assert wanted in text
    # The options of a generation stand in one place of the source and in each signature.
    for method in ("Model.generate", "Model.generate_chat", "Session.generate", "Chat.say"):
        text = run_program(f"import emberform; help(emberform.{method})")
        for wanted in ("*, ", "max_tokens=None", "stop_ids=None", "ignore_eos=None", "Raises" if "Model" in method else "ptions"):
            assert wanted in text, f"{method}: {wanted}"
    assert "device='auto'" in run_program("import emberform; help(emberform.open)")


def test_import_is_light() -> None:
    program = """
import sys, time
before = set(sys.modules)
start = time.perf_counter()
import emberform
took = time.perf_counter() - start
print(1000 * took, "numpy" in sys.modules, len(set(sys.modules) - before))
"""
    runs = [run_program(program).split() for _ in range(5)]
    least = min(float(run[0]) for run in runs)
    print(f"\nimport: {least:.1f} ms")
    assert least < 50 and runs[0][1] == "False"


def test_stories(tmp_path: Path) -> None:
    outputs = []
    for name in ("one", "two"):
        out = tmp_path / name
        command = [sys.executable, str(Path(__file__).parent / "stories.py"), str(ROOT), str(out)]
        subprocess.run(command, check=True, timeout=120)
        outputs.append(out.read_text())
    assert outputs[0] == outputs[1], "the same process twice"
    results = json.loads(outputs[0])
    stories = json.loads((ROOT / "tests" / "stories.json").read_text())
    assert [len(results[kind]) for kind in stories if kind != "about"] == [
        len(stories[kind]) for kind in stories if kind != "about"
    ]
    assert all(len(row) == 384 * 8 for row in results["embed"][0]["bits"])
    assert all(len(one["ids"]) * 8 == len(one["logprobs"]) for one in results["generate"])
