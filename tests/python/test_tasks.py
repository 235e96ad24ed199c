"""Tasks: the recorded answers of the pipelines of transformers and of sentence-transformers, wrong use,
progress, cancelling."""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import emberform
from conftest import GOLDEN

Case = dict[str, Any]
FOLDERS = sorted(folder.name for folder in GOLDEN.iterdir() if (folder / "tasks.json").exists())
CASES: dict[str, list[Case]] = {
    name: json.loads((GOLDEN / name / "tasks.json").read_text()) for name in FOLDERS
}


def opened(name: str) -> emberform.Model:
    return emberform.open(GOLDEN / name, device="cpu")


def near(found: Iterable[float], wanted: Iterable[float]) -> None:
    """Scores, to the bar of the Rust tests for these files."""
    pairs = list(zip(found, wanted, strict=True))
    assert all(abs(a - b) <= 1e-4 for a, b in pairs), pairs


def given(case: Case, **names: str) -> Case:
    """The options that a case has, by their names here."""
    return {ours: case[theirs] for ours, theirs in names.items() if case.get(theirs) is not None}


def fill_mask(model: emberform.Model, case: Case) -> None:
    found = model.fill_mask(case["text"], **given(case, top_k="top_k", targets="targets"))
    for fills, wanted in zip(found, case["result"], strict=True):
        near([fill.score for fill in fills], [one["score"] for one in wanted])
        assert [(fill.id, fill.token, fill.text) for fill in fills] == [
            (one["token"], one["token_str"], one["sequence"]) for one in wanted
        ]


def compare_classes(found: emberform.Classes, names: list[str], scores: list[float]) -> None:
    assert [one.label for one in found.classes] == names
    near([one.score for one in found.classes], scores)
    best = found.best
    assert best is not None and best == found.classes[0] and best.label == names[0]


def classify(model: emberform.Model, case: Case) -> None:
    options = given(case, scoring="scoring")
    if case["call"] == "classify":
        (found,) = model.classify(case["text"], **options)
    else:
        (found,) = model.classify_pairs([(case["text"], case["pair"])], **options)
    wanted = case["result"]
    compare_classes(found, [one["label"] for one in wanted], [one["score"] for one in wanted])


def zero_shot(model: emberform.Model, case: Case) -> None:
    options = given(case, template="template", multi_label="multi_label")
    found = model.zero_shot(case["text"], case["labels"], **options)
    compare_classes(found, case["result"]["labels"], case["result"]["scores"])
    assert [case["labels"][one.index] for one in found.classes] == case["result"]["labels"]


def token_classify(model: emberform.Model, case: Case) -> None:
    options = given(case, aggregation="aggregation", ignore="ignore", stride="stride")
    (found,) = model.token_classify(case["text"], **options)
    wanted = case["result"]
    near([one.score for one in found], [one["score"] for one in wanted])
    places = [(one.label, one.start, one.end) for one in found]
    assert places == [(one["label"], one["start"], one["end"]) for one in wanted]
    assert all(one.text == case["text"][one.start : one.end] for one in found)
    assert all((one.token is None) == (case["aggregation"] != "none") for one in found)


def answer(model: emberform.Model, case: Case) -> None:
    options = given(
        case,
        top_k="top_k",
        no_answer="handle_impossible_answer",
        max_answer_tokens="max_answer_len",
        stride="doc_stride",
        max_tokens="max_seq_len",
    )
    tokens = case.get("align_to_words") is False
    found = model.answer(case["question"], case["passage"], tokens=tokens, **options)
    wanted = case["result"]
    near([one.score for one in found], [one["score"] for one in wanted])
    places = [(one.text, one.start, one.end) for one in found]
    assert places == [(one["answer"], one["start"], one["end"]) for one in wanted]


def rerank(model: emberform.Model, case: Case) -> None:
    found = model.rerank(case["text"], case["documents"])
    assert [one.index for one in found] == [one["index"] for one in case["result"]]
    near([one.score for one in found], [one["score"] for one in case["result"]])


