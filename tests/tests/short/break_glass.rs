//! Attempts to break glass, each with its outcome: docs/break-glass.md lists them by name.

use crate::bed::{Bed, EXEC, SPDY, TOKEN, echoed};
use eyesplice_dataplane::seam::{ApiPath, Reason, StreamRecord};
use eyesplice_tests::cluster::{Client, Cluster};
use eyesplice_tests::conn::Conn;
use eyesplice_tests::front_stack::{Front, Settings};
use eyesplice_tests::http::{Head, read_body, read_head};
use eyesplice_tests::kubelet::{Kubelet, Log, serve};
use eyesplice_tests::pki::{Authority, Identity, Leaf, NODE, Presented, pki};
use eyesplice_tests::tls;
use eyesplice_tests::vantage::{Vantage, Way, Wire};
use eyesplice_tests::wait::eventually;
use eyesplice_tests::world::{POD, World};
use rustls::version::TLS13;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use time::Duration;

/// What such a certificate says of itself.
const GROUP: &str = "eyesplice.dev/break-glass";

/// Fields of `front` beside break-glass.
const EVENTS: &str = ", audit: {policyFile: policy.yaml, path: events.log}";

const POLICY: &str = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";

/// How API servers are looked at.
const OFTEN: &str = ", healthInterval: 100ms, healthFailures: 2, balance: roundRobin";

/// The same for where no look from here may fail: each has as much time as is between two.
const PATIENTLY: &str = ", healthInterval: 5s, healthFailures: 2, balance: roundRobin";

/// A cluster whose front takes break-glass, and everything that can be cut. Fields are dropped from
/// the first on: who asks before who answers.
struct Site {
    bed: Bed,
    wire: Wire,
    vantage: Vantage,
    authority: Authority,
}

impl Site {
    fn new() -> Self {
        Self::with("shop", serve)
    }

    /// With a rule for a namespace, and a kubelet that does this.
    fn with(namespace: &str, script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static) -> Self {
        Self::looking(OFTEN, namespace, script)
    }

    /// Looking at API servers so.
    fn looking(
        apiservers: &'static str,
        namespace: &str,
        script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
    ) -> Self {
        let config = tls::server(&Presented::Good.identity(pki()), &pki().clients, &TLS13);
        let kubelet = Kubelet::with(Some(config), script);
        let world = Arc::new(World::new(kubelet.target().parse().unwrap()));
        let cluster = Cluster::new();
        let server = cluster.api_server_of(Some(Arc::clone(&world)));
        let (wire, vantage) = (Wire::to(server.address()), Vantage::start(Way::Open));
        let authority = Authority::new("break-glass-ca");
        let fields = format!(
            "shortWay: {{admission: trusted}}, breakGlass: {{clientCAFile: glass.crt, \
             vantage: {{address: '{}', caFile: vantage.crt}}, failures: 2, after: 1s, \
             refresh: 100ms, kubeletCacheAuthorizedTTL: 8h, allow: [{{name: sre, groups: [dev], \
             streams: [exec, logs], namespaces: [{namespace}]}}]}}{EVENTS}",
            vantage.address()
        );
        let settings = Settings {
            apiservers,
            servers: vec![wire.url()],
            short_way: Some(fields.leak()),
            files: vec![
                ("glass.crt", authority.pem().to_owned()),
                ("vantage.crt", vantage.authority.pem().to_owned()),
                ("policy.yaml", POLICY.to_owned()),
            ],
            ..Settings::of(&[&server])
        };
        let front = Front::start(&cluster, &settings);
        front.watch();
        front.keep_break_glass();
        Self {
            bed: Bed {
                front,
                cluster,
                server,
                kubelet,
                world,
            },
            wire,
            vantage,
            authority,
        }
    }

    /// One whose user had an exec on the short way.
    fn used() -> Self {
        let site = Self::new();
        site.use_short_way();
        site
    }

    fn use_short_way(&self) {
        let (client, head) = self.bed.exec();
        assert_eq!(head.status(), 101, "{}", head.raw);
        echoed(client);
        self.bed.went(ApiPath::Short);
    }

