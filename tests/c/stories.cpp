// One story of tests/stories.json through the C++ header: as stories.c.

#include <emberform.hpp>

#include <cstdio>
#include <cstring>
#include <iostream>
#include <sstream>

static void bits(float value) {
    std::uint32_t word;
    std::memcpy(&word, &value, sizeof word);
    std::printf("%08x", unsigned(word));
}

static void hex(std::string_view text) {
    for (unsigned char byte : text) std::printf("%02x", unsigned(byte));
}

static void rows(const emberform::Embeddings &embeddings) {
    for (std::size_t i = 0; i < embeddings.size(); i++) {
        for (float value : embeddings[i]) bits(value);
        std::printf("\n");
    }
}

static void line(const std::vector<std::uint32_t> &ids) {
    for (std::uint32_t id : ids) std::printf("%u ", unsigned(id));
    std::printf("\n");
}

// Numbers divided by commas, and rows of them by semicolons.
static std::vector<std::vector<std::uint32_t>> rows_of(const std::string &word) {
    std::vector<std::vector<std::uint32_t>> rows;
    std::istringstream all(word);
    for (std::string row, number; std::getline(all, row, ';');) {
        rows.emplace_back();
        std::istringstream numbers(row);
        while (std::getline(numbers, number, ',')) rows.back().push_back(std::uint32_t(std::stoul(number)));
    }
    return rows;
}

static std::vector<std::size_t> layers_of(const std::string &word) {
    auto rows = rows_of(word);
    return rows.empty() ? std::vector<std::size_t>() : std::vector<std::size_t>(rows[0].begin(), rows[0].end());
}

static void line(emberform::span<const float> values) {
    for (float value : values) bits(value);
    std::printf("\n");
}

// All tokens of a stream.
static void print(emberform::Stream stream) {
    std::vector<std::uint32_t> ids;
    std::vector<float> logprobs;
    for (std::string_view piece : stream) {
        (void)piece;
        if (auto token = stream.token()) {
            ids.push_back(token->id);
            logprobs.push_back(token->logprob);
        }
    }
    line(ids);
    for (float logprob : logprobs) bits(logprob);
    std::printf("\n");
}

int main(int count, char **words) try {
    if (count < 4) return 2;
    const std::string kind = words[1];
    if (kind == "words" && count >= 5) {
        auto vectors = emberform::WordVectors::open(words[2]);
        rows(vectors.embed(std::vector<std::string_view>(words + 5, words + count)));
        for (const emberform::Neighbor &one : vectors.nearest(words[3], std::stoul(words[4]))) {
            hex(one.word);
            std::printf(",");
            bits(one.cosine);
            std::printf("\n");
        }
        return 0;
    }
    emberform::OpenOptions open;
    open.device = "cpu";
    if (kind == "embed" && *words[3] != '\0') open.precision = words[3];
    auto model = emberform::Model::open(words[2], open);
    if (kind == "embed" && count >= 5) {
        std::vector<std::string_view> texts(words + 5, words + count);
        emberform::EmbedOptions options;
        if (*words[4] != '\0') options.prompt_name = words[4];
        rows(model.embed(texts, options));
    } else if (kind == "nearest" && count >= 5) {
        std::vector<std::string_view> texts(words + 5, words + count), query{words[3]};
        emberform::Embeddings found = model.embed(texts);
        for (ember_neighbor one : found.nearest(model.embed(query)[0], std::stoul(words[4]))) {
            std::printf("%zu,", one.index);
            bits(one.cosine);
            bits(found.cosine(0, one.index));
            std::printf("\n");
        }
    } else if (kind == "task") {
        std::vector<std::string_view> texts(words + 4, words + count);
        emberform::TokenOptions options;
        options.aggregation = words[3];
        for (const auto &row : model.token_classify(texts, options)) {
            for (const emberform::Entity &one : row) {
                hex(one.label);
                std::printf(",");
                hex(one.text);
                std::printf(",");
                bits(one.score);
                std::printf("\n");
            }
            std::printf("\n");
        }
    } else if (kind == "batch" && count == 7) {
        emberform::GenerateOptions options;
        options.max_tokens = std::stoul(words[4]);
        options.temperature = std::stof(words[5]);
        options.seed = std::stoull(words[6]);
        auto batch = model.batch();
        auto prompts = rows_of(words[3]);
        for (const auto &prompt : prompts) batch.add_ids(prompt, options);
        std::vector<std::pair<std::vector<std::uint32_t>, std::vector<float>>> found(prompts.size());
        while (auto next = batch.next())
            if (auto token = batch.token()) {
                found[next->first].first.push_back(token->id);
                found[next->first].second.push_back(token->logprob);
            }
        for (const auto &[ids, logprobs] : found) {
            line(ids);
            line(logprobs);
        }
    } else if (kind == "beams" && count == 10) {
        emberform::GenerateOptions options;
        options.max_tokens = std::stoul(words[4]);
        options.no_repeat_ngram = std::stoul(words[9]);
        emberform::BeamOptions how;
        how.beams = std::stoul(words[5]);
        how.sequences = std::stoul(words[6]);
        how.length_penalty = std::stof(words[7]);
        how.early_stopping = words[8];
        auto source = rows_of(words[3])[0];
        auto session = model.session();
        if (model.info().reads_source) session.read_source(source);
        else session.feed(source);
        for (const emberform::Beam &beam : session.beams(options, how)) {
            for (std::uint32_t id : beam.ids) std::printf("%u ", unsigned(id));
            std::printf(",");
            line({&beam.score, 1});
        }
    } else if (kind == "forward" && count == 7) {
        emberform::ForwardOptions options;
        auto targets = rows_of(words[4]);
        if (!targets.empty()) options.decoder_ids = targets;
        options.hidden_states = layers_of(words[5]);
        options.attentions = layers_of(words[6]);
        auto output = model.forward(rows_of(words[3]), options);
        line(output.values());
        for (std::size_t layer : options.hidden_states) line(output.hidden_states(layer).values());
        for (std::size_t layer : options.attentions) line(output.attentions(layer).values());
    } else if (kind == "late") {
        std::vector<std::string_view> queries(words + 4, words + 4 + std::stoi(words[3]));
        std::vector<std::string_view> documents(words + 4 + std::stoi(words[3]), words + count);
        auto asked = model.embed_tokens(queries, "query"), found = model.embed_tokens(documents, "document");
        for (const auto *side : {&asked, &found})
            for (const emberform::TokenVectors &one : *side) line(one.values());
        for (const emberform::TokenVectors &query : asked) {
            for (const emberform::TokenVectors &document : found) bits(query.max_sim(document));
            std::printf("\n");
        }
    } else if (kind == "experts") {
        for (const auto &block : model.expert_load(rows_of(words[3]))) {
            for (std::size_t times : block) std::printf("%zu ", times);
            std::printf("\n");
        }
    } else if (kind == "tokenize") {
        auto tokenizer = model.tokenizer();
        for (int i = 3; i < count; i++) line(tokenizer.encode(words[i]).ids);
    } else if (count >= 7) {
        emberform::GenerateOptions options;
        options.max_tokens = std::stoul(words[4]);
        options.temperature = std::stof(words[5]);
        options.seed = std::stoull(words[6]);
        if (kind == "generate") {
            print(model.generate(words[3], options));
        } else {
            auto chat = model.chat();
            chat.system(words[3]);
            for (int i = 7; i < count; i++) print(chat.say(words[i], options));
            hex(chat.prompt());
            std::printf("\n");
        }
    }
    return 0;
} catch (const emberform::Error &error) {
    std::cerr << error.what() << "\n";
    return 1;
}
