//! Generation on a real model: streams, stops, sampling, cancelling, many threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// Held by whoever uses the GPU: launches are counted for the whole program.
static GPU: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    GPU.lock().unwrap_or_else(PoisonError::into_inner)
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
    let _alone = alone();
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

/// Tokens that a generation makes, with their log-probabilities.
fn made(session: &mut Session, options: &GenerateOptions) -> Vec<(u32, f32)> {
    let stream = session.generate(options).expect("a stream");
    let tokens = stream.filter_map(|piece| piece.expect("a piece").token);
    tokens.map(|token| (token.id, token.logprob)).collect()
}

/// What is chosen on a GPU, a step ahead, is what the host chooses of the same logits; and whatever
/// a session is asked between two tokens, it holds those that were given and no more.
#[test]
fn tokens_chosen_on_a_gpu_are_those_of_the_host() {
    let _alone = alone();
    let scratch = Scratch::new().expect("a folder");
    let made_up = ["qwen2", "qwen3", "gemma3_text"].map(|family| {
        let path = scratch.path().join(family);
        std::fs::create_dir(&path).expect("a folder");
        folder(family).write(&path).expect("a model's folder")
    });
    for path in made_up.into_iter().chain([golden("llama-k-mix.gguf")]) {
        let model = open(&path, &software_gpu());
        let start = [3, 5, 7, 11];
        let session = || {
            let mut session = model.session().expect("a session");
            session.feed(&start).expect("logits");
            session
        };
        let plain = GenerateOptions::default().max_tokens(40).ignore_eos(true).greedy();
        let sampled = plain.clone().temperature(0.9).seed(7);
        let ways = [
            plain.clone(),
            sampled.clone().top_k(0).top_p(1.0),
            sampled.clone().top_k(10).top_p(0.8),
            sampled.clone().top_k(0).top_p(0.7).min_p(0.05),
        ];
        for options in &ways {
            let (mut ahead, mut host) = (session(), session());
            let found = made(&mut ahead, options);
            // Who wants to know the likeliest gets what the host chooses.
            let wanted = made(&mut host, &options.clone().logprobs(1));
            assert_eq!(found.len(), 40);
            for ((found, wanted), i) in found.iter().zip(&wanted).zip(0..) {
                assert_eq!(found.0, wanted.0, "{}, token {i}, {options:?}", path.display());
                assert!((found.1 - wanted.1).abs() <= 1e-4, "{} is not {}", found.1, wanted.1);
            }
            // The device is a step ahead: the session is left with all tokens, and the last one's
            // step was under way.
            let mut short = session();
            let mut stream = short.generate(&options.clone().max_tokens(12)).expect("a stream");
            let mut launches = vec![];
            for (i, found) in found.iter().enumerate().take(12) {
                let count = Arc::new(Count::default());
                let observation = LaunchObservation::new(count.clone());
                let piece = stream.next().expect("a piece").expect("a piece");
                drop(observation);
                assert_eq!(piece.token.expect("a token").id, found.0, "token {i}");
                launches.push(count.0.load(Ordering::Relaxed));
            }
            assert_eq!(launches[11], launches[10], "{}, {launches:?}", path.display());
            // Both have all tokens, and logits after the last.
            assert_eq!(ahead.ids(), host.ids());
            assert_eq!(difference(ahead.logits(), host.logits()), 0.0);
        }

        let reference: Vec<u32> = made(&mut session(), &plain).iter().map(|made| made.0).collect();
        let after = |ids: &[u32]| {
            let mut session = session();
            ids.iter().for_each(|id| session.feed(&[*id]).expect("logits"));
            session.logits().to_vec()
        };
        let near = |found: &[f32], wanted: &[f32], what: &str| {
            assert!(difference(found, wanted) <= 1e-4, "{}: {what}", path.display());
        };
        // Five tokens are given, of which the session holds four.
        let begun = || {
            let mut session = session();
            let mut generation = session.start(&plain).expect("a generation");
            for wanted in &reference[..5] {
                let piece = generation.next(&mut session).expect("a piece").expect("a piece");
                assert_eq!(piece.token.expect("a token").id, *wanted);
            }
            assert_eq!(session.ids()[start.len()..], reference[..4]);
            (session, generation)
        };
        let (mut session, mut generation) = begun();
        near(session.logits(), &after(&reference[..4]), "logits between two tokens");
        let piece = generation.next(&mut session).expect("a piece").expect("a piece");
        assert_eq!(piece.token.expect("a token").id, reference[5]);

        let (mut session, mut generation) = begun();
        session.feed(&[1]).expect("logits");
        near(session.logits(), &after(&[&reference[..4], &[1]].concat()), "another token");
        assert!(generation.next(&mut session).expect("an error").is_err());

        let (mut session, _) = begun();
        session.feed(&reference[4..5]).expect("logits");
        near(session.logits(), &after(&reference[..5]), "the token that was given");
        session.feed(&reference[5..8]).expect("logits");
        near(session.logits(), &after(&reference[..8]), "and more");

        let (mut session, _) = begun();
        session.truncate(start.len() + 2);
        session.feed(&reference[2..3]).expect("logits");
        near(session.logits(), &after(&reference[..3]), "back by two");

        let (mut session, _) = begun();
        let all = session.forward(&reference[4..6]).expect("logits");
        near(all.at(0, 1).expect("a row"), &after(&reference[..6]), "logits after each");

        // Another generation from the same place, which draws in its own way.
        let (mut session, mut first) = begun();
        let mut second = session.start(&ways[2]).expect("a generation");
        let next = second.next(&mut session).expect("a piece").expect("a piece");
        assert!(next.token.is_some());
        let piece = first.next(&mut session).expect("a piece").expect("a piece");
        assert_eq!(piece.token.expect("a token").id, reference[5]);
        assert!(second.next(&mut session).expect("an error").is_err(), "the first has gone on");

        let (mut session, mut generation) = begun();
        let cancel = session.cancel_token();
        cancel.cancel();
        assert!(generation.next(&mut session).is_none());
        assert_eq!(generation.finish_reason(), Some(FinishReason::Cancelled));
        assert_eq!(session.ids()[start.len()..], reference[..4]);
    }
}
