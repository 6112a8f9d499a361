//! getblocktemplate's result: a template that is taken makes a job, or is refused by name; the same again costs no decoding.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use warppool_node::TemplateParser;
use warppool_work::{Chain, JobFactory, Payout, Reserve, START_TAG_SIZE, Tags};

fuzz_target!(|bytes: &[u8]| {
    // The first byte chooses the chain, so that a signet's rules are met as well.
    let Some((&chain, json)) = bytes.split_first() else { return };
    let chain = [Chain::Mainnet, Chain::Testnet4, Chain::Signet, Chain::Regtest][usize::from(chain % 4)];
    let mut parser = TemplateParser::new(chain);
    let Ok(first) = parser.parse(json) else { return };
    let template = first.template;
    assert!(template.weight_limit <= 4_000_000 && template.sigop_limit <= 80_000);

    let again = parser.parse(json).expect("what was taken once is taken again");
    assert_eq!(again.shared, template.transactions.len());

    let template = Arc::new(template);
    let tags = Tags::new("WarpPool", [0; START_TAG_SIZE]).expect("a short tag is one");
    let factory = JobFactory::new(tags, Reserve::default(), 0);
    if let Ok(job) = factory.build(&template, true) {
        // Pay to an output that anybody can spend: the shortest there is.
        let payout = Payout::new(vec![0x51], Vec::new()).expect("no cuts are not too large");
        drop(job.coinbase(&payout));
    }
});
