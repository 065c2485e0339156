//! Noticing that the configuration's file has changed. It is looked at once in a while: that works
//! on every file system, and where a ConfigMap's mount swaps links.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::shared::Shared;

/// How often the file is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// What changes with a file's content, behind all links.
type Mark = Option<(u64, u64, u64, i64, i64)>;

fn mark(path: &Path) -> Mark {
    let of = |meta: Metadata| {
        (
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec(),
        )
    };
    std::fs::metadata(path).ok().map(of)
}

/// Reads the configuration again whenever its file, or that of its policy, changes. Never resolves.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let Some(file) = shared.file.clone() else {
        return std::future::pending().await;
    };
    let marks = || {
        let policy: Option<PathBuf> = shared.settings().policy_file;
        (mark(&file), policy.as_deref().and_then(mark))
    };
    let mut last = marks();
    let mut before = last;
    let mut period = tokio::time::interval(PERIOD);
    loop {
        period.tick().await;
        let now = marks();
        // One that changes is still being written: half of a policy may read like a whole one.
        let is_written = std::mem::replace(&mut before, now) == now;
        // A file that is gone for a moment is about to be replaced.
        if is_written && now != last && now.0.is_some() {
            last = now;
            // It is logged, and told in the status.
            let _ = shared.reload().await;
            // It may name another policy now.
            last.1 = marks().1;
            before = last;
        }
    }
}
