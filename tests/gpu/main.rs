//! How near a GPU comes to what it can do: models of real sizes with random weights, made on the
//! spot, beside what the device's memory and arithmetic give.
//!
//! ```text
//! gpu [--device gpu:0] [--quick] [--only "1B Q4_K"] [--kernels] [--folder DIR] [--llama-bench PROGRAM]
//!   --quick    small shapes, so that it can be tried on a software driver
//!   --only     only the shapes and formats whose name holds this text
//!   --kernels  the products alone, of some blocks of each decoder
//!   --folder   where the files of weights are written, one after another (15 GB at the most)
//!   --llama-bench   llama.cpp's program, which then measures each file of a decoder too
//! ```
//! One line of JSON a measurement; `tests/gpu/run` makes the table of them.

mod checkpoints;
mod kernels;
mod limits;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use burn::backend::DispatchDevice;
use burn::module::Module;
use cubecl::client::Client;
use cubecl::logging::{LaunchObservation, LaunchObserver};
use emberform::{Device, GenerateOptions, Model, Precision, Result};
use emberform_tests::Scratch;
use serde_json::{Value, json};

use checkpoints::{Format, Shape};
use limits::Limits;

struct Options {
    device: String,
    quick: bool,
    kernels: bool,
    only: String,
    folder: Option<PathBuf>,
    llama: Option<PathBuf>,
}

fn options() -> Options {
    let mut options = Options {
        device: "gpu".into(),
        quick: false,
        kernels: false,
        only: String::new(),
        folder: None,
        llama: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
        match word.as_str() {
            "--device" => options.device = value(),
            "--quick" => options.quick = true,
            "--kernels" => options.kernels = true,
            "--only" => options.only = value(),
            "--folder" => options.folder = Some(value().into()),
            "--llama-bench" => options.llama = Some(value().into()),
            _ => panic!("`{word}` is not known; see the head of tests/gpu/main.rs"),
        }
    }
    options
}

fn main() -> Result<()> {
    let options = options();
    let scratch = Scratch::new().expect("a folder for the files");
    let folder = options.folder.clone().unwrap_or_else(|| scratch.path().to_path_buf());
    let mut limits: Option<Limits> = None;
    for shape in checkpoints::shapes(options.quick) {
        let shape = match options.kernels {
            true if shape.encoder => continue,
            true => Shape { layers: shape.layers.min(8), ..shape },
            false => shape,
        };
        for &format in shape.formats {
            if !name(&shape, format).contains(&options.only) {
                continue;
            }
            let path = folder.join(format!("{}-{}.gguf", shape.name, format.name()));
            if let Err(error) = checkpoints::write(&path, &shape, format) {
                println!("{}", json!({"model": name(&shape, format), "failed": error.to_string()}));
                let _ = std::fs::remove_file(&path);
                continue;
            }
            // Then in halves, which changes what many rows cost.
            for precision in [Precision::Stored, Precision::F16] {
                if options.kernels && precision == Precision::F16 {
                    continue;
                }
                match measure(&path, (&shape, format, precision), &options, &mut limits) {
                    Ok(lines) => lines.iter().for_each(|line| println!("{line}")),
                    // One that does not fit the device leaves the others to be measured.
                    Err(error) => {
                        println!(
                            "{}",
                            json!({"model": name(&shape, format), "failed": error.to_string()})
                        );
                    }
                }
            }
            if let (Some(program), false) = (&options.llama, shape.encoder || options.kernels) {
                println!("{}", llama(program, &path, &shape, format));
            }
            let _ = std::fs::remove_file(&path);
        }
    }
    Ok(())
}

fn name(shape: &Shape, format: Format) -> String {
    format!("{} {}", shape.name, format.name())
}

