"""Executes the setups of docs/tunnel.md and docs/front.md as they stand, with the example files
that they name: in the namespaces of readme.py, where a kubelet is stood in for.
"""

import json
import os
import shutil
from pathlib import Path

import documents
import processes
import standin
from documents import ROOT
from wait import Failed, expect, until

# How long a command or a start may take, in seconds.
COMMAND_S = 60
START_S = 30

EXAMPLES = ROOT / "control/examples"
ETC = Path("/etc/eyesplice")
RUN = Path("/run/eyesplice")
PKI = Path("/etc/kubernetes/pki")

# What docs/tunnel.md, its examples and docs/front.md call the gateway and the node.
GATEWAY, GATEWAY_NAME = "10.0.0.1", "gateway.example"
NODE, NODE_NAME = "192.168.7.2", "worker-1"
AGENT = "edge-1"

# Both are on one host here: the agent's metrics have another port.
ADMINS = ("127.0.0.1:9464", "127.0.0.1:9465")

# What `scripts/e2e --front` runs, on a real cluster.
KUBECTL = "kubectl "


class Guide:
    """Someone who does what a document says, in its order."""

    def __init__(self, site, document):
        self.site = site
        self.document = document
        self.ran = set()
        self.started = []

    def commands(self, begin, end):
        """Returns the commands between two headings."""
        return documents.commands(self.document, begin, end)

    def run(self, command, directory=ETC):
        """Runs one; returns what it printed."""
        if (self.document, command) not in self.ran:
            print(f"$ {command}", flush=True)
        self.ran.add((self.document, command))
        script = f"cd {directory}\n{command}"
        return processes.run(["bash", "-euo", "pipefail", "-c", script], COMMAND_S).text

    def start(self, arguments, name):
        """Starts a process of ours; its log is `name`."""
        log = open(self.site.directory / f"{name}.log", "ab")
        command = ["setpriv", "--pdeathsig", "KILL", *arguments]
        env = {"PATH": os.environ["PATH"]}
        self.started.append(processes.Process(command, env=env, stdout=log, stderr=log))
        return Path(log.name)

    def end(self):
        """Ends what it started."""
        for process in reversed(self.started):
            process.end()


def fresh_tree(site, *more):
    """A new PKI where the documents have one, and nothing of an earlier guide."""
    for place in (ETC, PKI.parent, RUN):
        shutil.rmtree(place, ignore_errors=True)
    RUN.mkdir()
    nodes = ["--node", f"{NODE_NAME}={NODE}"]
    init = [site.eyesplice, "pki", "init", PKI, "--apiserver", GATEWAY, *nodes, *more]
    processes.run(init, COMMAND_S)
    ETC.mkdir()


def tunnel(site):
    """A gateway reaches a kubelet through an agent, until the agent is revoked."""
    guide = Guide(site, "docs/tunnel.md")
    with open("/etc/hosts", "a", encoding="ascii") as hosts:
        hosts.write(f"{GATEWAY} {GATEWAY_NAME}\n")
    processes.run(["ip", "addr", "add", f"{NODE}/24", "dev", "lo"])
    fresh_tree(site, "--gateway", GATEWAY, "--gateway", GATEWAY_NAME)
    issue, deny, check, agent, status = guide.commands("Set it up", "The agent's configuration")
    guide.run(issue)
    shutil.copytree(PKI, ETC / "pki")
    shutil.copy(EXAMPLES / "gateway-tunnel.yaml", ETC / "gateway.yaml")
    guide.run(deny)
    guide.run(check)
    log = guide.start(["eyesplice", "gateway", "--config", ETC / "gateway.yaml"], "gateway-tunnel")
    text = (EXAMPLES / "agent.yaml").read_text()
    (ETC / "agent.yaml").write_text(text.replace(*ADMINS))
    # Its own process goes on until the end.
    guide.ran.add((guide.document, agent))
    agent_log = guide.start(agent.split(), "agent")

    def tail():
        return "\n".join(path.read_text()[-1500:] for path in (log, agent_log))

    until(lambda: shown(guide, status), START_S, lambda: f"{AGENT} in the status: {tail()}")
    kubelet = standin.Kubelet(NODE, PKI / "ca.crt")
    kubelet.show(*(PKI / f"kubelet-{NODE_NAME}.{end}" for end in ("crt", "key")))
    client = [PKI / f"apiserver-kubelet-client.{end}" for end in ("crt", "key")]
    apiserver = standin.ApiServer(str(RUN / "egress.sock"), PKI / "egress-ca.crt", client)
    reached = standin.get(apiserver, NODE, "/healthz")
    expect(reached == "ok", f"the kubelet behind the agent answered {reached!r}")
    until(lambda: carried(log) == [AGENT], START_S, lambda: f"a stream by {AGENT}: {tail()}")
    revoke, *others = guide.commands("Revocation", "Restarts")
    guide.run(revoke)
    until(lambda: not shown(guide, status), START_S, lambda: f"the end of {AGENT}: {tail()}")
    for command in others:
        guide.run(command)
    guide.run(check)
    guide.end()
    return guide.ran


def carried(log):
    """Returns the agents by which streams were carried, of a gateway's audit log."""
    lines = [line for line in log.read_text().splitlines() if '"kind":"end"' in line]
    return [json.loads(line).get("via") for line in lines]


def shown(guide, status):
    """Returns whether the status has the agent."""
    try:
        return AGENT in guide.run(status)
    except Failed:
        return False


def front(site):
    """The gateway's check accepts what openssl makes."""
    guide = Guide(site, "docs/front.md")
    fresh_tree(site)
    shutil.copy(EXAMPLES / "gateway-front.yaml", ETC / "gateway.yaml")
    for command in guide.commands("Set it up", "Several gateways"):
        if not command.startswith(KUBECTL):
            guide.run(command)
    return guide.ran
