use super::*;
use crate::headers::{HeaderName, HeaderValue, Headers};
use proptest::prelude::*;

fn target(text: &str) -> RequestTarget {
    RequestTarget::new(text.as_bytes().to_vec()).expect("a target")
}

fn asked(text: &str) -> Option<PodStream> {
    pod_stream(&target(text))
}

const EXEC: &str = "/api/v1/namespaces/shop/pods/web-0.a/exec";

#[test]
fn pod_stream_every_subresource_is_found() {
    for subresource in Subresource::ALL {
        let path = format!(
            "/api/v1/namespaces/n-1/pods/p.q-0/{}?x=y",
            subresource.as_str()
        );
        let found = asked(&path).unwrap();
        assert_eq!(found.subresource, *subresource);
        assert_eq!((&*found.namespace, &*found.pod), ("n-1", "p.q-0"));
        assert_eq!(subresource.upgrades(), subresource.action().may_upgrade());
    }
}

#[test]
fn pod_stream_other_spellings_and_paths_are_none() {
    let long = format!("/api/v1/namespaces/{}/pods/p/exec", "n".repeat(64));
    let deep = format!("/api/v1/namespaces/n/pods/{}p/exec", "p.".repeat(127));
    for path in [
        "/",
        "/api/v1/namespaces/n/pods/p",
        "/api/v1/namespaces/n/pods/p/exec/",
        "/api/v1/namespaces/n/pods/p/exec/x",
        "/api/v1/namespaces/n/pods//exec",
        "/api/v1/namespaces//pods/p/exec",
        "/api/v1/namespaces/n/pods/../exec",
        "/api/v1/namespaces/n/pods/./exec",
        "//api/v1/namespaces/n/pods/p/exec",
        "/api/v1//namespaces/n/pods/p/exec",
        "/api/v1/namespaces/n/pods/p/Exec",
        "/api/v1/namespaces/n/pods/p/%65xec",
        "/api/v1/namespaces/n/pods/%70/exec",
        "/api/v1/namespaces/n%2fx/pods/p/exec",
        "/api/v1/namespaces/N/pods/p/exec",
        "/api/v1/namespaces/n.m/pods/p/exec",
        "/api/v1/namespaces/-n/pods/p/exec",
        "/api/v1/namespaces/n/pods/p-/exec",
        "/api/v1/namespaces/n/pods/p..q/exec",
        "/api/v1/namespaces/n/pods/p_q/exec",
        "/api/v1/namespaces/n/pods/p/proxy",
        "/api/v1/namespaces/n/pods/p/portForward",
        "/api/v1/namespaces/n/services/p/exec",
        "/api/v1/watch/namespaces/n/pods/p/exec",
        "/api/v2/namespaces/n/pods/p/exec",
        "/apis/v1/namespaces/n/pods/p/exec",
        "api/v1/namespaces/n/pods/p/exec",
        "https://h/api/v1/namespaces/n/pods/p/exec",
        "*",
        &long,
        &deep,
    ] {
        assert_eq!(asked(path), None, "{path}");
    }
    assert!(asked(EXEC).is_some());
}

#[test]
fn pod_stream_every_prefix_of_a_path_is_none() {
    for end in 1..EXEC.len() {
        assert_eq!(asked(&EXEC[..end]), None, "{}", &EXEC[..end]);
    }
}

/// What the kubelet is asked, by what the API server is asked.
fn mapped(subresource: Subresource, query: &str, part: Part<'_>) -> Result<String, Unclear> {
    let stream = PodStream {
        subresource,
        namespace: "ns".into(),
        pod: "p".into(),
    };
    let options = options(subresource, Some(query))?;
    kubelet_target(&stream, part, &options).map(|target| target.as_str().to_owned())
}

