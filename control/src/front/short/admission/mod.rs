//! Which admission may concern a stream: webhooks and policies, listed as they are now.
//!
//! A list is asked of the API server's store, not of a cache, and is at most half a second old, so
//! that what an operator adds is in force for the next stream. There is no watch that could stall.

mod object;

use eyesplice_identity::access::{Ask, AskError, Cluster};
use eyesplice_identity::answers::Answers;
use eyesplice_proto::api::Subresource;
use object::{List, Object};
use std::sync::Arc;
use std::time::Duration;

/// How old a list may be.
const FRESH: Duration = Duration::from_millis(500);
/// When a kind that is not there is asked for again: API servers get new ones by a restart.
const ABSENT: Duration = Duration::from_secs(60);
/// Longest list: a thousand webhooks with CA bundles of eight KiB.
const MAX_LIST: usize = 8 << 20;

/// A kind of object that decides on admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    resource: &'static str,
    /// Each API server has the first of these that it knows, with all objects.
    versions: &'static [&'static str],
}

const WEBHOOKS: [Kind; 2] = [
    Kind {
        resource: "validatingwebhookconfigurations",
        versions: &["v1", "v1beta1"],
    },
    Kind {
        resource: "mutatingwebhookconfigurations",
        versions: &["v1", "v1beta1"],
    },
];

/// Policies, and what puts each in force.
const POLICIES: [(Kind, Kind); 2] = [
    (
        Kind {
            resource: "validatingadmissionpolicies",
            versions: OF_POLICIES,
        },
        Kind {
            resource: "validatingadmissionpolicybindings",
            versions: OF_POLICIES,
        },
    ),
    (
        Kind {
            resource: "mutatingadmissionpolicies",
            versions: OF_POLICIES,
        },
        Kind {
            resource: "mutatingadmissionpolicybindings",
            versions: OF_POLICIES,
        },
    ),
];
const OF_POLICIES: &[&str] = &["v1", "v1beta1", "v1alpha1"];

/// The objects of one kind; `None`: API servers do not have the kind in that version.
type Listed = Result<Option<Arc<Vec<Object>>>, AskError>;

/// Lists what decides on admission.
#[derive(Debug)]
pub(super) struct Admissions {
    cluster: Arc<Cluster>,
    lists: Answers<(&'static str, &'static str), Listed>,
}

impl Admissions {
    /// Asks these API servers.
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let kinds = WEBHOOKS.len() + 2 * POLICIES.len();
        Self {
            cluster,
            lists: Answers::new(kinds * OF_POLICIES.len()),
        }
    }

    /// Names an object that may concern a stream. Selectors and conditions count as matching.
    pub(super) async fn may_match(
        &self,
        subresource: Subresource,
    ) -> Result<Option<String>, AskError> {
        let [validating, mutating] = WEBHOOKS;
        let [validation, mutation] = POLICIES;
        let (hooks, mutating_hooks, policies, mutating_policies) = tokio::try_join!(
            self.webhooks(validating, subresource),
            self.webhooks(mutating, subresource),
            self.policies(validation, subresource),
            self.policies(mutation, subresource),
        )?;
        Ok(hooks.or(mutating_hooks).or(policies).or(mutating_policies))
    }

    async fn webhooks(
        &self,
        kind: Kind,
        subresource: Subresource,
    ) -> Result<Option<String>, AskError> {
        let all = self.all(kind).await?;
        let found = all
            .iter()
            .find(|object| object.hooks_may_match(subresource));
        Ok(found.map(|object| format!("{}/{}", kind.resource, object.name())))
    }

    async fn policies(
        &self,
        (policies, bindings): (Kind, Kind),
        subresource: Subresource,
    ) -> Result<Option<String>, AskError> {
        let (all, bindings) = tokio::try_join!(self.all(policies), self.all(bindings))?;
        let bound = |policy: &&Object| bindings.iter().any(|binding| binding.binds(policy));
        let found = all
            .iter()
            .filter(bound)
            .find(|it| it.policy_may_match(subresource));
        Ok(found.map(|object| format!("{}/{}", policies.resource, object.name())))
    }

    /// The objects of a kind; none where API servers do not have it.
    async fn all(&self, kind: Kind) -> Result<Arc<Vec<Object>>, AskError> {
        for version in kind.versions {
            if let Some(found) = self.list(kind.resource, version).await? {
                return Ok(found);
            }
        }
        Ok(Arc::default())
    }

    async fn list(&self, resource: &'static str, version: &'static str) -> Listed {
        let path = format!("/apis/admissionregistration.k8s.io/{version}/{resource}");
        let cluster = Arc::clone(&self.cluster);
        let asked = || async move {
            let question = Ask::get(path.clone(), MAX_LIST);
            match cluster.read::<List>(&question).await {
                Ok(list) => match list.whole() {
                    Some(objects) => Ok(Some(Arc::new(objects))),
                    None => Err(AskError::Answer(path)),
                },
                Err(AskError::Missing(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let lasts = |listed: &Listed| match listed {
            Ok(Some(_)) => FRESH,
            Ok(None) => ABSENT,
            Err(_) => Duration::ZERO,
        };
        let found = self.lists.find((resource, version), lasts, asked).await;
        found.unwrap_or_else(|| Err(AskError::Answer(resource.to_owned())))
    }
}
