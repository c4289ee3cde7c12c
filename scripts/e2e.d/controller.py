"""Two replicas of the authority as controllers of a real cluster, under the RBAC that is shipped."""

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import ssl
import threading
from pathlib import Path

import enrolment
from authority import CLIENT, KUBECONFIG, KUBELET_CLIENT, SERVING, answers
from cluster import SCRIPTS
from enrolled import Enrolled
from processes import Process, run
from wait import Failed, Interrupted, expect, same, short, until

MANIFEST = SCRIPTS.parent / "control" / "dist" / "authority-rbac.yaml"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
ACCOUNT = "/api/v1/namespaces/kube-system/serviceaccounts/eyesplice-authority"

LEADS = 'eyesplice_authority_leader{lease="kube-system/eyesplice-authority"} 1'

# The group of the tokens that `eyesplice token bootstrap create` makes, as kubeadm's.
NODES = "system:bootstrappers:kubeadm:default-node-token"

# How long a start, a decision, or a change of the leader (15 s of a Lease, and jitter) may take.
START_S = 30
DECISION_S = 60
CHANGE_S = 60

# CSRs that a replica works on at the same time.
AT_A_TIME = 8

# CSRs between two changes of the leader.
BATCH = 15

CONFIG = """\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
cluster: {{}}
signers:
{gateways}
- {{signerName: {kubelet_client}, certFile: {pki}/ca.crt, keyFile: {pki}/ca.key}}
- {{signerName: {client}, certFile: {pki}/ca.crt, keyFile: {pki}/ca.key}}
- {{signerName: {serving}, certFile: {pki}/kubelet-serving-ca.crt, keyFile: {pki}/kubelet-serving-ca.key}}
approval: {{{approval}}}
admin: {{address: "127.0.0.1:0"}}
"""

# What kubeadm binds, so that nodes may join by token.
BINDINGS = {
    "join-ask": ("system:node-bootstrapper", NODES),
    "join-approve": ("system:certificates.k8s.io:certificatesigningrequests:nodeclient", NODES),
    "join-renew": ("system:certificates.k8s.io:certificatesigningrequests:selfnodeclient", "system:nodes"),
}


class Replica:
    """One process."""

    def __init__(self, site, name):
        self.site = site
        self.name = name
        self.log = Path(site.cluster.env["LOG_DIR"]) / f"controller-{name}.log"
        self.process = None
        self.began = 0
        self.admin = None

    def start(self):
        """Starts it, and waits until it sees the cluster."""
        with open(self.log, "ab") as log:
            self.began = log.tell()
            self.process = Process(
                ["setpriv", "--pdeathsig", "KILL", self.site.cluster.eyesplice, "authority"]
                + ["--config", self.site.config, "--kubeconfig", self.site.kubeconfig, "--log-format", "json"],
                env={"PATH": os.environ["PATH"], "RUST_BACKTRACE": "1"},
                stdout=log,
                stderr=log,
            )
        until(self._is_ready, START_S, lambda: f"replica {self.name} is ready: {self.tail()}")

    def _is_ready(self):
        if not self.process.running():
            raise Failed(f"replica {self.name} ended with {self.process.end()}: {self.tail()}")
        for line in self.lines():
            if line.get("message") == "admin endpoint listens":
                self.admin = line["address"]
        return self.admin and self.get("/readyz")[0] == 200

    def lines(self):
        """Returns what it logged since its last start."""
        text = self.log.read_bytes()[self.began :].decode(errors="replace")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]

    def tail(self):
        """Returns the end of its log."""
        return short(self.log.read_text()[-2000:], 2000)

    def get(self, path):
        """Returns status and text of its admin endpoint."""
        host, port = self.admin.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def leads(self):
        """Returns whether it says that it leads."""
        return self.process.running() and LEADS in self.get("/metrics")[1]

    def signed(self):
        """Returns the names of the CSRs that it has signed since its last start."""
        return [line["csr"] for line in self.lines() if line.get("message") == "CSR left the signer"]


