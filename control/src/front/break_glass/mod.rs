//! Break-glass: while no API server can be asked, a few people may have a few streams, by what API
//! servers said before.
//!
//! It is in force only while every API server has failed on two paths for some time. It allows what
//! a local rule allows and what the user had lately on the short way, to where the pod was seen
//! last, and nothing else. It takes certificates of a CA of its own, and no tokens.

mod drill;
mod holder;
mod judge;
mod kept;
mod limits;
mod objects;
mod rules;
mod status;
mod vantage;
mod warm;

pub(crate) use kept::Kept;

use super::servers::{Need, Servers, Standing};
use super::short::{Kubelets, Place, Remembers, Review, Short};
use crate::config::{AddressType, Admission, BreakGlassRule, BreakGlassSettings, Config};
use crate::material::BreakGlassMaterial;
use eyesplice_dataplane::seam::ApiRequest;
use eyesplice_proto::api::{PodStream, Subresource};
use holder::{Holder, NoHolder, holder};
use kept::Outcome;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use vantage::Vantage;

/// Break-glass of one configuration.
#[derive(Debug)]
pub(crate) struct BreakGlass {
    settings: BreakGlassSettings,
    address_types: Vec<AddressType>,
    clients: Arc<dyn ClientCertVerifier>,
    servers: Arc<Servers>,
    vantage: Vantage,
    need: Need,
    kept: Arc<Kept>,
}

/// What a certificate of the CA for break-glass claims.
pub(super) type Claim = Result<Holder, NoHolder>;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    user: &'a str,
    stream: &'a PodStream,
    verbs: &'a [&'static str],
}

/// Why a wish would be granted.
#[derive(Debug)]
pub(super) struct Permit {
    review: Review,
    place: Place,
    /// When the pod was seen there.
    seen: SystemTime,
    rule: Arc<str>,
}

/// Why a wish is not granted, whatever API servers do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denial {
    #[error(
        "{user:?} had no {stream} of pod {pod} by {verbs} on the short way in the last {within:?}, \
         so nothing is known to allow it; see front.breakGlass.reviewedWithin"
    )]
    Unreviewed {
        user: String,
        stream: &'static str,
        pod: String,
        verbs: String,
        within: Duration,
    },
    #[error(
        "{user:?} could not get pod {pod} itself when API servers were asked, which kubectl does \
         before it opens a stream"
    )]
    Unread { user: String, pod: String },
    #[error("it is not known where pod {0} is")]
    Unplaced(String),
    #[error("no rule of front.breakGlass.allow allows {user:?} {stream} of pod {pod}")]
    Unruled {
        user: String,
        stream: &'static str,
        pod: String,
    },
}

impl BreakGlass {
    /// Makes that of a configuration, if it has one.
    pub(super) fn new(
        config: &Config,
        material: Option<&BreakGlassMaterial>,
        servers: &Arc<Servers>,
        kept: &Arc<Kept>,
    ) -> Option<Self> {
        let parts = config.front.break_glass.as_ref().zip(material);
        let Some(((settings, material), short_way)) = parts.zip(config.front.short_way.as_ref())
        else {
            // Nobody would ask again about what is remembered.
            kept.memory.clear();
            return None;
        };
        if short_way.admission == Admission::Pass {
            for subresource in Subresource::ALL.iter().filter(|it| it.upgrades()) {
                kept.memory.forget_kind(*subresource);
            }
        }
        Some(Self {
            settings: settings.clone(),
            address_types: short_way.address_types.clone(),
            clients: Arc::clone(&material.clients),
            vantage: Vantage::new(material.vantage.clone(), servers),
            servers: Arc::clone(servers),
            need: Need {
                failures: settings.failures,
                after: settings.after,
                // A look may be as old as the next one takes, and once more.
                fresh: (servers.interval() + vantage::PATIENCE) * 2,
            },
            kept: Arc::clone(kept),
        })
    }

    /// What streams are remembered in that a rule may allow.
    pub(super) fn remembers(&self) -> Remembers {
        let rules: Arc<[BreakGlassRule]> = self.settings.allow.as_slice().into();
        Remembers {
            memory: Arc::clone(&self.kept.memory),
            worth: Box::new(move |user, stream| rules::may_allow(&rules, user, stream)),
        }
    }

    /// Why it is not in force; `None`: it is.
    pub(super) fn why_not(&self, now: Instant) -> Option<String> {
        let own = self.servers.sights();
        let other = self.vantage.sights();
        if own.is_empty() || own.len() != other.len() {
            return Some("there are no API servers".to_owned());
        }
        for (name, sight) in &own {
            match sight.standing(&self.need, now) {
                Standing::Down => {}
                up => return Some(format!("API server {name} {up}")),
            }
        }
        let names = own.iter().map(|(name, _)| name);
        for (name, sight) in names.zip(&other) {
            match sight.standing(&self.need, now) {
                Standing::Down => {}
                up => return Some(format!("from the vantage API server {name} {up}")),
            }
        }
        None
    }

