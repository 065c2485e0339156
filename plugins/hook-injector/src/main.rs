//! Gives containers OCI hooks from the files of `hooks.d`, as podman and CRI-O do. The README says
//! how.

mod directories;
mod hook;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use nri_plugin::Program;
use nri_plugin::prelude::*;

use directories::Directories;
use hook::Subject;

#[derive(clap::Args)]
struct Options {
    /// A directory with hooks, which must be there; may be given several times, and a file hides
    /// one of the same name in a directory before [default: /usr/share/containers/oci/hooks.d and
    /// /etc/containers/oci/hooks.d, if they are there].
    #[arg(long, value_name = "DIR")]
    hooks_dir: Vec<PathBuf>,
    /// Read the files once for each connection, and not when they change.
    #[arg(long, alias = "disableWatch")]
    disable_watch: bool,
}

fn plugin(options: Options) -> Result<impl Plugin, String> {
    let directories = Arc::new(Directories::new(options.hooks_dir)?);
    let hooks = Arc::new(std::sync::Mutex::new(Vec::new()));
    let configured = (Arc::clone(&directories), Arc::clone(&hooks));
    let plugin = handlers()
        .on_configure(move |_cx, _configuration| {
            let (directories, hooks) = configured.clone();
            async move {
                let read = tokio::task::spawn_blocking(move || {
                    directories.forget();
                    directories.read()
                });
                *hooks
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner) = read.await??;
                Ok(None)
            }
        })
        .on_create_container(move |_cx, pod, container| {
            let (directories, hooks) = (Arc::clone(&directories), Arc::clone(&hooks));
            async move {
                let hooks = match options.disable_watch {
                    true => hooks
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner)
                        .clone(),
                    // The disk may be slow.
                    false => {
                        tokio::task::spawn_blocking(move || directories.read_what_is_right())
                            .await?
                    }
                };
                let mut annotations = container.annotations;
                annotations.extend(pod.annotations);
                let subject = Subject {
                    annotations: &annotations,
                    command: container.args.first().map(String::as_str),
                    has_bind_mounts: !container.mounts.is_empty(),
                };
                let mut wanted = api::Hooks::default();
                for hook in hooks.iter().filter(|hook| hook.is_for(&subject)) {
                    hook.add_to(&mut wanted);
                }
                if wanted == api::Hooks::default() {
                    return Ok(None);
                }
                let mut adjust = Adjustment::new();
                adjust.add_hooks(wanted);
                Ok(Some(adjust))
            }
        })
        .build();
    Ok(plugin)
}

fn main() -> ExitCode {
    Program::new("10-hook-injector")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .run_with(|options: Options, _stop| Ok(plugin(options)?))
}
