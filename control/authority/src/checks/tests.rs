//! A controller over a store that asks fake names and fake kubelets.

use super::super::controller::Controller;
use super::super::object::{APPROVED, CertificateSigningRequest, DENIED};
use super::super::store::{Store, StoreError};
use super::super::testing::{Site, csr};
use super::testing::{Kubelet, Manner, Names, Reserved};
use arc_swap::ArcSwap;
use eyesplice_identity::pki::testing::{Recipe, kubelet};
use eyesplice_identity::x509::Signer;
use eyesplice_identity::x509::testing::{dns, ip, kubelet_serving};
use eyesplice_process::metrics::Metrics;
use eyesplice_process::resolve::Lookup;
use rcgen::SanType;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than any pause that a test waits for.
const PATIENCE: Duration = Duration::from_secs(60);

struct Running {
    store: Arc<Store>,
    names: Arc<Names>,
    metrics: Arc<Metrics>,
    task: JoinHandle<()>,
}

impl Running {
    /// Node w is at 127.0.0.1, and `approval` is configured besides.
    fn start(site: &Site, approval: &str) -> Self {
        let inventory = "apiVersion: eyesplice.dev/v1alpha1\nkind: NodeInventory\nnodes:\n\
                         - {name: w, addresses: [127.0.0.1, w.example]}\n\
                         - {name: v, addresses: [127.0.0.2]}\n";
        site.write("inventory.yaml", inventory);
        let text = fs::read_to_string(site.path("authority.yaml")).unwrap();
        let listed = "  inventoryFile: inventory.yaml\n";
        assert!(text.contains(listed));
        let text = text.replace(listed, &format!("{listed}  {approval}\n"));
        site.write("authority.yaml", &text);
        let (store, names) = (site.store(), Arc::new(Names::default()));
        let metrics = Metrics::new();
        let controller = Controller::with_lookup(
            Arc::clone(&store),
            Arc::new(ArcSwap::from_pointee(site.material())),
            None,
            Arc::clone(&metrics),
            Arc::clone(&names) as Arc<dyn Lookup>,
        );
        let task = tokio::spawn(controller.run());
        Self {
            store,
            names,
            metrics,
            task,
        }
    }

    fn ask(&self, name: &str, names: Vec<SanType>) {
        let (user, group) = ("system:node:w", "system:nodes");
        let ask = kubelet_serving("w", names);
        let object = csr(name, Signer::KubeletServing, user, group, ask);
        let created = self
            .store
            .create(object, |_| Ok::<_, StoreError>(Vec::new()));
        created.unwrap();
    }

    fn get(&self, name: &str) -> Arc<CertificateSigningRequest> {
        self.store.find(name).unwrap()
    }

    fn shows(&self, line: &str) -> bool {
        let text = self.metrics.render().unwrap();
        text.lines().any(|each| each.starts_with(line))
    }

    async fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let waiting = async {
            while !condition() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{what}: {}", self.metrics.render().unwrap());
    }

    /// The message of the approval of a CSR that was signed.
    async fn signed(&self, name: &str) -> String {
        let is = || !self.get(name).status.certificate.is_empty();
        self.until("a signature", is).await;
        let object = self.get(name);
        object.condition(APPROVED).unwrap().message.clone()
    }

    async fn denied(&self, name: &str) -> String {
        self.until("a denial", || self.get(name).has(DENIED)).await;
        let object = self.get(name);
        object.condition(DENIED).unwrap().message.clone()
    }

    async fn pending(&self, reason: &str) {
        let signer = Signer::KubeletServing.name();
        let line =
            format!("eyesplice_authority_csrs_pending{{signer=\"{signer}\",reason=\"{reason}\"}} ");
        self.until(reason, || self.shows(&line)).await;
    }

