//! Generation on a real model: streams, stops, sampling, cancelling, many threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cubecl::logging::{LaunchObservation, LaunchObserver};
use emberform::{
    CancelToken, Device, Error, FinishReason, ForwardOptions, GenerateOptions, Model, Session,
};
use emberform_tests::hostile::Folder;
use emberform_tests::{Scratch, difference, golden, model, open, open_exact, software_gpu};
use serde_json::json;

fn gemma() -> Model {
    open(&model("gemma3-270m-q4_k_m.gguf"), &Device::Cpu)
}

const PROMPT: &str = "The capital of France is";

#[test]
fn a_stream_tells_how_it_ended() {
    let model = gemma();
    let options = GenerateOptions::default().max_tokens(12).greedy();
    let mut stream = model.generate(PROMPT, &options).expect("a stream");
    let mut text = String::new();
    for piece in &mut stream {
        text.push_str(&piece.expect("a piece").text);
    }
    assert_eq!(stream.finish_reason(), Some(FinishReason::Length));
    assert_eq!(stream.stats().tokens, 12);
    assert!(stream.stats().tokens_per_second() > 0.0 && stream.stats().prefill_per_second() > 0.0);
    assert!(text.contains("France"), "{text}");

    // The same text again, cut at a stop string that spans tokens.
    let stop = text[1..].chars().take(6).collect::<String>();
    let stream = model.generate(PROMPT, &options.clone().stop([stop.clone()])).expect("a stream");
    let cut = stream.text().expect("text");
    assert_eq!(cut, text[..text.find(&stop).expect("the stop string")]);

    let nothing = model.generate(PROMPT, &options.clone().max_tokens(0)).expect("a stream");
    assert_eq!(nothing.text().expect("text"), "");
    // Every choice has its probability.
    let logprobs = options.logprobs(3);
    for piece in model.generate(PROMPT, &logprobs).expect("a stream") {
        if let Some(token) = piece.expect("a piece").token {
            assert_eq!(token.top.len(), 3);
            assert_eq!((token.id, token.logprob), token.top[0], "greedy takes the most probable");
            assert!(token.logprob <= 0.0);
        }
    }
}

#[test]
fn sampling_repeats_by_its_seed() {
    let model = gemma();
    let options = GenerateOptions::default().max_tokens(16).temperature(1.0).top_p(0.95);
    let run = |seed| {
        model.generate(PROMPT, &options.clone().seed(seed)).expect("a stream").text().expect("text")
    };
    assert_eq!(run(7), run(7));
    assert!((1..6).any(|seed| run(seed) != run(7)), "seeds change nothing");
}

#[test]
fn a_session_goes_on_where_it_stands() {
    let model = gemma();
    let options = GenerateOptions::default().max_tokens(8).greedy();
    let long = GenerateOptions::default().max_tokens(16).greedy();
    let whole = model.generate(PROMPT, &long).expect("a stream").text().expect("text");
    let mut session = model.session().expect("a session");
    assert!(
        matches!(session.generate(&options), Err(Error::Argument { .. })),
        "nothing to continue"
    );
    session.feed_text(PROMPT).expect("a prompt");
    let first = session.generate(&options).expect("a stream").text().expect("text");
    let second = session.generate(&options).expect("a stream").text().expect("text");
    assert_eq!(format!("{first}{second}"), whole);
    assert!(session.cache_bytes() > 0);
}

#[test]
fn cancelling_stops_a_prefill() {
    let model = gemma();
    let prompt = "One sheep, two sheep, three sheep, four sheep. ".repeat(1500);
    let options = GenerateOptions::default().max_tokens(4);
    let mut stream = model.generate(&prompt, &options).expect("a stream");
    let cancel = stream.cancel_token();
    let waiter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
        Instant::now()
    });
    assert!(stream.next().is_none(), "a cancelled prefill gives no piece");
    let ended = Instant::now();
    assert_eq!(stream.finish_reason(), Some(FinishReason::Cancelled));
    let late = ended.saturating_duration_since(waiter.join().expect("the waiter"));
    // One block of a chunk is the longest stretch between two looks at the token.
    println!("cancelled after {late:?}");
    assert!(late < Duration::from_secs(5), "{late:?}");
}

