"""kubectl through a front: the gateway in place of the API server, streams past it where they can.

The verbs are those of every other gateway (`FrontLane`); what is particular to a front is checked
by `Front`: that it answers as the API server does, that streams on the short way outlive the API
server, and that admission still holds.
"""

import contextlib
import http.client
import json
import os
import re
import shlex
import signal
import ssl
import subprocess
import threading
from pathlib import Path
from urllib.parse import urlsplit

import documents
import processes
from lane import AUDIT_S, CARRIED, KUBECTL_S, KUBELET, Lane
from wait import expect, same, until

DIST = Path(__file__).resolve().parents[2] / "control/dist"

# What the front does with streams of pods; a run goes through both.
WAYS = THROUGH, SHORT = "through", "short"

# Beside the API server's own port.
PORT = 6444
NODES_PORT = 6445

LISTENER = "kubectl"

LISTENERS = """\
- name: kubectl
  front:
    address: "@IP@:6444"
    tlsCertFile: @PKI@/apiserver.crt
    tlsPrivateKeyFile: @PKI@/apiserver.key
    clientCAFile: @PKI@/ca.crt
- name: nodes
  apiserver: {address: "@IP@:6445"}
"""

SECTIONS = """\
apiservers:
  servers: ["@SERVER@"]
  caFile: @PKI@/ca.crt
  clientCertFile: @PKI@/eyesplice-kubelet-client.crt
  clientKeyFile: @PKI@/eyesplice-kubelet-client.key
front:
  frontProxyClientCertFile: @PKI@/front-proxy-client.crt
  frontProxyClientKeyFile: @PKI@/front-proxy-client.key
"""

# Nothing that is built into this cluster's API server looks at streams.
SHORT_WAY = ("\nfront:\n", "\nfront:\n  shortWay: {admission: trusted}\n")

# Who names users to API servers, and to nobody else.
FRONT_PROXY = "a front proxy"

# Actions that the front sees; the others pass as any request does.
STREAMS = ("exec", "attach", "portForward", "logs")

# Streams that run while the API server dies, of each kind.
OUTLIVING = 10

# What a webhook that nobody answers does to every exec.
WEBHOOK = {
    "apiVersion": "admissionregistration.k8s.io/v1",
    "kind": "ValidatingWebhookConfiguration",
    "metadata": {"name": "no-streams"},
    "webhooks": [
        {
            "name": "no-streams.eyesplice.test",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "timeoutSeconds": 1,
            "clientConfig": {"url": "https://127.0.0.1:1/never"},
            "rules": [
                {
                    "apiGroups": [""],
                    "apiVersions": ["v1"],
                    "operations": ["CONNECT"],
                    "resources": ["pods/exec", "pods/attach", "pods/portforward"],
                }
            ],
        }
    ],
}


def allow(cluster):
    """Gives the gateway the rights of the short way at the API server, as they are shipped."""
    cluster.admin("apply", "-f", str(DIST / "front-rbac.yaml"))


def configure(cluster):
    """Adds the front to the configuration of a gateway, and kubeconfigs that point at it."""
    path = Path(cluster.env["CONF_DIR"]) / "gateway.yaml"
    text = path.read_text().replace("egress:\n", _fill(cluster, LISTENERS) + "egress:\n", 1)
    path.write_text(text + _fill(cluster, SECTIONS))
    known = Path(cluster.env["KUBECONFIG"]).read_text()
    for name, port in (("front", PORT), ("nodes", NODES_PORT)):
        file = cluster.state / f"{name}.kubeconfig"
        file.touch(0o600)
        file.write_text(re.sub(r"(server: \S+):6443", rf"\1:{port}", known))


def _fill(cluster, text):
    server = urlsplit(cluster.env["APISERVER_URL"])
    words = {
        "IP": server.hostname,
        "PKI": cluster.env["PKI_DIR"],
        "SERVER": cluster.env["APISERVER_URL"],
    }
    for name, value in words.items():
        text = text.replace(f"@{name}@", value)
    return text


