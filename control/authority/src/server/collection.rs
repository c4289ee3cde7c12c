//! The list of CSRs: create, list, watch.

use super::body::{self, Body};
use super::call::Asked;
use super::negotiate::{Form, form};
use super::page::{Page, page};
use super::query::FieldValidation;
use super::respond;
use super::{table, watch};
use crate::creation::complete;
use crate::error::ApiError;
use crate::object::{API_VERSION, CertificateSigningRequest, LIST_KIND, Timestamp};
use crate::roles::{Sight, cannot};
use crate::share::Asker;
use crate::validation;
use hyper::{Response, StatusCode};
use serde_json::json;
use std::sync::Arc;
use std::time::{Instant, SystemTime};
use tokio::task::spawn_blocking;

/// GET.
pub(super) fn list_or_watch(asked: Asked) -> Result<Response<Body>, ApiError> {
    let form = form(&asked.headers)?;
    let verb = if asked.query.watch { "watch" } else { "list" };
    let sight = asked.material.roles.sight(&asked.user);
    if sight == Sight::Nothing {
        return Err(ApiError::forbidden("", &cannot(&asked.user, verb)));
    }
    if asked.query.watch {
        return watch::start(&asked, sight, form);
    }
    let page = page(&asked.server.store, &asked.query, |object| {
        sees(sight, &asked.user.username, object) && asked.query.selector.matches(object)
    })?;
    let Page { objects, metadata } = page;
    Ok(match form {
        Form::Object => {
            let items: Vec<&CertificateSigningRequest> = objects.iter().map(|o| &**o).collect();
            let list = json!({
                "kind": LIST_KIND,
                "apiVersion": API_VERSION,
                "metadata": metadata,
                "items": items,
            });
            respond::json(StatusCode::OK, &list)
        }
        Form::Table(version) => {
            let objects = objects.iter().map(|object| &**object);
            let now = SystemTime::now();
            let mut table = table::of(objects, version, asked.query.include, now, true);
            table["metadata"] = metadata;
            respond::json(StatusCode::OK, &table)
        }
    })
}

/// Says whether a user of this sight sees an object.
pub(super) fn sees(sight: Sight, username: &str, object: &CertificateSigningRequest) -> bool {
    match sight {
        Sight::All => true,
        Sight::Own => object.spec.username == username,
        Sight::Nothing => false,
    }
}

/// POST.
pub(super) async fn create(asked: Asked, bytes: &[u8]) -> Result<Response<Body>, ApiError> {
    let form = form(&asked.headers)?;
    let body::Decoded { object, unknown } = body::decode(&asked.headers, bytes)?;
    let warnings = judge_unknown(&asked, unknown)?;
    let Asked {
        server,
        material,
        user,
        query,
        ..
    } = asked;
    // Before anything that costs: a signature is verified for each request.
    let held = server.store.holder(&user.username);
    let asker = Asker::of(
        &material,
        &user,
        held.as_ref().map(|held| held.brought_by.as_str()),
    );
    for payer in asker.payers() {
        let rate = material.config.limits.max_creates_per_minute;
        let taken = server.rates.take(payer, rate, Instant::now());
        taken.inspect_err(|_| server.metrics.authority.limited("max-creates-per-minute"))?;
    }
    let now = SystemTime::now();
    let object = complete(object, &user, Timestamp::from(now))?;
    let name = object.metadata.name.clone();
    let request =
        validation::create(&object).map_err(|errors| ApiError::invalid(&name, &errors))?;
    let signer = &object.spec.signer_name;
    let allowed = material.roles.may_create(&user, signer, &request);
    allowed.map_err(|why| ApiError::forbidden("", &why))?;
    let created = if query.dry_run {
        Arc::new(object)
    } else {
        let task = spawn_blocking(move || {
            server.store.create(object, |view| {
                let room = asker.fits(view, &material, now.into());
                let gone = room.map_err(|full| {
                    server.metrics.authority.limited(full.as_str());
                    full.error(&user)
                })?;
                for _ in &gone {
                    server.metrics.authority.cleaned("room");
                }
                Ok::<_, ApiError>(gone)
            })
        });
        task.await
            .map_err(|_| ApiError::internal("the request was not stored"))??
    };
    let mut response = one(StatusCode::CREATED, &created, form, &query);
    respond::warn(&mut response, &warnings);
    Ok(response)
}

/// Refuses unknown fields, or turns them into warnings, or passes over them, as the client wants.
pub(super) fn judge_unknown(asked: &Asked, unknown: Vec<String>) -> Result<Vec<String>, ApiError> {
    let texts: Vec<String> = unknown
        .into_iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    match asked.query.field_validation {
        FieldValidation::Strict if !texts.is_empty() => Err(ApiError::bad_request(format!(
            "CertificateSigningRequest in version \"v1\" cannot be handled as a \
             CertificateSigningRequest: strict decoding error: {}",
            texts.join(", ")
        ))),
        FieldValidation::Ignore | FieldValidation::Strict => Ok(Vec::new()),
        FieldValidation::Warn => Ok(texts),
    }
}

/// Answers with one object.
pub(super) fn one(
    code: StatusCode,
    object: &CertificateSigningRequest,
    form: Form,
    query: &super::query::Query,
) -> Response<Body> {
    match form {
        Form::Object => respond::json(code, object),
        Form::Table(version) => {
            let objects = std::iter::once(object);
            let table = table::of(objects, version, query.include, SystemTime::now(), true);
            respond::json(code, &table)
        }
    }
}