fn measure(
    path: &Path,
    (shape, format, precision): (&Shape, Format, Precision),
    options: &Options,
    limits: &mut Option<Limits>,
) -> Result<Vec<Value>> {
    let device: Device = options.device.parse()?;
    let start = Instant::now();
    let model = Model::options().device(device).precision(precision).open(path)?;
    let load = start.elapsed().as_secs_f64();
    let limits = limits.get_or_insert_with(|| {
        let found = limits::measure(client(&model).as_ref(), options.quick);
        println!("{}", found.line(&model.device().to_string(), &model.device().driver));
        found
    });
    if options.kernels {
        let Some(client) = client(&model) else { return Ok(vec![]) };
        return kernels::measure(&model, &client, shape, limits.read);
    }
    let mut line = json!({
        "model": name(shape, format),
        "precision": if precision == Precision::F16 { "f16" } else { "stored" },
        "weights_mb": model.memory().weights as f64 / 1e6,
        "load_s": round(load),
    });
    let found = match model.encoder() {
        Some(_) => embedding(&model, shape, limits)?,
        None => generation(&model, shape, limits, precision == Precision::Stored)?,
    };
    if let (Some(line), Value::Object(found)) = (line.as_object_mut(), found) {
        line.extend(found);
    }
    Ok(vec![line])
}

/// What llama.cpp's own benchmark says of the same file, all layers on the GPU.
fn llama(program: &Path, file: &Path, shape: &Shape, format: Format) -> Value {
    let mut line = json!({"peer": "llama.cpp", "model": name(shape, format)});
    let output = Command::new(program)
        .args(["-ngl", "99", "-r", &shape.runs.to_string(), "-o", "json", "-m"])
        .arg(file)
        .args(["-p", &shape.prompt.to_string(), "-n", &shape.tokens.to_string()])
        .output();
    let tests = match &output {
        Ok(output) => serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap_or_default(),
        Err(_) => vec![],
    };
    if tests.is_empty() {
        line["failed"] = json!("llama-bench gave no result");
    }
    for test in tests {
        let key = if test["n_gen"] == 0 { "prefill_tokens_s" } else { "decode_tokens_s" };
        line[key] = test["avg_ts"].clone();
    }
    line
}

/// The device's own handle; none for the CPU.
fn client(model: &Model) -> Option<Client> {
    let devices = match (model.decoder(), model.encoder()) {
        (Some(decoder), _) => decoder.devices(),
        (None, Some(encoder)) => encoder.devices(),
        (None, None) => vec![],
    };
    match devices.first()?.as_dispatch() {
        DispatchDevice::Cube(device) => Some(device.client()),
        _ => None,
    }
}

/// Counts kernels as they are launched.
#[derive(Default)]
struct Count(AtomicUsize);