#[test]
fn options_of_clients_are_mapped_as_the_api_server_maps_them() {
    use Subresource::{Attach, Exec, Log, PortForward};
    let container = Part::Container("c");
    for (subresource, query, part, expected) in [
        (
            Exec,
            "container=c&command=a&command=b&stdin=true&stdout=true&stderr=true&tty=true",
            container,
            "/exec/ns/p/c?command=a&command=b&error=1&input=1&output=1&tty=1",
        ),
        // The Python client.
        (
            Exec,
            "command=%2Fbin%2Fsh&command=-c&command=echo+a+b&stderr=True&stdin=False&stdout=True\
             &tty=False",
            container,
            "/exec/ns/p/c?command=%2Fbin%2Fsh&command=-c&command=echo+a+b&error=1&output=1",
        ),
        (
            Exec,
            "stdout=1&tty=1&stdin=0&command=z&command=a&command=",
            container,
            "/exec/ns/p/c?command=z&command=a&command=&output=1&tty=1",
        ),
        (
            Exec,
            "command=%C3%BC%20%2B%26%3D%7E~*%00%FF'&stdout=true&stderr=true",
            container,
            "/exec/ns/p/c?command=%C3%BC+%2B%26%3D~~%2A%00%FF%27&error=1&output=1",
        ),
        (
            Attach,
            "container=c&stdin=true&stdout=true&stderr=true",
            container,
            "/attach/ns/p/c?error=1&input=1&output=1",
        ),
        (PortForward, "", Part::Whole(None), "/portForward/ns/p"),
        (
            PortForward,
            "ports=80,81",
            Part::Whole(Some("0a-1b")),
            "/portForward/ns/p/0a-1b?port=80%2C81",
        ),
        (
            PortForward,
            "ports=80&ports=65535%2C1",
            Part::Whole(None),
            "/portForward/ns/p?port=80%2C65535%2C1",
        ),
        (Log, "", container, "/containerLogs/ns/p/c"),
        (
            Log,
            "timestamps=true&follow=true&container=c&previous=true&tailLines=0&limitBytes=1\
             &sinceSeconds=3600",
            container,
            "/containerLogs/ns/p/c?follow=true&limitBytes=1&previous=true&sinceSeconds=3600\
             &tailLines=0&timestamps=true",
        ),
        (
            Log,
            "sinceTime=2026-12-01T01%3A02%3A03Z&follow=false",
            container,
            "/containerLogs/ns/p/c?sinceTime=2026-12-01T01%3A02%3A03Z",
        ),
        (
            Log,
            "sinceTime=2024-02-29T23:59:59%2B05:30",
            container,
            "/containerLogs/ns/p/c?sinceTime=2024-02-29T23%3A59%3A59%2B05%3A30",
        ),
    ] {
        assert_eq!(
            mapped(subresource, query, part).as_deref(),
            Ok(expected),
            "{query}"
        );
    }
}

