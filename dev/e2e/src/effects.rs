//! What plugins ask for of a container, in a real one: looked at from inside, one thing after
//! another. One plugin is ours, the other is built with the reference's library in Go.

use std::fs;

use nri_core::build::{Adjust as _, BuildError, SetResources as _};
use nri_core::{Event, api};
use nri_testkit::{Behavior, FakePlugin};
use serde_json::{Value, json};

use crate::crictl::{container, pod};
use crate::expect::is;
use crate::in_go::InGo;
use crate::stage::Stage;

/// What is asked for, a script that looks for it in the container, and what that says.
const EFFECTS: [(&str, &str, &str); 21] = [
    ("a variable", "echo $FROM_PLUGIN", "yes"),
    ("a variable that is taken away", "echo \"<$OWN>\"", "<>"),
    (
        "the command line",
        "grep -c 'of the plugin' /proc/1/cmdline",
        "1",
    ),
    ("a mount", "cat /from-plugin/file", "given"),
    (
        "a read-only mount",
        "touch /from-plugin/new 2>&1 | grep -c Read-only",
        "1",
    ),
    ("a device", "echo x > /dev/from-plugin; echo $?", "0"),
    (
        "a CDI device",
        "echo x > /dev/cdi-plugin; echo $CDI_PLUGIN",
        "yes",
    ),
    (
        "an rlimit",
        "grep 'open files' /proc/1/limits | tr -s ' ' | cut -d' ' -f4,5",
        "99 123",
    ),
    ("the OOM score", "cat /proc/1/oom_score_adj", "777"),
    (
        "a sysctl",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "1001",
    ),
    (
        "a system call that is denied",
        "mkdir /tmp/no 2>&1 | grep -c 'not permitted'",
        "1",
    ),
    (
        "a system call that the default policy denies",
        "unshare -U true; echo $?",
        "0",
    ),
    (
        "the memory limit",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
        "50331648",
    ),
    (
        "the CPU quota",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cut -d' ' -f1 /sys/fs/cgroup/cpu.max",
        "50000",
    ),
    (
        "the CPU period",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_period_us 2>/dev/null || cut -d' ' -f2 /sys/fs/cgroup/cpu.max",
        "90000",
    ),
    (
        "the CPU shares, or the weight that they are",
        "cat /sys/fs/cgroup/cpu/cpu.shares 2>/dev/null || sed 's/^13$/333/' /sys/fs/cgroup/cpu.weight",
        "333",
    ),
    (
        "the limit of processes",
        "cat /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/pids.max",
        "55",
    ),
    ("a hook's mark", "cat /from-plugin/mark", "made by a hook"),
    ("a variable of the plugin in Go", "echo $FROM_GO", "yes"),
    (
        "a device of the plugin in Go",
        "head -c 3 /dev/from-go | wc -c",
        "3",
    ),
    ("a mount of the plugin in Go", "cat /from-go/file", "given"),
];

/// Where the host has what containers are given.
const GIVEN: &str = "/run/e2e/given";

