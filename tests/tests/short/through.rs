//! Streams that go through the API server, and why.

use crate::bed::{Bed, EXEC, SPDY, TOKEN, TRUSTED, echoed};
use eyesplice_dataplane::seam::ApiPath;
use eyesplice_tests::closed::Closed;
use eyesplice_tests::http::read_body;
use eyesplice_tests::kubelet::{request, serve};
use eyesplice_tests::pki::Presented;
use eyesplice_tests::world::{ADMISSION, FORBIDDEN, NODE_PATH, POD, list, webhook};
use serde_json::json;

/// What is otherwise in a cluster where exec would go the short way.
type Change = fn(&Bed);

/// What is changed, and the label of why exec goes through then.
const CHANGES: &[(Change, &str)] = &[
    (|bed| bed.world.set_user(json!(null)), "identity_unknown"),
    (
        |bed| {
            let groups = ["system:unauthenticated"];
            let user = json!({"username": "system:anonymous", "groups": groups});
            bed.world.set_user(user);
        },
        "anonymous",
    ),
    (
        |bed| {
            let path = format!("{ADMISSION}/validatingwebhookconfigurations");
            bed.world.change(&path, |hooks| *hooks = list(&[webhook()]));
        },
        "admission_may_match",
    ),
    (
        |bed| {
            let path = format!("{ADMISSION}/mutatingadmissionpolicies");
            bed.world.fail(&path, 403);
        },
        "admission_unknown",
    ),
    (|bed| bed.world.fail(POD, 404), "pod_unknown"),
    (
        |bed| {
            let none = json!("");
            bed.world.change(POD, |pod| pod["spec"]["nodeName"] = none);
        },
        "pod_unscheduled",
    ),
    (
        |bed| {
            let two = json!([{"name": "app"}, {"name": "side"}]);
            bed.world.change(POD, |pod| pod["spec"]["containers"] = two);
        },
        "container_choice",
    ),
    (|bed| bed.world.fail(NODE_PATH, 404), "node_unknown"),
    (
        |bed| {
            let address = json!([{"type": "InternalIP", "address": "10.9.8.7"}]);
            bed.world
                .change(NODE_PATH, |node| node["status"]["addresses"] = address);
        },
        "egress_denied",
    ),
];

#[test]
fn stream_of_which_something_does_not_hold_goes_through_as_it_came() {
    for (change, why) in CHANGES {
        let bed = Bed::new(TRUSTED);
        change(&bed);
        let (client, head) = bed.exec();
        assert_eq!(head.status(), 101, "{why}: {}", head.raw);
        echoed(client);
        bed.went(ApiPath::Through(Some(why)));
        assert_eq!(bed.through(), [format!("{POD}/{EXEC}")], "{why}");
        let head = bed.server.of_users().pop().unwrap();
        assert_eq!(head.get("authorization"), Some(TOKEN.1), "{why}");
        assert_eq!(bed.past(), Vec::<String>::new(), "{why}");
    }
}

#[test]
fn request_that_has_another_meaning_goes_through_as_it_came() {
    let bed = Bed::new(TRUSTED);
    let with = |header| [&SPDY[..], &[TOKEN, header]].concat();
    let plain = ("Accept", "*/*");
    let twice = format!("{EXEC}&stdin=true");
    let env = format!("{EXEC}&env=A%3DB");
    for (stream, headers, why) in [
        (EXEC, with(("Impersonate-User", "joe")), "impersonation"),
        (EXEC, with(("Impersonate_Group", "joe")), "impersonation"),
        (&*env, with(plain), "query_unknown"),
        (&*twice, with(plain), "query_unknown"),
        (EXEC, SPDY.to_vec(), "anonymous"),
    ] {
        let (client, head) = bed.upgrade("POST", stream, &headers);
        assert_eq!(head.status(), 101, "{why}: {}", head.raw);
        echoed(client);
        bed.went(ApiPath::Through(Some(why)));
        assert_eq!(
            bed.through().pop(),
            Some(format!("{POD}/{stream}")),
            "{why}"
        );
    }
    let odd = EXEC.replace("exec", "ex%65c");
    let (client, head) = bed.upgrade("POST", &odd, &with(plain));
    assert_eq!(head.status(), 101, "{}", head.raw);
    echoed(client);
    bed.went(ApiPath::Through(Some("path_unknown")));
    assert_eq!(bed.past(), Vec::<String>::new());
}

