"""What users see when something is wrong, and what live streams see when files or processes change."""

import asyncio
import re
import signal
import time

import certificates
import direct
from gateway import replace
from lane import AUDIT_S, KUBECTL_S, SECRET
from load import Crowd, Echo, stalled_reader
from wait import Failed, expect, same, until


class Faults:
    """The fault cases of one cluster, as checks of a report."""

    def __init__(self, cluster, lane, report):
        self.cluster = cluster
        self.gateway = cluster.gateway
        self.lane = lane
        self.report = report

    def check(self, name, body):
        """Runs one case."""
        self.report.check(f"{self.cluster.name} {name}", body)

    # What kubectl says.

    def exec(self):
        """Runs an exec, which always takes a new connection to the kubelet."""
        command = ["sh", "-c", f": {SECRET}; echo through"]
        return self.lane.run("exec", self.lane.pod, "-c", "c", "--", *command, check=False)

    def passes(self):
        """Fails unless an exec gets through."""
        ended = self.exec()
        same(ended.text, "through\n", f"exec, which says {ended.err!r}")

    def refused(self, *words):
        """Fails unless an exec is refused with all of these words in its message."""
        ended = self.exec()
        expect(ended.code != 0, f"exec passed: {ended.text}")
        missing = [word for word in words if word not in ended.err]
        expect(not missing, f"{missing} not in what kubectl says: {ended.err!r}")

    def with_config(self, changes, body):
        """Runs `body` under a changed configuration, and brings the old one back."""
        before = self.gateway.config.read_text()
        try:
            self.gateway.edit(*changes)
            body()
        finally:
            self.gateway.reload(lambda: replace(self.gateway.config, before))

    def verifications(self, **labels):
        """Returns how many upstream certificates were judged so."""
        return self.gateway.total("verifications_total", **labels)

    # Verification.

    def unverified(self, changes, cause, *words):
        """A kubelet that fails verification: refused by `enforce`, let through and told by `observe`."""
        refused = self.verifications(result="refused", cause=cause)
        mark = self.gateway.audit.mark()

        def enforced():
            self.refused("502", "node1", self.cluster.env["NODE_IP"], *words)
            until(
                lambda: self.verifications(result="refused", cause=cause) == refused + 1,
                AUDIT_S,
                "one more refused verification",
            )
            lines = self.gateway.audit.await_lines(mark, 1, AUDIT_S, "the refusal", reason="unverified")
            same(lines[0]["verification"], {"result": "refused", "cause": cause}, "verification")
            same((lines[0]["side"], lines[0]["status"]), ("upstream", 502), "side and status")

        self.with_config(changes, enforced)
        observed = self.verifications(result="observed", cause=cause)
        place = self.gateway.log_size()

        def observing():
            self.passes()
            until(
                lambda: self.verifications(result="observed", cause=cause) == observed + 1,
                AUDIT_S,
                "one more observed verification",
            )
            log = self.gateway.log_since(place)
            expect('"WARN"' in log and cause in log, f"no warning of {cause} in the log: {log[-2000:]}")

        self.with_config([*changes, ("kubelet:\n", "kubelet:\n  verification: observe\n")], observing)
        self.passes()

    def wrong_ca(self):
        """A kubelet whose CA the gateway does not know."""
        changes = [("kubelet-serving-ca.crt", "front-proxy-ca.crt")]
        self.unverified(changes, "unknown_issuer", "kubelet.caFile")

    def wrong_node(self):
        """A kubelet that shows another node's certificate than the inventory wants."""
        inventory = self.cluster.path("inventory.yaml")
        other = self.cluster.path("inventory-other.yaml")
        other.write_text(inventory.read_text().replace("node1", "node9"))
        changes = [("inventory.yaml", "inventory-other.yaml")]
        mark = self.gateway.audit.mark()

        def body():
            self.refused("502", "node9", "system:node:node1")
            lines = self.gateway.audit.await_lines(mark, 1, AUDIT_S, "the refusal", reason="unverified")
            same(lines[0]["node"], "node9", "node")

        self.with_config(changes, body)
        self.passes()

    # Policy.

    def action_denied(self):
        """A rule denies exec; logs still pass."""
        rule = "kubelet:\n  actions: {rules: [{name: no-shells, actions: [shell], effect: deny}]}\n"

        def body():
            mark = self.gateway.audit.mark()
            self.refused("exec", "node1", "no-shells", "denied")
            lines = self.gateway.audit.await_lines(mark, 1, AUDIT_S, "the denial", reason="denied")
            seen = [lines[0][field] for field in ("action", "status", "pod")]
            same(seen, ["exec", 403, self.lane.pod], "line")
            self.lane.run("logs", self.lane.pod, "-c", "c", "--tail=1")

        self.with_config([("kubelet:\n", rule)], body)
        self.passes()

    def target_denied(self):
        """A rule denies the target."""
        changes = [(f"ports: [10250], action: {self.cluster.mode}", "ports: [10250], action: deny")]

        def body():
            mark = self.gateway.audit.mark()
            self.refused("403", "kubelets", f"{self.cluster.env['NODE_IP']}:10250")
            lines = self.gateway.audit.await_lines(mark, 1, AUDIT_S, "the denial", reason="denied")
            same((lines[0]["status"], lines[0]["rule"]), (403, "kubelets"), "line")

        self.with_config(changes, body)
        self.passes()

    def bad_reload(self):
        """A bad configuration changes nothing, and is told."""
        good = self.gateway.config.read_text()
        generation = self.gateway.metric("config_generation")
        try:
            replace(self.gateway.config, good.replace("action: splice", "action: spice"))
            until(lambda: self.gateway.metric("config_last_reload_successful") == 0, 20, "the failed reload")
            same(self.gateway.metric("config_generation"), generation, "generation")
            expect("spice" in self.gateway.log_tail(), "the log does not name the mistake")
            self.passes()
        finally:
            replace(self.gateway.config, good)
            # The signal, because what is loaded again may be what is in force.
            self.gateway.process.send(signal.SIGHUP)
            until(lambda: self.gateway.metric("config_last_reload_successful") == 1, 20, "the good reload")

    # Processes that come and go.

    def apiserver_restart(self):
        """The API server is killed: nothing of its streams is left; a new one works at once."""
        kubectl = self.lane.start("exec", "-i", self.lane.pod, "-c", "c", "--", "cat", stdin=-1)
        with kubectl:
            kubectl.stdin.write(b"x\n")
            same(kubectl.stdout.read(2), b"x\n", "echo")
            self.cluster.kill_apiserver()
            # kubectl takes a cut of a SPDY connection for success; all that matters is that it ends.
            kubectl.wait(KUBECTL_S)
        self.gateway.await_idle()
        self.cluster.restart("kube-apiserver")
        self.passes()

    def drain(self):
        """SIGTERM: no new stream, the live one goes on, and the process ends with it."""
        self.gateway.edit(("admin:", "timeouts: {drain: 5m}\nadmin:"))
        if self.cluster.terminates:
            # What the API server keeps for the next request must not hold the drain up. In splice
            # mode nobody sees that it is idle, and there is none: the API server is new.
            self.lane.run("logs", self.lane.pod, "-c", "c", "--tail=1")
        kubectl = self.lane.start("exec", "-i", self.lane.pod, "-c", "c", "--", "cat", stdin=-1)
        with kubectl:
            kubectl.stdin.write(b"x\n")
            same(kubectl.stdout.read(2), b"x\n", "echo")
            self.gateway.terminate()
            until(lambda: not self.gateway.ready(), 10, "readyz says that it drains")
            expect(self.exec().code != 0, "a new stream passed while it drains")
            kubectl.stdin.write(b"y\n")
            same(kubectl.stdout.read(2), b"y\n", "echo while it drains")
            expect(self.gateway.process.running(), "it ended before its stream")
            kubectl.stdin.close()
            same(kubectl.wait(KUBECTL_S), 0, "exit code of the stream that was live")
        same(self.gateway.wait(), 0, "exit status of the gateway")

    def drain_deadline(self):
        """A stream that outlives the drain is ended, and told as drained."""
        self.gateway.start()
        self.gateway.edit(("drain: 5m", "drain: 2s"))
        mark = self.gateway.audit.mark()
        kubectl = self.lane.start("exec", "-i", self.lane.pod, "-c", "c", "--", "cat", stdin=-1)
        with kubectl:
            kubectl.stdin.write(b"x\n")
            same(kubectl.stdout.read(2), b"x\n", "echo")
            self.gateway.terminate()
            same(self.gateway.wait(), 0, "exit status of the gateway")
            kubectl.wait(KUBECTL_S)
        lines = self.gateway.audit.await_lines(mark, 1, AUDIT_S, "the drained stream", reason="drained")
        action = "exec" if self.cluster.terminates else None
        same((lines[0].get("action"), lines[0]["side"]), (action, "local"), "action and side")

    def drain_twice(self):
        """A second SIGTERM ends it at once."""
        self.gateway.start()
        self.gateway.edit(("drain: 2s", "drain: 10m"))
        kubectl = self.lane.start("exec", "-i", self.lane.pod, "-c", "c", "--", "cat", stdin=-1)
        with kubectl:
            kubectl.stdin.write(b"x\n")
            same(kubectl.stdout.read(2), b"x\n", "echo")
            self.gateway.terminate()
            until(lambda: not self.gateway.ready(), 10, "readyz says that it drains")
            self.gateway.terminate()
            same(self.gateway.wait(), 0, "exit status of the gateway")
            kubectl.wait(KUBECTL_S)
        self.gateway.start()
        self.gateway.edit(("timeouts: {drain: 10m}\n", ""))
        self.passes()

    def run_all(self):
        """Runs every case that this mode has."""
        if self.cluster.terminates:
            self.check("fault: wrong CA", self.wrong_ca)
            self.check("fault: wrong node", self.wrong_node)
            self.check("fault: action denied", self.action_denied)
        self.check("fault: target denied", self.target_denied)
        self.check("fault: bad reload", self.bad_reload)
        self.check("fault: API server restart", self.apiserver_restart)
        self.check("fault: drain", self.drain)
        self.check("fault: drain deadline", self.drain_deadline)
        self.check("fault: second SIGTERM", self.drain_twice)


