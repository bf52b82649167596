#!/usr/bin/env bash
# Installs what is missing, then lints, builds and tests: everything, or the packages given.
#
#   ./deploy/test.sh                          everything
#   ./deploy/test.sh ./meter/...              these packages
#   ./deploy/test.sh -run TestHold -v         arguments go to "go test", after -race -count=1 -timeout 40m
#
# Needs a Go toolchain, and root or sudo if something is missing (deploy/install.sh --missing tells). Packages are
# named from the repository's root, wherever the script is called from. A service that is missing fails its tests
# here. Exit code 0: everything passed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Go's own installer puts it where not everybody's PATH leads.
command -v go >/dev/null || PATH="$PATH:/usr/local/go/bin"
wanted=$(sed -n 's/^go //p' go.mod)
if ! command -v go >/dev/null; then
  printf 'test.sh: no go command found; install Go %s or later: https://go.dev/dl/\n' "$wanted" >&2
  exit 1
fi
version=$(go env GOVERSION) || version=go0
if [[ $(printf '%s\n' "go$wanted" "$version" | sort -V | head -1) != "go$wanted" ]]; then
  printf 'test.sh: Go %s or later is needed, this is %s\n' "$wanted" "$version" >&2
  exit 1
fi

packages=()
for argument in "$@"; do
  case $argument in
    ./* | ... | all | github.com/hmsovereign/ringfence*) packages+=("$argument") ;;
  esac
done
arguments=("$@")
if [[ ${#packages[@]} -eq 0 ]]; then
  packages=(./...)
  arguments=(./... "$@")
fi

export RINGFENCE_REQUIRE_SERVICES=1
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
steps=()
failed=0

# step runs a command under a name and goes on if it fails, so that one run shows everything that is wrong.
step() {
  local name=$1 started=$SECONDS outcome=ok
  shift
  printf '== %s\n' "$name"
  "$@" 2>&1 | tee "$logs/$name" || { outcome=FAILED; failed=1; }
  steps+=("$(printf '%-8s %-7s %4d s' "$name" "$outcome" $((SECONDS - started)))")
}

printf '== tools\n'
deploy/install.sh
go version
step lint deploy/lint.sh "${packages[@]}"
step build go build -buildvcs=false -o /dev/null "${packages[@]}"
# SQLite is C that was made Go by a program: checks of its pointers take a third of its time under the race detector.
step test go test -race -gcflags=modernc.org/...=-d=checkptr=0 -count=1 -timeout 40m "${arguments[@]}"

printf '== summary\n'
printf '%s\n' "${steps[@]}"
printf 'packages: %d ok, %d failed, %d without tests\n' \
  "$(grep -c '^ok ' "$logs/test" || true)" \
  "$(grep -c $'^FAIL\t' "$logs/test" || true)" \
  "$(grep -c '^? ' "$logs/test" || true)"
sed -n $'s/^FAIL\t/  failed: /p' "$logs/test"
exit "$failed"
