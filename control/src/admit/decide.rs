//! Takes one stream from its target to a verdict: name, policy, node, certificates.

use super::State;
use super::behind::{self, Unresolved};
use super::deferred::{Deferred, EndsByName, LeafOfPeer};
use super::local::is_local;
use super::neighbours;
use super::node;
use super::refusal;
use crate::config::{ProxySpec, Rule, RuleAction, Upstream, Via};
use crate::leaf::{ClientAuth, LeafRequests, LeafStore, Named};
use crate::material::KubeletMaterial;
use crate::policy::{Denied, Selection};
use eyesplice_dataplane::seam::{
    Connect, DownstreamTls, Inside, Mode, Proxy, Refusal, Route, StreamRequest, Tallies, Terminate,
    TerminateVerified, UpstreamTls, Verdict, Warm, Way,
};
use eyesplice_identity::verify::{Expected, UpstreamSpec, upstream_tls};
use eyesplice_process::resolve::Resolver;
use eyesplice_proto::target::{Host, Target};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::runtime::Handle;

/// How long a spare connection to a kubelet waits for its stream. Firewalls and load balancers keep
/// an idle connection for longer, so few are found dead by a request alone.
const SPARE_LIFETIME: Duration = Duration::from_mins(1);

/// Decides on one stream. The lookup ends before `timeouts.verdict` does, so that the user hears of
/// the slow name server, and not of the engine's own deadline.
pub(super) async fn decide(
    state: &Arc<State>,
    resolver: &Resolver,
    leaves: &Arc<LeafStore>,
    request: &StreamRequest,
) -> Verdict {
    match connect(state, resolver, leaves, request).await {
        Ok(connect) => Verdict::Connect(Box::new(connect)),
        Err(refusal) => Verdict::Refuse(refusal),
    }
}

async fn connect(
    state: &Arc<State>,
    resolver: &Resolver,
    leaves: &Arc<LeafStore>,
    request: &StreamRequest,
) -> Result<Connect, Refusal> {
    let began = Instant::now();
    let asked = &request.target;
    if let Some(chain) = &request.hop {
        neighbours::may_pass_on(&state.config, chain)?;
    }
    let hop = request.hop.is_some();
    if !state.policy.may_allow(asked) {
        return Err(refusal::no_rule(asked));
    }
    let inventory = state
        .material
        .kubelet
        .as_ref()
        .and_then(|k| k.inventory.as_deref());
    let found = resolver
        .resolve(asked, lookup_deadline(state.config.timeouts.verdict))
        .await;
    let found = match found {
        Ok(found) => found,
        Err(error) => match behind::unresolved(state, inventory, asked, &error)? {
            Unresolved::Node(addresses) => addresses,
            Unresolved::Name(index) => {
                return by_name(state, leaves, (asked, hop), (index, began)).await;
            }
        },
    };
    let selection = state
        .policy
        .select(asked, &found, &is_local)
        .map_err(|denied| refusal::denied(asked, denied))?;
    report_dropped(request, &selection.dropped);
    let Selection {
        index,
        rule,
        addresses,
        ..
    } = selection;
    let (node, addresses) = node::of_one_node(inventory, &asked.host, addresses);
    let source = LeafSource {
        state,
        leaves,
        began,
    };
    let mode = match hop {
        // What its own gateway does with the stream is done inside.
        true if rule.via == Via::Tunnel => Mode::Splice,
        true => return Err(refusal::not_behind_agents(asked, rule)),
        false => mode(&source, index, rule, asked, node.clone()).await?,
    };
    let (way, warm) = match &rule.via {
        Via::Direct => {
            let socket = |ip| SocketAddr::new(ip, asked.port);
            let way = Way::Dial(addresses.into_iter().map(socket).collect());
            (way, warm(state, rule, asked, node.as_ref()))
        }
        // A spare connection is of a dial; agents park connections of their own.
        Via::Tunnel => {
            let port = (asked.port, hop);
            let mut through = behind::through(state, node.as_ref(), &addresses, port);
            through.inner_only = behind::inner_only(state, &mode);
            (Way::Tunnel(through), None)
        }
        Via::Proxy(spec) => (proxied(state, (index, spec), &addresses, asked)?, None),
    };
    Ok(Connect {
        generation: state.generation,
        rule: Arc::clone(&rule.name),
        node,
        way,
        preamble: None,
        mode,
        limits: state.config.stream_limits(),
        warm,
        tallies: Tallies::default(),
    })
}

