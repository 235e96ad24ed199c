//! Embeddings against sentence-transformers: all-MiniLM-L6-v2, and small folders with every
//! pooling, dense layers and prompts.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use emberform::{CancelToken, Device, EmbedOptions, Error, Model, Pooling, Precision};
use emberform_tests::{
    devices, difference, golden, model, open, recorded, recorded_json, reference, software_gpu,
};

fn texts(value: &serde_json::Value) -> Vec<String> {
    let list = value["texts"].as_array().expect("texts");
    list.iter().map(|text| text.as_str().expect("text").to_string()).collect()
}

#[test]
fn minilm_embeds_as_sentence_transformers_does() {
    let recording = recorded_json(&reference("real/minilm.json"));
    let texts = texts(&recording);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let tensors = recorded(&reference("real/minilm.safetensors"));
    let wanted = tensors["embeddings"].f32();
    assert!(texts.len() >= 50);
    for (device, bound) in [(Device::Cpu, 2e-5), (software_gpu(), 1e-4)] {
        let model = open(&model("minilm"), &device);
        assert_eq!(
            model.max_tokens(),
            recording["max_seq_length"].as_u64().expect("a limit") as usize
        );
        let found = model.embed(&texts).expect("embeddings");
        assert_eq!((found.len(), found.width()), (texts.len(), 384));
        for (i, (found, wanted)) in found.rows().zip(wanted.chunks_exact(384)).enumerate() {
            let worst = difference(found, wanted);
            assert!(
                worst <= bound,
                "text {i} {:?} on {device}: {worst}",
                &texts[i].chars().take(40).collect::<String>()
            );
        }
        println!(
            "MiniLM on {device}: largest difference {:.1e}",
            difference(found.as_slice(), &wanted)
        );
        assert!(
            found.cut().iter().any(|cut| *cut > 200),
            "a long text was cut, and that was counted"
        );
    }
}

/// What fewer bits cost, beside sentence-transformers in floats: the least cosine of all texts.
#[test]
fn rounded_matrices_give_nearly_the_same_vectors() {
    let recording = recorded_json(&reference("real/minilm.json"));
    let texts = texts(&recording);
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let wanted = recorded(&reference("real/minilm.safetensors"))["embeddings"].f32();
    for (precision, bound) in
        [(Precision::Int8, 0.999), (Precision::Bf16, 0.9998), (Precision::F16, 0.999_99)]
    {
        let options = Model::options().device(Device::Cpu).precision(precision);
        let model = options.open(model("minilm")).expect("a model");
        let found = model.embed(&texts).expect("embeddings");
        let cosine = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let least =
            found.rows().zip(wanted.chunks_exact(384)).map(cosine).fold(f32::INFINITY, f32::min);
        println!("MiniLM in {precision:?}: least cosine {least:.6}");
        assert!(least >= bound, "{precision:?}: {least}");
        for i in [0, texts.len() / 2] {
            let alone = model.embed(&texts[i..=i]).expect("an embedding");
            let worst = difference(alone.as_slice(), found.rows().nth(i).expect("a row"));
            assert!(worst <= 1e-2, "{precision:?}, text {i} alone: {worst}");
        }
    }
}

