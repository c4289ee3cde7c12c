//! Looks at all CSRs whenever one changed, and brings forward what can be, while this replica leads.
//!
//! As the controller of an authority of its own: there is no queue that could be lost.

use super::super::approve::Left;
use super::super::checks::Checker;
use super::super::object::{APPROVED, DENIED, FAILED};
use super::super::pending::Pending;
use super::super::say;
use super::fair;
use super::foreign::is_ours;
use super::lease::Leadership;
use super::material::ClusterMaterial;
use super::nodes::Claims;
use super::object::{ApiCsr, certificate, name, read, uid, version};
use super::standing::{Standing, has};
use super::watched::{Seen, State};
use super::worker::{Outcome, Worker};
use arc_swap::ArcSwap;
use eyesplice_identity::inventory::Inventory;
use eyesplice_identity::x509::Signer;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::resolve::Lookup;
use futures_util::{StreamExt, stream};
use kube::Client;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// CSRs that are worked on at a time: the API server's own limits for one client are near.
const AT_A_TIME: usize = 8;

/// First and longest pause after a failure; it doubles in between.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Between two looks at what was left: RBAC may have changed, which nobody tells.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// Between two looks at everything: material that changed, ages in metrics.
const SWEEP: Duration = Duration::from_secs(10);

/// Works on CSRs while this replica leads.
pub(super) struct Controller {
    pub(super) client: Client,
    pub(super) material: Arc<ArcSwap<ClusterMaterial>>,
    pub(super) seen: Seen,
    pub(super) leadership: Leadership,
    pub(super) insecure_group: Option<String>,
    pub(super) metrics: Arc<Metrics>,
    checker: Arc<Checker>,
    memory: Memory,
}

/// What was found out under one generation of material and nodes.
#[derive(Default)]
struct Memory {
    material: Option<Arc<ClusterMaterial>>,
    /// Node objects as of so many changes.
    claims: Option<(u64, Arc<Claims>)>,
    /// CSRs that rest, by UID.
    rests: HashMap<String, Rest>,
    /// Certificates whose issuer was looked at, by UID.
    verified: HashSet<String>,
    /// Who holds client certificates.
    standing: Standing,
    /// Requesters who wait for too many.
    braked: HashSet<String>,
    /// More was due than is worked on in one turn.
    more: bool,
}

/// A CSR as it was last worked on.
struct Rest {
    /// Its resource version then.
    version: String,
    left: Option<Left>,
    pause: Duration,
    until: Option<Instant>,
}

impl Controller {
    pub(super) fn new(
        client: Client,
        material: Arc<ArcSwap<ClusterMaterial>>,
        seen: Seen,
        leadership: Leadership,
        insecure_group: Option<String>,
        metrics: Arc<Metrics>,
        lookup: Arc<dyn Lookup>,
    ) -> Self {
        Self {
            checker: Arc::new(Checker::new(lookup, Arc::clone(&metrics))),
            client,
            material,
            seen,
            leadership,
            insecure_group,
            metrics,
            memory: Memory::default(),
        }
    }

    /// Works until leadership is lost or the future is dropped; writes under way are dropped with it.
    pub(super) async fn run(&mut self) {
        let started = OffsetDateTime::from(SystemTime::now());
        // What was found out in an earlier term, another replica may have changed.
        self.memory = Memory::default();
        self.checker.clear();
        let checker = Arc::clone(&self.checker);
        let mut leadership = self.leadership.clone();
        let (mut csrs, mut nodes) = (self.seen.csrs.subscribe(), self.seen.nodes.subscribe());
        let work = async {
            loop {
                csrs.mark_unchanged();
                nodes.mark_unchanged();
                if self.sees() {
                    self.turn(started).await;
                }
                let next = self.next_look();
                tokio::select! {
                    changed = either(&mut csrs, &mut nodes) => if !changed { return },
                    () = checker.changed() => {}
                    () = sleep_until(next) => {}
                }
            }
        };
        tokio::select! {
            () = work => {}
            () = leadership.lost() => {}
        }
        self.checker.clear();
        Pending::default().show(&self.metrics);
    }

    /// Everything that is needed was listed.
    fn sees(&self) -> bool {
        let nodes = !self.material.load().asks_nodes() || self.seen.nodes.state().listed;
        self.seen.csrs.state().listed && nodes
    }

