//! Talks with a model: each argument is a question, and without one you are asked.

use std::io::{IsTerminal, Write, stdin, stdout};

use emberform::{Chat, GenerateOptions, Model, Result};
use emberform_examples::Arguments;

const USAGE: &str =
    "chat [--device auto|cpu|gpu] [--tokens 256] [--system TEXT] [MODEL] [QUESTION ...]";

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE, &["device", "tokens", "system"]);
    let path = arguments.at(0, "models/qwen25-coder-0.5b-q4_k_m.gguf");
    let model = Model::options().device(arguments.device()?).open(path)?;
    println!("{model}");

    let mut chat = model.chat()?;
    chat.system(arguments.option("system").unwrap_or("You answer in one or two sentences."));
    let options = GenerateOptions::default().max_tokens(arguments.number("tokens", 256));
    for question in arguments.from(1) {
        println!("> {question}");
        answer(&mut chat, question, &options)?;
    }
    if arguments.from(1).is_empty() {
        let mut line = String::new();
        loop {
            if stdin().is_terminal() {
                print!("> ");
                stdout().flush().ok();
            }
            line.clear();
            // The end of the input, or an empty line, ends the conversation.
            if !stdin().read_line(&mut line).is_ok_and(|bytes| bytes > 0) || line.trim().is_empty()
            {
                break;
            }
            answer(&mut chat, line.trim(), &options)?;
        }
    }
    Ok(())
}

fn answer(chat: &mut Chat, question: &str, options: &GenerateOptions) -> Result<()> {
    let mut stream = chat.say(question, options)?;
    for piece in &mut stream {
        print!("{}", piece?.text);
        stdout().flush().ok();
    }
    let (read, speed) = (stream.stats().prompt_tokens, stream.stats().tokens_per_second());
    println!("\n[{read} tokens read, {speed:.0} a second generated]");
    Ok(())
}
