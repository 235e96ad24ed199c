# Written by bindings-python/stubs.py; do not edit.
"""
Transformers inside your program: embed and generate text on any vendor's GPU or on the CPU.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from numpy import bool_, float32, int64, integer, uint32
from numpy.typing import ArrayLike, NDArray
from os import PathLike
from pathlib import Path
from typing import Any, Literal, SupportsFloat, SupportsIndex, final
from typing_extensions import Unpack

from ._options import GenerateOptions

@final
class Answer:
    """
    An answer: a part of the passage, or none.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def end(self, /) -> int:
        """
        Where it ends; `start` for the answer that there is none.
        """
    @property
    def score(self, /) -> float:
        """
        Its probability; of the same words in several places, or windows, the sum.
        """
    @property
    def start(self, /) -> int:
        """
        Where it begins, in characters of the passage.
        """
    @property
    def text(self, /) -> str:
        """
        That part of the passage.
        """

@final
class Batch:
    """
    Sequences that are decoded together, from `Model.generate_all()` or `Model.batch()`: an iterator
    of pieces, each with the number of its sequence, counted from 0 over all that were ever added.

    A token of all living sequences is one forward pass on the CPU, which reads each weight once for
    all. Each has its own prompt, options, draws and end, and its tokens are those that it has
    alone, except where two logits are as good as equal. Those that have ended leave the pass; more
    may be added at any time, and are read when the next piece is asked for. On a GPU, for
    encoder-decoders and for some kinds of attention (ALiBi, learned distances, sinks, latent
    vectors, chunks) the sequences have their steps one after the other, with the same result.

    What goes wrong with a sequence is raised where its next piece would come, with its number in
    `sequence`: it has no more pieces then, and the others go on when the next piece is asked for.
    Dropping the batch ends the work.

    One thread at a time, but for `cancel`: a second one gets ValueError.
    """
    def __iter__(self, /) -> Batch: ...
    def __next__(self, /) -> tuple[int, Piece]: ...
    def __repr__(self, /) -> str: ...
    def add(self, /, prompt: str, **options: Unpack[GenerateOptions]) -> int:
        """
        Adds a text to continue, or a source to answer for an encoder-decoder.

        Returns its number. Options and errors are those of `Model.generate`; the batch is as before
        after one.
        """
    def add_ids(self, /, ids: Sequence[int] | NDArray[integer[Any]], **options: Unpack[GenerateOptions]) -> int:
        """
        As `add`, for token ids: a sequence of int or an array of any integer type, [T].

        Raises ValueError for no ids or one beyond the vocabulary, and as `add`.
        """
    @property
    def cache_bytes(self, /) -> int:
        """
        Bytes that keys and values of all sequences take.
        """
    def cancel(self, /, sequence: SupportsIndex | None = None) -> None:
        """
        Stops all sequences from any thread, later ones too, also while a prompt is read; their
        `finish_reason` is then "cancelled".

        `sequence`: stop only this one, before its next step or while its prompt is read; nothing
        happens where there is none of this number.
        """
    def finish_reason(self, /, sequence: SupportsIndex) -> Literal["length", "stop", "stop_string", "window", "cancelled"] | None:
        """
        Why a sequence ended; None until its last piece was given, after an error, and where there is
        none of this number.
        """
    def remove(self, /, sequence: SupportsIndex) -> bool:
        """
        Ends a sequence, if it has not ended, and forgets what is known of it, its pieces that were not
        taken included. A batch that lives long remembers the end of each sequence until then.

        Returns whether there was one of this number.
        """
    @property
    def running(self, /) -> int:
        """
        Sequences that have not ended.
        """
    @property
    def sequences(self, /) -> list[int]:
        """
        The numbers of the sequences that were not removed, ended or not, in order.
        """
    def stats(self, /, sequence: SupportsIndex) -> Stats | None:
        """
        Counts and times of a sequence so far; the time of a step of several counts for each of them.
        None where there is none of this number.
        """
    def texts(self, /) -> list[str]:
        """
        All text that is still to come, of each sequence that was not removed, in the order of their
        numbers; a cancelled one gives what it has.

        Raises the first thing that goes wrong with one of them, such as DeviceError.
        """

@final
class Beam:
    """
    A row of tokens that beam search found.
    """
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str:
        """
        The text, so that a row can be printed as it is.
        """
    @property
    def ids(self, /) -> NDArray[uint32]:
        """
        The tokens after the prompt, with the one that ended the row: uint32 [T].
        """
    @property
    def score(self, /) -> float:
        """
        The sum of the tokens' log-probabilities, divided by their number to the power of the length
        penalty.
        """
    @property
    def text(self, /) -> str:
        """
        Their text, without special tokens; empty without a tokenizer.
        """

@final
class Chat:
    """
    A conversation with a model: its messages, and the cache of what the model has read; from
    `Model.chat()`.

    A turn reads only what is new since the last one. Special tokens that are spelled out in a
    message's text count as such, as in every chat template: keep them out of texts that are not to
    be trusted.

    Conversations of one model are independent and may run on different threads; one takes one
    thread at a time, and a second one gets ValueError. A conversation keeps its model's weights
    until it goes, also after `Model.close()`.
    """
    def __repr__(self, /) -> str: ...
    def cancel(self, /) -> None:
        """
        Stops the reply that is being made, from any thread; its stream's `finish_reason` is then
        "cancelled". The next one begins unhindered.
        """
    @property
    def ids(self, /) -> NDArray[uint32]:
        """
        The tokens that the model has read, whose keys and values are cached: uint32 [T].
        """
    @property
    def messages(self, /) -> list[dict[str, str]]:
        """
        The messages so far, each with `role` and `content`. A reply is among them once it has
        ended.
        """
    def prompt(self, /) -> str:
        """
        The text that the model would be asked to go on from now: the messages through the
        template.

        Raises as `Model.chat_prompt`.
        """
    def push(self, /, role: str, content: str) -> None:
        """
        Adds a message without asking for a reply, such as one of an earlier conversation.

        `role`: "system", "user", "assistant", "tool", or another that the template knows.

        Raises ValueError for an empty role.
        """
    def say(self, /, text: str, **options: Unpack[GenerateOptions]) -> Stream:
        """
        Says something as the user; the reply comes as a stream of pieces, each made when it is
        asked for. What the model has not read yet is read with the first one.

        The reply joins `messages` when it has ended; of one that was cancelled, dropped or left
        for a later message, what was made until then does. An error undoes the turn.

        Options are those of `Model.generate`.

        Raises TooLongError when the conversation leaves no room in the window, ValueError for an
        option out of range or messages that the template refuses, FormatError and
        UnsupportedError when the template is not what it should be; the messages are as before
        then.
        """
    def set(self, /, name: str, value: bool | int | str) -> None:
        """
        Sets a variable of the model's chat template, such as `enable_thinking`.
        """
    def system(self, /, text: str) -> None:
        """
        Sets the message that stands before all others and says how to answer; an earlier one
        gives way to it.
        """

@final
class Class:
    """
    A class of a text.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def index(self, /) -> int:
        """
        Its number among the labels.
        """
    @property
    def label(self, /) -> str:
        """
        Its name: of the model's config, or as the caller called it.
        """
    @property
    def score(self, /) -> float:
        """
        Its score.
        """

@final
class Classes:
    """
    The classes of a text, best first.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def best(self, /) -> Class | None:
        """
        The best class; None when there is none.
        """
    @property
    def classes(self, /) -> list[Class]:
        """
        The classes, best first.
        """
    @property
    def cut(self, /) -> int:
        """
        Tokens of the text that were left out to keep to the limit.
        """

