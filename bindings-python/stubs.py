"""Writes python/emberform/_emberform.pyi and _options.py from the build; with --check, compares them
instead.

Run with the package installed: `python bindings-python/stubs.py`. maturin makes the stubs of all
functions and classes from the library; exceptions, which it does not see, are read off the
installed module here. The options of a generation, which it writes into each signature, become one
`TypedDict`, which a program can keep options in.
"""

import ast
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from emberform import _emberform

HERE = Path(__file__).resolve().parent
PACKAGE = HERE / "python" / "emberform"
STUBS, OPTIONS = PACKAGE / "_emberform.pyi", PACKAGE / "_options.py"
MARK = "# Written by bindings-python/stubs.py; do not edit.\n"
UNKNOWN = ("from _typeshed import Incomplete\n", "def __getattr__(name: str) -> Incomplete: ...")
UNPACK = "from typing_extensions import Unpack\n\nfrom ._options import GenerateOptions\n"
DICTIONARY = (
    MARK
    + '''"""The options of a generation as a dictionary."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypedDict

if TYPE_CHECKING:
    from numpy import integer
    from numpy.typing import NDArray


class GenerateOptions(TypedDict, total=False):
    """Options of a generation, to be kept and handed over: `model.generate(prompt, **options)`.

    What each is, and what holds where it is left out, `Model.generate` says.
    """

'''
)


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


def fold(text: str) -> tuple[str, str]:
    """The stubs with the options of a generation as a dictionary, and that dictionary's source."""
    found = re.search(r"def generate\(self, /, prompt: str, \*, (.*)\) -> Stream:", text)
    if not found:
        raise SystemExit("maturin's stubs lack `Model.generate(prompt, *, ...)`: see how they write it now")
    keywords, unpack = found[1], "**options: Unpack[GenerateOptions])"
    text = text.replace(f"*, {keywords})", unpack).replace(f"{keywords})", unpack)
    text = text.replace("\n@final", UNPACK + "\n@final", 1)
    function = ast.parse(f"def options(*, {keywords}): ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    kinds = {one.arg: ast.unparse(one.annotation) for one in function.args.kwonlyargs if one.annotation}
    return text, DICTIONARY + "".join(f"    {name}: {kind}\n" for name, kind in kinds.items())


def generate() -> dict[Path, str]:
    """The whole of each file."""
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
    text, options = fold(text)
    return {STUBS: MARK + text, OPTIONS: options}


if __name__ == "__main__":
    for file, found in generate().items():
        if "--check" not in sys.argv[1:]:
            file.write_text(found)
        elif not file.exists() or found != file.read_text():
            raise SystemExit(f"{file.name} is not that of this build; run bindings-python/stubs.py")
