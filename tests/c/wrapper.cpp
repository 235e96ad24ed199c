// The C++ header: every class and function once, what it gives, what it throws.
//
//   wrapper GOLDEN     GOLDEN: small checkpoints, as run.sh lays them out

#include <emberform.hpp>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <thread>

using namespace emberform;

static int passed, failed; // of checks

static void check(bool good, const char *what) {
    good ? passed++ : failed++;
    if (!good) std::printf("failed: %s\n", what);
}

// Expects an Error with this code from a call.
template <class Call>
static void throws(ember_status code, const char *what, Call call) {
    try {
        call();
        check(false, what);
    } catch (const Error &error) {
        check(error.code() == code && error.what()[0] != '\0', what);
    }
}

static bool close(span<const float> a, span<const float> b) {
    if (a.size() != b.size()) return false;
    for (std::size_t i = 0; i < a.size(); i++)
        if (!(std::fabs(a[i] - b[i]) <= 1e-5f)) return false;
    return true;
}

static void embeds(const Model &model) {
    const std::vector<std::string_view> texts = {"a cat sat", "a dog lay", ""};
    Embeddings rows = model.embed(texts);
    check(rows.size() == 3 && rows.width() == model.width(), "embeddings");
    check(rows.values().size() == 3 * rows.width() && rows.cut().size() == 3, "their numbers");
    EmbedOptions options;
    options.dimensions = 5;
    check(model.width(options) == 5 && model.embed(texts, options).width() == 5, "dimensions");
    options.dimensions = 100000;
    throws(EMBER_ERROR_ARGUMENT, "dimensions out of range", [&] { model.embed(texts, options); });

    // Progress is told, and what it throws comes out of the call.
    EmbedOptions told;
    std::size_t last = 0, count = 0, calls = 0;
    told.batch_tokens = 1;
    told.progress = [&](std::size_t done, std::size_t all) { last = done, count = all, calls++; };
    check(close(model.embed(texts, told).values(), rows.values()), "embeddings with progress");
    check(last == 3 && count == 3 && calls >= 2, "progress");
    calls = 0;
    told.progress = [&](std::size_t, std::size_t) {
        calls++;
        throw std::logic_error("enough");
    };
    try {
        model.embed(texts, told);
        check(false, "an exception passes through");
    } catch (const std::logic_error &) {
        check(calls == 1, "an exception stops the work");
    }
    CancelToken token;
    told.progress = nullptr;
    told.cancel = &token;
    model.embed(texts, told);
    token.cancel();
    throws(EMBER_ERROR_CANCELLED, "a cancelled embedding", [&] { model.embed(texts, told); });
}

static void describes(const Model &model) {
    ember_model_info info = model.info();
    std::vector<Tensor> tensors = model.tensors();
    std::size_t parameters = 0, bytes = 0;
    for (const Tensor &tensor : tensors) {
        parameters += std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::size_t(1),
                                      [](std::size_t a, std::size_t b) { return a * b; });
        bytes += tensor.bytes;
    }
    check(tensors.size() == info.tensors && parameters == info.parameters && bytes > 0, "tensors");
    check(model.description().find(detail::view(info.family)) == 0, "description");
    check(!model.spec().empty() && detail::view(model.memory().description).find("weights") == 0,
          "spec and memory");
    check(model.memory().weights == bytes && model.memory().mapped && model.memory().window == info.window,
          "memory by numbers");
    model.warmup();
    check(model.prompts().size() == info.prompts, "prompts");
    check(model.device().id == "cpu" && model.device().kind == "cpu", "the model's device");
    std::vector<Device> all = devices();
    std::size_t chosen = 0;
    for (const Device &device : all) chosen += device.is_auto;
    check(!all.empty() && all.back().id == "cpu" && chosen == 1, "devices");
    Verification verification = model.verify();
    // The steps of a prompt, then the other ways that calls take.
    check(verification.passed && verification.steps.size() > info.layers + 1 + info.generates,
          "verification");
    check(verification.steps[0].name == "embed" && !verification.text.empty(), "its steps");
}

