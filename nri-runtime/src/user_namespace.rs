//! User namespaces of pods: which ids of the host's the ids in a pod are, as CRI says it. What may
//! not enter: mounts, and everything else that is done with them.

use serde_json::{Map, Value, json};

use crate::cri::{self, NamespaceMode};
use crate::error::{Error, Result};

/// Where CRI says it, for errors.
const FIELD: &str = "security_context.namespace_options";
/// The user that nobody is, where ids reach that far.
const NOBODY: u32 = 65534;

/// Ids from 0 on in a pod, which are others on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// What 0 is on the host.
    pub(crate) host: u32,
    /// How many there are.
    pub(crate) size: u32,
}

/// The user namespace that a pod has of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UserNamespace {
    pub(crate) uids: Ids,
    pub(crate) gids: Ids,
}

impl UserNamespace {
    /// The one that a pod is to have; `None` if it is to have the host's.
    ///
    /// # Errors
    /// Mappings that cannot be; another namespace that a pod with one of its own cannot share.
    pub(crate) fn of_pod(options: &cri::NamespaceOption) -> Result<Option<Self>> {
        // Those who say nothing know of none, and mean the host's.
        let Some(user) = &options.userns_options else {
            return Ok(None);
        };
        let Some(namespace) = Self::asked(user)? else {
            return Ok(None);
        };
        namespace.check_others(options)?;
        Ok(Some(namespace))
    }

    /// Whether a container of a pod asks for what the pod has. One that says nothing has that.
    ///
    /// # Errors
    /// It asks for something else.
    pub(crate) fn check_container(pod: Option<Self>, options: &cri::NamespaceOption) -> Result<()> {
        if let Some(user) = &options.userns_options
            && Self::asked(user)? != pod
        {
            let shown = |user: Option<Self>| match user {
                Some(Self { uids, gids }) => format!(
                    "{} users from {} and {} groups from {}",
                    uids.size, uids.host, gids.size, gids.host
                ),
                None => "the host's".to_owned(),
            };
            return Err(Error::invalid(format!(
                "{FIELD}.userns_options of the container is {}, and of its pod {}: a container \
                 has the user namespace of its pod",
                shown(Self::asked(user)?),
                shown(pod)
            )));
        }
        pod.map_or(Ok(()), |namespace| namespace.check_others(options))
    }

    fn asked(user: &cri::UserNamespace) -> Result<Option<Self>> {
        let refused = |why: String| Err(Error::invalid(format!("{FIELD}.userns_options.{why}")));
        match NamespaceMode::try_from(user.mode) {
            Ok(NamespaceMode::Pod) => {
                let read = |field, mappings: &[_]| {
                    let named = |error: Error| error.of(format!("{FIELD}.userns_options"));
                    Ids::read(field, mappings).map_err(named)
                };
                let (uids, gids) = (read("uids", &user.uids)?, read("gids", &user.gids)?);
                Ok(Some(Self { uids, gids }))
            }
            Ok(NamespaceMode::Node) if user.uids.is_empty() && user.gids.is_empty() => Ok(None),
            Ok(NamespaceMode::Node) => {
                refused("mode is NODE, and there are mappings: leave them out".to_owned())
            }
            Ok(other) => refused(format!(
                "mode is {}, and may be POD or NODE",
                other.as_str_name()
            )),
            Err(_) => refused(format!("mode is {}, and may be POD or NODE", user.mode)),
        }
    }

    /// A namespace of the host's belongs to the host's users, so that nobody in a pod with users of
    /// its own could have any rights in it.
    fn check_others(&self, options: &cri::NamespaceOption) -> Result<()> {
        let others = [
            ("network", options.network()),
            ("pid", options.pid()),
            ("ipc", options.ipc()),
        ];
        match others.iter().find(|(_, mode)| *mode == NamespaceMode::Node) {
            None => Ok(()),
            Some((kind, _)) => Err(Error::invalid(format!(
                "{FIELD}.{kind} is NODE, which a pod with a user namespace of its own cannot \
                 have: set it to POD, or userns_options.mode to NODE"
            ))),
        }
    }

    /// Who root in the pod is on the host: the user and the group.
    pub(crate) fn root(&self) -> (u32, u32) {
        (self.uids.host, self.gids.host)
    }

    /// Who somebody in the pod is on the host: the user and the group.
    pub(crate) fn on_host(&self, user: u32, group: u32) -> (u32, u32) {
        let (first_user, first_group) = self.root();
        (
            first_user.saturating_add(user),
            first_group.saturating_add(group),
        )
    }

