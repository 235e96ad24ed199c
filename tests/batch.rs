//! Several sequences decoded together: each gives what it gives alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use emberform::{Batch, Device, Error, FinishReason, GenerateOptions, Model, Piece, Token};
use emberform_tests::{Scratch, golden, model, open, open_exact, software_gpu};
use serde_json::Value;

fn options() -> GenerateOptions {
    GenerateOptions::default().max_tokens(12).ignore_eos(true).logprobs(4).greedy()
}

/// Ids that differ by `seed`.
fn ids(model: &Model, count: usize, seed: usize) -> Vec<u32> {
    (0..count).map(|i| ((i * 31 + seed * 17 + 5) % model.spec().vocab) as u32).collect()
}

fn alone(model: &Model, ids: &[u32], options: &GenerateOptions) -> Vec<Token> {
    let mut batch = model.batch().expect("a batch");
    batch.add_ids(ids, options).expect("a sequence");
    // One by itself has its steps by itself: those of a session.
    let together: Vec<Token> = tokens(batch).remove(&0).unwrap_or_default();
    if model.seq2seq().is_none() {
        let mut session = model.session().expect("a session");
        session.feed(ids).expect("a prompt");
        let stream = session.generate(options).expect("a stream");
        let alone: Vec<Token> = stream.filter_map(|piece| piece.expect("a piece").token).collect();
        assert_eq!(together, alone);
    }
    together
}

fn collect(batch: &mut Batch) -> BTreeMap<usize, Vec<Piece>> {
    let mut found = BTreeMap::<usize, Vec<Piece>>::new();
    for (sequence, piece) in batch {
        found.entry(sequence).or_default().push(piece.expect("a piece"));
    }
    found
}

fn tokens(mut batch: Batch) -> BTreeMap<usize, Vec<Token>> {
    let tokens = |pieces: Vec<Piece>| pieces.into_iter().filter_map(|piece| piece.token).collect();
    collect(&mut batch).into_iter().map(|(i, pieces)| (i, tokens(pieces))).collect()
}