class FrontLane(Lane):
    """A kubectl whose kubeconfig points at the front."""

    def __init__(self, cluster, path, version, asked, data, way):
        super().__init__(cluster, path, version, asked, data)
        self.way = way
        self.tag = f"{asked}-{way}"
        self.env["KUBECONFIG"] = str(cluster.state / "front.kubeconfig")

    def audited(self, action, body, count=1, more=False, container="c", reasons=("completed",)):
        """As for every lane, by the lines of the front's listener."""
        audit = self.cluster.gateway.audit
        mark = audit.mark()
        body()
        if action not in STREAMS:
            return
        asked = {"kind": "end", "listener": LISTENER, "action": action, "pod": self.pod}

        def ended():
            carried = [line for line in audit.since(mark, **asked) if line["status"] in CARRIED]
            return carried if len(carried) >= count else None

        def told():
            return f"lines of {count} {action}: {audit.since(mark, listener=LISTENER)}"

        lines = until(ended, AUDIT_S, told)
        expect(
            more or len(lines) == count, f"{len(lines)} streams of {action}, not {count}: {lines}"
        )
        for line in lines:
            self._check_front(line)
            self.protocols.add(line.get("protocol", "HTTP/1.1"))

    def _check_front(self, line):
        same(line["path"], self.way, f"the way of {line}")
        expect(line["bytesDown"] > 0, f"no bytes down: {line}")
        same(line.get("namespace"), "default", f"namespace of {line}")
        expect(line.get("user"), f"no user: {line}")
        if self.way == SHORT:
            same(line.get("node"), self.cluster.env["NODE_NAME"], f"node of {line}")
            verification = line["verification"]
            same(verification["result"], "verified", f"verification in {line}")
            same(set(verification["identity"].split(",")), KUBELET, f"identity in {line}")


