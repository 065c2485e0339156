//! Scenarios: pods, containers, steps and expectations in a file, played with real plugins.
//!
//! A step is a command of `serve`, and what is expected of it is compared with its result: one
//! vocabulary for both.

mod asked;
mod asserted;
mod expectation;
mod file;
mod identity;
mod launch;
mod output;
#[cfg(feature = "cli")]
mod page;
mod play;
mod print;

pub use asked::Asked;
pub use asserted::assert_scenario;
pub use expectation::Mismatch;
pub use file::{Action, PluginEntry, Scenario, Step};
pub use launch::PluginCommand;
#[cfg(feature = "cli")]
#[cfg_attr(docsrs, doc(cfg(feature = "cli")))]
pub use page::scenario_page;
pub use play::{EndReport, PlayOptions, Progress, StepReport, play};
pub use print::{Json, Text};

use super::reply::field_names;

/// What `nri-sim run --help` says about scenarios.
#[must_use]
pub fn scenario_manual() -> String {
    let manual = "\
A scenario:
    [[plugins]]                        # started with --plugin or by a `command` here; else waited for
    id = \"50-annotate\"
    config = \"[env]\\nTZ = 'UTC'\"       # what the runtime has for it, as NN-name.conf

    [[steps]]                          # a command of `nri-sim serve`
    cmd = \"run-pod\"
    pod = { id = \"p1\", namespace = \"default\" }

    [[steps]]
    cmd = \"create-container\"
    pod_id = \"p1\"
    container = { id = \"c1\", name = \"nginx\" }
    expect.adjustment.env = [{ key = \"TZ\", value = \"UTC\" }]
    expect.owners.c1.Env.TZ = \"50-annotate\"
    expect_absent = [\"/adjustment/mounts\"]

    [expect]                           # of the state in the end: pods and containers by id
    containers.c1.env = [\"TZ=UTC\"]

Of a result the members that are mentioned are compared; that a step works is expected unless `expect.ok = false` or `expect.error` (a
part of its text) is there. [runtime] is the runtime's configuration; [[pods]] and [[containers]] (messages, a container with
the pod_id of its pod) are there before plugins come. With restartable = true what was stopped may run again. What other
plugins want is for plugins that judge it: `asked.10-other.adjust.env = [...]` in a step has a plugin that nri-sim plays itself answer with
`adjust`, `update` and `evict` as plugins do. The step `expect-output` with `plugin`, `contains` and `timeout_ms` waits for a line that a plugin prints. `nri-sim serve --help` lists
the other commands and what they answer.

Fields that have owners:
";
    format!("{manual}{}", wrapped(&field_names()))
}

/// Names in lines that are no longer than they should be.
fn wrapped(names: &[&str]) -> String {
    const WIDTH: usize = 120;
    let mut text = String::new();
    let mut width = WIDTH;
    for name in names {
        if width + 1 + name.len() > WIDTH {
            text.push_str(if text.is_empty() { "   " } else { "\n   " });
            width = 3;
        }
        text.push(' ');
        text.push_str(name);
        width += 1 + name.len();
    }
    text.push('\n');
    text
}
