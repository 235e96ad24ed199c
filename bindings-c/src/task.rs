//! Tasks
//!
//! What an encoder with a head answers: words behind masks, classes, entities, parts of passages,
//! order. Labels, places and scores are those of transformers' pipelines. Which head a model has,
//! its files say.

use std::ffi::{c_char, c_void};
use std::mem::offset_of;
use std::sync::Arc;

use emberform::{
    Answer, AnswerOptions, Class, Classes, ClassifyOptions, Entity, Fill, FillOptions, RunOptions,
    Sparse, TextRole, TokenOptions, TokenVectors, ZeroShotOptions,
};

use crate::cancel::ember_cancel_token;
use crate::device::at;
use crate::embed::{self, ember_progress_function};
use crate::handle::{self, item, results};
use crate::model::{Opened, ember_model, set_size, set_switch};
use crate::raw::{self, Options};
use crate::status::{Outcome, ember_error, ember_status, ember_text};

/// Tokens for the masks of a text: a row a mask, likeliest first.
pub struct ember_fills {
    _opaque: (),
}

/// Classes of texts: a row a text, best first.
pub struct ember_classes {
    _opaque: (),
}

/// Entities of texts: a row a text, in their order.
pub struct ember_entities {
    _opaque: (),
}

/// Answers to a question, best first.
pub struct ember_answers {
    _opaque: (),
}

/// Sparse vectors of texts, one a text.
pub struct ember_sparse_vectors {
    _opaque: (),
}

/// Vectors of texts' tokens, one list a text.
pub struct ember_token_vectors {
    _opaque: (),
}

/// Two texts that belong together.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_pair {
    /// The first text.
    pub first: *const c_char,
    /// Its bytes, or EMBER_NUL for "up to the NUL".
    pub first_len: usize,
    /// The second text.
    pub second: *const c_char,
    /// Its bytes, or EMBER_NUL for "up to the NUL".
    pub second_len: usize,
}

/// A token for a mask.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_fill {
    /// Its probability among all tokens of the vocabulary.
    pub score: f32,
    /// Its id.
    pub id: u32,
    /// Its text.
    pub token: ember_text,
    /// The text with the mask replaced. With several masks the others stay, and special tokens are
    /// written out, as transformers does.
    pub text: ember_text,
}

/// A class of a text.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_class {
    /// Its name: `id2label` of the config, or what the caller called it.
    pub label: ember_text,
    /// Its number among the head's labels, or among those that the caller gave.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

/// A part of a text with a class.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_entity {
    /// The class; of joined tokens without its `B-` or `I-`.
    pub label: ember_text,
    /// That part of the text.
    pub text: ember_text,
    /// Where it begins, in bytes of the text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
    /// The token's place among the text's tokens, special ones included; `(size_t)EMBER_UNSET` where
    /// several were joined.
    pub token: usize,
    /// Its probability; of joined tokens the mean.
    pub score: f32,
}

/// An answer: a part of the passage, or none.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_answer {
    /// That part of the passage; empty for the answer that there is none.
    pub text: ember_text,
    /// Where it begins, in bytes of the passage.
    pub start: usize,
    /// Where it ends; `start` for the answer that there is none.
    pub end: usize,
    /// Its probability; of the same words in several places, or windows, the sum.
    pub score: f32,
}

/// A vector over the vocabulary that is zero nearly everywhere.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_sparse {
    /// The ids of tokens with a weight, in ascending order.
    pub ids: *const u32,
    /// The weight of each, above 0.
    pub weights: *const f32,
    /// How many there are.
    pub len: usize,
    /// Tokens of the text that were left out to keep to the limit.
    pub cut: usize,
}

/// The vectors of a text's tokens, each of length 1.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_token_rows {
    /// The numbers, vector after vector in the order of the tokens, [len, width].
    pub values: *const f32,
    /// The ids of the tokens that have a vector, special ones and markers among them.
    pub ids: *const u32,
    /// How many vectors there are.
    pub len: usize,
    /// Numbers in a vector.
    pub width: usize,
    /// Tokens of the text that were left out to keep to the limit.
    pub cut: usize,
}

