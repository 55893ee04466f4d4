#!/usr/bin/env bash
# Gets emulate, the third-party Slack, GitHub and Resend that channels are cross-checked with: npm packages, pinned,
# and the Node that it needs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools="${NANOCLAW_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}/emulate"
wanted="node@24.21.0 emulate@0.12.2"
if [ "$(cat "$tools/.wanted" 2>/dev/null)" = "$wanted" ]; then
  echo "$tools is there"
  exit 0
fi
mkdir -p "$tools"
# shellcheck disable=SC2086 # two packages
npm install --prefix "$tools" --no-audit --no-fund --no-save --loglevel=error $wanted
printf '%s' "$wanted" >"$tools/.wanted"
