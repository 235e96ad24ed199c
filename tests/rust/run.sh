#!/usr/bin/env bash
# A program outside the workspace that uses the crate without a GPU, with the versions of Cargo.lock.
#
#   tests/rust/run.sh [default]     default: with default features, which compiles the GPU stack anew
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." >/dev/null
features=(--no-default-features --features cpu)
case "${1-}" in
    "") ;;
    default) features=() ;;
    *) echo "usage: tests/rust/run.sh [default]" >&2; exit 2 ;;
esac
cp Cargo.lock tests/rust/consumer/Cargo.lock
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/consumer
if cargo run --quiet --manifest-path tests/rust/consumer/Cargo.toml "${features[@]}" -- tests/golden/checkpoints; then
    echo "1 passed, 0 failed"
else
    echo "0 passed, 1 failed"
    exit 1
fi
