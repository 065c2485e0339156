//! The rows: who is measured with whom.

/// Whose library an end is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Go,
    Ours,
    /// Ours, with everything on one thread. Plugins of ours always are like that.
    OursCurrent,
    /// A plugin of ours that gets requests undecoded and what exists in parts, and reads of
    /// neither.
    OursUndecoded,
    /// No library at all: what is sent was encoded before. Beside it the other end is measured
    /// alone.
    Bare,
}

/// The two ends of a row, and whether nri-hub is between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) runtime: End,
    pub(super) plugin: End,
    pub(super) hub: bool,
}

impl Ends {
    /// What the others are compared with.
    pub(super) const GO: Self = ends(End::Go, End::Go);
}

/// What a row measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    /// Calls through so many plugins, each of which may have so many at a time.
    Calls { plugins: usize, in_flight: usize },
    /// So many creations at once, with one plugin that takes 100 ms for each; a hub has it observe.
    AtOnce { creations: usize },
    /// The synchronisation of a plugin with so many containers.
    Synchronise { containers: usize },
}

/// A row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) load: Load,
    pub(super) ends: Ends,
}

impl Row {
    /// Its name: what is measured, the runtime, the plugin.
    pub(super) fn name(&self) -> String {
        let end = |end| match end {
            End::Go => "go",
            End::Ours => "ours",
            End::OursCurrent => "ours-current",
            End::OursUndecoded => "ours-undecoded",
            End::Bare => "bare",
        };
        let load = match self.load {
            Load::Calls {
                plugins,
                in_flight: 1,
            } => format!("{plugins}"),
            Load::Calls { plugins, in_flight } => format!("{plugins}x{in_flight}"),
            Load::AtOnce { creations } => format!("{creations}-at-once"),
            Load::Synchronise { containers } => format!("sync-{containers}"),
        };
        let hub = if self.ends.hub { "/hub" } else { "" };
        format!(
            "{load}/{}{hub}/{}",
            end(self.ends.runtime),
            end(self.ends.plugin)
        )
    }

    /// Whether it is to be compared with `base`, a row of Go's. There is no number of calls in
    /// flight there, it is always one.
    pub(super) fn is_beside(&self, base: &Self) -> bool {
        match (self.load, base.load) {
            (
                Load::Calls { plugins, .. },
                Load::Calls {
                    plugins: of_base, ..
                },
            ) => plugins == of_base,
            (ours, base) => ours == base,
        }
    }
}

const fn ends(runtime: End, plugin: End) -> Ends {
    Ends {
        runtime,
        plugin,
        hub: false,
    }
}

/// The reference at both ends of a hub.
const HUB: Ends = Ends {
    runtime: End::Go,
    plugin: End::Go,
    hub: true,
};

const fn behind_a_hub(plugins: usize) -> Row {
    Row {
        load: Load::Calls {
            plugins,
            in_flight: 1,
        },
        ends: HUB,
    }
}

const fn at_once(ends: Ends) -> Row {
    Row {
        load: Load::AtOnce { creations: 50 },
        ends,
    }
}

const fn calls(plugins: usize, runtime: End, plugin: End) -> Row {
    Row {
        load: Load::Calls {
            plugins,
            in_flight: 1,
        },
        ends: ends(runtime, plugin),
    }
}

const fn synchronise(containers: usize, runtime: End, plugin: End) -> Row {
    Row {
        load: Load::Synchronise { containers },
        ends: ends(runtime, plugin),
    }
}

/// All rows. Those that are compared are neighbours, so that the machine is the same for them.
pub(super) const ROWS: &[Row] = &[
    calls(1, End::Go, End::Go),
    behind_a_hub(1),
    calls(1, End::Ours, End::Ours),
    calls(1, End::Ours, End::OursUndecoded),
    calls(1, End::OursCurrent, End::Ours),
    calls(1, End::Ours, End::Go),
    calls(1, End::Go, End::Ours),
    calls(1, End::Bare, End::Go),
    calls(1, End::Bare, End::Ours),
    calls(1, End::Go, End::Bare),
    calls(1, End::Ours, End::Bare),
    calls(3, End::Go, End::Go),
    behind_a_hub(3),
    calls(3, End::Ours, End::Ours),
    calls(3, End::Ours, End::Go),
    calls(3, End::Bare, End::Go),
    calls(10, End::Go, End::Go),
    behind_a_hub(10),
    calls(10, End::Ours, End::Ours),
    calls(10, End::Ours, End::OursUndecoded),
    calls(10, End::Ours, End::Go),
    calls(10, End::Bare, End::Go),
    calls(10, End::Bare, End::Ours),
    calls(10, End::Go, End::Bare),
    calls(10, End::Ours, End::Bare),
    Row {
        load: Load::Calls {
            plugins: 10,
            in_flight: 16,
        },
        ends: ends(End::Ours, End::Ours),
    },
    at_once(Ends::GO),
    at_once(HUB),
    synchronise(1000, End::Go, End::Go),
    synchronise(1000, End::Ours, End::Ours),
    synchronise(1000, End::Ours, End::OursUndecoded),
    synchronise(1000, End::Ours, End::Go),
    synchronise(1000, End::Bare, End::Go),
    synchronise(1000, End::Ours, End::Bare),
    synchronise(10_000, End::Go, End::Go),
    synchronise(10_000, End::Ours, End::Ours),
    synchronise(10_000, End::Ours, End::OursUndecoded),
    synchronise(10_000, End::Ours, End::Go),
    synchronise(10_000, End::Bare, End::Go),
    synchronise(10_000, End::Ours, End::Bare),
];
