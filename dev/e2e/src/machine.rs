//! Whether this machine lets the test do what it does, tried thing by thing before anything else,
//! so that what is missing is named and not found in the middle of a pod's life.

use std::path::Path;
use std::process::Command;

use nri_dev::process;

use crate::directories::cgroup_directories;
use crate::part::Part;

/// What is tried, by a script in a directory of its own, and what to do if it fails.
type Attempt = (&'static str, &'static str, &'static str);

const PRIVILEGED: &str = "run it as root with all capabilities: a container must be privileged";

/// In namespaces that are its own.
const ATTEMPTS: [Attempt; 9] = [
    (
        "file systems of its own",
        "mount -t tmpfs tmpfs . && umount .",
        PRIVILEGED,
    ),
    (
        "overlayfs on a tmpfs",
        "mkdir lower upper work root && \
         mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work root && umount root",
        "the kernel needs its module overlay, and we CAP_SYS_ADMIN",
    ),
    (
        "devices",
        "mknod null c 1 3 && echo x > null",
        "we need CAP_MKNOD, a file system without nodev, and a cgroup that allows devices",
    ),
    (
        "namespaces inside of these",
        "unshare --mount --net --ipc --uts --pid --fork --mount-proc true",
        PRIVILEGED,
    ),
    (
        "a bridge with a pair of links",
        "ip link add e2etry0 type bridge && ip link add e2etry1 type veth peer name e2etry2 && \
         ip link set e2etry1 master e2etry0 && ip link del e2etry1 && ip link del e2etry0",
        "the kernel needs its modules bridge and veth, and we CAP_NET_ADMIN",
    ),
    (
        "address translation",
        "iptables --table nat --list-rules > /dev/null && \
         iptables --table nat --append POSTROUTING --match comment --comment e2e --jump MASQUERADE \
         && iptables --table nat --delete POSTROUTING 1",
        "the kernel needs what iptables asks for (nf_tables, nf_nat, xt_comment, xt_MASQUERADE)",
    ),
    (
        "forwarding of packets",
        "echo 1 > /proc/sys/net/ipv4/ip_forward",
        "/proc/sys must be writable: a container must be privileged",
    ),
    (
        "users of its own",
        "unshare --user true",
        "the kernel needs CONFIG_USER_NS, and /proc/sys/user/max_user_namespaces above 0",
    ),
    (
        "filters of system calls",
        "test -e /proc/sys/kernel/seccomp/actions_avail",
        "the kernel needs CONFIG_SECCOMP_FILTER",
    ),
];
/// What only a kubelet needs.
const OF_KUBELET: [Attempt; 1] = [(
    "the kernel's log",
    "head -c 0 /dev/kmsg",
    "/dev/kmsg must be readable, since kubelets look there for what ran out of memory",
)];
/// Controllers that containers' limits need.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Tries to make the namespaces in which everything happens.
///
/// # Errors
/// They cannot be made: what that takes.
pub(crate) fn can_be_left_alone(namespaces: &[&str]) -> Result<(), String> {
    let tried = process::capture(Command::new("unshare").args(namespaces).arg("true"));
    tried
        .map(drop)
        .map_err(|error| format!("namespaces of our own: {error}: {PRIVILEGED}"))
}

/// Tries everything, in those namespaces.
///
/// # Errors
/// All that this machine cannot do, and what that takes.
pub(crate) fn check(directory: &Path, cgroup: &str, parts: &[Part]) -> Result<(), String> {
    let of_kubelet = OF_KUBELET.iter().filter(|_| parts.contains(&Part::Kubelet));
    let mut missing: Vec<String> = Vec::new();
    for (what, script, remedy) in ATTEMPTS.iter().chain(of_kubelet) {
        let place = Path::new("/run/e2e/tried");
        let mut shell = Command::new("sh");
        shell.args([
            "-c",
            &format!("mkdir -p {0} && cd {0} && {script}", place.display()),
        ]);
        if let Err(error) = process::capture(&mut shell) {
            let why = error.lines().last().unwrap_or_default().to_owned();
            missing.push(format!("{what}: {why}: {remedy}"));
        }
        // The next one begins with nothing.
        let _ = std::fs::remove_dir_all(place);
    }
    missing.extend(cgroups(cgroup).err());
    match missing.is_empty() {
        true => {
            println!(
                "e2e: this machine can do it; logs are in {}",
                directory.display()
            );
            Ok(())
        }
        false => Err(format!("this machine cannot:\n  {}", missing.join("\n  "))),
    }
}

/// Whether cgroups can be made that have the controllers.
fn cgroups(name: &str) -> Result<(), String> {
    let root = Path::new("/sys/fs/cgroup");
    let unified = std::fs::read_to_string(root.join("cgroup.controllers"));
    let lacks: Vec<&str> = CONTROLLERS
        .into_iter()
        .filter(|controller| match &unified {
            Ok(there) => !there.split_whitespace().any(|one| one == *controller),
            Err(_) => !root.join(controller).is_dir(),
        })
        .collect();
    if !lacks.is_empty() {
        return Err(format!(
            "cgroups: no controller {}: mount them at {}, v1 or v2",
            lacks.join(", "),
            root.display()
        ));
    }
    let dirs: Vec<_> = match unified {
        Ok(_) => vec![root.join(name)],
        Err(_) => CONTROLLERS.map(|one| root.join(one).join(name)).into(),
    };
    let writable = "mount them writable: a container must be privileged";
    for dir in &dirs {
        std::fs::create_dir_all(dir)
            .map_err(|error| format!("cgroups: {}: {error}: {writable}", dir.display()))?;
    }
    // With v2, whatever has processes of its own can have no children with controllers.
    if let Some(unified) = dirs.first().filter(|_| dirs.len() == 1) {
        let control = root.join("cgroup.subtree_control");
        let wanted = CONTROLLERS.map(|one| format!("+{one}")).join(" ");
        std::fs::write(&control, wanted).map_err(|error| {
            format!(
                "cgroups: {}: {error}: processes in {} itself keep children of it from having \
                 controllers: move them to one of its own, or use `--cgroupns=host`",
                control.display(),
                root.display()
            )
        })?;
        let there = std::fs::read_to_string(unified.join("cgroup.controllers"));
        let there = there.unwrap_or_default();
        let lacks = CONTROLLERS.iter().find(|one| !there.contains(*one));
        if let Some(lacks) = lacks {
            return Err(format!(
                "cgroups: {} does not get {lacks}",
                unified.display()
            ));
        }
    }
    for dir in cgroup_directories(name) {
        // Where there is none, there is none.
        let _ = std::fs::remove_dir(dir);
    }
    Ok(())
}
