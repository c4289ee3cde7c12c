"""Runs every verb of every kubectl through the gateway, on real clusters: see --help."""

import argparse
import hashlib
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import authority
import controller
import enrolment
import front
import harness
import kubeconfigs
import legacy
import processes
import verbs
import wait
from cluster import RELEASES, SCRIPTS, Cluster, Index, kubectls, log_text, minor_of, version_of
from daemonset import DaemonSet
from faults import Faults, crowd_checks, secrets_told
from lane import EXEC_WEBSOCKET_SINCE, FORWARD_WEBSOCKET_SINCE, Lane, pod_name, release, speaks_websocket
from legacy import LegacyLane
from matrix import COMBINATIONS, FRONT_INTRO, TUNNEL, Matrix
from report import Report
from rotation import Rotation
from tokens import Tokens
from tunnel import Tunnel
from wait import Interrupted, expect, same

ROOT = SCRIPTS.parent

# Kubectls that run at the same time on one cluster; two clusters run side by side.
LANES = 3

# The cluster whose CAs are replaced; over TCP an API server keeps the pair that it began with.
ROTATION = ("rotation", "uds", "terminate")

# The clusters whose node nothing can dial, one after the other.
TUNNELS = [("tunnel", "uds", "splice"), ("tunnel", "uds", "terminate")]

# The cluster whose gateway has a front.
FRONT = ("front", "uds", "terminate")

# Releases that began to speak something else. These, the oldest and the newest go through every gateway; each other
# one goes through one of them, unless a run is of every kubectl everywhere.
TURNING = (EXEC_WEBSOCKET_SINCE, FORWARD_WEBSOCKET_SINCE)

# Where the load harness runs: both transports and both modes.
HARNESS = [("uds", "splice"), ("tcp", "terminate")]

# What goes through one exec each way: once per transport and mode by one kubectl, and by the others.
LARGE = 100 << 20
SMALL = 8 << 20

# How long the README's setup may take, in seconds: a kubelet starts twice, an API server once.
README_S = 400

DESCRIPTION = """\
Brings up real clusters behind the gateway, over a UNIX socket and over TCP with mTLS, in splice and in
terminate mode, and runs every verb of every kubectl through one of them or, where a release speaks what
those before it did not, through each. With --every, all go through each, and the matrix in
docs/kubectl-matrix.md and README.md is written if all of it ran and passed."""


def main():
    """Runs it all; returns the exit status."""
    options = arguments()
    report = Report(options.verbose)
    if os.geteuid() != 0:
        report.skip("cluster", "making a cluster needs root")
        return 0 if report.close() else 1
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    run = Run(options, report)
    try:
        tracks = [threading.Thread(target=run.track, args=(track,)) for track in run.tracks()]
        for track in tracks:
            track.start()
        for track in tracks:
            track.join()
    finally:
        processes.end_all()
    if wait.STOPPED.is_set():
        print("interrupted; everything that was started is down", file=sys.stderr)
        return 130
    passed = not report.failed and not run.broken
    run.write_matrix(passed)
    return 0 if report.close() and not run.broken else 1


def stop(*_):
    """Ends every wait and every kubectl; the clusters are taken down by those who made them."""
    wait.STOPPED.set()


def arguments():
    """Parses the command line."""
    parser = argparse.ArgumentParser(prog="scripts/e2e", description=DESCRIPTION)
    parser.add_argument(
        "--kubernetes", metavar="DIR", help="clusters of the release whose binaries are there (`scripts/cluster help`)"
    )
    parser.add_argument("--kubectl", metavar="PATH", action="append", help="only this kubectl (repeatable)")
    parser.add_argument("--quick", action="store_true", help="only one kubectl, the newest")
    parser.add_argument("--every", action="store_true", help="every kubectl through every gateway; writes the matrix")
    parser.add_argument("--matrix", metavar="FILE", help="write the matrix there, and nowhere else")
    parser.add_argument(
        "--only", metavar="TRANSPORT/MODE", action="append", help="only these gateways, as in uds/terminate"
    )
    parser.add_argument("--eyesplice", metavar="PATH", help="the program (default: what cargo built)")
    parser.add_argument("--authority", action="store_true", help="only the authority, on one cluster")
    parser.add_argument("--controller", action="store_true", help="only the authority in a cluster, on one")
    parser.add_argument("--enrolment", action="store_true", help="only a gateway that is given certificates")
    parser.add_argument("--harness", action="store_true", help="only the load harness, on two clusters")
    parser.add_argument("--readme", action="store_true", help="only the README's setup, on one")
    parser.add_argument(
        "--tunnel", action="store_true", help="only the clusters whose node is behind a NAT"
    )
    parser.add_argument(
        "--front", action="store_true", help="only the cluster whose gateway has a front"
    )
    parser.add_argument("--rotation", action="store_true", help="only the replacement of all CAs, on one cluster")
    parser.add_argument("--no-faults", action="store_true", help="leave out faults and live streams")
    parser.add_argument("-v", "--verbose", action="store_true", help="print every check")
    options = parser.parse_args()
    # What is run on its cluster before the verbs, and nothing after it.
    options.alone = options.authority or options.controller or options.enrolment or options.harness
    options.alone = options.alone or options.readme
    return options


