"""Brings a real cluster up and down by `scripts/cluster`, with the gateway in our own hands."""

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from subprocess import STDOUT, TimeoutExpired

import front
import wait
from gateway import Gateway
from pool import Pool
from processes import Process, run
from wait import Failed, Interrupted, short, until

SCRIPTS = Path(__file__).resolve().parent.parent
CACHE = Path(
    os.environ.get("EYESPLICE_CACHE")
    or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "eyesplice")
)

# Indices of clusters that this run may take; those of people begin at 0.
INDICES = range(160, 250)

# Lines that the container `lines` logs, of 130 bytes each.
LOG_LINES = 100_000

# How long `up`, pods and the log may take on two processors that others keep busy, in seconds.
UP_S = 300
PODS_S = 120
DOWN_S = 60
PKI_S = 60

# How long seventeen packages of 40 MB may take to arrive, in seconds.
FETCH_S = 600

# How long an agent may take to find a gateway that started after it: its longest pause, and some.
AGENT_S = 45

# The minor releases of Kubernetes whose kubectls are tried.
RELEASES = range(20, 38)


def log_text():
    """Returns what the container `lines` logs."""
    pad = "0123456789abcdefghijklmnopqrstuvwxyz" * 4
    return "".join(f"{number:010d} {pad[:118]}\n" for number in range(1, LOG_LINES + 1))


class Index:
    """A number for a cluster, held until the end of the run, so that no other run takes it."""

    def __init__(self):
        directory = CACHE / "e2e"
        directory.mkdir(parents=True, exist_ok=True)
        for number in INDICES:
            self._lock = open(directory / f"{number}.lock", "w")
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self._lock.close()
                continue
            self.number = number
            self.state = directory / str(number)
            if self._is_free():
                return
            self._lock.close()
        raise Failed("every cluster index that a test run may take is in use")

    def _is_free(self):
        """Returns whether nobody else has the addresses; what a killed run left is taken down."""
        alias = Path(f"/sys/class/net/esplice{self.number}/ifalias")
        return not alias.exists() or alias.read_text().strip() == f"cluster of {self.state}"


