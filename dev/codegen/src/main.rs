//! `cargo xtask codegen`: `nri-proto/proto/*.proto` to `nri-proto/src/generated/*.rs`, and the same
//! for `nri-runtime`.
//!
//! Compiled with `protox`, a protobuf compiler in Rust, so nobody needs `protoc`. `--check` writes
//! nothing and fails when a checked-in file differs from what would be written.

mod wire;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_build::{Method, Service, ServiceGenerator};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use tempfile::TempDir;

use nri_dev::workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask codegen",
    about = "Generate the Rust code of the protocols from the .proto files of nri-proto and nri-runtime.",
    version
)]
struct Options {
    /// Write nothing; fail when a generated file is stale.
    #[arg(long)]
    check: bool,
}

const PROTO: &str = "nri.proto";
const PACKAGE: &str = "nri.pkg.api.v1alpha1";
/// The messages in which ttrpc wraps those of NRI.
const ENVELOPE_PROTO: &str = "ttrpc.proto";
const ENVELOPE_PACKAGE: &str = "ttrpc";
/// CRI, for the runtime: `api.proto` of k8s.io/cri-api v0.37.2, as it is there.
const CRI_PROTO: &str = "cri.proto";
const CRI_PACKAGE: &str = "runtime.v1";

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("codegen: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let mut stale = Vec::new();
    for (name, generate) in CRATES {
        let directory = workspace::root().join(name);
        let target = directory.join("src/generated");
        for (name, text) in generate(&directory.join("proto"))? {
            let path = target.join(&name);
            if fs::read_to_string(&path).is_ok_and(|old| old == text) {
                continue;
            }
            if options.check {
                stale.push(name);
            } else {
                fs::create_dir_all(&target).map_err(|e| format!("{}: {e}", target.display()))?;
                fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
                println!("wrote {}", path.display());
            }
        }
    }
    if stale.is_empty() {
        Ok(())
    } else {
        Err(format!(
            "generated code is stale ({}): run `cargo xtask codegen` and commit the result",
            stale.join(", ")
        ))
    }
}

/// Generated files by name, from the directory of the `.proto` files.
type Generate = fn(&Path) -> Result<BTreeMap<String, String>, String>;

/// The crates with generated code.
const CRATES: [(&str, Generate); 2] = [("nri-proto", nri), ("nri-runtime", cri)];

/// The messages and servers of CRI. Messages are kept on disk as JSON, so they have serde's traits.
fn cri(include: &Path) -> Result<BTreeMap<String, String>, String> {
    let descriptors = protox::compile([CRI_PROTO], [include]).map_err(|e| format!("{e:?}"))?;
    let out = temporary()?;
    let mut config = prost_build::Config::new();
    config.btree_map(["."]);
    config.message_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]");
    config.message_attribute(".", "#[serde(default)]");
    tonic_prost_build::configure()
        .build_client(false)
        .generate_default_stubs(true)
        .out_dir(out.path())
        .compile_fds_with_config(descriptors, config)
        .map_err(|e| e.to_string())?;
    let text = read(&out, &format!("{CRI_PACKAGE}.rs"))?;
    let text = finished(&format!("nri-runtime/proto/{CRI_PROTO}"), &text)?;
    Ok([("cri.rs".to_owned(), text)].into())
}

