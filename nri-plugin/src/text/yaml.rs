//! YAML as a tree. What may not enter: what a scalar means; that is for who wants it.
//!
//! References to anchors are refused, so that a short text stays short; so are merge keys, tags and
//! a second document.

use std::collections::BTreeSet;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::value::{Fault, Kind, Node};

/// As deep as JSON is read.
const MOST_DEPTH: usize = 128;

/// A list or a mapping that is not complete.
enum Open {
    List(Vec<Node>),
    Mapping {
        entries: Vec<(Node, Node)>,
        keys: BTreeSet<String>,
        key: Option<Node>,
    },
}

/// The one document of a text; nothing at all is null.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    let mut open: Vec<(usize, Open)> = Vec::new();
    let mut document = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Fault::plain(describe(&error)))?;
        let line = span.start.line();
        let failed = |reason: &str| Err(Fault::plain(format!("{}: {reason}", at(&span))));
        let wants_key = matches!(open.last(), Some((_, Open::Mapping { key: None, .. })));
        let complete = match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                return failed("tags are not read: leave it out");
            }
            Event::Scalar(text, style, ..) => {
                let kind = Kind::Scalar {
                    plain: style == ScalarStyle::Plain,
                    text: text.into_owned(),
                };
                Node { line, kind }
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if wants_key => {
                return failed("a key must be a text");
            }
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() >= MOST_DEPTH => {
                return failed("it is nested too deeply");
            }
            Event::SequenceStart(..) => {
                open.push((line, Open::List(Vec::new())));
                continue;
            }
            Event::MappingStart(..) => {
                let mapping = Open::Mapping {
                    entries: Vec::new(),
                    keys: BTreeSet::new(),
                    key: None,
                };
                open.push((line, mapping));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some((line, Open::List(list))) => Node {
                    line,
                    kind: Kind::List(list),
                },
                Some((line, Open::Mapping { entries, .. })) => Node {
                    line,
                    kind: Kind::Mapping(entries),
                },
                None => continue,
            },
            Event::Alias(_) => {
                return failed("references to anchors (*) are not read: write out what is meant");
            }
            Event::DocumentStart(_) if document.is_some() => {
                return failed("there is a second document: one is read");
            }
            _ => continue,
        };
        match open.last_mut() {
            Some((_, Open::List(list))) => list.push(complete),
            Some((_, Open::Mapping { entries, key, .. })) if key.is_some() => {
                entries.extend(key.take().map(|key| (key, complete)));
            }
            Some((_, Open::Mapping { keys, key, .. })) => {
                if let Kind::Scalar { text, plain } = &complete.kind {
                    if *plain && text == "<<" {
                        return failed("merge keys (<<) are not read: write out what is meant");
                    }
                    if !keys.insert(text.clone()) {
                        return failed(&format!("{text:?} is there twice"));
                    }
                }
                *key = Some(complete);
            }
            None => document = Some(complete),
        }
    }
    Ok(document.unwrap_or_default())
}

fn at(span: &Span) -> String {
    format!(
        "line {}, column {}",
        span.start.line(),
        span.start.col() + 1
    )
}

fn describe(error: &saphyr_parser::ScanError) -> String {
    let marker = error.marker();
    format!(
        "line {}, column {}: {}",
        marker.line(),
        marker.col() + 1,
        error.info()
    )
}
