//! Audit events of streams that pass the API servers, as those would have recorded them: whoever
//! alerts on exec goes on seeing it.
//!
//! They are events of audit.k8s.io/v1 under the cluster's own policy, and go to a file, to a
//! webhook, or both. A stream whose events would be lost does not pass the API servers: they record
//! what goes through them.

mod event;
mod file;
mod limits;
mod policy;
mod queue;
mod trail;
mod webhook;

pub use policy::{Policy, PolicyError};
pub(crate) use trail::Trail;

use crate::config::FrontAudit;
use arc_swap::ArcSwapOption;
use event::{Facts, uri};
use eyesplice_dataplane::seam::ApiRequest;
use eyesplice_identity::kubeconfig::Webhook;
use eyesplice_identity::random::uuid;
use eyesplice_identity::user::UserInfo;
use eyesplice_process::metrics::EventSink;
use eyesplice_proto::api::PodStream;
use eyesplice_proto::head::Method;
use file::EventFile;
use parking_lot::Mutex;
use policy::{Attributes, Level};
use queue::Queue;
use ring::digest::{SHA256, digest};
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// What the files of `front.audit` hold.
#[derive(Debug)]
pub struct EventsMaterial {
    /// What is recorded.
    pub policy: Arc<Policy>,
    /// Where events are sent, if they are.
    pub webhook: Option<Arc<Webhook>>,
}

/// Where events go, from one configuration to the next.
#[derive(Debug)]
pub(crate) struct Events {
    file: Mutex<Option<Arc<EventFile>>>,
    queue: Arc<Queue>,
    webhook: ArcSwapOption<Webhook>,
    /// Makes ids of requests that no other process has.
    seed: String,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            file: Mutex::default(),
            queue: Arc::default(),
            webhook: ArcSwapOption::empty(),
            // Without a random source ids are those of this process alone.
            seed: uuid().unwrap_or_default(),
        }
    }
}

/// Where the events of a request go.
#[derive(Clone, Debug)]
struct Sinks {
    file: Option<Arc<EventFile>>,
    queue: Option<Arc<Queue>>,
    /// A sink that is configured is not there.
    broken: bool,
}

/// How the streams of one configuration are recorded.
#[derive(Debug)]
pub(crate) struct Recorder {
    policy: Arc<Policy>,
    sinks: Sinks,
    seed: String,
}

/// A stream that passes the API servers.
#[derive(Debug)]
pub(crate) struct Passing<'a> {
    /// The request, as it came.
    pub(crate) request: &'a ApiRequest,
    /// Which stream.
    pub(crate) stream: &'a PodStream,
    /// What of the pod it is; nothing: the pod itself, whichever stream names it.
    pub(crate) subresource: &'static str,
    /// Whose it is.
    pub(crate) user: &'a Arc<UserInfo>,
    /// Why the user may: the authorizer's own words.
    pub(crate) allowed: &'a Arc<str>,
    /// Where it goes; nothing: the gateway answers.
    pub(crate) node: &'a str,
    /// The serial number of the certificate, where no API server could be asked.
    pub(crate) break_glass: Option<&'a Arc<str>>,
}

/// Events would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unrecorded;

impl Events {
    /// Takes a configuration into force; `None`: nothing is recorded any more.
    pub(crate) fn configure(
        &self,
        settings: Option<&FrontAudit>,
        material: Option<&EventsMaterial>,
    ) -> Option<Recorder> {
        let webhook = material.and_then(|material| material.webhook.clone());
        let sends = webhook.is_some();
        self.webhook.store(webhook);
        let sink = settings.and_then(|settings| settings.sink.as_ref());
        let mut broken = false;
        let file = {
            let mut file = self.file.lock();
            let kept = file
                .take()
                .filter(|file| sink.is_some_and(|sink| file.is(sink)));
            *file = kept.or_else(|| {
                let started = EventFile::start(sink?).map_err(|error| {
                    broken = true;
                    tracing::error!(%error, "front.audit.path cannot be served; restart");
                });
                started.ok().map(Arc::new)
            });
            file.clone()
        };
        Some(Recorder {
            policy: Arc::clone(&material?.policy),
            sinks: Sinks {
                file,
                queue: sends.then(|| Arc::clone(&self.queue)),
                broken,
            },
            seed: self.seed.clone(),
        })
    }

    /// Sends events to the webhook, for ever.
    pub(crate) async fn send(&self) {
        webhook::send(&self.queue, &self.webhook).await;
    }

    /// Opens the file again, after a rotation.
    pub(crate) fn reopen(&self) {
        if let Some(file) = self.file() {
            file.reopen();
        }
    }

    /// Gives what waits a last chance, at the end of the process.
    pub(crate) async fn finish(&self) {
        let file = self.file();
        let ended =
            tokio::task::spawn_blocking(move || file.map_or(0, |file| file.finish(limits::LAST)));
        let since = Instant::now();
        self.queue.closing.notify_one();
        while !self.queue.is_done() && since.elapsed() < limits::LAST {
            tokio::time::sleep(limits::LOOK).await;
        }
        let unsent = self.queue.abandon();
        let unwritten = ended.await.unwrap_or_default();
        if unsent > 0 || unwritten > 0 {
            tracing::error!(unsent, unwritten, "audit events of streams are lost");
        }
    }