/// Asks a rule's proxy for the first address that passed the policy: what was checked is what is
/// dialled.
pub(super) fn proxied(
    state: &State,
    (index, spec): (usize, &ProxySpec),
    addresses: &[IpAddr],
    asked: &Target,
) -> Result<Way, Refusal> {
    let Some(address) = addresses.first() else {
        return Err(refusal::no_rule(asked));
    };
    Ok(Way::Proxy(Proxy {
        name: Arc::clone(&spec.name),
        at: spec.at.clone(),
        tls: state.material.proxies.get(index).cloned().flatten(),
        target: Target {
            host: Host::Ip(*address),
            port: asked.port,
        },
    }))
}

/// Leads a name that has no address here to an agent, which resolves it, by the rule at an index.
async fn by_name(
    state: &Arc<State>,
    leaves: &Arc<LeafStore>,
    (asked, hop): (&Target, bool),
    (index, began): (usize, Instant),
) -> Result<Connect, Refusal> {
    let Some(rule) = state.config.egress.rules.get(index) else {
        return Err(refusal::no_rule(asked));
    };
    let source = LeafSource {
        state,
        leaves,
        began,
    };
    let mode = match hop {
        true => Mode::Splice,
        false => mode(&source, index, rule, asked, None).await?,
    };
    let routes = vec![Route::Name(asked.host.to_string())];
    let mut through = behind::by_routes(state, routes, asked.clone(), hop);
    through.inner_only = behind::inner_only(state, &mode);
    Ok(Connect {
        generation: state.generation,
        rule: Arc::clone(&rule.name),
        node: None,
        way: Way::Tunnel(through),
        preamble: None,
        mode,
        limits: state.config.stream_limits(),
        warm: None,
        tallies: Tallies::default(),
    })
}

/// Leaves a tenth of the verdict's time to policy and leaf.
pub(super) fn lookup_deadline(verdict: Duration) -> Duration {
    verdict * 9 / 10
}

fn report_dropped(request: &StreamRequest, dropped: &[Denied]) {
    for Denied { address, cause } in dropped {
        let (id, destination) = (request.id, &request.target);
        tracing::info!(stream = %id, %destination, %address, "address is not dialled: {cause}");
    }
}

async fn mode(
    source: &LeafSource<'_>,
    index: usize,
    rule: &Rule,
    asked: &Target,
    node: Option<Arc<str>>,
) -> Result<Mode, Refusal> {
    let state = source.state;
    match &rule.action {
        RuleAction::Deny => Err(refusal::internal(rule, "a deny rule was selected")),
        RuleAction::Splice => Ok(Mode::Splice),
        RuleAction::Originate(upstream) => Ok(Mode::Originate(target_tls(
            state, index, rule, asked, upstream, None,
        )?)),
        RuleAction::TerminateOpaque(upstream) if !upstream.server_names.is_empty() => {
            let ends = EndsByName(source.deferred(index, asked));
            Ok(Mode::TerminateNamed(Arc::new(ends)))
        }
        RuleAction::TerminateOpaque(upstream) => Ok(Mode::Terminate(Terminate {
            upstream: target_tls(state, index, rule, asked, upstream, None)?,
            downstream: source
                .leaf(rule, &asked.host, None, ClientAuth::None)
                .await?,
            inside: Inside::Opaque,
        })),
        RuleAction::TerminateKubelet => {
            let Some(kubelet) = &state.material.kubelet else {
                return Err(refusal::internal(rule, "the kubelet section is missing"));
            };
            let upstream = kubelet_tls(kubelet, rule, asked, node.clone())?;
            if node.is_none() {
                let leaf = LeafOfPeer {
                    stream: source.deferred(index, asked),
                    verification: Arc::clone(&upstream.verification),
                };
                return Ok(Mode::TerminateVerified(TerminateVerified {
                    leaf: Arc::new(leaf),
                    upstream,
                    inside: Inside::Kubelet(Arc::clone(&kubelet.actions)),
                }));
            }
            Ok(Mode::Terminate(Terminate {
                upstream,
                downstream: source
                    .leaf(rule, &asked.host, node, ClientAuth::Required)
                    .await?,
                inside: Inside::Kubelet(Arc::clone(&kubelet.actions)),
            }))
        }
    }
}

/// How the next stream to a kubelet finds a connection that is made already, if that is configured.
fn warm(state: &State, rule: &Rule, asked: &Target, node: Option<&Arc<str>>) -> Option<Warm> {
    let wanted = state
        .config
        .kubelet
        .as_ref()
        .is_some_and(|kubelet| kubelet.warm);
    if !wanted || !matches!(rule.action, RuleAction::TerminateKubelet) {
        return None;
    }
    let kubelet = state.material.kubelet.as_ref()?;
    Some(Warm {
        tls: kubelet_tls(kubelet, rule, asked, node.cloned()).ok()?,
        lifetime: SPARE_LIFETIME,
        until: kubelet.client_until,
    })
}

