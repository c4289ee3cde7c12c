//! Audit events of streams that pass the API server.

use crate::bed::{Bed, EXEC, SPDY, TOKEN, echoed};
use eyesplice_dataplane::seam::ApiPath;
use eyesplice_tests::http::{Body, read_body, read_head};
use eyesplice_tests::kubelet::{Kubelet, serve};
use eyesplice_tests::pki::{NODE, Presented, pki};
use eyesplice_tests::tls;
use eyesplice_tests::wait::eventually;
use eyesplice_tests::world::POD;
use rustls::version::TLS13;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const FILE: &str =
    "shortWay: {admission: trusted}, audit: {policyFile: policy.yaml, path: events.log}";

const WEBHOOK: &str = "shortWay: {admission: trusted}, audit: {policyFile: policy.yaml, \
                       webhookKubeconfigFile: webhook.yaml}";

fn policy(rules: &str) -> (&'static str, String) {
    let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{rules}]\n");
    ("policy.yaml", text)
}

/// A gateway that writes events under these rules.
fn bed(rules: &str, presented: Presented) -> Bed {
    Bed::of((FILE, vec![policy(rules)]), presented, serve)
}

/// The events of the file, once there are so many.
fn written(bed: &Bed, count: usize) -> Vec<Value> {
    let file = bed.front.file("events.log");
    let read = || {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let whole = text.lines().count() == count && text.ends_with('\n');
        whole.then_some(text)
    };
    let text = eventually(read, || format!("{count} events"));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

const RECEIVED: &str = "RequestReceived";
const STARTED: &str = "ResponseStarted";
const COMPLETE: &str = "ResponseComplete";

fn stages(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["stage"].as_str().unwrap())
        .collect()
}

#[test]
fn exec_leaves_the_events_that_an_api_server_would_write() {
    let bed = bed("{level: Metadata}", Presented::Good);
    let (client, head) = bed.exec();
    assert_eq!(head.status(), 101, "{}", head.raw);
    assert_eq!(head.get("audit-id"), None, "as with an API server");
    assert_eq!(stages(&written(&bed, 2)), [RECEIVED, STARTED]);
    echoed(client);
    bed.went(ApiPath::Short);
    let events = written(&bed, 3);
    assert_eq!(stages(&events), [RECEIVED, STARTED, COMPLETE]);
    let mut last = events[2].clone();
    for event in &events {
        assert_eq!(event["auditID"], last["auditID"]);
        assert!(!event.to_string().contains("hunter2"));
    }
    for time in ["auditID", "requestReceivedTimestamp", "stageTimestamp"] {
        assert!(last.as_object_mut().unwrap().remove(time).is_some());
    }
    assert_eq!(
        last,
        json!({
            "kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "Metadata",
            "stage": "ResponseComplete", "verb": "create",
            "requestURI": format!("{POD}/exec?stdin=true&stdout=true&stderr=true"),
            "user": {"username": "tom", "groups": ["dev", "system:authenticated"]},
            "sourceIPs": ["127.0.0.1"],
            "objectRef": {"resource": "pods", "namespace": "shop", "name": "web-0",
                          "apiVersion": "v1", "subresource": "exec"},
            "responseStatus": {"metadata": {}, "code": 101},
            "annotations": {"authorization.k8s.io/decision": "allow",
                            "authorization.k8s.io/reason": "", "eyesplice.dev/short-way": NODE}
        })
    );
}

#[test]
fn command_is_recorded_where_the_policy_asks_for_requests() {
    let rules = "{level: None, users: [joe]}, {level: Request, resources: [{resources: \
                 [pods/exec]}], omitStages: [RequestReceived]}";
    let bed = bed(rules, Presented::Good);
    let (client, _) = bed.exec();
    echoed(client);
    let events = written(&bed, 2);
    assert_eq!(stages(&events), [STARTED, COMPLETE]);
    assert_eq!(events[0]["requestURI"], format!("{POD}/{EXEC}"));
    assert_eq!(events[0]["level"], "Request");
}

