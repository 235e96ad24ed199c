//! Searches the paragraphs of a text file by meaning.

use std::io::{IsTerminal, Write};

use emberform::{EmbedOptions, Error, Model, Result};
use emberform_examples::Arguments;

const USAGE: &str = "search [--device auto|cpu|gpu] [--model DIR] [--count 3] FILE QUERY ...";

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE, &["device", "model", "count"]);
    let path = arguments.at(0, "README.md");
    let text =
        std::fs::read_to_string(path).map_err(|source| Error::Io { path: path.into(), source })?;
    let paragraphs: Vec<&str> =
        text.split("\n\n").map(str::trim).filter(|paragraph| paragraph.len() > 20).collect();

    let model = arguments.option("model").unwrap_or("models/minilm");
    let model = Model::options().device(arguments.device()?).open(model)?;
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for part in paragraphs.chunks(64) {
        rows.extend(model.embed(part)?.rows().map(<[f32]>::to_vec));
        if std::io::stderr().is_terminal() {
            eprint!("\r{} of {} paragraphs", rows.len(), paragraphs.len());
            std::io::stderr().flush().ok();
        }
    }
    eprintln!();

    let query = match arguments.from(1) {
        [] => "Which models does it open?".to_string(),
        words => words.join(" "),
    };
    // A folder made for search says what to put before a query; others have no such prompt.
    let mut options = EmbedOptions::default();
    if model.prompts().any(|(name, _)| name == "query") {
        options = options.prompt_name("query");
    }
    let query = model.embed_with(&[&query], &options)?;
    let query = query.get(0).unwrap_or_default();
    let score = |row: &[f32]| row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
    let mut found: Vec<(f32, &str)> =
        rows.iter().map(|row| score(row)).zip(paragraphs.iter().copied()).collect();
    found.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (score, paragraph) in found.iter().take(arguments.number("count", 3)) {
        println!("{score:.2}  {}\n", paragraph.replace('\n', "\n      "));
    }
    Ok(())
}
