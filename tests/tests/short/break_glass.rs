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
use serde_json::Value;
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
    let events = site.bed.front.file("events.log");
    let read = || {
        let text = std::fs::read_to_string(&events).unwrap_or_default();
        (text.lines().count() == 6 && text.ends_with('\n')).then_some(text)
    };
    let text = eventually(read, || "events of both streams".to_owned());
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
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
