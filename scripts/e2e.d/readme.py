"""Executes the setup of README.md as it stands: its commands, its files, and the systemd unit; and,
without a cluster, those of docs/tunnel.md and docs/front.md.

    readme.py --eyesplice PATH [--cluster KUBE_APISERVER_PID]

Without --cluster a kubelet and an API server are stood in for, at the README's own addresses, in a
network namespace. With it, the README's addresses are replaced by those of the cluster that the
environment has (`scripts/cluster env`), and its API server is started again as step 4 says.

Either way /etc, /run, /usr/bin and /var/log are overlays in a mount namespace: nothing is left
behind. Fails if a document shows a command that was not executed and `NOT_RUN` does not name.
"""

import argparse
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import documents
import guides
import processes
import standin
from documents import ROOT
from wait import Failed, expect, until

# What no test executes, and why: how the commands begin.
NOT_RUN = {
    "git clone": "this is the clone",
    "cargo build": "the run that tests it has built it",
    "systemctl enable": "it needs an init system; the unit's own commands run in its place",
    "eyesplice-load": "each is a measurement; bench parses it, `scripts/bench` runs the harness",
    "scripts/cluster": "`scripts/e2e` and `scripts/demo` bring clusters up and down by it",
    'eval "$(scripts/cluster env)"': "the same",
    "kubectl exec -i bb": "every kubectl runs it in `scripts/e2e`",
    "kubectl config set-cluster": "`scripts/e2e --front` does, and what follows it",
    "kubectl auth whoami": "the same",
    "kubectl get --raw /readyz": "the same",
}

# Without a cluster a kubectl only says what to stand in for.
ADMIN = "kubectl --kubeconfig /etc/kubernetes/admin.conf"

JOURNAL = "journalctl -u eyesplice-gateway -o cat"

TROUBLESHOOTING = "docs/troubleshooting.md"

# What the README and this program run.
TOOLS = ("curl", "ip", "mount", "openssl", "runuser", "setpriv", "unshare", "useradd")

OVERLAYS = ("/etc", "/run", "/usr/bin", "/var/log")

# The addresses and names in the README, of which a reader replaces what differs.
SERVER, NODE_ADDRESS, NODE_NAME = "10.0.0.1", "10.0.0.11", "worker-1"
NODES, PODS, SERVICES = "10.0.0.0/16", "10.244.0.0/16", "10.96.0.0/12"

# Exit status of a run that cannot be made here.
SKIPPED = 77

# How long a command, a start, a reload and an API server may take, in seconds, on two processors
# that others keep busy.
COMMAND_S = 60
START_S = 30
APISERVER_S = 90


class Unit:
    """The systemd unit, as far as it says how the program is started."""

    def __init__(self, path):
        text = Path(path).read_text()
        self.path = path
        self.fields = dict(re.findall(r"^(\w+)=(.+)$", text, re.MULTILINE))

    def command(self, name):
        """Returns one of its command lines, as its user and without capabilities."""
        user, group = self.fields["User"], self.fields["Group"]
        identity = ["--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"]
        # The second setpriv: a change of user forgets the signal.
        return [
            *["setpriv", *identity, "--bounding-set", "-all"],
            *["setpriv", "--pdeathsig", "KILL", *shlex.split(self.fields[name])],
        ]

    def start(self, log):
        """Does what `systemctl start` does, and returns the process when it is ready."""
        if shutil.which("systemd-analyze"):
            processes.run(["systemd-analyze", "verify", "--man=no", self.path], COMMAND_S)
        user = self.fields["User"]
        runtime = Path("/run", self.fields["RuntimeDirectory"])
        runtime.mkdir()
        runtime.chmod(int(self.fields["RuntimeDirectoryMode"], 8))
        shutil.chown(runtime, user, self.fields["Group"])
        processes.run(self.command("ExecStartPre"), COMMAND_S)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind("/run/notify")
            shutil.chown("/run/notify", user)
            notified.settimeout(START_S)
            process = processes.Process(
                self.command("ExecStart"),
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": "/run/notify"},
                stdout=log,
                stderr=log,
            )
            try:
                while b"READY=1" not in notified.recv(4096):
                    pass
            except TimeoutError:
                said = Path(log.name).read_text()[-2000:]
                raise Failed(f"the unit was not ready within {START_S} s: {said}") from None
        return process


