//! Every instruction set against the scalar oracle, bit for bit.

use proptest::prelude::*;

use super::*;
use crate::index::rotation::split_mix;

fn oracle() -> &'static IndexKernels {
    IndexKernels::all_supported().last().expect("scalar is always supported")
}

fn bytes(len: usize, max: u8) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(0..=max, len)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn hadamard_is_the_same_everywhere(
        power in 6_u32..=12,
        values in proptest::collection::vec(-1e3_f32..1e3, 4096),
    ) {
        let values = &values[..1 << power];
        let mut expected = values.to_vec();
        oracle().hadamard(&mut expected);
        for kernels in IndexKernels::all_supported() {
            let mut got = values.to_vec();
            kernels.hadamard(&mut got);
            let same = got.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            prop_assert!(same, "{}", kernels.name());
        }
    }

    #[test]
    fn scan_block_is_the_same_everywhere(
        steps in 1_usize..=65,
        codes in bytes(65 * 256, u8::MAX),
        tables in bytes(65 * 256, TABLE_ENTRY_MAX),
        extreme in any::<bool>(),
    ) {
        let tables = if extreme { vec![TABLE_ENTRY_MAX; tables.len()] } else { tables };
        let (codes, tables) = (&codes[..steps * 256], &tables[..steps * 256]);
        let mut expected = [7; CODE_ROWS];
        oracle().scan_block(codes, tables, &mut expected);
        for kernels in IndexKernels::all_supported() {
            let mut got = [9; CODE_ROWS];
            kernels.scan_block(codes, tables, &mut got);
            prop_assert_eq!(got, expected, "{}", kernels.name());
        }
    }

    #[test]
    fn estimate_is_the_same_everywhere(
        sums in proptest::array::uniform32(0_u32..100_000),
        factors in proptest::collection::vec(-2.0_f32..2.0, 64),
        (scale, step, base) in (1e-3_f32..1e3, 1e-6_f32..1e-3, -10.0_f32..10.0),
        (origin, bound) in (-1.0_f32..4.0, -10.0_f32..10.0),
        missing in 0_usize..=32,
    ) {
        let mut factors: [f32; 2 * CODE_ROWS] = factors.try_into().expect("sized");
        factors[missing..CODE_ROWS].fill(f32::INFINITY);
        let with = Estimating { factors: &factors, scale, step, base, origin, bound };
        let mut expected = [0.0; CODE_ROWS];
        let below = oracle().estimate(&with, &sums, &mut expected);
        prop_assert_eq!(below.checked_shr(missing as u32).unwrap_or(0), 0, "infinite is not below");
        for kernels in IndexKernels::all_supported() {
            let mut got = [0.0; CODE_ROWS];
            prop_assert_eq!(kernels.estimate(&with, &sums, &mut got), below, "{}", kernels.name());
            let same = got.map(f32::to_bits) == expected.map(f32::to_bits);
            prop_assert!(same, "{}", kernels.name());
        }
    }

    #[test]
    fn dot_is_the_same_everywhere(
        steps in 1_usize..=65,
        row in bytes(65 * 64, u8::MAX),
        query in proptest::collection::vec(any::<i8>(), 65 * 64),
    ) {
        let (row, query) = (&row[..steps * 64], &query[..steps * 64]);
        let expected = oracle().dot(row, query);
        for kernels in IndexKernels::all_supported() {
            prop_assert_eq!(kernels.dot(row, query), expected, "{}", kernels.name());
        }
    }

    #[test]
    fn dot_strip_is_the_same_everywhere(
        steps in 1_usize..=17,
        tiles in 1_usize..=3,
        left in bytes(17 * 256, u8::MAX),
        right in bytes(3 * 17 * 256, u8::MAX),
    ) {
        let (left, right) = (&left[..steps * 256], &right[..tiles * steps * 256]);
        let mut expected = vec![1; tiles * TILE * TILE];
        oracle().dot_strip(left, right, &mut expected);
        for kernels in IndexKernels::all_supported() {
            let mut got = vec![2; tiles * TILE * TILE];
            kernels.dot_strip(left, right, &mut got);
            prop_assert_eq!(&got, &expected, "{}", kernels.name());
        }
    }

    #[test]
    fn preparing_a_query_is_the_same_everywhere(
        steps in 1_usize..=65,
        values in proptest::collection::vec(-3.0_f32..3.0, 65 * 64),
    ) {
        let values = &values[..steps * 64];
        let largest = oracle().largest(values);
        let mut expected = vec![0; values.len()];
        let sums = oracle().round_bytes(values, 127.0 / largest, &mut expected);
        let mut tables = vec![0; values.len() * 4];
        oracle().fill_tables(values, 63.0 / (4.0 * largest), &mut tables);
        for kernels in IndexKernels::all_supported() {
            prop_assert_eq!(kernels.largest(values), largest, "{}", kernels.name());
            let mut got = vec![0; values.len()];
            let got_sums = kernels.round_bytes(values, 127.0 / largest, &mut got);
            prop_assert_eq!((got_sums, &got), (sums, &expected), "{}", kernels.name());
            let mut got = vec![0; tables.len()];
            kernels.fill_tables(values, 63.0 / (4.0 * largest), &mut got);
            prop_assert_eq!(&got, &tables, "{}", kernels.name());
        }
    }

    #[test]
    fn signs_are_the_same_everywhere(
        steps in 1_usize..=65,
        values in proptest::collection::vec(-3.0_f32..3.0, 65 * 64),
    ) {
        let values = &values[..steps * 64];
        let mut expected = vec![0; steps];
        let norms = oracle().signs(values, &mut expected);
        for kernels in IndexKernels::all_supported() {
            let mut got = vec![7; steps];
            prop_assert_eq!(kernels.signs(values, &mut got), norms, "{}", kernels.name());
            prop_assert_eq!(&got, &expected, "{}", kernels.name());
        }
    }

    #[test]
    fn levels_are_the_same_everywhere(
        steps in 1_usize..=65,
        bits in 1_usize..=8,
        scale in 0.1_f32..9.0,
        values in proptest::collection::vec(-3.0_f32..3.0, 65 * 64),
        others in proptest::collection::vec(-3.0_f32..3.0, 65 * 64),
    ) {
        let (values, others) = (&values[..steps * 64], &others[..steps * 64]);
        let mut expected = vec![0; bits * steps];
        let levels = oracle().levels(values, others, scale, &mut expected);
        for kernels in IndexKernels::all_supported() {
            let mut got = vec![7; bits * steps];
            let got_levels = kernels.levels(values, others, scale, &mut got);
            prop_assert_eq!(got_levels, levels, "{}", kernels.name());
            prop_assert_eq!(&got, &expected, "{}", kernels.name());
        }
    }

    #[test]
    fn relate_and_combine_are_the_same_everywhere(
        steps in 1_usize..=65,
        (own, other) in (bytes(65 * 64, u8::MAX), bytes(65 * 64, u8::MAX)),
        (own_step, other_step) in (1e-4_f32..1.0, 1e-4_f32..1.0),
        rows in proptest::collection::vec((-1000..1000, 1e-4_f32..1.0, 0.0_f32..9.0, -9..9), 40),
    ) {
        let own = BytesOf { bytes: &own[..steps * 64], step: own_step };
        let other = BytesOf { bytes: &other[..steps * 64], step: other_step };
        let mut expected = vec![0; steps];
        let relation = oracle().relate(own, other, &mut expected);
        let products: Vec<i32> = rows.iter().map(|row| row.0).collect();
        let steps: Vec<f32> = rows.iter().map(|row| row.1).collect();
        let norms: Vec<f32> = rows.iter().map(|row| row.2).collect();
        let sums: Vec<i32> = rows.iter().map(|row| row.3).collect();
        let (steps, norms, sums) = (&steps[..], &norms[..], &sums[..]);
        let with = Combining { step: own_step, norm: 1.0, steps, norms, sums };
        let mut distances = vec![0.0; rows.len()];
        oracle().combine(&with, &products, &mut distances);
        for kernels in IndexKernels::all_supported() {
            let mut got = vec![7; expected.len()];
            prop_assert_eq!(kernels.relate(own, other, &mut got), relation, "{}", kernels.name());
            prop_assert_eq!(&got, &expected, "{}", kernels.name());
            let mut got = vec![1.0; rows.len()];
            kernels.combine(&with, &products, &mut got);
            prop_assert_eq!(&got, &distances, "{}", kernels.name());
        }
    }
}

