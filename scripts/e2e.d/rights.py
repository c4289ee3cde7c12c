"""Users with rights of every kind by streams of every kind: what a front and the API server answer.

Each row is asked twice, of the API server and of the front, and both must answer the same: status,
type and body, or the same upgrade. The table is generated: users by streams by ways to ask.
"""

import base64
import contextlib
import http.client
import json
import os
import ssl
from urllib.parse import urlsplit

import processes
from wait import same

# The API server's own port; the front's is given.
API_SERVER_PORT = 6443

ANSWER_S = 60

# Streams, each with a query by which it would begin.
STREAMS = {
    "exec": "container=c&command=true&stdout=true",
    "attach": "container=c&stdout=true",
    "portforward": "ports=8080",
    "log": "container=c&tailLines=0",
}

# Another pod of the namespace, which is not the one that is asked about.
OTHER_POD = "bb"

# Users by what they may: verbs on every stream, and what narrows them.
USERS = {
    "rights-all": {"verbs": ["get", "create"]},
    "rights-get-without-create": {"verbs": ["get"]},
    "rights-create-without-get": {"verbs": ["create"]},
    "rights-read-only": {"verbs": ["list", "watch"]},
    "rights-one-pod": {"verbs": ["get", "create"], "named": "asked"},
    "rights-other-pod": {"verbs": ["get", "create"], "named": OTHER_POD},
    "rights-elsewhere": {"verbs": ["get", "create"], "namespace": "kube-system"},
    "rights-none": None,
    "rights-impersonator": None,
}

GROUP = "rights"


def websocket():
    """The headers of an upgrade to WebSocket."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Protocol": "v4.channel.k8s.io",
    }


def spdy():
    """The headers of an upgrade to SPDY."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "SPDY/3.1",
        "X-Stream-Protocol-Version": "v4.channel.k8s.io",
        "Content-Length": "0",
    }


# Ways to ask: method and headers.
WAYS = {
    "plain GET": ("GET", dict),
    "plain POST": ("POST", dict),
    "WebSocket": ("GET", websocket),
    "SPDY": ("POST", spdy),
}


class Rights:
    """The users of one cluster, and the rows of the table."""

    def __init__(self, cluster, pod, port):
        self.cluster = cluster
        self.pod = pod
        self.port = port

    def prepare(self):
        """Issues the users' certificates, and gives each its rights."""
        users = [word for name in USERS for word in ("--user", f"{name}={GROUP}")]
        processes.run(
            [self.cluster.eyesplice, "pki", "issue", self.cluster.env["PKI_DIR"], *users], ANSWER_S
        )
        objects = [each for name, rights in USERS.items() for each in self._objects(name, rights)]
        objects += self._impersonation()
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.cluster.admin("apply", "-f", "-", stdin=manifest.encode())

    def _objects(self, name, rights):
        if rights is None:
            return []
        named = {"asked": self.pod}.get(rights.get("named"), rights.get("named"))
        rule = {
            "apiGroups": [""],
            "resources": [f"pods/{stream}" for stream in STREAMS],
            "verbs": rights["verbs"],
        }
        if named:
            rule["resourceNames"] = [named]
        metadata = {"name": name, "namespace": rights.get("namespace", "default")}
        return [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": metadata,
                "rules": [rule],
            },
            binding("RoleBinding", metadata, "Role", name),
        ]

    def _impersonation(self):
        name = "rights-impersonator"
        rule = {
            "apiGroups": [""],
            "resources": ["users"],
            "verbs": ["impersonate"],
            "resourceNames": ["rights-all", "rights-none"],
        }
        role = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [rule],
        }
        return [role, binding("ClusterRoleBinding", {"name": name}, "ClusterRole", name)]

    def rows(self):
        """Yields what a row is called, its certificate, and the request."""
        identities = {name: (f"user-{name}", {}) for name in USERS}
        node = self.cluster.env["NODE_NAME"]
        identities["a node"] = (f"kubelet-client-{node}", {})
        for acts, as_user in (
            ("rights-impersonator", "rights-all"),
            ("rights-impersonator", "rights-none"),
            ("rights-impersonator", "rights-one-pod"),
            ("rights-all", "rights-none"),
        ):
            headers = {"Impersonate-User": as_user}
            identities[f"{acts} as {as_user}"] = (f"user-{acts}", headers)
        for who, (certificate, acting) in identities.items():
            for stream, query in STREAMS.items():
                path = f"/api/v1/namespaces/default/pods/{self.pod}/{stream}?{query}"
                for way, (method, headers) in WAYS.items():
                    name = f"{stream} by {way} of {who}"
                    yield name, certificate, (method, path, headers() | acting)

    def compare(self):
        """Asks every row both ways; returns how many rows there are and how many streams began."""
        rows, began = 0, 0
        for name, certificate, request in self.rows():
            direct = self._ask(API_SERVER_PORT, certificate, request)
            through = self._ask(self.port, certificate, request)
            same(through, direct, f"{name}, through the front and directly")
            rows += 1
            began += direct[0] in (101, 200)
        return rows, began

    def _ask(self, port, certificate, request):
        """Asks once; returns status, type and body, of an upgrade its status alone."""
        method, path, headers = request
        context = ssl.create_default_context(cafile=self.cluster.path("ca.crt"))
        files = (self.cluster.path(f"{certificate}.{end}") for end in ("crt", "key"))
        context.load_cert_chain(*files)
        host = urlsplit(self.cluster.env["APISERVER_URL"]).hostname
        connection = http.client.HTTPSConnection(host, port, context=context, timeout=ANSWER_S)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            reply = connection.getresponse()
            if reply.status == 101:
                return (101,)
            body = reply.read().decode(errors="replace")
        with contextlib.suppress(ValueError):
            body = json.loads(body)
        return reply.status, reply.getheader("Content-Type"), body


def binding(kind, metadata, role_kind, name):
    """Binds a role to the user of its name."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": role_kind,
            "name": name,
        },
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}],
    }
