use crate::access::{AskError, TokenReviews};
use crate::authn::review::handle;
use crate::authn::{Authenticator, AuthnError, Settings, Sources};
use crate::pem::FileRef;
use crate::pki::testing::{Made, authority, certified, client, kubelet};
use crate::token::review::{ReviewCredential, TokenReviewSettings};
use crate::token::{BearerToken, Cause};
use crate::user::UserInfo;
use eyesplice_proto::causes::chain;
use eyesplice_proto::tls::provider;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const TOKEN: &str = "31ada4fd-adec-460c-809a-9e56ceb75269";

/// How the other API server behaves.
#[derive(Clone)]
enum Manner {
    /// Answers as our own server does.
    Honest,
    /// Answers this status and body, whatever it is asked.
    Says(u16, Value),
    /// Accepts and never answers.
    Silent,
    /// Closes instead of answering.
    Hangs,
}

/// Another API server, and the files to talk to it.
struct Peer {
    dir: tempfile::TempDir,
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Peer {
    async fn start(manner: Manner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority("ca").self_signed();
        let mut recipe = kubelet();
        recipe.names = vec!["127.0.0.1"];
        let server = recipe.signed_by(&ca);
        let ours = client("eyesplice").signed_by(&ca);
        write(&dir, "ca.crt", &ca.certificate.pem());
        write(&dir, "client.crt", &ours.certificate.pem());
        write(&dir, "client.key", &ours.key.serialize_pem());
        write(&dir, "tokens.csv", &format!("{TOKEN},jane,u-1,dev\n"));
        write(&dir, "own-token", "our-own-token\n");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let settings = Settings {
            token_auth_file: Some(FileRef::new("tokenAuthFile", dir.path().join("tokens.csv"))),
            api_audiences: vec!["api".to_owned(), "vault".to_owned()],
            ..Settings::default()
        };
        let authenticator = Arc::new(Authenticator::new(Sources::load(&settings).unwrap()));
        let acceptor = acceptor(&ca, &server);
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, manner) = (acceptor.clone(), manner.clone());
                let (authenticator, count) = (Arc::clone(&authenticator), Arc::clone(&count));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        count.fetch_add(1, Ordering::SeqCst);
                        answer(manner.clone(), Arc::clone(&authenticator), request)
                    });
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        Self {
            dir,
            address,
            asked,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn settings(&self) -> TokenReviewSettings {
        TokenReviewSettings {
            server: format!("https://{}", self.address),
            ca_file: FileRef::new("tokenReview.caFile", self.path("ca.crt")),
            credential: ReviewCredential::Certificate {
                cert_file: FileRef::new("tokenReview.clientCertFile", self.path("client.crt")),
                key_file: FileRef::new("tokenReview.clientKeyFile", self.path("client.key")),
            },
            timeout: Duration::from_secs(20),
            authorized_ttl: Duration::from_secs(120),
            unauthorized_ttl: Duration::from_secs(30),
        }
    }

    fn reviews(&self) -> TokenReviews {
        TokenReviews::load(&self.settings()).unwrap()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn write(dir: &tempfile::TempDir, name: &str, text: &str) {
    fs::write(dir.path().join(name), text).unwrap();
}

/// A server that takes a client certificate, and a client without one.
fn acceptor(ca: &Made, server: &Made) -> TlsAcceptor {
    let provider = provider::shared();
    let verifier = WebPkiClientVerifier::builder_with_provider(ca.roots(), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let certified = certified(vec![server.der()], server.private_key());
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    TlsAcceptor::from(Arc::new(config))
}

async fn answer(
    manner: Manner,
    authenticator: Arc<Authenticator>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let authorization = request.headers().get(AUTHORIZATION);
    assert!(authorization.is_none_or(|value| value == "Bearer our-own-token"));
    Ok(match manner {
        Manner::Honest => handle(&authenticator, request, SystemTime::now()).await,
        Manner::Says(status, body) => {
            let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
            *response.status_mut() = status.try_into().unwrap();
            response
        }
        Manner::Silent => std::future::pending().await,
        Manner::Hangs => panic!("hang up"),
    })
}

fn token(text: &str) -> BearerToken {
    BearerToken::new(text).unwrap()
}

fn accepted(user: Value, audiences: Value) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "status": {"authenticated": true, "user": user, "audiences": audiences}
    })
}

#[tokio::test]
async fn review_asks_once_and_remembers_both_answers() {
    let peer = Peer::start(Manner::Honest).await;
    let reviews = peer.reviews();
    for _ in 0..3 {
        let (user, audiences) = reviews.review(&token(TOKEN), &[]).await.unwrap().unwrap();
        assert_eq!((user.username.as_str(), audiences), ("jane", vec![]));
    }
    assert_eq!(peer.asked(), 1);
    for _ in 0..3 {
        assert_eq!(reviews.review(&token("unknown"), &[]).await.unwrap(), None);
    }
    assert_eq!(peer.asked(), 2);
    // Another audience is another question.
    let vault = ["vault".to_owned(), "other".to_owned()];
    let (_, audiences) = reviews
        .review(&token(TOKEN), &vault)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(audiences, ["vault"]);
    assert_eq!(
        reviews
            .review(&token(TOKEN), &["nobody".to_owned()])
            .await
            .unwrap(),
        None
    );
    assert_eq!(peer.asked(), 4);
}

