//! What happened in a scenario as a page that people like to look at: timeline, owners, and what
//! became of each container's spec. What may not enter: anything that is not in the reports.

use nri_core::api;
use nri_core::oci::{ApplyOptions, OnUnsupported, apply, resources};
use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};

use super::expectation::Mismatch;
use super::file::{Action, Scenario};
use super::play::{EndReport, Progress, StepReport};
use super::print::{Owned, list, owned, text};
use crate::page::{Page, escaped};
use crate::sim::command::Command;

/// Lines around a change of a spec.
const CONTEXT: usize = 3;

/// The page of a scenario that was played, from all that was told of it.
pub fn scenario_page(scenario: &Scenario, happened: &[Progress]) -> String {
    let steps: Vec<&StepReport> = happened
        .iter()
        .filter_map(|progress| match progress {
            Progress::Step(step) => Some(step),
            _ => None,
        })
        .collect();
    let mut page = Page::new(&scenario.name);
    for progress in happened {
        match progress {
            Progress::Ready { plugins, .. } => {
                let plugins = plugins
                    .iter()
                    .map(|plugin| format!("{} ({})", plugin.plugin, plugin.kind));
                let plugins: Vec<String> = plugins.collect();
                page.paragraph(&format!("Plugins: {}", plugins.join(", ")));
            }
            Progress::End(end) => verdict(&mut page, end),
            _ => {}
        }
    }
    page.heading("Timeline");
    timeline(&mut page, &steps);
    let all: Vec<Owned> = steps.iter().flat_map(|step| owned(&step.result)).collect();
    if !all.is_empty() {
        page.heading("Who asked for what");
        owners(&mut page, &all);
    }
    for step in steps {
        let action = scenario.steps.get(step.number - 1).map(|it| &it.action);
        let Some(Action::Command(request)) = action else {
            continue;
        };
        let adjustment = &step.result["adjustment"];
        match &request.command {
            Command::CreateContainer { container } if !adjustment.is_null() => {
                page.heading(&format!("What became of the spec of {}", container.id));
                spec(&mut page, container, adjustment);
            }
            _ => {}
        }
    }
    page.finish()
}

fn verdict(page: &mut Page, end: &EndReport) {
    let EndReport {
        steps,
        expectations,
        failed,
        problems,
    } = end;
    let (class, word) = match failed {
        0 => ("good", "all as expected".to_owned()),
        failed => ("bad", format!("{failed} not as expected")),
    };
    page.push(&format!(
        "<p>{steps} steps, {expectations} expectations: <strong class=\"{class}\">{word}</strong></p>\n"
    ));
    mismatches(page, problems);
}

fn mismatches(page: &mut Page, problems: &[Mismatch]) {
    if !problems.is_empty() {
        let problems = problems
            .iter()
            .map(|it| format!("not as expected: {} {}", it.at, it.problem));
        page.push("<div class=\"bad\">");
        page.list(&problems.collect::<Vec<_>>());
        page.push("</div>\n");
    }
}

/// How long a step took, in milliseconds: as long as the slowest plugin.
fn length(step: &StepReport) -> f64 {
    let took = list(&step.result, "outcomes").filter_map(|outcome| outcome["ms"].as_f64());
    took.fold(0.0, f64::max)
}

fn timeline(page: &mut Page, steps: &[&StepReport]) {
    let end = steps.iter().map(|step| step.at_ms + length(step));
    let end = end.fold(1e-3, f64::max);
    page.push("<table>\n<thead><tr><th>at</th><th>step</th><th>what plugins did</th><th>when</th></tr></thead>\n<tbody>\n");
    for step in steps {
        page.push(&format!(
            "<tr><td>{:.1} ms</td><td><code>{}</code></td><td>",
            step.at_ms,
            escaped(&step.step)
        ));
        let did = list(&step.result, "outcomes").map(|outcome| {
            let mut said = format!("{} {}", text(outcome, "plugin"), text(outcome, "outcome"));
            for extra in ["event", "error"].map(|name| text(outcome, name)) {
                if !extra.is_empty() {
                    said.push_str(&format!(" ({extra})"));
                }
            }
            if let Some(ms) = outcome["ms"].as_f64() {
                said.push_str(&format!(", {ms:.1} ms"));
            }
            said
        });
        let did: Vec<String> = did.collect();
        if !did.is_empty() {
            page.list(&did);
        }
        let error = text(&step.result, "error");
        if !error.is_empty() {
            page.paragraph(&format!("error: {error}"));
        }
        for (name, what) in [("updates", "update"), ("evictions", "eviction")] {
            for change in list(&step.result, name) {
                page.paragraph(&format!(
                    "{what} of {} by {}",
                    text(change, "containerId"),
                    text(change, "plugin")
                ));
            }
        }
        mismatches(page, &step.problems);
        let (from, width) = (step.at_ms / end * 100.0, length(step) / end * 100.0);
        page.push(&format!(
            "</td><td><div class=\"track\"><div class=\"bar\" style=\"left: {from:.2}%; width: {width:.2}%\"></div></div></td></tr>\n"
        ));
    }
    page.push("</tbody>\n</table>\n");
}

