"""Every CA is replaced under live streams, and nothing that cannot load files by itself is restarted."""

import asyncio
import http.client
import shutil
import ssl
import threading
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import certificates
import direct
import processes
import wait
import websocket
from authority import DOUBTS, KUBECONFIG, Authority, answers
from load import BEAT_S, Crowd
from router import Router
from wait import Failed, Interrupted, expect, same, short, until

AUTHORITIES = ["ca", "kubelet-serving-ca", "front-proxy-ca", "etcd/ca", "egress-ca", "egress-client-ca"]

# Streams that live through all of it.
EXECS = 50

# A kubelet asks for new certificates when 70 to 90 % of their time are over. The first ones, which the
# test makes, are so old that this is three to five minutes away; those of the authority come later.
KUBELET_AGE = timedelta(minutes=4)
KUBELET_LIFE = timedelta(minutes=10)
KUBELET_S = 360

# What looks at its files once a minute, on processors that others keep busy, in seconds.
RELOAD_S = 150

# This minor release of the API server keeps its connections to kubelets when its client certificate for them changes;
# 1.36 closes them within seconds, with the streams on them.
KEEPS_KUBELETS = (1, 20)

# How long the end of a stream may take to reach the audit log, in seconds.
AUDIT_S = 20

# Rounds of every loop that must pass between two steps, and how long they may take, in seconds.
ROUNDS = 3
ROUNDS_S = 120

# One request, in seconds.
REQUEST_S = 30


