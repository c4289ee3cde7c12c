"""A gateway in place of a cluster's own that is given every certificate by an authority."""

import contextlib
import json
import shutil
import socket
import ssl
import threading
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import urlsplit

import certificates
import direct
from cluster import SCRIPTS
from gateway import Gateway, replace
from processes import run
from wait import expect, same, until

# What gateways may ask of an API server and of kubelets.
MANIFEST = SCRIPTS.parent / "control" / "dist" / "gateway-rbac.yaml"

NAME = "gw-1"
USER = f"eyesplice:gateway:{NAME}"
GROUP = "eyesplice:gateways"
BOOTSTRAPPERS = "system:bootstrappers:eyesplice:gateways"

GATEWAY_CLIENT = "eyesplice.dev/gateway-client"
GATEWAY_SERVING = "eyesplice.dev/serving"
EGRESS_LEAF = "eyesplice.dev/egress-leaf"

# How long a change may take to arrive: files are looked at within a second, CSRs at once.
SWAP_S = 40

# As `signers` of an AuthorityConfig; the CA of the leaves is a copy, so that a test may replace it.
SIGNERS = """\
- {{signerName: eyesplice.dev/gateway-client, certFile: {pki}/ca.crt, keyFile: {pki}/ca.key}}
- {{signerName: eyesplice.dev/serving, certFile: {pki}/egress-ca.crt, keyFile: {pki}/egress-ca.key}}
- {{signerName: eyesplice.dev/egress-leaf, certFile: {leaf_ca}, keyFile: {pki}/egress-ca.key}}
"""

CONFIG = """\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
identity:
  name: {name}
  server: {server}
  caFile: {pki}/ca.crt
  tokenFile: {dir}/token
  dir: {dir}/identity
  issuerCAFile: {dir}/issuers.crt
listeners:
- name: uds
  unix: {{path: {socket}, allowedUIDs: [0]}}
- name: tcp
  tcp:
    address: "{listen}"
    tlsFromAuthority: {{names: ["{host}"]}}
    clientCAFile: {pki}/egress-client-ca.crt
egress:
  rules:
  - {{name: kubelets, cidrs: ["{link}.0/24"], ports: {ports}, action: terminate}}
egressCA: {{fromAuthority: true, caFile: {pki}/egress-ca.crt}}
kubelet:
  caFile: {pki}/kubelet-serving-ca.crt
  clientFromAuthority: true
  apiserverClientCAFile: {pki}/ca.crt
  inventoryFile: {dir}/inventory.yaml
timeouts: {{verdict: 20s}}
admin: {{address: "{admin}"}}
audit: {{path: {log}/audit.log}}
"""

INVENTORY = """\
apiVersion: eyesplice.dev/v1alpha1
kind: NodeInventory
nodes:
- {{name: {node}, addresses: ["{address}"]}}
- {{name: {tap}, addresses: ["{host}"]}}
"""


