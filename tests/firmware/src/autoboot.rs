//! `autoboot.txt`: which partition boots, with and without the tryboot flag.
//!
//! Documentation, "autoboot.txt": at most 512 bytes; only the filters `[all]`, `[none]` and `[tryboot]`.

/// Bytes of the file that the loader takes.
const LIMIT: usize = 512;

/// What the file says for this boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Autoboot {
    /// The partition to boot; 0 is the default one, as if nothing was said.
    pub partition: u32,
    /// Load `config.txt` under the tryboot flag too, not `tryboot.txt`.
    pub a_b: bool,
}

impl Autoboot {
    /// Reads the file's bytes. What cannot be understood counts as not written; a file too long counts as absent.
    pub fn parse(bytes: &[u8], tryboot: bool) -> Self {
        let mut found = Self::default();
        if bytes.len() > LIMIT {
            return found;
        }
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut applies = true;
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            match line {
                [b'[', filter @ .., b']'] => applies = filter == b"all" || (filter == b"tryboot" && tryboot),
                _ if !applies => {}
                _ => match setting(line) {
                    Some((b"boot_partition", value)) => found.partition = number(value),
                    Some((b"tryboot_a_b", value)) => found.a_b = number(value) == 1,
                    _ => {}
                },
            }
        }
        found
    }
}

fn setting(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    Some((&line[..at], &line[at + 1..]))
}

/// The digits a value begins with; 0 without any.
fn number(value: &[u8]) -> u32 {
    let digits = value.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |sum: u32, digit| sum.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(text: &[u8], plain: (u32, bool), tryboot: (u32, bool)) {
        for (flag, (partition, a_b)) in [(false, plain), (true, tryboot)] {
            assert_eq!(Autoboot::parse(text, flag), Autoboot { partition, a_b }, "tryboot {flag}");
        }
    }

    #[test]
    fn the_documented_file_names_one_partition_for_each_flag() {
        case(b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n", (2, true), (3, true));
    }

    #[test]
    fn filters_decide_what_counts() {
        case(b"boot_partition=2\n[none]\nboot_partition=4\n", (2, false), (2, false));
        case(b"[tryboot]\nboot_partition=3\n[all]\ntryboot_a_b=1\n", (0, true), (3, true));
        case(b"[tryboot]\ntryboot_a_b=1\nboot_partition=3", (0, false), (3, true));
        case(b"[all]\r\nboot_partition=2\r\n", (2, false), (2, false));
        // Only three filters are documented: the others of config.txt hide what follows.
        case(b"[pi5]\nboot_partition=2\n[boot_partition=1]\nboot_partition=4\n", (0, false), (0, false));
    }

    #[test]
    fn what_is_not_understood_counts_as_not_written() {
        case(b"", (0, false), (0, false));
        case(b"#boot_partition=2\nboot_partition = 3\nboot_partition", (0, false), (0, false));
        case(b"boot_partition=two\ntryboot_a_b=yes\n", (0, false), (0, false));
        case(b"boot_partition=2\0\nboot_partition=3\n", (2, false), (2, false));
        case(&[0xff; 512], (0, false), (0, false));
        case(&[0; 512], (0, false), (0, false));
    }

    #[test]
    fn a_file_of_more_than_512_bytes_counts_as_absent() {
        let mut text = b"boot_partition=2\n".to_vec();
        text.resize(512, b'#');
        case(&text, (2, false), (2, false));
        text.push(b'\n');
        case(&text, (0, false), (0, false));
    }
}
