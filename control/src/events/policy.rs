//! The cluster's audit policy: at which level a stream of a pod is recorded, and in which stages.
//!
//! It is the API servers' own `--audit-policy-file`, a `Policy` of audit.k8s.io/v1. The first rule
//! that matches decides, and without one nothing is recorded (apiserver `pkg/audit/policy`).

use eyesplice_identity::document::{ConfigErrors, read_file};
use eyesplice_identity::user::UserInfo;
use eyesplice_identity::yaml;
use serde::Deserialize;
use serde::de::IgnoredAny;
use std::path::{Path, PathBuf};

/// The only version that API servers still read.
pub(super) const API_VERSION: &str = "audit.k8s.io/v1";

/// How much of a request is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Level {
    /// Nothing.
    None,
    /// Who did what, without the command.
    Metadata,
    /// All of it.
    Request,
    /// The same, for a stream has no object as its response.
    RequestResponse,
}

impl Level {
    /// The word of the API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Metadata => "Metadata",
            Self::Request => "Request",
            Self::RequestResponse => "RequestResponse",
        }
    }

    /// Whether what a request carries is recorded as well: of a stream that is its command.
    pub(super) fn has_request(self) -> bool {
        matches!(self, Self::Request | Self::RequestResponse)
    }
}

/// What an event tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Stage {
    /// The request is there.
    RequestReceived,
    /// The head of the reply goes out.
    ResponseStarted,
    /// The stream is over.
    ResponseComplete,
    /// A fault, of which there is no event here.
    Panic,
}

impl Stage {
    /// The word of the API.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::RequestReceived => "RequestReceived",
            Self::ResponseStarted => "ResponseStarted",
            Self::ResponseComplete => "ResponseComplete",
            Self::Panic => "Panic",
        }
    }
}

/// A stream of a pod, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a> {
    pub(super) user: &'a UserInfo,
    pub(super) verb: &'a str,
    pub(super) namespace: &'a str,
    pub(super) pod: &'a str,
    pub(super) subresource: &'a str,
}

/// What a policy says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) level: Level,
    omitted: Vec<Stage>,
}

impl Decision {
    /// Whether an event tells of a stage.
    pub(super) fn has(&self, stage: Stage) -> bool {
        self.level != Level::None && !self.omitted.contains(&stage)
    }
}

/// A policy that was read and checked.
#[derive(Clone, Debug)]
pub struct Policy {
    rules: Vec<Rule>,
    omitted: Vec<Stage>,
}

/// The document. A field that is not known here might keep a rule from matching, so it is an error.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Option<IgnoredAny>,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default, rename = "omitManagedFields")]
    _omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    /// Empty: the core group, which has pods.
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

/// Why a file is no audit policy. None of them quotes more of it than its words.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It cannot be read.
    #[error("{0}")]
    Read(ConfigErrors),
    /// It has not the form of one.
    #[error("{} is no audit policy: {}; API servers take the same file", .0.display(), .1)]
    Form(PathBuf, String),
    /// It is of another kind or version.
    #[error(
        "{} is {} of {}; write `kind: Policy` and `apiVersion: audit.k8s.io/v1`",
        .0.display(), .1, .2
    )]
    Kind(PathBuf, String, String),
    /// It has no rule, which API servers do not take either.
    #[error("{} has no rules; add one, like `- level: Metadata`", .0.display())]
    Empty(PathBuf),
    /// A rule that API servers do not take.
    #[error("{}: rules[{}] {}", .0.display(), .1, .2)]
    Rule(PathBuf, usize, &'static str),
}

impl Policy {
    /// Reads a file. Blocks.
    ///
    /// # Errors
    /// It is no policy that API servers take.
    pub fn load(file: &Path) -> Result<Self, PolicyError> {
        Self::parse(&read_file(file).map_err(PolicyError::Read)?, file)
    }