static void forwards(const Model &model) {
    const std::vector<std::vector<std::uint32_t>> rows = {{5, 6, 7}, {5}, {}};
    Output output = model.forward(rows);
    check(output.size() == 3 && output.tokens() == 3 && output.lengths()[1] == 1, "forward");
    check(output.width() == model.info().output_width, "its width");
    check(close(output.at(0, 0), output.at(1, 0)), "a row does not depend on those beside it");
    check(output.at(1, 2)[0] == 0 && output.values().size() == 9 * output.width(), "padding");
    CancelToken token;
    token.cancel();
    ForwardOptions options;
    options.cancel = &token;
    throws(EMBER_ERROR_CANCELLED, "a cancelled forward", [&] { model.forward(rows, options); });
    throws(EMBER_ERROR_ARGUMENT, "an id that is none", [&] {
        model.forward(std::vector<std::vector<std::uint32_t>>{{4000000000u}});
    });

    Session session = model.session();
    check(session.logits().empty() && session.ids().empty(), "an empty session");
    session.feed(rows[0]);
    check(close(session.logits(), output.at(0, 2)), "a session gives the same");
    check(session.cache_bytes() > 0 && session.ids() == rows[0], "what it holds");
    session.truncate(2);
    check(session.ids().size() == 2, "truncated");
    session.feed_text("a");
    session.cancel();
    throws(EMBER_ERROR_CANCELLED, "a cancelled session", [&] { session.feed(rows[0]); });
    session.reset();
    session.feed(rows[0]);
    GenerateOptions generate;
    generate.max_tokens = 3;
    generate.ignore_eos = true;
    generate.logprobs = 2;
    Stream stream = session.generate(generate);
    std::size_t tokens = 0;
    for (std::string_view piece : stream) {
        (void)piece;
        if (auto token_ = stream.token()) tokens += token_->top.size() == 2;
    }
    check(tokens == 3 && stream.stats().tokens == 3, "a stream of a session");
}

static void tokenizes(const Model &model) {
    Tokenizer tokenizer = model.tokenizer();
    Encoding whole = tokenizer.encode("a cat sat");
    check(whole.ids.size() == whole.offsets.size() && whole.special.front(), "encode");
    Encoding pair = tokenizer.encode_pair("a cat", "a dog");
    check(pair.type_ids.front() == 0 && pair.type_ids.back() == 1, "a pair");
    const std::vector<std::string_view> texts = {"a cat sat", "a"};
    std::vector<Encoding> batch = tokenizer.encode_batch(texts);
    check(batch.size() == 2 && batch[0].ids == whole.ids, "a batch");
    std::vector<Encoding> cut = tokenizer.encode_batch(texts, true, 3);
    check(cut[0].ids.size() == 3 && cut[0].cut == whole.ids.size() - 3, "a batch with a limit");
    std::vector<Encoding> windows = tokenizer.encode_windows("a cat sat", 3, 0);
    check(windows.size() == whole.ids.size() - 2, "windows");
    std::vector<std::uint32_t> plain = tokenizer.encode("a cat sat", false).ids;
    check(tokenizer.count("a cat sat", false) == plain.size(), "count");
    check(tokenizer.decode(plain) == "a cat sat", "decode");
    check(tokenizer.id(tokenizer.token(plain[0])) == plain[0], "token and id");
    check(tokenizer.is_special(whole.ids[0]) && !tokenizer.is_special(plain[0]), "special");
    check(tokenizer.size() > plain[0], "size");
    throws(EMBER_ERROR_ARGUMENT, "no such token", [&] { tokenizer.id("no such token"); });
    Tokenizer copy = Tokenizer::from_bytes(tokenizer.to_bytes());
    DecodeStream stream = copy.stream();
    std::string text;
    for (std::uint32_t id : plain) text += stream.push(id);
    text += stream.finish();
    check(text == "a cat sat", "by value, one by one");
}

static void opens(const std::string &path) {
    OpenOptions options;
    options.device = "cpu";
    options.precision = "f32";
    options.threads = 1;
    check(Model::open(path, options).width() > 0, "options for opening");
    options.precision = "f64";
    throws(EMBER_ERROR_ARGUMENT, "a precision that is none", [&] { Model::open(path, options); });
    options.precision = "f32";
    options.threads = 0;
    throws(EMBER_ERROR_ARGUMENT, "no threads", [&] { Model::open(path, options); });
}

