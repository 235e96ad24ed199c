//! Next-token logits of a model for the prompts of a JSON file, for `compare.py`.
//!
//! ```text
//! dump MODEL DEVICE PROMPTS.json OUT.safetensors
//! ```

use std::io::Write;

use emberform::{Device, Model, Result};
use serde_json::{Value, json};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, device, prompts, out] = &words[..] else {
        panic!("dump MODEL DEVICE PROMPTS.json OUT.safetensors");
    };
    let model = Model::options().device(device.parse::<Device>()?).open(model)?;
    let prompts: Value =
        serde_json::from_slice(&std::fs::read(prompts).expect("the prompts")).expect("JSON");
    let prompts: Vec<Vec<u32>> = lists(&prompts);
    let vocab = model.spec().vocab;
    let header = json!({"logits": {
        "dtype": "F32", "shape": [prompts.len(), vocab], "data_offsets": [0, prompts.len() * vocab * 4],
    }})
    .to_string();
    let mut file = std::io::BufWriter::new(std::fs::File::create(out).expect("the output"));
    file.write_all(&(header.len() as u64).to_le_bytes()).expect("a header");
    file.write_all(header.as_bytes()).expect("a header");
    for prompt in &prompts {
        let mut session = model.session()?;
        session.feed(prompt)?;
        file.write_all(bytemuck::cast_slice(session.logits())).expect("logits");
    }
    file.into_inner().expect("all written").sync_all().expect("all written");
    println!("{} prompts", prompts.len());
    Ok(())
}

/// The lists of ids, whether they are the whole file or stand under `ids` or `prompts`.
fn lists(value: &Value) -> Vec<Vec<u32>> {
    let list = value
        .as_array()
        .or_else(|| value["ids"].as_array())
        .or_else(|| value["prompts"].as_array());
    let ids = |row: &Value| -> Vec<u32> {
        let row = row.as_array().or_else(|| row["ids"].as_array()).expect("a list of ids");
        row.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
    };
    list.expect("lists of ids").iter().map(ids).collect()
}
