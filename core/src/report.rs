//! Where a checkpoint's tensors and a spec's parameters do not fit, all of it at once.

use std::fmt;

use crate::quote::quote;

/// The tensors that do not fit, in the checkpoint's own names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Needed and not there; the first ones each with the nearest name that is there and not used.
    pub missing: Vec<(String, Option<String>)>,
    /// There and not needed.
    pub unused: Vec<String>,
    /// There with another shape: name, shape found, shape wanted.
    pub misshapen: Vec<(String, Vec<usize>, Vec<usize>)>,
    /// There in a format that is not known: name, format.
    pub unreadable: Vec<(String, String)>,
}

impl LoadReport {
    /// Whether everything fits.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty()
            && self.unused.is_empty()
            && self.misshapen.is_empty()
            && self.unreadable.is_empty()
    }
}

/// Entries of each kind that a message shows; the fields hold all.
pub(crate) const SHOWN: usize = 8;

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        let mut part = |what: &str, entries: Vec<String>| {
            if entries.is_empty() {
                return;
            }
            let more = entries.len().saturating_sub(SHOWN);
            let shown = entries.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            parts.push(format!("{what} {shown}{more}"));
        };
        let near = |(name, near): &(String, Option<String>)| match near {
            Some(near) => format!("{} (nearest: {})", quote(name), quote(near)),
            None => quote(name),
        };
        part("missing", self.missing.iter().map(near).collect());
        part("unused", self.unused.iter().map(|name| quote(name)).collect());
        let shapes = |(name, found, wanted): &(String, Vec<usize>, Vec<usize>)| {
            format!("{} is {found:?}, not {wanted:?}", quote(name))
        };
        part("misshapen", self.misshapen.iter().map(shapes).collect());
        let formats = |(name, format): &(String, String)| format!("{} is {format}", quote(name));
        part("in a format that is not known", self.unreadable.iter().map(formats).collect());
        f.write_str(&parts.join("; "))
    }
}
