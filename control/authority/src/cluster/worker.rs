//! Brings one CSR forward: approves or denies it, signs it.
//!
//! Each step is one conditional write of the object that was read, so of two that work on it one
//! fails, and a certificate once written is never replaced. What a crash interrupts is found again by
//! whoever leads next: the object says what is to be done.

use super::super::approve::{Decision, First, Left, OnRefusal, Policy, decide};
use super::super::checks::{Checker, Subject};
use super::super::controller::is_first;
use super::super::held::{Held, unsigned_until};
use super::super::object::{
    APPROVED, CertificateSigningRequest, Condition, DENIED, FAILED, Timestamp,
};
use super::super::say;
use super::super::sign::{SignError, sign};
use super::super::store::Change;
use super::fair;
use super::lease::Leadership;
use super::material::ClusterMaterial;
use super::nodes::Claims;
use super::object::{ApiCsr, name, read, uid, with_certificate, with_condition};
use super::review::review;
use super::standing::Known;
use crate::apiserver::{CallError, call};
use crate::apiserver::{Secrets, SecretsError};
use eyesplice_identity::inventory::HostAddress;
use eyesplice_identity::token::bootstrap::{Bound, TokenId, USER_PREFIX};
use eyesplice_identity::x509::{CertificateRequest, NODE_PREFIX, Signer};
use eyesplice_process::metrics::Metrics;
use eyesplice_proto::causes::chain;
use k8s_openapi::api::core::v1::Node;
use kube::api::PostParams;
use kube::{Api, Client};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;
use time::OffsetDateTime;

/// The resource in messages.
const CSRS: &str = "certificatesigningrequests.certificates.k8s.io";
const APPROVAL: &str = "certificatesigningrequests/approval";
const STATUS: &str = "certificatesigningrequests/status";

const NODES: &str = "nodes";

/// Steps of one CSR in one go: approval, signature, and what conflicts cost.
const STEPS: usize = 6;

/// Brings CSRs forward under one generation of material.
pub(super) struct Worker {
    pub(super) client: Client,
    pub(super) material: Arc<ClusterMaterial>,
    /// What Node objects say, if they are asked.
    pub(super) claims: Option<Arc<Claims>>,
    pub(super) checker: Arc<Checker>,
    /// Who holds client certificates.
    pub(super) known: Known,
    /// Requesters who wait for too many.
    pub(super) braked: HashSet<String>,
    pub(super) insecure_group: Option<String>,
    pub(super) leadership: Leadership,
    pub(super) metrics: Arc<Metrics>,
}

/// What became of a CSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing is left to be done.
    Done,
    /// It stays pending.
    Left(Left),
    /// It is to be tried again.
    Failed,
}

enum Step {
    Written(Box<ApiCsr>),
    Nothing,
    Left(Left),
}

