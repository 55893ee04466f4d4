#!/usr/bin/env bash
# Gets the homeserver and the client that the tests of the Matrix channel use: Python packages, pinned.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../.."
tools="${NANOCLAW_TOOLS:-${CARGO_TARGET_DIR:-target}/tools}/matrix"
wanted=(matrix-synapse==1.163.2 'matrix-nio[e2e]==0.26.0')
if [ "$(cat "$tools/.wanted" 2>/dev/null)" = "${wanted[*]}" ]; then
  echo "$tools is there"
  exit 0
fi
mkdir -p "$(dirname "$tools")"
python3 -m venv --clear "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check --only-binary :all: "${wanted[@]}"
printf '%s' "${wanted[*]}" >"$tools/.wanted"
