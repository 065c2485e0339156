//! The pods and containers that there are: in memory, and on disk for the next start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::files;
use crate::record::{Container, Pod};

/// A kind of object: what differs between pods and containers here.
pub(crate) trait Kind: Serialize + DeserializeOwned + Clone + Send {
    /// The name of its directory, and in errors.
    const PLURAL: &'static str;
    const SINGULAR: &'static str;
    fn id(&self) -> &str;
    fn unique_name(&self) -> String;
    fn map(all: &mut Objects) -> &mut BTreeMap<String, Self>;
}

impl Kind for Pod {
    const PLURAL: &'static str = "pods";
    const SINGULAR: &'static str = "pod";
    fn id(&self) -> &str {
        &self.id
    }
    fn unique_name(&self) -> String {
        self.name()
    }
    fn map(all: &mut Objects) -> &mut BTreeMap<String, Self> {
        &mut all.pods
    }
}

impl Kind for Container {
    const PLURAL: &'static str = "containers";
    const SINGULAR: &'static str = "container";
    fn id(&self) -> &str {
        &self.id
    }
    fn unique_name(&self) -> String {
        self.name()
    }
    fn map(all: &mut Objects) -> &mut BTreeMap<String, Self> {
        &mut all.containers
    }
}

/// What there is, by id.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    pods: BTreeMap<String, Pod>,
    containers: BTreeMap<String, Container>,
    /// Names of objects that are being made.
    names: BTreeSet<(&'static str, String)>,
}

/// The pods and containers. Every object has a directory of its own with a file `record.json` in
/// it, without which the rest of the directory is a half-made thing.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    all: Mutex<Objects>,
}

/// A name that nobody else gets while this lives.
#[derive(Debug)]
pub(crate) struct Reservation<'a> {
    store: &'a Store,
    key: (&'static str, String),
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.store.lock().names.remove(&self.key);
    }
}

const RECORD: &str = "record.json";
/// A record has a spec and a configuration, which may have a million bytes each.
const MOST: u64 = 64 << 20;

impl Store {
    /// The store below a directory, with what is there of the last run.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let mut all = Objects::default();
        load::<Pod>(root, &mut all)?;
        load::<Container>(root, &mut all)?;
        let root = root.to_owned();
        let all = Mutex::new(all);
        Ok(Self { root, all })
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of an object.
    pub(crate) fn dir<T: Kind>(&self, id: &str) -> PathBuf {
        self.root.join(T::PLURAL).join(id)
    }

