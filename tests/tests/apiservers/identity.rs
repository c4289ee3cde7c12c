//! A user is to the API server who he would be without the gateway, and nobody else whatever he
//! says.

use eyesplice_dataplane::seam::{ApiPath, Reason, RecordKind};
use eyesplice_proto::route::Action;
use eyesplice_tests::api_server::WEBSOCKET_KEY;
use eyesplice_tests::cluster::{Cluster, SUBPROTOCOL, TOKEN, user};
use eyesplice_tests::conn::Ending;
use eyesplice_tests::front_stack::{Front, Settings};
use eyesplice_tests::pki::{Identity, Leaf};
use time::Duration;

const WHOAMI: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";

const ANONYMOUS: &str = "system:anonymous [system:unauthenticated]";
const JANE: &str = "jane [dev] X509SHA256=";
const TOM: &str = "tom [] by token";

/// The header of a token.
fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

struct Expected {
    status: u16,
    /// What the API server says; of a 401 nothing: the gateway answers.
    who: Option<&'static str>,
}

fn told(who: &'static str) -> Expected {
    Expected {
        status: 200,
        who: Some(who),
    }
}

/// The API server refused the token.
fn refused() -> Expected {
    Expected {
        status: 401,
        who: Some("Unauthorized"),
    }
}

/// The gateway refused the certificate.
fn unauthorized() -> Expected {
    Expected {
        status: 401,
        who: None,
    }
}

#[test]
fn user_is_who_he_is_without_the_gateway() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let front = Front::start(&cluster, &Settings::of(&[&server]));
    let leaf = user("jane", "dev");
    let valid = cluster.users.issue(&leaf);
    let expired = cluster.users.issue(&Leaf {
        from: Duration::days(-2),
        until: Duration::days(-1),
        ..leaf.clone()
    });
    let early = cluster.users.issue(&Leaf {
        from: Duration::days(1),
        until: Duration::days(2),
        ..leaf.clone()
    });
    let stranger = cluster.strangers.issue(&leaf);
    let proxy = cluster.proxies.issue(&Leaf::client("front-proxy-client"));
    let nobody = cluster.users.issue(&user("", "dev"));
    let (good, bad) = (bearer(TOKEN.0), bearer("bad"));
    let table: Vec<(&str, Option<&Identity>, Option<&str>, Expected)> = vec![
        ("nothing", None, None, told(ANONYMOUS)),
        ("a token", None, Some(&good), told(TOM)),
        ("a wrong token", None, Some(&bad), refused()),
        ("a certificate", Some(&valid), None, told(JANE)),
        ("both", Some(&valid), Some(&good), told(JANE)),
        (
            "a certificate, a wrong token",
            Some(&valid),
            Some(&bad),
            told(JANE),
        ),
        ("an expired one", Some(&expired), None, unauthorized()),
        (
            "an expired one, a token",
            Some(&expired),
            Some(&good),
            told(TOM),
        ),
        (
            "an expired one, a wrong token",
            Some(&expired),
            Some(&bad),
            refused(),
        ),
        ("one of tomorrow", Some(&early), None, unauthorized()),
        ("a stranger's", Some(&stranger), None, unauthorized()),
        (
            "a stranger's, a token",
            Some(&stranger),
            Some(&good),
            told(TOM),
        ),
        ("another proxy's", Some(&proxy), None, unauthorized()),
        ("one without a name", Some(&nobody), None, told(ANONYMOUS)),
        (
            "one without a name, a token",
            Some(&nobody),
            Some(&good),
            told(TOM),
        ),
    ];
    for (what, identity, token, expected) in table {
        let mut client = front.client(&cluster, identity);
        let headers: Vec<_> = token
            .iter()
            .map(|value| ("Authorization", *value))
            .collect();
        let reply = client.ask(WHOAMI, &headers);
        assert_eq!(
            reply.head.status(),
            expected.status,
            "{what}: {}",
            reply.text()
        );
        match expected.who {
            Some(who) => assert!(reply.text().starts_with(who), "{what}: {}", reply.text()),
            None => {
                let body = "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\
                            \"status\":\"Failure\",\"message\":\"Unauthorized\",\
                            \"reason\":\"Unauthorized\",\"code\":401}\n";
                assert_eq!(reply.text(), body, "{what}");
                assert_eq!(reply.head.get("content-type"), Some("application/json"));
            }
        }
        client.leave();
        let record = front.ended();
        assert_eq!(record.status, Some(expected.status), "{what}");
        let labels = record.exchange_labels.as_ref().unwrap();
        let answered = expected.who.is_none();
        assert_eq!(labels.path == Some(ApiPath::Answered), answered, "{what}");
        assert_eq!(record.reason == Reason::Unverified, answered, "{what}");
        let named = expected.who == Some(JANE);
        assert_eq!(labels.user.as_deref() == Some("jane"), named, "{what}");
    }
    front.running().assert_nothing_held();
    drop(front);
    server.finish();
}