#[test]
fn streams_that_are_admitted_go_through_where_plugins_are_not_known() {
    let bed = Bed::new("shortWay: {}");
    let (client, head) = bed.exec();
    assert_eq!(head.status(), 101, "{}", head.raw);
    echoed(client);
    bed.went(ApiPath::Through(Some("admission_static")));
    assert_eq!(bed.past(), Vec::<String>::new());
}

#[test]
fn user_who_may_not_hears_so_from_the_api_server() {
    let bed = Bed::new(TRUSTED);
    bed.world.allow(false);
    let (mut client, head) = bed.exec();
    assert_eq!(head.status(), 403, "{}", head.raw);
    let body = read_body(&mut client.0, &head, false);
    let body = String::from_utf8(body.bytes().to_vec()).unwrap();
    assert!(body.contains(&json!(FORBIDDEN).to_string()), "{body}");
    client.leave();
    bed.went(ApiPath::Through(Some("denied")));
    assert_eq!(bed.past(), Vec::<String>::new());
}

#[test]
fn webhook_that_is_added_holds_for_the_next_stream_within_a_second() {
    let bed = Bed::new(TRUSTED);
    let (client, _) = bed.exec();
    echoed(client);
    bed.went(ApiPath::Short);
    let path = format!("{ADMISSION}/validatingwebhookconfigurations");
    bed.world.change(&path, |hooks| *hooks = list(&[webhook()]));
    let added = std::time::Instant::now();
    loop {
        let (client, _) = bed.exec();
        let asked = added.elapsed();
        echoed(client);
        let record = bed.front.ended();
        if record.exchange_labels.unwrap().path != Some(ApiPath::Short) {
            break;
        }
        assert!(asked.as_millis() < 20_000, "it is not noticed");
    }
}

#[test]
fn kubelet_that_is_not_the_nodes_gets_no_request_and_the_stream_goes_through() {
    for (presented, cause) in Presented::WRONG {
        let bed = Bed::with(TRUSTED, presented, serve);
        let (client, head) = bed.exec();
        assert_eq!(head.status(), 101, "{cause}: {}", head.raw);
        echoed(client);
        bed.went(ApiPath::Through(Some("kubelet_failed")));
        assert_eq!(bed.through(), [format!("{POD}/{EXEC}")], "{cause}");
        assert_eq!(bed.past(), Vec::<String>::new(), "{cause}");
        bed.front.running().assert_nothing_held();
    }
}

#[test]
fn kubelet_that_cannot_be_reached_is_no_ones_business() {
    let bed = Bed::new(TRUSTED);
    let closed = Closed::port();
    let port = closed.address().port();
    bed.world.change(NODE_PATH, |node| {
        node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] = json!(port);
    });
    let (client, head) = bed.exec();
    assert_eq!(head.status(), 101, "{}", head.raw);
    echoed(client);
    bed.went(ApiPath::Through(Some("kubelet_failed")));
    let mut client = bed.front.client(&bed.cluster, None);
    let reply = client.ask(&format!("{POD}/log"), &[TOKEN]);
    assert_eq!(reply.text(), "tom [] by token");
    client.leave();
    bed.went(ApiPath::Through(Some("kubelet_failed")));
}

#[test]
fn log_that_a_kubelet_refuses_is_the_api_servers_to_word() {
    let bed = Bed::with(TRUSTED, Presented::Good, |conn, log| {
        request(conn, log);
        let body = "container \"app\" in pod \"web-0\" is waiting to start";
        let reply = format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        conn.write_all(reply.as_bytes()).unwrap();
        conn.read_to_end();
    });
    let mut client = bed.front.client(&bed.cluster, None);
    let reply = client.ask(&format!("{POD}/log?container=app"), &[TOKEN]);
    assert_eq!(
        (reply.head.status(), &*reply.text()),
        (200, "tom [] by token")
    );
    client.leave();
    bed.went(ApiPath::Through(Some("kubelet_refused")));
    assert_eq!(bed.past(), ["/containerLogs/shop/web-0/app"]);
    assert_eq!(bed.through(), [format!("{POD}/log?container=app")]);
}
