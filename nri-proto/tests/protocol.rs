//! The protocol is what its tables say: every name, number, type and label, and nothing else.
//!
//! `proto/nri.proto` is compiled here and compared with the tables in `testdata`; the generated
//! code is compared with them as far as generic code relies on it. That the rest of it is up to
//! date is what `cargo xtask codegen --check` is for.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nri_proto::{Method, rpc};

/// The package all names belong to.
const PACKAGE: &str = "nri.pkg.api.v1alpha1";
/// What needs no statement of its age.
const FIRST_VERSION: &str = "v0.2.0";

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The rows of a table, as maps from column to cell.
fn table(name: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(directory("testdata").join(name)).unwrap();
    reader.deserialize().map(Result::unwrap).collect()
}

/// What one declaration of the protocol is: its place in a message, enum or service, and all that
/// counts about it.
type Row = Vec<String>;

/// The protocol as the compiler reads it.
#[derive(Default)]
struct Protocol {
    messages: BTreeSet<String>,
    /// Message, field, number, type, label.
    fields: BTreeSet<Row>,
    enums: BTreeSet<String>,
    /// Enum, value, number.
    values: BTreeSet<Row>,
    /// Service, method, request, response.
    methods: BTreeSet<Row>,
    /// Full name of a declaration (within the package) to its leading comment.
    comments: BTreeMap<String, String>,
}