/// What a client could write to be somebody else, in the spellings that some peer reads alike.
const FORGED: [&str; 12] = [
    "X-Remote-User",
    "x-remote-user",
    "X-REMOTE-USER",
    "X_Remote_User",
    "x-remote_user",
    "X-Remote-Group",
    "x_remote_group",
    "X-Remote-Uid",
    "X-Remote-Extra-Scopes",
    "x_remote_extra_scopes",
    "X-Remote-Extra-authentication.kubernetes.io%2Fcredential-id",
    "X-Remote-Anything",
];

#[test]
fn forged_headers_make_nobody_of_anybody() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let front = Front::start(&cluster, &Settings::of(&[&server]));
    let jane = cluster.user("jane", "dev");
    let good = bearer(TOKEN.0);
    for (identity, token, who) in [
        (None, None, ANONYMOUS),
        (None, Some(&*good), TOM),
        (Some(&jane), None, JANE),
    ] {
        for header in FORGED {
            let mut client = front.client(&cluster, identity);
            let mut headers = vec![(header, "system:masters"), (header, "system:admin")];
            headers.extend(token.map(|value| ("Authorization", value)));
            headers.push(("X-Forwarded-For", "10.0.0.1"));
            headers.push(("Forwarded", "for=10.0.0.1"));
            headers.push(("Impersonate-User", "joe"));
            let reply = client.ask(WHOAMI, &headers);
            assert_eq!(reply.head.status(), 200, "{header}: {}", reply.text());
            assert!(reply.text().starts_with(who), "{header}: {}", reply.text());
            client.leave();
            let head = server.heads().pop().unwrap();
            let raw = head.raw.to_ascii_lowercase();
            assert!(!raw.contains("system:masters"), "{header}: {raw}");
            assert!(!raw.contains("10.0.0.1"), "{header}: {raw}");
            assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(
                head.get("impersonate-user"),
                Some("joe"),
                "the API server judges it"
            );
            assert_eq!(head.get("host"), Some("front.example"));
        }
    }
}

#[test]
fn connection_header_takes_no_identity_off() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let front = Front::start(&cluster, &Settings::of(&[&server]));
    let jane = cluster.user("jane", "dev");
    let mut client = front.client(&cluster, Some(&jane));
    let listed = "X-Remote-User, X-Remote-Group, X-Forwarded-For, keep-alive";
    let reply = client.ask(WHOAMI, &[("Connection", listed)]);
    assert!(reply.text().starts_with(JANE), "{}", reply.text());
    assert_eq!(server.heads()[0].get("x-forwarded-for"), Some("127.0.0.1"));
    client.leave();
}

#[test]
fn requests_of_one_client_change_connections_with_the_identity_alone() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let front = Front::start(&cluster, &Settings::of(&[&server]));
    let expired = cluster.users.issue(&Leaf {
        from: Duration::days(-2),
        until: Duration::days(-1),
        ..user("jane", "dev")
    });
    let good = bearer(TOKEN.0);
    // Tokens come and go on one connection: the API server judges each request.
    let mut client = front.client(&cluster, Some(&expired));
    for _ in 0..3 {
        let reply = client.ask(WHOAMI, &[("Authorization", &*good)]);
        assert_eq!(reply.text(), TOM);
    }
    assert_eq!(client.ask(WHOAMI, &[]).head.status(), 401);
    assert_eq!(client.ask(WHOAMI, &[("Authorization", &*good)]).text(), TOM);
    assert!(
        server.connections() <= 2,
        "one, and perhaps another behind the answer"
    );
    client.leave();
    let jane = cluster.user("jane", "dev");
    let before = server.connections();
    let mut client = front.client(&cluster, Some(&jane));
    for _ in 0..3 {
        assert!(client.ask(WHOAMI, &[]).text().starts_with(JANE));
    }
    assert_eq!(server.connections(), before + 1);
    client.leave();
}

