//! Gives libFuzzer's input to the body of the same name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| eyesplice_proto_fuzz::socks_client(data));