# Live streams.


def crowd_checks(cluster, faults, report, pods, execs, forwards, reloads):
    """Opens live streams, and checks what happens to them beside a stalled reader and under reloads."""

    async def body():
        crowd = Crowd(cluster, report)
        began = time.monotonic()
        try:
            await crowd.open(execs, forwards, pods)
            await crowd.all_live()
            seconds = time.monotonic() - began
            report.say(f"{cluster.name}: {len(crowd.streams)} live streams after {seconds:.0f} s")
            await check(report, f"{cluster.name} stalled reader", stalled_reader(crowd))
            if reloads:
                await check(report, f"{cluster.name} reload under load", Reloads(crowd, faults).run())
        finally:
            await crowd.close()

    report.check(f"{cluster.name} live streams", lambda: asyncio.run(body()))


async def check(report, name, work):
    """Makes a check of something that is awaited."""
    failure = []
    try:
        await work
    except (Failed, OSError) as error:
        failure.append(error)

    def told():
        if failure:
            raise failure[0]

    report.check(name, told)


class Reloads:
    """Replaces every kind of file under live streams, and looks whether the next stream sees it."""

    def __init__(self, crowd, faults):
        self.crowd = crowd
        self.faults = faults
        self.cluster = crowd.cluster
        self.gateway = crowd.cluster.gateway

    async def run(self):
        """Replaces one kind after the other."""
        count = len(self.crowd.streams)
        generation = int(self.gateway.metric("config_generation"))
        for replace_and_look in (
            self.listener_certificate,
            self.egress_ca,
            self.kubelet_ca,
            self.client_certificate,
            self.policy,
        ):
            # Threads wait for kubectl and for the gateway; the streams live on in this one.
            work = asyncio.create_task(asyncio.to_thread(replace_and_look))
            while not work.done():
                await self.crowd.all_live()
                await asyncio.wait({work}, timeout=0.2)
            await work
        await self.crowd.all_live()
        same(len(self.crowd.streams), count, "live streams")
        held = self.gateway.metric(f'generation_streams{{generation="{generation}"}}')
        expect(held >= count, f"{held} streams of generation {generation}, not {count}")
        newer = int(self.gateway.metric("config_generation"))
        expect(newer >= generation + 5, f"generation {newer} after {generation}: not every reload counted")

    def listener_certificate(self):
        """The TCP listener's certificate."""
        usage = (
            f"subjectAltName=IP:{self.cluster.env['CONTROL_PLANE_IP']}\n"
            "extendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n"
        )
        before = direct.listener_certificate(self.cluster)
        name = "egress-server"
        self.gateway.reload(lambda: certificates.issue(self.cluster, name, "egress-ca", f"/CN={name}", usage))
        after = direct.listener_certificate(self.cluster)
        expect(after != before, "the listener still shows the old certificate")
        wanted = certificates.der(self.cluster.path(f"{name}.crt"))
        expect(after == wanted, "the listener shows another one than the file holds")

    def egress_ca(self):
        """The CA whose certificates the API server sees."""
        before = direct.kubelet_leaf(self.cluster)
        self.gateway.reload(lambda: certificates.renew_ca(self.cluster, "egress-ca"))
        expect(direct.kubelet_leaf(self.cluster) != before, "the leaf is still the old one")
        self.faults.passes()

    def kubelet_ca(self):
        """The CA bundle for kubelets: another one, then the right one again."""
        path = self.cluster.path("kubelet-serving-ca.crt")
        right = path.read_text()
        other = self.cluster.path("front-proxy-ca.crt").read_text()
        self.gateway.reload(lambda: replace(path, other))
        self.faults.refused("502", "node1")
        self.gateway.reload(lambda: replace(path, right), hangup=True)
        self.faults.passes()

    def client_certificate(self):
        """Our client certificate for kubelets: one that the kubelet knows but gives no rights."""
        name = "eyesplice-kubelet-client"
        files = [self.cluster.path(f"{name}.{kind}") for kind in ("key", "crt")]
        right = [path.read_text() for path in files]
        usage = "extendedKeyUsage=clientAuth\nkeyUsage=digitalSignature\n"
        self.gateway.reload(lambda: certificates.issue(self.cluster, name, "ca", "/CN=nobody-special", usage))
        self.faults.refused("Forbidden", "nobody-special")
        self.gateway.reload(lambda: [replace(path, text) for path, text in zip(files, right, strict=True)])
        self.faults.passes()

    def policy(self):
        """The rules."""
        self.faults.action_denied()


def secrets_told(cluster):
    """Returns the places where the gateway told a command."""
    places = []
    for path in (cluster.gateway.log, cluster.gateway.audit.path):
        text = path.read_text(errors="replace")
        if SECRET in text or re.search(r"command=|no-such-command", text):
            places.append(str(path))
    return places


__all__ = ["Echo", "Faults", "crowd_checks", "secrets_told"]