#[test]
fn log_answers_with_the_id_of_its_events() {
    let bed = bed("{level: Metadata}", Presented::Good);
    let mut client = bed.front.client(&bed.cluster, None);
    let reply = client.ask(&format!("{POD}/log"), &[TOKEN, ("Audit-ID", "mine")]);
    assert_eq!(reply.head.get("audit-id"), Some("mine"));
    client.leave();
    bed.went(ApiPath::Short);
    let events = written(&bed, 3);
    for event in &events {
        assert_eq!(
            (&event["auditID"], &event["verb"]),
            (&json!("mine"), &json!("get"))
        );
    }
    assert_eq!(events[2]["responseStatus"]["code"], 200);
}

#[test]
fn stream_that_fails_at_its_kubelet_goes_on_under_its_id_at_the_api_server() {
    let (presented, cause) = Presented::WRONG[0];
    let bed = bed("{level: Metadata}", presented);
    let (client, head) = bed.exec();
    assert_eq!(head.status(), 101, "{cause}: {}", head.raw);
    echoed(client);
    bed.went(ApiPath::Through(Some("kubelet_failed")));
    let events = written(&bed, 1);
    assert_eq!(stages(&events), [RECEIVED]);
    let head = bed.server.of_users().pop().unwrap();
    assert_eq!(head.get("audit-id"), events[0]["auditID"].as_str());
}

#[test]
fn stream_that_goes_through_is_the_api_servers_alone_to_record() {
    let bed = bed("{level: Metadata}", Presented::Good);
    let (client, _) = bed.upgrade("POST", EXEC, &SPDY);
    echoed(client);
    bed.went(ApiPath::Through(Some("anonymous")));
    let env = format!("{EXEC}&env=KUBERNETES_EXEC_AUDIT_ID%3Dforged");
    let (client, _) = bed.upgrade("POST", &env, &[&SPDY[..], &[TOKEN]].concat());
    echoed(client);
    bed.went(ApiPath::Through(Some("query_unknown")));
    assert!(!bed.front.file("events.log").exists());
    assert_eq!(bed.server.of_users()[0].get("audit-id"), None);
    assert_eq!(bed.past(), Vec::<String>::new());
}

#[test]
fn webhook_gets_the_events_in_lists() {
    let lists: Arc<Mutex<Vec<Value>>> = Arc::default();
    let received = Arc::clone(&lists);
    let config = tls::server(&Presented::Good.identity(pki()), &pki().clients, &TLS13);
    let webhook = Kubelet::with(Some(config), move |conn, log| {
        let Ok(head) = read_head(conn) else { return };
        log.request(&head);
        let Body::Whole(body) = read_body(conn, &head, true) else {
            return;
        };
        let first = received.lock().unwrap().is_empty();
        received
            .lock()
            .unwrap()
            .push(serde_json::from_slice(&body).unwrap());
        // It fails once, and the same list comes again.
        let status = if first { 503 } else { 200 };
        let reply = format!("HTTP/1.1 {status} Told\r\nContent-Length: 0\r\n\r\n");
        let _ = conn.write_all(reply.as_bytes());
        conn.read_to_end();
    });
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: x\n\
         clusters: [{{name: c, cluster: {{server: 'https://{}/events?a=b', \
         certificate-authority: kubelets.crt}}}}]\n\
         users: [{{name: u, user: {{client-certificate: kubelet.crt, client-key: kubelet.key}}}}]\n\
         contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n",
        webhook.target()
    );
    let files = vec![policy("{level: Metadata}"), ("webhook.yaml", kubeconfig)];
    let bed = Bed::of((WEBHOOK, files), Presented::Good, serve);
    let (client, _) = bed.exec();
    echoed(client);
    bed.went(ApiPath::Short);
    let all = || {
        let lists = lists.lock().unwrap();
        let items: Vec<Value> = lists
            .iter()
            .skip(1)
            .flat_map(|list| list["items"].as_array().unwrap().clone())
            .collect();
        (items.len() == 3).then_some(items)
    };
    let items = eventually(all, || "three events".to_owned());
    assert_eq!(stages(&items), [RECEIVED, STARTED, COMPLETE]);
    assert_eq!(items[0]["kind"], Value::Null);
    let lists = lists.lock().unwrap();
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0]["kind"], "EventList");
    assert_eq!(webhook.heads()[0].target(), "/events?a=b");
}