#[test]
fn options_that_a_server_could_read_otherwise_are_unclear() {
    use Subresource::{Attach, Exec, Log, PortForward};
    let both = "&stdout=true&stderr=true";
    for (subresource, query, expected) in [
        (
            Exec,
            format!("command=a{both}&command=%4"),
            Unclear::Encoding,
        ),
        (
            Exec,
            format!("command=a{both}&command=%zz"),
            Unclear::Encoding,
        ),
        (Exec, format!("command=a;b{both}"), Unclear::Encoding),
        (Exec, format!("command=a&{both}"), Unclear::Encoding),
        (Exec, format!("command=a{both}&"), Unclear::Encoding),
        (Exec, format!("command=a{both}&env=A%3DB"), Unclear::Unknown),
        (
            Exec,
            format!("command=a{both}&dryRun=All"),
            Unclear::Unknown,
        ),
        (
            Exec,
            format!("command=a{both}&Stdin=true"),
            Unclear::Unknown,
        ),
        (
            Exec,
            format!("command=a{both}&follow=true"),
            Unclear::Unknown,
        ),
        (Exec, format!("command=a{both}&=x"), Unclear::Unknown),
        (
            Exec,
            format!("command=a{both}&stdin=true&stdin=true"),
            Unclear::Repeated("stdin"),
        ),
        (
            Exec,
            format!("command=a{both}&stdin=false&stdin=true"),
            Unclear::Repeated("stdin"),
        ),
        (
            Exec,
            format!("command=a{both}&container=c&container=c"),
            Unclear::Repeated("container"),
        ),
        (
            Exec,
            format!("command=a{both}&stdin=yes"),
            Unclear::Value("stdin"),
        ),
        (
            Exec,
            format!("command=a{both}&stdin"),
            Unclear::Value("stdin"),
        ),
        (
            Exec,
            format!("command=a{both}&container="),
            Unclear::Value("container"),
        ),
        (
            Exec,
            format!("command=a{both}&container=a%2Fb"),
            Unclear::Value("container"),
        ),
        (
            Exec,
            format!("command=a{both}&container=.."),
            Unclear::Value("container"),
        ),
        (
            Exec,
            format!("command=a{both}&container=%FF"),
            Unclear::Value("container"),
        ),
        (
            Exec,
            "stdout=true&stderr=true".into(),
            Unclear::Missing("command"),
        ),
        (
            Exec,
            "command=a&stderr=true".into(),
            Unclear::Missing("stdout"),
        ),
        (
            Exec,
            "command=a&stdout=false&stderr=true".into(),
            Unclear::Missing("stdout"),
        ),
        (
            Exec,
            "command=a&stdout=true".into(),
            Unclear::Missing("stderr"),
        ),
        (Attach, String::new(), Unclear::Missing("stdout")),
        (Attach, format!("command=a{both}"), Unclear::Unknown),
        (PortForward, "ports=".into(), Unclear::Value("ports")),
        (PortForward, "ports=0".into(), Unclear::Value("ports")),
        (PortForward, "ports=65536".into(), Unclear::Value("ports")),
        (PortForward, "ports=80,".into(), Unclear::Value("ports")),
        (PortForward, "ports=080".into(), Unclear::Value("ports")),
        (PortForward, "ports=%2B80".into(), Unclear::Value("ports")),
        (PortForward, "port=80".into(), Unclear::Unknown),
        (
            Log,
            "insecureSkipTLSVerifyBackend=true".into(),
            Unclear::Unknown,
        ),
        (Log, "stream=All".into(), Unclear::Unknown),
        (Log, "tailLines=-1".into(), Unclear::Value("tailLines")),
        (Log, "tailLines=01".into(), Unclear::Value("tailLines")),
        (Log, "limitBytes=0".into(), Unclear::Value("limitBytes")),
        (
            Log,
            "limitBytes=9999999999999999999".into(),
            Unclear::Value("limitBytes"),
        ),
        (Log, "sinceSeconds=0".into(), Unclear::Value("sinceSeconds")),
        (
            Log,
            "sinceSeconds=1e3".into(),
            Unclear::Value("sinceSeconds"),
        ),
        (
            Log,
            "sinceSeconds=1&sinceTime=2026-12-01T01:02:03Z".into(),
            Unclear::Both("sinceSeconds", "sinceTime"),
        ),
    ] {
        let read = options(subresource, Some(&query));
        assert_eq!(read.err(), Some(expected), "{query}");
    }
    for time in [
        "2026-12-01T01:02:03",
        "2026-12-01T01:02:03.5Z",
        "2026-12-01T01:02:03z",
        "2026-12-01t01:02:03Z",
        "2026-13-01T01:02:03Z",
        "2026-00-01T01:02:03Z",
        "2026-12-00T01:02:03Z",
        "2026-04-31T01:02:03Z",
        "2026-02-29T01:02:03Z",
        "2100-02-29T01:02:03Z",
        "0000-12-01T01:02:03Z",
        "2026-12-01T24:02:03Z",
        "2026-12-01T01:60:03Z",
        "2026-12-01T01:02:60Z",
        "2026-12-01T01:02:03%2B24:00",
        "2026-12-01T01:02:03%2B0100",
        "2026-12-01T01:02:03 01:00",
        "null",
        "",
    ] {
        let read = options(Log, Some(&format!("sinceTime={}", time.replace(' ', "+"))));
        assert_eq!(read.err(), Some(Unclear::Value("sinceTime")), "{time}");
    }
}

#[test]
fn kubelet_target_takes_only_the_part_that_its_path_has() {
    use Subresource::{Exec, Log, PortForward};
    let exec = "command=a&stdout=true&stderr=true";
    for (subresource, query, part) in [
        (Exec, exec, Part::Whole(None)),
        (Exec, exec, Part::Whole(Some("u"))),
        (Exec, exec, Part::Container("a/b")),
        (Exec, exec, Part::Container("..")),
        (Exec, exec, Part::Container("")),
        (Log, "", Part::Whole(None)),
        (PortForward, "", Part::Container("c")),
        (PortForward, "", Part::Whole(Some("a/b"))),
    ] {
        assert_eq!(
            mapped(subresource, query, part),
            Err(Unclear::Name),
            "{part:?}"
        );
    }
}

#[test]
fn options_say_which_container_and_log_are_wanted_and_never_the_command() {
    let query = "command=hunter2&stdout=true&stderr=true&container=app";
    let read = options(Subresource::Exec, Some(query)).unwrap();
    assert_eq!((read.container(), read.previous()), (Some("app"), false));
    assert!(!format!("{read:?}").contains("hunter2"));
    let read = options(Subresource::Log, Some("previous=true")).unwrap();
    assert_eq!((read.container(), read.previous()), (None, true));
}

fn offering(lines: &[&str]) -> Headers {
    let mut headers = Headers::new();
    for line in lines {
        let value = HeaderValue::new(line.as_bytes().to_vec()).unwrap();
        headers.append(HeaderName::from_static("sec-websocket-protocol"), value);
    }
    headers
}

const TOKEN: &str = "base64url.bearer.authorization.k8s.io.YWJj";

