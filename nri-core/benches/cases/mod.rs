//! What the benchmarks measure: whole creations, driven as a runtime drives them, over inputs that
//! were decoded before; and the application of what came out to an OCI spec.
//!
//! * `plugins/N`: the container of a Kubernetes pod and N plugins, each of which asks for an
//!   annotation, a variable, a mount, and something of its own (see [`speciality`]).
//! * `kept/N`: the same under a driver that keeps each request until it has made the next call.
//! * `each/WHAT/N`: a container with N items, ten plugins, each of which adds one more.
//! * `all/WHAT/N`: a container with N items, three plugins: the first sets all of them, the second
//!   takes all of them over, the third removes every other one.
//! * `apply/WHAT/N`: an OCI spec with N items, and an adjustment that sets N items: one half
//!   replaces, the other is new.
//!
//! What may not enter: how anything is measured.

use std::error::Error;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nri_core::api::{
    CdiDevice, Container, ContainerAdjustment, CreateContainerRequest, CreateContainerResponse,
    Hook, Hooks, KeyValue, LinuxCpu, LinuxDevice, LinuxDeviceCgroup, LinuxMemory, LinuxResources,
    LinuxSeccomp, Mount, OptionalInt, OptionalInt64, OptionalString, OptionalUInt64, PosixRlimit,
};
use nri_core::flow::{Call, CreateFlow, Flow as _, Member, Outcome, Reply, Report, Roster, Step};
use nri_core::merge::CreateOutcome;
use nri_core::oci::{Applied, ApplyError, ApplyOptions, apply};
use nri_core::{EncodedRequest, Event, RegisteredPlugin, Response};
use prost::Message as _;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

/// One creation that can be run any number of times.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// Its name, with slashes.
    pub(crate) name: String,
    /// How many items it is about: plugins, or entries that plugins ask for.
    #[allow(dead_code)] // counting does not need it
    pub(crate) items: u64,
    roster: Roster,
    keeps_requests: bool,
    input: Input,
}

/// What one run of a case consumes.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// What the runtime asks, and what each plugin answers.
    Creation(Box<CreateContainerRequest>, Vec<CreateContainerResponse>),
    /// A spec and an adjustment, which are only looked at.
    Applying(Arc<(Value, ContainerAdjustment)>),
}

/// What a run leaves behind.
#[derive(Debug)]
pub(crate) enum Output {
    /// What came of it, and the request that the runtime made.
    Creation {
        report: Box<Report<CreateOutcome>>,
        _request: Option<Arc<EncodedRequest>>,
    },
    /// The new spec.
    Applied(Result<Applied, ApplyError>),
}

impl Case {
    fn new(
        name: String,
        items: usize,
        request: CreateContainerRequest,
        adjustments: Vec<ContainerAdjustment>,
    ) -> Result<Self, Failure> {
        let mut members = Vec::new();
        for number in 0..adjustments.len() {
            let id = format!("{number:02}-plugin").parse()?;
            let registration = number as u64;
            members.push(Member::new(
                RegisteredPlugin { id, registration },
                Event::CreateContainer.into(),
            ));
        }
        let response = |adjustment| CreateContainerResponse {
            adjust: Some(adjustment),
            ..Default::default()
        };
        let case = Self {
            name,
            items: items as u64,
            roster: Roster::new(members),
            keeps_requests: false,
            input: Input::Creation(
                Box::new(request),
                adjustments.into_iter().map(response).collect(),
            ),
        };
        case.checked()
    }

    /// The application of an adjustment to a spec.
    fn applying(
        name: String,
        items: usize,
        spec: Value,
        adjustment: ContainerAdjustment,
    ) -> Result<Self, Failure> {
        let case = Self {
            name,
            items: items as u64,
            roster: Roster::default(),
            keeps_requests: false,
            input: Input::Applying(Arc::new((spec, adjustment))),
        };
        case.checked()
    }

