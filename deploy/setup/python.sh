#!/usr/bin/env bash
# Makes .venv with everything that server, city builder and development need. Run by `make install`.
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.14; do
    if have "$name" && new_enough "$name"; then command -v "$name"; return; fi
  done
  return 1
}

# uv installs in seconds what pip installs in minutes. It comes by pip, or by pip's own wheel where Debian left pip out.
find_uv() {
  local candidate
  for candidate in .cache/uv/bin/uv .venv/bin/uv "$(command -v uv || true)"; do
    if [ -n "$candidate" ] && "$candidate" --version >/dev/null 2>&1; then echo "$candidate"; return; fi
  done
  local pip=(-m pip)
  "$python" -m pip --version >/dev/null 2>&1 || pip=("$("$python" deploy/setup/fetch_pip.py .cache)/pip") || return 1
  PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" "${pip[@]}" install -q --upgrade --target .cache/uv uv >&2 || return 1
  .cache/uv/bin/uv --version >/dev/null && echo .cache/uv/bin/uv
}

mkdir -p .cache
exec 9>.cache/install.lock
flock 9

if ! python=$(find_python); then
  is_root && have apt-get || fail "Python 3.11 or newer is missing. Install it (Debian 12: apt install python3) or name it: make install PYTHON=/path/to/python3"
  say "no Python 3.11 or newer; installing Debian's"
  apt_install python3 || true
  python=$(find_python) || { apt_install python3.11; python=$(find_python); } || fail "no Python 3.11 or newer to be had by apt"
fi

want='.[server,city,dev]'
if [ -x .venv/bin/python ] && ! new_enough .venv/bin/python; then
  say ".venv is of an older or missing Python; making it anew"
  rm -rf .venv
fi
export UV_LINK_MODE=${UV_LINK_MODE:-copy} UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}
# A mirror that pip is set to is meant for uv as well.
if index=$("$python" -m pip config get global.index-url 2>/dev/null || echo "${PIP_INDEX_URL:-}") && [ -n "$index" ]; then
  export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
fi
if uv=$(find_uv); then
  if [ ! -x .venv/bin/python ]; then
    say "making .venv ($("$python" --version))"
    "$uv" venv -q --seed --python "$python" .venv
  fi
  say "installing Python packages: $want"
  "$uv" pip install -q --python .venv/bin/python -e "$want"
else
  say "uv cannot be had here; pip takes longer"
  if [ ! -x .venv/bin/python ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
      is_root && have apt-get || fail "python3-venv is missing: apt install python3-venv"
      apt_install python3-venv
    fi
    "$python" -m venv .venv
  fi
  say "installing Python packages: $want"
  .venv/bin/python -m pip install -q --disable-pip-version-check -e "$want"
fi
touch .venv/.installed
