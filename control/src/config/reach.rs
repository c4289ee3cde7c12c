//! Names what a process reaches by its configuration, for its sandbox.

use super::agent::{AgentConfig, AgentIdentity};
use super::model::{Audit, AuditSink, Config, EngineSettings, Transport};
use eyesplice_authority::apiserver::{Place, SERVICE_ACCOUNT};
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_identity::kubeconfig;
use eyesplice_process::sandbox::{Access, Ports, Reach};
use eyesplice_sys::uring::Backend;
use std::path::PathBuf;

impl Config {
    /// What a gateway of this configuration reaches, but for an authority in its process. It dials
    /// what its rules allow and a reload may add to, so it connects to any port.
    pub fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        reach.reads(self.files());
        // Tokens are read when they are used.
        reach.reads(self.secrets());
        if let Some(identity) = &self.identity {
            reach.uses(&identity.dir, Access::Write);
        }
        if let Some(events) = &self.front.audit {
            let sink = events.sink.iter();
            sink.for_each(|sink| appends(sink, &mut reach));
            if let Some(webhook) = &events.webhook {
                reach.reads(kubeconfig::named(&webhook.path).files);
            }
        }
        if let Some(leases) = self.leases() {
            reach.reads_trust_store();
            match &leases.kubeconfig_file {
                Some(file) => {
                    reach.reads(kubeconfig::named(&file.path).files);
                    let program = Place::Kubeconfig(file.path.clone()).program();
                    program.into_iter().for_each(|it| reach.starts(it));
                }
                None => reach.reads([PathBuf::from(SERVICE_ACCOUNT)]),
            }
        }
        for listener in &self.listeners {
            match &listener.transport {
                Transport::Unix(unix) => {
                    let given = unix.uid.is_some() || unix.gid.is_some();
                    reach.listens_at(&unix.path, given);
                }
                other => other
                    .address()
                    .into_iter()
                    .for_each(|address| reach.listens_on(address)),
            }
        }
        reach.listens_on(self.admin.address);
        reach.connects_to(Ports::Any);
        process(&self.audit, &self.engine, &mut reach);
        reach
    }
}

impl AgentConfig {
    /// What an agent of this configuration reaches. It connects to any port, as a gateway does.
    pub fn reach(&self) -> Reach {
        let mut reach = Reach::default();
        reach.reads(self.files());
        if let AgentIdentity::Pod(pod) = &self.identity {
            reach.reads([pod.token_file.path.clone()]);
            reach.uses(&pod.dir, Access::Write);
        }
        reach.listens_on(self.admin.address);
        reach.connects_to(Ports::Any);
        process(&self.audit, &self.engine, &mut reach);
        reach
    }
}

fn process(audit: &Audit, engine: &EngineSettings, reach: &mut Reach) {
    appends(&audit.sink, reach);
    match engine.io {
        IoPolicy::Fixed(Backend::Epoll) => {}
        IoPolicy::Fixed(Backend::IoUring) | IoPolicy::Auto => reach.uses_uring(),
    }
}

fn appends(sink: &AuditSink, reach: &mut Reach) {
    match sink {
        AuditSink::Stdout => {}
        AuditSink::File(path) => reach.writes(path),
    }
}
