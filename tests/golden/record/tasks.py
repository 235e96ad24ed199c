"""Tiny encoders with tokenizers, and what the pipelines of transformers and sentence-transformers say of texts.

Part of record.py, but for the answers to questions: transformers 5 has no pipeline for them any more. They are recorded
by an environment of their own, with the last version that has it:  python tasks.py answers
"""
import json
import pathlib
import shutil
import string
import sys

import embedders as emb
import encoders as enc
import record as base

import numpy as np
import torch

ANSWERS = {"transformers": "4.57.6", "tokenizers": "0.22.2"}

SPECIAL = dict(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
MARKS = dict(unk_token="<unk>", pad_token="<pad>", cls_token="<s>", sep_token="</s>", bos_token="<s>", eos_token="</s>", mask_token="<mask>")
SMALL = dict(hidden_size=12, num_attention_heads=3, intermediate_size=17, num_hidden_layers=2, max_position_embeddings=48)
TEXTS = ["The cat sat on the mat.", "Dogs ate 12 red apples, quickly!", "naïve café: unknowable wörds", "it is far, too far",
         "a b c d e f g h i j k l m n o p q r s t u v w x y z and so on until it is far too long for the window of this model"]
PASSAGE = ("The cats of Café Bär sat on 12 red mats, far away; the dogs didn't know. It is a long, long query: is the apple red? "
           "So the quick dog is on the mat and the cat is so-so, un-knowable and quick.")


def marked():
    """Byte-level BPE as RoBERTa has it: <s> a </s></s> b </s>, a mask that takes the space before it."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("a", "n"), ("an", "d"), ("Ġ", "a"), ("o", "n"), ("c", "a"), ("ca", "t"), ("Ġ", "s"),
              ("Ġs", "a"), ("Ġ", "cat"), ("i", "s"), ("Ġ", "is"), ("r", "e"), ("re", "d")]
    vocab = {w: i for i, w in enumerate(["<s>", "<pad>", "</s>", "<unk>"] + letters + [a + b for a, b in merges] + ["<mask>"])}
    t = Tokenizer(models.BPE(vocab, merges))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    t.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True)])
    return t


def pieces():
    """Unigram pieces as XLM-RoBERTa and DeBERTa have them."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    letters = list("abcdefghijklmnopqrstuvwxyz0123456789.,:;?!'-é")
    words = ["▁the", "▁cat", "▁is", "▁a", "▁example", "▁this", "▁red", "▁mat", "▁dog", "s", "ing", "▁sat", "▁on"]
    table = [("[PAD]", 0.0), ("[CLS]", 0.0), ("[SEP]", 0.0), ("[UNK]", 0.0), ("▁", -3.0)]
    table += [(w, -4.0 - i / 10) for i, w in enumerate(words)] + [(c, -6.0 - i / 50) for i, c in enumerate(letters) if c != "s"] + [("[MASK]", 0.0)]
    t = Tokenizer(models.Unigram(table, unk_id=3))
    t.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    t.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"])
    return t


def labels(names):
    return dict(id2label={str(i): n for i, n in enumerate(names)}, label2id={n: i for i, n in enumerate(names)})


BERT = dict(enc.BERT, **SMALL)
ROBERTA = dict(enc.ROBERTA, **dict(SMALL, max_position_embeddings=82))
DEBERTA = dict(enc.DEBERTA, **SMALL)
NER = labels(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])


def with_markers():
    """As PyLate saves it: its markers are tokens."""
    markers = ["[Q] ", "[D] "]
    t = emb.wordpiece(False, emb.VOCABULARY + markers)
    t.add_tokens(markers)
    return t


WORD, MARK, PIECE, MARKED = (lambda: emb.wordpiece(False), SPECIAL), (marked, MARKS), (pieces, SPECIAL), (with_markers, SPECIAL)

