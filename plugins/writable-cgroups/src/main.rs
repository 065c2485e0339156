//! Mounts `/sys/fs/cgroup` of a container writable, if an annotation of the pod asks for it and the
//! host's cgroups are delegated at namespaces. The README says how.

mod mountinfo;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;

use nri_plugin::Program;
use nri_plugin::prelude::*;

const WRITABLE: AnnotationKey = AnnotationKey::new("writable-cgroups.noderesource.dev");
const CGROUPS: &str = "/sys/fs/cgroup";

#[derive(clap::Args)]
struct Options {
    /// The host's mounts, as the kernel writes them for process 1.
    #[arg(long, value_name = "FILE", default_value = "/host/proc/1/mountinfo")]
    host_mount_file: PathBuf,
}

fn plugin(delegates: bool) -> impl Plugin {
    handlers()
        .on_create_container(move |_cx, pod, container| async move {
            let asked = WRITABLE.find(&pod.annotations, &container.name);
            match asked {
                Some((_, "true")) if delegates => {}
                Some((key, "true")) => {
                    tracing::warn!(
                        pod = pod.name, namespace = pod.namespace, container = container.name,
                        "the annotation {key} has no effect: the host's cgroups are not mounted with nsdelegate"
                    );
                    return Ok(None);
                }
                Some((_, "false" | "")) | None => return Ok(None),
                Some(_) => {
                    return Err(WRITABLE.invalid(&pod.annotations, &container.name, "true or false is wanted").into());
                }
            }
            let mut mounts = container.mounts.into_iter();
            let Some(mut mount) = mounts.find(|mount| mount.destination == CGROUPS) else {
                let reason = format!("the container has no mount of {CGROUPS} that could be writable");
                return Err(WRITABLE.invalid(&pod.annotations, &container.name, reason).into());
            };
            if !make_writable(&mut mount.options) {
                return Ok(None);
            }
            let mut adjust = Adjustment::new();
            adjust.replace_mount(mount)?;
            Ok(Some(adjust))
        })
        .build()
}

/// Whether that changes anything.
fn make_writable(options: &mut Vec<String>) -> bool {
    let before = options.len();
    options.retain(|option| option != "ro");
    let was_read_only = options.len() != before;
    if options.iter().any(|option| option == "rw") {
        return was_read_only;
    }
    options.push("rw".to_owned());
    true
}

fn main() -> ExitCode {
    Program::new("10-writable-cgroups")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .run_with(|options: Options, _stop| {
            let file = &options.host_mount_file;
            let delegates = match mountinfo::delegates(file) {
                Ok(true) => true,
                Ok(false) => {
                    tracing::warn!(
                        "{}: no cgroup2 with nsdelegate at {CGROUPS}: nothing will be writable",
                        file.display()
                    );
                    false
                }
                Err(error) => {
                    tracing::warn!("{}: {error}: nothing will be writable", file.display());
                    false
                }
            };
            Ok(plugin(delegates))
        })
}
