//! The systemd unit and the DaemonSet of each plugin, from one template each. What may not enter:
//! what a plugin needs; that is the table's.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use nri_dev::workspace;

use crate::table::{ALL, Plugin};

const UNIT: &str = include_str!("../template/plugin.service");
const DAEMON_SET: &str = include_str!("../template/daemonset.yaml");

/// Writes the files, or checks that they are as they would be written.
///
/// # Errors
/// One cannot be written, or is another.
pub(crate) fn run(check: bool) -> Result<(), String> {
    let mut stale = Vec::new();
    for plugin in ALL {
        let directory = workspace::root()
            .join("plugins")
            .join(plugin.name)
            .join("deploy");
        let unit = format!("nri-{}.service", plugin.name);
        for (name, text) in [
            (unit.as_str(), unit_of(plugin)),
            ("daemonset.yaml", daemon_set(plugin)),
        ] {
            let file = directory.join(name);
            if fs::read_to_string(&file).is_ok_and(|there| there == text) {
                continue;
            }
            match check {
                true => stale.push(file),
                false => write(&directory, &file, &text)?,
            }
        }
    }
    match stale.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "not as `cargo xtask plugins deploy` writes them: {stale:?}"
        )),
    }
}

fn write(directory: &PathBuf, file: &PathBuf, text: &str) -> Result<(), String> {
    let written = fs::create_dir_all(directory).and_then(|()| fs::write(file, text));
    written.map_err(|error| format!("{}: {error}", file.display()))
}

/// What stands behind the program's name, with the configuration in a directory.
fn arguments(plugin: &Plugin, directory: &str) -> Vec<String> {
    let mut arguments = vec!["--index".to_owned(), plugin.index.to_owned()];
    if let Some(file) = plugin.config {
        arguments.extend(["--config".to_owned(), format!("{directory}/{file}")]);
    }
    arguments.extend(
        plugin
            .arguments
            .iter()
            .map(|argument| (*argument).to_owned()),
    );
    arguments
}

fn unit_of(plugin: &Plugin) -> String {
    let mut arguments = arguments(plugin, "/etc/nri/plugins.d").join(" ");
    // Outside of a container, the host's directories are where they are.
    for mount in plugin.mounts.iter().filter(|mount| mount.name == "proc") {
        let _ = write!(arguments, " --host-mount-file {}/1/mountinfo", mount.host);
    }
    let families = match plugin.host_network {
        true => "AF_UNIX AF_INET AF_NETLINK",
        false => "AF_UNIX AF_INET",
    };
    let capabilities = plugin.capabilities.iter().map(|one| format!("CAP_{one}"));
    // The socket is root's, and who it is must not follow from having every right.
    let capabilities: Vec<String> = capabilities.collect();
    UNIT.replace("{name}", plugin.name)
        .replace("{arguments}", &arguments)
        .replace("{capabilities}", &capabilities.join(" "))
        .replace("{families}", families)
}

fn daemon_set(plugin: &Plugin) -> String {
    let mut arguments = arguments(plugin, "/config");
    let mut probe = "";
    // In the host's network a port may be taken.
    if !plugin.host_network {
        arguments.extend(["--healthz".to_owned(), "0.0.0.0:8080".to_owned()]);
        probe = "          readinessProbe:\n            httpGet:\n              path: /healthz\n              port: 8080\n";
    }
    let arguments: Vec<String> = arguments.iter().map(|one| format!("{one:?}")).collect();
    let pod = match plugin.host_network {
        true => "      hostNetwork: true\n      hostPID: true\n",
        false => "",
    };
    let capabilities = match plugin.capabilities {
        [] => String::new(),
        some => format!("              add: [{}]\n", some.join(", ")),
    };
    let (mut mounts, mut volumes) = (String::new(), String::new());
    for mount in plugin.mounts {
        let _ = writeln!(
            mounts,
            "            - name: {}\n              mountPath: {}\n              readOnly: true",
            mount.name, mount.here
        );
        if mount.live {
            mounts.push_str("              mountPropagation: HostToContainer\n");
        }
        let _ = writeln!(
            volumes,
            "        - name: {}\n          hostPath:\n            path: {}\n            type: DirectoryOrCreate",
            mount.name, mount.host
        );
    }
    if plugin.config.is_some() {
        mounts.push_str("            - name: config\n              mountPath: /config\n              readOnly: true\n");
        let _ = writeln!(
            volumes,
            "        - name: config\n          configMap:\n            name: nri-plugin-{}",
            plugin.name
        );
    }
    let text = DAEMON_SET
        .replace("{name}", plugin.name)
        .replace("{arguments}", &arguments.join(", "))
        .replace("{pod}", pod)
        .replace("{probe}", probe)
        .replace("{capabilities}", &capabilities)
        .replace("{mounts}", &mounts)
        .replace("{volumes}", &volumes);
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_plugin_is_in_the_table_and_its_files_are_current() {
        let there = fs::read_dir(workspace::root().join("plugins")).unwrap();
        let there = there.filter_map(|entry| {
            let entry = entry.unwrap();
            entry
                .path()
                .is_dir()
                .then(|| entry.file_name().into_string().unwrap())
        });
        let there: BTreeSet<String> = there.collect();
        let named: BTreeSet<String> = ALL.iter().map(|plugin| plugin.name.to_owned()).collect();
        assert_eq!(there, named);
        run(true).unwrap();
    }

    #[test]
    fn nothing_of_the_template_is_left() {
        for plugin in ALL {
            for text in [unit_of(plugin), daemon_set(plugin)] {
                assert!(!text.contains(['{', '}']), "{text}");
            }
        }
    }
}
