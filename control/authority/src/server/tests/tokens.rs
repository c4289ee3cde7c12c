//! Tokens under review, and the keys of service accounts.

use super::Bench;
use eyesplice_identity::authn::{ServiceAccountSettings, Settings, Sources};
use eyesplice_identity::token::jwt::testing::key;
use eyesplice_identity::token::jwt::{Algorithm, JwkSet, SigningKey};
use eyesplice_identity::token::review::{BETA_PATH, PATH};
use eyesplice_identity::token::serviceaccount::{
    DEFAULT_LEEWAY, JWKS_PATH, MintRequest, ObjectRef, mint,
};
use serde_json::{Value, json};
use std::fs;
use std::time::{Duration, SystemTime};

const ISSUER: &str = "https://authority.example";

/// An authority that believes the tokens of this key.
async fn bench(key: &SigningKey) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sa.pub");
    fs::write(&file, key.public().to_pem()).unwrap();
    let settings = Settings {
        service_accounts: Some(ServiceAccountSettings {
            issuers: vec![ISSUER.to_owned()],
            key_files: vec![eyesplice_identity::pem::FileRef::new("keyFiles", file)],
            leeway: DEFAULT_LEEWAY,
            jwks_uri: None,
        }),
        ..Settings::default()
    };
    Bench::with(Sources::load(&settings).unwrap()).await
}

fn question(key: &SigningKey) -> Value {
    let request = MintRequest {
        namespace: "prod".to_owned(),
        account: ObjectRef {
            name: "web".to_owned(),
            uid: "u-web".to_owned(),
        },
        audiences: vec![ISSUER.to_owned()],
        lifetime: Duration::from_secs(600),
        bound: None,
    };
    let minted = mint(key, ISSUER, &request, SystemTime::now()).unwrap();
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": {"token": minted.token.expose()}
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_is_reviewed_for_those_who_may_ask() {
    let key = key(Algorithm::Es256).unwrap();
    let bench = bench(&key).await;
    let question = question(&key).to_string();
    let head = format!("POST {PATH} HTTP/1.1\r\ncontent-type: application/json\r\n");
    let reviewer = bench.site.user("kubelet-proxy", vec!["reviewers"]);
    for user in [bench.admin(), bench.node("w"), reviewer] {
        let answer = bench.send(Some(&user), &head, question.as_bytes()).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        let status = &answer.body["status"];
        assert_eq!(status["user"]["username"], "system:serviceaccount:prod:web");
        assert_eq!(status["audiences"], json!([ISSUER]));
    }
    for group in ["approvers", "dev", "system:bootstrappers"] {
        let user = bench.site.user("jane", vec![group]);
        let answer = bench.send(Some(&user), &head, question.as_bytes()).await;
        assert_eq!(answer.code, 403, "{group}: {}", answer.body);
        let message = answer.body["message"].as_str().unwrap();
        assert!(message.contains("the role reviewer"), "{message}");
    }
    // In the version of the question, wherever it is asked.
    for (path, version) in [(PATH, "v1beta1"), (BETA_PATH, "v1beta1"), (BETA_PATH, "v1")] {
        let own = format!("authentication.k8s.io/{version}");
        let question = question.replace("authentication.k8s.io/v1", &own);
        let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json\r\n");
        let answer = bench
            .send(Some(&bench.admin()), &head, question.as_bytes())
            .await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        assert_eq!(answer.body["apiVersion"], own);
        assert_eq!(answer.body["status"]["audiences"], json!([ISSUER]));
    }
    let answer = bench.send(None, &head, question.as_bytes()).await;
    assert_eq!(answer.code, 401);
    let get = format!("GET {PATH} HTTP/1.1\r\n");
    assert_eq!(bench.send(Some(&bench.admin()), &get, b"").await.code, 405);
    let huge = vec![b' '; 200 << 10];
    assert_eq!(
        bench.send(Some(&bench.admin()), &head, &huge).await.code,
        413
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_a_service_account_is_a_login() {
    let key = key(Algorithm::Es256).unwrap();
    let bench = bench(&key).await;
    let question = question(&key);
    let token = question["spec"]["token"].as_str().unwrap();
    let head = format!("GET /apis HTTP/1.1\r\nauthorization: Bearer {token}\r\n");
    assert_eq!(bench.send(None, &head, b"").await.code, 200);
    let forged = format!("GET /apis HTTP/1.1\r\nauthorization: Bearer {token}x\r\n");
    let refused = bench.send(None, &forged, b"").await;
    assert_eq!(
        (refused.code, &refused.body["message"]),
        (401, &json!("Unauthorized"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_and_keys_are_published_to_whoever_is_somebody() {
    let key = key(Algorithm::Es384).unwrap();
    let bench = bench(&key).await;
    let jane = bench.site.user("jane", vec!["dev"]);
    let head = "GET /.well-known/openid-configuration HTTP/1.1\r\n";
    let answer = bench.send(Some(&jane), head, b"").await;
    assert_eq!(answer.body["jwks_uri"], format!("{ISSUER}{JWKS_PATH}"));
    assert!(
        answer.head.contains("public, max-age=3600"),
        "{}",
        answer.head
    );
    let head = format!("GET {JWKS_PATH} HTTP/1.1\r\n");
    let answer = bench.send(Some(&jane), &head, b"").await;
    let keys = JwkSet::parse(answer.body.to_string().as_bytes()).unwrap();
    assert_eq!(keys, [key.public().clone()]);
    assert_eq!(bench.send(None, &head, b"").await.code, 401);
    let without = Bench::new().await;
    let jane = without.site.user("jane", vec!["dev"]);
    assert_eq!(without.send(Some(&jane), &head, b"").await.code, 404);
}