/// The same tokens with the same probabilities, up to where two were as good as equal.
fn same(found: &[Token], alone: &[Token], what: &str) {
    assert_eq!(found.len(), alone.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(alone).enumerate() {
        let what = format!("{what}, token {i}: {a:?} is not {b:?}");
        assert!((a.logprob - b.logprob).abs() < 1e-3, "{what}");
        for (x, y) in a.top.iter().zip(&b.top) {
            assert!((x.1 - y.1).abs() < 1e-3 * (1.0 + y.1.abs()), "{what}");
        }
        if a.id != b.id {
            let other = b.top.iter().find(|(id, _)| *id == a.id);
            assert!(other.is_some_and(|(_, p)| (p - b.logprob).abs() < 1e-3), "{what}");
            return;
        }
    }
}

const LENGTHS: [usize; 5] = [7, 1, 23, 4, 12];

fn each_as_alone(name: &str, device: &Device) {
    let model = open_exact(&golden(name), device);
    let room = model.spec().window.saturating_sub(13).max(1);
    let prompts: Vec<Vec<u32>> =
        (0..LENGTHS.len()).map(|i| ids(&model, LENGTHS[i].min(room), i)).collect();
    let mut batch = model.batch().expect("a batch");
    for prompt in &prompts {
        batch.add_ids(prompt, &options()).expect("a sequence");
    }
    let found = tokens(batch);
    for (i, prompt) in prompts.iter().enumerate() {
        let alone = alone(&model, prompt, &options());
        assert!(!alone.is_empty());
        same(&found[&i], &alone, &format!("{name}, sequence {i}"));
    }
}

/// Windows, scaled and long rotations, learned places, experts; then what is not joined.
#[test]
fn each_gives_what_it_gives_alone() {
    for name in [
        "gemma3-pattern",
        "gemma2-capped",
        "mistral-window",
        "llama-dynamic",
        "llama-q4_0.gguf",
        "gpt2-untied",
        "qwen2-tied",
        "mixtral",
        "phi",
        "bloom",
        "gpt-oss-bf16",
        "llama4",
        "bart",
    ] {
        each_as_alone(name, &Device::Cpu);
    }
}

#[test]
fn each_gives_what_it_gives_alone_on_a_gpu() {
    for name in ["gemma3-pattern", "qwen2-tied"] {
        each_as_alone(name, &software_gpu());
    }
}

#[test]
fn a_sequence_that_ends_leaves_and_another_joins() {
    let model = open_exact(&golden("gemma3-pattern"), &Device::Cpu);
    let prompts: Vec<Vec<u32>> = (0..4).map(|i| ids(&model, 3 + 2 * i, i)).collect();
    let lengths = [12, 3, 8, 5];
    let with = |i: usize| options().max_tokens(lengths[i]);
    let mut batch = model.batch().expect("a batch");
    for (i, prompt) in prompts.iter().take(3).enumerate() {
        assert_eq!(batch.add_ids(prompt, &with(i)).expect("a sequence"), i);
    }
    let mut found = vec![Vec::new(); 4];
    let mut most = 0;
    while let Some((sequence, piece)) = batch.next() {
        let token = piece.expect("a piece").token.expect("a token");
        found[sequence].push(token);
        most = most.max(batch.cache_bytes());
        // The last one comes while the others run, the second one has ended by then.
        if sequence == 0 && found[0].len() == 6 {
            assert_eq!(batch.finish_reason(1), Some(FinishReason::Length));
            assert_eq!(batch.finish_reason(0), None);
            assert_eq!(batch.running(), 2);
            assert_eq!(batch.add_ids(&prompts[3], &with(3)).expect("a sequence"), 3);
        }
    }
    for (i, found) in found.iter().enumerate() {
        same(found, &alone(&model, &prompts[i], &with(i)), &format!("sequence {i}"));
        assert_eq!(batch.finish_reason(i), Some(FinishReason::Length));
        let stats = batch.stats(i).expect("counts");
        assert_eq!((stats.tokens, stats.prompt_tokens), (lengths[i], prompts[i].len()));
    }
    assert!(most > 0);
    assert_eq!((batch.running(), batch.cache_bytes()), (0, 0));
    // What has ended may come again, and be forgotten.
    assert_eq!(batch.add_ids(&prompts[1], &with(1)).expect("a sequence"), 4);
    assert!(batch.remove(4) && !batch.remove(4));
    assert!(batch.next().is_none() && batch.stats(4).is_none());
}

#[test]
fn each_has_its_own_draws_and_stops() {
    let model = open_exact(&golden("llama-q8_0.gguf"), &Device::Cpu);
    let prompt = ids(&model, 6, 1);
    let greedy = alone(&model, &prompt, &options());
    let ways = [
        options().temperature(1.0).seed(1),
        options().temperature(1.0).seed(2),
        options().temperature(1.0).seed(1),
        options().temperature(0.8).top_k(20).top_p(0.9).repetition_penalty(1.3).seed(3),
        options().stop_ids([greedy[4].id]),
        options().max_tokens(0),
        options(),
    ];
    let mut batch = model.batch().expect("a batch");
    for way in &ways {
        batch.add_ids(&prompt, way).expect("a sequence");
    }
    let found = collect(&mut batch);
    let tokens = |i: usize| -> Vec<Token> {
        found.get(&i).into_iter().flatten().filter_map(|piece| piece.token.clone()).collect()
    };
    for (i, way) in ways.iter().enumerate() {
        same(&tokens(i), &alone(&model, &prompt, way), &format!("way {i}"));
    }
    let ids = |i: usize| -> Vec<u32> { tokens(i).iter().map(|token| token.id).collect() };
    assert_eq!(ids(0), ids(2));
    assert_ne!(ids(0), ids(1));
    let first = greedy.iter().position(|token| token.id == greedy[4].id).expect("it is there");
    assert_eq!(tokens(4).len(), first + 1);
    assert_eq!(batch.finish_reason(4), Some(FinishReason::Stop));
    assert_eq!((tokens(5).len(), batch.finish_reason(5)), (0, Some(FinishReason::Length)));
}

#[test]
fn a_full_window_ends_one_of_several() {
    let model = open(&golden("qwen2-tied"), &Device::Cpu);
    let window = model.spec().window;
    let mut batch = model.batch().expect("a batch");
    let endless = GenerateOptions::default().ignore_eos(true).greedy();
    batch.add_ids(&ids(&model, window - 3, 0), &endless).expect("a sequence");
    batch.add_ids(&ids(&model, 3, 1), &options()).expect("a sequence");
    let found = collect(&mut batch);
    assert_eq!(found[&0].len(), 4, "three that fit, and the one that they lead to");
    assert_eq!(found[&1].len(), 12);
    assert_eq!(batch.finish_reason(0), Some(FinishReason::Window));
}

#[test]
fn one_is_cancelled_or_all_are() {
    let model = open(&golden("qwen2-tied"), &Device::Cpu);
    let mut batch = model.batch().expect("a batch");
    for i in 0..3 {
        batch.add_ids(&ids(&model, 4, i), &options()).expect("a sequence");
    }
    let one = batch.cancel_token_of(1).expect("a token");
    let mut counts = [0; 3];
    while let Some((sequence, piece)) = batch.next() {
        piece.expect("a piece");
        counts[sequence] += 1;
        if counts == [4, 4, 4] {
            one.cancel();
        }
        if counts[2] == 8 {
            batch.cancel_token().cancel();
        }
    }
    assert_eq!(counts, [8, 4, 8]);
    assert!((0..3).all(|i| batch.finish_reason(i) == Some(FinishReason::Cancelled)));
    assert!(one.is_cancelled() && !emberform::CancelToken::new().is_cancelled());
    // So are those that come later.
    batch.add_ids(&ids(&model, 4, 0), &options()).expect("a sequence");
    assert!(batch.next().is_none());
    assert_eq!(batch.finish_reason(3), Some(FinishReason::Cancelled));
}

const PROMPTS: [&str; 4] =
    ["The capital of France is", "Water boils at", "One, two, three,", "def add(a, b):\n"];

fn texts_as_alone(name: &str) {
    let model = open(&model(name), &Device::Cpu);
    let wanted = GenerateOptions::default().max_tokens(16).logprobs(4).greedy();
    let mut batch = model.generate_all(&PROMPTS, &wanted).expect("a batch");
    let found = collect(&mut batch);
    for (i, prompt) in PROMPTS.iter().enumerate() {
        let stream = model.generate(prompt, &wanted).expect("a stream");
        let alone: Vec<Piece> = stream.map(|piece| piece.expect("a piece")).collect();
        let tokens = |pieces: &[Piece]| -> Vec<Token> {
            pieces.iter().filter_map(|piece| piece.token.clone()).collect()
        };
        // Rounded weights: products of several rows are summed in another order.
        let (a, b) = (tokens(&found[&i]), tokens(&alone));
        for (a, b) in a.iter().zip(&b).take_while(|(a, b)| a.id == b.id) {
            assert!((a.logprob - b.logprob).abs() < 2e-2, "{prompt}: {a:?} is not {b:?}");
        }
        let text = |pieces: &[Piece]| pieces.iter().map(|p| p.text.as_str()).collect::<String>();
        let equal = a.iter().zip(&b).take_while(|(a, b)| a.id == b.id).count();
        println!("{name}, {prompt}: {equal} of {} tokens alike: {:?}", b.len(), text(&found[&i]));
        if equal < b.len() {
            let other = b[equal].top.iter().find(|(id, _)| *id == a[equal].id);
            assert!(other.is_some_and(|(_, p)| (p - b[equal].logprob).abs() < 2e-2), "{prompt}");
        } else {
            assert_eq!(text(&found[&i]), text(&alone));
        }
    }
    let texts = model.generate_all(&PROMPTS, &wanted).expect("a batch").texts().expect("texts");
    for (i, text) in texts.iter().enumerate() {
        let pieces: String = found[&i].iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(*text, pieces);
    }
}

#[test]
fn texts_of_real_models_are_those_of_each_alone() {
    texts_as_alone("gemma3-270m-q4_k_m.gguf");
    texts_as_alone("qwen25-coder-0.5b-q4_k_m.gguf");
}

#[test]
fn a_prefill_is_cancelled() {
    let model = open(&model("gemma3-270m-q4_k_m.gguf"), &Device::Cpu);
    let long = "One sheep, two sheep, three sheep, four sheep. ".repeat(1500);
    let mut batch = model.generate_all(&[&long, "One"], &options()).expect("a batch");
    let cancel = batch.cancel_token();
    let waiter = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
        Instant::now()
    });
    assert!(batch.next().is_none());
    let late = Instant::now().saturating_duration_since(waiter.join().expect("the waiter"));
    assert!(late < Duration::from_secs(5), "{late:?}");
    assert_eq!(batch.finish_reason(0), Some(FinishReason::Cancelled));
    assert_eq!(batch.finish_reason(1), Some(FinishReason::Cancelled));
}

