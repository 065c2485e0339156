//! Images as directories that skopeo reads: made of layers, which are made of files.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use nri_dev::process;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// The files of a layer. Directories above them are made as they are needed.
pub(crate) struct Files {
    tar: Builder<Vec<u8>>,
    directories: BTreeSet<String>,
}

/// A layer.
#[derive(Clone)]
pub(crate) struct Layer {
    compressed: Vec<u8>,
    /// With what: `gzip` or `zstd`.
    by: &'static str,
    /// Of what is in it, without the compression.
    id: String,
}

impl Files {
    pub(crate) fn new() -> Self {
        Self {
            tar: Builder::new(Vec::new()),
            directories: BTreeSet::new(),
        }
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// A name that archives cannot have.
    pub(crate) fn directory(&mut self, name: &str, mode: u32) -> Result<(), String> {
        self.parents(name)?;
        match self.directories.insert(name.to_owned()) {
            true => self.add(name, EntryType::Directory, mode, "", &[]),
            false => Ok(()),
        }
    }

    /// Adds a file.
    ///
    /// # Errors
    /// A name that archives cannot have.
    pub(crate) fn file(&mut self, name: &str, mode: u32, contents: &[u8]) -> Result<(), String> {
        self.parents(name)?;
        self.add(name, EntryType::Regular, mode, "", contents)
    }

    /// Adds another name of a file.
    ///
    /// # Errors
    /// A name that archives cannot have.
    pub(crate) fn link(&mut self, name: &str, to: &str) -> Result<(), String> {
        self.parents(name)?;
        self.add(name, EntryType::Link, 0o755, to, &[])
    }

    /// Adds a program of this machine's, as `name`, and the libraries that it is linked with.
    ///
    /// # Errors
    /// It cannot be read; a name that archives cannot have.
    pub(crate) fn program(&mut self, name: &str, mode: u32, path: &Path) -> Result<(), String> {
        let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
        self.file(name, mode, &read(path)?)?;
        let libraries = process::capture(Command::new("ldd").arg(path))?;
        let libraries = libraries
            .split_whitespace()
            .filter(|word| word.starts_with('/'));
        for library in libraries {
            let name = library.trim_start_matches('/');
            if self.directories.insert(name.to_owned()) {
                self.file(name, 0o755, &read(Path::new(library))?)?;
            }
        }
        Ok(())
    }

    /// All of them, as a layer.
    ///
    /// # Errors
    /// None that can happen: it is all in memory.
    pub(crate) fn finish(self) -> Result<Layer, String> {
        self.compressed_by("gzip", |plain| {
            let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
            zipped.write_all(plain)?;
            zipped.finish()
        })
    }

    /// As [`finish`](Files::finish), of the newer kind.
    ///
    /// # Errors
    /// None that can happen: it is all in memory.
    pub(crate) fn finish_by_zstd(self) -> Result<Layer, String> {
        self.compressed_by("zstd", |plain| {
            Ok(compress_to_vec(plain, CompressionLevel::Fastest))
        })
    }

    fn compressed_by(
        self,
        by: &'static str,
        compress: impl FnOnce(&[u8]) -> std::io::Result<Vec<u8>>,
    ) -> Result<Layer, String> {
        let failed = |e: std::io::Error| format!("a layer: {e}");
        let plain = self.tar.into_inner().map_err(failed)?;
        let id = digest(&plain);
        let compressed = compress(&plain).map_err(failed)?;
        Ok(Layer { compressed, by, id })
    }

    fn parents(&mut self, name: &str) -> Result<(), String> {
        match name.rsplit_once('/') {
            Some((parent, _)) => self.directory(parent, 0o755),
            None => Ok(()),
        }
    }

    fn add(
        &mut self,
        name: &str,
        kind: EntryType,
        mode: u32,
        link: &str,
        contents: &[u8],
    ) -> Result<(), String> {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(contents.len() as u64);
        let added = match link {
            "" => self.tar.append_data(&mut header, name, contents),
            link => self.tar.append_link(&mut header, name, link),
        };
        added.map_err(|e| format!("{name}: {e}"))
    }
}

/// The applets of a busybox, each with its name, without those that `except` has.
///
/// # Errors
/// A busybox that does not run.
pub(crate) fn busybox(program: &Path, except: &[&str]) -> Result<Files, String> {
    let applets = process::capture(Command::new(program).arg("--list"))?;
    let contents = fs::read(program).map_err(|e| format!("{}: {e}", program.display()))?;
    let mut files = Files::new();
    for name in ["dev", "etc", "proc", "root", "run", "sys", "var"] {
        files.directory(name, 0o755)?;
    }
    files.directory("tmp", 0o1777)?;
    files.file("bin/busybox", 0o755, &contents)?;
    let applets = applets
        .lines()
        .filter(|applet| *applet != "busybox" && !except.contains(applet));
    for applet in applets {
        files.link(&format!("bin/{applet}"), "bin/busybox")?;
    }
    Ok(files)
}

/// The image with busybox, and a layer of another kind above it.
///
/// # Errors
/// Those of the operating system; a busybox that does not run.
pub(crate) fn write_busybox(directory: &Path, program: &Path) -> Result<(), String> {
    let mut files = busybox(program, &[])?;
    let users = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/:/bin/false\n";
    files.file("etc/passwd", 0o644, users)?;
    let config = json!({"Env": ["PATH=/bin"], "Cmd": ["sh"]});
    let mut above = Files::new();
    above.file("etc/of-zstd", 0o644, b"unpacked")?;
    let layers = [files.finish()?, above.finish_by_zstd()?];
    write(directory, &layers, &config)
}

/// The image of what holds the namespaces of a pod, for a runtime that has none of its own.
///
/// # Errors
/// Those of the operating system; a busybox that does not run.
pub(crate) fn write_pause(directory: &Path, program: &Path) -> Result<(), String> {
    let config = json!({"Env": ["PATH=/bin"], "Entrypoint": ["sleep", "1000000"]});
    write(directory, &[busybox(program, &[])?.finish()?], &config)
}

/// Writes an image of layers, with a configuration as containers of it have.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn write(directory: &Path, layers: &[Layer], config: &Value) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", directory.display());
    fs::create_dir_all(directory).map_err(failed)?;
    let blob = |bytes: &[u8], kind: &str| -> Result<Value, String> {
        let digest = digest(bytes);
        fs::write(directory.join(&digest), bytes).map_err(failed)?;
        Ok(json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": format!("sha256:{digest}"),
            "size": bytes.len(),
        }))
    };
    let ids = layers.iter().map(|layer| format!("sha256:{}", layer.id));
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": ids.collect::<Vec<_>>()},
    });
    let blobs = layers
        .iter()
        .map(|layer| blob(&layer.compressed, &format!("layer.v1.tar+{}", layer.by)));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(config.to_string().as_bytes(), "config.v1+json")?,
        "layers": blobs.collect::<Result<Vec<_>, _>>()?,
    });
    let version = "Directory Transport Version: 1.1\n";
    fs::write(directory.join("manifest.json"), manifest.to_string()).map_err(failed)?;
    fs::write(directory.join("version"), version).map_err(failed)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