/// A document and how well it fits a query.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_ranked {
    /// Its place among the documents that were given.
    pub index: usize,
    /// Its score.
    pub score: f32,
}

/// How a task is run, whatever it is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_run_options {
    /// `sizeof(ember_run_options)`; EMBER_RUN_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Most tokens of a text, or of a pair, special ones included. EMBER_UNSET: what the files say.
    pub max_tokens: usize,
    /// Most tokens of a batch, padding included. EMBER_UNSET: 512 on a CPU; 2048 on a GPU, on
    /// one with memory of its own up to 16384, fewer the wider the model is.
    pub batch_tokens: usize,
    /// Stops the work from another thread; NULL for none.
    pub cancel: *const ember_cancel_token,
    /// Told how far the work is, after each batch; NULL for none.
    pub progress: ember_progress_function,
    /// Handed on to `progress`.
    pub progress_user: *mut c_void,
}

impl Options for ember_run_options {
    const FIRST: usize = offset_of!(Self, progress_user) + size_of::<*mut c_void>();
    fn defaults() -> Self {
        ember_run_options {
            struct_size: size_of::<Self>(),
            max_tokens: usize::MAX,
            batch_tokens: usize::MAX,
            cancel: std::ptr::null(),
            progress: None,
            progress_user: std::ptr::null_mut(),
        }
    }
}

/// What is chosen about filling masks.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_fill_options {
    /// `sizeof(ember_fill_options)`; EMBER_FILL_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Tokens for a mask. EMBER_UNSET: 5.
    pub top_k: usize,
    /// Only these tokens, each one token of the vocabulary, ended by a NUL.
    pub targets: *const *const c_char,
    /// How many; 0 for all tokens.
    pub target_count: usize,
    /// How it is run; NULL is all defaults.
    pub run: *const ember_run_options,
}

impl Options for ember_fill_options {
    const FIRST: usize = offset_of!(Self, run) + size_of::<*const ember_run_options>();
    fn defaults() -> Self {
        ember_fill_options {
            struct_size: size_of::<Self>(),
            top_k: usize::MAX,
            targets: std::ptr::null(),
            target_count: 0,
            run: std::ptr::null(),
        }
    }
}

/// What is chosen about classes of texts.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_classify_options {
    /// `sizeof(ember_classify_options)`; EMBER_CLASSIFY_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Classes of a text. EMBER_UNSET: all.
    pub top_k: usize,
    /// What becomes of logits: `softmax`, `sigmoid` or `none`. NULL: as `problem_type` of the config
    /// says; else softmax, or sigmoid where there is one label.
    pub scoring: *const c_char,
    /// How it is run; NULL is all defaults.
    pub run: *const ember_run_options,
}

impl Options for ember_classify_options {
    const FIRST: usize = offset_of!(Self, run) + size_of::<*const ember_run_options>();
    fn defaults() -> Self {
        ember_classify_options {
            struct_size: size_of::<Self>(),
            top_k: usize::MAX,
            scoring: std::ptr::null(),
            run: std::ptr::null(),
        }
    }
}

/// What is chosen about classes of tokens.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_token_options {
    /// `sizeof(ember_token_options)`; EMBER_TOKEN_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// How tokens are joined: `none`, `simple`, `first`, `average` or `max`. NULL is `none`.
    pub aggregation: *const c_char,
    /// Classes that are left out, each ended by a NUL. NULL: `O`.
    pub ignore: *const *const c_char,
    /// How many.
    pub ignore_count: usize,
    /// Tokens that a window shares with the one before, for texts beyond the limit. EMBER_UNSET: no
    /// windows, the text is cut on the right.
    pub stride: usize,
    /// How it is run; NULL is all defaults.
    pub run: *const ember_run_options,
}

