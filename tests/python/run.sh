#!/usr/bin/env bash
# Builds the wheel, installs it into a virtual environment of its own and runs the tests of the
# Python package. The last line is `N passed, N failed`.
#
#   tests/python/run.sh [PYTEST ARGUMENTS ...]
#   tests/python/run.sh --install      only builds and installs the wheel
#
# The environment is kept in target/python-venv and made anew when the requirements change.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." >/dev/null
# shellcheck source=examples/setup.sh
. examples/setup.sh

venv=target/python-venv
wheels=target/wheels
here=tests/python
need_tools
python3 -c 'import ensurepip, venv' 2>/dev/null ||
    debian "python3 cannot make virtual environments" python3-venv
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "the tests need Python 3.11 or later, for numpy $(sed -n 's/^numpy==//p' "$here/requirements.txt"); the package itself needs 3.10"

wanted=$(python3 --version; cat "$here/requirements.txt")
if [ "$wanted" != "$(cat "$venv/wanted" 2>/dev/null)" ]; then
    echo "== the virtual environment"
    rm -rf -- "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
    printf '%s\n' "$wanted" >"$venv/wanted"
fi

if [ "${1-}" != --install ]; then
    echo "== pip install, as the README says"
    fresh=target/python-fresh
    rm -rf -- "$fresh"
    python3 -m venv "$fresh"
    "$fresh/bin/pip" install --quiet --disable-pip-version-check ./bindings-python
    (cd "$fresh" && bin/python -c '
import emberform
model = emberform.open("../../models/minilm", device="cpu")
assert model.embed("a cat sat").shape == (384,)
print(model)')
    rm -rf -- "$fresh"
fi

# The wheel that `pip install ./bindings-python` makes: with cargo's features equal to the
# workspace's, nothing of burn is built again.
echo "== the wheel"
rm -rf -- "$wheels"
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
"$venv/bin/maturin" build --release --manifest-path bindings-python/Cargo.toml --out "$wheels" >"$log" 2>&1 || {
    cat "$log"
    exit 1
}
if grep -q '^ *Compiling burn' "$log"; then
    echo "burn was built once more for the wheel: its features differ from the workspace's"
fi
wheel=("$wheels"/*.whl)
size=$(wc -c <"${wheel[0]}")
echo "${wheel[0]##*/}: $((size / 1000)) kB"
[ "$size" -lt 25000000 ] || stop "the wheel is over 25 MB"
"$venv/bin/pip" install --quiet --disable-pip-version-check --force-reinstall --no-deps "${wheel[0]}"
if [ "${1-}" = --install ]; then exit; fi

echo "== the stubs"
"$venv/bin/python" bindings-python/stubs.py --check

echo "== mypy"
(cd "$here" && "../../$venv/bin/mypy" --strict --cache-dir ../../target/mypy ./*.py ../../bindings-python/stubs.py)
"$venv/bin/mypy" --strict --cache-dir target/mypy examples/python/*.py

echo "== thinness"
cargo build --quiet --release -p emberform-python --example core_call
"$venv/bin/python" "$here/bench.py" 2000

echo "== pytest"
status=0
(cd "$here" && "../../$venv/bin/python" -m pytest -q -p no:cacheprovider "$@") | tee "$log" || status=$?
count() { sed -n "s/.*\b\([0-9][0-9]*\) $1.*/\1/p" "$log" | tail -n 1; }
passed=$(count passed) failed=$(count failed) errors=$(count error)
if [ "$status" != 0 ] && [ "$((${failed:-0} + ${errors:-0}))" = 0 ]; then failed=1; fi
echo "${passed:-0} passed, $((${failed:-0} + ${errors:-0})) failed"
exit "$status"