static void chats(const std::string &path) {
    Model model = Model::open(path, "cpu");
    check(model.chat_template().find("no critics") != std::string_view::npos, "template");
    const std::vector<Message> messages = {{"system", "be"}, {"user", "hi"}};
    check(model.chat_prompt(messages) == "sbe\nuhi\na", "prompt");
    const std::vector<Variable> truth = {{"short", true}}, text = {{"short", std::string("!")}};
    check(model.chat_prompt(messages, truth) == "sbe\nuhi\nTruea", "a variable that is true");
    check(model.chat_prompt(messages, text) == "sbe\nuhi\n!a", "a variable that is a text");
    throws(EMBER_ERROR_ARGUMENT, "a message that is refused", [&] {
        model.chat_prompt(std::vector<Message>{{"critic", "hm"}});
    });
    GenerateOptions options;
    options.max_tokens = 3;
    options.temperature = 0;
    Chat chat = model.chat();
    chat.system("be");
    chat.push({"user", "hi"});
    chat.push({"assistant", "ho"});
    chat.set({"short", std::int64_t(7)});
    check(chat.prompt() == "sbe\nuhi\naho\n7a", "the prompt of a conversation");
    std::string reply = chat.say("he", options).text();
    std::vector<Message> said = chat.messages();
    check(said.size() == 5 && said[3].content == "he" && said[4].content == reply, "messages");
    check(said[4].role == "assistant" && !chat.ids().empty(), "roles and ids");
    said.pop_back();
    const std::vector<Variable> seven = {{"short", std::int64_t(7)}};
    check(model.generate_chat(said, options, seven).text() == reply, "all at once gives the same");
    options.ignore_eos = true;
    Stream stream = chat.say("ha", options);
    std::thread([&] { chat.cancel(); }).join();
    check(!stream.next() && std::string(stream.stats().finish_reason) == "cancelled", "cancelled");
}

// The best class of a recorded case is what it is in C; here, that each call gives something.
static void tasks(const std::string &golden) {
    const auto open = [&](const char *name) { return Model::open(golden + "/" + name, "cpu"); };
    const std::vector<std::string_view> texts = {"The cat sat on the mat.", "it is far"};
    const std::vector<Pair> pairs = {{texts[0], texts[1]}};
    Model words = open("task-bert-words"), classer = open("task-bert-classes");
    FillOptions fill;
    fill.top_k = 3;
    auto masks = words.fill_mask("The [MASK] sat on [MASK].", fill);
    check(masks.size() == 2 && masks[1].size() == 3 && masks[0][0].score >= masks[0][1].score, "fill_mask");
    fill.targets = {masks[0][2].token};
    masks = words.fill_mask("The [MASK] sat.", fill);
    check(masks.size() == 1 && masks[0].size() == 1 && !masks[0][0].text.empty(), "targets");
    throws(EMBER_ERROR_ARGUMENT, "no mask", [&] { words.fill_mask("The cat sat."); });

    std::vector<Classes> found = classer.classify(texts);
    check(found.size() == 2 && found[0].classes.size() == 3 && found[0].cut == 0, "classify");
    ClassifyOptions options;
    options.top_k = 1;
    options.scoring = "none";
    check(classer.classify_pairs(pairs, options)[0].classes.size() == 1, "classify_pairs");
    std::size_t calls = 0, last = 0;
    options.run.batch_tokens = 1;
    options.run.progress = [&](std::size_t done, std::size_t all) { calls++, last = done, check(all == 2, "all"); };
    classer.classify(texts, options);
    check(calls == 2 && last == 2, "progress of a task");
    options.run.progress = [&](std::size_t, std::size_t) { throw std::logic_error("enough"); };
    try {
        classer.classify(texts, options);
        check(false, "an exception passes through a task");
    } catch (const std::logic_error &) {
        check(true, "an exception passes through a task");
    }
    CancelToken token;
    token.cancel();
    options.run.progress = nullptr;
    options.run.cancel = &token;
    throws(EMBER_ERROR_CANCELLED, "a cancelled task", [&] { classer.classify(texts, options); });

    ZeroShotOptions zero;
    zero.template_text = "About {}.";
    zero.multi_label = true;
    Classes labels = open("task-deberta-entailment").zero_shot(texts[0], std::vector<std::string>{"cats", "dogs"}, zero);
    check(labels.classes.size() == 2 && labels.classes[0].label.size() == 4, "zero_shot");
    Model tagger = open("task-roberta-tokens");
    TokenOptions tags;
    auto entities = tagger.token_classify(texts);
    check(entities.size() == 2 && entities[0][0].token && entities[0][0].text == "T", "token_classify");
    tags.aggregation = "simple";
    tags.ignore.emplace();
    auto joined = tagger.token_classify(texts, tags);
    check(!joined[0].empty() && !joined[0][0].token && joined[0].back().end == texts[0].size(), "aggregation");
    AnswerOptions answer;
    answer.top_k = 2;
    answer.no_answer = true;
    std::vector<Answer> answers = open("task-bert-answers").answer("Where?", texts[0], answer);
    check(answers.size() == 2 && texts[0].substr(answers[0].start, answers[0].text.size()) == answers[0].text, "answer");
    auto ranked = open("task-bert-rerank").rerank("cat", texts);
    check(ranked.size() == 2 && ranked[0].score >= ranked[1].score, "rerank");
    std::vector<Sparse> sparse = words.sparse(texts);
    check(sparse.size() == 2 && !sparse[0].ids.empty() && sparse[0].weights.size() == sparse[0].ids.size(), "sparse");
    throws(EMBER_ERROR_MISSING, "no head over words", [&] { classer.sparse(texts); });
    float follows = open("task-bert-order").follows(pairs)[0];
    check(follows > 0 && follows < 1, "follows");
}

