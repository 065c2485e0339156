//! What each file of a crate uses of the others.

use std::collections::HashMap;

use proc_macro2::{TokenStream, TokenTree};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Expr, Token};

use super::graph::Graph;
use super::infer::{Held, Names};
use super::parse::is_test;
use super::resolve::{Crate, Target, segments};

/// Collects the arrows of a crate.
pub(super) fn collect(all: &Crate<'_>) -> Graph {
    let mut graph = Graph::default();
    for (module, read) in all.modules.iter().enumerate() {
        let names = Names {
            all,
            module,
            owner: None,
            generics: HashMap::new(),
            scopes: Vec::new(),
        };
        let mut walk = Walk {
            graph: &mut graph,
            file: &read.file,
            names,
            called_on: Held::new(),
        };
        read.items.iter().for_each(|item| walk.visit_item(item));
    }
    graph
}

struct Walk<'w, 'a> {
    graph: &'w mut Graph,
    file: &'a str,
    names: Names<'a>,
    /// What the method is called on whose arguments are being read: closures among them get it.
    called_on: Held,
}

impl Walk<'_, '_> {
    fn uses(&mut self, path: &[String]) {
        let all = self.names.all;
        let (item, rest) = match all.resolve(self.names.module, path) {
            Some((Target::Item(item), rest)) => (item, rest),
            _ => match (
                path.first().is_some_and(|first| first == "Self"),
                self.names.owner,
            ) {
                (true, Some(owner)) => (owner, &path[1..]),
                _ => return,
            },
        };
        let definition = &all.items[item];
        self.graph.add(self.file, definition.file, &definition.name);
        if let Some(name) = rest.first()
            && let Some(method) = all.find_method(item, name)
        {
            self.graph.add(
                self.file,
                method.file,
                &format!("{}::{name}", definition.name),
            );
        }
    }

    fn calls(&mut self, receiver: &Held, name: &str) {
        let all = self.names.all;
        let found = receiver
            .iter()
            .find_map(|&held| all.find_method(held, name));
        if let Some(method) = found {
            let owner = &all.items[method.owner].name;
            self.graph
                .add(self.file, method.file, &format!("{owner}.{name}()"));
        } else if receiver.is_empty()
            && let Some(file) = all.only_file(name)
            && file != self.file
        {
            self.graph.uncertain(self.file, file, name);
        }
    }

    /// The paths in what a macro was given, where it cannot be read as expressions.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.finish(&mut path);
                    }
                    path.push(name.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Group(group) => {
                    self.finish(&mut path);
                    colons = 0;
                    self.tokens(group.stream());
                }
                _ => {
                    self.finish(&mut path);
                    colons = 0;
                }
            }
        }
        self.finish(&mut path);
    }

    fn finish(&mut self, path: &mut Vec<String>) {
        // A single name in tokens may be anything: only paths and names of items that are in scope
        // count.
        if !path.is_empty() {
            self.uses(path);
            path.clear();
        }
    }

    fn generics(&mut self, generics: &syn::Generics) -> HashMap<String, Held> {
        let before = self.names.generics.clone();
        for parameter in generics.type_params() {
            let held =
                self.names
                    .of_bounds(self.names.module, self.names.owner, parameter.bounds.iter());
            self.names
                .generics
                .insert(parameter.ident.to_string(), held);
        }
        for predicate in generics
            .where_clause
            .iter()
            .flat_map(|clause| &clause.predicates)
        {
            if let syn::WherePredicate::Type(predicate) = predicate
                && let syn::Type::Path(path) = &predicate.bounded_ty
                && let Some(name) = path.path.get_ident()
            {
                let held = self.names.of_bounds(
                    self.names.module,
                    self.names.owner,
                    predicate.bounds.iter(),
                );
                self.names
                    .generics
                    .entry(name.to_string())
                    .or_default()
                    .extend(held);
            }
        }
        before
    }

    fn scoped(&mut self, inside: impl FnOnce(&mut Self)) {
        self.names.scopes.push(HashMap::new());
        inside(self);
        self.names.scopes.pop();
    }

    fn function(&mut self, signature: &syn::Signature, inside: impl FnOnce(&mut Self)) {
        let before = self.generics(&signature.generics);
        self.scoped(|walk| {
            for input in &signature.inputs {
                if let syn::FnArg::Typed(typed) = input {
                    let held = walk
                        .names
                        .of_type(walk.names.module, walk.names.owner, &typed.ty);
                    walk.names.bind(&typed.pat, &held);
                }
            }
            inside(walk);
        });
        self.names.generics = before;
    }
}

