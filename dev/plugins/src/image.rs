//! `cargo xtask image`: an OCI image layout with an image of nri-hub and of each plugin: a static
//! program, and nothing else.
//!
//! What may not enter: what a program needs of its host; that is the table's and nri-hub's.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use nri_dev::process;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::table::ALL;
use crate::weight::{TARGET, there};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

const HUB: &str = "nri-hub";
/// The most that it may have, in bytes.
const MOST_OF_THE_HUB: u64 = 8 << 20;

/// Where programs are in an image: their name alone is enough to run them.
const DIRECTORY: &str = "usr/local/bin";

/// Builds the programs and writes the layout; `run` has runc run each image once.
///
/// # Errors
/// A program does not build, is too large, or does not run.
pub(crate) fn run(output: &Path, built: bool, run: bool) -> Result<(), String> {
    let plugins = ALL.iter().map(|plugin| format!("nri-{}", plugin.name));
    let names: Vec<String> = plugins.chain([HUB.to_owned()]).collect();
    let programs = programs(&names, built)?;
    let named = |error: std::io::Error| format!("{}: {error}", output.display());
    if output.exists() {
        fs::remove_dir_all(output).map_err(named)?;
    }
    fs::create_dir_all(output.join("blobs/sha256")).map_err(named)?;
    let mut manifests = Vec::new();
    for name in &names {
        let program = programs
            .get(name)
            .ok_or_else(|| format!("{name} was not built for {TARGET}"))?;
        let bytes = fs::read(program).map_err(|error| format!("{}: {error}", program.display()))?;
        if name == HUB && bytes.len() as u64 > MOST_OF_THE_HUB {
            return Err(format!(
                "nri-hub has {} bytes, of {MOST_OF_THE_HUB} at most",
                bytes.len()
            ));
        }
        manifests.push(image(output, name, &bytes).map_err(named)?);
        println!("{name}: {} bytes", bytes.len());
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let write = |name: &str, value: &Value| fs::write(output.join(name), value.to_string());
    write("index.json", &index).map_err(named)?;
    write("oci-layout", &json!({"imageLayoutVersion": "1.0.0"})).map_err(named)?;
    println!("{}", output.display());
    if run {
        for name in &names {
            try_out(output, name)?;
        }
    }
    Ok(())
}

/// All programs, each built with its profile unless that was done before.
fn programs(names: &[String], built: bool) -> Result<BTreeMap<String, PathBuf>, String> {
    let (hub, plugins): (Vec<String>, Vec<String>) =
        names.iter().cloned().partition(|name| name == HUB);
    let mut programs = BTreeMap::new();
    let cli: &[&str] = &["--features", "nri-hub/cli"];
    for (profile, features, names) in [("size", &[][..], plugins), ("hub", cli, hub)] {
        if built {
            programs.extend(there(profile, &names));
            continue;
        }
        let mut what = vec!["--profile", profile, "--target", TARGET];
        what.extend(features);
        what.extend(names.iter().flat_map(|name| ["--package", name.as_str()]));
        programs.extend(process::build(&what)?);
    }
    Ok(programs)
}

/// Writes what an image is made of, and describes it.
fn image(layout: &Path, name: &str, program: &[u8]) -> std::io::Result<Value> {
    let tar = archive(name, program)?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(&tar)?;
    let layer = blob(layout, LAYER, &packed.finish()?)?;
    let config = json!({
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": [format!("PATH=/{DIRECTORY}")],
            "Entrypoint": [format!("/{DIRECTORY}/{name}")],
            "Labels": {
                "org.opencontainers.image.title": name,
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [digest(&tar)]},
    });
    let config = blob(layout, CONFIG, config.to_string().as_bytes())?;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer],
    });
    let mut manifest = blob(layout, MANIFEST, manifest.to_string().as_bytes())?;
    manifest["platform"] = json!({"architecture": "amd64", "os": "linux"});
    manifest["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    Ok(manifest)
}

/// The same program always gives the same bytes.
fn archive(name: &str, program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, mode, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, path, bytes)
    };
    for directory in ["usr/", "usr/local/", "usr/local/bin/"] {
        add(directory, tar::EntryType::Directory, 0o755, &[])?;
    }
    let path = format!("{DIRECTORY}/{name}");
    add(&path, tar::EntryType::Regular, 0o755, program)?;
    archive.into_inner()
}

