//! What plugins see of a container that has an OCI runtime spec.
//!
//! Every function takes a whole spec and cannot fail: members that are absent or of another type
//! read as absent (see [`check`](super::shape::check) for refusing such specs). Identity, state,
//! labels and image are not in a spec; they are the runtime's to add.

use std::collections::BTreeMap;

use nri_proto::api;
use serde_json::Value;

use super::{resources, tree};

/// Everything that a spec says about a container; the rest of the message is empty.
///
/// ```
/// use nri_core::oci::read;
/// use serde_json::json;
///
/// let container = read::container(&json!({
///     "process": {"args": ["/bin/sh"], "env": ["A=1"], "oomScoreAdj": 500},
///     "linux": {"resources": {"memory": {"limit": 1048576}}},
/// }));
/// assert_eq!(container.args, ["/bin/sh"]);
/// let linux = container.linux.unwrap();
/// assert_eq!(linux.oom_score_adj.unwrap().value, 500);
/// assert_eq!(linux.resources.unwrap().memory.unwrap().limit.unwrap().value, 1048576);
/// ```
pub fn container(spec: &Value) -> api::Container {
    api::Container {
        annotations: annotations(spec),
        args: args(spec),
        env: env(spec),
        mounts: mounts(spec),
        hooks: hooks(spec),
        rlimits: rlimits(spec),
        user: user(spec),
        linux: linux(spec),
        ..Default::default()
    }
}

/// `annotations`.
pub fn annotations(spec: &Value) -> BTreeMap<String, String> {
    tree::string_map(spec, &["annotations"])
}

/// `process.args`.
pub fn args(spec: &Value) -> Vec<String> {
    tree::strings(spec, &["process", "args"])
}

/// `process.env`, entries as they stand.
pub fn env(spec: &Value) -> Vec<String> {
    tree::strings(spec, &["process", "env"])
}

/// `mounts`, without id mappings: the protocol has no place for them.
pub fn mounts(spec: &Value) -> Vec<api::Mount> {
    tree::list(spec, &["mounts"]).iter().map(mount).collect()
}

pub(super) fn mount(mount: &Value) -> api::Mount {
    api::Mount {
        destination: tree::string(mount, &["destination"]),
        r#type: tree::string(mount, &["type"]),
        source: tree::string(mount, &["source"]),
        options: tree::strings(mount, &["options"]),
    }
}

/// `hooks`; `None` if the spec has no such member.
pub fn hooks(spec: &Value) -> Option<api::Hooks> {
    let hooks = tree::get(spec, &["hooks"])?;
    let list = |name: &str| tree::list(hooks, &[name]).iter().map(hook).collect();
    Some(api::Hooks {
        prestart: list("prestart"),
        create_runtime: list("createRuntime"),
        create_container: list("createContainer"),
        start_container: list("startContainer"),
        poststart: list("poststart"),
        poststop: list("poststop"),
    })
}

fn hook(hook: &Value) -> api::Hook {
    api::Hook {
        path: tree::string(hook, &["path"]),
        args: tree::strings(hook, &["args"]),
        env: tree::strings(hook, &["env"]),
        timeout: tree::int(hook, &["timeout"]).map(|value| api::OptionalInt { value }),
    }
}

/// `process.rlimits`.
pub fn rlimits(spec: &Value) -> Vec<api::PosixRlimit> {
    tree::list(spec, &["process", "rlimits"])
        .iter()
        .map(|rlimit| api::PosixRlimit {
            r#type: tree::string(rlimit, &["type"]),
            hard: tree::uint(rlimit, &["hard"]).unwrap_or_default(),
            soft: tree::uint(rlimit, &["soft"]).unwrap_or_default(),
        })
        .collect()
}

/// `process.user`, without umask and user name: the protocol has no place for them.
pub fn user(spec: &Value) -> Option<api::User> {
    let user = tree::get(spec, &["process", "user"])?;
    Some(api::User {
        uid: tree::uint32(user, &["uid"]).unwrap_or_default(),
        gid: tree::uint32(user, &["gid"]).unwrap_or_default(),
        additional_gids: tree::list(user, &["additionalGids"])
            .iter()
            .filter_map(|gid| u32::try_from(gid.as_u64()?).ok())
            .collect(),
    })
}

