//! HTTPS for kubelets and kubectl: connections in, requests to their handlers, answers out.

mod access;
mod body;
mod call;
mod collection;
mod connection;
mod discovery;
mod negotiate;
mod object;
mod openapi;
mod page;
mod query;
mod respond;
mod route;
mod selector;
mod strict;
mod table;
mod target;
mod watch;
mod whoami;

pub(super) use call::Server;
pub(super) use connection::serve;

/// For the fuzz target: reads a URL's query and, from the first line on, an Accept header.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn check_any(text: &str) {
    let (query, accept) = text.split_once('\n').unwrap_or((text, ""));
    if let Ok(query) = query::Query::parse(query) {
        let object = super::object::CertificateSigningRequest::default();
        let meant = query.selector.matches(&object);
        assert!(meant || !query.selector.is_all(), "all means each");
        if let Some(token) = &query.resume {
            let again = page::Continue::decode(&token.encode());
            assert!(again.is_ok_and(|again| again == *token));
        }
    }
    if let Ok(value) = hyper::header::HeaderValue::from_str(accept) {
        let headers = hyper::HeaderMap::from_iter([(hyper::header::ACCEPT, value)]);
        let _ = negotiate::form(&headers);
    }
}

#[cfg(test)]
mod tests;
