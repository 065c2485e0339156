//! What an adjustment needs of the low-level runtime: runtimes ignore members that they do not
//! know, in silence.

use nri_proto::api::{Field, LinuxSeccomp};

use super::draft::Draft;
use super::error::ApplyError;
use super::options::OnUnsupported;
use crate::merge::removal_marker::marked;
use crate::oci::tree;
use crate::oci::version::OciVersion;

const OCI_1_0_2: OciVersion = OciVersion::new(1, 0, 2);
const OCI_1_1: OciVersion = OciVersion::new(1, 1, 0);
const OCI_1_3: OciVersion = OciVersion::new(1, 3, 0);

struct Requirement {
    since: OciVersion,
    field: Field,
    member: &'static str,
    needed: fn(&Draft<'_>) -> bool,
}

macro_rules! requirements {
    ($($since:ident $field:ident $member:literal $needed:expr,)*) => {
        &[$(Requirement { since: $since, field: Field::$field, member: $member, needed: $needed }),*]
    };
}

/// The members that an adjustment can write and that came after OCI 1.0.0, with the version that
/// has them first.
const REQUIREMENTS: &[Requirement] = requirements! {
    OCI_1_0_2 OciHooks "hooks.createRuntime"
        |d| d.adjustment.hooks.as_ref().is_some_and(|h| !h.create_runtime.is_empty()),
    OCI_1_0_2 OciHooks "hooks.createContainer"
        |d| d.adjustment.hooks.as_ref().is_some_and(|h| !h.create_container.is_empty()),
    OCI_1_0_2 OciHooks "hooks.startContainer"
        |d| d.adjustment.hooks.as_ref().is_some_and(|h| !h.start_container.is_empty()),
    OCI_1_0_2 RdtClosId "linux.intelRdt.closID"
        |d| d.linux.rdt.as_ref().is_some_and(|rdt| rdt.clos_id.is_some()),
    OCI_1_0_2 MemUseHierarchy "linux.resources.memory.useHierarchy"
        |d| d.linux.resources.as_ref()
            .is_some_and(|r| r.memory.is_some_and(|memory| memory.use_hierarchy.is_some())),
    OCI_1_0_2 SeccompPolicy "linux.seccomp.flags"
        |d| d.linux.seccomp_policy.as_ref().is_some_and(|s| !s.flags.is_empty()),
    OCI_1_0_2 SeccompPolicy "linux.seccomp SCMP_ACT_LOG"
        |d| d.linux.seccomp_policy.as_ref().is_some_and(|s| has_action(s, "SCMP_ACT_LOG")),
    OCI_1_1 SeccompPolicy "linux.seccomp SCMP_ACT_NOTIFY"
        |d| d.linux.seccomp_policy.as_ref().is_some_and(|s| has_action(s, "SCMP_ACT_NOTIFY")),
    OCI_1_1 SeccompPolicy "linux.seccomp.defaultErrnoRet"
        |d| d.linux.seccomp_policy.as_ref().is_some_and(|s| s.default_errno.is_some()),
    OCI_1_1 SeccompPolicy "linux.seccomp.syscalls.errnoRet"
        |d| d.linux.seccomp_policy.as_ref()
            .is_some_and(|s| s.syscalls.iter().any(|rule| rule.errno_ret.is_some())),
    OCI_1_1 SeccompPolicy "linux.seccomp.listenerPath"
        |d| d.linux.seccomp_policy.as_ref().is_some_and(|s| !s.listener_path.is_empty()),
    OCI_1_1 LinuxSched "process.scheduler"
        |d| tree::get(&d.spec, &["process", "scheduler"]).is_some() && d.linux.scheduler.is_some(),
    OCI_1_1 IoPriority "process.ioPriority"
        |d| tree::get(&d.spec, &["process", "ioPriority"]).is_some() && d.linux.io_priority.is_some(),
    OCI_1_1 CgroupsUnified "linux.resources.unified"
        |d| d.linux.resources.as_ref().is_some_and(|r| !r.unified.is_empty()),
    OCI_1_1 Namespace "linux.namespaces time"
        |d| d.linux.namespaces.iter().any(|namespace| namespace.r#type == "time"),
    OCI_1_3 LinuxNetDevices "linux.netDevices"
        |d| d.linux.net_devices.keys().any(|name| marked(name).is_none()),
    OCI_1_3 MemoryPolicy "linux.memoryPolicy"
        |d| d.linux.memory_policy.is_some(),
    OCI_1_3 RdtSchemata "linux.intelRdt.schemata"
        |d| d.linux.rdt.as_ref().is_some_and(|rdt| rdt.schemata.is_some()),
    OCI_1_3 RdtEnableMonitoring "linux.intelRdt.enableMonitoring"
        |d| d.linux.rdt.as_ref().is_some_and(|rdt| rdt.enable_monitoring.is_some()),
};

fn has_action(policy: &LinuxSeccomp, action: &str) -> bool {
    let rules = policy.syscalls.iter().map(|rule| &rule.action);
    std::iter::once(&policy.default_action)
        .chain(rules)
        .any(|used| used == action)
}

pub(super) fn check(draft: &mut Draft<'_>) -> Result<(), ApplyError> {
    for requirement in REQUIREMENTS {
        if !(requirement.needed)(draft) {
            continue;
        }
        draft.needs = draft.needs.max(Some(requirement.since));
        let Some(supported) = draft.options.runtime.filter(|r| *r < requirement.since) else {
            continue;
        };
        match draft.options.beyond_runtime {
            OnUnsupported::Error => {
                return Err(ApplyError::BeyondRuntime {
                    item: draft.item(requirement.field, ""),
                    member: requirement.member,
                    needed: requirement.since,
                    supported,
                });
            }
            OnUnsupported::Warn => draft.warn(
                requirement.field,
                "",
                format!(
                    "{} may be ignored: it came with OCI {}, and the low-level runtime supports {supported}",
                    requirement.member, requirement.since
                ),
            ),
            OnUnsupported::Ignore => {}
        }
    }
    Ok(())
}
