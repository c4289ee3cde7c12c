"""The shipped manifests on a real cluster: a gateway as static pod, an authority as Deployment."""

import base64
import json
import re
import urllib.request

from certificates import signed_by
from cluster import PODS_S
from machine import USER, is_ready
from processes import run
from documents import ROOT
from wait import expect, same, short, until

DIST = ROOT / "control/dist"
GATEWAY = DIST / "gateway-static-pod.yaml"
AUTHORITY = ("authority-rbac.yaml", "authority-policies.yaml", "authority-deployment.yaml")
SIGNERS = ("ca.crt", "ca.key", "kubelet-serving-ca.crt", "kubelet-serving-ca.key")
PROFILE = DIST / "seccomp-eyesplice.json"
LEADS = 'eyesplice_authority_leader{lease="kube-system/eyesplice-authority"} 1'

# How long a decision, a reload, or the kubelet's look at a ConfigMap may take, in seconds.
CHANGE_S = 120

SERVING = {
    "apiVersion": "certificates.k8s.io/v1",
    "kind": "CertificateSigningRequest",
    "spec": {
        "signerName": "kubernetes.io/kubelet-serving",
        "usages": ["digital signature", "server auth"],
    },
}


def configuration(machine):
    """The smallest gateway that is shipped as an example, with this cluster's networks."""
    text = (ROOT / "control/examples/gateway.yaml").read_text()
    env = machine.env
    for example, own in (
        ("[10.0.0.0/16]", f"[{env['NODE_IP']}/32]"),
        ("[10.244.0.0/16, 10.96.0.0/12]", f"[{env['POD_CIDR']}]"),
    ):
        expect(example in text, f"the example has no {example}")
        text = text.replace(example, own)
    return text


def check_gateway(machine, check):
    """Runs the gateway as a static pod."""
    pod = f"eyesplice-gateway-{machine.env['NODE_NAME']}"
    profile = PROFILE.read_text()
    machine.install_profile("eyesplice.json", profile)
    machine.install_profile("eyesplice-without.json", without_io_uring(profile))
    machine.configure(configuration(machine))
    machine.start_static(GATEWAY)
    name = "static pod is ready"
    if not check(name, lambda: machine.settle("app=eyesplice-gateway", 1)):
        return
    check("exec and logs go through the static pod", lambda: carries(machine, pod))
    check("static pod is confined", lambda: confined(machine))
    check("io_uring is what it runs on", lambda: strategy(machine))
    check("profile without io_uring is named", lambda: probes(machine))
    check("static pod reloads its files", lambda: reloads(machine))
    check("static pod is back after a crash", lambda: comes_back(machine, pod))
    check("static pod goes with its manifest", lambda: drains(machine))


def carries(machine, pod):
    """What kubectl asks for passes the gateway, which validates the kubelet and says so."""
    answered(machine)
    expect_verified(last_exec(machine, pod))


def expect_verified(line):
    """Fails unless an audit line is of an exec to a kubelet that was validated."""
    seen = line["rule"], line["pod"], line["status"], line["verification"]["result"]
    same(seen, ("kubelets", "bb", 101, "verified"), f"audit line {line}")


def answered(machine):
    """Runs an exec."""
    told = machine.admin("exec", "bb", "-c", "lines", "--", "echo", "through").text
    same(told, "through\n", "what an exec prints")


def last_exec(machine, pod):
    """The last audit line of an exec in the log of a gateway's pod, which comes through it, too."""

    def found():
        text = machine.system("logs", pod).text
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        ended = [line for line in lines if line.get("kind") == "end"]
        return [line for line in ended if line.get("action") == "exec"][-1:] or None

    return until(found, PODS_S, f"an audit line of an exec in the log of {pod}")[0]


def pid_of_gateway(machine):
    """The gateway's process, by the node's numbers."""
    found = machine.in_node("pgrep", "-f", "^/usr/bin/eyesplice gateway ", check=False).text.split()
    return found[0] if len(found) == 1 else None


