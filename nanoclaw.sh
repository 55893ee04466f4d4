#!/usr/bin/env bash
# NanoClaw: the one command. Installs what is missing, builds, makes the first agent, starts it and says
# hello. Run it again at any time: it skips what is done and repairs what is broken.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$ROOT"
export NANOCLAW_ROOT="$ROOT"
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin"

TARGET="${CARGO_TARGET_DIR:-$ROOT/target}"
MUSL="$(uname -m)-unknown-linux-musl"
RUNNER="$TARGET/$MUSL/runner/nanoclaw-runner"
LOG="$ROOT/logs/setup.log"
CHANGED="$ROOT/bin/.changed"
HELLO='Hello! Who are you?'

usage() {
  cat <<'END'
bash nanoclaw.sh [options]        install, build, make the first agent, start, say hello
  --yes                           ask nothing; the agent's answer is the output
  --driver auto|docker|bubblewrap what isolates the agents (default: docker if it answers, else bubblewrap)

bash nanoclaw.sh test             install what the tests need and run every check
bash nanoclaw.sh chat|start|stop|status|logs|setup …
                                  the same as bin/nanoclaw …

A real model instead of the demo agent: set ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN (and, for another
address, ANTHROPIC_BASE_URL) and run `bash nanoclaw.sh` again, or paste the key when it asks.
END
}

# ── what people see ───────────────────────────────────────────────────────────────────────────────────────

say() { printf '%s\n' "$*" >&2; }

# step TITLE FUNCTION [next command]: runs a function of this file in a shell of its own, so that its first
# failing line ends it; shows the time, or the end of what it said.
step() {
  local title=$1 function=$2 next=${3:-bash nanoclaw.sh} begun=$SECONDS code=0 before
  printf '%-48s' "$title" >&2
  printf '\n== %s: %s\n' "$(date -u +%FT%TZ)" "$title" >>"$LOG"
  before=$(wc -c <"$LOG")
  bash "$ROOT/nanoclaw.sh" __step "$function" >>"$LOG" 2>&1 || code=$?
  STEP_OUT=$(tail -c "+$((before + 1))" "$LOG" | tr -d '\0')
  if [ "$code" = 0 ]; then
    say "done, $((SECONDS - begun)) s"
    return 0
  fi
  say "failed after $((SECONDS - begun)) s"
  [ "$next" = - ] && return "$code"
  say ""
  say "$title failed. What it said last:"
  printf '%s\n' "$STEP_OUT" | tail -n 15 | sed 's/^/    /' >&2
  say ""
  say "The whole log: $LOG"
  say "Next: correct that, then run: $next"
  exit 1
}

# shown PREFIX: the lines of the last step that begin with it.
shown() { printf '%s\n' "$STEP_OUT" | grep "^$1" | sed 's/^/    /' >&2 || true; }

# ── steps ─────────────────────────────────────────────────────────────────────────────────────────────────

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else echo "this needs root, and there is no sudo; as root, run: $*"; return 1; fi
}

# need COMMAND PACKAGE: remembers the package if the command is missing.
MISSING=()
need() { command -v "$1" >/dev/null || MISSING+=("$2"); }

install_missing() {
  [ "${#MISSING[@]}" = 0 ] && { echo "nothing is missing"; return 0; }
  echo "installing: ${MISSING[*]}"
  if ! command -v apt-get >/dev/null; then
    echo "this system has no apt-get; install what these Debian packages hold: ${MISSING[*]}"
    return 1
  fi
  as_root apt-get update -q
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${MISSING[@]}"
}

step_packages() {
  need cc build-essential
  need musl-gcc musl-tools
  need curl curl
  need bwrap bubblewrap
  need setpriv util-linux
  [ -e /etc/ssl/certs/ca-certificates.crt ] || MISSING+=(ca-certificates)
  install_missing
}

step_npm() { need npm npm; install_missing; }
step_debootstrap() { need debootstrap debootstrap; install_missing; }
step_docker_package() {
  need dockerd docker.io
  need iptables iptables
  install_missing
  start_docker
}

step_test_packages() {
  need python3 python3
  python3 -c 'import ensurepip' 2>/dev/null || MISSING+=(python3-venv)
  need npm npm
  need debootstrap debootstrap
  need iptables iptables
  need ip iproute2
  need ps procps
  need emacs emacs-nox
  need emacsclient emacs-bin-common
  # Real mail servers: the tests start their own.
  need dovecot dovecot-imapd
  # Programs that boxes fetch something with.
  need git git
  need wget wget
  need go golang-go
  need java default-jre-headless
  /usr/bin/python3 -c 'import pip' 2>/dev/null || MISSING+=(python3-pip)
  [ -e /usr/lib/dovecot/lmtp ] || MISSING+=(dovecot-lmtpd)
  docker_answers || need dockerd docker.io
  install_missing
  case " ${MISSING[*]} " in
    # Debian starts it for the whole machine; nobody asked for that.
    *" dovecot-imapd "*) as_root systemctl disable --now dovecot 2>/dev/null || true ;;
  esac
  docker_answers || start_docker
}