    /// A certificate of tom for break-glass, good for eight hours.
    fn certificate(&self) -> Identity {
        self.authority.issue(&leaf())
    }

    /// Asks with a certificate, and reads the head of the answer.
    fn exec(&self, certificate: &Identity) -> (Client, Head) {
        let mut client = self.bed.front.client(&self.bed.cluster, Some(certificate));
        client.send("POST", &format!("{POD}/{EXEC}"), &SPDY);
        let head = read_head(&mut client.0).unwrap();
        (client, head)
    }

    /// Asks for what must be refused; gives the status and the words.
    fn refused(&self, certificate: &Identity) -> (u16, String) {
        let before = self.streams();
        let (client, head) = self.exec(certificate);
        let told = told(client, &head);
        let record = self.ended(ApiPath::Answered);
        assert!(
            record
                .detail
                .is_some_and(|it| it.starts_with("break-glass: "))
        );
        assert_eq!(self.streams(), before, "{told}");
        (head.status(), told)
    }

    fn ended(&self, path: ApiPath) -> StreamRecord {
        self.bed.went(path)
    }

    /// What came to the kubelet but questions of the gateway itself.
    fn streams(&self) -> Vec<String> {
        let mut past = self.bed.past();
        past.retain(|target| !target.contains("eyesplice-break-glass"));
        past
    }

    fn status(&self) -> Value {
        self.bed.front.break_glass(None)
    }

    /// Waits until the status is so.
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        eventually(
            || Some(self.status()).filter(&holds),
            || format!("{what}: {}", self.status()),
        )
    }

    fn until_in_force(&self) {
        self.until("break-glass in force", |it| it["inForce"] == true);
    }

    /// Waits until it is clear that it is not in force though enough looks failed from one place.
    fn until_one_sided(&self, here: &str, there: &str) {
        self.until("one path down", |it| {
            let server = &it["servers"][0];
            server["here"]["state"] == here && server["vantage"]["state"] == there
        });
    }

    /// All audit events, once there are so many.
    fn events(&self, count: usize) -> Vec<Value> {
        let file = self.bed.front.file("events.log");
        let read = || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            (text.lines().count() == count && text.ends_with('\n')).then_some(text)
        };
        let text = eventually(read, || format!("{count} audit events"));
        let parsed = text.lines().map(|line| serde_json::from_str(line).unwrap());
        parsed.collect()
    }

    /// How many requests came to this.
    fn counted(&self, outcome: &str) -> u64 {
        let report = self.bed.front.break_glass_metrics();
        let found = report.requests.iter().find(|(name, _)| *name == outcome);
        found.unwrap().1
    }
}

fn leaf() -> Leaf {
    Leaf {
        organization: Some(GROUP.into()),
        until: Duration::hours(7),
        ..Leaf::client("tom")
    }
}

/// The message of a refusal.
fn told(mut client: Client, head: &Head) -> String {
    let body = read_body(&mut client.0, head, false);
    let status: Value = serde_json::from_slice(body.bytes()).unwrap();
    client.leave();
    status["message"].as_str().unwrap().to_owned()
}

/// What a proxy says of an API server that does not answer it.
const NO_ANSWER: Way = Way::Says(504, Some("proxy; error=connection_timeout"));

#[test]
fn outage_on_both_paths_lets_a_reviewed_user_to_the_kubelet() {
    let site = Site::used();
    site.wire.cut();
    site.vantage.set(NO_ANSWER);
    site.until_in_force();
    let noted = || site.bed.front.break_glass_metrics().in_force.then_some(());
    eventually(noted, || "the metric".to_owned());
    let (client, head) = site.exec(&site.certificate());
    assert_eq!(head.status(), 101, "{}", head.raw);
    echoed(client);
    let record = site.ended(ApiPath::BreakGlass);
    assert_eq!(record.reason, Reason::Completed);
    assert_eq!(record.node.as_deref(), Some(NODE));
    assert_eq!(record.exchange_labels.unwrap().user.as_deref(), Some("tom"));
    assert_eq!(site.streams().len(), 2);
    assert_eq!(site.counted("opened"), 1);
    let last = site.events(6).pop().unwrap();
    assert_eq!(last["stage"], "ResponseComplete");
    assert_eq!(last["user"]["groups"][0], "dev", "of the last review");
    let serial = &last["annotations"]["eyesplice.dev/break-glass"];
    assert!(serial.as_str().is_some_and(|it| it.contains(':')), "{last}");
}

