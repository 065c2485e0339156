//! What CDI devices change in a container. Most of it is what plugins may ask for too, so it is
//! applied as an adjustment; the rest is here.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};

use nri_core::api;
use nri_core::keys::KeyKind;
use nri_core::oci::{ApplyOptions, apply};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::OciSpec;
use crate::host::device_numbers;

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct Edits {
    env: Vec<String>,
    device_nodes: Vec<DeviceNode>,
    net_devices: Vec<NetDevice>,
    hooks: Vec<Hook>,
    mounts: Vec<Mount>,
    intel_rdt: Option<IntelRdt>,
    #[serde(rename = "additionalGids")]
    additional_gids: Vec<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct DeviceNode {
    path: String,
    host_path: String,
    r#type: String,
    major: i64,
    minor: i64,
    file_mode: Option<u32>,
    permissions: String,
    uid: Option<u32>,
    gid: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct NetDevice {
    host_interface_name: String,
    name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Hook {
    hook_name: String,
    path: String,
    args: Vec<String>,
    env: Vec<String>,
    timeout: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Mount {
    host_path: String,
    container_path: String,
    options: Vec<String>,
    r#type: String,
}

/// Members that are written as they stand, but for the old names of monitoring.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct IntelRdt {
    #[serde(rename = "closID")]
    clos_id: Option<String>,
    #[serde(rename = "l3CacheSchema")]
    l3_cache_schema: Option<String>,
    #[serde(rename = "memBwSchema")]
    mem_bw_schema: Option<String>,
    #[serde(rename = "schemata")]
    schemata: Option<Vec<String>>,
    #[serde(rename = "enableMonitoring")]
    enable_monitoring: Option<bool>,
    #[serde(rename = "enableCMT")]
    enable_cmt: Option<bool>,
    #[serde(rename = "enableMBM")]
    enable_mbm: Option<bool>,
}

/// The node is there, and may not be used.
const NO_PERMISSIONS: &str = "none";

impl Edits {
    /// Whether nothing is changed.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What no container could have, whatever the host has.
    pub(super) fn check(&self) -> Result<(), String> {
        // In an adjustment a dash in front says that something is removed.
        let is_variable = |entry: &&String| {
            let name = entry.split_once('=').map(|(name, _)| name);
            name.is_some_and(|name| !name.is_empty() && !name.starts_with('-'))
        };
        if let Some(entry) = self.env.iter().find(|entry| !is_variable(entry)) {
            return Err(format!("{entry:?} in `env` is not like NAME=value"));
        }
        for node in &self.device_nodes {
            if !node.path.starts_with('/') {
                return Err(format!("the path of a device node is {:?}", node.path));
            }
            if !matches!(&*node.r#type, "" | "b" | "c" | "u" | "p") {
                return Err(format!("{} has the type {:?}", node.path, node.r#type));
            }
            // As of devices that plugins ask for: in a rule, -1 would be every device of the host.
            if !(0..1 << 12).contains(&node.major) || !(0..1 << 20).contains(&node.minor) {
                return Err(format!(
                    "{} has the numbers {}:{}; a major number is 0 to 4095, a minor number 0 to 1048575",
                    node.path, node.major, node.minor
                ));
            }
            if let Some(mode @ 0o200_000..) = node.file_mode {
                return Err(format!(
                    "{} has the file mode {mode:o}, which has more than 16 bits",
                    node.path
                ));
            }
            let wrong = node.permissions.chars().find(|c| !"rwm".contains(*c));
            if let Some(wrong) = wrong.filter(|_| node.permissions != NO_PERMISSIONS) {
                return Err(format!(
                    "{} has the permission {wrong:?}: some of r, w and m are wanted, or {NO_PERMISSIONS:?}",
                    node.path
                ));
            }
        }
        for hook in &self.hooks {
            if hook.list_of(&mut api::Hooks::default()).is_none() {
                return Err(format!("there are no hooks {:?}", hook.hook_name));
            }
            if !hook.path.starts_with('/') {
                return Err(format!(
                    "the path of a {} hook is {:?}, and must be absolute",
                    hook.hook_name, hook.path
                ));
            }
            if hook.timeout.is_some_and(|seconds| seconds <= 0) {
                return Err(format!(
                    "the `timeout` of the hook {} must be above 0 seconds",
                    hook.path
                ));
            }
        }
        for mount in &self.mounts {
            if !mount.container_path.starts_with('/') {
                return Err(format!(
                    "the `containerPath` of a mount is {:?}",
                    mount.container_path
                ));
            }
            if mount.host_path.is_empty() {
                return Err(format!(
                    "the mount of {} has no `hostPath`",
                    mount.container_path
                ));
            }
        }
        for device in &self.net_devices {
            if device.host_interface_name.is_empty() || device.host_interface_name.starts_with('-')
            {
                return Err(format!(
                    "the `hostInterfaceName` of a network device is {:?}",
                    device.host_interface_name
                ));
            }
        }
        Ok(())
    }

    /// Puts edits into a spec, one after the other. Every list of the spec is walked once, however
    /// many edits there are.
    pub(super) fn apply_all(edits: &[&Self], spec: &mut OciSpec) -> Result<(), String> {
        let mut adjustment = api::ContainerAdjustment::default();
        for edits in edits {
            edits.add_to(&mut adjustment);
        }
        // Of what is said twice, the later counts.
        keep_last(&mut adjustment.env, |variable| variable.key.clone());
        keep_last(&mut adjustment.mounts, |mount| path(&mount.destination));
        let applied = apply(spec, &adjustment, &ApplyOptions::default(), None);
        *spec = applied.map_err(|error| error.to_string())?.spec;

        let mut nodes = Vec::new();
        for node in edits.iter().flat_map(|edits| &edits.device_nodes) {
            nodes.push(node.completed()?);
        }
        let mut rules: Vec<Value> = nodes.iter().filter_map(DeviceNode::rule).collect();
        if !rules.is_empty() {
            list(spec, &["linux", "resources", "devices"]).append(&mut rules);
        }
        keep_last(&mut nodes, |node| path(&node.path));
        if !nodes.is_empty() {
            let mut devices: Vec<Value> = nodes.iter().map(|node| node.device(spec)).collect();
            let paths: HashSet<String> = nodes.iter().map(|node| path(&node.path)).collect();
            let list = list(spec, &["linux", "devices"]);
            list.retain(|other| {
                other["path"]
                    .as_str()
                    .is_none_or(|it| !paths.contains(&path(it)))
            });
            list.append(&mut devices);
        }

        let gids = edits.iter().flat_map(|edits| &edits.additional_gids);
        let gids: Vec<u32> = gids.copied().filter(|gid| *gid != 0).collect();
        if !gids.is_empty() {
            let list = list(spec, &["process", "user", "additionalGids"]);
            let mut there: HashSet<u64> = list.iter().filter_map(Value::as_u64).collect();
            let new = gids.into_iter().filter(|gid| there.insert(u64::from(*gid)));
            list.extend(new.map(Value::from));
        }
        for rdt in edits.iter().filter_map(|edits| edits.intel_rdt.as_ref()) {
            rdt.apply(spec);
        }
        Ok(())
    }

    /// What of it plugins may ask for too.
    fn add_to(&self, adjustment: &mut api::ContainerAdjustment) {
        for hook in &self.hooks {
            let hooks = adjustment.hooks.get_or_insert_default();
            if let Some(list) = hook.list_of(hooks) {
                list.push(api::Hook {
                    path: hook.path.clone(),
                    args: hook.args.clone(),
                    env: hook.env.clone(),
                    timeout: hook.timeout.map(|value| api::OptionalInt { value }),
                });
            }
        }
        for device in &self.net_devices {
            let linux = adjustment.linux.get_or_insert_default();
            let name = device.name.clone();
            linux.net_devices.insert(
                device.host_interface_name.clone(),
                api::LinuxNetDevice { name },
            );
        }
        let variables = self.env.iter().filter_map(|entry| entry.split_once('='));
        adjustment
            .env
            .extend(variables.map(|(key, value)| api::KeyValue {
                key: key.to_owned(),
                value: value.to_owned(),
            }));
        adjustment
            .mounts
            .extend(self.mounts.iter().map(|mount| api::Mount {
                source: mount.host_path.clone(),
                destination: mount.container_path.clone(),
                options: mount.options.clone(),
                r#type: mount.r#type.clone(),
            }));
    }
}

/// A path in the container by its meaning.
fn path(written: &str) -> String {
    KeyKind::Path.normal(written).into_owned()
}

/// Leaves of the items with the same key the last one.
fn keep_last<T>(items: &mut Vec<T>, key: impl Fn(&T) -> String) {
    let mut seen = HashSet::new();
    items.reverse();
    items.retain(|item| seen.insert(key(item)));
    items.reverse();
}

impl Hook {
    /// Where it belongs; `None` if there are no such hooks.
    fn list_of<'a>(&self, hooks: &'a mut api::Hooks) -> Option<&'a mut Vec<api::Hook>> {
        Some(match &*self.hook_name {
            "prestart" => &mut hooks.prestart,
            "createRuntime" => &mut hooks.create_runtime,
            "createContainer" => &mut hooks.create_container,
            "startContainer" => &mut hooks.start_container,
            "poststart" => &mut hooks.poststart,
            "poststop" => &mut hooks.poststop,
            _ => return None,
        })
    }
}

impl DeviceNode {
    /// The node with what is not said of it: that is the host's node's.
    fn completed(&self) -> Result<Self, String> {
        let mut node = self.clone();
        if node.r#type.is_empty() || (node.major == 0 && node.minor == 0 && node.r#type != "p") {
            node.complete()?;
        }
        Ok(node)
    }

    /// The node in a spec, where it takes the place of one of the same path. Its owner, where none
    /// is said, is the process's user.
    fn device(&self, spec: &OciSpec) -> Value {
        let owner = |id: Option<u32>, name: &str| {
            let of_process = || spec.pointer(&format!("/process/user/{name}"))?.as_u64();
            id.map(u64::from)
                .or_else(|| of_process().filter(|id| *id > 0))
        };
        let mut device = Map::new();
        device.insert("path".to_owned(), json!(self.path));
        device.insert("type".to_owned(), json!(self.r#type));
        self.add_numbers(&mut device);
        for (name, value) in [
            ("fileMode", self.file_mode.map(u64::from)),
            ("uid", owner(self.uid, "uid")),
            ("gid", owner(self.gid, "gid")),
        ] {
            if let Some(value) = value {
                device.insert(name.to_owned(), json!(value));
            }
        }
        Value::Object(device)
    }

    /// The rule that allows it; pipes need none, and what nothing is allowed with has none.
    fn rule(&self) -> Option<Value> {
        let kind = match &*self.r#type {
            "p" => return None,
            "b" => "b",
            _ => "c",
        };
        let access = match &*self.permissions {
            "" => "rwm",
            NO_PERMISSIONS => return None,
            permissions => permissions,
        };
        let mut rule = Map::new();
        rule.insert("allow".to_owned(), json!(true));
        rule.insert("type".to_owned(), json!(kind));
        self.add_numbers(&mut rule);
        rule.insert("access".to_owned(), json!(access));
        Some(Value::Object(rule))
    }

    fn add_numbers(&self, to: &mut Map<String, Value>) {
        if self.r#type != "p" {
            to.insert("major".to_owned(), json!(self.major));
            to.insert("minor".to_owned(), json!(self.minor));
        }
    }

    fn complete(&mut self) -> Result<(), String> {
        let path = match &*self.host_path {
            "" => &self.path,
            path => path,
        };
        let metadata =
            fs::metadata(path).map_err(|error| format!("the host's node {path}: {error}"))?;
        let kind = metadata.file_type();
        let found = if kind.is_block_device() {
            "b"
        } else if kind.is_char_device() {
            "c"
        } else if kind.is_fifo() {
            "p"
        } else {
            return Err(format!("{path} of the host is no device"));
        };
        if self.r#type.is_empty() {
            self.r#type = found.to_owned();
        }
        let same = if self.r#type == "u" {
            "c"
        } else {
            &*self.r#type
        };
        if same != found {
            return Err(format!(
                "{path} of the host is a device of type {found}, not {}",
                self.r#type
            ));
        }
        if found != "p" {
            (self.major, self.minor) = device_numbers(metadata.rdev());
        }
        self.file_mode.get_or_insert(metadata.mode() & 0o7777);
        Ok(())
    }
}