#[test]
fn small_folders_embed_as_sentence_transformers_does() {
    let mut seen = 0;
    for (device_name, device) in devices() {
        for entry in std::fs::read_dir(golden("")).expect("tests/golden/checkpoints") {
            let folder = entry.expect("an entry").path();
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            if !name.starts_with("st-") {
                continue;
            }
            let model = open(&folder, &device);
            let recording = recorded_json(&folder.join("expected.json"));
            let texts = texts(&recording);
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            for (key, wanted) in recorded(&folder.join("expected.safetensors")) {
                let options = match key.strip_prefix("prompt.") {
                    Some(prompt) => EmbedOptions::default().prompt_name(prompt),
                    None if key == "none" => EmbedOptions::default().prompt(""),
                    None if key == "plain" => EmbedOptions::default(),
                    None => panic!("{name} has a recording called `{key}`"),
                };
                let found = model.embed_with(&texts, &options).expect("embeddings");
                assert_eq!([found.len(), found.width()], wanted.shape[..], "{name}, {key}");
                let worst = difference(found.as_slice(), &wanted.f32());
                assert!(worst <= 1e-4, "{name}, {key} on {device_name}: {worst}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 20, "only {seen} recordings");
}

/// Also where batches are ordered before the last one is read.
#[test]
fn batches_give_what_texts_give_alone() {
    let texts = ["short", "a text that is rather longer than the first", "", "mid sized text"];
    for (name, device) in devices() {
        let model = open(&model("minilm"), &device);
        assert!(model.embed(&[]).expect("nothing").is_empty());
        let together = model.embed(&texts).expect("embeddings");
        for bound in [1, 8, 100_000] {
            let told = Arc::new(Mutex::new(vec![]));
            let tell = told.clone();
            let options = EmbedOptions::default().batch_tokens(bound).progress(move |done, all| {
                tell.lock().expect("a lock").push((done, all));
            });
            let other = model.embed_with(&texts, &options).expect("embeddings");
            let worst = difference(together.as_slice(), other.as_slice());
            assert!(worst <= 1e-6, "{name}, batches of {bound}: {worst}");
            let told = told.lock().expect("a lock");
            assert!(told.is_sorted(), "{name}, {bound}: {told:?}");
            assert_eq!(told.last(), Some(&(4, 4)), "{name}");
            assert!(bound > 1 || told.len() == 4, "{name}, {bound}: {told:?}");
        }
        for (i, text) in texts.iter().enumerate() {
            let alone = model.embed(&[text]).expect("an embedding");
            let worst = difference(alone.as_slice(), together.get(i).expect("a row"));
            assert!(worst <= 1e-6, "{name}, row {i}: {worst}");
        }
        let cancel = CancelToken::new();
        cancel.cancel();
        let options = EmbedOptions::default().batch_tokens(1).cancel(cancel);
        assert!(matches!(model.embed_with(&texts, &options), Err(Error::Cancelled)), "{name}");
    }
}

#[test]
fn options_are_kept_or_refused() {
    let model = open(&model("minilm"), &Device::Cpu);
    let texts = ["short", "a text that is rather longer than the first", "", "mid sized text"];
    let together = model.embed(&texts).expect("embeddings");
    let length = |row: &[f32]| row.iter().map(|x| x * x).sum::<f32>().sqrt();
    let plain =
        model.embed_with(&texts, &EmbedOptions::default().normalize(false)).expect("embeddings");
    assert!((length(plain.get(0).expect("a row")) - 1.0).abs() > 0.1);
    let options = EmbedOptions::default().dimensions(64).normalize(true);
    let short = model.embed_with(&texts, &options).expect("embeddings");
    assert_eq!(short.width(), 64);
    assert_eq!(model.embedding_width(&options).expect("a width"), 64);
    assert!((length(short.get(1).expect("a row")) - 1.0).abs() < 1e-5);
    let first = model.embed_with(&texts, &EmbedOptions::default().pooling(Pooling::First));
    assert!(difference(first.expect("embeddings").as_slice(), together.as_slice()) > 1e-3);

    let refused = |options: EmbedOptions, argument: &str| match model.embed_with(&texts, &options) {
        Err(Error::Argument { argument: found, .. }) => assert_eq!(found, argument),
        other => panic!("{other:?}"),
    };
    refused(EmbedOptions::default().prompt_name("query"), "prompt_name");
    refused(EmbedOptions::default().max_tokens(0), "max_tokens");
    refused(EmbedOptions::default().max_tokens(513), "max_tokens");
    refused(EmbedOptions::default().dimensions(385), "dimensions");
    assert!(model.embedding_width(&EmbedOptions::default().dimensions(385)).is_err());
    refused(EmbedOptions::default().dimensions(0), "dimensions");
    refused(EmbedOptions::default().batch_tokens(0), "batch_tokens");
}

#[test]
fn the_width_is_known_before() {
    // Three poolings side by side, of which a caller may choose one.
    let model = open(&golden("st-several-old"), &Device::Cpu);
    let mut widths = Vec::new();
    for options in [
        EmbedOptions::default(),
        EmbedOptions::default().pooling(Pooling::Mean),
        EmbedOptions::default().dimensions(3),
        EmbedOptions::default().dimensions(model.width()).pooling(Pooling::First),
    ] {
        let width = model.embedding_width(&options).expect("a width");
        assert_eq!(model.embed_with(&["a text"], &options).expect("embeddings").width(), width);
        widths.push(width);
    }
    assert_eq!(widths[0], model.width());
    assert!(widths[1] < widths[0] && widths[2] == 3, "{widths:?}");
}

#[test]
fn cancelling_stops_the_tokenizing_too() {
    let model = open(&model("minilm"), &Device::Cpu);
    let text = "a text that is tokenized, one among very many of its kind. ".repeat(20);
    let texts = vec![&text[..]; 10_000];
    let start = Instant::now();
    let tokenizer = model.tokenizer().expect("a tokenizer");
    tokenizer.encode_batch(&texts, true, Some(16)).expect("tokens");
    let whole = start.elapsed();
    let cancel = CancelToken::new();
    cancel.cancel();
    let options = EmbedOptions::default().cancel(cancel);
    let start = Instant::now();
    let result = model.embed_with(&texts, &options);
    let late = start.elapsed();
    assert!(matches!(result, Err(Error::Cancelled)), "{:?}", result.map(|rows| rows.len()));
    println!("cancelled after {late:?}; all tokens take {whole:?}");
    assert!(late < whole / 4, "{late:?} of {whole:?}");
}

#[test]
fn a_model_without_a_tokenizer_opens_and_says_what_is_missing() {
    let model = open(&golden("bert-plain"), &Device::Cpu);
    assert_eq!(model.forward(&[[1u32, 2, 3]]).expect("hidden states").shape()[..2], [1, 3]);
    match model.embed(&["text"]) {
        Err(Error::Missing { call, what }) => {
            assert_eq!(call, "embed");
            assert!(what.contains("tokenizer.json"), "{what}");
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(model.session(), Err(Error::Missing { .. })));
    assert!(matches!(model.forward(&[[9999u32]]), Err(Error::Argument { argument: "ids", .. })));
    let long = vec![1u32; model.spec().window + 1];
    assert!(matches!(model.forward(&[long]), Err(Error::TooLong { .. })));
    assert!(matches!(Model::open(golden("nothing")), Err(Error::Io { .. })));
}
