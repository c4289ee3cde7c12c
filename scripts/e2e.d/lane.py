"""One kubectl on its way through one gateway: its program, its pod, and its lines in the audit log."""

import os
import re

import processes
from wait import expect, same, until

# In every command that an exec runs; the gateway must never tell it.
SECRET = "hunter2-never-tell-a-command"

# How long one kubectl may take, in seconds, on two processors that others keep busy.
KUBECTL_S = 90

# How long the line of a stream may take after kubectl ended, in seconds.
AUDIT_S = 20

# The identities that this cluster's certificates carry.
KUBELET = {"CN=system:node:node1", "O=system:nodes"}
API_SERVER = "CN=kube-apiserver-kubelet-client"

# The statuses of streams that were carried: an upgrade, and an answer.
CARRIED = (101, 200)

# Asked for by the user: WebSocket is an option of newer releases, per kind of stream.
EXEC_WEBSOCKET_SINCE = (1, 29)
FORWARD_WEBSOCKET_SINCE = (1, 30)


class Lane:
    """A kubectl, the protocol that it is told to ask for, and a pod of its own."""

    def __init__(self, cluster, path, version, asked, data):
        self.cluster = cluster
        self.path = path
        self.version = version
        self.asked = asked
        # In the names of what it leaves in its pod.
        self.tag = asked
        self.data = data
        self.pod = pod_name(version)
        self.protocols = set()
        self.refused = set()
        websocket = "true" if asked == "WebSocket" else "false"
        self.env = dict(
            os.environ,
            KUBECONFIG=cluster.env["KUBECONFIG"],
            HOME=str(cluster.home),
            KUBECTL_REMOTE_COMMAND_WEBSOCKETS=websocket,
            KUBECTL_PORT_FORWARD_WEBSOCKETS=websocket,
        )

    def run(self, *arguments, stdin=None, check=True):
        """Runs kubectl to its end."""
        return processes.run([self.path, *arguments], KUBECTL_S, stdin, self.env, check)

    def stream(self, *arguments, stdin, take):
        """Runs kubectl, and hands what it prints to `take` as it comes."""
        processes.stream([self.path, *arguments], KUBECTL_S, stdin, self.env, take)

    def start(self, *arguments, **pipes):
        """Starts kubectl, and leaves it running."""
        return processes.Process([self.path, *arguments], env=self.env, **pipes)

    def left_early(self, mark, size):
        """Returns whether it was the other side of the gateway that ended a stream before its end.

        Of the streams since `mark` that carried `size` bytes up: as many came down, or the API
        server was the first to leave.
        """

        def ended():
            lines = self.cluster.gateway.audit.since(mark, kind="end")
            return [line for line in lines if line["bytesUp"] >= size]

        lines = until(ended, AUDIT_S, "the end of the stream in the audit log")
        return all(line["bytesDown"] >= size or line["side"] == "downstream" for line in lines)

    def pooled(self):
        """Counts the kubectl that runs inside: the API server asks the kubelet for it over its pool."""
        return self.cluster.pool.request(self.pod)

    def audited(self, action, body, count=1, more=False, container="c", reasons=("completed",)):
        """Runs `body`; where the gateway sees inside, checks what its audit log says of it.

        `count` streams of the action must have been carried to this lane's pod, or `more`.
        """
        audit = self.cluster.gateway.audit
        mark = audit.mark()
        body()
        if not self.cluster.terminates:
            return
        tells_start = action in ("exec", "attach", "portForward")

        def ended():
            lines = audit.since(mark, kind="end", action=action, pod=self.pod)
            started = audit.since(mark, kind="start", action=action, pod=self.pod)
            carried = [line for line in lines if line["status"] in CARRIED]
            if len(carried) < count or (tells_start and len(started) != len(lines)):
                return None
            return lines

        def told():
            return f"audit lines of {count} {action}: {audit.since(mark, action=action, pod=self.pod)}"

        lines = until(ended, AUDIT_S, told)
        for line in lines:
            if line["status"] in CARRIED:
                self._check_line(line, container, reasons)
                self.protocols.add(line.get("protocol", "HTTP/1.1"))
            else:
                # What kubectl asked for first, and did not get.
                self.refused.add((line["protocol"], line["status"]))
        carried = sum(line["status"] in CARRIED for line in lines)
        expect(more or carried == count, f"{carried} streams of {action}, not {count}: {lines}")

    def _check_line(self, line, container, reasons):
        cluster = self.cluster
        verification = line["verification"]
        expected = {
            "namespace": "default",
            "container": container,
            "node": "node1",
            "client": API_SERVER,
            "mode": "terminate",
            "rule": "kubelets",
            "listener": cluster.transport,
            "target": f"{cluster.env['NODE_IP']}:10250",
            "address": f"{cluster.env['NODE_IP']}:10250",
        }
        if cluster.nat:
            expected["via"] = cluster.agent
        for field, value in expected.items():
            same(line.get(field), value, f"field {field} of {line}")
        same(verification["result"], "verified", f"verification in {line}")
        same(set(verification["identity"].split(",")), KUBELET, f"identity in {line}")
        # Go's TLS closes without an alert while another goroutine of it writes: an API server or a
        # kubelet that has all it wants does that now and then. With something unread, such as a
        # window update or the size of a terminal that is gone, its kernel resets the connection.
        hasty = line["reason"] == "truncated" or (line["reason"] == "reset" and line["side"] == "upstream")
        hasty = hasty and line["status"] == 101
        expect(hasty or line["reason"] in reasons, f"reason is none of {reasons}: {line}")
        expect(line["bytesDown"] > 0, f"no bytes down: {line}")
        # By WebSocket an exec without standard input sends nothing up; SPDY opens its streams.
        if line["status"] == 101 and line.get("protocol") != "websocket":
            expect(line["bytesUp"] > 0, f"no bytes up: {line}")
        expect(line["side"] in ("downstream", "upstream"), f"side: {line}")
        peer = line["peer"]
        if cluster.transport == "uds":
            same(peer["uid"], 0, f"peer of {line}")
        else:
            expect("CN=" in peer["identity"], f"peer of {line}")


def pod_name(version):
    """Returns the name of the pod for a kubectl of this version."""
    return "k-" + re.sub(r"[^a-z0-9]+", "-", version.lower().removeprefix("v"))


def release(version):
    """Returns (major, minor) of a version."""
    major, minor = re.match(r"v?(\d+)\.(\d+)", version).groups()
    return int(major), int(minor)


def speaks_websocket(version):
    """Returns whether a kubectl can be told to ask for WebSocket."""
    return release(version) >= EXEC_WEBSOCKET_SINCE
