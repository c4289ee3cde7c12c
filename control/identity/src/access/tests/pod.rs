use crate::access::{AskError, BoundPod, PodError, PodReviewer, PodTokens};
use crate::authn::AuthnError;
use crate::pem::FileRef;
use crate::testing::apiserver::{Asked, ScriptedApiServer, Told};
use crate::token::review::{ReviewCredential, TokenReviewSettings};
use crate::token::{BearerToken, Cause};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};
use std::time::Duration;

const AUDIENCE: &str = "eyesplice.dev/agent";
const POD: &str = "/api/v1/namespaces/eyesplice/pods/agent-x7";

fn user(extra: Value) -> Value {
    json!({"username": "system:serviceaccount:eyesplice:agent", "extra": extra})
}

/// What an API server before 1.30 says of a token of a pod.
fn old() -> Value {
    user(json!({
        "authentication.kubernetes.io/pod-name": ["agent-x7"],
        "authentication.kubernetes.io/pod-uid": ["u-1"],
    }))
}

fn accepted(user: &Value) -> Told {
    let status = json!({"authenticated": true, "user": user, "audiences": [AUDIENCE]});
    review(&status)
}

fn review(status: &Value) -> Told {
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status
    });
    Told::Says(201, body)
}

fn pod(uid: &str, account: &str, node: &Value) -> Told {
    let body = json!({
        "metadata": {"uid": uid},
        "spec": {"serviceAccountName": account, "nodeName": node},
    });
    Told::Says(200, body)
}

struct Bench {
    server: ScriptedApiServer,
    reviewer: PodReviewer,
    _dir: tempfile::TempDir,
}

/// An API server that says this of every token and of every pod.
async fn bench(token: Told, pod: Told) -> Bench {
    let script = move |asked: &Asked| match asked.path.as_str() {
        POD => pod.clone(),
        _ => token.clone(),
    };
    let server = ScriptedApiServer::start(script).await;
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("ca.crt"), server.ca.certificate.pem()).unwrap();
    std::fs::write(path("token"), "our-own-token\n").unwrap();
    let settings = TokenReviewSettings {
        server: format!("https://{}", server.address),
        ca_file: FileRef::new("tokenReview.caFile", path("ca.crt")),
        credential: ReviewCredential::Token(FileRef::new("tokenReview.tokenFile", path("token"))),
        timeout: Duration::from_secs(20),
        authorized_ttl: Duration::ZERO,
        unauthorized_ttl: Duration::ZERO,
    };
    let tokens = PodTokens {
        namespace: "eyesplice".to_owned(),
        service_account: "agent".to_owned(),
        audience: AUDIENCE.to_owned(),
    };
    Bench {
        server,
        reviewer: PodReviewer::new(&settings, tokens).unwrap(),
        _dir: dir,
    }
}

async fn ask(token: Told, pod: Told) -> Result<BoundPod, PodError> {
    let bench = bench(token, pod).await;
    let token = BearerToken::new("a.b.c").unwrap();
    bench.reviewer.pod(&token).await
}

fn never() -> Told {
    Told::Says(500, json!({}))
}

#[tokio::test]
async fn pod_of_a_token_has_the_node_of_the_answer_and_is_not_looked_up() {
    let new = user(json!({
        "authentication.kubernetes.io/pod-name": ["agent-x7"],
        "authentication.kubernetes.io/pod-uid": ["u-1"],
        "authentication.kubernetes.io/node-name": ["worker-3"],
    }));
    let bench = bench(accepted(&new), never()).await;
    let token = BearerToken::new("a.b.c").unwrap();
    let pod = bench.reviewer.pod(&token).await.unwrap();
    assert_eq!(
        (&*pod.name, &*pod.uid, &*pod.node),
        ("agent-x7", "u-1", "worker-3")
    );
    let asked = bench.server.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].body["spec"]["audiences"], json!([AUDIENCE]));
    assert_eq!(
        asked[0].authorization.as_deref(),
        Some("Bearer our-own-token")
    );
}

#[tokio::test]
async fn pod_of_an_older_cluster_is_looked_up_by_name_and_uid_and_once() {
    let bench = bench(accepted(&old()), pod("u-1", "agent", &json!("worker-3"))).await;
    let token = BearerToken::new("a.b.c").unwrap();
    for _ in 0..3 {
        assert_eq!(bench.reviewer.pod(&token).await.unwrap().node, "worker-3");
    }
    assert_eq!(bench.server.count(POD), 1);
    assert_eq!(bench.server.count("tokenreviews"), 3);
}

