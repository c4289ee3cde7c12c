"""The Helm chart by a real helm: linted, compared with the manifests, installed and changed."""

import json
import os

from cluster import PODS_S
from pods import CHANGE_S, DIST, answered, configuration, expect_verified, last_exec, leader
from pods import replicas, serve
from processes import run
from wait import expect, same, until

CHART = DIST / "chart"
RELEASE = "eyesplice"
GATEWAY_FILES = (
    "egress-ca-chain.crt egress-ca.key kubelet-serving-ca.crt eyesplice-kubelet-client.crt "
    "eyesplice-kubelet-client.key ca.crt inventory.yaml"
).split()

# Wrong values, and what the refusal names.
REFUSED = {
    "authority.replica=3": "replica",
    "authority.replicas=many": "replicas",
    "authority.signersSecret=Not A Name": "signersSecret",
    "authority.config.kind=GatewayConfig": "kind",
    "authority.networkPolicy.egressPorts[0]=70000": "egressPorts",
    "image.digest=latest": "digest",
    "image.pullPolicy=Sometimes": "pullPolicy",
    "gateway.enabled=true": "gateway",
    "gateway.socketDir=run": "socketDir",
    "agent.enabled=true": "agent",
    "agent.adminPort=0": "adminPort",
    "extra=1": "extra",
}

LINT_S = 120


class Helm:
    """A helm for one cluster."""

    def __init__(self, program, machine):
        self.program, self.machine = program, machine
        # This API server cannot decode a Secret from JSON: see protobuf.py of scripts/e2e.d.
        self.env = dict(
            os.environ,
            KUBECONFIG=machine.env["KUBECONFIG"],
            HOME=str(machine.home),
            HELM_DRIVER="configmap",
        )

    def run(self, *arguments, check=True):
        """Runs it for kube-system."""
        command = [self.program, "--namespace", "kube-system", *arguments]
        return run(command, LINT_S, env=self.env, check=check)

    def rendered(self, *arguments):
        """The objects that the chart makes, by kind and name."""
        text = self.run("template", RELEASE, CHART, *arguments).text
        return objects(self.machine, text)


def objects(machine, text):
    """Objects of a manifest, by kind and name."""
    command = ["create", "--dry-run=client", "-o", "json", "-f", "-"]
    left, found = machine.admin(*command, stdin=text.encode()).text, {}
    while left := left.lstrip():
        one, end = json.JSONDecoder().raw_decode(left)
        left = left[end:]
        for each in one["items"] if one["kind"] == "List" else [one]:
            found[each["kind"], each["metadata"]["name"]] = each
    return found


def check_chart(machine, program, check):
    """Does all of it."""
    helm = Helm(program, machine)
    values = machine.state / "values.json"
    values.write_text(json.dumps(own_values(machine)))
    check("helm lints the chart", lambda: helm.run("lint", "--strict", CHART))
    check("helm lints it with a gateway", lambda: helm.run("lint", "--strict", CHART, "-f", values))
    check("wrong values are refused", lambda: refuses(helm))
    check("chart has what the manifests have", lambda: agrees(helm))
    check("chart has the agents that the manifest has", lambda: agrees_on_agents(helm))
    check("versions of policies follow the API", lambda: follows(helm))
    machine.make_secret("eyesplice-gateway-keys", machine.files(*GATEWAY_FILES))
    if not check("chart is installed", lambda: install(helm, values)):
        return
    check("chart's authority signs", lambda: signs(machine))
    check("exec goes through the chart's gateway", lambda: carries(machine))
    check("upgrade of the values is in force", lambda: upgrade(helm, values))
    check("chart is removed", lambda: uninstall(helm))


def own_values(machine):
    """Values for this cluster: the example's gateway, whose files lie beside it."""
    text = configuration(machine).replace("pki/", "")
    expect("egress-ca.key" in text, text)
    gateway = {"enabled": True, "keysSecret": "eyesplice-gateway-keys"}
    return {"gateway": {**gateway, "config": parsed(machine, text)}}


def parsed(machine, text):
    """A configuration as JSON: kubectl reads YAML, and passes a field that it does not know."""
    indented = "".join(f"  {line}\n" for line in text.splitlines())
    wrapped = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x}}\nconfig:\n{indented}"
    command = ["create", "--dry-run=client", "--validate=false", "-o", "json", "-f", "-"]
    return json.loads(machine.admin(*command, stdin=wrapped.encode()).text)["config"]


def refuses(helm):
    """Each wrong value is an error that names it."""
    for value, named in REFUSED.items():
        told = helm.run("template", RELEASE, CHART, "--set", value, check=False)
        expect(told.code != 0, f"{value} is taken")
        expect(named in told.err, f"{value}: {told.err}")


