//! Images: fetched by skopeo, unpacked here, mounted by overlayfs.

mod compression;
mod reference;
mod rootfs;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use self::reference::Reference;
use self::unpack::{Limits, unpack};
use crate::config::{self, Config, Mirror};
use crate::error::{Error, Result};
use crate::{files, program};

pub(crate) use self::rootfs::{mount, mount_volume, unmount};

/// A registry may be slow, an image large.
const PULL_LIMIT: Duration = Duration::from_secs(1800);
/// The most that a manifest or a configuration of an image may have.
const MOST: u64 = 4 << 20;

/// An image that is there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Image {
    /// The digest of its configuration.
    pub(crate) id: String,
    /// Names with a tag.
    pub(crate) tags: BTreeSet<String>,
    /// Names with a digest.
    pub(crate) digests: BTreeSet<String>,
    /// Bytes, as they are in the registry.
    pub(crate) size: u64,
    pub(crate) config: ImageConfig,
    /// Digests of its layers before compression, the lowest first.
    pub(crate) layers: Vec<String>,
}

/// What an image says of containers that are made of it; the member `config` of its configuration.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ImageConfig {
    pub(crate) user: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub(crate) cmd: Vec<String>,
    pub(crate) working_dir: String,
    #[serde(deserialize_with = "or_default")]
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) stop_signal: String,
}

/// `null` is the default, as many builders write it.
fn or_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> std::result::Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An image's configuration.
#[derive(Debug, Deserialize)]
struct Configuration {
    #[serde(default, deserialize_with = "or_default")]
    config: ImageConfig,
    rootfs: RootFs,
}

#[derive(Debug, Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// An image's manifest, of OCI's or Docker's kind.
#[derive(Debug, Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Deserialize)]
struct Descriptor {
    digest: String,
    size: u64,
}

impl Descriptor {
    /// The name of its file.
    fn file(&self) -> Result<&str> {
        hex(&self.digest)
    }
}

/// The digits of a digest, which are used as names of files.
fn hex(digest: &str) -> Result<&str> {
    let hex = digest.strip_prefix("sha256:").unwrap_or_default();
    let fits = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    fits.then_some(hex)
        .ok_or_else(|| Error::invalid(format!("{digest:?} is no digest of an image")))
}

/// A user of a registry.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The images that are there by id, and the layers that something is just being made of.
#[derive(Debug, Default)]
struct Known {
    images: BTreeMap<String, Image>,
    held: Vec<Arc<Vec<String>>>,
}

impl Known {
    /// The image of a name, or of an id with or without `sha256:`.
    fn find(&self, name: &str) -> Option<&Image> {
        let id = format!("sha256:{}", name.strip_prefix("sha256:").unwrap_or(name));
        if let Some(image) = self.images.get(&id) {
            return Some(image);
        }
        let name = Reference::parse(name).ok()?.short();
        let called = |image: &&Image| image.tags.contains(&name) || image.digests.contains(&name);
        self.images.values().find(called)
    }
}

/// An image whose layers stay while this lives, whatever becomes of the image.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) image: Image,
    _layers: Arc<Vec<String>>,
}

/// The images that are there.
#[derive(Debug)]
pub(crate) struct Images {
    root: PathBuf,
    skopeo: PathBuf,
    mirrors: Vec<Mirror>,
    limits: Limits,
    all: Mutex<Known>,
    /// One fetches or cleans up at a time, so that layers that are just being unpacked are not
    /// taken for ones that nobody needs.
    changing: tokio::sync::Mutex<()>,
    /// Whether there may be layers that nothing needs.
    garbage: AtomicBool,
}