    /// Directories without a record: half-made when we died.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn half_made<T: Kind>(&self) -> Result<Vec<String>> {
        let mut names = files::names(&self.root.join(T::PLURAL))?;
        let mut all = self.lock();
        names.retain(|name| !T::map(&mut all).contains_key(name));
        Ok(names)
    }

    /// Containers without their pod, whose record was lost.
    pub(crate) fn orphans(&self) -> Vec<String> {
        let all = self.lock();
        let containers = all.containers.values();
        containers
            .filter(|container| !all.pods.contains_key(&container.pod_id))
            .map(|container| container.id.clone())
            .collect()
    }

    /// Keeps others from making an object of the same name.
    ///
    /// # Errors
    /// There is one, or one is being made.
    pub(crate) fn reserve<T: Kind>(&self, object: &T) -> Result<Reservation<'_>> {
        let name = object.unique_name();
        let mut all = self.lock();
        let taken = T::map(&mut all)
            .values()
            .find(|other| other.unique_name() == name);
        if let Some(other) = taken {
            return Err(Error::exists(format!(
                "{} {} has the name {name} already: remove it, or use another attempt",
                T::SINGULAR,
                other.id()
            )));
        }
        let key = (T::PLURAL, name);
        if !all.names.insert(key.clone()) {
            return Err(Error::exists(format!(
                "a {} with the name {} is being made",
                T::SINGULAR,
                key.1
            )));
        }
        Ok(Reservation { store: self, key })
    }

    /// All objects, in the order of their ids.
    pub(crate) fn all<T: Kind>(&self) -> Vec<T> {
        T::map(&mut self.lock()).values().cloned().collect()
    }

    /// The containers of a pod.
    pub(crate) fn containers_of(&self, pod: &str) -> Vec<Container> {
        let all = self.lock();
        let containers = all.containers.values();
        containers
            .filter(|container| container.pod_id == pod)
            .cloned()
            .collect()
    }

    /// The object of a full id.
    pub(crate) fn get<T: Kind>(&self, id: &str) -> Option<T> {
        T::map(&mut self.lock()).get(id).cloned()
    }

    /// The object of an id, or of the beginning of one that is nobody else's.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub(crate) fn find<T: Kind>(&self, id: &str) -> Result<T> {
        let mut all = self.lock();
        let map = T::map(&mut all);
        if let Some(object) = map.get(id) {
            return Ok(object.clone());
        }
        let unknown = || Error::not_found(format!("there is no {} {id:?}", T::SINGULAR));
        if id.is_empty() {
            return Err(unknown());
        }
        let mut range = map
            .range(id.to_owned()..)
            .map_while(|(key, object)| key.starts_with(id).then_some(object));
        match (range.next(), range.next()) {
            (Some(object), None) => Ok(object.clone()),
            (None, _) => Err(unknown()),
            (Some(_), Some(_)) => Err(Error::invalid(format!(
                "more than one {} has an id that begins with {id:?}",
                T::SINGULAR
            ))),
        }
    }

    /// Adds an object, whose directory is there.
    ///
    /// # Errors
    /// Those of the operating system; nothing is added then.
    pub(crate) fn insert<T: Kind>(&self, object: T) -> Result<()> {
        self.write(&object)?;
        T::map(&mut self.lock()).insert(object.id().to_owned(), object);
        Ok(())
    }

    /// Changes an object, and gives it as it is then.
    ///
    /// # Errors
    /// It is not there any more; those of the operating system, and the object is as it was then.
    pub(crate) fn change<T: Kind>(&self, id: &str, change: impl FnOnce(&mut T)) -> Result<T> {
        self.changed(id, change, Err)
    }

    /// Changes an object by what has happened already: it is so, also if that cannot be written,
    /// and the next start finds it out by itself.
    ///
    /// # Errors
    /// It is not there any more.
    pub(crate) fn observe<T: Kind>(&self, id: &str, change: impl FnOnce(&mut T)) -> Result<T> {
        self.changed(id, change, |error| {
            tracing::warn!(kind = T::SINGULAR, id, %error, "what has happened is not on disk");
            Ok(())
        })
    }

    fn changed<T: Kind>(
        &self,
        id: &str,
        change: impl FnOnce(&mut T),
        unwritten: impl FnOnce(Error) -> Result<()>,
    ) -> Result<T> {
        // Written under the lock, so that of two changes the later one is the one on disk.
        let mut all = self.lock();
        let slot = T::map(&mut all).get_mut(id);
        let slot =
            slot.ok_or_else(|| Error::not_found(format!("there is no {} {id:?}", T::SINGULAR)))?;
        let mut object = slot.clone();
        change(&mut object);
        self.write(&object).or_else(unwritten)?;
        *slot = object.clone();
        Ok(object)
    }

    /// Forgets an object and removes its directory, the record first.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn remove<T: Kind>(&self, id: &str) -> Result<()> {
        let dir = self.dir::<T>(id);
        files::remove_file(&dir.join(RECORD))?;
        T::map(&mut self.lock()).remove(id);
        files::remove_dir(&dir)
    }

    fn write<T: Kind>(&self, object: &T) -> Result<()> {
        let path = self.dir::<T>(object.id()).join(RECORD);
        let text =
            serde_json::to_vec(object).map_err(|error| Error::file("write", &path, error))?;
        files::write(&path, &text)
    }
}

