//! One CSR: get, replace, patch, delete, and its parts `approval` and `status`.

use super::body::{self, Body};
use super::call::Asked;
use super::collection::{judge_unknown, one, sees};
use super::negotiate::form;
use super::respond;
use crate::error::ApiError;
use crate::material::AuthorityMaterial;
use crate::object::{CertificateSigningRequest, Condition, GROUP, ObjectMeta, RESOURCE, Timestamp};
use crate::roles::{Sight, cannot};
use crate::store::{Change, Object};
use crate::validation;
use crate::validation::Write;
use eyesplice_identity::user::UserInfo;
use hyper::{Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::task::spawn_blocking;

/// Which part of an object a URL names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Whole,
    Approval,
    Status,
}

/// GET of an object or a part of it, which is the object as well.
pub(super) fn get(asked: &Asked, name: &str) -> Result<Response<Body>, ApiError> {
    let form = form(&asked.headers)?;
    let current = asked.server.store.revision();
    if let Some(revision) = asked.query.revision.filter(|revision| *revision > current) {
        return Err(ApiError::from_the_future(revision, current));
    }
    let object = visible(asked, name, "get")?;
    Ok(one(StatusCode::OK, &object, form, &asked.query))
}

/// Finds an object that the user may see. To those who see only their own, another's looks as if
/// it were not there or not allowed, the same in both cases.
fn visible(asked: &Asked, name: &str, verb: &str) -> Result<Object, ApiError> {
    let sight = asked.material.roles.sight(&asked.user);
    let found = asked.server.store.find(name);
    match (sight, found) {
        (Sight::All, None) => Err(ApiError::not_found(name)),
        (_, Some(object)) if sees(sight, &asked.user.username, &object) => Ok(object),
        (Sight::Own, None) => Err(ApiError::not_found(name)),
        _ => Err(ApiError::forbidden(name, &cannot(&asked.user, verb))),
    }
}