@final
class DecodeStream:
    """
    Turns tokens into text as they come; from `Tokenizer.stream()`. One thread at a time.
    """
    def finish(self, /) -> str:
        """
        Gives what was held back, with U+FFFD for half a character, and starts anew.
        """
    def push(self, /, id: SupportsIndex) -> str:
        """
        Takes the next token and gives the text that has become certain, which may be empty. All
        pieces and what `finish` gives are together what `decode` gives for all tokens.

        Raises ValueError for an id that is not in the vocabulary.
        """

@final
class DeviceInfo:
    """
    A device of this machine.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def api(self, /) -> str:
        """
        The interface it is driven by: "Vulkan", "Metal", "DX12", or "native" for the CPU.
        """
    @property
    def auto(self, /) -> bool:
        """
        Whether "auto" takes it.
        """
    @property
    def driver(self, /) -> str:
        """
        The driver's name and version, as far as it gives them.
        """
    @property
    def id(self, /) -> str:
        """
        How it is asked for: "cpu" or "gpu:<number>".
        """
    @property
    def index(self, /) -> int | None:
        """
        The number in "gpu:<number>"; None for the CPU.
        """
    @property
    def kind(self, /) -> Literal["cpu", "discrete", "integrated", "virtual", "software", "unknown"]:
        """
        What it is; "software" is a GPU interface computed by the processor.
        """
    @property
    def memory(self, /) -> int | None:
        """
        Bytes of memory, where the driver tells.
        """
    @property
    def name(self, /) -> str:
        """
        The name its driver gives; "cpu" for the CPU.
        """
    @property
    def why(self, /) -> str:
        """
        Why "auto" takes it or passes it over.
        """

@final
class Embeddings:
    """
    Embeddings, one row a text in the order of the texts; from `embed_with()` of a model or of word
    vectors. `len()` counts rows.
    """
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    def cosine(self, /, i: SupportsIndex, j: SupportsIndex) -> float:
        """
        The cosine of the angle between rows `i` and `j`, from -1 to 1; 0 when a row is all zeros or
        is not there.
        """
    @property
    def cut(self, /) -> list[int]:
        """
        Tokens of each text that were left out: those beyond the limit, and of word vectors those
        that are not known.
        """
    def nearest(self, /, query: ArrayLike, count: SupportsIndex = ...) -> list[tuple[int, float]]:
        """
        The `count` rows nearest to `query` by cosine, best first, as (row, cosine). Of equals the
        first row comes first.

        `query`: a vector of D numbers, as `Model.embed` gives for one text.

        Raises ValueError for a query of another width.
        """
    @property
    def values(self, /) -> NDArray[float32]:
        """
        All rows: float32 [B, D], C-contiguous. The array only reads them; `.copy()` makes one that
        can be written to.
        """
    @property
    def width(self, /) -> int:
        """
        Numbers in a row (D).
        """

@final
class Encoding:
    """
    The tokens of one text or of a pair of texts; every array has one entry a token, [T].
    """
    def __bool__(self, /) -> bool:
        """
        Always true: an encoding of no tokens is an encoding.
        """
    def __eq__(self, other: object, /) -> bool: ...
    def __len__(self, /) -> int:
        """
        The number of tokens.
        """
    def __repr__(self, /) -> str: ...
    @property
    def attention_mask(self, /) -> NDArray[uint32]:
        """
        Ones, uint32 [T]: no token here is padding.
        """
    @property
    def cut(self, /) -> int:
        """
        How many tokens of the text were left out to keep to a limit.
        """
    @property
    def ids(self, /) -> NDArray[uint32]:
        """
        Token ids: uint32 [T].
        """
    @property
    def offsets(self, /) -> NDArray[int64]:
        """
        Where a token comes from: int64 [T, 2], start and end in characters of its text, so that
        `text[start:end]` is what stands there. (0, 0) for tokens that no text stands behind.
        """
    @property
    def special(self, /) -> NDArray[bool_]:
        """
        Whether a token was put there by the tokenizer rather than by the text, as `[CLS]` is:
        bool [T].
        """
    @property
    def type_ids(self, /) -> NDArray[uint32]:
        """
        Which text of a pair a token is of, 0 or 1: uint32 [T].
        """

@final
class Entity:
    """
    A part of a text with a class.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def end(self, /) -> int:
        """
        Where it ends.
        """
    @property
    def label(self, /) -> str:
        """
        The class; of joined tokens without its "B-" or "I-".
        """
    @property
    def score(self, /) -> float:
        """
        Its probability; of joined tokens the mean.
        """
    @property
    def start(self, /) -> int:
        """
        Where it begins, in characters of the text.
        """
    @property
    def text(self, /) -> str:
        """
        That part of the text.
        """
    @property
    def token(self, /) -> int | None:
        """
        The token's place among the text's tokens, special ones included; None where several were
        joined.
        """

