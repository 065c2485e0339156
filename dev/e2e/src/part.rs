//! The parts of the test, and which of them are asked for.

use clap::{Args, ValueEnum};

/// The parts of it, in the order in which they are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// A pod's whole life by crictl.
    Life,
    /// Plugins that adjust, update, evict and refuse.
    Plugins,
    /// What NRI promises to plugins: the conformance suite for runtimes.
    Conformance,
    /// Exec, attach and port forwarding.
    Streams,
    /// Pods with a user namespace of their own.
    Users,
    /// The runtime is killed between any two steps.
    Killed,
    /// What goes wrong around the runtime, and what clients do twice.
    Trouble,
    /// Kubernetes' tests of CRI runtimes.
    Critest,
    /// A kubelet without an API server.
    #[value(skip)]
    Kubelet,
    /// What pods and containers cost, beside containerd.
    #[value(skip)]
    Bench,
}

/// Which parts are tried: all that are in this list, or those with options of their own, which take
/// long.
#[derive(Args)]
pub(crate) struct Parts {
    /// Only these parts.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Instead, a kubelet with static pods and probes, which is built the first time (10 minutes).
    #[arg(long)]
    kubelet: bool,
    /// Instead, what pods, containers and daemons cost, beside containerd, which is built the
    /// first time (10 minutes); the runtime is built for release.
    #[arg(long)]
    bench: bool,
}

impl Parts {
    /// The parts, in their order.
    pub(crate) fn all(&self) -> Vec<Part> {
        let usual = Part::value_variants().iter().copied();
        let usual = usual.filter(|part| match self.only.is_empty() {
            true => !self.kubelet && !self.bench,
            false => self.only.contains(part),
        });
        usual
            .chain(self.kubelet.then_some(Part::Kubelet))
            .chain(self.bench.then_some(Part::Bench))
            .collect()
    }
}
