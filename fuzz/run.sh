#!/usr/bin/env bash
# Fuzzes each target for a while: run.sh [seconds, 60] [target ...]. docs/fuzzing.md says what they are.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=60
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then seconds=$1; shift; fi
mapfile -t known < <(basename -s .rs -- fuzz/targets/*.rs)
targets=("$@")
if ((${#targets[@]} == 0)); then targets=("${known[@]}"); fi
for target in "${targets[@]}"; do
    [[ " ${known[*]} " == *" $target "* ]] || { echo "no target is called $target; there are: ${known[*]}"; exit 2; }
done
if ! cargo fuzz --version >/dev/null 2>&1; then
    tools="$PWD/fuzz/target/cargo-fuzz"
    [ -x "$tools/bin/cargo-fuzz" ] || cargo install --locked --version 0.13.2 --root "$tools" cargo-fuzz
    export PATH="$tools/bin:$PATH"
fi
# No code of ours is unsafe, so the address sanitizer, which needs a nightly compiler, would find nothing.
export RUSTC_BOOTSTRAP=1
if (($#)); then
    for target in "${targets[@]}"; do cargo fuzz build --sanitizer none "$target"; done
else
    cargo fuzz build --sanitizer none
fi
failed=()
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    echo "== $target"
    fuzz/target/*/release/"$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -max_total_time="$seconds" \
        -timeout=10 -max_len=8192 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" \
        2>"fuzz/artifacts/$target.log" || failed+=("$target")
    grep -E "stat::number_of_executed_units|panicked|SUMMARY|Test unit written" "fuzz/artifacts/$target.log" || true
done
if ((${#failed[@]})); then echo "failed: ${failed[*]}"; exit 1; fi