class Site:
    """The replicas, their identity and the token of a cluster."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.dir = cluster.state / "controller"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir()
        self.config = self.dir / "authority.yaml"
        self.kubeconfig = self.dir / "authority.kubeconfig"
        self.replicas = [Replica(self, name) for name in ("one", "two")]
        self.off = Path(cluster.env["CONF_DIR"]) / "no-csr-controllers"
        self.enrolled = Enrolled(cluster)
        self.token = None
        self.signed = {}
        self.count = 0

    def prepare(self):
        """Takes the controller manager's hands off CSRs, and makes identity and configuration."""
        cluster = self.cluster
        self.off.touch()
        cluster.restart("kube-controller-manager")
        cluster.admin("apply", "-f", MANIFEST)
        for name, (role, group) in BINDINGS.items():
            cluster.admin("create", "clusterrolebinding", name, "--clusterrole", role, "--group", group)
        # The service account of the manifest, and nothing else.
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        raw = ["create", "--raw", f"{ACCOUNT}/token", "-f", "-"]
        answer = cluster.admin(*raw, stdin=json.dumps(request).encode())
        token = json.loads(answer.out)["status"]["token"]
        server, ca = cluster.env["APISERVER_URL"], cluster.path("ca.crt")
        self.kubeconfig.write_text(KUBECONFIG.format(server=server, ca=ca, token=token))
        self.kubeconfig.chmod(0o600)
        names = {"kubelet_client": KUBELET_CLIENT, "client": CLIENT, "serving": SERVING}
        names |= {"gateways": self.enrolled.signers(), "approval": self.enrolled.approval()}
        self.config.write_text(CONFIG.format(pki=cluster.env["PKI_DIR"], **names))
        checked = run([cluster.eyesplice, "check", self.config])
        expect("works on the CSRs of a cluster" in checked.text, f"check says {checked.text}")

    def start(self):
        """Starts both; one leads, the other is ready as well."""
        for replica in self.replicas:
            replica.start()
        leader = self.leader()
        for replica in self.replicas:
            word = "[+]leader ok" if replica is leader else "[+]standby ok"
            status, told = replica.get("/readyz?verbose")
            expect(status == 200 and word in told, f"replica {replica.name} says {told}")

    def leader(self, but=None):
        """Waits for exactly one leader, which is not `but`."""

        def one():
            leaders = [replica for replica in self.replicas if replica.leads()]
            expect(len(leaders) < 2, "two replicas lead")
            return leaders[0] if leaders and leaders[0] is not but else None

        return until(one, CHANGE_S, lambda: f"a leader: {[replica.tail() for replica in self.replicas]}")

    def tokens(self, *arguments):
        """Runs `eyesplice token bootstrap` on the cluster, as administrator."""
        kubeconfig = self.cluster.env["KUBECONFIG"]
        command = [self.cluster.eyesplice, "token", "bootstrap", *arguments, "--kubeconfig", kubeconfig]
        return run(command).text

    def stop(self):
        """Ends the replicas, and gives the controller manager its work back."""
        for replica in self.replicas:
            if replica.process:
                replica.process.send(signal.SIGCONT)
                replica.process.end()
        self.off.unlink(missing_ok=True)
        self.cluster.restart("kube-controller-manager")

    def csrs(self):
        """Returns every CSR by name."""
        listed = self.cluster.admin("get", "csr", "-o", "json")
        return {item["metadata"]["name"]: item for item in json.loads(listed.out)["items"]}