@final
class Fill:
    """
    A token for a mask.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def id(self, /) -> int:
        """
        Its id.
        """
    @property
    def score(self, /) -> float:
        """
        Its probability among all tokens of the vocabulary.
        """
    @property
    def text(self, /) -> str:
        """
        The text with the mask replaced. With several masks the others stay, and special tokens are
        written out, as transformers does.
        """
    @property
    def token(self, /) -> str:
        """
        Its text.
        """

@final
class Memory:
    """
    The memory that a model takes; `print` it for a line of text.
    """
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    def cache(self, /, tokens: SupportsIndex) -> int:
        """
        Bytes that the keys and values of a session with so many tokens take; 0 for an encoder.
        """
    @property
    def mapped(self, /) -> bool:
        """
        Whether the weights are pages of the files, which other processes share and which are read
        when they are used: so it is on the CPU.
        """
    @property
    def weights(self, /) -> int:
        """
        Bytes of the weights, as they are stored.
        """
    @property
    def window(self, /) -> int:
        """
        Most tokens that a session can hold.
        """

@final
class Model:
    """
    An open model: its weights on a device, its tokenizer and its files' settings; from `open()`.

    Any number of threads may use it at once. It is a context manager that closes at the end. It
    pickles, and copies itself to another process, by its path and its options as they were given:
    the other side opens the files again.
    """
    def __copy__(self, /) -> Model:
        """
        Nothing in it changes, so a copy is itself.
        """
    def __deepcopy__(self, /, _memo: Any) -> Model:
        """
        Nothing in it changes, so a copy is itself.
        """
    def __enter__(self, /) -> Model: ...
    def __exit__(self, /, *_exception: "object") -> "None": ...
    def __reduce__(self, /) -> "tuple[object, ...]": ...
    def __repr__(self, /) -> str: ...
    def answer(self, /, question: str, passage: str, *, top_k: SupportsIndex | None = None, no_answer: bool = False, max_answer_tokens: SupportsIndex | None = None, max_tokens: SupportsIndex | None = None, stride: SupportsIndex | None = None, tokens: bool = False, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[Answer]:
        """
        The parts of a passage that answer a question, best first.

        `top_k`: answers. Default: 1.
        `no_answer`: whether there may be no answer, which is then one with an empty text.
        `max_answer_tokens`: most tokens of an answer. Default: 15.
        `max_tokens`: tokens of a window, question included. Default: 384.
        `stride`: tokens of the passage that a window shares with the one before. Default: 128, and
        at most half of a window.
        `tokens`: whether an answer is made of tokens as they are; else it begins and ends with a
        word.
        `batch_tokens`, `progress`: as in `classify`, windows counted.

        Raises as `classify`, ValueError for a passage without a token or a question that leaves no
        room for it.
        """
    def batch(self, /) -> Batch:
        """
        Sequences that are decoded together, none yet: each may have options of its own and may begin
        while others run.

        Raises MissingError for an encoder, which generates nothing.
        """
    def beams(self, /, prompt: str, *, beams: SupportsIndex | None = None, sequences: SupportsIndex | None = None, length_penalty: SupportsFloat | SupportsIndex | None = None, early_stopping: Literal["full", "likely", "never"] | None = None, **options: Unpack[GenerateOptions]) -> list[Beam]:
        """
        The likeliest continuations of a text, or answers to the source of an encoder-decoder, best
        first: beam search.

        `beams`: rows that are followed at once, 1 to 1024. Default: the file's, else 4.
        `sequences`: rows that are given back, at most `beams`. Default: 1.
        `length_penalty`: power of a row's length that the sum of its log-probabilities is divided
        by: above 0 favours long rows, below 0 short ones. Default: the file's, else 1.
        `early_stopping`: when to stop. "full": as soon as there are as many ended rows as beams;
        "likely": when the best row that goes on, at its present length, is worse than all ended
        ones; "never": when it would be worse at any length. Default: the file's, else "likely".
        The other options are those of `generate`; what is for drawing does nothing.

        Raises as `generate`, ValueError for a temperature above 0 and for `stop`, CancelledError,
        DeviceError, NotFiniteError.
        """
    def chat(self, /, system: str | None = None, *, variables: Mapping[str, bool | int | str] | None = None) -> Chat:
        """
        A conversation: messages, and a cache that is kept between turns.

        `system`: the message that says how to answer.
        `variables`: variables of the model's chat template by name, such as `enable_thinking`;
        which there are, `chat_template` says.

        Raises MissingError for an encoder, or without a tokenizer or a chat template; FormatError
        and UnsupportedError when the template is not what it should be.
        """
    def chat_prompt(self, /, messages: Iterable[Mapping[str, str]], *, variables: Mapping[str, bool | int | str] | None = None) -> str:
        """
        The text that the model's chat template makes of messages, up to where the model answers.

        `messages`: each a mapping with `role` and `content`, as `Chat.messages` gives them.
        `variables`: variables of the template by name, such as `enable_thinking`; which there are,
        `chat_template` says.

        It holds its special tokens as text: encode it with `special=False`.

        Raises MissingError without a template, ValueError for messages that the template refuses,
        FormatError and UnsupportedError when it is not what it should be.
        """
    @property
    def chat_template(self, /) -> str | None:
        """
        The chat template of the files, as they have it; None without one.
        """
    def classify(self, /, texts: str | Iterable[str], *, top_k: SupportsIndex | None = None, scoring: Literal["softmax", "sigmoid", "none"] | None = None, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[Classes]:
        """
        The classes of each text, best first. A text beyond the limit is cut on the right.

        `top_k`: classes of a text. Default: all.
        `scoring`: what becomes of logits. Default: by `problem_type` of the config; else "softmax",
        or "sigmoid" where there is one label.
        `max_tokens`: most tokens of a text, special ones included.
        `batch_tokens`, `progress`: as in `embed`.

        Returns one `Classes` a text, in their order.

        Raises MissingError without a tokenizer or a head for it, ValueError for an option out of
        range, UnsupportedError for a scoring that is not known, DeviceError, NotFiniteError.
        """
    def classify_pairs(self, /, pairs: Iterable[tuple[str, str]], *, top_k: SupportsIndex | None = None, scoring: Literal["softmax", "sigmoid", "none"] | None = None, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[Classes]:
        """
        The classes of each pair of texts, such as a premise and a hypothesis. Of a pair beyond the
        limit the longer text is cut on the right, then both.

        Options and errors are those of `classify`; so is what it returns, one a pair.
        """
    def close(self, /) -> None:
        """
        Lets the weights go; later calls raise ClosedError. Sessions and streams that still are
        there keep the weights until they go. Closing twice does nothing.
        """
    @property
    def closed(self, /) -> bool:
        """
        Whether the model was closed.
        """
    @property
    def device(self, /) -> DeviceInfo:
        """
        The device that computes.
        """
    def embed(self, /, texts: str | Iterable[str], *, normalize: bool | None = None, prompt: str | None = None, prompt_name: str | None = None, pooling: Literal["mean", "cls", "lasttoken", "max", "mean_sqrt_len_tokens", "weightedmean"] | None = None, max_tokens: SupportsIndex | None = None, dimensions: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> NDArray[float32]:
        """
        Embeds texts, by default as the model's folder says.

        `texts`: one text or several.
        `normalize`: whether vectors have length 1.
        `prompt`: text put before each text; `prompt_name`: one of the folder's, see `prompts`.
        `pooling`: how tokens become a vector. Default: as the folder says; else the mean for an
        encoder and the last token for a decoder.
        `max_tokens`: most tokens of a text, special ones included; the rest is cut.
        `dimensions`: keep the first numbers of a vector only (Matryoshka).
        `batch_tokens`: most tokens of a batch, padding included. Default: 512 on a CPU;
        2048 on a GPU, on one with memory of its own up to 16384, fewer the wider the model is.
        `progress`: called as `progress(done, all)` after each batch, texts counted, maybe on another
        thread; what it raises ends the call. True shows a bar of tqdm, which must be installed.

        Returns float32, C-contiguous: [D] for one text, [B, D] for B texts in their order. A text
        without a token, as an empty one can be, gives zeros.

        Raises MissingError without a tokenizer, ValueError for an option out of range,
        UnsupportedError for a pooling that is not known, MemoryError when there is no room for the
        result, DeviceError, NotFiniteError.
        """
    def embed_tokens(self, /, texts: str | Iterable[str], role: Literal["query", "document"], *, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[TokenVectors]:
        """
        A vector for each token of each text, to compare token by token with `TokenVectors.max_sim`
        (ColBERT): what sentence-transformers' `MultiVectorEncoder` computes for the same folder, as
        PyLate or sentence-transformers saved it.

        `role`: "query" for what is searched for, "document" for what is found: the two are marked and
        cut differently.
        `max_tokens`, `batch_tokens`, `progress`: as in `classify`.

        Raises MissingError for a folder that does not say how token vectors are made; else as `embed`.
        """
    def embed_with(self, /, texts: str | Iterable[str], *, normalize: bool | None = None, prompt: str | None = None, prompt_name: str | None = None, pooling: Literal["mean", "cls", "lasttoken", "max", "mean_sqrt_len_tokens", "weightedmean"] | None = None, max_tokens: SupportsIndex | None = None, dimensions: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> Embeddings:
        """
        As `embed`, with how many tokens of each text were left out, and with rows that compare and
        search: `.values`, `.cut`, `.cosine(i, j)`, `.nearest(query)`.

        Arguments and errors are those of `embed`. One text gives one row.
        """
    def expert_load(self, /, ids: Sequence[int] | NDArray[integer[Any]] | Sequence[Sequence[int] | NDArray[integer[Any]]]) -> list[NDArray[int64]]:
        """
        How often each expert of each block was chosen for the tokens of `ids`, which says whether a
        router keeps its experts evenly busy and which of them a kind of text needs.

        `ids`: as in `forward`.

        Returns one int64 array a block: a count for each expert, [E], or [0] for a block without
        experts. Those of a block sum to all tokens times the experts that a token goes through.

        Raises ValueError for an id beyond the vocabulary, TooLongError, DeviceError.
        """
    @property
    def family(self, /) -> str:
        """
        The family: `model_type` of Hugging Face configs.
        """
    def fill_mask(self, /, text: str, *, top_k: SupportsIndex | None = None, targets: str | Iterable[str] | None = None, max_tokens: SupportsIndex | None = None) -> list[list[Fill]]:
        """
        The likeliest tokens for each mask of a text: one list a mask, in their order, likeliest
        first.

        `top_k`: tokens for a mask. Default: 5.
        `targets`: only these tokens, each one token of the vocabulary.
        `max_tokens`: most tokens of the text, special ones included.

        Raises MissingError without a tokenizer, a mask token or a head for it, ValueError for a text
        without a mask and for an option out of range, TooLongError for a text beyond the limit.
        """
    def follows(self, /, pairs: Iterable[tuple[str, str]], *, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[float]:
        """
        The probability that the second text of each pair follows the first: BERT's next sentence,
        ALBERT's order of sentences. One number a pair, from 0 to 1.

        `max_tokens`, `batch_tokens`, `progress`: as in `classify`.

        Raises as `classify`.
        """
    def forward(self, /, ids: Sequence[int] | NDArray[integer[Any]] | Sequence[Sequence[int] | NDArray[integer[Any]]], *, decoder_ids: Sequence[int] | NDArray[integer[Any]] | Sequence[Sequence[int] | NDArray[integer[Any]]] | None = None) -> NDArray[float32]:
        """
        The network's numbers for token ids: logits of a decoder (V), hidden states of an encoder
        (D), also of one beside a decoder.

        `ids`: one row, [T], or several of any lengths, [B, T]: sequences of int, or arrays of any
        integer type.
        `decoder_ids`: of an encoder-decoder, the target's ids for each row, which is then the source's;
        the decoder's logits come out.

        Returns float32, C-contiguous: [T, V] or [T, D] for one row, [B, T, V] or [B, T, D] for B
        rows, T the longest; with `decoder_ids` the longest of these. Row b has `len(ids[b])` tokens;
        what is beyond is zeros.

        Raises ValueError for an id beyond the vocabulary, and for decoder ids that are not as many rows
        or go to no encoder-decoder; TooLongError for a row longer than the window, MemoryError when
        there is no room for the result, DeviceError.
        """
    def forward_with(self, /, ids: Sequence[int] | NDArray[integer[Any]] | Sequence[Sequence[int] | NDArray[integer[Any]]], *, decoder_ids: Sequence[int] | NDArray[integer[Any]] | Sequence[Sequence[int] | NDArray[integer[Any]]] | None = None, hidden_states: Iterable[SupportsIndex] | None = None, attentions: Iterable[SupportsIndex] | None = None) -> Output:
        """
        As `forward`, with hidden states and attention maps of chosen layers.

        `hidden_states`: layers whose hidden states to keep: 0 are those of the embeddings, i those
        after i blocks; the last ones are taken after the last norm, as transformers'
        `output_hidden_states` does. `range(model.spec.layers + 1)` is all.
        `attentions`: layers whose attention weights to keep, from 0. On the CPU they are computed by a
        slower way that has these weights.

        Raises as `forward`, ValueError for a layer that is not there, and for either with
        `decoder_ids`.
        """
    def generate(self, /, prompt: str, **options: Unpack[GenerateOptions]) -> Stream:
        """
        Continues a text, or answers the source of an encoder-decoder: a stream of pieces, each
        made when it is asked for.

        What is not given comes from the model's `generation_config.json`, then from the library:
        greedy, no penalty, until the window is full. Sampling starts with a temperature above 0.

        `max_tokens`: most tokens to generate. Default: the file's, else until the window is full.
        `temperature`: what the logits are divided by; 0 always takes the likeliest token.
        `top_k`, `top_p`, `min_p`: which tokens are drawn from; 0, 1 and 0 are off.
        `repetition_penalty`: factor against tokens of prompt and output; 1 is off.
        `frequency_penalty`, `presence_penalty`: taken off the logits of generated tokens, -2 to 2.
        `penalty_window`: how many of the last tokens the penalties look at. Default: all.
        `seed`: fixes the draws, from 0 to 2^64 - 1. Default: a fresh one each time.
        `stop`: a text or texts that end the generation and are not part of it.
        `stop_ids`: tokens that end it, besides the model's own.
        `logprobs`: give this many of the likeliest tokens with each token.
        `prefill_chunk`: tokens of the prompt that are processed at once. Default: 512.
        `ignore_eos`: go on past the model's end-of-text tokens.
        `min_tokens`: tokens to generate before one that ends the text may come.
        `no_repeat_ngram`: no row of so many tokens comes twice, the prompt's among them; 0 is off.
        `bad_words`: rows of token ids that never come. Default: the file's.
        `suppress`: tokens that never come. Default: the file's.
        `first_token`: the first token of an encoder-decoder's target, such as the language to
        translate to.

        Raises MissingError without a tokenizer or for an encoder, TooLongError for a prompt longer
        than the window, ValueError for an option out of range. What goes wrong later is raised by
        the stream.
        """
    def generate_all(self, /, prompts: str | Iterable[str], **options: Unpack[GenerateOptions]) -> Batch:
        """
        Continues several texts at once, each as `generate` would: a token of all is one forward
        pass on the CPU, which reads each weight once for all. The pieces come with the number of
        their text.

        `prompts`: the texts, or one.
        The other options are those of `generate`, and hold for each.

        Raises ValueError for an empty list and for a prompt that does not fit the window or has no
        token, whose number it tells; else as `generate`.
        """
    def generate_chat(self, /, messages: Iterable[Mapping[str, str]], *, variables: Mapping[str, bool | int | str] | None = None, **options: Unpack[GenerateOptions]) -> Stream:
        """
        Answers messages: a stream of pieces, each made when it is asked for. For a conversation
        of several turns, `chat` keeps what was read.

        `messages`: each a mapping with `role` and `content`, as `Chat.messages` gives them.
        `variables`: variables of the model's chat template by name, such as `enable_thinking`.
        The other options are those of `generate`.

        Raises as `generate` and as `chat_prompt`.
        """
    @property
    def max_tokens(self, /) -> int:
        """
        The most tokens of a text that `embed` keeps.
        """
    @property
    def memory(self, /) -> Memory:
        """
        The memory that the model takes, and its sessions would.
        """
    @property
    def parameters(self, /) -> int:
        """
        Parameters in all: the numbers of the files' tensors.
        """
    @property
    def path(self, /) -> Path:
        """
        The folder or file that was opened, absolute.
        """
    @property
    def prompts(self, /) -> dict[str, str]:
        """
        The prompts that the folder has for embedding, by name.
        """
    def rerank(self, /, query: str, documents: str | Iterable[str], *, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[Ranked]:
        """
        Documents by how well they fit a query, best first: a cross-encoder reads each with the
        query. Scores are what sentence-transformers' `CrossEncoder` gives.

        `max_tokens`, `batch_tokens`, `progress`: as in `classify`.

        Raises as `classify`, MissingError without a head with one label.
        """
    def save(self, /, folder: str | PathLike[str]) -> None:
        """
        Writes the model as a Hugging Face folder, made where it is missing: the weights in
        `model.safetensors` under the checkpoint's own names, and copies of the other files.

        Each file is written whole under another name and renamed. Raises MissingError for a model
        from a GGUF file, ValueError for the model's own folder or one in it, UnsupportedError for
        weights that were rounded to 8 bits on opening, OSError when a file cannot be written.
        """
    def session(self, /) -> Session:
        """
        A session: a cache of its own, to feed tokens and generate step by step.

        Raises MissingError for an encoder, which generates nothing.
        """
    def sparse(self, /, texts: str | Iterable[str], *, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[Sparse]:
        """
        The sparse vector of each text, one a text, in their order: a weight for each token of the
        vocabulary that the text is about, by the head over words (SPLADE). What sentence-transformers'
        `SparseEncoder` computes for the same folder.

        `max_tokens`, `batch_tokens`, `progress`: as in `classify`.

        Raises as `classify`, MissingError without a head over words.
        """
    @property
    def spec(self, /) -> Spec:
        """
        What the network is made of, and who computes each block on the model's device; prints as one
        page.
        """
    @property
    def tensors(self, /) -> list[TensorInfo]:
        """
        The tensors of the files, by name.
        """
    def token_classify(self, /, texts: str | Iterable[str], *, aggregation: Literal["none", "simple", "first", "average", "max"] | None = None, ignore: str | Iterable[str] | None = None, stride: SupportsIndex | None = None, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> list[list[Entity]]:
        """
        The entities of each text, one list a text, in their order.

        `aggregation`: how tokens are joined. Default: "none", an entity a token.
        `ignore`: classes that are left out. Default: "O".
        `stride`: tokens that a window shares with the one before, for texts beyond the limit.
        Default: no windows, the text is cut on the right.
        `max_tokens`, `batch_tokens`, `progress`: as in `classify`.

        Raises as `classify`, ValueError for windows without an aggregation, whose tokens would come
        twice, UnsupportedError for an aggregation that is not known.
        """
    @property
    def tokenizer(self, /) -> Tokenizer:
        """
        The tokenizer.

        Raises MissingError when the files have none.
        """
    def verify(self, /) -> Verification:
        """
        Compares this model on its device with the same files on the CPU, on a few tokens: the
        largest difference, and after which step it arose.

        Raises as `open`, and DeviceError.
        """
    def warmup(self, /) -> None:
        """
        Does once, on a few tokens, what calls do, so that the first call is as fast as those after
        it: a GPU's driver compiles each kernel when it is first used, which can take seconds.

        Warm afterwards are prompts and steps of a decoder, and of an encoder `embed` and `forward` but
        for single kernels that depend on the number of tokens; tasks, beams and `forward_with` may
        compile more. It lasts as long as the process. On the CPU there is little to gain.

        Raises DeviceError, NotFiniteError.
        """
    @property
    def width(self, /) -> int:
        """
        Size of an embedding (D).
        """
    def zero_shot(self, /, text: str, labels: str | Iterable[str], *, template: str | None = None, multi_label: bool = False, max_tokens: SupportsIndex | None = None, batch_tokens: SupportsIndex | None = None, progress: bool | Callable[[int, int], object] | None = None) -> Classes:
        """
        Which of the caller's labels a text is of, by a head for entailment.

        `template`: the sentence that a label makes, with "{}" for the label. Default: "This example
        is {}."
        `multi_label`: whether several labels can be right, so that each has a probability of its
        own; else they add to 1.
        `max_tokens`, `batch_tokens`, `progress`: as in `classify`.

        Raises as `classify`, MissingError without a label that begins with "entail", ValueError for no
        label or a template without "{}".
        """

@final
class Neighbor:
    """
    A word near to what was asked for.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def cosine(self, /) -> float:
        """
        The cosine of the angle to what was asked for, from -1 to 1.
        """
    @property
    def index(self, /) -> int:
        """
        Its number in the file.
        """
    @property
    def word(self, /) -> str:
        """
        The word.
        """

