"""A node that nothing can dial: every stream to it goes through an agent that dials out.

The node is behind a router that lets no connection in (`scripts/cluster up --nat`). The verbs are
those of every other gateway; what is particular to a tunnel is checked here.
"""

import socket

from processes import run
from wait import Failed, expect, same, until

# How long an agent may take to come back: it tries again within a second at first.
BACK_S = 30

# How long a kubectl may take to see that its stream is gone, in seconds.
CUT_S = 30


class Tunnel:
    """The checks of one cluster behind a NAT."""

    def __init__(self, cluster, lane, report):
        self.cluster = cluster
        self.lane = lane
        self.report = report

    def run_all(self):
        """Runs them in order: each begins with an agent that is connected."""
        bodies = [self.node_is_out_of_reach, self.status_names_the_agent]
        bodies += [self.agent_waits_by_what_it_may, self.agent_dies]
        for body in [*bodies, self.gateway_restarts]:
            name = f"{self.cluster.name} {body.__name__}"
            self.report.check(name, lambda body=body: body())

    def node_is_out_of_reach(self):
        """Neither the kubelet nor a pod answers to the host that the gateway runs on."""
        for address in ((self.cluster.env["NODE_IP"], 10250), (self.cluster.env["POD_IP"], 8080)):
            try:
                socket.create_connection(address, 1).close()
            except OSError:
                continue
            raise Failed(f"{address} answers without a tunnel")

    def status_names_the_agent(self):
        """`eyesplice tunnel status` names the agent that is connected."""
        url = self.cluster.env["GATEWAY_ADMIN_URL"].removeprefix("http://")
        told = run([self.cluster.eyesplice, "tunnel", "status", "--admin", url]).text
        expect(self.cluster.env["NODE_NAME"] in told, f"the agent's name in: {told}")

    def agent_waits_by_what_it_may(self):
        """An agent that is denied io_uring works with epoll; another one uses io_uring."""
        env = self.cluster.env
        url = env["AGENT_ADMIN_URL"] + "/metrics"
        told = run(["nsenter", "--target", env["NODE_PID"], "--net", "curl", "-s", url]).text
        wanted = "epoll" if self.cluster.terminates else "io_uring"
        rows = [line for line in told.splitlines() if line.startswith("eyesplice_strategy_info")]
        expect(any(f'io="{wanted}"' in row for row in rows), f"{wanted} in {rows}")

    def agent_dies(self):
        """Streams of an agent that is killed are cut, and go again once it is back."""
        with self.lane.start("logs", "-f", "--tail=1", self.lane.pod, "-c", "c") as followed:
            expect(followed.stdout.readline(), "a line of a followed log")
            run(["kill", "-s", "KILL", self.cluster.env["AGENT_PID"]])
            until(lambda: not followed.running(), CUT_S, "the end of a stream whose agent died")
        refused = self.exec()
        expect(refused.code != 0, "an exec without an agent succeeded")
        expect("agent" in refused.err, f"words about the agent in: {refused.err}")
        self.cluster.restart("agent")
        self.works()

    def gateway_restarts(self):
        """An agent finds a gateway that was away."""
        self.cluster.gateway.terminate()
        same(self.cluster.gateway.wait(), 0, "exit status of the gateway")
        self.cluster.gateway.start()
        self.works()

    def exec(self):
        """Runs a command that succeeds."""
        return self.lane.run("exec", self.lane.pod, "-c", "c", "--", "true", check=False)

    def works(self):
        """Waits until an exec passes."""

        def passes():
            return self.exec().code == 0

        until(passes, BACK_S, "an exec through the agent")