class Rotation:
    """Checks on one cluster in terminate mode."""

    def __init__(self, cluster, report, kubectl):
        self.cluster = cluster
        self.report = report
        self.kubectl = kubectl
        self.pki = Path(cluster.env["PKI_DIR"])
        self.joined = cluster.state / "node" / "joined"
        self.before = cluster.state / "before"
        self.authority = Authority(cluster)
        self.router = None
        # The API server may close its connections to the kubelet, because its client certificate changed.
        self.closing = False
        self.closed = 0

    def run_all(self):
        """Runs every check; each builds on the one before."""
        name = self.cluster.name
        try:
            if self.report.check(f"{name} kubelet gets its certificates from the authority", self.prepare) is None:
                return
            self.report.check(f"{name} every CA is replaced under live streams", lambda: asyncio.run(self.live()))
        finally:
            if self.router:
                self.router.close()
            self.authority.stop()

    # The kubelet.

    def prepare(self):
        """Starts the authority, and the kubelet anew with certificates that it has to renew soon."""
        cluster = self.cluster
        self.authority.start(duration="10m")
        self.authority.knows(cluster.env["NODE_IP"])
        server = cluster.env["APISERVER_URL"].removeprefix("https://").rsplit(":", 1)
        # The pair that it began with: a server that does not load its files again.
        serving = [self.keep(f"apiserver.{kind}") for kind in ("crt", "key")]
        self.router = Router(
            self.authority.address,
            serving,
            cluster.path("ca.crt"),
            self.joined / "kubelet-client-current.pem",
            (self.authority.address, self.authority.port),
            (server[0], int(server[1])),
        )
        for name in ("ca.crt", "admin.crt", "admin.key", "apiserver-kubelet-client.crt"):
            self.keep(name)
        self.keep("apiserver-kubelet-client.key")
        self.age_kubelet()
        cluster.restart("kubelet")

    def keep(self, name):
        """Keeps a file as it was before; returns where."""
        self.before.mkdir(exist_ok=True)
        return shutil.copy(self.pki / name, self.before / name)

    def age_kubelet(self):
        """Makes a kubelet's own directory, with certificates that live for a few minutes yet."""
        node = self.cluster.env["NODE_NAME"]
        shutil.rmtree(self.joined, ignore_errors=True)
        self.joined.mkdir(parents=True)
        begin = datetime.now(timezone.utc) - KUBELET_AGE
        for kind, ca, extensions in (
            ("client", "ca", "extendedKeyUsage=clientAuth"),
            (
                "server",
                "kubelet-serving-ca",
                f"extendedKeyUsage=serverAuth\nsubjectAltName=DNS:{node},IP:{self.cluster.env['NODE_IP']}",
            ),
        ):
            subject = f"/O=system:nodes/CN=system:node:{node}"
            pair = certificates.dated(
                self.cluster, ca, subject, extensions, begin, begin + KUBELET_LIFE
            )
            # As a kubelet itself does it: a file, and a link to the current one.
            file = self.joined / f"kubelet-{kind}-2000-01-01-00-00-00.pem"
            file.write_text(pair)
            file.chmod(0o600)
            (self.joined / f"kubelet-{kind}-current.pem").symlink_to(file)
        current = self.joined / "kubelet-client-current.pem"
        text = KUBECONFIG.format(server=self.router.url, ca=self.before / "ca.crt", token="")
        user = f"client-certificate: {current}, client-key: {current}"
        (self.joined / "kubeconfig").write_text(text.replace('token: ""', user))
        # By this the kubelet is started with a directory of its own.
        own = Path(self.cluster.env["CONF_DIR"]) / "bootstrap.kubeconfig"
        own.write_text(text.replace('token: ""', f'token: "{self.authority.tokens["joiner"]}"'))

    # The streams.

    async def live(self):
        """Opens the streams, and keeps them moving while the CAs are replaced beside them."""
        crowd = Crowd(self.cluster, self.report)
        loops = Loops(self)
        try:
            await crowd.open(EXECS, 0, ["bb"])
            await crowd.all_live()
            with loops:
                mark = self.cluster.gateway.audit.mark()
                beats = await crowd.beside(
                    lambda: self.replace_all(loops), lambda: self.reopened(crowd, mark)
                )
            same(len(crowd.streams), EXECS, "live streams")
        finally:
            loops.stop()
            await crowd.close()
        same(loops.refused, [], "requests that were refused")
        self.report.say(
            f"{self.cluster.name}: {EXECS} streams lived through {beats} round trips each, closed by the API "
            f"server {self.closed} times, {loops.told()}"
        )

    async def reopened(self, crowd, mark):
        """Opens the streams again, if it was the API server that closed them."""
        if not self.closing:
            return False
        audit = self.cluster.gateway.audit

        def ended():
            lines = audit.since(mark, kind="end", action="exec")
            cut = [line for line in lines if line["reason"] != "completed"]
            return cut if len(cut) >= EXECS else None

        lines = await asyncio.to_thread(until, ended, AUDIT_S, "the ends of all streams in the audit log")
        same({line["side"] for line in lines}, {"downstream"}, "who ended the streams")
        await crowd.close()
        await crowd.open(EXECS, 0, ["bb"])
        self.closed += 1
        self.closing = False
        return True

    # The stages.

    def replace_all(self, loops):
        """Takes every CA through every stage; each wait is for what an operator would look at."""
        started = {name: self.cluster.env[name] for name in ("KUBE_APISERVER_PID", "ETCD_PID", "KUBELET_PID")}
        self.step("trust-both", loops)
        self.closing = self.cluster.release > KEEPS_KUBELETS
        self.step("reissued", loops)
        # Nobody had to load the new CA before it signed: all that it signs is led to by the old one.
        new = {name: self.cluster.path(f"rotation/{name}/new.crt") for name in AUTHORITIES}
        for what, seconds, seen, ca in (
            ("the API server serves the new certificate", RELOAD_S, self.apiserver_shows, "ca"),
            ("the gateway signs by the new egress CA", RELOAD_S, self.gateway_shows, "egress-ca"),
            ("the kubelet serves a new certificate", KUBELET_S, self.kubelet_shows, "kubelet-serving-ca"),
            ("the kubelet has a new client certificate", KUBELET_S, self.kubelet_has, "ca"),
        ):
            self.await_new(what, seconds, seen, new[ca])
            loops.rounds(ROUNDS)
        # Its kubeconfig is embedded: it shows the old certificate until it starts again.
        self.cluster.restart("kube-controller-manager")
        self.closing = False
        self.step("old-dropped", loops)
        for what, port in (("API server", 6443), ("kubelet", 10250)):
            until(lambda port=port: self.refuses_old(port), RELOAD_S, f"the {what} refuses the old CA")
            loops.rounds(ROUNDS)
        self.step("idle", loops)
        for verb, *rest in (("exec", "--", "echo", "joined"), ("logs", "--tail=1")):
            expect(answers(self.cluster, [verb, "bb", "-c", "lines", *rest]), f"{verb} at the end")
        self.cluster.verify_pki()
        self.cluster.read_env()
        same({name: self.cluster.env[name] for name in started}, started, "processes")

    def step(self, stage, loops):
        """Takes every CA to the next stage."""
        depends = {
            "ca": self.joined / "kubelet-client-current.pem",
            "kubelet-serving-ca": self.joined / "kubelet-server-current.pem",
        }
        for name in AUTHORITIES:
            also = ["--also", depends[name]] if name in depends else []
            told = processes.run(
                [self.cluster.eyesplice, "pki", "rotate-ca", self.pki, name, "--next", *also], REQUEST_S
            )
            expect(f"{name}: {stage}" in told.text, f"rotate-ca {name} said {told.text}")
        self.report.say(f"{self.cluster.name}: all CAs are at {stage}; {loops.told()}")
        loops.rounds(ROUNDS)

    def await_new(self, what, seconds, seen, ca):
        """Waits until what is shown is signed by the new CA itself."""
        began = time.monotonic()
        until(lambda: certificates.signed_by(seen(), ca), seconds, what)
        self.report.say(f"{self.cluster.name}: {what} ({time.monotonic() - began:.0f} s)")

    def apiserver_shows(self):
        """The certificate of the API server."""
        address = self.cluster.env["APISERVER_URL"].removeprefix("https://").rsplit(":", 1)
        return ssl.get_server_certificate((address[0], int(address[1])), timeout=REQUEST_S)

    def gateway_shows(self):
        """The certificate that the gateway shows for the kubelet."""
        return ssl.DER_cert_to_PEM_cert(direct.kubelet_leaf(self.cluster))

    def kubelet_shows(self):
        """The certificate of the kubelet."""
        return ssl.get_server_certificate((self.cluster.env["NODE_IP"], 10250), timeout=REQUEST_S)

    def kubelet_has(self):
        """The certificate that the kubelet shows to the API server."""
        return certificates.first_pem((self.joined / "kubelet-client-current.pem").read_text())

    def refuses_old(self, port):
        """Whether a client certificate of before is worth nothing any more."""
        kubelet = port == 10250
        name = "apiserver-kubelet-client" if kubelet else "admin"
        context = ssl.create_default_context(
            cafile=self.pki / ("kubelet-serving-ca.crt" if kubelet else "ca.crt")
        )
        context.load_cert_chain(self.before / f"{name}.crt", self.before / f"{name}.key")
        host = self.cluster.env["NODE_IP"] if kubelet else self.cluster.env["CONTROL_PLANE_IP"]
        status, _ = ask(host, port, "/healthz" if kubelet else "/api", context)
        return status == 401