#[test]
fn path_cut_at_the_gateway_alone_opens_nothing() {
    let site = Site::used();
    site.vantage.set(Way::To(site.bed.server.address()));
    site.wire.cut();
    site.until_one_sided("down", "answers");
    let (status, told) = site.refused(&site.certificate());
    assert_eq!(status, 403, "{told}");
    assert!(told.contains("from the vantage API server"), "{told}");
    assert!(told.contains("answers"), "{told}");
    assert_eq!(site.counted("not_in_force"), 1);
}

#[test]
fn path_cut_behind_the_vantage_alone_opens_nothing() {
    let site = Site::looking(PATIENTLY, "shop", serve);
    site.use_short_way();
    site.vantage.set(NO_ANSWER);
    site.until_one_sided("answers", "down");
    let (status, told) = site.refused(&site.certificate());
    assert_eq!(status, 403, "{told}");
    assert!(told.contains("it is not in force: API server"), "{told}");
}

#[test]
fn gateway_that_is_cut_off_from_everything_opens_nothing() {
    for way in [
        Way::Gone,
        Way::Silent,
        // What befalls the proxy itself is no word about an API server.
        Way::Says(503, None),
        Way::Says(502, Some("proxy; error=connection_limit_reached")),
        Way::Says(403, None),
    ] {
        let site = Site::used();
        site.vantage.set(way);
        site.wire.cut();
        if way == Way::Silent {
            // Its look takes its time; until then there is none.
            site.until("down from here", |it| {
                it["servers"][0]["here"]["state"] == "down"
            });
        } else {
            site.until_one_sided("down", "unclear");
        }
        let (status, told) = site.refused(&site.certificate());
        assert_eq!(status, 403, "{way:?}: {told}");
        assert!(told.contains("from the vantage"), "{way:?}: {told}");
    }
}

#[test]
fn flapping_api_server_opens_nothing_until_it_has_failed_long_enough_again() {
    let site = Site::used();
    let certificate = site.certificate();
    for _ in 0..2 {
        site.bed.server.set_ready(500);
        site.until_in_force();
        let (client, head) = site.exec(&certificate);
        assert_eq!(head.status(), 101, "{}", head.raw);
        echoed(client);
        site.ended(ApiPath::BreakGlass);
        site.bed.server.set_ready(200);
        site.until("an answer", |it| {
            it["servers"][0]["here"]["state"] == "answers"
        });
        assert_eq!(site.refused(&certificate).0, 403);
        // One failure is not enough, whatever there was before.
        site.bed.server.set_ready(500);
        let status = site.until("a failure", |it| {
            it["servers"][0]["here"]["state"] != "answers"
        });
        let one = &status["servers"][0]["here"]["state"];
        assert!(one == "failing" || status["inForce"] == true, "{status}");
        site.bed.server.set_ready(200);
        site.until("an answer", |it| it["inForce"] == false);
    }
}

#[test]
fn api_server_that_is_back_ends_break_glass_and_no_stream_of_it() {
    let site = Site::used();
    let certificate = site.certificate();
    site.bed.server.set_ready(500);
    site.until_in_force();
    let (mut client, head) = site.exec(&certificate);
    assert_eq!(head.status(), 101, "{}", head.raw);
    site.bed.server.set_ready(200);
    site.until("an answer", |it| it["inForce"] == false);
    let (status, words) = {
        let (client, head) = site.exec(&certificate);
        (head.status(), told(client, &head))
    };
    assert_eq!(status, 403, "{words}");
    client.0.write_all(b"still here").unwrap();
    assert_eq!(client.0.read_exact(10).unwrap(), b"still here");
    echoed(client);
    site.ended(ApiPath::Answered);
    site.ended(ApiPath::BreakGlass);
}

