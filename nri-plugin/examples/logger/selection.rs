//! Which events to print, from text.

use nri_plugin::{Event, EventMask};

/// Reads a list of event names and groups. Case, `-` and `_` do not count.
pub(crate) fn parse(list: &str) -> Result<EventMask, String> {
    let words = list.split(',').map(str::trim);
    let mut chosen = EventMask::NONE;
    for word in words.filter(|word| !word.is_empty()) {
        chosen |= events(word)?;
    }
    match chosen.is_empty() {
        true => Err("no event is chosen".to_owned()),
        false => Ok(chosen),
    }
}

/// The events that one word stands for.
fn events(word: &str) -> Result<EventMask, String> {
    let wanted = plain(word);
    let chosen: EventMask = Event::ALL
        .into_iter()
        .filter(|event| match wanted.as_str() {
            "all" => true,
            // The events of pods are those with a pod in their name.
            "pod" | "pods" => event.name().contains("Pod"),
            "container" | "containers" => !event.name().contains("Pod"),
            name => plain(event.name()) == name,
        })
        .collect();
    if chosen.is_empty() {
        let names = Event::ALL.map(Event::name).join(", ");
        return Err(format!(
            "there is no event {word:?}; there are {names}, and the groups pod, container, all"
        ));
    }
    Ok(chosen)
}

fn plain(word: &str) -> String {
    word.replace(['-', '_'], "").to_ascii_lowercase()
}
