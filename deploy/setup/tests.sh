#!/usr/bin/env bash
# Sees to what only the tests need and PyPI does not have. Run by `make test` and `make soak`.
#   chromium, fonts, libatomic1   the page in a real browser (playwright's own Node wants libatomic)
#   victoria-metrics, xz-utils    real stores to write to
#   postgresql                    a real server for the case database (the tests start their own)
#   libfaketime                   a server whose machine's clock jumps
#   e2fsprogs, mount, fuse3       file systems whose power is cut and whose disk is full
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

PATH=$PATH:/usr/sbin:/sbin
needed=()
have chromium || have chromium-browser || needed+=(chromium fonts-noto-color-emoji)
{ have fc-list && [ -n "$(fc-list :lang=zh family | head -1)" ]; } || needed+=(fonts-noto-cjk)
# ldconfig's list is taken whole: grep -q on a pipe would end it early, which pipefail takes for a failure.
case "$(ldconfig -p 2>/dev/null)" in *libatomic.so.1*) ;; *) needed+=(libatomic1) ;; esac
have victoria-metrics || needed+=(victoria-metrics)
have postgres || compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null || needed+=(postgresql)
have xz || needed+=(xz-utils)
have mkfs.ext4 || needed+=(e2fsprogs)
have mount || needed+=(mount)
have fusermount3 || needed+=(fuse3)
compgen -G "/usr/lib/*/faketime/libfaketime.so.1" >/dev/null || needed+=(libfaketime)
[ ${#needed[@]} -gt 0 ] || exit 0
if is_root && have apt-get; then
  say "installing for the tests: ${needed[*]}"
  quietly apt_install "${needed[@]}" && exit 0
  # One package that this system does not have must not keep the others away.
  for package in "${needed[@]}"; do
    apt_install "$package" || say "$package cannot be had: its tests are skipped, or fail where CI=true"
  done
else
  say "missing for some tests, which are skipped: ${needed[*]} (apt install ${needed[*]})"
fi
