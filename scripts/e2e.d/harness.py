"""The load harness through kubectl: an exec, followed logs and a forwarded port, every byte checked."""

import json
import os
import shutil

import processes
from wait import expect, until

POD = "load"

# Where the harness lies in the pod; the image has no C library, so that comes along.
HOME = "/data/load"
PROGRAM = f"{HOME}/ld.so --library-path {HOME} {HOME}/eyesplice-load"

# Where its far end listens in the pod.
PORT = 9000

# How long the kubectls of a workload have to start, on two processors that run clusters besides, how long it measures, and
# how long kubectl and the harness may take altogether, in seconds.
WARM_UP = "8s"
MEASURE = "2s"
RUN_S = 90

# Workloads: what is asked for in the audit log, and the options of `eyesplice-load run`.
WORKLOADS = {
    "exec": ("exec", f"--workload rr --connections 4 --via kubectl-exec:default/{POD}/far"),
    "exec, bulk": ("exec", f"--workload bulk --direction both --connections 2 --via kubectl-exec:default/{POD}/far"),
    "logs": ("logs", f"--workload log --connections 4 --via kubectl-logs:default/{POD}/lines"),
    "port-forward": ("portForward", f"--workload rr --connections 8 --via kubectl-port-forward:default/{POD}/{PORT}"),
    "port-forward, churn": (
        "portForward",
        f"--workload churn --connections 4 --via kubectl-port-forward:default/{POD}/{PORT}",
    ),
}


def checks(cluster, report, kubectl):
    """Runs each workload through one kubectl; skipped where the harness is not built."""
    program = cluster.eyesplice.with_name("eyesplice-load")
    if not os.access(program, os.X_OK):
        report.skip(f"{cluster.name} load harness", f"{program} is not built")
        return
    if report.check(f"{cluster.name} load harness starts", lambda: make_pod(cluster, program)) is None:
        return
    for name, (action, options) in WORKLOADS.items():
        report.check(
            f"{cluster.name} load harness, {name}",
            lambda action=action, options=options: workload(cluster, program, kubectl, action, options),
        )


def make_pod(cluster, program):
    """Puts the harness where pods see it, and waits for a pod that runs it."""
    directory = cluster.state / "data" / "load"
    directory.mkdir(exist_ok=True)
    shutil.copy(program, directory)
    for name, path in libraries(program):
        shutil.copy(path, directory / name)
    pod = cluster.pod(POD)
    (base,) = pod["spec"]["containers"]
    del base["readinessProbe"]
    serve = f"{PROGRAM} serve --listen 0.0.0.0:{PORT}"
    pod["spec"]["containers"] = [
        dict(
            base,
            name="far",
            command=serve.split(),
            readinessProbe={"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        ),
        dict(base, name="lines", command=f"{PROGRAM} emit --rate 200".split()),
    ]
    cluster.admin("apply", "-f", "-", stdin=json.dumps(pod).encode())
    cluster.await_pods()


def libraries(program):
    """Returns what a program is linked to: names, with the loader as ld.so, and files."""
    told = processes.run(["ldd", program]).text
    for line in told.splitlines():
        words = line.split()
        if "=>" in words:
            yield words[0], words[2]
        elif words[0].startswith("/"):
            yield "ld.so", words[0]


def workload(cluster, program, kubectl, action, options):
    """Runs one; the harness fails by itself if a byte or a line is wrong or missing."""
    audit = cluster.gateway.audit
    mark = audit.mark()
    environment = dict(
        os.environ,
        KUBECONFIG=cluster.env["KUBECONFIG"],
        HOME=str(cluster.home),
        KUBECTL=kubectl,
        EYESPLICE_LOAD_POD_COMMAND=f"{PROGRAM} serve --stdio",
    )
    arguments = [program, "run", *options.split(), "--no-ceiling", "--json"]
    arguments += ["--duration", MEASURE, "--warm-up", WARM_UP, "--patience", "30s"]
    ended = processes.run(arguments, RUN_S, None, environment)
    (run,) = json.loads(ended.text)["runs"]
    expect(sum(part["streams"] for part in run["outcome"]["parts"]) > 0, f"no streams: {ended.text}")
    expect(run["measured"]["gib_per_second"] > 0, f"nothing moved: {ended.text}")
    if cluster.terminates:
        until(
            lambda: audit.since(mark, kind="end", action=action, pod=POD),
            RUN_S,
            f"audit lines of {action} to the harness",
        )
