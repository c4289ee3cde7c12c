"""A gateway whose certificates all come from an authority, under real kubectl and live streams."""

import asyncio
import json
import signal
from datetime import datetime, timedelta, timezone

import authority
import certificates
import direct
import enrolled
import verbs
from enrolled import EGRESS_LEAF, GATEWAY_CLIENT, GATEWAY_SERVING, SWAP_S, Enrolled, Tap
from gateway import replace
from lane import Lane, pod_name, speaks_websocket
from load import Crowd
from wait import expect, same, until

# Streams that live through every swap.
EXECS = 12
FORWARDS = 4

# How long the CA of the first leaf lives: it must be there within that, and is renewed after two thirds
# of what is left then.
LEAF_LIFE = timedelta(seconds=50)

# A node whose address no inventory has, and the host part of that address.
STRANGER = "stranger"
STRANGER_HOST = 9

CONFIG = """\
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen: {{address: "{address}:0", tlsCertFile: {pki}/apiserver.crt, tlsPrivateKeyFile: {pki}/apiserver.key}}
authentication: {{clientCAFile: {pki}/ca.crt, bootstrapTokenDir: tokens}}
store: {{path: authority.redb}}
signers:
{signers}
approval: {{inventoryFile: {inventory}, {approval}}}
admin: {{address: "{address}:0", insecureNonLoopback: true}}
"""

# What is run with every way of asking: each kind of stream that a kubelet serves.
VERBS = (
    verbs.exec_exit_codes,
    verbs.exec_stdin_ends,
    verbs.exec_terminal,
    verbs.attach,
    verbs.port_forward,
    verbs.logs,
    verbs.follow_log,
)