// Several sequences at once: each what it gives alone.
static void batches(const std::string &golden, const Model &decoder) {
    GenerateOptions options;
    options.max_tokens = 6;
    options.ignore_eos = true;
    options.temperature = 0.8f;
    options.seed = 5;
    std::vector<std::string_view> prompts = {"a cat", "the dog lay", "a"};
    Batch batch = decoder.generate_all(prompts, options);
    std::vector<std::vector<std::uint32_t>> found(4);
    check(batch.running() == 3 && batch.cache_bytes() == 0, "three that were not read");
    while (auto next = batch.next())
        if (auto token = batch.token()) found[next->first].push_back(token->id);
    check(batch.running() == 0 && batch.cache_bytes() == 0, "all have ended");
    for (std::size_t i = 0; i < prompts.size(); i++) {
        Stream stream = decoder.generate(prompts[i], options);
        std::vector<std::uint32_t> alone;
        while (stream.next())
            if (auto token = stream.token()) alone.push_back(token->id);
        check(found[i] == alone, "as alone");
        check(batch.stats(i)->tokens == 6 && std::string_view(batch.stats(i)->finish_reason) == "length", "its end");
    }
    check(!batch.stats(3) && !batch.remove(3) && batch.remove(1) && !batch.stats(1), "removed");
    const std::vector<std::uint32_t> ids = {5, 6};
    check(batch.add_ids(ids, options) == 3 && batch.add("a cat", options) == 4, "later ones");
    check(batch.next()->first == 3 && batch.next()->first == 4, "in their order");
    throws(EMBER_ERROR_ARGUMENT, "no ids", [&] { batch.add_ids({}, options); });
    batch.cancel(3);
    check(batch.next()->first == 4 && batch.running() == 1, "one is cancelled");
    batch.cancel();
    check(!batch.next() && std::string_view(batch.stats(4)->finish_reason) == "cancelled", "all are cancelled");

    throws(EMBER_ERROR_ARGUMENT, "no prompts", [&] { decoder.generate_all({}, options); });
    const std::string much(4000, 'a');
    prompts[1] = much;
    try {
        decoder.generate_all(prompts, options);
        check(false, "a prompt that is too long");
    } catch (const Error &error) {
        check(std::string_view(error.what()).find("at 1 a prompt") != std::string_view::npos, error.what());
        check(!error.sequence(), "an error of no sequence");
    }

    // What goes wrong with one is told with its number, and the others go on.
    Batch broken = Model::open(golden + "/not-finite", "cpu").batch();
    const std::vector<std::uint32_t> bad = {5, 46};
    broken.add_ids(bad, options);
    broken.add_ids(ids, options);
    std::size_t pieces = 0, errors = 0;
    for (bool more = true; more;) {
        try {
            auto next = broken.next();
            more = next.has_value();
            if (next) pieces += next->first == 1;
        } catch (const Error &error) {
            errors++;
            check(error.code() == EMBER_ERROR_NOT_FINITE && error.sequence() == std::size_t(0), "its number");
        }
    }
    check(pieces == 6 && errors == 1, "the others go on");
}