/// The lengths that spaces really have: below, at and above a step, up to the longest and what is
/// one longer for the sake of inner products.
#[test]
fn every_kernel_is_the_same_everywhere_at_every_length() {
    for dimensions in [1_usize, 15, 63, 64, 65, 100, 384, 767, 768, 1024, 1536, 4096, 4097] {
        let padded = dimensions.next_multiple_of(DIMENSIONS_STEP);
        let mut state = dimensions as u64;
        let mut uniform = || (split_mix(&mut state) >> 40) as f32 / 8_388_608.0 - 1.0;
        let [values, others] = [0, 1].map(|_| (0..padded).map(|_| uniform()).collect::<Vec<_>>());
        let codes: Vec<u8> = (0..padded * 16).map(|_| (uniform() * 128.0) as i8 as u8).collect();
        let mut expected = None;
        for kernels in IndexKernels::all_supported() {
            let words = padded / DIMENSIONS_STEP;
            let (mut levels, mut tables) = (vec![0; padded], vec![0; padded * 4]);
            let (mut planes, mut signs) = (vec![0; 4 * words], vec![0; words]);
            let (mut sums, mut products) = ([0; CODE_ROWS], [0; TILE * TILE]);
            let largest = kernels.largest(&values);
            let rounded = kernels.round_bytes(&values, 127.0 / largest, &mut levels);
            kernels.fill_tables(&values, 63.0 / (4.0 * largest), &mut tables);
            kernels.scan_block(&codes[..padded * 4], &tables, &mut sums);
            let product = kernels.dot(&codes[..padded], &levels);
            let leveled = kernels.levels(&values, &others, 3.0, &mut planes);
            let norms = kernels.signs(&others, &mut signs);
            let [own, other] =
                [0, 1].map(|nth| BytesOf { bytes: &codes[nth * padded..][..padded], step: 0.5 });
            let mut differences = vec![0; words];
            let relation = kernels.relate(own, other, &mut differences);
            let (left, right) = codes[..padded * 8].split_at(padded * 4);
            kernels.dot_strip(left, right, &mut products);
            let bits = (levels, tables, planes, signs, differences);
            let got = (bits, sums, products, rounded, product, leveled, norms, relation);
            assert!(got == *expected.get_or_insert(got.clone()), "{} {padded}", kernels.name());
        }
    }
}