/// The Linux part; `None` if the spec has neither `linux` nor anything else that belongs to it.
pub fn linux(spec: &Value) -> Option<api::LinuxContainer> {
    let linux = api::LinuxContainer {
        namespaces: namespaces(spec),
        devices: devices(spec),
        resources: resources(spec),
        oom_score_adj: oom_score_adj(spec).map(|value| api::OptionalInt { value }),
        cgroups_path: cgroups_path(spec),
        io_priority: io_priority(spec),
        seccomp_profile: None,
        seccomp_policy: seccomp_policy(spec),
        sysctl: sysctl(spec),
        net_devices: net_devices(spec),
        scheduler: scheduler(spec),
        rdt: rdt(spec),
    };
    (tree::get(spec, &["linux"]).is_some() || linux != api::LinuxContainer::default())
        .then_some(linux)
}

/// `linux.namespaces`.
pub fn namespaces(spec: &Value) -> Vec<api::LinuxNamespace> {
    tree::list(spec, &["linux", "namespaces"])
        .iter()
        .map(|namespace| api::LinuxNamespace {
            r#type: tree::string(namespace, &["type"]),
            path: tree::string(namespace, &["path"]),
        })
        .collect()
}

/// `linux.devices`.
pub fn devices(spec: &Value) -> Vec<api::LinuxDevice> {
    tree::list(spec, &["linux", "devices"])
        .iter()
        .map(|device| api::LinuxDevice {
            path: tree::string(device, &["path"]),
            r#type: tree::string(device, &["type"]),
            major: tree::int(device, &["major"]).unwrap_or_default(),
            minor: tree::int(device, &["minor"]).unwrap_or_default(),
            file_mode: tree::uint32(device, &["fileMode"])
                .map(|value| api::OptionalFileMode { value }),
            uid: tree::uint32(device, &["uid"]).map(|value| api::OptionalUInt32 { value }),
            gid: tree::uint32(device, &["gid"]).map(|value| api::OptionalUInt32 { value }),
        })
        .collect()
}

/// `linux.resources`; `None` if the spec has no such member.
pub fn resources(spec: &Value) -> Option<api::LinuxResources> {
    tree::get(spec, &["linux", "resources"]).map(resources::from_oci)
}

/// `process.oomScoreAdj`.
pub fn oom_score_adj(spec: &Value) -> Option<i64> {
    tree::int(spec, &["process", "oomScoreAdj"])
}

/// `linux.cgroupsPath`.
pub fn cgroups_path(spec: &Value) -> String {
    tree::string(spec, &["linux", "cgroupsPath"])
}

/// `process.ioPriority`; a class that the protocol does not know reads as none.
pub fn io_priority(spec: &Value) -> Option<api::LinuxIoPriority> {
    let priority = tree::get(spec, &["process", "ioPriority"])?;
    Some(api::LinuxIoPriority {
        class: api::IoPrioClass::from_str_name(&tree::string(priority, &["class"]))
            .unwrap_or_default()
            .into(),
        priority: int32(priority, "priority"),
    })
}

/// `process.scheduler`; a policy that the protocol does not know reads as none, such flags are left
/// out.
pub fn scheduler(spec: &Value) -> Option<api::LinuxScheduler> {
    let scheduler = tree::get(spec, &["process", "scheduler"])?;
    Some(api::LinuxScheduler {
        policy: api::LinuxSchedulerPolicy::from_str_name(&tree::string(scheduler, &["policy"]))
            .unwrap_or_default()
            .into(),
        nice: int32(scheduler, "nice"),
        priority: int32(scheduler, "priority"),
        flags: tree::strings(scheduler, &["flags"])
            .iter()
            .filter_map(|flag| api::LinuxSchedulerFlag::from_str_name(flag))
            .map(i32::from)
            .collect(),
        runtime: tree::uint(scheduler, &["runtime"]).unwrap_or_default(),
        deadline: tree::uint(scheduler, &["deadline"]).unwrap_or_default(),
        period: tree::uint(scheduler, &["period"]).unwrap_or_default(),
    })
}

fn int32(value: &Value, name: &str) -> i32 {
    tree::int(value, &[name])
        .and_then(|number| i32::try_from(number).ok())
        .unwrap_or_default()
}

