"""Checks what operators look at: alert rules, dashboard, and real scrapes of real processes.

    eyes.py --promtool PATH --client WHEEL --eyesplice PATH

Rules and scrapes in the text format are judged by Prometheus' promtool, scrapes as OpenMetrics by
the parser of Prometheus' Python client. Closes with "N passed, N failed, N skipped".
"""

import argparse
import contextlib
import json
import re
import socket
import sys
import tempfile
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts/e2e.d"), str(ROOT / "scripts/check.d")]

import metrics  # noqa: E402 (found below the paths above)
import processes  # noqa: E402
from wait import Failed, expect, until  # noqa: E402

# How long a command and a start may take, in seconds.
COMMAND_S = 60
START_S = 30

# What a dashboard has in place of a range and of what its reader chose.
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$instance": ".*"}

GATEWAY = """
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- {name: uds, unix: {path: egress.sock}}
egress:
  rules:
  - {name: kubelets, cidrs: [10.0.0.0/16], ports: [10250], action: terminate}
egressCA: {certFile: pki/egress-ca-chain.crt, keyFile: pki/egress-ca.key}
kubelet:
  caFile: pki/kubelet-serving-ca.crt
  clientCertFile: pki/eyesplice-kubelet-client.crt
  clientKeyFile: pki/eyesplice-kubelet-client.key
  apiserverClientCAFile: pki/ca.crt
admin: {address: "127.0.0.1:0"}
audit: {path: audit.log}
"""

AUTHORITY = """
apiVersion: eyesplice.dev/v1alpha1
kind: AuthorityConfig
listen:
  address: "127.0.0.1:0"
  tlsCertFile: pki/apiserver.crt
  tlsPrivateKeyFile: pki/apiserver.key
authentication: {clientCAFile: pki/ca.crt}
store: {path: authority.redb}
signers:
- {signerName: kubernetes.io/kubelet-serving, certFile: pki/ca.crt, keyFile: pki/ca.key}
admin: {address: "127.0.0.1:0"}
"""

def rules(promtool, directory):
    """The alert rules are sound, and each fires on its fault and not otherwise."""
    del directory
    processes.run([promtool, "check", "rules", ROOT / metrics.ALERTS], COMMAND_S)
    processes.run([promtool, "test", "rules", ROOT / metrics.TESTS], COMMAND_S)


def dashboard(promtool, directory):
    """Each expression of the dashboard is one."""
    board = json.loads((ROOT / metrics.DASHBOARD).read_text())
    found = []
    for panel in board["panels"]:
        found += [(panel["title"], target["expr"]) for target in panel.get("targets", ())]
    found += [(each["name"], each["expr"]) for each in board["annotations"]["list"]]
    expect(len(found) > len(board["panels"]), "the dashboard has no expressions")
    recorded = []
    for number, (_, expression) in enumerate(found):
        for name, value in VARIABLES.items():
            expression = expression.replace(name, value)
        recorded.append({"record": f"panel_{number}", "expr": expression})
    file = directory / "dashboard.yaml"
    # JSON is YAML.
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": recorded}]}))
    processes.run([promtool, "check", "rules", file], COMMAND_S)


class Running:
    """A process of eyesplice with its admin endpoint."""

    def __init__(self, eyesplice, directory, kind, config):
        self.directory = directory
        file = directory / f"{kind}.yaml"
        file.write_text(config)
        self.log = open(directory / f"{kind}.log", "ab")
        command = [eyesplice, kind, "--config", file, "--log-format", "json"]
        self.process = processes.Process(command, stdout=self.log, stderr=self.log)
        self.address = until(self._admin, START_S, lambda: f"no {kind}: {self.said()[-1500:]}")
        until(lambda: self.get("/readyz"), START_S, lambda: f"{kind} is not ready: {self.said()}")

    def said(self):
        """Its log."""
        return Path(self.log.name).read_text()

    def _admin(self):
        expect(self.process.running(), f"it ended: {self.said()[-1500:]}")
        found = re.search(r'"address":"([^"]+)","message":"admin endpoint listens"', self.said())
        found = found or re.search(
            r'"message":"admin endpoint listens"[^\n]*?"address":"([^"]+)"', self.said()
        )
        return found and found[1]

    def get(self, path, accept="*/*"):
        """Returns a page; nothing if the answer is an error."""
        request = urllib.request.Request(f"http://{self.address}{path}", headers={"Accept": accept})
        with contextlib.suppress(OSError):
            with urllib.request.urlopen(request, timeout=START_S) as answer:
                return answer.read().decode()
        return None


