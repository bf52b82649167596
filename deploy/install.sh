#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, with apt-get. For Debian 12 and later.
#
#   deploy/install.sh             install
#   deploy/install.sh --missing   only print what is missing, a package a line
#
# The tests start servers of their own on private ports. The services that come with the packages are not wanted: they
# are not started, and where systemd runs, not at the next boot either. Services that were there before are left as
# they are.
set -euo pipefail

# One line each: Debian package | how to see that it is there | its service, or - | why it is needed.
# It is there if the command is found or, for a path (which may hold wildcards), if such a file exists.
needs=(
  'ca-certificates | /etc/ssl/certs/ca-certificates.crt   | -            | Go fetches modules over TLS'
  'gcc             | gcc                                  | -            | the race detector is linked with it'
  'libc6-dev       | /usr/include/stdlib.h                | -            | the race detector is linked with it'
  'redis-server    | redis-server                         | redis-server | credit is held in Redis; also run as Sentinel and Cluster'
  'postgresql      | /usr/lib/postgresql/*/bin/postgres   | postgresql   | the ledger is kept in Postgres'
  'prometheus      | promtool                             | prometheus   | promtool checks metrics and alert rules'
  'shellcheck      | shellcheck                           | -            | checks the shell scripts'
  'kamailio        | kamailio                             | kamailio     | a real call switch for the tests on the wire'
  'kamailio-utils-modules | /usr/lib/*/kamailio/modules/http_client.so | - | Kamailio asks over HTTP'
  'kamailio-extra-modules | /usr/lib/*/kamailio/modules/jansson.so     | - | Kamailio reads JSON'
  'kamailio-sqlite-modules | /usr/lib/*/kamailio/modules/db_sqlite.so  | - | Kamailio keeps live calls over a restart'
  'sqlite3         | sqlite3                              | -            | makes the database for that'
  'sip-tester      | sipp                                 | -            | sipp plays caller and callee'
  'curl            | curl                                 | -            | the README is followed to the letter'
  'chromium        | chromium                             | -            | a real browser for the billing page'
  'fonts-dejavu-core | /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf | - | the letters in its screenshots'
)

# Tests of this script give it another root for the files it looks at and makes.
root=${RINGFENCE_INSTALL_ROOT:-}
policy=$root/usr/sbin/policy-rc.d

say() { printf '%s\n' "$*"; }
die() { printf 'install.sh: %s\n' "$*" >&2; exit 1; }

# shown_if_failed runs a command and shows what it printed only if it failed.
shown_if_failed() {
  local printed
  printed=$("$@" 2>&1 </dev/null) && return
  say "$printed"
  return 1
}

# split reads a line of the table into $package, $sign, $service and $why.
split() {
  IFS='|' read -r package sign service why <<<"$1"
  read -r package <<<"$package"
  read -r sign <<<"$sign"
  read -r service <<<"$service"
  read -r why <<<"$why"
}

# present tells whether a sign from the table is there. Programs for root (in sbin) are on few users' PATH.
present() {
  case $1 in
    /*) compgen -G "$root$1" >/dev/null ;;
    *) PATH="$PATH:$root/usr/local/sbin:$root/usr/sbin:$root/sbin" command -v "$1" >/dev/null ;;
  esac
}

# find_missing fills $missing with the lines of the table that apply to this machine.
find_missing() {
  missing=()
  local line
  for line in "${needs[@]}"; do
    split "$line"
    present "$sign" || missing+=("$line")
  done
}

# packages prints the names of the missing packages.
packages() {
  local line
  for line in "${missing[@]}"; do
    split "$line"
    say "$package"
  done
}

# find_root fills $as_root with what runs a command as root: nothing, or sudo if it can ask or needs not.
find_root() {
  as_root=()
  [[ $(id -u) -eq 0 ]] && return
  if command -v sudo >/dev/null && { [[ -t 0 ]] || sudo -n true 2>/dev/null; }; then
    as_root=(sudo)
    return
  fi
  die "these are missing and only root may install them; as root run:
  apt-get update && apt-get install -y --no-install-recommends $(packages | paste -sd ' ')"
}

# forbid_start keeps packages from starting their services while they are installed. The file heeds itself only
# while this script lives, should it be killed before it can remove it. One that is there already is not ours.
forbid_start() {
  [[ -e $policy ]] && return
  trap allow_start EXIT
  "${as_root[@]}" sh -c "printf '%s\n' '#!/bin/sh' \
    '# Made by deploy/install.sh of ringfence while it installs packages; safe to remove.' \
    '[ -d /proc/$$ ] && exit 101' 'exit 0' >$policy && chmod 755 $policy"
}

allow_start() {
  "${as_root[@]}" rm -f "$policy"
}

# quiet_down stops and disables the services of the packages that were just installed.
quiet_down() {
  local line
  for line in "${missing[@]}"; do
    split "$line"
    [[ $service == - ]] && continue
    if [[ -d $root/run/systemd/system ]]; then
      "${as_root[@]}" systemctl disable --now --quiet "$service"
      say "install.sh: the service $service that came along is off, also at boot"
    elif [[ -x $root/etc/init.d/$service ]]; then
      "${as_root[@]}" "$root/etc/init.d/$service" stop >/dev/null
      say "install.sh: the service $service that came along is off"
    fi
  done
}

main() {
  case ${1:-} in
    '') ;;
    --missing) find_missing; packages; return ;;
    *) die "unknown argument $1; there is only --missing" ;;
  esac
  find_missing
  [[ ${#missing[@]} -eq 0 ]] && return

  say 'install.sh: the tests need what this machine lacks:'
  local line
  for line in "${missing[@]}"; do
    split "$line"
    say "  $package: $why"
  done
  command -v apt-get >/dev/null || die "there is no apt-get; install these by hand"
  find_root
  forbid_start
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq
    -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  shown_if_failed "${apt[@]}" update ||
    say 'install.sh: apt-get update failed; trying with the package lists that are there'
  local names
  mapfile -t names < <(packages)
  shown_if_failed "${apt[@]}" install -y --no-install-recommends "${names[@]}" ||
    die "apt-get could not install: ${names[*]}"
  quiet_down

  find_missing
  [[ ${#missing[@]} -eq 0 ]] || die "installed, and yet not found: $(packages | paste -sd ' ')"
}

main "$@"
