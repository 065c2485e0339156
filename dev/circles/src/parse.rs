//! The modules of a crate, as its `mod` lines declare them. Modules of tests are left out.

use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, Meta};

/// A module: a file, or a `mod name { ... }` inside one.
pub(super) struct Module {
    /// From the crate's root: empty for the root itself.
    pub(super) path: Vec<String>,
    /// The file, from the crate's `src`.
    pub(super) file: String,
    pub(super) items: Vec<Item>,
}

/// Reads the library below `src`.
pub(super) fn modules(src: &Path) -> Result<Vec<Module>, String> {
    let mut found = Vec::new();
    read(src, &src.join("lib.rs"), Vec::new(), &mut found)?;
    Ok(found)
}

fn read(src: &Path, file: &Path, path: Vec<String>, found: &mut Vec<Module>) -> Result<(), String> {
    let text = fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let parsed = syn::parse_file(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    let name = file.strip_prefix(src).unwrap_or(file).display().to_string();
    // Where the files of child modules are: beside `mod.rs` and `lib.rs`, below all others.
    let beside = matches!(
        file.file_name().and_then(|name| name.to_str()),
        Some("mod.rs" | "lib.rs")
    );
    let children = match file.parent() {
        Some(parent) if beside => parent.to_owned(),
        _ => file.with_extension(""),
    };
    take(src, &name, &children, path, parsed.items, found)
}

fn take(
    src: &Path,
    file: &str,
    children: &Path,
    path: Vec<String>,
    items: Vec<Item>,
    found: &mut Vec<Module>,
) -> Result<(), String> {
    let mut own = Vec::new();
    for item in items {
        match item {
            Item::Mod(module) if is_test(&module.attrs) => {}
            Item::Mod(module) => {
                let name = module.ident.to_string();
                let inner = [&path[..], std::slice::from_ref(&name)].concat();
                match module.content {
                    Some((_, items)) => {
                        take(src, file, &children.join(&name), inner, items, found)?
                    }
                    None => read(src, &declared(children, &name, &module.attrs), inner, found)?,
                }
            }
            other => own.push(other),
        }
    }
    found.push(Module {
        path,
        file: file.to_owned(),
        items: own,
    });
    Ok(())
}

/// The file of `mod name;`.
fn declared(children: &Path, name: &str, attributes: &[Attribute]) -> PathBuf {
    let said = attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) => Some(text.value()),
                _ => None,
            },
            _ => None,
        });
    let flat = children.join(said.unwrap_or_else(|| format!("{name}.rs")));
    if flat.is_file() {
        flat
    } else {
        children.join(name).join("mod.rs")
    }
}

/// Whether an item is there for tests only.
pub(super) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => {
            let said = list.tokens.to_string();
            said == "test"
                || (said.starts_with("all") && said.contains("test") && !said.contains("not"))
        }
        _ => false,
    })
}