// Encoder-decoders, beams, layers, experts, token vectors, saving; the numbers are those of the stories.
static void networks(const std::string &golden, const Model &decoder) {
    const auto open = [&](const char *name) { return Model::open(golden + "/" + name, "cpu"); };
    using Rows = std::vector<std::vector<std::uint32_t>>;
    Model t5 = open("t5");
    const Rows sources = {{5, 6, 7}, {8, 9}};
    ForwardOptions forward;
    forward.decoder_ids = Rows{{0, 3}, {0, 4, 5}};
    Output logits = t5.forward(sources, forward);
    check(logits.tokens() == 3 && logits.width() == t5.info().vocab && logits.lengths()[0] == 2, "decoder ids");
    check(t5.info().reads_source && t5.info().generates && !decoder.info().reads_source, "what it reads");
    Session session = t5.session();
    session.read_source(sources[0]);
    session.feed(std::vector<std::uint32_t>{3});
    check(close(session.logits(), logits.at(0, 1)), "a session gives the same");
    forward.decoder_ids->pop_back();
    throws(EMBER_ERROR_ARGUMENT, "too few decoder ids", [&] { t5.forward(sources, forward); });
    forward.decoder_ids.emplace();
    throws(EMBER_ERROR_ARGUMENT, "no decoder ids", [&] { t5.forward(sources, forward); });

    Model bert = open("bert-mlm");
    ForwardOptions inside;
    inside.hidden_states = {0, bert.info().layers};
    inside.attentions = {1};
    Output output = bert.forward(sources, inside);
    States last = output.hidden_states(bert.info().layers);
    check(close(last.values(), output.values()) && last.width() == bert.info().hidden_width, "hidden states");
    AttentionMaps maps = output.attentions(1);
    float sum = 0;
    for (float weight : maps.at(1, 0, 1)) sum += weight;
    check(maps.heads() == bert.info().heads && maps.tokens() == 3 && std::fabs(sum - 1) < 1e-5f, "attentions");
    check(maps.at(1, 0, 1)[2] == 0, "beyond a row is nothing");
    throws(EMBER_ERROR_ARGUMENT, "a layer that was not asked for", [&] { output.attentions(0); });

    GenerateOptions rules;
    rules.max_tokens = 4;
    rules.ignore_eos = true;
    rules.no_repeat_ngram = 1;
    rules.bad_words.emplace();
    rules.suppress.emplace();
    BeamOptions options;
    options.beams = 3;
    options.sequences = 2;
    options.length_penalty = -1.0f;
    options.early_stopping = "never";
    std::vector<Beam> beams = decoder.beams("a cat", rules, options);
    check(beams.size() == 2 && beams[0].score >= beams[1].score && beams[0].ids.size() == 4, "beams");
    check(decoder.tokenizer().decode(beams[0].ids) == beams[0].text, "their text");
    rules.suppress = {beams[0].ids[0], beams[1].ids[0]};
    rules.bad_words = Rows{{beams[0].ids[1]}};
    rules.min_tokens = 2;
    for (const Beam &beam : decoder.beams("a cat", rules, options))
        check(beam.ids[0] != beams[0].ids[0] && beam.ids[0] != beams[1].ids[0], "suppressed");
    CancelToken token;
    token.cancel();
    options.cancel = &token;
    throws(EMBER_ERROR_CANCELLED, "a cancelled search", [&] { decoder.beams("a cat", rules, options); });
    options.cancel = nullptr;
    options.early_stopping = "soon";
    throws(EMBER_ERROR_ARGUMENT, "no such stopping", [&] { decoder.beams("a cat", rules, options); });

    auto load = open("mixtral").expert_load(sources);
    std::size_t chosen = std::accumulate(load[0].begin(), load[0].end(), std::size_t(0));
    check(!load.empty() && chosen > 0 && chosen % 5 == 0, "expert_load");
    throws(EMBER_ERROR_CANCELLED, "a cancelled count", [&] { open("mixtral").expert_load(sources, &token); });
    std::vector<Task> heads = open("bert-mlm").tasks();
    check(heads.size() == 1 && heads[0].kind == "words" && heads[0].outputs > 0, "heads for tasks");
    check(decoder.tasks().empty() && decoder.cache_bytes(2) == 2 * decoder.cache_bytes(1), "a decoder's");

    Embeddings axes({0, 1, 3, 0, 1, 1}, 2, {0, 0, 0});
    std::vector<float> query = {2, 0};
    std::vector<ember_neighbor> near = axes.nearest(query, 2);
    check(near.size() == 2 && near[0].index == 1 && near[1].index == 2 && near[0].cosine == 1, "nearest rows");
    check(axes.nearest(query).size() == 3 && axes.cosine(0, 1) == 0 && axes.cosine(0, 9) == 0, "cosines");
    query.push_back(1);
    throws(EMBER_ERROR_ARGUMENT, "a query of another width", [&] { axes.nearest(query); });

    Model late = open("task-bert-late");
    const std::vector<std::string_view> texts = {"The cat sat on the mat.", "it is far"};
    std::vector<TokenVectors> queries = late.embed_tokens(texts, "query");
    std::vector<TokenVectors> documents = late.embed_tokens(texts, "document");
    check(queries.size() == 2 && queries[0].ids().size() == queries[0].size(), "embed_tokens");
    check(queries[0][1].size() == queries[0].width() && queries[0].cut() == 0, "their vectors");
    float score = 0;
    for (std::size_t i = 0; i < queries[0].size(); i++) {
        float best = -1;
        for (std::size_t j = 0; j < documents[1].size(); j++)
            best = std::max(best, std::inner_product(queries[0][i].begin(), queries[0][i].end(),
                                                     documents[1][j].begin(), 0.0f));
        score += best;
    }
    check(std::fabs(queries[0].max_sim(documents[1]) - score) < 1e-4f, "max_sim");
    throws(EMBER_ERROR_ARGUMENT, "no such role", [&] { late.embed_tokens(texts, "question"); });
    std::vector<Sparse> sparse = open("task-bert-words").sparse(texts);
    check(std::fabs(sparse[0].dot(sparse[1]) - sparse[1].dot(sparse[0])) < 1e-4f && sparse[0].dot(sparse[0]) > 0, "dot");

    t5.save(golden + "/saved");
    check(close(Model::open(golden + "/saved", "cpu").forward(sources).values(), t5.forward(sources).values()), "save");
    throws(EMBER_ERROR_ARGUMENT, "its own folder", [&] { t5.save(golden + "/t5"); });
}

