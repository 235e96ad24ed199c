//! Says what a model is: the expanded spec, who computes each block, the files' tensors, memory; and
//! what devices there are.

use emberform::{Device, Model, Result};
use emberform_examples::Arguments;

const USAGE: &str = "inspect [--device auto|cpu|gpu] [--verify yes] [MODEL]";

fn main() -> Result<()> {
    let arguments = Arguments::read(USAGE, &["device", "verify"]);
    println!("devices");
    for device in Device::list() {
        let mark = if device.auto { "auto: " } else { "" };
        println!("  {device}: {mark}{}", device.why);
    }
    let model =
        Model::options().device(arguments.device()?).open(arguments.at(0, "models/minilm"))?;
    println!("\n{model}\n\n{}", model.spec());
    model.ways().iter().for_each(|ways| println!("{ways}"));
    println!();

    let mut total = 0;
    for tensor in model.tensors() {
        total += tensor.bytes;
        let shape = format!("{:?}", tensor.shape);
        println!("{:32} {:>5} {shape:16} {:>11} bytes", tensor.name, tensor.format, tensor.bytes);
    }
    println!("\n{} tensors, {:.1} MB", model.tensors().len(), total as f64 / 1e6);
    if let Some(tokenizer) = model.tokenizer() {
        println!("vocabulary of {} tokens", tokenizer.len());
    }
    if arguments.option("verify").is_some() {
        println!("{}", model.verify()?);
    }
    Ok(())
}
