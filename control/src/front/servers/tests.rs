use super::server::Change;
use super::*;
use eyesplice_identity::document::FileRef;
use eyesplice_identity::https::Endpoint;
use eyesplice_process::resolve::{Lookup, LookupFuture};
use eyesplice_proto::tls::provider;
use rustls::RootCertStore;
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Mutex;

const DEADLINE: Duration = Duration::from_secs(5);

fn settings(servers: &[&str], balance: Balance) -> ApiServers {
    let endpoint = |text: &&str| text.parse::<Endpoint>().unwrap();
    ApiServers {
        servers: servers.iter().map(endpoint).collect(),
        ca_file: FileRef::new("apiservers.caFile", "ca.crt"),
        server_name: None,
        credential: None,
        health_interval: Duration::from_secs(5),
        health_failures: 2,
        balance,
    }
}

fn after(settings: &ApiServers, before: Option<&Servers>) -> Servers {
    let own = ClientConfig::builder_with_provider(provider::shared())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Servers::new(settings, &own, None, before)
}

fn three() -> ApiServers {
    let servers = ["https://10.0.0.1", "https://10.0.0.2", "https://10.0.0.3"];
    settings(&servers, Balance::RoundRobin)
}

/// Names that may change.
#[derive(Default)]
struct Names(Mutex<HashMap<&'static str, &'static str>>);

impl Names {
    fn set(&self, name: &'static str, address: &'static str) {
        self.0.lock().unwrap().insert(name, address);
    }
}

impl Lookup for Names {
    fn lookup(&self, name: &str) -> LookupFuture {
        let found = self.0.lock().unwrap().get(name).copied();
        let found = found.map(|address| vec![address.parse::<IpAddr>().unwrap()]);
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

fn resolver() -> (Arc<Names>, Resolver) {
    let names = Arc::new(Names::default());
    (Arc::clone(&names), Resolver::new(names))
}

async fn order(servers: &Servers) -> Vec<String> {
    let next = servers.next(&resolver().1, DEADLINE).await.unwrap();
    let last = |address: &SocketAddr| address.ip().to_string();
    next.addresses.iter().map(last).collect()
}

/// Notes a look at the server with this index.
fn look(servers: &Servers, index: usize, well: bool) -> Change {
    servers.list[index].0.looked(well, servers.failures)
}

#[tokio::test]
async fn servers_take_turns_and_the_others_stand_behind() {
    let servers = after(&three(), None);
    assert_eq!(order(&servers).await, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    assert_eq!(order(&servers).await, ["10.0.0.2", "10.0.0.3", "10.0.0.1"]);
    assert_eq!(order(&servers).await, ["10.0.0.3", "10.0.0.1", "10.0.0.2"]);
    assert_eq!(order(&servers).await[0], "10.0.0.1");
}

#[tokio::test]
async fn failing_server_is_left_alone_until_one_look_is_good() {
    let servers = after(&three(), None);
    let second = "10.0.0.2:443".parse().unwrap();
    assert_eq!(look(&servers, 1, false), Change::None);
    assert!(servers.serves(second));
    assert_eq!(look(&servers, 1, false), Change::Left);
    assert_eq!(look(&servers, 1, false), Change::None);
    assert!(!servers.serves(second));
    for _ in 0..4 {
        let order = order(&servers).await;
        assert!(order.len() == 2 && !order.contains(&"10.0.0.2".to_owned()));
    }
    let rows: Vec<i64> = servers.rows().iter().map(|row| row.value).collect();
    assert_eq!(rows, [1, 0, 1]);
    assert_eq!(look(&servers, 1, true), Change::Back);
    assert!(servers.serves(second));
    assert_eq!(order(&servers).await.len(), 3);
}

#[tokio::test]
async fn all_are_tried_where_none_is_well() {
    let servers = after(&three(), None);
    for index in 0..3 {
        look(&servers, index, false);
        look(&servers, index, false);
    }
    assert_eq!(order(&servers).await.len(), 3);
    assert!(servers.serves("10.0.0.2:443".parse().unwrap()));
}

#[tokio::test]
async fn reload_keeps_how_servers_are() {
    let before = after(&three(), None);
    look(&before, 0, false);
    look(&before, 0, false);
    let fewer = settings(
        &["https://10.0.0.9", "https://10.0.0.1"],
        Balance::RoundRobin,
    );
    let servers = after(&fewer, Some(&before));
    assert_eq!(order(&servers).await, ["10.0.0.9"]);
    assert_eq!(look(&servers, 1, true), Change::Back);
    assert!(
        before.serves("10.0.0.1:443".parse().unwrap()),
        "it is the same server"
    );
}

#[tokio::test]
async fn names_are_found_once_and_again_by_looks_alone() {
    let named = ["https://a.example:6443", "https://b.example:6443"];
    let servers = after(&settings(&named, Balance::RoundRobin), None);
    let (names, resolver) = resolver();
    let error = servers.next(&resolver, DEADLINE).await.unwrap_err();
    assert!(matches!(error, NoServer::Unresolved(_)), "{error}");
    names.set("b.example", "10.0.0.2");
    let next = servers.next(&resolver, DEADLINE).await.unwrap();
    assert_eq!(next.addresses, ["10.0.0.2:6443".parse().unwrap()]);
    assert_eq!(next.host.to_string(), "b.example");
    names.set("a.example", "10.0.0.1");
    let next = servers.next(&resolver, DEADLINE).await.unwrap();
    assert_eq!(
        next.addresses.len(),
        1,
        "nobody waits for a name while another is known"
    );
    servers.list[0].0.find(&resolver, DEADLINE).await.unwrap();
    let next = servers.next(&resolver, DEADLINE).await.unwrap();
    assert_eq!(next.addresses.len(), 2);
}