    /// Says whether a wish would be granted if it were in force.
    fn permit(&self, wish: Wish<'_>, now: SystemTime) -> Result<Permit, Denial> {
        let Wish {
            user,
            stream,
            verbs,
        } = wish;
        let lately = (now, self.settings.reviewed_within);
        let memory = &self.kept.memory;
        let pod = || format!("{}/{}", stream.namespace, stream.pod);
        let kind = stream.subresource.as_str();
        let unruled = || Denial::Unruled {
            user: user.to_owned(),
            stream: kind,
            pod: pod(),
        };
        if !rules::any_has(&self.settings.allow, stream) {
            return Err(unruled());
        }
        let Some(review) = memory.review(user, (stream, verbs), lately) else {
            return Err(Denial::Unreviewed {
                user: user.to_owned(),
                stream: kind,
                pod: pod(),
                verbs: verbs.join(" and "),
                within: self.settings.reviewed_within,
            });
        };
        let place = memory.place(stream, lately);
        let (place, seen) = place.ok_or_else(|| Denial::Unplaced(pod()))?;
        match rules::allowing(&self.settings.allow, &review.user, stream, &place) {
            Some(rule) => Ok(Permit {
                rule: Arc::clone(&rule.name),
                review,
                place,
                seen,
            }),
            None => Err(unruled()),
        }
    }

    /// Says whether a user would be given a pod: by any stream of it, and only if the user could
    /// get the pod itself.
    fn permit_to_read(
        &self,
        user: &str,
        stream: &PodStream,
        now: SystemTime,
    ) -> Result<Permit, Denial> {
        let mut closest = None;
        for subresource in Subresource::ALL {
            let stream = PodStream {
                subresource: *subresource,
                ..stream.clone()
            };
            let wish = Wish {
                user,
                stream: &stream,
                // The least that any way to ask for it needs.
                verbs: match subresource.upgrades() {
                    true => &["create"],
                    false => &["get"],
                },
            };
            match self.permit(wish, now) {
                Ok(permit) if permit.review.reads => return Ok(permit),
                Ok(_) => {
                    closest = Some(Denial::Unread {
                        user: user.to_owned(),
                        pod: format!("{}/{}", stream.namespace, stream.pod),
                    });
                }
                // What was not reviewed says less than what stands in the way of what was, and
                // that no rule has another stream of the pod says nothing.
                Err(Denial::Unreviewed { .. }) => {}
                Err(Denial::Unruled { .. }) if !rules::any_has(&self.settings.allow, &stream) => {}
                Err(denial) => closest = closest.or(Some(denial)),
            }
        }
        Err(closest.unwrap_or_else(|| Denial::Unreviewed {
            user: user.to_owned(),
            stream: "stream",
            pod: format!("{}/{}", stream.namespace, stream.pod),
            verbs: "get or create".to_owned(),
            within: self.settings.reviewed_within,
        }))
    }

    /// Looks through the vantage, and says so if that changed anything. Gives the pause until the
    /// next look.
    pub(super) async fn look(&self) -> Duration {
        self.vantage.look().await;
        let why_not = self.why_not(Instant::now());
        self.kept.stands(why_not.as_deref(), SystemTime::now());
        self.servers.interval()
    }

    /// Asks again about what is remembered, and keeps kubelets warm. Gives the pause until the next
    /// round.
    pub(super) async fn keep(&self, short: &Short, kubelets: &dyn Kubelets) -> Duration {
        let memory = &self.kept.memory;
        let now = SystemTime::now();
        memory.expire(now, self.settings.reviewed_within);
        if self.servers.any_well() {
            let well = || self.servers.any_well();
            short.recheck(memory, now, well).await;
        }
        // As they are by now: what a kubelet says while they fail, it remembers.
        let well = self.servers.any_well();
        let places: Vec<Place> = memory.places().into_iter().map(|(_, it)| it).collect();
        let around = (&*self.address_types, &*places);
        self.kept.warm.round(kubelets, around, well).await;
        self.settings.refresh
    }

    /// What the certificate of a request claims; `None`: it is of another CA.
    pub(super) fn claim(&self, request: &ApiRequest, now: SystemTime) -> Option<Claim> {
        holder(&*self.clients, request.chain.as_ref()?, now)
    }

    fn count(&self, outcome: Outcome) {
        self.kept.count(outcome);
    }
}
