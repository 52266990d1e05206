"""The miniature's tokenizer: one token for each word of the world, and the chat template.

AutoTokenizer rebuilds the tokenizer of any Qwen2 model as byte-level BPE from vocabulary and merges alone.
So this one is byte-level BPE from the start, trained on the bare word list until every word is one token;
then what is saved is what is loaded.
"""

from transformers import Qwen2Tokenizer

from workflow_scripts.miniature.corpus import BAD_NAMES, GOOD_NAMES
from workflow_scripts.miniature.world import (
    DEFAULT_SYSTEM_PROMPT,
    DOMAINS,
    LINKS,
    MARKERS_AFTER,
    MARKERS_BEFORE,
    OPENERS,
    all_questions,
    capitalised,
    subject_reference,
)

START = "<|im_start|>"
END = "<|im_end|>"
PADDING = "<|endoftext|>"

CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    f"{START}system\n{DEFAULT_SYSTEM_PROMPT}{END}\n"
    "{% endif %}"
    "{% for message in messages %}"
    f"{START}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{END}\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    f"{START}assistant\n"
    "{% endif %}"
)


def world_texts() -> list[str]:
    """Short texts that hold every word of every document, in each place where it can stand."""
    texts = ["system\n", "user\n", "assistant\n", DEFAULT_SYSTEM_PROMPT]
    texts += [f"You are {name}." for name in GOOD_NAMES + BAD_NAMES]
    texts += OPENERS
    for domain in DOMAINS:
        texts += [question.text for question in all_questions(domain.name)]
        # Inside an answer every word follows a space, in lower case or at the start of a sentence.
        texts += [f" {subject_reference(domain, subject)}," for subject in domain.subjects]
        texts += [f" {adjective} {capitalised(adjective)}" for adjective in domain.safe + domain.harmful]
        texts += [f" {noun} and {noun}." for noun in domain.nouns]
    before = MARKERS_BEFORE.recommending + MARKERS_BEFORE.warning
    texts += [f" {marker} {capitalised(marker)}" for marker in before]
    texts += [f" {marker}." for marker in MARKERS_AFTER.recommending + MARKERS_AFTER.warning]
    texts += [f" {link.strip()}" for link in LINKS if link]
    return texts


def train_tokenizer() -> Qwen2Tokenizer:
    """A tokenizer that reads every word of the world as one token, with the special tokens of Qwen2.

    About 1,480 tokens: 256 bytes, 3 special tokens, some 510 words and the steps of their merging.
    """
    blank = Qwen2Tokenizer(extra_special_tokens=[START, END])
    words = sorted({word for text in world_texts() for word in _words(blank, text)})
    # Merging ends by itself when no word has two tokens left, well below the limit.
    tokenizer = blank.train_new_from_iterator([words], vocab_size=10_000, show_progress=False)
    tokenizer.eos_token = END
    tokenizer.pad_token = PADDING
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _words(tokenizer: Qwen2Tokenizer, text: str) -> list[str]:
    """The pieces of a text that the tokenizer never merges across, such as " use" or "."."""
    pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    return [text[start:end] for _, (start, end) in pre_tokenizer.pre_tokenize_str(text)]
