//! Approves, signs and cleans: looks at every object whenever one changed.
//!
//! It keeps no queue that could be lost: what is to be done is what the store says, so after a crash
//! the next turn goes on where the last one was cut. Each step is one transaction.

use super::approve::{Decision, First, Left, OnRefusal, Policy, decide};
use super::checks::{Checker, Subject};
use super::clean::{due, due_of_stranger};
use super::held::Held;
use super::limits;
use super::material::AuthorityMaterial;
use super::object::{APPROVED, CertificateSigningRequest, Condition, DENIED, FAILED, Timestamp};
use super::pending::{Pending, label};
use super::say;
use super::sign::{SignError, sign};
use super::standing::Standing;
use super::store::{Change, Object, Store, StoreError};
use arc_swap::ArcSwap;
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::token::bootstrap::Bound;
use eyesplice_identity::x509::{CertificateRequest, Signer};
use eyesplice_process::metrics::Metrics;
use eyesplice_process::resolve::{Lookup, SystemLookup};
use eyesplice_proto::causes::chain;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;
use time::OffsetDateTime;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, sleep_until};

/// Approves, signs and cleans.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) store: Arc<Store>,
    pub(super) material: Arc<ArcSwap<AuthorityMaterial>>,
    pub(super) insecure_group: Option<String>,
    pub(super) metrics: Arc<Metrics>,
    checker: Arc<Checker>,
    memory: Memory,
}

/// What was found out under one generation of material, so that it is not found out at each turn.
#[derive(Debug, Default)]
struct Memory {
    /// Which material.
    of: Option<Arc<AuthorityMaterial>>,
    /// Why a pending CSR is left, by UID.
    left: HashMap<String, Left>,
    /// Approved CSRs whose failure to be signed was logged, by UID.
    stuck: HashSet<String>,
    /// Requesters who wait for too many, as far as that was said.
    braked: HashSet<String>,
}