#[test]
fn cancelling_stops_a_forward() {
    let model = gemma();
    let row: Vec<u32> = (0..1024).map(|i| 1000 + i).collect();
    let rows = vec![row; 4];
    let cancel = CancelToken::new();
    let options = ForwardOptions::default().cancel(cancel.clone());
    let waiter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        cancel.cancel();
        Instant::now()
    });
    let result = model.forward_with(&rows, &options);
    let ended = Instant::now();
    assert!(matches!(result, Err(Error::Cancelled)), "{:?}", result.map(|output| output.shape()));
    let late = ended.saturating_duration_since(waiter.join().expect("the waiter"));
    // A block of some tokens, or some tokens of the head, are the longest stretch between two looks
    // at the token: 0.2 s at most where nothing else runs.
    println!("cancelled after {late:?}");
    assert!(late < Duration::from_secs(2), "{late:?}");
}

/// As many rows of one token as asked for, which take no memory.
struct Row;

impl AsRef<[u32]> for Row {
    fn as_ref(&self) -> &[u32] {
        &[1]
    }
}

#[test]
fn what_does_not_fit_in_memory_is_an_error() {
    let model = gemma();
    let needs = |error: Error, of: &str, more_than: u128| match error {
        Error::Memory { what, bytes } => {
            assert!(what == of && bytes > more_than, "{what}, {bytes}")
        }
        other => panic!("{other}"),
    };
    // More than the addresses of 64-bit processors of today: no system gives that.
    let window = vec![1; model.spec().window];
    let rows = vec![&window[..]; 8192];
    needs(model.forward(&rows).expect_err("too much"), "logits", 1 << 47);
    let rows = [const { Row }; 1 << 50];
    needs(model.forward(&rows).expect_err("too much"), "rows", 1 << 53);
    assert_eq!(model.forward(&[Row, Row]).expect("logits").shape()[..2], [2, 1]);
}

#[test]
fn sessions_share_a_model_between_threads() {
    let model = gemma();
    let options = GenerateOptions::default().max_tokens(8).greedy();
    let prompts =
        ["The capital of France is", "Water boils at", "One, two, three,", "def add(a, b):"];
    let alone: Vec<String> = prompts
        .iter()
        .map(|p| model.generate(p, &options).expect("a stream").text().expect("text"))
        .collect();
    std::thread::scope(|scope| {
        let threads: Vec<_> = prompts
            .iter()
            .map(|prompt| {
                scope.spawn(|| {
                    model.generate(prompt, &options).expect("a stream").text().expect("text")
                })
            })
            .collect();
        for (thread, alone) in threads.into_iter().zip(&alone) {
            assert_eq!(&thread.join().expect("a thread"), alone);
        }
    });
}

#[test]
fn a_window_that_is_full_ends_a_stream() {
    let model = open(&golden("qwen2-tied"), &Device::Cpu);
    let window = model.spec().window;
    let mut session = model.session().expect("a session");
    session.feed(&vec![1; window - 3]).expect("a prompt");
    let mut stream =
        session.generate(&GenerateOptions::default().ignore_eos(true)).expect("a stream");
    // A model without a tokenizer gives tokens and no text.
    let pieces: Vec<_> = (&mut stream).map(|piece| piece.expect("a piece")).collect();
    assert_eq!(stream.finish_reason(), Some(FinishReason::Window));
    assert_eq!(pieces.len(), 4, "three that fit, and the one that they lead to");
    assert!(pieces.iter().all(|piece| piece.text.is_empty() && piece.token.is_some()));
    drop(stream);
    assert!(matches!(session.feed(&[1]), Err(Error::TooLong { .. })));
}

/// Counts kernels as they are launched.
#[derive(Default)]
struct Count(AtomicUsize);

