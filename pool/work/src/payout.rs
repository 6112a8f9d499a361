//! Who gets how much of a block: the miner or the operator, a fee, a donation, exact to the satoshi.

use bitcoin::Script;

/// Parts of a million: 1 % is 10,000. Decimal percentages stay exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartsPerMillion(u32);

/// Fee and donation together may take at most this much.
const MOST_CUTS: u32 = 990_000;

impl PartsPerMillion {
    pub fn new(parts: u32) -> Self {
        Self(parts)
    }

    pub fn get(self) -> u32 {
        self.0
    }

    /// This share of an amount in satoshis, rounded down.
    fn of(self, satoshis: u64) -> u64 {
        (u128::from(satoshis) * u128::from(self.0) / 1_000_000) as u64
    }
}

/// A part of every block for somebody else than the payee.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cut {
    pub script: Vec<u8>,
    pub share: PartsPerMillion,
}

/// Whom a coinbase pays. Equal payouts give equal coinbases, so that jobs are prepared once for each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payout {
    script: Vec<u8>,
    cuts: Vec<Cut>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fee and donation take {0} parts per million; at most {MOST_CUTS} (99 %) can be taken")]
pub struct CutsTooLarge(u64);

/// One output of a coinbase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Satoshis.
    pub value: u64,
    pub script: Vec<u8>,
}

impl Payout {
    /// Pays `script` all that the cuts leave.
    pub fn new(script: Vec<u8>, cuts: Vec<Cut>) -> Result<Self, CutsTooLarge> {
        let taken: u64 = cuts.iter().map(|cut| u64::from(cut.share.0)).sum();
        if taken > u64::from(MOST_CUTS) { Err(CutsTooLarge(taken)) } else { Ok(Self { script, cuts }) }
    }

    /// The scriptPubKey that gets the main part.
    pub fn script(&self) -> &[u8] {
        &self.script
    }

    /// The outputs for a block worth `value` satoshis: they add up to it exactly. A cut that would be dust, and one to the
    /// payee itself, goes to the payee instead.
    pub fn outputs(&self, value: u64) -> Vec<Output> {
        let mut outputs = vec![Output { value, script: self.script.clone() }];
        for cut in &self.cuts {
            let amount = cut.share.of(value);
            if amount < Script::from_bytes(&cut.script).minimal_non_dust().to_sat() || cut.script == self.script {
                continue;
            }
            outputs[0].value -= amount;
            match outputs.iter_mut().find(|output| output.script == cut.script) {
                Some(output) => output.value += amount,
                None => outputs.push(Output { value: amount, script: cut.script.clone() }),
            }
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn script(n: u8) -> Vec<u8> {
        [vec![0x00, 0x14], vec![n; 20]].concat()
    }

    fn payout(cuts: &[(u8, u32)]) -> Payout {
        let cuts = cuts.iter().map(|(to, ppm)| Cut { script: script(*to), share: PartsPerMillion(*ppm) }).collect();
        Payout::new(script(0), cuts).unwrap()
    }

    #[track_caller]
    fn case(payout: &Payout, value: u64, expected: &[(u8, u64)]) {
        let outputs: Vec<_> = payout.outputs(value).into_iter().map(|o| (o.script[2], o.value)).collect();
        assert_eq!(outputs, expected);
    }

    #[test]
    fn cuts_are_exact_to_the_satoshi_and_rounded_in_favour_of_the_payee() {
        case(&payout(&[]), 312_500_000, &[(0, 312_500_000)]);
        case(&payout(&[(1, 10_000)]), 312_500_001, &[(0, 309_375_001), (1, 3_125_000)]);
        case(&payout(&[(1, 10_000), (2, 500)]), 312_500_000, &[(0, 309_218_750), (1, 3_125_000), (2, 156_250)]);
        case(&payout(&[(1, 990_000)]), 21_000_000, &[(0, 210_000), (1, 20_790_000)]);
    }

    #[test]
    fn dust_goes_to_the_payee_and_equal_payees_share_an_output() {
        case(&payout(&[(1, 10_000)]), 10_000, &[(0, 10_000)]);
        case(&payout(&[(1, 10_000), (1, 10_000)]), 1_000_000, &[(0, 980_000), (1, 20_000)]);
        case(&payout(&[(0, 10_000)]), 1_000_000, &[(0, 1_000_000)]);
        case(&payout(&[(1, 10_000)]), 0, &[(0, 0)]);
    }

    #[test]
    fn more_than_99_percent_is_refused() {
        let cut = |ppm| Cut { script: script(1), share: PartsPerMillion(ppm) };
        assert_eq!(Payout::new(script(0), vec![cut(500_000), cut(490_001)]), Err(CutsTooLarge(990_001)));
    }

    proptest! {
        #[test]
        fn outputs_always_add_up(value in 0..2_100_000_000_000_000u64, fee in 0..500_000u32, donation in 0..490_000u32) {
            let outputs = payout(&[(1, fee), (2, donation)]).outputs(value);
            prop_assert_eq!(outputs.iter().map(|o| o.value).sum::<u64>(), value);
            prop_assert!(outputs[1..].iter().all(|o| o.value >= 294));
        }
    }
}
