# shellcheck shell=bash
# What the scripts share: where they are, where they cache, and how they report.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
EYESPLICE_CACHE=${EYESPLICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/eyesplice}
export ROOT EYESPLICE_CACHE

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# need COMMAND PACKAGE: installs a Debian package unless its command is there.
need() {
    command -v "$1" >/dev/null && return 0
    [ "$(id -u)" = 0 ] || die "$1 is missing; install the Debian package $2"
    [ -n "${APT_UPDATED:-}" ] || { apt-get -qq update >/dev/null; APT_UPDATED=1; }
    say "installing $2 for $1"
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "$2" >/dev/null
}

# room MIB: ends unless the build directory can grow to MIB. A full disk makes every later step fail by itself.
room() {
    local target=${CARGO_TARGET_DIR:-$ROOT/target} free held
    mkdir -p "$target"
    free=$(df --output=avail -BM "$target" | tail -n 1 | tr -cd 0-9)
    held=$(du -smx "$target" | cut -f 1)
    [ $((free + held)) -ge "$1" ] ||
        die "$target needs $1 MiB: it has $held, and $free are free on its file system; make room or set CARGO_TARGET_DIR"
}
