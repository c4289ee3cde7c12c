"""The agent as a DaemonSet's pod: the shipped manifest, in a container that is denied io_uring.

No secret is distributed: the pod's token becomes the certificate of its node's agent, by an
authority beside the cluster that has the API server review it. There is no scheduler here, so the
pod is bound to the node by this program, as a scheduler would.
"""

import json
from pathlib import Path

import verbs
from authority import Authority
from processes import run
from wait import expect, same, short, until

# How long a pod may take to be ready, and the gateway to see that an agent is gone, in seconds.
POD_S = 120
GONE_S = 60

MANIFEST = Path(__file__).resolve().parents[2] / "control/dist/agent-daemonset.yaml"

NAMESPACE = "eyesplice"
PROFILE = "runtime-default-without-io-uring.json"

# What newer runtimes leave out of their default profiles (containerd since 1.7.4).
IO_URING = {"io_uring_setup", "io_uring_enter", "io_uring_register"}

# What is tried through the pod: the streams of each kind.
BODIES = (
    *("exec_exit_codes", "exec_stdin_ends", "exec_terminal", "attach"),
    *("port_forward", "logs", "follow_log"),
)

AUTHORITY = """\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen:
  address: "{address}:0"
  tlsCertFile: {pki}/apiserver.crt
  tlsPrivateKeyFile: {pki}/apiserver.key
authentication:
  tokenReview:
    server: {server}
    caFile: {pki}/ca.crt
    clientCertFile: {pki}/eyesplice-kubelet-client.crt
    clientKeyFile: {pki}/eyesplice-kubelet-client.key
store: {{path: authority.redb}}
signers:
- signerName: eyesplice.dev/agent-client
  certFile: {pki}/tunnel-ca.crt
  keyFile: {pki}/tunnel-ca.key
approval:
  inventoryFile: {pki}/inventory.yaml
  agents:
    namespace: eyesplice
    serviceAccount: eyesplice-agent
    audience: eyesplice.dev/agent
    denyFile: {deny}
admin: {{address: "{address}:0", insecureNonLoopback: true}}
"""