impl IntelRdt {
    fn apply(&self, spec: &mut OciSpec) {
        let rdt = object(spec, &["linux", "intelRdt"]);
        for (name, value) in [
            ("closID", self.clos_id.as_ref().map(|id| json!(id))),
            (
                "l3CacheSchema",
                self.l3_cache_schema.as_ref().map(|schema| json!(schema)),
            ),
            (
                "memBwSchema",
                self.mem_bw_schema.as_ref().map(|schema| json!(schema)),
            ),
            ("schemata", self.schemata.as_ref().map(|lines| json!(lines))),
            (
                "enableMonitoring",
                self.enable_monitoring.map(|on| json!(on)),
            ),
            ("enableCMT", self.enable_cmt.map(|on| json!(on))),
            ("enableMBM", self.enable_mbm.map(|on| json!(on))),
        ] {
            if let Some(value) = value {
                rdt.insert(name.to_owned(), value);
            }
        }
    }
}

fn member<'a>(spec: &'a mut OciSpec, path: &[&str]) -> &'a mut Value {
    path.iter().fold(spec, |value, name| {
        if !value.is_object() {
            *value = json!({});
        }
        &mut value[*name]
    })
}

/// The list at the end of a path, made if it is not there.
fn list<'a>(spec: &'a mut OciSpec, path: &[&str]) -> &'a mut Vec<Value> {
    let member = member(spec, path);
    if !member.is_array() {
        *member = json!([]);
    }
    match member {
        Value::Array(list) => list,
        _ => unreachable!("it was made a list just now"),
    }
}

/// The object at the end of a path, made if it is not there.
fn object<'a>(spec: &'a mut OciSpec, path: &[&str]) -> &'a mut Map<String, Value> {
    let member = member(spec, path);
    if !member.is_object() {
        *member = json!({});
    }
    match member {
        Value::Object(object) => object,
        _ => unreachable!("it was made an object just now"),
    }
}
