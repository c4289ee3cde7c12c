//! Reads `kubelet.actions`: what may be asked of a kubelet.

use super::bounds;
use eyesplice_dataplane::seam::ActionPolicy;
use eyesplice_identity::document::{Node, Problem, Section, value};
use eyesplice_proto::route::Action;
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

const EFFECTS: [(&str, Effect); 2] = [("allow", Effect::Allow), ("deny", Effect::Deny)];

/// What gives a process in a container to whoever asks: a policy that means shells means all of them.
const SHELL: &[Action] = &[Action::Exec, Action::Attach, Action::Run];

/// Names of several actions at once.
const GROUPS: [(&str, &[Action]); 1] = [("shell", SHELL)];

/// The name that audit and refusals show where no rule names an action.
const DEFAULT_NAME: &str = "default";

struct ActionRule {
    name: Arc<str>,
    actions: Vec<Action>,
    effect: Effect,
}

/// Reads the section; absent, it allows everything.
pub(super) fn read(parent: &mut Section<'_>) -> Arc<ActionPolicy> {
    let Some(mut section) = parent.section("actions") else {
        return Arc::new(ActionPolicy::new(Vec::new()));
    };
    let default = section
        .optional("default", |node| value::word(node, &EFFECTS))
        .unwrap_or(Effect::Allow);
    let mut rules: Vec<ActionRule> = Vec::new();
    for rule_section in section.sections("rules", bounds::RULES) {
        let (path, at) = (rule_section.path().to_owned(), rule_section.at());
        let Some(rule) = rule(rule_section) else {
            continue;
        };
        if &*rule.name == DEFAULT_NAME || rules.iter().any(|other| other.name == rule.name) {
            let what = format!("the name {:?} is taken already", rule.name);
            let problem = Problem::new(what, "choose another name");
            section.report().error(&format!("{path}.name"), at, problem);
        }
        let taken = |action: &Action| rules.iter().any(|other| other.actions.contains(action));
        if rule.actions.iter().all(taken) {
            let what = "can never match: earlier rules decide all of its actions";
            let problem = Problem::new(what, "move it before them, or delete it");
            section.report().error(&path, at, problem);
        }
        rules.push(rule);
    }
    let policy = compile(&rules, default);
    if let Some(open) = open_shell(&policy) {
        let what =
            format!("denies exec and allows {open}, which reaches a container's processes too");
        let fix = "deny `shell`, which is exec, attach and run";
        section.warn("", what, fix);
    }
    Arc::new(policy)
}

/// Finds what is left of a shell where exec is denied.
fn open_shell(policy: &ActionPolicy) -> Option<String> {
    policy.denies(Action::Exec)?;
    let open: Vec<&str> = SHELL
        .iter()
        .filter(|action| policy.denies(**action).is_none())
        .map(|action| action.as_str())
        .collect();
    (!open.is_empty()).then(|| open.join(" and "))
}

fn rule(mut section: Section<'_>) -> Option<ActionRule> {
    let name = section.required("name", "no-run", value::name);
    let single = Action::ALL.iter();
    let single = single.map(|action| (action.as_str(), std::slice::from_ref(action)));
    let words: Vec<(&str, &[Action])> = single.chain(GROUPS).collect();
    let action = |node: &Node| value::word(node, &words);
    if !section.has("actions") {
        section.missing("actions", "[shell, checkpoint]");
    }
    let actions = section.list("actions", bounds::RULE_ENTRIES, action);
    let actions = actions.concat();
    let effect = |node: &Node| value::word(node, &EFFECTS);
    let effect = section.required("effect", "deny", effect);
    (!actions.is_empty()).then_some(())?;
    Some(ActionRule {
        name: Arc::from(name?),
        actions,
        effect: effect?,
    })
}

/// Decides each action once: the first rule that names it, else the default.
fn compile(rules: &[ActionRule], default: Effect) -> ActionPolicy {
    let fallback: Arc<str> = Arc::from(DEFAULT_NAME);
    let decide = |action: &Action| {
        let rule = rules.iter().find(|rule| rule.actions.contains(action));
        let (effect, name) = rule.map_or((default, &fallback), |rule| (rule.effect, &rule.name));
        (effect == Effect::Deny).then(|| (*action, Arc::clone(name)))
    };
    ActionPolicy::new(Action::ALL.iter().filter_map(decide).collect())
}