TASKS = {
    "task-bert-words": dict(cls="BertForMaskedLM", config=BERT, tokenizer=WORD),
    "task-roberta-words": dict(cls="RobertaForMaskedLM", config=ROBERTA, tokenizer=MARK),
    "task-distilbert-splade": dict(cls="DistilBertForMaskedLM", tokenizer=WORD, splade=dict(pooling_strategy="sum", activation_function="log1p_relu"),
                                   config=dict(enc.DISTILBERT, dim=12, n_heads=3, hidden_dim=17, max_position_embeddings=48)),
    # a vector a token: as PyLate saves it, and as sentence-transformers does
    "task-bert-late": dict(cls="BertModel", config=BERT, tokenizer=MARKED, late=dict(
        pylate=dict(model_type="ColBERT", prompts={}, query_prefix="[Q] ", document_prefix="[D] ", query_length=14, document_length=24,
                    attend_to_expansion_tokens=False, skiplist_words=list(string.punctuation), do_query_expansion=True),
        dense=(7, False, "torch.nn.modules.linear.Identity"))),
    "task-roberta-late": dict(cls="RobertaModel", config=ROBERTA, tokenizer=MARK, late=dict(
        transformer=dict(query_length=30, document_length=20, query_expansion=dict(strategy="min", attend=True, token=None, length=9)),
        mask=dict(skiplist_words=[".", "no such word", "a"], skiplist_tasks=["document"], keep_only_token_ids=None),
        dense=(6, True, "torch.nn.modules.activation.Tanh"))),
    "task-bert-classes": dict(cls="BertForSequenceClassification", config=dict(BERT, **labels(["bad", "so-so", "good"])), tokenizer=WORD),
    "task-roberta-multi": dict(cls="RobertaForSequenceClassification", tokenizer=MARK,
                               config=dict(ROBERTA, problem_type="multi_label_classification", **labels(["a", "b", "c", "d"]))),
    "task-distilbert-regression": dict(cls="DistilBertForSequenceClassification", tokenizer=WORD,
                                       config=dict(enc.DISTILBERT, dim=12, n_heads=3, hidden_dim=17, max_position_embeddings=48,
                                                   problem_type="regression", **labels(["LABEL_0"]))),
    "task-deberta-entailment": dict(cls="DebertaV2ForSequenceClassification", tokenizer=PIECE,
                                    config=dict(DEBERTA, type_vocab_size=0, **labels(["contradiction", "neutral", "Entailment"]))),
    "task-bert-tokens": dict(cls="BertForTokenClassification", config=dict(BERT, **NER), tokenizer=WORD),
    "task-roberta-tokens": dict(cls="RobertaForTokenClassification", config=dict(ROBERTA, **NER), tokenizer=MARK),
    "task-bert-answers": dict(cls="BertForQuestionAnswering", config=BERT, tokenizer=WORD),
    "task-roberta-answers": dict(cls="RobertaForQuestionAnswering", config=ROBERTA, tokenizer=MARK),
    "task-deberta-answers": dict(cls="DebertaV2ForQuestionAnswering", config=DEBERTA, tokenizer=PIECE),
    "task-bert-rerank": dict(cls="BertForSequenceClassification", config=dict(BERT, **labels(["LABEL_0"])), tokenizer=WORD),
    "task-roberta-rerank": dict(cls="RobertaForSequenceClassification", tokenizer=MARK,
                                config=dict(ROBERTA, **labels(["LABEL_0"]), sentence_transformers=dict(activation_fn="torch.nn.modules.linear.Identity"))),
    "task-qwen2-rerank": dict(cls="Qwen2ForSequenceClassification", tokenizer=MARK,
                              config=dict(base.QWEN2, **dict(SMALL, hidden_size=18, num_key_value_heads=1), rope_theta=10000.0, pad_token_id=1,
                                          tie_word_embeddings=False, **labels(["LABEL_0"]))),
    "task-bert-order": dict(cls="BertForNextSentencePrediction", config=BERT, tokenizer=WORD),
    "task-albert-order": dict(cls="AlbertForPreTraining", tokenizer=WORD,
                              config=dict(enc.ALBERT, hidden_size=12, embedding_size=8, num_attention_heads=3, intermediate_size=17, max_position_embeddings=48)),
}