def sparse(model: emberform.Model, case: Case) -> None:
    (found,) = model.sparse(case["text"])
    assert found.ids.dtype == np.uint32 and found.ids.tolist() == case["result"]["ids"]
    assert found.weights.dtype == np.float32
    near(found.weights.tolist(), case["result"]["weights"])
    assert found.cut >= 0


def embed_tokens(model: emberform.Model, case: Case) -> None:
    (found,) = model.embed_tokens(case["text"], case["role"])
    wanted = np.array(case["result"], np.float32)
    assert found.vectors.dtype == np.float32 and found.vectors.shape == wanted.shape
    near(found.vectors.ravel().tolist(), wanted.ravel().tolist())
    assert found.ids.dtype == np.uint32 and len(found.ids) == len(found) == len(wanted)


def max_sim(model: emberform.Model, case: Case) -> None:
    queries = model.embed_tokens(case["queries"], "query")
    documents = model.embed_tokens(case["documents"], "document")
    for query, wanted in zip(queries, case["result"], strict=True):
        near([query.max_sim(document) for document in documents], wanted)


def follows(model: emberform.Model, case: Case) -> None:
    near(model.follows([(case["text"], case["pair"])]), [case["result"]])


CALLS: dict[str, Callable[[emberform.Model, Case], None]] = {
    "fill_mask": fill_mask,
    "classify": classify,
    "classify_pairs": classify,
    "zero_shot": zero_shot,
    "token_classify": token_classify,
    "answer": answer,
    "rerank": rerank,
    "sparse": sparse,
    "embed_tokens": embed_tokens,
    "max_sim": max_sim,
    "follows": follows,
}


def test_the_recorded_cases_are_there() -> None:
    cases = [case for name in FOLDERS for case in CASES[name]]
    assert len(cases) >= 200 and {case["call"] for case in cases} == set(CALLS)


@pytest.mark.parametrize("name", FOLDERS)
def test_answers_are_those_of_the_pipelines(name: str) -> None:
    model = opened(name)
    for case in CASES[name]:
        CALLS[case["call"]](model, case)


def test_a_batch_is_in_order() -> None:
    model = opened("task-bert-classes")
    texts = ["The cat sat.", "", "Dogs ate 12 red apples, quickly!", "it is far"]
    together = model.classify(texts, top_k=2)
    assert [len(one.classes) for one in together] == [2] * 4
    for text, found in zip(texts, together, strict=True):
        (alone,) = model.classify(text, batch_tokens=1)
        assert alone.classes[0].label == found.classes[0].label
        near([alone.classes[0].score], [found.classes[0].score])
    assert model.classify([]) == [] and model.classify_pairs([]) == []
    (long,) = model.classify("cat " * 99, max_tokens=10)
    assert long.cut > 0 and together[0].cut == 0


def test_results_print_and_compare() -> None:
    classes = opened("task-bert-classes").classify(["a", "a", "The cat sat."])
    assert classes[0] == classes[1] != classes[2]
    assert re.fullmatch(r'<Classes "[^"]+" 0\.\d{3}(, "[^"]+" 0\.\d{3})+>', repr(classes[0]))
    assert re.fullmatch(r'<Class "[^"]+" 0\.\d{3}>', repr(classes[0].best))
    with pytest.raises(AttributeError):
        classes[0].cut = 3  # type: ignore[misc]
    ((fill, *_),) = opened("task-bert-words").fill_mask("The cat [MASK] on the mat.")
    assert re.fullmatch(r'<Fill ".+" 0\.\d{3}>', repr(fill))
    ((entity, *_),) = opened("task-roberta-tokens").token_classify("The cat sat on the mat.")
    assert re.fullmatch(r'<Entity "B-PER" 0:1 "T" 0\.\d{3}>', repr(entity))
    (answer,) = opened("task-bert-answers").answer("Where?", "On the mat.")
    assert re.fullmatch(r'<Answer \d+:\d+ ".+" 0\.\d{3}>', repr(answer))
    (ranked,) = opened("task-bert-rerank").rerank("a", ["b"])
    assert re.fullmatch(r"<Ranked 0 0\.\d{3}>", repr(ranked))


