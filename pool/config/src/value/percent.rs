//! A percentage as an exact decimal. Fees become satoshis in a coinbase: no float comes near them.

use std::fmt;
use std::str::FromStr;

/// A percentage from 0 to 100 with at most four decimals, kept in parts per million (1 % = 10 000 ppm).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u32);

/// Why a text is no [`Percent`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePercentError {
    #[error("`{0}` is not a plain decimal number")]
    NotDecimal(String),
    #[error("`{0}` has more than four decimals")]
    TooFine(String),
    #[error("`{0}` is more than 100 percent")]
    TooLarge(String),
}

impl Percent {
    pub const ZERO: Self = Self(0);

    /// `None` above 1 000 000 ppm.
    pub fn from_ppm(ppm: u32) -> Option<Self> {
        (ppm <= 1_000_000).then_some(Self(ppm))
    }

    /// Parts per million.
    pub fn ppm(self) -> u32 {
        self.0
    }

    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Percent {
    type Err = ParsePercentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(ParsePercentError::NotDecimal(text.to_owned()));
        }
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 4 {
            return Err(ParsePercentError::TooFine(text.to_owned()));
        }
        let too_large = || ParsePercentError::TooLarge(text.to_owned());
        let whole: u32 = whole.parse().map_err(|_| too_large())?;
        let fraction: u32 = format!("{fraction:0<4}").parse().map_err(|_| too_large())?;
        let ppm = whole.checked_mul(10_000).and_then(|ppm| ppm.checked_add(fraction)).ok_or_else(too_large)?;
        Self::from_ppm(ppm).ok_or_else(too_large)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 10_000, self.0 % 10_000);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{fraction:04}").trim_end_matches('0'))
    }
}

super::serde_as_text!(Percent);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn decimals_become_parts_per_million_exactly() {
        #[track_caller]
        fn case(text: &str, ppm: u32) {
            assert_eq!(text.parse::<Percent>().map(Percent::ppm), Ok(ppm), "{text}");
        }
        case("0", 0);
        case("0.0", 0);
        case("1", 10_000);
        case("1.5", 15_000);
        case("0.0001", 1);
        case("0.1", 1_000);
        case("2.50000000000", 25_000);
        case("99.9999", 999_999);
        case("100", 1_000_000);
    }

    #[test]
    fn what_is_not_an_exact_percentage_is_refused() {
        for text in
            ["", ".", "1.", ".5", "-1", "+1", "1e1", "1,5", "0.00001", "100.0001", "4294967296", "nan", "1%", " 1"]
        {
            assert!(text.parse::<Percent>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(ppm in 0u32..=1_000_000) {
            let percent = Percent::from_ppm(ppm).unwrap();
            prop_assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
        }
    }
}
