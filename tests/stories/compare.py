"""Compares the results of the stories in two or more languages: `compare.py A.json B.json ...`."""

import json
import sys
from pathlib import Path

first, *others = ((Path(path).stem, json.loads(Path(path).read_text())) for path in sys.argv[1:])
assert others, "nothing to compare with"
for name, results in others:
    for kind, wanted in first[1].items():
        assert wanted, f"no story of {kind}"
        for ours, theirs in zip(wanted, results[kind], strict=True):
            assert ours == theirs, f"{kind} {ours['model']}: {first[0]} and {name} differ"
    print(f"{name} gives what {first[0]} gives, to the last bit")