    /// The case, if it runs to its end: one that fails half way would be a fast one.
    fn checked(self) -> Result<Self, Failure> {
        match self.run(self.input()) {
            Output::Creation { report, .. } => {
                report.result?;
                let mut outcomes = report.outcomes.iter();
                if outcomes.any(|o| o.outcome != Outcome::Answered) {
                    return Err(format!("{}: not every plugin answered", self.name).into());
                }
            }
            Output::Applied(applied) => {
                applied?;
            }
        }
        Ok(self)
    }

    /// The input of a run.
    pub(crate) fn input(&self) -> Input {
        self.input.clone()
    }

    /// A run. Of a creation: the flow is made, asked for every call, told every answer, and
    /// finished.
    pub(crate) fn run(&self, input: Input) -> Output {
        let (request, responses) = match input {
            Input::Creation(request, responses) => (request, responses),
            Input::Applying(input) => {
                let (spec, adjustment) = &*input;
                let options = ApplyOptions::default();
                return Output::Applied(apply(spec, adjustment, &options, None));
            }
        };
        let mut responses = responses.into_iter();
        let mut flow = CreateFlow::new(&self.roster, *request);
        let mut kept: Option<Arc<EncodedRequest>> = None;
        while let Step::Call(Call { plugin, request }) = flow.next() {
            let response = responses.next().unwrap_or_default();
            // The last one is kept in any case, so that giving it back is not part of the run.
            let keeps = self.keeps_requests || responses.len() == 0;
            kept = keeps.then_some(request);
            flow.answer(&plugin, Reply::Answer(Response::CreateContainer(response)));
        }
        Output::Creation {
            report: Box::new(flow.finish()),
            _request: kept,
        }
    }
}

/// Every case.
///
/// # Errors
/// The checked-in request cannot be read, or a case does not run.
pub(crate) fn all() -> Result<Vec<Case>, Failure> {
    let bytes =
        STANDARD.decode(include_str!("../../testdata/realistic-create-request.b64").trim())?;
    let realistic = CreateContainerRequest::decode(bytes.as_slice())?;

    let mut cases = Vec::new();
    for plugins in [1, 3, 10, 30, 90] {
        cases.push(Case::new(
            format!("plugins/{plugins}"),
            plugins,
            realistic.clone(),
            (0..plugins).map(realistic_adjustment).collect(),
        )?);
    }
    if let Some(ten) = cases.iter().find(|case| case.items == 10) {
        let kept = Case {
            name: "kept/10".to_owned(),
            keeps_requests: true,
            ..ten.clone()
        };
        cases.push(kept);
    }
    for kind in [Kind::Mounts, Kind::Env, Kind::Annotations] {
        for n in [10, 100, 1_000] {
            cases.push(each_adds_one(kind, n)?);
        }
    }
    for kind in [Kind::Mounts, Kind::Env, Kind::Annotations] {
        for n in [10, 100, 1_000] {
            cases.push(all_touch_all(kind, n)?);
        }
    }
    for n in [1_000, 10_000, 100_000] {
        cases.push(applied_mounts(n)?);
    }
    for n in [1_000, 10_000, 100_000] {
        cases.push(applied_devices(n)?);
    }
    Ok(cases)
}

fn applied_mounts(n: usize) -> Result<Case, Failure> {
    let base: Vec<Value> = (0..n)
        .map(|item| json!({"destination": Kind::Mounts.key(item), "source": "/original"}))
        .collect();
    let mut adjustment = ContainerAdjustment::default();
    for item in n / 2..n + n / 2 {
        Kind::Mounts.set(item, &mut adjustment);
    }
    Case::applying(
        format!("apply/mounts/{n}"),
        n,
        json!({"mounts": base}),
        adjustment,
    )
}