class Enrolled:
    """One gateway: its token, its configuration, and the process."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.dir = cluster.state / "enrolled"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.identity = self.dir / "identity"
        self.host = cluster.env["CONTROL_PLANE_IP"]
        # What the addresses of all nodes begin with.
        self.link = self.host.rsplit(".", 1)[0]
        self.tap = Tap(cluster)
        self.leaf_ca = self.dir / "leaf-ca.crt"
        shutil.copy(cluster.path("egress-ca.crt"), self.leaf_ca)
        self.former = cluster.gateway

    def signers(self):
        """The signers that an authority must have."""
        return SIGNERS.format(pki=self.cluster.env["PKI_DIR"], leaf_ca=self.leaf_ca)

    def approval(self):
        """What an authority must approve by."""
        return f'gateways: [{{name: {NAME}, addresses: ["{self.host}"]}}]'

    def write_inventory(self):
        """Writes which nodes there are; returns the file."""
        path = self.dir / "inventory.yaml"
        node, address = self.cluster.env["NODE_NAME"], self.cluster.env["NODE_IP"]
        path.write_text(INVENTORY.format(node=node, address=address, tap=Tap.NAME, host=self.host))
        return path

    def make_token(self, *where):
        """Makes a bootstrap token for this gateway, which may ask again with it; returns its id."""
        command = [self.cluster.eyesplice, "token", "bootstrap", "create", "--groups", BOOTSTRAPPERS]
        command += ["--gateway", NAME]
        token = self.dir / "token"
        token.touch(mode=0o600)
        token.write_text(run([*command, *where]).text)
        return token.read_text().split(".")[0]

    def start(self, server):
        """Puts it in the place of the cluster's gateway, and waits until it is ready."""
        cluster = self.cluster
        issuers = [cluster.path(name).read_text() for name in ("ca.crt", "egress-ca.crt")]
        (self.dir / "issuers.crt").write_text("".join(issuers))
        log = Path(cluster.env["LOG_DIR"]) / "enrolled"
        log.mkdir(exist_ok=True)
        config = CONFIG.format(
            name=NAME,
            server=server,
            pki=cluster.env["PKI_DIR"],
            dir=self.dir,
            socket=cluster.env["EGRESS_SOCKET"],
            listen=urlsplit(cluster.env["EGRESS_URL"]).netloc,
            host=self.host,
            link=self.link,
            ports=[10250, self.tap.port],
            admin=urlsplit(cluster.env["GATEWAY_ADMIN_URL"]).netloc,
            log=log,
        )
        (self.dir / "gateway.yaml").write_text(config)
        self.write_inventory()
        self.former.stop()
        cluster.gateway = Gateway(
            cluster.eyesplice, self.dir / "gateway.yaml", cluster.env["GATEWAY_ADMIN_URL"], log
        )
        cluster.gateway.start()

    def stop(self):
        """Gives the cluster its own gateway back."""
        self.tap.close()
        if self.cluster.gateway is not self.former:
            self.cluster.gateway.stop()
            self.cluster.gateway = self.former
            self.former.start()

    def serials(self):
        """Which certificates others see: the API server the first two, kubelets the last."""
        seen = {
            "listener": direct.listener_certificate(self.cluster),
            "leaf": direct.kubelet_leaf(self.cluster),
            "client": self.tap.shown(),
        }
        return {name: certificates.serial(der) for name, der in seen.items()}

    def age(self):
        """Replaces its two files by certificates whose renewal is due; returns their serial numbers."""
        serials = set()
        now = datetime.now(timezone.utc)
        subject = f"/O={GROUP}/CN={USER}"
        for file, ca, extensions in (
            ("gateway-client.pem", "ca", "extendedKeyUsage=clientAuth"),
            ("serving-tcp.pem", "egress-ca", f"extendedKeyUsage=serverAuth\nsubjectAltName=IP:{self.host}"),
        ):
            dates = now - timedelta(hours=19), now + timedelta(hours=1)
            pair = certificates.dated(self.cluster, ca, subject, extensions, *dates)
            serials.add(certificates.serial(ssl.PEM_cert_to_DER_cert(certificates.first_pem(pair))))
            replace(self.identity / file, pair)
        return serials

    def forget(self):
        """Deletes its two files."""
        for file in ("gateway-client.pem", "serving-tcp.pem"):
            (self.identity / file).unlink()

    def passes(self):
        """A new stream gets through."""
        said = self.cluster.admin("exec", "bb", "-c", "c", "--", "echo", "through").text
        same(said, "through\n", "exec")

    def replaced(self, before, names, stale=frozenset(), seconds=SWAP_S):
        """Waits until these are neither what they were before nor stale; returns what is shown then."""

        def new():
            now = self.serials()
            fresh = all(now[name] not in {before[name], *stale} for name in names)
            return now if fresh else None

        def told():
            log = self.cluster.gateway.log_tail()
            return f"{names} other than {before}: {self.serials()}; the log ends: {log}"

        now = until(new, seconds, told)
        self.passes()
        return now


@contextlib.contextmanager
def node(cluster, name, address):
    """A Node of the cluster's that no kubelet looks after."""
    body = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        },
    }
    cluster.admin("create", "-f", "-", stdin=json.dumps(body).encode())
    try:
        yield
    finally:
        cluster.admin("delete", "node", name)


class Tap:
    """A kubelet of ours, on the host, which tells what certificate a gateway shows to kubelets."""

    NAME = "tap"

    def __init__(self, cluster):
        self.cluster = cluster
        host = cluster.env["CONTROL_PLANE_IP"]
        now = datetime.now(timezone.utc)
        pair = certificates.dated(
            cluster,
            "kubelet-serving-ca",
            f"/O=system:nodes/CN=system:node:{self.NAME}",
            f"extendedKeyUsage=serverAuth\nsubjectAltName=IP:{host}",
            now - timedelta(hours=1),
            now + timedelta(days=1),
        )
        file = cluster.state / "tap.pem"
        file.write_text(pair)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=cluster.path("ca.crt"))
        self._context.verify_mode = ssl.CERT_REQUIRED
        self._context.load_cert_chain(file)
        self._listener = socket.create_server((host, 0))
        self.port = self._listener.getsockname()[1]
        self._last = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def shown(self):
        """Asks through the gateway; returns the certificate that it shows to a kubelet, in DER."""
        self._last = None
        target = f"{self.cluster.env['CONTROL_PLANE_IP']}:{self.port}"
        _, reply = direct.ask_kubelet(self.cluster, target, "/healthz")
        expect(reply.endswith(b"ok") and self._last, f"the tap says {reply}")
        return self._last

    def _serve(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return  # It was closed.
            # One that says nothing does not keep the next one waiting.
            threading.Thread(target=self._answer, args=(plain,), daemon=True).start()

    def _answer(self, plain):
        # The gateway's client sees that no answer came.
        with contextlib.suppress(OSError), plain:
            plain.settimeout(direct.ANSWER_S)
            with self._context.wrap_socket(plain, server_side=True) as tls:
                self._last = tls.getpeercert(binary_form=True)
                request = b""
                while b"\r\n\r\n" not in request:
                    request += tls.recv(4096) or b"\r\n\r\n"
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def close(self):
        """Ends it."""
        # A close alone does not wake who accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
