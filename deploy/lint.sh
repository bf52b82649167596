#!/usr/bin/env bash
# Checks the source: gofmt, go vet and staticcheck for the packages given (default: all), shellcheck for the scripts.
#
#   deploy/lint.sh [packages]     relative to the repository's root, as ./meter/...
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ $# -gt 0 ]] || set -- ./...
failed=()

# check runs a command under a name and remembers whether it failed.
check() {
  local name=$1
  shift
  printf '== %s\n' "$name"
  "$@" || failed+=("$name")
}

formatted() {
  local dir unformatted=() list
  while IFS= read -r dir; do
    list=$("$(go env GOROOT)/bin/gofmt" -l "$dir"/*.go) || return 1
    [[ -z $list ]] || unformatted+=("$list")
  done < <(go list -e -f '{{if or .GoFiles .TestGoFiles .XTestGoFiles .IgnoredGoFiles}}{{.Dir}}{{end}}' "$@" | sort -u)
  [[ ${#unformatted[@]} -eq 0 ]] && return
  printf 'not formatted, run gofmt -w on it: %s\n' "${unformatted[@]}"
  return 1
}

scripts() {
  local files
  command -v shellcheck >/dev/null || { printf 'shellcheck is missing: run deploy/install.sh\n'; return 1; }
  mapfile -t files < <(find .ci/run deploy -name '*.sh' -o -path .ci/run)
  bash -n "${files[@]}" && shellcheck "${files[@]}"
}

check gofmt formatted "$@"
check vet go vet "$@"
check staticcheck go tool staticcheck "$@"
check shellcheck scripts

if [[ ${#failed[@]} -gt 0 ]]; then
  printf 'lint: FAILED: %s\n' "${failed[*]}"
  exit 1
fi
printf 'lint: ok\n'