@final
class Output:
    """
    Numbers for each token of a batch, and what was asked for of the network's inside; from
    `Model.forward_with()`.

    Where one row of ids was given, the arrays have no B.
    """
    def __repr__(self, /) -> str: ...
    @property
    def attentions(self, /) -> dict[int, NDArray[float32]]:
        """
        The attention weights that were asked for, by layer: float32 [B, H, T, T], of query heads (H),
        the token that looks and the token that is looked at. Those of a token sum to 1.
        """
    @property
    def hidden_states(self, /) -> dict[int, NDArray[float32]]:
        """
        The hidden states that were asked for, by layer: float32 [B, T, D].
        """
    @property
    def lengths(self, /) -> list[int]:
        """
        Tokens of each row; what is beyond is zeros.
        """
    @property
    def values(self, /) -> NDArray[float32]:
        """
        The numbers that `Model.forward` gives: float32 [B, T, V] or [B, T, D].
        """

@final
class Piece:
    """
    A piece of generated text.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str:
        """
        The text, so that a piece can be printed as it is.
        """
    @property
    def text(self, /) -> str:
        """
        Whole characters; empty while a character or a possible stop string is not complete.
        """
    @property
    def token(self, /) -> Token | None:
        """
        The token behind it; None when the end of the stream releases text that was held back.
        """

@final
class Ranked:
    """
    A document and how well it fits a query.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def index(self, /) -> int:
        """
        Its place among the documents that were given.
        """
    @property
    def score(self, /) -> float:
        """
        Its score.
        """

