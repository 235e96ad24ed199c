//! A model as a Hugging Face folder: its weights under the checkpoint's own names, and its files.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::tensor::{Int, Tensor};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::load::file::open_regular;
use crate::load::{Dtype, Stored, Tensors, safetensors};
use crate::model::{Model, Net};
use crate::quant::Format;
use crate::weights::ParamInfo;

/// Endings of files that are copied beside the weights.
const COPIED: [&str; 4] = ["json", "txt", "model", "jinja"];

/// Gathers the numbers of parameters by their ids.
#[derive(Default)]
struct Gather {
    bytes: HashMap<ParamId, Vec<u8>>,
    failed: Option<String>,
}

impl ModuleVisitor for Gather {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().try_into_data().map_err(|error| error.to_string());
        // Whatever a module was trained in: its numbers are saved as 32-bit floats.
        match data.and_then(|data| data.try_cast_as::<f32>().map_err(|error| error.to_string())) {
            Ok(data) => _ = self.bytes.insert(param.id, data.as_bytes().to_vec()),
            Err(error) => self.failed = Some(error),
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        match param.val().try_into_data() {
            Ok(data) => _ = self.bytes.insert(param.id, data.as_bytes().to_vec()),
            Err(error) => self.failed = Some(error.to_string()),
        }
    }
}

impl Model {
    /// Writes the model as a Hugging Face folder, made where it is missing: the weights in
    /// `model.safetensors` under the checkpoint's own names, and copies of the other files: config,
    /// tokenizer, templates, and those of sentence-transformers.
    ///
    /// Matrices stand as they did, norms and biases in 32-bit floats; rows of a table of positions
    /// that no token has become zeros; weights that the model did not use are left out. Each file is
    /// written whole under another name, brought to the disk and renamed. All weights are held in
    /// memory once more meanwhile.
    ///
    /// # Errors
    /// [`Error::Missing`] for a model from a GGUF file, [`Error::Argument`] for the model's own
    /// folder or one in it, [`Error::Unsupported`] for weights that were rounded to 8 bits on
    /// opening, [`Error::Io`] when one of the model's files is gone, [`Error::Write`] when a file
    /// cannot be written: the folder may then hold some files and not others.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        match self.net() {
            Net::Encoder(net) => self.save_module(net, folder),
            Net::Decoder(net) => self.save_module(net, folder),
            Net::Seq2Seq(net) => self.save_module(net, folder),
        }
    }

    /// As [`save`](Self::save), with the numbers of `module`: what [`encoder`](Self::encoder),
    /// [`decoder`](Self::decoder) or [`seq2seq`](Self::seq2seq) gave, after training, or a module
    /// that holds it. Parameters are told by burn's ids, which training keeps.
    ///
    /// # Errors
    /// As [`save`](Self::save), and [`Error::Argument`] for a module that lacks a parameter of this
    /// model or has another size of it.
    pub fn save_module<M: Module>(&self, module: &M, folder: impl AsRef<Path>) -> Result<()> {
        let (origin, folder) = (self.origin(), folder.as_ref());
        let Some(home) = &origin.home else {
            let what = "a model from a Hugging Face folder: a GGUF file has no config to save";
            return Err(Error::Missing { call: "save", what: what.to_string() });
        };
        let from = self.path();
        // Where the folder is, or will be.
        let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        not_inside(there, from)?;
        let mut gather = Gather::default();
        self.guarded(|| {
            module.visit(&mut gather);
            match gather.failed.take() {
                Some(problem) => Err(Error::Device { device: self.device().id(), problem }),
                None => Ok(()),
            }
        })?;
        let mut tensors = Tensors::new();
        for (name, kept) in &origin.params {
            tensors.insert(name.clone(), stored(name, kept, &mut gather.bytes)?);
        }
        for fixup in origin.family.fixups.iter().rev() {
            fixup.revert(&mut tensors, &origin.found, self.spec())?;
        }
        let mut named = BTreeMap::new();
        for (ours, stored) in tensors {
            let fits = origin.found.get(&ours).is_some_and(|shape| *shape == stored.shape);
            match origin.theirs.get(&ours) {
                Some(theirs) if fits => _ = named.insert(theirs.clone(), stored),
                _ => {
                    return Err(Error::Unsupported {
                        what: format!("a way to save `{ours}` of shape {:?}", stored.shape),
                        known: "tensors as the checkpoint had them".to_string(),
                    });
                }
            }
        }
        fs::create_dir_all(folder).map_err(Error::write(folder))?;
        // Once more: `..` and links lead where they lead only when all folders are there.
        not_inside(folder, from)?;
        copy(from, folder, home)?;
        let inside = home.strip_prefix(from).unwrap_or(Path::new(""));
        let home = folder.join(inside);
        fs::create_dir_all(&home).map_err(Error::write(&home))?;
        write(&home.join(safetensors::SINGLE), &named)
    }
}