    /// Somebody in the pod who owns nothing: the user and the group.
    pub(crate) fn nobody(&self) -> (u32, u32) {
        let last = |ids: Ids| NOBODY.min(ids.size.saturating_sub(1));
        (last(self.uids), last(self.gids))
    }

    /// Whether a user and groups are in the pod.
    ///
    /// # Errors
    /// Which is not.
    pub(crate) fn check_user(&self, uid: u32, groups: impl IntoIterator<Item = u32>) -> Result<()> {
        let users = [("user", uid, self.uids)].into_iter();
        let groups = groups.into_iter().map(|gid| ("group", gid, self.gids));
        match users.chain(groups).find(|(_, id, ids)| *id >= ids.size) {
            None => Ok(()),
            Some((what, id, ids)) => Err(Error::invalid(format!(
                "the container is to run as {what} {id}, and the user namespace of its pod has \
                 {} only, from 0 on: set another one, or map more of them",
                ids.size
            ))),
        }
    }

    /// Says it in the member `linux` of a spec, or in a mount of one.
    pub(crate) fn add_to(&self, members: &mut Map<String, Value>) {
        for (name, ids) in [("uidMappings", self.uids), ("gidMappings", self.gids)] {
            let Ids { host, size } = ids;
            let mapping = json!([{"containerID": 0, "hostID": host, "size": size}]);
            members.insert(name.to_owned(), mapping);
        }
    }

    /// Whether a mount's ids are mapped as the pod's are; `false` if they are not mapped.
    ///
    /// # Errors
    /// They are mapped otherwise, or there is no such namespace.
    pub(crate) fn maps(pod: Option<Self>, mount: &cri::Mount) -> Result<bool> {
        let (uids, gids) = (&mount.uid_mappings, &mount.gid_mappings);
        if uids.is_empty() && gids.is_empty() {
            return Ok(false);
        }
        let asked = Self {
            uids: Ids::read("uidMappings", uids)?,
            gids: Ids::read("gidMappings", gids)?,
        };
        match pod == Some(asked) {
            true => Ok(true),
            false => Err(Error::invalid(
                "uidMappings and gidMappings are not those of the pod's user namespace: set them \
                 to its mappings, or leave them out",
            )),
        }
    }
}

