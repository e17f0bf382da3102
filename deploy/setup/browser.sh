#!/usr/bin/env bash
# Sees to Chromium and Chinese fonts, which only the tests of the page need. Run by `make test`.
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

needed=()
have chromium || have chromium-browser || needed+=(chromium)
if have fc-list; then
  [ -n "$(fc-list :lang=zh family | head -1)" ] || needed+=(fonts-noto-cjk)
else
  needed+=(fonts-noto-cjk)
fi
[ ${#needed[@]} -gt 0 ] || exit 0
if is_root && have apt-get; then
  say "installing for the tests of the page: ${needed[*]} fonts-noto-color-emoji"
  apt_install "${needed[@]}" fonts-noto-color-emoji || say "that failed: tests of the page are skipped, or fail where CI=true"
else
  say "missing for the tests of the page: ${needed[*]} (apt install ${needed[*]}); those tests are skipped"
fi
