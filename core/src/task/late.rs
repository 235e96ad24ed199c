//! A vector for each token of a text, compared token by token: late interaction (ColBERT,
//! arXiv:2004.12832; arXiv:2112.01488).

use std::str::FromStr;

use burn::tensor::{Int, Tensor, TensorData};

use super::RunOptions;
use crate::embed::{EmbedOptions, Late};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::nn::by_length;
use crate::output::{finite, read};
use crate::text::Tokenizer;

/// What a text is in a search: the two are marked and cut differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextRole {
    /// What is searched for. Mask tokens fill it up to a length, and have vectors as well.
    Query,
    /// What is found. Tokens of the skip list (punctuation, say) have no vector.
    Document,
}

impl FromStr for TextRole {
    type Err = Error;

    /// Reads `query` and `document`.
    fn from_str(name: &str) -> Result<Self> {
        match name {
            "query" => Ok(TextRole::Query),
            "document" => Ok(TextRole::Document),
            _ => Err(Error::argument("role", format!("is `{name}`, not query or document"))),
        }
    }
}

/// The vectors of a text's tokens, each of length 1.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenVectors {
    values: Vec<f32>,
    width: usize,
    ids: Vec<u32>,
    cut: usize,
}

impl TokenVectors {
    /// Numbers in a vector.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many vectors there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no vector.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The ids of the tokens that have a vector, special ones and markers among them.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// The vectors in the order of the tokens.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        (0..self.len()).map(|i| &self.values[i * self.width..(i + 1) * self.width])
    }

    /// All numbers, vector after vector.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// Tokens of the text that were left out to keep to the limit.
    pub fn cut(&self) -> usize {
        self.cut
    }

    /// How well a document answers this query: the sum, over the query's vectors, of the largest
    /// product with one of the document's (MaxSim). 0 for a document without a vector, or vectors
    /// of another width.
    pub fn max_sim(&self, document: &TokenVectors) -> f32 {
        if document.is_empty() || document.width != self.width {
            return 0.0;
        }
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
        let best = |query: &[f32]| {
            document.rows().map(|row| dot(query, row)).fold(f32::NEG_INFINITY, f32::max)
        };
        self.rows().map(best).sum()
    }
}

/// A text's tokens, ready for the network.
struct Row {
    ids: Vec<u32>,
    types: Vec<u32>,
    /// How many of the first tokens are seen.
    seen: usize,
    /// Which tokens have a vector.
    places: Vec<usize>,
    cut: usize,
}

impl Late {
    fn row(
        &self,
        model: &Model,
        tokenizer: &Tokenizer,
        given: &str,
        role: TextRole,
        most: Option<usize>,
        skipped: &[u32],
    ) -> Result<Row> {
        let (side, expansion) = match role {
            TextRole::Query => (&self.query, self.expansion.as_ref()),
            TextRole::Document => (&self.document, None),
        };
        let fixed = expansion.filter(|expansion| expansion.fixed);
        let own = fixed.map(|expansion| expansion.length).or(side.length);
        let limit = most.or(own).unwrap_or(usize::MAX).min(model.spec().window);
        // A marker that is a token is put there as one: its text might become several.
        let marker = Some(&side.marker[..]).filter(|marker| !marker.is_empty());
        let token = marker
            .and_then(|marker| tokenizer.id(marker).or_else(|| tokenizer.id(marker.trim_end())));
        let cased = model.embedder().case(given);
        let (text, room) = match (marker, token) {
            (Some(_), Some(_)) => (cased, limit.saturating_sub(1)),
            (Some(marker), None) => (format!("{}{cased}", model.embedder().case(marker)), limit),
            (None, _) => (cased, limit),
        };
        let encoding = tokenizer.encode_batch(&[&text], true, Some(room))?.pop();
        let encoding = encoding.unwrap_or_else(|| unreachable!("a text gives an encoding"));
        let (mut ids, mut types, cut) = (encoding.ids, encoding.type_ids, encoding.cut);
        if let Some(token) = token {
            let place = usize::from(encoding.special.first() == Some(&true));
            ids.insert(place, token);
            types.insert(place, 0);
        }
        let mut seen = ids.len();
        let mut places: Vec<usize> = match role {
            TextRole::Query => (0..seen).collect(),
            TextRole::Document => (0..seen).filter(|i| !skipped.contains(&ids[*i])).collect(),
        };
        if let Some(expansion) = expansion {
            let filler = match &expansion.token {
                Some(token) => tokenizer.id(token),
                None => model.labels().mask,
            };
            let filler = filler.ok_or_else(|| Error::Missing {
                call: CALL,
                what: "a mask token, which fills queries up; the tokenizer has none".to_string(),
            })?;
            let length = expansion.length.min(limit).max(seen);
            ids.resize(length, filler);
            types.resize(length, 0);
            places = (0..length).collect();
            if expansion.seen {
                seen = length;
            }
        }
        Ok(Row { ids, types, seen, places, cut })
    }
}