impl LaunchObserver for Count {
    fn launched(&self, _kernel: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many kernels `work` launches.
fn launches(work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let count = Arc::new(Count::default());
    let observation = LaunchObservation::new(count.clone());
    let result = work();
    drop(observation);
    result.map(|()| count.0.load(Ordering::Relaxed))
}

/// Reading a prompt, and writing if that is `whole`.
fn generation(model: &Model, shape: &Shape, limits: &Limits, whole: bool) -> Result<Value> {
    let vocab = model.spec().vocab;
    let ids: Vec<u32> = (0..shape.prompt).map(|i| (i * 7919 % vocab) as u32).collect();
    let wanted = GenerateOptions::default().max_tokens(shape.tokens).ignore_eos(true).greedy();
    let (mut prefill, mut decode, mut first) = (vec![], vec![], 0.0);
    for run in 0..=shape.runs {
        let mut session = model.session()?;
        let start = Instant::now();
        session.feed(&ids)?;
        let read = start.elapsed().as_secs_f64();
        if !whole {
            if run > 0 {
                prefill.push(ids.len() as f64 / read);
            }
            continue;
        }
        let start = Instant::now();
        let mut stream = session.generate(&wanted)?;
        for piece in &mut stream {
            piece?;
        }
        if run == 0 {
            // Kernels are compiled here.
            first = read + start.elapsed().as_secs_f64();
            continue;
        }
        prefill.push(ids.len() as f64 / read);
        // The first token is chosen from what the prompt gave: it costs no pass.
        let passes = shape.tokens.saturating_sub(1).max(1);
        decode.push(passes as f64 / start.elapsed().as_secs_f64());
    }
    if !whole {
        let prefill = median(prefill);
        return Ok(json!({
            "workload": "prompt", "prompt": ids.len(),
            "prefill_tokens_s": round(prefill),
            "prefill_of_matrix_rate": round(prefill * shape.flops(ids.len()) / limits.matrix()),
        }));
    }
    let mut session = model.session()?;
    session.feed(&ids)?;
    // The first two are issued, and the second recorded.
    session.feed(&[1])?;
    session.feed(&[1])?;
    let token = launches(|| session.feed(&[1]))?;
    let mut session = model.session()?;
    let prompt = launches(|| session.feed(&ids))?;
    let (prefill, decode) = (median(prefill), median(decode));
    let apart = steps_apart(model, &ids)?;
    assert!(apart <= 1e-3, "tokens one by one give other logits: {apart} of the largest");
    Ok(json!({
        "workload": "generate", "prompt": ids.len(), "tokens": shape.tokens,
        "first_run_s": round(first),
        "prefill_tokens_s": round(prefill),
        "prefill_of_matrix_rate": round(prefill * shape.flops(ids.len()) / limits.matrix()),
        "decode_tokens_s": round(decode),
        "decode_of_bandwidth": round(decode * shape.read_bytes(model) / limits.read),
        "launches_token": token, "launches_prompt": prompt, "steps_apart": apart,
    }))
}

/// How far logits after tokens one by one are from those after all at once, as part of the largest.
fn steps_apart(model: &Model, ids: &[u32]) -> Result<f32> {
    let mut worst = 0.0f32;
    for count in [3, ids.len().min(70)] {
        let mut together = model.session()?;
        together.feed(&ids[..count])?;
        let mut apart = model.session()?;
        for id in &ids[..count] {
            apart.feed(&[*id])?;
        }
        let largest = together.logits().iter().fold(0.0f32, |most, x| most.max(x.abs()));
        let pairs = together.logits().iter().zip(apart.logits());
        let error = pairs.fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        worst = worst.max(if error.is_nan() { f32::INFINITY } else { error / largest });
    }
    Ok(worst)
}

fn embedding(model: &Model, shape: &Shape, limits: &Limits) -> Result<Value> {
    let texts = checkpoints::texts(shape);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tokens = model.tokenizer().map_or(Ok(0), |tokenizer| {
        let encoded = tokenizer.encode_batch(&texts, true, Some(model.max_tokens()))?;
        Ok::<usize, emberform::Error>(encoded.iter().map(|text| text.ids.len()).sum())
    })?;
    let (mut times, mut first) = (vec![], 0.0);
    for run in 0..=shape.runs {
        let start = Instant::now();
        model.embed(&texts)?;
        match run {
            0 => first = start.elapsed().as_secs_f64(),
            _ => times.push(start.elapsed().as_secs_f64()),
        }
    }
    let mut single = vec![];
    for _ in 0..shape.runs.max(1) * 3 {
        let start = Instant::now();
        model.embed(&texts[..1])?;
        single.push(start.elapsed().as_secs_f64());
    }
    let one = launches(|| model.embed(&texts[..1]).map(drop))?;
    let time = median(times);
    let rate = tokens as f64 / time;
    let length = tokens / texts.len().max(1);
    Ok(json!({
        "workload": "embed", "texts": texts.len(), "tokens": tokens,
        "first_run_s": round(first),
        "texts_s": round(texts.len() as f64 / time),
        "embed_tokens_s": round(rate),
        "embed_of_matrix_rate": round(rate * shape.flops(length) / limits.matrix()),
        "single_ms": round(median(single) * 1e3),
        "launches_text": one,
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn round(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