docker_answers() { command -v docker >/dev/null && timeout 20 docker version >/dev/null 2>&1; }

start_docker() {
  docker_answers && return 0
  echo "starting the Docker Engine"
  if [ -d /run/systemd/system ]; then
    as_root systemctl start docker
  else
    as_root sh -c "setsid dockerd >'$ROOT/logs/dockerd.log' 2>&1 </dev/null &"
  fi
  local tries=0
  until docker_answers; do
    tries=$((tries + 1))
    if [ "$tries" -gt 120 ]; then
      echo "the engine does not answer"; tail -n 5 "$ROOT/logs/dockerd.log" 2>/dev/null || true
      return 1
    fi
    sleep 0.5
  done
}

# The toolchain is the one that rust-toolchain.toml names; rustup gets it.
step_rust() {
  local wanted; wanted=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
  if ! command -v rustup >/dev/null; then
    if command -v cargo >/dev/null && cargo --version | grep -q "^cargo $wanted" && has_musl; then
      echo "cargo $wanted is there, without rustup"; return 0
    fi
    echo "installing rustup"
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
      sh -s -- -y --no-modify-path --profile minimal --default-toolchain none
  fi
  rustup run "$wanted" rustc --version || rustup toolchain install "$wanted" --profile minimal
  has_musl || rustup target add --toolchain "$wanted" "$MUSL"
  if [ "${NANOCLAW_FOR_TESTS:-}" = 1 ]; then
    cargo clippy --version && cargo fmt --version || rustup component add --toolchain "$wanted" clippy rustfmt
  fi
  cargo --version
}

has_musl() { [ -d "$(rustc --print sysroot)/lib/rustlib/$MUSL/lib" ]; }

step_build() {
  cargo build --release --locked -p nanoclaw
  cargo build --profile runner --locked --target "$MUSL" -p nanoclaw-install-runner
}

# Everything at once, as the tests need it: what is built for fewer crates has other features and is
# built again. The runner as it is shipped.
step_test_build() {
  cargo build --locked --workspace --all-targets
  cargo build --profile runner --locked --target "$MUSL" -p nanoclaw-install-runner
}

# Puts a program in place in one move, so that one that runs is not disturbed.
step_programs() {
  mkdir -p bin
  local from
  for from in "$TARGET/release/nanoclaw" "$TARGET/release/ncl" "$RUNNER"; do
    local to; to="bin/$(basename "$from")"
    cmp -s "$from" "$to" && continue
    echo "new: $to"
    install -m 755 "$from" "$to.new"
    mv -f "$to.new" "$to"
    : >"$CHANGED"
  done
}

image() { "${NANOCLAW:-$ROOT/bin/nanoclaw}" image "$@"; }
step_image() {
  image status || image build
}
step_image_base() {
  # debootstrap needs root.
  as_root env "NANOCLAW_ROOT=$ROOT" "PATH=$PATH" "${NANOCLAW:-$ROOT/bin/nanoclaw}" image base
  image build
}

step_setup() {
  local args=(--yes)
  [ -z "${WANT_DRIVER:-}" ] || args+=(--driver "$WANT_DRIVER")
  [ -z "${WANT_PROVIDER:-}" ] || args+=(--provider "$WANT_PROVIDER")
  bin/nanoclaw setup "${args[@]}"
}

step_start() {
  # A host that runs an older program is replaced.
  if [ -e "$CHANGED" ]; then bin/nanoclaw stop; fi
  bin/nanoclaw start
  rm -f "$CHANGED"
}

# The adapter for Matrix, which is a program of its own.
step_test_matrix() { bash channels/matrix/build.sh --tests; }

step_test_tools() {
  "$TARGET/debug/nanoclaw" tools install --dir "$TARGET/tools"
  # The servers of others that channels are tested against.
  local script
  for script in channels/*/tests/tools.sh crates/*/tests/tools.sh conformance/tools.sh tests/tools.sh; do
    NANOCLAW_TOOLS="$TARGET/tools" bash "$script"
  done
}

step_test_mail() {
  [ -x "$TARGET/tools/mail/bin/aiosmtpd" ] && { echo "it is there"; return 0; }
  python3 -m venv "$TARGET/tools/mail"
  "$TARGET/tools/mail/bin/pip" install -q aiosmtpd==1.4.6
}

# ── the two commands ──────────────────────────────────────────────────────────────────────────────────────

# get_image NEXT: the image, from a registry or made here; NEXT `-` means that doing without it is fine.
get_image() {
  step "Agent image" step_image - && return 0
  say "    no base image from a registry; making one takes about three minutes"
  step "debootstrap" step_debootstrap "$1" || return 1
  step "Base image and agent image, made here" step_image_base "$1"
}