impl Options for ember_token_options {
    const FIRST: usize = offset_of!(Self, run) + size_of::<*const ember_run_options>();
    fn defaults() -> Self {
        ember_token_options {
            struct_size: size_of::<Self>(),
            aggregation: std::ptr::null(),
            ignore: std::ptr::null(),
            ignore_count: 0,
            stride: usize::MAX,
            run: std::ptr::null(),
        }
    }
}

/// What is chosen about answers.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_answer_options {
    /// `sizeof(ember_answer_options)`; EMBER_ANSWER_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// Answers. EMBER_UNSET: 1.
    pub top_k: usize,
    /// Most tokens of an answer. EMBER_UNSET: 15.
    pub max_answer_tokens: usize,
    /// Tokens of the passage that a window shares with the one before. EMBER_UNSET: 128, and at most
    /// half of a window.
    pub stride: usize,
    /// 1: there may be no answer, which is then one with an empty text; 0 or EMBER_UNSET: there is
    /// one.
    pub no_answer: i32,
    /// 1: an answer is made of tokens as they are; 0 or EMBER_UNSET: it begins and ends with a word.
    pub tokens: i32,
    /// How it is run; NULL is all defaults. A window is `max_tokens` of it, else 384.
    pub run: *const ember_run_options,
}

impl Options for ember_answer_options {
    const FIRST: usize = offset_of!(Self, run) + size_of::<*const ember_run_options>();
    fn defaults() -> Self {
        ember_answer_options {
            struct_size: size_of::<Self>(),
            top_k: usize::MAX,
            max_answer_tokens: usize::MAX,
            stride: usize::MAX,
            no_answer: -1,
            tokens: -1,
            run: std::ptr::null(),
        }
    }
}

/// What is chosen about zero-shot classes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ember_zero_shot_options {
    /// `sizeof(ember_zero_shot_options)`; EMBER_ZERO_SHOT_OPTIONS_INIT sets it.
    pub struct_size: usize,
    /// The sentence that a label makes, with `{}` for the label, ended by a NUL. NULL: `This example
    /// is {}.`
    pub template_text: *const c_char,
    /// 1: several labels can be right, so that each has a probability of its own; 0 or EMBER_UNSET:
    /// they add to 1.
    pub multi_label: i32,
    /// How it is run; NULL is all defaults.
    pub run: *const ember_run_options,
}

impl Options for ember_zero_shot_options {
    const FIRST: usize = offset_of!(Self, run) + size_of::<*const ember_run_options>();
    fn defaults() -> Self {
        ember_zero_shot_options {
            struct_size: size_of::<Self>(),
            template_text: std::ptr::null(),
            multi_label: -1,
            run: std::ptr::null(),
        }
    }
}

fn run(given: *const ember_run_options) -> Outcome<RunOptions> {
    let given = raw::options(given)?;
    let watched = (given.cancel, given.progress, given.progress_user);
    embed::run(given.max_tokens, given.batch_tokens, watched)
}

fn classify(given: *const ember_classify_options) -> Outcome<ClassifyOptions> {
    let given = raw::options(given)?;
    let mut options = ClassifyOptions::default().run(run(given.run)?);
    options.top_k = set_size(given.top_k);
    options.scoring =
        raw::optional_string("scoring", given.scoring)?.map(str::parse).transpose()?;
    Ok(options)
}

/// Texts of options, each ended by a NUL.
fn names(name: &str, texts: *const *const c_char, count: usize) -> Outcome<Vec<String>> {
    let texts = raw::texts(name, texts, std::ptr::null(), count)?;
    Ok(texts.into_iter().map(String::from).collect())
}

fn pairs<'a>(given: *const ember_pair, count: usize) -> Outcome<Vec<(&'a str, &'a str)>> {
    let given = raw::slice("pairs", given, count)?;
    let mut pairs = raw::reserved(count)?;
    for (i, pair) in given.iter().enumerate() {
        let first = raw::text(&format!("pairs[{i}].first"), pair.first, pair.first_len)?;
        let second = raw::text(&format!("pairs[{i}].second"), pair.second, pair.second_len)?;
        pairs.push((first, second));
    }
    Ok(pairs)
}

