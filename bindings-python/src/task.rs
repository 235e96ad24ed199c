//! What encoders with a head answer: masked words, classes, entities, passages, order.

use emberform::{
    AnswerOptions, ClassifyOptions, FillOptions, TokenOptions, ZeroShotOptions, char_range,
};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;

use crate::choice::{AggregationName, RoleName, ScoringName};
use crate::error::raise;
use crate::model::Model;
use crate::numpy::{Array, Count, Given, Pairs, Texts};
use crate::progress::Progress;
use crate::run::Job;

/// A token for a mask.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Fill {
    /// Its probability among all tokens of the vocabulary.
    score: f32,
    /// Its id.
    id: u32,
    /// Its text.
    token: String,
    /// The text with the mask replaced. With several masks the others stay, and special tokens are
    /// written out, as transformers does.
    text: String,
}

#[pymethods]
impl Fill {
    fn __repr__(&self) -> String {
        format!("<Fill {:?} {:.3}>", self.token, self.score)
    }
}

/// A class of a text.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(Clone, PartialEq)]
pub struct Class {
    /// Its name: of the model's config, or as the caller called it.
    label: String,
    /// Its number among the labels.
    index: usize,
    /// Its score.
    score: f32,
}

#[pymethods]
impl Class {
    fn __repr__(&self) -> String {
        format!("<Class {:?} {:.3}>", self.label, self.score)
    }
}

impl From<emberform::Class> for Class {
    fn from(class: emberform::Class) -> Self {
        Class { label: class.label, index: class.index, score: class.score }
    }
}

/// The classes of a text, best first.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Classes {
    /// The classes, best first.
    classes: Vec<Class>,
    /// Tokens of the text that were left out to keep to the limit.
    cut: usize,
}

#[pymethods]
impl Classes {
    /// The best class; None when there is none.
    #[getter]
    fn best(&self) -> Option<Class> {
        self.classes.first().cloned()
    }

    fn __repr__(&self) -> String {
        let class = |class: &Class| format!("{:?} {:.3}", class.label, class.score);
        let all: Vec<String> = self.classes.iter().map(class).collect();
        format!("<Classes {}>", all.join(", "))
    }
}

impl From<emberform::Classes> for Classes {
    fn from(found: emberform::Classes) -> Self {
        Classes { classes: found.classes.into_iter().map(Class::from).collect(), cut: found.cut }
    }
}

/// A part of a text with a class.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Entity {
    /// The class; of joined tokens without its "B-" or "I-".
    label: String,
    /// Its probability; of joined tokens the mean.
    score: f32,
    /// Where it begins, in characters of the text.
    start: usize,
    /// Where it ends.
    end: usize,
    /// That part of the text.
    text: String,
    /// The token's place among the text's tokens, special ones included; None where several were
    /// joined.
    token: Option<usize>,
}

#[pymethods]
impl Entity {
    fn __repr__(&self) -> String {
        let (start, end) = (self.start, self.end);
        format!("<Entity {:?} {start}:{end} {:?} {:.3}>", self.label, self.text, self.score)
    }
}

/// An answer: a part of the passage, or none.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Answer {
    /// Its probability; of the same words in several places, or windows, the sum.
    score: f32,
    /// Where it begins, in characters of the passage.
    start: usize,
    /// Where it ends; `start` for the answer that there is none.
    end: usize,
    /// That part of the passage.
    text: String,
}

#[pymethods]
impl Answer {
    fn __repr__(&self) -> String {
        format!("<Answer {}:{} {:?} {:.3}>", self.start, self.end, self.text, self.score)
    }
}

/// A document and how well it fits a query.
#[pyclass(frozen, get_all, eq, module = "emberform")]
#[derive(PartialEq)]
pub struct Ranked {
    /// Its place among the documents that were given.
    index: usize,
    /// Its score.
    score: f32,
}

#[pymethods]
impl Ranked {
    fn __repr__(&self) -> String {
        format!("<Ranked {} {:.3}>", self.index, self.score)
    }
}

/// A vector over the vocabulary that is zero nearly everywhere.
#[pyclass(frozen, module = "emberform")]
pub struct Sparse(emberform::Sparse);

#[pymethods]
impl Sparse {
    /// The ids of tokens with a weight, in ascending order: uint32 [N].
    #[getter]
    fn ids(&self) -> Array<u32> {
        Array::flat(self.0.ids.clone())
    }

    /// The weight of each, above 0: float32 [N].
    #[getter]
    fn weights(&self) -> Array<f32> {
        Array::flat(self.0.weights.clone())
    }

    /// Tokens of the text that were left out to keep to the limit.
    #[getter]
    fn cut(&self) -> usize {
        self.0.cut
    }

