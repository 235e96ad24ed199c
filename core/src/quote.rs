//! Words of others inside messages of ours.

/// `text` for an error's message: quoted with backticks, escaped, cut after 80 characters.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    let mut characters = text.chars();
    for c in characters.by_ref().take(80) {
        quoted.extend(c.escape_debug());
    }
    if characters.next().is_some() {
        quoted.push_str("...");
    }
    quoted.push('`');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_name_is_short_and_printable() {
        assert_eq!(quote("a\n\u{7}"), "`a\\n\\u{7}`");
        assert_eq!(quote(&"x".repeat(500)).len(), 85);
    }
}