results! {
    Vec<Vec<Fill>>: ember_fills, "fills";
    Vec<Classes>: ember_classes, "classes";
    Vec<Vec<Entity>>: ember_entities, "entities";
    Vec<Answer>: ember_answers, "answers";
    Vec<Sparse>: ember_sparse_vectors, "vectors";
    Vec<TokenVectors>: ember_token_vectors, "vectors";
}

/// The likeliest tokens for each mask of a text of `len` bytes, or up to the NUL with EMBER_NUL.
/// `options` may be NULL.
///
/// Errors: EMBER_ERROR_MISSING without a tokenizer, a mask token or a head for it;
/// EMBER_ERROR_ARGUMENT for a text without a mask or an option out of range; EMBER_ERROR_TOO_LONG for
/// a text beyond the limit; EMBER_ERROR_CANCELLED; EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_fill_mask(
    model: *const ember_model,
    text: *const c_char,
    len: usize,
    options: *const ember_fill_options,
    fills_out: *mut *mut ember_fills,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let text = raw::text("text", text, len)?;
        let given = raw::options(options)?;
        let mut options = FillOptions::default().run(run(given.run)?);
        options.top_k = set_size(given.top_k);
        options.targets = names("targets", given.targets, given.target_count)?;
        let out = raw::out("fills_out", fills_out)?;
        handle::give(out, opened.model.fill_mask(text, &options)?)
    })
}

/// How many masks the text had; 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_fills_count(fills: *const ember_fills) -> usize {
    handle::ask(fills, 0, |fills: Arc<Vec<Vec<Fill>>>| fills.len())
}

/// Token number `index` for mask number `mask`, likeliest first; EMBER_DONE after the last. Its texts
/// live as long as `fills`. `fill_size` is `sizeof(ember_fill)`.
///
/// Errors: EMBER_ERROR_ARGUMENT when there is no such mask.
#[unsafe(no_mangle)]
pub extern "C" fn ember_fills_get(
    fills: *const ember_fills,
    mask: usize,
    index: usize,
    fill_out: *mut ember_fill,
    fill_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(fills, error, |fills: Arc<Vec<Vec<Fill>>>| {
        let row = at("mask", &fills, mask)?;
        item("fill_out", (fill_out, fill_size), row, index, |fill: &Fill| ember_fill {
            score: fill.score,
            id: fill.id,
            token: ember_text::of(&fill.token),
            text: ember_text::of(&fill.text),
        })
    })
}

/// Frees the tokens.
#[unsafe(no_mangle)]
pub extern "C" fn ember_fills_free(fills: *mut ember_fills) {
    handle::free::<Vec<Vec<Fill>>>(fills)
}

/// The classes of each of `count` texts. Text i is `lengths[i]` bytes long; `lengths` may be NULL
/// when each is ended by a NUL. A text beyond the limit is cut on the right. `options` may be NULL.
///
/// Errors: EMBER_ERROR_MISSING without a tokenizer or a head for it; EMBER_ERROR_ARGUMENT for an
/// option out of range; EMBER_ERROR_UNSUPPORTED for a scoring that is none; EMBER_ERROR_CANCELLED;
/// EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_classify(
    model: *const ember_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const ember_classify_options,
    classes_out: *mut *mut ember_classes,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, lengths, count)?;
        let options = classify(options)?;
        let out = raw::out("classes_out", classes_out)?;
        handle::give(out, opened.model.classify(&texts, &options)?)
    })
}

