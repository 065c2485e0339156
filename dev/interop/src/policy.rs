//! What a plugin says is to happen when it does not answer: every row of the table of v0.12.4, on
//! both sides.

use nri_dev::wait::within;
use serde_json::json;

use super::pairing::{ID, INDEX, NAME, Pairing, expect, pod};
use super::plugin::Plugin;
use super::program::TEST_TIMEOUT;
use super::runtime::Runtime;

/// What plugins have for a request here. Those that do not answer take all of it.
const REQUEST_TIMEOUT: &str = "3s";

/// The words for the plugin, whether the request fails, and whether the plugin stays connected if
/// it is late.
const WISHES: [(&str, bool, bool); 4] = [
    ("none", false, false),
    ("keep_connected", false, true),
    ("fail_request", true, false),
    ("fail_request,keep_connected", true, true),
];

/// A runtime with a plugin that wishes something, and one after it that wishes nothing.
fn wishing(pairing: &Pairing<'_>, words: &str) -> Result<(Runtime, Plugin, Plugin), String> {
    let case_dir = pairing.scratch.case_dir()?;
    let mut runtime =
        Runtime::start_with(pairing.scratch, pairing.runtime, &case_dir, REQUEST_TIMEOUT)?;
    runtime.open()?;
    let (scratch, kind) = (pairing.scratch, pairing.plugin);
    let mut first = Plugin::start_wishing(scratch, kind, &case_dir, [INDEX, NAME], Some(words))?;
    first.script(vec![
        json!({"on": "Configure", "events": "RunPodSandbox,StopPodSandbox"}),
    ])?;
    first.connect()?;
    runtime.wait_for_plugins(1)?;
    let mut second = pairing.start_plugin(&case_dir, "20", "second")?;
    second.connect()?;
    runtime.wait_for_plugins(2)?;
    Ok((runtime, first, second))
}

/// Whether a plugin heard of a pod, since the last time.
fn heard_of(plugin: &mut Plugin, event: &str, id: &str) -> Result<bool, String> {
    let heard = plugin.heard()?;
    Ok(heard
        .iter()
        .any(|line| line["event"] == event && line["pod"]["id"] == id))
}

/// A request that the first plugin does not answer, as the rule says.
fn unanswered(
    (runtime, first, second): (&mut Runtime, &mut Plugin, &mut Plugin),
    how: &str,
    fails: bool,
) -> Result<(), String> {
    first.script(vec![json!({"on": "RunPodSandbox", how: true})])?;
    match (runtime.ask("run-pod", json!({"pod": pod("lost")}))?, fails) {
        (Ok(_), false) => {}
        (Err(error), true) if error.contains(ID) && error.contains("RunPodSandbox") => {}
        (result, _) => return Err(format!("{how}: the request ends with {result:?}")),
    }
    let goes_on = heard_of(second, "RunPodSandbox", "lost")?;
    expect("whether the next one is asked", goes_on, !fails)
}

/// Every row: late and dead, with each wish. An answered error fails the request and drops nobody.
pub(super) fn failure_policies(pairing: &Pairing<'_>) -> Result<String, String> {
    for (words, fails, stays) in WISHES {
        let told = |error: String| format!("{words}: {error}");
        late(pairing, words, fails, stays).map_err(told)?;
        dead(pairing, words, fails).map_err(told)?;
    }
    Ok(
        "late and dead in a request, with each of the four policies: what becomes of the request, of the next plugin, of the \
         plugin itself; errors, and one that was gone before"
            .to_owned(),
    )
}

fn late(pairing: &Pairing<'_>, words: &str, fails: bool, stays: bool) -> Result<(), String> {
    let (mut runtime, mut first, mut second) = wishing(pairing, words)?;
    first.script(vec![
        json!({"on": "RunPodSandbox", "error": "no pods today"}),
    ])?;
    let error = runtime.refused("run-pod", json!({"pod": pod("refused")}))?;
    if !error.contains("no pods today") {
        return Err(format!("an answered error is another one: {error}"));
    }
    second.heard()?;
    unanswered((&mut runtime, &mut first, &mut second), "hang", fails)?;
    if stays {
        // It gets requests again: at once at the reference's, at ours when its answer is waited for
        // no longer. Only a request finds out: that a plugin is late is no state that one can ask
        // the reference's runtime for, and what the drivers of both understand is the same. So it
        // is tried again after a while.
        let mut tries = 0;
        within(TEST_TIMEOUT, "it is asked again", || {
            tries += 1;
            let id = format!("again-{tries}");
            let _ = runtime.ask("run-pod", json!({"pod": pod(&id)}))?;
            heard_of(&mut first, "RunPodSandbox", &id)
        })?;
        let kept = first.update(Vec::new())?;
        kept.map_err(|e| format!("it is not connected any more: {e}"))?;
    } else {
        first.wait_for_close()?;
        runtime.done("run-pod", json!({"pod": pod("after")}))?;
    }
    runtime.quit()
}

fn dead(pairing: &Pairing<'_>, words: &str, fails: bool) -> Result<(), String> {
    let (mut runtime, mut first, mut second) = wishing(pairing, words)?;
    unanswered((&mut runtime, &mut first, &mut second), "kill", fails)?;
    first.wait_for_death()?;
    // One that is disconnected when its turn comes fails nothing.
    runtime.done("run-pod", json!({"pod": pod("after")}))?;
    runtime.quit()
}