def ask(host, port, path, context):
    """One GET on a connection of its own; returns status and body."""
    connection = http.client.HTTPSConnection(host, port, timeout=REQUEST_S, context=context)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()


class Loops:
    """Users, each of whom does one thing over and over, with the files as they are at that moment."""

    def __init__(self, rotation):
        self.rotation = rotation
        self.cluster = rotation.cluster
        self.refused = []
        # How often the kubelet could not ask its API server what a user may do.
        self.doubts = 0
        self._ended = threading.Event()
        self._counts = {}
        self._threads = []
        kubectl = rotation.kubectl
        for name, body in (
            ("exec", lambda number: self.exec(kubectl, number)),
            ("logs", lambda _: self.logs(kubectl)),
            ("get", lambda _: self.get(kubectl)),
            ("API request", lambda _: self.request()),
            ("kubelet API", lambda _: self.through_gateway()),
        ):
            self._counts[name] = 0
            self._threads.append(threading.Thread(target=self._run, args=(name, body)))

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Ends them all."""
        self._ended.set()
        for thread in self._threads:
            if thread.ident:
                thread.join()

    def told(self):
        """Tells how often each came through."""
        done = ", ".join(f"{count} {name}" for name, count in self._counts.items())
        doubts = f", {self.doubts} in doubt at the kubelet" if self.doubts else ""
        return f"{done}; {len(self.refused)} refused{doubts}"

    def rounds(self, number):
        """Waits until each came through so often more."""
        goals = {name: count + number for name, count in self._counts.items()}

        def reached():
            expect(not self.refused, f"refused: {short(self.refused)}")
            expect(not self._ended.is_set(), "the loops were ended, because a stream broke")
            return all(self._counts[name] >= goal for name, goal in goals.items())

        until(reached, ROUNDS_S, self.told)

    def _run(self, name, body):
        number = 0
        while not self._ended.is_set() and not wait.STOPPED.is_set():
            number += 1
            self._ended.wait(BEAT_S)
            try:
                body(number)
                self._counts[name] += 1
            except Interrupted:
                return
            except (Failed, OSError, http.client.HTTPException) as error:
                if self.rotation.closing:
                    # It was on one of the connections that the API server closed.
                    continue
                if DOUBTS[500] in str(error):
                    # It was on one of those that a kubelet closes because it got a certificate.
                    self.doubts += 1
                    continue
                self.refused.append(f"{time.strftime('%H:%M:%S')} {name} {number}: {error}")

    def kubectl(self, path, *arguments):
        """Runs kubectl as the administrator, with the kubeconfig as it is now."""
        environment = {"KUBECONFIG": self.cluster.env["KUBECONFIG"], "HOME": str(self.cluster.home)}
        return processes.run([path, *arguments], REQUEST_S, env={"PATH": "/usr/bin:/bin", **environment}).text

    def exec(self, kubectl, number):
        """A new stream."""
        same(self.kubectl(kubectl, "exec", "bb", "-c", "c", "--", "echo", str(number)), f"{number}\n", "exec")

    def logs(self, kubectl):
        """What the API server asks over a connection that it keeps."""
        expect("tick" in self.kubectl(kubectl, "logs", "bb", "-c", "c", "--tail=1"), "no log")

    def get(self, kubectl):
        """What needs the API server alone."""
        same(self.kubectl(kubectl, "get", "pod", "bb", "-o", "name"), "pod/bb\n", "get")

    def request(self):
        """A client with files instead of a kubeconfig; etcd is asked, too."""
        self.get_path("/api/v1/namespaces/default/pods/bb?resourceVersion=")

    def through_gateway(self):
        """The kubelet's API."""
        same(self.get_path(f"/api/v1/nodes/{self.cluster.env['NODE_NAME']}/proxy/healthz"), b"ok", "healthz")

    def get_path(self, path):
        """Asks the API server on a new connection."""
        status, body = ask(self.cluster.env["CONTROL_PLANE_IP"], 6443, path, websocket.context(self.cluster))
        same(status, 200, f"status of {path}: {short(body.decode(errors='replace'))}")
        return body