class Front:
    """The checks of one cluster with a front, which has the short way by now."""

    def __init__(self, cluster, lane, report):
        self.cluster = cluster
        self.lane = lane
        self.report = report

    def run_all(self):
        """Runs them in order; the last one ends the API server for a while."""
        bodies = [self.nodes_listener_leads_to_the_api_server, self.kubeconfig_of_the_guide]
        bodies += [self.answers_as_the_api_server_does]
        for body in [*bodies, self.admission_holds, self.streams_outlive_the_api_server]:
            name = f"{self.cluster.name} {body.__name__}"
            self.report.check(name, body)

    def nodes_listener_leads_to_the_api_server(self):
        """Its TLS is the API server's own, and so is what it answers."""
        env = dict(self.lane.env, KUBECONFIG=str(self.cluster.state / "nodes.kubeconfig"))
        told = processes.run([self.lane.path, "get", "--raw", "/readyz"], KUBECTL_S, env=env)
        same(told.text, "ok", "readyz")

    def kubeconfig_of_the_guide(self):
        """What docs/front.md says of kubeconfigs, by its own commands, with the cluster's names."""
        file = self.cluster.state / "guide.kubeconfig"
        file.touch(0o600)
        file.write_text(Path(self.cluster.env["KUBECONFIG"]).read_text())
        env = dict(self.lane.env, KUBECONFIG=str(file))
        host = urlsplit(self.cluster.env["APISERVER_URL"]).hostname
        said = {}
        for command in documents.commands("docs/front.md", "Set it up", "Several gateways"):
            if command.startswith("kubectl "):
                words = shlex.split(command.replace("k8s.example", host))[1:]
                asked = [self.lane.path, *words]
                said[words[0]] = processes.run(asked, KUBECTL_S, env=env, check=False)
        same(list(said), ["config", "auth", "get"], "the commands of docs/front.md")
        expect(f"https://{host}:{PORT}" in file.read_text(), f"{file} does not point at the front")
        # Older API servers do not say who a user is.
        known = self.cluster.release >= (1, 28)
        same((said["config"].code, said["auth"].code == 0), (0, known), said["auth"].err)
        same(said["get"].text, "ok", "readyz")

    def answers_as_the_api_server_does(self):
        """Identities by requests, asked directly and through it: the same status and body."""
        rows = 0
        for who, identity in self._identities().items():
            for method, path, headers in self._requests():
                asked = f"{method} {path} by {who}"
                through = self._ask(PORT, identity, method, path, headers)
                if who == FRONT_PROXY:
                    # The one difference: whom it names is nothing to another front.
                    same(through[0], 401, f"status of {asked}, through the front")
                else:
                    direct = self._ask(6443, identity, method, path, headers)
                    same(through, direct, f"{asked}, through the front and directly")
                rows += 1
        self.report.say(
            f"{self.cluster.name}: {rows} requests are answered as the API server answers them"
        )

    def _identities(self):
        """Returns (certificate, authorization) of users by what they are."""
        cluster = self.cluster
        token = (Path(cluster.env["CONF_DIR"]) / "controller-manager.token").read_text().strip()

        def client(name):
            return cluster.path(f"{name}.crt"), cluster.path(f"{name}.key")

        return {
            "nobody": (None, None),
            "a token": (None, f"Bearer {token}"),
            "a token that is none": (None, "Bearer no-such-token"),
            "no bearer": (None, "Basic YTpi"),
            "a user of kubelets": (client("eyesplice-kubelet-client"), None),
            "the same with a token": (client("eyesplice-kubelet-client"), f"Bearer {token}"),
            "the API server's client": (client("apiserver-kubelet-client"), None),
            "another CA's client": (client("egress-client"), None),
            "the same with a token that is one": (client("egress-client"), f"Bearer {token}"),
            FRONT_PROXY: (client("front-proxy-client"), None),
        }

    def _requests(self):
        pod = f"/api/v1/namespaces/default/pods/{self.lane.pod}"
        forged = {"X-Remote-User": "system:admin", "X-Remote-Group": "system:masters"}
        return [
            ("GET", "/version", {}),
            ("GET", "/api/v1/namespaces/kube-system", {}),
            ("GET", "/api/v1/namespaces/no-such", {}),
            ("GET", "/api/v1/namespaces/kube-system", forged),
            ("GET", "/api/v1/namespaces/kube-system", {"x_remote_user": "system:admin"}),
            ("GET", "/api/v1/namespaces/kube-system", {"Impersonate-User": "jane"}),
            ("GET", f"{pod}/log?container=c&tailLines=0", {}),
            ("GET", f"{pod}/log?container=no-such", {}),
            ("GET", f"{pod}/log?container=c&tailLines=x", {}),
            ("GET", "/api/v1/namespaces/default/pods/no-such/log", {}),
            ("GET", "/api/v1/namespaces/default/pods/bb/log", {}),
            ("GET", f"{pod}/exec?container=c&command=true&stdout=true", {}),
            ("POST", f"{pod}/exec?container=c&command=true&stdout=true", {}),
            ("POST", f"{pod}/exec?container=no-such&command=true&stdout=true", {}),
            ("POST", f"{pod}/attach?container=c&stdin=true", {}),
            ("POST", "/api/v1/namespaces/default/pods/no-such/portforward", {}),
            ("DELETE", "/api/v1/namespaces/default/pods/no-such", {}),
        ]

    def _ask(self, port, identity, method, path, headers):
        """Asks once; returns the status, the type and the body without what differs each time."""
        certificate, authorization = identity
        context = ssl.create_default_context(cafile=self.cluster.path("ca.crt"))
        if certificate:
            context.load_cert_chain(*certificate)
        if authorization:
            headers = dict(headers, Authorization=authorization)
        host = urlsplit(self.cluster.env["APISERVER_URL"]).hostname
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=KUBECTL_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            body = reply.read().decode(errors="replace")
        with contextlib.suppress(ValueError):
            body = json.loads(body)
        return reply.status, reply.getheader("Content-Type"), body

    def admission_holds(self):
        """A webhook that fails denies every stream from the next one on, and none once it is gone."""
        admin = self.cluster.admin
        admin("apply", "-f", "-", stdin=json.dumps(WEBHOOK).encode())
        try:
            for websocket in ("false", "true"):
                env = dict(self.lane.env, KUBECTL_REMOTE_COMMAND_WEBSOCKETS=websocket)
                for arguments in (
                    ["exec", self.lane.pod, "-c", "c", "--", "true"],
                    ["attach", self.lane.pod, "-c", "c"],
                ):
                    ended = processes.run(
                        [self.lane.path, *arguments], KUBECTL_S, env=env, check=False
                    )
                    expect(ended.code != 0, f"{arguments[0]} passed a webhook that denies it")
                    expect("no-streams" in ended.err, f"{arguments[0]}: {ended.err}")
        finally:
            admin("delete", "validatingwebhookconfiguration", "no-streams")
        # For as long as an answer of the API server counts as new, they go through it.
        until(
            lambda: self._way() == SHORT,
            AUDIT_S,
            "the short way of an exec that no webhook concerns",
        )

    def _way(self):
        """Runs a command; returns which way it went."""
        audit = self.cluster.gateway.audit
        mark = audit.mark()
        self.lane.run("exec", self.lane.pod, "-c", "c", "--", "true")
        wanted = {"kind": "end", "listener": LISTENER, "action": "exec"}
        return audit.await_lines(mark, 1, AUDIT_S, "an exec", **wanted)[0]["path"]

    def streams_outlive_the_api_server(self):
        """exec and logs -f go on while there is no API server, and new ones are refused."""
        with contextlib.ExitStack() as stack:

            def start(*arguments):
                return stack.enter_context(self.lane.start(*arguments, stdin=subprocess.PIPE))

            execs = [
                Talk(start("exec", "-i", self.lane.pod, "-c", "c", "--", "cat"))
                for _ in range(OUTLIVING)
            ]
            logs = [
                start("logs", "-f", "--tail=1", self.lane.pod, "-c", "c") for _ in range(OUTLIVING)
            ]
            for number, talk in enumerate(execs):
                talk.says(f"before {number}")
            for each in logs:
                expect(each.stdout.readline(), "a line of a followed log")
            self.cluster.kill_apiserver()
            for number, talk in enumerate(execs):
                talk.says(f"while it is gone {number}")
            for each in logs:
                expect(
                    each.stdout.readline().startswith(b"tick"),
                    "a line while the API server is gone",
                )
            refused = self.lane.run("exec", self.lane.pod, "-c", "c", "--", "true", check=False)
            expect(refused.code != 0, "a stream began without an API server")
            self.cluster.restart("kube-apiserver")
            for number, talk in enumerate(execs):
                talk.says(f"after {number}")
                talk.ends()
            for each in logs:
                expect(each.running(), "a followed log ended")
                each.end(signal.SIGINT)

        def works():
            ended = self.lane.run("exec", self.lane.pod, "-c", "c", "--", "true", check=False)
            return ended.code == 0

        until(works, AUDIT_S, "an exec after the API server came back")


class Talk:
    """An exec of cat, which says what it is given."""

    def __init__(self, process):
        self.process = process

    def says(self, text):
        """Gives it a line, and waits for that line."""
        timer = threading.Timer(KUBECTL_S, self.process.end)
        timer.start()
        try:
            os.write(self.process.stdin.fileno(), f"{text}\n".encode())
            line = b""
            while not line.endswith(b"\n") and (chunk := self.process.stdout.read(1)):
                line += chunk
        finally:
            timer.cancel()
        same(line.decode(), f"{text}\n", f"what comes back ({self.process.err()})")

    def ends(self):
        """Ends its input; it ends well."""
        self.process.stdin.close()
        same(self.process.wait(KUBECTL_S), 0, f"its exit status ({self.process.err()})")