#[test]
fn stream_by_break_glass_ends_with_its_certificate() {
    let site = Site::used();
    site.bed.server.set_ready(500);
    site.until_in_force();
    let certificate = site.authority.issue(&Leaf {
        until: Duration::seconds(15),
        ..leaf()
    });
    let (mut client, head) = site.exec(&certificate);
    assert_eq!(head.status(), 101, "{}", head.raw);
    client.0.read_to_end();
    assert_eq!(site.ended(ApiPath::BreakGlass).reason, Reason::Expired);
}

#[test]
fn user_whose_right_was_revoked_is_refused() {
    let site = Site::used();
    site.bed.world.allow(false);
    site.until("the review to be forgotten", |it| {
        it["reviews"]["count"] == 0
    });
    site.bed.server.set_ready(500);
    site.until_in_force();
    let (status, told) = site.refused(&site.certificate());
    assert_eq!(status, 403, "{told}");
    assert!(told.contains("nothing is known to allow it"), "{told}");
    assert_eq!(site.counted("no_review"), 1);
}

#[test]
fn user_without_an_earlier_review_is_refused() {
    let site = Site::used();
    site.bed.server.set_ready(500);
    site.until_in_force();
    let joe = site.authority.issue(&Leaf {
        common_name: "joe".into(),
        ..leaf()
    });
    let (status, told) = site.refused(&joe);
    assert_eq!(status, 403, "{told}");
    assert!(
        told.contains("\"joe\" had no exec of pod shop/web-0"),
        "{told}"
    );
    // Nor is another stream of the same user and pod.
    let certificate = site.certificate();
    let mut client = site.bed.front.client(&site.bed.cluster, Some(&certificate));
    let reply = client.ask(&format!("{POD}/log"), &[]);
    assert_eq!(reply.head.status(), 403, "{}", reply.text());
    client.leave();
    site.ended(ApiPath::Answered);
    assert_eq!(site.streams().len(), 1);
}

#[test]
fn namespace_that_no_rule_has_is_refused() {
    let site = Site::with("bank", serve);
    site.use_short_way();
    site.bed.server.set_ready(500);
    site.until_in_force();
    let (status, told) = site.refused(&site.certificate());
    assert_eq!(status, 403, "{told}");
    assert!(told.contains("no rule of front.breakGlass.allow"), "{told}");
    assert_eq!(site.counted("no_rule"), 1);
}

#[test]
fn certificate_that_is_not_good_is_refused() {
    let site = Site::used();
    site.bed.server.set_ready(500);
    site.until_in_force();
    let unmarked = Leaf {
        organization: Some("dev".into()),
        ..leaf()
    };
    let expired = Leaf {
        from: Duration::hours(-3),
        until: Duration::hours(-1),
        ..leaf()
    };
    let long = Leaf {
        until: Duration::days(2),
        ..leaf()
    };
    for (leaf, words) in [
        (unmarked, "is not for break-glass"),
        (expired, "expired"),
        (long, "is valid for more than a day"),
    ] {
        let (status, told) = site.refused(&site.authority.issue(&leaf));
        assert_eq!(status, 401, "{told}");
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(site.counted("certificate"), 3);
    // Of another CA it is nobody's, whatever it says.
    let stranger = site.bed.cluster.strangers.issue(&leaf());
    let (client, head) = site.exec(&stranger);
    assert_eq!(
        (head.status(), &*told(client, &head)),
        (401, "Unauthorized")
    );
    site.ended(ApiPath::Answered);
    assert_eq!(site.streams().len(), 1);
}

#[test]
fn token_breaks_no_glass_with_a_certificate_or_without_one() {
    let site = Site::used();
    site.wire.cut();
    site.vantage.set(NO_ANSWER);
    site.until_in_force();
    let certificate = site.certificate();
    for identity in [None, Some(&certificate)] {
        let mut client = site.bed.front.client(&site.bed.cluster, identity);
        let headers = [&SPDY[..], &[TOKEN]].concat();
        client.send("POST", &format!("{POD}/{EXEC}"), &headers);
        let head = read_head(&mut client.0).unwrap();
        assert!(head.status() >= 502, "{}", head.raw);
        client.leave();
        let labels = site.bed.front.ended().exchange_labels.unwrap();
        assert!(
            matches!(labels.path, Some(ApiPath::Through(Some(_)))),
            "{labels:?}"
        );
    }
    assert_eq!(site.streams().len(), 1);
}

#[test]
fn other_requests_are_refused() {
    let site = Site::used();
    site.bed.server.set_ready(500);
    site.until_in_force();
    let certificate = site.certificate();
    for (target, headers, words) in [
        (
            "/api/v1/pods".to_owned(),
            vec![],
            "exec, attach, port-forward and logs",
        ),
        (format!("{POD}/log?tail=1"), vec![], "query_unknown"),
        (
            format!("{POD}/log"),
            vec![("Impersonate-User", "root")],
            "impersonation",
        ),
    ] {
        let mut client = site.bed.front.client(&site.bed.cluster, Some(&certificate));
        let reply = client.ask(&target, &headers);
        assert_eq!(reply.head.status(), 403, "{target}: {}", reply.text());
        assert!(reply.text().contains(words), "{words}: {}", reply.text());
        client.leave();
        site.ended(ApiPath::Answered);
    }
    assert_eq!(site.bed.through(), Vec::<String>::new());
}

/// What kubectl 1.37 asks for before it opens a stream, with an empty cache.
const DISCOVERY: [&str; 3] = [
    "/api?timeout=32s",
    "/apis?timeout=32s",
    "/api/v1?timeout=32s",
];

/// How it asks for a stream first.
const WEBSOCKET: [(&str, &str); 5] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Protocol", "v5.channel.k8s.io"),
];