@final
class Session:
    """
    One sequence of tokens with its cache, to feed and continue step by step; from
    `Model.session()`.

    Sessions of one model are independent and may run on different threads; one session takes one
    thread at a time, and a second one gets ValueError. A session keeps its model's weights until
    it goes, also after `Model.close()`.
    """
    def __bool__(self, /) -> bool:
        """
        Always true: an empty session is a session.
        """
    def __len__(self, /) -> int:
        """
        The number of tokens so far.
        """
    def __repr__(self, /) -> str: ...
    def beams(self, /, *, beams: SupportsIndex | None = None, sequences: SupportsIndex | None = None, length_penalty: SupportsFloat | SupportsIndex | None = None, early_stopping: Literal["full", "likely", "never"] | None = None, **options: Unpack[GenerateOptions]) -> list[Beam]:
        """
        The likeliest continuations from where the sequence stands, which is left there, best
        first: beam search. When blocks with a sliding window have let go of what they held, the
        session is empty after.

        Options and errors are those of `Model.beams`; ValueError also before anything was fed.
        """
    @property
    def cache_bytes(self, /) -> int:
        """
        Bytes that the keys and values of the sequence take.
        """
    def cancel(self, /) -> None:
        """
        Stops the session's work from any thread; it raises CancelledError there. `reset()` makes
        the session usable again.
        """
    def feed(self, /, ids: Sequence[int] | NDArray[integer[Any]]) -> None:
        """
        Reads token ids: a sequence of int or an array of any integer type, [T].

        Raises ValueError for an id beyond the vocabulary, and as `feed_text`.
        """
    def feed_text(self, /, text: str) -> None:
        """
        Reads a text: its tokens join the sequence. The first text of a sequence begins it, with
        the model's opening token where it has one; later ones join as they are.

        Raises TooLongError beyond the model's window, MissingError without a tokenizer,
        CancelledError, DeviceError. When it was cancelled or failed half way, the session is empty
        after.
        """
    def forward(self, /, ids: Sequence[int] | NDArray[integer[Any]]) -> NDArray[float32]:
        """
        Reads token ids, [T], and gives the logits after each: float32 [T, V].

        Raises as `feed`, and MemoryError when there is no room for the logits.
        """
    def generate(self, /, **options: Unpack[GenerateOptions]) -> Stream:
        """
        Generates from where the sequence stands; the tokens made join it.

        Options and errors are those of `Model.generate`; ValueError also before anything was fed.
        """
    @property
    def ids(self, /) -> NDArray[uint32]:
        """
        The tokens so far: uint32 [T].
        """
    @property
    def logits(self, /) -> NDArray[float32]:
        """
        The log-odds of each next token after the last one fed: float32 [V]; [0] before the first.
        """
    def read_source(self, /, ids: Sequence[int] | NDArray[integer[Any]]) -> None:
        """
        Reads the source of an encoder-decoder, [T], once for all that is generated from it, and begins
        the target with the token that the model's files name; where they name none, `feed` begins it.
        What the session held before is forgotten.

        Raises MissingError for a model that is no encoder-decoder, ValueError for a source without
        tokens or with one beyond the vocabulary, and as `feed`.
        """
    def reset(self, /) -> None:
        """
        Forgets all tokens, the source of an encoder-decoder, and that anything was cancelled.
        """
    def truncate(self, /, length: SupportsIndex) -> None:
        """
        Goes back to the first `length` tokens, or stays where it is when it has no more. There are no
        logits until the next token is fed. What blocks with a sliding window have let go of does not
        come back: when going back needs it, the session is empty after; `ids` tells.
        """

