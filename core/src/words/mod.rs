//! Static word vectors: one vector a word, whatever stands around it.
//!
//! ```text
//! text -> words (or tokens) -> rows of a table [D] -> mean (-> length 1) -> embedding [D]
//! ```
//! The step before transformers: word2vec (arXiv:1301.3781), GloVe (Pennington et al., 2014),
//! fastText (arXiv:1607.04606), and tables distilled from a transformer (model2vec,
//! sentence-transformers' `StaticEmbedding`). No tensor and no device is needed.

mod binary;
mod file;
mod list;
mod parsed;
mod subwords;
mod table;
mod text;
mod tokens;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::embed::Embeddings;
use crate::error::{Error, Result};
use crate::quote::quote;
use crate::reserve::zeros;
use list::WordList;
use subwords::Subwords;
use table::{Table, length};
use tokens::{Tiny, Tokens};

/// What becomes of a word that the file has no vector for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Unknown {
    /// The call fails and names the word.
    Error,
    /// It is left out of the mean.
    Skip,
    /// It counts in the mean as a vector of zeros.
    Zero,
    /// It gets the vector of its pieces, in files that have such: fastText's `.bin`, and tables
    /// of tokens.
    Subwords,
}

impl FromStr for Unknown {
    type Err = Error;

    /// Reads `error`, `skip`, `zero`, `subwords`.
    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "error" => Unknown::Error,
            "skip" => Unknown::Skip,
            "zero" => Unknown::Zero,
            "subwords" => Unknown::Subwords,
            _ => {
                let problem = format!("is `{name}`, not one of: error, skip, zero, subwords");
                return Err(Error::argument("unknown", problem));
            }
        })
    }
}

/// What a caller chooses about embedding with word vectors.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WordOptions {
    /// What becomes of words without a vector. Default: [`Unknown::Subwords`] where the file has
    /// pieces, else [`Unknown::Skip`]. Of a table of tokens, what becomes of the tokenizer's
    /// unknown token: left out for model2vec, a token like others for `StaticEmbedding`.
    pub unknown: Option<Unknown>,
    /// Whether embeddings have length 1. Default: as the folder says; not for files of words.
    pub normalize: Option<bool>,
    /// Whether each word's vector is brought to length 1 before the mean, as fastText's sentence
    /// vectors and gensim's `get_mean_vector` have it. Default: no.
    pub unit_words: bool,
    /// Whether words are looked up only as they stand. Default: no; a word that is not in the
    /// file is looked up without the ASCII punctuation around it and then in lower case, as
    /// sentence-transformers does for word vectors. Without effect on tables of tokens.
    pub exact: bool,
    /// Most tokens of a text, for tables of tokens; the rest is cut. Default: as the folder says.
    pub max_tokens: Option<usize>,
    /// Keep the first numbers of a vector only (Matryoshka, arXiv:2205.13147). Default: all.
    pub dimensions: Option<usize>,
}

impl WordOptions {
    /// Sets [`unknown`](Self::unknown).
    pub fn unknown(mut self, unknown: Unknown) -> Self {
        self.unknown = Some(unknown);
        self
    }

    /// Sets [`normalize`](Self::normalize).
    pub fn normalize(mut self, normalize: bool) -> Self {
        self.normalize = Some(normalize);
        self
    }

    /// Sets [`unit_words`](Self::unit_words).
    pub fn unit_words(mut self, unit_words: bool) -> Self {
        self.unit_words = unit_words;
        self
    }

    /// Sets [`exact`](Self::exact).
    pub fn exact(mut self, exact: bool) -> Self {
        self.exact = exact;
        self
    }

    /// Sets [`max_tokens`](Self::max_tokens).
    pub fn max_tokens(mut self, tokens: usize) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets [`dimensions`](Self::dimensions).
    pub fn dimensions(mut self, dimensions: usize) -> Self {
        self.dimensions = Some(dimensions);
        self
    }
}

