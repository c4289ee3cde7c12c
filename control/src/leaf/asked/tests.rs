//! Leaves from a real authority: one request each, refusals remembered, old ones kept.

use super::*;
use crate::enrol::testing::gateway_identity;
use eyesplice_authority::testing::{Served, Site, put_gateway_client};
use eyesplice_proto::tls::Groups;
use std::net::TcpListener;

const LONG: Duration = Duration::from_secs(30);

struct Bench {
    site: Site,
    served: Served,
    store: Arc<LeafStore>,
    requests: Arc<LeafRequests>,
}

impl Bench {
    async fn new() -> Self {
        let site = Site::new();
        std::fs::create_dir(site.path("tokens")).unwrap();
        put_gateway_client(&site, 1);
        let served = Served::start(&site).await;
        let requests = requests(&site, &served, vec![site.egress_ca.der()]);
        Self {
            store: LeafStore::new(EnrolmentMetrics::default()),
            requests,
            site,
            served,
        }
    }

    async fn find(&self, host: &str, now: SystemTime) -> Result<Arc<CertifiedKey>, LeafError> {
        let host = named(host);
        self.store.find(&self.requests, &host, now, LONG).await
    }

    /// Waits for a request that is under way.
    async fn landed(&self, host: &str) {
        let flight = self.store.inner.lock().flights.get(&named(host)).cloned();
        if let Some(mut flight) = flight {
            flight.wait_for(Option::is_some).await.unwrap();
        }
    }
}

fn named(host: &str) -> Named {
    Named {
        host: host.parse().unwrap(),
        node: None,
    }
}