@final
class Sparse:
    """
    A vector over the vocabulary that is zero nearly everywhere.
    """
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    @property
    def cut(self, /) -> int:
        """
        Tokens of the text that were left out to keep to the limit.
        """
    def dot(self, /, other: Sparse) -> float:
        """
        The product with another: how alike the two texts are.
        """
    @property
    def ids(self, /) -> NDArray[uint32]:
        """
        The ids of tokens with a weight, in ascending order: uint32 [N].
        """
    @property
    def weights(self, /) -> NDArray[float32]:
        """
        The weight of each, above 0: float32 [N].
        """

@final
class Spec:
    """
    What a network is made of; `print` it for the whole network, expanded on one page, and who
    computes each block on the model's device.
    """
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def encoder(self, /) -> Spec | None:
        """
        The encoder whose states an encoder-decoder's blocks also look at; None for a model of one
        stack. The other numbers are then the decoder's.
        """
    @property
    def has_logits(self, /) -> bool:
        """
        Whether it gives logits, as a decoder does, rather than hidden states.
        """
    @property
    def head_dim(self, /) -> int:
        """
        Size of a head.
        """
    @property
    def heads(self, /) -> int:
        """
        Heads of queries.
        """
    @property
    def kv_heads(self, /) -> int:
        """
        Heads of keys and values.
        """
    @property
    def layers(self, /) -> int:
        """
        Number of blocks.
        """
    @property
    def parameters(self, /) -> int:
        """
        How many numbers a model of this spec has: weights, biases and norms, each once.
        """
    @property
    def tasks(self, /) -> list[Task]:
        """
        The heads that answer tasks, at most one a kind; none for a decoder.
        """
    @property
    def vocab(self, /) -> int:
        """
        Tokens of the vocabulary (V).
        """
    @property
    def width(self, /) -> int:
        """
        Size of a hidden state (D).
        """
    @property
    def window(self, /) -> int:
        """
        Most tokens of a sequence.
        """

@final
class Stats:
    """
    How long a generation took.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def decode(self, /) -> float:
        """
        Seconds to generate them.
        """
    @property
    def prefill(self, /) -> float:
        """
        Seconds to read them.
        """
    @property
    def prefill_per_second(self, /) -> float:
        """
        Tokens of the prompt read a second; 0 before the first.
        """
    @property
    def prompt_tokens(self, /) -> int:
        """
        Tokens of the prompt that were read.
        """
    @property
    def tokens(self, /) -> int:
        """
        Tokens generated.
        """
    @property
    def tokens_per_second(self, /) -> float:
        """
        Tokens generated a second; 0 before the first.
        """

@final
class Step:
    """
    The difference between a device and the CPU after one step of the network.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def difference(self, /) -> float:
        """
        The largest absolute difference from the CPU.
        """
    @property
    def name(self, /) -> str:
        """
        "embed", "blocks.0", ..., "norm", "logits".
        """
    @property
    def relative(self, /) -> float:
        """
        The difference in units of the step's own numbers.
        """
    @property
    def scale(self, /) -> float:
        """
        The largest absolute number on the CPU, to judge it by.
        """

@final
class Stream:
    """
    Text as it is generated: an iterator, and an async iterator, of `Piece`s.

    Each piece is made when it is asked for; the prompt is read with the first. Dropping the stream
    ends the generation. `async for` works under asyncio: pieces are made on its default executor,
    and a task that is cancelled while it waits for one cancels the stream.

    One thread at a time: a second one gets ValueError.
    """
    def __aiter__(self, /) -> Stream: ...
    def __anext__(self, /) -> Awaitable[Piece]: ...
    def __iter__(self, /) -> Stream: ...
    def __next__(self, /) -> Piece: ...
    def __repr__(self, /) -> str: ...
    def cancel(self, /) -> None:
        """
        Stops the stream from any thread, also while the prompt is read: `finish_reason` is then
        "cancelled".
        """
    @property
    def finish_reason(self, /) -> Literal["length", "stop", "stop_string", "window", "cancelled"] | None:
        """
        Why the stream ended; None while it goes on, and after an error.
        """
    @property
    def stats(self, /) -> Stats:
        """
        Counts and times so far.
        """
    def text(self, /) -> str:
        """
        All text that is still to come; a cancelled stream gives what it has.

        Raises what goes wrong on the way, such as DeviceError.
        """
    @property
    def tokens_per_second(self, /) -> float:
        """
        Tokens generated a second so far; 0 before the first.
        """

@final
class Task:
    """
    A head that answers a task; `print` it for what it is made of.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def kind(self, /) -> Literal["words", "classes", "tokens", "bounds", "order"]:
        """
        What it answers: "words" behind masks (`fill_mask`, `sparse`), "classes" of texts (`classify`,
        `zero_shot`, `rerank`), classes of "tokens" (`token_classify`), "bounds" of answers
        (`answer`), the "order" of two texts (`follows`).
        """
    @property
    def outputs(self, /) -> int:
        """
        Numbers that come out: classes, or the size of the vocabulary.
        """

@final
class TensorInfo:
    """
    A tensor of a model's files.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def bytes(self, /) -> int:
        """
        Bytes that it takes.
        """
    @property
    def format(self, /) -> str:
        """
        How its numbers are stored, such as "F32" or "Q4_K".
        """
    @property
    def name(self, /) -> str:
        """
        Its name in emberform, which is where it stands in the network.
        """
    @property
    def shape(self, /) -> list[int]:
        """
        Its shape, output size first.
        """

