//! The main job in one go: sentences embedded and compared, then an answer as it is generated.

use std::io::Write;
use std::time::Instant;

use emberform::{GenerateOptions, Model, Result};
use emberform_examples::Arguments;

const USAGE: &str = "quickstart [--device cpu|auto|gpu] [--models DIR]";

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE, &["device", "models"]);
    let device = arguments.option("device").unwrap_or("cpu").parse::<emberform::Device>()?;
    let folder = std::path::Path::new(arguments.option("models").unwrap_or("models"));

    let start = Instant::now();
    let model = Model::options().device(device.clone()).open(folder.join("minilm"))?;
    let sentences = [
        "How do I reset my password?",
        "I forgot my login, what now?",
        "Where is my parcel?",
        "The delivery has not arrived yet.",
    ];
    let vectors = model.embed(&sentences)?;
    println!("{model} ({:.2} s)\n", start.elapsed().as_secs_f64());
    for (i, sentence) in sentences.iter().enumerate() {
        (0..sentences.len()).for_each(|j| print!("{:6.2}", vectors.cosine(i, j)));
        println!("   {sentence}");
    }

    let start = Instant::now();
    let model = Model::options().device(device).open(folder.join("gemma3-270m-q4_k_m.gguf"))?;
    println!("\n{model} ({:.2} s)\n", start.elapsed().as_secs_f64());
    let prompt = "Question: Why is the sky blue?\nAnswer:";
    let options =
        GenerateOptions::default().max_tokens(60).repetition_penalty(1.2).stop(["\nQuestion:"]);
    print!("{prompt}");
    let mut stream = model.generate(prompt, &options)?;
    for piece in &mut stream {
        print!("{}", piece?.text);
        std::io::stdout().flush().ok();
    }
    println!("\n\n{:.0} tokens a second", stream.stats().tokens_per_second());
    Ok(())
}
