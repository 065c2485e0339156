//! Adjustments of specs that have a type: through JSON and back, without losing anything in
//! silence.
//!
//! What may not enter: what is applied and how; that is [`apply()`](fn@super::apply)'s.

use std::collections::BTreeSet;

use nri_proto::api::{ContainerAdjustment, Field};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::apply::{ApplyError, ApplyOptions, Item, OnUnsupported, Requesters, Warning, apply};
use super::tree;

/// Applies what all plugins together ask for to a container's OCI spec that has a type, such as
/// `oci_spec::runtime::Spec` or a type of the runtime's own.
///
/// As [`apply()`](fn@super::apply), with the spec changed in place. What the type has no place for
/// is found by going back to JSON: each such member is a [`Warning`], or an error where
/// [`ApplyOptions::beyond_type`] says so. What the type lost of the spec before is not told again.
/// Types often insist on a whole process: where the spec had none, the one that is made for what
/// plugins ask for has the user 0, the working directory `/` and no command.
///
/// # Errors
/// As [`apply()`](fn@super::apply); a spec that cannot be written as JSON; a value that the type
/// refuses. Nothing has been applied then.
///
/// ```
/// use nri_core::api;
/// use nri_core::build::Adjust as _;
/// use nri_core::oci::{ApplyOptions, apply_typed};
/// use serde::{Deserialize, Serialize};
///
/// /// A runtime's own type, from before there were memory policies.
/// #[derive(Serialize, Deserialize)]
/// struct Spec { process: Process }
/// #[derive(Serialize, Deserialize)]
/// struct Process { args: Vec<String>, #[serde(default)] env: Vec<String> }
///
/// let mut adjustment = api::ContainerAdjustment::default();
/// adjustment.add_env("A", "1")?.set_oom_score_adj(Some(500));
/// let mut spec = Spec { process: Process { args: vec!["/app".into()], env: vec![] } };
/// let warnings = apply_typed(&mut spec, &adjustment, &ApplyOptions::default(), None)?;
/// assert_eq!(spec.process.env, ["A=1"]);
/// assert_eq!(
///     warnings[0].to_string(),
///     "OomScoreAdj: lost: the runtime's type for OCI specs has no place for process.oomScoreAdj"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn apply_typed<'a, T: Serialize + DeserializeOwned>(
    spec: &mut T,
    adjustment: &ContainerAdjustment,
    options: &ApplyOptions,
    owners: impl Into<Requesters<'a>>,
) -> Result<Vec<Warning>, ApplyError> {
    let owners = owners.into();
    let before = json_of(spec)?;
    let applied = apply(&before, adjustment, options, owners.clone())?;
    let (mut after, mut warnings) = (applied.spec, applied.warnings);
    complete_process(&before, &mut after);
    let typed = T::deserialize(&after)
        .map_err(|error| refusal::<T>(&before, &after, &owners, &error.to_string()))?;
    if options.beyond_type != OnUnsupported::Ignore {
        for member in new_losses::<T>(&before, &after, &json_of(&typed)?) {
            let item = item(&member, &after, &owners);
            let member = path(&member);
            if options.beyond_type == OnUnsupported::Error {
                let member = member.into();
                return Err(ApplyError::BeyondType { item, member });
            }
            warnings.push(Warning {
                item,
                text: format!("lost: the runtime's type for OCI specs has no place for {member}"),
            });
        }
    }
    *spec = typed;
    Ok(warnings)
}

fn json_of<T: Serialize>(spec: &T) -> Result<Value, ApplyError> {
    serde_json::to_value(spec).map_err(|error| ApplyError::TypeUnwritable(error.to_string()))
}

/// Gives a process that was made for an adjustment what every process has.
fn complete_process(before: &Value, after: &mut Value) {
    if tree::get(before, &["process"]).is_some() {
        return;
    }
    if let Some(process) = after.get_mut("process").and_then(Value::as_object_mut) {
        let whole = [
            ("user", json!({"uid": 0, "gid": 0})),
            ("args", json!([])),
            ("cwd", json!("/")),
        ];
        for (name, value) in whole {
            process.entry(name).or_insert(value);
        }
    }
}

/// One step from a value to a part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Member(String),
    Element(usize),
}

/// Where a member stands: names of members, places in lists.
fn path(steps: &[Step]) -> String {
    let mut path = String::new();
    for step in steps {
        match step {
            Step::Member(name) if path.is_empty() => path.push_str(name),
            Step::Member(name) if name.contains(['.', '/', '[']) => {
                path.push_str(&format!("[{name:?}]"));
            }
            Step::Member(name) => path.push_str(&format!(".{name}")),
            Step::Element(at) => path.push_str(&format!("[{at}]")),
        }
    }
    path
}