def checks(cluster, report):
    """Runs all of it on a cluster that is up; it gets its own gateway and kubelet back.

    Changes of the leader mostly wait for a Lease, and need no kubelet: they go on beside what the
    caller does next. Returns a function that waits for their end.
    """
    site = Site(cluster)

    def check(name, body):
        return report.check(f"{cluster.name} controller {name}", body) is not None

    runs = False
    try:
        runs = with_kubelet(site, check)
    finally:
        site.enrolled.stop()
        if not runs:
            site.stop()
        own = Path(cluster.env["CONF_DIR"]) / "bootstrap.kubeconfig"
        if own.exists():
            own.unlink()
            cluster.restart("kubelet")
    if not runs:
        return lambda: None
    changes = threading.Thread(target=change_leaders, args=(site, check))
    changes.start()
    return changes.join


def with_kubelet(site, check):
    """Runs what needs a kubelet and a gateway; returns whether the replicas run."""
    if not check("is prepared", site.prepare) or not check("has one leader of two", site.start):
        return False
    check("tokens are kept in the cluster", lambda: tokens(site))
    if check("kubelet joins with a token alone", lambda: join(site)):
        check("names that are not the node's are denied", lambda: foreign_name(site))
    check("gateway is given its certificates", lambda: enrolment.by_api_server(site.enrolled))
    check("token that was deleted gets nothing", lambda: deleted_token(site))
    return True


def change_leaders(site, check):
    """Takes the leader away in every manner, and ends the replicas."""
    with contextlib.suppress(Interrupted):
        try:
            for fault in (killed, killed, paused, stopped):
                name = f"leader is {fault.__name__} under CSRs"
                check(name, lambda fault=fault: change(site, fault))
            check("asks for nothing that the manifest withholds", lambda: permitted(site))
        finally:
            site.stop()


def tokens(site):
    """Creates, lists, describes, expires and deletes tokens as Secrets."""
    site.token = site.tokens("create", "--ttl", "1h", "--description", "rack 7").strip()
    name = site.token.split(".")[0]
    expect(name in site.tokens("list") and "rack 7" in site.tokens("list"), site.tokens("list"))
    expect(f"kube-system/bootstrap-token-{name}" in site.tokens("describe", name), "describe")
    other = site.tokens("create").strip().split(".")[0]
    expect("expires" in site.tokens("expire", other), "expire")
    expect("expired" in site.tokens("describe", other), "it is not expired")
    expect(other in site.tokens("delete", "--expired"), "it is not deleted")
    expect(other not in site.tokens("list"), "it is still there")


def join(site):
    """Starts the kubelet with a token alone, as a node that the cluster does not know."""
    cluster = site.cluster
    node = cluster.env["NODE_NAME"]
    joined = cluster.state / "node" / "joined"
    shutil.rmtree(joined, ignore_errors=True)
    own = Path(cluster.env["CONF_DIR"]) / "bootstrap.kubeconfig"
    server, ca = cluster.env["APISERVER_URL"], cluster.path("ca.crt")
    own.write_text(KUBECONFIG.format(server=server, ca=ca, token=site.token))
    before = set(site.csrs())
    cluster.admin("delete", "node", node)
    cluster.restart("kubelet")
    new = [csr for name, csr in site.csrs().items() if name not in before]
    by_signer = {csr["spec"]["signerName"]: csr for csr in new}
    first, serving = by_signer[KUBELET_CLIENT], by_signer[SERVING]
    same(first["spec"]["username"], f"system:bootstrap:{site.token.split('.')[0]}", "who asked first")
    same(serving["spec"]["username"], f"system:node:{node}", "who asked for the serving certificate")
    message = serving["status"]["conditions"][0]["message"]
    expect("every name is among the addresses of node" in message, message)
    expect("kubelet-client-current.pem" in (joined / "kubeconfig").read_text(), "the kubelet's kubeconfig")
    # The gateway ends TLS and verifies the kubelet by the CA that signed it.
    for verb, *rest in (("exec", "--", "echo", "joined"), ("logs", "--tail=1")):
        arguments = [verb, "bb", "-c", "lines", *rest]
        until(lambda arguments=arguments: answers(cluster, arguments), DECISION_S, f"{verb} answers")
    verified = cluster.gateway.total("verifications_total", result="verified")
    expect(verified > 0, "the gateway has verified nothing")


