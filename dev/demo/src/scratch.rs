//! Where a demo lives: a temporary directory with the plugins in it. It is gone with the value.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The directory of one demo.
pub(crate) struct Scratch {
    directory: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Result<Self, String> {
        let directory =
            TempDir::with_prefix("nri-demo-").map_err(|e| format!("a temporary directory: {e}"))?;
        let scratch = Self { directory };
        for path in [scratch.plugins(), scratch.plugin_configs()] {
            fs::DirBuilder::new()
                .mode(0o755)
                .create(&path)
                .map_err(|e| format!("{}: {e}", path.display()))?;
        }
        Ok(scratch)
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("nri.sock")
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.path().join("plugins")
    }

    pub(crate) fn plugin_configs(&self) -> PathBuf {
        self.path().join("conf.d")
    }

    /// Installs a plugin, so that the runtime launches it.
    pub(crate) fn install(&self, program: &Path, name: &str, config: &str) -> Result<(), String> {
        let target = self.plugins().join(name);
        fs::copy(program, &target).map_err(|e| format!("{}: {e}", program.display()))?;
        fs::set_permissions(&target, fs::Permissions::from_mode(0o755))
            .map_err(|e| format!("{}: {e}", target.display()))?;
        let file = self.plugin_configs().join(format!("{name}.conf"));
        fs::write(&file, config).map_err(|e| format!("{}: {e}", file.display()))
    }
}
