//! Names: what a path means in a module, through imports and re-exports, and which methods a type
//! has.

use std::collections::{BTreeMap, HashMap};

use syn::{ImplItem, Item, ReturnType, TraitItem, Type, UseTree};

use super::parse::{Module, is_test};

/// An item of the crate.
pub(super) struct Definition<'a> {
    pub(super) name: String,
    pub(super) file: &'a str,
    /// The module whose names its parts are written in.
    pub(super) module: usize,
    pub(super) kind: Kind<'a>,
}

/// What an item is, as far as types can be followed through it.
pub(super) enum Kind<'a> {
    Struct(&'a syn::Fields),
    Enum(&'a syn::ItemEnum),
    Trait,
    Function(&'a ReturnType),
    /// A constant, a static or an alias.
    Typed(&'a Type),
    Other,
}

impl Kind<'_> {
    pub(super) fn is_type(&self) -> bool {
        matches!(self, Self::Struct(_) | Self::Enum(_) | Self::Trait)
    }
}

/// A method or an associated function.
pub(super) struct Method<'a> {
    pub(super) file: &'a str,
    pub(super) module: usize,
    pub(super) owner: usize,
    pub(super) output: &'a ReturnType,
}

/// What a path leads to.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Module(usize),
    Item(usize),
}

/// Names of methods that the standard library has on its own types: where the type of a receiver is
/// unknown, these are taken to be those.
pub(super) const WELL_KNOWN: &[&str] = &[
    "abort",
    "all",
    "and_then",
    "any",
    "apply",
    "as_bytes",
    "as_mut",
    "as_ref",
    "as_slice",
    "as_str",
    "borrow",
    "build",
    "cancel",
    "chain",
    "changed",
    "clear",
    "clone",
    "close",
    "cmp",
    "code",
    "collect",
    "concat",
    "contains",
    "count",
    "decode",
    "default",
    "drain",
    "drop",
    "encode",
    "end",
    "entry",
    "enter",
    "eq",
    "err",
    "extend",
    "filter",
    "find",
    "finish",
    "first",
    "flush",
    "fmt",
    "from",
    "get",
    "get_mut",
    "id",
    "index",
    "insert",
    "into",
    "into_inner",
    "is_closed",
    "is_empty",
    "is_none",
    "is_ok",
    "is_some",
    "iter",
    "iter_mut",
    "join",
    "keys",
    "kill",
    "kind",
    "last",
    "len",
    "lines",
    "lock",
    "map",
    "max",
    "min",
    "name",
    "new",
    "next",
    "now",
    "notify",
    "ok",
    "open",
    "or_default",
    "parse",
    "path",
    "peek",
    "poll",
    "pop",
    "pop_front",
    "pos",
    "position",
    "push",
    "push_back",
    "read",
    "recv",
    "remove",
    "replace",
    "retain",
    "rev",
    "run",
    "send",
    "set",
    "size",
    "skip",
    "spawn",
    "split",
    "start",
    "state",
    "status",
    "stop",
    "store",
    "subscribe",
    "swap",
    "take",
    "then",
    "to_owned",
    "to_string",
    "trim",
    "try_lock",
    "unwrap_or",
    "update",
    "values",
    "version",
    "wait",
    "with",
    "write",
];

/// The crate's names.
pub(super) struct Crate<'a> {
    pub(super) modules: &'a [Module],
    by_path: HashMap<&'a [String], usize>,
    names: Vec<Names>,
    pub(super) items: Vec<Definition<'a>>,
    /// By type and name; the first one of a name wins, own methods before those of traits.
    methods: HashMap<(usize, String), Method<'a>>,
    /// The files that define a method of a name.
    by_name: BTreeMap<String, Vec<&'a str>>,
    macros: BTreeMap<String, &'a str>,
}

