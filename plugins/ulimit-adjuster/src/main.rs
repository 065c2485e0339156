//! Sets the resource limits of a container's process, by an annotation of the pod. The README says
//! how.

#[cfg(test)]
mod tests;

use nri_plugin::prelude::*;
use serde::Deserialize;

const ULIMITS: AnnotationKey = AnnotationKey::new("ulimits.noderesource.dev")
    .formerly("ulimits.nri.containerd.io")
    .of_containers();

/// The limits that Linux has, without `RLIMIT_`.
const KNOWN: [&str; 16] = [
    "AS",
    "CORE",
    "CPU",
    "DATA",
    "FSIZE",
    "LOCKS",
    "MEMLOCK",
    "MSGQUEUE",
    "NICE",
    "NOFILE",
    "NPROC",
    "RSS",
    "RTPRIO",
    "RTTIME",
    "SIGPENDING",
    "STACK",
];

/// A limit that can be set.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
struct Ulimit {
    /// With `RLIMIT_`, in capitals.
    kind: String,
    soft: u64,
    hard: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    r#type: String,
    #[serde(default)]
    soft: u64,
    #[serde(default)]
    hard: u64,
}

impl TryFrom<Written> for Ulimit {
    type Error = String;

    fn try_from(
        Written {
            r#type: kind,
            soft,
            hard,
        }: Written,
    ) -> Result<Self, String> {
        let capitals = kind.to_ascii_uppercase();
        let name = capitals.strip_prefix("RLIMIT_").unwrap_or(&capitals);
        if !KNOWN.contains(&name) {
            let known = KNOWN.join(", ");
            return Err(format!(
                "type: there is no limit {kind:?}; there is {known}"
            ));
        }
        if soft > hard {
            return Err(format!("soft {soft} of {kind:?} is above hard {hard}"));
        }
        let kind = format!("RLIMIT_{name}");
        Ok(Self { kind, soft, hard })
    }
}

fn plugin() -> impl Plugin {
    handlers()
        .on_create_container(|_cx, pod, container| async move {
            let mut adjust = Adjustment::new();
            for limit in ULIMITS.read_list::<Ulimit>(&pod.annotations, &container.name)? {
                adjust.add_rlimit(limit.kind, limit.hard, limit.soft)?;
            }
            Ok(adjust)
        })
        .build()
}

nri_plugin::main!("10-ulimit-adjuster", plugin());
