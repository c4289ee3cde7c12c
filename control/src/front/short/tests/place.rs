//! Containers, logs and addresses as objects of the API have them.

use super::bed::{node, pod};
use crate::config::AddressType;
use crate::front::short::Why;
use crate::front::short::place::{Node, Pod};
use serde_json::{Value, json};

fn read(pod: Value) -> Pod {
    serde_json::from_value(pod).unwrap()
}

#[test]
fn container_is_the_one_that_is_named_of_any_kind_or_the_only_one() {
    let mut many = pod();
    many["spec"]["initContainers"] = json!([{"name": "setup"}]);
    many["spec"]["ephemeralContainers"] = json!([{"name": "debugger"}]);
    let only = read(many.clone());
    many["spec"]["containers"] = json!([{"name": "app"}, {"name": "side"}]);
    // The annotation is kubectl's business.
    many["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/default-container": "app"});
    let many = read(many);
    let mut none = pod();
    none["spec"]["containers"] = json!([]);
    for (pod, named, expected) in [
        (&only, None, Ok("app")),
        (&only, Some("app"), Ok("app")),
        (&only, Some("setup"), Ok("setup")),
        (&only, Some("debugger"), Ok("debugger")),
        (&only, Some("side"), Err(Why::Container)),
        (&many, None, Err(Why::Container)),
        (&many, Some("side"), Ok("side")),
        (&read(none), None, Err(Why::Container)),
    ] {
        assert_eq!(pod.container(named), expected, "{named:?}");
    }
}

#[test]
fn log_is_there_once_a_container_ran() {
    let running = json!({"running": {"startedAt": "2026-12-01T01:02:03Z"}});
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff"}});
    let ended = json!({"terminated": {"exitCode": 1, "containerID": "containerd://0"}});
    let lost = json!({"terminated": {"exitCode": 137}});
    let none = json!({});
    for (state, last, now, before) in [
        (&running, &none, true, false),
        (&running, &ended, true, true),
        (&waiting, &none, false, false),
        (&waiting, &ended, true, true),
        (&ended, &none, true, false),
        (&lost, &none, false, false),
        (&lost, &ended, true, true),
        (&none, &none, false, false),
    ] {
        for kind in [
            "containerStatuses",
            "initContainerStatuses",
            "ephemeralContainerStatuses",
        ] {
            let mut pod = pod();
            pod["status"] = json!({kind: [{
                "name": "app", "containerID": "containerd://1", "state": state, "lastState": last
            }]});
            let pod = read(pod);
            let found = (pod.has_log("app", false), pod.has_log("app", true));
            assert_eq!(found, (now, before), "{kind} {state} {last}");
            assert!(!pod.has_log("other", false));
        }
    }
    let mut unborn = pod();
    unborn["status"]["containerStatuses"][0]["containerID"] = json!("");
    assert!(!read(unborn).has_log("app", false));
    let mut bare = pod();
    bare.as_object_mut().unwrap().remove("status");
    assert!(!read(bare).has_log("app", false));
}

#[test]
fn address_is_the_first_of_the_first_kind_that_the_node_has() {
    use AddressType::{ExternalIp, Hostname, InternalDns, InternalIp};
    let node: Node = serde_json::from_value(node()).unwrap();
    for (types, expected) in [
        (&[InternalIp, Hostname][..], Ok("10.0.0.7")),
        (&[ExternalIp, InternalDns, Hostname], Ok("worker-3.example")),
        (&[ExternalIp], Err(Why::Node)),
        (&[], Err(Why::Node)),
    ] {
        let found = node.address(types).map(|host| host.to_string());
        assert_eq!(found.as_deref().map_err(|why| *why), expected);
    }
    assert_eq!(node.port(), 10251);
    assert!(!node.declares("ExtendWebSocketsToKubelet"));
    let bare = json!({"metadata": {"name": "a"}});
    let bare: Node = serde_json::from_value(bare).unwrap();
    assert_eq!((bare.port(), bare.name()), (10250, "a"));
    assert_eq!(bare.address(&[InternalIp]), Err(Why::Node));
}
