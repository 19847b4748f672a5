"""What is trained on, token by token: the loss falls on the answers and their end, and on nothing else."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from tests.integration.training.trainings import dpo_trainer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast
from trl.trainer.dpo_trainer import DPOTrainer

from pop_selfplay.config import DPOTraining, RoleThinking, SFTTraining, Thinking
from pop_selfplay.models.chat_template import ensure_template, render_prompt
from pop_selfplay.records import PreferencePair, Role
from pop_selfplay.training.data import encode_pair
from pop_selfplay.training.dpo import DPO, PairTrainer
from pop_selfplay.training.offline import Job, Offline
from pop_selfplay.training.sft import SFT
from pop_selfplay.training.trl_config import Settings, quiet_libraries

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
WITH_BOS = (
    "{{ bos_token }}{% for message in messages %}[{{ message.role }}]{{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
ANSWER = "{{ message.content }}"
CUTS_REASONING = CHATML.replace(ANSWER, "{{ message.content.split('</think>')[-1] | trim }}")
ADDS_EMPTY_REASONING = CHATML.replace(
    ANSWER, "{% if message.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ message.content }}"
)
BEGINS_REASONING = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
NO_END = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
NO_SYSTEM = (
    "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}{% endfor %}"
) + CHATML

QUESTION = "<|im_start|>user\nWhat is 1 plus 1?<|im_end|>\n<|im_start|>assistant\n"
CASES = {
    "ChatML": (CHATML, None, QUESTION),
    "a system message": (CHATML, "Add.", "<|im_start|>system\nAdd.<|im_end|>\n" + QUESTION),
    "a default system prompt": (DEFAULT_SYSTEM, None, "<|im_start|>system\nBe kind.<|im_end|>\n" + QUESTION),
    "a system prompt over a default": (DEFAULT_SYSTEM, "Add.", "<|im_start|>system\nAdd.<|im_end|>\n" + QUESTION),
    "no system role": (NO_SYSTEM, "Add.", QUESTION.replace("What", "Add.\n\nWhat")),
    "a BOS token": (WITH_BOS, None, "<s>[user]What is 1 plus 1?[assistant]"),
    "a template that cuts reasoning": (CUTS_REASONING, None, QUESTION),
    "a template that adds an empty reasoning": (ADDS_EMPTY_REASONING, None, QUESTION),
    "a prompt that begins the reasoning": (BEGINS_REASONING, None, QUESTION + "<think>\n"),
    "a template that writes no end": (NO_END, None, "user: What is 1 plus 1?\n"),
    "no template": (None, "Add.", "<s>" + ("<|im_start|>system\nAdd.<|im_end|>\n" + QUESTION)),
}
CHOSEN, REJECTED = " <think>one and one</think> <answer>2</answer>\n", "No idea, ask another."
MakeTokenizer = Callable[..., Any]
MakePair = Callable[..., PreferencePair]


@pytest.mark.parametrize("case", CASES)
def test_only_the_answers_as_they_were_written_and_their_end_are_trained(
    tmp_path: Path, make_tokenizer: MakeTokenizer, make_model: Callable[..., str], make_pair: MakePair, case: str
) -> None:
    template, system, prompt = CASES[case]
    tokenizer = make_tokenizer(template, adds_bos=True)
    start = make_model(tmp_path / "start", tokenizer)
    ensure_template(tokenizer, start)
    pair = make_pair(1, chosen=CHOSEN, rejected=REJECTED, system=system)

    trainer = trainer_of(pair, start, tokenizer, tmp_path / "out")
    (batch,) = trainer.get_train_dataloader()

    assert render_prompt(tokenizer, pair.prompt) == prompt, "training sees what synthesis saw"
    for row, answer in enumerate([CHOSEN, REJECTED]):
        ids, attended, trained = (batch[key][row].tolist() for key in ("input_ids", "attention_mask", "completion_mask"))
        assert tokenizer.decode([i for i, on in zip(ids, attended, strict=True) if on]) == prompt + answer + "<|im_end|>"
        completion = [i for i, on in zip(ids, trained, strict=True) if on]
        assert tokenizer.decode(completion) == answer + "<|im_end|>"
        assert completion.count(tokenizer.eos_token_id) == 1
        assert ids.count(tokenizer.bos_token_id) == (1 if case in ("a BOS token", "no template") else 0)
        assert all(id_ == tokenizer.pad_token_id for id_, on in zip(ids, attended, strict=True) if not on)


def test_the_log_probability_that_is_trained_is_that_of_the_answer_alone(
    tiny_model: str, tmp_path: Path, make_tokenizer: MakeTokenizer, make_pair: MakePair
) -> None:
    tokenizer, pair = make_tokenizer(), make_pair(1, chosen=CHOSEN, rejected=REJECTED)
    trainer = trainer_of(pair, tiny_model, tokenizer, tmp_path / "out")
    model, tokens = AutoModelForCausalLM.from_pretrained(tiny_model), encode_pair(pair, tokenizer)
    for name, completion in [("ref_chosen_logps", tokens.chosen), ("ref_rejected_logps", tokens.rejected)]:
        with torch.no_grad():
            logits = model(torch.tensor([tokens.prompt + completion])).logits[0].log_softmax(-1)
        expected = sum(logits[len(tokens.prompt) - 1 + place, id_].item() for place, id_ in enumerate(completion))
        assert math.isclose(trainer.train_dataset[0][name], expected, rel_tol=1e-4)


NEED_NOT_THINK = CHATML.replace(
    "assistant\n{% endif %}", "assistant\n{% if not (enable_thinking | default(true)) %}<think></think>{% endif %}{% endif %}"
)


@pytest.mark.parametrize("trainer", [DPO(DPOTraining()), SFT(SFTTraining())], ids=["DPO", "SFT"])
def test_prompts_are_trained_with_the_thinking_that_synthesis_asked_for(
    tmp_path: Path, make_tokenizer: MakeTokenizer, make_pair: MakePair, trainer: Offline[Any, Any]
) -> None:
    tokenizer, pair = make_tokenizer(NEED_NOT_THINK), make_pair(1)
    settings = Settings.of(trainer.config, trainer.defaults)

    def prompt(thinking: Thinking, role: str = "solver") -> str:
        asked = Job([pair.model_copy(update={"role": role})], "start", tmp_path / "out", trainer.config, 1, None, thinking)
        text: str = tokenizer.decode(trainer.choose(asked, tokenizer, settings).train[0].prompt)
        return text

    roles = {Role.SOLVER: RoleThinking(enabled=False)}
    assert [prompt(thinking) for thinking in (Thinking(), Thinking(enabled=False), Thinking(roles=roles))] == [
        QUESTION,
        QUESTION + "<think></think>",
        QUESTION + "<think></think>",
    ]
    assert prompt(Thinking(roles=roles), "proposer") == QUESTION


def test_an_ordinary_template_gives_the_tokens_that_trl_would_make(
    make_tokenizer: MakeTokenizer, make_pair: MakePair, tmp_path: Path
) -> None:
    tokenizer, pair = make_tokenizer(WITH_BOS), make_pair(1, chosen="It is 2.", rejected=REJECTED, system="Add.")
    messages = {key: [m.model_dump() for m in getattr(pair, key)] for key in ("prompt", "chosen", "rejected")}
    trainer = DPOTrainer.__new__(DPOTrainer)
    trainer._tokenizer = tokenizer
    config = Settings.of(DPOTraining(dpo={"max_length": None}), DPO.defaults).trl_config(tmp_path, 1, 100)
    with quiet_libraries():
        (row,) = trainer._prepare_dataset(Dataset.from_list([messages]), tokenizer, config, "train")
    assert {key: row[key] for key in ("prompt_ids", "chosen_ids", "rejected_ids")} == encode_pair(pair, tokenizer).as_row()


def merging_tokenizer(merges: list[tuple[str, str]], spaced: bool) -> Any:
    """A tokenizer of letters that merges `merges`; `spaced` puts a space before every text, as Llama's first ones did."""
    letters = sorted({*"abcdefghijklmnopqrstuvwxyz<|>/_[]=?.1AWhtNI,", "▁", "\n"})
    vocabulary = {token: number for number, token in enumerate(["<end>", *letters, *("".join(pair) for pair in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if spaced else "never", split=False)
    backend.decoder = decoders.Metaspace(prepend_scheme="always" if spaced else "never")
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}\n{% endfor %}"
    return tokenizer


def test_the_prompt_keeps_its_tokens_where_an_answer_would_merge_into_it(make_pair: MakePair) -> None:
    tokenizer = merging_tokenizer([("\n", "\n")], spaced=False)
    pair = make_pair(1, chosen="\nit is", rejected="no")
    tokens = encode_pair(pair, tokenizer)
    assert tokens.prompt == tokenizer(render_prompt(tokenizer, pair.prompt), add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(tokens.chosen) == "\nit is<end>"
    assert tokenizer.convert_ids_to_tokens(tokens.prompt[-1:] + tokens.chosen[:1]) == ["\n", "\n"]


def test_a_tokenizer_that_begins_every_text_with_a_space_adds_none_before_an_answer(make_pair: MakePair) -> None:
    tokenizer = merging_tokenizer([], spaced=True)
    tokens = encode_pair(make_pair(1, chosen="it is", rejected="no"), tokenizer)
    assert tokenizer.convert_ids_to_tokens(tokens.rejected) == ["n", "o", "<end>"]


def trainer_of(pair: PreferencePair, start: str, tokenizer: Any, out: Path) -> PairTrainer:
    """Return a trainer of the one `pair`."""
    trainer, chosen = dpo_trainer([pair], start, out, DPOTraining(held_out_share=0), tokenizer)
    (batch,) = trainer.get_train_dataloader()
    assert batch["input_ids"].shape[1] == chosen.longest
    return trainer