const CALL: &str = "embed_tokens";

impl Model {
    /// A vector for each token of each text, to compare token by token with
    /// [`TokenVectors::max_sim`]: what sentence-transformers' `MultiVectorEncoder` computes for the
    /// same folder, as PyLate or sentence-transformers saved it.
    ///
    /// ```no_run
    /// # use emberform::{Model, RunOptions, TextRole};
    /// let model = Model::open("models/colbert")?;
    /// let options = RunOptions::default();
    /// let query = &model.embed_tokens(&["who sat?"], TextRole::Query, &options)?[0];
    /// let texts = ["A cat sat.", "A dog lay."];
    /// for document in model.embed_tokens(&texts, TextRole::Document, &options)? {
    ///     println!("{:.2}", query.max_sim(&document));
    /// }
    /// # Ok::<(), emberform::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Missing`] without a tokenizer, or for a folder that does not say how token vectors
    /// are made; else as [`embed`](Self::embed).
    pub fn embed_tokens(
        &self,
        texts: &[&str],
        role: TextRole,
        options: &RunOptions,
    ) -> Result<Vec<TokenVectors>> {
        let tokenizer = self.need_tokenizer(CALL)?;
        let late = self.embedder().late().ok_or_else(|| Error::Missing {
            call: CALL,
            what: "how token vectors are made: `MultiVectorMask` in `modules.json`, or PyLate's \
                   keys (`query_prefix`) in `config_sentence_transformers.json`"
                .to_string(),
        })?;
        if let Some(most) = options.max_tokens {
            let window = self.spec().window;
            if most < 2 || most > window {
                let problem = format!("is {most}, not from 2 to {window}");
                return Err(Error::argument("max_tokens", problem));
            }
        }
        let bound = self.batch_tokens(options.batch_tokens)?;
        let skipped: Vec<u32> = match role {
            TextRole::Query => vec![],
            TextRole::Document => {
                late.skipped.iter().filter_map(|word| tokenizer.id(word)).collect()
            }
        };
        let row = |text: &&str| {
            let row = late.row(self, tokenizer, text, role, options.max_tokens, &skipped)?;
            self.check_ids(&row.ids)?;
            self.check_types(&row.types)?;
            self.check_length(row.ids.len())?;
            Ok(row)
        };
        let rows = texts.iter().map(row).collect::<Result<Vec<Row>>>()?;
        let width = self.width();
        let nothing = |row: &Row| TokenVectors { values: vec![], width, ids: vec![], cut: row.cut };
        let mut found: Vec<TokenVectors> = rows.iter().map(nothing).collect();
        let lengths: Vec<usize> = rows.iter().map(|row| row.ids.len()).collect();
        let mut done = lengths.iter().filter(|length| **length == 0).count();
        for batch in by_length(&lengths, bound) {
            let values = self.guarded(|| self.late_batch(&rows, &batch, options))?;
            let mut rest = &values[..];
            for i in &batch {
                let row = &rows[*i];
                let (own, after) = rest.split_at(row.places.len() * width);
                rest = after;
                found[*i].values = own.to_vec();
                found[*i].ids = row.places.iter().map(|place| row.ids[*place]).collect();
            }
            done += batch.len();
            if let Some(progress) = &options.progress {
                progress.tell(done, texts.len());
            }
        }
        Ok(found)
    }

    /// The vectors of a batch, row after row.
    fn late_batch(&self, rows: &[Row], batch: &[usize], options: &RunOptions) -> Result<Vec<f32>> {
        let ids: Vec<&[u32]> = batch.iter().map(|i| &rows[*i].ids[..]).collect();
        let types: Vec<&[u32]> = batch.iter().map(|i| &rows[*i].types[..]).collect();
        let mut input = self.task_batch(&ids, &types);
        let tokens = input.tokens();
        if batch.iter().any(|i| rows[*i].seen < rows[*i].ids.len()) {
            let seen: Vec<usize> = batch.iter().map(|i| rows[*i].seen).collect();
            input.see(&seen, self.tensor_device());
        }
        let hidden = self.hidden(input, None, options.cancel.as_ref())?; // [B, T, D]
        let [b, t, d] = hidden.dims();
        let place = |(b, i): (usize, &usize)| {
            rows[*i].places.iter().map(move |place| (b * tokens + place) as i32)
        };
        let picks: Vec<i32> = batch.iter().enumerate().flat_map(place).collect();
        if picks.is_empty() {
            return Ok(Vec::new());
        }
        let picks = TensorData::new(picks.clone(), [picks.len()]);
        let picks = Tensor::<1, Int>::from_data(picks, &hidden.device());
        let states = hidden.reshape([b * t, d]).select(0, picks); // [N, D]
        let vectors =
            self.embedder().after_pooling(states, &EmbedOptions::default().normalize(true));
        finite("token vectors", read(vectors, self.device())?)
    }
}
