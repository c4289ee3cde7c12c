use super::*;

fn routed(path: &str) -> Result<Route, RouteError> {
    route(&RequestTarget::new(path.as_bytes().to_vec()).expect("a target"))
}

#[test]
fn route_every_known_path_has_its_action() {
    for (path, action, shown) in [
        ("/exec/ns/p/c?command=id", Action::Exec, "exec ns/p/c"),
        ("/exec/ns/p/u-1/c", Action::Exec, "exec ns/p/c"),
        ("/attach/ns/p/c", Action::Attach, "attach ns/p/c"),
        ("/attach/ns/p/u-1/c", Action::Attach, "attach ns/p/c"),
        (
            "/portForward/ns/p?port=80%2C81",
            Action::PortForward,
            "portForward ns/p",
        ),
        (
            "/portForward/ns/p/u-1",
            Action::PortForward,
            "portForward ns/p",
        ),
        ("/run/ns/p/c", Action::Run, "run ns/p/c"),
        ("/run/ns/p/u-1/c", Action::Run, "run ns/p/c"),
        (
            "/containerLogs/ns/p.x/c?follow=true",
            Action::Logs,
            "logs ns/p.x/c",
        ),
        (
            "/checkpoint/ns/p/c",
            Action::Checkpoint,
            "checkpoint ns/p/c",
        ),
        ("/logs", Action::Logs, "logs"),
        ("/logs/", Action::Logs, "logs"),
        ("/logs/pods/a%20b/", Action::Logs, "logs"),
        ("/metrics", Action::Metrics, "metrics"),
        ("/metrics/cadvisor", Action::Metrics, "metrics"),
        ("/stats/summary", Action::Metrics, "metrics"),
        ("/stats/ns/p/u/c", Action::Metrics, "metrics"),
        ("/pods", Action::Pods, "pods"),
        ("/pods/", Action::Pods, "pods"),
        ("/runningpods/", Action::Pods, "pods"),
        ("/runningpods", Action::Pods, "pods"),
        ("/", Action::Other, "other"),
        ("/healthz", Action::Other, "other"),
        ("/healthz/syncloop", Action::Other, "other"),
        ("/configz", Action::Other, "other"),
        ("/debug/pprof/profile?seconds=1", Action::Other, "other"),
        ("/debug/flags/v", Action::Other, "other"),
        ("/executor/ns/p/c", Action::Other, "other"),
        ("/e/x/e/c", Action::Other, "other"),
    ] {
        let route = routed(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert_eq!(route.action, action, "{path}");
        assert_eq!(route.to_string(), shown, "{path}");
    }
    let pod = routed("/exec/ns/p/u-1/c").unwrap().pod.unwrap();
    assert_eq!(pod.uid.as_deref(), Some("u-1"));
    assert_eq!(
        routed("/portForward/ns/p").unwrap().pod.unwrap().container,
        None
    );
}

#[test]
fn route_paths_that_a_lenient_router_could_read_otherwise_are_refused() {
    use RouteError as E;
    for (path, expected) in [
        ("//exec/ns/p/c", E::EmptySegment),
        ("/exec//ns/p/c", E::EmptySegment),
        ("/exec/ns/p/c//", E::EmptySegment),
        ("//", E::EmptySegment),
        ("/healthz//exec", E::EmptySegment),
        ("/./exec/ns/p/c", E::DotSegment),
        ("/healthz/../exec/ns/p/c", E::DotSegment),
        ("/exec/ns/../p/c", E::DotSegment),
        ("/healthz/%2e%2E/exec/ns/p/c", E::DotSegment),
        ("/healthz/.%2e/exec/ns/p/c", E::DotSegment),
        ("/..", E::DotSegment),
        ("/logs/../exec/ns/p/c", E::DotSegment),
        ("/metrics/%2e%2e/exec/ns/p/c", E::DotSegment),
        ("/%2e%2e/exec/ns/p/c", E::Encoding),
        ("/exec%2Fns/p/c", E::Encoding),
        ("/exec/ns%2fp/c", E::Encoding),
        ("/%65xec/ns/p/c", E::Encoding),
        ("/exec%00/ns/p/c", E::Encoding),
        ("/exec/ns/p/c%00", E::Encoding),
        ("/exec/ns/p/%0a", E::Encoding),
        ("/exec/ns/p/%5c", E::Encoding),
        ("/healthz/%252e%252e/exec", E::Encoding),
        ("/exec/ns/p/%c3%a9", E::Encoding),
        ("/logs/%3b", E::Encoding),
        ("/podsnoa/%20%2E%2E/exec", E::Encoding),
        ("/logs/..%20/exec/ns/p/c", E::Encoding),
        ("/logs/%20/x", E::Encoding),
        ("/exec;x=1/ns/p/c", E::Character),
        ("/healthz/;/exec/ns", E::Character),
        ("/EXEC/ns/p/c", E::Spelling),
        ("/Exec/ns/p/c", E::Spelling),
        ("/portforward/ns/p", E::Spelling),
        ("/portForwarD/ns/p", E::Spelling),
        ("/containerlogs/ns/p/c", E::Spelling),
        ("/PODS", E::Spelling),
        ("/Metrics", E::Spelling),
        ("/exec", E::Shape(Action::Exec)),
        ("/exec/", E::Shape(Action::Exec)),
        ("/exec/ns/p", E::Shape(Action::Exec)),
        ("/exec/ns/p/c/", E::Shape(Action::Exec)),
        ("/exec/ns/p/u/c/x", E::Shape(Action::Exec)),
        ("/attach/token", E::Shape(Action::Attach)),
        ("/portForward/ns", E::Shape(Action::PortForward)),
        ("/portForward/ns/p/", E::Shape(Action::PortForward)),
        ("/portForward/ns/p/u/c", E::Shape(Action::PortForward)),
        ("/run/ns/p", E::Shape(Action::Run)),
        ("/containerLogs/ns/p/u/c", E::Shape(Action::Logs)),
        ("/containerLogs/ns/p", E::Shape(Action::Logs)),
        ("/checkpoint/ns/p/u/c", E::Shape(Action::Checkpoint)),
        ("/pods/x", E::Shape(Action::Pods)),
        ("/runningpods/x/", E::Shape(Action::Pods)),
        ("/exec/ns/p/c:d", E::Name(Action::Exec)),
        ("/exec/ns/p/a%20b", E::Name(Action::Exec)),
        ("/exec/n*s/p/c", E::Name(Action::Exec)),
        ("/portForward/ns/p@x", E::Name(Action::PortForward)),
        ("/cri/exec/token", E::Runtime),
        ("/CRI/exec/token", E::Runtime),
        ("*", E::NotOrigin),
        ("https://node/exec/ns/p/c", E::NotOrigin),
        ("node:10250", E::NotOrigin),
        ("?x", E::NotOrigin),
    ] {
        assert_eq!(routed(path), Err(expected), "{path}");
    }
    assert_eq!(
        routed(&"/a".repeat(limits::PATH_SEGMENTS + 1)),
        Err(E::TooDeep)
    );
    assert!(routed(&"/a".repeat(limits::PATH_SEGMENTS)).is_ok());
    let long = "a".repeat(limits::SEGMENT_BYTES + 1);
    assert_eq!(
        routed(&format!("/exec/ns/{long}/c")),
        Err(E::Name(Action::Exec))
    );
}

#[test]
fn action_names_are_stable_and_read_back() {
    let names = "exec attach portForward logs run checkpoint metrics pods other";
    let found: Vec<_> = Action::ALL.iter().map(ToString::to_string).collect();
    assert_eq!(found.join(" "), names);
    for action in Action::ALL {
        assert_eq!(action.as_str().parse(), Ok(*action));
    }
    for bad in ["", "Exec", "portforward", "exec "] {
        assert_eq!(bad.parse::<Action>(), Err(UnknownAction));
    }
}

#[test]
fn route_debug_and_display_show_no_query() {
    let route = routed("/exec/ns/p/c?command=hunter2").unwrap();
    assert!(!format!("{route:?} {route}").contains("hunter2"));
}
