//! The plugin, in the forms for those whom time or memory matters to: handlers that get undecoded
//! requests, and what exists in parts. The test `counted_calls` has it too.

use std::error::Error;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nri_plugin::build::Adjust as _;
use nri_plugin::rpc::plugin::{CreateContainer, RunPodSandbox};
use nri_plugin::{Adjustment, Runner, handlers};

/// Is a plugin until the runtime is gone.
pub(crate) fn join(
    socket: &Path,
    index: &str,
    items: usize,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let begun = Arc::new(Mutex::new(Instant::now()));
    let began = Arc::clone(&begun);
    let of_index = index.to_owned();
    let containers = AtomicUsize::new(0);
    let plugin = handlers()
        .on_configure(move |_cx, _configuration| {
            *began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            async { Ok(None) }
        })
        .on_synchronize_part(move |_cx, part| {
            let so_far = containers.fetch_add(part.containers.len(), Relaxed);
            if part.last {
                let begun = *begun.lock().unwrap_or_else(PoisonError::into_inner);
                let (containers, ns) = (so_far + part.containers.len(), begun.elapsed().as_nanos());
                println!("{{\"containers\":{containers},\"ns\":{ns}}}");
            }
            async { Ok(()) }
        })
        .on_view(RunPodSandbox, |_cx, _request| async { Ok(()) })
        .on_view(CreateContainer, move |_cx, _request| {
            let mut adjust = Adjustment::new();
            let added = (0..items).try_for_each(|item| {
                let key = format!("pair.example/{of_index}-{item}");
                adjust.add_annotation(key, of_index.clone()).map(drop)
            });
            async { Ok(added.map(|()| adjust)?) }
        })
        .build();
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
