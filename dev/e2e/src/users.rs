//! Pods with a user namespace of their own: to whom files and processes belong, inside and outside;
//! volumes, devices, plugins and streams in them; and the runtime that is killed meanwhile.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use nri_core::build::Adjust as _;
use nri_core::{Event, Request, api};
use nri_testkit::{Behavior, FakePlugin};
use serde_json::{Value, json};

use crate::crictl::{FIRST, LOGS, mappings, pod, script, with_own};
use crate::effects::add_mount_and_device;
use crate::expect::{is, says, until};
use crate::killed;
use crate::stage::{ROOT, Stage};
use crate::streams;

/// What the host has for containers.
const VOLUME: &str = "/run/e2e/volume";

/// What is looked at, a script that looks, and what that says.
const INSIDE: [(&str, &str, &str); 17] = [
    (
        "the users",
        "cat /proc/1/uid_map | tr -s ' '",
        "0 100000 65536",
    ),
    (
        "the groups",
        "cat /proc/1/gid_map | tr -s ' '",
        "0 100000 65536",
    ),
    ("who it is", "id -u; id -g", "0\n0"),
    (
        "the owners of files of the image",
        "stat -c %u:%g / /bin/busybox /etc/of-zstd | sort -u",
        "0:0",
    ),
    (
        "the owner of an image that is mounted",
        "stat -c %u:%g /image/busybox",
        "0:0",
    ),
    (
        "a file of the image that is changed",
        "echo new > /etc/of-zstd && chown 7:8 /etc/of-zstd && stat -c %u:%g /etc/of-zstd",
        "7:8",
    ),
    (
        "a volume with mapped ids",
        "stat -c %u:%g /mapped/of-root; cat /mapped/of-root",
        "0:0\ngiven",
    ),
    (
        "a file with mapped ids",
        "stat -c %u:%g /etc/of-root; cat /etc/of-root",
        "0:0\ngiven",
    ),
    ("a new file in it", "echo mine > /mapped/new; echo $?", "0"),
    (
        "a read-only volume with mapped ids",
        "touch /read-only/new 2>&1 | grep -c Read-only",
        "1",
    ),
    (
        "a volume with the host's ids",
        "stat -c %u:%g /plain/of-root; cat /plain/of-root 2>&1 | grep -c denied",
        "65534:65534\n1",
    ),
    (
        "shared memory and the file of hosts",
        "echo x > /dev/shm/x && echo '10.0.0.9 other' >> /etc/hosts && stat -c %u /etc/hosts /dev/shm",
        "0\n0",
    ),
    (
        "a device, a CDI device and a plugin's",
        "for d in mine cdi-field from-plugin; do echo x > /dev/$d || exit; done; echo $FROM_PLUGIN",
        "yes",
    ),
    ("a mount of a plugin", "cat /from-plugin/for-all", "for all"),
    (
        "rights on the pod's network",
        "ip addr add 10.9.9.9/32 dev lo && ip -o addr show dev lo | grep -c 10.9.9.9",
        "1",
    ),
    (
        "a sysctl of the pod",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "999",
    ),
    (
        "rights on the host's devices",
        "mknod /tmp/null c 1 3 2>&1 | grep -c 'not permitted'",
        "1",
    ),
];

/// Looks at all of it.
///
/// # Errors
/// What is not as it should be; why this machine or the runtime cannot.
pub(crate) async fn run(stage: &mut Stage) -> Result<(), String> {
    let info = stage.crictl.json(&["info"])?;
    let handlers = info["runtimeHandlers"].as_array();
    let can = |handler: &Value| handler["features"]["user_namespaces"] == true;
    if !handlers.is_some_and(|handlers| handlers.iter().any(can)) {
        return Err(format!(
            "the runtime says that pods cannot have user namespaces of their own:\n{}",
            stage.check()?
        ));
    }
    owners(stage).await?;
    println!("e2e: users: owners, volumes, devices and plugins");
    privileged(stage)?;
    println!("e2e: users: a privileged container");
    refused(stage)?;
    println!("e2e: users: what cannot be is refused");
    streams::with(stage, &with_own(pod("streams")))?;
    killed::between_steps(stage, true).await
}

