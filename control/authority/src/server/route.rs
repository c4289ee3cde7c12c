//! From a request to its handler: path, user, method.

use super::access;
use super::body::{self, Body};
use super::call::{Asked, Call};
use super::collection;
use super::discovery;
use super::object::{self as handlers, Part};
use super::openapi;
use super::query::Query;
use super::respond;
use super::strict::{self, Operation};
use super::target::Target;
use super::whoami;
use crate::error::ApiError;
use crate::limits;
use crate::pods;
use eyesplice_identity::authn::{AuthnError, review};
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::causes::chain;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::timeout;

/// What a method does to a target, as Kubernetes calls it.
fn verb(method: &Method, target: Option<&Target>, query: &str) -> &'static str {
    let one = matches!(target, Some(Target::Object(..)));
    let watches = || Query::parse(query).is_ok_and(|query| query.watch);
    match *method {
        Method::GET | Method::HEAD if one => "get",
        Method::GET | Method::HEAD if target == Some(&Target::Collection) => {
            if watches() {
                "watch"
            } else {
                "list"
            }
        }
        Method::GET | Method::HEAD => "read",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    }
}

/// What a request does to CSRs, as far as its parameters are concerned.
fn operation(target: &Target, method: &Method, query: &str) -> Option<Operation> {
    match (target, verb(method, Some(target), query)) {
        (Target::Collection | Target::Object(..), verb) => match verb {
            "get" => Some(Operation::Get),
            "list" => Some(Operation::List),
            "watch" => Some(Operation::Watch),
            "create" | "update" | "patch" => Some(Operation::Write),
            "delete" => Some(Operation::Delete),
            _ => None,
        },
        (Target::Access(_) | Target::TokenReview | Target::WhoAmI(_), "create") => {
            Some(Operation::Write)
        }
        (Target::Events, "read") => Some(Operation::List),
        _ => None,
    }
}

/// Answers one request, counts and logs it.
pub(super) async fn answer(call: Call, request: Request<Incoming>) -> Response<Body> {
    let server = Arc::clone(&call.server);
    let peer = call.peer.clone();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let target = Target::of(&path);
    let verb = verb(
        &method,
        target.as_ref().ok(),
        request.uri().query().unwrap_or_default(),
    );
    let mut user = None;
    let answered = match target {
        Ok(target) => handle(call, request, target, &mut user).await,
        Err(error) => Err(error),
    };
    let (response, error) = match answered {
        Ok(response) => (response, None),
        Err(error) => (respond::error(&error), Some(error)),
    };
    let code = response.status().as_u16();
    server.metrics.authority.request(verb, code);
    let user = user.map(|user| user.username);
    let why = error.as_ref().map(|error| error.message.as_str());
    if code >= 500 {
        tracing::warn!(verb, path, code, user, peer, why, "request failed");
    } else if !matches!(method, Method::GET | Method::HEAD) || matches!(code, 401 | 403) {
        tracing::info!(verb, path, code, user, peer, why, "request answered");
    } else {
        tracing::debug!(verb, path, code, user, peer, why, "request answered");
    }
    response
}