/// The protocol of NRI.
fn nri(include: &Path) -> Result<BTreeMap<String, String>, String> {
    let descriptors = protox::compile([PROTO], [include]).map_err(|e| format!("{e:?}"))?;
    let mut files = BTreeMap::new();

    // The messages, and, collected on the way, the services.
    let out = temporary()?;
    let services = Collector::default();
    let rpc = Rc::clone(&services.0);
    prost_build::Config::new()
        .btree_map(["."])
        .out_dir(out.path())
        .service_generator(Box::new(services))
        .compile_fds(descriptors.clone())
        .map_err(|e| e.to_string())?;
    files.insert(
        "messages.rs".to_owned(),
        read(&out, &format!("{PACKAGE}.rs"))?,
    );

    files.insert("json.rs".to_owned(), json(&descriptors)?);

    files.insert("shapes.rs".to_owned(), shapes(&descriptors));

    files.insert("reading.rs".to_owned(), wire::reading(&descriptors)?);
    files.insert("writing.rs".to_owned(), wire::writing(&descriptors)?);

    let rpc = rpc.borrow();
    files.insert("methods.rs".to_owned(), rpc.methods.clone());
    files.insert("services.rs".to_owned(), rpc.services.clone());
    for text in files.values_mut() {
        *text = finished(&format!("nri-proto/proto/{PROTO}"), text)?;
    }
    let envelope = finished(
        &format!("nri-proto/proto/{ENVELOPE_PROTO}"),
        &envelope(include)?,
    )?;
    files.insert("envelope.rs".to_owned(), envelope);
    Ok(files)
}

/// Which fields messages and enums have in JSON; how they are read and written is in
/// `nri-proto/src/json.rs`.
fn json(files: &FileDescriptorSet) -> Result<String, String> {
    let mut text = String::new();
    for file in &files.file {
        for message in &file.message_type {
            json_message(message, "", &mut text)?;
        }
        for of in &file.enum_type {
            json_enum(of, "", &mut text);
        }
    }
    Ok(text)
}

/// A message, and what is declared in it. `module` is where prost puts that.
fn json_message(message: &DescriptorProto, module: &str, text: &mut String) -> Result<(), String> {
    let name = message.name();
    let path = format!("{module}{}", name.to_upper_camel_case());
    let inside = format!("{module}{}::", name.to_snake_case());
    for of in &message.enum_type {
        json_enum(of, &inside, text);
    }
    let (maps, nested) = message
        .nested_type
        .iter()
        .partition::<Vec<_>, _>(|nested| nested.options.as_ref().is_some_and(|o| o.map_entry()));
    for nested in nested {
        json_message(nested, &inside, text)?;
    }
    if message.field.len() > 64 {
        return Err(format!(
            "{name} has more than 64 fields: widen the mask in nri-proto/src/json.rs"
        ));
    }

    let (mut names, mut writes, mut reads) = (String::new(), String::new(), String::new());
    for (number, field) in message.field.iter().enumerate() {
        let (json, proto) = (field.json_name(), field.name());
        let unsupported = |field: &FieldDescriptorProto| {
            let kind = field.r#type();
            format!("{name}.{proto}: nri-proto/src/json.rs has no JSON form for {kind:?}")
        };
        let is_map = |map: &&&DescriptorProto| {
            field
                .type_name()
                .ends_with(&format!(".{name}.{}", map.name()))
        };
        let map = maps.iter().find(is_map);
        for value in map.map_or(std::slice::from_ref(field), |map| &map.field) {
            let known = match value.r#type() {
                Type::String | Type::Bool | Type::Message => true,
                Type::Int32 | Type::Uint32 | Type::Int64 | Type::Uint64 => true,
                Type::Enum => map.is_none(),
                _ => false,
            };
            if !known || field.oneof_index.is_some() {
                return Err(unsupported(value));
            }
        }
        let member = identifier(&proto.to_snake_case());
        let repeated = field.label() == Label::Repeated;
        let (write, read) = match field.r#type() {
            Type::Enum => {
                let of = rust_path(field.type_name())?;
                match repeated {
                    true => (
                        format!("numbers::<{of}>({json:?}, &self.{member})"),
                        format!("numbers::<{of}>()"),
                    ),
                    false => (
                        format!("number::<{of}>({json:?}, self.{member})"),
                        format!("number::<{of}>()"),
                    ),
                }
            }
            _ => (
                format!("field({json:?}, &self.{member})"),
                "value()".to_owned(),
            ),
        };
        let _ = writeln!(names, "[{json:?}, {proto:?}],");
        let _ = writeln!(writes, "to.{write}?;");
        let _ = writeln!(reads, "{number} => self.{member} = next.{read}?,");
    }
    let _ = writeln!(
        text,
        "impl crate::json::Message for {path} {{
            const NAME: &'static str = {name:?};
            const FIELDS: &'static [crate::json::Names] = &[{names}];
            fn write<M: serde::ser::SerializeMap>(&self, to: &mut crate::json::Writer<'_, M>) -> Result<(), M::Error> {{
                let _ = &to;
                {writes}
                Ok(())
            }}
            fn read<'de, A: serde::de::MapAccess<'de>>(&mut self, field: usize, next: crate::json::Next<'_, A>) -> Result<(), A::Error> {{
                let _ = &next;
                match field {{ {reads} _ => {{}} }}
                Ok(())
            }}
        }}
        impl serde::Serialize for {path} {{
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {{
                crate::json::write(self, to)
            }}
        }}
        impl<'de> serde::Deserialize<'de> for {path} {{
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {{
                crate::json::read(from)
            }}
        }}"
    );
    Ok(())
}

