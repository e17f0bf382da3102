#!/usr/bin/env bash
# A newer Mosquitto beside the system's, for tests alone: Debian's backport, unpacked into .cache, run by
# .venv/bin/mosquitto-newer. Run by `make test`; where it cannot be had its tests are skipped and say so.
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

[ ! -x .venv/bin/mosquitto-newer ] || exit 0
codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-}")
if [ "$codename" != bookworm ] || ! have apt-get || ! have dpkg-deb; then
  say "no newer Mosquitto for this system: its tests are skipped"
  exit 0
fi

home=$PWD/.cache/mosquitto-newer
rm -rf "$home"
mkdir -p "$home/state/lists/partial" "$home/cache/archives/partial" "$home/deb" "$home/root"
: > "$home/status"
printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian %s main\n' \
  bookworm bookworm-backports > "$home/sources.list"
apt=(apt-get -qq -o "Dir::State=$home/state" -o "Dir::State::status=$home/status" -o "Dir::Cache=$home/cache"
  -o "Dir::Etc::sourcelist=$home/sources.list" -o Dir::Etc::sourceparts=- -o Debug::NoLocking=1 -o Acquire::Retries=3
  -o Acquire::Languages=none -o APT::Sandbox::User=)
libraries=(libwebsockets17 libev4 libuv1 libcap2 libcjson1 libdlt2 libwrap0 libssl3 libnsl2 libtirpc3)
unpack() {
  quietly "${apt[@]}" update || return 1
  (cd "$home/deb" && quietly "${apt[@]}" download mosquitto/bookworm-backports libmosquitto1/bookworm-backports \
    "${libraries[@]}") || return 1
  local package
  for package in "$home"/deb/*.deb; do dpkg-deb -x "$package" "$home/root" || return 1; done
  local found
  found=$(find "$home/root" -name 'lib*.so.*' -printf '%h\n' | sort -u | paste -sd:)
  cat > "$home/mosquitto" <<SCRIPT
#!/bin/sh
# Debian's newer Mosquitto, unpacked for the tests.
LD_LIBRARY_PATH="$found" exec "$home/root/usr/sbin/mosquitto" "\$@"
SCRIPT
  chmod +x "$home/mosquitto"
  "$home/mosquitto" -h >/dev/null 2>&1 || [ $? -le 3 ]
}
if unpack; then
  rm -rf "$home/state" "$home/cache" "$home/deb"
  mv "$home/mosquitto" .venv/bin/mosquitto-newer
else
  say "no newer Mosquitto to be had: its tests are skipped"
fi