/// PUT.
pub(super) async fn put(
    asked: Asked,
    name: String,
    part: Part,
    bytes: &[u8],
) -> Result<Response<Body>, ApiError> {
    let body::Decoded { object, unknown } = body::decode(&asked.headers, bytes)?;
    let warnings = judge_unknown(&asked, unknown)?;
    if object.metadata.name != name {
        let got = &object.metadata.name;
        let message =
            format!("the name of the object ({got}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(message));
    }
    let write = match part {
        Part::Whole => Write::Metadata,
        Part::Approval => Write::Approval,
        Part::Status => Write::Status,
    };
    let mut response = change(asked, name, write, move |_| Ok(object)).await?;
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// PATCH: labels and annotations.
pub(super) async fn patch(
    asked: Asked,
    name: String,
    bytes: &[u8],
) -> Result<Response<Body>, ApiError> {
    let patch = body::patch(&asked.headers, bytes)?;
    // The fields that the patch brings in; of what is stored, every one is known.
    let body::Decoded { unknown, .. } = body::json(patch.to_string().as_bytes())?;
    let warnings = judge_unknown(&asked, unknown)?;
    let mut response = change(asked, name, Write::Metadata, move |current| {
        let mut value = serde_json::to_value(current)
            .map_err(|error| ApiError::internal(format!("the object cannot be read: {error}")))?;
        json_patch::merge(&mut value, &patch);
        serde_json::from_value(value).map_err(|error| {
            ApiError::bad_request(format!("the patched object cannot be decoded: {error}"))
        })
    })
    .await?;
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// Writes what `wanted` makes of the object, as far as `write` reaches.
async fn change(
    asked: Asked,
    name: String,
    write: Write,
    wanted: impl FnOnce(&CertificateSigningRequest) -> Result<CertificateSigningRequest, ApiError>
    + Send
    + 'static,
) -> Result<Response<Body>, ApiError> {
    let form = form(&asked.headers)?;
    let Asked {
        server,
        material,
        user,
        query,
        ..
    } = asked;
    let dry_run = query.dry_run;
    let task = spawn_blocking(move || {
        let mut judged = None;
        let written = server.store.update(&name, |current| {
            permitted(&material, &user, current, write)?;
            let wanted = wanted(current)?;
            same_object(&wanted, current)?;
            if let Some(field) = wanted.metadata.not_obeyed() {
                return Err(ApiError::not_obeyed(&name, field));
            }
            let new = merged(wanted, current, write, Timestamp::from(SystemTime::now()));
            validation::update(&new, current, write)
                .map_err(|errors| ApiError::invalid(&name, &errors))?;
            if dry_run || new == *current {
                judged = Some(Arc::new(new));
                return Ok::<_, ApiError>(Change::Keep);
            }
            Ok(Change::Put(new))
        })?;
        Ok::<_, ApiError>(judged.unwrap_or(written))
    });
    let object = task
        .await
        .map_err(|_| ApiError::internal("the object was not written"))??;
    Ok(one(StatusCode::OK, &object, form, &query))
}

fn permitted(
    material: &AuthorityMaterial,
    user: &UserInfo,
    current: &CertificateSigningRequest,
    write: Write,
) -> Result<(), ApiError> {
    let (roles, signer) = (&material.roles, &current.spec.signer_name);
    let allowed = match write {
        Write::Metadata => roles.may_update(user, current),
        Write::Approval => roles.may_approve(user, signer),
        Write::Status => roles.may_sign(user, signer),
    };
    allowed.map_err(|why| ApiError::forbidden(&current.metadata.name, &why))
}

/// Refuses a write that was made from another version, or for another object of the same name.
fn same_object(
    wanted: &CertificateSigningRequest,
    current: &CertificateSigningRequest,
) -> Result<(), ApiError> {
    let (wanted, current) = (&wanted.metadata, &current.metadata);
    if !wanted.uid.is_empty() && wanted.uid != current.uid {
        let why = format!(
            "Precondition failed: UID in precondition: {}, UID in object meta: {}",
            wanted.uid, current.uid
        );
        return Err(ApiError::conflict(&current.name, &why));
    }
    let version = &wanted.resource_version;
    if !version.is_empty() && *version != current.resource_version {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        return Err(ApiError::conflict(&current.name, why));
    }
    Ok(())
}

/// Takes from `wanted` what this write may change, and the rest from what is there.
fn merged(
    wanted: CertificateSigningRequest,
    current: &CertificateSigningRequest,
    write: Write,
    now: Timestamp,
) -> CertificateSigningRequest {
    let mut new = current.clone();
    let ObjectMeta {
        labels,
        annotations,
        ..
    } = wanted.metadata;
    new.metadata.labels = labels;
    new.metadata.annotations = annotations;
    match write {
        Write::Metadata => {}
        Write::Approval => new.status.conditions = wanted.status.conditions,
        Write::Status => new.status = wanted.status,
    }
    for condition in &mut new.status.conditions {
        stamp(condition, current.condition(&condition.kind), now);
    }
    new
}

/// Sets the times that a client left out, and the transition by what is really new.
fn stamp(condition: &mut Condition, before: Option<&Condition>, now: Timestamp) {
    if condition.last_update_time.is_none() {
        condition.last_update_time = Some(now);
    }
    let since = before.filter(|before| before.status == condition.status);
    let since = since.and_then(|before| before.last_transition_time);
    condition.last_transition_time = Some(since.unwrap_or(now));
}

/// DELETE.
pub(super) async fn delete(
    asked: Asked,
    name: String,
    bytes: &[u8],
) -> Result<Response<Body>, ApiError> {
    let options = body::delete_options(&asked.headers, bytes)?;
    let dry_run = asked.query.dry_run || !options.dry_run.is_empty();
    let Asked {
        server,
        material,
        user,
        ..
    } = asked;
    let task = spawn_blocking(move || {
        server.store.update(&name, |current| {
            let allowed = material.roles.may_delete(&user, current);
            allowed.map_err(|why| ApiError::forbidden(&name, &why))?;
            if let Some(preconditions) = &options.preconditions {
                let mut wanted = CertificateSigningRequest::default();
                wanted.metadata.uid = preconditions.uid.clone().unwrap_or_default();
                let version = preconditions.resource_version.clone();
                wanted.metadata.resource_version = version.unwrap_or_default();
                same_object(&wanted, current)?;
            }
            Ok::<_, ApiError>(if dry_run {
                Change::Keep
            } else {
                Change::Delete
            })
        })
    });
    let object = task
        .await
        .map_err(|_| ApiError::internal("the object was not deleted"))??;
    let status = json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": object.metadata.name,
            "group": GROUP,
            "kind": RESOURCE,
            "uid": object.metadata.uid,
        },
    });
    Ok(respond::json(StatusCode::OK, &status))
}