#[test]
fn widen_is_the_same_everywhere() {
    let mut halves = [0; 4 * CODE_ROWS];
    for (nth, le) in halves.chunks_exact_mut(2).enumerate() {
        le.copy_from_slice(&(nth as u16 * 997).to_le_bytes());
    }
    let bits = |wide: [f32; 2 * CODE_ROWS]| wide.map(|value| (value.is_nan(), value));
    let mut expected = [0.0; 2 * CODE_ROWS];
    oracle().widen(&halves, &mut expected);
    for kernels in IndexKernels::all_supported() {
        let mut got = [1.0; 2 * CODE_ROWS];
        kernels.widen(&halves, &mut got);
        for (got, expected) in bits(got).iter().zip(bits(expected)) {
            assert!(got.0 == expected.0 && (got.0 || got.1 == expected.1), "{}", kernels.name());
        }
    }
}

#[test]
fn hadamard_twice_multiplies_by_the_length() {
    let mut values: Vec<f32> = (0_u8..128).map(f32::from).collect();
    index_kernels().hadamard(&mut values);
    index_kernels().hadamard(&mut values);
    assert!(values.iter().zip(0_u8..).all(|(&got, nth)| got == 128.0 * f32::from(nth)));
}

#[test]
fn levels_are_the_nearest_and_none_lies_outside() {
    let values: Vec<f32> = (0..64).map(|nth| nth as f32 / 4.0 - 8.0).collect();
    let mut planes = [0; 2];
    index_kernels().levels(&values, &values, 1.0, &mut planes);
    for (nth, value) in values.iter().enumerate() {
        let level = (planes[0] >> nth & 1) + 2 * (planes[1] >> nth & 1);
        let nearest = match *value {
            ..-1.0 => 0,
            ..0.0 => 1,
            ..1.0 => 2,
            _ => 3,
        };
        assert_eq!(level, nearest, "{value}");
    }
}

#[test]
fn values_that_are_no_numbers_have_a_level() {
    let values = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX].repeat(16);
    let mut expected = vec![0; 4];
    oracle().levels(&values, &values, 9.0, &mut expected);
    for kernels in IndexKernels::all_supported() {
        let mut got = vec![1; 4];
        kernels.levels(&values, &values, 9.0, &mut got);
        assert_eq!(got, expected, "{}", kernels.name());
    }
}

#[test]
fn the_largest_bytes_do_not_overflow() {
    let (row, query) = ([u8::MAX; 4096], [i8::MIN; 4096]);
    for kernels in IndexKernels::all_supported() {
        assert_eq!(kernels.dot(&row, &query), -128 * 255 * 4096, "{}", kernels.name());
    }
}