def confined(machine):
    """It has no capability, no way to more, a filter of system calls, a user of its own, and files
    that it cannot change."""
    process = pid_of_gateway(machine)
    status = machine.in_node("cat", f"/proc/{process}/status").text
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    same(set(fields["Uid"].split()), {str(USER)}, "users")
    none = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"}
    same({int(fields[name], 16) for name in none}, {0}, "capabilities")
    same((fields["NoNewPrivs"], fields["Seccomp"]), ("1", "2"), "NoNewPrivs and Seccomp")
    mounts = machine.in_node("cat", f"/proc/{process}/mounts").text
    (options,) = re.findall(r"^\S+ / \S+ (\S+) ", mounts, re.MULTILINE)
    expect("ro" in options.split(","), f"root file system: {options}")


def metrics(machine):
    """What the gateway of the node tells of itself."""
    return machine.in_node("curl", "--silent", "http://127.0.0.1:9464/metrics").text


def sample(machine, name):
    """The value of one sample."""
    found = re.search(rf"^{re.escape(name)} (\S+)$", metrics(machine), re.MULTILINE)
    return float(found.group(1)) if found else None


def strategy(machine):
    """The shipped profile lets it have its rings."""
    line = next(each for each in metrics(machine).splitlines() if "strategy_info{" in each)
    expect('io="io_uring"' in line, line)


def without_io_uring(profile):
    """The profile as a runtime would have it."""
    made = json.loads(profile)
    kept = [each for each in made["syscalls"] if "io_uring_setup" not in each["names"]]
    same(len(made["syscalls"]) - len(kept), 1, "entries of io_uring")
    return json.dumps({**made, "syscalls": kept})


def probes(machine):
    """`eyesplice probe` names the profile where that denies io_uring, and is content otherwise."""
    said = {name: probe(machine, name) for name in ("eyesplice", "eyesplice-without")}
    phase, text = said["eyesplice"]
    expect(phase == "Succeeded" and "MISSING" not in required(text), text)
    phase, text = said["eyesplice-without"]
    expect(phase == "Failed", text)
    for word in ("a sandbox denies io_uring_setup", "seccomp-eyesplice.json"):
        expect(word in text, f"no {word!r} in {text}")


def required(text):
    """The lines of a probe about what is needed."""
    return "\n".join(line for line in text.splitlines() if " required " in line)


def probe(machine, profile):
    """Runs a pod that probes under a profile; returns its phase and what it printed."""
    name = f"probe-{profile}"
    confinement = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "Localhost", "localhostProfile": f"{profile}.json"},
    }
    pod = machine.pod(name)
    (container,) = pod["spec"]["containers"]
    image = image_of(GATEWAY)
    container = {"name": "c", "image": image, "args": ["probe"], "securityContext": confinement}
    pod["spec"].update(containers=[container], restartPolicy="Never", volumes=[])
    machine.admin("apply", "-f", "-", stdin=json.dumps(pod).encode())

    def ended():
        phase = machine.admin("get", "pod", name, "-o", "jsonpath={.status.phase}").text
        return phase if phase in ("Succeeded", "Failed") else None

    phase = until(ended, PODS_S, f"the end of {name}")
    text = machine.admin("logs", name).text
    machine.admin("delete", "pod", name)
    return phase, text


def image_of(manifest):
    """The image that a manifest names."""
    (name,) = set(re.findall(r"^ +image: (\S+)$", manifest.read_text(), re.MULTILINE))
    return name


def reloads(machine):
    """A change of the files in the machine's directory is in force without a restart."""
    process, before = pid_of_gateway(machine), sample(machine, "eyesplice_config_generation")
    changed = configuration(machine) + "timeouts: {drain: 2s}\n"
    machine.configure(changed)

    def newer():
        return sample(machine, "eyesplice_config_generation") > before

    until(newer, CHANGE_S, lambda: f"a reload: {short(metrics(machine))}")
    same(pid_of_gateway(machine), process, "process after a reload")


def comes_back(machine, pod):
    """The kubelet starts it again, and the API server finds it at its socket."""
    process = pid_of_gateway(machine)
    machine.in_node("kill", "-KILL", process)
    until(lambda: pid_of_gateway(machine) not in (None, process), PODS_S, "another process")

    def answers():
        command = ["exec", "bb", "-c", "lines", "--", "echo", "again"]
        return machine.admin(*command, check=False).text == "again\n"

    until(answers, PODS_S, "an exec after the restart")
    (mirror,) = machine.settle("app=eyesplice-gateway", 1)
    same(mirror["status"]["containerStatuses"][0]["restartCount"], 1, f"restarts of {pod}")


