//! The plugins, and what each needs of its host. What may not enter: how that is written down.

/// A plugin of `plugins/`.
pub(crate) struct Plugin {
    /// Its directory, and its program without `nri-`.
    pub(crate) name: &'static str,
    pub(crate) index: &'static str,
    /// The file name of its configuration, if it has to have one.
    pub(crate) config: Option<&'static str>,
    pub(crate) arguments: &'static [&'static str],
    pub(crate) capabilities: &'static [&'static str],
    pub(crate) mounts: &'static [Mount],
    /// It works in the network namespace of the host.
    pub(crate) host_network: bool,
    /// The name of the Go plugin that does the same.
    pub(crate) sister: Option<&'static str>,
}

/// A directory of the host that it sees.
pub(crate) struct Mount {
    pub(crate) name: &'static str,
    pub(crate) host: &'static str,
    pub(crate) here: &'static str,
    /// Mounts that appear there later are to be seen.
    pub(crate) live: bool,
}

const PLAIN: Plugin = Plugin {
    name: "",
    index: "10",
    config: None,
    arguments: &[],
    capabilities: &[],
    mounts: &[],
    host_network: false,
    sister: None,
};

/// All of them.
pub(crate) const ALL: &[Plugin] = &[
    Plugin {
        name: "annotate",
        index: "50",
        config: Some("annotate.yaml"),
        ..PLAIN
    },
    Plugin {
        name: "device-injector",
        sister: Some("device-injector"),
        ..PLAIN
    },
    Plugin {
        name: "differ",
        index: "99",
        // The Go plugin registers twice.
        sister: None,
        ..PLAIN
    },
    Plugin {
        name: "hook-injector",
        mounts: &[
            Mount {
                name: "hooks-etc",
                host: "/etc/containers/oci/hooks.d",
                here: "/etc/containers/oci/hooks.d",
                live: false,
            },
            Mount {
                name: "hooks-usr",
                host: "/usr/share/containers/oci/hooks.d",
                here: "/usr/share/containers/oci/hooks.d",
                live: false,
            },
        ],
        sister: Some("hook-injector"),
        ..PLAIN
    },
    Plugin {
        name: "logger",
        index: "90",
        sister: Some("logger"),
        ..PLAIN
    },
    Plugin {
        name: "mutation-guard",
        index: "90",
        config: Some("policy.yaml"),
        ..PLAIN
    },
    Plugin {
        name: "network-device-injector",
        capabilities: &["NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"],
        mounts: &[Mount {
            name: "netns",
            host: "/var/run/netns",
            here: "/var/run/netns",
            live: true,
        }],
        host_network: true,
        sister: Some("network-device-injector"),
        ..PLAIN
    },
    Plugin {
        name: "rdt",
        sister: Some("rdt"),
        ..PLAIN
    },
    Plugin {
        name: "template",
        config: Some("template.yaml"),
        sister: Some("template"),
        ..PLAIN
    },
    Plugin {
        name: "ulimit-adjuster",
        sister: Some("ulimit-adjuster"),
        ..PLAIN
    },
    Plugin {
        name: "writable-cgroups",
        mounts: &[Mount {
            name: "proc",
            host: "/proc",
            here: "/host/proc",
            live: false,
        }],
        sister: Some("writable-cgroups"),
        ..PLAIN
    },
];