/// A word near to what was asked for.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Neighbor {
    /// Its number in the file.
    pub index: usize,
    /// The word.
    pub word: String,
    /// The cosine of the angle to what was asked for, from -1 to 1.
    pub cosine: f32,
}

/// Word vectors from a file, or token vectors from a folder.
///
/// Cheap to clone, and shared between threads as it is: nothing in it changes. Where the format
/// allows, the numbers are read where they lie in the mapped file: keep it as it is while it is
/// open. A text file and a compressed one are read into memory.
///
/// ```no_run
/// use emberform::WordVectors;
///
/// let words = WordVectors::open("glove.6B.50d.txt")?;
/// for near in words.analogy("king", "man", "woman", 3)? {
///     println!("{} {:.2}", near.word, near.cosine);
/// }
/// let vectors = words.embed(&["a cat sat", "a dog lay"])?;
/// println!("{words}: {:.2}", vectors.cosine(0, 1));
/// # Ok::<(), emberform::Error>(())
/// ```
#[derive(Clone)]
pub struct WordVectors {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    format: &'static str,
    kind: Kind,
    table: Table,
    /// Of fastText: the vectors of all words, made when they are first compared with.
    whole: OnceLock<Table>,
    lengths: OnceLock<Vec<f32>>,
}

enum Kind {
    Words { list: WordList, subwords: Option<Subwords> },
    Tokens(Box<Tokens>),
}

/// Texts that are embedded on the caller's thread: to wake others takes longer.
const FEW: usize = 32;

/// Does work that rayon divides among threads, also in a process that was forked from one that had
/// computed and has not its threads.
fn divided<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    if !crate::device::forked() {
        return work();
    }
    let pool = rayon::ThreadPoolBuilder::new().build().map_err(|error| Error::Device {
        device: "cpu".to_string(),
        problem: format!("gives no threads: {error}"),
    })?;
    pool.install(work)
}

/// What one text comes to before it is a mean.
struct Sum<'a> {
    sum: &'a mut [f32],
    /// Vectors in the sum.
    count: usize,
    /// Words or tokens left out.
    cut: usize,
}

impl WordVectors {
    /// Opens word vectors. What a file is, is seen from its bytes:
    ///
    /// | format | |
    /// |---|---|
    /// | word2vec `.bin` | mapped |
    /// | word2vec `.txt`, fastText `.vec` | read; the first line says how many words and numbers |
    /// | GloVe text | read; like the above without that line |
    /// | fastText `.bin` | mapped; words that it never saw have vectors too |
    /// | any of these in gzip | read |
    /// | folder of model2vec or `StaticEmbedding` | mapped; a vector for each token |
    ///
    /// A word that comes again in a file is left out, with a warning in the log, as gensim does.
    ///
    /// # Errors
    /// [`Error::Io`] when a file cannot be read, [`Error::Format`] when it is none of these, is
    /// broken or quantized (fastText's `.ftz`), [`Error::Config`] and [`Error::Unsupported`] for
    /// what a folder's files say.
    pub fn open(path: impl AsRef<Path>) -> Result<WordVectors> {
        let path = path.as_ref();
        let (format, kind, table) = if path.is_dir() {
            let (tokens, table) = tokens::open(path)?;
            ("token", Kind::Tokens(Box::new(tokens)), table)
        } else {
            let file::Opened { format, list, table, subwords } = divided(|| file::open(path))?;
            (format, Kind::Words { list, subwords }, table)
        };
        let inner = Inner {
            path: path.to_path_buf(),
            format,
            kind,
            table,
            whole: OnceLock::new(),
            lengths: OnceLock::new(),
        };
        Ok(WordVectors { inner: Arc::new(inner) })
    }

    /// Words of the file, or tokens of the folder (V).
    pub fn len(&self) -> usize {
        match &self.inner.kind {
            Kind::Words { list, .. } => list.len(),
            Kind::Tokens(_) => self.inner.table.len(),
        }
    }