#[derive(Default)]
struct Names {
    items: HashMap<String, usize>,
    imports: HashMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

impl<'a> Crate<'a> {
    pub(super) fn new(modules: &'a [Module]) -> Self {
        let mut all = Self {
            modules,
            by_path: modules
                .iter()
                .enumerate()
                .map(|(at, module)| (&module.path[..], at))
                .collect(),
            names: modules.iter().map(|_| Names::default()).collect(),
            items: Vec::new(),
            methods: HashMap::new(),
            by_name: BTreeMap::new(),
            macros: BTreeMap::new(),
        };
        for (at, module) in modules.iter().enumerate() {
            for item in &module.items {
                all.define(at, &module.file, item);
            }
        }
        for own in [true, false] {
            for (at, module) in modules.iter().enumerate() {
                for item in &module.items {
                    all.define_methods(at, &module.file, item, own);
                }
            }
        }
        all
    }

    fn define(&mut self, module: usize, file: &'a str, item: &'a Item) {
        let (name, kind, attributes) = match item {
            Item::Struct(item) => (&item.ident, Kind::Struct(&item.fields), &item.attrs),
            Item::Enum(item) => (&item.ident, Kind::Enum(item), &item.attrs),
            Item::Union(item) => (&item.ident, Kind::Other, &item.attrs),
            Item::Trait(item) => (&item.ident, Kind::Trait, &item.attrs),
            Item::Fn(item) => (
                &item.sig.ident,
                Kind::Function(&item.sig.output),
                &item.attrs,
            ),
            Item::Const(item) => (&item.ident, Kind::Typed(&item.ty), &item.attrs),
            Item::Static(item) => (&item.ident, Kind::Typed(&item.ty), &item.attrs),
            Item::Type(item) => (&item.ident, Kind::Typed(&item.ty), &item.attrs),
            Item::Use(item) if !is_test(&item.attrs) => {
                return imported(&item.tree, Vec::new(), &mut self.names[module]);
            }
            Item::Macro(item) => {
                if let Some(name) = &item.ident {
                    self.macros.insert(name.to_string(), file);
                }
                return;
            }
            _ => return,
        };
        if is_test(attributes) {
            return;
        }
        let name = name.to_string();
        self.names[module]
            .items
            .insert(name.clone(), self.items.len());
        self.items.push(Definition {
            name,
            file,
            module,
            kind,
        });
    }

    fn define_methods(&mut self, module: usize, file: &'a str, item: &'a Item, own: bool) {
        match item {
            Item::Impl(block) if !is_test(&block.attrs) && block.trait_.is_none() == own => {
                let Some(owner) = self.of_type_path(module, &block.self_ty) else {
                    return;
                };
                for part in &block.items {
                    if let ImplItem::Fn(function) = part
                        && !is_test(&function.attrs)
                    {
                        self.method(owner, module, file, &function.sig);
                    }
                }
            }
            Item::Trait(definition) if own && !is_test(&definition.attrs) => {
                let Some(&owner) = self.names[module].items.get(&definition.ident.to_string())
                else {
                    return;
                };
                for part in &definition.items {
                    if let TraitItem::Fn(function) = part {
                        self.method(owner, module, file, &function.sig);
                    }
                }
            }
            _ => {}
        }
    }

    fn method(
        &mut self,
        owner: usize,
        module: usize,
        file: &'a str,
        signature: &'a syn::Signature,
    ) {
        let name = signature.ident.to_string();
        let files = self.by_name.entry(name.clone()).or_default();
        if !files.contains(&file) {
            files.push(file);
        }
        let method = Method {
            file,
            module,
            owner,
            output: &signature.output,
        };
        self.methods.entry((owner, name)).or_insert(method);
    }

    /// The item that a plain type names.
    pub(super) fn of_type_path(&self, module: usize, named: &Type) -> Option<usize> {
        match named {
            Type::Path(path) => match self.resolve(module, &segments(&path.path))? {
                (Target::Item(item), []) => Some(item),
                _ => None,
            },
            Type::Reference(reference) => self.of_type_path(module, &reference.elem),
            Type::Group(group) => self.of_type_path(module, &group.elem),
            Type::TraitObject(object) => object.bounds.iter().find_map(|bound| match bound {
                syn::TypeParamBound::Trait(bound) => {
                    match self.resolve(module, &segments(&bound.path))? {
                        (Target::Item(item), []) => Some(item),
                        _ => None,
                    }
                }
                _ => None,
            }),
            _ => None,
        }
    }