/// Reads all records of a kind. One that cannot be read is no record: what is there is cleaned up
/// as half-made.
fn load<T: Kind>(root: &Path, all: &mut Objects) -> Result<()> {
    for id in files::names(&root.join(T::PLURAL))? {
        let path = root.join(T::PLURAL).join(&id).join(RECORD);
        let Some(text) = files::read(&path, MOST)? else {
            continue;
        };
        match serde_json::from_slice::<T>(&text) {
            Ok(object) if object.id() == id => {
                T::map(all).insert(id, object);
            }
            Ok(object) => {
                let is = object.id();
                tracing::warn!(path = %path.display(), is, "a record is not of its directory");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a record cannot be read");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(id: &str, name: &str) -> Pod {
        serde_json::from_value(json!({
            "id": id, "runtime_handler": "", "ready": true, "spec": {}, "pid": 7,
            "conmon": {"pid": 6, "started": 1}, "ips": [],
            "config": {"metadata": {"name": name, "namespace": "ns", "uid": "u"}},
            "overhead": null, "resources": null, "created_at": 5,
        }))
        .unwrap()
    }

    fn add(store: &Store, id: &str, name: &str) {
        files::make_dir(&store.dir::<Pod>(id)).unwrap();
        store.insert(pod(id, name)).unwrap();
    }

    #[test]
    fn what_was_written_is_there_at_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        add(&store, "aa1", "one");
        add(&store, "aa2", "two");
        store.change::<Pod>("aa2", |pod| pod.ready = false).unwrap();
        add(&store, "bb", "three");
        store.remove::<Pod>("bb").unwrap();
        // Half-made, broken and misplaced.
        files::make_dir(&store.dir::<Pod>("half")).unwrap();
        for (id, text) in [
            ("torn", "{\"id\":"),
            ("thief", &*serde_json::to_string(&pod("aa1", "x")).unwrap()),
        ] {
            files::make_dir(&store.dir::<Pod>(id)).unwrap();
            std::fs::write(store.dir::<Pod>(id).join(RECORD), text).unwrap();
        }
        drop(store);

        let store = Store::open(dir.path()).unwrap();
        let ids: Vec<String> = store.all::<Pod>().into_iter().map(|pod| pod.id).collect();
        assert_eq!(ids, ["aa1", "aa2"]);
        assert!(!store.get::<Pod>("aa2").unwrap().ready);
        assert_eq!(store.half_made::<Pod>().unwrap(), ["half", "thief", "torn"]);
    }

    #[test]
    fn an_id_may_be_shortened_as_long_as_it_is_clear() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        add(&store, "aa1", "one");
        add(&store, "aa12", "two");
        add(&store, "b", "three");
        let find = |id: &str| {
            store
                .find::<Pod>(id)
                .map(|pod| pod.id)
                .map_err(|e| e.to_string())
        };
        assert_eq!(find("aa1"), Ok("aa1".into()));
        assert_eq!(find("aa12"), Ok("aa12".into()));
        assert!(find("aa").unwrap_err().contains("more than one pod"));
        assert!(find("").unwrap_err().contains("no pod"));
        assert!(find("c").unwrap_err().contains("no pod \"c\""));
    }

    #[test]
    fn a_name_is_one_pods() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let reserved = store.reserve(&pod("a", "one")).unwrap();
        let error = store.reserve(&pod("b", "one")).unwrap_err();
        assert!(error.to_string().contains("being made"), "{error}");
        drop(reserved);
        drop(store.reserve(&pod("b", "one")).unwrap());
        add(&store, "a", "one");
        let error = store.reserve(&pod("b", "one")).unwrap_err();
        assert!(error.to_string().contains("pod a has the name"), "{error}");
    }

    #[test]
    fn a_change_that_cannot_be_written_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        add(&store, "a", "one");
        std::fs::remove_dir_all(store.dir::<Pod>("a")).unwrap();
        store
            .change::<Pod>("a", |pod| pod.ready = false)
            .unwrap_err();
        assert!(store.get::<Pod>("a").unwrap().ready);
        store.change::<Pod>("b", |_| {}).unwrap_err();
        // What has happened is so all the same.
        let seen = store.observe::<Pod>("a", |pod| pod.ready = false).unwrap();
        assert!(!seen.ready && !store.get::<Pod>("a").unwrap().ready);
        store.observe::<Pod>("b", |_| {}).unwrap_err();
    }
}