def test_sparse_vectors_multiply() -> None:
    model = opened("task-distilbert-splade")
    a, b = model.sparse(["The cat sat on the mat.", "it is far, too far"])

    def dense(one: emberform.Sparse) -> NDArray[np.float64]:
        row = np.zeros(model.spec.vocab)
        row[one.ids] = one.weights
        return row

    # Sums of 32-bit floats against sums of 64-bit ones.
    assert np.allclose([a.dot(b), a.dot(a)], [dense(a) @ dense(b), dense(a) @ dense(a)], rtol=1e-6, atol=0)
    assert a.dot(b) > 0 and len(a) == len(a.ids) == len(a.weights)
    assert repr(a) == f"<Sparse of {len(a)} tokens>"
    assert model.sparse([]) == []


def test_token_vectors() -> None:
    model = opened("task-bert-late")
    query, *_ = model.embed_tokens(["Where sat the cat?", "it is far"], "query")
    documents = model.embed_tokens(["The cat sat on the mat.", "", "it is far, too far"], "document", batch_tokens=1)
    # Sums of 32-bit floats against numpy's.
    scores = [(query.vectors @ one.vectors.T).max(axis=1).sum() for one in documents if len(one)]
    near([query.max_sim(one) for one in documents if len(one)], scores)
    assert np.allclose(np.linalg.norm(query.vectors, axis=1), 1, atol=1e-5)
    assert repr(query) == f"<TokenVectors {len(query)} of width {query.vectors.shape[1]}>"
    assert model.embed_tokens([], "query") == []
    (cut,) = model.embed_tokens("the cat " * 9, "document", max_tokens=6)
    assert cut.cut > 0 and documents[0].cut == 0
    # Of another width: nothing in common.
    other = opened("task-roberta-late").embed_tokens("The cat", "document")[0]
    assert other.vectors.shape[1] != query.vectors.shape[1] and query.max_sim(other) == 0
    told: list[tuple[int, int]] = []
    model.embed_tokens(["a", "b"], "query", batch_tokens=1, progress=lambda done, of: told.append((done, of)))
    assert told == [(1, 2), (2, 2)]


def test_progress_and_what_it_raises() -> None:
    model = opened("task-bert-classes")
    texts = ["a cat"] * 5
    told: list[tuple[int, int]] = []
    model.classify(texts, batch_tokens=1, progress=lambda done, of: told.append((done, of)))
    assert told == [(i + 1, 5) for i in range(5)]

    def enough(done: int, of: int) -> None:
        told.append((done, of))
        raise RuntimeError("enough")

    told.clear()
    with pytest.raises(RuntimeError, match="enough"):
        model.classify(texts, batch_tokens=1, progress=enough)
    assert told == [(1, 5)]
    assert len(model.classify(texts)) == 5