/// A copy of `mixtral` whose vector of one token is no number.
fn broken(token: u32) -> Scratch {
    let (folder, name) = (Scratch::new().expect("a folder"), "model.safetensors");
    let from = golden("mixtral");
    let config = folder.path().join("config.json");
    std::fs::copy(from.join("config.json"), config).expect("a copy");
    let mut bytes = std::fs::read(from.join(name)).expect("weights");
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..start]).expect("a header");
    let table = &header["model.embed_tokens.weight"];
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let row = 4 * number(&table["shape"][1]);
    let at = start + number(&table["data_offsets"][0]) + row * token as usize;
    for value in bytes[at..at + row].as_chunks_mut::<4>().0 {
        *value = f32::NAN.to_le_bytes();
    }
    std::fs::write(folder.path().join(name), bytes).expect("weights");
    folder
}

#[test]
fn what_goes_wrong_with_one_leaves_the_others() {
    let whole = open(&golden("mixtral"), &Device::Cpu);
    let prompts: Vec<Vec<u32>> = (0..3).map(|i| ids(&whole, 3 + i, i)).collect();
    // Something that the second one says, but not first; the others may not.
    let drawn = options().temperature(1.5).seed(2);
    let said: Vec<u32> = alone(&whole, &prompts[1], &drawn).iter().map(|token| token.id).collect();
    let new =
        |at: &usize| !prompts.concat().contains(&said[*at]) && !said[..*at].contains(&said[*at]);
    let at = (1..said.len() - 1).find(new).expect("a new token");
    let token = said[at];
    let with = |i: usize| if i == 1 { drawn.clone() } else { drawn.clone().suppress([token]) };
    let folder = broken(token);
    let model = open(folder.path(), &Device::Cpu);
    let mut batch = model.batch().expect("a batch");
    for (i, prompt) in prompts.iter().enumerate() {
        batch.add_ids(prompt, &with(i)).expect("a sequence");
    }
    // And one that cannot be read at all.
    assert_eq!(batch.add_ids(&[token], &drawn).expect("a sequence"), 3);
    let (mut found, mut errors) = (vec![Vec::new(); 4], vec![]);
    for (sequence, piece) in &mut batch {
        match piece {
            Ok(piece) => found[sequence].extend(piece.token),
            Err(error) => errors.push((sequence, error)),
        }
    }
    let broke = |i: usize| matches!(errors[i], (_, Error::NotFinite { what: "logits" }));
    assert!(errors.len() == 2 && broke(0) && broke(1), "{errors:?}");
    assert_eq!((errors[0].0, errors[1].0), (3, 1));
    for i in [0, 2] {
        same(&found[i], &alone(&model, &prompts[i], &with(i)), &format!("sequence {i}"));
        assert_eq!(batch.finish_reason(i), Some(FinishReason::Length));
    }
    assert_eq!((found[1].len(), found[3].len()), (at + 1, 0));
    assert_eq!((batch.finish_reason(1), batch.finish_reason(3)), (None, None));
    assert_eq!((batch.running(), batch.cache_bytes()), (0, 0));
}