class DaemonSet:
    """The checks of one cluster behind a NAT whose gateway terminates."""

    def __init__(self, cluster, lane, report):
        self.cluster = cluster
        self.lane = lane
        self.report = report
        self.authority = Authority(cluster)
        # Where the sandbox of a gateway lets it read when it is named by a reload.
        self.deny = Path(cluster.env["PKI_DIR"]) / "deny.yaml"
        # Below the kubelet's own directory, or where that usually is, whatever it is called.
        node = Path(cluster.state) / "node"
        self.profiles = [node / place / "seccomp" for place in ("kubelet", "var-lib/kubelet")]

    def check(self, name, body):
        """Runs one check; returns whether it held."""
        return self.report.check(f"{self.cluster.name} daemon set {name}", body) is not None

    def run_all(self):
        """Runs every check; the cluster gets the agent of its host back."""
        try:
            if not self.check("pod becomes the agent of its node", self.start):
                return
            if not self.check("pod is denied io_uring and works with epoll", self.deny_io_uring):
                return
            self.verbs()
            self.check("pod that is revoked gets no certificate", self.revoke)
        finally:
            self.cluster.pod_agent = None
            self.cluster.admin("delete", "namespace", NAMESPACE, "--wait=false", check=False)
            self.authority.stop()
        self.check("agent of the host takes over again", lambda: self.cluster.restart("agent"))

    def start(self):
        """Applies the manifest as it is shipped, with this cluster's addresses and CAs."""
        cluster = self.cluster
        self.revoked("nobody")
        text = AUTHORITY.format(
            address=self.authority.address,
            pki=cluster.env["PKI_DIR"],
            server=cluster.env["APISERVER_URL"],
            deny=self.deny,
        )
        (self.authority.dir / "authority.yaml").write_text(text)
        self.authority.launch()
        also = f"tunnel:\n  nodeAgents: true\n  denyFile: {self.deny}\n  agents:"
        cluster.gateway.edit(("tunnel:\n  agents:", also))
        run(["kill", "-s", "KILL", cluster.env["AGENT_PID"]])
        until(lambda: self.agents() == 0, GONE_S, "the end of the host's agent")
        cluster.load_image()
        cluster.admin("apply", "-f", "-", stdin=self.manifest().encode())
        self.ready()

    def agents(self):
        """How many agents the gateway has."""
        return self.cluster.gateway.metric("tunnel_agents")

    def manifest(self):
        """The shipped manifest, filled in as its head says."""
        env = self.cluster.env
        text = MANIFEST.read_text()
        gateway = next(
            line.split('"')[1]
            for line in (Path(env["CONF_DIR"]) / "tunnel-listener.yaml").read_text().splitlines()
            if "address:" in line
        )
        for old, new in (
            ("authority.example:6443", f"{self.authority.address}:{self.authority.port}"),
            ("gateway.example:8133", gateway),
            (
                "image: localhost/eyesplice:0.1.0",
                "image: localhost/eyesplice:1\n        imagePullPolicy: Never",
            ),
        ):
            expect(old in text, f"the manifest has no {old!r}")
            text = text.replace(old, new)
        for name in ("ca.crt", "tunnel-ca.crt", "egress-ca.crt"):
            place = f"    # pki/{name}"
            line = next(line for line in text.splitlines() if line.startswith(place))
            pem = self.cluster.path(name).read_text().splitlines()
            text = text.replace(line, "\n".join(f"    {each}" for each in pem))
        return text

    def pods(self):
        """Returns the pods of the agent."""
        listed = self.cluster.admin("-n", NAMESPACE, "get", "pods", "-o", "json")
        pods = json.loads(listed.out)["items"]
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def bound(self):
        """Binds the pod that the DaemonSet made to the node, as a scheduler would.

        Returns it once it is there.
        """
        for pod in self.pods():
            name = pod["metadata"]["name"]
            if pod["spec"].get("nodeName"):
                return pod
            node = self.cluster.env["NODE_NAME"]
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "target": {"apiVersion": "v1", "kind": "Node", "name": node},
            }
            path = f"/api/v1/namespaces/{NAMESPACE}/pods/{name}/binding"
            asked = json.dumps(binding).encode()
            self.cluster.admin("create", "--raw", path, "-f", "-", stdin=asked, check=False)
        return None

    def ready(self, unlike=None):
        """Waits until a pod, another one than `unlike`, is ready; returns it."""

        def found():
            pod = self.bound()
            if pod is None or pod["metadata"]["uid"] == unlike:
                return None
            conditions = pod.get("status", {}).get("conditions", [])
            ready = [each["status"] for each in conditions if each["type"] == "Ready"]
            return pod if ready == ["True"] else None

        pod = until(found, POD_S, lambda: f"a ready pod: {self.told()}")
        name = f"node:{self.cluster.env['NODE_NAME']}"
        url = self.cluster.env["GATEWAY_ADMIN_URL"].removeprefix("http://")
        shown = run([self.cluster.eyesplice, "tunnel", "status", "--admin", url]).text
        expect(f"\n{name} " in shown, f"{name} in: {shown}")
        self.cluster.pod_agent = name
        return pod

    def told(self):
        """What there is to know of a pod that is not ready."""
        described = self.cluster.admin("-n", NAMESPACE, "describe", "pods", check=False).text
        return f"{self.log()[-2000:]} {self.authority.tail()} {short(described[-3000:], 3000)}"

    def log(self):
        """The log of the pod, from the node's disk: the kubelet is behind the agent."""
        logs = Path(self.cluster.state).glob(f"node/var-log/pods/{NAMESPACE}_*/agent/*.log")
        newest = sorted(logs, key=lambda path: path.stat().st_mtime)
        return newest[-1].read_text(errors="replace") if newest else "no log yet"

    def deny_io_uring(self):
        """Runs the pod under the runtime's default profile, less the calls that newer ones deny."""
        before = self.ready()
        seccomp = self.seccomp(before)
        for rule in seccomp["syscalls"]:
            rule["names"] = [name for name in rule["names"] if name not in IO_URING]
        same(seccomp["defaultAction"], "SCMP_ACT_ERRNO", "what the profile does by default")
        for place in self.profiles:
            place.mkdir(parents=True, exist_ok=True)
            (place / PROFILE).write_text(json.dumps(seccomp))
        profile = {"type": "Localhost", "localhostProfile": PROFILE}
        container = {"name": "agent", "securityContext": {"seccompProfile": profile}}
        patch = json.dumps({"spec": {"template": {"spec": {"containers": [container]}}}})
        self.cluster.admin("-n", NAMESPACE, "patch", "daemonset", "eyesplice-agent", "-p", patch)
        pod = self.ready(unlike=before["metadata"]["uid"])
        names = {name for rule in self.seccomp(pod)["syscalls"] for name in rule["names"]}
        expect(names and not names & IO_URING, "the profile of the pod still allows io_uring")
        url = "http://127.0.0.1:9464/metrics"
        told = self.cluster.in_node("curl", "-s", url).text
        rows = [line for line in told.splitlines() if line.startswith("eyesplice_strategy_info")]
        expect(any('io="epoll"' in row for row in rows), f"epoll in {rows}")
        expect(not any('io="io_uring"' in row for row in rows), f"no io_uring in {rows}")

    def seccomp(self, pod):
        """The seccomp profile that the runtime gave to the pod's container."""
        (status,) = pod["status"]["containerStatuses"]
        container = status["containerID"].rsplit("/", 1)[1]
        tasks = "node/containerd-run/io.containerd.runtime.v2.task/k8s.io"
        path = Path(self.cluster.state) / tasks / container / "config.json"
        return json.loads(path.read_text())["linux"]["seccomp"]

    def verbs(self):
        """Every kind of stream goes through the pod."""
        for name in BODIES:
            body = getattr(verbs, name)
            self.check(f"kubectl {name}", lambda body=body: body(self.lane))

    def revoked(self, name):
        """Adds an agent to the deny list of gateway and authority."""
        run([self.cluster.eyesplice, "tunnel", "revoke", name, "--deny-file", self.deny])

    def revoke(self):
        """Ends the pod's agent at once, and gives the next pod no certificate."""
        name = self.cluster.pod_agent
        self.revoked(name)
        until(lambda: self.agents() == 0, GONE_S, "the end of a revoked agent")
        (pod,) = self.pods()
        delete = ["delete", "pod", pod["metadata"]["name"], "--wait=false", "--grace-period=1"]
        self.cluster.admin("-n", NAMESPACE, *delete)

        def refused():
            found = self.bound()
            if found is None or found["metadata"]["uid"] == pod["metadata"]["uid"]:
                return None
            return "is revoked" in self.log()

        until(refused, POD_S, lambda: f"a pod that gets no certificate: {self.told()}")
        same(self.agents(), 0, "agents of the gateway")