impl Ids {
    /// The one mapping of a field.
    fn read(field: &str, mappings: &[cri::IdMapping]) -> Result<Self> {
        let refused = |why: String| Err(Error::invalid(format!("{field} {why}")));
        let [mapping] = mappings else {
            return refused(format!(
                "has {} mappings, and must have one",
                mappings.len()
            ));
        };
        let cri::IdMapping {
            host_id: host,
            container_id,
            length: size,
        } = *mapping;
        if container_id != 0 {
            return refused(format!(
                "begins at container_id {container_id}: it must begin at 0, so that there is a root"
            ));
        }
        // The last number of all is nobody's id.
        if size == 0 || host.checked_add(size).is_none() {
            return refused(format!(
                "has host_id {host} and length {size}: there must be one id at least, and none \
                 above {}",
                u32::MAX - 1
            ));
        }
        Ok(Self { host, size })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As CRI has it, with the same for users and groups.
    pub(crate) fn options(host: u32, size: u32) -> cri::NamespaceOption {
        serde_json::from_value(json!({"userns_options": {"mode": 0,
            "uids": [{"host_id": host, "container_id": 0, "length": size}],
            "gids": [{"host_id": host, "container_id": 0, "length": size}]}}))
        .unwrap()
    }

    fn refused(change: impl FnOnce(&mut cri::NamespaceOption)) -> String {
        let mut options = options(1000, 65536);
        change(&mut options);
        UserNamespace::of_pod(&options).unwrap_err().to_string()
    }

    fn user(options: &mut cri::NamespaceOption) -> &mut cri::UserNamespace {
        options.userns_options.as_mut().unwrap()
    }

    #[test]
    fn a_pod_says_whose_ids_its_own_are() {
        let of = |options| UserNamespace::of_pod(&options).unwrap();
        assert_eq!(of(cri::NamespaceOption::default()), None);
        let node = json!({"userns_options": {"mode": 2}, "network": 2});
        assert_eq!(of(serde_json::from_value(node).unwrap()), None);
        let namespace = of(options(1000, 100_000)).unwrap();
        assert_eq!(namespace.root(), (1000, 1000));
        assert_eq!(namespace.on_host(7, 8), (1007, 1008));
        assert_eq!(namespace.nobody(), (65534, 65534));
        assert_eq!(of(options(1000, 7)).unwrap().nobody(), (6, 6));
        let mut members = Map::new();
        namespace.add_to(&mut members);
        let mapping = json!([{"containerID": 0, "hostID": 1000, "size": 100_000}]);
        assert_eq!(members["uidMappings"], mapping);
        assert_eq!(members["gidMappings"], mapping);
    }

    #[test]
    fn what_cannot_be_is_named_with_its_field_and_value() {
        let twice = refused(|options| {
            let uids = &mut user(options).uids;
            uids.push(uids[0]);
        });
        let said = "security_context.namespace_options.userns_options: uids has 2 mappings";
        assert!(twice.starts_with(said), "{twice}");
        let none = refused(|options| user(options).gids.clear());
        assert!(none.contains("gids has 0 mappings"), "{none}");
        let rootless = refused(|options| user(options).uids[0].container_id = 1);
        assert!(rootless.contains("container_id 1"), "{rootless}");
        let empty = refused(|options| user(options).gids[0].length = 0);
        assert!(empty.contains("length 0"), "{empty}");
        let far = refused(|options| user(options).uids[0].host_id = u32::MAX);
        assert!(far.contains("host_id 4294967295"), "{far}");
        for (mode, name) in [(1, "CONTAINER"), (3, "TARGET"), (9, "9")] {
            let other = refused(|options| user(options).mode = mode);
            assert!(other.contains(&format!("mode is {name}")), "{other}");
        }
        let both = refused(|options| user(options).mode = 2);
        assert!(both.contains("leave them out"), "{both}");
        for kind in ["network", "pid", "ipc"] {
            let shared = refused(|options| match kind {
                "network" => options.network = 2,
                "pid" => options.pid = 2,
                _ => options.ipc = 2,
            });
            assert!(shared.contains(&format!("{kind} is NODE")), "{shared}");
        }
    }

    #[test]
    fn a_container_has_what_its_pod_has() {
        let pod = UserNamespace::of_pod(&options(1000, 65536)).unwrap();
        let check = |pod, options: &_| UserNamespace::check_container(pod, options);
        check(pod, &options(1000, 65536)).unwrap();
        check(pod, &cri::NamespaceOption::default()).unwrap();
        check(None, &cri::NamespaceOption::default()).unwrap();
        let error = check(pod, &options(2000, 65536)).unwrap_err().to_string();
        assert!(
            error.contains("from 2000") && error.contains("from 1000"),
            "{error}"
        );
        let error = check(None, &options(2000, 65536)).unwrap_err().to_string();
        assert!(error.contains("of its pod the host's"), "{error}");
        let mut host_pid = options(1000, 65536);
        host_pid.pid = 2;
        let error = check(pod, &host_pid).unwrap_err().to_string();
        assert!(error.contains("pid is NODE"), "{error}");
    }

    #[test]
    fn a_mount_has_the_ids_of_the_pod_or_the_hosts() {
        let pod = UserNamespace::of_pod(&options(1000, 65536)).unwrap();
        let mut mount = cri::Mount::default();
        assert!(!UserNamespace::maps(pod, &mount).unwrap());
        let user = options(1000, 65536).userns_options.unwrap();
        mount.uid_mappings = user.uids;
        let error = UserNamespace::maps(pod, &mount).unwrap_err().to_string();
        assert!(error.contains("gidMappings has 0 mappings"), "{error}");
        mount.gid_mappings = user.gids;
        assert!(UserNamespace::maps(pod, &mount).unwrap());
        for other in [None, UserNamespace::of_pod(&options(1000, 9)).unwrap()] {
            let error = UserNamespace::maps(other, &mount).unwrap_err().to_string();
            assert!(error.contains("not those of the pod"), "{error}");
        }
    }

    #[test]
    fn users_and_groups_must_be_in_it() {
        let pod = UserNamespace::of_pod(&options(1000, 10)).unwrap().unwrap();
        pod.check_user(9, [0, 9]).unwrap();
        let error = pod.check_user(10, [0]).unwrap_err().to_string();
        assert!(error.contains("as user 10"), "{error}");
        let error = pod.check_user(9, [0, 77]).unwrap_err().to_string();
        assert!(error.contains("as group 77"), "{error}");
    }

    proptest! {
        #[test]
        fn whatever_is_accepted_fits_into_the_ids_that_there_are(
            host: u32, length: u32, container_id in prop_oneof![Just(0), any::<u32>()]
        ) {
            let mapping = cri::IdMapping { host_id: host, container_id, length };
            if let Ok(ids) = Ids::read("uids", &[mapping]) {
                prop_assert_eq!((ids.host, ids.size, container_id), (host, length, 0));
                prop_assert!(u64::from(host) + u64::from(length) < 1 << 32 && length > 0);
            }
        }
    }
}