#[tokio::test]
async fn token_of_anybody_else_proves_no_node() {
    let here = || pod("u-1", "agent", &json!("worker-3"));
    let other = |change: fn(&mut Value)| {
        let mut user = old();
        change(&mut user);
        accepted(&user)
    };
    for (token, pod, words) in [
        (
            review(&json!({"authenticated": false})),
            here(),
            "does not accept the token for audience \"eyesplice.dev/agent\"",
        ),
        (
            other(|user| user["username"] = json!("system:serviceaccount:eyesplice:other")),
            here(),
            "eyesplice:other\", not of \"system:serviceaccount:eyesplice:agent\"",
        ),
        (
            other(|user| user["username"] = json!("system:serviceaccount:default:agent")),
            here(),
            "not of",
        ),
        (
            other(|user| user["extra"] = json!({})),
            here(),
            "bound to no pod",
        ),
        (
            other(|user| user["extra"]["authentication.kubernetes.io/pod-uid"] = json!([""])),
            here(),
            "bound to no pod",
        ),
        (
            other(|user| user["extra"]["authentication.kubernetes.io/pod-name"] = json!(["../x"])),
            here(),
            "names \"../x\"",
        ),
        (
            other(|user| user["extra"]["authentication.kubernetes.io/node-name"] = json!(["A b"])),
            here(),
            "names \"A b\"",
        ),
        (other(|_| ()), Told::Says(404, json!({})), "does not exist"),
        (
            other(|_| ()),
            pod("u-2", "agent", &json!("worker-3")),
            "does not exist",
        ),
        (
            other(|_| ()),
            pod("u-1", "other", &json!("worker-3")),
            "does not exist",
        ),
        (
            other(|_| ()),
            pod("u-1", "agent", &Value::Null),
            "is on no node",
        ),
    ] {
        let error = ask(token, pod).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        assert!(matches!(error, PodError::Refused(_)), "{error}");
        let error = AuthnError::from(error);
        assert_eq!((error.credential(), error.cause()), ("pod", Cause::Token));
        assert_eq!(error.public_message(), "Unauthorized");
    }
}

#[tokio::test]
async fn token_that_cannot_be_checked_is_not_called_wrong() {
    for (token, pod, words) in [
        (Told::Says(500, json!({})), never(), "with status 500"),
        (Told::HangsUp, never(), "cannot ask API server"),
        (
            accepted(&old()),
            Told::Says(403, json!({})),
            "grant our user `get` on pods",
        ),
        (
            accepted(&old()),
            Told::Says(503, json!({})),
            "answered with status 503",
        ),
        (
            accepted(&old()),
            Told::Says(200, json!([])),
            "is something else",
        ),
    ] {
        let error = ask(token, pod).await.unwrap_err();
        assert!(error.to_string().contains(words), "{words}: {error}");
        let error = AuthnError::from(error);
        assert_eq!((error.credential(), error.cause()), ("pod", Cause::Network));
        assert_ne!(error.public_message(), "Unauthorized");
    }
    // An answer without regard to the audience is no answer about it.
    let blind = review(&json!({"authenticated": true, "user": old()}));
    let error = ask(blind, never()).await.unwrap_err();
    assert!(
        matches!(error, PodError::Asking(AskError::Audience)),
        "{error}"
    );
}

#[tokio::test]
async fn token_is_judged_here_by_the_audience_that_it_claims() {
    let bench = bench(never(), never()).await;
    let token = |payload: &Value| {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let head = part(&json!({"alg": "RS256", "kid": "k"}));
        BearerToken::new(&format!("{head}.{}.{}", part(payload), part(&json!("s")))).unwrap()
    };
    for (payload, ours) in [
        (json!({"aud": [AUDIENCE]}), true),
        (json!({"aud": AUDIENCE}), true),
        (json!({"aud": ["api", AUDIENCE]}), true),
        (json!({"aud": ["api"]}), false),
        (json!({"aud": []}), false),
        (json!({"iss": "x"}), false),
        (json!(7), false),
    ] {
        let claims = bench.reviewer.claims_to_be_ours(&token(&payload));
        assert_eq!(claims, ours, "{payload}");
    }
    let plain = BearerToken::new("abcdef.0123456789abcdef").unwrap();
    assert!(!bench.reviewer.claims_to_be_ours(&plain));
    assert_eq!(bench.server.asked().len(), 0);
}
