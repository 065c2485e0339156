//! Metrics of pods and containers: one table of what there is, by cAdvisor's names, with how each
//! is read. A row has a value where the kernel says one, and none where it does not.
//!
//! Values are whole numbers in CRI, so times are whole seconds.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cgroup::Cgroup;
use crate::cri;
use crate::files;
use crate::record::{Container, Pod, now};
use crate::usage::usage;

const SECOND: u64 = 1_000_000_000;
/// The most that a file of `/proc` has that is read here.
const MOST: u64 = 4 << 20;
/// The labels that every metric has.
const LABELS: [&str; 5] = ["pod", "namespace", "container", "id", "image"];

/// A value, and those of the labels that only its metric has.
type Sample = (Vec<String>, u64);

/// A metric: what it is called, and how it is read of a pod or container.
struct Metric<S> {
    name: &'static str,
    help: &'static str,
    /// The labels besides those that all have.
    labels: &'static [&'static str],
    kind: cri::MetricType,
    read: fn(&S) -> Vec<Sample>,
}

/// A table of metrics: each with its kind, name, labels, help, and how it is read.
macro_rules! metrics {
    ($table:ident of $source:ty; $($kind:ident $name:ident $labels:tt $help:literal = $read:expr;)+) => {
        const $table: &[Metric<$source>] = &[$(Metric {
            name: stringify!($name),
            help: $help,
            labels: &$labels,
            kind: cri::MetricType::$kind,
            read: $read,
        }),+];
    };
}

