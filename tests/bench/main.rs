//! One measurement of one model on one device, as a line of JSON.
//!
//! ```text
//! bench --model models/minilm [--device cpu] [--texts FILE]        embedding
//! bench --model FILE.gguf [--device cpu] [--prompt 512] [--tokens 128]   generation
//! bench --model FILE.gguf --long 8000 [--prompt 512] [--tokens 8]   so many tokens after a short
//!                                                    prompt and after a long one, in turn
//! bench --model FILE.gguf --batch 8 [--prompt 64] [--tokens 64]   so many sequences decoded together
//!   --precision int8   as in OpenOptions; --threads 2
//!   --runs 5      the median of so many, after one that is not counted
//!   ONLY=batch or ONLY=single in the environment: one kind of embedding alone, for a profile
//!   --inside      without start and memory, which are measured by starting this program anew
//! ```
//! `start_s` is from starting the program to the first embedding or token, measured from outside;
//! memory is that of such a process, in MiB: what is resident at the end, and the most at any time.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use emberform::{Device, GenerateOptions, Model, Result};
use serde_json::{Value, json};

struct Options {
    model: String,
    device: String,
    precision: String,
    threads: Option<usize>,
    texts: Option<String>,
    prompt: usize,
    tokens: usize,
    /// Sequences decoded together; 0: one by itself.
    batch: usize,
    /// Ids of a second, long prompt; 0: none.
    long: usize,
    runs: usize,
    /// Only start, compute the first thing and say so: what the outer process measures.
    once: bool,
    inside: bool,
}

fn options() -> Options {
    let mut options = Options {
        model: "models/minilm".into(),
        device: "cpu".into(),
        precision: "stored".into(),
        threads: None,
        texts: None,
        prompt: 512,
        tokens: 128,
        batch: 0,
        long: 0,
        runs: 5,
        once: false,
        inside: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} takes a value"));
        let number =
            |text: String| text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"));
        match word.as_str() {
            "--model" => options.model = value(),
            "--device" => options.device = value(),
            "--precision" => options.precision = value(),
            "--threads" => options.threads = Some(number(value())),
            "--texts" => options.texts = Some(value()),
            "--prompt" => options.prompt = number(value()),
            "--tokens" => options.tokens = number(value()),
            "--long" => options.long = number(value()),
            "--batch" => options.batch = number(value()),
            "--runs" => options.runs = number(value()),
            "--once" => options.once = true,
            "--inside" => options.inside = true,
            _ => panic!("`{word}` is not known; see the head of tests/bench/main.rs"),
        }
    }
    options
}

fn main() -> Result<()> {
    let options = options();
    let start = Instant::now();
    let device: Device = options.device.parse()?;
    let mut open = Model::options().device(device).precision(options.precision.parse()?);
    open.threads = options.threads;
    let model = open.open(&options.model)?;
    let load = start.elapsed().as_secs_f64();
    if options.once {
        return once(&model, &options);
    }
    let mut line = json!({
        "model": model.to_string(),
        "device": model.device().to_string(),
        "version": env!("CARGO_PKG_VERSION"),
        "load_s": round(load),
    });
    let found = match model.encoder() {
        Some(_) => embedding(&model, &options)?,
        None if options.batch > 0 => batch(&model, &options)?,
        None if options.long > 0 => slowing(&model, &options)?,
        None => generation(&model, &options)?,
    };
    let outside = if options.inside { json!({}) } else { outside(&options) };
    for part in [found, outside] {
        if let (Some(line), Value::Object(part)) = (line.as_object_mut(), part) {
            line.extend(part);
        }
    }
    println!("{line}");
    Ok(())
}

/// The first useful thing, then what the process holds.
fn once(model: &Model, options: &Options) -> Result<()> {
    if model.encoder().is_some() {
        model.embed(&["A cat sleeps on the warm windowsill."])?;
        println!("first");
    } else {
        let wanted =
            GenerateOptions::default().max_tokens(options.tokens).ignore_eos(true).greedy();
        for (i, piece) in model.generate("The capital of France is", &wanted)?.enumerate() {
            piece?;
            if i == 0 {
                println!("first");
            }
        }
    }
    println!("{}", json!({"resident_mib": status("VmRSS:"), "peak_mib": status("VmHWM:")}));
    Ok(())
}