class Run:
    """What is run with what."""

    def __init__(self, options, report):
        self.options = options
        self.report = report
        self.matrix = Matrix()
        if options.tunnel:
            self.matrix = Matrix([way[1:] for way in TUNNELS], TUNNEL)
        if options.front:
            self.matrix = Matrix([("front", way) for way in front.WAYS], FRONT_INTRO)
        self.broken = False
        self.eyesplice = find_eyesplice(options.eyesplice)
        # The README's steps use the cluster's own.
        self.known = [] if options.readme else kubectls()
        chosen = self.known
        if options.kubectl:
            chosen = [(path, version_of(path)) for path in options.kubectl]
        elif options.quick:
            chosen = [self.newest(chosen)]
        elif not options.readme:
            self.name_missing()
        self.kubectls = chosen
        report.say(f"{self.eyesplice} with kubectl {', '.join(version for _, version in chosen)}")

    def name_missing(self):
        """Says which releases of kubectl could not be tried."""
        here = {minor_of(version) for _, version in self.known}
        for minor in RELEASES:
            if minor not in here:
                self.report.skip(f"kubectl 1.{minor}", "it is not here, and no package that has it could be got")

    @staticmethod
    def newest(chosen):
        """Returns the newest kubectl."""
        return chosen[-1]

    def through(self, cluster):
        """Returns the kubectls that go through the gateway of a cluster."""
        options = self.options
        if (cluster.nat and not options.tunnel) or (cluster.front and not options.front):
            return list(dict.fromkeys([self.kubectls[0], self.newest(self.kubectls)]))
        everywhere = options.every or options.only or options.tunnel or options.front
        if everywhere or len(self.kubectls) <= len(COMBINATIONS):
            return self.kubectls
        turning = [self.kubectls[0], self.newest(self.kubectls)]
        turning += [each for each in self.kubectls if release(each[1]) in TURNING]
        others = [each for each in self.kubectls if each not in turning]
        turn = COMBINATIONS.index((cluster.transport, cluster.mode))
        chosen = turning + others[turn :: len(COMBINATIONS)]
        return [each for each in self.kubectls if each in chosen]

    def combinations(self):
        """Returns the gateways to run through."""
        if self.options.authority or self.options.readme:
            return [("uds", "splice")]
        if self.options.controller:
            return [("uds", "terminate")]
        if self.options.enrolment:
            return [("tcp", "terminate")]
        if self.options.harness:
            return HARNESS
        if not self.options.only:
            return COMBINATIONS
        return [each for each in COMBINATIONS if "/".join(each) in self.options.only]

    def tracks(self):
        """Returns what runs side by side: one transport each, one mode after the other."""
        options = self.options
        if options.rotation:
            return [[ROTATION]]
        if options.tunnel:
            return [[each] for each in TUNNELS]
        if options.front:
            return [[FRONT]]
        by_transport = {}
        for each in self.combinations():
            by_transport.setdefault(each[0], []).append(each)
        tracks = list(by_transport.values())
        if not (options.only or options.alone or options.no_faults):
            # It waits most of the time, so it disturbs nobody.
            tracks.append([ROTATION])
            tracks.append([*TUNNELS, FRONT])
        return tracks

    def track(self, combinations):
        """Runs one cluster after the other."""
        for each in combinations:
            try:
                if each == ROTATION:
                    self.run_rotation(each[-2:])
                else:
                    self.run_cluster(self.cluster(each[-2:], each in TUNNELS, each == FRONT))
            except Interrupted:
                return
            except Exception as error:  # A cluster that fails must not end the other one.
                self.broken = True
                self.report.check(f"{'/'.join(each)} cluster", lambda error=error: raise_again(error))

    def cluster(self, way, nat=False, with_front=False):
        """Returns a cluster that is still to be brought up."""
        return Cluster(Index(), self.eyesplice, way, self.options.kubernetes, nat, with_front)

    def run_rotation(self, way):
        """Replaces every CA of a cluster of its own."""
        cluster = self.cluster(way)
        cluster.name = "rotation"
        try:
            cluster.up()
            self.report.say(f"{cluster.name}: the cluster is up")
            Rotation(cluster, self.report, self.newest(self.kubectls)[0]).run_all()
        finally:
            cluster.down(keep=bool(self.report.failed))
        self.report.say(f"{cluster.name}: done")

    def run_cluster(self, cluster):
        """Brings one cluster up, runs all of it, and takes it down."""
        way = (cluster.transport, cluster.mode)
        beside = None
        try:
            cluster.up()
            self.report.say(f"{cluster.name}: the cluster is up")
            self.report.check(f"{cluster.name} PKI by eyesplice and openssl", cluster.verify_pki)
            if self.options.readme:
                self.readme(cluster)
                return
            if cluster.nat:
                self.tunnel(cluster)
                return
            if cluster.front:
                self.front(cluster)
                return
            if not self.options.harness:
                beside = self.authorities(cluster)
            if way in HARNESS and (self.options.harness or not self.options.alone):
                harness.checks(cluster, self.report, self.newest(self.kubectls)[0])
            if self.options.alone:
                return
            self.prepare(cluster)
            self.lanes(cluster)
            if beside:
                beside()
            self.report.check(f"{cluster.name} metrics", lambda: self.count(cluster))
            if not self.options.no_faults:
                self.faults(cluster)
                self.tokens(cluster)
            self.report.check(f"{cluster.name} audit and logs", lambda: self.look_back(cluster))
            self.report.check(f"{cluster.name} nothing is left", lambda: leaves_nothing(cluster))
            if way == ("uds", "splice"):
                cluster.restart("kube-apiserver")
                self.readme(cluster)
        finally:
            if beside:
                beside()
            cluster.down(keep=bool(self.report.failed))
        self.report.say(f"{cluster.name}: done")

    def tunnel(self, cluster):
        """Runs the verbs through an agent, and what is particular to it."""
        self.prepare(cluster)
        self.lanes(cluster)
        self.report.check(f"{cluster.name} metrics", lambda: self.count(cluster))
        path, version = self.newest(self.kubectls)
        lane = Lane(cluster, path, version, "SPDY", None)
        Tunnel(cluster, lane, self.report).run_all()
        if cluster.terminates:
            DaemonSet(cluster, lane, self.report).run_all()
        self.report.check(f"{cluster.name} nothing is left", lambda: leaves_nothing(cluster))

    def front(self, cluster):
        """Runs the verbs through a front, at first without the short way, and what is its own."""
        self.prepare(cluster)
        self.fronted(cluster, front.THROUGH)
        front.allow(cluster)
        name = f"{cluster.name} is given the short way by a reload"
        self.report.check(name, lambda: cluster.gateway.edit(front.SHORT_WAY))
        self.fronted(cluster, front.SHORT)
        path, version = self.newest(self.kubectls)
        lane = front.FrontLane(cluster, path, version, "SPDY", None, front.SHORT)
        front.Front(cluster, lane, self.report).run_all()
        self.report.check(f"{cluster.name} nothing is left", lambda: leaves_nothing(cluster))

    def fronted(self, cluster, way):
        """Runs each kubectl by one way, some at the same time."""

        def one(path, version):
            data = make_data(cluster, f"blob.{pod_name(version)}", SMALL)
            for asked in ("SPDY", "WebSocket"):
                if asked == "SPDY" or speaks_websocket(version):
                    lane = front.FrontLane(cluster, path, version, asked, data, way)
                    self.lane(lane, verbs.VERBS)

        with ThreadPoolExecutor(LANES) as pool:
            for job in [pool.submit(one, *each) for each in self.through(cluster)]:
                job.result()

    def readme(self, cluster):
        """Carries out the setup of the README; it ends the cluster's API server."""
        cluster.gateway.stop()
        name = f"{cluster.name} setup of the README"
        self.report.check(name, lambda: cluster.carry_out_readme(README_S))

    def authorities(self, cluster):
        """Runs what issues certificates, each on a cluster where it says most.

        Returns what waits for the rest of it, if that goes on beside what follows.
        """
        if cluster.transport == "uds" and not cluster.terminates:
            authority.checks(cluster, self.report, self.kubectls)
        if cluster.transport == "uds" and cluster.terminates:
            return controller.checks(cluster, self.report)
        if cluster.transport == "tcp" and cluster.terminates:
            enrolment.checks(cluster, self.report, self.newest(self.kubectls))
        return None

    def prepare(self, cluster):
        """Makes pods and data."""
        pods = [pod_name(version) for _, version in self.through(cluster)]
        cluster.make_pods([*pods, "legacy"])
        (cluster.state / "blob.big").write_bytes(os.urandom(SMALL))
        cluster.log_checksum = hashlib.sha256(log_text().encode()).hexdigest()
        cluster.await_pods()
        cluster.write_log()

    def lanes(self, cluster):
        """Runs each kubectl, some at the same time."""
        large = self.newest(self.kubectls)
        with ThreadPoolExecutor(LANES) as pool:
            jobs = [pool.submit(self.kubectl, cluster, *each, each == large) for each in self.through(cluster)]
            jobs.append(pool.submit(self.legacy, cluster))
            for job in jobs:
                job.result()

    def kubectl(self, cluster, path, version, large):
        """Runs one kubectl: with SPDY, then, if it can, with WebSocket."""
        data = make_data(cluster, f"blob.{pod_name(version)}", LARGE if large else SMALL)
        self.lane(Lane(cluster, path, version, "SPDY", data), verbs.VERBS)
        if speaks_websocket(version):
            if large:
                data = make_data(cluster, f"blob.{pod_name(version)}", SMALL)
            self.lane(Lane(cluster, path, version, "WebSocket", data), verbs.VERBS)

    def legacy(self, cluster):
        """Runs the client of the older protocols."""
        self.lane(LegacyLane(cluster, "legacy"), legacy.VERBS)

    def lane(self, lane, checks):
        """Runs every check of one lane."""
        cluster = lane.cluster
        for each in checks:
            if not each.runs(lane):
                continue
            lane.protocols, lane.refused = set(), set()
            by = getattr(lane, "way", None)
            words = [cluster.name, "kubectl", lane.version, lane.asked, each.body.__name__]
            name = " ".join([*words, by] if by else words)
            passed = self.report.check(name, lambda each=each: each.body(lane)) is not None
            row = (lane.version, lane.asked)
            way = ("front", by) if by else (cluster.transport, cluster.mode)
            # A run of the tunnel or the front alone has a matrix of its own.
            if self.options.tunnel or self.options.front or not (cluster.nat or cluster.front):
                self.matrix.add(row, each.column, way, passed, lane)

    def faults(self, cluster):
        """Runs live streams and faults; each kind where it says most."""
        path, version = self.newest(self.kubectls)
        lane = Lane(cluster, path, version, "SPDY", None)
        faults = Faults(cluster, lane, self.report)
        pods = [pod_name(version) for _, version in self.through(cluster)] + ["legacy"]
        if cluster.transport == "tcp" and cluster.terminates:
            crowd_checks(cluster, faults, self.report, pods, execs=100, forwards=100, reloads=True)
        if cluster.transport == "uds" and not cluster.terminates:
            crowd_checks(cluster, faults, self.report, pods, execs=60, forwards=40, reloads=False)
        if cluster.transport == "uds":
            faults.run_all()

    def tokens(self, cluster):
        """Runs tokens and keys, which no gateway sees, on the cluster that has the least to do."""
        if (cluster.transport, cluster.mode) == ("tcp", "splice"):
            # These compute, and tokens wait.
            beside = threading.Thread(target=kubeconfigs.checks, args=(self.report, self.known))
            beside.start()
            try:
                Tokens(cluster, self.report).run_all()
            finally:
                beside.join()

    def count(self, cluster):
        """What all kubectls together left in the metrics."""
        gateway = cluster.gateway
        ran = self.through(cluster)
        rows = len(ran) + sum(speaks_websocket(version) for _, version in ran)
        upgrades = {"listener": cluster.transport, "mode": cluster.mode}
        if cluster.terminates:
            least = {"exec": 6 * rows, "attach": rows, "portForward": len(ran)}
            least |= {"logs": 3 * len(ran), "other": 1, "pods": 1}
            for action, number in least.items():
                ended = gateway.total("streams_ended_total", action=action, **upgrades)
                expect(ended >= number, f"{ended} streams of {action} are counted, not {number}")
            verified = gateway.total("verifications_total", result="verified")
            expect(verified >= 8 * rows, f"{verified} verifications are counted, not {8 * rows}")
        else:
            ended = gateway.total("streams_ended_total", action="none", **upgrades)
            expect(ended >= 8 * rows, f"{ended} spliced streams are counted, not {8 * rows}")
            same(gateway.total("verifications_total"), 0, "verifications")
        bytes_up = gateway.total("payload_bytes_total", direction="up")
        expect(bytes_up >= LARGE, f"{bytes_up} bytes up are counted, not {LARGE}")

    def look_back(self, cluster):
        """What the whole run left in the audit log and in the metrics."""
        same(secrets_told(cluster), [], "logs that tell a command")
        lines = cluster.gateway.audit.since(0)
        expect(lines, "the audit log is empty")
        faults = ("internal", "exhausted", "limit", "protocol", "bad_upgrade", "handshake_failed")
        bad = [line for line in lines if line.get("reason") in faults]
        same(bad, [], "streams that ended by a fault")
        kubelets = [line for line in lines if line["kind"] == "end" and line.get("rule") == "kubelets"]
        if not cluster.terminates:
            same({line["mode"] for line in kubelets} - {"none"}, {"splice"}, "mode")
            told = [line for line in kubelets if "action" in line or "verification" in line]
            same(told, [], "lines that tell of what splice mode does not see")
            moved = [line for line in kubelets if line["mode"] == "splice"]
            still = [line for line in moved if not (line["bytesUp"] and line["bytesDown"])]
            same(cluster.pool.unexplained(still), [], "spliced streams without bytes")
            self.report.say(
                f"{cluster.name}: {len(still)} of {len(moved)} spliced streams are dials that the API server "
                f"gave up, over {cluster.pool.requests()} requests"
            )
        self.check_metrics(cluster.gateway)

    def check_metrics(self, gateway):
        """The counters of the process agree with what was done."""
        metrics = gateway.metrics()
        for name in ("audit_lines_lost_total", "accept_errors_total", "exhausted_total"):
            same(metrics[name], 0.0, name)
        same(gateway.total("streams_ended_total", reason="internal"), 0, "internal faults")

    def write_matrix(self, passed):
        """Writes the matrix, where that is wanted."""
        if self.options.matrix:
            Path(self.options.matrix).write_text(self.matrix.document())
            return
        options = self.options
        part = options.kubectl or options.quick or options.only or options.alone or options.rotation
        for chosen, name in ((options.tunnel, "tunnel"), (options.front, "front")):
            if chosen and passed and not (part or options.kubernetes):
                (ROOT / "docs" / f"kubectl-matrix-{name}.md").write_text(self.matrix.document())
                return
        part = part or options.tunnel or options.front or options.kubernetes or not options.every
        if part or not passed:
            return
        document, readme = ROOT / "docs" / "kubectl-matrix.md", ROOT / "README.md"
        missing = minors_in(document) - {minor_of(version) for version in self.matrix.versions() if version[0] == "v"}
        if missing:
            names = ", ".join(f"1.{minor}" for minor in sorted(missing))
            self.report.say(f"{document} is left alone: no kubectl {names} is here")
            return
        document.write_text(self.matrix.document())
        if readme.exists():
            readme.write_text(self.matrix.into_readme(readme.read_text()))


