# shellcheck shell=bash
# `cluster down`: ends what `up` started, and gives back what it took from the machine.

# Everything but `node`, whose end is the end of all in it.
readonly HOST_DAEMONS=(etcd kube-apiserver kube-controller-manager gateway)
readonly DAEMONS=("${HOST_DAEMONS[@]}" router node containerd kubelet agent)

# How long the gateway may take to end by itself, in seconds. The others are killed at once: all
# they could save is thrown away, and a graceful API server takes up to a minute.
readonly GATEWAY_GRACE_S=5

cluster_down() {
  local wipe=no
  case ${1-} in
    --wipe) wipe=yes; shift ;;
  esac
  [[ $# -eq 0 ]] || die "down does not know '$1'; see 'cluster help'"
  [[ $EUID -eq 0 ]] || die "down ends what root started: run it as root"
  lock "$CLUSTER_LOCK_FD" "$CLUSTER_LOCK"
  tear_down
  if [[ $wipe == yes ]]; then
    forget_state
    [[ ! -d $STATE ]] || rmdir --ignore-fail-on-non-empty "$STATE"
    say "down, and $STATE is deleted"
  else
    say "down; the logs are in $LOG"
  fi
}

# any_alive: holds when a process of the cluster runs.
any_alive() { ! gone "${DAEMONS[@]}"; }

# tear_down: ends every process and removes the link and the cgroups; does no harm when there are
# none. Mounts need no care: they are in the node's namespace and end with it.
tear_down() {
  [[ -d $RUN ]] || return 0
  signal TERM gateway
  signal KILL node router etcd kube-apiserver kube-controller-manager
  poll "$GATEWAY_GRACE_S" gone gateway || { warn "the gateway did not end by itself"; signal KILL gateway; }
  poll 5 gone "${DAEMONS[@]}" || warn "processes still run: $(grep -H . "$RUN"/*.pid)"
  link_remove
  poll 5 cgroup_remove || warn "cgroups are left: $(tr '\n' ' ' <"$CGROUP_LIST")"
  rm -f "$RUN"/*.pid "$RUN"/*.sock*
}

# link_remove: removes the link to the node, and with it the routes, if it is ours.
link_remove() {
  local alias=/sys/class/net/$LINK/ifalias
  [[ -r $alias && $(<"$alias") == "cluster of $STATE" ]] || return 0
  ip link delete dev "$LINK" 2>/dev/null || true
}

# forget_state: deletes what `up` made, by name: the state directory may be one that others use.
forget_state() {
  if any_alive; then die "processes still run in $STATE, so it is not deleted"; fi
  local name
  for name in conf data etcd index log node pki program program.tar run settings; do
    rm -rf --one-file-system "${STATE:?}/$name"
  done
}