impl<'ast> Visit<'ast> for Walk<'_, '_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes = match item {
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            syn::Item::Struct(item) => &item.attrs,
            syn::Item::Const(item) => &item.attrs,
            // Re-exports are no arrows, and an import is one where it is used.
            syn::Item::Use(_) => return,
            _ => return visit::visit_item(self, item),
        };
        if !is_test(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, |walk| visit::visit_item_fn(walk, item));
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let before = self.generics(&item.generics);
        let all = self.names.all;
        self.names.owner = all.of_type_path(self.names.module, &item.self_ty);
        visit::visit_item_impl(self, item);
        self.names.owner = None;
        self.names.generics = before;
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let name = [item.ident.to_string()];
        if let Some((Target::Item(item), [])) = self.names.all.resolve(self.names.module, &name) {
            self.names.owner = Some(item);
        }
        visit::visit_item_trait(self, item);
        self.names.owner = None;
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_test(&item.attrs) {
            self.function(&item.sig, |walk| visit::visit_impl_item_fn(walk, item));
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, |walk| visit::visit_trait_item_fn(walk, item));
    }

    fn visit_block(&mut self, block: &'ast syn::Block) {
        self.scoped(|walk| visit::visit_block(walk, block));
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        let held = local
            .init
            .as_ref()
            .map(|init| self.names.of(&init.expr))
            .unwrap_or_default();
        self.names.bind(&local.pat, &held);
    }

    fn visit_expr_let(&mut self, expression: &'ast syn::ExprLet) {
        visit::visit_expr_let(self, expression);
        let held = self.names.of(&expression.expr);
        self.names.bind(&expression.pat, &held);
    }

    fn visit_expr_if(&mut self, expression: &'ast syn::ExprIf) {
        self.scoped(|walk| visit::visit_expr_if(walk, expression));
    }

    fn visit_expr_while(&mut self, expression: &'ast syn::ExprWhile) {
        self.scoped(|walk| visit::visit_expr_while(walk, expression));
    }

    fn visit_expr_for_loop(&mut self, expression: &'ast syn::ExprForLoop) {
        self.visit_expr(&expression.expr);
        self.scoped(|walk| {
            let held = walk.names.of(&expression.expr);
            walk.names.bind(&expression.pat, &held);
            walk.visit_block(&expression.body);
        });
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        self.visit_expr(&expression.expr);
        let held = self.names.of(&expression.expr);
        for arm in &expression.arms {
            self.scoped(|walk| {
                walk.names.bind(&arm.pat, &held);
                visit::visit_arm(walk, arm);
            });
        }
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        let held = self.called_on.clone();
        self.scoped(|walk| {
            for input in &closure.inputs {
                walk.names.bind(input, &held);
            }
            visit::visit_expr_closure(walk, closure);
        });
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.visit_expr(&call.receiver);
        let held = self.names.of(&call.receiver);
        self.calls(&held, &call.method.to_string());
        if let Some(turbofish) = &call.turbofish {
            self.visit_angle_bracketed_generic_arguments(turbofish);
        }
        let before = std::mem::replace(&mut self.called_on, held);
        call.args
            .iter()
            .for_each(|argument| self.visit_expr(argument));
        self.called_on = before;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = segments(path);
        let local = |name: &String| {
            self.names
                .scopes
                .iter()
                .any(|scope| scope.contains_key(name))
        };
        if names.len() > 1 || !names.first().is_some_and(local) {
            self.uses(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_macro(&mut self, invoked: &'ast syn::Macro) {
        if let Some(name) = invoked.path.segments.last()
            && let Some(file) = self.names.all.macro_file(&name.ident.to_string())
        {
            self.graph.add(self.file, file, &format!("{}!", name.ident));
        }
        let parser = Punctuated::<Expr, Token![,]>::parse_terminated;
        match invoked.parse_body_with(parser) {
            Ok(expressions) => {
                // The visitor wants the tree's own lifetime, these live here.
                for expression in &expressions {
                    let mut inner = Walk {
                        graph: &mut *self.graph,
                        file: self.file,
                        names: Names {
                            all: self.names.all,
                            module: self.names.module,
                            owner: self.names.owner,
                            generics: self.names.generics.clone(),
                            scopes: self.names.scopes.clone(),
                        },
                        called_on: self.called_on.clone(),
                    };
                    inner.visit_expr(expression);
                }
            }
            Err(_) => self.tokens(invoked.tokens.clone()),
        }
    }
}