fn requests(
    site: &Site,
    served: &Served,
    authorities: Vec<CertificateDer<'static>>,
) -> Arc<LeafRequests> {
    Arc::new(LeafRequests {
        identity: gateway_identity(site, served, "gw"),
        authority: ("egress-ca.crt".to_owned(), authorities),
        lifetime: Duration::from_secs(3600),
        clients: None,
        tickets: Tickets::none(),
        groups: Groups::default(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaf_is_asked_once_for_all_streams_to_a_node() {
    let bench = Bench::new().await;
    let now = SystemTime::now();
    let (a, b, c) = tokio::join!(
        bench.find("10.0.0.7", now),
        bench.find("10.0.0.7", now),
        bench.find("w.example", now)
    );
    let (a, b, c) = (a.unwrap(), b.unwrap(), c.unwrap());
    assert!(Arc::ptr_eq(&a, &b) && !Arc::ptr_eq(&a, &c));
    let again = bench.find("10.0.0.7", now + LONG).await.unwrap();
    assert!(Arc::ptr_eq(&a, &again));
    assert_eq!(bench.served.asked().len(), 2);
    let facts = CertificateFacts::read(&a.cert[0]).unwrap();
    assert_eq!(facts.names, ["10.0.0.7"]);
    assert_eq!(facts.issuer.to_string(), "CN=egress-ca");
    let host = "10.0.0.7".parse().unwrap();
    let served = bench.requests.tls_server(&host, a, ClientAuth::None);
    assert!(served.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaf_for_what_no_node_has_is_refused_and_the_refusal_remembered() {
    let bench = Bench::new().await;
    let now = SystemTime::now();
    for _ in 0..3 {
        let error = bench.find("10.9.9.9", now).await.unwrap_err().to_string();
        assert!(
            error.contains("no certificate for 10.9.9.9") && error.contains("is no node's"),
            "{error}"
        );
    }
    assert_eq!(bench.served.asked().len(), 1);
    // The request took a moment of the real clock; a minute is more than it and the memory.
    let later = now + Duration::from_secs(60);
    bench.find("10.9.9.9", later).await.unwrap_err();
    assert_eq!(bench.served.asked().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaf_that_is_due_serves_on_while_the_next_one_comes() {
    let bench = Bench::new().await;
    let now = SystemTime::now();
    let first = bench.find("10.0.0.7", now).await.unwrap();
    let due = now + Duration::from_secs(2500);
    let same = bench.find("10.0.0.7", due).await.unwrap();
    assert!(Arc::ptr_eq(&first, &same), "no stream waits for a renewal");
    bench.landed("10.0.0.7").await;
    let second = bench.find("10.0.0.7", now).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(bench.served.asked().len(), 2);

    // The second was used: a look around renews it without any stream; the third never is.
    let end = bench.store.sweep(&bench.requests, due).unwrap();
    assert!(end > due);
    bench.landed("10.0.0.7").await;
    assert_eq!(bench.served.asked().len(), 3);
    assert_eq!(bench.store.sweep(&bench.requests, due), None, "not in use");
    assert_eq!(bench.served.asked().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaf_is_kept_to_its_end_while_the_authority_is_away() {
    let Bench {
        site,
        mut served,
        store,
        requests,
    } = Bench::new().await;
    let (now, host) = (SystemTime::now(), named("10.0.0.7"));
    let first = store.find(&requests, &host, now, LONG).await.unwrap();
    served.leave().await;
    let due = now + Duration::from_secs(2500);
    let same = store.find(&requests, &host, due, LONG).await.unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let flight = store.inner.lock().flights.get(&host).cloned();
    if let Some(mut flight) = flight {
        flight.wait_for(Option::is_some).await.unwrap();
    }
    let same = store.find(&requests, &host, due, LONG).await.unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let over = now + Duration::from_secs(3700);
    let error = store.find(&requests, &host, over, LONG).await.unwrap_err();
    assert!(
        error.to_string().contains("network: cannot reach"),
        "{error}"
    );
    drop(site);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaf_of_another_ca_than_the_configured_one_is_not_used() {
    let bench = Bench::new().await;
    let foreign = requests(&bench.site, &bench.served, vec![bench.site.ca.der()]);
    let (now, host) = (SystemTime::now(), named("10.0.0.7"));
    let error = bench
        .store
        .find(&foreign, &host, now, LONG)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("is not signed by a CA of"),
        "{error}"
    );
    assert_eq!(bench.store.inner.lock().leaves.len(), 0);

    // One that is held already is held against the CA of each configuration.
    let later = now + Duration::from_secs(60);
    let first = bench.find("10.0.0.7", later).await.unwrap();
    let both = vec![bench.site.ca.der(), bench.site.egress_ca.der()];
    let both = requests(&bench.site, &bench.served, both);
    let same = bench.store.find(&both, &host, later, LONG).await.unwrap();
    assert!(Arc::ptr_eq(&first, &same));
    let refused = bench.store.find(&foreign, &host, later, LONG).await;
    assert!(refused.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_authority_costs_a_stream_its_patience_and_no_more() {
    let bench = Bench::new().await;
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut identity = gateway_identity(&bench.site, &bench.served, "gw");
    let address = silent.local_addr().unwrap();
    identity.server = format!("https://{address}").parse().unwrap();
    let requests = Arc::new(LeafRequests {
        identity,
        authority: bench.requests.authority.clone(),
        lifetime: LONG,
        clients: None,
        tickets: Tickets::none(),
        groups: Groups::default(),
    });
    let patience = Duration::from_millis(20);
    let now = SystemTime::now();
    for octet in 0..FLIGHTS {
        let host = named(&format!("10.1.0.{octet}"));
        if octet == 0 {
            let slow = bench.store.find(&requests, &host, now, patience).await;
            assert!(matches!(slow, Err(LeafError::Slow(..))), "{slow:?}");
        } else {
            drop(bench.store.look(&requests, &host, now));
        }
    }
    let more = named("10.2.0.1");
    let busy = bench.store.find(&requests, &more, now, patience).await;
    assert!(matches!(busy, Err(LeafError::Busy(..))), "{busy:?}");
}

/// The authority has an inventory of its own: it says which node a gateway may stand for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaf_of_a_known_node_has_its_subject_and_no_other_nodes() {
    let bench = Bench::new().await;
    let now = SystemTime::now();
    let of = |node: &str| Named {
        node: Some(node.into()),
        ..named("10.0.0.7")
    };
    let find = |named| {
        let (store, requests) = (&bench.store, &bench.requests);
        async move { store.find(requests, &named, now, LONG).await }
    };
    let leaf = find(of("w")).await.unwrap();
    let facts = CertificateFacts::read(&leaf.cert[0]).unwrap();
    assert_eq!(facts.subject.to_string(), "CN=system:node:w,O=system:nodes");
    assert_eq!(facts.names, ["10.0.0.7"]);
    assert!(facts.usage.server && !facts.usage.client);
    let error = find(of("other")).await.unwrap_err().to_string();
    assert!(error.contains("is not that of node w"), "{error}");
    assert_eq!(bench.served.asked().len(), 2);
}
