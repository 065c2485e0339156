//! Types, as far as they can be followed without a compiler: a type is the crate's items that are
//! in it, whatever wraps them.

use std::collections::HashMap;

use syn::{
    Expr, Fields, GenericArgument, Member, Pat, PathArguments, ReturnType, Type, TypeParamBound,
};

use super::resolve::{Crate, Kind, Target, segments};

/// The crate's items in a type, from the outside in.
pub(super) type Held = Vec<usize>;

/// What the names of a function mean.
pub(super) struct Names<'a> {
    pub(super) all: &'a Crate<'a>,
    pub(super) module: usize,
    /// What `Self` is.
    pub(super) owner: Option<usize>,
    /// Generic parameters by name.
    pub(super) generics: HashMap<String, Held>,
    /// Local variables, by block.
    pub(super) scopes: Vec<HashMap<String, Held>>,
}

impl<'a> Names<'a> {
    /// What is held by a type, as it is written in a module.
    pub(super) fn of_type(&self, module: usize, owner: Option<usize>, written: &Type) -> Held {
        let inner = |written: &Type| self.of_type(module, owner, written);
        match written {
            Type::Path(path) => self.of_written_path(module, owner, &path.path),
            Type::Reference(reference) => inner(&reference.elem),
            Type::Paren(paren) => inner(&paren.elem),
            Type::Group(group) => inner(&group.elem),
            Type::Slice(slice) => inner(&slice.elem),
            Type::Array(array) => inner(&array.elem),
            Type::Tuple(tuple) => tuple.elems.iter().flat_map(inner).collect(),
            Type::ImplTrait(some) => self.of_bounds(module, owner, some.bounds.iter()),
            Type::TraitObject(some) => self.of_bounds(module, owner, some.bounds.iter()),
            _ => Held::new(),
        }
    }

    fn of_written_path(&self, module: usize, owner: Option<usize>, path: &syn::Path) -> Held {
        let names = segments(path);
        let mut held = match names.as_slice() {
            [only] if only == "Self" => owner.into_iter().collect(),
            [only] if self.generics.contains_key(only) => self.generics[only].clone(),
            _ => match self.all.resolve(module, &names) {
                Some((Target::Item(item), [])) => self.of_item(item),
                _ => Held::new(),
            },
        };
        for segment in path.segments.iter().rev() {
            held.extend(self.of_arguments(module, owner, &segment.arguments));
        }
        held
    }

    /// An item as a type: an alias stands for what it names.
    fn of_item(&self, item: usize) -> Held {
        let definition = &self.all.items[item];
        match &definition.kind {
            Kind::Typed(written) => self.of_type(definition.module, None, written),
            kind if kind.is_type() => vec![item],
            _ => Held::new(),
        }
    }

    fn of_arguments(&self, module: usize, owner: Option<usize>, arguments: &PathArguments) -> Held {
        match arguments {
            PathArguments::None => Held::new(),
            // The last one first: what a map holds comes before what it is held by.
            PathArguments::AngleBracketed(list) => list
                .args
                .iter()
                .rev()
                .flat_map(|argument| match argument {
                    GenericArgument::Type(written) => self.of_type(module, owner, written),
                    GenericArgument::AssocType(pair) => self.of_type(module, owner, &pair.ty),
                    _ => Held::new(),
                })
                .collect(),
            PathArguments::Parenthesized(call) => self.of_output(module, owner, &call.output),
        }
    }

