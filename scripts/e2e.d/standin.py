"""Stands in for a kubelet and for an API server, as far as the README's setup and the quick demo
reach them."""

import contextlib
import http.client
import http.server
import re
import socket
import ssl
import threading

from wait import Failed, expect, same

# How long one exchange may take, in seconds, on two processors that others keep busy.
EXCHANGE_S = 30


# The user of the gateway's client certificate.
GATEWAY = "eyesplice"


class Kubelet:
    """Answers the client certificate that the gateway has: `ok` at /healthz, or what `replies` has
    by path.

    An upgrade is answered by what its client sends, as `cat` in a container does.
    """

    def __init__(self, address, client_ca, replies=None):
        replies = replies or {"/healthz": "ok"}
        self._client_ca = client_ca
        self._context = None
        kubelet = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """One connection."""

            protocol_version = "HTTP/1.1"

            def do_GET(self):
                """Answers, if the client is the gateway and the path is one."""
                reply = replies.get(self.path) if self.is_gateway() else None
                body = (reply or "no").encode()
                self.send_response(200 if reply else 403)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self):
                """Takes an upgrade, and sends back what comes."""
                if not self.is_gateway() or "Upgrade" not in self.headers:
                    self.send_error(403)
                    return
                self.send_response(101)
                for name in ("Connection", "Upgrade"):
                    self.send_header(name, self.headers[name])
                self.end_headers()
                while piece := self.rfile.read1(65536):
                    self.wfile.write(piece)
                self.close_connection = True

            def is_gateway(self):
                """Returns whether the client has the gateway's certificate."""
                subject = dict(part[0] for part in self.connection.getpeercert()["subject"])
                return subject["commonName"] == GATEWAY

            def log_message(self, *_):
                """Says nothing."""

        class Server(http.server.ThreadingHTTPServer):
            """Takes each connection with the certificate of that moment."""

            def get_request(self):
                """Accepts a connection; its handshake is made by the thread that serves it."""
                plain, peer = super().get_request()
                plain.settimeout(EXCHANGE_S)
                tls = kubelet.context().wrap_socket(
                    plain, server_side=True, do_handshake_on_connect=False
                )
                return tls, peer

            def handle_error(self, *_):
                """A gateway that refuses the certificate leaves in the middle of the handshake."""

        self._server = Server((address, 10250), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def context(self):
        """Returns what a new connection is served with."""
        return self._context

    def show(self, certificate, key):
        """Presents another certificate to connections from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        context.load_verify_locations(self._client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self._context = context


def request(flags, node, client, path):
    """Sends a GET to a node's kubelet, as an API server with these flags does; returns the body.

    `client` is the certificate and key of --kubelet-client-certificate.
    """
    with open(flags["--egress-selector-config-file"]) as file:
        (name,) = re.findall(r"udsName: ([^}\s]+)", file.read())
    return get(ApiServer(name, flags["--kubelet-certificate-authority"], client), node, path)


def get(apiserver, node, path):
    """Sends a GET to a node's kubelet, and returns the body."""
    with apiserver.dial(node) as tls:
        tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {node}:10250\r\n\r\n".encode())
        answer = http.client.HTTPResponse(tls)
        answer.begin()
        body = answer.read().decode()
    same(answer.status, 200, f"status of {path}: {body}")
    return body


class ApiServer:
    """Reaches kubelets through a gateway, as an API server does."""

    def __init__(self, egress, ca, client):
        self.egress = egress
        self.ca = ca
        self.client = client

    def dial(self, node):
        """Returns a connection to a node's kubelet; fails with the status line of a gateway that
        refuses."""
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
            connection.settimeout(EXCHANGE_S)
            connection.connect(self.egress)
            asked = f"CONNECT {node}:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
            connection.sendall(asked.encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = connection.recv(1)
                expect(byte, f"the gateway closed the connection after {head!r}")
                head += byte
            status = head.decode().splitlines()[0].removeprefix("HTTP/1.1 ")
            if not status.startswith("200"):
                raise Failed(status)
            context = ssl.create_default_context(cafile=self.ca)
            context.load_cert_chain(*self.client)
            tls = context.wrap_socket(connection, server_hostname=node)
            stack.pop_all()
        return tls

    def exec(self, node, path, sent):
        """Runs an exec that echoes; returns the status and what came back."""
        with self.dial(node) as tls:
            head = f"POST {path} HTTP/1.1\r\nHost: {node}:10250\r\nContent-Length: 0\r\n"
            head += "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
            tls.sendall(head.encode())
            answer = tls.makefile("rb")
            status = int(answer.readline().split()[1])
            while answer.readline().strip():
                pass
            tls.sendall(sent)
            back = answer.read(len(sent))
            # A client that leaves in order says so.
            with contextlib.suppress(OSError):
                tls.unwrap()
        return status, back
