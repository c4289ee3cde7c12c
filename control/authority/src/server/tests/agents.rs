//! Pods that come with their tokens and become agents of their nodes.

use super::*;
use crate::material::AuthorityMaterial;
use crate::testing::{AGENTS_AUDIENCE, put_agents};
use eyesplice_identity::certificate::CertificateFacts;
use eyesplice_identity::pem;
use eyesplice_identity::testing::apiserver::{ScriptedApiServer, Told};
use eyesplice_identity::testing::pods::{answer, token};
use eyesplice_identity::x509::testing::agent;

const ACCOUNT: &str = "eyesplice:agents";

async fn bench_with(review: &ScriptedApiServer) -> Bench {
    let site = Site::new();
    put_agents(&site, review);
    Bench::at(site, Sources::default()).await
}

fn head(method: &str, rest: &str, token: &str) -> String {
    format!(
        "{method} {PATH}{rest} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: \
         application/json\r\n"
    )
}

async fn ask(bench: &Bench, token: &str, name: &str, agent_name: &str) -> Answer {
    let asked = body(name, Signer::AgentClient, &agent(agent_name).pem()).to_string();
    let head = head("POST", "", token);
    bench.send(None, &head, asked.as_bytes()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_gets_a_certificate_of_the_agents_ca_for_its_node() {
    let review = ScriptedApiServer::start(answer).await;
    let mut bench = bench_with(&review).await;
    let own = token(AGENTS_AUDIENCE, ACCOUNT, "agent-w");
    let created = ask(&bench, &own, "a", "node:w").await;
    assert_eq!(created.code, 201, "{}", created.body);
    let spec = &created.body["spec"];
    assert_eq!(spec["username"], "eyesplice:agent:node:w");
    assert_eq!(spec["uid"], "uid-agent-w");
    assert_eq!(
        spec["groups"],
        json!(["eyesplice:agents", "system:authenticated"])
    );
    bench.turn();
    let got = bench.send(None, &head("GET", "/a", &own), b"").await;
    let certificate = got.body["status"]["certificate"].as_str().unwrap();
    let chain = BASE64.decode(certificate.as_bytes()).unwrap();
    let chain = pem::certificates_of(&chain).unwrap();
    let facts = CertificateFacts::read(&chain[0]).unwrap();
    assert_eq!(
        facts.subject.common_name.as_deref(),
        Some("eyesplice:agent:node:w")
    );
    assert_eq!(facts.issuer.common_name.as_deref(), Some("agents"));
    assert!(facts.usage.client && !facts.usage.server);
    // It sees nothing of others, and they see nothing of it.
    let v = token(AGENTS_AUDIENCE, ACCOUNT, "agent-v");
    assert_eq!(
        bench.send(None, &head("GET", "/a", &v), b"").await.code,
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pod_asks_for_its_own_node_and_for_nothing_else() {
    let review = ScriptedApiServer::start(answer).await;
    let bench = bench_with(&review).await;
    let own = token(AGENTS_AUDIENCE, ACCOUNT, "agent-w");
    for name in ["node:v", "edge-1", "w"] {
        let refused = ask(&bench, &own, "a", name).await;
        assert_eq!(refused.code, 403, "{name}: {}", refused.body);
        let message = refused.body["message"].as_str().unwrap();
        assert!(
            message.contains("can only request a certificate for itself"),
            "{message}"
        );
    }
    let client = body("a", Signer::KubeletClient, &kubelet_client("w").pem()).to_string();
    let refused = bench
        .send(None, &head("POST", "", &own), client.as_bytes())
        .await;
    assert_eq!(refused.code, 403, "{}", refused.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_of_another_account_audience_or_cluster_is_no_login() {
    let review = ScriptedApiServer::start(answer).await;
    let bench = bench_with(&review).await;
    for (audience, account) in [
        (AGENTS_AUDIENCE, "eyesplice:default"),
        (AGENTS_AUDIENCE, "default:agents"),
        ("https://kubernetes.default.svc", ACCOUNT),
    ] {
        let token = token(audience, account, "agent-w");
        let refused = ask(&bench, &token, "a", "node:w").await;
        assert_eq!(
            (refused.code, &refused.body["message"]),
            (401, &json!("Unauthorized")),
            "{audience} {account}"
        );
    }
    // Whoever cannot be asked has refused nothing.
    let away = ScriptedApiServer::start(|_| Told::Says(500, Value::Null)).await;
    let bench = bench_with(&away).await;
    let own = token(AGENTS_AUDIENCE, ACCOUNT, "agent-w");
    assert_eq!(ask(&bench, &own, "a", "node:w").await.code, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_that_names_an_agent_proves_no_node() {
    let review = ScriptedApiServer::start(answer).await;
    let mut bench = bench_with(&review).await;
    let forged = bench
        .site
        .user("eyesplice:agent:node:w", vec!["eyesplice:agents"]);
    let mut asked = body("a", Signer::AgentClient, &agent("node:w").pem());
    // Nor does what a client says of its own request.
    asked["spec"]["extra"] = json!({
        "eyesplice.dev/agent-node": ["w"], "eyesplice.dev/agent-pod": ["p"]
    });
    let created = bench.ask(&forged, "POST", "", asked).await;
    assert_eq!(created.code, 201, "{}", created.body);
    bench.turn();
    let got = bench.get(&bench.admin(), "/a").await;
    assert!(got.body["status"]["conditions"].is_null(), "{}", got.body);
    assert!(got.body["status"]["certificate"].is_null(), "{}", got.body);
}

#[test]
fn user_of_another_credential_keeps_no_node() {
    use crate::approve::{proven, reviewed};
    use crate::pods::without_node;
    let mut user = eyesplice_identity::user::UserInfo {
        extra: reviewed("w", "p"),
        ..Default::default()
    };
    assert_eq!(proven(&user.extra), Some(("w", "p")));
    user.extra.insert("scopes".to_owned(), vec!["a".to_owned()]);
    let user = without_node(user);
    assert_eq!(proven(&user.extra), None);
    assert!(user.extra.contains_key("scopes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_ca_that_opens_another_door_is_refused() {
    let review = ScriptedApiServer::start(answer).await;
    let site = Site::new();
    put_agents(&site, &review);
    let good = std::fs::read_to_string(site.path("authority.yaml")).unwrap();
    let load = |text: &str| {
        site.write("authority.yaml", text);
        AuthorityMaterial::load(site.config(), SystemTime::now())
    };
    assert!(load(&good).is_ok());
    let own = "certFile: agents.crt, keyFile: agents.key";
    for (ca, words) in [
        (
            "certFile: ca.crt, keyFile: ca.key",
            "authentication.clientCAFile",
        ),
        (
            "certFile: ca.crt, keyFile: ca.key",
            "the CA of eyesplice.dev/gateway-client",
        ),
        (
            "certFile: egress.crt, keyFile: egress.key",
            "the CA of eyesplice.dev/egress-leaf",
        ),
    ] {
        let errors = load(&good.replace(own, ca)).err().unwrap();
        let found = errors.iter().any(|error| error.to_string().contains(words));
        assert!(found, "{words}: {errors:?}");
    }
}
