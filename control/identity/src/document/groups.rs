//! Reads `tls.curvePreferences`, which means what the kubelet's `tlsCurvePreferences` does: the key
//! exchange groups that are allowed, in no order, by number or by Go's name; none means all.

use super::{Node, Problem, Section, Value, value};
use eyesplice_proto::tls::{Group, Groups, group_named};
use std::cell::RefCell;

/// Entries of a list: more than there are groups, so that a repetition is an error of its own.
const ENTRIES: usize = 16;

/// Reads the section `tls`.
pub fn read(root: &mut Section<'_>) -> Groups {
    const FIELD: &str = "curvePreferences";
    let Some(mut section) = root.section("tls") else {
        return Groups::default();
    };
    let seen = RefCell::new(Vec::new());
    let once = |node: &Node| {
        let group = group(node)?;
        if seen.borrow().contains(&group) {
            let what = format!("is {group} once more");
            return Err(Problem::new(what, "list each group once"));
        }
        seen.borrow_mut().push(group);
        Ok(group)
    };
    let groups = section.list(FIELD, ENTRIES, once);
    Groups::only(&groups).unwrap_or_default()
}

fn group(node: &Node) -> Result<Group, Problem> {
    let text = match &node.value {
        Value::Integer(number) => number.to_string(),
        _ => value::text(node)?,
    };
    let known = || {
        let known = Group::BUILT.iter();
        let known: Vec<_> = known.map(|g| format!("{g} ({})", g.number())).collect();
        format!("write some of {}", known.join(", "))
    };
    let Some(named) = group_named(&text) else {
        return Err(Problem::new(
            format!("is {text:?}, which is no key exchange group"),
            known(),
        ));
    };
    match Group::of(named) {
        Some(group) if group.is_built() => Ok(group),
        Some(group) => Err(Problem::new(
            format!("is {group}, which this build of eyesplice does not have"),
            "take a build with the feature aws-lc, or remove it",
        )),
        None => Err(Problem::new(
            format!("is {text}, a key exchange group that eyesplice does not have"),
            known(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;
    use std::path::Path;

    struct Read(Groups);

    impl Document for Read {
        const KIND: &'static str = "K";

        fn read(root: &mut Section<'_>, _: &Path) -> Option<Self> {
            Some(Self(read(root)))
        }
    }

    fn groups(list: &str) -> Result<Groups, String> {
        let text = format!("apiVersion: eyesplice.dev/v1alpha1\nkind: K\ntls: {{{list}}}\n");
        Read::parse(&text, Path::new("k.yaml"))
            .map(|loaded| loaded.config.0)
            .map_err(|errors| errors.errors[0].to_string())
    }

    #[test]
    fn names_and_numbers_are_read_and_none_means_all() {
        for all in ["", "curvePreferences: []"] {
            assert_eq!(groups(all).unwrap(), Groups::default(), "{all}");
        }
        let two = Groups::only(&[Group::X25519, Group::P256]);
        for list in ["[X25519, CurveP256]", "[23, 29]", "[\"23\", X25519]"] {
            let read = groups(&format!("curvePreferences: {list}"));
            assert_eq!(read.ok(), two, "{list}");
        }
    }

    #[test]
    fn hybrid_alone_is_allowed_if_it_is_built_in() {
        for list in ["[4588]", "[X25519MLKEM768]"] {
            match groups(&format!("curvePreferences: {list}")) {
                Ok(read) => assert_eq!(Groups::only(&[Group::X25519MlKem768]), Some(read)),
                Err(error) => {
                    assert!(!Group::X25519MlKem768.is_built());
                    assert!(error.contains("this build of eyesplice"), "{error}");
                }
            }
        }
    }

    #[test]
    fn each_mistake_says_what_it_is() {
        for (list, expected) in [
            ("[P-256]", "\"P-256\", which is no key exchange group"),
            ("[x25519]", "no key exchange group"),
            ("[4590]", "no key exchange group"),
            ("[0]", "no key exchange group"),
            (
                "[CurveP521]",
                "CurveP521, a key exchange group that eyesplice does not have",
            ),
            (
                "[4587]",
                "4587, a key exchange group that eyesplice does not have",
            ),
            ("[X25519, 29]", "X25519 once more"),
        ] {
            let error = groups(&format!("curvePreferences: {list}")).unwrap_err();
            assert!(error.contains(expected), "{list}: {error}");
        }
    }
}
