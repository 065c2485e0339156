//! Adjustments that ask for one thing.
//!
//! What may not enter: whether that can work.

use nri_proto::api::{
    ContainerAdjustment, Hook, KeyValue, LinuxDevice, LinuxDeviceCgroup, LinuxNamespace,
    LinuxNetDevice, LinuxScheduler, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, Mount, MpolFlag,
    MpolMode, OptionalFileMode, OptionalInt, OptionalInt64, PosixRlimit,
};

use crate::build::{Adjust, SetResources};

/// An adjustment that breaks a rule.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Example {
    /// The name of the rule.
    pub rule: &'static str,
    /// The adjustment, for the spec of [`spec`](super::spec).
    pub adjustment: ContainerAdjustment,
    /// What the error says, from the field on.
    pub says: &'static str,
}

/// An example of what breaks a rule.
pub(super) fn example(
    rule: &'static str,
    adjustment: ContainerAdjustment,
    says: &'static str,
) -> Example {
    Example {
        rule,
        adjustment,
        says,
    }
}

/// An adjustment that `change` makes.
pub(super) fn adjustment(change: impl FnOnce(&mut ContainerAdjustment)) -> ContainerAdjustment {
    let mut adjustment = ContainerAdjustment::default();
    change(&mut adjustment);
    adjustment
}

pub(super) fn env(name: &str, value: &str) -> ContainerAdjustment {
    let (key, value) = (name.into(), value.into());
    adjustment(|a| a.env.push(KeyValue { key, value }))
}

pub(super) fn args(args: &[&str]) -> ContainerAdjustment {
    adjustment(|a| a.args = args.iter().map(|arg| (*arg).to_owned()).collect())
}

pub(super) fn rlimit(r#type: &str, hard: u64, soft: u64) -> ContainerAdjustment {
    let r#type = r#type.into();
    adjustment(|a| a.rlimits.push(PosixRlimit { r#type, hard, soft }))
}

pub(super) fn hook(path: &str, timeout: Option<i64>, arg: &str) -> ContainerAdjustment {
    let hook = Hook {
        path: path.into(),
        args: vec![arg.into()],
        timeout: timeout.map(|value| OptionalInt { value }),
        ..Default::default()
    };
    adjustment(|a| a.hooks.get_or_insert_default().prestart.push(hook))
}

/// A mount of this type with these options.
pub(super) fn mount(r#type: &str, options: &[&str]) -> ContainerAdjustment {
    let mount = Mount {
        destination: "/mnt".into(),
        source: "/usr".into(),
        r#type: r#type.into(),
        options: options.iter().map(|option| (*option).into()).collect(),
    };
    adjustment(|a| a.mounts.push(mount))
}

pub(super) fn scheduler(
    policy: i32,
    nice: i32,
    priority: i32,
    times: [u64; 3],
) -> ContainerAdjustment {
    let [runtime, deadline, period] = times;
    adjustment(|a| {
        a.set_scheduler(LinuxScheduler {
            policy,
            nice,
            priority,
            runtime,
            deadline,
            period,
            ..Default::default()
        });
    })
}

pub(super) fn policy(mode: MpolMode, nodes: &str, flags: &[MpolFlag]) -> ContainerAdjustment {
    adjustment(|a| {
        a.set_memory_policy(mode, nodes, flags.iter().copied());
    })
}

pub(super) fn seccomp(change: impl FnOnce(&mut LinuxSeccomp)) -> ContainerAdjustment {
    let mut policy = LinuxSeccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        ..Default::default()
    };
    change(&mut policy);
    adjustment(|a| {
        a.set_seccomp_policy(policy);
    })
}

pub(super) fn syscall(names: &[&str], action: &str) -> LinuxSyscall {
    LinuxSyscall {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action: action.into(),
        ..Default::default()
    }
}

pub(super) fn rule(rule: LinuxSyscall) -> ContainerAdjustment {
    seccomp(|policy| policy.syscalls.push(rule))
}

pub(super) fn argument(index: u32, op: &str) -> ContainerAdjustment {
    let arg = LinuxSeccompArg {
        index,
        op: op.into(),
        ..Default::default()
    };
    rule(LinuxSyscall {
        args: vec![arg],
        ..syscall(&["personality"], "SCMP_ACT_ERRNO")
    })
}

pub(super) fn namespace(r#type: &str, path: &str) -> ContainerAdjustment {
    let (r#type, path) = (r#type.into(), path.into());
    adjustment(|a| a.linux().namespaces.push(LinuxNamespace { r#type, path }))
}

pub(super) fn sysctl(name: &str, value: &str) -> ContainerAdjustment {
    adjustment(|a| {
        a.linux().sysctl.insert(name.into(), value.into());
    })
}

pub(super) fn net_devices(devices: &[(&str, &str)]) -> ContainerAdjustment {
    adjustment(|a| {
        for (host, name) in devices {
            let name = (*name).to_owned();
            let device = LinuxNetDevice { name };
            a.linux().net_devices.insert((*host).to_owned(), device);
        }
    })
}

pub(super) fn device(major: i64, minor: i64, mode: Option<u32>) -> ContainerAdjustment {
    device_at("/dev/x", major, minor, mode)
}

pub(super) fn device_at(
    path: &str,
    major: i64,
    minor: i64,
    mode: Option<u32>,
) -> ContainerAdjustment {
    let device = LinuxDevice {
        path: path.into(),
        r#type: "c".into(),
        major,
        minor,
        file_mode: mode.map(|value| OptionalFileMode { value }),
        ..Default::default()
    };
    adjustment(|a| a.linux().devices.push(device))
}

pub(super) fn device_rule(r#type: &str, major: Option<i64>, access: &str) -> ContainerAdjustment {
    let rule = LinuxDeviceCgroup {
        allow: true,
        r#type: r#type.into(),
        major: major.map(|value| OptionalInt64 { value }),
        access: access.into(),
        ..Default::default()
    };
    adjustment(|a| {
        a.add_cgroup_device_rule(rule);
    })
}

pub(super) fn schemata(line: &str) -> ContainerAdjustment {
    adjustment(|a| {
        a.set_rdt_schemata([line]);
    })
}

pub(super) fn clos(name: &str) -> ContainerAdjustment {
    adjustment(|a| {
        a.set_rdt_clos_id(name);
    })
}

pub(super) fn huge_pages(size: &str) -> ContainerAdjustment {
    adjustment(|a| {
        // One limit is never there twice.
        let _ = a.add_hugepage_limit(size, 0);
    })
}

pub(super) fn unified(name: &str) -> ContainerAdjustment {
    adjustment(|a| {
        let _ = a.add_unified(name, "1");
    })
}

/// A setter of [`SetResources`] or [`Adjust`] with a value.
pub(super) fn set<T>(
    setter: impl FnOnce(&mut ContainerAdjustment, T) -> &mut ContainerAdjustment,
    value: T,
) -> ContainerAdjustment {
    adjustment(|a| {
        setter(a, value);
    })
}
