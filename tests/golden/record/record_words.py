#!/usr/bin/env python3
"""Record tiny files of word vectors and what their own libraries answer about them.

  python record_words.py words      gensim 4.4.0, fasttext-wheel 0.9.2, model2vec 0.10.0: files and answers in words/
  python record_words.py real MODELS    model2vec 0.10.0: what the real table `static` gives, words/real.*
  python record_words.py static     sentence-transformers 6.2.0: words/static-embedding

Several commands, since no environment needs to hold all of them. Each library trains on CORPUS, one thread, fixed seeds; run with
PYTHONHASHSEED=0. `<name>.json` has texts and lists of words, `<name>.safetensors` has numbers.
"""
import gzip
import importlib.metadata
import json
import os
import pathlib
import shutil
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent.parent / "words"
VERSIONS = {
    "words": {"gensim": "4.4.0", "fasttext-wheel": "0.9.2", "model2vec": "0.10.0"},
    "real": {"model2vec": "0.10.0"},
    "static": {"sentence-transformers": "6.2.0"},
}
PEOPLE = ["king", "queen", "man", "woman", "prince", "princess", "boy", "girl"]
PLACES = ["castle", "river", "bank", "müde", "straße", "日本", "naïve", "New_York", "café", "☃"]
VERBS = ["walks", "walked", "walking", "sleeps", "slept", "sleeping", "sings", "singing"]
CORPUS = [
    f"the {a} {v} to the {p} and the {b} {w} ." for i, a in enumerate(PEOPLE) for j, p in enumerate(PLACES)
    for b, v, w in [(PEOPLE[(i + j + 1) % 8], VERBS[(i * 3 + j) % 8], VERBS[(i + 5 * j) % 8])]
]
UNKNOWN = ["walker", "sing", "kingly", "xyzzy", "ß", "日本人", "q"]
ANALOGIES = [["king", "man", "woman"], ["walking", "walks", "sings"], ["prince", "boy", "girl"]]
# Only words that the files know as they stand, or do not know at all.
TEXTS = ["the king walks", "queen", "the woman sings to the river .", "日本 müde", "", "the xyzzy walks the kingly walker"]
FOLDED = ["The KING, walks!", '"Queen"', "(river) BANK.", "Xyzzy king", "..."]


def names(pairs):
    return [word for word, _ in pairs]


def scores(pairs):
    return np.array([score for _, score in pairs], np.float32)


def write(name, text, tensors):
    (HERE / f"{name}.json").write_text(json.dumps(text, ensure_ascii=False, indent=1) + "\n")
    save_file({key: np.ascontiguousarray(value, np.float32) for key, value in tensors.items()}, HERE / f"{name}.safetensors")


