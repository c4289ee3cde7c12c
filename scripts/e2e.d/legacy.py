"""The verbs of the legacy WebSocket client, in the manner of a kubectl's."""

import asyncio

import websocket
from lane import Lane
from verbs import Verb, shell

PROTOCOL = "v4.channel.k8s.io"
EXEC_BYTES = 4 << 20


class LegacyLane(Lane):
    """A lane whose program is our own client."""

    def __init__(self, cluster, pod):
        super().__init__(cluster, None, "0.0", PROTOCOL, None)
        self.version = "(own client)"
        self.pod = pod

    def over(self, client, *arguments):
        """Runs a verb of the client."""
        asyncio.run(client(self.cluster, self.pod, *arguments))


def exec_binary(lane):
    """Binary standard input and output, standard error and an exit code."""
    command = shell(f"head -c {EXEC_BYTES}; echo err >&2; exit 3")
    lane.audited("exec", lambda: lane.over(websocket.exec_binary, PROTOCOL, EXEC_BYTES, command))


def exec_base64(lane):
    """The same in the text form."""
    size = EXEC_BYTES >> 4
    command = shell(f"head -c {size}; echo err >&2; exit 3")
    lane.audited("exec", lambda: lane.over(websocket.exec_binary, "base64.channel.k8s.io", size, command))


def exec_terminal(lane):
    """A terminal with sizes."""
    lane.audited("exec", lambda: lane.over(websocket.exec_terminal, PROTOCOL, shell("exec sh")))


def attach(lane):
    """Attach."""
    lane.audited("attach", lambda: lane.over(websocket.attach, PROTOCOL))


def port_forward(lane):
    """Port-forward."""
    lane.audited(
        "portForward", lambda: lane.over(websocket.port_forward, PROTOCOL, EXEC_BYTES), container=None
    )


VERBS = [
    Verb("exec", exec_binary, "exec"),
    Verb("exec", exec_base64, "exec"),
    Verb("exec -it", exec_terminal, "exec"),
    Verb("attach", attach, "exec"),
    Verb("port-forward", port_forward, "forward"),
]
