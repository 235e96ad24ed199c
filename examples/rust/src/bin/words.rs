//! What a static vector cannot do and a contextual one can: a word in two senses.

use emberform::{Model, Result, Tokenizer, WordVectors};
use emberform_examples::Arguments;

const USAGE: &str = "words [--device auto|cpu|gpu] [--words FILE] [--model DIR]";
const WORD: &str = "bank";
const SENTENCES: [&str; 3] = [
    "The children sat on the bank of the river.",
    "We pulled the boat onto the muddy bank.",
    "She paid the money into her account at the bank.",
];

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE, &["device", "words", "model"]);
    // One vector a word, whatever stands around it.
    let words = WordVectors::open(arguments.option("words").unwrap_or("models/static"))?;
    println!("{words}");

    // One vector for each token of a text, made of all of it.
    let model = arguments.option("model").unwrap_or("models/minilm");
    let model = Model::options().device(arguments.device()?).open(model)?;
    println!("{model}\n");
    let tokenizer = Tokenizer::open(model.path())?;
    let (mut fixed, mut states) = (Vec::new(), Vec::new());
    for sentence in SENTENCES {
        let encoding = tokenizer.encode(sentence, true)?;
        let is_word = |(from, to): &(usize, usize)| &sentence[*from..*to] == WORD;
        let place = encoding.offsets.iter().position(is_word).unwrap_or_default();
        fixed.push(words.vector(WORD)?); // the sentence is not asked
        let hidden = model.forward(&[encoding.ids])?; // [1, T, D]
        states.push(hidden.at(0, place).unwrap_or_default().to_vec());
    }

    println!("`{WORD}` in two sentences          static  contextual");
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        println!("  {}\n  {}", SENTENCES[i], SENTENCES[j]);
        println!("{:>36.2}{:>12.2}", cosine(&fixed[i], &fixed[j]), cosine(&states[i], &states[j]));
    }

    println!("\nnearest to `{WORD}`:");
    for near in words.nearest(WORD, 5)? {
        println!("  {:.2} {}", near.cosine, near.word);
    }
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