#[test]
fn certificates_where_none_are_taken_are_refused_in_words() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let settings = Settings {
        certificates: false,
        ..Settings::of(&[&server])
    };
    let front = Front::start(&cluster, &settings);
    let jane = cluster.user("jane", "dev");
    let mut client = front.client(&cluster, Some(&jane));
    let reply = client.ask(WHOAMI, &[]);
    assert_eq!(reply.head.status(), 401);
    assert!(
        reply.text().contains("takes tokens alone"),
        "{}",
        reply.text()
    );
    let reply = client.ask(WHOAMI, &[("Authorization", &*bearer(TOKEN.0))]);
    assert_eq!(reply.text(), TOM);
    client.leave();
}

#[test]
fn exec_is_upgraded_as_its_user_and_recorded_at_its_start() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let front = Front::start(&cluster, &Settings::of(&[&server]));
    let jane = cluster.user("jane", "dev");
    let mut client = front.client(&cluster, Some(&jane));
    client.send(
        "POST",
        "/api/v1/namespaces/shop/pods/web/exec?command=hunter2&container=app",
        &[
            ("Connection", "Upgrade"),
            ("Upgrade", "SPDY/3.1"),
            ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
            ("Content-Length", "0"),
        ],
    );
    let head = eyesplice_tests::http::read_head(&mut client.0).unwrap();
    assert_eq!(head.status(), 101, "{}", head.raw);
    let begun = front.running().began();
    assert_eq!(begun.kind, RecordKind::Start);
    let labels = begun.exchange_labels.as_ref().unwrap();
    assert_eq!(labels.action, Action::Exec);
    assert_eq!(labels.user.as_deref(), Some("jane"));
    assert_eq!(labels.pod.as_deref(), Some("web"));
    assert_eq!(labels.path, Some(ApiPath::Through(Some("not_configured"))));
    assert!(!format!("{begun:?}").contains("hunter2"));
    client.0.write_all(b"stdin").unwrap();
    assert_eq!(client.0.read_exact(5).unwrap(), b"stdin");
    client.0.shut().unwrap();
    assert_eq!(client.0.read_to_end(), (Vec::new(), Ending::Clean));
    assert_eq!(server.heads()[0].get("x-remote-user"), Some("jane"));
    assert_eq!(front.ended().reason, Reason::Completed);
}

#[test]
fn token_in_a_subprotocol_passes_unless_a_certificate_names_the_user() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let front = Front::start(&cluster, &Settings::of(&[&server]));
    let jane = cluster.user("jane", "dev");
    let stranger = cluster.strangers.issue(&user("jane", "dev"));
    let offered = format!("v4.channel.k8s.io, {SUBPROTOCOL}");
    for (identity, offer, kept) in [
        (None, &*offered, &*offered),
        (Some(&stranger), &*offered, &*offered),
        (Some(&jane), &*offered, "v4.channel.k8s.io"),
    ] {
        let mut client = front.client(&cluster, identity);
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", WEBSOCKET_KEY),
            ("Sec-WebSocket-Protocol", offer),
        ];
        let exec = "/api/v1/namespaces/shop/pods/web/exec?command=sh";
        client.send("GET", exec, &headers);
        let head = eyesplice_tests::http::read_head(&mut client.0).unwrap();
        assert_eq!(head.status(), 101, "{}", head.raw);
        client.leave();
        let head = server.heads().pop().unwrap();
        assert_eq!(head.get("sec-websocket-protocol"), Some(kept));
        let named = head.get("x-remote-user") == Some("jane");
        assert_eq!(named, kept != offer, "{}", head.raw);
    }
    // The same without an upgrade is no token: a stranger stays one.
    let mut client = front.client(&cluster, Some(&stranger));
    let reply = client.ask(WHOAMI, &[("Sec-WebSocket-Protocol", &*offered)]);
    assert_eq!(reply.head.status(), 401);
    client.leave();
}
