"""Tokens that eyesplice and the real API server make for each other, and the rotation of their key."""

import contextlib
import http.client
import json
import re
import ssl
import threading
from pathlib import Path

import protobuf
from authority import Authority
from gateway import replace
from processes import Process, run
from wait import STOPPED, Failed, expect, same, short, until

ISSUER = "https://kubernetes.default.svc"
NAMESPACE = "tokens"
ACCOUNT = "web"
ACCOUNT_USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"

# Where the second API server listens, beside the first one at 6443.
SECOND_PORT = 6444

# Where whose a token is is asked.
REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"

# How long an API server takes to start on processors that others keep busy, in seconds.
START_S = 60

# One request, in seconds: an API server that was just started answers its first ones slowly.
REQUEST_S = 45

# Requests that must pass with each token between two steps of a rotation.
ROUNDS = 10

# A path that authentication guards and that nobody of ours may read: the refusal names the user.
GUARDED = "/metrics"


class Tokens:
    """Checks on one cluster."""

    def __init__(self, cluster, report):
        self.cluster = cluster
        self.report = report
        self.address = cluster.env["APISERVER_URL"].split("//", 1)[1].rsplit(":", 1)[0]
        self.key = cluster.path("sa.key")
        self.public = cluster.path("sa.pub")
        self.work = Path(cluster.state) / "tokens"
        self.store = self.work / "bootstrap"
        self.uid = None

    def run_all(self):
        """Runs every check; the later ones build on the first."""
        self.work.mkdir(exist_ok=True)
        self.check("are prepared", self.prepare)
        self.check("of eyesplice are accepted by the API server", self.minted)
        self.check("of eyesplice with another UID are refused", self.foreign_uid)
        self.check("of the API server are verified by eyesplice", self.requested)
        self.check("are reviewed by the API server for eyesplice", self.reviewed)
        self.check("that bootstrap are accepted until they expire", self.bootstrap)
        with SecondApiServer(self) as second:
            self.check("of a token file are accepted by the API server", lambda: self.static(second))
            self.check("are reviewed by eyesplice for the API server", lambda: self.webhook(second))
            for algorithm in ("es384", "es256"):
                self.check(f"survive a rotation to {algorithm}", lambda a=algorithm: self.rotate(second, a))

    def check(self, name, body):
        """Runs one check under a name of its own."""
        self.report.check(f"{self.cluster.name} tokens {name}", body)

    # What is asked of eyesplice.

    def eyesplice(self, *arguments, stdin=b"", check=True):
        """Runs `eyesplice token`."""
        return run([self.cluster.eyesplice, "token", *arguments], 30, stdin, check=check)

    def mint(self, uid=None):
        """Makes a service-account token with the key that signs now."""
        arguments = ["serviceaccount", "mint", ACCOUNT, "--namespace", NAMESPACE, "--uid", uid or self.uid]
        return self.eyesplice(*arguments, "--key", self.key, "--issuer", ISSUER).text.strip()

    def verify(self, token, *keys):
        """Verifies a service-account token; returns what it says."""
        arguments = ["serviceaccount", "verify", *keys, "--issuer", ISSUER, "--output", "json"]
        return json.loads(self.eyesplice(*arguments, stdin=token.encode()).text)

    def rotation(self, stage, *more):
        """Runs one stage of a rotation; returns where it stands."""
        arguments = ["serviceaccount", "rotate-key", stage, "--key", self.key, "--public-keys", self.public]
        return json.loads(self.eyesplice(*arguments, "--output", "json", *more).text)

    # What is asked of the API server.

    def request(self, method, path, token=None, body=None, port=6443, media_type="application/json"):
        """Asks an API server, as the administrator or by a token; returns status and body."""
        context = ssl.create_default_context(cafile=self.cluster.path("ca.crt"))
        headers = {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        else:
            context.load_cert_chain(self.cluster.path("admin.crt"), self.cluster.path("admin.key"))
        if body:
            body = body if isinstance(body, bytes) else json.dumps(body)
            headers["Content-Type"] = media_type
        connection = http.client.HTTPSConnection(self.address, port, timeout=REQUEST_S, context=context)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode(errors="replace")

    def user(self, token, port=6443):
        """Returns the user that an API server takes a token for; None if it refuses the token."""
        status, text = self.request("GET", GUARDED, token, port=port)
        if status == 401:
            return None
        same(status, 403, f"status of {GUARDED}: {short(text)}")
        quoted = re.search(r'User (".*") cannot', json.loads(text)["message"]).group(1)
        return json.loads(quoted)

    def token_request(self, port=6443):
        """Has an API server make a token."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
        status, text = self.request("POST", path, body=body, port=port)
        same(status, 201, f"status of a TokenRequest: {short(text)}")
        return json.loads(text)["status"]["token"]

    def jwks(self, port=6443):
        """Saves the keys that an API server publishes; returns the file."""
        status, text = self.request("GET", "/openid/v1/jwks", port=port)
        same(status, 200, "status of the JWKS")
        path = self.work / f"jwks.{port}.json"
        path.write_text(text)
        return path

    # The checks.

    def prepare(self):
        """A service account of our own."""
        self.cluster.admin("create", "namespace", NAMESPACE)
        self.cluster.admin("create", "serviceaccount", ACCOUNT, "--namespace", NAMESPACE)
        arguments = ["get", "serviceaccount", ACCOUNT, "--namespace", NAMESPACE]
        self.uid = self.cluster.admin(*arguments, "-o", "jsonpath={.metadata.uid}").text

    def minted(self):
        """Its user is the account, for the API server and for its TokenReview."""
        token = self.mint()
        same(self.user(token), ACCOUNT_USER, "user of a minted token")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token},
        }
        status, text = self.request("POST", REVIEWS, body=body)
        same(status, 201, f"status of a TokenReview: {short(text)}")
        theirs = json.loads(text)["status"]
        ours = self.verify(token, "--key-file", self.public)
        same(theirs["authenticated"], True, "authenticated")
        same(theirs["audiences"], ours["audiences"], "audiences")
        same(theirs["user"]["uid"], ours["user"]["uid"], "UID")
        same(theirs["user"]["groups"], [*ours["user"]["groups"], "system:authenticated"], "groups")

    def foreign_uid(self):
        """A namesake of the account is somebody else."""
        same(self.user(self.mint("00000000-0000-4000-8000-000000000000")), None, "user of a foreign UID")

    def requested(self):
        """By the public key, and by the keys that the API server publishes."""
        token = self.token_request()
        jwks = self.jwks()
        for keys in (["--key-file", self.public], ["--jwks", jwks]):
            same(self.verify(token, *keys)["user"]["username"], ACCOUNT_USER, "user")
        forged = token[:-8] + ("A" * 8 if not token.endswith("A" * 8) else "B" * 8)
        arguments = ["serviceaccount", "verify", "--jwks", jwks, "--issuer", ISSUER]
        refused = self.eyesplice(*arguments, stdin=forged.encode(), check=False)
        same(refused.code, 1, "status for a forged token")
        expect("signature: " in refused.err, f"cause: {refused.err}")

    def reviewed(self):
        """eyesplice asks the API server about a token that it has no key for."""
        config = self.work / "authentication.yaml"
        files = [f"{field}: {self.cluster.path(name)}" for field, name in REVIEWER.items()]
        review = ", ".join([f'server: "{self.cluster.env["APISERVER_URL"]}"', *files])
        head = "apiVersion: eyesplice.dev/v1alpha1\nkind: AuthenticationConfig\n"
        config.write_text(f"{head}tokenReview: {{{review}}}\n")
        arguments = ["review", "--config", config, "--output", "json"]
        answer = json.loads(self.eyesplice(*arguments, stdin=self.token_request().encode()).text)
        same(answer["user"]["username"], ACCOUNT_USER, "user of the review")
        refused = self.eyesplice(*arguments, stdin=b"nobody-knows-it", check=False)
        same((refused.code, json.loads(refused.text)["cause"]), (1, "token"), "an unknown token")

    def bootstrap(self):
        """What eyesplice keeps of a bootstrap token is its Secret."""
        token = self.eyesplice("bootstrap", "create", "--dir", self.store, "--ttl", "1h").text.strip()
        identifier = token.split(".")[0]
        same(self.user(token), None, "user before the Secret is there")
        self.apply("POST", identifier, "")
        user = f"system:bootstrap:{identifier}"
        until(lambda: self.user(token) == user, 20, "the API server to know the token")
        self.eyesplice("bootstrap", "expire", identifier, "--dir", self.store)
        self.apply("PUT", identifier, f"/bootstrap-token-{identifier}")
        until(lambda: self.user(token) is None, 20, "the API server to refuse the expired token")

    def apply(self, method, identifier, below):
        """Brings the file of a bootstrap token into the cluster."""
        text = (self.store / f"bootstrap-token-{identifier}.yaml").read_text()
        name, namespace, kind = (
            re.search(rf"^ *{key}: (\S+)$", text, re.MULTILINE).group(1)
            for key in ("name", "namespace", "type")
        )
        strings = text.split("stringData:\n", 1)[1].splitlines()
        pairs = (line.strip().split(": ", 1) for line in strings)
        data = {key: json.loads(value) for key, value in pairs}
        body = protobuf.secret(name, namespace, kind, data)
        path = f"/api/v1/namespaces/{namespace}/secrets{below}"
        status, answer = self.request(method, path, body=body, media_type=protobuf.MEDIA_TYPE)
        expect(status in (200, 201), f"status {status} of a Secret: {short(answer)}")

    def static(self, second):
        """The API server reads the file that eyesplice wrote, as eyesplice reads it."""
        same(self.user(second.static, SECOND_PORT), STATIC_USER, "user of the token file")

    def webhook(self, second):
        """An API server asks `eyesplice authority` about what it does not know itself."""
        token = second.authority.tokens["joiner"]
        same(self.user(token), None, "user at the API server that does not ask")
        same(self.user(token, SECOND_PORT), "joiner", "user at the API server that asks")
        same(self.user(token[:-1], SECOND_PORT), None, "user of a token that is cut")
        replace(second.authority.dir / "tokens.csv", "")
        gone = until(lambda: self.user(token, SECOND_PORT) is None, 20, "the token to be forgotten")
        same(gone, True, "forgotten")

    def rotate(self, second, algorithm):
        """Both API servers and eyesplice change to another key, and no token is refused meanwhile."""
        with Prober(self) as prober:
            prober.add(self.mint())
            prober.add(self.token_request())
            trusted = self.rotation("trust", "--algorithm", algorithm)
            refused = ["rotate-key", "switch", "--key", self.key, "--public-keys", self.public]
            early = self.eyesplice("serviceaccount", *refused, "--jwks", self.jwks(), check=False)
            expect("has no key" in early.err, f"a switch before the API server has the key: {early.err}")
            self.roll(second, prober)
            switched = self.rotation("switch", "--jwks", self.jwks())
            same(switched["signing"], trusted["next"], "the key that signs")
            prober.add(self.mint())
            self.roll(second, prober)
            prober.add(self.token_request())
            for token in prober.tokens:
                self.verify(token, "--key-file", self.public)
                self.verify(token, "--jwks", self.jwks())
            prober.rounds(ROUNDS)
        same(prober.refused, [], "requests that were refused")
        same(prober.unanswered, [], "requests that no API server answered")
        # Now the tokens of the old key are of no use, as it should be.
        self.rotation("drop", "--force")
        self.cluster.restart("kube-apiserver")
        second.restart()
        users = [self.user(token) for token in prober.tokens]
        same(users, [None, None, ACCOUNT_USER, ACCOUNT_USER], "users after the old key was dropped")

    def roll(self, second, prober):
        """Restarts one API server after the other; each takes requests before the other stops."""
        self.cluster.restart("kube-apiserver")
        prober.rounds(ROUNDS)
        second.restart()
        prober.rounds(ROUNDS)


# How the second API server finds the authority that it asks about tokens.
WEBHOOK = """\
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "{server}", certificate-authority: {pki}/ca.crt}}}}]
users: [{{name: u, user: {{client-certificate: {pki}/admin.crt, client-key: {pki}/admin.key}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""

# How long that API server remembers an answer.
WEBHOOK_CACHE = "1s"

# A name that has to be quoted in a token file.
STATIC_USER = 'jane "j" doe, dr.'

# Who asks for reviews: the administrator may.
REVIEWER = {"caFile": "ca.crt", "clientCertFile": "admin.crt", "clientKeyFile": "admin.key"}


class SecondApiServer:
    """Another API server on the same store, so that one can restart while the other answers."""

    def __init__(self, tokens):
        self.tokens = tokens
        self.process = None
        self.static = None
        # What it said last of its being ready.
        self.last = ""
        self.authority = Authority(tokens.cluster)

    def __enter__(self):
        tokens = self.tokens
        file = tokens.work / "tokens.csv"
        entry = ["--user", STATIC_USER, "--uid", "7", "--groups", "dev,ops", "--file", file]
        self.static = tokens.eyesplice("static", "generate", *entry).text.strip()
        pid = tokens.cluster.env["KUBE_APISERVER_PID"]
        arguments = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")
        arguments[arguments.index("--secure-port") + 1] = str(SECOND_PORT)
        self.arguments = [*arguments, "--token-auth-file", str(file), *self.webhook()]
        self.log = open(Path(tokens.cluster.env["LOG_DIR"]) / "kube-apiserver-2.log", "ab")
        self.start()
        return self

    def webhook(self):
        """Starts an authority; returns what makes an API server ask it."""
        self.authority.start()
        config = self.tokens.work / "webhook.yaml"
        server = f"https://{self.authority.address}:{self.authority.port}{REVIEWS}"
        config.write_text(WEBHOOK.format(server=server, pki=self.tokens.cluster.env["PKI_DIR"]))
        flag = "--authentication-token-webhook"
        options = {"config-file": config, "version": "v1", "cache-ttl": WEBHOOK_CACHE}
        return [word for name, value in options.items() for word in (f"{flag}-{name}", str(value))]

    def start(self):
        """Starts it, and waits until it is ready."""
        self.process = Process(self.arguments, env={}, stdout=self.log, stderr=self.log)
        until(self._ready, START_S, lambda: f"the second API server is ready: {short(self.last)}")

    def _ready(self):
        expect(self.process.running(), f"the second API server ended; see {self.log.name}")
        try:
            status, self.last = self.tokens.request("GET", "/readyz?verbose", port=SECOND_PORT)
            return status == 200
        except (OSError, http.client.HTTPException) as error:
            self.last = str(error)
            return False

    def restart(self):
        """Ends it at once, and starts it with the files as they are now."""
        self.process.end()
        self.start()

    def __exit__(self, *_):
        if self.process:
            self.process.end()
        self.authority.stop()
        self.log.close()


class Prober:
    """Asks with every token, all the time; an API server that is down leaves the request to the other."""

    def __init__(self, tokens):
        self.tokens = []
        self.refused = []
        self.unanswered = []
        self._owner = tokens
        self._rounds = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def add(self, token):
        """From now on also with this token."""
        self.tokens = [*self.tokens, token]

    def rounds(self, number):
        """Waits until every token was used so often."""
        goal = self._rounds + number + 1
        until(lambda: self._rounds >= goal or not self._thread.is_alive(), START_S, f"{number} rounds")

    def _run(self):
        while not self._ended.is_set() and not STOPPED.is_set():
            for number, token in enumerate(self.tokens):
                # Each of them is asked; only one of them has to be up.
                answers = [self._ask(number, token, port) for port in (6443, SECOND_PORT)]
                if not any(answers):
                    self.unanswered.append(number)
            self._rounds += 1

    def _ask(self, number, token, port):
        try:
            user = self._owner.user(token, port)
        except (OSError, http.client.HTTPException, Failed):
            return False
        if user != ACCOUNT_USER:
            self.refused.append((number, port, user))
        return True

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
