//! Runs the stories of `tests/stories.json` and writes their results, to the last bit:
//! `stories ROOT OUT.json`, as `tests/python/stories.py` does. Every language must write the same.

use std::collections::BTreeMap;
use std::path::Path;

use emberform::{
    BeamOptions, Device, EmbedOptions, Entity, ForwardOptions, GenerateOptions, Model, Piece,
    Result, RunOptions, TextRole, TokenOptions, TokenVectors, WordVectors,
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
    let mut nearest = vec![];
    for story in list(&stories["nearest"]) {
        let model = model(story)?;
        let texts: Vec<String> = list(&story["texts"]).iter().map(text).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let query = model.embed(&[&text(&story["query"])])?.into_vec();
        let rows = model.embed(&texts)?;
        let mut found: Vec<Value> = vec![];
        for (row, cosine) in rows.nearest(&query, count(&story["count"]))? {
            found.push(json!([row, bits(&[cosine, rows.cosine(0, row)])]));
        }
        nearest.push(json!({"model": story["model"], "rows": found}));
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
    let mut batches = vec![];
    for story in list(&stories["batch"]) {
        let mut batch = model(story)?.batch()?;
        let rows: Vec<Vec<u32>> = list(&story["ids"]).iter().map(ids).collect();
        for row in &rows {
            batch.add_ids(row, &options(story))?;
        }
        let mut found = vec![(vec![], vec![]); rows.len()];
        for (sequence, piece) in &mut batch {
            if let Some(token) = piece?.token {
                found[sequence].0.push(token.id);
                found[sequence].1.push(token.logprob);
            }
        }
        let rows: Vec<Value> =
            found.iter().map(|(ids, logprobs)| json!([ids, bits(logprobs)])).collect();
        batches.push(json!({"model": story["model"], "rows": rows}));
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
    let mut beams = vec![];
    for story in list(&stories["beams"]) {
        let model = model(story)?;
        let mut session = model.session()?;
        match model.seq2seq() {
            Some(_) => session.read_source(&ids(&story["source"]))?,
            None => session.feed(&ids(&story["source"]))?,
        }
        let options = GenerateOptions::default()
            .max_tokens(count(&story["max_tokens"]))
            .no_repeat_ngram(count(&story["no_repeat_ngram"]));
        let how = BeamOptions::default()
            .beams(count(&story["beams"]))
            .sequences(count(&story["sequences"]))
            .length_penalty(story["length_penalty"].as_f64().expect("a number") as f32)
            .early_stopping(text(&story["early_stopping"]).parse()?);
        let found = session.beams(&options, &how)?;
        let rows: Vec<Value> =
            found.iter().map(|beam| json!([beam.ids, bits(&[beam.score])])).collect();
        beams.push(json!({"model": story["model"], "rows": rows}));
    }
    let mut forward = vec![];
    for story in list(&stories["forward"]) {
        let layers = |name: &str| list(&story[name]).iter().map(count).collect::<Vec<_>>();
        let (states, maps) = (layers("hidden_states"), layers("attentions"));
        let targets: Vec<Vec<u32>> = list(&story["decoder_ids"]).iter().map(ids).collect();
        let rows: Vec<Vec<u32>> = list(&story["ids"]).iter().map(ids).collect();
        let mut options = ForwardOptions::default()
            .hidden_states(states.iter().copied())
            .attentions(maps.iter().copied());
        if !targets.is_empty() {
            options = options.decoder_ids(targets);
        }
        let output = model(story)?.forward_with(&rows, &options)?;
        let mut found = vec![bits(output.as_slice())];
        let kept = |layer: &usize| bits(output.hidden_states(*layer).expect("kept").as_slice());
        found.extend(states.iter().map(kept));
        let kept = |layer: &usize| bits(output.attentions(*layer).expect("kept").as_slice());
        found.extend(maps.iter().map(kept));
        forward.push(json!({"model": story["model"], "bits": found}));
    }
    let mut late = vec![];
    for story in list(&stories["late"]) {
        let model = model(story)?;
        let side = |name: &str, role: TextRole| {
            let texts: Vec<String> = list(&story[name]).iter().map(text).collect();
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            model.embed_tokens(&texts, role, &RunOptions::default())
        };
        let queries = side("queries", TextRole::Query)?;
        let documents = side("documents", TextRole::Document)?;
        let all = queries.iter().chain(&documents);
        let rows: Vec<String> = all.map(|one| bits(one.as_slice())).collect();
        let score = |query: &TokenVectors| {
            bits(&documents.iter().map(|one| query.max_sim(one)).collect::<Vec<_>>())
        };
        let scores: Vec<String> = queries.iter().map(score).collect();
        late.push(json!({"model": story["model"], "bits": rows, "scores": scores}));
    }
    let mut experts = vec![];
    for story in list(&stories["experts"]) {
        let rows: Vec<Vec<u32>> = list(&story["ids"]).iter().map(ids).collect();
        let load = model(story)?.expert_load(&rows)?;
        experts.push(json!({"model": story["model"], "load": load}));
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
        "embed": embed, "nearest": nearest, "tokenize": tokenize, "generate": generate,
        "batch": batches, "chat": chats, "task": tasks, "beams": beams, "forward": forward,
        "late": late, "experts": experts, "words": words,
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

fn count(value: &Value) -> usize {
    value.as_u64().expect("a number") as usize
}

fn ids(value: &Value) -> Vec<u32> {
    list(value).iter().map(|id| count(id) as u32).collect()
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
