//! Agents that are pods: turns the token of such a pod into the user of its node's agent.
//!
//! Nobody else is given that user's node: what a request needs to be approved is a key of its
//! user's extra that is taken from everybody whose token was not reviewed here.

use crate::approve::{is_of_review, reviewed};
use crate::config::AgentSettings;
use eyesplice_identity::access::{PodReviewer, ReviewSetupError};
use eyesplice_identity::authn::AuthnError;
use eyesplice_identity::token::BearerToken;
use eyesplice_identity::token::review::TokenReviewSettings;
use eyesplice_identity::user::{ALL_AUTHENTICATED, UserInfo};
use eyesplice_identity::x509::{AGENT_GROUP, NODE_AGENT_PREFIX};

/// Who the pods are that may be agents.
#[derive(Debug)]
pub(crate) struct Pods(PodReviewer);

impl Pods {
    /// Loads what the review needs. Dials nothing.
    pub(crate) fn new(
        settings: &AgentSettings,
        review: &TokenReviewSettings,
    ) -> Result<Self, ReviewSetupError> {
        Ok(Self(PodReviewer::new(review, settings.tokens.clone())?))
    }

    /// Says who makes a request by the value of its Authorization header; nothing if the token is
    /// not one of pods' that claim to be agents.
    pub(crate) async fn user(&self, header: &[u8]) -> Option<Result<UserInfo, AuthnError>> {
        let token = BearerToken::from_header(header).ok()?;
        if !self.0.claims_to_be_ours(&token) {
            return None;
        }
        let pod = self.0.pod(&token).await;
        Some(pod.map_err(AuthnError::from).map(|pod| UserInfo {
            username: format!("{NODE_AGENT_PREFIX}{}", pod.node),
            uid: pod.uid,
            groups: vec![AGENT_GROUP.to_owned(), ALL_AUTHENTICATED.to_owned()],
            extra: reviewed(&pod.node, &pod.name),
        }))
    }
}

/// A user whose token was not reviewed here; it proves no node.
pub(crate) fn without_node(mut user: UserInfo) -> UserInfo {
    user.extra.retain(|key, _| !is_of_review(key));
    user
}
