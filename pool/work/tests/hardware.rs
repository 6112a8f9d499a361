//! Proves that hashing runs on the processor's SHA instructions where there are any.
#![allow(clippy::unwrap_used)]

use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: [u32; 64] = {
    // The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, section 4.2.2),
    // found by integer search so that no table has to be trusted.
    let (mut out, mut n, mut candidate) = ([0; 64], 0, 2u128);
    while n < 64 {
        let (mut divisor, mut prime) = (2, true);
        while divisor * divisor <= candidate {
            if candidate % divisor == 0 {
                prime = false;
            }
            divisor += 1;
        }
        if prime {
            // Cube root of candidate × 2^96, a bit at a time: its low 32 bits are the wanted fraction.
            let (mut root, mut bit) = (0u128, 1u128 << 35);
            while bit > 0 {
                let next = root | bit;
                if next * next * next <= candidate << 96 {
                    root = next;
                }
                bit >>= 1;
            }
            out[n] = root as u32;
            n += 1;
        }
        candidate += 1;
    }
    out
};

/// SHA-256's compression as the standard writes it down, without any special instruction.
#[allow(clippy::many_single_char_names)] // The names of the standard.
fn plain_compress(state: &mut [u32; 8], block: &[u8; 64]) {
    let mut w = [0u32; 64];
    for (word, bytes) in w.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    for t in 16..64 {
        let s0 = w[t - 15].rotate_right(7) ^ w[t - 15].rotate_right(18) ^ (w[t - 15] >> 3);
        let s1 = w[t - 2].rotate_right(17) ^ w[t - 2].rotate_right(19) ^ (w[t - 2] >> 10);
        w[t] = w[t - 16].wrapping_add(s0).wrapping_add(w[t - 7]).wrapping_add(s1);
    }
    let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
    for t in 0..64 {
        let s1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let t1 = h.wrapping_add(s1).wrapping_add((e & f) ^ (!e & g)).wrapping_add(ROUNDS[t]).wrapping_add(w[t]);
        let s0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let t2 = s0.wrapping_add((a & b) ^ (a & c) ^ (b & c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(t1), c, b, a, t1.wrapping_add(t2));
    }
    for (word, add) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
        *word = word.wrapping_add(add);
    }
}

/// The fastest of several rounds: what else runs on the machine can only slow one down.
fn fastest(mut run: impl FnMut()) -> Duration {
    (0..20)
        .map(|_| {
            let start = Instant::now();
            (0..500).for_each(|_| run());
            start.elapsed()
        })
        .min()
        .unwrap()
}

fn processor_has_sha() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("sha");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("sha2");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return false;
}

#[test]
fn the_processors_sha_instructions_are_the_ones_used() {
    let block = [0x5a; 64];
    let (mut fast, mut plain) = ([1u32; 8], [1u32; 8]);
    sha2::block_api::compress256(&mut fast, &[block]);
    plain_compress(&mut plain, &block);
    assert_eq!(fast, plain, "both are SHA-256");
    if !processor_has_sha() {
        println!("NOT RUN: this processor has no SHA instructions");
        return;
    }
    let with = fastest(|| sha2::block_api::compress256(black_box(&mut fast), &[black_box(block)]));
    let without = fastest(|| plain_compress(black_box(&mut plain), &black_box(block)));
    let ratio = without.as_secs_f64() / with.as_secs_f64();
    println!("SHA instructions are {ratio:.1} times as fast as plain code");
    // Plain code is at best about four times slower; unoptimised far more, which is why the crate is always optimised.
    assert!(ratio > 2.0, "hashing is only {ratio:.1} times as fast as plain code: the instructions are not in use");
}