@final
class Token:
    """
    A token as it was chosen.
    """
    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __repr__(self, /) -> str: ...
    @property
    def id(self, /) -> int:
        """
        Its number in the vocabulary.
        """
    @property
    def logprob(self, /) -> float:
        """
        Natural logarithm of its probability, before penalties, temperature and cuts; from -inf
        to 0.
        """
    @property
    def top(self, /) -> list[tuple[int, float]]:
        """
        The most probable tokens, best first, as (id, log-probability): as many as `logprobs` of
        the options asks for.
        """

@final
class TokenVectors:
    """
    The vectors of a text's tokens, each of length 1; from `Model.embed_tokens()`.
    """
    def __len__(self, /) -> int: ...
    def __repr__(self, /) -> str: ...
    @property
    def cut(self, /) -> int:
        """
        Tokens of the text that were left out to keep to the limit.
        """
    @property
    def ids(self, /) -> NDArray[uint32]:
        """
        The ids of the tokens that have a vector, special ones and markers among them: uint32 [N].
        """
    def max_sim(self, /, document: TokenVectors) -> float:
        """
        How well a document answers this query: the sum, over the query's vectors, of the largest
        product with one of the document's (MaxSim). 0 for a document without a vector, or vectors of
        another width.
        """
    @property
    def vectors(self, /) -> NDArray[float32]:
        """
        The vectors in the order of the tokens: float32 [N, D].
        """

@final
class Tokenizer:
    """
    Turns text into token ids and back. Works from any number of threads at once; pickles by value.
    """
    def __bool__(self, /) -> bool:
        """
        Always true, whatever its length.
        """
    def __contains__(self, token: str, /) -> bool:
        """
        Whether there is such a token.
        """
    def __copy__(self, /) -> Tokenizer:
        """
        Nothing in it changes, so a copy is itself.
        """
    def __deepcopy__(self, /, _memo: Any) -> Tokenizer:
        """
        Nothing in it changes, so a copy is itself.
        """
    def __len__(self, /) -> int:
        """
        The size of the vocabulary: every id is below it.
        """
    def __reduce__(self, /) -> tuple[Any, tuple[bytes]]: ...
    def __repr__(self, /) -> str: ...
    def count(self, /, text: str, *, special: bool = True) -> int:
        """
        How many tokens `encode` gives.

        Raises as `encode`.
        """
    def decode(self, /, ids: Sequence[int] | NDArray[integer[Any]], *, skip_special: bool = True) -> str:
        """
        The text of token ids, [T]; with `skip_special` without control tokens. Bytes that are no
        UTF-8 become U+FFFD.

        Raises ValueError for an id that is not in the vocabulary.
        """
    def encode(self, /, text: str, pair: str | None = None, *, special: bool = True, limit: SupportsIndex | None = None) -> Encoding:
        """
        The tokens of `text`, or of `text` and `pair` together, as of a question and a passage.

        `special`: with the tokens around a text too, such as `[CLS]` and `[SEP]`. Control tokens
        that are written out in the text are found in both cases.
        `limit`: the most tokens in all; the text is cut on the right, the tokens around it stay,
        and `cut` counts what is left out. Not for a pair. Default: none.

        Raises ValueError for a text over 1 GiB, or a limit without room for the special tokens.
        """
    def encode_batch(self, /, texts: str | Iterable[str], *, special: bool = True, limit: SupportsIndex | None = None) -> list[Encoding]:
        """
        The tokens of many texts, in order, on all cores; options as those of `encode`.

        Raises as `encode`.
        """
    def encode_windows(self, /, text: str, *, limit: SupportsIndex, stride: SupportsIndex | None = None, special: bool = True) -> list[Encoding]:
        """
        The tokens of `text` in windows of at most `limit` tokens each, special ones included; each
        begins with the last `stride` tokens of text of the one before. A text that fits is one
        window.

        Raises as `encode`, and ValueError if `stride` leaves no room for a new token.
        """
    @staticmethod
    def from_bytes(data: bytes) -> Tokenizer:
        """
        A tokenizer from the bytes of a `tokenizer.json` or GGUF file, or from `to_bytes()`.

        Raises FormatError, UnsupportedError, MissingError; messages name the file `bytes`.
        """
    def id(self, /, token: str) -> int:
        """
        The id of a token, written as `token` writes it.

        Raises KeyError for a string that is no token.
        """
    def is_special(self, /, id: SupportsIndex) -> bool:
        """
        Whether `skip_special` leaves this token out.
        """
    @staticmethod
    def open(path: str | PathLike[str]) -> Tokenizer:
        """
        Opens a `tokenizer.json`, the one of a folder, or that of a GGUF file.

        Raises FileNotFoundError and other OSErrors, FormatError, UnsupportedError, and
        MissingError when a GGUF file has none.
        """
    def stream(self, /, *, skip_special: bool = True) -> DecodeStream:
        """
        Decodes tokens as they come, without ever giving half a character.
        """
    def to_bytes(self, /) -> bytes:
        """
        The tokenizer by value: the text of its `tokenizer.json`, or a GGUF file without tensors.
        """
    def token(self, /, id: SupportsIndex) -> str:
        """
        The string of a token as the vocabulary writes it, such as `Ġthe` or `▁the`.

        Raises IndexError for an id that is no token.
        """

@final
class Verification:
    """
    A device compared with the CPU on the same model and tokens; `print` it for the verdict.
    """
    def __repr__(self, /) -> str: ...
    def __str__(self, /) -> str: ...
    @property
    def device(self, /) -> str:
        """
        The device.
        """
    @property
    def first_wrong(self, /) -> Step | None:
        """
        The first step beyond the tolerance: where a difference arose. None when there is none.
        """
    @property
    def passed(self, /) -> bool:
        """
        Whether every step is within the tolerance of 32-bit arithmetic.
        """
    @property
    def steps(self, /) -> list[Step]:
        """
        One entry a step of the network, in order.
        """
    @property
    def worst(self, /) -> Step | None:
        """
        The step with the largest difference relative to its numbers.
        """

