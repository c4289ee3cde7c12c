//! Asks the API server's authorizer whether a requester may have its CSR approved.
//!
//! As upstream's approver (`certificates/approver/sarapprove.go`): whoever may create
//! `certificatesigningrequests/nodeclient` bootstraps nodes, and whoever may create `selfnodeclient`
//! renews its own. So the operator's RBAC decides, and existing bindings go on working.

use super::super::approve::Reviewed;
use super::super::object::{CertificateSigningRequest, GROUP, RESOURCE};
use crate::apiserver::{CallError, call};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};

/// The resource in messages.
const REVIEWS: &str = "subjectaccessreviews.authorization.k8s.io";

/// Asks what the requester of a node's client certificate may have; `own` says that it asks for itself.
pub(super) async fn review(
    client: &Client,
    object: &CertificateSigningRequest,
    own: bool,
) -> Result<Reviewed, CallError> {
    let mut reviewed = Reviewed::default();
    if own {
        reviewed.renews = allowed(client, object, "selfnodeclient").await?;
    }
    if !reviewed.renews {
        reviewed.bootstraps = allowed(client, object, "nodeclient").await?;
    }
    Ok(reviewed)
}

async fn allowed(
    client: &Client,
    object: &CertificateSigningRequest,
    subresource: &str,
) -> Result<bool, CallError> {
    let spec = &object.spec;
    let attributes = ResourceAttributes {
        group: Some(GROUP.to_owned()),
        version: Some("*".to_owned()),
        resource: Some(RESOURCE.to_owned()),
        subresource: Some(subresource.to_owned()),
        verb: Some("create".to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(spec.username.clone()),
            uid: Some(spec.uid.clone()),
            groups: Some(spec.groups.clone()),
            extra: Some(spec.extra.clone()),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let parameters = PostParams::default();
    let answer = call("create", REVIEWS, api.create(&parameters, &review)).await?;
    // What is denied explicitly is not allowed, either.
    Ok(answer.status.is_some_and(|status| status.allowed))
}
