# Shared by the set-up scripts: plain lines, root or not, apt that waits for other installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$@" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
is_root() { [ "$(id -u)" = 0 ]; }

# What a command says is shown only if it fails.
quietly() {
  local said code=0
  said=$("$@" 2>&1) || code=$?
  [ "$code" = 0 ] || printf '%s\n' "$said" >&2
  return "$code"
}

# Debian packages, as root. Package lists are fetched only when they are missing or too old to serve.
apt_install() {
  local options=(-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq)
  export DEBIAN_FRONTEND=noninteractive
  apt-get "${options[@]}" install -y --no-install-recommends "$@" >/dev/null 2>&1 && return
  quietly apt-get "${options[@]}" update
  quietly apt-get "${options[@]}" install -y --no-install-recommends "$@"
}
