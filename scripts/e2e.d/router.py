"""One address for a kubelet: certificates and token reviews to the authority, everything else to the API server.

A kubelet has one server. Here its requests are passed on by their path, under the kubelet's own
credentials: its token, or else its own certificate, which lies in its directory.
"""

import http.client
import http.server
import ssl
import threading
from pathlib import Path

CERTIFICATES = "/apis/certificates.k8s.io"
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"

# A kubelet's watches are silent for minutes; nothing else takes so long.
TIMEOUT_S = 900

# What belongs to one connection, and not to what goes over it.
OWN = {"connection", "host", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}


class Router:
    """Listens until it is closed."""

    def __init__(self, address, serving, ca, certificate, authority, apiserver):
        """`serving` is a certificate and its key; the others are files and (host, port)."""
        # Path and media type of what was sent to the authority.
        self.sent = set()
        # How each TokenReview was answered: a status, or why there was none.
        self.reviews = []
        handler = type(
            "Handler",
            (Handler,),
            {
                "ca": str(ca),
                "certificate": Path(certificate),
                "authority": authority,
                "apiserver": apiserver,
                "sent": self.sent,
                "reviews": self.reviews,
            },
        )
        self.server = http.server.ThreadingHTTPServer((address, 0), handler)
        self.server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*map(str, serving))
        # Handshakes happen in the threads of the connections, at their first read.
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://{address}:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        """Takes no more connections."""
        self.server.shutdown()
        self.server.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    """Passes one connection's requests on."""

    protocol_version = "HTTP/1.1"

    def _pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        target = self.authority if self.path.startswith((CERTIFICATES, REVIEWS)) else self.apiserver
        if body and target == self.authority:
            self.sent.add((self.path, self.headers.get("content-type")))
        context = ssl.create_default_context(cafile=self.ca)
        if "authorization" not in self.headers and self.certificate.exists():
            context.load_cert_chain(str(self.certificate))
        upstream = http.client.HTTPSConnection(*target, context=context, timeout=TIMEOUT_S)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN}
        try:
            upstream.request(self.command, self.path, body or None, headers)
            reply = upstream.getresponse()
            if self.path.startswith(REVIEWS):
                self.reviews.append(reply.status)
            self._answer(reply)
        except (OSError, http.client.HTTPException) as error:
            if self.path.startswith(REVIEWS):
                self.reviews.append(repr(error))
            # One side is gone, as at the end of the run; the kubelet dials anew.
            self.close_connection = True
        finally:
            upstream.close()

    def _answer(self, reply):
        self.send_response(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in OWN:
                self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while chunk := reply.read1(65536):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, *_):
        """Stays silent: the kubelet's log has each request."""