class Enrolment:
    """Checks on one cluster whose API server reaches its gateway over TCP."""

    def __init__(self, cluster, report, kubectl):
        self.cluster = cluster
        self.report = report
        self.path, self.version = kubectl
        self.enrolled = Enrolled(cluster)
        self.authority = authority.Authority(cluster)
        self.token = None
        self.bound = False

    def check(self, name, body):
        """Runs one check; returns whether it held."""
        return self.report.check(f"{self.cluster.name} enrolment {name}", body) is not None

    def run_all(self):
        """Runs every check; the cluster gets its own gateway back."""
        try:
            if not self.check("gateway is given its certificates", self.enrol):
                return
            self.check("kubelet lets only the bound group in", self.bind)
            self.check("node that is nowhere is refused in words", self.stranger)
            self.verbs()
            self.check("certificates are replaced under live streams", lambda: asyncio.run(self.live()))
            self.check("restart without an authority is told in words", self.alone)
        finally:
            self.authority.stop()
            self.enrolled.stop()

    def enrol(self):
        """Starts an authority, and a gateway that has a token and nothing else."""
        cluster, given, site = self.cluster, self.enrolled, self.authority
        text = CONFIG.format(
            address=site.address,
            pki=cluster.env["PKI_DIR"],
            signers=given.signers(),
            inventory=given.write_inventory(),
            approval=given.approval(),
        )
        (site.dir / "authority.yaml").write_text(text)
        self.token = given.make_token("--dir", site.dir / "tokens")
        site.launch()
        given.start(f"https://{site.address}:{site.port}")
        for signer, user in (
            (GATEWAY_CLIENT, f"system:bootstrap:{self.token}"),
            (GATEWAY_SERVING, enrolled.USER),
        ):
            asked = [csr["spec"]["username"] for csr in site.csrs(signer)]
            same(asked, [user], f"who asked for {signer}")
        same(site.csrs(EGRESS_LEAF), [], "leaves before the first stream")

    def bind(self):
        """The kubelet knows the gateway by its name, and its group by the manifest that is shipped."""
        target = f"{self.cluster.env['NODE_IP']}:10250"
        # Another right than any stream needs: a kubelet remembers a refusal for half a minute.
        _, reply = direct.ask_kubelet(self.cluster, target, "/metrics")
        expect(b"403 Forbidden" in reply, f"the kubelet says {reply[:400]}")
        expect(f"user={enrolled.USER}".encode() in reply, f"the kubelet says {reply[:400]}")
        self.cluster.admin("apply", "-f", enrolled.MANIFEST)
        command = ["exec", "bb", "-c", "c", "--", "echo", "joined"]
        until(lambda: authority.answers(self.cluster, command), SWAP_S, "exec answers")
        asked = {csr["spec"]["username"] for csr in self.authority.csrs(EGRESS_LEAF)}
        same(asked, {enrolled.USER}, "who asked for leaves")

    def stranger(self):
        """The API server is sent to an address at which nobody is. Whether it is a node's, an authority is
        asked only once a kubelet there was verified, so the words are those of the dial."""
        cluster = self.cluster
        address = f"{self.enrolled.link}.{STRANGER_HOST}"
        with enrolled.node(cluster, STRANGER, address):
            path = f"/api/v1/nodes/{STRANGER}/proxy/healthz"
            ended = cluster.admin("get", "--raw", path, check=False)
        expect(ended.code != 0, f"it was let through: {ended.text}")
        expect(f"to {address}:10250" in ended.err, f"{address} is not in what kubectl says: {ended.err}")

    def verbs(self):
        """Every kind of stream, by the newest kubectl and each protocol that it speaks."""
        cluster = self.cluster
        pod = pod_name(self.version)
        cluster.make_pods([pod])
        cluster.await_pods()
        protocols = ["SPDY", "WebSocket"] if speaks_websocket(self.version) else ["SPDY"]
        for asked in protocols:
            lane = Lane(cluster, self.path, self.version, asked, None)
            for each in verbs.VERBS:
                if each.body in VERBS and each.runs(lane):
                    name = f"kubectl {self.version} {asked} {each.body.__name__}"
                    self.check(name, lambda each=each, lane=lane: each.body(lane))

    # Live streams.

    async def live(self):
        """Opens streams, and keeps them moving while each certificate is replaced beside them."""
        await asyncio.to_thread(self.shorten)
        crowd = Crowd(self.cluster, self.report)
        try:
            await crowd.open(EXECS, FORWARDS, [pod_name(self.version)])
            beats = await crowd.beside(self.swap_all)
        finally:
            await crowd.close()
        told = f"{EXECS + FORWARDS} streams lived through {beats} round trips each"
        self.report.say(f"{self.cluster.name}: {told}")

    def shorten(self):
        """Starts the gateway anew, and has it given a leaf that is soon to be renewed."""
        gateway, leaf_ca = self.cluster.gateway, self.enrolled.leaf_ca
        before = self.enrolled.serials()
        now = datetime.now(timezone.utc)
        ending = certificates.ending_ca(self.cluster, "egress-ca", now - timedelta(hours=1), now + LEAF_LIFE)
        said = self.reload_authority(lambda: replace(leaf_ca, ending))
        soon = [line for line in said.splitlines() if "certificate ends soon" in line]
        expect(any(EGRESS_LEAF in line for line in soon), f"the authority is not afraid of that: {said}")
        gateway.stop()
        gateway.start()
        after = self.enrolled.serials()
        self.reload_authority(lambda: replace(leaf_ca, self.cluster.path("egress-ca.crt").read_text()))
        # What lies in files is there after a restart; leaves live in memory.
        changed = {name for name in before if before[name] != after[name]}
        same(changed, {"leaf"}, "what a restart changes")

    def reload_authority(self, change):
        """Replaces files of the authority, and waits until they are in force; returns what it logs."""
        place = self.authority.log.stat().st_size
        change()
        self.authority.process.send(signal.SIGHUP)

        def reloaded():
            with open(self.authority.log, "rb") as log:
                log.seek(place)
                said = log.read().decode(errors="replace")
                return said if "configuration reloaded" in said else None

        return until(reloaded, SWAP_S, lambda: f"the authority reloads: {self.authority.tail()}")

    def swap_all(self):
        """Replaces each certificate, then takes the authority away."""
        given, gateway = self.enrolled, self.cluster.gateway
        first = given.serials()
        # Each renews what is due by itself; the aged ones are in force for a moment.
        aged = given.age()
        second = given.replaced(first, {"client", "listener"}, aged)
        # Then both are lost: what is in force stays until there are others.
        given.forget()
        gateway.process.send(signal.SIGHUP)
        given.passes()
        third = given.replaced(second, {"client", "listener"}, aged)
        # The leaf is renewed behind the streams' backs, by the first one after two thirds of its life.
        given.replaced({**third, "leaf": first["leaf"]}, {"leaf"}, aged, LEAF_LIFE.total_seconds() + SWAP_S)
        issued = {name: self.issued(name) for name in (GATEWAY_CLIENT, GATEWAY_SERVING, EGRESS_LEAF)}
        last = given.serials()
        self.authority.process.end(signal.SIGKILL)
        gateway.reload(lambda: gateway.process.send(signal.SIGHUP))
        given.passes()
        self.cluster.admin("logs", "bb", "-c", "c", "--tail=1")
        same(given.serials(), last, "certificates after the authority was killed")
        self.report.say(f"{self.cluster.name}: certificates that came: {issued}")

    def issued(self, signer):
        """How many certificates of a signer came."""
        return int(self.cluster.gateway.total("certificate_requests_total", signer=signer, result="issued"))

    def alone(self):
        """A gateway that starts while there is no authority: files help, a leaf must be asked for."""
        gateway = self.cluster.gateway
        gateway.stop()
        gateway.start()
        ended = self.cluster.admin("exec", "bb", "-c", "c", "--", "echo", "through", check=False)
        expect(ended.code != 0, f"it was let through: {ended.text}")
        for words in ("from the authority: network", f"cannot reach {self.authority.address}"):
            expect(words in ended.err, f"{words!r} is not in what kubectl says: {ended.err}")


def by_api_server(given):
    """The same by the API server's own CSRs, which an authority in the cluster decides about."""
    cluster = given.cluster
    token = given.make_token("--kubeconfig", cluster.env["KUBECONFIG"])
    cluster.admin("apply", "-f", enrolled.MANIFEST)
    # Nodes are the inventory there.
    with enrolled.node(cluster, Tap.NAME, given.host):
        given.start(cluster.env["APISERVER_URL"])
        given.passes()
        cluster.admin("logs", "bb", "-c", "c", "--tail=1")
        first = given.serials()
        given.forget()
        cluster.gateway.process.send(signal.SIGHUP)
        given.replaced(first, {"client", "listener"})
    asked = {}
    for csr in json.loads(cluster.admin("get", "csr", "-o", "json").out)["items"]:
        asked.setdefault(csr["spec"]["signerName"], set()).add(csr["spec"]["username"])
    # What was lost is asked for with the token again.
    for signer, user in (
        (GATEWAY_CLIENT, f"system:bootstrap:{token}"),
        (GATEWAY_SERVING, enrolled.USER),
        (EGRESS_LEAF, enrolled.USER),
    ):
        same(asked.get(signer), {user}, f"who asked for {signer}")
    expect("forbidden" not in cluster.gateway.log.read_text(), "the gateway asked for more than it may")


def checks(cluster, report, kubectl):
    """Runs all of it on a cluster that is up."""
    Enrolment(cluster, report, kubectl).run_all()