#[test]
fn kubectl_reads_what_it_needs_and_opens_its_stream() {
    let site = Site::new();
    site.bed.world.change(POD, |pod| {
        let env = json!([{"name": "PASSWORD", "value": "hunter2"}]);
        pod["spec"]["containers"] = json!([{"name": "app", "tty": true, "env": env}]);
        pod["status"]["phase"] = json!("Running");
    });
    // The kubelet does not speak its protocol, so that an API server has to carry the stream.
    let headers = [&WEBSOCKET[..], &[TOKEN]].concat();
    let (client, head) = site.bed.upgrade("GET", EXEC, &headers);
    assert_eq!(head.status(), 101, "{}", head.raw);
    client.leave();
    site.ended(ApiPath::Through(Some("translation")));
    site.bed.server.set_ready(500);
    site.until_in_force();
    let certificate = site.certificate();
    let mut client = site.bed.front.client(&site.bed.cluster, Some(&certificate));
    for (target, kind) in
        DISCOVERY
            .into_iter()
            .zip(["APIVersions", "APIGroupList", "APIResourceList"])
    {
        let reply = client.ask(target, &[("Accept", "application/json, */*")]);
        assert_eq!(reply.head.status(), 200, "{target}: {}", reply.text());
        let object: Value = serde_json::from_str(&reply.text()).unwrap();
        assert_eq!(object["kind"], kind);
        let record = site.ended(ApiPath::Answered);
        assert_eq!(record.reason, Reason::Completed);
        assert_eq!(record.exchange_labels.unwrap().user.as_deref(), Some("tom"));
    }
    let reply = client.ask(POD, &[("Accept", "application/json, */*")]);
    assert_eq!(reply.head.status(), 200, "{}", reply.text());
    assert!(!reply.text().contains("hunter2"), "{}", reply.text());
    let pod: Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!(
        (&pod["kind"], &pod["apiVersion"]),
        (&json!("Pod"), &json!("v1"))
    );
    assert_eq!(pod["metadata"]["name"], "web-0");
    assert!(pod["metadata"]["annotations"]["eyesplice.dev/break-glass-seen"].is_string());
    assert_eq!(pod["spec"]["nodeName"], NODE);
    assert_eq!(
        pod["spec"]["containers"],
        json!([{"name": "app", "tty": true}])
    );
    assert_eq!(pod["status"], json!({"phase": "Running"}));
    client.leave();
    let labels = site.ended(ApiPath::Answered).exchange_labels.unwrap();
    assert_eq!(labels.pod.as_deref(), Some("web-0"));
    assert_eq!(site.counted("read"), 4);
    // It takes any refusal of the first protocol for an answer, and asks by the other.
    let mut client = site.bed.front.client(&site.bed.cluster, Some(&certificate));
    client.send("GET", &format!("{POD}/{EXEC}"), &WEBSOCKET);
    let head = read_head(&mut client.0).unwrap();
    let words = told(client, &head);
    assert_eq!(head.status(), 403, "{words}");
    assert!(words.contains("only API servers translate"), "{words}");
    site.ended(ApiPath::Answered);
    let (client, head) = site.exec(&certificate);
    assert_eq!(head.status(), 101, "{}", head.raw);
    echoed(client);
    site.ended(ApiPath::BreakGlass);
    let read = site.events(6).swap_remove(2);
    assert_eq!(read["objectRef"].get("subresource"), None, "{read}");
    assert_eq!(
        (&read["verb"], &read["stage"]),
        (&json!("get"), &json!("ResponseComplete"))
    );
    assert!(
        read["annotations"]["eyesplice.dev/break-glass"].is_string(),
        "{read}"
    );
    // The first stream alone went to an API server.
    assert_eq!(site.bed.through(), [format!("{POD}/{EXEC}")]);
}