def folders(names=TASKS):
    import transformers

    for name in names:
        spec = TASKS[name]
        folder = base.CHECKPOINTS / name
        shutil.rmtree(folder, ignore_errors=True)
        make, special = spec["tokenizer"]
        tok = make()
        config = dict(spec["config"], architectures=[spec["cls"]], vocab_size=max(tok.get_vocab().values()) + 1)
        base.write_json(folder / "config.json", config)
        shell = getattr(transformers, spec["cls"])(transformers.AutoConfig.from_pretrained(folder))
        base.save_checkpoint(folder, enc.weights(name, shell, config, torch.float32))
        base.load_reference(spec["cls"], folder)
        limit = config["max_position_embeddings"] - (config["pad_token_id"] + 1 if "roberta" in config["model_type"] else 0)
        tok.save(str(folder / "tokenizer.json"), pretty=False)
        typed = ["token_type_ids"] if config.get("type_vocab_size", 0) > 1 else []
        base.write_json(folder / "tokenizer_config.json", dict(tokenizer_class="PreTrainedTokenizerFast", model_max_length=limit,
                                                               model_input_names=["input_ids", *typed, "attention_mask"], **special))
        if "splade" in spec:  # as sentence-transformers saves it
            kinds = [("base.modules.transformer.Transformer", ""), ("sparse_encoder.modules.splade_pooling.SpladePooling", "1_SpladePooling")]
            base.write_json(folder / "modules.json", [dict(idx=i, name=str(i), path=path, type=f"sentence_transformers.{kind}")
                                                      for i, (kind, path) in enumerate(kinds)])
            base.write_json(folder / "sentence_bert_config.json", dict(
                transformer_task="fill-mask", modality_config=dict(text=dict(method="forward", method_output_name="logits")), module_output_name="token_embeddings"))
            base.write_json(folder / "config_sentence_transformers.json", dict(model_type="SparseEncoder", prompts=dict(query="", document=""),
                                                                               default_prompt_name=None, similarity_fn_name="dot"))
            base.write_json(folder / "1_SpladePooling" / "config.json", dict(spec["splade"], embedding_dimension=None))
        if "late" in spec:
            late(folder, name, config, **spec["late"])
        print(name, sum(v.numel() for v in shell.state_dict().values()), "numbers")


def late(folder, name, config, dense, pylate=None, transformer=None, mask=None):
    """The files beside a transformer whose tokens each have a vector."""
    from safetensors.torch import save_file

    size, bias, activation = dense
    rng = base.generator(name + "/dense")
    values = {"linear.weight": rng.normal(0, 0.4, (size, config["hidden_size"]))}
    values |= {"linear.bias": rng.normal(0, 0.3, size)} if bias else {}
    (folder / "1_Dense").mkdir(parents=True, exist_ok=True)
    save_file({k: torch.tensor(v, dtype=torch.float32) for k, v in values.items()}, folder / "1_Dense" / "model.safetensors")
    base.write_json(folder / "1_Dense" / "config.json", dict(
        in_features=config["hidden_size"], out_features=size, bias=bias, activation_function=activation,
        **(dict(use_residual=False) if pylate else dict(module_input_name="token_embeddings", module_output_name="token_embeddings"))))
    st = "sentence_transformers."
    kinds = [(st + ("models.Transformer" if pylate else "base.modules.transformer.Transformer"), ""),
             ("pylate.models.Dense.Dense" if pylate else st + "base.modules.dense.Dense", "1_Dense")]
    if not pylate:
        kinds += [(st + "multi_vector_encoder.modules.multi_vector_mask.MultiVectorMask", "2_MultiVectorMask"),
                  (st + "sentence_transformer.modules.normalize.Normalize", "3_Normalize")]
        base.write_json(folder / "2_MultiVectorMask" / "config.json", mask)
        base.write_json(folder / "3_Normalize" / "config.json", dict(module_input_name="token_embeddings", module_output_name="token_embeddings"))
    base.write_json(folder / "modules.json", [dict(idx=i, name=str(i), path=path, type=kind) for i, (kind, path) in enumerate(kinds)])
    base.write_json(folder / "sentence_bert_config.json", dict(max_seq_length=24, do_lower_case=False) if pylate else dict(
        transformer_task="feature-extraction", modality_config=dict(text=dict(method="forward", method_output_name="last_hidden_state")),
        module_output_name="token_embeddings", **transformer))
    base.write_json(folder / "config_sentence_transformers.json", dict(pylate or dict(
        model_type="MultiVectorEncoder", prompts=dict(query="query: ", document="")), default_prompt_name=None, similarity_fn_name="MaxSim"))