class Site:
    """Where the README is carried out: with a kubelet and an API server that are stood in for."""

    def __init__(self, eyesplice, directory):
        self.eyesplice = eyesplice
        self.directory = Path(directory)
        self.log = open(self.directory / "gateway.log", "ab")
        self.flags = {}
        self.kubelet = None

    def replaced(self, text):
        """Returns text of the README with what differs here."""
        return text

    def prepare(self):
        """Makes what the README expects of a kubeadm cluster."""
        processes.run(["ip", "link", "set", "lo", "up"])
        for address in (SERVER, NODE_ADDRESS):
            processes.run(["ip", "addr", "add", f"{address}/16", "dev", "lo"])
        made = self.directory / "kubeadm"
        processes.run([self.eyesplice, "pki", "init", made, "--apiserver", SERVER])
        kubeadm_files(made)
        self.kubelet = standin.Kubelet(NODE_ADDRESS, "/etc/kubernetes/pki/ca.crt")
        self.kubelet.show(*self.certificate())

    def certificate(self, name=NODE_NAME, address=NODE_ADDRESS, signer=()):
        """Makes a kubelet's serving certificate, self-signed unless `signer` names a CA."""
        made = self.directory / "kubelet.crt", self.directory / "kubelet.key"
        extensions = (
            f"subjectAltName=DNS:{name},IP:{address}",
            "extendedKeyUsage=serverAuth",
            "keyUsage=digitalSignature",
            "basicConstraints=critical,CA:FALSE",
        )
        processes.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
            + ["-nodes", "-days", "30", "-subj", f"/O=system:nodes/CN=system:node:{name}", *signer]
            + [word for extension in extensions for word in ("-addext", extension)]
            + ["-out", made[0], "-keyout", made[1]]
        )
        return made

    def approve(self):
        """Does what step 5 has done by hand: from now on the kubelet's certificate is valid."""
        self.kubelet.show(*self.certificate(signer=KUBEADM_CA))

    def apiserver(self, flags):
        """Takes what step 4 adds to the API server's command line."""
        self.flags = flags

    def kubectl(self, command):
        """Stands in for kubectl and the API server."""
        words = shlex.split(command.removeprefix(ADMIN))
        if words[:2] == ["get", "--raw"]:
            path = words[2].removeprefix(f"/api/v1/nodes/{NODE_NAME}/proxy")
            client = [f"/etc/kubernetes/pki/{KUBELET_CLIENT}.{end}" for end in ("crt", "key")]
            return standin.request(self.flags, NODE_ADDRESS, client, path)
        expect(words[0] == "apply" and (ROOT / words[2]).exists(), f"what is this: {command}")
        return ""

    def close(self):
        """Checks the end of step 5: a self-signed certificate is refused, and a user reads why."""
        self.kubelet.show(*self.certificate())
        (quoted,) = re.findall(r"`502 ([^`(]+) \(", README)
        request = f"{ADMIN} get --raw /api/v1/nodes/{NODE_NAME}/proxy/healthz"

        def refused():
            try:
                self.kubectl(request)
            except Failed as failure:
                return str(failure)
            return None

        said = until(refused, START_S, "a refusal of the self-signed certificate")
        expect(said.startswith(f"502 {quoted} ("), f"{said}; README: 502 {quoted}")


