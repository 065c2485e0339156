//! Pages as a browser reads them.

use html5ever::tendril::TendrilSink as _;
use markup5ever_rcdom::{Handle, NodeData, RcDom};

/// A page that a parser of the standard has nothing to say against, and that needs nothing beside
/// itself.
pub(crate) struct Page(RcDom);

#[track_caller]
pub(crate) fn well_formed(text: &str) -> Page {
    let parser = html5ever::parse_document(RcDom::default(), Default::default());
    let page = Page(parser.one(text));
    assert_eq!(*page.0.errors.borrow(), [""; 0], "{text}");
    for element in ["script", "link", "img", "iframe", "object"] {
        assert_eq!(page.texts(element), [""; 0], "{element}");
    }
    let mut attributes = Vec::new();
    walk(&page.0.document, &mut |node| {
        if let NodeData::Element { attrs, .. } = &node.data {
            attributes.extend(attrs.borrow().iter().map(|it| it.name.local.to_string()));
        }
    });
    for name in attributes {
        let names_another_file = ["src", "href", "data", "action"].contains(&&*name);
        assert!(!names_another_file && !name.starts_with("on"), "{name}");
    }
    assert!(!text.contains("url(") && !text.contains("@import"));
    page
}

fn walk(node: &Handle, visit: &mut impl FnMut(&Handle)) {
    visit(node);
    for child in node.children.borrow().iter() {
        walk(child, visit);
    }
}

/// All text below a node.
fn text(node: &Handle) -> String {
    let mut all = Vec::new();
    walk(node, &mut |node| {
        if let NodeData::Text { contents } = &node.data {
            all.push(contents.borrow().to_string());
        }
    });
    all.join(" ")
}

impl Page {
    /// The texts of the elements of a name.
    pub(crate) fn texts(&self, element: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.0.document, &mut |node| {
            if let NodeData::Element { name, .. } = &node.data
                && &*name.local == element
            {
                found.push(text(node));
            }
        });
        found
    }

    /// The texts of the rows of tables, without their heads.
    pub(crate) fn rows(&self) -> Vec<String> {
        let mut rows = self.texts("tr");
        let heads = self.texts("thead");
        rows.retain(|row| !heads.contains(row));
        rows
    }
}
