# shellcheck shell=bash
# Where `scripts/bench` has the other proxies from: unpacked in the cache and run from there. None
# is installed, since that would start their services.

# Of this machine's Debian, run with its libraries.
PACKAGES=(haproxy nginx libnginx-mod-stream hitch stunnel4 socat
    liblua5.3-0 libopentracing-c-wrapper0 libopentracing1 libev4 libwrap0)
unpack() {
    local root=$EYESPLICE_CACHE/peers
    if [ ! -e "$root/complete" ]; then
        rm -rf "$root" && mkdir -p "$root/deb"
        [ "$(id -u)" != 0 ] || apt-get -qq update >/dev/null
        (cd "$root/deb" && apt-get -qq download "${PACKAGES[@]}" 2>/dev/null) ||
            die "cannot download ${PACKAGES[*]}"
        for deb in "$root"/deb/*.deb; do dpkg -x "$deb" "$root"; done
        touch "$root/complete"
    fi
    local lib
    lib=$(uname -m)-linux-gnu
    export PEERS=$root/usr PATH=$root/usr/sbin:$root/usr/bin:$PATH
    export LD_LIBRARY_PATH=$root/usr/lib/$lib:$root/lib/$lib
}

# The newest ones: of a newer release, with all that they need down to the C library. The mirror is
# that of this machine's apt, which checks signatures with the release keys that are here; its state
# is in a root of its own. A mirror that stands still has a release file that expired: what it has
# is taken all the same, since results say which versions that was.
NEWEST_PACKAGES=(haproxy nginx libnginx-mod-stream hitch stunnel4 openssl)
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
unpack_newest() {
    local release=${EYESPLICE_PEERS_RELEASE:-testing}
    local root=$EYESPLICE_CACHE/peers-$release
    if [ ! -e "$root/complete" ]; then
        rm -rf "$root" && mkdir -p "$root"/{state/lists/partial,cache/archives/partial,tree,bin}
        fetch_newest "$root" "$release"
        for deb in "$root"/cache/archives/*.deb; do dpkg -x "$deb" "$root/tree"; done
        wrap_newest "$root"
        rm -rf "$root/state" "$root/cache"
        touch "$root/complete"
    fi
    export NEWEST=$root
}

# fetch_newest ROOT RELEASE: downloads packages and what they depend on.
fetch_newest() {
    local root=$1 release=$2 log=$1/log site apt
    [ -r "$KEYRING" ] ||
        die "$KEYRING is missing; install the Debian package debian-archive-keyring"
    site=$(apt-get indextargets --format '$(SITE)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
    [ -n "$site" ] || die "apt knows no mirror of Debian here; run apt-get update"
    printf 'deb [signed-by=%s] %s %s main\n' "$KEYRING" "$site" "$release" >"$root/sources.list"
    touch "$root/status"
    apt=(apt-get -q -y
        -o "Dir::Etc::SourceList=$root/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State=$root/state" -o "Dir::State::Status=$root/status"
        -o "Dir::Cache=$root/cache"
        -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none)
    say "downloading the newest peers, of Debian $release"
    if ! "${apt[@]}" update >"$log" 2>&1 ||
        ! "${apt[@]}" --download-only --no-install-recommends install "${NEWEST_PACKAGES[@]}" \
            >>"$log" 2>&1; then
        cat "$log" >&2
        die "cannot download ${NEWEST_PACKAGES[*]} of Debian $release"
    fi
}

# wrap_newest ROOT: programs that run with the loader, the libraries and OpenSSL's configuration of
# their own release.
wrap_newest() {
    local root=$1 tree=$1/tree libs loader name program
    libs=$tree/usr/lib/$(uname -m)-linux-gnu
    loader=$(find "$tree" -name 'ld-linux*.so.*' -type f | head -n 1)
    [ -n "$loader" ] || die "$tree has no loader"
    for name in haproxy nginx hitch stunnel openssl; do
        program=$(find "$tree/usr/sbin" "$tree/usr/bin" -name "$name" -type f | head -n 1)
        [ -n "$program" ] || die "$tree has no $name"
        cat >"$root/bin/$name" <<END
#!/bin/sh
export OPENSSL_CONF='$tree/etc/ssl/openssl.cnf' OPENSSL_MODULES='$libs/ossl-modules'
exec '$loader' --inhibit-cache --library-path '$libs' --argv0 '$name' '$program' "\$@"
END
        chmod +x "$root/bin/$name"
    done
}