/// The classes of each of `count` pairs of texts, such as a premise and a hypothesis. Of a pair
/// beyond the limit the longer text is cut on the right, then both. `options` may be NULL.
///
/// Errors: as ember_model_classify.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_classify_pairs(
    model: *const ember_model,
    pairs: *const ember_pair,
    count: usize,
    options: *const ember_classify_options,
    classes_out: *mut *mut ember_classes,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let pairs = self::pairs(pairs, count)?;
        let options = classify(options)?;
        let out = raw::out("classes_out", classes_out)?;
        handle::give(out, opened.model.classify_pairs(&pairs, &options)?)
    })
}

/// Which of the caller's labels a text is of, by a head for entailment: it is asked whether the text
/// entails the sentence that each label makes. There are `label_count` labels, each ended by a NUL;
/// the text has `len` bytes, or goes up to the NUL with EMBER_NUL. `options` may be NULL. The result
/// has one row.
///
/// Errors: EMBER_ERROR_MISSING without such a head, whose config names a label that begins with
/// `entail`; EMBER_ERROR_ARGUMENT for no label or a template without `{}`; else as
/// ember_model_classify.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_zero_shot(
    model: *const ember_model,
    text: *const c_char,
    len: usize,
    labels: *const *const c_char,
    label_count: usize,
    options: *const ember_zero_shot_options,
    classes_out: *mut *mut ember_classes,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let text = raw::text("text", text, len)?;
        let labels = raw::texts("labels", labels, std::ptr::null(), label_count)?;
        let given = raw::options(options)?;
        let mut options = ZeroShotOptions::default().run(run(given.run)?);
        options.template =
            raw::optional_string("template_text", given.template_text)?.map(String::from);
        options.multi_label = set_switch("multi_label", given.multi_label)?.unwrap_or(false);
        let out = raw::out("classes_out", classes_out)?;
        handle::give(out, vec![opened.model.zero_shot(text, &labels, &options)?])
    })
}

/// How many texts or pairs there are classes of; 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_classes_count(classes: *const ember_classes) -> usize {
    handle::ask(classes, 0, |classes: Arc<Vec<Classes>>| classes.len())
}

/// How many tokens of text number `row` were left out to keep to the limit; 0 for a handle or a row
/// that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_classes_cut(classes: *const ember_classes, row: usize) -> usize {
    handle::ask(classes, 0, |classes: Arc<Vec<Classes>>| classes.get(row).map_or(0, |row| row.cut))
}

/// Class number `index` of text number `row`, best first; EMBER_DONE after the last. Its label lives
/// as long as `classes`. `class_size` is `sizeof(ember_class)`.
///
/// Errors: EMBER_ERROR_ARGUMENT when there is no such row.
#[unsafe(no_mangle)]
pub extern "C" fn ember_classes_get(
    classes: *const ember_classes,
    row: usize,
    index: usize,
    class_out: *mut ember_class,
    class_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(classes, error, |classes: Arc<Vec<Classes>>| {
        let row = &at("row", &classes, row)?.classes;
        item("class_out", (class_out, class_size), row, index, |class: &Class| ember_class {
            label: ember_text::of(&class.label),
            index: class.index,
            score: class.score,
        })
    })
}

/// Frees the classes.
#[unsafe(no_mangle)]
pub extern "C" fn ember_classes_free(classes: *mut ember_classes) {
    handle::free::<Vec<Classes>>(classes)
}

/// The entities of each of `count` texts. Text i is `lengths[i]` bytes long; `lengths` may be NULL
/// when each is ended by a NUL. `options` may be NULL.
///
/// Errors: EMBER_ERROR_ARGUMENT for windows without an aggregation, whose tokens would come twice;
/// EMBER_ERROR_UNSUPPORTED for an aggregation that is none; else as ember_model_classify.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_token_classify(
    model: *const ember_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const ember_token_options,
    entities_out: *mut *mut ember_entities,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, lengths, count)?;
        let given = raw::options(options)?;
        let mut options = TokenOptions::default().run(run(given.run)?);
        if let Some(aggregation) = raw::optional_string("aggregation", given.aggregation)? {
            options.aggregation = aggregation.parse()?;
        }
        if !given.ignore.is_null() {
            options.ignore = Some(names("ignore", given.ignore, given.ignore_count)?);
        }
        options.stride = set_size(given.stride);
        let out = raw::out("entities_out", entities_out)?;
        handle::give(out, opened.model.token_classify(&texts, &options)?)
    })
}

