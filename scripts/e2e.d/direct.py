"""Speaks to the gateway as an API server does, to see what it shows of itself."""

import socket
import ssl
from urllib.parse import urlsplit

from wait import expect

ANSWER_S = 20


def listener_certificate(cluster):
    """Returns the certificate of the TCP listener, in DER."""
    url = urlsplit(cluster.env["EGRESS_URL"])
    context = ssl.create_default_context(cafile=cluster.path("egress-ca.crt"))
    context.load_cert_chain(cluster.path("egress-client.crt"), cluster.path("egress-client.key"))
    with (
        socket.create_connection((url.hostname, url.port), timeout=ANSWER_S) as plain,
        context.wrap_socket(plain, server_hostname=url.hostname) as tls,
    ):
        return tls.getpeercert(binary_form=True)


def kubelet_leaf(cluster):
    """Returns the certificate that the gateway shows for the kubelet, in DER."""
    leaf, reply = ask_kubelet(cluster, f"{cluster.env['NODE_IP']}:10250", "/healthz")
    expect(reply.endswith(b"ok"), f"healthz: {reply}")
    return leaf


def ask_kubelet(cluster, target, path):
    """Asks a kubelet through the gateway; returns the certificate that it shows, in DER, and the reply.

    The certificate is verified against the egress CA as it lies on disk now.
    """
    host = target.rsplit(":", 1)[0]
    context = ssl.create_default_context(cafile=cluster.path("egress-ca.crt"))
    client = "apiserver-kubelet-client"
    context.load_cert_chain(cluster.path(f"{client}.crt"), cluster.path(f"{client}.key"))
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(ANSWER_S)
        plain.connect(cluster.env["EGRESS_SOCKET"])
        plain.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        answer = plain.recv(4096)
        expect(answer.startswith(b"HTTP/1.1 200 "), f"CONNECT: {answer}")
        with context.wrap_socket(plain, server_hostname=host) as tls:
            leaf = tls.getpeercert(binary_form=True)
            tls.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            reply = b""
            while chunk := tls.recv(4096):
                reply += chunk
            return leaf, reply
