#!/usr/bin/env bash
# Fuzzes targets for a while each: run.sh [-j how many at a time, 1] [seconds, 60] [target ...]. docs/fuzzing.md says
# what they are. Prints a line for the table there when one is done.
set -euo pipefail
cd "$(dirname "$0")/.."
at_a_time=1 seconds=60
if [ "${1:-}" = -j ]; then at_a_time=$2; shift 2; fi
if [[ "${1:-}" =~ ^[0-9]+$ ]]; then seconds=$1; shift; fi
declare -A package
for file in fuzz/src/bin/*.rs fuzz/*/src/bin/*.rs; do
    target=${file##*/}
    package[${target%.rs}]=${file%/src/bin/*}
done
if ((!$#)); then
    mapfile -t all < <(printf '%s\n' "${!package[@]}" | sort)
    set -- "${all[@]}"
fi
for target; do
    [ "${package[$target]:-}" ] || { echo "no target is called $target; there are: ${!package[*]}"; exit 2; }
done
if ! cargo fuzz --version >/dev/null 2>&1; then
    tools="$PWD/fuzz/target/cargo-fuzz"
    [ -x "$tools/bin/cargo-fuzz" ] || cargo install --locked --version 0.13.2 --root "$tools" cargo-fuzz
    export PATH="$tools/bin:$PATH"
fi
# No code of ours is unsafe, so the address sanitizer, which needs a nightly compiler, would find nothing. What is
# checked while it runs is in the profile.
for target; do
    RUSTC_BOOTSTRAP=1 cargo fuzz build --fuzz-dir "${package[$target]}" --target-dir fuzz/target \
        --sanitizer none --release --codegen-units 16 "$target"
done

# A number in groups of three.
group() { sed -E ':a; s/([0-9])([0-9]{3})(,|$)/\1,\2\3/; ta' <<<"$1"; }

run() {
    local target=$1 log="fuzz/artifacts/$1.log" how=clean
    mkdir -p "fuzz/corpus/$target" "fuzz/artifacts/$target"
    fuzz/target/*/release/"$target" "fuzz/corpus/$target" "fuzz/seeds/$target" -max_total_time="$seconds" \
        -timeout=10 -max_len=8192 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$target/" \
        2>"$log" || how="FAILED, see $log"
    local ran inputs
    ran=$(sed -n 's/^Done .* in \([0-9]*\) second.*/\1/p' "$log")
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '| `%s` | %s | %s s | %s | %s |\n' "$target" "$(date +%F)" "${ran:-?}" "$(group "${inputs:-0}")" "$how"
    [ "$how" = clean ]
}

bad=0
for target; do
    while (($(jobs -rp | wc -l) >= at_a_time)); do wait -n || bad=1; done
    run "$target" &
done
while [ "$(jobs -p)" ]; do wait -n || bad=1; done
exit "$bad"
