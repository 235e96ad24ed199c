//! Files that lie: each is an error that names what is wrong, never a panic, an abort, a wait or a
//! large allocation.
//!
//! Every case bends one piece of a small model that opens and computes (see
//! `emberform_tests::hostile`), opens the result through the public door on a thread of its own,
//! and looks at four things: the error's code, a word of its message, the time, and the most
//! memory that the open held.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use emberform::{Code, Device, Error, Model, Tokenizer, WordVectors};
use emberform_tests::hostile::{
    DENSE, FFN, Folder, GgufFile, HEADS, Key, Safetensors, WIDTH, bert_folder, bpe_gguf, bpe_json,
    bpe_tokens, floats, ints, kind, list, llama_folder, llama_gguf, safetensors, sharded_folder,
    spm_tokens, text, texts,
};
use serde_json::{Value, json};

/// The longest that an open may take; nearly all take some milliseconds.
const TIME: Duration = Duration::from_secs(5);
/// The most memory that an open may hold, beside twice the files' size.
const MEMORY: usize = 64 << 20;
/// No single allocation of this test is larger: what asks for more gets none.
const LARGEST: usize = 4 << 30;

/// The system's allocator with a count of what is held.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The case that runs, for the line before an abort.
static CASE: Mutex<String> = Mutex::new(String::new());

impl Counting {
    /// Counts `size` bytes; `false` when they are refused.
    fn count(size: usize) -> bool {
        if size > LARGEST {
            // What follows is most likely an abort, which tells nothing about the case.
            if let Ok(case) = CASE.try_lock() {
                let mut out = std::io::stderr();
                _ = out.write_all(b"\ntoo large an allocation in case ");
                _ = out.write_all(case.as_bytes());
                _ = out.write_all(b"\n");
            }
            return false;
        }
        let held = HELD.fetch_add(size, SeqCst) + size;
        PEAK.fetch_max(held, SeqCst);
        true
    }
}

// SAFETY: every call is passed on to the system's allocator; only sizes are looked at.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !Counting::count(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !Counting::count(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !Counting::count(size) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        let new = unsafe { System.realloc(place, layout, size) };
        HELD.fetch_sub(if new.is_null() { size } else { layout.size() }, SeqCst);
        new
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: they all look at the same count of memory.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What must come of a case.
#[derive(Clone, Copy)]
enum Want {
    /// One of these codes, and a message with this word.
    Refused(&'static [Code], &'static str),
    /// One of these codes, or a model that works: the file is odd, and safe to ignore.
    Either(&'static [Code]),
}

/// Which door is opened.
#[derive(Clone, Copy)]
enum Door {
    Model,
    Tokenizer,
    Words,
}

/// Builds a case's files in a folder and says what to open.
type Build = Box<dyn Fn(&Path) -> PathBuf + Send>;

struct Case {
    class: &'static str,
    name: String,
    want: Want,
    door: Door,
    build: Build,
}

const FORMAT: &[Code] = &[Code::Format];
const CONFIG: &[Code] = &[Code::Config];
const IO: &[Code] = &[Code::Io];
const UNSUPPORTED: &[Code] = &[Code::Unsupported];
const WEIGHTS: &[Code] = &[Code::Weights];
/// What is wrong with a vocabulary may be told as a broken format, a key, or a part not known.
const VOCABULARY: &[Code] = &[Code::Format, Code::Config, Code::Unsupported];

/// The cases, added one after the other.
#[derive(Default)]
struct Cases {
    class: &'static str,
    all: Vec<Case>,
}

impl Cases {
    fn class(&mut self, class: &'static str) {
        self.class = class;
    }

    fn add(
        &mut self,
        name: impl Into<String>,
        want: Want,
        build: impl Fn(&Path) -> PathBuf + Send + 'static,
    ) {
        let (name, build) = (name.into(), Box::new(build));
        self.all.push(Case { class: self.class, name, want, door: Door::Model, build });
    }

    /// A GGUF file of these bytes.
    fn bytes(
        &mut self,
        name: impl Into<String>,
        codes: &'static [Code],
        word: &'static str,
        bytes: Vec<u8>,
    ) {
        self.add(name, Want::Refused(codes, word), move |folder| put(folder, "model.gguf", &bytes));
    }

    /// The llama model of a GGUF file, bent.
    fn gguf(
        &mut self,
        name: &str,
        codes: &'static [Code],
        word: &'static str,
        bend: impl FnOnce(&mut GgufFile),
    ) {
        let mut file = llama_gguf();
        let before = file.bytes();
        bend(&mut file);
        let bytes = file.bytes();
        assert!(bytes != before, "{}/{name} bends nothing", self.class);
        self.bytes(name, codes, word, bytes);
    }

    /// A key of the llama model's metadata with another value.
    fn key(
        &mut self,
        name: &str,
        codes: &'static [Code],
        word: &'static str,
        (key, kind): (&str, u32),
        value: impl AsRef<[u8]>,
    ) {
        self.gguf(name, codes, word, |file| file.set(key, kind, value));
    }

    /// A folder, bent.
    fn folder(
        &mut self,
        name: &str,
        want: Want,
        folder: fn() -> Folder,
        bend: impl FnOnce(&mut Folder),
    ) {
        let mut bent = folder();
        bend(&mut bent);
        self.add(name, want, move |path| bent.write(path).expect("a folder of files"));
    }

    fn llama(
        &mut self,
        name: &str,
        codes: &'static [Code],
        word: &'static str,
        bend: impl FnOnce(&mut Folder),
    ) {
        self.folder(name, Want::Refused(codes, word), llama_folder, bend);
    }

    fn bert(
        &mut self,
        name: &str,
        codes: &'static [Code],
        word: &'static str,
        bend: impl FnOnce(&mut Folder),
    ) {
        self.folder(name, Want::Refused(codes, word), bert_folder, bend);
    }

    /// The tokenizer of the llama folder, bent; opened as a model and by itself.
    fn tokenizer(&mut self, name: &str, want: Want, bend: impl Fn(&mut Value)) {
        self.tokenizer_of(name, want, llama_folder, bend);
    }

    fn tokenizer_of(
        &mut self,
        name: &str,
        want: Want,
        folder: fn() -> Folder,
        bend: impl Fn(&mut Value),
    ) {
        self.folder(name, want, folder, |folder| folder.edit("tokenizer.json", &bend));
        let mut bent = folder();
        bent.edit("tokenizer.json", bend);
        let file = bent.files.get("tokenizer.json").cloned().unwrap_or_default();
        self.add(format!("{name}, by itself"), want, move |path| {
            put(path, "tokenizer.json", &file)
        });
        if let Some(last) = self.all.last_mut() {
            last.door = Door::Tokenizer;
        }
    }
}

fn put(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("a file is written");
    path
}

fn u32s(value: u32) -> [u8; 4] {
    value.to_le_bytes()
}

fn f32s(value: f32) -> [u8; 4] {
    value.to_le_bytes()
}

/// The bytes of all files under `folder`, links followed one step.
fn size_of(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
            Ok(metadata) => metadata.len() as usize,
            Err(_) => 0,
        })
        .sum()
}

/// The message and its causes.
fn message(error: &Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message += &format!(": {cause}");
        source = cause.source();
    }
    message
}

/// Uses what has opened: an odd file that is let in must not break later calls either.
fn use_tokenizer(tokenizer: &Tokenizer) {
    let mixed = "A caf\u{e9} \u{1f600}\u{301} \0 \u{ad} 12345 the the  cat\n".repeat(64);
    for text in ["", "a cat sat", &"a".repeat(4096), &" ".repeat(4096), &mixed] {
        if let Ok(encoding) = tokenizer.encode(text, true) {
            assert!(encoding.ids.len() <= 16 * text.len() + 1024, "{} ids", encoding.ids.len());
        }
    }
}

/// Opens and uses; `None` when that worked.
fn open(path: &Path, door: Door) -> Option<Error> {
    match door {
        Door::Model => {
            let model = match Model::options().device(Device::Cpu).open(path) {
                Ok(model) => model,
                Err(error) => return Some(error),
            };
            if let Some(tokenizer) = model.tokenizer() {
                use_tokenizer(tokenizer);
            }
            _ = model.embed(&["a cat sat"]);
            _ = model.forward(&[[1_u32, 2, 3]]);
            None
        }
        Door::Words => match WordVectors::open(path) {
            Ok(words) => {
                _ = words.embed(&["a cat sat", &"kingly ".repeat(512), ""]);
                _ = words.nearest("king", 3);
                _ = words.analogy("king", "man", "woman", 3);
                None
            }
            Err(error) => Some(error),
        },
        Door::Tokenizer => match Tokenizer::open(path) {
            Ok(tokenizer) => {
                use_tokenizer(&tokenizer);
                None
            }
            Err(error) => Some(error),
        },
    }
}

/// Runs a case; `Err` says what is wrong.
fn run(case: &Case) -> Result<(Duration, usize), String> {
    let folder = emberform_tests::Scratch::new().map_err(|error| error.to_string())?;
    let path = (case.build)(folder.path());
    let allowed = MEMORY + 2 * size_of(folder.path());
    let before = HELD.load(SeqCst);
    PEAK.store(before, SeqCst);
    let start = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let door = case.door;
    let worker = std::thread::Builder::new()
        // The size that Rust gives its threads: recursion driven by a file must fit.
        .stack_size(2 << 20)
        .name(format!("{}/{}", case.class, case.name))
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| open(&path, door)));
            _ = sender.send(result.map(|error| error.map(|error| (error.code(), message(&error)))));
        })
        .map_err(|error| error.to_string())?;
    let result = match receiver.recv_timeout(TIME) {
        Ok(result) => result,
        // The thread is left behind: nothing can end it.
        Err(_) => return Err(format!("no answer within {TIME:?}")),
    };
    let (time, peak) = (start.elapsed(), PEAK.load(SeqCst).saturating_sub(before));
    _ = worker.join();
    let found = result.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        format!("panicked: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("?"))
    })?;
    if peak > allowed {
        return Err(format!("held {} KB, more than {} KB", peak >> 10, allowed >> 10));
    }
    match (found, case.want) {
        (None, Want::Either(_)) => {}
        (None, Want::Refused(..)) => return Err("was accepted".into()),
        (Some((code, message)), want) => {
            let (codes, word) = match want {
                Want::Refused(codes, word) => (codes, word),
                Want::Either(codes) => (codes, ""),
            };
            if !codes.contains(&code) {
                return Err(format!("gave {code:?}, want {codes:?}: {message}"));
            }
            if !message.contains(word) {
                return Err(format!("does not say `{word}`: {message}"));
            }
            if message.ends_with('.')
                || message.starts_with(char::is_uppercase)
                || message.len() > 4096
            {
                return Err(format!("is no plain sentence: {message}"));
            }
        }
    }
    Ok((time, peak))
}