async fn handle(
    call: Call,
    request: Request<Incoming>,
    target: Target,
    who: &mut Option<UserInfo>,
) -> Result<Response<Body>, ApiError> {
    let (head, body) = request.into_parts();
    let method = head.method;
    let reads = matches!(method, Method::GET | Method::HEAD);
    if target.is_public() {
        strict::headers(&method, &head.headers)?;
        return match (reads, target) {
            (false, _) => Err(ApiError::method()),
            (true, Target::ClusterInfo) => {
                let material = call.server.material.load();
                let kubeconfig = material.cluster_info.as_ref();
                let kubeconfig = kubeconfig.ok_or_else(ApiError::no_such_path)?;
                Ok(respond::json(
                    StatusCode::OK,
                    &discovery::cluster_info(kubeconfig),
                ))
            }
            (true, Target::Version) => Ok(respond::json(StatusCode::OK, &discovery::version())),
            (true, Target::Health(probe)) => {
                let text = probe.text(head.uri.query().unwrap_or_default());
                Ok(respond::text(StatusCode::OK, text))
            }
            (true, _) => Err(ApiError::no_such_path()),
        };
    }
    let uri = head.uri;
    let user = authenticate(&call, &head.headers).await?;
    call.guest.is_known();
    *who = Some(user.clone());
    strict::headers(&method, &head.headers)?;
    let query = uri.query().unwrap_or_default();
    if let Some(operation) = operation(&target, &method, query) {
        strict::parameters(operation, query)?;
    }
    let asked = Asked {
        material: call.server.material.load_full(),
        server: call.server,
        user,
        query: Query::parse(query)?,
        headers: head.headers,
    };
    // Its answer goes without its body; a watch is nothing else.
    let method = match method {
        Method::HEAD if !asked.query.watch => Method::GET,
        other => other,
    };
    match (target, method) {
        (Target::Discovery(document), Method::GET) => Ok(discovery::answer(document)),
        (Target::OpenApi(document), Method::GET) => openapi::answer(document, &asked.headers),
        (Target::Events, Method::GET) if asked.query.watch => Err(ApiError::bad_request(
            "watch: there are no events here, and there will be none",
        )),
        (Target::Events, Method::GET) => Ok(respond::json(StatusCode::OK, &discovery::no_events())),
        (Target::TokenReview, method) => {
            let review = asked.material.roles.may_review(&asked.user);
            review.map_err(|why| ApiError::forbidden_review(&why))?;
            let request = rebuilt(method, uri, asked.headers, body);
            let authenticator = &asked.server.authenticator;
            let answered = review::handle(authenticator, request, SystemTime::now());
            match timeout(limits::BODY_TIMEOUT, answered).await {
                Ok(answer) => Ok(answer.map(Body::Whole)),
                Err(_) => Err(ApiError::unavailable(
                    "the review took too long; ask again later",
                )),
            }
        }
        (Target::Access(question), Method::POST) => {
            let body = body::read(body).await?;
            access::answer(&asked, question, &body)
        }
        (Target::WhoAmI(version), Method::POST) => {
            let body = body::read(body).await?;
            whoami::answer(&asked, version, &body)
        }
        (Target::Issuer, method) => {
            let discovery = asked.server.authenticator.discovery();
            let discovery = discovery.ok_or_else(ApiError::no_such_path)?;
            let request = rebuilt(method, uri, asked.headers, body);
            Ok(discovery.handle(request).await.map(Body::Whole))
        }
        (Target::Collection, Method::GET) => collection::list_or_watch(asked),
        (Target::Collection, Method::POST) => {
            let body = body::read(body).await?;
            collection::create(asked, &body).await
        }
        (Target::Object(name, _), Method::GET) => handlers::get(&asked, &name),
        (Target::Object(name, part), Method::PUT) => {
            let body = body::read(body).await?;
            handlers::put(asked, name, part, &body).await
        }
        (Target::Object(name, Part::Whole), Method::PATCH) => {
            let body = body::read(body).await?;
            handlers::patch(asked, name, &body).await
        }
        (Target::Object(name, Part::Whole), Method::DELETE) => {
            let body = body::read(body).await?;
            handlers::delete(asked, name, &body).await
        }
        _ => Err(ApiError::method()),
    }
}

/// A request as it came, for handlers that are not ours.
fn rebuilt(method: Method, uri: Uri, headers: HeaderMap, body: Incoming) -> Request<Incoming> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request
}

async fn authenticate(call: &Call, headers: &HeaderMap) -> Result<UserInfo, ApiError> {
    let authorization = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let peer_chain = call.chain.as_deref();
    let material = call.server.material.load_full();
    let pod = match (&material.pods, peer_chain, authorization) {
        (Some(pods), None, Some(header)) => pods.user(header).await,
        _ => None,
    };
    let who = match pod {
        Some(who) => who,
        None => {
            let now = SystemTime::now();
            let authenticator = &call.server.authenticator;
            let who = authenticator.authenticate(peer_chain, authorization, now);
            who.await.map(pods::without_node)
        }
    };
    who.map_err(|error| {
        tracing::info!(
            peer = call.peer,
            error = chain(&error),
            "request is not authenticated"
        );
        let metrics = &call.server.metrics.authority;
        metrics.authentication_failure(error.credential(), error.cause().as_str());
        without_user(&error)
    })
}

/// A credential that could not be checked may be good: a client that is told 401 throws it away.
fn without_user(error: &AuthnError) -> ApiError {
    match error {
        AuthnError::Unavailable { .. } => ApiError::unavailable(error.public_message()),
        AuthnError::Missing | AuthnError::Refused { .. } => {
            ApiError::unauthorized(error.public_message())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eyesplice_identity::authn::CredentialKind;

    #[test]
    fn credential_that_cannot_be_checked_is_not_called_wrong() {
        let unavailable = AuthnError::Unavailable {
            credential: CredentialKind::ReviewedToken,
            source: "no route".into(),
        };
        assert_eq!(without_user(&unavailable).code.as_u16(), 503);
        assert_eq!(without_user(&AuthnError::Missing).code.as_u16(), 401);
        assert_eq!(unavailable.credential(), "tokenreview");
        assert_eq!(unavailable.cause().as_str(), "network");
    }
}
