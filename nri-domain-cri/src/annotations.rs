//! Annotations by which runtimes know their pods and containers.

/// Annotations that containerd and CRI-O write into OCI specs to find out again which pod and
/// container a spec belongs to.
///
/// A plugin that could change them could make later events claim another pod. They are protected by
/// default.
pub const IDENTITY_ANNOTATIONS: [&str; 14] = [
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri.sandbox-id",
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.cri.sandbox-uid",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.cri-o.ContainerID",
    "io.kubernetes.cri-o.ContainerName",
    "io.kubernetes.cri-o.SandboxID",
    "io.kubernetes.cri-o.KubeName",
    "io.kubernetes.cri-o.Namespace",
    "io.kubernetes.cri-o.Labels",
];
