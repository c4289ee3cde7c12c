#!/usr/bin/env bash
# The first process of the node: it furnishes the namespaces it is in, then reaps orphans until it
# is killed, and everything in the node dies with it.
#
#   node-init.sh STATE NAME ADDRESS
#
# It runs as process 1 of a new pid namespace, in new mount, cgroup, network and host name
# namespaces.
set -euo pipefail

state=$1 name=$2 address=$3
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

# The node knows itself, and asks nobody: a name server that it cannot reach costs seconds.
hostname "$name"
printf '127.0.0.1 localhost\n%s %s\n' "$address" "$name" >"$node/hosts"
printf 'options attempts:1\n' >"$node/resolv.conf"
mount --bind "$node/hosts" /etc/hosts
# Where it is a link into /run it points nowhere by now, which does as well.
[[ ! -e /etc/resolv.conf ]] || mount --bind "$node/resolv.conf" /etc/resolv.conf

# The kubelet sets these for the whole machine unless they have the values it wants. In the node
# they seem to: it sees these files. Nothing has to be restored, even after a crash.
mkdir -p "$node/sysctl"
while read -r key value; do
  printf '%s\n' "$value" >"$node/sysctl/$key"
  mount --bind "$node/sysctl/$key" "/proc/sys/${key//./\/}"
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
