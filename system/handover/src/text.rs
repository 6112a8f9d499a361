//! From a file's bytes to text, as editors on Windows, macOS and Linux write it.

use crate::Fault;

/// UTF-8 with or without a byte order mark, or UTF-16 with one (Notepad's "Unicode").
pub(crate) fn decode(bytes: &[u8]) -> Result<String, Fault> {
    let text = match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(rest)?,
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        _ => utf8(bytes)?,
    };
    if text.starts_with("{\\rtf") {
        return Err(fault(
            1,
            "this is a formatted document, not plain text",
            "in TextEdit choose Format > Make Plain Text; from a word processor save as plain text (UTF-8)",
        ));
    }
    if let Some(at) = text.find('\0') {
        return Err(fault(line_at(&text, at), "there is a zero byte", "save the file as plain text in UTF-8"));
    }
    // A lone carriage return ends a line on very old systems and in some editors; TOML knows it not.
    Ok(text.replace("\r\n", "\n").replace('\r', "\n"))
}

/// From 1.
pub(crate) fn line_at(text: &str, at: usize) -> u32 {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() as u32 + 1
}

/// Quotation marks as word processors and telephones set them.
pub(crate) fn has_smart_quotes(text: &str) -> bool {
    text.contains([
        '\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{ab}', '\u{bb}',
    ])
}

fn utf8(bytes: &[u8]) -> Result<String, Fault> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(why) => {
            let before = String::from_utf8_lossy(&bytes[..why.valid_up_to()]);
            Err(fault(
                line_at(&before, before.len()),
                "a character here is not UTF-8",
                "save the file with the encoding UTF-8 (in Notepad: Save as, Encoding)",
            ))
        }
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, Fault> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    match char::decode_utf16(units).collect::<Result<String, _>>() {
        Ok(text) if rest.is_empty() => Ok(text),
        _ => Err(fault(1, "this is UTF-16, and not whole", "save the file with the encoding UTF-8")),
    }
}

fn fault(line: u32, problem: &str, remedy: &str) -> Fault {
    Fault { line: Some(line), key: String::new(), problem: problem.to_owned(), remedy: remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_editors_encoding_comes_out_the_same() {
        let want = "[wifi]\nssid = \"M\u{fc}ller\"\n";
        let wide: Vec<u16> = want.replace('\n', "\r\n").encode_utf16().collect();
        let little: Vec<u8> = [0xff, 0xfe].into_iter().chain(wide.iter().flat_map(|it| it.to_le_bytes())).collect();
        let big: Vec<u8> = [0xfe, 0xff].into_iter().chain(wide.iter().flat_map(|it| it.to_be_bytes())).collect();
        let marked = format!("\u{feff}{want}").into_bytes();
        let cases = [want.as_bytes().to_vec(), want.replace('\n', "\r\n").into_bytes(), marked, little, big];
        for bytes in cases {
            assert_eq!(decode(&bytes).expect("is text"), want);
        }
    }

    #[test]
    fn what_is_no_plain_text_is_told_with_its_line() {
        let cases: [(&[u8], u32, &str); 5] = [
            (b"a = 1\nb = \"\xfc\"\n", 2, "UTF-8"),
            (b"{\\rtf1\\ansi warppool}", 1, "formatted"),
            (b"a = 1\n\0\0", 2, "zero byte"),
            (&[0xff, 0xfe, 0x41], 1, "UTF-16"),
            (&[0xff, 0xfe, 0x00, 0xd8], 1, "UTF-16"),
        ];
        for (bytes, line, said) in cases {
            let fault = decode(bytes).expect_err("is refused");
            assert_eq!(fault.line, Some(line));
            assert!(fault.problem.contains(said), "{fault}");
        }
    }
}
