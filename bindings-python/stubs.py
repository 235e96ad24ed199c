"""Writes python/emberform/_emberform.pyi from the build; with --check, compares it instead.

Run with the package installed: `python bindings-python/stubs.py`. maturin makes the stubs of all
functions and classes from the library; exceptions, which it does not see, are read off the
installed module here.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from emberform import _emberform

HERE = Path(__file__).resolve().parent
STUBS = HERE / "python" / "emberform" / "_emberform.pyi"
UNKNOWN = ("from _typeshed import Incomplete\n", "def __getattr__(name: str) -> Incomplete: ...")


def exceptions() -> str:
    """The classes under `Exception`, as stubs."""
    text = ""
    for name, value in vars(_emberform).items():
        if isinstance(value, type) and issubclass(value, Exception):
            bases = ", ".join(base.__name__ for base in value.__bases__)
            text += f'class {name}({bases}):\n    """\n'
            text += "".join(f"    {line}".rstrip() + "\n" for line in str(value.__doc__).splitlines())
            text += '    """\n'
            text += "".join(f"    {field}: {kind}\n" for field, kind in value.__annotations__.items())
            text += "\n"
    return text + "__version__: str\n"


def generate() -> str:
    """The whole file."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "maturin", "generate-stubs", "--quiet"]
        command += ["--profile", "release", "--out", folder, "--manifest-path", str(HERE / "Cargo.toml")]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        text = (Path(folder) / "emberform" / "_emberform.pyi").read_text()
    for line in UNKNOWN:
        if line not in text:
            raise SystemExit(f"maturin's stubs lack {line!r}: see whether they know exceptions now")
    text = text.replace(UNKNOWN[0], "").replace(UNKNOWN[1], exceptions())
    return "# Written by bindings-python/stubs.py; do not edit.\n" + text


if __name__ == "__main__":
    found = generate()
    if "--check" not in sys.argv[1:]:
        STUBS.write_text(found)
    elif found != STUBS.read_text():
        raise SystemExit(f"{STUBS.name} is not that of this build; run bindings-python/stubs.py")
