"""What kubectl itself says of some hundred kubeconfigs: the table that `kubeconfig check` is tested by.

`python3 -B scripts/e2e.d/kubeconfigs.py KUBECTL...` asks all that are named, and writes
control/identity/src/kubeconfig/corpus.jsonl. `scripts/e2e` asks one of this machine whether it still holds.
A row has the parts of a document that are not the base's. A kubectl `takes` a file and gets its answer from a
local server, or `tries` and fails at what is not in the file, or `refuses` it.
"""

import base64
import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile
import threading

import kubeconfig_cases
from wait import same

TABLE = pathlib.Path(__file__).resolve().parents[2] / "control/identity/src/kubeconfig/corpus.jsonl"
WORKERS = 4
SECONDS = 60

# What kubectl says when the file was good enough to try.
TRIED = re.compile(
    r"x509:|no such host|server misbehaving|was refused - did you specify|Unable to connect to the server: (EOF|remote error)"
    r"|Loading client cert failed|not a terminal|plugin returned version"
)
# The server that kubectl dials where no file says another.
DEFAULT_SERVER = re.compile(r"server localhost:8080")


def expand(parts):
    """Puts a document together: `<name>` stands for the part of that name."""
    text = "<document>"
    while found := re.search(r"<([a-z]+)>", text):
        text = text[: found.start()] + parts[found.group(1)] + text[found.end() :]
    return text