/// Whether a folder is another than the model's own and those in it.
fn not_inside(folder: &Path, own: &Path) -> Result<()> {
    let real = fs::canonicalize(folder).map_err(Error::write(folder))?;
    if real.starts_with(fs::canonicalize(own).map_err(Error::io(own))?) {
        let problem = "is where the model's own files are; name another".to_string();
        return Err(Error::argument("folder", problem));
    }
    Ok(())
}

/// A parameter's numbers as they are stored, taken out of `bytes`.
fn stored(name: &str, kept: &ParamInfo, bytes: &mut HashMap<ParamId, Vec<u8>>) -> Result<Stored> {
    if !matches!(kept.format, Format::F32 | Format::F16 | Format::BF16) {
        return Err(Error::Unsupported {
            what: format!("a way to save `{name}`, which is {},", kept.format.name()),
            known: "F32, F16, BF16, of a model opened without `Precision::Int8`".to_string(),
        });
    }
    let mut all = Vec::new();
    for (id, count) in &kept.parts {
        // On a GPU the last word of packed bytes is filled up.
        let fits = |own: &Vec<u8>| own.len() == *count || own.len() == count.next_multiple_of(4);
        let Some(mut own) = bytes.remove(id).filter(fits) else {
            let problem = format!("lacks `{name}` {:?}, a parameter of this model", kept.shape);
            return Err(Error::argument("module", problem));
        };
        own.truncate(*count);
        match all.is_empty() {
            true => all = own,
            false => all.append(&mut own),
        }
    }
    let (dtype, shape) = (Dtype::Weight(kept.format), kept.shape.clone());
    Ok(Stored { dtype, shape, bytes: Bytes::from(all) })
}

/// Copies the small files of a model's folder, and those of the folders in it that are modules of
/// sentence-transformers, with their weights where they are not the transformer's at `home`.
fn copy(from: &Path, to: &Path, home: &Path) -> Result<()> {
    let files = |from: &Path, to: &Path, weights: bool| -> Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for entry in fs::read_dir(from).map_err(Error::io(from))? {
            let name = entry.map_err(Error::io(from))?.file_name();
            let path = from.join(&name);
            let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            let index = name.to_str().is_some_and(|name| name.ends_with(".safetensors.index.json"));
            let wanted = COPIED.contains(&ending) && !index;
            if path.is_dir() {
                folders.push(path);
            } else if wanted || (weights && ending == "safetensors") {
                let (mut file, _) = open_regular(&path, "text")?;
                whole(&to.join(name), |target| io::copy(&mut file, target).map(|_| ()))?;
            }
        }
        Ok(folders)
    };
    for inside in files(from, to, false)? {
        if let (true, Some(name)) = (inside.join("config.json").is_file(), inside.file_name()) {
            let target = to.join(name);
            fs::create_dir_all(&target).map_err(Error::write(&target))?;
            files(&inside, &target, inside != home)?;
        }
    }
    Ok(())
}

/// Writes a file under another name, brings it to the disk and renames it.
fn whole(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    // What an earlier call left, or a link that leads elsewhere, is never written into.
    _ = fs::remove_file(&part);
    let written =
        OpenOptions::new().write(true).create_new(true).open(&part).and_then(|mut file| {
            fill(&mut file)?;
            file.sync_all()
        });
    let renamed = written.and_then(|()| fs::rename(&part, path));
    // Only then is the new name on the disk as well; where folders cannot be opened, it is so later.
    if let (Ok(()), Some(Ok(folder))) = (&renamed, path.parent().map(File::open)) {
        _ = folder.sync_all();
    }
    renamed.inspect_err(|_| _ = fs::remove_file(&part)).map_err(Error::write(path))
}

/// Writes `model.safetensors`.
fn write(path: &Path, tensors: &BTreeMap<String, Stored>) -> Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".to_string(), json!({ "format": "pt" }));
    // Larger numbers first, so that each begins where its kind may.
    let mut order: Vec<(&String, &Stored)> = tensors.iter().collect();
    order.sort_by_key(|(_, stored)| match stored.dtype {
        Dtype::Weight(format) => std::cmp::Reverse(format.block_bytes()),
        Dtype::Other(_) => std::cmp::Reverse(1),
    });
    let mut at = 0;
    for (name, stored) in &order {
        let end = at + stored.bytes.len();
        let dtype = stored.dtype.to_string();
        let entry = json!({ "dtype": dtype, "shape": stored.shape, "data_offsets": [at, end] });
        header.insert((*name).clone(), entry);
        at = end;
    }
    let mut header = Value::Object(header).to_string();
    // The data begins where any number may.
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    whole(path, |file| {
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        order.iter().try_for_each(|(_, stored)| file.write_all(&stored.bytes))
    })
}