LONG = "[MASK] " + "cat " * 99
WRONG: list[tuple[str, Callable[[emberform.Model], object], type[Exception], str]] = [
    ("task-bert-classes", lambda m: m.fill_mask("a"), emberform.MissingError, "one for classes of texts"),
    ("task-bert-words", lambda m: m.fill_mask("the cat"), ValueError, "`[MASK]`"),
    ("task-bert-words", lambda m: m.fill_mask("[MASK]", top_k=0), ValueError, "`top_k` is 0"),
    ("task-bert-words", lambda m: m.fill_mask("[MASK]", top_k=-1), ValueError, "`top_k` is -1"),
    ("task-bert-words", lambda m: m.fill_mask("[MASK]", targets=["no such token"]), ValueError, "no such token"),
    ("task-bert-words", lambda m: m.fill_mask(LONG), emberform.TooLongError, "48"),
    ("task-bert-words", lambda m: m.fill_mask(["[MASK]"]), TypeError, "'list'"),  # type: ignore[arg-type]
    ("task-bert-classes", lambda m: m.zero_shot("a", ["b"]), emberform.MissingError, "entail"),
    ("task-deberta-entailment", lambda m: m.zero_shot("a", []), ValueError, "labels"),
    ("task-deberta-entailment", lambda m: m.zero_shot("a", ["b"], template="no place"), ValueError, "`{}`"),
    ("task-bert-classes", lambda m: m.rerank("a", ["b"]), emberform.MissingError, "3"),
    ("task-bert-tokens", lambda m: m.token_classify("a", stride=3), ValueError, "aggregation"),
    ("task-bert-tokens", lambda m: m.token_classify("a", aggregation="most"), emberform.UnsupportedError, "`most`"),  # type: ignore[arg-type]
    ("task-bert-classes", lambda m: m.classify("a", scoring="tanh"), emberform.UnsupportedError, "`tanh`"),  # type: ignore[arg-type]
    ("task-bert-answers", lambda m: m.answer("a", ""), ValueError, "passage"),
    ("task-bert-answers", lambda m: m.answer(LONG, "a"), ValueError, "question"),
    ("task-bert-classes", lambda m: m.classify("a", max_tokens=49), ValueError, "48"),
    ("task-bert-classes", lambda m: m.classify("a", batch_tokens=0), ValueError, "`batch_tokens` is 0"),
    ("task-bert-classes", lambda m: m.classify(b"a"), TypeError, "bytes"),  # type: ignore[arg-type]
    ("task-bert-classes", lambda m: m.classify_pairs(["ab"]), TypeError, "item 0 is 'ab', not a tuple"),  # type: ignore[list-item]
    ("task-bert-classes", lambda m: m.classify_pairs([("a", "b"), ("a", 3)]), TypeError, "item 1 is ('a', 3)"),  # type: ignore[list-item]
    ("task-bert-order", lambda m: m.follows([("a", "\ud800")]), UnicodeEncodeError, "surrogates"),
    ("task-bert-words", lambda m: m.fill_mask("[MASK]", max_tokens=1), emberform.TooLongError, "1"),
    ("task-bert-classes", lambda m: m.embed_tokens("a", "query"), emberform.MissingError, "MultiVectorMask"),
    ("task-bert-late", lambda m: m.embed_tokens("a", "question"), ValueError, "`role` is `question`"),  # type: ignore[arg-type]
    ("task-bert-late", lambda m: m.embed_tokens("a"), TypeError, "role"),  # type: ignore[call-arg]
    ("task-bert-late", lambda m: m.embed_tokens("a", "query", max_tokens=1), ValueError, "`max_tokens` is 1"),
    ("task-bert-late", lambda m: m.embed_tokens("a", "query", batch_tokens=0), ValueError, "`batch_tokens` is 0"),
    ("task-bert-late", lambda m: m.embed_tokens("a", "query")[0].max_sim(3), TypeError, "int"),  # type: ignore[arg-type]
    ("task-bert-classes", lambda m: m.sparse("a"), emberform.MissingError, "words behind masks"),
    ("st-decoder", lambda m: m.classify("a"), emberform.MissingError, "classes of texts"),
]


@pytest.mark.parametrize(("name", "use", "kind", "part"), WRONG)
def test_wrong_use(
    name: str, use: Callable[[emberform.Model], object], kind: type[Exception], part: str
) -> None:
    with pytest.raises(kind) as raised:
        use(opened(name))
    assert part in str(raised.value), raised.value


def test_a_closed_model() -> None:
    model = opened("task-bert-classes")
    model.close()
    with pytest.raises(emberform.ClosedError):
        model.classify("a")