impl LaunchObserver for Count {
    fn launched(&self, _kernel: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The blocks of a family in random numbers: Qwen2's with biases and a window in the later blocks,
/// Qwen3's with norms of heads, Gemma 3's with norms around its parts, too, and windows between.
fn folder(family: &str) -> Folder {
    let (width, heads, kv, dim, ffn, vocab, layers) = match family {
        // Heads that are not served in one launch.
        "qwen2" => (64, 4, 2, 16, 96, 80, 3),
        _ => (64, 4, 2, 32, 96, 80, 3),
    };
    let mut folder = Folder::default();
    let mut config = json!({
        "hidden_act": "silu", "hidden_size": width, "intermediate_size": ffn,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "rms_norm_eps": 1e-6, "vocab_size": vocab, "max_position_embeddings": 512,
        "rope_theta": 10000.0, "tie_word_embeddings": true, "model_type": family,
    });
    let own = match family {
        "qwen2" => json!({
            "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": true,
            "sliding_window": 20, "max_window_layers": 1
        }),
        "qwen3" => json!({"architectures": ["Qwen3ForCausalLM"], "head_dim": dim}),
        _ => json!({
            "architectures": ["Gemma3ForCausalLM"], "head_dim": dim, "sliding_window": 20,
            "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": dim,
            "rope_local_base_freq": 1000.0, "sliding_window_pattern": 2
        }),
    };
    if let (Some(config), Some(own)) = (config.as_object_mut(), own.as_object()) {
        config.extend(own.clone());
    }
    folder.json("config.json", &config);
    let mut add = |name: String, shape: &[usize]| folder.weights.add(&name, shape);
    add("model.embed_tokens.weight".into(), &[vocab, width]);
    add("model.norm.weight".into(), &[width]);
    for i in 0..layers {
        let mut add = |name: &str, shape: &[usize]| add(format!("model.layers.{i}.{name}"), shape);
        for (name, rows) in [("q", heads * dim), ("k", kv * dim), ("v", kv * dim)] {
            add(&format!("self_attn.{name}_proj.weight"), &[rows, width]);
            if family == "qwen2" {
                add(&format!("self_attn.{name}_proj.bias"), &[rows]);
            } else if name != "v" {
                add(&format!("self_attn.{name}_norm.weight"), &[dim]);
            }
        }
        add("self_attn.o_proj.weight", &[width, heads * dim]);
        add("mlp.gate_proj.weight", &[ffn, width]);
        add("mlp.up_proj.weight", &[ffn, width]);
        add("mlp.down_proj.weight", &[width, ffn]);
        add("input_layernorm.weight", &[width]);
        add("post_attention_layernorm.weight", &[width]);
        if family == "gemma3_text" {
            add("pre_feedforward_layernorm.weight", &[width]);
            add("post_feedforward_layernorm.weight", &[width]);
        }
    }
    folder
}

/// A token more on a GPU: launches that are recorded, played, and recorded anew when the cache gets
/// other buffers, give what the CPU gives.
#[test]
fn tokens_one_by_one_on_a_gpu_are_those_of_the_cpu() {
    let scratch = Scratch::new().expect("a folder");
    let made = ["qwen2", "qwen3", "gemma3_text"].map(|family| {
        let path = scratch.path().join(family);
        std::fs::create_dir(&path).expect("a folder");
        folder(family).write(&path).expect("a model's folder")
    });
    // Floats, packed in one format, and in many.
    let packed = ["llama-q8_0.gguf", "llama-q5_1.gguf", "llama-k-mix.gguf"].map(golden);
    for path in made.into_iter().chain(packed) {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let exact = open_exact(&path, &Device::Cpu);
        let gpu = open(&path, &software_gpu());
        let vocab = exact.spec().vocab;
        let count = exact.max_tokens().min(150) as u32;
        let ids: Vec<u32> = (0..count).map(|i| (i * 31 + 7) % vocab as u32).collect();
        let mut wanted = exact.session().expect("a session");
        let mut found = gpu.session().expect("a session");
        let mut worst = 0.0f32;
        let mut feed = |wanted: &mut Session, found: &mut Session, ids: &[u32]| {
            wanted.feed(ids).expect("logits");
            let count = Arc::new(Count::default());
            let observation = LaunchObservation::new(count.clone());
            found.feed(ids).expect("logits");
            drop(observation);
            let scale = wanted.logits().iter().fold(0.0f32, |most, x| most.max(x.abs()));
            worst = worst.max(difference(found.logits(), wanted.logits()) / scale);
            count.0.load(Ordering::Relaxed)
        };
        feed(&mut wanted, &mut found, &ids[..3]);
        let mut launches = vec![];
        for (i, id) in ids.iter().enumerate().skip(3) {
            launches.push(feed(&mut wanted, &mut found, &[*id]));
            // Back, as when a guess was wrong, and on; a window has let go of what was before.
            if i == 12 {
                wanted.truncate(9);
                found.truncate(9);
                feed(&mut wanted, &mut found, &ids[9..=12]);
            }
        }
        launches.sort_unstable();
        let (middle, most) = (launches[launches.len() / 2], launches[launches.len() - 1]);
        println!("{name:16} {count} tokens: {worst:.1e} of the largest logit; {middle} launches");
        assert!(worst <= 1e-4, "{name}: {worst}");
        assert!(middle <= 8 && most > 8, "{name}: {launches:?} launches a token");
    }
}