/// One value, if there is one.
fn one(value: Option<u64>) -> Vec<Sample> {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn seconds(nanoseconds: Option<u64>) -> Vec<Sample> {
    one(nanoseconds.map(|nanoseconds| nanoseconds / SECOND))
}

/// What a pod's network interfaces have sent and received: columns of `/proc/PID/net/dev`.
struct Network(Vec<(String, Vec<u64>)>);

impl Network {
    /// The interfaces of the pod, if its network is its own.
    fn of(pod: &Pod) -> Self {
        let own = pod.has_own_network() && pod.ready && pod.pid != 0;
        let text = own.then(|| proc_file(pod.pid, "net/dev"));
        Self::parse(&text.unwrap_or_default())
    }

    fn parse(text: &str) -> Self {
        let interfaces = text.lines().filter_map(|line| {
            let (name, numbers) = line.split_once(':')?;
            let name = name.trim();
            let numbers: Option<Vec<u64>> = numbers
                .split_whitespace()
                .map(|word| word.parse().ok())
                .collect();
            Some((name.to_owned(), numbers?)).filter(|_| name != "lo")
        });
        Self(interfaces.collect())
    }

    fn column(&self, column: usize) -> Vec<Sample> {
        let values = self.0.iter();
        let values = values.filter_map(|(name, all)| Some((vec![name.clone()], *all.get(column)?)));
        values.collect()
    }
}

metrics! {
    OF_PODS of Network;
    Counter container_network_receive_bytes_total ["interface"]
        "Bytes received." = |net| net.column(0);
    Counter container_network_receive_packets_total ["interface"]
        "Packets received." = |net| net.column(1);
    Counter container_network_receive_errors_total ["interface"]
        "Errors while receiving." = |net| net.column(2);
    Counter container_network_receive_packets_dropped_total ["interface"]
        "Packets dropped while receiving." = |net| net.column(3);
    Counter container_network_transmit_bytes_total ["interface"]
        "Bytes sent." = |net| net.column(8);
    Counter container_network_transmit_packets_total ["interface"]
        "Packets sent." = |net| net.column(9);
    Counter container_network_transmit_errors_total ["interface"]
        "Errors while sending." = |net| net.column(10);
    Counter container_network_transmit_packets_dropped_total ["interface"]
        "Packets dropped while sending." = |net| net.column(11);
}

/// What metrics of a container are read of.
struct Source {
    container: Container,
    cgroup: Cgroup,
    processes: Processes,
    layer: Layer,
}

/// What the processes of a container have.
struct Processes {
    count: u64,
    files: u64,
    sockets: u64,
    limits: String,
}

/// The file system of a container's own layer.
struct Layer {
    device: String,
    used: Option<u64>,
    size: Option<u64>,
    inodes: Option<u64>,
    inodes_free: Option<u64>,
}

impl Source {
    /// Something that the container's specification says, with what plugins made of it.
    fn specified(&self, pointer: &str) -> Vec<Sample> {
        let resources = &self.container.spec["linux"]["resources"];
        one(resources.pointer(pointer).and_then(Value::as_u64))
    }

    fn pressure(&self, what: &str, who: &str) -> Vec<Sample> {
        one(self.cgroup.pressure(what, who).map(|us| us / 1_000_000))
    }

    /// What block devices did of one kind.
    fn disk(&self, (v1, v2): Places, what: &str) -> Vec<Sample> {
        let all = self.cgroup.block_io(v1, v2);
        let all = all.into_iter().filter(|(_, did, _)| did == what);
        all.map(|(device, _, much)| (vec![device_name(&device)], much))
            .collect()
    }

    fn of_layer(&self, value: Option<u64>) -> Vec<Sample> {
        let device = || vec![self.layer.device.clone()];
        value.map(|value| (device(), value)).into_iter().collect()
    }

    fn huge_pages(&self, v1: &str, v2: &str) -> Vec<Sample> {
        let sizes = self.cgroup.huge_page_sizes().into_iter();
        let values = sizes.filter_map(|size| {
            let v1 = format!("hugetlb/hugetlb.{size}.{v1}");
            let used = self.cgroup.number(&v1, &format!("hugetlb.{size}.{v2}"))?;
            Some((vec![size], used))
        });
        values.collect()
    }
}

/// Where block devices are counted: with version 1 of cgroups, and the keys of version 2.
type Places = (&'static str, [(&'static str, &'static str); 2]);
const IO_BYTES: Places = (
    "blkio/blkio.throttle.io_service_bytes_recursive",
    [("rbytes", "Read"), ("wbytes", "Write")],
);
const IO_COUNT: Places = (
    "blkio/blkio.throttle.io_serviced_recursive",
    [("rios", "Read"), ("wios", "Write")],
);
const FAILURES: [(&str, &str, &str); 4] = [
    ("pgfault", "container", "pgfault"),
    ("pgmajfault", "container", "pgmajfault"),
    ("pgfault", "hierarchy", "total_pgfault"),
    ("pgmajfault", "hierarchy", "total_pgmajfault"),
];

metrics! {
    OF_CONTAINERS of Source;
    Counter container_cpu_usage_seconds_total []
        "CPU time." = |it| seconds(it.cgroup.cpu());
    Counter container_cpu_user_seconds_total []
        "CPU time of programs."
        = |it| seconds(it.cgroup.nanoseconds("cpuacct/cpuacct.usage_user", "cpu.stat:user_usec"));
    Counter container_cpu_system_seconds_total []
        "CPU time of the kernel for them."
        = |it| seconds(it.cgroup.nanoseconds("cpuacct/cpuacct.usage_sys", "cpu.stat:system_usec"));
    Counter container_cpu_cfs_periods_total []
        "Periods for which there was a CPU quota."
        = |it| one(it.cgroup.number("cpu/cpu.stat:nr_periods", "cpu.stat:nr_periods"));
    Counter container_cpu_cfs_throttled_periods_total []
        "Periods in which the CPU quota was used up."
        = |it| one(it.cgroup.number("cpu/cpu.stat:nr_throttled", "cpu.stat:nr_throttled"));
    Counter container_cpu_cfs_throttled_seconds_total []
        "How long the container waited for the next CPU quota."
        = |it| seconds(it.cgroup.nanoseconds("cpu/cpu.stat:throttled_time", "cpu.stat:throttled_usec"));

    Gauge container_memory_usage_bytes []
        "Memory in use, caches included."
        = |it| one(it.cgroup.number("memory/memory.usage_in_bytes", "memory.current"));
    Gauge container_memory_max_usage_bytes []
        "The most memory that was in use."
        = |it| one(it.cgroup.number("memory/memory.max_usage_in_bytes", "memory.peak"));
    Gauge container_memory_working_set_bytes []
        "Memory in use without files that were not used lately." = |it| one(it.cgroup.working_set());
    Gauge container_memory_rss []
        "Memory that is no file's."
        = |it| one(it.cgroup.number("memory/memory.stat:total_rss", "memory.stat:anon"));
    Gauge container_memory_cache []
        "Memory that is files'."
        = |it| one(it.cgroup.number("memory/memory.stat:total_cache", "memory.stat:file"));
    Gauge container_memory_mapped_file []
        "Memory that is files' which are mapped."
        = |it| one(it.cgroup.number("memory/memory.stat:total_mapped_file", "memory.stat:file_mapped"));
    Gauge container_memory_kernel_usage []
        "Memory of the kernel's for the container."
        = |it| one(it.cgroup.number("memory/memory.kmem.usage_in_bytes", "memory.stat:kernel"));
    Gauge container_memory_swap []
        "Swap space in use."
        = |it| one(it.cgroup.number("memory/memory.stat:total_swap", "memory.swap.current"));
    Counter container_memory_failcnt []
        "How often the memory limit was reached."
        = |it| one(it.cgroup.number("memory/memory.failcnt", "memory.events:max"));
    Counter container_memory_failures_total ["failure_type", "scope"]
        "Page faults, of the container's own cgroup and of those below." = Source::page_faults;
    Counter container_oom_events_total []
        "Processes that were killed for want of memory."
        = |it| one(it.cgroup.number("memory/memory.oom_control:oom_kill", "memory.events:oom_kill"));

    Gauge container_hugetlb_usage_bytes ["pagesize"]
        "Huge pages in use." = |it| it.huge_pages("usage_in_bytes", "current");
    Gauge container_hugetlb_max_usage_bytes ["pagesize"]
        "The most huge pages that were in use. The kernel says it with version 1 of cgroups only."
        = |it| it.huge_pages("max_usage_in_bytes", "peak");

    Counter container_pressure_cpu_waiting_seconds_total []
        "How long some process waited for a CPU." = |it| it.pressure("cpu", "some");
    Counter container_pressure_cpu_stalled_seconds_total []
        "How long all processes waited for a CPU." = |it| it.pressure("cpu", "full");
    Counter container_pressure_memory_waiting_seconds_total []
        "How long some process waited for memory." = |it| it.pressure("memory", "some");
    Counter container_pressure_memory_stalled_seconds_total []
        "How long all processes waited for memory." = |it| it.pressure("memory", "full");
    Counter container_pressure_io_waiting_seconds_total []
        "How long some process waited for a device." = |it| it.pressure("io", "some");
    Counter container_pressure_io_stalled_seconds_total []
        "How long all processes waited for a device." = |it| it.pressure("io", "full");

    Counter container_blkio_device_usage_total ["device", "major", "minor", "operation"]
        "Bytes that a block device has read and written." = Source::block_devices;
    Counter container_fs_reads_bytes_total ["device"]
        "Bytes read." = |it| it.disk(IO_BYTES, "Read");
    Counter container_fs_writes_bytes_total ["device"]
        "Bytes written." = |it| it.disk(IO_BYTES, "Write");
    Counter container_fs_reads_total ["device"]
        "Reads." = |it| it.disk(IO_COUNT, "Read");
    Counter container_fs_writes_total ["device"]
        "Writes." = |it| it.disk(IO_COUNT, "Write");
    Gauge container_fs_usage_bytes ["device"]
        "What the container's own layer takes." = |it| it.of_layer(it.layer.used);
    Gauge container_fs_limit_bytes ["device"]
        "The size of the file system of the container's own layer." = |it| it.of_layer(it.layer.size);
    Gauge container_fs_inodes_total ["device"]
        "The inodes of that file system." = |it| it.of_layer(it.layer.inodes);
    Gauge container_fs_inodes_free ["device"]
        "Those of them that are free." = |it| it.of_layer(it.layer.inodes_free);

    Gauge container_processes []
        "Processes." = |it| one(Some(it.processes.count));
    Gauge container_file_descriptors []
        "Files that processes have open." = |it| one(Some(it.processes.files));
    Gauge container_sockets []
        "Sockets among these." = |it| one(Some(it.processes.sockets));
    Gauge container_threads []
        "Threads." = |it| one(it.cgroup.number("pids/pids.current", "pids.current"));
    Gauge container_threads_max []
        "The most threads that the container may have; 0 for no limit." = Source::most_threads;
    Gauge container_ulimits_soft ["ulimit"]
        "The limits of the container's first process, where there are any." = |it| ulimits(&it.processes.limits);

    Gauge container_last_seen []
        "When this was read, in seconds since the epoch." = |_| seconds(u64::try_from(now()).ok());
    Gauge container_start_time_seconds []
        "When the container was started, in seconds since the epoch."
        = |it| seconds(u64::try_from(it.container.started_at).ok().filter(|at| *at > 0));
    Gauge container_spec_cpu_period []
        "The period of the CPU quota, in microseconds." = |it| it.specified("/cpu/period");
    Gauge container_spec_cpu_quota []
        "The CPU quota, in microseconds of a period." = |it| it.specified("/cpu/quota");
    Gauge container_spec_cpu_shares []
        "The CPU shares." = |it| it.specified("/cpu/shares");
    Gauge container_spec_memory_limit_bytes []
        "The memory limit." = |it| it.specified("/memory/limit");
    Gauge container_spec_memory_reservation_limit_bytes []
        "The memory reservation." = |it| it.specified("/memory/reservation");
    Gauge container_spec_memory_swap_limit_bytes []
        "The limit of memory and swap together." = |it| it.specified("/memory/swap");
}

impl Source {
    fn of(container: Container, layer: &Path) -> Self {
        let cgroup = Cgroup::new(container.cgroups_path());
        let processes = Processes::of(&cgroup, container.pid);
        let layer = Layer::of(layer);
        Self {
            container,
            cgroup,
            processes,
            layer,
        }
    }

    fn page_faults(&self) -> Vec<Sample> {
        let values = FAILURES.iter().filter_map(|(kind, scope, v1)| {
            // Version 2 counts those of the cgroups below with its own.
            let v2 = if *scope == "hierarchy" { kind } else { "" };
            let place = |name: &str| format!("memory.stat:{name}");
            let count = self
                .cgroup
                .number(&format!("memory/{}", place(v1)), &place(v2))?;
            Some((vec![(*kind).to_owned(), (*scope).to_owned()], count))
        });
        values.collect()
    }

    fn block_devices(&self) -> Vec<Sample> {
        let (v1, v2) = IO_BYTES;
        let all = self.cgroup.block_io(v1, v2).into_iter();
        let all = all.map(|(device, did, much)| {
            let (major, minor) = device.split_once(':').unwrap_or((&device, ""));
            let labels = [&device_name(&device), major, minor, &did.to_lowercase()];
            (labels.map(str::to_owned).to_vec(), much)
        });
        all.collect()
    }

    fn most_threads(&self) -> Vec<Sample> {
        match self.cgroup.text("pids/pids.max", "pids.max").trim() {
            "max" => one(Some(0)),
            limit => one(limit.parse().ok()),
        }
    }
}

impl Processes {
    fn of(cgroup: &Cgroup, first: u32) -> Self {
        let all = cgroup.processes();
        let (mut files, mut sockets) = (0, 0);
        for pid in &all {
            // One that ends meanwhile has none.
            let open = fs::read_dir(format!("/proc/{pid}/fd"))
                .into_iter()
                .flatten();
            for file in open.flatten() {
                files += 1;
                let is = fs::read_link(file.path()).unwrap_or_default();
                sockets += u64::from(is.to_string_lossy().starts_with("socket:"));
            }
        }
        Self {
            count: all.len() as u64,
            files,
            sockets,
            limits: proc_file(first, "limits"),
        }
    }
}

/// The soft limits of a file `/proc/PID/limits`, by what the kernel calls them.
fn ulimits(text: &str) -> Vec<Sample> {
    // The columns are as wide as the first line says.
    let mut lines = text.lines();
    let column = lines.next().and_then(|line| line.find("Soft Limit"));
    let limits = lines.filter_map(|line| {
        let (name, rest) = line.split_at_checked(column?)?;
        // Most are a number, and there is no number that says that there is none.
        let limit = rest.split_whitespace().next()?.parse().ok()?;
        let name = name.trim().to_lowercase().replace(' ', "_");
        Some((vec![name], limit))
    });
    limits.collect()
}

impl Layer {
    fn of(layer: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let device = fs::metadata(layer).map(|metadata| metadata.dev());
        let device =
            device.map(|dev| format!("{}:{}", rustix::fs::major(dev), rustix::fs::minor(dev)));
        let space = rustix::fs::statvfs(layer).ok();
        Self {
            device: device_name(&device.unwrap_or_default()),
            used: usage(layer).used_bytes.map(|used| used.value),
            size: space
                .as_ref()
                .map(|space| space.f_blocks.saturating_mul(space.f_frsize)),
            inodes: space.as_ref().map(|space| space.f_files),
            inodes_free: space.as_ref().map(|space| space.f_ffree),
        }
    }
}

/// The name of a block device, or its numbers if it has none.
fn device_name(numbers: &str) -> String {
    let path = Path::new("/sys/dev/block").join(numbers);
    let target = fs::read_link(path).unwrap_or_default();
    let name = target
        .file_name()
        .map(|name| format!("/dev/{}", name.to_string_lossy()));
    name.unwrap_or_else(|| numbers.to_owned())
}

fn proc_file(pid: u32, file: &str) -> String {
    let path = PathBuf::from(format!("/proc/{pid}/{file}"));
    let text = files::read(&path, MOST).ok().flatten().unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// What metrics there are.
pub(crate) fn descriptors() -> Vec<cri::MetricDescriptor> {
    fn described<S>(metric: &Metric<S>) -> cri::MetricDescriptor {
        let labels = LABELS.iter().chain(metric.labels);
        cri::MetricDescriptor {
            name: metric.name.to_owned(),
            help: metric.help.to_owned(),
            label_keys: labels.map(|label| (*label).to_owned()).collect(),
        }
    }
    let of_pods = OF_PODS.iter().map(described);
    of_pods.chain(OF_CONTAINERS.iter().map(described)).collect()
}

/// The values of a table.
fn values<S>(table: &[Metric<S>], source: &S, labels: &[String; 5]) -> Vec<cri::Metric> {
    let values = table.iter().flat_map(|metric| {
        let samples = (metric.read)(source).into_iter();
        samples.map(|(own, value)| cri::Metric {
            name: metric.name.to_owned(),
            timestamp: 0,
            metric_type: metric.kind.into(),
            label_values: labels.iter().cloned().chain(own).collect(),
            value: Some(cri::UInt64Value { value }),
        })
    });
    values.collect()
}

/// What a pod and its containers, each with the directory of its own layer, use.
pub(crate) fn of_pod(pod: &Pod, containers: Vec<(Container, PathBuf)>) -> cri::PodSandboxMetrics {
    let metadata = pod.config.metadata.clone().unwrap_or_default();
    let labels = |container: &str, id: &str, image: &str| {
        [&metadata.name, &metadata.namespace, container, id, image].map(str::to_owned)
    };
    let of_containers = containers.into_iter().map(|(container, layer)| {
        let name = container.config.metadata.clone().unwrap_or_default().name;
        let labels = labels(&name, &container.id, &container.image.name);
        cri::ContainerMetrics {
            container_id: container.id.clone(),
            metrics: values(OF_CONTAINERS, &Source::of(container, &layer), &labels),
        }
    });
    cri::PodSandboxMetrics {
        pod_sandbox_id: pod.id.clone(),
        container_metrics: of_containers.collect(),
        metrics: values(OF_PODS, &Network::of(pod), &labels("", &pod.id, "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::tests::{V1, V2, cgroup};
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn every_metric_is_described_once_and_has_its_labels() {
        let all = descriptors();
        let names: BTreeSet<&str> = all.iter().map(|one| &*one.name).collect();
        assert_eq!(names.len(), all.len());
        assert!(
            all.iter()
                .all(|one| one.label_keys.starts_with(&LABELS.map(str::to_owned)))
        );
    }

    fn source(cgroup: Cgroup) -> Source {
        let mut container = crate::record::tests::container("c1");
        container.spec["linux"]["resources"] = serde_json::json!({"cpu": {"shares": 5}});
        Source {
            container,
            cgroup,
            processes: Processes {
                count: 2,
                files: 3,
                sockets: 1,
                limits: "Limit         Soft Limit  Hard Limit  Units\n\
                         Max open files  99  123  files\nMax cpu time  unlimited  unlimited  s\n"
                    .to_owned(),
            },
            layer: Layer {
                device: "/dev/vda".to_owned(),
                used: Some(4096),
                size: None,
                inodes: None,
                inodes_free: None,
            },
        }
    }

    #[test]
    fn a_metric_has_a_value_where_there_is_one_and_as_many_labels_as_are_described() {
        let described: BTreeMap<String, usize> = descriptors()
            .into_iter()
            .map(|one| (one.name, one.label_keys.len()))
            .collect();
        for files in [V1, V2] {
            let dir = tempfile::tempdir().unwrap();
            let labels = ["p", "n", "c", "i", "im"].map(str::to_owned);
            let values = values(OF_CONTAINERS, &source(cgroup(dir.path(), &files)), &labels);
            for value in &values {
                assert_eq!(
                    value.label_values.len(),
                    described[&value.name],
                    "{}",
                    value.name
                );
            }
            let of = |name: &str| -> Vec<(Vec<&str>, u64)> {
                let all = values.iter().filter(|one| one.name == name);
                let own = |one: &'_ cri::Metric| one.value.unwrap().value;
                all.map(|one| {
                    (
                        one.label_values[5..].iter().map(|it| &**it).collect(),
                        own(one),
                    )
                })
                .collect()
            };
            assert_eq!(of("container_memory_working_set_bytes"), [(vec![], 70)]);
            assert_eq!(of("container_fs_usage_bytes"), [(vec!["/dev/vda"], 4096)]);
            assert_eq!(of("container_ulimits_soft"), [(vec!["max_open_files"], 99)]);
            assert_eq!(of("container_spec_cpu_shares"), [(vec![], 5)]);
            // What nobody says is not 0.
            assert_eq!(of("container_spec_memory_limit_bytes"), []);
            assert_eq!(of("container_threads_max"), []);
            let faults = of("container_memory_failures_total");
            assert!(
                faults.contains(&(vec!["pgfault", "hierarchy"], 7)),
                "{faults:?}"
            );
            assert_eq!(of("container_fs_writes_total").first().unwrap().1, 4);
        }
    }

    #[test]
    fn interfaces_are_read_by_their_columns() {
        let text = "Inter-|   Receive    |  Transmit\n face |bytes packets|bytes packets\n\
             \x20   lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n\
             \x20 eth0: 10 11 12 13 0 0 0 0 20 21 22 23 0 0 0 0\n";
        let net = Network::parse(text);
        assert_eq!(net.column(0), [(vec!["eth0".to_owned()], 10)]);
        assert_eq!(net.column(11), [(vec!["eth0".to_owned()], 23)]);
        assert_eq!(net.column(99), []);
    }
}
