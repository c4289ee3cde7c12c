//! What a gateway has of the one before it, and passes on to the next.

use super::startup;
use crate::config::Config;
use crate::serve::ServeError;
use eyesplice_dataplane::engine::Listeners;
use eyesplice_process::admin::Admin;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::takeover::{self, Meeting, Offer, Succession};
use eyesplice_process::{Process, ProcessError};
use eyesplice_sys::socket::Place;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use tokio::task::AbortHandle;

/// Takes the sockets of the gateway that runs, or what the service manager kept.
pub(super) async fn begin(
    meeting: Option<Meeting>,
    passed: Vec<(String, OwnedFd)>,
    takes_over: bool,
) -> Result<Succession, ServeError> {
    let begun = Succession::begin(meeting, passed, takes_over).await;
    Ok(begun.map_err(ProcessError::from)?)
}

/// The admin endpoint: it answers at once, or, while another process does, when that is relieved.
pub(super) struct AdminEndpoint {
    pub(super) address: SocketAddr,
    second: io::Result<(Place, OwnedFd)>,
    serving: Result<AbortHandle, Admin>,
}

/// Closes what the configuration does not want, and takes or binds the admin endpoint.
pub(super) async fn admin(
    config: &Config,
    succession: &mut Succession,
    process: &Process,
) -> Result<AdminEndpoint, ServeError> {
    succession.keep_only(startup::wanted(config));
    let taken = Admin::take(config.admin.address, succession.inherited()).await;
    let admin = taken.map_err(ProcessError::from)?;
    Ok(AdminEndpoint {
        address: admin.address(),
        second: admin.second(),
        serving: if succession.has_predecessor() {
            Err(admin)
        } else {
            Ok(process.serve_bound(admin))
        },
    })
}

impl AdminEndpoint {
    /// Answers from now on, if it did not before.
    pub(super) fn serve(self, process: &Process) -> AbortHandle {
        self.serving
            .unwrap_or_else(|admin| process.serve_bound(admin))
    }
}

/// Second descriptors of all sockets, if anybody may have them.
pub(super) fn second(
    listeners: &Listeners,
    admin: &AdminEndpoint,
    succession: &Succession,
) -> Vec<(Place, OwnedFd)> {
    if !succession.passes_on() {
        return Vec::new();
    }
    let all = listeners.second().and_then(|mut all| {
        let (place, fd) = admin.second.as_ref().map_err(io::Error::kind)?;
        all.push((place.clone(), fd.try_clone()?));
        Ok(all)
    });
    all.unwrap_or_else(|error| {
        tracing::warn!(%error, "no process can have the sockets of this one; raise LimitNOFILE");
        Vec::new()
    })
}

/// Relieves the gateway that runs, and has the sockets ready for the next one.
pub(super) async fn complete(
    succession: Succession,
    sockets: Vec<(Place, OwnedFd)>,
    metrics: &Metrics,
) -> Result<Offer, ServeError> {
    let completed = succession.complete(sockets, &metrics.takeovers).await;
    Ok(completed.map_err(ProcessError::from)?)
}

/// Reports to the command that started this process that it took over.
pub(super) fn tell() {
    if let Err(error) = takeover::tell() {
        tracing::warn!(%error, "the command that started this process does not listen any more");
    }
}