/// How many texts there are entities of; 0 for a handle that is none.
#[unsafe(no_mangle)]
pub extern "C" fn ember_entities_count(entities: *const ember_entities) -> usize {
    handle::ask(entities, 0, |entities: Arc<Vec<Vec<Entity>>>| entities.len())
}

/// Entity number `index` of text number `row`, in the order of the text; EMBER_DONE after the last.
/// Its texts live as long as `entities`. `entity_size` is `sizeof(ember_entity)`.
///
/// Errors: EMBER_ERROR_ARGUMENT when there is no such row.
#[unsafe(no_mangle)]
pub extern "C" fn ember_entities_get(
    entities: *const ember_entities,
    row: usize,
    index: usize,
    entity_out: *mut ember_entity,
    entity_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(entities, error, |entities: Arc<Vec<Vec<Entity>>>| {
        let row = at("row", &entities, row)?;
        item("entity_out", (entity_out, entity_size), row, index, |entity: &Entity| ember_entity {
            label: ember_text::of(&entity.label),
            text: ember_text::of(&entity.text),
            start: entity.start,
            end: entity.end,
            token: entity.token.unwrap_or(usize::MAX),
            score: entity.score,
        })
    })
}

/// Frees the entities.
#[unsafe(no_mangle)]
pub extern "C" fn ember_entities_free(entities: *mut ember_entities) {
    handle::free::<Vec<Vec<Entity>>>(entities)
}

/// The parts of a passage that answer a question, best first; a long passage is read in windows. Each
/// text has so many bytes, or goes up to the NUL with EMBER_NUL. `options` may be NULL.
///
/// Errors: EMBER_ERROR_ARGUMENT for a passage without a token or a question that leaves no room for
/// it; else as ember_model_classify.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_answer(
    model: *const ember_model,
    question: *const c_char,
    question_len: usize,
    passage: *const c_char,
    passage_len: usize,
    options: *const ember_answer_options,
    answers_out: *mut *mut ember_answers,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let question = raw::text("question", question, question_len)?;
        let passage = raw::text("passage", passage, passage_len)?;
        let given = raw::options(options)?;
        let mut options = AnswerOptions::default().run(run(given.run)?);
        options.top_k = set_size(given.top_k);
        options.max_answer_tokens = set_size(given.max_answer_tokens);
        options.stride = set_size(given.stride);
        options.no_answer = set_switch("no_answer", given.no_answer)?.unwrap_or(false);
        options.tokens = set_switch("tokens", given.tokens)?.unwrap_or(false);
        let out = raw::out("answers_out", answers_out)?;
        handle::give(out, opened.model.answer(question, passage, &options)?)
    })
}

/// Answer number `index`, best first; EMBER_DONE after the last. Its text lives as long as `answers`.
/// `answer_size` is `sizeof(ember_answer)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_answers_get(
    answers: *const ember_answers,
    index: usize,
    answer_out: *mut ember_answer,
    answer_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(answers, error, |answers: Arc<Vec<Answer>>| {
        item("answer_out", (answer_out, answer_size), &answers, index, |answer: &Answer| {
            ember_answer {
                text: ember_text::of(&answer.text),
                start: answer.start,
                end: answer.end,
                score: answer.score,
            }
        })
    })
}

/// Frees the answers.
#[unsafe(no_mangle)]
pub extern "C" fn ember_answers_free(answers: *mut ember_answers) {
    handle::free::<Vec<Answer>>(answers)
}