#[tokio::test]
async fn review_with_a_token_of_our_own_reads_it_for_each_question() {
    let peer = Peer::start(Manner::Honest).await;
    let mut settings = peer.settings();
    let own = FileRef::new("tokenReview.tokenFile", peer.path("own-token"));
    settings.credential = ReviewCredential::Token(own);
    let reviews = TokenReviews::load(&settings).unwrap();
    assert!(reviews.review(&token(TOKEN), &[]).await.unwrap().is_some());
    let own = peer.path("own-token");
    fs::write(&own, "\n").unwrap();
    let error = reviews.review(&token("other"), &[]).await.unwrap_err();
    assert!(matches!(error, AskError::BadToken(..)), "{error}");
    assert!(error.to_string().contains(own.to_str().unwrap()), "{error}");
    fs::remove_file(&own).unwrap();
    let error = reviews.review(&token("other"), &[]).await.unwrap_err();
    assert!(matches!(error, AskError::Token(_)), "{error}");
    assert!(chain(&error).contains(own.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn answer_that_is_none_is_an_error_and_not_remembered() {
    let jane = json!({"username": "jane"});
    let review = |status: Value| json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status});
    let table: Vec<(Manner, &str)> = vec![
        (Manner::Says(403, json!({})), "system:auth-delegator"),
        (Manner::Says(401, json!({})), "with status 401"),
        (Manner::Says(500, json!({})), "answered with status 500"),
        (Manner::Says(302, json!({})), "answered with status 302"),
        (Manner::Says(201, json!([])), "is something else"),
        (
            Manner::Says(201, json!({"kind": "Status"})),
            "is something else",
        ),
        (
            Manner::Says(201, json!({"kind": "TokenReview"})),
            "is something else",
        ),
        (Manner::Says(201, review(Value::Null)), "is something else"),
        (
            Manner::Says(201, json!("x".repeat(300 << 10))),
            "is something else",
        ),
        (Manner::Hangs, "the HTTP exchange failed"),
    ];
    for (manner, words) in table {
        let peer = Peer::start(manner).await;
        let reviews = peer.reviews();
        for times in 1..3 {
            let error = chain(&reviews.review(&token(TOKEN), &[]).await.unwrap_err());
            assert!(error.contains(words), "{words}: {error}");
            assert!(error.contains(&peer.address.to_string()), "{error}");
            assert_eq!(peer.asked(), times, "{words}");
        }
    }
    let nobody = accepted(json!({}), json!([]));
    let peer = Peer::start(Manner::Says(201, nobody)).await;
    let error = peer.reviews().review(&token(TOKEN), &[]).await.unwrap_err();
    assert!(matches!(error, AskError::Answer(_)), "{error}");
    // An answerer that knows no audiences must not be believed about one.
    let peer = Peer::start(Manner::Says(201, accepted(jane, json!([])))).await;
    let reviews = peer.reviews();
    assert!(reviews.review(&token(TOKEN), &[]).await.unwrap().is_some());
    let error = reviews
        .review(&token(TOKEN), &["api".to_owned()])
        .await
        .unwrap_err();
    assert!(matches!(error, AskError::Audience), "{error}");
}

#[tokio::test]
async fn peer_that_is_silent_absent_or_somebody_else_is_named() {
    let peer = Peer::start(Manner::Silent).await;
    let mut settings = peer.settings();
    settings.timeout = Duration::from_millis(50);
    let reviews = TokenReviews::load(&settings).unwrap();
    let error = reviews.review(&token(TOKEN), &[]).await.unwrap_err();
    assert!(matches!(error, AskError::Timeout(_)), "{error}");

    let mut settings = peer.settings();
    let other = authority("other").self_signed();
    fs::write(&settings.ca_file.path, other.certificate.pem()).unwrap();
    let reviews = TokenReviews::load(&settings).unwrap();
    let error = reviews.review(&token(TOKEN), &[]).await.unwrap_err();
    assert!(chain(&error).contains("caFile in tokenReview"), "{error}");

    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    settings.server = format!("https://{free}");
    let reviews = TokenReviews::load(&settings).unwrap();
    let error = reviews.review(&token(TOKEN), &[]).await.unwrap_err();
    assert!(chain(&error).contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn authenticator_asks_about_what_it_does_not_know_itself() {
    let peer = Peer::start(Manner::Honest).await;
    let settings = Settings {
        token_review: Some(peer.settings()),
        ..Settings::default()
    };
    let authenticator = Authenticator::new(Sources::load(&settings).unwrap());
    let now = SystemTime::now();
    let reviewed = authenticator.review(&token(TOKEN), &[], now).await.unwrap();
    let expected = UserInfo {
        username: "jane".to_owned(),
        uid: "u-1".to_owned(),
        groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
        ..UserInfo::default()
    };
    assert_eq!(reviewed.user, expected);
    let error = authenticator
        .review(&token("nobody"), &[], now)
        .await
        .unwrap_err();
    let (words, cause) = (error.public_message(), error.cause());
    assert_eq!((words, cause), ("Unauthorized", Cause::Token));

    let peer = Peer::start(Manner::Says(500, json!({}))).await;
    let settings = Settings {
        token_review: Some(peer.settings()),
        ..Settings::default()
    };
    let authenticator = Authenticator::new(Sources::load(&settings).unwrap());
    let error = authenticator
        .review(&token(TOKEN), &[], now)
        .await
        .unwrap_err();
    assert!(matches!(error, AuthnError::Unavailable { .. }), "{error}");
    let (words, cause) = (error.public_message(), error.cause());
    assert!(words.contains("not available"), "{words}");
    assert_eq!(cause, Cause::Network);
    assert!(!error.public_message().contains("127.0.0.1"));
}