impl Images {
    /// The images of the last run.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn open(config: &Config) -> Result<Self> {
        let root = config.root.join("images");
        for dir in ["records", "layers"] {
            files::make_dir(&root.join(dir))?;
        }
        files::remove_dir(&root.join("new"))?;
        let mut all = BTreeMap::new();
        for name in files::names(&root.join("records"))? {
            let path = root.join("records").join(&name);
            let unreadable = |error: serde_json::Error| Error::file("read", &path, error);
            let text = files::read(&path, MOST).map(Option::unwrap_or_default);
            let read = text.and_then(|text| serde_json::from_slice(&text).map_err(unreadable));
            match read {
                Ok(image) => {
                    let image: Image = image;
                    all.insert(image.id.clone(), image);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "an image's record cannot be read");
                }
            }
        }
        Ok(Self {
            root,
            skopeo: config.images.skopeo.clone(),
            mirrors: config.images.mirrors.clone(),
            limits: Limits {
                bytes: config.images.max_layer_bytes,
                files: config.images.max_layer_files,
            },
            all: Mutex::new(Known {
                images: all,
                held: Vec::new(),
            }),
            changing: tokio::sync::Mutex::default(),
            garbage: AtomicBool::new(true),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where images and their layers are.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// All images, in the order of their ids.
    pub(crate) fn all(&self) -> Vec<Image> {
        self.lock().images.values().cloned().collect()
    }

    /// The image of a name, or of an id with or without `sha256:`.
    pub(crate) fn find(&self, name: &str) -> Option<Image> {
        self.lock().find(name).cloned()
    }

    /// As [`find`](Self::find), for who makes something of its layers.
    pub(crate) fn hold(&self, name: &str) -> Option<Held> {
        let mut all = self.lock();
        let image = all.find(name)?.clone();
        let layers = Arc::new(image.layers.clone());
        all.held.push(layers.clone());
        Some(Held {
            image,
            _layers: layers,
        })
    }

    /// Fetches an image.
    ///
    /// # Errors
    /// What skopeo says; an image that cannot be unpacked.
    pub(crate) async fn pull(&self, name: &str, credentials: Option<Credentials>) -> Result<Image> {
        let reference = Reference::parse(name)?;
        let _one_at_a_time = self.changing.lock().await;
        let new = self.root.join("new");
        files::remove_dir(&new)?;
        files::make_dir(&new)?;
        let pulled = async {
            self.fetch(&reference, credentials, &new).await?;
            let (root, limits) = (self.root.clone(), self.limits);
            let unpack = tokio::task::spawn_blocking(move || unpack_image(&root, limits));
            let unpacked = unpack
                .await
                .map_err(|error| Error::internal(error.to_string()))?;
            unpacked.and_then(|(image, digest)| self.add(image, &reference, &digest))
        };
        let pulled = pulled
            .await
            .map_err(|error| error.of(format!("image {reference}")));
        files::remove_dir(&new)?;
        pulled
    }

    async fn fetch(
        &self,
        reference: &Reference,
        credentials: Option<Credentials>,
        new: &Path,
    ) -> Result<()> {
        let skopeo = config::find(&self.skopeo, "images.skopeo")?;
        let (source, insecure) = reference.source(&self.mirrors);
        let mut command = program::command(&skopeo);
        // Who may sign which image is not our configuration's to say.
        command.args(["--insecure-policy", "copy", "--quiet"]);
        if insecure {
            command.arg("--src-tls-verify=false");
        }
        if let Some(credentials) = credentials {
            // Not on the command line, which everybody can read.
            let file = new.join("auth.json");
            files::write_secret(&file, &auth(reference.registry(), &credentials))?;
            command.arg("--src-authfile").arg(file);
        }
        command.arg(source).arg(format!("dir:{}", new.display()));
        program::run(&mut command, None, PULL_LIMIT).await.map(drop)
    }

    /// Records an image by the name that it was pulled by, which no other one has then.
    fn add(&self, mut image: Image, reference: &Reference, digest: &str) -> Result<Image> {
        let mut all = self.lock();
        if let Some(old) = all.images.get(&image.id) {
            image.tags = old.tags.clone();
            image.digests = old.digests.clone();
        }
        let short = reference.short();
        image
            .digests
            .insert(format!("{}@{digest}", reference.repository));
        match reference.digest {
            Some(_) => image.digests.insert(short),
            None => {
                let others = all.images.values_mut();
                for other in others.filter(|other| other.id != image.id) {
                    if other.tags.remove(&short) {
                        self.write(other)?;
                    }
                }
                image.tags.insert(short)
            }
        };
        self.write(&image)?;
        all.images.insert(image.id.clone(), image.clone());
        Ok(image)
    }

    fn record(&self, id: &str) -> Result<PathBuf> {
        Ok(self.root.join("records").join(hex(id)?))
    }

    fn write(&self, image: &Image) -> Result<()> {
        let path = self.record(&image.id)?;
        let text = serde_json::to_vec(image).map_err(|error| Error::file("write", &path, error))?;
        files::write(&path, &text)
    }

    /// Forgets an image, by any of its names. One that is not there is fine.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        if let Some(image) = self.find(name) {
            files::remove_file(&self.record(&image.id)?)?;
            self.lock().images.remove(&image.id);
        }
        Ok(())
    }

    /// Removes the layers that no image has and `used` does not name. Does nothing while an image
    /// is fetched; the next one does it then.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) async fn collect(&self, used: impl Fn() -> BTreeSet<String>) -> Result<()> {
        self.garbage.store(true, Ordering::SeqCst);
        // Also for those who come while this one works.
        while self.garbage.load(Ordering::SeqCst) {
            let Ok(_changing) = self.changing.try_lock() else {
                return Ok(());
            };
            self.garbage.store(false, Ordering::SeqCst);
            // What is held is in use before it is let go, so what is in use is looked at last.
            let mut layers = self.held();
            layers.extend(used());
            self.collect_once(&layers).await?;
        }
        Ok(())
    }

    /// The layers of images, and of what is just being made.
    fn held(&self) -> BTreeSet<String> {
        let mut all = self.lock();
        // One that is only in the list is not held any more.
        all.held.retain(|layers| Arc::strong_count(layers) > 1);
        let of_images = all.images.values().flat_map(|image| &image.layers);
        let held = all.held.iter().flat_map(|layers| &**layers);
        of_images.chain(held).cloned().collect()
    }

    async fn collect_once(&self, used: &BTreeSet<String>) -> Result<()> {
        let used: BTreeSet<PathBuf> = used.iter().map(|layer| self.layer(layer)).collect();
        let layers = self.root.join("layers");
        for name in files::names(&layers)? {
            let layer = layers.join(name);
            if !used.contains(&layer) {
                let removed = tokio::task::spawn_blocking(move || files::remove_dir(&layer));
                removed
                    .await
                    .map_err(|error| Error::internal(error.to_string()))??;
            }
        }
        Ok(())
    }

    /// The directory of a layer.
    pub(crate) fn layer(&self, diff_id: &str) -> PathBuf {
        layer(&self.root, diff_id)
    }
}