def drains(machine):
    """It ends when the kubelet no longer has it."""
    machine.stop_static(GATEWAY, "eyesplice-gateway")
    until(lambda: pid_of_gateway(machine) is None, PODS_S, "the end of the process")


def applied(machine, name):
    """Applies a manifest as it is shipped, but for a version that this API server does not have."""
    text = (DIST / name).read_text()
    if machine.release < (1, 21):
        text = text.replace("apiVersion: policy/v1\n", "apiVersion: policy/v1beta1\n")
    machine.admin("apply", "-f", "-", stdin=text.encode())


def check_authority(machine, check):
    """Runs the authority as the Deployment that is shipped."""
    for name in AUTHORITY:
        if not check(f"{name} is applied", lambda name=name: applied(machine, name)):
            return
    if not check("authority's replicas are ready", lambda: replicas(machine)):
        return
    check("one replica leads", lambda: leader(machine))
    check("disruption budget counts the replicas", lambda: budget(machine))
    check("node's serving certificate is approved and signed", lambda: serve(machine, "by-pod"))
    check("role withholds nothing that is needed", lambda: permitted(machine))
    for name in reversed(AUTHORITY):
        text = (DIST / name).read_text().replace("policy/v1\n", "policy/v1beta1\n")
        machine.admin("delete", "--ignore-not-found", "-f", "-", stdin=text.encode())
    until(lambda: not replicas_left(machine), PODS_S, "the end of the replicas")


def replicas(machine):
    """Both, as soon as they are ready."""
    return machine.settle("app=eyesplice-authority", 2)


def replicas_left(machine):
    """Those that are there."""
    return machine.pods("app=eyesplice-authority")


def told_by(pod):
    """The metrics of a replica."""
    url = f"http://{pod['status']['podIP']}:9466/metrics"
    with urllib.request.urlopen(url, timeout=30) as reply:
        return reply.read().decode()


def leader(machine):
    """One leads, and both are ready."""

    def one():
        pods = [pod for pod in replicas_left(machine) if is_ready(pod)]
        return len(pods) == 2 and sum(LEADS in told_by(pod) for pod in pods) == 1

    until(one, CHANGE_S, "one leader of two replicas")


def budget(machine):
    """Its selector finds both replicas, so that one may go."""

    def counted():
        text = machine.system("get", "pdb", "eyesplice-authority", "-o", "json").text
        status = json.loads(text)["status"]
        return (status.get("expectedPods"), status.get("disruptionsAllowed")) == (2, 1)

    until(counted, CHANGE_S, "a budget of two pods, one of which may go")


def serve(machine, name):
    """A node asks for its serving certificate; a replica approves and signs it."""
    node, address = machine.env["NODE_NAME"], machine.env["NODE_IP"]
    subject = f"/O=system:nodes/CN=system:node:{node}"
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    out = ["-keyout", machine.state / f"{name}.key", "-subj", subject]
    names = ["-addext", f"subjectAltName=IP:{address}"]
    request = run(["openssl", "req", "-new", *curve, *out, *names]).out
    body = {**SERVING, "metadata": {"name": name}}
    body["spec"] = {**body["spec"], "request": base64.b64encode(request).decode()}
    kubelet = machine.path(f"kubelet-{node}.kubeconfig")
    command = ["--kubeconfig", kubelet, "create", "-f", "-"]
    machine.admin(*command, stdin=json.dumps(body).encode())

    def issued():
        text = machine.admin("get", "csr", name, "-o", "jsonpath={.status.certificate}").text
        return base64.b64decode(text).decode() if text else None

    pem = until(issued, CHANGE_S, f"a certificate of {name}: {machine.admin('get', 'csr').text}")
    expect(signed_by(pem, machine.path("kubelet-serving-ca.crt")), f"its CA did not sign {pem}")


def permitted(machine):
    """Nothing that a replica asked for was forbidden."""
    for pod in replicas_left(machine):
        forbidden = [line for line in told_by(pod).splitlines() if 'cause="forbidden"' in line]
        same(forbidden, [], f"forbidden requests of {pod['metadata']['name']}")
