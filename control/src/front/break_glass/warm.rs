//! Keeps kubelets from forgetting that they allow us: they ask an API server about our certificate,
//! and remember the answer for `cacheAuthorizedTTL`.
//!
//! A kubelet is asked for what is not there, by both verbs of streams: it authorises first. It does
//! not say when it asked an API server itself, and asking it again does not prolong what it
//! remembers. So what is known is when it allowed us last, and until when it can at most.

use super::limits::{KUBELET_PATIENCE, KUBELETS_AT_A_TIME};
use crate::config::AddressType;
use crate::front::short::{Kubelet, Kubelets, Place, Reached};
use eyesplice_dataplane::seam::Way;
use eyesplice_identity::https::{Question, ask_over};
use eyesplice_proto::api::Subresource;
use eyesplice_proto::causes::chain;
use eyesplice_proto::target::Target;
use hyper::Method;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// What is asked, once for each answer that a kubelet remembers: `get` and `create` of
/// `nodes/proxy`. There is no such namespace, and nothing comes of it.
const ASKED: [(Method, &str); 2] = [
    (
        Method::GET,
        "/containerLogs/eyesplice-break-glass/warm/warm",
    ),
    (Method::POST, "/portForward/eyesplice-break-glass/warm"),
];

/// Bytes of an answer, which is not read.
const LIMIT: usize = 4 << 10;

/// How the kubelets are; it outlives every configuration.
#[derive(Debug, Default)]
pub(super) struct Warm(Mutex<BTreeMap<Arc<str>, Warmth>>);

/// How one is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Warmth {
    /// When it allowed us last.
    pub(super) allowed: Option<SystemTime>,
    /// When it allowed us last while an API server could be asked.
    pub(super) reviewed: Option<SystemTime>,
    /// What came of the last question, if that was something else.
    pub(super) error: Option<String>,
}

impl Warm {
    /// Asks the kubelet of each place; `well`: API servers can be asked.
    pub(super) async fn round(
        &self,
        kubelets: &dyn Kubelets,
        (types, places): (&[AddressType], &[Place]),
        well: bool,
    ) {
        let mut nodes: BTreeMap<Arc<str>, &Place> = BTreeMap::new();
        for place in places {
            nodes.entry(place.node.name().into()).or_insert(place);
        }
        self.lock().retain(|name, _| nodes.contains_key(name));
        let mut asking = JoinSet::new();
        for (name, place) in nodes {
            if asking.len() >= KUBELETS_AT_A_TIME
                && let Some(Ok((name, answer))) = asking.join_next().await
            {
                self.heard(name, answer, (well, SystemTime::now()));
            }
            let mut questions = Vec::new();
            let mut unreached = None;
            for question in ASKED {
                match reach(kubelets, types, &name, place).await {
                    Ok((reached, target)) => questions.push((question, reached, target)),
                    Err(why) => unreached = Some(why),
                }
            }
            match unreached {
                Some(why) => self.heard(name, Err(why), (well, SystemTime::now())),
                None => drop(asking.spawn(async move {
                    let mut answer = Ok(());
                    for (question, reached, target) in questions {
                        if answer.is_ok() {
                            answer = ask(question, reached, &target).await;
                        }
                    }
                    (name, answer)
                })),
            }
        }
        while let Some(asked) = asking.join_next().await {
            if let Ok((name, answer)) = asked {
                self.heard(name, answer, (well, SystemTime::now()));
            }
        }
    }

    fn heard(&self, name: Arc<str>, answer: Result<(), String>, (well, now): (bool, SystemTime)) {
        let mut all = self.lock();
        let warmth = all.entry(Arc::clone(&name)).or_default();
        match answer {
            Ok(()) => {
                warmth.allowed = Some(now);
                if well {
                    warmth.reviewed = Some(now);
                }
                warmth.error = None;
            }
            Err(error) => {
                if warmth.error.as_ref() != Some(&error) {
                    tracing::warn!(node = &*name, error, "a kubelet does not take break-glass");
                }
                warmth.error = Some(error);
            }
        }
    }

    /// How each is.
    pub(super) fn all(&self) -> BTreeMap<Arc<str>, Warmth> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Warmth>> {
        // Nothing panics with the lock; what is there would be whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says how a kubelet is reached, for whatever it may be asked for.
async fn reach(
    kubelets: &dyn Kubelets,
    types: &[AddressType],
    name: &Arc<str>,
    place: &Place,
) -> Result<(Reached, Target), String> {
    let mut refused = None;
    for subresource in Subresource::ALL {
        let host = place.node.address(types).map_err(|why| why.to_string())?;
        let target = Target {
            host: host.clone(),
            port: place.node.port(),
        };
        let kubelet = Kubelet {
            node: name,
            host,
            port: target.port,
            action: subresource.action(),
            with_certificate: true,
        };
        match kubelets.reach(kubelet).await {
            Ok(reached) => return Ok((reached, target)),
            Err(why) => refused = Some(why),
        }
    }
    Err(refused.map_or_else(String::new, |why| why.to_string()))
}

/// Puts one question. Whatever a kubelet says of what is not there, it says behind its authorizer.
async fn ask(
    (method, path): (Method, &'static str),
    reached: Reached,
    target: &Target,
) -> Result<(), String> {
    let Way::Dial(addresses) = reached.way else {
        return Err("it is behind an agent or a proxy, where only streams lead".to_owned());
    };
    let question = Question {
        method,
        path,
        body: Vec::new(),
        bearer: None,
        limit: LIMIT,
    };
    let asked = async {
        let stream = connect(&addresses, reached.tls.config, reached.tls.server_name).await?;
        let reply = ask_over(stream, &target.to_string(), question).await;
        reply
            .map(|reply| reply.status)
            .map_err(|error| chain(&error))
    };
    let status = match timeout(KUBELET_PATIENCE, asked).await {
        Ok(status) => status?,
        Err(_) => return Err(format!("no answer within {KUBELET_PATIENCE:?}")),
    };
    match status.as_u16() {
        401 | 403 => Err(format!("it refuses our certificate with status {status}")),
        500.. => Err(format!(
            "it answers with status {status}: it cannot ask an API server about us, and has \
             forgotten the last answer; raise its cacheAuthorizedTTL"
        )),
        _ => Ok(()),
    }
}

async fn connect(
    addresses: &[SocketAddr],
    config: Arc<rustls::ClientConfig>,
    name: rustls::pki_types::ServerName<'static>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let stream = TcpStream::connect(addresses).await;
    let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    connected.map_err(|error| format!("TLS failed: {}", chain(&error)))
}
