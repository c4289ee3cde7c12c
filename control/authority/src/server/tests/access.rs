//! What `kubectl auth can-i` asks.

use super::Bench;
use crate::rules::Attributes;
use eyesplice_identity::pki::testing::Made;
use eyesplice_identity::protobuf::{MEDIA_TYPE, seal_spec};
use serde_json::{Value, json};

async fn ask(bench: &Bench, user: &Made, resource: &str, body: &Value) -> super::Answer {
    let head = format!(
        "POST /apis/authorization.k8s.io/v1/{resource} HTTP/1.1\r\ncontent-type: application/json\r\n"
    );
    bench
        .send(Some(user), &head, body.to_string().as_bytes())
        .await
}

fn question(verb: &str, resource: &str) -> Value {
    json!({
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {"creationTimestamp": null},
        "spec": {"resourceAttributes": {
            "verb": verb, "group": "certificates.k8s.io", "resource": resource, "version": "v1",
        }},
        "status": {"allowed": false},
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_learn_what_they_themselves_may_do() {
    let bench = Bench::new().await;
    let csrs = "certificatesigningrequests";
    for (user, verb, allowed) in [
        (bench.node("w"), "create", true),
        (bench.node("w"), "delete", false),
        (bench.admin(), "delete", true),
        (bench.site.user("eve", vec!["others"]), "list", false),
    ] {
        let answer = ask(
            &bench,
            &user,
            "selfsubjectaccessreviews",
            &question(verb, csrs),
        )
        .await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        assert_eq!(
            answer.body["status"]["allowed"], allowed,
            "{verb}: {}",
            answer.body
        );
        assert_eq!(answer.body["spec"]["resourceAttributes"]["verb"], verb);
    }
    let rules = json!({"spec": {"namespace": "default"}});
    let answer = ask(&bench, &bench.node("w"), "selfsubjectrulesreviews", &rules).await;
    let rules = answer.body["status"]["resourceRules"].as_array().unwrap();
    let creates = |rule: &Value| {
        rule["resources"] == json!([csrs]) && rule["verbs"].to_string().contains("create")
    };
    assert!(rules.iter().any(creates), "{}", answer.body);
    let both = json!({"spec": {}});
    assert_eq!(
        ask(&bench, &bench.admin(), "selfsubjectaccessreviews", &both)
            .await
            .code,
        400
    );
    let mut other = question("get", csrs);
    other["kind"] = "SubjectAccessReview".into();
    assert_eq!(
        ask(&bench, &bench.admin(), "selfsubjectaccessreviews", &other)
            .await
            .code,
        400
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_that_asks_in_protobuf_is_understood() {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Spec {
        #[prost(message, optional, tag = "1")]
        attributes: Option<Attributes>,
    }
    let bench = Bench::new().await;
    let spec = Spec {
        attributes: Some(Attributes {
            verb: "delete".to_owned(),
            group: "certificates.k8s.io".to_owned(),
            resource: "certificatesigningrequests".to_owned(),
            ..Attributes::default()
        }),
    };
    let version = "authorization.k8s.io/v1";
    let body = seal_spec(version, "SelfSubjectAccessReview", &spec);
    let head = format!(
        "POST /apis/{version}/selfsubjectaccessreviews HTTP/1.1\r\n\
         content-type: {MEDIA_TYPE}\r\n"
    );
    for (user, allowed) in [(bench.admin(), true), (bench.node("w"), false)] {
        let answer = bench.send(Some(&user), &head, &body).await;
        assert_eq!(answer.code, 201, "{}", answer.body);
        assert_eq!(answer.body["status"]["allowed"], allowed, "{}", answer.body);
        assert_eq!(answer.body["spec"]["resourceAttributes"]["verb"], "delete");
    }
    let broken = bench
        .send(Some(&bench.admin()), &head, &body[..body.len() - 3])
        .await;
    assert_eq!(broken.code, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn discovery_lists_every_group_and_resource() {
    let bench = Bench::new().await;
    let admin = bench.admin();
    let get = async |path: &str| {
        bench
            .send(Some(&admin), &format!("GET {path} HTTP/1.1\r\n"), b"")
            .await
            .body
    };
    let groups = get("/apis").await;
    let names = groups["groups"].as_array().unwrap().iter();
    let names: Vec<&str> = names.map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        [
            "certificates.k8s.io",
            "authorization.k8s.io",
            "authentication.k8s.io"
        ]
    );
    for (group, resource) in names.iter().zip([
        "certificatesigningrequests",
        "selfsubjectaccessreviews",
        "tokenreviews",
    ]) {
        let list = get(&format!("/apis/{group}/v1")).await;
        assert_eq!(list["groupVersion"], format!("{group}/v1"));
        assert_eq!(list["resources"][0]["name"], resource);
    }
}