/// `count` documents by how well they fit a query, best first: a cross-encoder reads each with the
/// query. Scores are what sentence-transformers' CrossEncoder gives. The query has `query_len` bytes,
/// or goes up to the NUL with EMBER_NUL; document i is `lengths[i]` bytes long, `lengths` may be NULL
/// when each is ended by a NUL. Writes `count` results to `out`; `out_len` says how many it holds.
/// `options` may be NULL.
///
/// Errors: EMBER_ERROR_MISSING without a head with one label; EMBER_ERROR_ARGUMENT when `out` is too
/// short; else as ember_model_classify.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_rerank(
    model: *const ember_model,
    query: *const c_char,
    query_len: usize,
    documents: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const ember_run_options,
    out: *mut ember_ranked,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let query = raw::text("query", query, query_len)?;
        let documents = raw::texts("documents", documents, lengths, count)?;
        let options = run(options)?;
        let out = raw::buffer("out", out, out_len, count)?;
        let found = opened.model.rerank(query, &documents, &options)?;
        let mut ranked = raw::reserved(found.len())?;
        ranked.extend(found.iter().map(|one| ember_ranked { index: one.index, score: one.score }));
        out.fill(&ranked)
    })
}

/// The sparse vector of each of `count` texts: a weight for each token of the vocabulary that the text is
/// about, by the head over words (SPLADE). What sentence-transformers' SparseEncoder computes for the
/// same folder. Text i is `lengths[i]` bytes long; `lengths` may be NULL when each is ended by a NUL.
/// `options` may be NULL.
///
/// Errors: EMBER_ERROR_MISSING without a head over words; else as ember_model_classify.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_sparse(
    model: *const ember_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    options: *const ember_run_options,
    vectors_out: *mut *mut ember_sparse_vectors,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, lengths, count)?;
        let options = run(options)?;
        let out = raw::out("vectors_out", vectors_out)?;
        handle::give(out, opened.model.sparse(&texts, &options)?)
    })
}

/// The vector of text number `index`; EMBER_DONE after the last. Its arrays live as long as `vectors`.
/// `sparse_size` is `sizeof(ember_sparse)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_sparse_vectors_get(
    vectors: *const ember_sparse_vectors,
    index: usize,
    sparse_out: *mut ember_sparse,
    sparse_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(vectors, error, |vectors: Arc<Vec<Sparse>>| {
        item("sparse_out", (sparse_out, sparse_size), &vectors, index, |sparse: &Sparse| {
            ember_sparse {
                ids: sparse.ids.as_ptr(),
                weights: sparse.weights.as_ptr(),
                len: sparse.ids.len(),
                cut: sparse.cut,
            }
        })
    })
}

/// The product of vector number `index` with vector number `other_index` of `others`, which may be
/// `vectors`: how alike the two texts are.
///
/// Errors: EMBER_ERROR_ARGUMENT when there is no such vector.
#[unsafe(no_mangle)]
pub extern "C" fn ember_sparse_vectors_dot(
    vectors: *const ember_sparse_vectors,
    index: usize,
    others: *const ember_sparse_vectors,
    other_index: usize,
    product_out: *mut f32,
    error: *mut ember_error,
) -> ember_status {
    handle::with(vectors, error, |vectors: Arc<Vec<Sparse>>| {
        let others: Arc<Vec<Sparse>> = handle::get("others", others)?;
        let out = raw::out("product_out", product_out)?;
        out.set(at("index", &vectors, index)?.dot(at("other_index", &others, other_index)?));
        Ok(())
    })
}

/// Frees the vectors.
#[unsafe(no_mangle)]
pub extern "C" fn ember_sparse_vectors_free(vectors: *mut ember_sparse_vectors) {
    handle::free::<Vec<Sparse>>(vectors)
}