    /// The product with another: how alike the two texts are.
    fn dot(&self, other: &Sparse) -> f32 {
        self.0.dot(&other.0)
    }

    fn __len__(&self) -> usize {
        self.0.ids.len()
    }

    fn __repr__(&self) -> String {
        format!("<Sparse of {} tokens>", self.0.ids.len())
    }
}

/// The vectors of a text's tokens, each of length 1; from `Model.embed_tokens()`.
#[pyclass(frozen, module = "emberform")]
pub struct TokenVectors(emberform::TokenVectors);

#[pymethods]
impl TokenVectors {
    /// The vectors in the order of the tokens: float32 [N, D].
    #[getter]
    fn vectors(&self) -> Array<f32> {
        let shape = vec![self.0.len(), self.0.width()];
        Array { values: self.0.as_slice().to_vec(), shape }
    }

    /// The ids of the tokens that have a vector, special ones and markers among them: uint32 [N].
    #[getter]
    fn ids(&self) -> Array<u32> {
        Array::flat(self.0.ids().to_vec())
    }

    /// Tokens of the text that were left out to keep to the limit.
    #[getter]
    fn cut(&self) -> usize {
        self.0.cut()
    }

    /// How well a document answers this query: the sum, over the query's vectors, of the largest
    /// product with one of the document's (MaxSim). 0 for a document without a vector, or vectors of
    /// another width.
    fn max_sim(&self, py: Python<'_>, document: &TokenVectors) -> f32 {
        py.detach(|| self.0.max_sim(&document.0))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __repr__(&self) -> String {
        format!("<TokenVectors {} of width {}>", self.0.len(), self.0.width())
    }
}

/// Bytes of pairs.
fn size(pairs: &[(&str, &str)]) -> usize {
    pairs.iter().map(|(a, b)| a.len() + b.len()).sum()
}

#[pymethods]
impl Model {
    /// The likeliest tokens for each mask of a text: one list a mask, in their order, likeliest
    /// first.
    ///
    /// `top_k`: tokens for a mask. Default: 5.
    /// `targets`: only these tokens, each one token of the vocabulary.
    /// `max_tokens`: most tokens of the text, special ones included.
    ///
    /// Raises MissingError without a tokenizer, a mask token or a head for it, ValueError for a text
    /// without a mask and for an option out of range, TooLongError for a text beyond the limit.
    #[pyo3(signature = (text, *, top_k=None, targets=None, max_tokens=None))]
    fn fill_mask(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        top_k: Option<Count>,
        targets: Option<Texts>,
        max_tokens: Option<Count>,
    ) -> PyResult<Vec<Vec<Fill>>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, None, None)?);
        let mut options = FillOptions::default().run(job.options.clone());
        options.top_k = top_k.given(py, "top_k")?;
        options.targets = targets.given(py, "targets")?;
        let found = job.run(py, self, text.len(), || model.fill_mask(&text, &options))?;
        let fill = |fill: emberform::Fill| Fill {
            score: fill.score,
            id: fill.id,
            token: fill.token,
            text: fill.text,
        };
        Ok(found.into_iter().map(|mask| mask.into_iter().map(fill).collect()).collect())
    }

    /// The classes of each text, best first. A text beyond the limit is cut on the right.
    ///
    /// `top_k`: classes of a text. Default: all.
    /// `scoring`: what becomes of logits. Default: by `problem_type` of the config; else "softmax",
    /// or "sigmoid" where there is one label.
    /// `max_tokens`: most tokens of a text, special ones included.
    /// `batch_tokens`, `progress`: as in `embed`.
    ///
    /// Returns one `Classes` a text, in their order.
    ///
    /// Raises MissingError without a tokenizer or a head for it, ValueError for an option out of
    /// range, UnsupportedError for a scoring that is not known, DeviceError, NotFiniteError.
    #[pyo3(signature = (
        texts, *, top_k=None, scoring=None, max_tokens=None, batch_tokens=None, progress=None
    ))]
    fn classify(
        &self,
        py: Python<'_>,
        texts: Texts,
        top_k: Option<Count>,
        scoring: Option<ScoringName>,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<Classes>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let mut options = ClassifyOptions::default().run(job.options.clone());
        options.top_k = top_k.given(py, "top_k")?;
        options.scoring = scoring.given(py, "scoring")?;
        let given = texts.all();
        let bytes = given.iter().map(|text| text.len()).sum();
        let found = job.run(py, self, bytes, || model.classify(&given, &options))?;
        Ok(found.into_iter().map(Classes::from).collect())
    }

    /// The classes of each pair of texts, such as a premise and a hypothesis. Of a pair beyond the
    /// limit the longer text is cut on the right, then both.
    ///
    /// Options and errors are those of `classify`; so is what it returns, one a pair.
    #[pyo3(signature = (
        pairs, *, top_k=None, scoring=None, max_tokens=None, batch_tokens=None, progress=None
    ))]
    fn classify_pairs(
        &self,
        py: Python<'_>,
        pairs: Pairs,
        top_k: Option<Count>,
        scoring: Option<ScoringName>,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<Classes>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let mut options = ClassifyOptions::default().run(job.options.clone());
        options.top_k = top_k.given(py, "top_k")?;
        options.scoring = scoring.given(py, "scoring")?;
        let given = pairs.all();
        let found = job.run(py, self, size(&given), || model.classify_pairs(&given, &options))?;
        Ok(found.into_iter().map(Classes::from).collect())
    }

    /// The entities of each text, one list a text, in their order.
    ///
    /// `aggregation`: how tokens are joined. Default: "none", an entity a token.
    /// `ignore`: classes that are left out. Default: "O".
    /// `stride`: tokens that a window shares with the one before, for texts beyond the limit.
    /// Default: no windows, the text is cut on the right.
    /// `max_tokens`, `batch_tokens`, `progress`: as in `classify`.
    ///
    /// Raises as `classify`, ValueError for windows without an aggregation, whose tokens would come
    /// twice, UnsupportedError for an aggregation that is not known.
    #[pyo3(signature = (
        texts, *, aggregation=None, ignore=None, stride=None, max_tokens=None, batch_tokens=None,
        progress=None
    ))]
    fn token_classify(
        &self,
        py: Python<'_>,
        texts: Texts,
        aggregation: Option<AggregationName>,
        ignore: Option<Texts>,
        stride: Option<Count>,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<Vec<Entity>>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let mut options = TokenOptions::default().run(job.options.clone());
        options.aggregation = aggregation.given(py, "aggregation")?.unwrap_or_default();
        options.ignore = ignore.map(|labels| Some(labels).given(py, "ignore")).transpose()?;
        options.stride = stride.given(py, "stride")?;
        let given = texts.all();
        let bytes = given.iter().map(|text| text.len()).sum();
        let found = job.run(py, self, bytes, || model.token_classify(&given, &options))?;
        let entity = |text: &str, entity: emberform::Entity| {
            let place = char_range(text, entity.start..entity.end);
            let place = place.map_err(|error| raise(py, error))?;
            Ok(Entity {
                label: entity.label,
                score: entity.score,
                start: place.start,
                end: place.end,
                text: entity.text,
                token: entity.token,
            })
        };
        let all = given.iter().zip(found);
        all.map(|(text, found)| found.into_iter().map(|one| entity(text, one)).collect()).collect()
    }

    /// The parts of a passage that answer a question, best first.
    ///
    /// `top_k`: answers. Default: 1.
    /// `no_answer`: whether there may be no answer, which is then one with an empty text.
    /// `max_answer_tokens`: most tokens of an answer. Default: 15.
    /// `max_tokens`: tokens of a window, question included. Default: 384.
    /// `stride`: tokens of the passage that a window shares with the one before. Default: 128, and
    /// at most half of a window.
    /// `tokens`: whether an answer is made of tokens as they are; else it begins and ends with a
    /// word.
    /// `batch_tokens`, `progress`: as in `classify`, windows counted.
    ///
    /// Raises as `classify`, ValueError for a passage without a token or a question that leaves no
    /// room for it.
    #[pyo3(signature = (
        question, passage, *, top_k=None, no_answer=false, max_answer_tokens=None, max_tokens=None,
        stride=None, tokens=false, batch_tokens=None, progress=None
    ))]
    fn answer(
        &self,
        py: Python<'_>,
        question: PyBackedStr,
        passage: PyBackedStr,
        top_k: Option<Count>,
        no_answer: bool,
        max_answer_tokens: Option<Count>,
        max_tokens: Option<Count>,
        stride: Option<Count>,
        tokens: bool,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<Answer>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let mut options = AnswerOptions::default().run(job.options.clone());
        options.top_k = top_k.given(py, "top_k")?;
        options.no_answer = no_answer;
        options.max_answer_tokens = max_answer_tokens.given(py, "max_answer_tokens")?;
        options.stride = stride.given(py, "stride")?;
        options.tokens = tokens;
        let bytes = question.len() + passage.len();
        let found = job.run(py, self, bytes, || model.answer(&question, &passage, &options))?;
        let answer = |answer: emberform::Answer| {
            let place = char_range(&passage, answer.start..answer.end);
            let place = place.map_err(|error| raise(py, error))?;
            let (score, text) = (answer.score, answer.text);
            Ok(Answer { score, start: place.start, end: place.end, text })
        };
        found.into_iter().map(answer).collect()
    }

    /// Which of the caller's labels a text is of, by a head for entailment.
    ///
    /// `template`: the sentence that a label makes, with "{}" for the label. Default: "This example
    /// is {}."
    /// `multi_label`: whether several labels can be right, so that each has a probability of its
    /// own; else they add to 1.
    /// `max_tokens`, `batch_tokens`, `progress`: as in `classify`.
    ///
    /// Raises as `classify`, MissingError without a label that begins with "entail", ValueError for no
    /// label or a template without "{}".
    #[pyo3(signature = (
        text, labels, *, template=None, multi_label=false, max_tokens=None, batch_tokens=None,
        progress=None
    ))]
    fn zero_shot(
        &self,
        py: Python<'_>,
        text: PyBackedStr,
        labels: Texts,
        template: Option<String>,
        multi_label: bool,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Classes> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let mut options = ZeroShotOptions::default().run(job.options.clone());
        options.template = template;
        options.multi_label = multi_label;
        let given = labels.all();
        let bytes = text.len() * given.len();
        let found = job.run(py, self, bytes, || model.zero_shot(&text, &given, &options))?;
        Ok(found.into())
    }

    /// Documents by how well they fit a query, best first: a cross-encoder reads each with the
    /// query. Scores are what sentence-transformers' `CrossEncoder` gives.
    ///
    /// `max_tokens`, `batch_tokens`, `progress`: as in `classify`.
    ///
    /// Raises as `classify`, MissingError without a head with one label.
    #[pyo3(signature = (query, documents, *, max_tokens=None, batch_tokens=None, progress=None))]
    fn rerank(
        &self,
        py: Python<'_>,
        query: PyBackedStr,
        documents: Texts,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<Ranked>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let given = documents.all();
        let bytes = given.iter().map(|text| text.len() + query.len()).sum();
        let found = job.run(py, self, bytes, || model.rerank(&query, &given, &job.options))?;
        let ranked = |one: emberform::Ranked| Ranked { index: one.index, score: one.score };
        Ok(found.into_iter().map(ranked).collect())
    }

    /// The sparse vector of each text, one a text, in their order: a weight for each token of the
    /// vocabulary that the text is about, by the head over words (SPLADE). What sentence-transformers'
    /// `SparseEncoder` computes for the same folder.
    ///
    /// `max_tokens`, `batch_tokens`, `progress`: as in `classify`.
    ///
    /// Raises as `classify`, MissingError without a head over words.
    #[pyo3(signature = (texts, *, max_tokens=None, batch_tokens=None, progress=None))]
    fn sparse(
        &self,
        py: Python<'_>,
        texts: Texts,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<Sparse>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let given = texts.all();
        let bytes = given.iter().map(|text| text.len()).sum();
        let found = job.run(py, self, bytes, || model.sparse(&given, &job.options))?;
        Ok(found.into_iter().map(Sparse).collect())
    }

    /// A vector for each token of each text, to compare token by token with `TokenVectors.max_sim`
    /// (ColBERT): what sentence-transformers' `MultiVectorEncoder` computes for the same folder, as
    /// PyLate or sentence-transformers saved it.
    ///
    /// `role`: "query" for what is searched for, "document" for what is found: the two are marked and
    /// cut differently.
    /// `max_tokens`, `batch_tokens`, `progress`: as in `classify`.
    ///
    /// Raises MissingError for a folder that does not say how token vectors are made; else as `embed`.
    #[pyo3(signature = (texts, role, *, max_tokens=None, batch_tokens=None, progress=None))]
    fn embed_tokens(
        &self,
        py: Python<'_>,
        texts: Texts,
        role: RoleName,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<TokenVectors>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let role = role.given(py, "role")?;
        let given = texts.all();
        let bytes = given.iter().map(|text| text.len()).sum();
        let found = job.run(py, self, bytes, || model.embed_tokens(&given, role, &job.options))?;
        Ok(found.into_iter().map(TokenVectors).collect())
    }

    /// The probability that the second text of each pair follows the first: BERT's next sentence,
    /// ALBERT's order of sentences. One number a pair, from 0 to 1.
    ///
    /// `max_tokens`, `batch_tokens`, `progress`: as in `classify`.
    ///
    /// Raises as `classify`.
    #[pyo3(signature = (pairs, *, max_tokens=None, batch_tokens=None, progress=None))]
    fn follows(
        &self,
        py: Python<'_>,
        pairs: Pairs,
        max_tokens: Option<Count>,
        batch_tokens: Option<Count>,
        progress: Option<Progress>,
    ) -> PyResult<Vec<f32>> {
        let (model, job) = (self.get(py)?, Job::new(py, max_tokens, batch_tokens, progress)?);
        let given = pairs.all();
        job.run(py, self, size(&given), || model.follows(&given, &job.options))
    }
}