class Site:
    """A directory with a PKI, and the servers that kubectl may reach."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self._pki()
        self.words = {}
        for name, file in [("CA", "ca.crt"), ("CERT", "user.crt"), ("KEY", "user.key"), ("OTHERKEY", "other.key")]:
            self.words |= variants(name, (self.dir / file).read_bytes())
        self.words["DIR"] = str(self.dir)
        # Of a time that no test sees; nobody verifies it.
        claims = [{"alg": "RS256"}, {"iss": "https://127.0.0.1:1", "exp": 4070908800}]
        parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in claims]
        self.words["JWT"] = ".".join([*parts, "c2lnbmF0dXJl"])
        secure = self._serve(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self.words |= {"HOST": secure, "URL": f"https://{secure}"}
        plain = self._serve(None)
        self.words |= {"PLAINHOST": plain, "PLAINURL": f"http://{plain}"}

    def _openssl(self, *words):
        subprocess.run(["openssl", *words], cwd=self.dir, check=True, capture_output=True)

    def _pki(self):
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        self._openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=ca", "-days", "30")
        for name, more in [
            ("server", "subjectAltName=IP:127.0.0.1,DNS:api.example\nextendedKeyUsage=serverAuth"),
            ("user", "extendedKeyUsage=clientAuth"),
            ("other", "extendedKeyUsage=clientAuth"),
        ]:
            (self.dir / "ext").write_text(f"keyUsage=digitalSignature\n{more}\n")
            self._openssl("req", "-new", *curve, "-keyout", f"{name}.key", "-out", "csr", "-subj", f"/CN={name}")
            self._openssl("x509", "-req", "-in", "csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                          "-out", f"{name}.crt", "-days", "30", "-extfile", "ext")  # fmt: skip
        (self.dir / "token").write_text("abc\n")
        (self.dir / "empty").write_text("")
        (self.dir / "garbage").write_text("hello\n")
        (self.dir / "folder").mkdir()
        (self.dir / "home").mkdir()
        answer = {"apiVersion": "client.authentication.k8s.io/@V@", "kind": "ExecCredential", "status": {"token": "t"}}
        for version in ("v1", "v1beta1", "v1alpha1"):
            plugin = self.dir / f"plugin-{version}"
            plugin.write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n".replace("@V@", version))
            plugin.chmod(0o755)

    def _serve(self, context):
        class Answer(http.server.BaseHTTPRequestHandler):
            """Anything is answered, so that only what kubectl thinks of the file counts."""

            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        if context:
            context.load_cert_chain(self.dir / "server.crt", self.dir / "server.key")
            context.load_verify_locations(self.dir / "ca.crt")
            context.verify_mode = ssl.CERT_OPTIONAL
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"127.0.0.1:{server.server_address[1]}"

    def fill(self, text):
        """Puts what only this site knows in place of `@NAME@`."""
        return re.sub(r"@([A-Z]+[a-z ]*)@", lambda found: self.words[found.group(1)], text)

    def ask(self, kubectl, files):
        """Returns what a kubectl makes of the files, as a word and what it says."""
        with tempfile.TemporaryDirectory(dir=self.dir) as own:
            # What a file names by a relative path stands beside it.
            for each in self.dir.iterdir():
                if each.is_file():
                    os.link(each, pathlib.Path(own, each.name))
            names = []
            for index, text in enumerate(files):
                path = pathlib.Path(own, f"config{index}")
                names.append(str(path))
                if text is not None:
                    path.write_text(self.fill(text), newline="")
            env = {"HOME": str(self.dir / "home"), "PATH": "/usr/bin:/bin", "KUBECONFIG": ":".join(names)}
            command = [kubectl, "get", "--raw", "/version", "--request-timeout=10s"]
            if len(names) == 1:
                command.append(f"--kubeconfig={names[0]}")
            done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                  timeout=SECONDS, check=False)  # fmt: skip
            said = done.stderr.replace(own, "@DIR@").strip()
        if done.returncode == 0:
            return "takes", said
        tried = TRIED.search(said) and not DEFAULT_SERVER.search(said)
        return ("tries" if tried else "refuses"), said


def variants(name, raw):
    """One file as base64, written in the ways that people write it."""
    whole = base64.b64encode(raw).decode()
    lines = [whole[at : at + 64] for at in range(0, len(whole), 64)]
    return {
        name: whole,
        f"{name} lines": "\n      ".join(lines),
        f"{name} escapes": "\\n".join(lines),
        f"{name} carriages": "\\r\\n".join(lines),
        f"{name} tabs": "\\t".join(lines),
        f"{name} spaces": " ".join(lines),
        f"{name} cut": whole[:-5],
        f"{name} url": base64.urlsafe_b64encode(b"\xff\xff\xff" + raw).decode(),
    }


def version_of(kubectl):
    """Returns `1.MINOR`."""
    told = subprocess.run([kubectl, "version", "--client", "-o", "json"], capture_output=True, text=True, check=True)
    return ".".join(re.findall(r"\d+", json.loads(told.stdout)["clientVersion"]["gitVersion"])[:2])


def documents(row, base):
    """The files of a row; a file that shall not be there is None."""
    if "files" in row:
        return [None if parts is None else expand(base | parts) for parts in row["files"]]
    return [expand(base | row)]


def ask_all(kubectls, rows, base):
    """Asks each kubectl about each row: {(case, version): (verdict, what it said)}."""
    with tempfile.TemporaryDirectory() as directory:
        site = Site(directory)
        jobs = {}
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for version, kubectl in kubectls.items():
                for row in rows:
                    jobs[row["case"], version] = pool.submit(site.ask, kubectl, documents(row, base))
        return {key: job.result() for key, job in jobs.items()}


def checks(report, kubectls):
    """For scripts/e2e: asks the newest kubectl of this machine that the table knows whether it still holds."""
    name = "kubeconfigs: the table is what kubectl says"
    head, *rows = map(json.loads, TABLE.read_text().splitlines())
    known = {version_of(path): path for path, _ in kubectls}
    versions = [version for version in head["versions"] if version in known]
    if not versions:
        report.skip(name, f"no kubectl of {', '.join(head['versions'])} is here")
        return
    newest = versions[-1]

    def body():
        told = ask_all({newest: known[newest]}, rows, head["base"])
        for row in rows:
            wanted = row["verdicts"].get(newest, row["verdicts"].get("all"))
            same(told[row["case"], newest][0], wanted, f"kubectl {newest} on {row['case']!r}")

    report.check(name, body)


def main(paths):
    """Writes the table."""
    kubectls = {version_of(path): path for path in paths}
    versions = sorted(kubectls, key=lambda version: int(version.split(".")[1]))
    rows = kubeconfig_cases.rows()
    told = ask_all(kubectls, rows, kubeconfig_cases.BASE)
    lines = [json.dumps({"versions": versions, "base": kubeconfig_cases.BASE})]
    for row in rows:
        each = {version: told[row["case"], version][0] for version in versions}
        said = told[row["case"], versions[-1]][1].splitlines()
        verdicts = {"all": each[versions[-1]]} if len(set(each.values())) == 1 else each
        lines.append(json.dumps(row | {"verdicts": verdicts}))
        print(row["case"], verdicts, *said[:1], sep=" | ")
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