#[test]
fn pod_and_resources_are_given_to_nobody_else() {
    let site = Site::used();
    let certificate = site.certificate();
    let other = site.authority.issue(&Leaf {
        common_name: "joe".into(),
        ..leaf()
    });
    let refused = |who: &Identity, target: &str, headers: &[(&str, &str)], words: &str| {
        let mut client = site.bed.front.client(&site.bed.cluster, Some(who));
        let reply = client.ask(target, headers);
        assert_eq!(reply.head.status(), 403, "{target}: {}", reply.text());
        assert!(reply.text().contains(words), "{words}: {}", reply.text());
        client.leave();
        site.ended(ApiPath::Answered);
    };
    // Each attempt before is a drill.
    refused(
        &certificate,
        POD,
        &[],
        "if it were, rule \\\"sre\\\" would allow this",
    );
    let mut client = site.bed.front.client(&site.bed.cluster, Some(&certificate));
    let reply = client.ask("/api/v1", &[]);
    assert_eq!(reply.head.status(), 200, "{}", reply.text());
    client.leave();
    site.ended(ApiPath::Answered);
    site.bed.server.set_ready(500);
    site.until_in_force();
    let unlike = "exec, attach, port-forward and logs";
    let acts = [("Impersonate-User", "root")];
    for (who, target, headers, words) in [
        (&other, POD, &[][..], "had no stream of pod shop/web-0"),
        (
            &certificate,
            "/api/v1/namespaces/shop/pods/web-1",
            &[],
            "had no stream of pod shop/web-1",
        ),
        (
            &certificate,
            "/api/v1/namespaces/bank/pods/web-0",
            &[],
            "had no stream of pod bank/web-0",
        ),
        (&certificate, "/api/v1/namespaces/shop/pods", &[], unlike),
        (
            &certificate,
            "/api/v1/namespaces/shop/pods/web-0/status",
            &[],
            unlike,
        ),
        (
            &certificate,
            &format!("{POD}?resourceVersion=0"),
            &[],
            unlike,
        ),
        (&certificate, "/apis/apps/v1", &[], unlike),
        (&certificate, POD, &acts, unlike),
        (&certificate, "/api", &acts, unlike),
    ] {
        refused(who, target, headers, words);
    }
    assert_eq!(site.counted("read"), 1);
    assert_eq!(site.bed.through(), Vec::<String>::new());
}

#[test]
fn user_who_could_not_get_the_pod_before_does_not_get_it_now() {
    let site = Site::new();
    site.bed.world.let_read(false);
    site.use_short_way();
    let question = "user=tom&namespace=shop&pod=web-0&stream=exec&spdy=true";
    assert_eq!(site.bed.front.break_glass(Some(question))["reads"], false);
    site.bed.server.set_ready(500);
    site.until_in_force();
    let certificate = site.certificate();
    let mut client = site.bed.front.client(&site.bed.cluster, Some(&certificate));
    let reply = client.ask(POD, &[]);
    assert_eq!(reply.head.status(), 403, "{}", reply.text());
    assert!(
        reply.text().contains("could not get pod shop/web-0"),
        "{}",
        reply.text()
    );
    client.leave();
    site.ended(ApiPath::Answered);
    // A client that asks for the stream alone has it.
    let (client, head) = site.exec(&certificate);
    assert_eq!(head.status(), 101, "{}", head.raw);
    echoed(client);
    site.ended(ApiPath::BreakGlass);
}