def tokens_vectors(folder):
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    queries = ["Where sat the cat?", TEXTS[3], TEXTS[4], ""]
    found, vectors = [], {}
    for role, texts, encode in (("query", queries, model.encode_query), ("document", TEXTS, model.encode_document)):
        vectors[role] = [encode(text) for text in texts]
        for text, rows in zip(texts, vectors[role]):
            rows = [[float(f"{x:.9g}") for x in row] for row in rows.tolist()]
            found.append(dict(call="embed_tokens", role=role, text=text, result=rows))
    scores = model.similarity(vectors["query"], vectors["document"])
    found.append(dict(call="max_sim", queries=queries, documents=TEXTS, result=scores.tolist()))
    return found


def clear(scores, name):
    """Refuses recordings in which two scores are so near that rounding decides their order."""
    scores = sorted((float(s) for s in scores), reverse=True)
    gaps = [a - b for a, b in zip(scores, scores[1:])]
    assert not gaps or min(gaps) > 1e-5 or min(gaps) == 0, (name, "scores too near", min(gaps))


def fill(name, pipe):
    mask, cases = pipe.tokenizer.mask_token, []
    for text, kw in [(f"The cat {mask} on the mat.", {}), (f"{mask} far is the {mask}? 12 {mask}", dict(top_k=3)),
                     (f"it is {mask}!", dict(top_k=4, targets=["cat", "the", "on"])), (f"naïve café, {mask}", dict(top_k=2))]:
        if "targets" in kw and any(pipe.tokenizer.get_vocab().get(t) is None for t in kw["targets"]):
            kw = dict(top_k=3, targets=["cat", "a", "s"])
        out = pipe(text, **kw)
        out = out if isinstance(out[0], list) else [out]
        for row in out:
            clear([r["score"] for r in row], name)
        cases.append(dict(call="fill_mask", text=text, **kw, result=out))
    return cases


def classify(name, pipe):
    cases = [dict(call="classify", text=text, result=pipe(text, top_k=None, truncation=True)) for text in TEXTS]
    cases += [dict(call="classify", text=TEXTS[0], scoring=how, result=pipe(TEXTS[0], top_k=None, function_to_apply=how))
              for how in ("softmax", "sigmoid", "none")]
    for a, b in [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[3]), (TEXTS[4], TEXTS[0]), (TEXTS[0], TEXTS[4]), (TEXTS[4], TEXTS[4])]:
        cases.append(dict(call="classify_pairs", text=a, pair=b, result=pipe(dict(text=a, text_pair=b), top_k=None, truncation=True)))
    for case in cases:
        clear([r["score"] for r in case["result"]], name)
    return cases


def zero_shot(name, pipe):
    cases = []
    for text, kw in [(TEXTS[0], dict(candidate_labels=["cats", "dogs", "far away"])), (TEXTS[1], dict(candidate_labels=["red", "mat"], multi_label=True)),
                     (TEXTS[3], dict(candidate_labels=["far"])), (TEXTS[4], dict(candidate_labels=["letters", "cats"], hypothesis_template="it is {}!"))]:
        out = pipe(text, **kw)
        clear(out["scores"], name)
        cases.append(dict(call="zero_shot", text=text, labels=kw["candidate_labels"], multi_label=kw.get("multi_label", False),
                          template=kw.get("hypothesis_template"), result=dict(labels=out["labels"], scores=out["scores"])))
    return cases


def tokens(name, pipe):
    cases = []
    for text in TEXTS + ["", "  Cats   sat\ton mats"]:
        for how in ("none", "simple", "first", "average", "max"):
            for ignore in (None, []):
                kw = dict(aggregation_strategy=how) | ({} if ignore is None else dict(ignore_labels=ignore))
                out = [dict(label=r.get("entity", r.get("entity_group")), score=float(r["score"]), start=r["start"], end=r["end"]) for r in pipe(text, **kw)]
                cases.append(dict(call="token_classify", text=text, aggregation=how, ignore=ignore, result=out))
    import transformers

    pipe = transformers.pipeline("token-classification", model=pipe.model, tokenizer=pipe.tokenizer, aggregation_strategy="simple", stride=5)
    out = [dict(label=r["entity_group"], score=float(r["score"]), start=r["start"], end=r["end"]) for r in pipe(TEXTS[4] + " " + PASSAGE)]
    return cases + [dict(call="token_classify", text=TEXTS[4] + " " + PASSAGE, aggregation="simple", ignore=None, stride=5, result=out)]