/// `linux.seccomp`; `None` if the spec has no such member.
pub fn seccomp_policy(spec: &Value) -> Option<api::LinuxSeccomp> {
    let seccomp = tree::get(spec, &["linux", "seccomp"])?;
    let errno = |value: &Value, name: &str| {
        tree::uint32(value, &[name]).map(|value| api::OptionalUInt32 { value })
    };
    Some(api::LinuxSeccomp {
        default_action: tree::string(seccomp, &["defaultAction"]),
        default_errno: errno(seccomp, "defaultErrnoRet"),
        architectures: tree::strings(seccomp, &["architectures"]),
        flags: tree::strings(seccomp, &["flags"]),
        listener_path: tree::string(seccomp, &["listenerPath"]),
        listener_metadata: tree::string(seccomp, &["listenerMetadata"]),
        syscalls: tree::list(seccomp, &["syscalls"])
            .iter()
            .map(|rule| api::LinuxSyscall {
                names: tree::strings(rule, &["names"]),
                action: tree::string(rule, &["action"]),
                errno_ret: errno(rule, "errnoRet"),
                args: tree::list(rule, &["args"])
                    .iter()
                    .map(|arg| api::LinuxSeccompArg {
                        index: tree::uint32(arg, &["index"]).unwrap_or_default(),
                        value: tree::uint(arg, &["value"]).unwrap_or_default(),
                        value_two: tree::uint(arg, &["valueTwo"]).unwrap_or_default(),
                        op: tree::string(arg, &["op"]),
                    })
                    .collect(),
            })
            .collect(),
    })
}

/// `linux.sysctl`.
pub fn sysctl(spec: &Value) -> BTreeMap<String, String> {
    tree::string_map(spec, &["linux", "sysctl"])
}

/// `linux.netDevices`.
pub fn net_devices(spec: &Value) -> BTreeMap<String, api::LinuxNetDevice> {
    tree::get(spec, &["linux", "netDevices"])
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(host, device)| {
            let name = tree::string(device, &["name"]);
            (host.clone(), api::LinuxNetDevice { name })
        })
        .collect()
}

/// `linux.intelRdt`: its members that are there. The schemas that older specs use have no place in
/// the protocol.
pub fn rdt(spec: &Value) -> Option<api::LinuxRdt> {
    let rdt = tree::get(spec, &["linux", "intelRdt"])?;
    Some(api::LinuxRdt {
        clos_id: tree::get(rdt, &["closID"])
            .and_then(Value::as_str)
            .map(|value| api::OptionalString {
                value: value.to_owned(),
            }),
        schemata: tree::get(rdt, &["schemata"]).and(Some(api::OptionalRepeatedString {
            value: tree::strings(rdt, &["schemata"]),
        })),
        enable_monitoring: tree::boolean(rdt, &["enableMonitoring"])
            .map(|value| api::OptionalBool { value }),
        remove: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::samples::any_document;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn members_of_the_process_count_as_linux_too() {
        assert_eq!(container(&json!({})), api::Container::default());
        let spec = json!({"process": {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}});
        let priority = linux(&spec).unwrap().io_priority.unwrap();
        assert_eq!(
            (priority.class(), priority.priority),
            (api::IoPrioClass::IoprioClassBe, 4)
        );
    }

    #[test]
    fn unknown_scheduler_names_never_turn_into_other_ones() {
        let spec = json!({"process": {"scheduler": {
            "policy": "SCHED_EXT", "flags": ["SCHED_FLAG_NEW", "SCHED_FLAG_RECLAIM"],
        }}});
        let scheduler = scheduler(&spec).unwrap();
        assert_eq!(scheduler.policy(), api::LinuxSchedulerPolicy::SchedNone);
        assert_eq!(
            scheduler.flags,
            [i32::from(api::LinuxSchedulerFlag::SchedFlagReclaim)]
        );
    }

    #[test]
    fn rdt_has_only_what_is_there() {
        let rdt = |value| rdt(&json!({"linux": {"intelRdt": value}})).unwrap();
        assert_eq!(rdt(json!({})), api::LinuxRdt::default());
        assert_eq!(
            rdt(json!({"schemata": []})).schemata,
            Some(api::OptionalRepeatedString::default())
        );
        assert_eq!(
            rdt(json!({"closID": "gold"})).clos_id.unwrap().value,
            "gold"
        );
    }

    #[test]
    fn seccomp_keeps_its_default_errno() {
        let spec = json!({"linux": {"seccomp": {
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "syscalls": [{"names": ["personality"], "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 0, "value": 18446744073709551615u64, "op": "SCMP_CMP_EQ"}]}],
        }}});
        let policy = seccomp_policy(&spec).unwrap();
        assert_eq!(policy.default_errno.unwrap().value, 38);
        assert_eq!(policy.syscalls[0].args[0].value, u64::MAX);
    }

    proptest! {
        /// Law: no document makes reading fail.
        #[test]
        fn reading_never_fails(spec in any_document()) {
            let _ = container(&spec);
        }
    }
}