def leaves_nothing(cluster):
    """With the API server goes every stream, and with those all that the gateway held."""
    cluster.kill_apiserver()
    cluster.gateway.await_idle()
    same(cluster.sockets_to_kubelet(), 0, "connections to the kubelet")
    if cluster.terminates:
        same(cluster.gateway.audit.open_streams(), [], "start lines without an end line")
    cluster.gateway.terminate()
    same(cluster.gateway.wait(), 0, "exit status of the gateway")


def make_data(cluster, name, size):
    """Writes random bytes; returns their path, number and checksum."""
    path = cluster.state / name
    digest = hashlib.sha256()
    with open(path, "wb") as blob:
        for _ in range(size >> 20):
            block = os.urandom(1 << 20)
            digest.update(block)
            blob.write(block)
    return path, size, digest.hexdigest()


def minors_in(document):
    """Returns the minor releases of kubectl in a matrix that was written before."""
    if not document.exists():
        return set()
    rows = (line for line in document.read_text().splitlines() if line.startswith("| v"))
    return {minor_of(row.split("|")[1].strip()) for row in rows}


def find_eyesplice(named):
    """Returns the program under test."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    named = named or os.environ.get("EYESPLICE")
    for path in [Path(named)] if named else [target / "release/eyesplice", target / "debug/eyesplice"]:
        if os.access(path, os.X_OK):
            return path.resolve()
    raise SystemExit("no eyesplice to test: cargo build --release -p eyesplice, or name it by --eyesplice")


def raise_again(error):
    """Raises an error in a check of its own."""
    raise error


if __name__ == "__main__":
    sys.exit(main())