/// Has both plugins adjust a container, and looks at all effects.
///
/// # Errors
/// What is not in effect.
pub(crate) async fn run(stage: &Stage, pod_id: &str) -> Result<(), String> {
    fs::create_dir_all(GIVEN).map_err(|e| format!("{GIVEN}: {e}"))?;
    fs::write(format!("{GIVEN}/file"), "given").map_err(|e| format!("{GIVEN}: {e}"))?;
    let adjusts = Behavior::adjust(adjustment().map_err(|e| e.to_string())?);
    let plugin = FakePlugin::new("10-adjust").on(Event::CreateContainer, adjusts);
    let _connected = stage.join(&plugin).await?;
    let of_go = json!({
        "env": [{"key": "FROM_GO", "value": "yes"}],
        "mounts": [{"destination": "/from-go", "type": "bind", "source": GIVEN,
                    "options": ["rbind", "ro"]}],
        "linux": {"devices": [{"path": "/dev/from-go", "type": "c", "major": 1, "minor": 5}]},
    });
    let in_go = InGo::start(&stage.needs().goplugin, &of_go)?;
    let crictl = &stage.crictl;
    let id = crictl.create(pod_id, &pod("plugins"), &container("adjusted"))?;
    crictl.run(&["start", &id])?;
    for (what, script, wanted) in EFFECTS {
        is(what, &*crictl.script(&id, script)?, wanted)?;
    }
    let status = crictl.json(&["inspect", &id])?;
    let annotation = &status["info"]["runtimeSpec"]["annotations"]["e2e/plugin"];
    is("an annotation", annotation.as_str(), Some("was here"))?;
    let resources = &status["status"]["resources"]["linux"];
    let shares = resources["cpuShares"].as_str();
    is("the shares that are shown", shares, Some("333"))?;
    let hook = fs::read_to_string(format!("{GIVEN}/state")).unwrap_or_default();
    is("what a hook is told", hook.contains(&id), true)?;
    let of_pod = &crictl.json(&["inspectp", pod_id])?["info"]["pid"];
    let own = namespace(&status["info"]["pid"])? != namespace(of_pod)?;
    is("a namespace of its own", own, true)?;
    crictl.run(&["rm", "--force", &id])?;
    in_go.heard("RemoveContainer", &id)
}

fn namespace(pid: &Value) -> Result<String, String> {
    let path = format!("/proc/{pid}/ns/uts");
    let is = fs::read_link(&path).map_err(|e| format!("{path}: {e}"))?;
    Ok(is.display().to_string())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn hook(script: String) -> api::Hook {
    api::Hook {
        path: "/bin/sh".into(),
        args: words(&["sh", "-c", &script]),
        ..Default::default()
    }
}

/// What a plugin gives to a container: a directory of the host, and a device.
pub(crate) fn add_mount_and_device(
    adjust: &mut api::ContainerAdjustment,
    source: &str,
) -> Result<(), BuildError> {
    adjust.add_mount(api::Mount {
        destination: "/from-plugin".into(),
        r#type: "bind".into(),
        source: source.into(),
        options: words(&["rbind", "ro"]),
    })?;
    adjust.add_device(api::LinuxDevice {
        path: "/dev/from-plugin".into(),
        r#type: "c".into(),
        major: 1,
        minor: 3,
        ..Default::default()
    })?;
    Ok(())
}

fn adjustment() -> Result<api::ContainerAdjustment, BuildError> {
    let mut adjust = api::ContainerAdjustment::default();
    adjust.add_env("FROM_PLUGIN", "yes")?.remove_env("OWN");
    let script = ": of the plugin; while :; do sleep 0.1; done";
    adjust.update_args(["sh", "-c", script])?;
    add_mount_and_device(&mut adjust, GIVEN)?;
    adjust.add_cdi_device("e2e.local/dev=plugin")?;
    adjust.add_rlimit("RLIMIT_NOFILE", 123, 99)?;
    adjust.add_annotation("e2e/plugin", "was here")?;
    adjust.add_hooks(api::Hooks {
        create_runtime: vec![hook(format!(
            "cat > {GIVEN}/state; echo made by a hook > {GIVEN}/mark"
        ))],
        ..Default::default()
    });
    adjust.set_oom_score_adj(Some(777));
    adjust.add_sysctl("net.ipv4.ip_unprivileged_port_start", "1001")?;
    adjust.replace_namespace(api::LinuxNamespace {
        r#type: "uts".into(),
        path: String::new(),
    })?;
    // In place of the default, which denies other things.
    adjust.set_seccomp_policy(api::LinuxSeccomp {
        default_action: "SCMP_ACT_ALLOW".into(),
        syscalls: vec![api::LinuxSyscall {
            names: words(&["mkdir", "mkdirat"]),
            action: "SCMP_ACT_ERRNO".into(),
            errno_ret: Some(api::OptionalUInt32 { value: 1 }),
            ..Default::default()
        }],
        ..Default::default()
    });
    adjust
        .set_memory_limit(48 << 20)
        .set_cpu_shares(333)
        .set_cpu_quota(50_000)
        .set_cpu_period(90_000)
        .set_pids_limit(55);
    Ok(adjust)
}
