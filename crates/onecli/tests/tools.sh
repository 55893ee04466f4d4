#!/usr/bin/env bash
# Gets OneCLI's SDK for Node in both generations, which this vault is tested with: npm packages, pinned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
tools="${NANOCLAW_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}/onecli"
wanted="@onecli-sh/sdk@0.5.0 second@npm:@onecli-sh/sdk@2.2.1"
if [ "$(cat "$tools/.wanted" 2>/dev/null)" = "$wanted" ]; then
  echo "$tools is there"
  exit 0
fi
mkdir -p "$tools"
# shellcheck disable=SC2086 # two packages
npm install --prefix "$tools" --no-audit --no-fund --no-save --loglevel=error $wanted
printf '%s' "$wanted" >"$tools/.wanted"