/// The directory of a layer. Short, since all of a container's have to fit in one page.
fn layer(root: &Path, diff_id: &str) -> PathBuf {
    let digits = diff_id.strip_prefix("sha256:").unwrap_or(diff_id);
    root.join("layers").join(digits.get(..24).unwrap_or(digits))
}

/// The file in which skopeo looks for who we are at a registry.
fn auth(registry: &str, credentials: &Credentials) -> Vec<u8> {
    use base64::Engine as _;
    let Credentials { user, password } = credentials;
    let both = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    serde_json::json!({"auths": {registry: {"auth": both}}})
        .to_string()
        .into_bytes()
}

/// Unpacks what skopeo has put into the directory `new`; the image and the digest of its manifest.
fn unpack_image(root: &Path, limits: Limits) -> Result<(Image, String)> {
    let new = root.join("new");
    let file = |name: &str| -> Result<Vec<u8>> {
        let path = new.join(name);
        files::read(&path, MOST)?.ok_or_else(|| Error::file("read", &path, "it is not there"))
    };
    let unreadable = |what: &str, error: serde_json::Error| {
        Error::invalid(format!("its {what} cannot be read: {error}"))
    };
    let text = file("manifest.json")?;
    let digest: String = Sha256::digest(&text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let manifest: Manifest =
        serde_json::from_slice(&text).map_err(|error| unreadable("manifest", error))?;
    let configuration: Configuration = serde_json::from_slice(&file(manifest.config.file()?)?)
        .map_err(|error| unreadable("configuration", error))?;
    let layers = configuration.rootfs.diff_ids;
    if layers.len() != manifest.layers.len() || layers.is_empty() {
        return Err(Error::invalid(format!(
            "its manifest has {} layers, its configuration {}",
            manifest.layers.len(),
            layers.len()
        )));
    }
    for (descriptor, diff_id) in manifest.layers.iter().zip(&layers) {
        hex(diff_id)?;
        let done = layer(root, diff_id);
        if done.exists() {
            continue;
        }
        let into = new.join("layer");
        files::remove_dir(&into)?;
        files::make_dir(&into)?;
        let path = new.join(descriptor.file()?);
        let archive = File::open(&path).map_err(|error| Error::file("open", &path, error))?;
        unpack(archive, &into, limits, diff_id)?;
        fs::rename(&into, &done).map_err(|error| Error::file("rename", &into, error))?;
    }
    let sizes = manifest.layers.iter().chain([&manifest.config]);
    let image = Image {
        id: format!("sha256:{}", manifest.config.file()?),
        tags: BTreeSet::new(),
        digests: BTreeSet::new(),
        size: sizes.fold(0, |sum: u64, part| sum.saturating_add(part.size)),
        config: configuration.config,
        layers,
    };
    Ok((image, format!("sha256:{digest}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::write_program;

    fn digest(bytes: &[u8]) -> String {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// An image in the form that skopeo leaves, and a program in skopeo's place that copies it.
    fn skopeo(dir: &Path, text: &str) -> Config {
        let image = dir.join("image");
        fs::create_dir_all(&image).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_uid(rustix::process::getuid().as_raw().into());
        header.set_gid(rustix::process::getgid().as_raw().into());
        tar.append_data(&mut header, "file", text.as_bytes())
            .unwrap();
        let layer = tar.into_inner().unwrap();
        let config = serde_json::json!({
            "config": {"Cmd": ["/app"], "Env": null, "User": "7"},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", digest(&layer))]},
        });
        let config = config.to_string().into_bytes();
        let manifest = serde_json::json!({
            "config": {"digest": format!("sha256:{}", digest(&config)), "size": config.len()},
            "layers": [{"digest": format!("sha256:{}", digest(&layer)), "size": layer.len()}],
        });
        fs::write(image.join(digest(&layer)), &layer).unwrap();
        fs::write(image.join(digest(&config)), &config).unwrap();
        fs::write(image.join("manifest.json"), manifest.to_string()).unwrap();
        let script = dir.join("skopeo");
        let copy = format!(
            "#!/bin/sh\nfor to; do :; done\necho \"$@\" >> {0}/log\ncp {0}/image/* \"${{to#dir:}}\"\n",
            dir.display()
        );
        write_program(&script, copy.as_bytes());
        let mut config = Config {
            root: dir.join("root"),
            ..Config::default()
        };
        config.images.skopeo = script;
        config
    }

    #[tokio::test]
    async fn an_image_is_pulled_found_moved_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(&skopeo(dir.path(), "one")).unwrap();
        let one = images.pull("r.io/app:1", None).await.unwrap();
        assert_eq!((&*one.config.cmd[0], &*one.config.user), ("/app", "7"));
        let file = images.layer(&one.layers[0]).join("file");
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
        let by_digest = one.digests.first().unwrap().clone();
        for name in ["r.io/app:1", &*by_digest, &*one.id, &one.id[7..]] {
            assert_eq!(images.find(name).unwrap().id, one.id, "{name}");
        }
        assert!(images.find("r.io/app:2").is_none());

        // The name is another image's from now on, and the first one has none left.
        let config = skopeo(dir.path(), "two");
        drop(images);
        let images = Images::open(&config).unwrap();
        let two = images.pull("r.io/app:1", None).await.unwrap();
        assert_eq!(images.find("r.io/app:1").unwrap().id, two.id);
        assert!(images.find(&one.id).unwrap().tags.is_empty());
        assert_eq!(images.all().len(), 2);

        images.remove(&one.id).unwrap();
        images.remove("r.io/none:1").unwrap();
        let used: BTreeSet<String> = one.layers.iter().cloned().collect();
        images.collect(|| used.clone()).await.unwrap();
        assert!(file.exists());
        images.collect(BTreeSet::new).await.unwrap();
        assert!(!file.exists() && images.layer(&two.layers[0]).exists());

        // What is just being made of an image keeps its layers, and not the image.
        let held = images.hold("r.io/app:1").unwrap();
        images.remove("r.io/app:1").unwrap();
        assert!(images.hold("r.io/app:1").is_none());
        images.collect(BTreeSet::new).await.unwrap();
        assert!(images.layer(&held.image.layers[0]).exists());
        drop(held);
        images.collect(BTreeSet::new).await.unwrap();
        assert!(!images.layer(&two.layers[0]).exists());
    }

    #[tokio::test]
    async fn a_broken_image_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let config = skopeo(dir.path(), "one");
        let images = Images::open(&config).unwrap();
        fs::write(dir.path().join("image/manifest.json"), "{}").unwrap();
        let error = images
            .pull("r.io/app:1", None)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("image r.io/app:1: its manifest"),
            "{error}"
        );
        assert!(images.all().is_empty() && !images.root().join("new").exists());
        assert!(
            files::names(&images.root().join("layers"))
                .unwrap()
                .is_empty()
        );
    }

    #[tokio::test]
    async fn who_we_are_is_not_on_the_command_line() {
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(&skopeo(dir.path(), "one")).unwrap();
        let credentials = Credentials {
            user: "me".into(),
            password: "hunter2".into(),
        };
        images.pull("r.io/app:1", Some(credentials)).await.unwrap();
        let log = fs::read_to_string(dir.path().join("log")).unwrap();
        assert!(
            log.contains("--src-authfile") && !log.contains("hunter2"),
            "{log}"
        );
        let me = Credentials {
            user: "me".into(),
            password: "pw".into(),
        };
        assert_eq!(
            auth("r.io", &me),
            br#"{"auths":{"r.io":{"auth":"bWU6cHc="}}}"#
        );
    }
}
