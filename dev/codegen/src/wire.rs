//! How each message is read from bytes that lie in one piece, and written: which field has which
//! key. What reading and writing a value means is in `nri-proto/src/reading.rs` and `writing.rs`.

use std::fmt::Write as _;

use heck::ToSnakeCase as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::{identifier, rust_path};

/// The kinds of values on the wire.
const VARINT: i32 = 0;
const DELIMITED: i32 = 2;

/// A message, as far as it matters here.
struct Message {
    path: String,
    /// In the order of their numbers.
    fields: Vec<Field>,
}

struct Field {
    number: i32,
    member: String,
    key: i32,
    form: Form,
}

/// What a field holds; the methods of reader and writer have these names.
enum Form {
    /// One value that is no message.
    Value(&'static str),
    /// One message, or none.
    Message,
    /// Texts or messages, each with a key of its own.
    List(&'static str),
    /// Numbers, in one run of bytes.
    Packed(&'static str),
    /// Entries: the keys and the methods of keys and of values.
    Map([(i32, &'static str); 2]),
}

/// The code that reads all messages.
pub(crate) fn reading(files: &FileDescriptorSet) -> Result<String, String> {
    generate(files, read)
}

/// The code that writes them.
pub(crate) fn writing(files: &FileDescriptorSet) -> Result<String, String> {
    generate(files, write)
}

fn generate(files: &FileDescriptorSet, of: fn(&Message) -> String) -> Result<String, String> {
    let mut text = String::from("use crate::api;\n");
    for message in files.file.iter().flat_map(|file| &file.message_type) {
        text += &of(&known(message)?);
    }
    Ok(text)
}

fn read(Message { path, fields }: &Message) -> String {
    let (mut arms, mut maps, mut filled) = (String::new(), String::new(), String::new());
    for Field {
        member, key, form, ..
    } in fields
    {
        let read = match form {
            Form::Value(value) => format!("self.{member} = from.{value}()?"),
            Form::Message => format!("from.fill(&mut self.{member})?"),
            Form::List(value) => {
                format!("from.run({key}, &mut self.{member}, Reader::{value})?")
            }
            Form::Packed(value) => format!("from.packed(&mut self.{member}, Reader::{value})?"),
            Form::Map([(of, of_key), (value, of_value)]) => {
                let _ = writeln!(maps, "let mut {member} = Vec::new();");
                let _ = writeln!(filled, "put_all(&mut self.{member}, {member});");
                format!(
                    "from.run({key}, &mut {member}, |from| from.entry({of}, Reader::{of_key}, {value}, Reader::{of_value}))?"
                )
            }
        };
        let _ = writeln!(arms, "{key} => {read},");
    }
    let numbers: Vec<i32> = fields.iter().map(|field| field.number).collect();
    let skip = format!("from.skip(key, &{numbers:?})?");
    let each = match fields.is_empty() {
        true => skip,
        false => format!("match key {{ {arms} key => {skip}, }}"),
    };
    format!(
        "impl Fill for api::{path} {{
            fn fill(&mut self, from: &mut Reader<'_>) -> Result<(), Refused> {{
                {maps}
                while let Some(key) = from.key()? {{ {each} }}
                {filled}
                Ok(())
            }}
        }}\n"
    )
}

fn write(Message { path, fields }: &Message) -> String {
    let mut puts = String::new();
    for Field {
        member, key, form, ..
    } in fields.iter().rev()
    {
        let put = match form {
            Form::Value("text") => format!("to.text({key}, &self.{member})"),
            Form::Value(value) => format!("to.{value}({key}, self.{member})"),
            Form::Message => format!("to.message({key}, &self.{member})"),
            Form::List(value) => format!("to.list({key}, &self.{member}, Writer::item_{value})"),
            Form::Packed(value) => {
                format!("to.packed({key}, &self.{member}, Writer::bits_{value})")
            }
            Form::Map([(of_key, key_value), (of_value, value)]) => format!(
                "to.map({key}, &self.{member}, {of_key}, Writer::item_{key_value}, {of_value}, Writer::item_{value})"
            ),
        };
        let _ = writeln!(puts, "{put};");
    }
    format!(
        "impl Put for api::{path} {{
            fn put(&self, to: &mut Writer) {{ let _ = &to; {puts} }}
        }}\n"
    )
}

/// What is known of a message.
fn known(message: &DescriptorProto) -> Result<Message, String> {
    let name = message.name();
    let mut fields = Vec::new();
    for field in &message.field {
        let entry = message.nested_type.iter().find(|nested| {
            let entry = format!(".{name}.{}", nested.name());
            field.type_name().ends_with(&entry)
        });
        let is_map =
            |entry: &DescriptorProto| entry.options.as_ref().is_some_and(|it| it.map_entry());
        let refuse = |what: &str| format!("{name}.{}: wire.rs has no {what}", field.name());
        if field.oneof_index.is_some() {
            return Err(refuse("oneof"));
        }
        let repeated = field.label() == Label::Repeated;
        let (wire, value) = value(field)?;
        let (wire, form) = match (entry, field.r#type(), repeated) {
            (Some(entry), ..) if !is_map(entry) => return Err(refuse("messages in messages")),
            (Some(entry), ..) => (DELIMITED, Form::Map(of_map(entry)?)),
            (None, Type::Message, false) => (wire, Form::Message),
            (None, Type::Message | Type::String, true) => (wire, Form::List(value)),
            (None, _, true) => (DELIMITED, Form::Packed(value)),
            (None, _, false) => (wire, Form::Value(value)),
        };
        fields.push(Field {
            number: field.number(),
            member: identifier(&field.name().to_snake_case()),
            key: field.number() << 3 | wire,
            form,
        });
    }
    fields.sort_by_key(|field| field.number);
    Ok(Message {
        path: rust_path(&format!(".{}.{name}", crate::PACKAGE))?,
        fields,
    })
}

/// The keys and values of a map.
fn of_map(entry: &DescriptorProto) -> Result<[(i32, &'static str); 2], String> {
    let [key, of_value] = &entry.field[..] else {
        return Err(format!("{}: a map has keys and values", entry.name()));
    };
    let (key, of_value) = (value(key)?, value(of_value)?);
    Ok([(1 << 3 | key.0, key.1), (2 << 3 | of_value.0, of_value.1)])
}

/// How a value is on the wire, and what its methods are called.
fn value(field: &FieldDescriptorProto) -> Result<(i32, &'static str), String> {
    Ok(match field.r#type() {
        Type::String => (DELIMITED, "text"),
        Type::Message => (DELIMITED, "message"),
        Type::Bool => (VARINT, "bool"),
        Type::Int32 | Type::Enum => (VARINT, "int32"),
        Type::Uint32 => (VARINT, "uint32"),
        Type::Int64 => (VARINT, "int64"),
        Type::Uint64 => (VARINT, "uint64"),
        other => return Err(format!("{}: wire.rs has no {other:?}", field.name())),
    })
}