    fn parse(text: &str, file: &Path) -> Result<Self, PolicyError> {
        let at = || file.to_owned();
        let read = serde_saphyr::from_str_with_options(text, yaml::options());
        let document: Document =
            read.map_err(|error| PolicyError::Form(at(), error.to_string()))?;
        if document.kind != "Policy" || document.api_version != API_VERSION {
            return Err(PolicyError::Kind(at(), document.kind, document.api_version));
        }
        if document.rules.is_empty() {
            return Err(PolicyError::Empty(at()));
        }
        for (index, rule) in document.rules.iter().enumerate() {
            if let Some(wrong) = rule.wrong() {
                return Err(PolicyError::Rule(at(), index, wrong));
            }
        }
        Ok(Self {
            rules: document.rules,
            omitted: document.omit_stages,
        })
    }

    /// Says how a stream is recorded.
    pub(super) fn decide(&self, asked: Attributes<'_>) -> Decision {
        let rule = self.rules.iter().find(|rule| rule.matches(asked));
        let mut omitted = self.omitted.clone();
        omitted.extend(rule.iter().flat_map(|rule| &rule.omit_stages));
        Decision {
            level: rule.map_or(Level::None, |rule| rule.level),
            omitted,
        }
    }
}

impl Rule {
    /// What API servers would say of it.
    fn wrong(&self) -> Option<&'static str> {
        let urls = !self.non_resource_urls.is_empty();
        if urls && !(self.resources.is_empty() && self.namespaces.is_empty()) {
            return Some("is for resources and for nonResourceURLs; make two of it");
        }
        let bare =
            |group: &GroupResources| group.resources.is_empty() && !group.resource_names.is_empty();
        let what = "has resourceNames without resources; add resources";
        self.resources.iter().any(bare).then_some(what)
    }

    fn matches(&self, asked: Attributes<'_>) -> bool {
        let listed = |list: &[String], word: &str| list.iter().any(|each| each == word);
        let fits = |list: &[String], word: &str| list.is_empty() || listed(list, word);
        let mut groups = asked.user.groups.iter();
        let in_group =
            self.user_groups.is_empty() || groups.any(|group| listed(&self.user_groups, group));
        // A stream of a pod is a resource.
        self.non_resource_urls.is_empty()
            && fits(&self.users, &asked.user.username)
            && in_group
            && fits(&self.verbs, asked.verb)
            && fits(&self.namespaces, asked.namespace)
            && (self.resources.is_empty()
                || self.resources.iter().any(|group| group.matches(asked)))
    }
}

