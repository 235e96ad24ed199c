//! What a next token may and must be, whatever the model thinks: the rules that the files of
//! encoder-decoders have, and the caller's.

/// Rules for the scores of next tokens.
///
/// # Source
/// `LogitsProcessor`s of transformers, in the order in which it applies them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    /// No row of so many tokens comes twice; 0 is off (arXiv:1705.04304, section 2.5).
    pub no_repeat_ngram: usize,
    /// Rows of tokens that never come.
    pub bad_words: Vec<Vec<u32>>,
    /// Tokens to be generated before one that ends the text.
    pub min_tokens: usize,
    /// Tokens that end the text.
    pub ends: Vec<u32>,
    /// The first token, where the target has only its start.
    pub first: Option<u32>,
    /// The last token that there is room for, one of these.
    pub last: Vec<u32>,
    /// Tokens that never come.
    pub suppress: Vec<u32>,
    /// Tokens that do not come first.
    pub suppress_first: Vec<u32>,
    /// The most tokens that are generated.
    pub max_tokens: Option<usize>,
}

impl Rules {
    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.no_repeat_ngram == 0
            && self.min_tokens == 0
            && self.first.is_none()
            && [&self.last, &self.suppress, &self.suppress_first].into_iter().all(Vec::is_empty)
            && self.bad_words.is_empty()
    }

    /// Applies the rules to `scores` `[V]` of what follows `given`, of which the caller has
    /// generated none, and `made`.
    pub(crate) fn apply(&self, scores: &mut [f32], given: &[u32], made: &[u32]) {
        let mut forbid = |ids: &[u32]| {
            for id in ids {
                if let Some(score) = scores.get_mut(*id as usize) {
                    *score = f32::NEG_INFINITY;
                }
            }
        };
        let count = given.len() + made.len();
        if self.no_repeat_ngram > 0 || !self.bad_words.is_empty() {
            let ids: Vec<u32> = [given, made].concat();
            if let Some(before) = self.no_repeat_ngram.checked_sub(1)
                && count >= before
            {
                let last = &ids[count - before..];
                for row in ids.windows(self.no_repeat_ngram).filter(|row| row.starts_with(last)) {
                    forbid(&row[before..]);
                }
            }
            for word in &self.bad_words {
                if let Some((last, before)) = word.split_last()
                    && word.len() <= count.max(1)
                    && ids.ends_with(before)
                {
                    forbid(&[*last]);
                }
            }
        }
        if made.len() < self.min_tokens {
            forbid(&self.ends);
        }
        let alone = |scores: &mut [f32], ids: &[u32]| {
            scores.fill(f32::NEG_INFINITY);
            for id in ids {
                if let Some(score) = scores.get_mut(*id as usize) {
                    *score = 0.0;
                }
            }
        };
        if let Some(first) = self.first.filter(|_| count == 1) {
            alone(scores, &[first]);
        }
        if !self.last.is_empty() && self.max_tokens == Some(made.len() + 1) {
            alone(scores, &self.last);
        }
        let mut forbid = |ids: &[u32]| {
            for id in ids {
                if let Some(score) = scores.get_mut(*id as usize) {
                    *score = f32::NEG_INFINITY;
                }
            }
        };
        forbid(&self.suppress);
        if made.len() == usize::from(self.first.is_some() && given.len() == 1) {
            forbid(&self.suppress_first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(rules: Rules, given: &[u32], made: &[u32]) -> Vec<u32> {
        let mut scores = vec![1.0; 8];
        rules.apply(&mut scores, given, made);
        (0..8).filter(|id| scores[*id as usize] > f32::NEG_INFINITY).collect()
    }

    #[test]
    fn rows_do_not_come_twice() {
        let rules = Rules { no_repeat_ngram: 2, ..Rules::default() };
        assert_eq!(left(rules.clone(), &[1, 2, 3], &[1]), [0, 1, 3, 4, 5, 6, 7]);
        assert_eq!(left(rules, &[5], &[]), [0, 1, 2, 3, 4, 5, 6, 7]);
        let rules = Rules { no_repeat_ngram: 1, ..Rules::default() };
        assert_eq!(left(rules, &[1, 2], &[5]), [0, 3, 4, 6, 7]);
    }

    #[test]
    fn words_do_not_come() {
        let rules = Rules { bad_words: vec![vec![7], vec![3, 4], vec![]], ..Rules::default() };
        assert_eq!(left(rules.clone(), &[1, 3], &[]), [0, 1, 2, 3, 5, 6]);
        assert_eq!(left(rules, &[1, 2], &[]), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn first_and_last_are_what_they_must_be() {
        let rules = Rules {
            first: Some(4),
            last: vec![2],
            max_tokens: Some(3),
            suppress_first: vec![6],
            min_tokens: 3,
            ends: vec![2],
            ..Rules::default()
        };
        assert_eq!(left(rules.clone(), &[0], &[]), [4]);
        assert_eq!(left(rules.clone(), &[0], &[4]), [0, 1, 3, 4, 5, 7]);
        assert_eq!(left(rules, &[0], &[4, 5]), [2]);
    }
}