    /// Looks at every CSR once.
    async fn turn(&mut self, started: OffsetDateTime) {
        let material = self.material.load_full();
        self.refresh(&material);
        let objects = self.seen.csrs.all();
        let now = Instant::now();
        let due = objects.iter().filter(|object| self.is_due(object, now));
        let due: Vec<Arc<ApiCsr>> = due.cloned().collect();
        self.memory.more = due.len() > fair::TURN;
        let due = fair::pick(due);
        self.brake(&objects, &material);
        let known = self.memory.standing.look(&objects);
        let claims = material.asks_nodes().then(|| self.memory.claims.clone());
        let worker = Worker {
            client: self.client.clone(),
            material: Arc::clone(&material),
            claims: claims.flatten().map(|(_, claims)| claims),
            checker: Arc::clone(&self.checker),
            known,
            braked: self.memory.braked.clone(),
            insecure_group: self.insecure_group.clone(),
            leadership: self.leadership.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        let worker = &worker;
        let outcomes = stream::iter(due).map(|object| async move {
            let outcome = worker.work(Arc::clone(&object)).await;
            (object, outcome)
        });
        let mut outcomes = outcomes.buffer_unordered(AT_A_TIME);
        while let Some((object, outcome)) = outcomes.next().await {
            self.rest(&object, outcome);
        }
        drop(outcomes);
        for object in &objects {
            self.look_for_foreign(object, &material, started);
        }
        self.show(&objects);
        let alive: HashSet<&str> = objects.iter().map(|object| uid(object)).collect();
        self.memory.rests.retain(|uid, _| alive.contains(&**uid));
        self.memory.verified.retain(|uid| alive.contains(&**uid));
        let undecided = objects.iter().filter(|object| is_undecided(object));
        let undecided = undecided.map(|object| uid(object)).collect();
        self.checker.retain(&undecided);
    }

    /// Forgets what was found out under other material or nodes.
    fn refresh(&mut self, material: &Arc<ClusterMaterial>) {
        let memory = &mut self.memory;
        let same = memory.material.as_ref();
        let mut same = same.is_some_and(|known| Arc::ptr_eq(known, material));
        if !same {
            // Not with Nodes: they change all the time, and what was found out is weighed by what
            // they say now.
            self.checker.clear();
        }
        memory.material = Some(Arc::clone(material));
        let State { changes, .. } = self.seen.nodes.state();
        if memory.claims.as_ref().is_none_or(|(of, _)| *of != changes) {
            let claims = Arc::new(Claims::new(&self.seen.nodes.named()));
            memory.claims = Some((changes, claims));
            same = false;
        }
        if !same {
            memory.rests.retain(|_, rest| rest.left.is_none());
        }
    }

    /// Finds the requesters who wait for more first certificates than there are nodes, and some.
    fn brake(&mut self, objects: &[Arc<ApiCsr>], material: &ClusterMaterial) {
        let Some(margin) = material.config.approval.max_pending else {
            self.memory.braked.clear();
            return;
        };
        let claims = self.memory.claims.as_ref();
        let seen = claims.map_or(0, |(_, claims)| claims.inventory.len());
        let known = material.inventory.as_ref().map_or(seen, Inventory::len);
        let most = known.saturating_add(margin);
        let undecided = objects.iter().filter(|object| is_undecided(object));
        let waiting = fair::waiting(undecided);
        let over: HashSet<String> = waiting
            .into_iter()
            .filter(|(_, count)| *count > most)
            .map(|(user, _)| user.to_owned())
            .collect();
        for object in objects {
            let user = object.spec.username.as_deref().unwrap_or_default();
            if over.contains(user)
                && self.memory.braked.insert(user.to_owned())
                && let Ok(object) = read(object)
            {
                say::braked(&object, most);
            }
        }
        self.memory.braked = over;
    }

    /// It is for a signer of ours, undecided or unsigned, and does not rest.
    fn is_due(&self, object: &ApiCsr, now: Instant) -> bool {
        if !self.is_ours(object) || !is_open(object) {
            return false;
        }
        let rest = self.memory.rests.get(uid(object));
        rest.is_none_or(|rest| {
            let checked =
                rest.left.is_some_and(Left::is_check) && self.checker.waits(uid(object)).is_none();
            checked
                || rest.version != version(object)
                || rest.until.is_some_and(|until| until <= now)
        })
    }

    fn is_ours(&self, object: &ApiCsr) -> bool {
        let signer = Signer::by_name(&object.spec.signer_name);
        let material = self.memory.material.as_ref();
        signer
            .zip(material)
            .is_some_and(|(signer, material)| material.signers.contains_key(&signer))
    }

    fn rest(&mut self, object: &ApiCsr, outcome: Outcome) {
        let now = Instant::now();
        let before = self.memory.rests.remove(uid(object));
        let (left, pause, until) = match outcome {
            // Until the watch shows what was written.
            Outcome::Done => (None, FIRST_PAUSE, None),
            Outcome::Left(left) => {
                if before
                    .as_ref()
                    .is_none_or(|before| before.left != Some(left))
                {
                    say(object, left);
                }
                // The checker knows when to look again.
                let until = (!left.is_check()).then(|| now + LOOK_AGAIN);
                (Some(left), FIRST_PAUSE, until)
            }
            Outcome::Failed => {
                let failed_before = before.filter(|before| before.until.is_some());
                let pause = failed_before.map_or(FIRST_PAUSE, |b| (b.pause * 2).min(LONGEST_PAUSE));
                (None, pause, Some(now + pause))
            }
        };
        let rest = Rest {
            version: version(object).to_owned(),
            left,
            pause,
            until,
        };
        self.memory.rests.insert(uid(object).to_owned(), rest);
    }

    /// Warns of a certificate that another signer issued since this replica leads.
    fn look_for_foreign(
        &mut self,
        object: &ApiCsr,
        material: &ClusterMaterial,
        started: OffsetDateTime,
    ) {
        let Some(pem) = certificate(object) else {
            return;
        };
        let created = object.metadata.creation_timestamp.as_ref();
        let new = created.is_some_and(|at| at.0.as_second() >= started.unix_timestamp());
        let signer = Signer::by_name(&object.spec.signer_name);
        let ca = signer.and_then(|signer| Some((signer, material.signers.get(&signer)?)));
        let Some((signer, ca)) = ca.filter(|_| new) else {
            return;
        };
        if !self.memory.verified.insert(uid(object).to_owned()) || is_ours(pem, &ca.authority) {
            return;
        }
        self.metrics.cluster.foreign(signer.name());
        tracing::error!(
            csr = name(object),
            %signer,
            "another signer issued this certificate, by a CA that is not ours; run \
             kube-controller-manager with --controllers=*,-csrsigning,-csrapproving, or leave this \
             signer out of `signers`"
        );
    }

    fn show(&self, objects: &[Arc<ApiCsr>]) {
        let now = OffsetDateTime::from(SystemTime::now());
        let mut pending = Pending::default();
        for object in objects {
            let rest = self.memory.rests.get(uid(object));
            let left = rest.filter(|rest| rest.version == version(object));
            if let Some(left) = left.and_then(|rest| rest.left)
                && let Ok(object) = read(object)
            {
                pending.add(&object, left, now);
            }
        }
        pending.show(&self.metrics);
    }

    /// When something is to be looked at though nothing changed.
    fn next_look(&self) -> Instant {
        let rests = self.memory.rests.values().filter_map(|rest| rest.until);
        if self.memory.more {
            return Instant::now();
        }
        let sweep = Instant::now() + SWEEP;
        rests
            .chain(self.checker.due())
            .min()
            .map_or(sweep, |first| first.min(sweep))
    }
}

/// Nobody decided about it, or it waits for its signature.
fn is_open(object: &ApiCsr) -> bool {
    !has(object, FAILED) && !has(object, DENIED) && certificate(object).is_none()
}

/// Nobody decided about it.
fn is_undecided(object: &ApiCsr) -> bool {
    is_open(object) && !has(object, APPROVED)
}

/// Waits for a change of either; false if there will be none.
async fn either(one: &mut watch::Receiver<State>, other: &mut watch::Receiver<State>) -> bool {
    tokio::select! {
        changed = one.changed() => changed.is_ok(),
        changed = other.changed() => changed.is_ok(),
    }
}

fn say(object: &ApiCsr, left: Left) {
    let (csr, user) = (name(object), object.spec.username.as_deref());
    match left {
        Left::UnknownNode => tracing::warn!(
            csr,
            user,
            "CSR waits: nothing is known of its node; register the Node, or list it in \
             approval.inventoryFile, or decide with kubectl certificate approve|deny"
        ),
        Left::UnknownGateway => tracing::warn!(
            csr,
            user,
            "CSR waits: its gateway is not known; add it to approval.gateways, or decide with kubectl \
             certificate approve|deny"
        ),
        // A check tells of itself, and so do these.
        Left::Brake | Left::Refused => {}
        left if left.is_check() => {}
        left => tracing::info!(csr, user, why = left.as_str(), "CSR waits"),
    }
}