fn json_enum(of: &EnumDescriptorProto, module: &str, text: &mut String) {
    let name = of.name();
    let path = format!("{module}{}", name.to_upper_camel_case());
    let values = of.value.iter().fold(String::new(), |mut values, value| {
        let _ = write!(values, "({}, {:?}),", value.number(), value.name());
        values
    });
    let _ = writeln!(
        text,
        "impl crate::json::Enum for {path} {{
            const NAME: &'static str = {name:?};
            const VALUES: &'static [(i32, &'static str)] = &[{values}];
        }}
        impl serde::Serialize for {path} {{
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {{
                crate::json::write_enum::<Self, S>(*self as i32, to)
            }}
        }}
        impl<'de> serde::Deserialize<'de> for {path} {{
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {{
                crate::json::read_enum(from)
            }}
        }}"
    );
}

/// Where prost puts a type of the protocol, from the module of the messages.
fn rust_path(full_name: &str) -> Result<String, String> {
    let name = full_name
        .strip_prefix(&format!(".{PACKAGE}."))
        .ok_or_else(|| format!("{full_name} is not in package {PACKAGE}"))?;
    let (outer, last) = name.rsplit_once('.').unwrap_or(("", name));
    let modules = outer.split('.').filter(|module| !module.is_empty());
    let modules: String = modules
        .map(|module| format!("{}::", module.to_snake_case()))
        .collect();
    Ok(format!("{modules}{}", last.to_upper_camel_case()))
}

/// The name, or its raw form where it is a keyword.
fn identifier(name: &str) -> String {
    match syn::parse_str::<syn::Ident>(name) {
        Ok(_) => name.to_owned(),
        Err(_) => format!("r#{name}"),
    }
}

/// The messages of the envelope. Their payloads share the bytes that they were decoded from.
fn envelope(include: &Path) -> Result<String, String> {
    let descriptors = protox::compile([ENVELOPE_PROTO], [include]).map_err(|e| format!("{e:?}"))?;
    let out = temporary()?;
    prost_build::Config::new()
        .bytes(["."])
        .out_dir(out.path())
        .compile_fds(descriptors)
        .map_err(|e| e.to_string())?;
    read(&out, &format!("{ENVELOPE_PACKAGE}.rs"))
}

/// A generated file as it is checked in.
fn finished(source: &str, text: &str) -> Result<String, String> {
    let syntax = syn::parse_file(text).map_err(|e| e.to_string())?;
    Ok(format!(
        "// Generated by `cargo xtask codegen` from {source}. Do not edit.\n\n{}",
        prettyplease::unparse(&syntax)
    ))
}

/// The code for the services, as text.
#[derive(Default)]
struct Rpc {
    /// A module per service with one type per method.
    methods: String,
    /// A server trait, its dispatch, and a typed client per service that runs over the socket.
    services: String,
}

#[derive(Default)]
struct Collector(Rc<RefCell<Rpc>>);

/// Called from WebAssembly modules only, never over the socket, so it needs no client or server.
const HOST_FUNCTIONS: &str = "HostFunctions";

