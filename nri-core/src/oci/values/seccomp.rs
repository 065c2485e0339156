//! The seccomp policy. The names are those of the OCI runtime spec.

use nri_proto::api::{LinuxSeccomp, LinuxSyscall};

use super::rule::{Asked, Broken};

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    NOTIFY,
];

const NOTIFY: &str = "SCMP_ACT_NOTIFY";

const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// Architectures, without `SCMP_ARCH_`.
const ARCHITECTURES: [&str; 23] = [
    "X86",
    "X86_64",
    "X32",
    "ARM",
    "AARCH64",
    "MIPS",
    "MIPS64",
    "MIPS64N32",
    "MIPSEL",
    "MIPSEL64",
    "MIPSEL64N32",
    "PPC",
    "PPC64",
    "PPC64LE",
    "S390",
    "S390X",
    "PARISC",
    "PARISC64",
    "RISCV64",
    "LOONGARCH64",
    "M68K",
    "SH",
    "SHEB",
];

fn policy<'a>(asked: &Asked<'a>) -> Option<&'a LinuxSeccomp> {
    asked.linux.seccomp_policy.as_ref()
}

/// The first of the policy's rules that `breaks`; its first system call stands for it.
fn rule(asked: &Asked<'_>, breaks: impl Fn(&LinuxSyscall) -> bool) -> Option<Broken> {
    let rule = policy(asked)?.syscalls.iter().find(|rule| breaks(rule))?;
    Some(Broken::by(rule.names.first().map_or("", String::as_str)))
}

pub(super) fn default_action(asked: &Asked<'_>) -> Option<Broken> {
    let policy = policy(asked)?;
    policy.default_action.is_empty().then(|| Broken::by(""))
}

pub(super) fn names(asked: &Asked<'_>) -> Option<Broken> {
    rule(asked, |rule| rule.names.is_empty())
}

pub(super) fn empty_name(asked: &Asked<'_>) -> Option<Broken> {
    rule(asked, |rule| rule.names.iter().any(String::is_empty))
}

pub(super) fn no_action(asked: &Asked<'_>) -> Option<Broken> {
    rule(asked, |rule| rule.action.is_empty())
}

pub(super) fn action(asked: &Asked<'_>) -> Option<Broken> {
    let policy = policy(asked)?;
    let rules = policy.syscalls.iter().map(|rule| &rule.action);
    std::iter::once(&policy.default_action)
        .chain(rules)
        .find(|action| !action.is_empty() && !ACTIONS.contains(&action.as_str()))
        .map(Broken::by)
}

pub(super) fn architecture(asked: &Asked<'_>) -> Option<Broken> {
    let mut architectures = policy(asked)?.architectures.iter();
    architectures
        .find(|name| {
            let name = name.strip_prefix("SCMP_ARCH_");
            !name.is_some_and(|name| ARCHITECTURES.contains(&name))
        })
        .map(Broken::by)
}

pub(super) fn operator(asked: &Asked<'_>) -> Option<Broken> {
    let rules = policy(asked)?.syscalls.iter();
    let mut operators = rules.flat_map(|rule| rule.args.iter().map(|arg| &arg.op));
    operators
        .find(|operator| !OPERATORS.contains(&operator.as_str()))
        .map(Broken::by)
}

pub(super) fn flag(asked: &Asked<'_>) -> Option<Broken> {
    let mut flags = policy(asked)?.flags.iter();
    flags
        .find(|flag| !FLAGS.contains(&flag.as_str()))
        .map(Broken::by)
}

pub(super) fn argument(asked: &Asked<'_>) -> Option<Broken> {
    let mut args = policy(asked)?.syscalls.iter().flat_map(|rule| &rule.args);
    args.find(|arg| arg.index > 5)
        .map(|arg| Broken::by(arg.index))
}

/// libseccomp: an error number is below the kernel's `MAX_ERRNO`. Other actions do not look at it.
pub(super) fn errno(asked: &Asked<'_>) -> Option<Broken> {
    let policy = policy(asked)?;
    let rules = policy.syscalls.iter();
    let rules = rules.map(|rule| (&rule.action, rule.errno_ret));
    std::iter::once((&policy.default_action, policy.default_errno))
        .chain(rules)
        .filter(|(action, _)| *action == "SCMP_ACT_ERRNO")
        .find_map(|(_, errno)| errno.filter(|errno| errno.value > 4094))
        .map(|errno| Broken::by(errno.value))
}

pub(super) fn notify(asked: &Asked<'_>) -> Option<Broken> {
    let policy = policy(asked)?;
    if policy.default_action == NOTIFY {
        return Some(Broken::by(NOTIFY));
    }
    rule(asked, |rule| {
        rule.action == NOTIFY
            && (policy.listener_path.is_empty() || rule.names.iter().any(|name| name == "write"))
    })
}