class Cluster:
    """A cluster whose API server reaches its node over a gateway."""

    def __init__(self, index, eyesplice, way, kubernetes=None, nat=False, front=False):
        self.index = index
        # A directory with the binaries of another release of Kubernetes than the cache's.
        self.kubernetes = kubernetes
        self.eyesplice = eyesplice
        self.transport, self.mode = way
        # The node is behind a router that lets nothing in, and has an agent.
        self.nat = nat
        # The gateway has a front, which kubeconfigs point at.
        self.front = front
        self.name = "front" if front else "/".join(["tunnel", *way] if nat else way)
        self.state = index.state
        self.gateway = None
        self.pool = Pool()
        self.env = {}
        # What gateways call the agent that its streams go through, if it is not called as its node.
        self.pod_agent = None
        # For kubectl's cache of what the API server serves.
        self.home = self.state / "home"

    @property
    def release(self):
        """The (major, minor) release of its API server and kubelet."""
        major, minor = self.env["KUBERNETES_RELEASE"].split(".")[:2]
        return int(major), int(minor)

    @property
    def agent(self):
        """The name of the agent that its streams go through."""
        return self.pod_agent or self.env["NODE_NAME"]

    @property
    def terminates(self):
        """Whether the gateway ends TLS."""
        return self.mode == "terminate"

    def _script(self, *arguments, seconds):
        """Runs scripts/cluster, also after the run was interrupted."""
        command = [SCRIPTS / "cluster", *arguments]
        with Process(command, env=self._environment(), stderr=STDOUT) as process:
            return self._finish(process, arguments, seconds)

    def _environment(self):
        """Returns what scripts/cluster finds this cluster by."""
        return dict(
            os.environ,
            EYESPLICE_CACHE=str(CACHE),
            EYESPLICE_CLUSTER_STATE=str(self.state),
            EYESPLICE_CLUSTER_INDEX=str(self.index.number),
        )

    def carry_out_readme(self, seconds):
        """Runs readme.py here; returns what it did."""
        program = [sys.executable, "-B", SCRIPTS / "e2e.d/readme.py", "--eyesplice", self.eyesplice]
        server = ["--cluster", self.env["KUBE_APISERVER_PID"]]
        return run([*program, *server], seconds, env=self._environment() | self.env).text

    @staticmethod
    def _finish(process, arguments, seconds):
        what = f"scripts/cluster {' '.join(arguments)}"
        out = []
        reader = threading.Thread(target=lambda: out.append(process.stdout.read()))
        reader.start()
        stopping = arguments[0] != "down" and wait.STOPPED
        seconds *= wait.PATIENCE
        deadline = time.monotonic() + seconds
        while process.running() and time.monotonic() < deadline:
            if stopping and stopping.is_set():
                # It takes down what it started.
                process.end(signal.SIGTERM, DOWN_S)
                raise Interrupted
            with contextlib.suppress(TimeoutExpired):
                process.popen.wait(0.2)
        ended = not process.running()
        if not ended:
            process.end(signal.SIGTERM, DOWN_S)
        reader.join()
        text = b"".join(out).decode(errors="replace")
        if not ended:
            raise Failed(f"{what} did not end within {seconds} s: {short(text, 3000)}")
        if process.popen.returncode != 0:
            raise Failed(f"{what} failed: {short(text, 3000)}")
        return text

    def up(self):
        """Starts it, and the gateway, and waits until pods answer."""
        self.up_without_gateway()
        if self.front:
            front.configure(self)
        self.gateway = Gateway(
            self.eyesplice,
            self.env["CONF_DIR"] + "/gateway.yaml",
            self.env["GATEWAY_ADMIN_URL"],
            self.env["LOG_DIR"],
        )
        self.gateway.start()
        if self.nat:
            connected = "the agent's control connection"
            until(lambda: self.gateway.metric("tunnel_agents") == 1, AGENT_S, connected)

    def up_without_gateway(self):
        """Starts it, and waits until pods are ready; nothing reaches them yet."""
        self._script("down", seconds=DOWN_S)
        self._script(
            *["up", "--egress", self.transport, "--mode", self.mode, "--no-gateway"],
            *(["--nat"] if self.nat else []),
            *["--eyesplice", str(self.eyesplice)],
            *(["--kubernetes", str(self.kubernetes)] if self.kubernetes else []),
            seconds=UP_S,
        )
        self.read_env()
        self.home.mkdir(exist_ok=True)

    def verify_pki(self):
        """Has every file of the PKI judged by eyesplice and by openssl; both must find all good."""
        return self._script("pki", seconds=PKI_S).splitlines()[-1]

    def read_env(self):
        """Reads what `scripts/cluster env` tells."""
        for line in self._script("env", seconds=30).splitlines():
            name, value = line.removeprefix("export ").split("=", 1)
            self.env[name] = "".join(shlex.split(value))

    def down(self, keep):
        """Ends all of it; keeps only logs and configurations, or nothing."""
        try:
            if self.gateway:
                self.gateway.stop()
        finally:
            self._script("down", seconds=DOWN_S)
            for path in self.state.iterdir() if self.state.exists() else ():
                if not keep or path.name not in ("conf", "log", "pki"):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def path(self, name):
        """Returns a file of the cluster's PKI."""
        return Path(self.env["PKI_DIR"]) / name

    def admin(self, *arguments, seconds=60, stdin=None, check=True):
        """Runs the cluster's own kubectl as administrator."""
        environment = dict(os.environ, KUBECONFIG=self.env["KUBECONFIG"], HOME=str(self.home))
        return run([self.env["KUBECTL"], *arguments], seconds, stdin, environment, check)

    def make_pods(self, names):
        """Makes one pod for each kubectl, so that the audit log tells whose line is whose."""
        pods = [self.pod(name) for name in names]
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
        self.admin("apply", "-f", "-", stdin=manifest.encode())

    def await_pods(self):
        """Waits until every pod is ready."""
        arguments = ["wait", "--for", "condition=Ready", "pod", "--all", "--timeout", f"{PODS_S}s"]
        self.admin(*arguments, seconds=PODS_S + 10)

    def pod(self, name):
        """A pod that serves HTTP and echo, ticks into its log, and gives back what is attached."""
        command = (
            "httpd -p 0.0.0.0:8080 -h /data; nc -ll -p 7000 -e /bin/cat & "
            "(i=0; while sleep 1; do i=$((i+1)); echo tick $i; done) & exec cat"
        )
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "nodeName": self.env["NODE_NAME"],
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "tolerations": [{"operator": "Exists"}],
                "containers": [
                    {
                        "name": "c",
                        "image": "localhost/busybox:1",
                        "imagePullPolicy": "Never",
                        "stdin": True,
                        "command": ["/bin/sh", "-c", command],
                        "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }
                ],
                "volumes": [{"name": "data", "hostPath": {"path": self.env["DATA_DIR"]}}],
            },
        }

    def write_log(self):
        """Has the container `lines` log its lines, and waits for the last of them."""
        order = f"echo {LOG_LINES} >/tmp/lines"
        self.admin("exec", "bb", "-c", "lines", "--", "sh", "-c", order)
        last = f"{LOG_LINES:010d}".encode()

        def written():
            return self.admin("logs", "bb", "-c", "lines", "--tail=1").out.startswith(last)

        until(written, 60, "the last line of the log")

    def kill_apiserver(self):
        """Kills the API server, and with it every connection that it keeps."""
        pid = int(self.env["KUBE_APISERVER_PID"])
        os.kill(pid, signal.SIGKILL)
        until(lambda: not _runs(pid), 10, "the end of the API server")

    def restart(self, name):
        """Starts a component again, and waits until it is healthy."""
        self._script("restart", name, seconds=UP_S)
        self.read_env()

    def load_image(self):
        """Gives the node an image of the program, `localhost/eyesplice:1`."""
        self._script("image", seconds=UP_S)

    def in_node(self, *arguments, seconds=60, check=True):
        """Runs a program in the network of the node."""
        enter = ["nsenter", "--target", self.env["NODE_PID"], "--net"]
        return run([*enter, *arguments], seconds, check=check)

    def sockets_to_kubelet(self):
        """Returns how many connections of the gateway lead to the kubelet."""
        listed = run(["ss", "-Htnp", "state", "established", "dst", f"{self.env['NODE_IP']}:10250"])
        return sum(f"pid={self.gateway.pid}," in line for line in listed.text.splitlines())


def _runs(pid):
    """Returns whether a process exists and is not a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def kubectls():
    """Returns (path, version) of one kubectl of each minor release, oldest first.

    Those that the machine lacks are got from packages, as far as these can be reached.
    """
    listed = run([SCRIPTS / "cluster", "kubectls", "--fetch"], seconds=FETCH_S).text
    found = [tuple(line.rsplit(" ", 1)) for line in listed.splitlines()]
    # Of two, the one that sorts last: the newer, and no wrapper around others.
    return list({minor_of(version): (path, version) for path, version in found}.values())


def minor_of(version):
    """Returns the minor release of a version."""
    return int(version.removeprefix("v").split(".")[1])


def version_of(path):
    """Returns the version of one kubectl."""
    told = json.loads(run([path, "version", "--client", "-o", "json"]).text)
    return told["clientVersion"]["gitVersion"]
