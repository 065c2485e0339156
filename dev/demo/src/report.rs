//! What a demo prints.

use std::path::Path;

use nri_core::api::{self, Field};
use nri_core::merge::Owners;
use serde_json::Value;

use super::line::fitted;
use super::spec_diff;
use super::story::Seen;
use super::timeline::Timeline;
use super::{ANNOTATE, LOGGER};
use nri_dev::low_level::LowLevel;

pub(super) fn header(socket: &Path, logger: u32) {
    println!(
        "NRI demo: a runtime that speaks {} on {}",
        nri_core::NRI_VERSION,
        socket.display()
    );
    println!("  {ANNOTATE} was found in the plugin directory and launched");
    println!("  {LOGGER} was started by hand (pid {logger}) and connected\n");
}

pub(super) fn keep(socket: &Path) {
    println!("NRI runtime, protocol {}, on", nri_core::NRI_VERSION);
    println!("{}", socket.display());
    println!(
        "Connect a plugin, for example: cargo run -p nri-plugin --all-features --example logger -- --socket {}",
        socket.display()
    );
    println!("Enter has a pod and a container live their life once; Ctrl-C ends.");
}

pub(super) fn timeline(timeline: &Timeline) {
    println!("Timeline: when a call began, event, plugin, how long it took");
    show(&timeline.render());
}

/// How much of a plugin's own output is shown.
const LOGGED_LINES: usize = 6;

pub(super) fn logged(plugin: &str, lines: &[String]) {
    println!(
        "What {plugin} printed ({} lines, the first {}):",
        lines.len(),
        LOGGED_LINES.min(lines.len())
    );
    for line in lines.iter().take(LOGGED_LINES) {
        println!("{}", fitted(&format!("  {line}")));
    }
    println!();
}

pub(super) fn adjustment(adjustment: &api::ContainerAdjustment, owners: &Owners, container: &str) {
    println!("Merged adjustment, and the plugin that owns each item");
    let message = owners.to_message();
    let Some(fields) = message.owners.get(container) else {
        println!("  (nobody asked for anything)\n");
        return;
    };
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (number, keys) in &fields.compound {
        for (key, owner) in &keys.owners {
            rows.push([
                item(*number, key),
                value(adjustment, *number, key),
                owner.clone(),
            ]);
        }
    }
    for (number, owner) in &fields.simple {
        rows.push([name(*number), value(adjustment, *number, ""), owner.clone()]);
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let (items, owners) = (width(0), width(2));
    for [item, value, owner] in &rows {
        println!(
            "{}",
            fitted(&format!("  {item:<items$}  {owner:<owners$}  {value}"))
        );
    }
    println!();
}

/// Prints a text of several lines.
fn show(text: &str) {
    for line in text.lines() {
        println!("{}", fitted(line));
    }
    println!();
}

fn name(number: i32) -> String {
    Field::try_from(number).map_or_else(
        |_| format!("field {number}"),
        |field| field.as_str_name().to_owned(),
    )
}

fn item(number: i32, key: &str) -> String {
    format!("{} {key}", name(number))
}

/// What is asked for, where it can be said in a few words.
fn value(adjustment: &api::ContainerAdjustment, number: i32, key: &str) -> String {
    match Field::try_from(number) {
        Ok(Field::Annotations) => adjustment.annotations.get(key).cloned(),
        Ok(Field::Env) => adjustment
            .env
            .iter()
            .find(|env| env.key == key)
            .map(|env| env.value.clone()),
        Ok(Field::Mounts) => adjustment
            .mounts
            .iter()
            .find(|mount| mount.destination == key)
            .map(|mount| {
                format!(
                    "{} from {} ({})",
                    mount.r#type,
                    mount.source,
                    mount.options.join(",")
                )
            }),
        Ok(Field::Args) => Some(adjustment.args.join(" ")),
        _ => None,
    }
    .unwrap_or_default()
}

pub(super) fn spec(before: &Value, after: &Value, colour: bool) {
    println!("OCI spec, before and after");
    println!("{}", spec_diff::render(before, after, colour));
}

/// What was seen inside the real container, and on request what its spec has in place of the
/// original.
///
/// # Errors
/// Something of the adjustment is not there.
pub(super) fn inside(
    low_level: &Result<LowLevel, String>,
    seen: Option<&Seen>,
    substitutions: bool,
) -> Result<(), String> {
    let (runtime, seen) = match (low_level, seen) {
        (Ok(runtime), Some(seen)) => (runtime.name(), seen),
        (Err(reason), _) => {
            println!("No real container: {reason}");
            return Ok(());
        }
        (Ok(_), None) => {
            return Err("a low-level runtime works, and yet no container was run".to_owned());
        }
    };
    if substitutions {
        println!(
            "The real container ({runtime}), from a copy of the spec with these substitutions:"
        );
        for substitution in &seen.substitutions {
            println!("  - {substitution}");
        }
    } else {
        println!(
            "The real container ({runtime}), from a copy of the spec in which {} things are this host's own",
            seen.substitutions.len()
        );
        println!("  (--substitutions lists them)");
    }
    println!("Seen inside:");
    for evidence in &seen.evidence {
        let found = if evidence.found { "yes" } else { "NO " };
        println!("{}", fitted(&format!("  {found} {}", evidence.what)));
    }
    match seen
        .evidence
        .iter()
        .filter(|evidence| !evidence.found)
        .count()
    {
        0 => Ok(()),
        missing => Err(format!(
            "{missing} parts of the adjustment are not visible in the container"
        )),
    }
}