/// Why a step was not made.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("cannot look up the bootstrap token of the requester")]
    Token(#[source] SecretsError),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error("the object is not of the form of certificates.k8s.io/v1")]
    Form(#[from] serde_json::Error),
    #[error("this replica leads no more")]
    Lapsed,
}

impl Worker {
    /// Does all that can be done about one CSR now.
    pub(super) async fn work(&self, object: Arc<ApiCsr>) -> Outcome {
        let mut current = Arc::unwrap_or_clone(object);
        for _ in 0..STEPS {
            match self.step(&current).await {
                Ok(Step::Written(next)) => current = *next,
                Ok(Step::Nothing) => return Outcome::Done,
                Ok(Step::Left(left)) => return Outcome::Left(left),
                Err(StepError::Call(CallError::Conflict { .. })) => {
                    match self.refresh(&current).await {
                        Ok(Some(fresh)) => current = fresh,
                        Ok(None) => return Outcome::Done,
                        Err(error) => return self.failed(&current, &error.into()),
                    }
                }
                Err(StepError::Call(CallError::Missing { .. })) => return Outcome::Done,
                Err(error) => return self.failed(&current, &error),
            }
        }
        Outcome::Failed
    }

    fn failed(&self, object: &ApiCsr, error: &StepError) -> Outcome {
        let signer = object.spec.signer_name.as_str();
        match error {
            StepError::Call(call) => {
                self.metrics.cluster.failed("write", CSRS, call.as_str());
            }
            StepError::Sign(_) => {
                let signer = Signer::by_name(signer).map_or("other", Signer::name);
                self.metrics.authority.signature(signer, "error");
            }
            _ => {}
        }
        let csr = name(object);
        let error = chain(error);
        tracing::warn!(
            csr,
            signer,
            error,
            "CSR cannot be brought forward; it is tried again"
        );
        Outcome::Failed
    }

    /// Reads an object again; `None` if it, or its namesake, is another one now.
    async fn refresh(&self, object: &ApiCsr) -> Result<Option<ApiCsr>, CallError> {
        let fresh = call("get", CSRS, self.csrs().get_opt(name(object))).await?;
        Ok(fresh.filter(|fresh| fresh.metadata.uid == object.metadata.uid))
    }

    async fn step(&self, object: &ApiCsr) -> Result<Step, StepError> {
        let known = Signer::by_name(&object.spec.signer_name);
        let Some((signer, ca)) = known.and_then(|s| Some((s, self.material.signers.get(&s)?)))
        else {
            return Ok(Step::Nothing);
        };
        let csr = read(object)?;
        let now = OffsetDateTime::from(SystemTime::now());
        if csr.is_pending() {
            return self.decide(object, &csr, signer, now).await;
        }
        if !csr.awaits_signature() {
            return Ok(Step::Nothing);
        }
        // Drawn again at each try: a serial number is only used once its certificate is written.
        let (changed, result) = match sign(&csr, signer, ca, now)? {
            Change::Sign { object: signed, .. } => (
                with_certificate(object.clone(), signed.status.certificate.0),
                "signed",
            ),
            Change::Put(refused) => match refused.condition(FAILED) {
                Some(condition) => (with_condition(object.clone(), condition)?, "failed"),
                None => return Ok(Step::Nothing),
            },
            Change::Delete | Change::Keep => return Ok(Step::Nothing),
        };
        let written = self.write("status", STATUS, &changed).await?;
        self.metrics.authority.signature(signer.name(), result);
        tracing::info!(
            csr = name(object),
            signer = signer.name(),
            user = csr.spec.username,
            result,
            "CSR left the signer"
        );
        Ok(Step::Written(Box::new(written)))
    }

    async fn decide(
        &self,
        object: &ApiCsr,
        csr: &CertificateSigningRequest,
        signer: Signer,
        now: OffsetDateTime,
    ) -> Result<Step, StepError> {
        if self.braked.contains(&csr.spec.username) && fair::is_first_of_node(object) {
            return Ok(Step::Left(Left::Brake));
        }
        let decision = match CertificateRequest::read(&csr.spec.request.0) {
            Ok(request) => self.judge(object, csr, &request, signer, now).await?,
            Err(error) => Decision::Deny {
                reason: "Unreadable",
                message: error.to_string(),
            },
        };
        let (kind, word, reason, message) = match decision {
            Decision::Approve { reason, message } => (APPROVED, "approved", reason, message),
            Decision::Deny { message, .. } if self.leaves_refused() => {
                say::refused(name(object), &csr.spec.username, &message);
                return Ok(Step::Left(Left::Refused));
            }
            Decision::Deny { reason, message } => (DENIED, "denied", reason, message),
            Decision::Leave(left) => return Ok(Step::Left(left)),
        };
        let condition = Condition::new(kind, reason, message, Timestamp::new(now));
        let decided = with_condition(object.clone(), &condition)?;
        let written = self.write("approval", APPROVAL, &decided).await?;
        self.metrics.authority.decision(signer.name(), word);
        say::decided(csr, word, &condition);
        Ok(Step::Written(Box::new(written)))
    }

    fn leaves_refused(&self) -> bool {
        self.material.config.approval.on_refusal == OnRefusal::Leave
    }

    /// Finds who has the name that a first client certificate is asked for: by the CSRs that are there,
    /// or because its Node is ready, which it is by a certificate that is valid.
    async fn held(
        &self,
        object: &ApiCsr,
        request: &CertificateRequest,
    ) -> Result<Option<Arc<Held>>, StepError> {
        let common_name = request.common_names().first().copied().unwrap_or_default();
        if let Some(held) = self.known.held(common_name, uid(object)) {
            return Ok(Some(held));
        }
        let Some(node) = common_name.strip_prefix(NODE_PREFIX) else {
            return Ok(None);
        };
        let nodes: Api<Node> = Api::all(self.client.clone());
        let found = call("get", NODES, nodes.get_opt(node)).await?;
        let Some(since) = found.as_ref().and_then(ready_since) else {
            return Ok(None);
        };
        Ok(Some(Arc::new(Held {
            issued: since,
            not_after: Timestamp::new(unsigned_until()),
            key: String::new(),
            brought_by: String::new(),
            seen: format!("Node {node} is ready"),
        })))
    }

    /// Gathers what the decision is made from, and makes it.
    async fn judge(
        &self,
        object: &ApiCsr,
        csr: &CertificateSigningRequest,
        request: &CertificateRequest,
        signer: Signer,
        now: OffsetDateTime,
    ) -> Result<Decision, StepError> {
        let user = csr.spec.username.as_str();
        let first = is_first(csr, request);
        let mut token = match user.strip_prefix(USER_PREFIX) {
            Some(id) if first => Some(self.token(id).await?),
            _ => None,
        };
        let held = if first {
            self.held(object, request).await?
        } else {
            None
        };
        let reviewed = match signer {
            Signer::KubeletClient => {
                let own = request.common_names() == [user];
                Some(review(&self.client, csr, own).await?)
            }
            _ => None,
        };
        let claims = self.claims.as_deref();
        if let (Signer::KubeletServing | Signer::EgressLeaf, Some(claims)) = (signer, claims)
            && let Some((name, nodes)) = claims.contested(asked(request))
        {
            tracing::warn!(
                user,
                %name,
                nodes = nodes.join(", "),
                "CSR waits: several Node objects claim a name of it; delete the Node that is gone, or \
                 find out who lies"
            );
            self.checker.forget(uid(object));
            return Ok(Decision::Leave(Left::Contested));
        }
        let inventory = self.material.inventory.as_ref();
        let approval = &self.material.config.approval;
        let subject = Subject {
            uid: uid(object),
            name: name(object),
            approval,
            ca: self.material.signers.get(&Signer::KubeletServing),
        };
        let decision = self.checker.judge(subject, |evidence| {
            let policy = Policy {
                roles: &self.material.roles,
                reviewed,
                inventory: inventory.or(claims.map(|claims| &claims.inventory)),
                bootstrap_nodes: approval.bootstrap_nodes,
                gateways: &approval.gateways,
                // Their tokens are reviewed by the authority that they come to, which is none here.
                agents: None,
                insecure_group: self.insecure_group.as_deref(),
                prefixes: if inventory.is_none() {
                    &approval.node_addresses
                } else {
                    &[]
                },
                first: First {
                    now,
                    bound: token.as_ref().and_then(|token| token.as_ref().ok()),
                    held: held.as_deref(),
                    window: approval.window,
                    names: &approval.node_names,
                },
                evidence,
            };
            decide(csr, request, &policy)
        });
        if !matches!(decision, Decision::Approve { .. }) {
            return Ok(decision);
        }
        if let (None, Some(id)) = (&token, user.strip_prefix(USER_PREFIX)) {
            token = Some(self.token(id).await?);
        }
        if let Some(Err(denial)) = token {
            return Ok(denial);
        }
        if first && !self.known.claim(object, user, signer, request) {
            // Another CSR of that name came first; the next turn sees what became of it.
            return Ok(Decision::Leave(Left::Checking));
        }
        Ok(decision)
    }

    /// Says whom a bootstrap token is for, or denies what was asked for with one that is good no more.
    async fn token(&self, id: &str) -> Result<Result<Bound, Decision>, StepError> {
        let why = match id.parse::<TokenId>() {
            Err(_) => format!("{id:?} is no ID of a bootstrap token"),
            Ok(id) => match Secrets::new(self.client.clone()).find(&id).await {
                Ok(Some(record)) => match record.usable(SystemTime::now()) {
                    Ok(()) => return Ok(Ok(record.bound)),
                    Err(refusal) => refusal.to_string(),
                },
                Ok(None) => format!(
                    "there is no bootstrap token {id} any more; it was deleted after this was asked for"
                ),
                Err(error @ SecretsError::Record { .. }) => error.to_string(),
                Err(error) => return Err(StepError::Token(error)),
            },
        };
        Ok(Err(Decision::Deny {
            reason: "BootstrapTokenInvalid",
            message: why,
        }))
    }

    /// Writes one subresource, if this replica still leads and the object is still as it was read.
    async fn write(
        &self,
        subresource: &str,
        resource: &'static str,
        object: &ApiCsr,
    ) -> Result<ApiCsr, StepError> {
        if !self.leadership.holds() {
            return Err(StepError::Lapsed);
        }
        let api = self.csrs();
        let parameters = PostParams::default();
        let replaced = api.replace_subresource(subresource, name(object), &parameters, object);
        Ok(call("update", resource, replaced).await?)
    }

    fn csrs(&self) -> Api<ApiCsr> {
        Api::all(self.client.clone())
    }
}

/// When a Node that is ready came to be.
fn ready_since(node: &Node) -> Option<Timestamp> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready")?;
    let created = node.metadata.creation_timestamp.as_ref()?;
    let created = OffsetDateTime::from_unix_timestamp(created.0.as_second()).ok()?;
    (ready.status == "True").then(|| Timestamp::new(created))
}

/// The names that a certificate is asked for.
fn asked(request: &CertificateRequest) -> impl Iterator<Item = HostAddress> {
    let addresses = request.ips.iter();
    let addresses = addresses.map(|ip| HostAddress::Ip(ip.to_canonical()));
    let names = request.dns.iter();
    addresses.chain(names.map(|name| HostAddress::Dns(name.to_ascii_lowercase())))
}
