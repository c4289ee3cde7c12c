# shellcheck shell=bash
# The node: a set of namespaces with an address of its own, and in it containerd and the kubelet.
#
# The process called `node` is process 1 of the pid namespace. When it is killed the kernel kills
# every other process of the node, and with them go the mounts and the network.

# node_make: makes the namespaces and the link to them.
node_make() {
  local holder
  cgroup_make
  mkdir -p "$STATE/node"
  rm -f "$RUN/node.ready"
  (
    cgroup_enter
    unlock "$BUILD_LOCK_FD"
    unlock "$CLUSTER_LOCK_FD"
    cd /
    exec setsid unshare --mount --cgroup --net --uts --pid --fork --kill-child \
      --propagation private --mount-proc \
      "$CLUSTER_D/node-init.sh" "$STATE" "$NODE_NAME" "$NODE_IP" </dev/null >>"$LOG/node.log" 2>&1
  ) &
  holder=$!
  disown "$holder"
  record_child node "$holder" unshare ||
    die "the node's namespaces could not be made; see $LOG/node.log"
  await node 5 test -e "$RUN/node.ready"
  if [[ $NAT == yes ]]; then
    router_make
    nat_make "$(pid_of node)" "$(pid_of router)"
  else
    link_make "$(pid_of node)"
  fi
}

# link_check_free: ends the command when another cluster, or anything else, has our addresses.
link_check_free() {
  local owner taken
  if ip link show dev "$LINK" >/dev/null 2>&1; then
    owner=$(cat "/sys/class/net/$LINK/ifalias")
    die "network device $LINK exists already (${owner:-not from this script}); set EYESPLICE_CLUSTER_INDEX to another number, or run 'down' there"
  fi
  taken=$(ip -4 route show table all root "$LINK_CIDR"; ip -4 route show table all root "$POD_CIDR")
  [[ -z $taken ]] ||
    die "$LINK_CIDR or $POD_CIDR is in use here (${taken%%$'\n'*}); set EYESPLICE_CLUSTER_INDEX to another number"
}

# link_make PID: joins the host and the network namespace of PID, and routes pod addresses over it.
link_make() {
  local inside=(nsenter --target "$1" --net)
  ip link add "$LINK" type veth peer name eth0 netns "$1"
  ip link set "$LINK" alias "cluster of $STATE"
  ip addr add "$CONTROL_PLANE_IP/24" dev "$LINK"
  ip link set "$LINK" up
  "${inside[@]}" ip link set lo up
  "${inside[@]}" ip addr add "$NODE_IP/24" dev eth0
  "${inside[@]}" ip link set eth0 up
  # No default route: the kubelet looks for the metadata services of clouds when it starts, and an
  # address without a route fails at once, where one that does not answer takes ten seconds.
  # This is the setting of the network namespace of the process that writes it.
  "${inside[@]}" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
  ip route add "$POD_CIDR" via "$NODE_IP"
}

# router_make: makes the network namespace of the router that a node is behind.
router_make() {
  start router unshare --net sleep infinity
  await router 5 router_apart
}

# router_apart: holds when the router has a network namespace of its own.
router_apart() {
  [[ $(readlink "/proc/$(pid_of router)/ns/net") != $(readlink "/proc/$$/ns/net") ]]
}

