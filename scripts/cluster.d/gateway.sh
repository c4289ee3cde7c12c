# shellcheck shell=bash
# The gateway under test, and its command `eyesplice pki`, which makes the cluster's certificates.

# find_eyesplice: sets EYESPLICE to the program, or ends the command.
find_eyesplice() {
  local repository built
  if [[ -z ${EYESPLICE:-} ]]; then
    repository=$(cd "$CLUSTER_D/../.." && pwd)
    for built in release debug; do
      EYESPLICE=${CARGO_TARGET_DIR:-$repository/target}/$built/eyesplice
      [[ ! -x $EYESPLICE ]] || break
    done
  fi
  [[ -x $EYESPLICE ]] || die "$EYESPLICE does not exist; build it ('cargo build --release'), or name it by --eyesplice"
  EYESPLICE=$(realpath "$EYESPLICE")
}

# make_pki: makes every CA, certificate and kubeconfig of the cluster.
make_pki() {
  render pki.yaml "$CONF/pki.yaml"
  "$EYESPLICE" pki init "$PKI" --config "$CONF/pki.yaml" \
    >"$LOG/pki.log" 2>&1 || { tail_of "$LOG/pki.log"; die "$EYESPLICE pki init failed"; }
}

# make_tokens: makes the token of the controller manager, which shows no certificate, in the API
# server's token file, and its kubeconfig.
make_tokens() {
  local name=system:kube-controller-manager token=$CONF/controller-manager.token
  rm -f "$CONF/tokens.csv" "$CONF/controller-manager.kubeconfig"
  (umask 077 && "$EYESPLICE" token static generate --user "$name" --file "$CONF/tokens.csv" >"$token") &&
    "$EYESPLICE" kubeconfig create "$CONF/controller-manager.kubeconfig" "$name" --pki "$PKI" \
      --token-file "$token" >>"$LOG/pki.log" 2>&1 || die "$EYESPLICE made no token; see $LOG/pki.log"
}

# cluster_pki: has every file of the cluster's PKI judged by eyesplice and by openssl; fails unless
# both find all of them good.
cluster_pki() {
  [[ $# -eq 0 ]] || die "pki takes no arguments"
  need openssl openssl
  need python3 python3
  load_settings || die "there is no cluster in $STATE; run 'cluster up'"
  "$EYESPLICE" pki verify "$PKI" || true
  python3 "$CLUSTER_D/agree.py" "$EYESPLICE" "$PKI"
}

# configure_gateway: writes the configuration for the mode, which the caller's own may replace.
configure_gateway() {
  if [[ $NAT == yes ]]; then
    # The inventory says which addresses a node has, and only a gateway that terminates has one.
    GRANT="cidrs: [$NODE_IP/32, $POD_CIDR]"
    [[ $MODE == splice ]] || GRANT="nodes: [$NODE_NAME], cidrs: [$POD_CIDR]"
    render tunnel-listener.yaml "$CONF/tunnel-listener.yaml"
    render tunnel.yaml "$CONF/tunnel.yaml"
    TUNNEL_LISTENER=$(<"$CONF/tunnel-listener.yaml") TUNNEL=$(<"$CONF/tunnel.yaml")
  fi
  render "gateway-$MODE.yaml" "$CONF/gateway.yaml"
  GATEWAY_CONFIG=${GATEWAY_CONFIG:-$CONF/gateway.yaml}
}

start_gateway() { start gateway "$EYESPLICE" gateway --config "$GATEWAY_CONFIG"; }

# gateway_ok: holds when the gateway listens where the API server will look for it.
gateway_ok() {
  alive gateway || return 1
  if [[ $EGRESS == uds ]]; then
    # The gateway binds under another name and renames the socket once it listens.
    [[ -S $EGRESS_SOCKET ]]
  else
    ss --no-header --listening --tcp --numeric src "$EGRESS_ADDRESS" | grep -q .
  fi
}
