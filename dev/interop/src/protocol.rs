//! Our protocol and the newest release's: the same messages with the same fields.

use super::go::Built;
use super::schema::Schema;

/// What the newest release has and we have not. Whoever adds one to `nri-proto` takes it out here.
const NOT_OURS: &[&str] = &[];

/// Compares the two.
pub(super) fn same_fields(newest: &Built) -> Result<String, String> {
    let ours = Schema::ours()?;
    let missing = newest.schema.beyond(&ours);
    let unknown: Vec<&String> = missing
        .iter()
        .filter(|field| !NOT_OURS.contains(&field.as_str()))
        .collect();
    if !unknown.is_empty() {
        return Err(format!("fields that nri-proto does not have: {unknown:?}"));
    }
    let added = ours.beyond(&newest.schema);
    if !added.is_empty() {
        return Err(format!("fields that only nri-proto has: {added:?}"));
    }
    let without = match missing.is_empty() {
        true => String::new(),
        false => format!("; ours has not {}", missing.join(", ")),
    };
    Ok(format!(
        "{} fields of the same names{without}",
        ours.count()
    ))
}