fn applied_devices(n: usize) -> Result<Case, Failure> {
    let base = (0..n).map(|item| {
        json!({"path": format!("/dev/accelerator{item}"), "type": "c", "major": 195, "minor": item})
    });
    let rules = (0..n).map(|item| json!({"allow": true, "type": "c", "major": 195, "minor": item}));
    let spec = json!({"linux": {
        "devices": base.collect::<Vec<_>>(), "resources": {"devices": rules.collect::<Vec<_>>()},
    }});
    let mut adjustment = ContainerAdjustment::default();
    linux(&mut adjustment).devices = (n / 2..n + n / 2).map(device).collect();
    Case::applying(format!("apply/devices/{n}"), n, spec, adjustment)
}

/// What plugin number `plugin` asks for: what most plugins ask for, and something of its own.
fn realistic_adjustment(plugin: usize) -> ContainerAdjustment {
    let mut adjustment = speciality(plugin);
    adjustment.annotations.insert(
        format!("plugin-{plugin:02}.example.com/decision"),
        "policy=balanced;zone=0".to_owned(),
    );
    adjustment.env.push(KeyValue {
        key: format!("PLUGIN_{plugin:02}_SOCKET"),
        value: format!("/run/plugin-{plugin:02}/agent.sock"),
    });
    adjustment.mounts.push(mount(
        format!("/run/plugin-{plugin:02}"),
        format!("/var/lib/plugin-{plugin:02}/shared"),
    ));
    adjustment
}

/// What a plugin asks for that no other does. The first ten are all different, later ones add a
/// device each.
fn speciality(plugin: usize) -> ContainerAdjustment {
    let mut adjustment = ContainerAdjustment::default();
    match plugin {
        0 => {
            resources(&mut adjustment).cpu = Some(LinuxCpu {
                cpus: "4-7,68-71".to_owned(),
                mems: "0".to_owned(),
                shares: Some(OptionalUInt64 { value: 8_192 }),
                ..Default::default()
            })
        }
        1 => {
            resources(&mut adjustment).memory = Some(LinuxMemory {
                limit: Some(OptionalInt64 { value: 24 << 30 }),
                swap: Some(OptionalInt64 { value: 24 << 30 }),
                ..Default::default()
            })
        }
        2 => {
            linux(&mut adjustment).devices.push(device(0));
            resources(&mut adjustment).devices.push(LinuxDeviceCgroup {
                allow: true,
                r#type: "c".to_owned(),
                major: Some(OptionalInt64 { value: 195 }),
                minor: Some(OptionalInt64 { value: 0 }),
                access: "rwm".to_owned(),
            });
        }
        3 => {
            adjustment.hooks = Some(Hooks {
                create_runtime: vec![Hook {
                    path: "/usr/local/bin/prepare".to_owned(),
                    args: vec!["prepare".to_owned(), "--fast".to_owned()],
                    ..Default::default()
                }],
                ..Default::default()
            })
        }
        4 => adjustment.rlimits.push(PosixRlimit {
            r#type: "RLIMIT_MEMLOCK".to_owned(),
            hard: u64::MAX,
            soft: u64::MAX,
        }),
        5 => {
            resources(&mut adjustment).blockio_class = Some(OptionalString {
                value: "throttled".to_owned(),
            })
        }
        6 => adjustment.cdi_devices.push(CdiDevice {
            name: "vendor.example.com/accelerator=0".to_owned(),
        }),
        7 => linux(&mut adjustment).oom_score_adj = Some(OptionalInt { value: -500 }),
        8 => {
            let sysctl = &mut linux(&mut adjustment).sysctl;
            sysctl.insert("net.core.somaxconn".to_owned(), "4096".to_owned());
        }
        9 => {
            linux(&mut adjustment).seccomp_policy = Some(LinuxSeccomp {
                default_action: "SCMP_ACT_ERRNO".to_owned(),
                architectures: vec!["SCMP_ARCH_X86_64".to_owned()],
                ..Default::default()
            })
        }
        other => linux(&mut adjustment).devices.push(device(other)),
    }
    adjustment
}

