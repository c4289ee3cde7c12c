//! Names the changes that a reload cannot put in force.

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
        for old in &self.listeners {
            if !new
                .listeners
                .iter()
                .any(|listener| listener.name == old.name)
            {
                fields.push(format!("listeners ({}: removed)", old.name));
            }
        }
        let mut differ = |same: bool, field: &str| {
            if !same {
                fields.push(field.to_owned());
            }
        };
        let (old_limits, new_limits) = (&self.limits, &new.limits);
        let same_pipes = old_limits.max_pipes_per_worker == new_limits.max_pipes_per_worker;
        differ(same_pipes, "limits.maxPipesPerWorker");
        let (old_times, new_times) = (&self.timeouts, &new.timeouts);
        differ(
            old_times.tcp_keepalive == new_times.tcp_keepalive,
            "timeouts.tcpKeepalive",
        );
        let same_user = old_times.tcp_user_timeout == new_times.tcp_user_timeout;
        differ(same_user, "timeouts.tcpUserTimeout");
        differ(self.engine.workers == new.engine.workers, "engine.workers");
        differ(self.engine.ktls == new.engine.ktls, "engine.ktls");
        let same_coalesce = self.engine.coalesce == new.engine.coalesce;
        differ(same_coalesce, "engine.coalesce");
        differ(self.authority == new.authority, "authority.configFile");
        differ(self.admin == new.admin, "admin.address");
        differ(self.audit.sink == new.audit.sink, "audit.path");
        let same_failure = self.audit.on_failure == new.audit.on_failure;
        differ(same_failure, "audit.onFailure");
        fields
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
        (Transport::Tcp(old), Transport::Tcp(new)) => {
            differ(old.address == new.address, "tcp.address");
        }
        (Transport::Unix(_), Transport::Tcp(_)) => differ(false, "tcp"),
        (Transport::Tcp(_), Transport::Unix(_)) => differ(false, "unix"),
    }
}