    /// Whether there is no word, which no file is opened with.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Numbers of a vector (D).
    pub fn width(&self) -> usize {
        self.inner.table.width()
    }

    /// The file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What the file is: `word2vec binary`, `word2vec text`, `GloVe text`, `fastText binary` or
    /// `token` for a folder.
    pub fn format(&self) -> &'static str {
        self.inner.format
    }

    /// Whether a word that is not in the file gets a vector from its pieces.
    pub fn has_subwords(&self) -> bool {
        match &self.inner.kind {
            Kind::Words { subwords, .. } => subwords.is_some(),
            Kind::Tokens(_) => true,
        }
    }

    /// Word `index`, or token as its vocabulary writes it; `None` beyond the last.
    pub fn word(&self, index: usize) -> Option<Cow<'_, str>> {
        match &self.inner.kind {
            Kind::Words { list, .. } => list.word(index).map(Cow::Borrowed),
            Kind::Tokens(tokens) => {
                let id = u32::try_from(index).ok().filter(|_| index < self.len())?;
                tokens.tokenizer.token(id).map(Cow::Owned)
            }
        }
    }

    /// The number of `word`, exactly as the file has it; `None` when it has it not.
    pub fn index(&self, word: &str) -> Option<usize> {
        match &self.inner.kind {
            Kind::Words { list, .. } => list.find(word),
            Kind::Tokens(tokens) => tokens.tokenizer.id(word).map(|id| id as usize),
        }
    }

    /// The vector of one word exactly as it stands, or of its pieces where the file has such.
    ///
    /// # Errors
    /// [`Error::Argument`] for a word without a vector.
    pub fn vector(&self, word: &str) -> Result<Vec<f32>> {
        self.argument("word", word)
    }

    /// Embeds texts: the mean of the vectors of their words, which white space divides, or of
    /// their tokens. The vector of a text of one word is the word's.
    ///
    /// The result has one row a text, in their order. A text without a known word gives zeros;
    /// [`Embeddings::cut`] counts what was left out of each.
    ///
    /// # Errors
    /// As [`embed_with`](Self::embed_with).
    pub fn embed(&self, texts: &[&str]) -> Result<Embeddings> {
        self.embed_with(texts, &WordOptions::default())
    }

    /// Embeds texts as `options` say.
    ///
    /// # Errors
    /// [`Error::Argument`] for an option out of range and for an unknown word under
    /// [`Unknown::Error`], [`Error::Missing`] for [`Unknown::Subwords`] in a file without pieces,
    /// [`Error::NotFinite`] when the file's numbers are broken, [`Error::Memory`] when the result
    /// does not fit.
    pub fn embed_with(&self, texts: &[&str], options: &WordOptions) -> Result<Embeddings> {
        let width = self.width();
        let kept = options.dimensions.unwrap_or(width);
        if kept == 0 || kept > width {
            let problem = format!("is {kept}, not from 1 to {width}");
            return Err(Error::argument("dimensions", problem));
        }
        if options.unknown == Some(Unknown::Subwords) && !self.has_subwords() {
            let what = format!("pieces of words, which a {} file has not", self.inner.format);
            return Err(Error::Missing { call: "embed", what });
        }
        let mut values = zeros("embeddings", &[texts.len(), kept])?;
        let mut cut = vec![0; texts.len()];
        let buffers = || [vec![0.0; width], vec![0.0; width]];
        type Row<'a> = ((&'a mut [f32], &'a mut usize), &'a &'a str);
        let embed = |[sum, scratch]: &mut [Vec<f32>; 2], ((out, cut), text): Row<'_>| {
            sum.fill(0.0);
            let mut sum = Sum { sum, count: 0, cut: 0 };
            match &self.inner.kind {
                Kind::Words { list, subwords } => {
                    self.words(list, subwords.as_ref(), text, options, &mut sum, scratch)?
                }
                Kind::Tokens(tokens) => self.tokens(tokens, text, options, &mut sum, scratch)?,
            }
            *cut = sum.cut;
            self.finish(sum, options, out)
        };
        if texts.len() < FEW {
            let mut buffers = buffers();
            let mut rows = values.chunks_exact_mut(kept).zip(&mut cut).zip(texts);
            rows.try_for_each(|row| embed(&mut buffers, row))?;
        } else {
            let rows = values.par_chunks_exact_mut(kept).zip(&mut cut).zip(texts);
            let rows = rows.with_min_len(FEW / 2);
            divided(|| rows.try_for_each_init(buffers, embed))?;
        }
        Ok(Embeddings::new(values, kept, cut))
    }

    /// Adds the words of a text.
    fn words(
        &self,
        list: &WordList,
        subwords: Option<&Subwords>,
        text: &str,
        options: &WordOptions,
        sum: &mut Sum<'_>,
        scratch: &mut [f32],
    ) -> Result<()> {
        let policy = options.unknown.unwrap_or(match subwords {
            Some(_) => Unknown::Subwords,
            None => Unknown::Skip,
        });
        for word in text.split_whitespace() {
            let mut row = list.find(word);
            let mut known = Cow::Borrowed(word);
            if row.is_none() && !options.exact {
                let bare = word.trim_matches(|c: char| c.is_ascii_punctuation());
                let lower = bare.to_lowercase();
                for other in [Cow::Borrowed(bare), Cow::Owned(lower)] {
                    row = list.find(&other).filter(|_| !other.is_empty());
                    if row.is_some() {
                        known = other;
                        break;
                    }
                }
            }
            match (row, subwords) {
                (Some(row), None) => self.take(row, options, sum, scratch),
                (Some(_), Some(subwords)) => {
                    subwords.vector(&self.inner.table, row, &known, scratch);
                    sum.take(scratch, options);
                }
                (None, subwords) => match (policy, subwords) {
                    (Unknown::Error, _) => return Err(self.unknown("texts", word)),
                    (Unknown::Zero, _) => sum.count += 1,
                    (Unknown::Subwords, Some(subwords))
                        if subwords.vector(&self.inner.table, None, word, scratch) =>
                    {
                        sum.take(scratch, options);
                    }
                    _ => sum.cut += 1,
                },
            }
        }
        Ok(())
    }

    /// Adds the tokens of a text.
    fn tokens(
        &self,
        tokens: &Tokens,
        text: &str,
        options: &WordOptions,
        sum: &mut Sum<'_>,
        scratch: &mut [f32],
    ) -> Result<()> {
        let limit = options.max_tokens.or(tokens.max_tokens);
        let mut text = Cow::Borrowed(text);
        if !tokens.prompt.is_empty() {
            text = Cow::Owned(format!("{}{text}", tokens.prompt));
        }
        // model2vec never looks at what is beyond so many characters.
        if let (Some(limit), Some(characters)) = (limit, tokens.token_characters)
            && let Some((end, _)) = text.char_indices().nth(limit.saturating_mul(characters))
        {
            text = Cow::Owned(text[..end].to_string());
        }
        let encoding = match limit {
            Some(limit) => tokens.tokenizer.encode_limited(&text, false, limit)?,
            None => tokens.tokenizer.encode(&text, false)?,
        };
        sum.cut += encoding.cut;
        for (id, span) in encoding.ids.iter().zip(&encoding.offsets) {
            let policy = options.unknown.or(tokens.skip_unknown.then_some(Unknown::Skip));
            match policy.filter(|_| Some(*id) == tokens.unknown) {
                None | Some(Unknown::Subwords) => self.take(*id as usize, options, sum, scratch),
                Some(Unknown::Skip) => sum.cut += 1,
                Some(Unknown::Zero) => sum.count += 1,
                Some(Unknown::Error) => {
                    return Err(self.unknown("texts", text.get(span.0..span.1).unwrap_or("")));
                }
            }
        }
        Ok(())
    }

    /// Adds a row of the table.
    fn take(&self, row: usize, options: &WordOptions, sum: &mut Sum<'_>, scratch: &mut [f32]) {
        if options.unit_words {
            self.inner.table.read(row, scratch);
            return sum.take(scratch, options);
        }
        self.inner.table.add(row, sum.sum, scratch);
        sum.count += 1;
    }

    /// The mean, and what the folder and the caller want of it.
    fn finish(&self, sum: Sum<'_>, options: &WordOptions, out: &mut [f32]) -> Result<()> {
        if sum.count > 0 {
            let count = sum.count as f32;
            sum.sum.iter_mut().for_each(|x| *x /= count);
        }
        let (normalize, tiny) = match &self.inner.kind {
            Kind::Tokens(tokens) => (tokens.normalize, tokens.tiny),
            Kind::Words { .. } => (false, Tiny::Least(1e-12)),
        };
        let to_unit = |values: &mut [f32]| {
            let length = match tiny {
                Tiny::Add(tiny) => length(values) + tiny,
                Tiny::Least(tiny) => length(values).max(tiny),
            };
            values.iter_mut().for_each(|x| *x /= length);
        };
        if normalize && options.normalize != Some(false) {
            to_unit(sum.sum);
        }
        out.copy_from_slice(&sum.sum[..out.len()]);
        if options.normalize == Some(true) {
            to_unit(out);
        }
        match out.iter().all(|x| x.is_finite()) {
            true => Ok(()),
            false => Err(Error::NotFinite { what: "embeddings" }),
        }
    }

    /// The `count` words nearest to `word` by cosine, itself left out, best first.
    ///
    /// Every word is compared with. The first call measures all vectors, and of fastText's `.bin`
    /// it makes them first and keeps them: V x D x 4 bytes, as fastText itself does.
    ///
    /// # Errors
    /// [`Error::Argument`] for a word without a vector, [`Error::NotFinite`] when the file's
    /// numbers are broken, [`Error::Memory`] when the vectors that are kept do not fit.
    pub fn nearest(&self, word: &str, count: usize) -> Result<Vec<Neighbor>> {
        let vector = self.argument("word", word)?;
        let without: Vec<usize> = self.index(word).into_iter().collect();
        self.search(vector, &without, count)
    }

    /// The `count` words nearest to a vector by cosine, best first.
    ///
    /// # Errors
    /// [`Error::Argument`] for a vector of another width, [`Error::NotFinite`] when it or the
    /// file's numbers are broken.
    pub fn nearest_to(&self, vector: &[f32], count: usize) -> Result<Vec<Neighbor>> {
        if vector.len() != self.width() {
            let problem = format!("has {} numbers, want {}", vector.len(), self.width());
            return Err(Error::argument("vector", problem));
        }
        self.search(vector.to_vec(), &[], count)
    }

    /// The `count` words nearest to `a - b + c`, these three left out, best first: "`a` is to
    /// `b` as what is to `c`?" The three vectors have length 1 before they are added.
    ///
    /// # Errors
    /// As [`nearest`](Self::nearest).
    ///
    /// # Source
    /// Mikolov, Yih and Zweig, "Linguistic Regularities in Continuous Space Word Representations"
    /// (NAACL 2013); `get_analogies` of fastText; `most_similar` of gensim with `a` and `c`
    /// positive and `b` negative.
    pub fn analogy(&self, a: &str, b: &str, c: &str, count: usize) -> Result<Vec<Neighbor>> {
        let mut query = vec![0.0; self.width()];
        let mut without = Vec::new();
        for (name, word, sign) in [("a", a, 1.0), ("b", b, -1.0), ("c", c, 1.0)] {
            let vector = unit(self.argument(name, word)?);
            query.iter_mut().zip(vector).for_each(|(x, y)| *x += sign * y);
            without.extend(self.index(word));
        }
        self.search(query, &without, count)
    }

    /// The cosine of the angle between two words, from -1 to 1; 0 when a vector is all zeros.
    ///
    /// # Errors
    /// As [`nearest`](Self::nearest).
    pub fn similarity(&self, a: &str, b: &str) -> Result<f32> {
        let (a, b) = (self.argument("a", a)?, self.argument("b", b)?);
        let cosine = Embeddings::new([a, b].concat(), self.width(), vec![0; 2]).cosine(0, 1);
        match cosine.is_finite() {
            true => Ok(cosine),
            false => Err(Error::NotFinite { what: "word vectors" }),
        }
    }

    fn search(&self, query: Vec<f32>, without: &[usize], count: usize) -> Result<Vec<Neighbor>> {
        let inner = &self.inner;
        let found = divided(|| {
            let table = match &inner.kind {
                Kind::Words { list, subwords: Some(subwords) } => match inner.whole.get() {
                    Some(whole) => whole,
                    None => {
                        let whole = subwords.all(&inner.table, list)?;
                        inner.whole.get_or_init(|| whole)
                    }
                },
                _ => &inner.table,
            };
            let lengths = inner.lengths.get_or_init(|| table.lengths());
            let found = table.nearest(&unit(query), lengths, without, count);
            found.ok_or(Error::NotFinite { what: "word vectors" })
        })?;
        let neighbor = |(index, cosine)| Neighbor {
            index,
            word: self.word(index).unwrap_or_default().into_owned(),
            cosine,
        };
        Ok(found.into_iter().map(neighbor).collect())
    }

    /// The vector of a word that a caller named in `argument`.
    fn argument(&self, argument: &'static str, word: &str) -> Result<Vec<f32>> {
        let mut vector = vec![0.0; self.width()];
        let row = self.index(word);
        let found = match (&self.inner.kind, row) {
            (Kind::Words { subwords: Some(subwords), .. }, row) => {
                subwords.vector(&self.inner.table, row, word, &mut vector)
            }
            (_, Some(row)) => {
                self.inner.table.read(row, &mut vector);
                true
            }
            (Kind::Tokens(tokens), None) => {
                let mut sum = Sum { sum: &mut vector, count: 0, cut: 0 };
                let options = WordOptions::default().unknown(Unknown::Skip);
                self.tokens(tokens, word, &options, &mut sum, &mut vec![0.0; self.width()])?;
                let count = sum.count;
                vector.iter_mut().for_each(|x| *x /= count.max(1) as f32);
                count > 0
            }
            (Kind::Words { .. }, None) => false,
        };
        if found { Ok(vector) } else { Err(self.unknown(argument, word)) }
    }

    fn unknown(&self, argument: &'static str, word: &str) -> Error {
        let problem = match argument {
            "texts" => "hold",
            _ => "is",
        };
        let (count, word) = (self.len(), quote(word));
        Error::argument(argument, format!("{problem} {word}, not one of the {count} words known"))
    }
}

impl Sum<'_> {
    /// Adds a vector.
    fn take(&mut self, vector: &[f32], options: &WordOptions) {
        if !options.unit_words {
            self.sum.iter_mut().zip(vector).for_each(|(x, y)| *x += y);
            self.count += 1;
            return;
        }
        let length = length(vector);
        // A vector of zeros has no direction and does not count, as in fastText.
        if length > 0.0 {
            self.sum.iter_mut().zip(vector).for_each(|(x, y)| *x += y / length);
            self.count += 1;
        }
    }
}

/// A vector brought to length 1; one of zeros stays.
fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = length(&vector);
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    vector
}

/// `word2vec text "glove": 400000 words of width 50`
impl fmt::Display for WordVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.inner.path;
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
        let what = match self.inner.kind {
            Kind::Words { .. } => "words",
            Kind::Tokens(_) => "tokens",
        };
        let (format, count, width) = (self.inner.format, self.len(), self.width());
        write!(f, "{format} vectors \"{name}\": {count} {what} of width {width}")
    }
}

impl fmt::Debug for WordVectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WordVectors({self})")
    }
}
