#!/usr/bin/env bash
# The first process of the node: it furnishes the namespaces it is in, then reaps orphans until it
# is killed, and everything in the node dies with it.
#
#   node-init.sh STATE
#
# It runs as process 1 of a new pid namespace, in new mount, cgroup and network namespaces.
set -euo pipefail

state=$1
node=$state/node

# Mounts of the node stay in the node, and reach the containers that ask for propagation.
mount --make-rshared /

# The node's own view of its network devices and of its cgroups, with its own cgroup as the root.
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup
while IFS=: read -r _ controllers _; do
  [[ -n $controllers ]] || continue
  mkdir "/sys/fs/cgroup/${controllers#name=}"
  mount -t cgroup -o "${controllers/#name=/none,name=}" cgroup "/sys/fs/cgroup/${controllers#name=}"
done </proc/self/cgroup

# containerd's shims, libcni and the kubelet write below these, whatever they are told.
mkdir -p "$node"/{var-lib,var-log,tmp}
mount -t tmpfs -o mode=755 run /run
mount --bind "$node/var-lib" /var/lib
mount --bind "$node/var-log" /var/log

# The kubelet sets these for the whole machine unless they have the values it wants. In the node
# they seem to: it sees these files. Nothing has to be restored, even after a crash.
mkdir -p "$node/sysctl"
while read -r name value; do
  printf '%s\n' "$value" >"$node/sysctl/$name"
  mount --bind "$node/sysctl/$name" "/proc/sys/${name//./\/}"
done <<'VALUES'
kernel.panic 10
kernel.panic_on_oops 1
kernel.keys.root_maxkeys 1000000
kernel.keys.root_maxbytes 25000000
vm.overcommit_memory 1
vm.panic_on_oom 0
VALUES

touch "$state/run/node.ready"

# A shell reaps whatever becomes its child; the builtin wait lets it do so at once.
while :; do
  sleep infinity &
  wait "$!" || true
done
