// emberform.hpp - the C interface for C++17: handles that free themselves, exceptions, ranges.
//
// What each call does, and which errors it has, stands in emberform.h at the function of the same
// name. Objects move and do not copy. A `const` method may run on any number of threads at once.
#ifndef EMBERFORM_HPP
#define EMBERFORM_HPP

#include "emberform.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#if defined(__has_include)
#if __has_include(<version>)
#include <version>
#endif
#endif
#ifdef __cpp_lib_span
#include <span>
#endif

namespace emberform {

#ifdef __cpp_lib_span
template <class T>
using span = std::span<T>;
#else
// A view of values that somebody else owns, where std::span is missing.
template <class T>
class span {
  public:
    span() = default;
    span(T *data, std::size_t size) : data_(data), size_(size) {}
    template <class Container, class = std::enable_if_t<std::is_convertible<
                                   decltype(std::declval<Container &>().data()), T *>::value>>
    span(Container &&values) : data_(values.data()), size_(values.size()) {}
    T *data() const { return data_; }
    std::size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    T *begin() const { return data_; }
    T *end() const { return data_ + size_; }
    T &operator[](std::size_t i) const { return data_[i]; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

// What every failing call throws: the sentence, and the status as a number.
class Error : public std::runtime_error {
  public:
    explicit Error(const ember_error &error, std::optional<std::size_t> sequence = std::nullopt)
        : std::runtime_error(error.message), code_(error.status), sequence_(sequence) {}
    ember_status code() const noexcept { return code_; }
    // The number of the sequence of a Batch that it happened to.
    std::optional<std::size_t> sequence() const noexcept { return sequence_; }

  private:
    ember_status code_;
    std::optional<std::size_t> sequence_;
};

namespace detail {

inline std::string_view view(ember_text text) { return {text.data, text.len}; }
inline std::string copy(ember_text text) { return {text.data, text.len}; }

// Runs a call of the C interface; true unless it says EMBER_DONE.
template <class Call>
bool run(Call call) {
    ember_error error;
    ember_status status = call(&error);
    if (status >= EMBER_ERROR_ARGUMENT) throw Error(error);
    return status != EMBER_DONE;
}

template <class T, void (*free_)(T *)>
struct Free {
    void operator()(T *handle) const { free_(handle); }
};
template <class T, void (*free_)(T *)>
using Handle = std::unique_ptr<T, Free<T, free_>>;

// What a call of the C interface hands out.
template <class T, class Call>
T *made(Call call) {
    T *handle = nullptr;
    run([&](ember_error *error) { return call(&handle, error); });
    return handle;
}

// A text that a call of the C interface writes to a buffer, once its length is known.
template <class Container, class Call>
Container written(Call call) {
    std::size_t len = 0;
    run([&](ember_error *error) {
        return call(static_cast<typename Container::pointer>(nullptr), 0, &len, error);
    });
    Container values(len, typename Container::value_type());
    if (len > 0)
        run([&](ember_error *error) { return call(&values[0], values.size(), &len, error); });
    return values;
}

// The pointers and lengths of texts.
struct Texts {
    std::vector<const char *> data;
    std::vector<std::size_t> lengths;
    explicit Texts(span<const std::string_view> texts) {
        for (std::string_view text : texts) {
            data.push_back(text.data() != nullptr ? text.data() : "");
            lengths.push_back(text.size());
        }
    }
};

// A text of ours as the C interface takes it: never NULL.
inline const char *begin(std::string_view text) {
    return text.data() != nullptr ? text.data() : "";
}

}  // namespace detail

// What is chosen for a generation; what is not set is as the model's files advise.
struct GenerateOptions {
    std::optional<std::size_t> max_tokens, top_k, penalty_window, logprobs, prefill_chunk;
    std::optional<float> temperature, top_p, min_p, repetition_penalty;
    float frequency_penalty = 0, presence_penalty = 0;
    std::optional<std::uint64_t> seed;
    std::vector<std::string> stop;
    std::vector<std::uint32_t> stop_ids;
    bool ignore_eos = false;
    std::optional<std::size_t> min_tokens, no_repeat_ngram;
    std::optional<std::vector<std::vector<std::uint32_t>>> bad_words;
    std::optional<std::vector<std::uint32_t>> suppress;
    std::optional<std::uint32_t> first_token;
};

// Stops work that was given it, from another thread.
class CancelToken {
  public:
    CancelToken() : handle_(detail::made<ember_cancel_token>(ember_cancel_token_new)) {}
    void cancel() const { ember_cancel_token_cancel(handle_.get()); }
    const ember_cancel_token *get() const { return handle_.get(); }

  private:
    detail::Handle<ember_cancel_token, ember_cancel_token_free> handle_;
};

// What is chosen about embedding; what is not set is as the model's folder says.
struct EmbedOptions {
    std::optional<bool> normalize;
    std::optional<std::string> prompt, prompt_name, pooling;
    std::optional<std::size_t> max_tokens, dimensions, batch_tokens;
    // Must live until the call returns.
    const CancelToken *cancel = nullptr;
    // Told how many texts are done, and of how many. What it throws stops the work and comes out of
    // the call, unless `cancel` is set: then all texts are embedded first.
    std::function<void(std::size_t, std::size_t)> progress;
};

// How a task is run, whatever it is; what is not set is as the model's files say.
struct RunOptions {
    std::optional<std::size_t> max_tokens, batch_tokens;
    // Must live until the call returns.
    const CancelToken *cancel = nullptr;
    // As that of EmbedOptions.
    std::function<void(std::size_t, std::size_t)> progress;
};

// What is chosen about filling masks.
struct FillOptions {
    std::optional<std::size_t> top_k;
    std::vector<std::string> targets;  // only these tokens, unless there are none
    RunOptions run;
};

// What is chosen about classes of texts.
struct ClassifyOptions {
    std::optional<std::size_t> top_k;
    std::optional<std::string> scoring;  // softmax, sigmoid, none
    RunOptions run;
};

// What is chosen about classes of tokens.
struct TokenOptions {
    std::optional<std::string> aggregation;  // none, simple, first, average, max
    std::optional<std::vector<std::string>> ignore;
    std::optional<std::size_t> stride;
    RunOptions run;
};

// What is chosen about answers.
struct AnswerOptions {
    std::optional<std::size_t> top_k, max_answer_tokens, stride;
    bool no_answer = false, tokens = false;
    RunOptions run;
};

// What is chosen about zero-shot classes.
struct ZeroShotOptions {
    std::optional<std::string> template_text;  // with `{}` for the label
    bool multi_label = false;
    RunOptions run;
};

// What is chosen about a forward pass.
struct ForwardOptions {
    // Must live until the call returns.
    const CancelToken *cancel = nullptr;
    // Of an encoder-decoder: the target's ids for each row, which is then the source's.
    std::optional<std::vector<std::vector<std::uint32_t>>> decoder_ids;
    // Layers whose hidden states and attention weights to keep.
    std::vector<std::size_t> hidden_states, attentions;
};

// What is chosen for a beam search; what is not set is as the model's files advise.
struct BeamOptions {
    std::optional<std::size_t> beams, sequences;
    std::optional<float> length_penalty;
    std::optional<std::string> early_stopping;  // full, likely, never
    // Must live until the call returns.
    const CancelToken *cancel = nullptr;
};

namespace detail {

// The pointers and lengths of rows of ids.
struct Rows {
    std::vector<const std::uint32_t *> data;
    std::vector<std::size_t> lengths;
    explicit Rows(span<const std::vector<std::uint32_t>> rows) {
        for (const std::vector<std::uint32_t> &row : rows) {
            data.push_back(row.data());
            lengths.push_back(row.size());
        }
    }
};

// The first of some values; not NULL where there are none, which would say that none were given.
template <class T>
const T *begins_at(const std::vector<T> &values) {
    static const T none{};
    return values.empty() ? &none : values.data();
}

// Options of a generation in C's words, with what they point to.
struct Generate {
    ember_generate_options to = EMBER_GENERATE_OPTIONS_INIT;
    std::vector<const char *> stop;
    std::optional<Rows> bad_words;
    explicit Generate(const GenerateOptions &from);
    Generate(const Generate &) = delete;
    Generate &operator=(const Generate &) = delete;
};

inline Generate::Generate(const GenerateOptions &from) {
    to.max_tokens = from.max_tokens.value_or(to.max_tokens);
    to.temperature = from.temperature.value_or(to.temperature);
    to.top_k = from.top_k.value_or(to.top_k);
    to.top_p = from.top_p.value_or(to.top_p);
    to.min_p = from.min_p.value_or(to.min_p);
    to.repetition_penalty = from.repetition_penalty.value_or(to.repetition_penalty);
    to.frequency_penalty = from.frequency_penalty;
    to.presence_penalty = from.presence_penalty;
    to.penalty_window = from.penalty_window.value_or(to.penalty_window);
    to.seed = from.seed.value_or(to.seed);
    for (const std::string &text : from.stop) stop.push_back(text.c_str());
    to.stop = stop.data();
    to.stop_count = stop.size();
    to.stop_ids = from.stop_ids.data();
    to.stop_id_count = from.stop_ids.size();
    to.logprobs = from.logprobs.value_or(to.logprobs);
    to.prefill_chunk = from.prefill_chunk.value_or(to.prefill_chunk);
    to.ignore_eos = from.ignore_eos ? 1 : 0;
    to.min_tokens = from.min_tokens.value_or(to.min_tokens);
    to.no_repeat_ngram = from.no_repeat_ngram.value_or(to.no_repeat_ngram);
    if (from.bad_words) {
        bad_words.emplace(*from.bad_words);
        to.bad_words = begins_at(bad_words->data);
        to.bad_word_lengths = begins_at(bad_words->lengths);
        to.bad_word_count = bad_words->data.size();
    }
    if (from.suppress) {
        to.suppress = begins_at(*from.suppress);
        to.suppress_count = from.suppress->size();
    }
    if (from.first_token) to.first_token = *from.first_token;
}

// Work through C that can be cancelled and tells how far it is: what its function throws waits until
// the call has returned.
class Watch {
  public:
    // `to`: options of C, which point here from now on.
    template <class From, class To>
    Watch(const From &from, To &to) : function_(from.progress) {
        if (from.cancel != nullptr) to.cancel = from.cancel->get();
        if (!function_) return;
        if (from.cancel == nullptr) {
            stop_.emplace();
            to.cancel = stop_->get();
        }
        to.progress = tell;
        to.progress_user = this;
    }
    Watch(const Watch &) = delete;
    Watch &operator=(const Watch &) = delete;

    // Runs a call.
    template <class Call>
    void run(Call call) const {
        ember_error error;
        ember_status status = call(&error);
        if (thrown_) std::rethrow_exception(thrown_);
        if (status >= EMBER_ERROR_ARGUMENT) throw Error(error);
    }

  private:
    static void tell(void *user, std::size_t done, std::size_t count) noexcept {
        Watch &self = *static_cast<Watch *>(user);
        if (self.thrown_) return;
        try {
            self.function_(done, count);
        } catch (...) {
            self.thrown_ = std::current_exception();
            if (self.stop_) self.stop_->cancel();
        }
    }

    const std::function<void(std::size_t, std::size_t)> &function_;
    std::optional<CancelToken> stop_; // for a function that throws
    std::exception_ptr thrown_;
};

// Options of a task in C's words, with what they point to.
struct Run {
    ember_run_options options = EMBER_RUN_OPTIONS_INIT;
    Watch watch;
    explicit Run(const RunOptions &from) : watch(from, options) {
        options.max_tokens = from.max_tokens.value_or(options.max_tokens);
        options.batch_tokens = from.batch_tokens.value_or(options.batch_tokens);
    }
    // What a call of the C interface hands out, in its handle.
    template <class Handle, class Call>
    Handle made(Call call) const {
        typename Handle::pointer handle = nullptr;
        Handle owned;
        watch.run([&](ember_error *error) {
            ember_status status = call(&handle, error);
            owned.reset(handle);
            return status;
        });
        return owned;
    }
};

// The texts of options, each ended by a NUL.
inline std::vector<const char *> begins(span<const std::string> texts) {
    std::vector<const char *> all;
    for (const std::string &text : texts) all.push_back(text.c_str());
    return all;
}

// The options in C's words.
inline ember_embed_options convert(const EmbedOptions &from) {
    ember_embed_options to = EMBER_EMBED_OPTIONS_INIT;
    if (from.normalize) to.normalize = *from.normalize ? 1 : 0;
    to.prompt = from.prompt ? from.prompt->c_str() : nullptr;
    to.prompt_name = from.prompt_name ? from.prompt_name->c_str() : nullptr;
    to.pooling = from.pooling ? from.pooling->c_str() : nullptr;
    to.max_tokens = from.max_tokens.value_or(to.max_tokens);
    to.dimensions = from.dimensions.value_or(to.dimensions);
    to.batch_tokens = from.batch_tokens.value_or(to.batch_tokens);
    return to;
}

}  // namespace detail

// A token as it was chosen.
struct Token {
    std::uint32_t id;
    float logprob;
    std::vector<std::pair<std::uint32_t, float>> top;
};

namespace detail {

inline Token token(const ember_token &found) {
    Token token{found.id, found.logprob, {}};
    for (std::size_t i = 0; i < found.top_len; i++)
        token.top.emplace_back(found.top[i].id, found.top[i].logprob);
    return token;
}

}  // namespace detail

// Text as it is generated: `for (std::string_view piece : stream)`. A piece lives until the next.
class Stream {
  public:
    explicit Stream(ember_stream *handle) : handle_(handle) {}

    // The next piece; nothing at the end.
    std::optional<std::string_view> next() {
        ember_text piece;
        if (!detail::run([&](ember_error *error) {
                return ember_stream_next(handle_.get(), &piece, error);
            }))
            return std::nullopt;
        return detail::view(piece);
    }

    // The token behind the last piece, if there is one.
    std::optional<Token> token() {
        ember_token found;
        if (!detail::run([&](ember_error *error) {
                return ember_stream_token(handle_.get(), &found, sizeof found, error);
            }))
            return std::nullopt;
        return detail::token(found);
    }

    // All text that is still to come.
    std::string text() {
        ember_text text;
        detail::run([&](ember_error *error) {
            return ember_stream_text(handle_.get(), &text, error);
        });
        return std::string(detail::view(text));
    }

    // Counts, times, and why it ended.
    ember_stats stats() {
        ember_stats stats;
        detail::run([&](ember_error *error) {
            return ember_stream_stats(handle_.get(), &stats, sizeof stats, error);
        });
        return stats;
    }

    // Stops the stream; from any thread.
    void cancel() const { ember_stream_cancel(handle_.get()); }

    class iterator {
      public:
        using iterator_category = std::input_iterator_tag;
        using value_type = std::string_view;
        using difference_type = std::ptrdiff_t;
        using pointer = const std::string_view *;
        using reference = const std::string_view &;
        iterator() = default;
        explicit iterator(Stream *stream) : stream_(stream) { ++*this; }
        reference operator*() const { return piece_; }
        iterator &operator++() {
            std::optional<std::string_view> piece = stream_->next();
            if (piece) piece_ = *piece;
            else stream_ = nullptr;
            return *this;
        }
        void operator++(int) { ++*this; }
        bool operator==(const iterator &other) const { return stream_ == other.stream_; }
        bool operator!=(const iterator &other) const { return stream_ != other.stream_; }

      private:
        Stream *stream_ = nullptr;
        std::string_view piece_;
    };
    iterator begin() { return iterator(this); }
    iterator end() { return iterator(); }

  private:
    detail::Handle<ember_stream, ember_stream_free> handle_;
};

// Sequences that are decoded together: `while (auto next = batch.next())`. A token of all is one
// forward pass on the CPU; each gives the tokens that it gives alone. They are numbered from 0 in the
// order in which they were added.
class Batch {
  public:
    explicit Batch(ember_batch *handle) : handle_(handle) {}

    // Adds a text to continue, or a source to answer; gives its number.
    std::size_t add(std::string_view prompt, const GenerateOptions &options = {}) {
        detail::Generate given(options);
        std::size_t sequence = 0;
        detail::run([&](ember_error *error) {
            return ember_batch_add(handle_.get(), detail::begin(prompt), prompt.size(), &given.to,
                                   &sequence, error);
        });
        return sequence;
    }
    std::size_t add_ids(span<const std::uint32_t> ids, const GenerateOptions &options = {}) {
        detail::Generate given(options);
        std::size_t sequence = 0;
        detail::run([&](ember_error *error) {
            return ember_batch_add_ids(handle_.get(), ids.data(), ids.size(), &given.to, &sequence,
                                       error);
        });
        return sequence;
    }

    // The number of a sequence and its next piece, which lives until the next one; nothing when all have
    // ended. What goes wrong with a sequence is thrown, with its number; the others go on with the next
    // call.
    std::optional<std::pair<std::size_t, std::string_view>> next() {
        const std::size_t none = static_cast<std::size_t>(-1);
        std::size_t sequence = none;
        ember_text piece;
        ember_error error;
        ember_status status = ember_batch_next(handle_.get(), &sequence, &piece, &error);
        if (status >= EMBER_ERROR_ARGUMENT)
            throw sequence == none ? Error(error) : Error(error, sequence);
        if (status == EMBER_DONE) return std::nullopt;
        return std::pair(sequence, detail::view(piece));
    }

    // The token behind the last piece, if there is one.
    std::optional<Token> token() {
        ember_token found;
        if (!detail::run([&](ember_error *error) {
                return ember_batch_token(handle_.get(), &found, sizeof found, error);
            }))
            return std::nullopt;
        return detail::token(found);
    }

    // Counts and times of a sequence, and why it ended; nothing where there is none of this number.
    std::optional<ember_stats> stats(std::size_t sequence) {
        ember_stats stats;
        if (!detail::run([&](ember_error *error) {
                return ember_batch_stats(handle_.get(), sequence, &stats, sizeof stats, error);
            }))
            return std::nullopt;
        return stats;
    }

    // Sequences that have not ended.
    std::size_t running() {
        std::size_t count = 0;
        detail::run([&](ember_error *error) {
            return ember_batch_running(handle_.get(), &count, error);
        });
        return count;
    }
    // Bytes that keys and values of all sequences take.
    std::size_t cache_bytes() {
        std::size_t bytes = 0;
        detail::run([&](ember_error *error) {
            return ember_batch_cache_bytes(handle_.get(), &bytes, error);
        });
        return bytes;
    }

    // Ends a sequence and forgets it; whether there was one of this number.
    bool remove(std::size_t sequence) {
        return detail::run([&](ember_error *error) {
            return ember_batch_remove(handle_.get(), sequence, error);
        });
    }

    // Stops all sequences, later ones too, or one of them; from any thread.
    void cancel() const { ember_batch_cancel(handle_.get()); }
    void cancel(std::size_t sequence) const { ember_batch_cancel_one(handle_.get(), sequence); }

  private:
    detail::Handle<ember_batch, ember_batch_free> handle_;
};

// A row of tokens that beam search found: the tokens after the prompt, their text without special tokens,
// and the sum of their log-probabilities over their number to the power of the length penalty.
struct Beam {
    std::vector<std::uint32_t> ids;
    std::string text;
    float score = 0;
};

namespace detail {

// Runs a beam search, and copies its rows out.
template <class Call>
std::vector<Beam> beams(const GenerateOptions &options, const BeamOptions &from, Call call) {
    Generate generate(options);
    ember_beam_options given = EMBER_BEAM_OPTIONS_INIT;
    given.beams = from.beams.value_or(given.beams);
    given.sequences = from.sequences.value_or(given.sequences);
    given.length_penalty = from.length_penalty ? &*from.length_penalty : nullptr;
    given.early_stopping = from.early_stopping ? from.early_stopping->c_str() : nullptr;
    given.cancel = from.cancel != nullptr ? from.cancel->get() : nullptr;
    Handle<ember_beams, ember_beams_free> found(made<ember_beams>([&](auto out, ember_error *error) {
        return call(&generate.to, &given, out, error);
    }));
    std::vector<Beam> rows;
    ember_beam one;
    while (run([&](ember_error *error) {
        return ember_beams_get(found.get(), rows.size(), &one, sizeof one, error);
    }))
        rows.push_back({{one.ids, one.ids + one.len}, copy(one.text), one.score});
    return rows;
}

}  // namespace detail

// Embeddings, one row a text.
class Embeddings {
  public:
    Embeddings(std::vector<float> values, std::size_t width, std::vector<std::size_t> cut)
        : values_(std::move(values)), width_(width), cut_(std::move(cut)) {}
    std::size_t size() const { return cut_.size(); }
    std::size_t width() const { return width_; }
    span<const float> operator[](std::size_t i) const {
        return span<const float>(values_.data() + i * width_, width_);
    }
    // All numbers, row after row.
    const std::vector<float> &values() const { return values_; }
    // Tokens of each text that were beyond the limit and left out.
    const std::vector<std::size_t> &cut() const { return cut_; }
    // The cosine of the angle between rows `i` and `j`, from -1 to 1; 0 when one is all zeros
    // or is not there.
    float cosine(std::size_t i, std::size_t j) const {
        float cosine = 0;
        if (i >= size() || j >= size()) return cosine;
        detail::run([&](ember_error *error) {
            return ember_cosine((*this)[i].data(), (*this)[j].data(), width_, &cosine, error);
        });
        return cosine;
    }
    // The rows nearest to a vector of this width by cosine, best first.
    std::vector<ember_neighbor> nearest(span<const float> query, std::size_t count = 10) const {
        std::vector<ember_neighbor> found(std::min(count, size()));
        std::size_t len = 0;
        detail::run([&](ember_error *error) {
            return ember_nearest(query.data(), query.size(), values_.data(), size(), width_,
                                 found.data(), found.size(), &len, error);
        });
        return found;
    }

  private:
    std::vector<float> values_;
    std::size_t width_;
    std::vector<std::size_t> cut_;
};

// Two texts that belong together.
using Pair = std::pair<std::string_view, std::string_view>;

// A token for a mask.
struct Fill {
    float score = 0;
    std::uint32_t id = 0;
    std::string token, text;
};

// A class of a text.
struct Class {
    std::string label;
    std::size_t index = 0;
    float score = 0;
};

// The classes of a text, best first, and how many of its tokens were left out.
struct Classes {
    std::vector<Class> classes;
    std::size_t cut = 0;
};

// A part of a text with a class; `token` is not set where several were joined.
struct Entity {
    std::string label, text;
    std::size_t start = 0, end = 0;
    std::optional<std::size_t> token;
    float score = 0;
};

// An answer: a part of the passage, or none, which is an empty one.
struct Answer {
    std::string text;
    std::size_t start = 0, end = 0;
    float score = 0;
};

// A vector over the vocabulary that is zero nearly everywhere: ids in ascending order, their weights.
struct Sparse {
    std::vector<std::uint32_t> ids;
    std::vector<float> weights;
    std::size_t cut = 0;
    // Where it is in C.
    std::shared_ptr<const ember_sparse_vectors> from;
    std::size_t index = 0;

    // The product with another: how alike the two texts are.
    float dot(const Sparse &other) const {
        float product = 0;
        detail::run([&](ember_error *error) {
            return ember_sparse_vectors_dot(from.get(), index, other.from.get(), other.index, &product,
                                            error);
        });
        return product;
    }
};

// The vectors of a text's tokens, each of length 1.
class TokenVectors {
  public:
    // Those of text number `index`.
    TokenVectors(std::shared_ptr<const ember_token_vectors> from, std::size_t index)
        : from_(std::move(from)), index_(index) {
        detail::run([&](ember_error *error) {
            return ember_token_vectors_get(from_.get(), index_, &rows_, sizeof rows_, error);
        });
    }
    // How many vectors there are, and numbers in each.
    std::size_t size() const { return rows_.len; }
    std::size_t width() const { return rows_.width; }
    span<const float> operator[](std::size_t i) const {
        return span<const float>(rows_.values + i * rows_.width, rows_.width);
    }
    // The ids of the tokens that have a vector.
    span<const std::uint32_t> ids() const { return span<const std::uint32_t>(rows_.ids, rows_.len); }
    // All numbers, vector after vector.
    span<const float> values() const {
        return span<const float>(rows_.values, rows_.len * rows_.width);
    }
    // Tokens of the text that were left out to keep to the limit.
    std::size_t cut() const { return rows_.cut; }
    // How well a document answers this query.
    float max_sim(const TokenVectors &document) const {
        float score = 0;
        detail::run([&](ember_error *error) {
            return ember_token_vectors_max_sim(from_.get(), index_, document.from_.get(),
                                               document.index_, &score, error);
        });
        return score;
    }

  private:
    std::shared_ptr<const ember_token_vectors> from_;
    std::size_t index_;
    ember_token_rows rows_ = {};
};

// The tokens of a text.
struct Encoding {
    std::vector<std::uint32_t> ids, type_ids;
    std::vector<ember_span> offsets;
    std::vector<bool> special;
    std::size_t cut = 0;
};

// Text out of tokens that come one by one.
class DecodeStream {
  public:
    explicit DecodeStream(ember_decode_stream *handle) : handle_(handle) {}

    // The text that one more id completes, which may be none.
    std::string push(std::uint32_t id) {
        ember_text text;
        detail::run([&](ember_error *error) {
            return ember_decode_stream_push(handle_.get(), id, &text, error);
        });
        return detail::copy(text);
    }
    // The text that is left when no further id comes.
    std::string finish() {
        ember_text text;
        detail::run([&](ember_error *error) {
            return ember_decode_stream_finish(handle_.get(), &text, error);
        });
        return detail::copy(text);
    }

  private:
    detail::Handle<ember_decode_stream, ember_decode_stream_free> handle_;
};

// Text to token ids and back.
class Tokenizer {
  public:
    explicit Tokenizer(ember_tokenizer *handle) : handle_(handle) {}

    // Opens a `tokenizer.json`, the one of a folder, or that of a GGUF file.
    static Tokenizer open(const std::string &path) {
        return Tokenizer(detail::made<ember_tokenizer>([&](auto out, ember_error *error) {
            return ember_tokenizer_open(path.c_str(), out, error);
        }));
    }
    // A tokenizer from what to_bytes gave.
    static Tokenizer from_bytes(span<const std::uint8_t> bytes) {
        return Tokenizer(detail::made<ember_tokenizer>([&](auto out, ember_error *error) {
            return ember_tokenizer_from_bytes(bytes.data(), bytes.size(), out, error);
        }));
    }
    // The tokenizer by value, to be kept or sent to another process.
    std::vector<std::uint8_t> to_bytes() const {
        return detail::written<std::vector<std::uint8_t>>(
            [&](std::uint8_t *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_tokenizer_to_bytes(handle_.get(), out, room, len, error);
            });
    }

    Encoding encode(std::string_view text, bool special = true) const {
        return std::move(all([&](auto out, ember_error *error) {
            return ember_tokenizer_encode(handle_.get(), detail::begin(text), text.size(), special,
                                          out, error);
        })[0]);
    }
    // Two texts that belong together.
    Encoding encode_pair(std::string_view a, std::string_view b, bool special = true) const {
        return std::move(all([&](auto out, ember_error *error) {
            return ember_tokenizer_encode_pair(handle_.get(), detail::begin(a), a.size(),
                                               detail::begin(b), b.size(), special, out, error);
        })[0]);
    }
    // Many texts, on all cores, each with at most `limit` tokens.
    std::vector<Encoding> encode_batch(span<const std::string_view> texts, bool special = true,
                                       std::optional<std::size_t> limit = {}) const {
        detail::Texts given(texts);
        return all([&](auto out, ember_error *error) {
            return ember_tokenizer_encode_batch(
                handle_.get(), given.data.data(), given.lengths.data(), texts.size(), special,
                limit.value_or(static_cast<std::size_t>(EMBER_UNSET)), out, error);
        });
    }
    // A text in windows of at most `limit` tokens; each begins with the last `stride` of the one
    // before.
    std::vector<Encoding> encode_windows(std::string_view text, std::size_t limit,
                                         std::size_t stride = 0, bool special = true) const {
        return all([&](auto out, ember_error *error) {
            return ember_tokenizer_encode_windows(handle_.get(), detail::begin(text), text.size(),
                                                  special, limit, stride, out, error);
        });
    }

    std::string decode(span<const std::uint32_t> ids, bool skip_special = true) const {
        return detail::written<std::string>(
            [&](char *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_tokenizer_decode(handle_.get(), ids.data(), ids.size(), skip_special,
                                              out, room, len, error);
            });
    }
    // Decodes ids one by one.
    DecodeStream stream(bool skip_special = true) const {
        return DecodeStream(detail::made<ember_decode_stream>([&](auto out, ember_error *error) {
            return ember_tokenizer_stream(handle_.get(), skip_special, out, error);
        }));
    }

    std::size_t count(std::string_view text, bool special = true) const {
        std::size_t count = 0;
        detail::run([&](ember_error *error) {
            return ember_tokenizer_count(handle_.get(), detail::begin(text), text.size(), special,
                                         &count, error);
        });
        return count;
    }
    // The string of a token, and the token of a string.
    std::string token(std::uint32_t id) const {
        return detail::written<std::string>(
            [&](char *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_tokenizer_token(handle_.get(), id, out, room, len, error);
            });
    }
    std::uint32_t id(std::string_view token) const {
        std::uint32_t id = 0;
        detail::run([&](ember_error *error) {
            return ember_tokenizer_id(handle_.get(), detail::begin(token), token.size(), &id, error);
        });
        return id;
    }
    bool is_special(std::uint32_t id) const { return ember_tokenizer_is_special(handle_.get(), id); }

    // Token ids are below this.
    std::size_t size() const { return ember_tokenizer_len(handle_.get()); }

  private:
    // Runs a call that makes encodings, and copies them out.
    template <class Call>
    std::vector<Encoding> all(Call call) const {
        detail::Handle<ember_encodings, ember_encodings_free> found(
            detail::made<ember_encodings>(call));
        std::vector<Encoding> encodings(ember_encodings_count(found.get()));
        for (std::size_t i = 0; i < encodings.size(); i++) {
            ember_encoding one;
            detail::run([&](ember_error *error) {
                return ember_encodings_get(found.get(), i, &one, sizeof one, error);
            });
            encodings[i].ids.assign(one.ids, one.ids + one.len);
            encodings[i].type_ids.assign(one.type_ids, one.type_ids + one.len);
            encodings[i].offsets.assign(one.offsets, one.offsets + one.len);
            encodings[i].special.assign(one.special, one.special + one.len);
            encodings[i].cut = one.cut;
        }
        return encodings;
    }

    detail::Handle<ember_tokenizer, ember_tokenizer_free> handle_;
};

// One sequence of tokens with its cache.
class Session {
  public:
    explicit Session(ember_session *handle) : handle_(handle) {}

    void feed(span<const std::uint32_t> ids) {
        detail::run([&](ember_error *error) {
            return ember_session_feed(handle_.get(), ids.data(), ids.size(), error);
        });
    }
    void feed_text(std::string_view text) {
        detail::run([&](ember_error *error) {
            return ember_session_feed_text(handle_.get(), detail::begin(text), text.size(), error);
        });
    }
    // Reads the source of an encoder-decoder, and begins the target.
    void read_source(span<const std::uint32_t> ids) {
        detail::run([&](ember_error *error) {
            return ember_session_read_source(handle_.get(), ids.data(), ids.size(), error);
        });
    }
    // The likeliest continuations from where the session stands, which is left there, best first.
    std::vector<Beam> beams(const GenerateOptions &options = {}, const BeamOptions &beams = {}) {
        return detail::beams(options, beams, [&](auto generate, auto given, auto out, ember_error *error) {
            return ember_session_beams(handle_.get(), generate, given, out, error);
        });
    }
    // The log-odds of each next token; empty before the first.
    std::vector<float> logits() {
        return detail::written<std::vector<float>>(
            [&](float *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_session_logits(handle_.get(), out, room, len, error);
            });
    }
    // The tokens so far.
    std::vector<std::uint32_t> ids() {
        return detail::written<std::vector<std::uint32_t>>(
            [&](std::uint32_t *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_session_ids(handle_.get(), out, room, len, error);
            });
    }
    // Bytes that keys and values take.
    std::size_t cache_bytes() {
        std::size_t bytes = 0;
        detail::run([&](ember_error *error) {
            return ember_session_cache_bytes(handle_.get(), &bytes, error);
        });
        return bytes;
    }
    Stream generate(const GenerateOptions &options = {}) {
        detail::Generate given(options);
        return Stream(detail::made<ember_stream>([&](auto out, ember_error *error) {
            return ember_session_generate(handle_.get(), &given.to, out, error);
        }));
    }
    // Goes back to the first `len` tokens.
    void truncate(std::size_t len) {
        detail::run([&](ember_error *error) {
            return ember_session_truncate(handle_.get(), len, error);
        });
    }
    void reset() {
        detail::run([&](ember_error *error) { return ember_session_reset(handle_.get(), error); });
    }
    void cancel() const { ember_session_cancel(handle_.get()); }

  private:
    detail::Handle<ember_session, ember_session_free> handle_;
};

// A message of a conversation: `system`, `user`, `assistant`, ... and what is said.
struct Message {
    std::string role, content;
};

// A variable of a chat template, such as {"enable_thinking", false}.
struct Variable {
    std::string name;
    std::variant<bool, std::int64_t, std::string> value;
};

namespace detail {

inline ember_pair convert(const Pair &from) {
    return {detail::begin(from.first), from.first.size(), detail::begin(from.second),
            from.second.size()};
}

inline ember_message convert(const Message &from) {
    return {from.role.c_str(), from.content.data(), from.content.size()};
}

inline ember_variable convert(const Variable &from) {
    ember_variable to = {from.name.c_str(), EMBER_VARIABLE_TEXT, 0, nullptr};
    if (const bool *truth = std::get_if<bool>(&from.value)) {
        to.kind = EMBER_VARIABLE_BOOL;
        to.number = *truth ? 1 : 0;
    } else if (const std::int64_t *number = std::get_if<std::int64_t>(&from.value)) {
        to.kind = EMBER_VARIABLE_NUMBER;
        to.number = *number;
    } else {
        to.text = std::get<std::string>(from.value).c_str();
    }
    return to;
}

template <class To, class From>
std::vector<To> convert_all(span<const From> from) {
    std::vector<To> to;
    for (const From &one : from) to.push_back(convert(one));
    return to;
}

}  // namespace detail

// A conversation: messages in, replies out.
class Chat {
  public:
    explicit Chat(ember_chat *handle) : handle_(handle) {}

    // Sets the message that stands before all others and says how to answer.
    void system(std::string_view text) {
        detail::run([&](ember_error *error) {
            return ember_chat_system(handle_.get(), detail::begin(text), text.size(), error);
        });
    }
    // Adds a message without asking for a reply.
    void push(const Message &message) {
        ember_message given = detail::convert(message);
        detail::run([&](ember_error *error) { return ember_chat_push(handle_.get(), &given, error); });
    }
    // Sets a variable of the model's template.
    void set(const Variable &variable) {
        ember_variable given = detail::convert(variable);
        detail::run([&](ember_error *error) { return ember_chat_set(handle_.get(), &given, error); });
    }
    // Says something as the user; the reply comes as a stream.
    Stream say(std::string_view text, const GenerateOptions &options = {}) {
        detail::Generate given(options);
        return Stream(detail::made<ember_stream>([&](auto out, ember_error *error) {
            return ember_chat_say(handle_.get(), detail::begin(text), text.size(), &given.to, out, error);
        }));
    }
    // The messages so far; a reply is among them once it has ended.
    std::vector<Message> messages() {
        std::vector<Message> messages;
        ember_message message;
        while (detail::run([&](ember_error *error) {
            return ember_chat_message(handle_.get(), messages.size(), &message, sizeof message, error);
        }))
            messages.push_back({message.role, {message.content, message.content_len}});
        return messages;
    }
    // The text that the model would be asked to go on from now.
    std::string prompt() {
        return detail::written<std::string>(
            [&](char *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_chat_prompt(handle_.get(), out, room, len, error);
            });
    }
    // The tokens that the model has read.
    std::vector<std::uint32_t> ids() {
        return detail::written<std::vector<std::uint32_t>>(
            [&](std::uint32_t *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_chat_ids(handle_.get(), out, room, len, error);
            });
    }
    // Stops the reply that is being made; from any thread.
    void cancel() const { ember_chat_cancel(handle_.get()); }

  private:
    detail::Handle<ember_chat, ember_chat_free> handle_;
};

// A device of this machine.
struct Device {
    std::string id, name, kind, api, driver, why;
    std::uint64_t memory = 0;
    bool is_auto = false;
};

namespace detail {

inline Device convert(const ember_device_info &from) {
    return {copy(from.id),  copy(from.name), copy(from.kind),  copy(from.api), copy(from.driver),
            copy(from.why), from.memory,     from.is_auto};
}

}  // namespace detail

// The devices of this machine: the GPUs in the order of their numbers, then the CPU.
inline std::vector<Device> devices() {
    detail::Handle<ember_devices, ember_devices_free> found(
        detail::made<ember_devices>(ember_devices_list));
    std::vector<Device> devices;
    for (std::size_t i = 0; i < ember_devices_count(found.get()); i++) {
        ember_device_info info;
        detail::run([&](ember_error *error) {
            return ember_devices_get(found.get(), i, &info, sizeof info, error);
        });
        devices.push_back(detail::convert(info));
    }
    return devices;
}

// A comparison of a model's device with the CPU.
struct Verification {
    struct Step {
        std::string name;
        float difference = 0, scale = 0;
    };
    bool passed = false;
    std::string text;
    std::vector<Step> steps;
};

// Numbers for each token of a batch, [B, T, W].
class States {
  public:
    States(std::shared_ptr<const ember_output> from, const ember_array &array)
        : from_(std::move(from)), array_(array) {}
    // Rows, tokens of the longest row, numbers a token.
    std::size_t size() const { return array_.shape[0]; }
    std::size_t tokens() const { return array_.shape[1]; }
    std::size_t width() const { return array_.shape[2]; }
    // The numbers of token `t` of row `b`; those beyond the row's length are zeros.
    span<const float> at(std::size_t b, std::size_t t) const {
        return span<const float>(array_.data + (b * tokens() + t) * width(), width());
    }
    // All numbers, row-major.
    span<const float> values() const {
        return span<const float>(array_.data, size() * tokens() * width());
    }

  protected:
    std::shared_ptr<const ember_output> from_;

  private:
    ember_array array_;
};

// Attention weights of one layer, [B, H, T, T]: how much each token takes of each token that it sees.
class AttentionMaps {
  public:
    AttentionMaps(std::shared_ptr<const ember_output> from, const ember_array &array)
        : from_(std::move(from)), array_(array) {}
    // Rows, heads of queries, tokens of the longest row.
    std::size_t size() const { return array_.shape[0]; }
    std::size_t heads() const { return array_.shape[1]; }
    std::size_t tokens() const { return array_.shape[2]; }
    // The weights of token `t` of row `b` in a head, one for each token; those beyond the row's length are
    // zeros.
    span<const float> at(std::size_t b, std::size_t head, std::size_t t) const {
        return span<const float>(array_.data + ((b * heads() + head) * tokens() + t) * tokens(),
                                 tokens());
    }
    // All numbers, row-major.
    span<const float> values() const {
        return span<const float>(array_.data, size() * heads() * tokens() * tokens());
    }

  private:
    std::shared_ptr<const ember_output> from_;
    ember_array array_;
};

// What a forward pass gave: logits of a decoder, hidden states of an encoder, and what was asked for of the
// layers between.
class Output : public States {
  public:
    Output(std::shared_ptr<const ember_output> from, std::vector<std::size_t> lengths)
        : States(from, array(from, ember_output_values)), lengths_(std::move(lengths)) {}
    // Tokens of each row.
    const std::vector<std::size_t> &lengths() const { return lengths_; }
    // The hidden states after `layer` blocks, which ForwardOptions::hidden_states asked for.
    States hidden_states(std::size_t layer) const {
        return States(from_, array(from_, [&](auto output, auto out, auto size, ember_error *error) {
            return ember_output_hidden_states(output, layer, out, size, error);
        }));
    }
    // The attention weights of a layer, which ForwardOptions::attentions asked for.
    AttentionMaps attentions(std::size_t layer) const {
        return AttentionMaps(
            from_, array(from_, [&](auto output, auto out, auto size, ember_error *error) {
                return ember_output_attentions(output, layer, out, size, error);
            }));
    }

  private:
    template <class Call>
    static ember_array array(const std::shared_ptr<const ember_output> &from, Call call) {
        ember_array array;
        detail::run([&](ember_error *error) { return call(from.get(), &array, sizeof array, error); });
        return array;
    }

    std::vector<std::size_t> lengths_;
};

// A tensor of a model's files.
struct Tensor {
    std::string name, format;
    std::vector<std::size_t> shape;
    std::size_t bytes = 0;
};

// A head that answers a task: `words`, `classes`, `tokens`, `bounds` or `order`, what it is made of,
// and how many numbers come out.
struct Task {
    std::string kind, description;
    std::size_t outputs = 0;
};

// What is chosen when a model is opened.
struct OpenOptions {
    std::string device = "auto";           // `auto`, `cpu`, `gpu:0`, ...
    std::optional<std::string> precision;  // `stored`, `f32`, `int8`
    std::optional<std::size_t> threads;
};

// An open model, shared by all threads.
class Model {
  public:
    // Opens a Hugging Face folder or a GGUF file on `auto`, `cpu`, `gpu:0`, ...
    static Model open(const std::string &path, const std::string &device = "auto") {
        OpenOptions options;
        options.device = device;
        return open(path, options);
    }
    static Model open(const std::string &path, const OpenOptions &options) {
        ember_open_options given = EMBER_OPEN_OPTIONS_INIT;
        given.device = options.device.c_str();
        given.precision = options.precision ? options.precision->c_str() : nullptr;
        given.threads = options.threads.value_or(given.threads);
        return Model(detail::made<ember_model>([&](auto out, ember_error *error) {
            return ember_model_open(path.c_str(), &given, out, error);
        }));
    }

    // Numbers of an embedding.
    std::size_t width() const { return ember_model_width(handle_.get()); }

    // What the model is; its texts live as long as the model.
    ember_model_info info() const {
        ember_model_info info;
        detail::run([&](ember_error *error) {
            return ember_model_describe(handle_.get(), &info, sizeof info, error);
        });
        return info;
    }
    // One line: family, name, layers, width, parameters, format, device.
    std::string_view description() const { return detail::view(info().description); }
    // The network on one page, and who computes each block.
    std::string_view spec() const { return lent(ember_model_spec); }
    // What the weights take of memory and what sessions will; its text lives as long as the model.
    ember_memory memory() const {
        ember_memory memory;
        detail::run([&](ember_error *error) {
            return ember_model_memory(handle_.get(), &memory, sizeof memory, error);
        });
        return memory;
    }
    // Bytes that the keys and values of a session with so many tokens take; 0 for an encoder.
    std::size_t cache_bytes(std::size_t tokens) const {
        return ember_model_cache_bytes(handle_.get(), tokens);
    }
    // The heads that answer tasks.
    std::vector<Task> tasks() const {
        std::vector<Task> tasks(info().tasks);
        for (std::size_t i = 0; i < tasks.size(); i++) {
            ember_task_info task;
            detail::run([&](ember_error *error) {
                return ember_model_task(handle_.get(), i, &task, sizeof task, error);
            });
            tasks[i] = {detail::copy(task.kind), detail::copy(task.description), task.outputs};
        }
        return tasks;
    }
    // The chat template of the files, as they have it.
    std::string_view chat_template() const { return lent(ember_model_chat_template); }
    // The device that the model computes on.
    Device device() const {
        ember_device_info info;
        detail::run([&](ember_error *error) {
            return ember_model_device(handle_.get(), &info, sizeof info, error);
        });
        return detail::convert(info);
    }
    // The tensors of the files.
    std::vector<Tensor> tensors() const {
        std::vector<Tensor> tensors(info().tensors);
        for (std::size_t i = 0; i < tensors.size(); i++) {
            ember_tensor_info tensor;
            detail::run([&](ember_error *error) {
                return ember_model_tensor(handle_.get(), i, &tensor, sizeof tensor, error);
            });
            tensors[i] = {detail::copy(tensor.name), detail::copy(tensor.format),
                          {tensor.shape, tensor.shape + tensor.rank}, tensor.bytes};
        }
        return tensors;
    }
    // The prompts that the files have for embedding: name and text.
    std::vector<std::pair<std::string, std::string>> prompts() const {
        std::vector<std::pair<std::string, std::string>> prompts(info().prompts);
        for (std::size_t i = 0; i < prompts.size(); i++) {
            ember_text name, prompt;
            detail::run([&](ember_error *error) {
                return ember_model_prompt(handle_.get(), i, &name, &prompt, error);
            });
            prompts[i] = {detail::copy(name), detail::copy(prompt)};
        }
        return prompts;
    }
    // Compares the model on its device with the same files on the CPU.
    Verification verify() const {
        detail::Handle<ember_verification, ember_verification_free> found(
            detail::made<ember_verification>([&](auto out, ember_error *error) {
                return ember_model_verify(handle_.get(), out, error);
            }));
        Verification result;
        ember_text text;
        ember_step step;
        detail::run([&](ember_error *error) {
            return ember_verification_text(found.get(), &text, error);
        });
        result.passed = ember_verification_passed(found.get());
        result.text = detail::copy(text);
        while (detail::run([&](ember_error *error) {
            return ember_verification_step(found.get(), result.steps.size(), &step, sizeof step,
                                           error);
        }))
            result.steps.push_back({detail::copy(step.name), step.difference, step.scale});
        return result;
    }

    // Does once what calls do, so that the first one is as fast as those after it.
    void warmup() const {
        detail::run([&](ember_error *error) { return ember_model_warmup(handle_.get(), error); });
    }

    // Writes the model as a Hugging Face folder.
    void save(const std::string &folder) const {
        detail::run([&](ember_error *error) {
            return ember_model_save(handle_.get(), folder.c_str(), error);
        });
    }

    // Numbers of an embedding with these options.
    std::size_t width(const EmbedOptions &options) const {
        ember_embed_options given = detail::convert(options);
        std::size_t width = 0;
        detail::run([&](ember_error *error) {
            return ember_model_embedding_width(handle_.get(), &given, &width, error);
        });
        return width;
    }

    Embeddings embed(span<const std::string_view> texts, const EmbedOptions &options = {}) const {
        ember_embed_options given = detail::convert(options);
        detail::Watch watch(options, given);
        detail::Texts all(texts);
        std::size_t width = this->width(options);
        std::vector<float> values(texts.size() * width);
        std::vector<std::size_t> cut(texts.size());
        watch.run([&](ember_error *error) {
            return ember_model_embed_with(handle_.get(), all.data.data(), all.lengths.data(),
                                          texts.size(), &given, values.data(), values.size(), &width,
                                          cut.data(), error);
        });
        return Embeddings(std::move(values), width, std::move(cut));
    }

    // The likeliest tokens for each mask of a text.
    std::vector<std::vector<Fill>> fill_mask(std::string_view text,
                                             const FillOptions &options = {}) const {
        detail::Run run(options.run);
        ember_fill_options given = EMBER_FILL_OPTIONS_INIT;
        std::vector<const char *> targets = detail::begins(options.targets);
        given.top_k = options.top_k.value_or(given.top_k);
        given.targets = targets.data();
        given.target_count = targets.size();
        given.run = &run.options;
        auto found = run.made<detail::Handle<ember_fills, ember_fills_free>>(
            [&](auto out, ember_error *error) {
                return ember_model_fill_mask(handle_.get(), detail::begin(text), text.size(), &given,
                                             out, error);
            });
        std::vector<std::vector<Fill>> masks(ember_fills_count(found.get()));
        ember_fill one;
        for (std::size_t i = 0; i < masks.size(); i++)
            while (detail::run([&](ember_error *error) {
                return ember_fills_get(found.get(), i, masks[i].size(), &one, sizeof one, error);
            }))
                masks[i].push_back({one.score, one.id, detail::copy(one.token), detail::copy(one.text)});
        return masks;
    }
    // The classes of each text.
    std::vector<Classes> classify(span<const std::string_view> texts,
                                  const ClassifyOptions &options = {}) const {
        detail::Texts all(texts);
        return classes(options, [&](auto given, auto out, ember_error *error) {
            return ember_model_classify(handle_.get(), all.data.data(), all.lengths.data(),
                                        texts.size(), given, out, error);
        });
    }
    // The classes of each pair of texts.
    std::vector<Classes> classify_pairs(span<const Pair> pairs,
                                        const ClassifyOptions &options = {}) const {
        std::vector<ember_pair> all = detail::convert_all<ember_pair>(pairs);
        return classes(options, [&](auto given, auto out, ember_error *error) {
            return ember_model_classify_pairs(handle_.get(), all.data(), all.size(), given, out, error);
        });
    }
    // Which of the labels a text is of, by a head for entailment.
    Classes zero_shot(std::string_view text, span<const std::string> labels,
                      const ZeroShotOptions &options = {}) const {
        detail::Run run(options.run);
        ember_zero_shot_options given = EMBER_ZERO_SHOT_OPTIONS_INIT;
        std::vector<const char *> names = detail::begins(labels);
        given.template_text = options.template_text ? options.template_text->c_str() : nullptr;
        given.multi_label = options.multi_label ? 1 : 0;
        given.run = &run.options;
        return std::move(copied(run.made<Found>([&](auto out, ember_error *error) {
            return ember_model_zero_shot(handle_.get(), detail::begin(text), text.size(), names.data(),
                                         names.size(), &given, out, error);
        }))[0]);
    }
    // The entities of each text.
    std::vector<std::vector<Entity>> token_classify(span<const std::string_view> texts,
                                                    const TokenOptions &options = {}) const {
        detail::Run run(options.run);
        ember_token_options given = EMBER_TOKEN_OPTIONS_INIT;
        std::vector<const char *> ignore;
        const char *none = nullptr;
        given.aggregation = options.aggregation ? options.aggregation->c_str() : nullptr;
        if (options.ignore) {
            ignore = detail::begins(*options.ignore);
            // No label is something else than none said.
            given.ignore = ignore.empty() ? &none : ignore.data();
            given.ignore_count = ignore.size();
        }
        given.stride = options.stride.value_or(given.stride);
        given.run = &run.options;
        detail::Texts all(texts);
        auto found = run.made<detail::Handle<ember_entities, ember_entities_free>>(
            [&](auto out, ember_error *error) {
                return ember_model_token_classify(handle_.get(), all.data.data(), all.lengths.data(),
                                                  texts.size(), &given, out, error);
            });
        std::vector<std::vector<Entity>> rows(ember_entities_count(found.get()));
        ember_entity one;
        for (std::size_t i = 0; i < rows.size(); i++)
            while (detail::run([&](ember_error *error) {
                return ember_entities_get(found.get(), i, rows[i].size(), &one, sizeof one, error);
            })) {
                Entity entity{detail::copy(one.label), detail::copy(one.text), one.start, one.end, {},
                              one.score};
                if (one.token != static_cast<std::size_t>(EMBER_UNSET)) entity.token = one.token;
                rows[i].push_back(std::move(entity));
            }
        return rows;
    }
    // The parts of a passage that answer a question, best first.
    std::vector<Answer> answer(std::string_view question, std::string_view passage,
                               const AnswerOptions &options = {}) const {
        detail::Run run(options.run);
        ember_answer_options given = EMBER_ANSWER_OPTIONS_INIT;
        given.top_k = options.top_k.value_or(given.top_k);
        given.max_answer_tokens = options.max_answer_tokens.value_or(given.max_answer_tokens);
        given.stride = options.stride.value_or(given.stride);
        given.no_answer = options.no_answer ? 1 : 0;
        given.tokens = options.tokens ? 1 : 0;
        given.run = &run.options;
        auto found = run.made<detail::Handle<ember_answers, ember_answers_free>>(
            [&](auto out, ember_error *error) {
                return ember_model_answer(handle_.get(), detail::begin(question), question.size(),
                                          detail::begin(passage), passage.size(), &given, out, error);
            });
        std::vector<Answer> answers;
        ember_answer one;
        while (detail::run([&](ember_error *error) {
            return ember_answers_get(found.get(), answers.size(), &one, sizeof one, error);
        }))
            answers.push_back({detail::copy(one.text), one.start, one.end, one.score});
        return answers;
    }
    // Documents by how well they fit a query, best first.
    std::vector<ember_ranked> rerank(std::string_view query, span<const std::string_view> documents,
                                     const RunOptions &options = {}) const {
        detail::Run run(options);
        detail::Texts all(documents);
        std::vector<ember_ranked> ranked(documents.size());
        run.watch.run([&](ember_error *error) {
            return ember_model_rerank(handle_.get(), detail::begin(query), query.size(),
                                      all.data.data(), all.lengths.data(), documents.size(),
                                      &run.options, ranked.data(), ranked.size(), error);
        });
        return ranked;
    }
    // The sparse vector of each text, by the head over words.
    std::vector<Sparse> sparse(span<const std::string_view> texts, const RunOptions &options = {}) const {
        detail::Run run(options);
        detail::Texts all(texts);
        std::shared_ptr<const ember_sparse_vectors> found =
            run.made<detail::Handle<ember_sparse_vectors, ember_sparse_vectors_free>>(
                [&](auto out, ember_error *error) {
                    return ember_model_sparse(handle_.get(), all.data.data(), all.lengths.data(),
                                              texts.size(), &run.options, out, error);
                });
        std::vector<Sparse> vectors;
        ember_sparse one;
        while (detail::run([&](ember_error *error) {
            return ember_sparse_vectors_get(found.get(), vectors.size(), &one, sizeof one, error);
        }))
            vectors.push_back({{one.ids, one.ids + one.len}, {one.weights, one.weights + one.len}, one.cut,
                               found, vectors.size()});
        return vectors;
    }
    // A vector for each token of each text, to compare by TokenVectors::max_sim. `role`: `query` or
    // `document`.
    std::vector<TokenVectors> embed_tokens(span<const std::string_view> texts, const std::string &role,
                                           const RunOptions &options = {}) const {
        detail::Run run(options);
        detail::Texts all(texts);
        std::shared_ptr<const ember_token_vectors> found =
            run.made<detail::Handle<ember_token_vectors, ember_token_vectors_free>>(
                [&](auto out, ember_error *error) {
                    return ember_model_embed_tokens(handle_.get(), all.data.data(), all.lengths.data(),
                                                    texts.size(), role.c_str(), &run.options, out,
                                                    error);
                });
        std::vector<TokenVectors> vectors;
        for (std::size_t i = 0; i < texts.size(); i++) vectors.emplace_back(found, i);
        return vectors;
    }
    // The probability that the second text of each pair follows the first.
    std::vector<float> follows(span<const Pair> pairs, const RunOptions &options = {}) const {
        detail::Run run(options);
        std::vector<ember_pair> all = detail::convert_all<ember_pair>(pairs);
        std::vector<float> found(all.size());
        run.watch.run([&](ember_error *error) {
            return ember_model_follows(handle_.get(), all.data(), all.size(), &run.options,
                                       found.data(), found.size(), error);
        });
        return found;
    }

    // The network's numbers for rows of token ids.
    Output forward(span<const std::vector<std::uint32_t>> rows,
                   const ForwardOptions &options = {}) const {
        ember_forward_options given = EMBER_FORWARD_OPTIONS_INIT;
        if (options.cancel != nullptr) given.cancel = options.cancel->get();
        detail::Rows ids(rows);
        std::optional<detail::Rows> targets;
        if (options.decoder_ids) {
            targets.emplace(*options.decoder_ids);
            given.decoder_ids = detail::begins_at(targets->data);
            given.decoder_lengths = targets->lengths.data();
            given.decoder_count = targets->lengths.size();
        }
        given.hidden_states = options.hidden_states.data();
        given.hidden_state_count = options.hidden_states.size();
        given.attentions = options.attentions.data();
        given.attention_count = options.attentions.size();
        detail::Handle<ember_output, ember_output_free> found(
            detail::made<ember_output>([&](auto out, ember_error *error) {
                return ember_model_forward_output(handle_.get(), ids.data.data(), ids.lengths.data(),
                                                  rows.size(), &given, out, error);
            }));
        return Output(std::move(found), std::move(targets ? targets->lengths : ids.lengths));
    }
    // How often each expert of each block is chosen for the tokens of rows; nothing of a block without
    // experts. `cancel` must live until the call returns.
    std::vector<std::vector<std::size_t>> expert_load(span<const std::vector<std::uint32_t>> rows,
                                                      const CancelToken *cancel = nullptr) const {
        detail::Rows ids(rows);
        detail::Handle<ember_expert_load, ember_expert_load_free> found(
            detail::made<ember_expert_load>([&](auto out, ember_error *error) {
                return ember_model_expert_load(handle_.get(), ids.data.data(), ids.lengths.data(),
                                               rows.size(), cancel != nullptr ? cancel->get() : nullptr,
                                               out, error);
            }));
        std::vector<std::vector<std::size_t>> blocks;
        const std::size_t *counts = nullptr;
        std::size_t len = 0;
        while (detail::run([&](ember_error *error) {
            return ember_expert_load_get(found.get(), blocks.size(), &counts, &len, error);
        }))
            blocks.emplace_back(counts, counts + len);
        return blocks;
    }

    Stream generate(std::string_view prompt, const GenerateOptions &options = {}) const {
        detail::Generate given(options);
        return Stream(detail::made<ember_stream>([&](auto out, ember_error *error) {
            return ember_model_generate(handle_.get(), detail::begin(prompt), prompt.size(),
                                        &given.to, out, error);
        }));
    }

    // Continues several texts at once, each with these options; text i has the number i.
    Batch generate_all(span<const std::string_view> prompts, const GenerateOptions &options = {}) const {
        detail::Generate given(options);
        detail::Texts all(prompts);
        return Batch(detail::made<ember_batch>([&](auto out, ember_error *error) {
            return ember_model_generate_all(handle_.get(), all.data.data(), all.lengths.data(),
                                            prompts.size(), &given.to, out, error);
        }));
    }
    // The same, none yet: each may have options of its own and may begin while others run.
    Batch batch() const {
        return Batch(detail::made<ember_batch>([&](auto out, ember_error *error) {
            return ember_model_batch(handle_.get(), out, error);
        }));
    }

    // The likeliest continuations of a text, or answers to the source of an encoder-decoder, best first.
    std::vector<Beam> beams(std::string_view prompt, const GenerateOptions &options = {},
                            const BeamOptions &beams = {}) const {
        return detail::beams(options, beams, [&](auto generate, auto given, auto out, ember_error *error) {
            return ember_model_beams(handle_.get(), detail::begin(prompt), prompt.size(), generate,
                                     given, out, error);
        });
    }

    // The text that the chat template makes of messages, up to where the model answers.
    std::string chat_prompt(span<const Message> messages, span<const Variable> variables = {}) const {
        auto given = detail::convert_all<ember_message>(messages);
        auto extra = detail::convert_all<ember_variable>(variables);
        return detail::written<std::string>(
            [&](char *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_model_chat_prompt(handle_.get(), given.data(), given.size(),
                                               extra.data(), extra.size(), out, room, len, error);
            });
    }
    // Answers messages; for several turns, a Chat keeps what was read.
    Stream generate_chat(span<const Message> messages, const GenerateOptions &options = {},
                         span<const Variable> variables = {}) const {
        auto given = detail::convert_all<ember_message>(messages);
        auto extra = detail::convert_all<ember_variable>(variables);
        detail::Generate chosen(options);
        return Stream(detail::made<ember_stream>([&](auto out, ember_error *error) {
            return ember_model_generate_chat(handle_.get(), given.data(), given.size(), extra.data(),
                                             extra.size(), &chosen.to, out, error);
        }));
    }
    // Begins a conversation.
    Chat chat() const {
        return Chat(detail::made<ember_chat>([&](auto out, ember_error *error) {
            return ember_model_chat(handle_.get(), out, error);
        }));
    }

    Session session() const {
        return Session(detail::made<ember_session>([&](auto out, ember_error *error) {
            return ember_model_session(handle_.get(), out, error);
        }));
    }

    Tokenizer tokenizer() const {
        return Tokenizer(detail::made<ember_tokenizer>([&](auto out, ember_error *error) {
            return ember_model_tokenizer(handle_.get(), out, error);
        }));
    }

    // The handle, for functions that only the C interface has.
    const ember_model *get() const { return handle_.get(); }

  private:
    explicit Model(ember_model *handle) : handle_(handle) {}

    using Found = detail::Handle<ember_classes, ember_classes_free>;

    // Runs a call that classes texts, and copies what it gives out.
    template <class Call>
    std::vector<Classes> classes(const ClassifyOptions &options, Call call) const {
        detail::Run run(options.run);
        ember_classify_options given = EMBER_CLASSIFY_OPTIONS_INIT;
        given.top_k = options.top_k.value_or(given.top_k);
        given.scoring = options.scoring ? options.scoring->c_str() : nullptr;
        given.run = &run.options;
        return copied(run.made<Found>(
            [&](auto out, ember_error *error) { return call(&given, out, error); }));
    }

    static std::vector<Classes> copied(Found found) {
        std::vector<Classes> rows(ember_classes_count(found.get()));
        ember_class one;
        for (std::size_t i = 0; i < rows.size(); i++) {
            std::vector<Class> &classes = rows[i].classes;
            while (detail::run([&](ember_error *error) {
                return ember_classes_get(found.get(), i, classes.size(), &one, sizeof one, error);
            }))
                classes.push_back({detail::copy(one.label), one.index, one.score});
            rows[i].cut = ember_classes_cut(found.get(), i);
        }
        return rows;
    }

    // A text that lives as long as the model.
    template <class Call>
    std::string_view lent(Call call) const {
        ember_text text;
        detail::run([&](ember_error *error) { return call(handle_.get(), &text, error); });
        return detail::view(text);
    }

    detail::Handle<ember_model, ember_model_free> handle_;
};

// What is chosen about embedding with word vectors; what is not set is as the file or folder says.
struct WordOptions {
    std::optional<std::string> unknown;  // error, skip, zero, subwords
    std::optional<bool> normalize;
    bool unit_words = false, exact = false;
    std::optional<std::size_t> max_tokens, dimensions;
};

// A word near to what was asked for.
struct Neighbor {
    std::size_t index;
    std::string word;
    float cosine;
};

// Static word vectors: word2vec, GloVe, fastText, folders of model2vec.
class WordVectors {
  public:
    static WordVectors open(const std::string &path) {
        return WordVectors(detail::made<ember_words>([&](auto out, ember_error *error) {
            return ember_words_open(path.c_str(), out, error);
        }));
    }

    // Words of the file, or tokens of the folder.
    std::size_t size() const { return info().count; }
    // Numbers of a vector.
    std::size_t width() const { return ember_words_width(handle_.get()); }
    bool has_subwords() const { return info().has_subwords; }
    // One line: format, name, words, width. It lives as long as the object, as does the format.
    std::string_view description() const { return detail::view(info().description); }
    std::string_view format() const { return detail::view(info().format); }
    // The file or folder that was opened; it lives as long as the object.
    std::string_view path() const { return detail::view(info().path); }

    std::string word(std::size_t index) const {
        return detail::written<std::string>(
            [&](char *out, std::size_t room, std::size_t *len, ember_error *error) {
                return ember_words_word(handle_.get(), index, out, room, len, error);
            });
    }
    // The number of a word, exactly as the file has it.
    std::size_t index(std::string_view word) const {
        std::size_t index = 0;
        detail::run([&](ember_error *error) {
            return ember_words_index(handle_.get(), detail::begin(word), word.size(), &index, error);
        });
        return index;
    }
    std::vector<float> vector(std::string_view word) const {
        std::vector<float> out(width());
        detail::run([&](ember_error *error) {
            return ember_words_vector(handle_.get(), detail::begin(word), word.size(), out.data(),
                                      out.size(), error);
        });
        return out;
    }
    // The mean of the vectors of a text's words.
    Embeddings embed(span<const std::string_view> texts, const WordOptions &options = {}) const {
        ember_word_options to = EMBER_WORD_OPTIONS_INIT;
        to.unknown = options.unknown ? options.unknown->c_str() : nullptr;
        if (options.normalize) to.normalize = *options.normalize ? 1 : 0;
        to.unit_words = options.unit_words ? 1 : 0;
        to.exact = options.exact ? 1 : 0;
        to.max_tokens = options.max_tokens.value_or(to.max_tokens);
        to.dimensions = options.dimensions.value_or(to.dimensions);
        detail::Texts given(texts);
        std::size_t width = this->width();
        // More dimensions than there are is an error of the call.
        if (options.dimensions && *options.dimensions < width) width = *options.dimensions;
        std::vector<float> out(texts.size() * width);
        std::vector<std::size_t> cut(texts.size());
        detail::run([&](ember_error *error) {
            return ember_words_embed_with(handle_.get(), given.data.data(), given.lengths.data(),
                                          texts.size(), &to, out.data(), out.size(), cut.data(), error);
        });
        return Embeddings(std::move(out), width, std::move(cut));
    }
    std::vector<Neighbor> nearest(std::string_view word, std::size_t count = 10) const {
        return found(count, [&](ember_neighbor *out, std::size_t *len, ember_error *error) {
            return ember_words_nearest(handle_.get(), detail::begin(word), word.size(), out, count,
                                       len, error);
        });
    }
    std::vector<Neighbor> nearest_to(span<const float> vector, std::size_t count = 10) const {
        return found(count, [&](ember_neighbor *out, std::size_t *len, ember_error *error) {
            return ember_words_nearest_to(handle_.get(), vector.data(), vector.size(), out, count,
                                          len, error);
        });
    }
    // a is to b as what is to c?
    std::vector<Neighbor> analogy(const std::string &a, const std::string &b, const std::string &c,
                                  std::size_t count = 10) const {
        return found(count, [&](ember_neighbor *out, std::size_t *len, ember_error *error) {
            return ember_words_analogy(handle_.get(), a.c_str(), b.c_str(), c.c_str(), out, count,
                                       len, error);
        });
    }
    float similarity(const std::string &a, const std::string &b) const {
        float cosine = 0;
        detail::run([&](ember_error *error) {
            return ember_words_similarity(handle_.get(), a.c_str(), b.c_str(), &cosine, error);
        });
        return cosine;
    }

    // The handle, for functions that only the C interface has.
    const ember_words *get() const { return handle_.get(); }

  private:
    explicit WordVectors(ember_words *handle) : handle_(handle) {}

    ember_words_info info() const {
        ember_words_info info;
        detail::run([&](ember_error *error) {
            return ember_words_describe(handle_.get(), &info, sizeof info, error);
        });
        return info;
    }

    template <class Call>
    std::vector<Neighbor> found(std::size_t count, Call call) const {
        std::vector<ember_neighbor> near(count);
        std::size_t len = 0;
        detail::run([&](ember_error *error) { return call(near.data(), &len, error); });
        std::vector<Neighbor> all;
        for (std::size_t i = 0; i < len; i++)
            all.push_back({near[i].index, word(near[i].index), near[i].cosine});
        return all;
    }

    detail::Handle<ember_words, ember_words_free> handle_;
};

}  // namespace emberform

#endif  // EMBERFORM_HPP
