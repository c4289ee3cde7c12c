"""A real cluster whose node runs the image, and what the pods of it need there."""

import http.client
import json
import os
import ssl
from pathlib import Path

import protobuf
from cluster import CACHE, PODS_S, Cluster, Index
from processes import run
from wait import expect, same, short, until

# The image's user.
USER = 65532

REQUEST_S = 30

# What a scheduler would look at last: there is one node.
UNBOUND = ["get", "pods", "--all-namespaces", "--field-selector=spec.nodeName=", "-o", "json"]


class Machine(Cluster):
    """A cluster without a gateway of ours: its API server looks for one of the node's."""

    def __init__(self, eyesplice):
        super().__init__(Index(), eyesplice, ("uds", "terminate"))
        self.name = "image"

    def prepare(self):
        """Makes the node a machine of the control plane, as far as pods see it."""
        self.up_without_gateway()
        name = self.env["NODE_NAME"]
        self.admin("label", "node", name, "node-role.kubernetes.io/control-plane=")
        # The authority approves and signs.
        (Path(self.env["CONF_DIR"]) / "no-csr-controllers").touch()
        self.restart("kube-controller-manager")
        self._own_etc()
        self._meet_at_the_socket()
        self._translate_service()

    def in_node(self, *command, seconds=60, stdin=None, check=True):
        """Runs a program in the node."""
        kinds = ["--mount", "--cgroup", "--net", "--uts", "--pid"]
        enter = ["nsenter", "--target", self.env["NODE_PID"], *kinds, "--"]
        return run([*enter, *command], seconds, stdin, check=check)

    def seen(self, path):
        """A path of the node, as processes outside of it see it."""
        return Path(f"/proc/{self.env['NODE_PID']}/root", path.lstrip("/"))

    def _own_etc(self):
        """Gives the node an /etc that can be written, and that ends with it."""
        upper, work = self.state / "node/etc", self.state / "node/etc-work"
        for path in (upper, work):
            path.mkdir()
        for name in ("hosts", "resolv.conf"):
            (upper / name).write_bytes(self.in_node("cat", f"/etc/{name}", check=False).out)
        layers = f"lowerdir=/etc,upperdir={upper},workdir={work}"
        self.in_node("mount", "-t", "overlay", "-o", layers, "overlay", "/etc")

    def _meet_at_the_socket(self):
        """Lets the API server, which is outside of the node, see the node's /run/eyesplice."""
        outside = self.state / "run/eyesplice"
        outside.mkdir(mode=0o755)
        os.chown(outside, USER, USER)
        self.in_node("mkdir", "/run/eyesplice")
        self.in_node("mount", "--bind", outside, "/run/eyesplice")
        Path(self.env["EGRESS_SOCKET"]).symlink_to(outside / "egress.sock")

    def _translate_service(self):
        """Leads the address of the service `kubernetes` to the API server, as kube-proxy would."""
        server = self.env["APISERVER_URL"].removeprefix("https://")
        found = self.admin("get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
        rule = f"ip daddr {found.text} tcp dport 443 dnat to {server}"
        chains = "\n".join(
            f"chain {hook} {{ type nat hook {hook} priority -100; {rule}; }}"
            for hook in ("prerouting", "output")
        )
        self.in_node("nft", "-f", "-", stdin=f"table ip services {{\n{chains}\n}}\n".encode())

    def import_image(self, archive, name):
        """Has containerd import an archive; returns the digest that it then knows."""
        socket = self.state / "run/containerd.sock"
        images = [CACHE / "k8s/bin/ctr", "--address", socket, "--namespace", "k8s.io", "images"]
        self.in_node(*images, "import", archive)
        listed = self.in_node(*images, "list", f"name=={name}").text
        found = [line.split() for line in listed.splitlines()[1:]]
        same([words[0] for words in found], [name], "images that containerd has")
        return found[0][2]

    def configure(self, text):
        """Gives the node a gateway's configuration, with the files that it may name."""
        pki = self.seen("/etc/eyesplice/pki")
        pki.mkdir(parents=True, exist_ok=True)
        for path in Path(self.env["PKI_DIR"]).iterdir():
            if path.is_file() and not (pki / path.name).exists():
                self._give(pki / path.name, path.read_bytes())
        self._give(pki.parent / "gateway.yaml", text.encode())

    @staticmethod
    def _give(path, data):
        """Replaces a file by one that the image's user may read."""
        new = path.with_name(f".{path.name}.new")
        new.write_bytes(data)
        os.chown(new, 0, USER)
        new.chmod(0o440)
        new.rename(path)

    def install_profile(self, name, text):
        """Puts a seccomp profile where kubelets look for it: old ones, and since 1.23."""
        for place in (self.state / "node/var-lib/kubelet", self.state / "node/kubelet"):
            (place / "seccomp").mkdir(parents=True, exist_ok=True)
            (place / "seccomp" / name).write_text(text)

    def start_static(self, manifest):
        """Gives the kubelet a manifest."""
        place = self.state / "node/manifests" / manifest.name
        new = place.with_name(f".{place.name}")
        new.write_bytes(manifest.read_bytes())
        new.rename(place)

    def stop_static(self, manifest, pod):
        """Takes a manifest away, and waits for the end of its pod."""
        (self.state / "node/manifests" / manifest.name).unlink()
        until(lambda: not self.pods(f"app={pod}"), PODS_S, f"the end of {pod}")

    def make_secret(self, name, data):
        """Makes a Secret in kube-system."""
        context = ssl.create_default_context(cafile=self.path("ca.crt"))
        context.load_cert_chain(self.path("admin.crt"), self.path("admin.key"))
        host, port = self.env["APISERVER_URL"].removeprefix("https://").rsplit(":", 1)
        tls = {"timeout": REQUEST_S, "context": context}
        connection = http.client.HTTPSConnection(host, int(port), **tls)
        body = protobuf.secret(name, "kube-system", "Opaque", data)
        headers = {"Content-Type": protobuf.MEDIA_TYPE}
        try:
            connection.request("POST", "/api/v1/namespaces/kube-system/secrets", body, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        finally:
            connection.close()
        expect(answer.status == 201, f"status {answer.status} of Secret {name}: {short(text)}")

    def files(self, *names):
        """Files of the cluster's PKI by name, as a Secret has them."""
        return {name: self.path(name).read_bytes() for name in names}

    def system(self, *arguments, **more):
        """Runs kubectl in kube-system."""
        return self.admin("--namespace", "kube-system", *arguments, **more)

    def pods(self, label):
        """The pods of kube-system with a label."""
        return json.loads(self.system("get", "pods", "-l", label, "-o", "json").out)["items"]

    def bind(self):
        """Gives pods without a node the only one, as a scheduler would."""
        for pod in json.loads(self.admin(*UNBOUND).out)["items"]:
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            target = {"apiVersion": "v1", "kind": "Node", "name": self.env["NODE_NAME"]}
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": name, "namespace": namespace},
                "target": target,
            }
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
            # Another pass may have met it meanwhile.
            command = ["create", "--raw", path, "-f", "-"]
            self.admin(*command, stdin=json.dumps(binding).encode(), check=False)

    def settle(self, label, count):
        """Waits until there are so many pods with a label, all of them ready; returns them."""
        last = []

        def ready():
            self.bind()
            last[:] = self.pods(label)
            return len(last) == count and all(is_ready(pod) for pod in last)

        until(ready, PODS_S, lambda: f"{count} pods {label}: {[state(pod) for pod in last]}")
        return last


def is_ready(pod):
    """Says whether a pod is ready, and not on its way out."""
    conditions = pod["status"].get("conditions", [])
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def state(pod):
    """What a pod says of itself, in short."""
    status = pod["status"]
    containers = [each.get("state") for each in status.get("containerStatuses", [])]
    return pod["metadata"]["name"], status.get("phase"), status.get("message"), containers