    pub(super) fn find_method(&self, owner: usize, name: &str) -> Option<&Method<'a>> {
        self.methods.get(&(owner, name.to_owned()))
    }

    /// The one file that defines a method of this name.
    pub(super) fn only_file(&self, name: &str) -> Option<&'a str> {
        match self.by_name.get(name).map(Vec::as_slice) {
            Some([only]) if !WELL_KNOWN.contains(&name) => Some(only),
            _ => None,
        }
    }

    pub(super) fn macro_file(&self, name: &str) -> Option<&'a str> {
        self.macros.get(name).copied()
    }

    /// What a path means in a module, and which of its segments are left over: a variant, a method.
    pub(super) fn resolve<'p>(
        &self,
        module: usize,
        path: &'p [String],
    ) -> Option<(Target, &'p [String])> {
        self.follow(module, path, 0)
    }

    fn follow<'p>(
        &self,
        module: usize,
        path: &'p [String],
        depth: usize,
    ) -> Option<(Target, &'p [String])> {
        let (first, mut rest) = path.split_first()?;
        let mut target = match first.as_str() {
            "crate" | "$crate" => Target::Module(*self.by_path.get(&[][..])?),
            "self" => Target::Module(module),
            "super" => Target::Module(self.parent(module)?),
            name => self.lookup(module, name, depth)?,
        };
        while let (Target::Module(at), Some((next, left))) = (target, rest.split_first()) {
            target = match next.as_str() {
                "super" => Target::Module(self.parent(at)?),
                "self" => target,
                name => self.lookup(at, name, depth)?,
            };
            rest = left;
        }
        Some((target, rest))
    }

    fn parent(&self, module: usize) -> Option<usize> {
        let (_, parent) = self.modules[module].path.split_last()?;
        self.by_path.get(parent).copied()
    }

    fn lookup(&self, module: usize, name: &str, depth: usize) -> Option<Target> {
        if depth > 8 {
            return None;
        }
        let names = &self.names[module];
        if let Some(&item) = names.items.get(name) {
            return Some(Target::Item(item));
        }
        let child = [&self.modules[module].path[..], &[name.to_owned()]].concat();
        if let Some(&child) = self.by_path.get(&child[..]) {
            return Some(Target::Module(child));
        }
        if let Some(path) = names.imports.get(name) {
            // `use name::...` of an outside crate leads back to itself.
            if path.first().is_some_and(|first| first == name) && path.len() > 1 {
                return None;
            }
            return match self.follow(module, path, depth + 1)? {
                (target, []) => Some(target),
                _ => None,
            };
        }
        names
            .globs
            .iter()
            .find_map(|path| match self.follow(module, path, depth + 1)? {
                (Target::Module(at), []) if at != module => self.lookup(at, name, depth + 1),
                _ => None,
            })
    }
}

/// The names of a path, without its generic arguments.
pub(super) fn segments(path: &syn::Path) -> Vec<String> {
    path.segments
        .iter()
        .map(|segment| segment.ident.to_string())
        .collect()
}

fn imported(tree: &UseTree, mut path: Vec<String>, names: &mut Names) {
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            imported(&inner.tree, path, names);
        }
        UseTree::Name(name) if name.ident == "self" => {
            if let Some(last) = path.last().cloned() {
                names.imports.insert(last, path);
            }
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            path.push(name.clone());
            names.imports.insert(name, path);
        }
        UseTree::Rename(renamed) => {
            if renamed.ident != "self" {
                path.push(renamed.ident.to_string());
            }
            names.imports.insert(renamed.rename.to_string(), path);
        }
        UseTree::Glob(_) => names.globs.push(path),
        UseTree::Group(group) => {
            group
                .items
                .iter()
                .for_each(|tree| imported(tree, path.clone(), names));
        }
    }
}
