//! Whether two builds compute the same floats: `bits [FOLDER]`, a line for each checkpoint and precision.
//!
//! A line has the name and four hashes (FNV-1a over the bits of the floats) of what the CPU gives: a
//! row of 24 tokens, two rows of different lengths, five tokens in a session, and one token after
//! another after them. Run with both builds, `diff` says which checkpoints differ.

use std::path::{Path, PathBuf};

use emberform::{Device, Model, Precision, Result};

/// Adds the bits of floats to a hash.
fn hash(sum: &mut u64, values: &[f32]) {
    for value in values {
        *sum = (*sum ^ u64::from(value.to_bits())).wrapping_mul(0x0100_0000_01b3);
    }
}

fn hashes(path: &Path, precision: Precision) -> Result<[u64; 4]> {
    let options = Model::options().device(Device::Cpu).precision(precision);
    let model = options.open(path)?;
    let spec = model.spec();
    let reader = spec.encoder.as_deref().unwrap_or(spec);
    let vocab = spec.vocab.min(reader.vocab);
    let ids: Vec<u32> = (0..24.min(reader.window)).map(|i| (i * 31 % vocab) as u32).collect();
    let mut sums = [0xcbf2_9ce4_8422_2325; 4];
    hash(&mut sums[0], model.forward(&[&ids])?.as_slice());
    hash(&mut sums[1], model.forward(&[&ids[..], &ids[..ids.len() / 2 - 1]])?.as_slice());
    if model.decoder().is_some() {
        let mut session = model.session()?;
        session.feed(&ids[..5])?;
        hash(&mut sums[2], session.logits());
        for id in &ids[5..] {
            session.feed(&[*id])?;
            hash(&mut sums[3], session.logits());
        }
    }
    Ok(sums)
}

fn main() {
    let folder = std::env::args().nth(1).unwrap_or("tests/golden/checkpoints".to_string());
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.join("config.json").exists() && path.join("expected.safetensors").exists()
            || path.extension().is_some_and(|extension| extension == "gguf")
    });
    paths.sort();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        for precision in [Precision::Stored, Precision::F32] {
            match hashes(&path, precision) {
                Ok(sums) => println!("{name} {precision:?} {sums:x?}"),
                Err(error) => println!("{name} {precision:?} {error}"),
            }
        }
    }
}