    fn counted(&self, check: &str, result: &str) -> bool {
        let labels = format!("{{check=\"{check}\",result=\"{result}\"}}");
        self.shows(&format!(
            "eyesplice_authority_approval_checks_total{labels}"
        ))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn probe_at(port: u16) -> String {
    format!("probe: {{port: {port}, timeout: 20s}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn kubelet_that_waits_for_its_first_certificate_gets_it() {
    let site = Site::new();
    let kubelet = Kubelet::start(Manner::Bare);
    let running = Running::start(&site, &probe_at(kubelet.address.port()));
    running.ask("a", vec![ip("127.0.0.1"), dns("w")]);
    let told = running.signed("a").await;
    let seen = format!(
        "a kubelet without a certificate answers at {}",
        kubelet.address
    );
    assert!(told.contains(&seen), "{told}");
    assert!(running.counted("probe", "no-certificate"));
    assert_eq!(kubelet.connections(), 1);
    assert_eq!(running.names.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn kubelet_that_renews_is_known_by_its_certificate() {
    let site = Site::new();
    let own = Recipe {
        common_name: "system:node:w".to_owned(),
        ..kubelet()
    };
    let kubelet = Kubelet::start(Manner::presents(&own.signed_by(&site.serving_ca)));
    let running = Running::start(&site, &probe_at(kubelet.address.port()));
    running.ask("a", vec![dns("w")]);
    let told = running.signed("a").await;
    assert!(told.contains("node w answers at"), "{told}");
    assert!(running.counted("probe", "own"));
}

#[tokio::test(flavor = "multi_thread")]
async fn address_that_another_node_answers_is_denied() {
    let site = Site::new();
    let other = Recipe {
        common_name: "system:node:v".to_owned(),
        ..kubelet()
    };
    let kubelet = Kubelet::start(Manner::presents(&other.signed_by(&site.serving_ca)));
    let running = Running::start(&site, &probe_at(kubelet.address.port()));
    running.ask("a", vec![ip("127.0.0.1")]);
    let told = running.denied("a").await;
    assert!(told.contains("is answered by node v"), "{told}");
    assert!(running.counted("probe", "other-node"));
}

#[tokio::test(flavor = "multi_thread")]
async fn csr_of_a_node_that_is_down_is_approved_when_it_is_up() {
    let site = Site::new();
    let reserved = Reserved::new();
    let running = Running::start(&site, &probe_at(reserved.address().port()));
    running.ask("a", vec![ip("127.0.0.1")]);
    running.pending("unreachable").await;
    assert!(running.get("a").is_pending());
    assert!(running.counted("probe", "unreachable"));
    let _kubelet = reserved.start(Manner::Bare);
    running.signed("a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn name_that_does_not_resolve_waits_until_it_does() {
    let site = Site::new();
    let running = Running::start(&site, "dns: require");
    running.ask("a", vec![dns("w.example"), ip("127.0.0.1")]);
    running.pending("unresolved").await;
    assert!(running.counted("dns", "failed"));
    running.names.set("w.example", &["127.0.0.1", "127.0.0.2"]);
    running.pending("foreign-dns").await;
    assert!(running.get("a").is_pending());
    running.names.set("w.example", &["127.0.0.1"]);
    let told = running.signed("a").await;
    assert!(told.contains("w.example resolves to 127.0.0.1"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unlisted_name_is_allowed_by_dns_where_it_may_be() {
    let site = Site::new();
    let running = Running::start(&site, "dns: allow");
    running.names.set("alias.example", &["127.0.0.1"]);
    running.ask("a", vec![dns("alias.example")]);
    running.signed("a").await;
    running.names.set("stolen.example", &["203.0.113.1"]);
    running.ask("b", vec![dns("stolen.example")]);
    let told = running.denied("b").await;
    assert!(told.contains("resolves to 203.0.113.1"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_inventory_denies_is_neither_looked_up_nor_dialled() {
    let site = Site::new();
    let kubelet = Kubelet::start(Manner::Bare);
    let port = kubelet.address.port();
    let both = format!("dns: require\n  {}", probe_at(port));
    let running = Running::start(&site, &both);
    running.ask("a", vec![dns("evil.example"), ip("127.0.0.1")]);
    running.ask("b", vec![ip("127.0.0.2"), dns("w.example")]);
    running.denied("a").await;
    running.denied("b").await;
    assert_eq!(kubelet.connections(), 0);
    assert_eq!(running.names.asked(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn flood_of_one_node_dials_it_one_at_a_time() {
    let site = Site::new();
    let kubelet = Kubelet::start(Manner::Silent);
    let port = kubelet.address.port();
    let running = Running::start(&site, &format!("probe: {{port: {port}, timeout: 100ms}}"));
    for index in 0..50 {
        running.ask(&format!("csr-{index}"), vec![ip("127.0.0.1")]);
    }
    let thrice = || kubelet.connections() >= 3;
    running.until("three probes", thrice).await;
    assert_eq!(kubelet.most(), 1);
    running.pending("checking").await;
}