async fn owners(stage: &Stage) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{VOLUME}: {e}");
    fs::create_dir_all(VOLUME).map_err(failed)?;
    for (name, text, mode) in [("of-root", "given", 0o600), ("for-all", "for all", 0o644)] {
        let path = format!("{VOLUME}/{name}");
        fs::write(&path, text).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).map_err(failed)?;
    }
    let adjusts = Behavior::adjust(adjustment().map_err(|e| e.to_string())?);
    let plugin = FakePlugin::new("10-users").on(Event::CreateContainer, adjusts);
    let _connected = stage.join(&plugin).await?;
    let crictl = &stage.crictl;
    let mut config = with_own(pod("users"));
    config["linux"]["sysctls"] = json!({"net.ipv4.ip_unprivileged_port_start": "999"});
    let pod_id = crictl.run_pod(&config)?;
    let mut app = script(
        "app",
        "echo told > /dev/stdout; echo told > /dev/stderr; while :; do sleep 0.1; done",
    );
    let ids = mappings(FIRST);
    let volume = |at: &str, from: &str, readonly: bool| {
        json!({"container_path": at, "host_path": from, "readonly": readonly,
               "uidMappings": ids, "gidMappings": ids})
    };
    let plain = json!({"container_path": "/plain", "host_path": VOLUME});
    let mounts = [
        volume("/mapped", VOLUME, false),
        volume("/read-only", VOLUME, true),
        volume("/etc/of-root", &format!("{VOLUME}/of-root"), false),
        plain,
        app["mounts"][0].clone(),
    ];
    app["mounts"] = json!(mounts);
    app["devices"] =
        json!([{"host_path": "/dev/null", "container_path": "/dev/mine", "permissions": "rw"}]);
    app["linux"]["security_context"]["capabilities"] = json!({"add_capabilities": ["NET_ADMIN"]});
    app["linux"]["security_context"]["readonly_paths"] = json!([]);
    let id = crictl.create(&pod_id, &config, &app)?;
    crictl.run(&["start", &id])?;
    for (what, script, wanted) in INSIDE {
        is(what, &*crictl.script(&id, script)?, wanted)?;
    }
    until("what it says to its outputs by their names", || {
        let log = fs::read_to_string(format!("{LOGS}/app.log")).unwrap_or_default();
        Ok(log.contains("stdout F told\n") && log.contains("stderr F told\n"))
    })?;

    // Outside, root in the pod is nobody in particular.
    let owner = |path: &str| {
        let found = fs::symlink_metadata(path).map_err(|e| format!("{path}: {e}"))?;
        Ok::<_, String>((found.uid(), found.gid()))
    };
    let rootfs = format!("{ROOT}/containers/{id}/rootfs");
    is("the root", owner(&rootfs)?, (FIRST, FIRST))?;
    let changed = owner(&format!("{rootfs}/etc/of-zstd"))?;
    is("a changed file", changed, (FIRST + 7, FIRST + 8))?;
    is("a new file", owner(&format!("{VOLUME}/new"))?, (0, 0))?;
    let status = crictl.json(&["inspect", &id])?;
    let pid = &status["info"]["pid"];
    is("the process", owner(&format!("/proc/{pid}"))?.0, FIRST)?;
    let pause = &crictl.json(&["inspectp", &pod_id])?["info"]["pid"];
    let namespace = |pid: &Value| {
        let path = format!("/proc/{pid}/ns/user");
        fs::read_link(&path).map_err(|e| format!("{path}: {e}"))
    };
    is("the namespace", namespace(pid)?, namespace(pause)?)?;

    // Plugins see the namespace, and volumes as CRI has them.
    let seen = plugin.seen();
    let created = seen.iter().find_map(|call| match call.request() {
        Some(Request::CreateContainer(request)) => request.container,
        _ => None,
    });
    let created = created.ok_or("the plugin has seen no container")?;
    let linux = created.linux.unwrap_or_default();
    let kinds = linux.namespaces.iter();
    let has_users = kinds.clone().any(|one| one.r#type == "user");
    is("the namespace that a plugin sees", has_users, true)?;
    let volume = created
        .mounts
        .iter()
        .find(|one| one.destination == "/mapped");
    let source = volume.map(|volume| &*volume.source);
    is("the source that a plugin sees", source, Some(VOLUME))?;

    // While it lives, nothing is mounted for it but its root and its image.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let of_container = mounts.lines().filter(|line| line.contains(&id));
    is("how much is mounted for it", of_container.count(), 2)?;
    crictl.run(&["rmp", "--force", &pod_id])?;
    let given = fs::read_to_string(format!("{VOLUME}/of-root")).map_err(failed)?;
    is("the volume afterwards", &*given, "given")?;
    fs::remove_dir_all(VOLUME).map_err(failed)?;
    stage.is_clean()
}