def scrape(promtool, parse, running, wanted):
    """Both forms of a scrape are read by who is to read them, and show what the process has."""
    text = running.get("/metrics")
    command = [promtool, "check", "metrics"]
    checked = processes.run(command, COMMAND_S, stdin=text.encode(), check=False)
    expect(checked.code == 0 and not checked.err, checked.err + checked.text)
    expect("# EOF" not in text, "the text format has no # EOF")
    openmetrics = running.get("/metrics", "application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in parse(openmetrics)}
    samples = {sample.name for family in families.values() for sample in family.samples}
    for name, there in wanted.items():
        for form, shown in (("text", f"\n{name}" in text), ("OpenMetrics", name in samples)):
            expect(shown == there, f"{name} is{' not' if there else ''} shown as {form}")
    known = metrics.reference((ROOT / metrics.REFERENCE).read_text())
    strange = sorted(name for name in samples if not metrics.base(name, known))
    expect(not strange, f"{metrics.REFERENCE} does not have {strange}")


def refused_stream(running):
    """Has a gateway refuse a stream, so that there is one to count."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(START_S)
        connection.connect(str(running.directory / "egress.sock"))
        connection.sendall(b"CONNECT 192.0.2.1:10250 HTTP/1.1\r\nHost: x\r\n\r\n")
        status = connection.makefile("rb").readline().decode()
    expect(" 403 " in status, status)
    counted = 'reason="denied"'
    until(lambda: counted in running.get("/metrics"), START_S, "the refusal among the metrics")


def main():
    """Runs all checks; returns the exit status."""
    parser = argparse.ArgumentParser()
    for name in ("promtool", "client", "eyesplice"):
        parser.add_argument(f"--{name}", required=True, type=lambda path: Path(path).resolve())
    options = parser.parse_args()
    sys.path.insert(0, str(options.client))
    # The wheel is a program's package as well as an archive.
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse

    passed, failed = 0, 0
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)

        def gateway(promtool, directory):
            """A gateway's scrape."""
            running = Running(options.eyesplice, directory, "gateway", GATEWAY)
            refused_stream(running)
            wanted = {
                "eyesplice_streams_ended_total": True,
                "eyesplice_build_info": True,
                "eyesplice_stream_duration_seconds_bucket": True,
                "eyesplice_authority_requests_total": False,
                "eyesplice_tunnel_agents_draining": False,
            }
            scrape(promtool, parse, running, wanted)

        def authority(promtool, directory):
            """An authority's scrape."""
            running = Running(options.eyesplice, directory, "authority", AUTHORITY)
            wanted = {
                "eyesplice_authority_config_generation": True,
                "eyesplice_certificate_expiry_timestamp_seconds": True,
                "eyesplice_streams_live": False,
                "eyesplice_dials_total": False,
            }
            scrape(promtool, parse, running, wanted)

        try:
            pki = [options.eyesplice, "pki", "init", directory / "pki", "--apiserver", "127.0.0.1"]
            processes.run(pki, COMMAND_S)
            for check in (rules, dashboard, gateway, authority):
                try:
                    check(options.promtool, directory)
                except Failed as failure:
                    failed += 1
                    print(f"FAILED {check.__name__}: {failure}")
                else:
                    passed += 1
                    print(f"ok     {check.__name__}")
        finally:
            processes.end_all()
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