def sparse(folder):
    from sentence_transformers import SparseEncoder

    vectors = SparseEncoder(str(folder), device="cpu", local_files_only=True).encode(TEXTS, convert_to_sparse_tensor=False)
    found = []
    for text, row in zip(TEXTS, vectors):
        ids = row.nonzero().squeeze(-1)
        found.append(dict(call="sparse", text=text, result=dict(ids=ids.tolist(), weights=row[ids].tolist())))
    return found


def rerank(name, folder):
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    out = model.rank(TEXTS[0], TEXTS, convert_to_tensor=False)
    clear([r["score"] for r in out], name)
    return [dict(call="rerank", text=TEXTS[0], documents=TEXTS, result=[dict(index=int(r["corpus_id"]), score=float(r["score"])) for r in out])]


@torch.no_grad()
def order(model, tok):
    cases = []
    for a, b in [(TEXTS[0], TEXTS[1]), (TEXTS[1], TEXTS[0]), (TEXTS[2], TEXTS[3]), (TEXTS[4], TEXTS[0])]:
        out = model(**tok(a, b, return_tensors="pt", truncation=True))
        logits = out.sop_logits if "sop_logits" in out else out.logits
        cases.append(dict(call="follows", text=a, pair=b, result=logits.softmax(-1)[0, 0].item()))
    return cases


def answers(name, pipe):
    cases = []
    for question, kw in [("Where did the cat sit?", {}), ("Is the apple red?", dict(top_k=3)), ("un?", dict(top_k=4, handle_impossible_answer=True)),
                         ("long dog", dict(max_answer_len=3, top_k=2)), ("cat", dict(align_to_words=False, top_k=3)),
                         ("cat", dict(max_seq_len=30, doc_stride=7, top_k=2))]:
        out = pipe(question=question, context=PASSAGE, **kw)
        out = out if isinstance(out, list) else [out]
        clear([r["score"] for r in out], name)
        cases.append(dict(call="answer", question=question, passage=PASSAGE, **kw,
                          result=[dict(score=float(r["score"]), start=int(r["start"]), end=int(r["end"]), answer=r["answer"]) for r in out]))
    return cases


def record(answering=False, names=TASKS):
    import transformers

    transformers.logging.set_verbosity_error()
    for name in names:
        spec = TASKS[name]
        if ("Answering" in spec["cls"]) != answering:
            continue
        folder = base.CHECKPOINTS / name
        model = getattr(transformers, spec["cls"]).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager" if "Deberta" not in spec["cls"] else None).eval()
        tok = transformers.AutoTokenizer.from_pretrained(folder)
        pipe = lambda kind: transformers.pipeline(kind, model=model, tokenizer=tok, device="cpu")
        if "Answering" in spec["cls"]:
            cases = answers(name, pipe("question-answering"))
        elif "late" in spec:
            cases = tokens_vectors(folder)
        elif "MaskedLM" in spec["cls"]:
            cases = sparse(folder) if "splade" in spec else fill(name, pipe("fill-mask")) + sparse(folder)
        elif "rerank" in name:
            cases = rerank(name, folder)
        elif "entailment" in name:
            cases = zero_shot(name, pipe("zero-shot-classification"))
        elif "SequenceClassification" in spec["cls"]:
            cases = classify(name, pipe("text-classification"))
        elif "TokenClassification" in spec["cls"]:
            cases = tokens(name, pipe("token-classification"))
        else:
            cases = order(model, tok)
        (folder / "tasks.json").write_text(json.dumps(cases, ensure_ascii=False, indent=None, separators=(",", ":")) + "\n")
        print(name, len(cases), "cases")


if __name__ == "__main__":
    from importlib.metadata import version

    assert sys.argv[1:] == ["answers"], __doc__
    for package, want in ANSWERS.items():
        assert version(package) == want, (package, version(package), want)
    record(answering=True)
