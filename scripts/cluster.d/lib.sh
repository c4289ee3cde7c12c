# shellcheck shell=bash disable=SC2034 # the names are for the other files
# Settings, messages, locks and waiting: what every subcommand of scripts/cluster uses.
# Sourced by scripts/cluster; never run on its own.

# Where things are kept. The cache holds what is expensive (binaries, built once); the state
# holds one cluster and is made anew by every `up`.
CACHE=${EYESPLICE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/eyesplice}
K8S=$CACHE/k8s
BIN=$K8S/bin
KUBECTLS=$K8S/kubectls
STATE=${EYESPLICE_CLUSTER_STATE:-$CACHE/cluster}

# Sets the addresses apart, so that clusters with different state directories can run together.
# Only `up` chooses it; for every other command a cluster has the one it was started with.
INDEX=${EYESPLICE_CLUSTER_INDEX:-0}
if [[ ${1-} != up && -r $STATE/index ]]; then INDEX=$(<"$STATE/index"); fi

# Which release of Kubernetes Debian's source package holds; `build` refuses another one, because it is
# what `up` runs unless it is given the binaries of another (see release.sh).
readonly KUBERNETES_VERSION=1.20.2

# say MESSAGE...: one progress line with the seconds since the command began.
say() { printf '[%4ds] %s\n' "$SECONDS" "$*"; }

# warn MESSAGE...: one line to standard error.
warn() { printf 'cluster: %s\n' "$*" >&2; }

# die MESSAGE...: says what was attempted and what to do, then ends the command.
die() {
  warn "$*"
  exit 1
}

# tail_of LOG: the last lines of a log, indented, to standard error.
tail_of() {
  if [[ ! -s $1 ]]; then
    warn "$1 is empty"
    return
  fi
  warn "last lines of $1:"
  tail -n 15 "$1" | cut -c1-400 | sed 's/^/    /' >&2
}

# need COMMAND PACKAGE: ends the command when COMMAND is missing.
need() { command -v "$1" >/dev/null || die "$1 is missing; install the package that has it ($2)"; }

# The descriptors of the two locks. A lock lasts as long as a process holds its descriptor, so a
# killed command leaves none behind, and a killed build keeps its lock until the compiler it
# started ended too. Daemons must not inherit them: see start().
readonly BUILD_LOCK_FD=8 CLUSTER_LOCK_FD=9

# `up` and `down` of all clusters take turns, so that two that want the same addresses see it.
CLUSTER_LOCK=$CACHE/cluster.lock

# lock FD FILE: takes the exclusive lock FILE, and waits for it if another process has it.
lock() {
  mkdir -p "$(dirname "$2")"
  eval "exec $1>>\"\$2\""
  flock --nonblock "$1" && return
  say "waiting for another process that holds $2"
  flock "$1"
}

# unlock FD
unlock() { eval "exec $1>&-"; }

# check_settings: ends the command when a path or the index cannot work, before anything is made.
check_settings() {
  [[ $INDEX =~ ^(0|[1-9][0-9]{0,2})$ && $INDEX -le 254 ]] ||
    die "EYESPLICE_CLUSTER_INDEX is '$INDEX'; it must be a number from 0 to 254"
  local path
  for path in "$CACHE" "$STATE"; do
    # The paths go into YAML, into command lines and into mounts without quoting.
    [[ $path =~ ^/[A-Za-z0-9._/+-]+$ ]] ||
      die "'$path' must be an absolute path of letters, digits and . _ / + -; set EYESPLICE_CACHE or EYESPLICE_CLUSTER_STATE"
    case $path/ in
      /run/* | /var/run/* | /var/lib/* | /var/log/* | /sys/* | /proc/* | /dev/*)
        die "'$path' is hidden from the node, which has its own; set EYESPLICE_CACHE or EYESPLICE_CLUSTER_STATE to another place" ;;
    esac
  done
  # The longest UNIX socket is $STATE/run/containerd.sock.ttrpc; the kernel takes 107 bytes.
  [[ ${#STATE} -le 80 ]] || die "'$STATE' is too long for UNIX sockets in it (80 characters at most)"
}

# is_running PID: holds when the process exists and is not a zombie (which `kill -0` cannot tell), or is
# one whose other threads have yet to end: until then they hold its sockets.
is_running() {
  local state threads
  state=$(sed -n 's/^State:\t//p' "/proc/$1/status" 2>/dev/null) && [[ -n $state ]] || return 1
  threads=$(sed -n 's/^Threads:\t//p' "/proc/$1/status" 2>/dev/null) || return 1
  [[ $state != [ZX]* || ${threads:-0} -gt 1 ]]
}

# poll SECONDS COMMAND...: runs COMMAND ten times a second until it succeeds; 1 when time is up.
poll() {
  local deadline=$((SECONDS + $1))
  shift
  # In a shell of its own, so that what a trap of this one says is not redirected as well.
  until ("$@") >/dev/null 2>&1; do
    [[ $SECONDS -lt $deadline ]] || return 1
    sleep 0.1
  done
}