/// The members of `after` that a type loses, and did not lose of the spec before.
fn new_losses<T: Serialize + DeserializeOwned>(
    before: &Value,
    after: &Value,
    back: &Value,
) -> Vec<Vec<Step>> {
    let mut losses = Vec::new();
    lost(after, back, &mut Vec::new(), &mut losses);
    if losses.is_empty() {
        return losses;
    }
    let unchanged = T::deserialize(before).ok();
    if let Some(again) = unchanged.and_then(|spec| serde_json::to_value(spec).ok()) {
        let mut known = Vec::new();
        lost(before, &again, &mut Vec::new(), &mut known);
        let known = BTreeSet::from_iter(known);
        losses.retain(|loss| !(known.contains(loss) && at(before, loss) == at(after, loss)));
    }
    losses
}

/// Collects what `back` does not have, or has another value of. What is empty counts as absent.
fn lost(value: &Value, back: &Value, here: &mut Vec<Step>, losses: &mut Vec<Vec<Step>>) {
    let mut within = |step: Step, value: &Value, back: &Value| {
        here.push(step);
        lost(value, back, here, losses);
        here.pop();
    };
    match (value, back) {
        (Value::Object(members), Value::Object(back)) => {
            for (name, value) in members {
                let back = back.get(name).unwrap_or(&Value::Null);
                within(Step::Member(name.clone()), value, back);
            }
        }
        (Value::Array(elements), Value::Array(back)) if elements.len() == back.len() => {
            for (at, (value, back)) in elements.iter().zip(back).enumerate() {
                within(Step::Element(at), value, back);
            }
        }
        (value, back) if value == back || (is_empty(value) && is_empty(back)) => {}
        (Value::Object(members), _) if is_empty(back) => {
            for (name, value) in members {
                within(Step::Member(name.clone()), value, &Value::Null);
            }
        }
        (value, _) if is_empty(value) => {}
        _ => losses.push(here.clone()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(elements) => elements.is_empty(),
        Value::Object(members) => members.values().all(is_empty),
        _ => false,
    }
}

fn at<'a>(value: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(value, |value, step| match step {
        Step::Member(name) => value.get(name),
        Step::Element(at) => value.get(at),
    })
}