fn gguf_container(cases: &mut Cases) {
    cases.class("gguf-header");
    cases.bytes("empty", FORMAT, "empty", vec![]);
    cases.bytes("three bytes", FORMAT, "magic", b"GGU".to_vec());
    cases.gguf("another magic", FORMAT, "want `GGUF`", |file| file.magic = *b"PK\x03\x04");
    cases.gguf("before GGUF", FORMAT, "before GGUF", |file| file.magic = *b"tjgg");
    for version in [0, 1, 4, u32::MAX] {
        cases.gguf(&format!("version {version}"), FORMAT, "version", |file| file.version = version);
    }
    cases.gguf("big-endian", FORMAT, "big-endian", |file| file.version = 3 << 24);
    cases.bytes("zeros", FORMAT, "want `GGUF`", vec![0; 4096]);

    cases.class("gguf-counts");
    for count in [1 << 20, 1 << 58, 1 << 61, u64::MAX / 64 + 1, u64::MAX] {
        cases.gguf(&format!("{count} keys"), FORMAT, "keys", |file| file.key_count = Some(count));
        cases.gguf(&format!("{count} tensors"), FORMAT, "tensors", |file| {
            file.tensor_count = Some(count);
        });
    }
    cases.gguf("more keys than bytes", FORMAT, "do not fit", |file| file.key_count = Some(60_000));
    cases.gguf("a key too many", FORMAT, "", |file| {
        file.key_count = Some(file.keys.len() as u64 + 1)
    });
    cases.gguf("a key too few", FORMAT, "", |file| {
        file.key_count = Some(file.keys.len() as u64 - 1)
    });
    cases.gguf("a tensor too many", FORMAT, "", |file| {
        file.tensor_count = Some(file.tensors.len() as u64 + 1);
    });

    cases.class("gguf-value-types");
    for kind in [13, 255, u32::MAX] {
        cases.key(&format!("type {kind}"), FORMAT, "type", ("x", kind), [0; 8]);
    }
    cases.key("a bool of 2", FORMAT, "truth value", ("x", kind::BOOL), [2]);
    cases.key(
        "a list of bools of 7",
        FORMAT,
        "truth value",
        ("x", kind::ARRAY),
        list(kind::BOOL, 2, &[1, 7]),
    );

    cases.class("gguf-strings");
    for length in [u64::MAX, 1 << 63, 1 << 40, 1 << 24] {
        let value = length.to_le_bytes();
        cases.key(&format!("value of {length}"), FORMAT, "key `x`", ("x", kind::STRING), value);
        let item = list(kind::STRING, 1, &value);
        cases.key(&format!("item of {length}"), FORMAT, "item 0", ("x", kind::ARRAY), item);
    }
    cases.key("value not UTF-8", FORMAT, "UTF-8", ("x", kind::STRING), text([b'a', 0xff]));
    cases.gguf("a key's name not UTF-8", FORMAT, "UTF-8", |file| {
        file.keys.push(Key { name: vec![0xc0, 0x80], kind: kind::U8, value: vec![0] });
    });
    cases.gguf("a key without a name", FORMAT, "empty", |file| file.set("", kind::U8, [0]));
    cases.gguf("a key's name of 64 KB", FORMAT, "limit", |file| {
        file.set(&"k".repeat(65_536), kind::U8, [0]);
    });
    cases.gguf("a tensor's name of 64 KB", FORMAT, "limit", |file| {
        file.tensor("output.weight").name = vec![b'n'; 65_536];
    });
    cases.gguf("a tensor without a name", FORMAT, "empty", |file| {
        file.tensor("output.weight").name.clear();
    });
    cases.gguf("a tensor's name not UTF-8", FORMAT, "UTF-8", |file| {
        file.tensor("output.weight").name = vec![0xed, 0xa0, 0x80];
    });
    cases.gguf("a text of 9 MB", FORMAT, "limit", |file| {
        file.set("tokenizer.chat_template", kind::STRING, text(vec![b'x'; 9 << 20]));
    });

    cases.class("gguf-arrays");
    cases.key(
        "a list of lists",
        FORMAT,
        "lists of lists",
        ("x", kind::ARRAY),
        list(kind::ARRAY, 1, &list(kind::U8, 0, &[])),
    );
    let mut deep = list(kind::U8, 0, &[]);
    for _ in 0..10_000 {
        deep = list(kind::ARRAY, 1, &deep);
    }
    cases.key("lists 10,000 deep", FORMAT, "lists of lists", ("x", kind::ARRAY), deep);
    for (item, count) in [
        (kind::U64, 1 << 61),
        (kind::STRING, u64::MAX),
        (kind::U8, 1 << 40),
        (kind::STRING, 1 << 30),
    ] {
        let name = format!("{count} items of type {item}");
        cases.key(&name, FORMAT, "do not fit", ("x", kind::ARRAY), list(item, count, &[0; 64]));
    }
    cases.key("items of type 99", FORMAT, "type 99", ("x", kind::ARRAY), list(99, 0, &[]));

    cases.class("gguf-dims");
    let name = "blk.0.attn_q.weight";
    for (what, dims, word) in [
        ("none", vec![], "dimensions"),
        ("five", vec![WIDTH as u64, 32, 1, 1, 1], "dimensions"),
        ("a zero", vec![WIDTH as u64, 0], "dimension"),
        ("2^32 by 2^32", vec![1 << 32, 1 << 32], "memory"),
        ("2^40 by 2^40", vec![1 << 40, 1 << 40], "memory"),
        ("2^63", vec![1 << 63], "memory"),
        ("bytes wrap to 0", vec![1 << 62, 1], "memory"),
        ("2^42 + 1 rows", vec![WIDTH as u64, (1 << 42) + 1], "in the file"),
        ("one row more than there is", vec![WIDTH as u64, 1 << 14], "in the file"),
        ("four that wrap", vec![1 << 16, 1 << 16, 1 << 16, 1 << 17], "memory"),
    ] {
        cases.gguf(what, FORMAT, word, |file| file.tensor(name).dims = dims);
    }
    for n_dims in [0, 5, 8, u32::MAX] {
        cases.gguf(&format!("n_dims {n_dims}"), FORMAT, "dimensions", |file| {
            file.tensor(name).n_dims = Some(n_dims);
        });
    }
    cases.gguf("half a block in a row", FORMAT, "multiple of 32", |file| {
        file.tensor("blk.0.ffn_up.weight").dims = vec![16, 128];
    });

    cases.class("gguf-offsets");
    for (what, offset, word) in [
        ("unaligned", 8, "alignment"),
        ("1 past an aligned one", 33, "alignment"),
        ("far past the end", 1 << 40, "in the file"),
        ("wraps", u64::MAX - 31, "in the file"),
        ("the largest", u64::MAX, "alignment"),
        ("on another tensor", 0, "inside tensor"),
    ] {
        cases.gguf(what, FORMAT, word, |file| file.tensor(name).offset = Some(offset));
    }
    cases.gguf("the last one at the end", FORMAT, "in the file", |file| {
        let end = file.tensors.iter().map(|t| t.data.len().next_multiple_of(32) as u64).sum();
        file.tensor("output.weight").offset = Some(end);
    });

    cases.class("gguf-alignment");
    for alignment in [0, 1, 3, 24, 1 << 31, u32::MAX] {
        let key = ("general.alignment", kind::U32);
        cases.key(&alignment.to_string(), FORMAT, "general.alignment", key, u32s(alignment));
    }
    let key = |kind| ("general.alignment", kind);
    cases.key("signed", FORMAT, "u32", key(kind::I32), u32s(32));
    cases.key("64 bits", FORMAT, "u32", key(kind::U64), 32_u64.to_le_bytes());
    cases.key("a text", FORMAT, "u32", key(kind::STRING), text("32"));
    cases.key("NaN", FORMAT, "u32", key(kind::F32), f32s(f32::NAN));
    cases.key("a list", FORMAT, "u32", key(kind::ARRAY), ints(&[32]));

    cases.class("gguf-tensor-types");
    for (kind, codes, word) in [
        (4, FORMAT, "type 4"),
        (5, FORMAT, "type 5"),
        (64, FORMAT, "type 64"),
        (u32::MAX, FORMAT, "type 4294967295"),
        (26, WEIGHTS, "I32"),
        (24, FORMAT, ""),
        (28, FORMAT, ""),
    ] {
        // 8-bit and 64-bit numbers: the bytes are there or not by the other tensors' places.
        let bend = |file: &mut GgufFile| {
            let tensor = file.tensor("output.weight");
            tensor.kind = kind;
            if kind == 24 {
                tensor.dims[0] *= 8;
            }
        };
        cases.gguf(&format!("type {kind}"), codes, word, bend);
    }
    cases.gguf("a type of quants that is not ours", WEIGHTS, "IQ4_NL", |file| {
        let tensor = file.tensor("blk.0.ffn_gate.weight");
        tensor.kind = 20;
        tensor.data = vec![0; FFN * 18];
    });

    cases.class("gguf-duplicate");
    cases.gguf("a key", FORMAT, "twice", |file| file.keys.push(file.keys[0].clone()));
    cases.gguf("a key with another value", FORMAT, "twice", |file| {
        let value = u32s(2).to_vec();
        file.keys.push(Key { name: b"llama.block_count".to_vec(), kind: kind::U32, value });
    });
    cases.gguf("a tensor", FORMAT, "twice", |file| file.tensors.push(file.tensors[3].clone()));

    cases.class("gguf-split");
    cases.key("one of two", CONFIG, "split.count", ("split.count", kind::U16), [2, 0]);
    cases.key("a text", CONFIG, "split.count", ("split.count", kind::STRING), text("2"));

    cases.class("gguf-truncated");
    let file = llama_gguf();
    let (bytes, ends) = (file.bytes(), file.boundaries());
    for &end in ends.iter().filter(|&&end| end < bytes.len()) {
        cases.bytes(format!("at {end}"), FORMAT, "", bytes[..end].to_vec());
        if end > 0 {
            cases.bytes(format!("before {end}"), FORMAT, "", bytes[..end - 1].to_vec());
        }
    }
}

