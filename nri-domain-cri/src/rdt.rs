//! RDT classes as groups of the resctrl file system: a resolver for
//! [`ApplyOptions::rdt_resolver`](nri_core::oci::ApplyOptions::rdt_resolver), and schemata for
//! low-level runtimes from before OCI 1.3.
//!
//! What may not enter: how groups are made; that is the administrator's, or a tool's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nri_core::oci::ClassResolver;
use serde_json::{Value, json};

use crate::OciSpec;

/// Where the resctrl file system is mounted.
pub const ROOT: &str = "/sys/fs/resctrl";

/// Names in the root group that are no groups.
const NO_GROUPS: [&str; 3] = ["info", "mon_data", "mon_groups"];

/// Why a class cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RdtError {
    /// There is no such class.
    #[error("there is no RDT class {class:?} in {root}; {}", those(.known))]
    Unknown {
        /// The class.
        class: String,
        /// Where it was looked for.
        root: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// Lines of schemata that the low-level runtime has no member for.
    #[error("the low-level runtime has no member for the schemata {0:?}")]
    Schemata(Vec<String>),
}

fn those(known: &[String]) -> String {
    match known {
        [] => "there is none: is resctrl mounted, and are the groups made?".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}

/// A resolver of classes to groups: the class `gold` with the prefix `kube-` is the group
/// `kube-gold`, whose name is the `closID` of the container.
///
/// ```
/// use nri_domain_cri::{host, rdt};
/// let mut options = host::apply_options();
/// options.rdt_resolver = Some(rdt::resolver(rdt::ROOT, ""));
/// ```
pub fn resolver(root: impl Into<PathBuf>, prefix: impl Into<String>) -> ClassResolver {
    let (root, prefix) = (root.into(), prefix.into());
    Arc::new(move |class| Ok(Some(resolve(&root, &prefix, class)?)))
}

fn resolve(root: &Path, prefix: &str, class: &str) -> Result<OciSpec, RdtError> {
    let known = classes(root, prefix);
    if !known.iter().any(|known| known == class) {
        return Err(RdtError::Unknown {
            class: class.to_owned(),
            root: root.display().to_string(),
            known,
        });
    }
    Ok(json!({"closID": format!("{prefix}{class}")}))
}

/// The classes that there are, sorted; none where the host has no RDT.
pub fn classes(root: impl AsRef<Path>, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| !NO_GROUPS.contains(&name.as_str()))
        .filter_map(|name| name.strip_prefix(prefix).map(str::to_owned))
        .filter(|class| !class.is_empty())
        .collect();
    names.sort();
    names
}

/// Writes the `schemata` of a spec as the members that low-level runtimes from before OCI 1.3 know:
/// `l3CacheSchema` and `memBwSchema`.
///
/// # Errors
/// Lines that these have no place for, of the L2 cache for example. The spec is as it was.
///
/// ```
/// use nri_domain_cri::rdt::schemata_for_old_runtimes;
/// use serde_json::json;
///
/// let mut spec = json!({"linux": {"intelRdt": {"schemata": ["L3:0=ff", "MB:0=70"]}}});
/// schemata_for_old_runtimes(&mut spec)?;
/// let rdt = json!({"l3CacheSchema": "L3:0=ff", "memBwSchema": "MB:0=70"});
/// assert_eq!(spec["linux"]["intelRdt"], rdt);
/// # Ok::<(), nri_domain_cri::rdt::RdtError>(())
/// ```
pub fn schemata_for_old_runtimes(spec: &mut OciSpec) -> Result<(), RdtError> {
    let Some(Value::Object(rdt)) = spec.pointer_mut("/linux/intelRdt") else {
        return Ok(());
    };
    let lines = rdt.get("schemata").and_then(Value::as_array);
    let lines: Vec<&str> = lines
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let (mut l3, mut memory, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for line in lines {
        let resource = line.split(':').next().unwrap_or_default().trim();
        match resource {
            "L3" | "L3CODE" | "L3DATA" => l3.push(line.to_owned()),
            "MB" => memory.push(line.to_owned()),
            _ => others.push(line.to_owned()),
        }
    }
    if !others.is_empty() {
        return Err(RdtError::Schemata(others));
    }
    rdt.remove("schemata");
    for (member, lines) in [("l3CacheSchema", l3), ("memBwSchema", memory)] {
        if !lines.is_empty() {
            rdt.insert(member.to_owned(), json!(lines.join("\n")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_a_group_that_is_there() {
        let root = tempfile::tempdir().unwrap();
        for group in ["kube-gold", "kube-silver", "info", "mon_groups", "other"] {
            fs::create_dir(root.path().join(group)).unwrap();
        }
        fs::write(root.path().join("kube-file"), "").unwrap();
        assert_eq!(classes(root.path(), "kube-"), ["gold", "silver"]);
        assert_eq!(
            resolve(root.path(), "kube-", "gold").unwrap(),
            json!({"closID": "kube-gold"})
        );
        for class in ["bronze", "", "../kube-gold", "file"] {
            let error = resolve(root.path(), "kube-", class)
                .unwrap_err()
                .to_string();
            assert!(error.ends_with("there are gold, silver"), "{error}");
        }
        assert_eq!(classes("/no/such/directory", ""), Vec::<String>::new());
        let error = resolve(Path::new("/no/such"), "", "gold").unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"there is no RDT class "gold" in /no/such; there is none: is resctrl mounted, and are the groups made?"#
        );
    }

    #[test]
    fn lines_that_old_runtimes_cannot_have_are_named() {
        let mut spec = json!({"linux": {"intelRdt": {"schemata": ["L2:0=f", "L3:0=ff"]}}});
        let before = spec.clone();
        assert_eq!(
            schemata_for_old_runtimes(&mut spec),
            Err(RdtError::Schemata(vec!["L2:0=f".into()]))
        );
        assert_eq!(spec, before);
        schemata_for_old_runtimes(&mut json!({})).unwrap();
    }
}
