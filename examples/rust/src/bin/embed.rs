//! Embeds sentences and prints how alike they are.

use emberform::{Model, Result};
use emberform_examples::Arguments;

const USAGE: &str = "embed [--device auto|cpu|gpu|gpu:1] [MODEL] [SENTENCE ...]";
const SENTENCES: [&str; 4] = [
    "A cat sleeps on the warm windowsill.",
    "The kitten is napping in the sun.",
    "Stock markets fell sharply on Tuesday.",
    "Bond yields rose after the central bank's decision.",
];

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE, &["device"]);
    let model =
        Model::options().device(arguments.device()?).open(arguments.at(0, "models/minilm"))?;
    println!("{model}");

    let own: Vec<&str> = arguments.from(1).iter().map(String::as_str).collect();
    let sentences = if own.is_empty() { &SENTENCES[..] } else { &own };
    let vectors = model.embed(sentences)?;
    for (i, sentence) in sentences.iter().enumerate() {
        for j in 0..sentences.len() {
            print!("{:6.2}", vectors.cosine(i, j));
        }
        println!("   {sentence}");
    }
    Ok(())
}
