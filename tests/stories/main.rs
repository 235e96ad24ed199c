//! Runs the stories of `tests/stories.json` and writes their results, to the last bit:
//! `stories ROOT OUT.json`, as `tests/python/stories.py` does. Every language must write the same.

use std::collections::BTreeMap;
use std::path::Path;

use emberform::{
    Device, EmbedOptions, Entity, GenerateOptions, Model, Piece, Result, TokenOptions, WordVectors,
};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [root, out] = &words[..] else { panic!("stories ROOT OUT.json") };
    let root = Path::new(root);
    let stories = std::fs::read(root.join("tests/stories.json")).expect("the stories");
    let stories: Value = serde_json::from_slice(&stories).expect("JSON");
    let mut models: BTreeMap<(String, String), Model> = BTreeMap::new();
    let mut model = |story: &Value| -> Result<Model> {
        let precision = story["precision"].as_str().unwrap_or("stored").to_string();
        let key = (text(&story["model"]), precision);
        if !models.contains_key(&key) {
            let options = Model::options().device(Device::Cpu).precision(key.1.parse()?);
            models.insert(key.clone(), options.open(root.join(&key.0))?);
        }
        Ok(models[&key].clone())
    };
    let (mut embed, mut tokenize, mut generate) = (vec![], vec![], vec![]);
    for story in list(&stories["embed"]) {
        let texts: Vec<String> = list(&story["texts"]).iter().map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut options = EmbedOptions::default();
        if let Some(name) = story["prompt_name"].as_str() {
            options = options.prompt_name(name);
        }
        let vectors = model(story)?.embed_with(&texts, &options)?;
        let rows: Vec<String> = vectors.rows().map(bits).collect();
        embed.push(json!({"model": story["model"], "bits": rows}));
    }
    for story in list(&stories["tokenize"]) {
        let model = model(story)?;
        let tokenizer = model.tokenizer().expect("a tokenizer");
        let encode = |words: &Value| Ok(tokenizer.encode(&text(words), true)?.ids);
        let ids = list(&story["texts"]).iter().map(encode).collect::<Result<Vec<_>>>()?;
        tokenize.push(json!({"model": story["model"], "ids": ids}));
    }
    for story in list(&stories["generate"]) {
        let stream = model(story)?.generate(&text(&story["prompt"]), &options(story))?;
        let (ids, logprobs) = tokens(stream)?;
        generate.push(json!({"model": story["model"], "ids": ids, "logprobs": logprobs}));
    }
    let mut chats = vec![];
    for story in list(&stories["chat"]) {
        let mut chat = model(story)?.chat()?;
        chat.system(text(&story["system"]));
        let mut replies = vec![];
        for turn in list(&story["turns"]) {
            let (ids, logprobs) = tokens(chat.say(text(turn), &options(story))?)?;
            replies.push(json!({"ids": ids, "logprobs": logprobs}));
        }
        let prompt = hex(&chat.prompt()?);
        chats.push(json!({"model": story["model"], "replies": replies, "prompt": prompt}));
    }
    let mut tasks = vec![];
    for story in list(&stories["task"]) {
        let texts: Vec<String> = list(&story["texts"]).iter().map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let options = TokenOptions::default().aggregation(text(&story["aggregation"]).parse()?);
        let rows = model(story)?.token_classify(&texts, &options)?;
        let entity = |one: &Entity| json!([hex(&one.label), hex(&one.text), bits(&[one.score])]);
        let rows: Vec<Vec<Value>> =
            rows.iter().map(|row| row.iter().map(entity).collect()).collect();
        tasks.push(json!({"model": story["model"], "entities": rows}));
    }
    let mut words = vec![];
    for story in list(&stories["words"]) {
        let vectors = WordVectors::open(root.join(text(&story["model"])))?;
        let texts: Vec<String> = list(&story["texts"]).iter().map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let embeddings = vectors.embed(&texts)?;
        let rows: Vec<String> = embeddings.rows().map(bits).collect();
        let count = story["count"].as_u64().expect("a number") as usize;
        let near = vectors.nearest(&text(&story["nearest"]), count)?;
        let near: Vec<Value> =
            near.iter().map(|one| json!([hex(&one.word), bits(&[one.cosine])])).collect();
        words.push(json!({"model": story["model"], "bits": rows, "nearest": near}));
    }
    let results = json!({
        "embed": embed, "tokenize": tokenize, "generate": generate, "chat": chats, "task": tasks,
        "words": words,
    });
    std::fs::write(out, results.to_string()).expect("the results written");
    Ok(())
}

fn options(story: &Value) -> GenerateOptions {
    GenerateOptions::default()
        .max_tokens(story["max_tokens"].as_u64().expect("a number") as usize)
        .temperature(story["temperature"].as_f64().expect("a number") as f32)
        .seed(story["seed"].as_u64().expect("a number"))
}

/// The ids of a stream, and the bits of their log-probabilities.
fn tokens(stream: impl Iterator<Item = Result<Piece>>) -> Result<(Vec<u32>, String)> {
    let (mut ids, mut logprobs) = (vec![], vec![]);
    for piece in stream {
        if let Some(token) = piece?.token {
            ids.push(token.id);
            logprobs.push(token.logprob);
        }
    }
    Ok((ids, bits(&logprobs)))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_string()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn bits(values: &[f32]) -> String {
    values.iter().map(|value| format!("{:08x}", value.to_bits())).collect()
}
