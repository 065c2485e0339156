//! Of namespaces, kernel parameters, devices and classes.

use nri_proto::api::ContainerAdjustment;

use super::made::{Example, clos, device, example, namespace, net_devices, schemata, set, sysctl};
use crate::build::Adjust;

pub(super) fn broken() -> Vec<Example> {
    type Made = ContainerAdjustment;
    vec![
        example(
            "namespace_type",
            namespace("net", ""),
            "Namespace \"net\": there is no such namespace, only pid, network",
        ),
        example(
            "namespace_path",
            namespace("ipc", "proc/1/ns/ipc"),
            "Namespace \"ipc\": the path of a namespace must be absolute, not \"proc/1/ns/ipc\"",
        ),
        example(
            "namespace_needed",
            namespace("-network", ""),
            "Namespace \"network\": it cannot be removed: the parameter net.ipv4.ip_forward needs a network namespace",
        ),
        example(
            "namespace_needed",
            namespace("-uts", ""),
            "Namespace \"uts\": it cannot be removed: hostname needs a uts namespace",
        ),
        example(
            "namespace_needed",
            namespace("-mount", ""),
            "Namespace \"mount\": it cannot be removed: linux.maskedPaths needs a mount namespace",
        ),
        example(
            "user_mappings",
            namespace("user", ""),
            "Namespace \"user\": a new user namespace needs id mappings",
        ),
        example(
            "sysctl_name",
            sysctl("net.ipv4 x", "1"),
            "Sysctl \"net.ipv4 x\": it is no name of a kernel parameter",
        ),
        example(
            "sysctl_name",
            sysctl("net.ipv4\0", "1"),
            "Sysctl \"net.ipv4\\0\": it is no name",
        ),
        example(
            "sysctl_value",
            sysctl("net.ipv4.ip_forward", "0\n1"),
            "Sysctl \"net.ipv4.ip_forward\": the value must be one line without a NUL",
        ),
        example(
            "sysctl_value",
            sysctl("net.ipv4.ip_forward", "0\0"),
            "Sysctl \"net.ipv4.ip_forward\": the value",
        ),
        example(
            "sysctl_of_host",
            sysctl("vm.swappiness", "1"),
            "Sysctl \"vm.swappiness\": it is a parameter of the whole host",
        ),
        example(
            "sysctl_of_host",
            sysctl("kernel.shm_next_id", "1"),
            "Sysctl \"kernel.shm_next_id\": it is a parameter of the whole host",
        ),
        example(
            "sysctl_hostname",
            sysctl("kernel.hostname", "x"),
            "Sysctl \"kernel.hostname\": the name of the host is the member hostname",
        ),
        example(
            "net_device_name",
            net_devices(&[("eth0:1", "")]),
            "LinuxNetDevices \"eth0:1\": the name of an interface has 1 to 15 bytes",
        ),
        example(
            "net_device_name",
            net_devices(&[("..", "")]),
            "LinuxNetDevices \"..\": the name of an interface",
        ),
        example(
            "net_device_name",
            net_devices(&[("eth0", "my nic")]),
            "LinuxNetDevices \"eth0\": the name of an interface",
        ),
        example(
            "net_device_name",
            net_devices(&[("eth0", "a\tb")]),
            "LinuxNetDevices \"eth0\": the name of an interface",
        ),
        example(
            "net_device_name",
            net_devices(&[("sixteen-bytes-xx", "")]),
            "LinuxNetDevices \"sixteen-bytes-xx\": the name of an interface",
        ),
        example(
            "net_device_loopback",
            net_devices(&[("eth0", "lo")]),
            "LinuxNetDevices \"eth0\": every network namespace has a loopback of its own",
        ),
        example(
            "net_device_clash",
            net_devices(&[("eth0", "a"), ("eth1", "a")]),
            "LinuxNetDevices \"eth1\": the container would have two devices named \"a\": this one and \"eth0\" of the host",
        ),
        example(
            "net_device_clash",
            net_devices(&[("eth0", ""), ("eth1", "eth0")]),
            "LinuxNetDevices \"eth1\": the container would have two devices",
        ),
        example(
            "device_number",
            device(-1, 3, None),
            "Devices \"/dev/x\": major numbers are 0 to 4095, minor numbers 0 to 1048575, and this is -1:3",
        ),
        example(
            "device_number",
            device(1, -1, None),
            "Devices \"/dev/x\": major numbers are 0 to 4095",
        ),
        example(
            "device_mode",
            device(1, 3, Some(0o200_000)),
            "Devices \"/dev/x\": the file mode must be at most 0o177777, not 0o200000",
        ),
        example(
            "cgroups_path",
            set(Made::set_cgroups_path, "/a\nb"),
            "CgroupsPath \"/a\\nb\": the path of a cgroup must not hold a line break",
        ),
        example(
            "clos_name",
            clos(".."),
            "RdtClosID \"..\": a class of service is a directory of resctrl",
        ),
        example(
            "clos_name",
            clos("."),
            "RdtClosID \".\": a class of service",
        ),
        example(
            "clos_name",
            clos("a/b"),
            "RdtClosID \"a/b\": a class of service",
        ),
        example(
            "clos_reserved",
            clos("mon_groups"),
            "RdtClosID \"mon_groups\": resctrl has this directory for itself",
        ),
        example(
            "rdt_schemata",
            schemata("L3:0=f\nMB:0=10"),
            "RdtSchemata \"L3:0=f\\nMB:0=10\": each of the schemata is one line",
        ),
        example(
            "rdt_schemata",
            schemata("L3"),
            "RdtSchemata \"L3\": each of the schemata",
        ),
    ]
}