# nat_make NODE ROUTER: joins host, router and node. The host looks for the node and its pods on its
# link to the router, and nobody answers; the router lets connections out under its own address,
# lets none in, and forgets those that were silent for ten minutes, as many do.
nat_make() {
  local inside=(nsenter --target "$1" --net) between=(nsenter --target "$2" --net)
  ip link add "$LINK" type veth peer name out netns "$2"
  ip link set "$LINK" alias "cluster of $STATE"
  ip addr add "$CONTROL_PLANE_IP/24" dev "$LINK"
  ip link set "$LINK" up
  # Without these the default route would lead to them, and somebody there may answer for them.
  ip route add "$NAT_CIDR" dev "$LINK"
  ip route add "$POD_CIDR" dev "$LINK"
  "${between[@]}" ip link add in type veth peer name eth0 netns "$1"
  "${between[@]}" ip addr add "$ROUTER_IP/24" dev out
  "${between[@]}" ip addr add "$NAT_ROUTER_IP/24" dev in
  "${between[@]}" ip link set out up
  "${between[@]}" ip link set in up
  "${between[@]}" nft -f - <<'RULES'
table ip nat {
  chain out { type nat hook postrouting priority 100; oifname "out" masquerade; }
}
table ip filter {
  chain forward {
    type filter hook forward priority 0; policy drop;
    ct state established,related accept
    iifname "in" accept
  }
  chain input { type filter hook input priority 0; policy drop; }
}
RULES
  "${between[@]}" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward
    echo 600 >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established'
  "${inside[@]}" ip link set lo up
  "${inside[@]}" ip addr add "$NODE_IP/24" dev eth0
  "${inside[@]}" ip link set eth0 up
  # No default route, as above.
  "${inside[@]}" ip route add "$LINK_CIDR" via "$NAT_ROUTER_IP"
  "${inside[@]}" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

# at_node COMMAND...: runs COMMAND where the node can be reached.
at_node() { if [[ $NAT == yes ]]; then in_node "$@"; else "$@"; fi; }

# start_agent: starts the agent of the tunnel on the node; in terminate mode as a container runtime
# would, which denies io_uring.
start_agent() {
  local denied=()
  [[ $MODE == splice ]] || denied=("$(command -v python3)" "$CLUSTER_D/without-io-uring.py")
  render agent.yaml "$CONF/agent.yaml"
  start_in_node agent "${denied[@]}" "$EYESPLICE" agent --config "$CONF/agent.yaml"
}

# agent_ok: holds when the agent is connected to the gateway.
agent_ok() { in_node curl --silent --fail --max-time 2 "http://$AGENT_ADMIN_ADDRESS/readyz"; }

# in_node COMMAND...: runs COMMAND inside of the node.
in_node() {
  local node
  node=$(pid_of node) || return 1
  nsenter --target "$node" --mount --cgroup --net --uts --pid -- "$@"
}

# start_in_node NAME COMMAND...: starts a daemon inside of the node.
start_in_node() {
  local name=$1 node
  node=$(pid_of node) || die "the node is not there to start $name in; see $LOG/node.log"
  shift
  (
    cgroup_enter
    unlock "$BUILD_LOCK_FD"
    unlock "$CLUSTER_LOCK_FD"
    cd /
    exec setsid env -i "PATH=$(programs_path):/usr/sbin:/usr/bin:/sbin:/bin" HOME=/nonexistent \
      "TMPDIR=$STATE/node/tmp" \
      nsenter --target "$node" --mount --cgroup --net --uts --pid -- "$@" </dev/null >>"$LOG/$name.log" 2>&1
  ) &
  disown "$!"
  # nsenter stays behind as the parent: only a child can be in the other pid namespace.
  record_child "$name" "$!" nsenter || { tail_of "$LOG/$name.log"; die "$name did not start"; }
}

start_containerd() {
  render containerd.toml "$CONF/containerd.toml"
  mkdir -p "$CONF/cni"
  render cni.conflist "$CONF/cni/10-bridge.conflist"
  start_in_node containerd "$(program containerd)" --config "$CONF/containerd.toml"
  await containerd 10 containerd_ok
  in_node "$(program ctr)" --address "$CONTAINERD_SOCKET" --namespace k8s.io images import "$IMAGES" \
    >>"$LOG/containerd.log" 2>&1 || { tail_of "$LOG/containerd.log"; die "importing the images failed"; }
}

containerd_ok() { in_node "$(program ctr)" --address "$CONTAINERD_SOCKET" version; }

start_kubelet() {
  local identity=(--kubeconfig "$PKI/kubelet-$NODE_NAME.kubeconfig") runtime=()
  mkdir -p "$STATE/node/manifests"
  render kubelet.yaml "$CONF/kubelet.yaml"
  if since 1.27; then
    printf 'containerRuntimeEndpoint: unix://%s\n' "$CONTAINERD_SOCKET" >>"$CONF/kubelet.yaml"
  else
    runtime=(--container-runtime remote --container-runtime-endpoint "unix://$CONTAINERD_SOCKET")
  fi
  # Later releases refuse a node with version 1 cgroups unless they are told to run there.
  if since 1.31; then printf 'failCgroupV1: false\n' >>"$CONF/kubelet.yaml"; fi
  if [[ -e $CONF/bootstrap.kubeconfig ]]; then
    # A node that has nothing but a token: it asks for both of its certificates itself.
    identity=(--bootstrap-kubeconfig "$CONF/bootstrap.kubeconfig" --cert-dir "$STATE/node/joined"
      --kubeconfig "$STATE/node/joined/kubeconfig")
    sed -i '/^tlsCertFile:/d; /^tlsPrivateKeyFile:/d' "$CONF/kubelet.yaml"
    printf '%s\n' 'rotateCertificates: true' 'serverTLSBootstrap: true' >>"$CONF/kubelet.yaml"
  fi
  start_in_node kubelet "$(program kubelet)" --config "$CONF/kubelet.yaml" \
    "${identity[@]}" --root-dir "$STATE/node/kubelet" \
    --hostname-override "$NODE_NAME" --node-ip "$NODE_IP" "${runtime[@]}" --v 2
}

kubelet_ok() {
  at_node curl --silent --fail --max-time 2 --cacert "$PKI/kubelet-serving-ca.crt" \
    --cert "$PKI/apiserver-kubelet-client.crt" --key "$PKI/apiserver-kubelet-client.key" \
    "https://$NODE_IP:10250/healthz"
}