/// A vector for each token of each of `count` texts, to compare token by token with
/// ember_token_vectors_max_sim (ColBERT): what sentence-transformers' MultiVectorEncoder computes for the
/// same folder. Text i is `lengths[i]` bytes long; `lengths` may be NULL when each is ended by a NUL.
/// `role`, ended by a NUL, is `query` for what is searched for and `document` for what is found: the two
/// are marked and cut differently. `options` may be NULL.
///
/// Errors: EMBER_ERROR_MISSING without a tokenizer, or for a folder that does not say how token vectors
/// are made; EMBER_ERROR_ARGUMENT for another role or an option out of range; EMBER_ERROR_CANCELLED;
/// EMBER_ERROR_DEVICE; EMBER_ERROR_NOT_FINITE.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_embed_tokens(
    model: *const ember_model,
    texts: *const *const c_char,
    lengths: *const usize,
    count: usize,
    role: *const c_char,
    options: *const ember_run_options,
    vectors_out: *mut *mut ember_token_vectors,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let texts = raw::texts("texts", texts, lengths, count)?;
        let role: TextRole = raw::string("role", role)?.parse()?;
        let options = run(options)?;
        let out = raw::out("vectors_out", vectors_out)?;
        handle::give(out, opened.model.embed_tokens(&texts, role, &options)?)
    })
}

/// The vectors of text number `index`; EMBER_DONE after the last. Their arrays live as long as `vectors`.
/// `rows_size` is `sizeof(ember_token_rows)`.
#[unsafe(no_mangle)]
pub extern "C" fn ember_token_vectors_get(
    vectors: *const ember_token_vectors,
    index: usize,
    rows_out: *mut ember_token_rows,
    rows_size: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(vectors, error, |vectors: Arc<Vec<TokenVectors>>| {
        item("rows_out", (rows_out, rows_size), &vectors, index, |rows: &TokenVectors| {
            ember_token_rows {
                values: rows.as_slice().as_ptr(),
                ids: rows.ids().as_ptr(),
                len: rows.len(),
                width: rows.width(),
                cut: rows.cut(),
            }
        })
    })
}

/// How well text number `document` of `documents` answers text number `query` of `queries`: the sum, over
/// the query's vectors, of the largest product with one of the document's (MaxSim). 0 for a document
/// without a vector, or vectors of another width.
///
/// Errors: EMBER_ERROR_ARGUMENT when there is no such text.
#[unsafe(no_mangle)]
pub extern "C" fn ember_token_vectors_max_sim(
    queries: *const ember_token_vectors,
    query: usize,
    documents: *const ember_token_vectors,
    document: usize,
    score_out: *mut f32,
    error: *mut ember_error,
) -> ember_status {
    handle::with(queries, error, |queries: Arc<Vec<TokenVectors>>| {
        let documents: Arc<Vec<TokenVectors>> = handle::get("documents", documents)?;
        let out = raw::out("score_out", score_out)?;
        out.set(at("query", &queries, query)?.max_sim(at("document", &documents, document)?));
        Ok(())
    })
}

/// Frees the vectors.
#[unsafe(no_mangle)]
pub extern "C" fn ember_token_vectors_free(vectors: *mut ember_token_vectors) {
    handle::free::<Vec<TokenVectors>>(vectors)
}

/// The probability that the second text of each of `count` pairs follows the first: BERT's next
/// sentence, ALBERT's order of sentences. Writes `count` floats to `out`; `out_len` counts floats.
/// `options` may be NULL.
///
/// Errors: EMBER_ERROR_ARGUMENT when `out` is too short; else as ember_model_classify.
#[unsafe(no_mangle)]
pub extern "C" fn ember_model_follows(
    model: *const ember_model,
    pairs: *const ember_pair,
    count: usize,
    options: *const ember_run_options,
    out: *mut f32,
    out_len: usize,
    error: *mut ember_error,
) -> ember_status {
    handle::with(model, error, |opened: Arc<Opened>| {
        let pairs = self::pairs(pairs, count)?;
        let options = run(options)?;
        let out = raw::buffer("out", out, out_len, count)?;
        out.fill(&opened.model.follows(&pairs, &options)?)
    })
}
