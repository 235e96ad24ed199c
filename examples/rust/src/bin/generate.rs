//! Continues a text, piece by piece.

use std::io::Write;

use emberform::{GenerateOptions, Model, Result};
use emberform_examples::Arguments;

const USAGE: &str = "generate [--device auto|cpu|gpu] [--tokens 64] [--temperature-percent 0] [--seed 0] [MODEL] [PROMPT ...]";

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE, &["device", "tokens", "temperature-percent", "seed"]);
    let path = arguments.at(0, "models/gemma3-270m-q4_k_m.gguf");
    let model = Model::options().device(arguments.device()?).open(path)?;
    println!("{model}");

    let prompt = match arguments.from(1) {
        [] => "Question: Why is the sky blue?\nAnswer:".to_string(),
        words => words.join(" "),
    };
    let options = GenerateOptions::default()
        .max_tokens(arguments.number("tokens", 64))
        .temperature(arguments.number("temperature-percent", 0) as f32 / 100.0)
        .seed(arguments.number("seed", 0) as u64)
        .repetition_penalty(1.2);
    print!("{prompt}");
    let mut stream = model.generate(&prompt, &options)?;
    for piece in &mut stream {
        print!("{}", piece?.text);
        std::io::stdout().flush().ok();
    }
    let stats = stream.stats();
    println!(
        "\n[{}: {} tokens, {:.0} a second; the prompt's {} at {:.0} a second]",
        stream.finish_reason().map_or("error", |reason| reason.as_str()),
        stats.tokens,
        stats.tokens_per_second(),
        stats.prompt_tokens,
        stats.prefill_per_second(),
    );
    Ok(())
}