def gensim_files():
    from gensim.models import KeyedVectors, Word2Vec

    model = Word2Vec([line.split() for line in CORPUS], vector_size=17, min_count=1, workers=1, seed=3, epochs=30)
    kv = model.wv
    kv.save_word2vec_format(HERE / "word2vec.bin", binary=True)
    kv.save_word2vec_format(HERE / "word2vec.txt", binary=False)
    kv.save_word2vec_format(HERE / "glove.txt", binary=False, write_header=False)
    # word2vec.c ends each record with a newline.
    lines = b"".join(word.encode() + b" " + kv[word].astype("<f4").tobytes() + b"\n" for word in kv.index_to_key)
    (HERE / "word2vec-newlines.bin").write_bytes(f"{len(kv)} 17\n".encode() + lines)
    for name in ("word2vec.bin", "word2vec.txt"):
        with open(HERE / f"{name}.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as out:
            out.write((HERE / name).read_bytes())
    with open(HERE / "zeros.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as out:
        out.write(bytes(1 << 20))  # for a test of files that come to far more than their size
    read = dict(binary=dict(binary=True), text={}, glove=dict(no_header=True))
    for name, how in [("word2vec.bin", "binary"), ("word2vec-newlines.bin", "binary"), ("word2vec.txt", "text"), ("glove.txt", "glove"),
                      ("word2vec.bin.gz", "binary"), ("word2vec.txt.gz", "text")]:
        again = KeyedVectors.load_word2vec_format(HERE / name, **read[how])
        assert again.index_to_key == kv.index_to_key and (again.vectors == kv.vectors).all(), name
    known = [[word for word in text.split() if word in kv] for text in TEXTS]
    mean = lambda words, unit: kv.get_mean_vector(words, pre_normalize=unit) if words else np.zeros(17, np.float32)
    nearest = {word: kv.similar_by_word(word, topn=5) for word in ("king", "river", "日本")}
    analogies = [kv.most_similar(positive=[a, c], negative=[b], topn=4) for a, b, c in ANALOGIES]
    folded = [[word for word in [w.strip('.,!?"()').lower() for w in text.split()] if word in kv] for text in FOLDED]
    write("word2vec", dict(
        words=kv.index_to_key, texts=TEXTS, known=[len(words) for words in known], folded=FOLDED,
        nearest={word: names(pairs) for word, pairs in nearest.items()}, analogies=[[*words, names(pairs)] for words, pairs in zip(ANALOGIES, analogies)],
    ), dict(
        vectors=kv.vectors, means=np.stack([mean(words, False) for words in known]), unit_means=np.stack([mean(words, True) for words in known]),
        folded=np.stack([mean(words, False) for words in folded]), **{f"nearest.{word}": scores(pairs) for word, pairs in nearest.items()},
        **{f"analogy.{i}": scores(pairs) for i, pairs in enumerate(analogies)},
        similarity=np.array([kv.similarity("king", "queen"), kv.similarity("river", "walks")]),
    ))


def fasttext_files():
    import fasttext
    from gensim.models.fasttext import load_facebook_vectors

    corpus = HERE / "corpus.txt"
    corpus.write_text("\n".join(CORPUS) + "\n")
    labelled = HERE / "labelled.txt"
    labelled.write_text("".join(f"__label__{'ab'[i % 2]} {line}\n" for i, line in enumerate(CORPUS)))
    kwargs = dict(dim=11, minCount=1, epoch=20, thread=1, verbose=0)
    kinds = {
        "fasttext": lambda: fasttext.train_unsupervised(str(corpus), model="skipgram", minn=2, maxn=4, bucket=151, **kwargs),
        "fasttext-whole": lambda: fasttext.train_unsupervised(str(corpus), model="cbow", minn=0, maxn=0, **kwargs),
        "fasttext-labels": lambda: fasttext.train_supervised(str(labelled), minn=1, maxn=3, bucket=307, wordNgrams=2, **kwargs),
    }
    for name, train in kinds.items():
        train().save_model(str(HERE / f"{name}.bin"))
        model = fasttext.load_model(str(HERE / f"{name}.bin"))  # what a file gives, not what training left
        words = model.get_words()
        vectors = np.stack([model.get_word_vector(word) for word in words])
        nearest = {word: [(w, s) for s, w in model.get_nearest_neighbors(word, k=5)] for word in ("king", "日本", "walker") if name != "fasttext-whole" or word != "walker"}
        # A second opinion, but for the mark of a line's end, which gensim cuts into pieces like a word.
        if name != "fasttext-labels":
            gensim = load_facebook_vectors(str(HERE / f"{name}.bin"))
            same = np.array([word != "</s>" for word in words])
            assert gensim.index_to_key == words and np.abs(gensim.vectors - vectors)[same].max() < 1e-6
        analogies = [[(w, s) for s, w in model.get_analogies(*words, k=4)] for words in ANALOGIES]
        # Sentence vectors of labelled models are something else: the mean of pieces and of word pairs.
        texts = TEXTS if name != "fasttext-labels" else []
        write(name, dict(
            words=words, unknown=UNKNOWN, texts=texts, nearest={word: names(pairs) for word, pairs in nearest.items()},
            analogies=[[*words, names(pairs)] for words, pairs in zip(ANALOGIES, analogies)],
        ), dict(
            vectors=vectors, unknown=np.stack([model.get_word_vector(word) for word in UNKNOWN]),
            **({"unit_means": np.stack([model.get_sentence_vector(text) for text in texts])} if texts else {}),
            **{f"nearest.{word}": scores(pairs) for word, pairs in nearest.items()}, **{f"analogy.{i}": scores(pairs) for i, pairs in enumerate(analogies)},
        ))
        if name == "fasttext":  # as the library's documentation writes `.vec`
            lines = [f"{len(words)} 11"] + [word + " " + " ".join(f"{x:.5g}" for x in vector) + " " for word, vector in zip(words, vectors)]
            (HERE / "fasttext.vec").write_text("\n".join(lines) + "\n")
    model.quantize(input=str(labelled), retrain=False)
    model.save_model(str(HERE / "fasttext-quantized.ftz"))
    corpus.unlink()
    labelled.unlink()


STATIC_TEXTS = ["the king walks to the castle", "Queen!", "", "müde straße 日本", "zzz 한국어 king", "the " * 40 + "king", "a very long text " * 9, "[UNK] river"]


def wordpiece():
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + sorted({word.lower() for line in CORPUS for word in line.split()} - {"☃"})[:40]
    words += ["##s", "##ing", "##ed", "!", "a"] + list("bcdefghijklmnopqrstuvwxyz") + ["##" + c for c in "abcdefghijklmnopqrstuvwxy"]
    words = list(dict.fromkeys(words))
    t = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(lowercase=True)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return t


def unigram():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted({c for line in CORPUS for c in line if c != " "})
    pieces = [("<pad>", 0.0), ("<unk>", 0.0), ("▁", -2.0)] + [("▁" + w, -3.0 - i / 10) for i, w in enumerate(PEOPLE + ["the", "castle", "river"])]
    t = Tokenizer(models.Unigram(pieces + [(c, -6.0 - i / 10) for i, c in enumerate(letters)], unk_id=1, byte_fallback=False))
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.add_special_tokens(["<pad>", "<unk>"])
    return t


def model2vec_folders():
    from model2vec import StaticModel

    rng = np.random.default_rng(5)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    piece, gram = wordpiece(), unigram()
    count = gram.get_vocab_size()
    folders = {
        "model2vec": StaticModel(draw(piece.get_vocab_size(), 13), piece, normalize=True, max_length=12),
        "model2vec-plain": StaticModel(draw(count, 9), gram, normalize=False, max_length=None),
        "model2vec-shared": StaticModel(
            rng.integers(-127, 128, (10, 19)).astype(np.int8), gram, normalize=True, token_mapping=rng.integers(0, 10, count), weights=rng.random(count)),
        "model2vec-half": StaticModel(draw(piece.get_vocab_size(), 130).astype(np.float16), piece, normalize=True),
    }
    for name, model in folders.items():
        shutil.rmtree(HERE / name, ignore_errors=True)
        model.save_pretrained(HERE / name)
        (HERE / name / "README.md").unlink()
        model = StaticModel.from_pretrained(HERE / name)
        if name == "model2vec-half":  # the reference rounds what it gives to halves: let it compute in 32 bits
            model.embedding = model.embedding.astype(np.float32)
        with open(HERE / name / "model.safetensors", "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            print(name, file.read(length).decode())
        write(name, dict(texts=STATIC_TEXTS, tokens=len(model.tokens)), dict(embeddings=model.encode(STATIC_TEXTS), plain=model.encode(STATIC_TEXTS, normalize=False)))


def real_table(folder):
    from model2vec import StaticModel

    import corpus

    lines = (HERE.parent / "text" / "corpus.txt").read_text().split("\n")[:-1]
    texts = [corpus.unescape(line) for line in lines[::29]] + ["bank", "king", "a long text of many words " * 120]
    model = StaticModel.from_pretrained(folder)
    write("real", dict(texts=texts, tokens=len(model.tokens)), dict(embeddings=model.encode(texts)))


def static_folder():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    rng = np.random.default_rng(7)
    tokenizer = wordpiece()
    tokenizer.enable_truncation(14)
    module = StaticEmbedding(tokenizer, rng.standard_normal((tokenizer.get_vocab_size(), 21)).astype(np.float32))
    for name, modules, kwargs in [
        ("static-embedding", [module], {}),
        ("static-embedding-prompt", [module, Normalize()], dict(prompts={"query": "the queen ", "passage": ""}, default_prompt_name="query")),
    ]:
        shutil.rmtree(HERE / name, ignore_errors=True)
        SentenceTransformer(modules=modules, device="cpu", **kwargs).save(str(HERE / name), create_model_card=False)
        model = SentenceTransformer(str(HERE / name), device="cpu", local_files_only=True)
        encode = lambda **kwargs: model.encode(STATIC_TEXTS, convert_to_numpy=True, show_progress_bar=False, **kwargs)
        write(name, dict(texts=STATIC_TEXTS, tokens=tokenizer.get_vocab_size()), dict(embeddings=encode(), first=encode(truncate_dim=8)))


def main():
    what = sys.argv[1:]
    if what not in (["words"], ["static"]) and what[:1] != ["real"] or os.environ.get("PYTHONHASHSEED") != "0":
        sys.exit(__doc__)
    for package, version in VERSIONS[what[0]].items():
        found = importlib.metadata.version(package)
        if found != version:
            sys.exit(f"{package} is {found}, want {version}")
    HERE.mkdir(exist_ok=True)
    if what == ["words"]:
        gensim_files()
        fasttext_files()
        model2vec_folders()
    elif what[0] == "real":
        real_table(pathlib.Path(what[1]) / "static")
    else:
        static_folder()


if __name__ == "__main__":
    main()
