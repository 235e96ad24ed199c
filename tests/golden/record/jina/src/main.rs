//! `jina-reference FOLDER`: rows of ids, one JSON list a line, from the standard input; the hidden
//! states of each by candle's JinaBERT go to the standard output in the same form.

use std::io::Read;

use candle_core::{DType, Device, Module, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::jina_bert::{BertModel, Config};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    let config = std::fs::read_to_string(format!("{folder}/config.json"))?;
    let config: Config = serde_json::from_str(&config)?;
    let weights = std::fs::read(format!("{folder}/model.safetensors"))?;
    let weights = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)?;
    let model = BertModel::new(weights, &config)?;
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    for line in text.lines() {
        let ids: Vec<u32> = serde_json::from_str(line)?;
        let ids = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let hidden = model.forward(&ids)?.squeeze(0)?.to_vec2::<f32>()?;
        println!("{}", serde_json::to_string(&hidden)?);
    }
    Ok(())
}
