//! The checks of serving certificates in a cluster.

use super::super::super::checks::testing::{Manner, Names, Reserved};
use super::super::super::object::{CertificateSigningRequest, Condition, Timestamp};
use super::*;
use eyesplice_identity::x509::testing::dns;

fn config(approval: &str) -> String {
    format!("{CONFIG}approval: {{{approval}}}\n")
}

fn pending(reason: &str) -> String {
    let signer = Signer::KubeletServing.name();
    format!("eyesplice_authority_csrs_pending{{signer=\"{signer}\",reason=\"{reason}\"}} 1")
}

fn named(name: &str) -> CertificateSigningRequest {
    let ask = kubelet_serving("w", vec![dns("w.example"), ip("10.0.0.7")]);
    csr(name, Signer::KubeletServing, NODE, "system:nodes", ask)
}

#[tokio::test]
async fn node_of_a_cluster_is_probed_until_it_answers() {
    let (site, fake) = (Site::new(), cluster());
    fake.node("w", &["127.0.0.1"]);
    let reserved = Reserved::new();
    let port = reserved.address().port();
    let probe = config(&format!("probe: {{port: {port}, timeout: 20s}}"));
    let replica = Replica::with(&site, &fake, "one", &probe);
    fake.create(&serving("a", "127.0.0.1"));
    let line = pending("unreachable");
    until("a node that is down", || replica.shows(&line)).await;
    assert!(fake.writes("a").is_empty());
    let kubelet = reserved.start(Manner::Bare);
    let told = signed(&fake, "a").await.message("Approved").unwrap();
    let seen = format!(
        "a kubelet without a certificate answers at {}",
        kubelet.address
    );
    assert!(told.contains(&seen), "{told}");
    assert_eq!(kubelet.connections(), 1);
}

#[tokio::test(start_paused = true)]
async fn leader_that_dies_while_it_checks_loses_nothing() {
    let (site, fake) = (Site::new(), cluster());
    fake.node("w", &["10.0.0.7", "w.example"]);
    let names = Arc::new(Names::default());
    let dns = config("dns: require");
    let ask = |who: &str| Replica::asking(&site, &fake, who, &dns, Arc::clone(&names) as _);
    let first = ask("one");
    fake.create(&named("a"));
    let line = pending("unresolved");
    until("a name that does not resolve", || first.shows(&line)).await;
    let second = ask("two");
    first.kill();
    until("the heir", || fake.holder() == "two").await;
    until("the heir checks", || second.shows(&line)).await;
    assert!(fake.writes("a").is_empty());
    names.set("w.example", &["10.0.0.7"]);
    signed(&fake, "a").await;
    assert_eq!(fake.writes("a"), ["two approval", "two status"]);
}

#[tokio::test(start_paused = true)]
async fn person_who_approves_while_a_check_fails_is_not_kept_waiting() {
    let (site, fake) = (Site::new(), cluster());
    fake.node("w", &["10.0.0.7", "w.example"]);
    let names: Arc<dyn Lookup> = Arc::new(Names::default());
    let replica = Replica::asking(&site, &fake, "one", &config("dns: require"), names);
    fake.create(&named("a"));
    let line = pending("unresolved");
    until("a name that does not resolve", || replica.shows(&line)).await;
    let mut approved = named("a");
    let now = Timestamp::from(SystemTime::now());
    let condition = Condition::new("Approved", "ByHand", String::new(), now);
    approved.status.conditions.push(condition);
    fake.create(&approved);
    signed(&fake, "a").await;
    assert_eq!(fake.writes("a"), ["one status"]);
}

#[test]
fn names_that_no_file_lists_are_not_allowed_by_dns() {
    let site = Site::new();
    site.write("cluster.yaml", &config("dns: allow"));
    let error = ClusterConfig::load(&site.path("cluster.yaml")).unwrap_err();
    assert!(
        error.to_string().contains("approval.inventoryFile"),
        "{error}"
    );
    let text = config("dns: allow, inventoryFile: inventory.yaml");
    site.write("cluster.yaml", &text);
    let loaded = ClusterConfig::load(&site.path("cluster.yaml")).unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}
