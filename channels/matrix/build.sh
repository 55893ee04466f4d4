#!/usr/bin/env bash
# Builds the program of the Matrix channel and puts it into bin/, beside nanoclaw. `--tests`: without
# optimisation and into target/ only, for the tests, with what these have built already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target="${CARGO_TARGET_DIR:-target}"
build=(cargo build --locked --manifest-path channels/matrix/program/Cargo.toml --target-dir)
if [ "${1:-}" = --tests ]; then
  exec "${build[@]}" "$target"
fi
target="$target/matrix"
"${build[@]}" "$target" --release
mkdir -p bin
install -m 755 "$target/release/nanoclaw-matrix" bin/nanoclaw-matrix.new
mv -f bin/nanoclaw-matrix.new bin/nanoclaw-matrix
echo "new: bin/nanoclaw-matrix"
