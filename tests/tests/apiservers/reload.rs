//! Reloads: the next request is judged by what is in force then, and live streams go on.

use eyesplice_tests::cluster::{Cluster, TOKEN};
use eyesplice_tests::front_stack::{Front, Settings};
use eyesplice_tests::http::read_head;

#[test]
fn reload_rules_the_next_request_of_a_kept_connection() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.api_server(), cluster.api_server());
    let front = Front::start(&cluster, &Settings::of(&[&one]));
    let jane = cluster.user("jane", "dev");
    let mut kept = front.client(&cluster, Some(&jane));
    assert!(kept.ask("/api", &[]).text().starts_with("jane [dev]"));
    // Other servers.
    let publication = front.reload(&cluster, &Settings::of(&[&two])).unwrap();
    assert!(publication.restart_required.is_empty(), "{publication:?}");
    assert!(kept.ask("/api", &[]).text().starts_with("jane [dev]"));
    assert_eq!((one.heads().len(), two.heads().len()), (1, 1));
    // Other users: the certificate is good no more, and the connection lives.
    let strangers = std::mem::replace(&mut cluster.users, Cluster::new().users);
    front.reload(&cluster, &Settings::of(&[&two])).unwrap();
    assert_eq!(kept.ask("/api", &[]).head.status(), 401);
    let token = format!("Bearer {}", TOKEN.0);
    let reply = kept.ask("/api", &[("Authorization", &*token)]);
    assert_eq!(reply.text(), "tom [] by token");
    cluster.users = strangers;
    kept.leave();
}

#[test]
fn reload_leaves_live_streams_alone() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.api_server(), cluster.api_server());
    let front = Front::start(&cluster, &Settings::of(&[&one]));
    let mut live = front.client(&cluster, None);
    let exec = "/api/v1/namespaces/shop/pods/web/exec?command=sh";
    let headers = [
        ("Connection", "Upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("Content-Length", "0"),
    ];
    live.send("POST", exec, &headers);
    assert_eq!(read_head(&mut live.0).unwrap().status(), 101);
    front.reload(&cluster, &Settings::of(&[&two])).unwrap();
    live.0.write_all(b"still here").unwrap();
    assert_eq!(live.0.read_exact(10).unwrap(), b"still here");
    live.leave();
}

#[test]
fn reload_that_fails_changes_nothing() {
    let cluster = Cluster::new();
    let server = cluster.api_server();
    let front = Front::start(&cluster, &Settings::of(&[&server]));
    let wrong = Settings {
        apiservers: ", healthFailures: 0",
        ..Settings::of(&[&server])
    };
    let errors = front.reload(&cluster, &wrong).unwrap_err();
    assert!(errors.contains("apiservers.healthFailures"), "{errors}");
    let jane = cluster.user("jane", "dev");
    let mut client = front.client(&cluster, Some(&jane));
    assert!(client.ask("/api", &[]).text().starts_with("jane [dev]"));
    client.leave();
}
