#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| engram_fuzz::frames::run(bytes));