impl ServiceGenerator for Collector {
    fn generate(&mut self, service: Service, _: &mut String) {
        let mut rpc = self.0.borrow_mut();
        rpc.methods.push_str(&methods(&service));
        if service.proto_name != HOST_FUNCTIONS {
            rpc.services.push_str(&socket_service(&service));
        }
    }
}

fn doc(lines: &[String]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "#[doc = {line:?}]");
        text
    })
}

fn full_name(service: &Service) -> String {
    format!("{}.{}", service.package, service.proto_name)
}

/// `rpc::plugin::RunPodSandbox` and so on: what a generic call needs to know of a method.
fn methods(service: &Service) -> String {
    let mut text = String::new();
    let module = to_snake(&service.proto_name);
    let _ = writeln!(
        text,
        "{}pub mod {module} {{",
        doc(&service.comments.leading)
    );
    let _ = writeln!(text, "use crate::{{api, Method}};");
    let _ = writeln!(
        text,
        "#[doc = \"Full name of the service on the wire.\"]\npub const SERVICE: &str = {:?};",
        full_name(service)
    );
    let names: Vec<&str> = service
        .methods
        .iter()
        .map(|m| m.proto_name.as_str())
        .collect();
    let _ = writeln!(
        text,
        "#[doc = \"Every method of the service, in the order of the protocol.\"]\npub const METHODS: &[&str] = &{names:?};"
    );
    for Method {
        proto_name,
        input_type,
        output_type,
        comments,
        ..
    } in &service.methods
    {
        let _ = writeln!(
            text,
            "{}#[derive(Debug, Clone, Copy, PartialEq, Eq)]\npub struct {proto_name};
            impl Method for {proto_name} {{
                const SERVICE: &'static str = SERVICE;
                const NAME: &'static str = {proto_name:?};
                type Request = api::{input_type};
                type Response = api::{output_type};
            }}",
            doc(&comments.leading)
        );
    }
    text.push_str("}\n");
    text
}

fn socket_service(service: &Service) -> String {
    let name = &service.proto_name;
    let module = to_snake(name);
    let mut server = String::new();
    let mut dispatch = String::new();
    let mut client = String::new();
    for Method {
        name: function,
        proto_name,
        input_type,
        output_type,
        comments,
        ..
    } in &service.methods
    {
        let docs = doc(&comments.leading);
        let _ = writeln!(
            server,
            "{docs}#[doc = \"\"]#[doc = \" The default refuses with code 12, UNIMPLEMENTED.\"]
            async fn {function}(&self, context: CallContext, request: api::{input_type}) -> Result<api::{output_type}, Status> {{
                let _ = (context, request);
                Err(Status::unknown_method({proto_name:?}))
            }}"
        );
        let _ = writeln!(
            dispatch,
            "{proto_name:?} => answer::<rpc::{module}::{proto_name}, _, _>(payload, |request| self.0.{function}(context, request)).await,"
        );
        let _ = writeln!(
            client,
            "{docs}pub async fn {function}(&self, request: &api::{input_type}, options: CallOptions) -> Result<api::{output_type}, CallError> {{
                self.0.call::<rpc::{module}::{proto_name}>(request, options).await
            }}"
        );
    }
    format!(
        "{service_doc}#[async_trait::async_trait]
        pub trait {name}Service: Send + Sync + 'static {{ {server} }}

        #[doc = \" Serves a [`{name}Service`] on a [`Connection`].\"]
        #[derive(Debug)]
        pub struct {name}Server<S>(std::sync::Arc<S>);

        impl<S: {name}Service> {name}Server<S> {{
            #[doc = \" A server that hands every call to `service`.\"]
            pub fn new(service: std::sync::Arc<S>) -> Self {{ Self(service) }}
        }}

        #[async_trait::async_trait]
        impl<S: {name}Service> Service for {name}Server<S> {{
            fn name(&self) -> &'static str {{ rpc::{module}::SERVICE }}
            async fn call(&self, context: CallContext, method: &str, payload: bytes::Bytes) -> Result<Vec<u8>, Status> {{
                match method {{ {dispatch} _ => Err(Status::unknown_method(method)), }}
            }}
        }}

        #[doc = \" Calls the methods of `{name}` at the peer; cheap to clone.\"]
        #[derive(Debug, Clone)]
        pub struct {name}Client(Client);

        impl {name}Client {{
            #[doc = \" A typed view of `client`.\"]
            pub fn new(client: Client) -> Self {{ Self(client) }}
            #[doc = \" The untyped client below, for generic calls.\"]
            pub fn client(&self) -> &Client {{ &self.0 }}
            {client}
        }}\n",
        service_doc = doc(&service.comments.leading),
    )
}

