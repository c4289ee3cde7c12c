# shellcheck shell=bash
# The control plane, which runs on the host: etcd, the API server, the controller manager.

start_etcd() {
  # Nothing in it has to survive, so nothing is synced.
  start etcd "$(program etcd)" --name cluster --data-dir "$STATE/etcd" --unsafe-no-fsync --log-level warn \
    --listen-client-urls "$ETCD_URL" --advertise-client-urls "$ETCD_URL" \
    --listen-peer-urls "https://$LOOPBACK_IP:2380" --initial-advertise-peer-urls "https://$LOOPBACK_IP:2380" \
    --initial-cluster "cluster=https://$LOOPBACK_IP:2380" \
    --cert-file "$PKI/etcd/server.crt" --key-file "$PKI/etcd/server.key" \
    --client-cert-auth --trusted-ca-file "$PKI/etcd/ca.crt" \
    --peer-cert-file "$PKI/etcd/peer.crt" --peer-key-file "$PKI/etcd/peer.key" \
    --peer-client-cert-auth --peer-trusted-ca-file "$PKI/etcd/ca.crt"
}

etcd_ok() {
  curl --silent --fail --max-time 2 --cacert "$PKI/etcd/ca.crt" \
    --cert "$PKI/etcd/healthcheck-client.crt" --key "$PKI/etcd/healthcheck-client.key" \
    "$ETCD_URL/health"
}

start_apiserver() {
  local more=() kubelet_ca=$PKI/kubelet-serving-ca.crt
  if [[ $EGRESS != none ]]; then
    render "egress-$EGRESS.yaml" "$CONF/egress.yaml"
    more+=(--egress-selector-config-file "$CONF/egress.yaml")
  fi
  # A gateway that terminates TLS shows certificates of its own CA in place of the kubelets'.
  if [[ $MODE == terminate ]]; then kubelet_ca=$PKI/egress-ca.crt; fi
  start kube-apiserver "$(program kube-apiserver)" \
    --bind-address "$CONTROL_PLANE_IP" --advertise-address "$CONTROL_PLANE_IP" --secure-port 6443 \
    --endpoint-reconciler-type none --etcd-servers "$ETCD_URL" --etcd-cafile "$PKI/etcd/ca.crt" \
    --etcd-certfile "$PKI/apiserver-etcd-client.crt" --etcd-keyfile "$PKI/apiserver-etcd-client.key" \
    --service-cluster-ip-range "$SERVICE_CIDR" --authorization-mode Node,RBAC \
    --enable-admission-plugins NodeRestriction --allow-privileged --enable-bootstrap-token-auth \
    --client-ca-file "$PKI/ca.crt" --token-auth-file "$CONF/tokens.csv" \
    --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
    --kubelet-certificate-authority "$kubelet_ca" \
    --kubelet-client-certificate "$PKI/apiserver-kubelet-client.crt" \
    --kubelet-client-key "$PKI/apiserver-kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP,Hostname \
    --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$PKI/sa.pub" --service-account-signing-key-file "$PKI/sa.key" \
    --requestheader-client-ca-file "$PKI/front-proxy-ca.crt" \
    --requestheader-allowed-names front-proxy-client \
    --requestheader-username-headers X-Remote-User --requestheader-group-headers X-Remote-Group \
    --requestheader-extra-headers-prefix X-Remote-Extra- \
    --proxy-client-cert-file "$PKI/front-proxy-client.crt" \
    --proxy-client-key-file "$PKI/front-proxy-client.key" \
    "${more[@]}"
}

apiserver_ok() { kubectl_admin get --raw /readyz; }

start_controller_manager() {
  local kubeconfig=$CONF/controller-manager.kubeconfig name pair=() controllers='*' insecure=(--port 0)
  # The port without TLS that this turned off went with 1.24.
  if since 1.24; then insecure=(); fi
  # Somebody else approves and signs.
  if [[ -e $CONF/no-csr-controllers ]]; then controllers='*,-csrsigning,-csrapproving'; fi
  # Signs CSRs of kubelets: client certificates by the cluster's CA, serving ones by theirs.
  for name in kube-apiserver-client kubelet-client legacy-unknown; do
    pair+=("--cluster-signing-$name-cert-file" "$PKI/ca.crt" "--cluster-signing-$name-key-file" "$PKI/ca.key")
  done
  start kube-controller-manager "$(program kube-controller-manager)" --kubeconfig "$kubeconfig" \
    --authentication-kubeconfig "$kubeconfig" --authorization-kubeconfig "$kubeconfig" \
    --controllers "$controllers" --bind-address "$LOOPBACK_IP" "${insecure[@]}" --leader-elect=false --use-service-account-credentials \
    --tls-cert-file "$PKI/controller-manager-server.crt" \
    --tls-private-key-file "$PKI/controller-manager-server.key" \
    --root-ca-file "$PKI/ca.crt" --service-account-private-key-file "$PKI/sa.key" \
    "${pair[@]}" \
    --cluster-signing-kubelet-serving-cert-file "$PKI/kubelet-serving-ca.crt" \
    --cluster-signing-kubelet-serving-key-file "$PKI/kubelet-serving-ca.key"
}

controller_manager_ok() {
  curl --silent --fail --max-time 2 --cacert "$PKI/ca.crt" "$CONTROLLER_MANAGER_URL/healthz"
}
