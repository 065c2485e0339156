//! Texts that become arguments of system calls: whatever they say, a NUL would end them early, and
//! paths have a length.

use nri_proto::api::{ContainerAdjustment, Field, Hook, LinuxContainerAdjustment};

use super::rule::{Asked, Broken};
use crate::merge::removal_marker::marked;

/// Sees the field, the key and the text itself; `true` ends the walk.
type Visit<'a> = dyn FnMut(Field, &str, &str) -> bool + 'a;

pub(super) fn without_nul(asked: &Asked<'_>) -> Option<Broken> {
    let mut found = None;
    texts(asked.adjustment, asked.linux, &mut |field, key, text| {
        if text.contains('\0') {
            found = Some(Broken::by(key).of(field));
        }
        found.is_some()
    });
    found
}

/// Every text but annotations, which are nobody's argument, and what is removed. Stops where
/// `visit` says so.
fn texts(
    adjustment: &ContainerAdjustment,
    linux: &LinuxContainerAdjustment,
    visit: &mut Visit<'_>,
) -> bool {
    let is_set = |key: &str| marked(key).is_none();
    let env = adjustment.env.iter().filter(|e| is_set(&e.key));
    let mounts = adjustment.mounts.iter();
    let devices = linux.devices.iter().filter(|d| is_set(&d.path));
    let namespaces = linux.namespaces.iter().filter(|n| is_set(&n.r#type));
    let resources = linux.resources.as_ref();
    let seccomp = linux.seccomp_policy.as_ref();
    env.into_iter().any(|e| visit(Field::Env, &e.key, &e.value))
        || adjustment
            .args
            .iter()
            .any(|arg| visit(Field::Args, arg, arg))
        || mounts.filter(|m| is_set(&m.destination)).any(|mount| {
            let mut visit = |text: &str| visit(Field::Mounts, &mount.destination, text);
            visit(&mount.destination)
                || visit(&mount.source)
                || visit(&mount.r#type)
                || mount.options.iter().any(|option| visit(option))
        })
        || hooks(adjustment).any(|hook| {
            let mut visit = |text: &str| visit(Field::OciHooks, &hook.path, text);
            visit(&hook.path) || hook.args.iter().chain(&hook.env).any(|text| visit(text))
        })
        || devices
            .into_iter()
            .any(|device| visit(Field::Devices, &device.path, &device.path))
        || namespaces
            .into_iter()
            .any(|namespace| visit(Field::Namespace, &namespace.r#type, &namespace.path))
        || visit(Field::CgroupsPath, &linux.cgroups_path, &linux.cgroups_path)
        || seccomp.is_some_and(|policy| {
            let names = policy.syscalls.iter().flat_map(|rule| &rule.names);
            names
                .chain([&policy.listener_path, &policy.listener_metadata])
                .any(|text| visit(Field::SeccompPolicy, text, text))
        })
        || resources.is_some_and(|resources| {
            let cpu = resources.cpu.as_ref();
            cpu.is_some_and(|cpu| {
                visit(Field::CpuSetCpUs, &cpu.cpus, &cpu.cpus)
                    || visit(Field::CpuSetMems, &cpu.mems, &cpu.mems)
            }) || resources.unified.iter().any(|(name, content)| {
                visit(Field::CgroupsUnified, name, name)
                    || visit(Field::CgroupsUnified, name, content)
            }) || [
                (Field::BlockioClass, &resources.blockio_class),
                (Field::RdtClass, &resources.rdt_class),
            ]
            .into_iter()
            .any(|(field, class)| {
                let class = class.as_ref().map_or("", |class| class.value.as_str());
                visit(field, class, class)
            })
        })
}

pub(super) fn path_length(asked: &Asked<'_>) -> Option<Broken> {
    let is_set = |key: &str| marked(key).is_none();
    let devices = asked
        .linux
        .devices
        .iter()
        .map(|device| device.path.as_str());
    let mounts = asked.adjustment.mounts.iter();
    let mounts = mounts.map(|mount| mount.destination.as_str());
    let namespaces = asked.linux.namespaces.iter();
    let namespaces = namespaces.filter(|namespace| is_set(&namespace.r#type));
    devices
        .filter(|path| is_set(path))
        .map(|path| (Field::Devices, path))
        .chain(
            mounts
                .filter(|path| is_set(path))
                .map(|path| (Field::Mounts, path)),
        )
        .chain(hooks(asked.adjustment).map(|hook| (Field::OciHooks, hook.path.as_str())))
        .chain(namespaces.map(|namespace| (Field::Namespace, namespace.path.as_str())))
        .find(|(_, path)| path.len() > 4095 || path.split('/').any(|name| name.len() > 255))
        .map(|(field, path)| Broken::by(path).of(field))
}

/// The hooks of all lists.
pub(super) fn hooks(adjustment: &ContainerAdjustment) -> impl Iterator<Item = &Hook> {
    adjustment.hooks.iter().flat_map(|hooks| {
        hooks
            .prestart
            .iter()
            .chain(&hooks.create_runtime)
            .chain(&hooks.create_container)
            .chain(&hooks.start_container)
            .chain(&hooks.poststart)
            .chain(&hooks.poststop)
    })
}