fn owners(page: &mut Page, all: &[Owned]) {
    page.push("<table>\n<thead><tr><th>container</th><th>what</th><th>value</th><th>plugin</th></tr></thead>\n<tbody>\n");
    for one in all {
        let value = match (&one.value, one.is_removed) {
            (_, true) => "removed".to_owned(),
            (Some(value), false) => value.clone(),
            (None, false) => String::new(),
        };
        page.push(&format!(
            "<tr><td>{}</td><td>{}</td><td><code>{}</code></td><td>{}</td></tr>\n",
            escaped(&one.container),
            escaped(&one.name),
            escaped(&value),
            escaped(&one.plugin)
        ));
    }
    page.push("</tbody>\n</table>\n");
}

/// The difference that an adjustment makes to the spec of a container.
fn spec(page: &mut Page, container: &api::Container, adjustment: &Value) {
    let adjustment: api::ContainerAdjustment = match serde_json::from_value(adjustment.clone()) {
        Ok(adjustment) => adjustment,
        Err(error) => return page.paragraph(&format!("The adjustment cannot be read: {error}")),
    };
    let before = oci(container);
    let mut options = ApplyOptions::default();
    options.without_callback = OnUnsupported::Warn;
    let after = match apply(&before, &adjustment, &options, None) {
        Ok(applied) => {
            for warning in &applied.warnings {
                page.paragraph(&format!("Warning: {warning}"));
            }
            applied.spec
        }
        Err(error) => return page.paragraph(&format!("It cannot be applied: {error}")),
    };
    let (before, after) = (pretty(&before), pretty(&after));
    let difference = TextDiff::from_lines(&before, &after);
    let groups = difference.grouped_ops(CONTEXT);
    if groups.is_empty() {
        return page.paragraph("Nothing.");
    }
    for group in groups {
        page.push("<pre>");
        for change in group.iter().flat_map(|op| difference.iter_changes(op)) {
            let (class, sign) = match change.tag() {
                ChangeTag::Delete => (" class=\"minus\"", '-'),
                ChangeTag::Insert => (" class=\"plus\"", '+'),
                ChangeTag::Equal => ("", ' '),
            };
            let line = change.value().trim_end_matches('\n');
            page.push(&format!("<span{class}>{sign} {}</span>", escaped(line)));
        }
        page.push("</pre>\n");
    }
}

fn pretty(spec: &Value) -> String {
    let mut text = serde_json::to_string_pretty(spec).unwrap_or_default();
    text.push('\n');
    text
}

/// The spec that a runtime has for a container of which it knows just this.
fn oci(container: &api::Container) -> Value {
    let mut spec = json!({
        "ociVersion": "1.2.0",
        "process": {"args": container.args, "env": container.env},
        "annotations": container.annotations,
        "mounts": container.mounts.iter().map(|mount| json!({
            "destination": mount.destination,
            "type": mount.r#type,
            "source": mount.source,
            "options": mount.options,
        })).collect::<Vec<_>>(),
    });
    // As a runtime leaves them out.
    if let Some(members) = spec.as_object_mut() {
        let is_empty = |value: &Value| *value == json!({}) || *value == json!([]);
        members.retain(|_, value| !is_empty(value));
    }
    if let Some(linux) = &container.linux {
        let mut part = Map::new();
        let namespaces = linux.namespaces.iter().map(|namespace| {
            let mut one = json!({"type": namespace.r#type});
            if !namespace.path.is_empty() {
                one["path"] = namespace.path.clone().into();
            }
            one
        });
        part.insert("namespaces".to_owned(), namespaces.collect());
        let resources = linux.resources.as_ref();
        if let Some(Ok(resources)) = resources.map(|it| resources::to_oci(it, true)) {
            part.insert("resources".to_owned(), resources);
        }
        if !linux.cgroups_path.is_empty() {
            part.insert("cgroupsPath".to_owned(), linux.cgroups_path.clone().into());
        }
        spec["linux"] = part.into();
    }
    spec
}
