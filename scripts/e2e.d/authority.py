"""A real kubelet that joins by `eyesplice authority`, and real kubectls that look after CSRs."""

import base64
import http.client
import json
import os
import shutil
import ssl
import threading
from datetime import datetime, timezone
from pathlib import Path

from gateway import replace
from processes import Process, run
from router import REVIEWS, Router
from wait import Failed, expect, same, short, until

# How long a start, a reload, or a decision may take, in seconds.
START_S = 20
DECISION_S = 60

CLIENT = "kubernetes.io/kube-apiserver-client"
KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
SERVING = "kubernetes.io/kubelet-serving"

# The group of tokens that are for nodes, as kubeadm's.
BOOTSTRAPPERS = "system:bootstrappers:kubeadm:default-node-token"

PROTOBUF = "application/vnd.kubernetes.protobuf"

# How a kubelet answers where it could not ask its API server, and what it logs then.
DOUBTS = {401: "Unable to authenticate the request", 500: "Authorization error"}

CONFIG = """\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {{address: "{address}:0", tlsCertFile: {pki}/apiserver.crt, tlsPrivateKeyFile: {pki}/apiserver.key}}
authentication: {{clientCAFile: {pki}/ca.crt, bootstrapTokenDir: tokens, tokenAuthFile: tokens.csv}}
store: {{path: authority.redb}}
signers:
- {{signerName: {kubelet_client}, certFile: {pki}/ca-chain.crt, keyFile: {pki}/ca.key, duration: {duration}}}
- {{signerName: {client}, certFile: {pki}/ca-chain.crt, keyFile: {pki}/ca.key}}
- {{signerName: {serving}, certFile: {pki}/kubelet-serving-ca-chain.crt, keyFile: {pki}/kubelet-serving-ca.key, duration: {duration}}}
approval: {{inventoryFile: inventory.yaml, probe: {{timeout: 2s}}}}
admin: {{address: "{address}:0", insecureNonLoopback: true}}
"""

INVENTORY = """\
apiVersion: eyesplice.dev/v1alpha1
kind: NodeInventory
nodes:
- {{name: {node}, addresses: ["{address}"], added: "{added}"}}
"""

KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{server}", certificate-authority: {ca}}}}}]
users: [{{name: u, user: {{token: "{token}"}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""


class Authority:
    """One authority that serves a cluster's node."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.dir = cluster.state / "authority"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.log = Path(cluster.env["LOG_DIR"]) / "authority.log"
        self.address = cluster.env["CONTROL_PLANE_IP"]
        self.process = None
        self.began = 0
        self.port = 0
        self.tokens = {}

    def start(self, duration="8760h"):
        """Makes tokens and configuration, and starts it; nodes are probed before they are approved."""
        pki = self.cluster.env["PKI_DIR"]
        names = {"kubelet_client": KUBELET_CLIENT, "client": CLIENT, "serving": SERVING}
        names["duration"] = duration
        (self.dir / "authority.yaml").write_text(CONFIG.format(address=self.address, pki=pki, **names))
        (self.dir / "tokens").mkdir()
        secret = os.urandom(8).hex()
        (self.dir / "tokens" / "bootstrap-token-join01.yaml").write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "bootstrap-token-join01", "namespace": "kube-system"},
                    "type": "bootstrap.kubernetes.io/token",
                    "stringData": {
                        "token-id": "join01",
                        "token-secret": secret,
                        "usage-bootstrap-authentication": "true",
                        "auth-extra-groups": BOOTSTRAPPERS,
                    },
                }
            )
        )
        static = os.urandom(16).hex()
        (self.dir / "tokens.csv").write_text(f'{static},joiner,7,"{BOOTSTRAPPERS}"\n')
        self.tokens = {"system:bootstrap:join01": f"join01.{secret}", "joiner": static}
        self.knows("192.0.2.1")
        self.launch()

    def launch(self):
        """Starts it with the configuration that is there, and waits until it listens."""
        with open(self.log, "ab") as log:
            # An authority that ran here before has told of its port, too.
            self.began = log.tell()
            self.process = Process(
                ["setpriv", "--pdeathsig", "KILL", self.cluster.eyesplice, "authority"]
                + ["--config", self.dir / "authority.yaml", "--log-format", "json"],
                env={"PATH": os.environ["PATH"], "RUST_BACKTRACE": "1"},
                stdout=log,
                stderr=log,
            )
        self.port = until(self._listens, START_S, lambda: f"authority listens: {self.tail()}")

    def _listens(self):
        if not self.process.running():
            raise Failed(f"authority ended with {self.process.end()}: {self.tail()}")
        for line in self.log.read_bytes()[self.began :].decode(errors="replace").splitlines():
            told = json.loads(line) if line.startswith("{") else {}
            if told.get("message") == "authority listens":
                return int(told["address"].rsplit(":", 1)[1])
        return None

    def tail(self):
        """Returns the end of its log."""
        return short(self.log.read_text()[-2000:], 2000)

    def knows(self, address):
        """Has the inventory list the node at one address, as a machine that came just now."""
        added = datetime.now(timezone.utc).isoformat(timespec="seconds")
        text = INVENTORY.format(node=self.cluster.env["NODE_NAME"], address=address, added=added)
        path = self.dir / "inventory.yaml"
        replace(path, text) if path.exists() else path.write_text(text)

    def stop(self):
        """Ends it."""
        if self.process:
            self.process.end()

    def kubectl(self, path, *arguments, stdin=None, check=True):
        """Runs a kubectl as administrator against it."""
        home = self.dir / "home"
        home.mkdir(exist_ok=True)
        environment = dict(os.environ, KUBECONFIG=self.cluster.env["KUBECONFIG"], HOME=str(home))
        server = f"https://{self.address}:{self.port}"
        return run([path, "--server", server, *arguments], 60, stdin, environment, check)

    def csrs(self, signer):
        """Returns the CSRs for one signer."""
        listed = self.kubectl(self.cluster.env["KUBECTL"], "get", "csr", "-o", "json")
        items = json.loads(listed.out)["items"]
        return [item for item in items if item["spec"]["signerName"] == signer]


def checks(cluster, report, kubectls):
    """Runs all of it on a cluster that is up; its kubelet gets its own certificates back."""
    authority = Authority(cluster)
    router = None
    own = Path(cluster.env["CONF_DIR"]) / "bootstrap.kubeconfig"
    try:
        if report.check(f"{cluster.name} authority starts", authority.start) is None:
            return
        for path, version in kubectls:
            name = f"{cluster.name} authority kubectl {version}"
            report.check(name, lambda path=path: look_after(authority, path))
        joined = cluster.state / "node" / "joined"
        server = cluster.env["APISERVER_URL"].removeprefix("https://").rsplit(":", 1)
        router = Router(
            authority.address,
            (cluster.path("apiserver.crt"), cluster.path("apiserver.key")),
            cluster.path("ca.crt"),
            joined / "kubelet-client-current.pem",
            (authority.address, authority.port),
            (server[0], int(server[1])),
        )
        for user in authority.tokens:
            name = f"{cluster.name} authority kubelet joins as {user}"
            report.check(name, lambda user=user: join(authority, router, own, joined, user))
    finally:
        own.unlink(missing_ok=True)
        if router:
            cluster.restart("kubelet")
            router.close()
        authority.stop()


def join(authority, router, own, joined, user):
    """Starts the kubelet with a token alone; its serving CSR is refused, then the inventory learns."""
    cluster = authority.cluster
    shutil.rmtree(joined, ignore_errors=True)
    admin = cluster.env["KUBECTL"]
    authority.kubectl(admin, "delete", "csr", "--all")
    authority.knows("192.0.2.1")
    token, ca = authority.tokens[user], cluster.path("ca.crt")
    own.write_text(KUBECONFIG.format(server=router.url, ca=ca, token=token))
    failures = []

    def restart():
        try:
            cluster.restart("kubelet")
        except Exception as error:  # Told below, by the thread that waits.
            failures.append(error)

    starting = threading.Thread(target=restart)
    starting.start()
    try:
        refused = until(lambda: denied(authority), DECISION_S, lambda: f"a denied CSR: {authority.tail()}")
        address = cluster.env["NODE_IP"]
        for words in (f"IP address {address} is not among the addresses", "add it to the node there"):
            expect(words in refused, f"the refusal is {refused!r}")
    finally:
        authority.knows(cluster.env["NODE_IP"])
        starting.join()
    if failures:
        raise failures[0]
    first = authority.csrs(KUBELET_CLIENT)[0]
    same(first["spec"]["username"], user, "who asked for the client certificate")
    expect(first["status"].get("certificate"), f"the client CSR is {first['status']}")
    written = (joined / "kubeconfig").read_text()
    expect("kubelet-client-current.pem" in written and router.url in written, f"kubeconfig is {written}")
    issued = [csr for csr in authority.csrs(SERVING) if csr["status"].get("certificate")]
    told = [(csr["metadata"]["name"], csr["metadata"]["creationTimestamp"], csr["spec"]) for csr in issued]
    expect(len(issued) == 1, f"not one serving certificate: {told}, sent: {router.sent}")
    same(issued[0]["spec"]["username"], f"system:node:{cluster.env['NODE_NAME']}", "who asked for it")
    # It was probed while it waited for its first certificate.
    approved = [c["message"] for c in issued[0]["status"]["conditions"] if c["type"] == "Approved"]
    seen = f"a kubelet without a certificate answers at {cluster.env['NODE_IP']}:10250"
    expect(approved and seen in approved[0], f"the approval says {approved}")
    # A kubelet that rotates its certificates asks for them in protobuf.
    expect(PROTOBUF in {kind for _, kind in router.sent}, f"the kubelet sent {router.sent}")
    # The API server verifies the kubelet by the CA that signed it, through the gateway. A kubelet that
    # got a certificate closes all of its connections within ten seconds, a review in flight included.
    for verb, *rest in (("exec", "--", "echo", "joined"), ("logs", "--tail=1")):
        arguments = [verb, "bb", "-c", "lines", *rest]
        until(lambda arguments=arguments: answers(cluster, arguments), DECISION_S, f"{verb} answers")
    # It asks the authority whose a token is, under the certificate that it got. The user of the token
    # file may do nothing at the API server, hence 403; a token that nobody knows is 401.
    known = authority.tokens["joiner"]
    until(lambda: lets_in(cluster, router, known), DECISION_S, lambda: f"403 of the kubelet: {doubts(cluster)}")
    same(kubelet_status(cluster, os.urandom(16).hex()), 401, "the kubelet's answer to a token that nobody knows")
    expect((REVIEWS, PROTOBUF) in router.sent, f"the kubelet sent {router.sent}")


def lets_in(cluster, router, token):
    """Returns whether the kubelet knows whose a token is: it answers 403, for the user may do nothing.

    It answers 401 as well when it could not ask who that is, and 500 when it could not ask what that may do, as when
    it closed the connection with the review in flight because it got a certificate. Then its log says so, and it is
    asked again; else the answer is a verdict.
    """
    before, asked = doubts(cluster), len(router.reviews)
    status = kubelet_status(cluster, token)
    if status in DOUBTS:
        why = doubts(cluster)[len(before) :]
        expect(why, f"{status} of the kubelet without an error of its own; reviews were answered by {router.reviews[asked:]}")
        return False
    same(status, 403, "the kubelet's answer to a token")
    return True


def doubts(cluster):
    """Returns what the kubelet logged of requests that it could not judge for an error."""
    log = (Path(cluster.env["LOG_DIR"]) / "kubelet.log").read_text(errors="replace")
    return [line for line in log.splitlines() if any(words in line for words in DOUBTS.values())]


def kubelet_status(cluster, token):
    """Returns how the kubelet answers a request with this token."""
    context = ssl.create_default_context(cafile=cluster.path("kubelet-serving-ca.crt"))
    kubelet = http.client.HTTPSConnection(
        cluster.env["NODE_IP"], 10250, context=context, timeout=START_S
    )
    try:
        kubelet.request("GET", "/pods", headers={"Authorization": f"Bearer {token}"})
        return kubelet.getresponse().status
    finally:
        kubelet.close()


def answers(cluster, arguments):
    """Returns whether the cluster's own kubectl gets an answer from the node."""
    result = cluster.admin(*arguments, check=False)
    return result.code == 0 and (arguments[0] != "exec" or result.text.strip() == "joined")


def denied(authority):
    """Returns why a serving CSR was denied, if one was."""
    for csr in authority.csrs(SERVING):
        for condition in csr["status"].get("conditions", []):
            if condition["type"] == "Denied":
                return condition["message"]
    return None


def look_after(authority, path):
    """What a person does with CSRs: table, wide, yaml, watch, describe, approve, deny, delete."""
    work = authority.dir / "csr"
    work.mkdir(exist_ok=True)
    run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-keyout", work / "key", "-out", work / "request", "-subj", "/O=dev/O=ops/CN=jane"]
    )
    request = base64.b64encode((work / "request").read_bytes()).decode()

    def kubectl(*arguments, **more):
        return authority.kubectl(path, *arguments, **more)

    authority.kubectl(path, "delete", "csr", "--all")
    home = authority.dir / "home"
    environment = dict(os.environ, KUBECONFIG=authority.cluster.env["KUBECONFIG"], HOME=str(home))
    server = f"https://{authority.address}:{authority.port}"
    with open(work / "watched", "w+b") as watched:
        command = [path, "--server", server, "get", "csr", "-w"]
        with Process(command, env=environment, stdout=watched):
            for name in ("one", "two"):
                spec = {"request": request, "signerName": CLIENT, "usages": ["client auth"]}
                body = {
                    "apiVersion": "certificates.k8s.io/v1",
                    "kind": "CertificateSigningRequest",
                    "metadata": {"name": name},
                    "spec": spec,
                }
                kubectl("create", "-f", "-", stdin=json.dumps(body).encode())
            pages = kubectl("get", "csr", "-o", "name", "--chunk-size=1").text.split()
            same([page.rsplit("/", 1)[1] for page in pages], ["one", "two"], "CSRs by pages")
            same(kubectl("auth", "can-i", "create", "csr").text.strip(), "yes", "can-i create csr")
            # Administrators may be refused, too: nobody acts as somebody else.
            acting = kubectl("--as=jane", "delete", "csr", "one", check=False)
            expect(acting.code != 0 and "Impersonate" in acting.err.title(), f"--as says {acting.err}")
            same(kubectl("get", "csr", "one", "-o", "name").text.strip().rsplit("/", 1)[1], "one", "--as")
            expect("[*]" in kubectl("auth", "can-i", "--list").text, "can-i --list has no rule of administrators")
            table = kubectl("get", "csr").text
            expect("CONDITION" in table and "Pending" in table and "SIGNERNAME" in table, table)
            expect("CN=jane" in kubectl("get", "csr", "-o", "wide").text, "wide has no subject")
            kubectl("certificate", "approve", "one")
            kubectl("certificate", "deny", "two")
            until(lambda: "Approved,Issued" in kubectl("get", "csr", "one").text, START_S, "the signature")
            expect("Denied" in kubectl("get", "csr", "two").text, "two is not denied")
            described = kubectl("describe", "csr", "one").text
            expect("Approved,Issued" in described and "jane" in described, described)
            expect("kind: CertificateSigningRequest" in kubectl("get", "csr", "one", "-o", "yaml").text, "yaml")
            pem = kubectl("get", "csr", "one", "-o", "jsonpath={.status.certificate}").out
            (work / "certificate").write_bytes(base64.b64decode(pem))
            run(["openssl", "verify", "-CAfile", authority.cluster.path("ca.crt"), work / "certificate"])
            kubectl("delete", "csr", "one", "two")
            same(json.loads(kubectl("get", "csr", "-o", "json").out)["items"], [], "CSRs that are left")

            def seen():
                text = Path(work / "watched").read_text()
                return "Pending" in text and "Approved,Issued" in text and "Denied" in text

            until(seen, START_S, lambda: f"watched: {Path(work / 'watched').read_text()}")