fn gguf_metadata(cases: &mut Cases) {
    cases.class("gguf-lies");
    let u = |key: &'static str| (key, kind::U32);
    let f = |key: &'static str| (key, kind::F32);
    for (key, value, word) in [
        ("llama.attention.head_count", 0, "num_attention_heads"),
        ("llama.attention.head_count", 1 << 31, "num_attention_heads"),
        ("llama.attention.head_count", 3, "num_attention_heads"),
        ("llama.attention.head_count_kv", 0, "num_key_value_heads"),
        ("llama.attention.head_count_kv", 3, "num_key_value_heads"),
        ("llama.attention.head_count_kv", u32::MAX, "num_key_value_heads"),
        ("llama.block_count", 0, "num_hidden_layers"),
        ("llama.block_count", 1 << 31, "num_hidden_layers"),
        ("llama.block_count", u32::MAX, "num_hidden_layers"),
        ("llama.embedding_length", 0, "hidden_size"),
        ("llama.embedding_length", 1 << 31, "hidden_size"),
        ("llama.feed_forward_length", 0, "intermediate_size"),
        ("llama.feed_forward_length", u32::MAX, "intermediate_size"),
        ("llama.context_length", 0, "max_position_embeddings"),
        ("llama.context_length", u32::MAX, "max_position_embeddings"),
        ("llama.attention.key_length", 0, "head_dim"),
        ("llama.attention.key_length", 1 << 31, "head_dim"),
        ("llama.rope.dimension_count", 3, "rot"),
        ("llama.rope.dimension_count", 0, "rot"),
        ("llama.rope.dimension_count", 1 << 20, "rot"),
        ("llama.pooling_type", 99, "pooling_type"),
    ] {
        cases.key(&format!("{key} {value}"), CONFIG, word, u(key), u32s(value));
    }
    for (key, value, word) in [
        ("llama.attention.layer_norm_rms_epsilon", f32::NAN, "epsilon"),
        ("llama.attention.layer_norm_rms_epsilon", f32::INFINITY, "epsilon"),
        ("llama.attention.layer_norm_rms_epsilon", -1.0, "rms_norm_eps"),
        ("llama.rope.freq_base", 0.0, "rope_theta"),
        ("llama.rope.freq_base", -1.0, "rope_theta"),
        ("llama.rope.freq_base", f32::NAN, "freq_base"),
        ("llama.rope.scaling.factor", 0.0, "factor"),
        ("llama.rope.scaling.factor", f32::NAN, "factor"),
    ] {
        cases.key(&format!("{key} {value}"), CONFIG, word, f(key), f32s(value));
    }
    cases.key(
        "a list of two head counts",
        CONFIG,
        "head_count",
        ("llama.attention.head_count_kv", kind::ARRAY),
        ints(&[1, 0]),
    );
    cases.key(
        "an empty list of head counts",
        CONFIG,
        "head",
        ("llama.attention.head_count", kind::ARRAY),
        ints(&[]),
    );
    cases.gguf("4096 blocks of which one is there", WEIGHTS, "blk.1.", |file| {
        file.set("llama.block_count", kind::U32, u32s(4096));
    });

    cases.class("gguf-missing-keys");
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "tokenizer.ggml.tokens",
    ] {
        cases.gguf(key, CONFIG, "missing", |file| file.remove(key));
    }

    cases.class("gguf-key-types");
    let s = |key: &'static str| (key, kind::STRING);
    let a = |key: &'static str| (key, kind::ARRAY);
    cases.key("architecture", CONFIG, "general.architecture", u("general.architecture"), u32s(1));
    cases.key("unknown architecture", UNSUPPORTED, "xyz", s("general.architecture"), text("xyz"));
    cases.key("blocks as text", CONFIG, "block_count", s("llama.block_count"), text("1"));
    cases.key("blocks as float", CONFIG, "block_count", f("llama.block_count"), f32s(1.0));
    cases.key(
        "blocks below 0",
        CONFIG,
        "block_count",
        ("llama.block_count", kind::I32),
        (-1_i32).to_le_bytes(),
    );
    cases.key(
        "blocks of 64 bits",
        CONFIG,
        "num_hidden_layers",
        ("llama.block_count", kind::U64),
        u64::MAX.to_le_bytes(),
    );
    cases.key(
        "heads as texts",
        CONFIG,
        "head_count",
        a("llama.attention.head_count"),
        texts(&["2"]),
    );
    cases.key(
        "epsilon as number",
        CONFIG,
        "epsilon",
        u("llama.attention.layer_norm_rms_epsilon"),
        u32s(0),
    );
    cases.key("theta as text", CONFIG, "freq_base", s("llama.rope.freq_base"), text("10000"));
    cases.key(
        "tokenizer as number",
        CONFIG,
        "tokenizer.ggml.model",
        u("tokenizer.ggml.model"),
        u32s(1),
    );
    cases.key("tokens as numbers", CONFIG, "tokens", a("tokenizer.ggml.tokens"), ints(&[1, 2, 3]));
    cases.key("tokens as one text", CONFIG, "tokens", s("tokenizer.ggml.tokens"), text("abc"));
    cases.key(
        "scores as bytes",
        CONFIG,
        "scores",
        a("tokenizer.ggml.scores"),
        list(kind::I8, 290, &[0; 290]),
    );
    cases.key(
        "types as floats",
        CONFIG,
        "token_type",
        a("tokenizer.ggml.token_type"),
        floats(&[1.0; 290]),
    );
    cases.key("bos as text", CONFIG, "bos_token_id", s("tokenizer.ggml.bos_token_id"), text("<s>"));
    cases.key(
        "bos below 0",
        CONFIG,
        "bos_token_id",
        ("tokenizer.ggml.bos_token_id", kind::I32),
        (-1_i32).to_le_bytes(),
    );
    cases.key("add_bos as number", CONFIG, "add_bos", u("tokenizer.ggml.add_bos_token"), u32s(1));
    cases.key(
        "chat template as list",
        CONFIG,
        "chat_template",
        a("tokenizer.chat_template"),
        texts(&["x"]),
    );

    cases.class("gguf-vocabulary");
    let count = spm_tokens().len();
    let scores = |bend: &dyn Fn(&mut Vec<f32>)| {
        let mut scores = vec![-1.0; count];
        bend(&mut scores);
        floats(&scores)
    };
    let key = a("tokenizer.ggml.scores");
    cases.key("NaN scores", VOCABULARY, "score", key, scores(&|scores| scores[260] = f32::NAN));
    cases.key(
        "one score too few",
        VOCABULARY,
        "score",
        key,
        scores(&|scores| scores.truncate(count - 1)),
    );
    cases.key("one score too many", VOCABULARY, "score", key, scores(&|scores| scores.push(0.0)));
    cases.key("no scores", VOCABULARY, "score", key, floats(&[]));
    let key = a("tokenizer.ggml.token_type");
    cases.key("one type too few", VOCABULARY, "type", key, ints(&vec![1; count - 1]));
    cases.key("types out of range", VOCABULARY, "type", key, ints(&vec![99; count]));
    for name in ["bos", "eos", "unknown", "padding"] {
        for id in [count as u32, u32::MAX] {
            let key = format!("tokenizer.ggml.{name}_token_id");
            cases.gguf(&format!("{name} {id}"), VOCABULARY, "", |file| {
                file.set(&key, kind::U32, u32s(id))
            });
        }
    }
    let mut tokens = |name: &str,
                      codes: &'static [Code],
                      word: &'static str,
                      bend: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut tokens: Vec<Vec<u8>> = spm_tokens().into_iter().map(String::into_bytes).collect();
        bend(&mut tokens);
        cases.gguf(name, codes, word, |file| {
            file.set("tokenizer.ggml.tokens", kind::ARRAY, texts(&tokens));
        });
    };
    tokens("a token twice", VOCABULARY, "", &|tokens| tokens[270] = tokens[271].clone());
    tokens("a token not UTF-8", VOCABULARY, "UTF-8", &|tokens| tokens[270] = vec![b'a', 0xff]);
    tokens("a token of 1 MB", VOCABULARY, "limit", &|tokens| tokens[270] = vec![b'a'; 1 << 20]);
    tokens("no tokens", VOCABULARY, "", &|tokens| tokens.clear());
    tokens("one token too few", VOCABULARY, "", &|tokens| _ = tokens.pop());
    cases.gguf("more tokens than the embedding has rows", CONFIG, "vocab_size", |file| {
        for name in ["token_embd.weight", "output.weight"] {
            let tensor = file.tensor(name);
            tensor.dims[1] -= 1;
            tensor.data.truncate(WIDTH * 4 * (count - 1));
        }
    });
    cases.key("unknown tokenizer", VOCABULARY, "xyz", s("tokenizer.ggml.model"), text("xyz"));

    cases.class("gguf-merges");
    let mut merges = |name: &str, want: Want, merges: Vec<String>| {
        let mut file = bpe_gguf();
        file.set("tokenizer.ggml.merges", kind::ARRAY, texts(&merges));
        let bytes = file.bytes();
        cases.add(name, want, move |folder| put(folder, "model.gguf", &bytes));
    };
    let refused = Want::Refused(VOCABULARY, "merge");
    merges("without a space", refused, vec!["th".into()]);
    merges("an empty one", refused, vec![String::new()]);
    merges("of a token that is not there", refused, vec!["t h".into(), "zz yy".into()]);
    merges("whose product is not there", refused, vec!["x y".into()]);
    merges("longer than any token", refused, vec![format!("{} a", "a".repeat(60_000))]);
    merges("twice", Want::Either(VOCABULARY), vec!["t h".into(), "t h".into()]);
    merges("none", Want::Either(VOCABULARY), vec![]);
    let mut file = bpe_gguf();
    file.set("tokenizer.ggml.merges", kind::ARRAY, ints(&[1]));
    cases.bytes("numbers", CONFIG, "merges", file.bytes());
    let mut file = bpe_gguf();
    file.set("tokenizer.ggml.pre", kind::STRING, text("no-such-splitter"));
    cases.bytes("unknown splitter", VOCABULARY, "no-such-splitter", file.bytes());

    cases.class("gguf-weights");
    for name in ["token_embd.weight", "blk.0.attn_k.weight", "output_norm.weight"] {
        let lacks =
            |file: &mut GgufFile| file.tensors.retain(|tensor| tensor.name != name.as_bytes());
        // Without the embedding's rows the vocabulary's size is not known either.
        let codes: &[Code] =
            if name.starts_with("token") { &[Code::Weights, Code::Config] } else { WEIGHTS };
        cases.gguf(&format!("{name} missing"), codes, "missing", lacks);
    }
    cases.gguf("one that nobody asks for", WEIGHTS, "blk.0.attn_x.weight", |file| {
        file.add("blk.0.attn_x.weight", &[WIDTH]);
    });
    cases.gguf("a block too many", WEIGHTS, "blk.1.attn_q.weight", |file| {
        file.add("blk.1.attn_q.weight", &[WIDTH, WIDTH]);
    });
    cases.gguf("a slip in a name", WEIGHTS, "nearest", |file| {
        file.tensor("blk.0.attn_q.weight").name = b"blk.0.atn_q.weight".to_vec();
    });
    for (name, dims) in [
        ("blk.0.attn_k.weight", vec![WIDTH as u64 / 2, WIDTH as u64]),
        ("blk.0.attn_norm.weight", vec![1, WIDTH as u64]),
        ("blk.0.ffn_down.weight", vec![WIDTH as u64, FFN as u64]),
        ("output_norm.weight", vec![WIDTH as u64 / 2]),
    ] {
        cases.gguf(&format!("{name} misshapen"), WEIGHTS, name, |file| {
            let tensor = file.tensor(name);
            tensor.data.truncate(dims.iter().product::<u64>() as usize * 4);
            tensor.dims = dims;
        });
    }
    cases.gguf("no tensors at all", &[Code::Weights, Code::Config], "missing", |file| {
        file.tensors.clear()
    });
    // Many names that are there beside many that are missing: looking for the nearest must end.
    cases.gguf("20,000 that nobody asks for", WEIGHTS, "unused", |file| {
        file.set("llama.block_count", kind::U32, u32s(4096));
        for i in 0..20_000 {
            file.add(&format!("blk.{i}.something.long.and.strange.weight"), &[1]);
        }
    });
    cases.gguf("names of 60 KB", WEIGHTS, "unused", |file| {
        file.set("llama.block_count", kind::U32, u32s(4096));
        for i in 0..20 {
            file.add(&format!("{i}{}.weight", "blk.".repeat(15_000)), &[1]);
        }
    });
}