fn digest(bytes: &[u8]) -> String {
    let hex = Sha256::digest(bytes);
    let hex: String = hex.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// Writes a blob, and describes it.
fn blob(layout: &Path, kind: &str, bytes: &[u8]) -> std::io::Result<Value> {
    let digest = digest(bytes);
    fs::write(layout.join("blobs").join(digest.replace(':', "/")), bytes)?;
    Ok(json!({"mediaType": kind, "digest": digest, "size": bytes.len()}))
}

/// Has skopeo copy an image out of the layout, as whoever pulls it would, and runc run it: the
/// program says its version.
fn try_out(layout: &Path, name: &str) -> Result<(), String> {
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let copy = place.path().join("copy");
    let from = format!("oci:{}:{name}", layout.display());
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["--insecure-policy", "copy", "--quiet", &from]);
    process::run(skopeo.arg(format!("dir:{}", copy.display())))?;
    let manifest = fs::read(copy.join("manifest.json")).map_err(failed)?;
    let parsed = |bytes: &[u8]| -> Result<Value, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("{name}: {error}"))
    };
    let blob = |described: &Value| {
        let digest = described["digest"].as_str().unwrap_or_default();
        fs::read(copy.join(digest.trim_start_matches("sha256:"))).map_err(failed)
    };
    let manifest = parsed(&manifest)?;
    let config = parsed(&blob(&manifest["config"])?)?;
    let layer = blob(&manifest["layers"][0])?;
    let bundle = place.path().join("bundle");
    let mut layer = tar::Archive::new(flate2::read::GzDecoder::new(&*layer));
    layer.unpack(bundle.join("rootfs")).map_err(failed)?;
    process::run(Command::new("runc").arg("spec").current_dir(&bundle))?;
    let file = bundle.join("config.json");
    let mut spec = parsed(&fs::read(&file).map_err(failed)?)?;
    let mut arguments = config["config"]["Entrypoint"].clone();
    if let Some(arguments) = arguments.as_array_mut() {
        arguments.push(json!("--version"));
    }
    spec["process"]["args"] = arguments;
    spec["process"]["terminal"] = json!(false);
    spec["process"]["env"] = config["config"]["Env"].clone();
    fs::write(&file, spec.to_string()).map_err(failed)?;
    let id = format!("{name}-{}", std::process::id());
    let mut runc = Command::new("runc");
    runc.arg("run").arg("--bundle").arg(&bundle).arg(&id);
    let said = process::capture(&mut runc)?;
    println!("{name} in runc: {}", said.trim());
    match said.contains(env!("CARGO_PKG_VERSION")) {
        true => Ok(()),
        false => Err(format!("{name} does not say its version: {said:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_what_its_digests_say_and_the_same_each_time() {
        let layout = tempfile::tempdir().unwrap();
        fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
        let first = image(layout.path(), "nri-x", b"program").unwrap();
        assert_eq!(image(layout.path(), "nri-x", b"program").unwrap(), first);
        let read = |described: &Value| {
            let digest = described["digest"].as_str().unwrap();
            let bytes = fs::read(layout.path().join("blobs").join(digest.replace(':', "/")));
            let bytes = bytes.unwrap();
            assert_eq!(super::digest(&bytes), digest);
            assert_eq!(described["size"], bytes.len());
            bytes
        };
        let manifest: Value = serde_json::from_slice(&read(&first)).unwrap();
        let config: Value = serde_json::from_slice(&read(&manifest["config"])).unwrap();
        let layer = read(&manifest["layers"][0]);
        let mut tar = Vec::new();
        let mut unpacked = flate2::read::GzDecoder::new(&*layer);
        std::io::Read::read_to_end(&mut unpacked, &mut tar).unwrap();
        assert_eq!(config["rootfs"]["diff_ids"], json!([digest(&tar)]));
        let mut archive = tar::Archive::new(&*tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.header().mode().unwrap();
            (entry.path().unwrap().display().to_string(), mode)
        });
        let last = entries.last().unwrap();
        assert_eq!(last, ("usr/local/bin/nri-x".to_owned(), 0o755));
        let entrypoint = &config["config"]["Entrypoint"];
        assert_eq!(entrypoint, &json!(["/usr/local/bin/nri-x"]));
    }
}