def foreign_name(site):
    """A node that asks for another address is denied, and told why."""
    cluster = site.cluster
    node = cluster.env["NODE_NAME"]
    pem = cluster.state / "node" / "joined" / "kubelet-client-current.pem"
    request = make_request(site, node, "IP:192.0.2.77")
    context = ssl.create_default_context(cafile=cluster.path("ca.crt"))
    context.load_cert_chain(pem)
    usages = ["digital signature", "server auth"]
    post(site, context, None, "foreign-name", SERVING, usages, request)

    def denied():
        conditions = site.csrs()["foreign-name"]["status"].get("conditions", [])
        return next((each for each in conditions if each["type"] == "Denied"), None)

    message = until(denied, DECISION_S, "a denial")["message"]
    expect("IP address 192.0.2.77 is not among the addresses of node" in message, message)


def deleted_token(site):
    """A CSR whose bootstrap token is gone when it is looked at is denied."""
    for replica in site.replicas:
        replica.process.end(signal.SIGTERM)
    token = site.tokens("create").strip()
    ask(site, token, "late")
    site.tokens("delete", token.split(".")[0])
    for replica in site.replicas:
        replica.start()

    def decided():
        return site.csrs()["late"]["status"].get("conditions")

    condition = until(decided, DECISION_S, "a decision")[0]
    same(condition["type"], "Denied", "the decision")
    expect("there is no bootstrap token" in condition["message"], condition["message"])


def killed(leader):
    """Ends the leader without a warning."""
    leader.process.end(signal.SIGKILL)


def paused(leader):
    """Stops the leader's time: it still believes that it leads when it goes on."""
    leader.process.send(signal.SIGSTOP)


def stopped(leader):
    """Ends the leader in order: it gives the Lease up."""
    same(leader.process.end(signal.SIGTERM), 0, "exit status of the leader")


def change(site, fault):
    """Takes the leader away in the middle of CSRs; each is signed once, by one of the replicas."""
    leader = site.leader()
    version = json.loads(site.cluster.admin("get", "csr", "-o", "json").out)["metadata"]["resourceVersion"]
    version = version or "0"
    watched = open(site.dir / f"watched-{site.count}", "w+b")  # noqa: SIM115: a process writes it
    kubectl = site.cluster.env["KUBECTL"]
    environment = dict(os.environ, KUBECONFIG=site.cluster.env["KUBECONFIG"], HOME=str(site.cluster.home))
    command = [kubectl, "get", "--raw", f"{CSRS}?watch=1&resourceVersion={version}"]
    marks = {replica.name: set(replica.signed()) for replica in site.replicas}
    with watched, Process(command, env=environment, stdout=watched):
        names = batch(site)
        half = threading.Thread(target=lambda: names.extend(batch(site)))
        half.start()
        fault(leader)
        half.join()
        # Nobody leads now, or somebody else does already.
        names += batch(site)
        heir = site.leader(but=leader) if fault is not paused else None
        if heir is None:
            heir = next(replica for replica in site.replicas if replica is not leader)
            until(heir.leads, CHANGE_S, lambda: f"the heir leads: {heir.tail()}")
            leader.process.send(signal.SIGCONT)
            until(lambda: not leader.leads(), CHANGE_S, lambda: f"it leads no more: {leader.tail()}")
        names += batch(site)
        until(lambda: unsigned(site, names) == [], DECISION_S, lambda: f"signatures of {unsigned(site, names)}")
        until(lambda: len(history(watched)) >= len(names), START_S, "the watch to show them")
        seen = history(watched)
    same(len(set(names)), 4 * BATCH, "CSRs")
    for name in names:
        same(len(seen[name]["certificates"]), 1, f"certificates of {name}")
        same(seen[name]["decisions"], {"Approved"}, f"decisions about {name}")
    serials = [run(["openssl", "x509", "-noout", "-serial"], stdin=pem).text for pem in certificates(seen, names)]
    same(len(set(serials)), len(names), "serial numbers")
    signed = [name for replica in site.replicas for name in replica.signed() if name not in marks[replica.name]]
    twice = {name for name in signed if signed.count(name) > 1}
    same(twice, set(), "CSRs that two replicas, or one twice, say they have signed")
    # What the leader had sent when it was taken away, and did not come to log.
    missing = set(names) - set(signed)
    expect(len(missing) <= AT_A_TIME, f"nobody says to have signed {missing}")
    expect(set(heir.signed()) & set(names), f"the heir has signed none: {heir.tail()}")
    if not leader.process.running():
        leader.start()