fn folders(cases: &mut Cases) {
    cases.class("st-header");
    let raw = |bytes: Vec<u8>| move |folder: &mut Folder| folder.put("model.safetensors", bytes);
    let length = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    cases.llama("empty file", FORMAT, "empty", raw(vec![]));
    cases.llama("three bytes", FORMAT, "header length", raw(vec![1, 2, 3]));
    cases.llama("length 2^64 - 1", FORMAT, "limit", raw(length(u64::MAX)));
    cases.llama("length 100 MB + 1", FORMAT, "limit", raw(length(100_000_001)));
    cases.llama("length past the end", FORMAT, "does not fit", raw(length(1000)));
    cases.llama("length 0", FORMAT, "begin with", raw(vec![0; 64]));
    cases.llama("not JSON", FORMAT, "header", raw(safetensors("{nonsense", &[])));
    cases.llama("a list", FORMAT, "begin with", raw(safetensors("[]", &[])));
    cases.llama(
        "deep",
        FORMAT,
        "header",
        raw(safetensors(format!("{{\"a\":{}", "[".repeat(1 << 20)), &[])),
    );
    cases.llama("not UTF-8", FORMAT, "header", raw(safetensors(b"{\"\xff\":1}", &[])));
    cases.llama("cut in the data", FORMAT, "span", |folder| {
        let bytes = folder.weights.bytes();
        folder.put("model.safetensors", &bytes[..bytes.len() - 1]);
    });
    cases.llama("cut in the header", FORMAT, "does not fit", |folder| {
        let bytes = folder.weights.bytes();
        folder.put("model.safetensors", &bytes[..200]);
    });
    cases.llama("begins with a space", FORMAT, "begin with", |folder| {
        folder.header(|header| format!(" {header}"))
    });
    cases.llama("text after it", FORMAT, "trailing", |folder| {
        folder.header(|header| format!("{header} x"))
    });
    cases.llama(
        "pickle",
        FORMAT,
        "limit",
        raw(b"PK\x03\x04\x00\x00\x08\x08archive/data.pkl".to_vec()),
    );

    cases.class("st-offsets");
    let swap = |from: &'static str, to: &'static str| {
        move |folder: &mut Folder| folder.header(|header| header.replacen(from, to, 1))
    };
    let first = llama_folder().weights.tensors[0].3.len();
    let (from, to) = (format!("[0,{first}]"), format!("[{first},"));
    let bend = |with: String| {
        let from = from.clone();
        move |folder: &mut Folder| folder.header(|header| header.replacen(&from, &with, 1))
    };
    cases.llama("reversed", FORMAT, "span", bend(format!("[{first},0]")));
    cases.llama("past the end", FORMAT, "span", bend("[0,1000000000]".into()));
    cases.llama("2^64 - 1", FORMAT, "span", bend("[0,18446744073709551615]".into()));
    cases.llama("2^64", FORMAT, "header", bend("[0,18446744073709551616]".into()));
    cases.llama("negative", FORMAT, "header", bend(format!("[-4,{first}]")));
    cases.llama("floats", FORMAT, "header", bend(format!("[0.0,{first}.0]")));
    cases.llama("three", FORMAT, "header", bend(format!("[0,{first},0]")));
    cases.llama("a hole at the start", FORMAT, "hole", bend(format!("[4,{first}]")));
    cases.llama("shorter", FORMAT, "hole", bend(format!("[0,{}]", first - 4)));
    cases.llama("overlap", FORMAT, "overlap", |folder| {
        folder.header(|header| header.replacen(&to, &format!("[{},", first - 4), 1));
    });
    cases.llama("bytes at the end", FORMAT, "no tensor", |folder| {
        let mut bytes = folder.weights.bytes();
        bytes.extend(b"PK\x05\x06 a zip archive");
        folder.put("model.safetensors", bytes);
    });

    cases.class("st-duplicate");
    cases.llama("a tensor", FORMAT, "twice", |folder| {
        let again = folder.weights.tensors[1].clone();
        folder.weights.tensors.push(again);
    });
    cases.llama(
        "a field",
        FORMAT,
        "twice",
        swap("\"dtype\":\"F32\"", "\"dtype\":\"F32\",\"dtype\":\"F32\""),
    );
    cases.llama("metadata", FORMAT, "twice", |folder| {
        folder.header(|header| header.replacen('{', r#"{"__metadata__":{},"__metadata__":{},"#, 1));
    });
    cases.llama("a key of the metadata", FORMAT, "twice", |folder| {
        folder.header(|header| header.replacen('{', r#"{"__metadata__":{"a":"","a":""},"#, 1));
    });

    cases.class("st-fields");
    cases.llama("unknown dtype", FORMAT, "F128", swap("F32", "F128"));
    cases.llama("dtype of another size", FORMAT, "bytes", swap("F32", "F16"));
    cases.llama("dtype a number", FORMAT, "header", swap("\"F32\"", "32"));
    cases.llama("unknown field", FORMAT, "not known", swap("\"dtype\"", "\"x\":1,\"dtype\""));
    cases.llama("no shape", FORMAT, "shape", |folder| {
        let shape = format!("\"shape\":[{}, {WIDTH}],", bpe_tokens().len());
        folder.header(|header| header.replacen(&shape, "", 1));
    });
    cases.llama("whole numbers as weights", WEIGHTS, "I32", swap("F32", "I32"));
    cases.llama("metadata of numbers", FORMAT, "string", |folder| {
        folder.header(|header| header.replacen('{', r#"{"__metadata__":{"a":1},"#, 1));
    });
    let rows = bpe_tokens().len();
    let shape = format!("[{rows}, {WIDTH}]");
    for (name, with, word) in [
        ("shape negative", "[-1, 4]", "header"),
        ("shape of floats", "[1.5]", "header"),
        ("shape wraps", "[4294967296, 4294967296]", "memory"),
        ("shape wraps to the right size", "[4611686018427396224, 4]", ""),
        ("shape of 100,000", "many", "limit"),
        ("shape of nothing", "[0]", "bytes"),
        ("shape a text", "\"x\"", "header"),
    ] {
        let shape = shape.clone();
        let with =
            if with == "many" { format!("[{}1]", "1,".repeat(100_000)) } else { with.into() };
        cases.llama(name, FORMAT, word, move |folder| {
            folder.header(|header| header.replacen(&shape, &with, 1));
        });
    }

    cases.class("st-index");
    let index = "model.safetensors.index.json";
    let mut shard =
        |name: &str, codes: &'static [Code], word: &'static str, bend: &dyn Fn(&mut Value)| {
            cases.folder(name, Want::Refused(codes, word), sharded_folder, |folder| {
                folder.edit(index, |value| bend(value));
            });
        };
    for place in [
        "../model-00001-of-00002.safetensors",
        "/etc/passwd",
        "/model-00001-of-00002.safetensors",
        "a/model-00001-of-00002.safetensors",
        "a\\b.safetensors",
        "C:\\b.safetensors",
        "..",
        ".",
        "",
        "model.safetensors\0",
        "model.safetensors.index.json",
        "tokenizer.json",
    ] {
        shard(&format!("names {place:?}"), FORMAT, "plain name", &|value| {
            value["weight_map"]["lm_head.weight"] = json!(place);
        });
    }
    shard("a shard that is not there", IO, "nothing.safetensors", &|value| {
        value["weight_map"]["lm_head.weight"] = json!("nothing.safetensors");
    });
    shard("a tensor that its shard lacks", FORMAT, "lm_head.weight", &|value| {
        value["weight_map"]["lm_head.weight"] = json!("model-00001-of-00002.safetensors");
    });
    shard("a tensor that no shard has", FORMAT, "ghost.weight", &|value| {
        value["weight_map"]["ghost.weight"] = json!("model-00001-of-00002.safetensors");
    });
    shard("names a number", FORMAT, "string", &|value| {
        value["weight_map"]["lm_head.weight"] = json!(1)
    });
    shard("an empty map", FORMAT, "empty", &|value| value["weight_map"] = json!({}));
    shard("a map that is a list", FORMAT, "weight_map", &|value| value["weight_map"] = json!([]));
    shard("no map", FORMAT, "weight_map", &|value| *value = json!({"metadata": {}}));
    shard("a list", FORMAT, "weight_map", &|value| *value = json!([1]));
    let mut index_text = |name: &str, word: &'static str, text: String| {
        cases.folder(name, Want::Refused(FORMAT, word), sharded_folder, |folder| {
            folder.put(index, text)
        });
    };
    index_text("not JSON", "JSON", "{".into());
    index_text("empty", "JSON", String::new());
    index_text("deep", "JSON", format!("{{\"metadata\":{}", "[".repeat(1 << 20)));
    index_text(
        "a tensor twice",
        "twice",
        r#"{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}"#.into(),
    );
    cases.folder(
        "a tensor in two shards",
        Want::Refused(FORMAT, "also in"),
        sharded_folder,
        |folder| {
            let mut extra = Safetensors::default();
            extra.add("lm_head.weight", &[bpe_tokens().len(), WIDTH]);
            extra.add("extra.weight", &[1]);
            folder.put("model-00003.safetensors", extra.bytes());
            folder.edit(index, |value| {
                value["weight_map"]["extra.weight"] = json!("model-00003.safetensors");
            });
        },
    );
    #[cfg(unix)]
    cases.add("shards that link to each other", Want::Refused(IO, "safetensors"), |path| {
        let folder = sharded_folder().write(path).expect("a folder of files");
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        for (from, to) in [(names[0], names[1]), (names[1], names[0])] {
            _ = std::fs::remove_file(folder.join(from));
            std::os::unix::fs::symlink(to, folder.join(from)).expect("a link");
        }
        folder
    });

    cases.class("folder-weights");
    for name in ["model.norm.weight", "model.layers.0.mlp.up_proj.weight", "lm_head.weight"] {
        cases.llama(&format!("{name} missing"), WEIGHTS, name, |folder| {
            folder.weights.tensors.retain(|tensor| tensor.0 != name);
        });
        cases.llama(&format!("{name} misshapen"), WEIGHTS, name, |folder| {
            let tensor = folder.weights.tensors.iter_mut().find(|tensor| tensor.0 == name);
            tensor.expect("a tensor").2.insert(0, 1);
        });
    }
    cases.llama("one that nobody asks for", WEIGHTS, "model.layers.0.strange.weight", |folder| {
        folder.weights.add("model.layers.0.strange.weight", &[4]);
    });
    cases.llama("another block", WEIGHTS, "model.layers.7.mlp.up_proj.weight", |folder| {
        folder.weights.add("model.layers.7.mlp.up_proj.weight", &[FFN, WIDTH]);
    });
    cases.bert("a bias missing", WEIGHTS, "encoder.layer.0.output.dense.bias", |folder| {
        folder.weights.tensors.retain(|tensor| tensor.0 != "encoder.layer.0.output.dense.bias");
    });
    cases.bert("positions fewer than said", WEIGHTS, "position_embeddings", |folder| {
        folder.edit("config.json", |value| value["max_position_embeddings"] = json!(512));
    });
    cases.bert("no weights at all", IO, "safetensors", |folder| folder.weights.tensors.clear());
}

fn configs(cases: &mut Cases) {
    cases.class("config-json");
    let put = |text: Vec<u8>| move |folder: &mut Folder| folder.put("config.json", text);
    cases.llama("missing", IO, "config.json", |folder| _ = folder.files.remove("config.json"));
    cases.llama("empty", FORMAT, "config.json", put(vec![]));
    cases.llama("not JSON", FORMAT, "config.json", put(b"model_type: llama".to_vec()));
    cases.llama("a list", FORMAT, "config.json", put(b"[]".to_vec()));
    cases.llama("cut", FORMAT, "config.json", put(br#"{"model_type":"lla"#.to_vec()));
    cases.llama("not UTF-8", FORMAT, "config.json", put(b"{\"model_type\":\"\xff\"}".to_vec()));
    cases.llama("deep lists", FORMAT, "config.json", put(vec![b'['; 1 << 20]));
    cases.llama("deep objects", FORMAT, "config.json", put("{\"a\":".repeat(1 << 18).into()));
    cases.llama("20 MB", FORMAT, "limit", put(vec![b' '; 20 << 20]));
    cases.llama(
        "UTF-16",
        FORMAT,
        "config.json",
        put("{}".encode_utf16().flat_map(u16::to_le_bytes).collect()),
    );

    cases.class("config-values");
    let mut value =
        |key: &'static str, codes: &'static [Code], word: &'static str, value: Value| {
            let name = format!("{key} {value}");
            cases.llama(&name, codes, word, |folder| {
                folder.edit("config.json", |config| config[key] = value)
            });
        };
    value("model_type", CONFIG, "model_type", json!(7));
    value("model_type", CONFIG, "model_type", json!(null));
    value("model_type", UNSUPPORTED, "foo", json!("foo"));
    value("model_type", UNSUPPORTED, "known", json!(""));
    for wrong in
        [json!("32"), json!(-1), json!(1.5), json!([32]), json!({}), json!(true), json!(1e300)]
    {
        value("hidden_size", CONFIG, "hidden_size", wrong);
    }
    value("hidden_size", CONFIG, "hidden_size", json!(null));
    value("hidden_size", CONFIG, "hidden_size", json!(0));
    value("hidden_size", CONFIG, "", json!(u64::MAX));
    value("num_hidden_layers", CONFIG, "num_hidden_layers", json!(0));
    value("num_hidden_layers", CONFIG, "num_hidden_layers", json!(u64::MAX));
    value("num_attention_heads", CONFIG, "num_attention_heads", json!(0));
    value("num_attention_heads", CONFIG, "num_attention_heads", json!(3));
    value("num_key_value_heads", CONFIG, "num_key_value_heads", json!(0));
    value("num_key_value_heads", CONFIG, "num_key_value_heads", json!(3));
    value("intermediate_size", CONFIG, "intermediate_size", json!(0));
    value("intermediate_size", CONFIG, "intermediate_size", json!(1_u64 << 60));
    value("max_position_embeddings", CONFIG, "max_position_embeddings", json!(0));
    value("max_position_embeddings", CONFIG, "max_position_embeddings", json!(1_u64 << 60));
    value("rms_norm_eps", CONFIG, "rms_norm_eps", json!(-1));
    value("rms_norm_eps", CONFIG, "rms_norm_eps", json!("nan"));
    value("rms_norm_eps", CONFIG, "rms_norm_eps", json!(1e30));
    value("rope_theta", CONFIG, "rope_theta", json!(0));
    value("rope_theta", CONFIG, "rope_theta", json!(-1e4));
    value("rope_scaling", CONFIG, "rope_scaling", json!("linear"));
    value("rope_scaling", CONFIG, "factor", json!({"rope_type": "linear"}));
    value("rope_scaling", CONFIG, "rope_scaling", json!({"rope_type": "linear", "factor": 0}));
    value("rope_scaling", UNSUPPORTED, "warp", json!({"rope_type": "warp", "factor": 2}));
    value("hidden_act", UNSUPPORTED, "swash", json!("swash"));
    value("hidden_act", CONFIG, "hidden_act", json!(3));
    value("head_dim", CONFIG, "head_dim", json!(0));
    value("head_dim", CONFIG, "", json!(u64::MAX));
    value("tie_word_embeddings", CONFIG, "tie_word_embeddings", json!("yes"));
    value("partial_rotary_factor", CONFIG, "partial_rotary_factor", json!(7.5));
    value("num_hidden_layers", WEIGHTS, "missing", json!(4096));
    for key in [
        "model_type",
        "hidden_size",
        "num_hidden_layers",
        "num_attention_heads",
        "intermediate_size",
    ] {
        cases.llama(&format!("{key} missing"), CONFIG, key, |folder| {
            folder.edit("config.json", |config| {
                _ = config.as_object_mut().map(|map| map.remove(key))
            });
        });
    }
    cases.bert("other positions", UNSUPPORTED, "relative_key", |folder| {
        folder.edit("config.json", |config| {
            config["position_embedding_type"] = json!("relative_key")
        });
    });

    cases.class("sentence-modules");
    let bert = |cases: &mut Cases,
                name: &str,
                codes,
                word,
                file: &'static str,
                bend: &dyn Fn(&mut Value)| {
        cases.bert(name, codes, word, |folder| folder.edit(file, |value| bend(value)));
    };
    for place in ["../", "..", "../outside", "/etc", "a/b", "a\\b"] {
        bert(cases, &format!("path {place:?}"), FORMAT, "modules.json", "modules.json", &|value| {
            value[1]["path"] = json!(place);
        });
    }
    bert(cases, "an object", FORMAT, "modules.json", "modules.json", &|value| *value = json!({}));
    bert(cases, "no type", FORMAT, "type", "modules.json", &|value| value[1] = json!({"path": ""}));
    bert(cases, "entries of numbers", FORMAT, "modules.json", "modules.json", &|value| {
        *value = json!([1, 2])
    });
    bert(cases, "unknown module", UNSUPPORTED, "CNN", "modules.json", &|value| {
        value[1]["type"] = json!("sentence_transformers.models.CNN");
    });
    bert(cases, "folder not there", IO, "config.json", "modules.json", &|value| {
        value[1]["path"] = json!("9_Pooling")
    });
    bert(cases, "transformer not there", IO, "config.json", "modules.json", &|value| {
        value[0]["path"] = json!("0_Transformer");
    });
    cases.bert("deep", FORMAT, "modules.json", |folder| {
        folder.put("modules.json", vec![b'['; 1 << 20])
    });
    let file = "sentence_bert_config.json";
    bert(cases, "length a text", CONFIG, "max_seq_length", file, &|value| {
        value["max_seq_length"] = json!("x")
    });
    bert(cases, "length 0", CONFIG, "max_seq_length", file, &|value| {
        value["max_seq_length"] = json!(0)
    });
    bert(cases, "length below 0", CONFIG, "max_seq_length", file, &|value| {
        value["max_seq_length"] = json!(-1)
    });
    cases.bert("prompts of numbers", CONFIG, "prompts", |folder| {
        folder.json("config_sentence_transformers.json", &json!({"prompts": {"query": 1}}));
    });
    cases.bert("a default prompt that is not there", CONFIG, "default_prompt_name", |folder| {
        let value = json!({"prompts": {}, "default_prompt_name": "query"});
        folder.json("config_sentence_transformers.json", &value);
    });

    cases.class("sentence-pooling");
    let file = "1_Pooling/config.json";
    bert(cases, "unknown", UNSUPPORTED, "median", file, &|value| {
        value["pooling_mode"] = json!("median")
    });
    bert(cases, "a number", CONFIG, "pooling_mode", file, &|value| {
        value["pooling_mode"] = json!(1)
    });
    bert(cases, "numbers", CONFIG, "pooling_mode", file, &|value| {
        value["pooling_mode"] = json!([1, 2])
    });
    bert(cases, "a flag of text", CONFIG, "pooling_mode_cls_token", file, &|value| {
        value["pooling_mode_cls_token"] = json!("no");
    });
    cases.bert("not JSON", FORMAT, "config.json", move |folder| folder.put(file, "{"));

    cases.class("sentence-dense");
    let file = "2_Dense/config.json";
    bert(
        cases,
        "inputs of another width",
        &[Code::Format, Code::Config, Code::Weights],
        "",
        file,
        &|value| {
            value["in_features"] = json!(WIDTH * 2);
        },
    );
    bert(cases, "outputs 0", CONFIG, "out_features", file, &|value| {
        value["out_features"] = json!(0)
    });
    bert(cases, "outputs 2^60", FORMAT, "linear", file, &|value| {
        value["out_features"] = json!(1_u64 << 60)
    });
    bert(cases, "no inputs", CONFIG, "in_features", file, &|value| {
        *value = json!({"out_features": DENSE})
    });
    bert(cases, "unknown activation", UNSUPPORTED, "Swash", file, &|value| {
        value["activation_function"] = json!("torch.nn.modules.activation.Swash");
    });
    let mut dense =
        |name: &str, codes: &'static [Code], word: &'static str, tensors: &[(&str, &[usize])]| {
            let mut weights = Safetensors::default();
            tensors.iter().for_each(|(name, shape)| weights.add(name, shape));
            cases.bert(name, codes, word, |folder| {
                folder.put("2_Dense/model.safetensors", weights.bytes())
            });
        };
    dense(
        "transposed",
        FORMAT,
        "linear.weight",
        &[("linear.weight", &[WIDTH, DENSE]), ("linear.bias", &[DENSE])],
    );
    dense("no bias", FORMAT, "linear.bias", &[("linear.weight", &[DENSE, WIDTH])]);
    dense("no weight", FORMAT, "linear.weight", &[("linear.bias", &[DENSE])]);
    dense(
        "a bias too long",
        FORMAT,
        "linear.bias",
        &[("linear.weight", &[DENSE, WIDTH]), ("linear.bias", &[DENSE + 1])],
    );
    // Consistent in itself, and of another width than the model.
    cases.bert(
        "made for another model",
        &[Code::Format, Code::Config, Code::Weights],
        "",
        |folder| {
            folder.edit("2_Dense/config.json", |value| value["in_features"] = json!(WIDTH * 2));
            let mut weights = Safetensors::default();
            weights.add("linear.weight", &[DENSE, WIDTH * 2]);
            weights.add("linear.bias", &[DENSE]);
            folder.put("2_Dense/model.safetensors", weights.bytes());
        },
    );
    cases.bert(
        "whole numbers as weights",
        &[Code::Format, Code::Weights, Code::Unsupported],
        "",
        |folder| {
            let mut weights = Safetensors::default();
            weights.add("linear.weight", &[DENSE, WIDTH]);
            weights.add("linear.bias", &[DENSE]);
            weights.tensors[0].1 = "I32";
            folder.put("2_Dense/model.safetensors", weights.bytes());
        },
    );
    cases.bert("no file", IO, "2_Dense", |folder| {
        _ = folder.files.remove("2_Dense/model.safetensors")
    });

    cases.class("generation-config");
    let mut generation = |name: &str, want: Want, text: &'static str| {
        cases.folder(name, want, llama_folder, |folder| folder.put("generation_config.json", text));
    };
    generation("not JSON", Want::Refused(FORMAT, "generation_config.json"), "{");
    generation("a list", Want::Refused(FORMAT, "generation_config.json"), "[]");
    let codes = &[Code::Format, Code::Config, Code::Argument];
    generation("an end that is a text", Want::Either(codes), r#"{"eos_token_id":"</s>"}"#);
    generation("an end below 0", Want::Either(codes), r#"{"eos_token_id":-1}"#);
    generation(
        "temperature below 0",
        Want::Either(codes),
        r#"{"do_sample":true,"temperature":-5}"#,
    );
    generation(
        "a top_k of 2^60",
        Want::Either(codes),
        r#"{"do_sample":true,"top_k":1152921504606846976}"#,
    );
}

fn tokenizers(cases: &mut Cases) {
    let refused = |word: &'static str| Want::Refused(VOCABULARY, word);
    let either = Want::Either(VOCABULARY);

    cases.class("tokenizer-json");
    let put = |text: Vec<u8>| move |folder: &mut Folder| folder.put("tokenizer.json", text);
    cases.llama("empty", FORMAT, "tokenizer.json", put(vec![]));
    cases.llama("not JSON", FORMAT, "tokenizer.json", put(b"hello".to_vec()));
    cases.llama("a list", VOCABULARY, "tokenizer.json", put(b"[]".to_vec()));
    cases.llama("no model", VOCABULARY, "model", put(b"{}".to_vec()));
    cases.llama("deep lists", FORMAT, "tokenizer.json", put(vec![b'['; 1 << 20]));
    cases.llama("deep objects", FORMAT, "tokenizer.json", put("{\"a\":".repeat(1 << 18).into()));
    cases.llama(
        "not UTF-8",
        FORMAT,
        "tokenizer.json",
        put(b"{\"model\":{\"type\":\"\xff\"}}".to_vec()),
    );
    cases.llama(
        "a lone surrogate",
        VOCABULARY,
        "tokenizer.json",
        put(br#"{"model":{"type":"\ud800"}}"#.to_vec()),
    );
    cases.llama("cut", FORMAT, "tokenizer.json", |folder| {
        let text = bpe_json().to_string();
        folder.put("tokenizer.json", &text.as_bytes()[..text.len() / 2]);
    });

    cases.class("tokenizer-model");
    let set = |pointer: &'static str, with: Value| {
        move |value: &mut Value| *value.pointer_mut(pointer).expect("a place") = with.clone()
    };
    let token = |name: &'static str, id: Value| {
        move |value: &mut Value| value["model"]["vocab"][name] = id.clone()
    };
    cases.tokenizer("unknown", refused("Telepathy"), set("/model/type", json!("Telepathy")));
    cases.tokenizer("no vocabulary", refused("vocab"), |value| {
        _ = value["model"].as_object_mut().map(|model| model.remove("vocab"));
    });
    cases.tokenizer(
        "a vocabulary of numbers",
        refused("vocab"),
        set("/model/vocab", json!([1, 2])),
    );
    cases.tokenizer("an id of text", refused(""), token("a", json!("7")));
    cases.tokenizer("an id below 0", refused(""), token("a", json!(-1)));
    cases.tokenizer("an id of 2^32", refused(""), token("a", json!(1_u64 << 32)));
    cases.tokenizer("an id of 2^32 - 1", refused(""), token("a", json!(u32::MAX)));
    cases.tokenizer("an id of 2^31", refused(""), token("a", json!(1_u32 << 31)));
    cases.tokenizer("an id twice", either, token("a", json!(98)));
    cases.tokenizer(
        "an unknown token that is not there",
        either,
        set("/model/unk_token", json!("<nope>")),
    );
    cases.tokenizer("dropout of NaN", either, set("/model/dropout", json!("NaN")));

    cases.class("tokenizer-merges");
    let merges = |merges: Value| set("/model/merges", merges);
    cases.tokenizer(
        "of a token that is not there",
        refused("merge"),
        merges(json!([["zz", "yy"]])),
    );
    cases.tokenizer("whose product is not there", refused("merge"), merges(json!([["x", "y"]])));
    cases.tokenizer(
        "longer than any token",
        refused("merge"),
        merges(json!([["a".repeat(100_000), "a"]])),
    );
    cases.tokenizer("of one part", refused("merge"), merges(json!([["a"]])));
    cases.tokenizer("of three parts", refused("merge"), merges(json!([["a", "b", "c"]])));
    cases.tokenizer("a text without a space", refused("merge"), merges(json!(["th"])));
    cases.tokenizer("of numbers", refused("merge"), merges(json!([[1, 2]])));
    cases.tokenizer("an object", refused("merge"), merges(json!({"a": "b"})));
    cases.tokenizer("a prefix longer than a part", either, |value| {
        value["model"]["continuing_subword_prefix"] = json!("#".repeat(100));
    });

    cases.class("tokenizer-regex");
    let split = |pattern: Value| {
        let with =
            json!({"type": "Split", "pattern": pattern, "behavior": "Isolated", "invert": false});
        move |value: &mut Value| value["pre_tokenizer"] = with.clone()
    };
    cases.tokenizer("catastrophic", either, split(json!({"Regex": "(a+)+$"})));
    cases.tokenizer("catastrophic choices", either, split(json!({"Regex": "(a|aa|a?)+b"})));
    cases.tokenizer("a back-reference", either, split(json!({"Regex": "(a*)(a*)(a*)\\1\\2\\3b"})));
    cases.tokenizer("not closed", refused(""), split(json!({"Regex": "("})));
    cases.tokenizer("deep", refused(""), split(json!({"Regex": "(".repeat(100_000)})));
    cases.tokenizer(
        "deep and closed",
        either,
        split(json!({"Regex": format!("{}a{}", "(".repeat(20_000), ")".repeat(20_000))})),
    );
    cases.tokenizer("a count of 10^9", either, split(json!({"Regex": "a{1000000000}"})));
    cases.tokenizer(
        "counts of counts",
        either,
        split(json!({"Regex": "(((a{1,1000}){1,1000}){1,1000}){1,1000}"})),
    );
    cases.tokenizer("empty", either, split(json!({"Regex": ""})));
    cases.tokenizer("an empty text", either, split(json!({"String": ""})));
    cases.tokenizer("a number", refused(""), split(json!(7)));

    cases.class("tokenizer-normalizer");
    let normalizer =
        |normalizer: Value| move |value: &mut Value| value["normalizer"] = normalizer.clone();
    let replace = |from: &str, to: String| {
        let pattern = json!({"String": from});
        json!({"type": "Replace", "pattern": pattern, "content": to})
    };
    cases.tokenizer("unknown", refused("Magic"), normalizer(json!({"type": "Magic"})));
    cases.tokenizer("a number", refused(""), normalizer(json!(3)));
    cases.tokenizer("replaces nothing", either, normalizer(replace("", "x".into())));
    let growing: Vec<Value> = (0..12).map(|_| replace("a", "a".repeat(16))).collect();
    cases.tokenizer(
        "grows",
        either,
        normalizer(json!({"type": "Sequence", "normalizers": growing})),
    );
    cases.tokenizer("grows at once", either, normalizer(replace("a", "b".repeat(1 << 20))));
    cases.tokenizer(
        "prepends 1 MB",
        either,
        normalizer(json!({"type": "Prepend", "prepend": "x".repeat(1 << 20)})),
    );
    let charsmap =
        |map: &str| normalizer(json!({"type": "Precompiled", "precompiled_charsmap": map}));
    cases.tokenizer("an empty map", either, charsmap(""));
    cases.tokenizer("a map of 2^32 - 1", refused(""), charsmap("/////w=="));
    cases.tokenizer("a map cut short", refused(""), charsmap("AAQAAAAA"));
    cases.tokenizer("a map that is no base64", refused(""), charsmap("!!!!"));
    let mut deep = json!({"type": "Lowercase"});
    for _ in 0..40 {
        deep = json!({"type": "Sequence", "normalizers": [deep]});
    }
    cases.tokenizer("sequences of sequences", either, normalizer(deep));
    let many: Vec<Value> = (0..50_000).map(|_| json!({"type": "NFC"})).collect();
    cases.tokenizer(
        "50,000 steps",
        either,
        normalizer(json!({"type": "Sequence", "normalizers": many})),
    );

    cases.class("tokenizer-parts");
    let part =
        |part: &'static str, with: Value| move |value: &mut Value| value[part] = with.clone();
    cases.tokenizer(
        "pieces of length 0",
        either,
        part("pre_tokenizer", json!({"type": "FixedLength", "length": 0})),
    );
    cases.tokenizer(
        "unknown splitter",
        refused("Saw"),
        part("pre_tokenizer", json!({"type": "Saw"})),
    );
    cases.tokenizer("unknown decoder", either, part("decoder", json!({"type": "Oracle"})));
    cases.tokenizer(
        "strips 2^63",
        either,
        part(
            "decoder",
            json!({"type": "Strip", "content": "a", "start": 1_u64 << 63, "stop": u64::MAX}),
        ),
    );
    cases.tokenizer(
        "unknown ending",
        refused("Coda"),
        part("post_processor", json!({"type": "Coda"})),
    );
    let template = |pieces: Value, special: Value| {
        part(
            "post_processor",
            json!({
                "type": "TemplateProcessing", "single": pieces, "pair": [],
                "special_tokens": special
            }),
        )
    };
    let bos = json!([
        {"SpecialToken": {"id": "[BOS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    ]);
    cases.tokenizer(
        "a template's token that is not there",
        refused("[BOS]"),
        template(bos.clone(), json!({})),
    );
    let ids = |ids: Value| json!({"[BOS]": {"id": "[BOS]", "ids": ids, "tokens": ["[BOS]"]}});
    cases.tokenizer(
        "a template's id beyond the vocabulary",
        refused(""),
        template(bos.clone(), ids(json!([4_000_000_000_u32]))),
    );
    cases.tokenizer(
        "a template's id below 0",
        refused(""),
        template(bos.clone(), ids(json!([-1]))),
    );
    cases.tokenizer(
        "a template's ids that are not its tokens",
        either,
        template(bos, ids(json!([]))),
    );
    let many: Vec<Value> = vec![json!({"Sequence": {"id": "A", "type_id": 0}}); 10_000];
    cases.tokenizer("a template of 10,000 texts", either, template(json!(many), json!({})));
    let truncation = |max: u64, stride: u64| {
        part(
            "truncation",
            json!({
                "max_length": max, "strategy": "LongestFirst", "stride": stride,
                "direction": "Right"
            }),
        )
    };
    cases.tokenizer("a stride over the length", either, truncation(4, 9));
    cases.tokenizer("a length of 0", either, truncation(0, 0));
    cases.tokenizer("a length of 2^64 - 1", either, truncation(u64::MAX, u64::MAX));
    let padding = |strategy: Value, multiple: Value| {
        part(
            "padding",
            json!({
                "strategy": strategy, "direction": "Right", "pad_to_multiple_of": multiple,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "!"
            }),
        )
    };
    cases.tokenizer("padding to 2^40", either, padding(json!({"Fixed": 1_u64 << 40}), json!(null)));
    cases.tokenizer(
        "padding to multiples of 2^40",
        either,
        padding(json!("BatchLongest"), json!(1_u64 << 40)),
    );
    cases.tokenizer("padding to multiples of 0", either, padding(json!("BatchLongest"), json!(0)));

    cases.class("tokenizer-added");
    let added = |id: Value, content: Value| {
        part(
            "added_tokens",
            json!([{
                "id": id, "content": content, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true
            }]),
        )
    };
    cases.tokenizer("empty", either, added(json!(260), json!("")));
    cases.tokenizer("a number", refused(""), added(json!(260), json!(7)));
    cases.tokenizer("an id below 0", refused(""), added(json!(-1), json!("<x>")));
    cases.tokenizer("an id of 2^32 - 1", refused(""), added(json!(u32::MAX), json!("<x>")));
    cases.tokenizer("an id of another token", either, added(json!(3), json!("<x>")));
    cases.tokenizer("1 MB", either, added(json!(260), json!("x".repeat(1 << 20))));
    cases.tokenizer("no list", refused("added_tokens"), part("added_tokens", json!({"a": 1})));

    cases.class("tokenizer-wordpiece");
    let mut piece = |name: &str, want: Want, bend: &dyn Fn(&mut Value)| {
        cases.tokenizer_of(name, want, bert_folder, |value| bend(&mut value["model"]));
    };
    piece("words of 2^60 letters", either, &|model| {
        model["max_input_chars_per_word"] = json!(1_u64 << 60)
    });
    piece("words of 0 letters", either, &|model| model["max_input_chars_per_word"] = json!(0));
    piece("words below 0", refused(""), &|model| model["max_input_chars_per_word"] = json!(-1));
    piece("no unknown token", refused(""), &|model| model["unk_token"] = json!("[NOPE]"));
    piece("an empty vocabulary", refused(""), &|model| model["vocab"] = json!({}));
    piece("an empty prefix", either, &|model| model["continuing_subword_prefix"] = json!(""));

    cases.class("tokenizer-unigram");
    let mut unigram = |name: &str, want: Want, vocab: Value, unk: Value| {
        cases.tokenizer(name, want, move |value| {
            value["model"] = json!({
                "type": "Unigram", "unk_id": unk, "vocab": vocab, "byte_fallback": false
            });
            value["added_tokens"] = json!([]);
            value["pre_tokenizer"] = json!({
                "type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": "always",
                "split": true
            });
            value["post_processor"] = json!(null);
            value["decoder"] = value["pre_tokenizer"].clone();
        });
    };
    unigram("no tokens", either, json!([]), json!(null));
    unigram("an unknown id beyond the end", refused(""), json!([["a", -1.0]]), json!(9));
    unigram("scores of text", refused(""), json!([["a", "x"]]), json!(0));
    unigram(
        "scores of 1e300",
        either,
        json!([["<unk>", 0.0], ["a", 1e300], ["b", -1e300]]),
        json!(0),
    );
    unigram("an empty token", either, json!([["<unk>", 0.0], ["", -1.0]]), json!(0));
    unigram("entries of one", refused(""), json!([["a"]]), json!(0));
    unigram("a token twice", either, json!([["<unk>", 0.0], ["a", -1.0], ["a", -2.0]]), json!(0));

    cases.class("tokenizer-config");
    let mut config = |name: &str, want: Want, text: Vec<u8>| {
        cases.folder(name, want, llama_folder, |folder| folder.put("tokenizer_config.json", text));
    };
    config("not JSON", Want::Refused(FORMAT, "tokenizer_config.json"), b"{".to_vec());
    config("a list", Want::Refused(FORMAT, "tokenizer_config.json"), b"[]".to_vec());
    config("deep", Want::Refused(FORMAT, "tokenizer_config.json"), vec![b'['; 1 << 20]);
    config("a length of text", either, br#"{"model_max_length":"x"}"#.to_vec());
    config("a length of 1e30", either, br#"{"model_max_length":1e30}"#.to_vec());
    config("a length below 0", either, br#"{"model_max_length":-5}"#.to_vec());
}

fn special_files(cases: &mut Cases) {
    cases.class("not-a-file");
    cases.add("nothing there", Want::Refused(IO, "nothing.gguf"), |folder| {
        folder.join("nothing.gguf")
    });
    cases.add("an empty folder", Want::Refused(IO, "config.json"), Path::to_path_buf);
    cases.add("a path with a zero byte", Want::Refused(IO, "read"), |folder| folder.join("a\0b"));
    cases.add("a folder named as a file", Want::Refused(IO, "config.json"), |folder| {
        let path = folder.join("model.gguf");
        std::fs::create_dir(&path).expect("a folder");
        path
    });
    cases.add(
        "weights without their folder",
        Want::Refused(FORMAT, "model.safetensors"),
        |folder| put(folder, "model.safetensors", &llama_folder().weights.bytes()),
    );
    for name in ["config.json", "tokenizer.json", "model.safetensors", "modules.json"] {
        cases.add(
            format!("{name} is a folder"),
            Want::Refused(&[Code::Format, Code::Io], name),
            move |path| {
                let folder = bert_folder().write(path).expect("a folder of files");
                std::fs::remove_file(folder.join(name)).expect("a file");
                std::fs::create_dir(folder.join(name)).expect("a folder");
                folder
            },
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::symlink;
        cases.add("/dev/zero", Want::Refused(FORMAT, "device"), |_| "/dev/zero".into());
        cases.add("/dev/null", Want::Refused(FORMAT, "device"), |_| "/dev/null".into());
        cases.add("a pipe", Want::Refused(FORMAT, "pipe"), |folder| {
            pipe(&folder.join("model.gguf"))
        });
        for name in [
            "config.json",
            "tokenizer.json",
            "tokenizer_config.json",
            "generation_config.json",
            "model.safetensors",
            "modules.json",
            "2_Dense/model.safetensors",
        ] {
            cases.add(format!("{name} is a pipe"), Want::Refused(FORMAT, "pipe"), move |path| {
                let folder = bert_folder().write(path).expect("a folder of files");
                _ = std::fs::remove_file(folder.join(name));
                pipe(&folder.join(name));
                folder
            });
            cases.add(
                format!("{name} is /dev/zero"),
                Want::Refused(FORMAT, "device"),
                move |path| {
                    let folder = bert_folder().write(path).expect("a folder of files");
                    _ = std::fs::remove_file(folder.join(name));
                    symlink("/dev/zero", folder.join(name)).expect("a link");
                    folder
                },
            );
            cases.add(format!("{name} links to itself"), Want::Refused(IO, name), move |path| {
                let folder = bert_folder().write(path).expect("a folder of files");
                _ = std::fs::remove_file(folder.join(name));
                symlink(folder.join(name), folder.join(name)).expect("a link");
                folder
            });
        }
        for (name, words) in [("a pipe", "pipe"), ("/dev/zero", "device")] {
            cases.add(
                format!("a tokenizer that is {name}"),
                Want::Refused(FORMAT, words),
                move |folder| {
                    if name.starts_with('/') {
                        name.into()
                    } else {
                        pipe(&folder.join("tokenizer.json"))
                    }
                },
            );
            if let Some(last) = cases.all.last_mut() {
                last.door = Door::Tokenizer;
            }
        }
    }
}

/// Makes a named pipe; opening one without care waits for ever.
#[cfg(unix)]
fn pipe(path: &Path) -> PathBuf {
    let made = std::process::Command::new("mkfifo").arg(path).status();
    assert!(made.is_ok_and(|status| status.success()), "no pipe could be made");
    path.to_path_buf()
}

/// Opens a model that must open, and computes with it.
fn computes(path: &Path, width: usize) {
    let model = Model::options().device(Device::Cpu).open(path).expect("a valid model opens");
    let vectors = model.embed(&["a cat sat", "the cat"]).expect("a valid model embeds");
    assert_eq!(vectors.as_slice().len(), 2 * width);
    assert!(vectors.as_slice().iter().all(|value| value.is_finite()));
    assert!(vectors.as_slice().iter().any(|value| *value != 0.0));
    let output = model.forward(&[[1_u32, 2, 3]]).expect("a valid model computes");
    assert!(output.as_slice().iter().all(|value| value.is_finite()));
    assert!(output.as_slice().iter().any(|value| *value != 0.0));
    let tokenizer = model.tokenizer().expect("a valid model has a tokenizer");
    assert!(!tokenizer.encode("a cat sat", true).expect("a text is encoded").ids.is_empty());
    use_tokenizer(tokenizer);
}

/// Files of word vectors: those that their own libraries wrote, bent.
fn words(cases: &mut Cases) {
    let read = |name: &str| {
        let path = emberform_tests::reference("words").join(name);
        std::fs::read(path).expect("a recorded file")
    };
    let first = cases.all.len();
    let put_words = |cases: &mut Cases, name: &str, word: &'static str, bytes: Vec<u8>| {
        cases.add(name, Want::Refused(FORMAT, word), move |folder| put(folder, "words", &bytes));
    };
    let joined = |parts: &[&[u8]]| parts.concat();

    cases.class("words-header");
    let rest = |name: &str| {
        let bytes = read(name);
        let line = bytes.iter().position(|byte| *byte == b'\n').expect("a line");
        bytes[line + 1..].to_vec()
    };
    for (kind, file) in [("binary", "word2vec.bin"), ("text", "word2vec.txt")] {
        let rest = rest(file);
        let mut header = |name: &str, line: &str, word| {
            let bytes = joined(&[line.as_bytes(), &rest]);
            put_words(cases, &format!("{kind}, {name}"), word, bytes);
        };
        header("no word", "0 17\n", "");
        header("no width", "30 0\n", "want fewer than");
        header("width of 2^32", "30 4294967296\n", "want fewer than");
        header("words of 2^63", "9223372036854775808 17\n", "want fewer than");
        header("words of 2^32", "4294967296 17\n", "want fewer than");
        header("words of 2^32 - 2", "4294967294 17\n", "");
        header("digits without end", &format!("{} 17\n", "9".repeat(3000)), "want fewer than");
        header("both huge", "4294967294 65536\n", "");
        header("one word more", "31 17\n", "");
        header("one word less", "29 17\n", "");
        header("another width", "30 16\n", "");
        header("negative", "-31 17\n", "");
        header("fractions", "31.0 17.0\n", "");
    }
    put_words(cases, "nothing", "empty", Vec::new());
    put_words(cases, "a newline", "neither", b"\n".to_vec());
    put_words(cases, "zeros", "neither", vec![0; 5000]);
    put_words(cases, "no newline", "", vec![b'a'; 3 << 20]);
    put_words(cases, "a number alone", "neither", b"12345678901234567890".to_vec());
    put_words(cases, "prose", "neither", b"It was a dark night.\nAnd it rained.\n".to_vec());
    put_words(cases, "GGUF", "model", llama_gguf().bytes());
    put_words(cases, "a model of pickles", "", b"\x80\x02}q\x00.\n".to_vec());

    cases.class("words-binary");
    let whole = read("word2vec.bin");
    for cut in [6, 7, 9, 11, 78, 79, 500, whole.len() - 1] {
        put_words(cases, &format!("cut at {cut}"), "", whole[..cut].to_vec());
    }
    put_words(cases, "bytes after", "follow", joined(&[&whole, b"more"]));
    let record = |word: &[u8]| joined(&[b"1 2\n", word, b" ", &[0, 1, 2, 3, 0xff, 0, 1, 2]]);
    put_words(cases, "no UTF-8", "UTF-8", record(b"\xff\xfe"));
    put_words(cases, "half a character", "UTF-8", record("\u{65e5}".as_bytes().split_at(2).0));
    let long = joined(&[b"1 2\n\x01", &vec![b'w'; 70_000], b" ", &[0; 8]]);
    put_words(cases, "a word of 70,000 bytes", "no space", long);
    let nan = joined(&[b"2 2\nking ", &[0xff; 8], b"man ", &[0xff; 8]]);
    cases.add("not finite", Want::Either(FORMAT), move |folder| put(folder, "words", &nan));

    cases.class("words-text");
    for (name, word, text) in [
        ("a number short", "line 3: want a word", "2 3\na 1 2 3\nb 1 2\n"),
        ("a number more", "neither", "a\nb 1 2 3\n"),
        ("a number more than the first line", "line 2: word `b 1`: more", "a 1 2 3\nb 1 1 2 3\n"),
        ("letters", "line 2: word `b`: `x`", "a 1 2 3\nb 1 x 3\n"),
        ("not a number", "finite", "1 3\na 1 nan 3\n"),
        ("endless", "finite", "1 3\na 1 inf 3\n"),
        ("too large", "finite", "1 3\na 1 1e999999999 3\n"),
        ("hexadecimal", "not a number", "1 3\na 1 0x10 3\n"),
        ("an empty line", "line 2: want", "a 1 2 3\n\nb 1 2 3\n"),
        ("no line end before the limit", "over 1048576 bytes", "LONG"),
    ] {
        let text = match text {
            "LONG" => format!("1 2\n{} 1 2\n", "w".repeat(3 << 20)),
            text => text.to_string(),
        };
        put_words(cases, name, word, text.into_bytes());
    }
    put_words(cases, "no UTF-8", "UTF-8", b"a 1 2\n\xff\xfe 1 2\n".to_vec());
    put_words(cases, "wide and empty", "", joined(&[b"9 65536\n", &[b'\n'; 2 << 20]]));

    cases.class("words-gzip");
    let zipped = read("word2vec.txt.gz");
    for cut in [2, 10, 11, 500, zipped.len() - 1] {
        put_words(cases, &format!("cut at {cut}"), "", zipped[..cut].to_vec());
    }
    let mut flipped = zipped.clone();
    flipped[700] ^= 0x55;
    put_words(cases, "a byte changed", "", flipped);
    put_words(cases, "words after it", "compressed", joined(&[&zipped, b"more"]));
    let zeros = read("zeros.gz").repeat(40);
    put_words(cases, "a bomb", "times its compressed", joined(&[&read("word2vec.bin.gz"), &zeros]));
    let twice = joined(&[&zipped, &zipped]);
    put_words(cases, "twice", "the first line says", twice);

    cases.class("words-fasttext");
    let whole = read("fasttext.bin");
    for cut in (4..whole.len()).step_by(241) {
        put_words(cases, &format!("cut at {cut}"), "", whole[..cut].to_vec());
    }
    put_words(cases, "bytes after", "follow", joined(&[&whole, b"more"]));
    put_words(cases, "quantized", "quantized", read("fasttext-quantized.ftz"));
    let mut number = |name: &str, at: usize, value: i32, word| {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        put_words(cases, name, word, bytes);
    };
    // magic, version, dim, ws, epoch, minCount, neg, wordNgrams, loss, model, bucket, minn, maxn,
    // lrUpdateRate: 4 bytes each; t: 8; size, nwords, nlabels: 4 each; ntokens, pruneidx: 8 each.
    number("another version", 4, 13, "version 13");
    for (field, at) in [("dim", 8), ("bucket", 40), ("size", 64), ("words", 68), ("labels", 72)] {
        for value in [-1, 0, 1, i32::MAX, i32::MIN] {
            if (field, value) != ("labels", 0) {
                number(&format!("{field} {value}"), at, value, "");
            }
        }
    }
    number("longest piece 2^31 - 1", 48, i32::MAX, "maxn");
    number("shortest piece -1", 44, -1, "minn");
    number("shortest over longest", 44, 5, "minn");
    number("pruned", 84, 7, "pruned");
    number("pruned without end", 88, i32::MAX, "");
    let matrix = whole.len() - 16 - 31 * 44 - 1 - (31 + 151) * 44 - 16;
    for (field, at) in [("rows", matrix), ("columns", matrix + 8)] {
        for value in [-1, 0, 1, i32::MAX, i32::MIN] {
            number(&format!("{field} {value}"), at, value, "");
            number(&format!("{field} {value} x 2^32"), at + 4, value | 1, "");
        }
    }

    cases.class("words-folder");
    type Files = BTreeMap<String, Vec<u8>>;
    let mut folder = |name: &str, want, bend: &dyn Fn(&mut Files)| {
        let mut files = BTreeMap::new();
        for file in ["config.json", "modules.json", "model.safetensors", "tokenizer.json"] {
            files.insert(file.to_string(), read(&format!("model2vec-shared/{file}")));
        }
        bend(&mut files);
        cases.add(name, want, move |path| {
            for (name, bytes) in &files {
                put(path, name, bytes);
            }
            path.to_path_buf()
        });
    };
    let tensors = |mapping: i64, weights: usize, width: usize| {
        let header = json!({
            "mapping": {"dtype": "I64", "shape": [48], "data_offsets": [0, 384]},
            "weights": {"dtype": "F32", "shape": [weights], "data_offsets": [384, 384 + weights * 4]},
            "embeddings": {"dtype": "I8", "shape": [190 / width.max(1), width],
                "data_offsets": [384 + weights * 4, 384 + weights * 4 + 190]},
        });
        let mut data = mapping.to_le_bytes().repeat(48);
        data.extend(vec![0; weights * 4 + 190]);
        safetensors(header.to_string(), &data)
    };
    let set = |name: &'static str, bytes: Vec<u8>| {
        move |files: &mut BTreeMap<String, Vec<u8>>| _ = files.insert(name.into(), bytes.clone())
    };
    let refused = |codes, word| Want::Refused(codes, word);
    let st = |header: Value, data: &[u8]| safetensors(header.to_string(), data);
    folder("no tokenizer", refused(IO, "tokenizer.json"), &|f| _ = f.remove("tokenizer.json"));
    folder("no table", refused(IO, "safetensors"), &|f| _ = f.remove("model.safetensors"));
    folder("bent as here", Want::Either(FORMAT), &set("model.safetensors", tensors(9, 48, 19)));
    let weights = "model.safetensors";
    folder("row 10 of 10", refused(FORMAT, "mapping"), &set(weights, tensors(10, 48, 19)));
    folder("row -1", refused(FORMAT, "mapping"), &set(weights, tensors(-1, 48, 19)));
    folder("row 2^62", refused(FORMAT, "mapping"), &set(weights, tensors(1 << 62, 48, 19)));
    folder("weights short", refused(FORMAT, "weights"), &set(weights, tensors(1, 47, 19)));
    let table = |shape: Value, dtype: &str, size: usize| {
        st(
            json!({"embeddings": {"dtype": dtype, "shape": shape, "data_offsets": [0, size]}}),
            &vec![0; size],
        )
    };
    folder(
        "a row short",
        refused(FORMAT, "47 rows"),
        &set(weights, table(json!([47, 1]), "F32", 188)),
    );
    folder(
        "three sides",
        refused(FORMAT, "rows by"),
        &set(weights, table(json!([48, 1, 1]), "F32", 192)),
    );
    folder("no rows", refused(FORMAT, "0 rows"), &set(weights, table(json!([0, 4]), "F32", 0)));
    folder("no width", refused(FORMAT, "of 0"), &set(weights, table(json!([48, 0]), "F32", 0)));
    folder(
        "integers",
        refused(FORMAT, "stored as"),
        &set(weights, table(json!([48, 1]), "I32", 192)),
    );
    let other = st(json!({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}), &[0; 4]);
    folder("another tensor", refused(FORMAT, "neither"), &set(weights, other));
    folder("a config of no object", refused(FORMAT, "object"), &set("config.json", b"[]".to_vec()));
    let config = br#"{"max_length": -1}"#.to_vec();
    folder("no length", refused(CONFIG, "max_length"), &set("config.json", config));
    let config = br#"{"normalize": "yes"}"#.to_vec();
    folder("no truth", refused(CONFIG, "normalize"), &set("config.json", config));
    let modules = |kinds: &[&str]| {
        let list: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind, "path": ""})).collect();
        json!(list).to_string().into_bytes()
    };
    let pooled = modules(&["a.StaticEmbedding", "a.Unheard"]);
    folder("another module", refused(UNSUPPORTED, "Unheard"), &set("modules.json", pooled));
    let outside = br#"[{"type": "a.StaticEmbedding", "path": "../x"}]"#.to_vec();
    folder("a path outside", refused(FORMAT, "inside"), &set("modules.json", outside));

    for case in &mut cases.all[first..] {
        case.door = Door::Words;
    }
    // The other door says which one to take.
    cases.class("words-folder");
    let source = emberform_tests::reference("words").join("model2vec");
    cases.add("opened as a model", Want::Refused(UNSUPPORTED, "WordVectors"), move |_| {
        source.clone()
    });
}

/// The models that all cases bend: without this, a table of refusals says nothing.
#[test]
fn the_models_that_are_bent_open_and_compute() {
    let _alone = alone();
    let folder = emberform_tests::Scratch::new().expect("a folder");
    let write = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).expect("a folder");
        path
    };
    computes(&put(folder.path(), "spm.gguf", &llama_gguf().bytes()), WIDTH);
    computes(&put(folder.path(), "bpe.gguf", &bpe_gguf().bytes()), WIDTH);
    let mut version_2 = llama_gguf();
    version_2.version = 2;
    computes(&put(folder.path(), "version-2.gguf", &version_2.bytes()), WIDTH);
    computes(&llama_folder().write(&write("llama")).expect("files"), WIDTH);
    computes(&sharded_folder().write(&write("sharded")).expect("files"), WIDTH);
    computes(&bert_folder().write(&write("bert")).expect("files"), DENSE);
    let llama = llama_folder();
    assert_eq!(HEADS % 2, 0);
    let tokenizer = put(folder.path(), "tokenizer.json", &llama.files["tokenizer.json"]);
    use_tokenizer(&Tokenizer::open(&tokenizer).expect("a tokenizer opens by itself"));
    #[cfg(unix)]
    {
        // The layout of a hub's cache: a folder of links to files elsewhere.
        let linked = write("linked");
        for entry in std::fs::read_dir(folder.path().join("sharded")).expect("a folder").flatten() {
            let link = linked.join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link).expect("a link");
        }
        computes(&linked, WIDTH);
    }
}

#[test]
fn files_that_lie_are_refused() {
    let _alone = alone();
    let mut cases = Cases::default();
    gguf_container(&mut cases);
    gguf_metadata(&mut cases);
    folders(&mut cases);
    configs(&mut cases);
    tokenizers(&mut cases);
    special_files(&mut cases);
    words(&mut cases);

    // What a first open sets up for good (thread pools, tables) is no file's doing.
    let folder = emberform_tests::Scratch::new().expect("a folder");
    computes(&put(folder.path(), "model.gguf", &llama_gguf().bytes()), WIDTH);

    let mut table: BTreeMap<&str, (usize, usize, Duration, usize)> = BTreeMap::new();
    let mut wrong = Vec::new();
    for case in &cases.all {
        if let Ok(mut name) = CASE.lock() {
            *name = format!("{}/{}", case.class, case.name);
        }
        let row = table.entry(case.class).or_default();
        row.0 += 1;
        match run(case) {
            Ok((time, peak)) => {
                row.2 = row.2.max(time);
                row.3 = row.3.max(peak);
            }
            Err(problem) => {
                row.1 += 1;
                wrong.push(format!("{}/{}: {problem}", case.class, case.name));
            }
        }
    }
    println!("{:<24}{:>7}{:>7}{:>10}{:>10}", "class", "cases", "wrong", "ms", "KB");
    for (class, (count, wrong, time, peak)) in &table {
        println!("{class:<24}{count:>7}{wrong:>7}{:>10}{:>10}", time.as_millis(), peak >> 10);
    }
    let cut = table.get("gguf-truncated").map_or(0, |row| row.0);
    println!("{} cases in {} classes", cases.all.len(), table.len());
    assert!(table.len() >= 20 && cases.all.len() - cut >= 100);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.all.len(), wrong.join("\n"));
}