class RealSite(Site):
    """The README on a cluster of `scripts/cluster`."""

    def __init__(self, eyesplice, directory, pid):
        super().__init__(eyesplice, directory)
        self.env = os.environ
        self.command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")[:-1]
        self.pid = pid

    def replaced(self, text):
        """Puts the cluster's addresses and names in."""
        link = self.env["CONTROL_PLANE_IP"].rsplit(".", 1)[0] + ".0/24"
        values = {
            NODES: link,
            PODS: self.env["POD_CIDR"],
            SERVICES: self.env["SERVICE_CIDR"],
            NODE_ADDRESS: self.env["NODE_IP"],
            SERVER: self.env["CONTROL_PLANE_IP"],
            NODE_NAME: self.env["NODE_NAME"],
        }
        pattern = "|".join(re.escape(each) + r"(?!\d)" for each in values)
        return re.sub(pattern, lambda found: values[found[0]], text)

    def prepare(self):
        """Leaves the kubelet with what it makes itself, and the gateway's user without rights."""
        made = self.env["PKI_DIR"]
        kubeadm_files(made)
        self.show(*self.certificate())
        processes.run([self.env["KUBECTL"], "delete", "clusterrolebinding", "kubelet-api"])
        Path("/usr/bin/kubectl").unlink(missing_ok=True)
        Path("/usr/bin/kubectl").symlink_to(self.env["KUBECTL"])

    def certificate(self, *_, signer=()):
        """The same for the cluster's node."""
        return super().certificate(self.env["NODE_NAME"], self.env["NODE_IP"], signer)

    def show(self, certificate, key):
        """Starts the kubelet again with another certificate."""
        for path, end in ((certificate, "crt"), (key, "key")):
            shutil.copy(path, Path(self.env["PKI_DIR"], f"kubelet-{self.env['NODE_NAME']}.{end}"))
        processes.run([ROOT / "scripts/cluster", "restart", "kubelet"], APISERVER_S)

    def approve(self):
        """The CA signs the kubelet's certificate."""
        self.show(*self.certificate(signer=KUBEADM_CA))

    def apiserver(self, flags):
        """Starts the API server again, with what step 4 adds to its command line."""
        os.kill(self.pid, 9)
        until(lambda: not Path(f"/proc/{self.pid}/exe").exists(), START_S, "the API server's end")
        command = list(self.command)
        for name, value in flags.items():
            if name in command:
                command[command.index(name) + 1] = value
            else:
                command += [name, value]
        log = open(self.directory / "apiserver.log", "ab")
        processes.Process(["setpriv", "--pdeathsig", "KILL", *command], stdout=log, stderr=log)
        ready = ["kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "get", "--raw", "/readyz"]
        until(lambda: processes.run(ready, check=False).code == 0, APISERVER_S, "the API server")

    def kubectl(self, command):
        """Runs it."""
        return shell(command)

    def close(self):
        """An exec works as well; `scripts/demo` shows how a kubelet is refused."""
        printed = shell(f"{ADMIN} exec bb -c c -- echo hello")
        expect(printed == "hello\n", f"exec printed {printed!r}")
        line = re.compile(r'"kind":"start".*"action":"exec".*"pod":"bb"')
        log = Path(self.log.name)
        until(lambda: line.search(log.read_text()), START_S, "an audit line of the exec")


KUBELET_CLIENT = "apiserver-kubelet-client"

KUBEADM_CA = ("-CA", "/etc/kubernetes/pki/ca.crt", "-CAkey", "/etc/kubernetes/pki/ca.key")

README = (ROOT / "README.md").read_text()


def kubeadm_files(tree):
    """Puts a tree's files where kubeadm has them."""
    shutil.rmtree("/etc/kubernetes", ignore_errors=True)
    pki = Path("/etc/kubernetes/pki")
    pki.mkdir(parents=True)
    for name in ("ca.crt", "ca.key", f"{KUBELET_CLIENT}.crt", f"{KUBELET_CLIENT}.key"):
        shutil.copy2(Path(tree, name), pki)
    shutil.copy2(Path(tree, "admin.kubeconfig"), "/etc/kubernetes/admin.conf")


def shell(command):
    """Runs a command of the README in the clone, and returns what it printed."""
    script = f"cd {shlex.quote(str(ROOT))}\n{command}"
    return processes.run(["bash", "-euo", "pipefail", "-c", script], COMMAND_S).text


class Reader:
    """A reader who does what the README says, in its order."""

    def __init__(self, site):
        self.site = site
        self.process = None
        self.ran = set()

    def look_into(self):
        """Finds the streams that failed, as the list of symptoms says."""
        for block in documents.blocks(documents.documents()[TROUBLESHOOTING]):
            for command in block.commands() if block.language == "sh" else ():
                self.run(command, TROUBLESHOOTING)

    def follow(self):
        """Carries out every block from the installation to the end of the setup."""
        for block in documents.blocks(documents.section(README, "Install", "When it dies")):
            if block.language == "sh":
                for command in block.commands():
                    self.run(command)
            elif block.language == "yaml":
                self.write(block)

    def write(self, block):
        """Writes a file, or applies what one is to have in addition."""
        path = block.path()
        text = self.site.replaced(block.text)
        print(f"file  {path}", flush=True)
        if path == "/etc/kubernetes/manifests/kube-apiserver.yaml":
            for directory in re.findall(r"hostPath: {path: ([^,}]+)", text):
                expect(Path(directory).is_dir(), f"{directory} of {path} is not there")
            self.site.apiserver(dict(re.findall(r"- (--[\w-]+)=(\S+)", text)))
            return
        Path(path).write_text(text)

    def run(self, command, document="README.md"):
        """Runs one command, or what stands in for it."""
        self.ran.add((document, command))
        command = self.site.replaced(command)
        print(f"$ {command}", flush=True)
        if command.startswith(("git clone", "cargo build")):
            return
        if command.startswith("systemctl enable --now "):
            unit = Unit(f"/etc/systemd/system/{command.split()[-1]}.service")
            self.process = unit.start(self.site.log)
            return
        if command.startswith(ADMIN):
            self.expect_ok(command, self.site.kubectl(command))
            return
        if command.startswith("sed -i "):
            self.site.approve()
        command = command.replace("target/dist/eyesplice", shlex.quote(str(self.site.eyesplice)))
        command = command.replace(JOURNAL, f"cat {self.site.log.name}")
        if "|" in command:
            # What it reads is written by another process, a moment later.
            until(lambda: succeeds(command), START_S, lambda: f"{command}: {self.log_tail()}")
            return
        before = self.generation() if command.startswith("sed -i ") else None
        self.expect_ok(command, shell(command))
        if before is not None:
            until(lambda: self.generation() > before, START_S, "the reload of what was edited")
            self.verified()

    def expect_ok(self, command, printed):
        """What the README says is printed."""
        ready = "/readyz" in command and printed.endswith("readyz check passed\n")
        if "/readyz" in command or "/healthz" in command:
            expect(ready or printed.strip() == "ok", f"{command} printed {printed!r}")

    def metric(self, pattern):
        """Returns one sample of the gateway's metrics, 0 if there is none."""
        metrics = shell("curl -s http://127.0.0.1:9464/metrics")
        found = re.search(rf"^eyesplice_{pattern} (\d+)$", metrics, re.MULTILINE)
        return int(found[1]) if found else 0

    def generation(self):
        """Returns the number of the configuration that is in force."""
        return self.metric("config_generation")

    def verified(self):
        """A kubelet with a valid certificate passes under `enforce`; before, it was observed."""
        observed = self.metric(r'verifications_total\{result="observed",cause="self_signed"\}')
        expect(observed > 0, "no self-signed certificate was observed")
        self.run(f"{ADMIN} get --raw /api/v1/nodes/{NODE_NAME}/proxy/healthz")
        verified = self.metric(r'verifications_total\{result="verified"[^}]*\}')
        expect(verified > 0, "no certificate was validated")

    def log_tail(self):
        """Returns the end of the gateway's log."""
        return Path(self.site.log.name).read_text()[-2000:]


def succeeds(command):
    """Returns whether a command of the README does."""
    try:
        shell(command)
    except Failed:
        return False
    return True


def account(ran):
    """Fails if a document shows a command that was not run and that `NOT_RUN` does not name.

    `ran` has (document, command) of those that were.
    """
    named = set()
    for document, text in documents.documents().items():
        for block in documents.blocks(text):
            expect(block.language in documents.LANGUAGES, f"{document}: ```{block.language}")
            for command in block.commands() if block.language == "sh" else ():
                reason = next((each for each in NOT_RUN if command.startswith(each)), None)
                named.add(reason)
                expect(
                    reason or (document, command) in ran,
                    f"{document} shows a command that no test runs: {command}",
                )
    stale = NOT_RUN.keys() - named
    expect(not stale, f"NOT_RUN names what no document shows: {stale}")


def check_examples(site):
    """What other documents show as a whole configuration is one."""
    (spec,) = (
        block.text
        for block in documents.blocks(documents.documents()["docs/pki.md"])
        if "kind: PKIConfig" in block.text
    )
    path = site.directory / "pki.yaml"
    path.write_text(spec)
    processes.run([site.eyesplice, "pki", "init", site.directory / "tree", "--config", path])


def enter(options):
    """Goes on in namespaces of its own; ends this program where that is not allowed."""
    if os.environ.get("EYESPLICE_README") == "inside":
        return
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        skip(f"{', '.join(missing)} is not here")
    kinds = ["--mount", "--propagation", "private"] + ([] if options.cluster else ["--net"])
    # In namespaces that end with it, whether overlays of overlays are allowed as well.
    trial = (
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w && "
        "mount -t overlay -o lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w overlay /etc"
    )
    trial = ["unshare", *kinds, "sh", "-c", trial]
    tried = subprocess.run(trial, capture_output=True, text=True, check=False)
    if os.geteuid() != 0 or tried.returncode != 0:
        skip(f"namespaces and overlays need root ({tried.stderr.strip()})")
    os.environ["EYESPLICE_README"] = "inside"
    os.execvp("unshare", ["unshare", *kinds, sys.executable, "-B", *sys.argv])


def skip(why):
    """Ends this program, which cannot do its work here."""
    print(f"SKIPPED: setup of the README: {why}")
    sys.exit(SKIPPED)


def overlay(directory):
    """Lays an overlay over what the README writes to; `directory` becomes its memory."""
    processes.run(["mount", "-t", "tmpfs", "tmpfs", directory])
    for place in OVERLAYS:
        memory = Path(directory, place.strip("/").replace("/", "-"))
        parts = [memory / "upper", memory / "work"]
        for part in parts:
            part.mkdir(parents=True)
        shutil.copystat(place, parts[0])
        layers = f"lowerdir={place},upperdir={parts[0]},workdir={parts[1]}"
        processes.run(["mount", "-t", "overlay", "-o", layers, "overlay", place])
    # What an earlier installation on this machine has.
    for place in ("/etc/eyesplice", "/run/eyesplice"):
        shutil.rmtree(place, ignore_errors=True)
    processes.run(["userdel", "eyesplice"], check=False)


def main():
    """Carries it out; returns the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--eyesplice", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--cluster", type=int, metavar="KUBE_APISERVER_PID")
    options = parser.parse_args()
    enter(options)
    with tempfile.TemporaryDirectory() as directory:
        try:
            overlay(directory)
            site = Site(options.eyesplice, directory)
            if options.cluster:
                site = RealSite(options.eyesplice, directory, options.cluster)
            check_examples(site)
            site.prepare()
            reader = Reader(site)
            reader.follow()
            site.close()
            if not options.cluster:
                reader.look_into()
                reader.process.end()
                account(reader.ran | guides.tunnel(site) | guides.front(site))
        except Failed as failure:
            print(f"README: {failure}", file=sys.stderr)
            return 1
        finally:
            processes.end_all()
            for place in (*OVERLAYS, directory):
                subprocess.run(["umount", "--lazy", place], check=False, capture_output=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
