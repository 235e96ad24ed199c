//! How vocabularies write bytes: GPT-2's printable characters, and `<0x0A>`.

/// The character that GPT-2 writes `byte` as: itself if it is printable Latin-1, else one from
/// U+0100 on.
pub(crate) fn printable(byte: u8) -> char {
    match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => byte as char,
        0..=0x20 => char::from_u32(0x100 + u32::from(byte)).unwrap_or(' '),
        0x7f..=0xa0 => char::from_u32(0x121 + u32::from(byte - 0x7f)).unwrap_or(' '),
        0xad => '\u{143}',
    }
}

/// The byte that [`printable`] writes as `c`.
pub(crate) fn unprintable(c: char) -> Option<u8> {
    match c as u32 {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => Some(code as u8),
        code @ 0x100..=0x120 => Some((code - 0x100) as u8),
        code @ 0x121..=0x142 => Some((code - 0x121) as u8 + 0x7f),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// Bytes as GPT-2 writes them.
pub(crate) fn to_printable(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| printable(byte)).collect()
}

/// The bytes that a string of GPT-2's characters stands for; nothing if it has any other.
pub(crate) fn from_printable(text: &str) -> Option<Vec<u8>> {
    text.chars().map(unprintable).collect()
}

/// The byte that `<0x..>` stands for.
pub(crate) fn byte(token: &[u8]) -> Option<u8> {
    match token {
        [b'<', b'0', b'x', high, low, b'>'] => {
            let digit = |c: &u8| (*c as char).to_digit(16);
            Some((digit(high)? * 16 + digit(low)?) as u8)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_one_spelling_each() {
        for byte in 0..=255 {
            assert_eq!(unprintable(printable(byte)), Some(byte));
        }
        assert_eq!(to_printable(b" \n\xc3\xa9"), "ĠĊÃ©");
        assert_eq!(from_printable("Ġa"), Some(b" a".to_vec()));
        assert_eq!(from_printable("中"), None);
        assert_eq!(byte(b"<0xE4>"), Some(0xe4));
        assert_eq!(byte(b"<0xG4>"), None);
        assert_eq!(byte(b"<0x4>"), None);
    }
}