/// Reads the descriptor of `proto/nri.proto`, whose types cannot be named without another
/// dependency: hence a macro for what is done on two levels.
fn compile() -> Protocol {
    let mut compiler = protox::Compiler::new([directory("proto")]).unwrap();
    compiler
        .include_source_info(true)
        .open_file("nri.proto")
        .unwrap();
    let set = compiler.file_descriptor_set();
    assert_eq!(set.file.len(), 1, "the protocol imports nothing");
    let file = &set.file[0];
    assert_eq!(file.package(), PACKAGE);
    assert_eq!(file.syntax(), "proto3");

    let comments: BTreeMap<&[i32], &str> = file
        .source_code_info
        .iter()
        .flat_map(|info| &info.location)
        .map(|location| (location.path.as_slice(), location.leading_comments()))
        .collect();
    let comment = |path: &[i32]| {
        comments
            .get(path)
            .unwrap_or(&"")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut protocol = Protocol::default();

    // The numbers in the paths are those of `descriptor.proto`: 4 messages, 5 enums, 6 services of
    // a file; 2 fields and 4 enums of a message; 2 values of an enum; 2 methods of a service.
    macro_rules! read_enum {
        ($enum:expr, $prefix:expr, $path:expr) => {{
            let name = format!("{}{}", $prefix, $enum.name());
            protocol.comments.insert(name.clone(), comment(&$path));
            for (value, i) in $enum.value.iter().zip(0..) {
                let path = [&$path[..], &[2, i]].concat();
                protocol
                    .comments
                    .insert(format!("{name}.{}", value.name()), comment(&path));
                protocol.values.insert(vec![
                    name.clone(),
                    value.name().to_owned(),
                    value.number().to_string(),
                ]);
            }
            protocol.enums.insert(name);
        }};
    }
    for (message, m) in file.message_type.iter().zip(0..) {
        let name = message.name().to_owned();
        protocol.comments.insert(name.clone(), comment(&[4, m]));
        // The entries of maps are messages that the compiler makes up.
        let entries: BTreeMap<&str, String> = message
            .nested_type
            .iter()
            .map(|entry| {
                assert!(
                    entry.options.as_ref().is_some_and(|o| o.map_entry()),
                    "{name}.{} is a map entry",
                    entry.name()
                );
                let kind = |i: usize| {
                    scalar_or_named(
                        entry.field[i].r#type().as_str_name(),
                        entry.field[i].type_name(),
                    )
                };
                (entry.name(), format!("map<{},{}>", kind(0), kind(1)))
            })
            .collect();
        assert!(message.oneof_decl.is_empty(), "{name} has no oneof");
        for (field, f) in message.field.iter().zip(0..) {
            let declared = scalar_or_named(field.r#type().as_str_name(), field.type_name());
            let map = declared
                .strip_prefix(&format!("{name}."))
                .and_then(|entry| entries.get(entry));
            let label = match field.label().as_str_name() {
                "LABEL_OPTIONAL" => "optional",
                "LABEL_REPEATED" if map.is_some() => "map",
                "LABEL_REPEATED" => "repeated",
                other => panic!("{name}.{}: {other}", field.name()),
            };
            let full = format!("{name}.{}", field.name());
            protocol.comments.insert(full, comment(&[4, m, 2, f]));
            protocol.fields.insert(vec![
                name.clone(),
                field.name().to_owned(),
                field.number().to_string(),
                map.unwrap_or(&declared).clone(),
                label.to_owned(),
            ]);
        }
        for (nested, e) in message.enum_type.iter().zip(0..) {
            read_enum!(nested, format!("{name}."), [4, m, 4, e]);
        }
        protocol.messages.insert(name);
    }
    for (top, e) in file.enum_type.iter().zip(0..) {
        read_enum!(top, "", [5, e]);
    }
    for (service, s) in file.service.iter().zip(0..) {
        let name = service.name().to_owned();
        protocol.comments.insert(name.clone(), comment(&[6, s]));
        for (method, i) in service.method.iter().zip(0..) {
            assert!(
                !method.client_streaming() && !method.server_streaming(),
                "{} is unary",
                method.name()
            );
            protocol
                .comments
                .insert(format!("{name}.{}", method.name()), comment(&[6, s, 2, i]));
            protocol.methods.insert(vec![
                format!("{PACKAGE}.{name}"),
                method.name().to_owned(),
                in_package(method.input_type()),
                in_package(method.output_type()),
            ]);
        }
    }
    protocol
}

/// `.package.Name` to `Name`.
fn in_package(full: &str) -> String {
    full.strip_prefix(&format!(".{PACKAGE}."))
        .unwrap_or_else(|| panic!("{full} is of another package"))
        .to_owned()
}

/// `TYPE_INT64` to `int64`; the name for messages and enums.
fn scalar_or_named(kind: &str, name: &str) -> String {
    match kind {
        "TYPE_MESSAGE" | "TYPE_ENUM" => in_package(name),
        scalar => scalar.strip_prefix("TYPE_").unwrap().to_lowercase(),
    }
}

fn rows(table: &[BTreeMap<String, String>], columns: &[&str]) -> BTreeSet<Row> {
    table
        .iter()
        .map(|row| columns.iter().map(|column| row[*column].clone()).collect())
        .collect()
}

/// Asserts that both are the same, and prints what only one of them has.
fn same(what: &str, proto: &BTreeSet<Row>, table: &BTreeSet<Row>) {
    let only_proto: Vec<_> = proto.difference(table).collect();
    let only_table: Vec<_> = table.difference(proto).collect();
    assert!(
        only_proto.is_empty() && only_table.is_empty(),
        "{what}: only in the proto {only_proto:?}, only in the table {only_table:?}"
    );
}

/// Law: the .proto has exactly the messages and fields of the table.
#[test]
fn messages_and_fields() {
    let protocol = compile();
    let table = table("messages.csv");
    let names: BTreeSet<String> = table.iter().map(|row| row["message"].clone()).collect();
    assert_eq!(protocol.messages, names);
    assert_eq!(names.len(), 86);

    // A message without fields is one row without a field.
    let (fields, empty): (Vec<_>, Vec<_>) =
        table.into_iter().partition(|row| !row["field"].is_empty());
    assert_eq!((fields.len(), empty.len()), (255, 11));
    let columns = ["message", "field", "number", "type", "label"];
    same("fields", &protocol.fields, &rows(&fields, &columns));
    assert_eq!(protocol.fields.len(), 255);
}

/// Law: the .proto has exactly the enums and values of the table.
#[test]
fn enums_and_values() {
    let protocol = compile();
    let table = table("enums.csv");
    let names: BTreeSet<String> = table.iter().map(|row| row["enum"].clone()).collect();
    assert_eq!(protocol.enums, names);
    assert_eq!(names.len(), 10);
    same(
        "values",
        &protocol.values,
        &rows(&table, &["enum", "value", "number"]),
    );
    assert_eq!(protocol.values.len(), 99);
}

/// Law: the .proto has exactly the services and methods of the table.
#[test]
fn services_and_methods() {
    let protocol = compile();
    let table = table("services.csv");
    let services: BTreeSet<&str> = table.iter().map(|row| row["service"].as_str()).collect();
    assert_eq!(services.len(), 3);
    same(
        "methods",
        &protocol.methods,
        &rows(&table, &["service", "method", "request", "response"]),
    );
    assert_eq!(protocol.methods.len(), 21);
}

/// What generic code knows of a method.
fn generated<M: Method>() -> Row {
    let bare = |path: &str| path.rsplit("::").next().unwrap().to_owned();
    vec![
        M::SERVICE.to_owned(),
        M::NAME.to_owned(),
        bare(std::any::type_name::<M::Request>()),
        bare(std::any::type_name::<M::Response>()),
    ]
}

/// Law: the generated method types, and the list of their names per service, are those of the
/// table, in its order.
#[test]
fn generated_methods() {
    use rpc::{host_functions, plugin, runtime};
    let columns = ["service", "method", "request", "response"];
    let table = table("services.csv");
    let lists = [
        (runtime::SERVICE, runtime::METHODS),
        (plugin::SERVICE, plugin::METHODS),
        (host_functions::SERVICE, host_functions::METHODS),
    ];
    for (service, methods) in lists {
        let expected: Vec<&str> = table
            .iter()
            .filter(|row| row["service"] == service)
            .map(|row| row["method"].as_str())
            .collect();
        assert_eq!(methods, expected, "{service}");
    }
    let types = BTreeSet::from([
        generated::<runtime::RegisterPlugin>(),
        generated::<runtime::UpdateContainers>(),
        generated::<plugin::Configure>(),
        generated::<plugin::Synchronize>(),
        generated::<plugin::Shutdown>(),
        generated::<plugin::RunPodSandbox>(),
        generated::<plugin::UpdatePodSandbox>(),
        generated::<plugin::PostUpdatePodSandbox>(),
        generated::<plugin::StopPodSandbox>(),
        generated::<plugin::RemovePodSandbox>(),
        generated::<plugin::CreateContainer>(),
        generated::<plugin::PostCreateContainer>(),
        generated::<plugin::StartContainer>(),
        generated::<plugin::PostStartContainer>(),
        generated::<plugin::UpdateContainer>(),
        generated::<plugin::PostUpdateContainer>(),
        generated::<plugin::StopContainer>(),
        generated::<plugin::RemoveContainer>(),
        generated::<plugin::StateChange>(),
        generated::<plugin::ValidateContainerAdjustment>(),
        generated::<host_functions::Log>(),
    ]);
    same("method types", &types, &rows(&table, &columns));
}

/// The version in "Since v0.10.", in the form of the tables.
fn stated_version(comment: &str) -> Option<String> {
    let (_, after) = comment.split_once("Since v")?;
    let end = after
        .find(|c: char| c != '.' && !c.is_ascii_digit())
        .unwrap_or(after.len());
    let version = after[..end].trim_end_matches('.');
    let patch = if version.matches('.').count() == 1 {
        ".0"
    } else {
        ""
    };
    Some(format!("v{version}{patch}"))
}

/// Law: every declaration is documented, and what is newer than its surroundings says since when,
/// truly.
#[test]
fn documentation() {
    let comments = compile().comments;
    for (name, comment) in &comments {
        assert!(!comment.is_empty(), "{name} has no comment");
    }
    // The age of a declaration: what it says itself, else what the declarations around it say.
    let age = |name: &str| {
        let mut name = name;
        loop {
            if let Some(version) = stated_version(&comments[name]) {
                return version;
            }
            match name.rsplit_once('.') {
                Some((outer, _)) => name = outer,
                None => return FIRST_VERSION.to_owned(),
            }
        }
    };
    let mut seen = 0;
    for (file, columns) in [
        ("messages.csv", ["message", "field"]),
        ("enums.csv", ["enum", "value"]),
        ("services.csv", ["service", "method"]),
    ] {
        for row in table(file) {
            let outer = row[columns[0]]
                .trim_start_matches(&format!("{PACKAGE}."))
                .to_owned();
            let name = if row[columns[1]].is_empty() {
                outer
            } else {
                format!("{outer}.{}", row[columns[1]])
            };
            assert_eq!(age(&name), row["since"], "{name}: {}", comments[&name]);
            seen += 1;
        }
    }
    assert_eq!(seen, 255 + 11 + 99 + 21);
}
