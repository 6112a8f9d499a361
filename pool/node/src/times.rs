//! Where a block's difficulty depends on its own time: testnet4's minimum-difficulty blocks.
//!
//! More than 1200 s after the previous block a block must be of minimum difficulty, before that it must not; a job's
//! time has to stay on its `bits`' side of that border.

use warppool_work::{Chain, Template};

use crate::TemplateError;

/// Twice testnet4's block spacing.
const MINIMUM_AFTER: u32 = 1200;
const MINIMUM_BITS: u32 = 0x1d00_ffff;
const RETARGET_INTERVAL: u32 = 2016;

/// Whether the previous block's time is needed to know for which times `template`'s bits are right.
pub(crate) fn depends_on_time(chain: Chain, template: &Template) -> bool {
    // A retarget block's difficulty is computed from the period before it, whatever its time.
    chain == Chain::Testnet4 && !template.height.is_multiple_of(RETARGET_INTERVAL)
}

/// Narrows `template`'s times to those for which its bits are right, given the previous block's time.
pub(crate) fn narrow(template: &mut Template, prev_time: u32) -> Result<(), TemplateError> {
    let border = prev_time.saturating_add(MINIMUM_AFTER);
    let minimum = template.bits == MINIMUM_BITS;
    if template.cur_time > border {
        if !minimum {
            return Err(TemplateError::BitsTime { bits: template.bits, cur_time: template.cur_time, prev_time });
        }
        template.min_time = template.min_time.max(border.saturating_add(1));
    } else if !minimum {
        template.max_time = border;
    }
    // At minimum difficulty before the border the chain's own difficulty is the minimum: bits fit any time.
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL_BITS: u32 = 0x1a01_2345;

    #[track_caller]
    fn case(bits: u32, cur_time: u32, expected: Result<(u32, u32), ()>) {
        let mut template = Template {
            height: 100_001,
            version: 0,
            prev_hash: [0; 32],
            bits,
            min_time: 9_500,
            max_time: u32::MAX,
            cur_time,
            coinbase_value: 0,
            transactions: vec![],
            witness_commitment: None,
            segwit: true,
            weight_limit: 0,
            sigop_limit: 0,
        };
        let times = narrow(&mut template, 10_000).map(|()| (template.min_time, template.max_time));
        assert_eq!(times.map_err(|_| ()), expected);
    }

    #[test]
    fn a_job_stays_on_its_side_of_the_minimum_difficulty_border() {
        case(REAL_BITS, 10_050, Ok((9_500, 11_200)));
        case(REAL_BITS, 11_200, Ok((9_500, 11_200)));
        case(MINIMUM_BITS, 11_201, Ok((11_201, u32::MAX)));
        case(MINIMUM_BITS, 99_999, Ok((11_201, u32::MAX)));
    }

    #[test]
    fn minimum_difficulty_before_the_border_fits_any_time() {
        case(MINIMUM_BITS, 10_050, Ok((9_500, u32::MAX)));
    }

    #[test]
    fn bits_that_contradict_the_time_are_refused() {
        case(REAL_BITS, 11_201, Err(()));
    }

    #[test]
    fn only_testnet4_between_retargets_looks_at_the_previous_block() {
        let at = |height| Template {
            height,
            version: 0,
            prev_hash: [0; 32],
            bits: 0,
            min_time: 0,
            max_time: 0,
            cur_time: 0,
            coinbase_value: 0,
            transactions: vec![],
            witness_commitment: None,
            segwit: true,
            weight_limit: 0,
            sigop_limit: 0,
        };
        assert!(depends_on_time(Chain::Testnet4, &at(2017)));
        assert!(!depends_on_time(Chain::Testnet4, &at(2016 * 7)));
        for chain in [Chain::Mainnet, Chain::Signet, Chain::Regtest] {
            assert!(!depends_on_time(chain, &at(2017)));
        }
    }
}