fn linux(adjustment: &mut ContainerAdjustment) -> &mut nri_core::api::LinuxContainerAdjustment {
    adjustment.linux.get_or_insert_default()
}

fn resources(adjustment: &mut ContainerAdjustment) -> &mut LinuxResources {
    linux(adjustment).resources.get_or_insert_default()
}

fn device(minor: usize) -> LinuxDevice {
    LinuxDevice {
        path: format!("/dev/accelerator{minor}"),
        r#type: "c".to_owned(),
        major: 195,
        minor: minor as i64,
        ..Default::default()
    }
}

fn mount(destination: String, source: String) -> Mount {
    Mount {
        destination,
        r#type: "bind".to_owned(),
        source,
        options: vec!["rbind".to_owned(), "ro".to_owned()],
    }
}

/// Kinds of items that a container can have very many of.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Mounts,
    Env,
    Annotations,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Mounts => "mounts",
            Kind::Env => "env",
            Kind::Annotations => "annotations",
        }
    }

    fn key(self, item: usize) -> String {
        match self {
            Kind::Mounts => format!("/data/volume-{item:04}"),
            Kind::Env => format!("SETTING_{item:04}"),
            Kind::Annotations => format!("example.com/setting-{item:04}"),
        }
    }

    /// A container with `n` items.
    fn request(self, n: usize) -> CreateContainerRequest {
        let mut container = Container {
            id: "ca371ef4695d".to_owned(),
            ..Default::default()
        };
        for key in (0..n).map(|item| self.key(item)) {
            match self {
                Kind::Mounts => container.mounts.push(mount(key, "/original".to_owned())),
                Kind::Env => container.env.push(format!("{key}=original")),
                Kind::Annotations => {
                    container.annotations.insert(key, "original".to_owned());
                }
            }
        }
        CreateContainerRequest {
            container: Some(container),
            ..Default::default()
        }
    }

    fn set(self, item: usize, adjustment: &mut ContainerAdjustment) {
        let (key, value) = (self.key(item), "adjusted".to_owned());
        match self {
            Kind::Mounts => adjustment.mounts.push(mount(key, value)),
            Kind::Env => adjustment.env.push(KeyValue { key, value }),
            Kind::Annotations => {
                adjustment.annotations.insert(key, value);
            }
        }
    }

    fn remove(self, item: usize, adjustment: &mut ContainerAdjustment) {
        let key = nri_core::merge::removal_marker::mark(&self.key(item));
        match self {
            Kind::Mounts => adjustment.mounts.push(Mount {
                destination: key,
                ..Default::default()
            }),
            Kind::Env => adjustment.env.push(KeyValue {
                key,
                ..Default::default()
            }),
            Kind::Annotations => {
                adjustment.annotations.insert(key, String::new());
            }
        }
    }
}

fn each_adds_one(kind: Kind, n: usize) -> Result<Case, Failure> {
    let plugin = |number| {
        let mut adjustment = ContainerAdjustment::default();
        kind.set(n + number, &mut adjustment);
        adjustment
    };
    let name = format!("each/{}/{n}", kind.name());
    Case::new(name, n, kind.request(n), (0..10).map(plugin).collect())
}

fn all_touch_all(kind: Kind, n: usize) -> Result<Case, Failure> {
    let mut sets = ContainerAdjustment::default();
    let mut takes_over = ContainerAdjustment::default();
    let mut removes = ContainerAdjustment::default();
    for item in 0..n {
        kind.set(item, &mut sets);
        kind.remove(item, &mut takes_over);
        kind.set(item, &mut takes_over);
        if item % 2 == 0 {
            kind.remove(item, &mut removes);
        }
    }
    let name = format!("all/{}/{n}", kind.name());
    Case::new(name, n, kind.request(n), vec![sets, takes_over, removes])
}
