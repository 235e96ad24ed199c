//! libFuzzer writes templates.

#![no_main]

mod one;

libfuzzer_sys::fuzz_target!(|source: &[u8]| {
    one::fuzz_one(source);
});