@final
class WordVectors:
    """
    Word vectors from a file, or token vectors from a folder; from `open_words()`.

    Any number of threads may use them at once. `len()` counts words, `in` asks for one exactly as
    the file has it. They pickle by their path: the other side opens the file again.
    """
    def __contains__(self, word: str, /) -> bool: ...
    def __copy__(self, /) -> WordVectors:
        """
        Nothing in it changes, so a copy is itself.
        """
    def __deepcopy__(self, /, _memo: Any) -> WordVectors:
        """
        Nothing in it changes, so a copy is itself.
        """
    def __len__(self, /) -> int: ...
    def __reduce__(self, /) -> "tuple[object, ...]": ...
    def __repr__(self, /) -> str: ...
    def analogy(self, /, a: str, b: str, c: str, count: SupportsIndex = ...) -> list[Neighbor]:
        """
        The `count` words nearest to `a - b + c`, these three left out, best first: `a` is to `b` as
        what is to `c`?

        Raises ValueError for a word without a vector, NotFiniteError.
        """
    def embed(self, /, texts: str | Iterable[str], *, unknown: Literal["error", "skip", "zero", "subwords"] | None = None, normalize: bool | None = None, unit_words: bool = False, exact: bool = False, max_tokens: SupportsIndex | None = None, dimensions: SupportsIndex | None = None) -> NDArray[float32]:
        """
        Embeds texts: the mean of the vectors of their words, which white space divides, or of their
        tokens. The vector of a text of one word is the word's.

        `texts`: one text or several.
        `unknown`: what becomes of words without a vector. "error" raises, "skip" leaves them out,
        "zero" counts them as zeros, "subwords" makes a vector of their pieces. Default: "subwords"
        where the file has pieces, else "skip"; for folders, as the reference does.
        `normalize`: whether embeddings have length 1. Default: as the folder says; not for files.
        `unit_words`: whether each word's vector is brought to length 1 before the mean, as fastText's
        sentence vectors and gensim's `get_mean_vector` have it.
        `exact`: look words up only as they stand. Without it, a word that is not in the file is
        looked up without the punctuation around it, then in lower case.
        `max_tokens`: most tokens of a text, for folders; the rest is cut.
        `dimensions`: keep the first numbers of a vector only (Matryoshka).

        Returns float32, C-contiguous: [D] for one text, [B, D] for B texts in their order. A text
        without a known word gives zeros.

        Raises ValueError for an option out of range and for an unknown word under "error",
        MissingError for "subwords" in a file without pieces, NotFiniteError.
        """
    def embed_with(self, /, texts: str | Iterable[str], *, unknown: Literal["error", "skip", "zero", "subwords"] | None = None, normalize: bool | None = None, unit_words: bool = False, exact: bool = False, max_tokens: SupportsIndex | None = None, dimensions: SupportsIndex | None = None) -> Embeddings:
        """
        As `embed`, with how many words or tokens of each text were left out, and with rows that
        compare and search: `.values`, `.cut`, `.cosine(i, j)`, `.nearest(query)`.

        Arguments and errors are those of `embed`. One text gives one row.
        """
    @property
    def format(self, /) -> str:
        """
        What the file is: "word2vec binary", "word2vec text", "GloVe text", "fastText binary", or
        "token" for a folder.
        """
    @property
    def has_subwords(self, /) -> bool:
        """
        Whether a word that is not in the file gets a vector from its pieces.
        """
    def index(self, /, word: str) -> int | None:
        """
        The number of `word`, exactly as the file has it; None when it has it not.
        """
    def nearest(self, /, word: str, count: SupportsIndex = ...) -> list[Neighbor]:
        """
        The `count` words nearest to `word` by cosine, itself left out, best first.

        Every word is compared with. The first call measures all vectors, and of fastText's `.bin`
        it makes them first and keeps them, as fastText does.

        Raises ValueError for a word without a vector, NotFiniteError.
        """
    def nearest_to(self, /, vector: ArrayLike, count: SupportsIndex = ...) -> list[Neighbor]:
        """
        The `count` words nearest to a vector by cosine, best first.

        Raises ValueError for a vector of another width, NotFiniteError.
        """
    @property
    def path(self, /) -> Path:
        """
        The file or folder that was opened, absolute.
        """
    def similarity(self, /, a: str, b: str) -> float:
        """
        The cosine of the angle between two words, from -1 to 1; 0 when a vector is all zeros.

        Raises ValueError for a word without a vector.
        """
    def vector(self, /, word: str) -> NDArray[float32]:
        """
        The vector of one word exactly as it stands, or of its pieces where the file has such.

        Raises ValueError for a word without a vector.
        """
    @property
    def width(self, /) -> int:
        """
        Numbers of a vector (D).
        """
    def word(self, /, index: SupportsIndex) -> str | None:
        """
        Word `index`, or token as its vocabulary writes it; None beyond the last.
        """

def build_info() -> dict[str, str]:
    """
    How this build was made: its version, whether it is optimised, and what it was built for.
    """

def devices() -> list[DeviceInfo]:
    """
    The devices of this machine: the GPUs in the order of their numbers, then the CPU.
    """

def open(path: str | PathLike[str], *, device: Literal["auto", "cpu", "gpu"] | str = ..., precision: Literal["stored", "f32", "f16", "bf16", "int8"] | None = None, threads: SupportsIndex | None = None) -> Model:
    """
    Opens a model: a Hugging Face folder or a GGUF file.

    `device`: where to compute. "auto" is a real GPU where there is one and the CPU otherwise;
    "cpu"; "gpu", "gpu:1" or "gpu:<part of its name>", see `devices()`.
    `precision`: how exactly. "stored" computes with the weights as the file has them; "f32" also
    keeps activations in floats, slower on the CPU; "int8" rounds matrices of 16 and 32 bits to 8, 32
    to a scale, for less memory and more speed; "bf16" has matrix products of many rows (prefill,
    embedding) use bfloat16 operands and f32 sums where the processor multiplies bfloat16 (AMX, AVX-512
    BF16) and the matrix has 16 or 32 bits: up to three times the speed; "f16" rounds matrices of 32
    bits and bfloat16 to F16, and on a GPU with cooperative matrices products of more than 8 rows use
    f16 operands and f32 sums. Default: "stored".
    `threads`: threads that compute on the CPU, the caller's among them. Default: one a processor,
    shared by all models that do not ask for their own.

    Files are mapped, not read: keep them as they are while the model is open.

    Raises FileNotFoundError and other OSErrors when a file cannot be read, FormatError,
    ConfigError, UnsupportedError and WeightsError when it is not what it should be, DeviceError
    when the device is not there, ValueError for an option out of range.
    """

def open_words(path: str | PathLike[str]) -> WordVectors:
    """
    Opens word vectors: a word2vec `.bin` or `.txt`, a fastText `.bin` or `.vec`, GloVe text, any of
    them in gzip, or a folder of model2vec or of sentence-transformers' `StaticEmbedding`.

    What a file is, is seen from its bytes. Binary ones are mapped, not read: keep them as they are
    while they are open.

    Raises FileNotFoundError and other OSErrors when a file cannot be read, FormatError when it is
    none of these or broken, ConfigError and UnsupportedError for what a folder's files say.
    """

class Error(Exception):
    """
    What every error of emberform that Python has no class for is.

    `code` is the number of its kind, the same in Rust and C. `sequence` is the
    number of the sequence of a `Batch` that it happened to, else None.
    """
    code: int
    sequence: int | None

class FormatError(Error):
    """
    A file's bytes are not what its format says.
    """

class ConfigError(Error):
    """
    `config.json` or the GGUF metadata lacks a key, or its value makes no sense.
    """

class UnsupportedError(Error):
    """
    A family, format or name that is not known; the message lists those that are.
    """

class WeightsError(Error):
    """
    Names, shapes or formats of the weights do not fit the model; each list has all of them, in the names of the file.
    """
    missing: list[tuple[str, str | None]]
    unused: list[str]
    misshapen: list[tuple[str, list[int], list[int]]]
    unreadable: list[tuple[str, str]]

class DeviceError(Error):
    """
    The device is absent, lost, or out of memory.
    """

class TooLongError(Error, ValueError):
    """
    The tokens do not fit the model's window.
    """

class CancelledError(Error):
    """
    The work was cancelled.
    """

class MissingError(Error):
    """
    The model lacks a part that the call needs, such as a tokenizer.
    """

class NotFiniteError(Error):
    """
    The model gave a number that is not finite.
    """

class ClosedError(Error, ValueError):
    """
    The model was closed.
    """

__version__: str

