//! Sets the resource limits of a container's process, by an annotation of the pod. The README says
//! how.

#[cfg(test)]
mod tests;

use nri_plugin::api::PosixRlimit;
use nri_plugin::build::{BuildError, posix_rlimit};
use nri_plugin::prelude::*;
use serde::Deserialize;

const ULIMITS: AnnotationKey = AnnotationKey::new("ulimits.noderesource.dev")
    .formerly("ulimits.nri.containerd.io")
    .of_containers();

/// A limit that can be set.
#[derive(Debug, Deserialize)]
#[serde(try_from = "Written")]
struct Ulimit(PosixRlimit);

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
    type Error = BuildError;

    fn try_from(written: Written) -> Result<Self, BuildError> {
        posix_rlimit(&written.r#type, written.hard, written.soft).map(Self)
    }
}

fn plugin() -> impl Plugin {
    handlers()
        .on_create_container(|_cx, pod, container| async move {
            let mut adjust = Adjustment::new();
            for Ulimit(limit) in ULIMITS.read_list::<Ulimit>(&pod.annotations, &container.name)? {
                adjust.add_rlimit(limit.r#type, limit.hard, limit.soft)?;
            }
            Ok(adjust)
        })
        .build()
}

nri_plugin::main!("10-ulimit-adjuster", plugin());