fn adjustment() -> Result<api::ContainerAdjustment, nri_core::build::BuildError> {
    let mut adjust = api::ContainerAdjustment::default();
    adjust.add_env("FROM_PLUGIN", "yes")?;
    add_mount_and_device(&mut adjust, VOLUME)?;
    Ok(adjust)
}

/// It has all rights in its namespace, and none on what is the host's.
fn privileged(stage: &Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let mut config = with_own(pod("privileged"));
    config["linux"]["security_context"]["privileged"] = true.into();
    let pod_id = crictl.run_pod(&config)?;
    let mut app = script("privileged", "while :; do sleep 0.1; done");
    app["linux"]["security_context"]["privileged"] = true.into();
    let id = crictl.create(&pod_id, &config, &app)?;
    crictl.run(&["start", &id])?;
    let mounts = "mkdir /tmp/m && mount -t tmpfs tmpfs /tmp/m && echo mounted";
    is("its mounts", &*crictl.script(&id, mounts)?, "mounted")?;
    let kernel = "(echo 1 > /proc/sys/vm/drop_caches) 2>/dev/null || echo refused";
    is("the kernel", &*crictl.script(&id, kernel)?, "refused")?;
    crictl.run(&["rmp", "--force", &pod_id])?;
    stage.is_clean()
}

fn refused(stage: &Stage) -> Result<(), String> {
    let crictl = &stage.crictl;
    let mut host = with_own(pod("host"));
    host["linux"]["security_context"]["namespace_options"]["network"] = 2.into();
    says("a pod", crictl.run_pod(&host), "network is NODE")?;
    let config = with_own(pod("refused"));
    let pod_id = crictl.run_pod(&config)?;
    let mut other = script("other", "true");
    let options = json!({"mode": 0, "uids": mappings(5), "gids": mappings(5)});
    other["linux"]["security_context"]["namespace_options"]["userns_options"] = options;
    let created = crictl.create(&pod_id, &config, &other);
    says("a container", created, "of its pod")?;
    let mut far = script("far", "true");
    far["linux"]["security_context"]["run_as_user"] = json!({"value": 70_000});
    let created = crictl.create(&pod_id, &config, &far);
    says("a user", created, "as user 70000")?;
    // proc cannot be mounted so.
    let mut mapped = script("mapped", "true");
    let ids = mappings(FIRST);
    mapped["mounts"] = json!([{"container_path": "/p", "host_path": "/proc/sys",
                               "uidMappings": ids, "gidMappings": ids}]);
    let created = crictl.create(&pod_id, &config, &mapped);
    says("a volume", created, "the file system of /proc/sys cannot")?;
    let left = fs::read_dir(format!("{ROOT}/containers")).map(Iterator::count);
    is("the directories that are left", left.ok(), Some(0))?;
    crictl.run(&["rmp", "--force", &pod_id])?;
    stage.is_clean()
}