/// How the entries of a member are told apart.
#[derive(Clone, Copy)]
enum Entries {
    None,
    /// By the names of the members.
    Names,
    /// By a member of each element.
    Elements(&'static str),
}

/// The members of a spec that adjustments write, each after those that are parts of it.
const MEMBERS: &[(&[&str], Field, Entries)] = {
    use Entries::{Elements, Names, None};
    &[
        (&["annotations"], Field::Annotations, Names),
        (&["process", "env"], Field::Env, None),
        (&["process", "args"], Field::Args, None),
        (&["process", "oomScoreAdj"], Field::OomScoreAdj, None),
        (&["process", "ioPriority"], Field::IoPriority, None),
        (&["process", "scheduler"], Field::LinuxSched, None),
        (&["process", "rlimits"], Field::Rlimits, Elements("type")),
        (&["hooks"], Field::OciHooks, None),
        (&["mounts"], Field::Mounts, Elements("destination")),
        (&["linux", "rootfsPropagation"], Field::Mounts, None),
        (&["linux", "devices"], Field::Devices, Elements("path")),
        (&["linux", "cgroupsPath"], Field::CgroupsPath, None),
        (&["linux", "seccomp"], Field::SeccompPolicy, None),
        (&["linux", "namespaces"], Field::Namespace, Elements("type")),
        (&["linux", "sysctl"], Field::Sysctl, Names),
        (&["linux", "netDevices"], Field::LinuxNetDevices, Names),
        (&["linux", "memoryPolicy"], Field::MemoryPolicy, None),
        (&["linux", "intelRdt", "closID"], Field::RdtClosId, None),
        (&["linux", "intelRdt", "schemata"], Field::RdtSchemata, None),
        (
            &["linux", "intelRdt", "enableMonitoring"],
            Field::RdtEnableMonitoring,
            None,
        ),
        (&["linux", "intelRdt"], Field::RdtClass, None),
        (
            &["linux", "resources", "memory", "limit"],
            Field::MemLimit,
            None,
        ),
        (
            &["linux", "resources", "memory", "reservation"],
            Field::MemReservation,
            None,
        ),
        (
            &["linux", "resources", "memory", "swap"],
            Field::MemSwapLimit,
            None,
        ),
        (
            &["linux", "resources", "memory", "kernel"],
            Field::MemKernelLimit,
            None,
        ),
        (
            &["linux", "resources", "memory", "kernelTCP"],
            Field::MemTcpLimit,
            None,
        ),
        (
            &["linux", "resources", "memory", "swappiness"],
            Field::MemSwappiness,
            None,
        ),
        (
            &["linux", "resources", "memory", "disableOOMKiller"],
            Field::MemDisableOomKiller,
            None,
        ),
        (
            &["linux", "resources", "memory", "useHierarchy"],
            Field::MemUseHierarchy,
            None,
        ),
        (
            &["linux", "resources", "cpu", "shares"],
            Field::CpuShares,
            None,
        ),
        (
            &["linux", "resources", "cpu", "quota"],
            Field::CpuQuota,
            None,
        ),
        (
            &["linux", "resources", "cpu", "period"],
            Field::CpuPeriod,
            None,
        ),
        (
            &["linux", "resources", "cpu", "realtimeRuntime"],
            Field::CpuRealtimeRuntime,
            None,
        ),
        (
            &["linux", "resources", "cpu", "realtimePeriod"],
            Field::CpuRealtimePeriod,
            None,
        ),
        (
            &["linux", "resources", "cpu", "cpus"],
            Field::CpuSetCpUs,
            None,
        ),
        (
            &["linux", "resources", "cpu", "mems"],
            Field::CpuSetMems,
            None,
        ),
        (&["linux", "resources", "pids"], Field::PidsLimit, None),
        (
            &["linux", "resources", "hugepageLimits"],
            Field::HugepageLimits,
            Elements("pageSize"),
        ),
        (
            &["linux", "resources", "unified"],
            Field::CgroupsUnified,
            Names,
        ),
        (&["linux", "resources", "devices"], Field::Devices, None),
        (
            &["linux", "resources", "blockIO"],
            Field::BlockioClass,
            None,
        ),
    ]
};

/// What was asked for that a member of a spec comes of.
fn item(member: &[Step], after: &Value, owners: &Requesters<'_>) -> Item {
    let starts_with = |names: &[&str]| {
        let mut steps = member.iter();
        let mut same = |name: &&str| steps.next() == Some(&Step::Member((*name).to_owned()));
        names.iter().all(&mut same)
    };
    let found = MEMBERS.iter().find(|(names, ..)| starts_with(names));
    // What stands nowhere in the table comes of CDI's edits.
    let Some((names, field, entries)) = found else {
        return Item::new(Field::CdiDevices, "", owners);
    };
    let entry = member.get(names.len());
    let key = match (entries, entry) {
        (Entries::Names, Some(Step::Member(name))) => name.clone(),
        (Entries::Elements(key), Some(Step::Element(_))) => at(after, &member[..=names.len()])
            .map(|element| tree::string(element, &[key]))
            .unwrap_or_default(),
        _ => String::new(),
    };
    Item::new(*field, &key, owners)
}

/// What a type refuses: the first member without which it takes the spec.
fn refusal<T: DeserializeOwned>(
    before: &Value,
    after: &Value,
    owners: &Requesters<'_>,
    reason: &str,
) -> ApplyError {
    let mut without = after.clone();
    for (names, ..) in MEMBERS {
        let Some((name, parent)) = names.split_last() else {
            continue;
        };
        match tree::get(before, names) {
            same if same == tree::get(&without, names) => continue,
            Some(value) => tree::set(&mut without, parent, name, value.clone()),
            None => tree::remove(&mut without, parent, name),
        }
        complete_process(before, &mut without);
        if T::deserialize(&without).is_ok() {
            let steps: Vec<Step> = names
                .iter()
                .map(|name| Step::Member((*name).to_owned()))
                .collect();
            return ApplyError::TypeRefuses {
                item: item(&steps, after, owners),
                member: path(&steps).into(),
                reason: reason.into(),
            };
        }
    }
    ApplyError::TypeRefusesSpec(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::build::{Adjust as _, SetResources as _};
    use crate::merge::{Owner, Owners};

    /// A type that has little, and insists on what it has.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Spec {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        process: Option<Process>,
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        annotations: BTreeMap<String, String>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mounts: Vec<Mount>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Process {
        args: Vec<String>,
        cwd: String,
        user: User,
        #[serde(default)]
        env: Vec<String>,
        #[serde(
            default,
            skip_serializing_if = "Option::is_none",
            rename = "oomScoreAdj"
        )]
        oom_score_adj: Option<u8>,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct User {
        uid: u32,
        gid: u32,
    }

    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    struct Mount {
        destination: String,
    }

    fn empty() -> Spec {
        Spec {
            process: None,
            annotations: BTreeMap::new(),
            mounts: Vec::new(),
        }
    }

    fn applied(
        spec: &mut Spec,
        adjustment: &ContainerAdjustment,
        options: &ApplyOptions,
    ) -> Result<Vec<String>, String> {
        let mut owners = Owners::default();
        for (field, key) in [
            (Field::Mounts, Some("/data")),
            (Field::OomScoreAdj, None),
            (Field::CpuShares, None),
        ] {
            let owner = Owner::Set("10-plugin".parse().unwrap());
            owners.insert("c", field, key, owner);
        }
        match apply_typed(spec, adjustment, options, (&owners, "c")) {
            Ok(warnings) => Ok(warnings.iter().map(Warning::to_string).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_process_that_had_to_be_made_is_whole() {
        let mut adjustment = ContainerAdjustment::default();
        adjustment.add_env("A", "1").unwrap();
        let mut spec = empty();
        let warnings = applied(&mut spec, &adjustment, &ApplyOptions::default()).unwrap();
        let process = spec.process.unwrap();
        assert_eq!((&*process.cwd, process.env), ("/", vec!["A=1".to_owned()]));
        assert!(warnings[0].contains("no command"), "{warnings:?}");
    }

    #[test]
    fn what_a_type_has_no_place_for_is_named_with_its_plugin() {
        let mut adjustment = ContainerAdjustment::default();
        adjustment.add_annotation("a", "1").unwrap();
        adjustment
            .add_mount(nri_proto::api::Mount {
                destination: "/data".into(),
                source: "/src".into(),
                r#type: "bind".into(),
                options: vec!["ro".into()],
            })
            .unwrap();
        adjustment.set_cpu_shares(512);
        let mut spec = empty();
        spec.mounts.push(Mount {
            destination: "/a".into(),
        });
        let warnings = applied(&mut spec, &adjustment, &ApplyOptions::default()).unwrap();
        let lost = "lost: the runtime's type for OCI specs has no place for";
        assert_eq!(
            warnings,
            [
                format!("CPUShares (of plugin 10-plugin): {lost} linux.resources.cpu.shares"),
                format!("Mounts \"/data\" (of plugin 10-plugin): {lost} mounts[1].options"),
                format!("Mounts \"/data\" (of plugin 10-plugin): {lost} mounts[1].source"),
                format!("Mounts \"/data\" (of plugin 10-plugin): {lost} mounts[1].type"),
            ]
        );
        assert_eq!(
            (spec.annotations["a"].as_str(), spec.mounts.len()),
            ("1", 2)
        );

        let mut options = ApplyOptions {
            beyond_type: OnUnsupported::Error,
            ..ApplyOptions::default()
        };
        let mut untouched = empty();
        let error = applied(&mut untouched, &adjustment, &options).unwrap_err();
        assert_eq!(
            error,
            "cannot apply CPUShares (of plugin 10-plugin): the runtime's type for OCI specs has no place for \
             linux.resources.cpu.shares"
        );
        assert_eq!(untouched, empty());
        options.beyond_type = OnUnsupported::Ignore;
        assert_eq!(applied(&mut untouched, &adjustment, &options), Ok(vec![]));
    }

    #[test]
    fn what_a_type_refuses_is_named_with_its_plugin() {
        let mut adjustment = ContainerAdjustment::default();
        adjustment.add_env("A", "1").unwrap();
        adjustment.set_oom_score_adj(Some(-5));
        let mut spec = empty();
        let error = applied(&mut spec, &adjustment, &ApplyOptions::default()).unwrap_err();
        assert!(
            error.starts_with(
                "cannot apply OomScoreAdj (of plugin 10-plugin): the runtime's type for OCI specs refuses process.oomScoreAdj: \
                 invalid value: integer `-5`"
            ),
            "{error}"
        );
        assert_eq!(spec, empty());
    }

    #[test]
    fn what_a_type_lost_before_is_not_told() {
        /// Writes what it does not read.
        #[derive(Serialize, Deserialize)]
        struct Odd {
            #[serde(skip_deserializing)]
            hostname: String,
            #[serde(default)]
            annotations: BTreeMap<String, String>,
        }
        let mut adjustment = ContainerAdjustment::default();
        adjustment.add_annotation("a", "1").unwrap();
        let mut spec = Odd {
            hostname: "web".into(),
            annotations: BTreeMap::new(),
        };
        let warnings = apply_typed(&mut spec, &adjustment, &ApplyOptions::default(), None);
        assert_eq!(warnings.unwrap(), []);
        assert_eq!(spec.annotations["a"], "1");
    }
}
