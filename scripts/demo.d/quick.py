"""Shows eyesplice at work in seconds: a verified kubelet, one that is refused with its remedy, and
the audit log.

    quick.py --eyesplice PATH

No Kubernetes runs: the kubelet and the API server are stood in for by a hundred lines of Python.
The gateway between them, its certificates and its checks are the real ones. Network and addresses
are in a namespace of its own.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts/e2e.d"))

import processes  # noqa: E402 (found below the path above)
import standin  # noqa: E402
from wait import Failed, until  # noqa: E402

SERVER, NODE_ADDRESS, NODE = "10.0.0.1", "10.0.0.11", "worker-1"

LOGS = "/containerLogs/default/web/app?tailLines=2"
EXEC = "/exec/default/web/app?command=cat&input=1&output=1"

TOOLS = ("ip", "openssl", "unshare")

# Exit status of a run that cannot be made here.
SKIPPED = 77

# How long a command, a start, and an audit line may take, in seconds, on a machine that has other
# things to do.
PATIENCE_S = 60

WIDTH = 96

GATEWAY = f"""\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {{path: egress.sock, allowedUIDs: [0]}}
egress:
  rules:
  - {{name: kubelets, cidrs: [10.0.0.0/16], ports: [10250], action: terminate}}
egressCA: {{certFile: pki/egress-ca-chain.crt, keyFile: pki/egress-ca.key}}
kubelet:
  caFile: pki/kubelet-serving-ca.crt
  clientCertFile: pki/eyesplice-kubelet-client.crt
  clientKeyFile: pki/eyesplice-kubelet-client.key
  apiserverClientCAFile: pki/ca.crt
  inventoryFile: pki/inventory.yaml