/// Why one object could not be worked on.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl Controller {
    pub(super) fn new(
        store: Arc<Store>,
        material: Arc<ArcSwap<AuthorityMaterial>>,
        insecure_group: Option<String>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let lookup = Arc::new(SystemLookup);
        Self::with_lookup(store, material, insecure_group, metrics, lookup)
    }

    /// As `new`, with another source of names.
    pub(super) fn with_lookup(
        store: Arc<Store>,
        material: Arc<ArcSwap<AuthorityMaterial>>,
        insecure_group: Option<String>,
        metrics: Arc<Metrics>,
        lookup: Arc<dyn Lookup>,
    ) -> Self {
        Self {
            checker: Arc::new(Checker::new(lookup, Arc::clone(&metrics))),
            store,
            material,
            insecure_group,
            metrics,
            memory: Memory::default(),
        }
    }

    /// Works until the task is dropped.
    pub(super) async fn run(self) {
        let mut changes = self.store.subscribe();
        let mut controller = self;
        let checker = Arc::clone(&controller.checker);
        let mut compact_at = Instant::now() + limits::COMPACT;
        loop {
            changes.mark_unchanged();
            let compact = Instant::now() >= compact_at;
            if compact {
                compact_at = Instant::now() + limits::COMPACT;
            }
            let turn = spawn_blocking(move || {
                let now = SystemTime::now();
                let mut result = controller.turn(now);
                if compact && result.is_ok() {
                    result = controller.store.compact(Timestamp::from(now));
                }
                (controller, result)
            });
            let Ok((back, result)) = turn.await else {
                tracing::error!("controller of the authority panicked; this is a bug");
                return;
            };
            controller = back;
            if let Err(error) = result {
                tracing::error!(
                    error = chain(&error),
                    "controller cannot write; it tries again"
                );
                sleep(limits::STORE_RETRY).await;
                continue;
            }
            let sweep = Instant::now() + limits::SWEEP;
            let next = checker.due().map_or(sweep, |due| due.min(sweep));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = checker.changed() => {}
                () = sleep_until(next) => {}
            }
        }
    }

    /// Looks at every object once. Blocks.
    pub(super) fn turn(&mut self, now: SystemTime) -> Result<(), StoreError> {
        let material = self.material.load_full();
        let same = self
            .memory
            .of
            .as_ref()
            .is_some_and(|of| Arc::ptr_eq(of, &material));
        if !same {
            self.memory = Memory::default();
            self.memory.of = Some(Arc::clone(&material));
            self.checker.clear();
        }
        let now = OffsetDateTime::from(now);
        let listing = self.store.list();
        let mut turn = Turn {
            objects: &listing.objects,
            material: &material,
            now,
            pending: Pending::default(),
            standing: Standing::default(),
        };
        for object in &listing.objects {
            let step = if let Some(reason) = due(object, now) {
                self.clean(object, reason.as_str())
            } else if object.is_pending() {
                self.approve(object, &mut turn)
            } else if object.awaits_signature() {
                self.sign(object, &material, now)
            } else {
                Ok(())
            };
            match step {
                // Gone meanwhile, or changed: the next turn sees what it is.
                Ok(()) | Err(StoreError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let Turn {
            pending, standing, ..
        } = turn;
        self.memory.braked.retain(|user| standing.waits(user));
        let alive: HashSet<&str> = listing
            .objects
            .iter()
            .map(|o| o.metadata.uid.as_str())
            .collect();
        self.memory
            .left
            .retain(|uid, _| alive.contains(uid.as_str()));
        self.memory.stuck.retain(|uid| alive.contains(uid.as_str()));
        let undecided = listing.objects.iter().filter(|o| o.is_pending());
        let undecided = undecided.map(|o| o.metadata.uid.as_str()).collect();
        self.checker.retain(&undecided);
        pending.show(&self.metrics);
        Ok(())
    }

    fn clean(&self, object: &Object, reason: &'static str) -> Result<(), StoreError> {
        self.store.update(&object.metadata.name, |current| {
            let same = current.metadata.resource_version == object.metadata.resource_version;
            Ok::<_, StoreError>(if same { Change::Delete } else { Change::Keep })
        })?;
        self.metrics.authority.cleaned(reason);
        tracing::info!(
            csr = object.metadata.name,
            reason,
            "CSR removed: its time is over"
        );
        Ok(())
    }

    fn approve(&mut self, object: &Object, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        let uid = &object.metadata.uid;
        let left = self.memory.left.get(uid).copied();
        let left = left.or_else(|| self.checker.waits(uid));
        if let Some(left) = left.or_else(|| self.braked(object, turn)) {
            return self.leave(object, left, turn);
        }
        let approval = &turn.material.config.approval;
        let decision = self.decide(object, turn);
        let (kind, word, reason, message) = match decision {
            Decision::Approve { reason, message } => (APPROVED, "approved", reason, message),
            Decision::Deny { message, .. } if approval.on_refusal == OnRefusal::Leave => {
                say::refused(&object.metadata.name, &object.spec.username, &message);
                self.memory.left.insert(uid.clone(), Left::Refused);
                return self.leave(object, Left::Refused, turn);
            }
            Decision::Deny { reason, message } => (DENIED, "denied", reason, message),
            Decision::Leave(left) => {
                say::left(object, left);
                if !left.is_check() {
                    self.memory.left.insert(uid.clone(), left);
                }
                return self.leave(object, left, turn);
            }
        };
        let condition = Condition::new(kind, reason, message, Timestamp::new(turn.now));
        let mut written = false;
        self.store.update(&object.metadata.name, |current| {
            if current.metadata.uid != *uid || !current.is_pending() {
                return Ok::<_, StoreError>(Change::Keep);
            }
            let mut decided = current.clone();
            decided.status.conditions.push(condition.clone());
            written = true;
            Ok(Change::Put(decided))
        })?;
        if written {
            if kind == APPROVED {
                turn.standing.grants(object);
            }
            self.metrics.authority.decision(label(object), word);
            say::decided(object, word, &condition);
        }
        Ok(())
    }

    /// Leaves a CSR pending; one that nobody has heard of, not for long.
    fn leave(&self, object: &Object, left: Left, turn: &mut Turn<'_>) -> Result<(), StoreError> {
        if left.is_stranger()
            && let Some(reason) = due_of_stranger(object, turn.now)
        {
            return self.clean(object, reason.as_str());
        }
        turn.pending.add(object, left, turn.now);
        Ok(())
    }

    /// Says whether its requester waits for too many.
    fn braked(&mut self, object: &Object, turn: &mut Turn<'_>) -> Option<Left> {
        let margin = turn.material.config.approval.max_pending?;
        let known = turn.material.inventory.as_ref().map_or(0, Inventory::len);
        let most = known.saturating_add(margin);
        let Turn {
            objects, standing, ..
        } = turn;
        if !standing.brakes(object, objects, &turn.material.roles, most) {
            return None;
        }
        if self.memory.braked.insert(object.spec.username.clone()) {
            say::braked(object, most);
        }
        Some(Left::Brake)
    }

    fn decide(&self, object: &Object, turn: &mut Turn<'_>) -> Decision {
        let material = turn.material;
        let approval = &material.config.approval;
        let subject = Subject {
            uid: &object.metadata.uid,
            name: &object.metadata.name,
            approval,
            ca: material.signers.get(&Signer::KubeletServing),
        };
        // It was verified when it came; the store is trusted no more than that.
        let request = match CertificateRequest::read(&object.spec.request.0) {
            Ok(request) => request,
            Err(error) => {
                return Decision::Deny {
                    reason: "Unreadable",
                    message: error.to_string(),
                };
            }
        };
        let held = self.held(object, &request, turn);
        if held.is_none() && is_first(object, &request) && self.store.is_full_of_holders() {
            return Decision::Leave(Left::Brake);
        }
        let bound = Bound::of_extra(&object.spec.extra);
        self.checker.judge(subject, |evidence| {
            let policy = Policy {
                roles: &material.roles,
                reviewed: None,
                inventory: material.inventory.as_ref(),
                bootstrap_nodes: approval.bootstrap_nodes,
                gateways: &approval.gateways,
                agents: material.agents(),
                insecure_group: self.insecure_group.as_deref(),
                prefixes: &[],
                first: First {
                    now: turn.now,
                    bound: Some(&bound),
                    held: held.as_deref(),
                    window: approval.window,
                    names: &approval.node_names,
                },
                evidence,
            };
            decide(object, &request, &policy)
        })
    }

    /// Finds who has the name that a first client certificate is asked for, or is about to get it.
    fn held(
        &self,
        object: &Object,
        request: &CertificateRequest,
        turn: &mut Turn<'_>,
    ) -> Option<Arc<Held>> {
        if !is_first(object, request) {
            return None;
        }
        let name = request.common_names().first().copied()?;
        let held = self.store.holder(name);
        held.filter(|held| held.not_after.time() > turn.now)
            .or_else(|| turn.standing.granted(name, turn.objects))
    }

    fn sign(
        &mut self,
        object: &Object,
        material: &AuthorityMaterial,
        now: OffsetDateTime,
    ) -> Result<(), StoreError> {
        let Some(signer) = Signer::by_name(&object.spec.signer_name) else {
            return Ok(());
        };
        let Some(ca) = material.signers.get(&signer) else {
            return Ok(());
        };
        let uid = &object.metadata.uid;
        let signed = self.store.update(&object.metadata.name, |current| {
            if current.metadata.uid != *uid || !current.awaits_signature() {
                return Ok::<_, StepError>(Change::Keep);
            }
            Ok(sign(current, signer, ca, now)?)
        });
        match signed {
            Ok(object) => {
                let failed = object.condition(FAILED);
                let result = if failed.is_some() { "failed" } else { "signed" };
                self.metrics.authority.signature(signer.name(), result);
                tracing::info!(
                    csr = object.metadata.name,
                    signer = signer.name(),
                    user = object.spec.username,
                    result,
                    why = failed.map(|condition| condition.message.as_str()),
                    "CSR left the signer"
                );
                Ok(())
            }
            Err(StepError::Store(StoreError::SerialUsed { serial })) => {
                // Drawn by chance twice in 2^128, or by a broken random source: say it, draw again.
                tracing::error!(serial, "serial number was drawn twice; nothing was signed");
                Ok(())
            }
            Err(StepError::Store(error)) => Err(error),
            Err(StepError::Sign(error)) => {
                self.metrics.authority.signature(signer.name(), "error");
                if self.memory.stuck.insert(uid.clone()) {
                    let error = chain(&error);
                    tracing::error!(
                        csr = object.metadata.name,
                        error,
                        "CSR cannot be signed for now"
                    );
                }
                Ok(())
            }
        }
    }
}

/// One look at everything.
struct Turn<'a> {
    objects: &'a [Object],
    material: &'a AuthorityMaterial,
    now: OffsetDateTime,
    pending: Pending,
    standing: Standing,
}

/// A client certificate of a node or gateway is asked for by somebody else.
pub(super) fn is_first(object: &CertificateSigningRequest, request: &CertificateRequest) -> bool {
    let signer = Signer::by_name(&object.spec.signer_name);
    matches!(signer, Some(Signer::KubeletClient | Signer::GatewayClient))
        && request.common_names() != [object.spec.username.as_str()]
}

#[cfg(test)]
mod tests;
