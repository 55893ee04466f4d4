#!/usr/bin/env bash
# Gets Baileys, whose codecs the tests of this channel use as a cross-check: npm packages, pinned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
tools="${NANOCLAW_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}/baileys"
# What only a connection needs is left out.
none=npm:empty-npm-package@1.0.0
wanted="{ \"private\": true, \"dependencies\": { \"@whiskeysockets/baileys\": \"6.7.24\" }, \"overrides\": {
$(printf '  "%s": "'"$none"'",\n' libsignal axios music-metadata pino ws @cacheable/node-cache)
  \"protobufjs\": \"7.6.6\", \"@hapi/boom\": \"9.1.4\" } }"
if [ "$(cat "$tools/.wanted" 2>/dev/null)" = "$wanted" ]; then
  echo "$tools is there"
  exit 0
fi
mkdir -p "$tools"
printf '%s\n' "$wanted" >"$tools/package.json"
npm install --prefix "$tools" --no-audit --no-fund --no-package-lock --ignore-scripts --legacy-peer-deps --loglevel=error
printf '%s' "$wanted" >"$tools/.wanted"