    /// How the sinks do.
    pub(crate) fn report(&self) -> Vec<EventSink> {
        let file = self.file().map(|file| file.status()).unwrap_or_default();
        let queue = self.queue.counts();
        vec![
            EventSink {
                sink: "file",
                delivered: file.written,
                lost: file.lost,
                failures: file.failures,
                waiting: file.lines,
            },
            EventSink {
                sink: "webhook",
                delivered: queue.delivered,
                lost: queue.lost,
                failures: queue.failures,
                waiting: u64::try_from(queue.waiting).unwrap_or(u64::MAX),
            },
        ]
    }

    fn file(&self) -> Option<Arc<EventFile>> {
        self.file.lock().clone()
    }
}

impl Sinks {
    fn take_more(&self) -> bool {
        !self.broken
            && self.file.as_ref().is_none_or(|file| file.takes_more())
            && self.queue.as_ref().is_none_or(|queue| queue.takes_more())
    }

    /// Hands over an event to each; `false`: one lost it.
    fn push(&self, event: &[u8], first: bool) -> bool {
        let written = self
            .file
            .as_ref()
            .is_none_or(|file| file.push(event, first));
        let queued = self.queue.as_ref().is_none_or(|queue| queue.push(event));
        written && queued
    }
}

impl Recorder {
    /// Names a request: as its client wants, which API servers let it, or as no other is named.
    /// Asked twice about one request, it says the same.
    ///
    /// # Errors
    /// The client's name is none that could be kept.
    pub(crate) fn id(&self, request: &ApiRequest) -> Result<Arc<str>, Unrecorded> {
        if let Some(chosen) = request.head.headers.first(AUDIT_ID)
            && !chosen.as_bytes().is_empty()
        {
            let chosen = chosen.to_str().ok_or(Unrecorded)?;
            let fits = chosen.len() <= limits::AUDIT_ID;
            return fits.then(|| chosen.into()).ok_or(Unrecorded);
        }
        let since = request.received.duration_since(SystemTime::UNIX_EPOCH);
        let text = format!(
            "{} {} {} {}",
            self.seed,
            request.id,
            request.exchange,
            since.unwrap_or_default().as_nanos()
        );
        let hash = digest(&SHA256, text.as_bytes());
        Ok(uuid_of(hash.as_ref()).into())
    }

    /// Records that a stream is about to pass the API servers; nothing: the policy does not want
    /// that.
    ///
    /// # Errors
    /// Its events would be lost.
    pub(crate) fn begin(&self, passing: &Passing<'_>) -> Result<Option<Trail>, Unrecorded> {
        let Passing {
            request,
            stream,
            user,
            ..
        } = passing;
        let verb = match request.head.method {
            Method::POST => "create",
            _ => "get",
        };
        let decision = self.policy.decide(Attributes {
            user,
            verb,
            namespace: &stream.namespace,
            pod: &stream.pod,
            subresource: passing.subresource,
        });
        if decision.level == Level::None {
            return Ok(None);
        }
        let id = self.id(request)?;
        if !self.sinks.take_more() {
            return Err(Unrecorded);
        }
        let target = &request.head.target;
        let facts = Facts {
            level: decision.level,
            id,
            uri: uri(target.path(), target.query(), decision.level),
            verb,
            user: Arc::clone(user),
            source: request.peer.ip().to_canonical().to_string(),
            agent: agent(request),
            namespace: stream.namespace.clone(),
            pod: stream.pod.clone(),
            subresource: passing.subresource,
            received: request.received,
            allowed: Arc::clone(passing.allowed),
            node: passing.node.into(),
            break_glass: passing.break_glass.cloned(),
        };
        let trail = Trail::begin(facts, decision, self.sinks.clone());
        trail.map(Some).ok_or(Unrecorded)
    }
}

/// The header that names a request in the audit log.
pub(crate) const AUDIT_ID: &str = "Audit-Id";

/// The client's program, as far as it is text.
fn agent(request: &ApiRequest) -> String {
    let agent = request.head.headers.first("user-agent");
    let agent = agent.map_or(&b""[..], |agent| agent.as_bytes());
    let agent = String::from_utf8_lossy(agent);
    match agent.len() > limits::USER_AGENT {
        true => {
            let end = agent.floor_char_boundary(limits::USER_AGENT);
            format!("{}...TRUNCATED", agent.get(..end).unwrap_or_default())
        }
        false => agent.into_owned(),
    }
}

/// Writes a hash as a UUID of version 4 (RFC 9562, section 5.4), as API servers name requests: what
/// is hashed begins with such a one.
fn uuid_of(hash: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in hash.iter().take(16).enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match index {
            6 => 0x40 | (byte & 0x0f),
            8 => 0x80 | (byte & 0x3f),
            _ => *byte,
        };
        // A String takes all that is written.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