prepare_driver() {
  local wish=${WANT_DRIVER:-${NANOCLAW_DRIVER:-auto}}
  case $wish in
    docker)
      docker_answers || step "Docker Engine" step_docker_package
      get_image "bash nanoclaw.sh --driver docker"
      ;;
    auto)
      if docker_answers && ! get_image -; then
        say "    Docker answers, but its image could not be had; the reason: $LOG"
      fi
      ;;
  esac
}

has_credential() {
  [ -n "${ANTHROPIC_API_KEY:-}${CLAUDE_CODE_OAUTH_TOKEN:-}" ] && return 0
  [ -f .env ] && grep -Eq '^[[:space:]]*(ANTHROPIC_API_KEY|CLAUDE_CODE_OAUTH_TOKEN)=.' .env && return 0
  [ "$(bin/nanoclaw vault status | cut -c1-13)" != "no credential" ]
}

prepare_model() {
  if ! has_credential && [ "$ASK" = yes ] && [ ! -e "${NANOCLAW_DATA:-data}/v2.db" ]; then
    say ""
    say "Connect Claude now? Paste a key or token, or press Enter to meet the demo agent first."
    bin/nanoclaw vault set >&2 && export WANT_PROVIDER=claude
    say ""
  fi
  if has_credential; then command -v npm >/dev/null || step "npm, for Claude Code" step_npm; fi
}

set_up() {
  ASK=yes
  while [ $# -gt 0 ]; do
    case $1 in
      --yes | -y) ASK=no ;;
      --driver) [ $# -gt 1 ] || { say "--driver needs a name"; exit 2; }; export WANT_DRIVER=$2; shift ;;
      --driver=*) export WANT_DRIVER=${1#*=} ;;
      *) say "unknown: $1"; usage >&2; exit 2 ;;
    esac
    shift
  done
  [ -t 0 ] && [ -t 1 ] || ASK=no
  open_log
  say "NanoClaw in $ROOT (details: $LOG)"
  step "System packages" step_packages
  step "Rust toolchain" step_rust
  step "Build (the first time takes minutes)" step_build
  step "Programs in bin/" step_programs
  prepare_driver
  prepare_model
  step "First agent" step_setup
  shown driver:
  shown agent:
  step "Start" step_start "bin/nanoclaw logs"
  greet
}

greet() {
  say ""
  say "You: $HELLO"
  if ! bin/nanoclaw chat "$HELLO"; then
    say ""
    say "The agent did not answer. The end of the host's log:"
    bin/nanoclaw logs -n 15 >&2 || true
    say "Next: bin/nanoclaw status"
    exit 1
  fi
  say ""
  if bin/nanoclaw status | grep -q '^agent .*(demo)'; then
    say "That was the demo agent: no model, no key. To connect Claude:"
    say "    ANTHROPIC_API_KEY=… bash nanoclaw.sh       (or CLAUDE_CODE_OAUTH_TOKEN=…)"
  fi
  say "Talk: bin/nanoclaw chat    State: bin/nanoclaw status    Stop: bin/nanoclaw stop"
  if [ "$ASK" = yes ]; then exec bin/nanoclaw chat; fi
}

run_tests() {
  open_log
  export NANOCLAW_FOR_TESTS=1
  step "System packages" step_packages "bash nanoclaw.sh test"
  step "Packages for tests, Docker Engine" step_test_packages "bash nanoclaw.sh test"
  step "Rust toolchain" step_rust "bash nanoclaw.sh test"
  step "Build (the first time takes minutes)" step_test_build "bash nanoclaw.sh test"
  step "Programs for agents" step_test_tools "bash nanoclaw.sh test"
  step "Adapter for Matrix" step_test_matrix "bash nanoclaw.sh test"
  export NANOCLAW="$TARGET/debug/nanoclaw" NANOCLAW_MATRIX="$TARGET/debug/nanoclaw-matrix"
  step "Mail server for tests" step_test_mail "bash nanoclaw.sh test"
  get_image "bash nanoclaw.sh test"
  # What tests use instead of building or fetching it themselves.
  export NANOCLAW_RUNNER="$RUNNER" NANOCLAW_TOOLS="$TARGET/tools"
  export NANOCLAW_CLAUDE="$TARGET/tools/claude/claude" NANOCLAW_PROGRAMS="$TARGET/debug"
  # It is built already, with the features of all.
  exec "$TARGET/debug/xtask" ci
}

open_log() {
  mkdir -p logs
  if [ -f "$LOG" ] && [ "$(wc -c <"$LOG")" -gt 10000000 ]; then mv -f "$LOG" "$LOG.1"; fi
  : >>"$LOG"
}

case "${1:-}" in
  -h | --help | help) usage ;;
  test) run_tests ;;
  __step) "$2" ;;
  chat | start | stop | status | logs | setup | run | image | vault | tools | version)
    [ -x bin/nanoclaw ] || { say "not installed yet; run: bash nanoclaw.sh"; exit 1; }
    exec bin/nanoclaw "$@"
    ;;
  *) set_up "$@" ;;
esac