#[test]
fn tokens_ahead_are_those_of_prompts_then_one_each() {
    let model = open(&golden("qwen2-tied"), &Device::Cpu);
    let mut batch = model.batch().expect("a batch");
    assert_eq!(batch.tokens_ahead(), 0);
    for (i, length) in [5, 7].into_iter().enumerate() {
        batch.add_ids(&ids(&model, length, i), &options()).expect("a sequence");
    }
    let mut ahead = vec![];
    for _ in 0..4 {
        ahead.push(batch.tokens_ahead());
        batch.next().expect("a piece").1.expect("a token");
    }
    // Both prompts, the second one, a step, and the piece of it that is ready.
    assert_eq!(ahead, [12, 8, 2, 0]);
}

#[test]
fn what_is_wrong_is_named() {
    let model = open(&model("gemma3-270m-q4_k_m.gguf"), &Device::Cpu);
    let argument = |result: Result<Batch, Error>, has: &str| match result {
        Err(Error::Argument { argument: "prompts", problem }) => {
            assert!(problem.contains(has), "{problem}");
        }
        other => panic!("{other:?}"),
    };
    argument(model.generate_all(&[], &options()), "is empty");
    let long = "one ".repeat(40_000);
    argument(model.generate_all(&["a", "b", &long], &options()), "at 2");
    let wrong = options().top_p(2.0);
    let result = model.generate_all(&["a"], &wrong);
    assert!(matches!(result, Err(Error::Argument { argument: "top_p", .. })), "{result:?}");
    let mut batch = model.batch().expect("a batch");
    for wrong in [&[][..], &[u32::MAX]] {
        let result = batch.add_ids(wrong, &options());
        assert!(matches!(result, Err(Error::Argument { argument: "ids", .. })), "{result:?}");
    }
    let result = batch.add(&long, &options());
    assert!(matches!(result, Err(Error::TooLong { .. })), "{result:?}");
    assert_eq!((batch.running(), batch.add("a", &options()).expect("a sequence")), (0, 0));
    let encoder = open(Path::new(&emberform_tests::model("minilm")), &Device::Cpu);
    assert!(matches!(encoder.batch(), Err(Error::Missing { call: "batch", .. })));
    let result = encoder.generate_all(&["a"], &options());
    assert!(matches!(result, Err(Error::Missing { .. })));
    let bare = open(&golden("qwen2-tied"), &Device::Cpu);
    assert!(matches!(bare.generate_all(&["a"], &options()), Err(Error::Missing { .. })));
}