#[test]
fn attempt_while_an_api_server_answers_is_a_drill() {
    let site = Site::used();
    let question = "user=tom&namespace=shop&pod=web-0&stream=exec&spdy=true";
    let (status, told) = site.refused(&site.certificate());
    assert_eq!(status, 403, "{told}");
    assert!(
        told.contains("if it were, rule \"sre\" would allow this"),
        "{told}"
    );
    assert!(told.contains(NODE), "{told}");
    let drilled = site.bed.front.break_glass(Some(question));
    assert_eq!(
        (&drilled["allowed"], &drilled["inForce"]),
        (&true.into(), &false.into())
    );
    assert_eq!(
        (&drilled["rule"], &drilled["node"]),
        (&"sre".into(), &NODE.into())
    );
    for (other, why) in [
        (
            "user=joe&namespace=shop&pod=web-0&stream=exec&spdy=true",
            "\"joe\" had no exec",
        ),
        (
            "user=tom&namespace=shop&pod=web-0&stream=exec",
            "by get and create",
        ),
        ("user=tom&namespace=shop&pod=web-0&stream=log", "had no log"),
    ] {
        let drilled = site.bed.front.break_glass(Some(other));
        assert_eq!(drilled["allowed"], false, "{drilled}");
        assert!(drilled["why"].as_str().unwrap().contains(why), "{drilled}");
    }
    assert_eq!(site.streams().len(), 1, "a drill opens nothing");
    assert_eq!(site.counted("opened"), 0);
}

#[test]
fn kubelets_are_kept_warm_and_one_that_forgot_us_is_shown() {
    let cold = Arc::new(AtomicBool::new(false));
    let forgot = Arc::clone(&cold);
    let site = Site::with("shop", move |conn, log| {
        if !forgot.load(SeqCst) {
            return serve(conn, log);
        }
        let Ok(head) = read_head(conn) else { return };
        log.request(&head);
        let words = "Authorization error (user=eyesplice, verb=get, resource=nodes)";
        let reply = format!(
            "HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n{words}",
            words.len()
        );
        // It may have gone meanwhile.
        let _ = conn.write_all(reply.as_bytes());
        conn.read_to_end();
    });
    site.use_short_way();
    let warm = site.until("a warm kubelet", |it| {
        !it["kubelets"][0]["allowed"].is_null()
    });
    assert_eq!(warm["kubelets"][0]["node"], NODE);
    assert!(warm["kubelets"][0]["untilAtMost"].is_string(), "{warm}");
    let asked: Vec<String> = site
        .bed
        .kubelet
        .heads()
        .iter()
        .map(|head| head.raw.clone())
        .collect();
    for line in [
        "GET /containerLogs/eyesplice-break-glass/warm/warm HTTP/1.1",
        "POST /portForward/eyesplice-break-glass/warm HTTP/1.1",
    ] {
        assert!(asked.iter().any(|head| head.starts_with(line)), "{asked:?}");
    }
    cold.store(true, SeqCst);
    let shown = site.until("a cold kubelet", |it| {
        it["kubelets"][0]["error"].is_string()
    });
    let error = shown["kubelets"][0]["error"].as_str().unwrap();
    assert!(error.contains("cacheAuthorizedTTL"), "{error}");
    let kubelets = site.bed.front.break_glass_metrics().kubelets;
    assert_eq!(kubelets, [("warm", 0), ("cold", 1)]);
    site.bed.server.set_ready(500);
    site.until_in_force();
    let (client, head) = site.exec(&site.certificate());
    assert_eq!(head.status(), 503, "{}", head.raw);
    let told = told(client, &head);
    assert!(
        told.contains("the kubelet did not do what it should"),
        "{told}"
    );
    site.ended(ApiPath::Answered);
    assert_eq!(site.counted("kubelet"), 1);
}
