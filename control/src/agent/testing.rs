//! An agent's configuration with files, for tests.

use super::control::{AgentControl, State};
use super::files::Files;
use crate::config::Here;
use eyesplice_dataplane::seam::Peer;
use eyesplice_dataplane::seam::{Control, StreamId, StreamRequest, Verdict};
use eyesplice_process::resolve::{Lookup, LookupFuture};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tempfile::TempDir;
use tokio::runtime::Handle;

/// Names and addresses that a test changes.
#[derive(Clone, Default)]
pub(super) struct Names(Arc<Mutex<HashMap<String, Vec<IpAddr>>>>);

impl Names {
    pub(super) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        self.0.lock().unwrap().insert(name.to_owned(), addresses);
    }

    pub(super) fn forget(&self, name: &str) {
        self.0.lock().unwrap().remove(name);
    }
}

impl Lookup for Names {
    fn lookup(&self, name: &str) -> LookupFuture {
        let found = self.0.lock().unwrap().get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::other("no such name")) })
    }
}

/// A directory with a PKI, and an agent's configuration with these gateways and this allow-list.
pub(super) fn site(gateways: &str, allow: &str) -> TempDir {
    let dir = crate::material::tests::site("");
    write(dir.path(), gateways, allow);
    dir
}

pub(super) fn write(dir: &Path, gateways: &str, allow: &str) {
    let text = format!(
        "apiVersion: eyesplice.dev/v1alpha1\nkind: AgentConfig\nidentity:\n  \
         certFile: eyesplice-kubelet-client.crt\n  keyFile: eyesplice-kubelet-client.key\n\
         gateways: {{caFile: egress-ca.crt, {gateways}}}\nallow: {{{allow}}}\n"
    );
    std::fs::write(dir.join("agent.yaml"), text).unwrap();
}

/// Loads what [`site`] made.
pub(super) fn load(dir: &Path, generation: u64) -> State {
    let files = Files::new(dir.join("agent.yaml"), Here::default());
    let loaded = files.load(&[]).result;
    let held = loaded.unwrap_or_else(|errors| panic!("{errors:?}")).state;
    State {
        generation,
        config: held.config,
        material: held.material,
    }
}

/// Its control. Needs a runtime.
pub(super) fn control(dir: &Path, names: &Names) -> Arc<AgentControl> {
    let own = Arc::from(["127.0.0.1:9464".parse().unwrap()]);
    let names = Arc::new(names.clone());
    Arc::new(AgentControl::new(
        load(dir, 1),
        names,
        Handle::current(),
        own,
    ))
}

/// Asks for a target as a gateway does.
pub(super) async fn ask(control: &AgentControl, target: &str) -> Verdict {
    let request = StreamRequest {
        id: StreamId::new(0, 0, 1),
        listener: "tunnel".into(),
        peer: Peer::Tcp {
            address: "10.0.0.1:8133".parse().unwrap(),
            identity: None,
        },
        target: target.parse().unwrap(),
        received: SystemTime::UNIX_EPOCH,
        hop: None,
    };
    control.admit(request).await.unwrap()
}