impl GroupResources {
    fn matches(&self, asked: Attributes<'_>) -> bool {
        if !self.group.is_empty() {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        let named = self.resource_names.is_empty()
            || self.resource_names.iter().any(|name| name == asked.pod);
        named
            && self
                .resources
                .iter()
                .any(|resource| match resource.split_once('/') {
                    None => resource == "*",
                    Some(("pods", "*")) => true,
                    Some((kind, subresource)) => {
                        subresource == asked.subresource && matches!(kind, "pods" | "*")
                    }
                })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Result<Policy, String> {
        let text = format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}\n");
        Policy::parse(&text, Path::new("policy.yaml")).map_err(|error| error.to_string())
    }

    fn level(rule: &str) -> Level {
        let user = UserInfo {
            username: "jane".to_owned(),
            groups: vec!["dev".to_owned(), "system:authenticated".to_owned()],
            ..UserInfo::default()
        };
        let asked = Attributes {
            user: &user,
            verb: "create",
            namespace: "shop",
            pod: "web-0",
            subresource: "exec",
        };
        policy(&format!("rules: [{rule}]"))
            .unwrap()
            .decide(asked)
            .level
    }

    #[test]
    fn rule_matches_as_an_api_servers_does() {
        for (rule, matches) in [
            ("", true),
            ("users: [jane]", true),
            ("users: [joe]", false),
            ("userGroups: [ops, dev]", true),
            ("userGroups: [ops]", false),
            ("verbs: [create]", true),
            ("verbs: [connect, get]", false),
            ("namespaces: [shop]", true),
            ("namespaces: [\"\"]", false),
            ("nonResourceURLs: [\"*\"]", false),
            ("resources: [{group: \"\"}]", true),
            ("resources: [{group: apps}]", false),
            ("resources: [{resources: [pods/exec]}]", true),
            ("resources: [{resources: [pods]}]", false),
            ("resources: [{resources: [pods/attach]}]", false),
            ("resources: [{resources: [pods/*]}]", true),
            ("resources: [{resources: [\"*/exec\"]}]", true),
            ("resources: [{resources: [\"*/log\"]}]", false),
            ("resources: [{resources: [\"*\"]}]", true),
            ("resources: [{resources: [\"*/*\"]}]", false),
            ("resources: [{resources: [services/*]}]", false),
            (
                "resources: [{resources: [pods/exec], resourceNames: [web-0]}]",
                true,
            ),
            (
                "resources: [{resources: [pods/exec], resourceNames: [web-1]}]",
                false,
            ),
            (
                "resources: [{resources: [pods/exec]}], namespaces: [other]",
                false,
            ),
            ("resources: [{group: apps}, {resources: [pods/exec]}]", true),
        ] {
            let comma = if rule.is_empty() { "" } else { ", " };
            let found = level(&format!("{{level: Request{comma}{rule}}}"));
            assert_eq!(found == Level::Request, matches, "{rule}");
        }
    }

    #[test]
    fn first_rule_that_matches_decides_and_none_records_nothing() {
        assert_eq!(
            level("{level: None, users: [jane]}, {level: RequestResponse}"),
            Level::None
        );
        assert_eq!(
            level("{level: None, users: [joe]}, {level: Metadata}, {level: Request}"),
            Level::Metadata
        );
        assert_eq!(level("{level: Metadata, users: [joe]}"), Level::None);
    }

    #[test]
    fn stages_that_rule_or_policy_omits_have_no_event() {
        let text = "omitStages: [RequestReceived]\nrules: [{level: Metadata, omitStages: \
                    [ResponseStarted]}]";
        let decision = policy(text).unwrap().decide(Attributes {
            user: &UserInfo::default(),
            verb: "get",
            namespace: "a",
            pod: "b",
            subresource: "log",
        });
        assert!(!decision.has(Stage::RequestReceived) && !decision.has(Stage::ResponseStarted));
        assert!(decision.has(Stage::ResponseComplete));
    }

    #[test]
    fn policy_that_api_servers_do_not_take_is_refused_with_the_file() {
        for (rules, words) in [
            ("", "has no rules"),
            ("rules: [{users: [a]}]", "is no audit policy"),
            ("rules: [{level: Everything}]", "is no audit policy"),
            ("rules: [{level: None, usres: [a]}]", "is no audit policy"),
            (
                "rules: [{level: None, omitStages: [Late]}]",
                "is no audit policy",
            ),
            (
                "rules: [{level: None}, {level: None, namespaces: [a], nonResourceURLs: [/x]}]",
                "rules[1] is for resources and for nonResourceURLs",
            ),
            (
                "rules: [{level: None, resources: [{resourceNames: [a]}]}]",
                "rules[0] has resourceNames without resources",
            ),
        ] {
            let error = policy(rules).unwrap_err();
            assert!(error.contains(words), "{rules}: {error}");
            assert!(error.contains("policy.yaml"), "{error}");
        }
        let text = "apiVersion: audit.k8s.io/v1beta1\nkind: Policy\nrules: [{level: None}]\n";
        let error = Policy::parse(text, Path::new("p")).unwrap_err().to_string();
        assert!(
            error.contains("is Policy of audit.k8s.io/v1beta1"),
            "{error}"
        );
    }
}