def agrees(helm):
    """What is shipped for kubectl and what the chart makes are the same, but for labels."""
    made = helm.rendered("--kube-version", "1.20.0")
    shipped = {}
    for name in ("authority-rbac.yaml", "authority-policies.yaml", "authority-deployment.yaml"):
        text = (DIST / name).read_text().replace("policy/v1\n", "policy/v1beta1\n")
        shipped |= objects(helm.machine, text)
    for kind in ("Deployment", "PodDisruptionBudget", "NetworkPolicy"):
        key = kind, "eyesplice-authority"
        same(plain(made[key]["spec"]), plain(shipped[key]["spec"]), kind)
    key = "ClusterRole", "eyesplice-authority"
    rules = [rule for rule in shipped[key]["rules"] if rule["resources"] != ["signers"]]
    same([rule for rule in made[key]["rules"] if rule["resources"] != ["signers"]], rules, "rules")
    key = "Role", "eyesplice-authority"
    leading = made["Role", "eyesplice-authority-leader"]["rules"]
    same(made[key]["rules"] + leading, shipped[key]["rules"], "rules in kube-system")
    # The configuration, as its reader sees it.
    key = "ConfigMap", "eyesplice-authority"
    said = {check_config(helm.machine, each[key]) for each in (made, shipped)}
    same(len(said), 1, f"what check says of both: {said}")


def agrees_on_agents(helm):
    """The agents of the chart are those that the end-to-end run tries by kubectl."""
    shipped = objects(helm.machine, (DIST / "agent-daemonset.yaml").read_text())
    config_map = "ConfigMap", "eyesplice-agent"
    files = dict(shipped[config_map]["data"])
    config = parsed(helm.machine, files.pop("agent.yaml"))
    values = helm.machine.state / "agent-values.json"
    values.write_text(json.dumps({"agent": {"enabled": True, "config": config, "files": files}}))
    helm.run("lint", "--strict", CHART, "-f", values)
    made = helm.rendered("-f", values)
    told = dict(made[config_map]["data"])
    same(parsed(helm.machine, told.pop("agent.yaml")), config, "the configuration")
    stripped = [{name: text.strip() for name, text in each.items()} for each in (told, files)]
    same(*stripped, "files")
    key = "DaemonSet", "eyesplice-agent"
    same(plain(made[key]["spec"]), plain(shipped[key]["spec"]), "DaemonSet")
    for key in ("ClusterRole", "eyesplice-token-reviewer"), ("Role", "eyesplice-agent-pods"):
        same(made[key]["rules"], shipped[key]["rules"], f"rules of {key}")
        key = f"{key[0]}Binding", key[1]
        same(made[key]["subjects"], shipped[key]["subjects"], f"subjects of {key}")


def plain(spec):
    """A specification without the chart's own labels."""
    text = json.dumps(spec)
    made = json.loads(text)
    labels = made.get("template", {}).get("metadata", {}).get("labels", {})
    for name in [name for name in labels if name.startswith(("app.kubernetes.io/", "helm.sh/"))]:
        del labels[name]
    return made


def check_config(machine, config_map):
    """What `eyesplice check` says of a configuration."""
    path = machine.state / "authority-of-chart.yaml"
    text = config_map["data"]["authority.yaml"]
    path.write_text(text.replace("/signers/", f"{machine.env['PKI_DIR']}/"))
    return run([machine.eyesplice, "check", path]).text


def follows(helm):
    """The disruption budget has the version of the API server."""
    for release, version in (("1.20.0", "policy/v1beta1"), ("1.21.0", "policy/v1")):
        text = helm.run("template", RELEASE, CHART, "--kube-version", release).text
        expect(f"apiVersion: {version}\nkind: PodDisruptionBudget\n" in text, text)


def install(helm, values):
    """Installs it, and waits for its pods."""
    notes = helm.run("install", RELEASE, CHART, "-f", values).text
    expect("The authority approves and signs for:" in notes, notes)
    replicas(helm.machine)
    helm.machine.settle("app=eyesplice-gateway", 1)


def signs(machine):
    """As the Deployment does."""
    leader(machine)
    serve(machine, "by-chart")


def gateway_pod(machine):
    """The name of the gateway's pod."""
    (pod,) = machine.pods("app=eyesplice-gateway")
    return pod["metadata"]["name"]


def carries(machine):
    """An exec passes the pod of the DaemonSet."""
    answered(machine)
    expect_verified(last_exec(machine, gateway_pod(machine)))


def upgrade(helm, values):
    """A configuration that forbids exec reaches the running pod, which stays."""
    machine, changed = helm.machine, json.loads(values.read_text())
    pod = gateway_pod(machine)
    rules = [{"name": "no-exec", "actions": ["exec"], "effect": "deny"}]
    changed["gateway"]["config"]["kubelet"]["actions"] = {"rules": rules}
    values.write_text(json.dumps(changed))
    helm.run("upgrade", RELEASE, CHART, "-f", values)

    def refused():
        told = machine.admin("exec", "bb", "-c", "lines", "--", "true", check=False)
        return told.code != 0 and "no-exec" in told.err

    until(refused, CHANGE_S, "a refusal of exec that names its rule")
    same(gateway_pod(machine), pod, "the gateway's pod")


def uninstall(helm):
    """Nothing of the release is left."""
    helm.run("uninstall", RELEASE)
    kinds = "all,configmap,serviceaccount,role,rolebinding,clusterrole,clusterrolebinding"
    kinds += ",poddisruptionbudget,networkpolicy"
    listed = ["get", kinds, "-l", "app.kubernetes.io/instance=eyesplice", "-o", "name"]
    until(lambda: not helm.machine.system(*listed).text, PODS_S, "the end of what the chart made")
