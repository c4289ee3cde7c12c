//! Names the changes that a reload cannot put in force.

use super::EngineParts;
use super::model::{Config, Listener, Transport};

impl Config {
    /// Lists the fields in which `new` differs and that only a restart applies; everything else of
    /// `new` can be published.
    pub fn restart_required(&self, new: &Self) -> Vec<String> {
        let mut fields = Vec::new();
        for (index, listener) in new.listeners.iter().enumerate() {
            match self.listeners.iter().find(|old| old.name == listener.name) {
                None => fields.push(format!("listeners[{index}] ({}: new)", listener.name)),
                Some(old) => compare_listener(index, old, listener, &mut fields),
            }
        }
        let is_gone = |old: &&Listener| new.listeners.iter().all(|each| each.name != old.name);
        for old in self.listeners.iter().filter(is_gone) {
            fields.push(format!("listeners ({}: removed)", old.name));
        }
        fields.extend(self.parts().restart_required(&new.parts()));
        let (audit, new_audit) = (&self.audit, &new.audit);
        let authority = self.authority.as_ref().or(new.authority.as_ref());
        let authority = authority.map_or("", |file| &file.field);
        for (same, field) in [
            (self.authority == new.authority, authority),
            (self.admin == new.admin, "admin.address"),
            (audit.sink == new_audit.sink, "audit.path"),
            (audit.on_failure == new_audit.on_failure, "audit.onFailure"),
            (
                audit.front_requests == new_audit.front_requests,
                "audit.frontRequests",
            ),
        ] {
            fields.extend((!same).then(|| field.to_owned()));
        }
        fields
    }
}

impl EngineParts<'_> {
    /// Lists the fields in which `new` differs and that an engine takes at its start alone.
    pub(super) fn restart_required(&self, new: &Self) -> Vec<String> {
        let (times, new_times) = (&self.timeouts, &new.timeouts);
        let (engine, new_engine) = (&self.engine, &new.engine);
        let same_pipes = self.limits.max_pipes_per_worker == new.limits.max_pipes_per_worker;
        let same_keepalive = times.tcp_keepalive == new_times.tcp_keepalive;
        let same_user_timeout = times.tcp_user_timeout == new_times.tcp_user_timeout;
        let fields = [
            (same_pipes, "limits.maxPipesPerWorker"),
            (same_keepalive, "timeouts.tcpKeepalive"),
            (same_user_timeout, "timeouts.tcpUserTimeout"),
            (engine.workers == new_engine.workers, "engine.workers"),
            (engine.io == new_engine.io, "engine.io"),
            (engine.ktls == new_engine.ktls, "engine.ktls"),
            (engine.crypto == new_engine.crypto, "engine.crypto"),
            (engine.coalesce == new_engine.coalesce, "engine.coalesce"),
        ];
        let differ = fields.into_iter().filter(|(same, _)| !same);
        differ.map(|(_, field)| field.to_owned()).collect()
    }
}

fn compare_listener(index: usize, old: &Listener, new: &Listener, fields: &mut Vec<String>) {
    let mut differ = |same: bool, field: &str| {
        if !same {
            fields.push(format!("listeners[{index}].{field}"));
        }
    };
    match (&old.transport, &new.transport) {
        (Transport::Unix(old), Transport::Unix(new)) => {
            differ(old.path == new.path, "unix.path");
            differ(old.mode == new.mode, "unix.mode");
            differ(old.uid == new.uid, "unix.owner");
            differ(old.gid == new.gid, "unix.group");
        }
        (old, new) if old.as_str() == new.as_str() => {
            let field = format!("{}.address", new.as_str());
            differ(old.address() == new.address(), &field);
        }
        (_, new) => differ(false, new.as_str()),
    }
}
