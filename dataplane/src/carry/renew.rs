//! Makes a kubelet connection again under the configuration in force, for the next request on it.
//!
//! An API server keeps its connections for as long as it likes. What was decided when one began, its
//! rule, its action policy, who may use the listener, whom we take for the kubelet, must not outlive a
//! reload there: the request that comes next is judged as on a new connection, and only the bytes of
//! its client stay where they are.

use crate::carry::exchange::{Made, Terms, authorise};
use crate::context::StreamContext;
use crate::end::End;
use crate::leg::Leg;
use crate::reach::{self, ask, watched};
use crate::seam::{Inside, Mode, Phase, Reason, Side, StreamRecord};
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::route::route;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;

/// Asks for a verdict on the connection's target again, holds client, action and kubelet against it,
/// and dials. A refusal has a status for the answer to the request.
pub(crate) async fn renew(
    cx: &StreamContext,
    downstream: &Leg,
    record: &mut StreamRecord,
    head: &RequestHead,
) -> Result<Made, End> {
    let work = watched(cx, downstream, judged(cx, downstream, record, head));
    work.await.map_err(|failure| End {
        phase: Phase::Exchange,
        ..failure
    })
}

async fn judged(
    cx: &StreamContext,
    downstream: &Leg,
    record: &mut StreamRecord,
    head: &RequestHead,
) -> Result<Made, End> {
    let snapshot = cx.desk().snapshot();
    if let Some(why) = snapshot.unwelcome(&record.listener, &record.peer) {
        return Err(refused(403, why));
    }
    if let Some(tls) = snapshot.listener_tls.get(&record.listener) {
        client(downstream.outer_chain(), tls.clients.as_deref())?;
    }
    let Some(target) = record.target.clone() else {
        return Err(refused(503, "the connection has no target".into()));
    };
    let limits = &snapshot.admission;
    let _pending = cx.desk().pending(limits, Phase::Exchange)?;
    let plan = ask(cx, record, (target, None), limits.admit_timeout).await?;
    let inside = match &plan.mode {
        Mode::Terminate(ends) => &ends.inside,
        Mode::TerminateVerified(ends) => &ends.inside,
        Mode::Splice | Mode::Originate(_) | Mode::TerminateNamed(_) => {
            return Err(reconnect(record));
        }
    };
    let Inside::Kubelet(policy) = inside else {
        return Err(reconnect(record));
    };
    let policy = Arc::clone(policy);
    if let Mode::Terminate(ends) = &plan.mode {
        client(downstream.peer_chain(), ends.downstream.clients.as_deref())?;
    }
    // Before anybody is dialled; what is no path is for the exchange to refuse.
    if let Ok(route) = route(&head.target) {
        authorise(&policy, record, route.action)?;
    }
    let head_timeout = plan.limits.head_timeout;
    let deferred = matches!(plan.mode, Mode::TerminateVerified(_));
    let (upstream, plan) = reach::connect(cx, record, plan, limits.admit_timeout).await?;
    if deferred && let Mode::Terminate(ends) = &plan.mode {
        // Who may be its client came with the leaf.
        client(downstream.peer_chain(), ends.downstream.clients.as_deref())?;
    }
    cx.set_limits(&plan.limits);
    Ok(Made {
        upstream: Box::new(upstream),
        terms: Terms {
            policy,
            head_timeout,
        },
        snapshot,
    })
}

/// Holds the certificate of a client against whoever judges clients now.
fn client(
    chain: Option<Vec<CertificateDer<'static>>>,
    clients: Option<&dyn ClientCertVerifier>,
) -> Result<(), End> {
    let Some(clients) = clients else {
        return Ok(());
    };
    let verified = match chain.as_deref() {
        Some([leaf, intermediates @ ..]) => clients
            .verify_client_cert(leaf, intermediates, UnixTime::now())
            .map(drop)
            .map_err(|error| format!("the client's certificate is not accepted any more: {error}")),
        Some([]) | None if clients.client_auth_mandatory() => {
            Err("the connection was made without a client certificate".to_owned())
        }
        Some([]) | None => Ok(()),
    };
    verified.map_err(|why| refused(401, why))
}

/// The bytes of the client can only go on as they are.
fn reconnect(record: &StreamRecord) -> End {
    let rule = record.rule.as_deref().unwrap_or_default();
    let words = format!("rule {rule} carries this target in another way now; connect again");
    refused(503, words)
}

fn refused(status: u16, why: String) -> End {
    End::new(Reason::Denied, Side::Local, Phase::Exchange)
        .status(status)
        .detail(why)
}
