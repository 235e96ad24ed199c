//! How many kernels checkpoints launch on a GPU: `launches FOLDER [DEVICE]`, one line each.
//!
//! ```text
//! name                       prompt   few  step batch
//! ```
//! `prompt` is a forward pass of 24 tokens, `few` one of 5 tokens in a session, `step` the first token
//! after them that is like the one before, `batch` a pass of two rows of 24 and 11 tokens; a stroke
//! where there is no such thing. Run on two builds, no number may grow from one to the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cubecl::logging::{LaunchObservation, LaunchObserver};
use emberform::{Device, Model, Result};

/// Counts kernels as they are launched.
#[derive(Default)]
struct Count(AtomicUsize);

impl LaunchObserver for Count {
    fn launched(&self, _kernel: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn launches(work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let count = Arc::new(Count::default());
    let observation = LaunchObservation::new(count.clone());
    let result = work();
    drop(observation);
    result.map(|()| count.0.load(Ordering::Relaxed))
}

fn line(path: &Path, device: &Device) -> Result<String> {
    let model = Model::options().device(device.clone()).open(path)?;
    let spec = model.spec();
    let reader = spec.encoder.as_deref().unwrap_or(spec);
    let vocab = spec.vocab.min(reader.vocab);
    let ids: Vec<u32> = (0..24.min(reader.window)).map(|i| (i * 31 % vocab) as u32).collect();
    let prompt = launches(|| model.forward(&[&ids]).map(drop))?;
    let batch = launches(|| model.forward(&[&ids[..], &ids[..ids.len() / 2 - 1]]).map(drop))?;
    let (mut few, mut step) = ("-".to_string(), "-".to_string());
    if model.decoder().is_some() {
        let mut session = model.session()?;
        few = launches(|| session.feed(&ids[..5]))?.to_string();
        session.feed(&[1])?;
        step = launches(|| session.feed(&[2]))?.to_string();
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{name:28} {prompt:5} {few:>5} {step:>5} {batch:5}"))
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "tests/golden/checkpoints".to_string());
    let device = arguments.next().unwrap_or_else(|| "gpu:0".to_string()).parse()?;
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| {
        path.join("config.json").exists() && path.join("expected.safetensors").exists()
            || path.extension().is_some_and(|extension| extension == "gguf")
    });
    paths.sort();
    for path in paths {
        match line(&path, &device) {
            Ok(line) => println!("{line}"),
            Err(error) => println!("{}: {error}", path.display()),
        }
    }
    Ok(())
}