def permitted(site):
    """With the shipped manifest, nothing that a replica asked for was forbidden."""
    for replica in site.replicas:
        told = [line for line in replica.log.read_text().splitlines() if "forbids" in line]
        same(told, [], f"refusals that replica {replica.name} met")
        metrics = replica.get("/metrics")[1]
        forbidden = [line for line in metrics.splitlines() if 'cause="forbidden"' in line]
        same(forbidden, [], f"forbidden requests of replica {replica.name}")


def batch(site):
    """Asks for client certificates of nodes, one after the other; returns the names of the CSRs."""
    names = []
    for _ in range(BATCH):
        site.count += 1
        names.append(f"change-{site.count}")
        ask(site, site.token, names[-1])
    return names


def ask(site, token, name):
    """Asks for a node's client certificate with a bootstrap token."""
    request = site.dir / "ghost.csr"
    pem = request.read_bytes() if request.exists() else make_request(site, "ghost", None)
    context = ssl.create_default_context(cafile=site.cluster.path("ca.crt"))
    post(site, context, token, name, KUBELET_CLIENT, ["digital signature", "client auth"], pem)


def make_request(site, node, names):
    """Makes a PKCS#10 request of a node's form."""
    more = ["-addext", f"subjectAltName={names}"] if names else []
    key, out = site.dir / f"{node}.key", site.dir / f"{node}.csr"
    run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        + ["-keyout", key, "-out", out, "-subj", f"/O=system:nodes/CN=system:node:{node}", *more]
    )
    return out.read_bytes()


def post(site, context, token, name, signer, usages, request):
    """Creates a CSR over a connection of its own."""
    host, port = site.cluster.env["APISERVER_URL"].removeprefix("https://").rsplit(":", 1)
    body = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {"request": base64.b64encode(request).decode(), "signerName": signer, "usages": usages},
    }
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=context)
    try:
        connection.request("POST", CSRS, json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        same(answer.status, 201, f"answer to CSR {name} ({short(text)})")
    finally:
        connection.close()


def unsigned(site, names):
    """Returns which of these CSRs have no certificate."""
    csrs = site.csrs()
    return [name for name in names if not csrs[name]["status"].get("certificate")]


def history(watched):
    """Returns what a watch has shown of each CSR: certificates and decisions that it ever had."""
    seen = {}
    size = os.fstat(watched.fileno()).st_size
    for line in os.pread(watched.fileno(), size, 0).decode().splitlines():
        try:
            item = json.loads(line)["object"]
        except ValueError:
            continue  # The last line is not whole yet.
        status = item.get("status", {})
        entry = seen.setdefault(item["metadata"]["name"], {"certificates": set(), "decisions": set()})
        if status.get("certificate"):
            entry["certificates"].add(status["certificate"])
        entry["decisions"] |= {each["type"] for each in status.get("conditions", [])}
    return {name: entry for name, entry in seen.items() if entry["certificates"]}


def certificates(seen, names):
    """Returns the certificates in PEM."""
    return [base64.b64decode(next(iter(seen[name]["certificates"]))) for name in names]
