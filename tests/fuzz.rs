//! Files with bytes changed by chance, the same each time: safetensors, GGUF and `tokenizer.json`.
//! Each opens or is an error; nothing panics, waits, or asks for much memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use emberform::{Device, Error, Model, Tokenizer};
use emberform_tests::Scratch;
use emberform_tests::hostile::{
    bert_folder, bpe_gguf, bpe_json, llama_folder, llama_gguf, safetensors,
};

/// Files that are tried of each format.
const CASES: usize = 1500;
/// The longest that a file may take; nearly all take less than a millisecond.
const TIME: Duration = Duration::from_secs(5);
/// The most memory that is asked for at once; the files have some hundred kilobytes.
const MEMORY: usize = 64 << 20;

/// The system's allocator, which keeps the most that was asked for at once.
struct Largest;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Largest {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: what the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Relaxed);
        // SAFETY: what the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: what the caller promises.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Relaxed);
        // SAFETY: what the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Largest = Largest;

/// Numbers by chance, the same each time (xorshift).
struct Chance(u64);

impl Chance {
    /// A number below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

/// Numbers at which sums and sizes go wrong.
const NUMBERS: [u64; 10] =
    [0, 1, 7, 0x7f, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, u64::MAX];
/// What JSON goes wrong with.
const WORDS: [&str; 16] = [
    "null",
    "-1",
    "0",
    "1e99",
    "18446744073709551616",
    "\"\"",
    "\"a\"",
    "[]",
    "{}",
    "true",
    "[[",
    "{\"a\":",
    ",",
    "}",
    "\\ud800",
    "4294967296",
];

/// A file with some of its first bytes changed: `header` says how many matter, and `json` whether
/// they are text.
fn bent(file: &[u8], header: usize, json: bool, chance: &mut Chance) -> Vec<u8> {
    let mut bent = file.to_vec();
    for _ in 0..1 + chance.below(3) {
        let at = chance.below(header.min(bent.len()).max(1)).min(bent.len());
        let end = (at + 1 + chance.below(8)).min(bent.len());
        match chance.below(8) {
            0 if at < bent.len() => bent[at] ^= 1 << chance.below(8),
            1 if at < bent.len() => bent[at] = chance.below(256) as u8,
            2 => drop(bent.drain(at..end)),
            3 => {
                let again = bent[at..end].to_vec();
                drop(bent.splice(at..at, again));
            }
            4 if chance.below(8) == 0 => bent.truncate(at),
            _ if json => {
                // A whole number or text gives way, so that the JSON may stay one.
                let word = WORDS[chance.below(WORDS.len())];
                let sign = |b: &u8| b",:[]{}".contains(b);
                let from = bent[..at].iter().rposition(sign).map_or(0, |at| at + 1);
                let to = bent[at..].iter().position(sign).map_or(bent.len(), |more| at + more);
                drop(bent.splice(from..to, word.bytes()));
            }
            _ => {
                let number = NUMBERS[chance.below(NUMBERS.len())].to_le_bytes();
                let width = [1, 4, 8][chance.below(3)].min(bent.len() - at);
                bent[at..at + width].copy_from_slice(&number[..width]);
            }
        }
    }
    bent
}

/// Tries files; `open` writes one and says what became of it.
fn fuzz(
    name: &str,
    seeds: &[(Vec<u8>, usize, bool)],
    mut open: impl FnMut(usize, &[u8]) -> Result<(), Error>,
) {
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    for (seed, (file, ..)) in seeds.iter().enumerate() {
        let opened = open(seed, file);
        assert!(opened.is_ok(), "{name}: seed {seed} as it is: {:?}", opened.err());
    }
    let mut refused = 0;
    for case in 0..CASES {
        let seed = case % seeds.len();
        let (file, header, json) = &seeds[seed];
        let file = bent(file, *header, *json, &mut chance);
        LARGEST.store(0, Relaxed);
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| open(seed, &file)));
        let (time, largest) = (start.elapsed(), LARGEST.load(Relaxed));
        let Ok(result) = result else { panic!("{name}: case {case} panics") };
        assert!(time < TIME, "{name}: case {case} takes {time:?}");
        assert!(largest < MEMORY, "{name}: case {case} asks for {largest} bytes");
        if let Err(error) = result {
            refused += 1;
            let text = error.to_string();
            assert!(!text.is_empty() && text.len() < 2000, "{name}: case {case}: {text:.2000}");
        }
    }
    assert!(refused > CASES / 10, "{name}: {refused} of {CASES} are refused");
}

fn use_model(model: &Model) -> Result<(), Error> {
    model.tokenizer().map_or(Ok(()), use_tokenizer)
}

fn use_tokenizer(tokenizer: &Tokenizer) -> Result<(), Error> {
    let ids = tokenizer.encode("The cat, a 猫 🙂\n\n  sat at\u{301} 12345.", true)?.ids;
    tokenizer.decode(&ids, false).map(drop)
}

// One test: what is asked for at once is counted for all threads.
#[test]
fn files_bent_by_chance_open_or_are_refused() {
    let scratch = Scratch::new().expect("a folder");
    let open = |path: &std::path::Path| Model::options().device(Device::Cpu).open(path);

    let path = scratch.path().join("tiny.gguf");
    let seeds = [llama_gguf(), bpe_gguf()].map(|file| {
        let data = file.boundaries().last().copied().unwrap_or_default();
        (file.bytes(), data, false)
    });
    fuzz("GGUF", &seeds, |_, file| {
        std::fs::write(&path, file).expect("a file");
        use_model(&open(&path)?)
    });

    let folders = [llama_folder(), bert_folder()];
    // The length before the header is made right again, so that the header is looked at.
    let seeds = folders.each_ref().map(|folder| {
        let header = folder.weights.header();
        (header.clone().into_bytes(), header.len(), true)
    });
    let places = ["llama", "bert"].map(|name| scratch.path().join(name));
    for (place, folder) in places.iter().zip(&folders) {
        std::fs::create_dir(place).expect("a folder");
        folder.write(place).expect("files");
    }
    fuzz("safetensors", &seeds, |seed, file| {
        let file = safetensors(file, &folders[seed].weights.data());
        std::fs::write(places[seed].join("model.safetensors"), file).expect("a file");
        use_model(&open(&places[seed])?)
    });

    let seeds = [&folders[0], &folders[1]].map(|folder| {
        let json = folder.files.get("tokenizer.json").cloned();
        let json = json.unwrap_or_else(|| bpe_json().to_string().into());
        (json.clone(), json.len(), true)
    });
    fuzz("tokenizer.json", &seeds, |_, file| use_tokenizer(&Tokenizer::from_bytes(file)?));
}