#[test]
fn protocols_say_who_has_to_know_them() {
    use Subresource::{Attach, Exec, Log, PortForward};
    for (subresource, lines, expected) in [
        (Exec, &[][..], Protocols::Runtime),
        (Exec, &["v4.channel.k8s.io"], Protocols::Runtime),
        (
            Exec,
            &["channel.k8s.io, base64.channel.k8s.io"],
            Protocols::Runtime,
        ),
        (
            Exec,
            &["v5.channel.k8s.io,v4.channel.k8s.io"],
            Protocols::Kubelet,
        ),
        (Attach, &["v5.channel.k8s.io"], Protocols::Kubelet),
        (
            PortForward,
            &["SPDY/3.1+portforward.k8s.io"],
            Protocols::Kubelet,
        ),
        (PortForward, &["v4.channel.k8s.io"], Protocols::Runtime),
        (PortForward, &["v5.channel.k8s.io"], Protocols::Unclear),
        (Exec, &["SPDY/3.1+portforward.k8s.io"], Protocols::Unclear),
        (
            Exec,
            &["v6.channel.k8s.io,v4.channel.k8s.io"],
            Protocols::Unclear,
        ),
        (Exec, &["V5.channel.k8s.io"], Protocols::Unclear),
        (
            Exec,
            &["v4.channel.k8s.io", "v4.channel.k8s.io"],
            Protocols::Unclear,
        ),
        (Log, &["binary.k8s.io"], Protocols::Unclear),
        (Exec, &[WITH_TOKEN], Protocols::Runtime),
    ] {
        assert_eq!(
            protocols(subresource, &offering(lines)),
            expected,
            "{lines:?}"
        );
    }
}

const WITH_TOKEN: &str = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";

#[test]
fn bearer_is_found_only_where_api_servers_take_it_and_always_taken_out() {
    let other = "v4.channel.k8s.io";
    let upper = TOKEN.replace("bearer", "BEARER");
    for (lines, expected, left) in [
        (vec![], Bearer::Absent, vec![]),
        (vec![other.to_owned()], Bearer::Absent, vec![other]),
        (
            vec![format!("{other}, {TOKEN}")],
            Bearer::Encoded("YWJj"),
            vec![other],
        ),
        (
            vec![TOKEN.to_owned(), other.to_owned()],
            Bearer::Encoded("YWJj"),
            vec![other],
        ),
        (vec![TOKEN.to_owned()], Bearer::Unclear, vec![]),
        (
            vec![format!("{TOKEN},{TOKEN},{other}")],
            Bearer::Unclear,
            vec![other],
        ),
        (
            vec![format!("{upper},{other}")],
            Bearer::Encoded("YWJj"),
            vec![other],
        ),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let mut headers = offering(&lines);
        assert_eq!(bearer(&headers), expected, "{lines:?}");
        assert!(!format!("{:?}", bearer(&headers)).contains("YWJj"));
        take_bearer(&mut headers);
        let shown: Vec<_> = headers
            .iter()
            .filter_map(|(_, value)| value.to_str())
            .collect();
        assert_eq!(shown, left, "{lines:?}");
    }
}

/// Go's encoding, written in another way.
fn go_encoded(value: &[u8]) -> String {
    let escape = |byte: &u8| match *byte {
        b' ' => "+".to_owned(),
        byte if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    value.iter().map(escape).collect()
}

proptest! {
    #[test]
    fn commands_of_any_bytes_arrive_as_they_are(
        commands in proptest::collection::vec(any::<Vec<u8>>(), 1..6),
    ) {
        let commands = commands.iter().map(|it| format!("&command={}", go_encoded(it)));
        let list: String = commands.collect();
        let query = format!("stdout=true&stderr=true{list}");
        let found = mapped(Subresource::Exec, &query, Part::Container("c")).unwrap();
        let wanted = format!("/exec/ns/p/c?{}&error=1&output=1", &list[1..]);
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn queries_of_any_text_give_a_target_that_is_routed_to_the_same_pod(
        query in "[!-\"$-~]{0,60}",
    ) {
        for subresource in Subresource::ALL {
            let part = match subresource {
                Subresource::PortForward => Part::Whole(Some("u")),
                _ => Part::Container("c"),
            };
            let Ok(text) = mapped(*subresource, &query, part) else { continue };
            let route = crate::route::route(&target(&text)).unwrap();
            prop_assert_eq!(route.action, subresource.action());
            let pod = route.pod.unwrap();
            prop_assert_eq!((&*pod.namespace, &*pod.name), ("ns", "p"));
        }
    }
}
