#!/usr/bin/env bash
# Gets the programs that the tests of `tests/inside` run in boxes and that Debian does not have, pinned: Bun and Deno from
# npm, two libraries of Python and uv from PyPI. A Node that is new enough comes with conformance/tools.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="${NANOCLAW_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}/clients"
node="@oven/bun-linux-x64-baseline@1.4.5 @deno/linux-x64-glibc@2.9.6"
python="requests==2.34.2 websockets==15.0.1 uv==0.13.9"
wanted="$node $python"
if [ "$(cat "$tools/.wanted" 2>/dev/null)" = "$wanted" ]; then
  echo "$tools is there"
  exit 0
fi
mkdir -p "$tools"
# shellcheck disable=SC2086 # several packages
npm install --prefix "$tools" --no-audit --no-fund --no-save --ignore-scripts --loglevel=error $node
# shellcheck disable=SC2086
/usr/bin/python3 -m pip install -q --upgrade --no-warn-script-location --target "$tools/python" $python
printf '%s' "$wanted" >"$tools/.wanted"
