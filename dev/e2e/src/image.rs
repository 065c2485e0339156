//! An image with busybox and nothing else, as a directory that skopeo reads.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use nri_dev::process;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// Writes the image.
///
/// # Errors
/// Those of the operating system; a busybox that does not run.
pub(crate) fn write(directory: &Path, busybox: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("the image: {e}");
    fs::create_dir_all(directory).map_err(failed)?;
    let applets = process::capture(Command::new(busybox).arg("--list"))?;
    let program = fs::read(busybox).map_err(failed)?;
    let mut layer = Builder::new(Vec::new());
    for name in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "var"] {
        add(&mut layer, name, EntryType::Directory, "", &[]).map_err(failed)?;
    }
    add(&mut layer, "bin/busybox", EntryType::Regular, "", &program).map_err(failed)?;
    for applet in applets.lines().filter(|applet| *applet != "busybox") {
        let name = format!("bin/{applet}");
        add(&mut layer, &name, EntryType::Link, "bin/busybox", &[]).map_err(failed)?;
    }
    let users = b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/:/bin/false\n";
    add(&mut layer, "etc/passwd", EntryType::Regular, "", users).map_err(failed)?;
    let layer = layer.into_inner().map_err(failed)?;
    let mut zipped = GzEncoder::new(Vec::new(), Compression::fast());
    zipped.write_all(&layer).map_err(failed)?;
    let zipped = zipped.finish().map_err(failed)?;

    let blob = |bytes: &[u8], kind: &str| -> Result<Value, String> {
        fs::write(directory.join(digest(bytes)), bytes).map_err(failed)?;
        let kind = format!("application/vnd.oci.image.{kind}");
        Ok(
            json!({"mediaType": kind, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len()}),
        )
    };
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["sh"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(config.to_string().as_bytes(), "config.v1+json")?,
        "layers": [blob(&zipped, "layer.v1.tar+gzip")?],
    });
    fs::write(directory.join("manifest.json"), manifest.to_string()).map_err(failed)?;
    fs::write(
        directory.join("version"),
        "Directory Transport Version: 1.1\n",
    )
    .map_err(failed)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn add(
    layer: &mut Builder<Vec<u8>>,
    name: &str,
    kind: EntryType,
    link: &str,
    contents: &[u8],
) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Regular && name.starts_with("etc/") {
        0o644
    } else {
        0o755
    });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(contents.len() as u64);
    match link {
        "" => layer.append_data(&mut header, name, contents),
        link => layer.append_link(&mut header, name, link),
    }
}
