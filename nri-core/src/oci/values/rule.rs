//! What a rule is: its row in the table, what it is judged on, and what breaks it.

use std::fmt;

use nri_proto::api::{ContainerAdjustment, Field, LinuxContainerAdjustment, LinuxResources};
use serde_json::Value;

/// What a rule is about. Families are left to the low-level runtime as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Texts that become arguments of system calls.
    Texts,
    /// The command, its environment, its OOM score and I/O priority.
    Process,
    /// Mounts.
    Mounts,
    /// POSIX resource limits.
    Rlimits,
    /// OCI hooks.
    Hooks,
    /// CDI devices.
    Cdi,
    /// The scheduler.
    Scheduler,
    /// Memory policy.
    MemoryPolicy,
    /// Seccomp.
    Seccomp,
    /// Namespaces.
    Namespaces,
    /// Kernel parameters.
    Sysctl,
    /// Network devices.
    NetDevices,
    /// Device nodes and device cgroup rules.
    Devices,
    /// The path of the cgroup, and parameters of cgroup v2.
    Cgroup,
    /// Memory and swap.
    Memory,
    /// Processor time and processors.
    Cpu,
    /// The number of processes.
    Pids,
    /// Huge pages.
    HugePages,
    /// Block I/O.
    BlockIo,
    /// RDT.
    Rdt,
}

/// Where a rule comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Source {
    /// The OCI runtime spec, or the CDI spec.
    Oci,
    /// Linux refuses the value, or takes it for another one.
    Kernel,
    /// runc refuses the value, by a check of its own or because the kernel refuses it, when the
    /// container is created. Checked against runc 1.1.5.
    Runc,
    /// Checks of runc 1.2 to 1.4, for members that runc 1.1 ignores.
    NewerRunc,
}

/// One rule about values.
#[non_exhaustive]
pub struct Rule {
    /// A name for it.
    pub name: &'static str,
    /// The field that it is about; a breach may name a more exact one.
    pub field: Field,
    /// What it belongs to.
    pub family: Family,
    /// Where it comes from.
    pub source: Source,
    /// The rule in words, as errors give it.
    pub rule: &'static str,
    pub(super) judged: Judged,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("name", &self.name)
            .field("field", &self.field)
            .field("family", &self.family)
            .field("source", &self.source)
            .field("rule", &self.rule)
            .finish()
    }
}

/// When a rule is judged, and on what.
pub(super) enum Judged {
    /// What is asked for, before anything is applied.
    Asked(fn(&Asked<'_>) -> Option<Broken>),
    /// The resources that are asked for; updates are judged by these too.
    Resources(fn(&LinuxResources) -> Option<Broken>),
    /// The `linux.resources` object as it was and as it has become; updates are judged by these
    /// too.
    Sum(fn(&Value, &Value) -> Option<Broken>),
    /// The spec as it was and as it has become.
    Outcome(fn(&Outcome<'_>) -> Option<Broken>),
}

/// What is asked for, and how it is to be applied.
pub(super) struct Asked<'a> {
    pub(super) adjustment: &'a ContainerAdjustment,
    pub(super) linux: &'a LinuxContainerAdjustment,
    /// The resource limits that the host knows.
    pub(super) rlimit_names: &'a [String],
}

/// What came of an adjustment.
pub(super) struct Outcome<'a> {
    pub(super) before: &'a Value,
    pub(super) after: &'a Value,
    pub(super) linux: &'a LinuxContainerAdjustment,
}

/// What of an adjustment breaks a rule.
#[derive(Debug)]
pub(super) struct Broken {
    /// The field, if the rule is about several.
    field: Option<Field>,
    /// The key, or the value where there is no key.
    key: String,
    /// The rule in words that say more than the table, for example with the value.
    why: Option<String>,
}

impl Broken {
    /// The key or the value that breaks the rule.
    pub(super) fn by(key: impl fmt::Display) -> Self {
        Self {
            field: None,
            key: shortened(&key.to_string()),
            why: None,
        }
    }

    pub(super) fn of(mut self, field: Field) -> Self {
        self.field = Some(field);
        self
    }

    pub(super) fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }
}

/// As much of a value as an error shows: a plugin may send megabytes.
pub(super) fn shortened(text: &str) -> String {
    const SHOWN: usize = 256;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A rule that is broken, and by what.
pub(in crate::oci) struct Breach {
    pub(super) rule: &'static Rule,
    pub(super) broken: Broken,
}

impl Breach {
    pub(in crate::oci) fn field(&self) -> Field {
        self.broken.field.unwrap_or(self.rule.field)
    }

    pub(in crate::oci) fn key(&self) -> &str {
        &self.broken.key
    }

    /// The rule in the words of the table.
    pub(in crate::oci) fn rule(&self) -> &'static str {
        self.rule.rule
    }

    pub(in crate::oci) fn reason(&self) -> String {
        let why = self.broken.why.as_deref();
        why.unwrap_or(self.rule.rule).to_owned()
    }
}
