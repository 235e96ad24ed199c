//! The times of short calls of the core: what `bench.py` takes off the same calls from Python.
//!
//! `core_call EMBEDDER DECODER TEXT CALLS` prints one JSON object: for each call its least and its
//! median time in nanoseconds.

use std::time::Instant;

use emberform::{Device, GenerateOptions, Model, Result};

fn measure(name: &str, calls: usize, mut call: impl FnMut() -> Result<()>) -> Result<String> {
    let mut times = Vec::with_capacity(calls);
    for i in 0..calls + calls / 4 {
        let start = Instant::now();
        call()?;
        // The first calls warm up.
        if i >= calls / 4 {
            times.push(start.elapsed().as_nanos());
        }
    }
    times.sort_unstable();
    Ok(format!("\"{name}\": [{}, {}]", times[0], times[times.len() / 2]))
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (embedder, decoder, text) = (&arguments[1], &arguments[2], arguments[3].as_str());
    let calls: usize = arguments[4].parse().expect("a number of calls");
    let model = Model::options().device(Device::Cpu).open(embedder)?;
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let options = GenerateOptions::default().max_tokens(1 << 20).ignore_eos(true).greedy();
    let generator = Model::options().device(Device::Cpu).open(decoder)?;
    let mut stream = generator.generate(text, &options)?;
    let ids = tokenizer.encode(text, true)?.ids;
    let results = [
        measure("encode", calls, || tokenizer.encode(text, true).map(drop))?,
        measure("embed", calls, || model.embed(&[text]).map(drop))?,
        measure("forward", calls, || model.forward(&[&ids]).map(drop))?,
        measure("next", calls, || {
            // A full window ends a stream; the next one takes its place.
            if stream.next().transpose()?.is_none() {
                stream = generator.generate(text, &options)?;
            }
            Ok(())
        })?,
    ];
    println!("{{{}}}", results.join(", "));
    Ok(())
}