/// Starts this program anew and waits for its first result.
fn outside(options: &Options) -> Value {
    let program = std::env::current_exe().expect("a path");
    let mut times = Vec::new();
    let mut memory = Value::Null;
    for _ in 0..options.runs.max(1) {
        let start = Instant::now();
        let mut child = Command::new(&program)
            .args(["--once", "--model", &options.model, "--device", &options.device])
            .args(["--tokens", &options.tokens.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        lines.next();
        times.push(start.elapsed().as_secs_f64());
        if let Some(Ok(line)) = lines.next() {
            memory = serde_json::from_str(&line).unwrap_or(Value::Null);
        }
        child.wait().expect("it ends");
    }
    let mut found = json!({"start_s": round(median(times))});
    if let (Some(found), Value::Object(memory)) = (found.as_object_mut(), memory) {
        found.extend(memory);
    }
    found
}

fn embedding(model: &Model, options: &Options) -> Result<Value> {
    let text = match &options.texts {
        Some(path) => std::fs::read_to_string(path).expect("the file of texts"),
        None => include_str!("../golden/text/corpus.txt").to_string(),
    };
    let texts: Vec<&str> = text.lines().filter(|line| !line.is_empty()).take(512).collect();
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let encoded = tokenizer.encode_batch(&texts, true, Some(model.max_tokens()))?;
    let tokens: usize = encoded.iter().map(|text| text.ids.len()).sum();
    let measure = |work: &dyn Fn() -> Result<()>| -> Result<f64> {
        let mut times = Vec::new();
        for run in 0..=options.runs {
            let start = Instant::now();
            work()?;
            if run > 0 {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(median(times))
    };
    // One kind of work alone, for a profile.
    let only = std::env::var("ONLY").unwrap_or_default();
    let wanted = |kind: &str| only.is_empty() || only == kind;
    let (mut all, mut single) = (f64::NAN, f64::NAN);
    if wanted("batch") {
        all = measure(&|| model.embed(&texts).map(drop))?;
    }
    if wanted("single") {
        single = measure(&|| texts.iter().try_for_each(|text| model.embed(&[text]).map(drop)))?;
    }
    let n = texts.len() as f64;
    // What rounding costs: the least cosine to the vectors of the weights as they are stored.
    let mut least = 1.0_f32;
    if options.precision != "stored" && only.is_empty() {
        let stored = Model::options().device(options.device.parse()?).open(&options.model)?;
        let (ours, stored) = (model.embed(&texts)?, stored.embed(&texts)?);
        for (ours, stored) in ours.rows().zip(stored.rows()) {
            least = least.min(ours.iter().zip(stored).map(|(a, b)| a * b).sum());
        }
    }
    Ok(json!({
        "least_cosine": least, "workload": "embed", "texts": texts.len(), "tokens": tokens,
        "texts_s": round(n / all), "tokens_s": round(tokens as f64 / all),
        "single_texts_s": round(n / single), "single_tokens_s": round(tokens as f64 / single),
    }))
}

/// Ids spread over the vocabulary: what they mean changes nothing in the work.
fn ids(model: &Model, sequence: usize, count: usize) -> Vec<u32> {
    let id = |i: usize| ((sequence * 104_729 + i * 7919) % model.spec().vocab) as u32;
    (0..count.max(1)).map(id).collect()
}

fn generation(model: &Model, options: &Options) -> Result<Value> {
    let prompt = ids(model, 0, options.prompt);
    let wanted = GenerateOptions::default().max_tokens(options.tokens).ignore_eos(true).greedy();
    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    for run in 0..=options.runs {
        let mut session = model.session()?;
        let start = Instant::now();
        session.feed(&prompt)?;
        let read = start.elapsed().as_secs_f64();
        let mut stream = session.generate(&wanted)?;
        for piece in &mut stream {
            piece?;
        }
        if run > 0 {
            prefill.push(prompt.len() as f64 / read);
            decode.push(stream.stats().tokens_per_second());
        }
    }
    Ok(json!({
        "workload": "generate", "prompt": prompt.len(), "tokens": options.tokens,
        "prefill_tokens_s": round(median(prefill)), "decode_tokens_s": round(median(decode)),
    }))
}

/// What is left of the rate after a long prompt: both sessions in turn, since a machine's own rate
/// changes from second to second.
fn slowing(model: &Model, options: &Options) -> Result<Value> {
    /// So many times as many turns as runs.
    const TURNS: usize = 20;
    let wanted = GenerateOptions::default().max_tokens(options.tokens).ignore_eos(true).greedy();
    let (mut sessions, mut rates) = (Vec::new(), [Vec::new(), Vec::new()]);
    for count in [options.prompt, options.long] {
        let mut session = model.session()?;
        session.feed(&ids(model, 0, count))?;
        sessions.push(session);
    }
    for _ in 0..TURNS * options.runs {
        for (session, rates) in sessions.iter_mut().zip(&mut rates) {
            let mut stream = session.generate(&wanted)?;
            for piece in &mut stream {
                piece?;
            }
            rates.push(stream.stats().tokens_per_second());
        }
    }
    let left = rates[0].iter().zip(&rates[1]).map(|(short, long)| long / short).collect();
    let [short, long] = rates.map(|rates| round(median(rates)));
    Ok(json!({
        "workload": "long", "prompt": options.prompt, "long": options.long,
        "tokens": options.tokens, "decode_tokens_s": short, "long_tokens_s": long,
        "left": round(median(left)),
    }))
}

/// Tokens a second of several sequences together, once all prompts were read.
fn batch(model: &Model, options: &Options) -> Result<Value> {
    let wanted = GenerateOptions::default().max_tokens(options.tokens).ignore_eos(true).greedy();
    let mut rates = Vec::new();
    for run in 0..=options.runs {
        let mut batch = model.batch()?;
        for sequence in 0..options.batch {
            batch.add_ids(&ids(model, sequence, options.prompt), &wanted)?;
        }
        // The first token of each comes with its prompt.
        for (_, piece) in batch.by_ref().take(options.batch) {
            piece?;
        }
        let start = Instant::now();
        let mut tokens = 0;
        for (_, piece) in &mut batch {
            tokens += usize::from(piece?.token.is_some());
        }
        if run > 0 {
            rates.push(tokens as f64 / start.elapsed().as_secs_f64());
        }
    }
    Ok(json!({
        "workload": "batch", "sequences": options.batch, "prompt": options.prompt,
        "tokens": options.tokens, "decode_tokens_s": round(median(rates)),
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A line of this process's status in MiB; 0 where the system has no such file.
fn status(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
