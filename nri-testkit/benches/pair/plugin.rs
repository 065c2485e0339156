//! The plugin. The test `counted_calls` has it too.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nri_plugin::build::Adjust as _;
use nri_plugin::rpc::plugin::{CreateContainer, RunPodSandbox};
use nri_plugin::{Adjustment, HandlerError, Runner, handlers};

/// Is a plugin until the runtime is gone. As most plugins it gets messages; with `undecoded` it has
/// the handlers for those whom time and memory matter to: requests undecoded, of which it reads
/// nothing, and what exists in parts.
pub(crate) fn join(
    socket: &Path,
    index: &str,
    items: usize,
    undecoded: bool,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let begun = Arc::new(Mutex::new(Instant::now()));
    let began = Arc::clone(&begun);
    let synchronised = move |containers: usize| {
        let begun = *begun.lock().unwrap_or_else(PoisonError::into_inner);
        let ns = begun.elapsed().as_nanos();
        println!("{{\"containers\":{containers},\"ns\":{ns}}}");
    };
    let of_index = index.to_owned();
    let adjustment = move || -> Result<Adjustment, HandlerError> {
        let mut adjust = Adjustment::new();
        for item in 0..items {
            let key = format!("pair.example/{of_index}-{item}");
            adjust.add_annotation(key, of_index.clone())?;
        }
        Ok(adjust)
    };
    let plugin = handlers().on_configure(move |_cx, _configuration| {
        *began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        async { Ok(None) }
    });
    let plugin = if undecoded {
        let containers = AtomicUsize::new(0);
        plugin
            .on_synchronize_part(move |_cx, part| {
                let before = containers.fetch_add(part.containers.len(), Relaxed);
                if part.last {
                    synchronised(before + part.containers.len());
                }
                async { Ok(()) }
            })
            .on_view(RunPodSandbox, |_cx, _request| async { Ok(()) })
            .on_view(CreateContainer, move |_cx, _request| {
                let adjustment = adjustment();
                async { adjustment }
            })
    } else {
        plugin
            .on_synchronize(move |_cx, _pods, containers| {
                synchronised(containers.len());
                async { Ok(Vec::new()) }
            })
            .on_run_pod_sandbox(|_cx, _pod| async { Ok(()) })
            .on_create_container(move |_cx, _pod, _container| {
                let adjustment = adjustment();
                async { adjustment }
            })
    };
    let plugin = plugin.build();
    let runner = Runner::builder(plugin)
        .index(index)
        .name("pair")
        .socket(socket)
        .build()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(runner.run())?;
    Ok(())
}