/// What a message consists of, as far as it can be many: a `Shape` for each, and which one is
/// whose.
fn shapes(descriptors: &FileDescriptorSet) -> String {
    let mut text = String::from("use crate::api;\n");
    for file in descriptors.file.iter().filter(|f| f.package() == PACKAGE) {
        for message in &file.message_type {
            let name = message.name();
            shape(&format!(".{PACKAGE}.{name}"), message, &mut text);
            let _ = writeln!(
                text,
                "impl Shaped for api::{} {{ const SHAPE: &'static Shape = &{}; }}",
                rust_name(name),
                constant(&format!(".{PACKAGE}.{name}"))
            );
        }
    }
    text
}

fn shape(full_name: &str, message: &DescriptorProto, text: &mut String) {
    for nested in &message.nested_type {
        shape(&format!("{full_name}.{}", nested.name()), nested, text);
    }
    let fields = message.field.iter().filter_map(|field| {
        let repeated = field.label() == Label::Repeated;
        let message = (field.r#type() == Type::Message)
            .then(|| format!("Some(&{})", constant(field.type_name())));
        // One value that is no message is one value.
        (repeated || message.is_some()).then(|| {
            format!(
                "Field {{ number: {}, name: {:?}, repeated: {repeated}, packed: {}, message: {} }}",
                field.number(),
                field.name(),
                repeated && !matches!(field.r#type(), Type::Message | Type::String | Type::Bytes),
                message.as_deref().unwrap_or("None"),
            )
        })
    });
    let fields: Vec<String> = fields.collect();
    let _ = writeln!(
        text,
        "static {}: Shape = Shape {{ name: {:?}, fields: &[{}] }};",
        constant(full_name),
        message.name(),
        fields.join(", ")
    );
}

/// `.nri.pkg.api.v1alpha1.ContainerAdjustment.LabelsEntry` is `CONTAINER_ADJUSTMENT_LABELS_ENTRY`.
fn constant(full_name: &str) -> String {
    let name = full_name.trim_start_matches(&format!(".{PACKAGE}.")[..]);
    let parts: Vec<String> = name.split('.').map(to_snake).collect();
    parts.join("_").to_uppercase()
}

/// `LinuxIOPriority` is `LinuxIoPriority` in Rust, as prost has it.
fn rust_name(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let within = |at: usize| {
        let before = at > 0 && letters[at - 1].is_uppercase();
        before && letters.get(at + 1).is_none_or(|next| !next.is_lowercase())
    };
    let letter = |(at, c): (usize, &char)| match within(at) {
        true => c.to_ascii_lowercase(),
        false => *c,
    };
    letters.iter().enumerate().map(letter).collect()
}

fn to_snake(name: &str) -> String {
    name.char_indices().fold(String::new(), |mut text, (i, c)| {
        if c.is_uppercase() && i > 0 {
            text.push('_');
        }
        text.extend(c.to_lowercase());
        text
    })
}

fn temporary() -> Result<TempDir, String> {
    TempDir::with_prefix("nri-codegen-").map_err(|e| format!("a temporary directory: {e}"))
}

fn read(directory: &TempDir, name: &str) -> Result<String, String> {
    let path = directory.path().join(name);
    fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))
}
