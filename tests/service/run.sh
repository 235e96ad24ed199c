#!/usr/bin/env bash
# Tries the service of examples/rust/service with OpenAI's own client. The last line is
# `N passed, N failed`.
#
#   tests/service/run.sh
#
# The models are fetched, and the Python package is installed in target/python-venv (as
# tests/python/run.sh does it): what the service embeds is compared with it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." >/dev/null

venv=target/python-venv
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import emberform' 2>/dev/null; then
    "$venv/bin/pip" install --quiet --disable-pip-version-check ./bindings-python
fi
"$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/service/requirements.txt
cargo build --quiet --release -p emberform-service
"$venv/bin/python" tests/service/test_openai.py target/release/emberform-service
