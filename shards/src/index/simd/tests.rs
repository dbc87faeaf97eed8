//! Every instruction set against the scalar oracle, bit for bit.

use proptest::prelude::*;

use super::*;

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
    fn dot_tile_is_the_same_everywhere(
        steps in 1_usize..=17,
        left in bytes(17 * 256, u8::MAX),
        right in bytes(17 * 256, u8::MAX),
    ) {
        let (left, right) = (&left[..steps * 256], &right[..steps * 256]);
        let mut expected = [[1; TILE]; TILE];
        oracle().dot_tile(left, right, &mut expected);
        for kernels in IndexKernels::all_supported() {
            let mut got = [[2; TILE]; TILE];
            kernels.dot_tile(left, right, &mut got);
            prop_assert_eq!(got, expected, "{}", kernels.name());
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
fn the_largest_bytes_do_not_overflow() {
    let (row, query) = ([u8::MAX; 4096], [i8::MIN; 4096]);
    for kernels in IndexKernels::all_supported() {
        assert_eq!(kernels.dot(&row, &query), -128 * 255 * 4096, "{}", kernels.name());
    }
}
