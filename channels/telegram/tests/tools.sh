#!/usr/bin/env bash
# Gets the third-party Bot API server that the tests of this channel use as a cross-check: an npm package, pinned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
tools="${NANOCLAW_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}/telegram"
wanted=telegram-test-api@4.2.1
if [ "$(cat "$tools/.wanted" 2>/dev/null)" = "$wanted" ]; then
  echo "$tools is there"
  exit 0
fi
mkdir -p "$tools"
npm install --prefix "$tools" --no-audit --no-fund --no-save --loglevel=error "$wanted"
printf '%s' "$wanted" >"$tools/.wanted"