pub(super) fn kubelet_tls(
    kubelet: &KubeletMaterial,
    rule: &Rule,
    asked: &Target,
    node: Option<Arc<str>>,
) -> Result<UpstreamTls, Refusal> {
    let spec = UpstreamSpec {
        trust: Arc::clone(&kubelet.trust),
        expected: Expected::kubelet(asked.host.clone(), asked.port, node),
        client: Some(Arc::clone(&kubelet.client)),
    };
    upstream_tls(spec).map_err(|error| refusal::unverifiable(rule, &error))
}

/// Verifies a target as the rule says, or by the `name` that a client asked for.
pub(super) fn target_tls(
    state: &State,
    index: usize,
    rule: &Rule,
    asked: &Target,
    upstream: &Upstream,
    name: Option<&Host>,
) -> Result<UpstreamTls, Refusal> {
    let Some(trust) = state.material.targets.get(index).and_then(Option::as_ref) else {
        return Err(refusal::internal(rule, "the rule's trust is missing"));
    };
    let (names, server_name) = match name {
        Some(name) => (Arc::from([name.clone()]), Some(name.clone())),
        None => (Arc::clone(&upstream.names), upstream.server_name.clone()),
    };
    let spec = UpstreamSpec {
        trust: Arc::clone(trust),
        expected: Expected::target(asked.host.clone(), asked.port, names, server_name),
        client: None,
    };
    upstream_tls(spec).map_err(|error| refusal::unverifiable(rule, &error))
}

/// Where one stream's leaf comes from.
pub(super) struct LeafSource<'a> {
    pub(super) state: &'a Arc<State>,
    pub(super) leaves: &'a Arc<LeafStore>,
    /// When the verdict was asked for.
    pub(super) began: Instant,
}

impl LeafSource<'_> {
    /// What the stream needs when a handshake has told more. Runs in control's runtime.
    fn deferred(&self, index: usize, asked: &Target) -> Deferred {
        Deferred {
            state: Arc::clone(self.state),
            leaves: Arc::clone(self.leaves),
            index,
            asked: asked.clone(),
            runtime: Handle::current(),
        }
    }

    /// Finds the leaf for what was asked, or gets it.
    pub(super) async fn leaf(
        &self,
        rule: &Rule,
        host: &Host,
        node: Option<Arc<str>>,
        client_auth: ClientAuth,
    ) -> Result<DownstreamTls, Refusal> {
        let host = host.clone();
        let named = Named { host, node };
        match &self.state.material.leaf_requests {
            Some(requests) => self.ask(requests, rule, &named, client_auth).await,
            None => self.issue(rule, named, client_auth).await,
        }
    }

    /// Asks the authority, and ends before `timeouts.verdict` does, so that the user hears why.
    async fn ask(
        &self,
        requests: &Arc<LeafRequests>,
        rule: &Rule,
        named: &Named,
        client_auth: ClientAuth,
    ) -> Result<DownstreamTls, Refusal> {
        let whole = self.state.config.timeouts.verdict * 19 / 20;
        let patience = whole.saturating_sub(self.began.elapsed());
        let now = SystemTime::now();
        let leaf = self.leaves.find(requests, named, now, patience).await;
        let config = leaf.and_then(|leaf| requests.tls_server(&named.host, leaf, client_auth));
        config.map_err(|error| refusal::no_leaf(rule, &error))
    }

    /// A signature by the CA's key may take a millisecond, so it is made where blocking is allowed.
    async fn issue(
        &self,
        rule: &Rule,
        Named { host, node }: Named,
        client_auth: ClientAuth,
    ) -> Result<DownstreamTls, Refusal> {
        let Some(issuer) = &self.state.material.issuer else {
            return Err(refusal::internal(rule, "the egress CA is missing"));
        };
        let now = SystemTime::now();
        if let Some(config) = issuer.cached(&host, node.as_ref(), client_auth, now) {
            return Ok(config);
        }
        let issuer = Arc::clone(issuer);
        let issued = tokio::task::spawn_blocking(move || {
            issuer.tls_server(&host, node.as_ref(), client_auth, now)
        })
        .await;
        match issued {
            Ok(Ok(config)) => Ok(config),
            Ok(Err(error)) => Err(refusal::no_leaf(rule, &error)),
            Err(_) => Err(refusal::internal(rule, "the leaf's issuer stopped")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn is_local_knows_this_host_from_others() {
        assert!(is_local("127.0.0.1".parse().unwrap()));
        assert!(is_local("127.8.8.8".parse().unwrap()));
        assert!(!is_local("192.0.2.1".parse().unwrap()));
    }
}
