//! The parameters of a submission, read from hex as leniently as real firmware needs it.

use warppool_work::{EN2_SIZE, JobId, Submission};

use crate::line::Fields;

/// A submission whose every part could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Submitted<'a> {
    pub(crate) worker: &'a [u8],
    pub(crate) job: JobId,
    pub(crate) share: Submission,
}

/// What is wrong with a submission's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a submission has 5 or 6 parameters: worker, job, extranonce2, time, nonce and, if rolled, version")]
    Count,
    #[error("job id is not hex")]
    Job,
    #[error("extranonce2 must be 16 hex digits")]
    Extranonce2,
    #[error("time must be 8 hex digits")]
    Time,
    #[error("nonce must be 8 hex digits")]
    Nonce,
    #[error("version bits must be 8 hex digits")]
    Version,
}

impl<'a> Submitted<'a> {
    pub(crate) fn read(fields: &Fields<'a>) -> Result<Self, Malformed> {
        let (worker, job, en2, time, nonce, version) = match *fields.as_slice() {
            [worker, job, en2, time, nonce] => (worker, job, en2, time, nonce, None),
            [worker, job, en2, time, nonce, version] => (worker, job, en2, time, nonce, Some(version)),
            _ => return Err(Malformed::Count),
        };
        let en2 = bare(en2);
        if en2.len() != 2 * EN2_SIZE {
            return Err(Malformed::Extranonce2);
        }
        let share = Submission {
            en2: hex(en2).ok_or(Malformed::Extranonce2)?.to_be_bytes(),
            time: hex32(time).ok_or(Malformed::Time)?,
            nonce: hex32(nonce).ok_or(Malformed::Nonce)?,
            // An empty string is how some firmware says that it rolls nothing.
            version_bits: match version {
                None | Some(b"") => None,
                Some(version) => Some(hex32(version).ok_or(Malformed::Version)?),
            },
        };
        Ok(Self { worker, job: JobId(hex(bare(job)).ok_or(Malformed::Job)?), share })
    }
}

/// Without the `0x` some firmware puts first.
fn bare(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"0x").or_else(|| text.strip_prefix(b"0X")).unwrap_or(text)
}

/// At most 8 digits; fewer are padded on the left, as NerdMiner needs it.
fn hex32(text: &[u8]) -> Option<u32> {
    hex(bare(text)).and_then(|value| u32::try_from(value).ok())
}

/// 1 to 16 digits in any case.
#[inline]
fn hex(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 16 {
        return None;
    }
    let mut value = 0u64;
    // One test at the end: a digit that is none sets bits above the low four.
    let mut wrong = 0u8;
    for &byte in text {
        let digit = DIGITS[usize::from(byte)];
        wrong |= digit;
        value = value << 4 | u64::from(digit & 0xf);
    }
    (wrong < 16).then_some(value)
}

const DIGITS: [u8; 256] = {
    let mut table = [0x80; 256];
    let mut n = 0;
    while n < 10 {
        table[b'0' as usize + n] = n as u8;
        n += 1;
    }
    n = 0;
    while n < 6 {
        table[b'a' as usize + n] = 10 + n as u8;
        table[b'A' as usize + n] = 10 + n as u8;
        n += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(params: &serde_json::Value) -> Result<(u64, Submission), Malformed> {
        let fields = Fields::from_params(params).expect("six strings at most");
        Submitted::read(&fields).map(|submitted| (submitted.job.0, submitted.share))
    }

    fn share(en2: u64, time: u32, nonce: u32, version_bits: Option<u32>) -> Submission {
        Submission { en2: en2.to_be_bytes(), time, nonce, version_bits }
    }

    #[test]
    fn the_forms_firmware_sends_are_understood() {
        let case = |params, job, share| assert_eq!(read(&params), Ok((job, share)), "{params}");
        let plain = share(1, 0x66aa_bbcc, 0x0123_4567, None);
        case(json!(["w", "6a0", "0000000000000001", "66aabbcc", "01234567"]), 0x6a0, plain);
        case(json!(["w", "6A0", "0000000000000001", "66AABBCC", "01234567"]), 0x6a0, plain);
        // NerdMiner does not pad its nonce.
        case(json!(["w", "6a0", "0000000000000001", "66aabbcc", "1234567"]), 0x6a0, plain);
        case(json!(["w", "6a0", "0000000000000001", "66aabbcc", "0x1234567"]), 0x6a0, plain);
        case(json!(["w", "0x6a0", "0x0000000000000001", "0x66aabbcc", "0X01234567", ""]), 0x6a0, plain);
        let rolled = share(u64::MAX, 0x66aa_bbcc, u32::MAX, Some(0x1fff_e000));
        case(
            json!(["w", "ffffffffffffffff", "ffffffffffffffff", "66aabbcc", "ffffffff", "1fffe000"]),
            u64::MAX,
            rolled,
        );
        case(json!(["", "0", "ffffffffffffffff", "66aabbcc", "ffffffff", "0x1FFFE000"]), 0, rolled);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let case = |params, error| assert_eq!(read(&params), Err(error), "{params}");
        case(json!([]), Malformed::Count);
        case(json!(["w", "6a0", "0000000000000001", "66aabbcc"]), Malformed::Count);
        case(json!(["w", "", "0000000000000001", "66aabbcc", "01234567"]), Malformed::Job);
        case(json!(["w", "job", "0000000000000001", "66aabbcc", "01234567"]), Malformed::Job);
        case(json!(["w", "12345678901234567", "0000000000000001", "66aabbcc", "01234567"]), Malformed::Job);
        case(json!(["w", "6a0", "00000001", "66aabbcc", "01234567"]), Malformed::Extranonce2);
        case(json!(["w", "6a0", "000000000000000001", "66aabbcc", "01234567"]), Malformed::Extranonce2);
        case(json!(["w", "6a0", "000000000000000g", "66aabbcc", "01234567"]), Malformed::Extranonce2);
        case(json!(["w", "6a0", "0000000000000001", "", "01234567"]), Malformed::Time);
        case(json!(["w", "6a0", "0000000000000001", "166aabbcc", "01234567"]), Malformed::Time);
        case(json!(["w", "6a0", "0000000000000001", "66aabbcc", "-1"]), Malformed::Nonce);
        case(json!(["w", "6a0", "0000000000000001", "66aabbcc", "0x"]), Malformed::Nonce);
        case(json!(["w", "6a0", "0000000000000001", "66aabbcc", "01234567", "x"]), Malformed::Version);
        assert_eq!(Fields::from_params(&json!(["w", 1])), None);
        assert_eq!(Fields::from_params(&json!(["", "", "", "", "", "", ""])), None);
        assert_eq!(Fields::from_params(&json!({"worker": "w"})), None);
    }

    proptest! {
        #[test]
        fn hex_reads_what_it_should_and_nothing_else(text in "[0-9a-fA-Fxg ]{0,18}") {
            let expected = u64::from_str_radix(&text, 16).ok().filter(|_| (1..=16).contains(&text.len()));
            prop_assert_eq!(hex(text.as_bytes()), expected);
        }
    }
}