static void vectors(const std::string &path) {
    WordVectors words = WordVectors::open(path);
    check(words.size() == 30 && words.width() == 17 && !words.has_subwords(), "word vectors");
    check(words.format() == "word2vec binary" && !words.description().empty(), "what they are");
    check(words.word(words.index("king")) == "king", "index and word");
    std::vector<float> king = words.vector("king");
    const std::vector<std::string_view> texts = {"king", "king xyzzy"};
    Embeddings rows = words.embed(texts);
    check(rows.size() == 2 && close(rows[0], king) && close(rows[1], king), "means of words");
    WordOptions options;
    options.dimensions = 5;
    options.normalize = true;
    check(words.embed(texts, options).width() == 5, "fewer dimensions");
    options.dimensions = 18;
    throws(EMBER_ERROR_ARGUMENT, "dimensions beyond the width", [&] { words.embed(texts, options); });
    options.dimensions.reset();
    options.unknown = "error";
    throws(EMBER_ERROR_ARGUMENT, "an unknown word", [&] { words.embed(texts, options); });
    check(words.nearest_to(king, 1)[0].word == "king" && words.nearest("king", 3).size() == 3, "nearest");
    check(words.analogy("king", "man", "woman", 1)[0].word == "singing", "gensim's analogy");
    check(words.similarity("king", "king") > 0.9999f, "similarity");
    throws(EMBER_ERROR_ARGUMENT, "a word that is not there", [&] { words.vector("xyzzy"); });
}

int main(int count, char **words) try {
    if (count < 2) return 2;
    const std::string golden = words[1];
    Model encoder = Model::open(golden + "/st-prompts", "cpu");
    Model decoder = Model::open(golden + "/st-decoder", "cpu");
    embeds(encoder);
    opens(golden + "/st-prompts");
    describes(encoder);
    describes(decoder);
    forwards(decoder);
    tokenizes(encoder);
    chats(golden + "/chat");
    tasks(golden);
    networks(golden, decoder);
    batches(golden, decoder);
    vectors(golden + "/words/word2vec.bin");
    throws(EMBER_ERROR_IO, "no such model", [] { Model::open("no/such", "cpu"); });
    throws(EMBER_ERROR_MISSING, "an encoder talks not", [&] { encoder.chat(); });
    Model moved = std::move(decoder);
    check(moved.width() > 0 && decoder.get() == nullptr, "objects move");
    std::printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
} catch (const std::exception &error) {
    std::printf("%s\n%d passed, %d failed\n", error.what(), passed, failed + 1);
    return 1;
}