    pub(super) fn of_bounds<'b>(
        &self,
        module: usize,
        owner: Option<usize>,
        bounds: impl Iterator<Item = &'b TypeParamBound>,
    ) -> Held {
        bounds
            .flat_map(|bound| match bound {
                TypeParamBound::Trait(bound) => self.of_written_path(module, owner, &bound.path),
                _ => Held::new(),
            })
            .collect()
    }

    fn of_output(&self, module: usize, owner: Option<usize>, output: &ReturnType) -> Held {
        match output {
            ReturnType::Default => Held::new(),
            ReturnType::Type(_, written) => self.of_type(module, owner, written),
        }
    }

    /// What an expression holds.
    pub(super) fn of(&self, expression: &Expr) -> Held {
        match expression {
            Expr::Path(path) => self.of_path(&segments(&path.path)),
            Expr::Call(call) => match &*call.func {
                Expr::Path(function) => self.of_call(&segments(&function.path), call),
                function => self.of(function),
            },
            Expr::MethodCall(call) => {
                let receiver = self.of(&call.receiver);
                let name = call.method.to_string();
                if let Some(method) = receiver
                    .iter()
                    .find_map(|&held| self.all.find_method(held, &name))
                {
                    return self.of_output(method.module, Some(method.owner), method.output);
                }
                match call.args.last() {
                    Some(Expr::Closure(closure)) if MAPPING.contains(&&*name) => {
                        Some(self.of(&closure.body))
                            .filter(|held| !held.is_empty())
                            .unwrap_or(receiver)
                    }
                    _ => receiver,
                }
            }
            Expr::Field(field) => self.of_field(&self.of(&field.base), &field.member),
            Expr::Struct(literal) => {
                match self.all.resolve(self.module, &segments(&literal.path)) {
                    Some((Target::Item(item), _)) => self.of_item(item),
                    _ => self.of_path(&segments(&literal.path)),
                }
            }
            Expr::Reference(inner) => self.of(&inner.expr),
            Expr::Paren(inner) => self.of(&inner.expr),
            Expr::Group(inner) => self.of(&inner.expr),
            Expr::Try(inner) => self.of(&inner.expr),
            Expr::Await(inner) => self.of(&inner.base),
            Expr::Unary(inner) => self.of(&inner.expr),
            Expr::Index(inner) => self.of(&inner.expr),
            Expr::Cast(inner) => self.of_type(self.module, self.owner, &inner.ty),
            Expr::Closure(inner) => self.of(&inner.body),
            Expr::Block(block) => self.of_block(&block.block),
            Expr::Async(block) => self.of_block(&block.block),
            Expr::If(branch) => self.of_block(&branch.then_branch),
            Expr::Match(choice) => {
                let arms = choice.arms.iter().map(|arm| self.of(&arm.body));
                arms.into_iter()
                    .find(|held| !held.is_empty())
                    .unwrap_or_default()
            }
            Expr::Tuple(tuple) => tuple.elems.iter().flat_map(|part| self.of(part)).collect(),
            Expr::Array(array) => array.elems.iter().flat_map(|part| self.of(part)).collect(),
            _ => Held::new(),
        }
    }

    fn of_block(&self, block: &syn::Block) -> Held {
        match block.stmts.last() {
            Some(syn::Stmt::Expr(expression, None)) => self.of(expression),
            _ => Held::new(),
        }
    }

    fn of_path(&self, names: &[String]) -> Held {
        if let [only] = names {
            if only == "self" || only == "Self" {
                return self.owner.into_iter().collect();
            }
            if let Some(held) = self.scopes.iter().rev().find_map(|scope| scope.get(only)) {
                return held.clone();
            }
        }
        match self.all.resolve(self.module, names) {
            Some((Target::Item(item), _)) => self.of_item(item),
            _ if names.first().is_some_and(|first| first == "Self") => {
                self.owner.into_iter().collect()
            }
            _ => Held::new(),
        }
    }

    fn of_call(&self, names: &[String], call: &syn::ExprCall) -> Held {
        let (item, rest) = match self.all.resolve(self.module, names) {
            Some((Target::Item(item), rest)) => (Some(item), rest),
            _ if names.first().is_some_and(|first| first == "Self") => (self.owner, &names[1..]),
            _ => (None, names),
        };
        let Some(item) = item else {
            // `Some(x)`, `Arc::new(x)`: what goes in is held.
            return call
                .args
                .iter()
                .flat_map(|argument| self.of(argument))
                .collect();
        };
        let definition = &self.all.items[item];
        if let Kind::Function(output) = &definition.kind {
            return self.of_output(definition.module, None, output);
        }
        let method = rest
            .first()
            .and_then(|name| self.all.find_method(item, name));
        match method {
            Some(method) => self.of_output(method.module, Some(method.owner), method.output),
            None => self.of_item(item),
        }
    }

    fn of_field(&self, held: &[usize], member: &Member) -> Held {
        for &item in held {
            let definition = &self.all.items[item];
            if let Kind::Struct(fields) = &definition.kind
                && let Some(written) = field(fields, member)
            {
                return self.of_type(definition.module, Some(item), written);
            }
        }
        held.to_vec()
    }

    /// Gives the variables of a pattern what the matched value holds.
    pub(super) fn bind(&mut self, pattern: &Pat, held: &Held) {
        match pattern {
            Pat::Ident(name) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.insert(name.ident.to_string(), held.clone());
                }
                if let Some((_, inner)) = &name.subpat {
                    self.bind(inner, held);
                }
            }
            Pat::Type(typed) => {
                let held = self.of_type(self.module, self.owner, &typed.ty);
                self.bind(&typed.pat, &held);
            }
            Pat::Reference(inner) => self.bind(&inner.pat, held),
            Pat::Paren(inner) => self.bind(&inner.pat, held),
            Pat::Tuple(tuple) => tuple.elems.iter().for_each(|part| self.bind(part, held)),
            Pat::Slice(slice) => slice.elems.iter().for_each(|part| self.bind(part, held)),
            Pat::Or(or) => or.cases.iter().for_each(|case| self.bind(case, held)),
            Pat::TupleStruct(variant) => {
                let parts = self.parts(&segments(&variant.path));
                for (at, part) in variant.elems.iter().enumerate() {
                    let member = Member::Unnamed(syn::Index::from(at));
                    let inner = parts.as_ref().and_then(|parts| self.part(parts, &member));
                    let inner = inner.unwrap_or_else(|| held.clone());
                    self.bind(part, &inner);
                }
            }
            Pat::Struct(variant) => {
                let parts = self.parts(&segments(&variant.path));
                for part in &variant.fields {
                    let inner = parts
                        .as_ref()
                        .and_then(|parts| self.part(parts, &part.member));
                    let inner = inner.unwrap_or_else(|| held.clone());
                    self.bind(&part.pat, &inner);
                }
            }
            _ => {}
        }
    }

    fn part(&self, (item, fields): &(usize, &Fields), member: &Member) -> Option<Held> {
        let written = field(fields, member)?;
        Some(self.of_type(self.all.items[*item].module, Some(*item), written))
    }

    /// The fields of a struct or a variant of the crate.
    fn parts(&self, names: &[String]) -> Option<(usize, &'a Fields)> {
        let (item, rest) = match self.all.resolve(self.module, names) {
            Some((Target::Item(item), rest)) => (item, rest),
            _ if names.first().is_some_and(|first| first == "Self") => (self.owner?, &names[1..]),
            _ => return None,
        };
        let all: &'a Crate<'a> = self.all;
        match &all.items[item].kind {
            Kind::Struct(fields) => Some((item, *fields)),
            Kind::Enum(choices) => {
                let variant = choices
                    .variants
                    .iter()
                    .find(|variant| Some(variant.ident.to_string()) == rest.first().cloned())?;
                Some((item, &variant.fields))
            }
            _ => None,
        }
    }
}

/// Methods whose closure makes what they return.
const MAPPING: &[&str] = &[
    "map",
    "and_then",
    "filter_map",
    "flat_map",
    "map_or",
    "map_or_else",
    "then",
    "find_map",
    "or_else",
    "unwrap_or_else",
];

fn field<'f>(fields: &'f Fields, member: &Member) -> Option<&'f Type> {
    fields
        .iter()
        .enumerate()
        .find(|(at, field)| match member {
            Member::Named(name) => field.ident.as_ref() == Some(name),
            Member::Unnamed(index) => field.ident.is_none() && index.index as usize == *at,
        })
        .map(|(_, field)| &field.ty)
}