audit: {{path: audit.log}}
"""

class Show:
    """Tells what is done, and counts what held."""

    def __init__(self):
        styled = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.bold, self.plain = ("\033[1m", "\033[0m") if styled else ("", "")
        self.held, self.broken = 0, []

    def headline(self, text):
        """Begins a part."""
        print(f"\n{self.bold}== {text}{self.plain}", flush=True)

    def words(self, text):
        """Explains."""
        print(textwrap.indent(textwrap.fill(" ".join(text.split()), WIDTH), "   "), flush=True)

    def output(self, text):
        """What a command, a file or a peer says, in lines that fit."""
        for line in text.rstrip().splitlines():
            print(textwrap.indent("\n".join(textwrap.wrap(line, WIDTH) or [""]), "   "), flush=True)

    def command(self, text):
        """What is run."""
        print(f" {self.bold}$ {text}{self.plain}", flush=True)

    def check(self, what, holds):
        """Counts and tells whether something holds."""
        if holds:
            self.held += 1
        else:
            self.broken.append(what)
        print(f"   {'ok' if holds else 'NOT SO'}  {what}", flush=True)


class Demo:
    """The gateway and who stands on both sides of it."""

    def __init__(self, eyesplice, directory, show):
        self.eyesplice, self.directory, self.show = eyesplice, Path(directory), show
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["ip", "addr", "add", f"{SERVER}/16", "dev", "lo"],
            ["ip", "addr", "add", f"{NODE_ADDRESS}/16", "dev", "lo"],
        ):
            processes.run(command)
        self.kubelet, self.api_server, self.log = None, None, None

    def run(self, *arguments):
        """Runs and shows a command of eyesplice; returns its result."""
        self.show.command(" ".join(["eyesplice", *arguments]))
        command = ["env", "-C", self.directory, self.eyesplice, *arguments]
        ended = processes.run(command, PATIENCE_S, check=False)
        return ended

    def file(self, name):
        """A file of the tree of certificates."""
        return self.directory / "pki" / name

    def certificates(self):
        """Makes them, and has the kubelet show its own."""
        self.show.headline("Certificates for a control plane, one node and the gateway")
        whose = ["--apiserver", SERVER, "--node", f"{NODE}={NODE_ADDRESS}"]
        made = self.run("pki", "init", "pki", *whose)
        self.show.output("\n".join(made.text.splitlines()[-3:]))
        self.show.check("they are made", made.code == 0)
        replies = {"/healthz": "ok", LOGS: "GET / 200 3ms\nGET /favicon.ico 404 1ms\n"}
        self.kubelet = standin.Kubelet(NODE_ADDRESS, self.file("ca.crt"), replies)
        self.kubelet.show(self.file(f"kubelet-{NODE}.crt"), self.file(f"kubelet-{NODE}.key"))
        client = [self.file(f"apiserver-kubelet-client.{end}") for end in ("crt", "key")]
        egress = str(self.directory / "egress.sock")
        self.api_server = standin.ApiServer(egress, self.file("egress-ca.crt"), client)

    def gateway(self):
        """Configures, checks and starts the gateway."""
        self.show.headline("A gateway between them")
        (self.directory / "gateway.yaml").write_text(GATEWAY)
        self.show.command("cat gateway.yaml")
        self.show.output(GATEWAY[GATEWAY.index("egress:\n") :])
        dialled = self.run("check", "--dial", "gateway.yaml")
        self.show.output(dialled.text or dialled.err)
        self.show.check("every node of the inventory would pass", dialled.code == 0)
        self.show.command("eyesplice gateway --config gateway.yaml &")
        self.log = open(self.directory / "gateway.log", "ab")
        command = [self.eyesplice, "gateway", "--config", self.directory / "gateway.yaml"]
        running = processes.Process(command, stdout=self.log, stderr=self.log)

        def ready():
            if not running.running():
                raise Failed(f"the gateway ended: {Path(self.log.name).read_text()[-2000:]}")
            return Path(self.api_server.egress).exists()

        until(ready, PATIENCE_S, "the gateway's socket")

    def audit(self, field, value):
        """Returns the audit line of a stream that ended and has this value, once it is there."""

        def line():
            path = self.directory / "audit.log"
            text = path.read_text() if path.exists() else ""
            lines = [json.loads(line) for line in text.splitlines()]
            found = [line for line in lines if line["kind"] == "end" and line.get(field) == value]
            return found and found[-1]

        found = until(line, PATIENCE_S, f"an audit line with {field} {value}")
        self.show.words("The audit log has:")
        self.show.output(json.dumps(found))
        return found

    def verified(self):
        """Logs and an exec pass through a kubelet whose certificate is valid."""
        self.show.headline("kubectl logs web: the kubelet is who it should be")
        asked = f"{NODE_ADDRESS}:10250, and GETs {LOGS}."
        self.show.words(f"The API server's stand-in asks the gateway for {asked}")
        flags = {
            "--egress-selector-config-file": self.directory / "egress.yaml",
            "--kubelet-certificate-authority": self.api_server.ca,
        }
        (self.directory / "egress.yaml").write_text(f"udsName: {self.api_server.egress}\n")
        body = standin.request(flags, NODE_ADDRESS, self.api_server.client, LOGS)
        self.show.output(body)
        self.show.check("the log comes back", "favicon" in body)
        line = self.audit("action", "logs")
        identity = {"result": "verified", "identity": f"CN=system:node:{NODE},O=system:nodes"}
        self.show.check("the kubelet was verified by its name", line["verification"] == identity)

        self.show.headline("kubectl exec -i web -- cat")
        sent = b"what is typed\n" * 1000
        status, back = self.api_server.exec(NODE_ADDRESS, EXEC, sent)
        self.show.check("what is typed comes back", (status, back) == (101, sent))
        line = self.audit("action", "exec")
        seen = (line["pod"], line["container"], line["node"], line["bytesUp"])
        self.show.check("it says what was done where", seen == ("web", "app", NODE, len(sent)))
        whole = (self.directory / "audit.log").read_text()
        self.show.check("no command is in it", "command=" not in whole)

    def refused(self):
        """A kubelet with a certificate that it made itself is refused with the remedy."""
        self.show.headline("The same node with a certificate that nobody signed")
        self.show.words(
            """This is what every kubelet has until its CSR is approved, and what an impostor would
            show. An API server without --kubelet-certificate-authority takes it."""
        )
        made = self.directory / "self.crt", self.directory / "self.key"
        processes.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            + ["-nodes", "-days", "30", "-subj", f"/CN={NODE}@1795337824"]
            + ["-out", made[0], "-keyout", made[1]]
            + ["-addext", f"subjectAltName=DNS:{NODE},IP:{NODE_ADDRESS}"]
        )
        self.kubelet.show(*made)
        try:
            self.api_server.dial(NODE_ADDRESS).close()
            said = "it passed"
        except Failed as failure:
            said = str(failure)
        self.show.words("The kubectl user reads:")
        self.show.output(said)
        refused = f"502 kubelet {NODE} at {NODE_ADDRESS}:10250 "
        self.show.check("it is refused", said.startswith(refused))
        self.show.check("with the reason", "presented a self-signed certificate" in said)
        remedy = "set serverTLSBootstrap: true and approve its CSR"
        self.show.check("and the remedy", remedy in said)
        line = self.audit("reason", "unverified")
        seen = (line["verification"]["cause"], line["side"], line["status"])
        self.show.check("it says why, and which side", seen == ("self_signed", "upstream", 502))
        dialled = self.run("check", "--dial", "gateway.yaml")
        self.show.output(dialled.text)
        self.show.check("a check finds it before a user does", dialled.code == 1)


def enter():
    """Goes on in namespaces of its own; ends this program where that is not allowed."""
    if os.environ.get("EYESPLICE_QUICK") == "inside":
        return
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        skip(f"{', '.join(missing)} is not here")
    # Without root a user namespace gives what a network of its own needs.
    kinds = ["--net"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--net"]
    tried = subprocess.run(["unshare", *kinds, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        skip(f"no network namespace is to be had: {tried.stderr.strip()}")
    os.environ["EYESPLICE_QUICK"] = "inside"
    os.execvp("unshare", ["unshare", *kinds, sys.executable, "-B", *sys.argv])


def skip(why):
    """Ends this program, which cannot do its work here."""
    print(f"SKIPPED: quick demo: {why}")
    sys.exit(SKIPPED)


def main():
    """Shows it; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--eyesplice", required=True, type=lambda path: Path(path).resolve())
    options = parser.parse_args()
    enter()
    show = Show()
    show.headline("eyesplice in a minute, without Kubernetes")
    show.words(re.split(r"\n\n", __doc__)[2])
    with tempfile.TemporaryDirectory() as directory:
        try:
            demo = Demo(options.eyesplice, directory, show)
            demo.certificates()
            demo.gateway()
            demo.verified()
            demo.refused()
        except Failed as failure:
            show.check(str(failure), False)
        finally:
            processes.end_all()
    show.headline(f"{show.held} held, {len(show.broken)} did not")
    for what in show.broken:
        print(f"   not so: {what}")
    return 1 if show.broken else 0


if __name__ == "__main__":
    sys.exit(main())
