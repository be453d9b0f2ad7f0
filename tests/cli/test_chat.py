"""`deeplab chat`: the conversation as the folder's template writes it, answered token by token."""

import io
import json
import os

import jax
import jax.numpy as jnp
import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from deeplab import hub
from deeplab.cli import index
from deeplab.core.errors import UserError
from deeplab.decode.generate import generate
from deeplab.hub.chat import Template

SMOLLM2 = os.environ.get("DEEPLAB_SMOLLM2", "")
CONFIG = {
    "model_type": "llama", "vocab_size": 8, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "eos_token_id": 7,
}  # fmt: skip
WORDS = {"<s>": 0, "user": 1, "assistant": 2, "hello": 3, "there": 4, "you": 5, "system": 6, "</s>": 7}
TEMPLATE = """{{ bos_token }}
{%- for message in messages %}
 {{ message['role'] }} {{ message['content'] }} {{ eos_token }}
{%- endfor %}
{%- if add_generation_prompt %}
 assistant
{%- endif %}"""


@pytest.fixture
def folder(tmp_path):
    model = hub.family_of(CONFIG).model(CONFIG)
    params = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 1), jnp.int32))["params"]
    hub.save(tmp_path, jax.tree.map(lambda x: 4 * x, params), CONFIG)
    made = tokenizers.Tokenizer(models.WordLevel(WORDS, "<s>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.save(str(tmp_path / "tokenizer.json"))
    said = {"bos_token": {"content": "<s>"}, "eos_token": "</s>", "chat_template": TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    return tmp_path


def answer(folder, prompt, num_tokens):
    loaded = hub.load(folder)
    tokens = jnp.array([[WORDS[word] for word in prompt.split()]])
    found = generate(loaded.model, {"params": loaded.params}, tokens, num_tokens, jax.random.key(0), temperature=0.0)
    ids = found[0].tolist()
    return loaded.tokenizer.decode(ids[: ids.index(7)] if 7 in ids else ids)


def test_each_message_is_answered_in_its_conversation(folder, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("hello there\n\nyou\n"))
    found = index.run(["chat", str(folder), "--num-tokens", "5", "--system", "there"])["messages"]
    first = "<s> system there </s> user hello there </s>"
    one = answer(folder, f"{first} assistant", 5)
    two = answer(folder, " ".join(f"{first} assistant {one} </s> user you </s> assistant".split()), 5)
    assert [message["content"] for message in found] == ["there", "hello there", one, "you", two]
    assert capsys.readouterr().out == f"{one}\n{two}\n"


def test_what_a_folder_lacks_is_said(folder):
    with pytest.raises(UserError, match="the chat template refuses the messages: 'nothing' is undefined"):
        hub.chat_template(folder)._replace(source="{{ nothing.at_all }}")([])
    with pytest.raises(UserError, match="refuses the messages: roles must alternate"):
        hub.chat_template(folder)._replace(source="{{ raise_exception('roles must alternate') }}")([])
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match=r"has no chat template \(chat_template.jinja\)"):
        index.run(["chat", str(folder), "--message", "hello"])


@pytest.mark.skipif(not SMOLLM2, reason="DEEPLAB_SMOLLM2 names no folder of SmolLM2-135M-Instruct")
def test_smollm2_knows_the_capital_of_france(capsys):
    question = "What is the capital of France?"
    found = index.run(["chat", SMOLLM2, "--message", question, "--num-tokens", "12"])["messages"]
    assert found[-1]["content"] == "The capital of France is Paris."
    assert capsys.readouterr().out == "The capital of France is Paris.\n"
    theirs = pytest.importorskip("transformers").AutoTokenizer.from_pretrained(SMOLLM2)
    messages = [*found, {"role": "user", "content": "And of Italy?"}]
    expected = theirs.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert hub.chat_template(SMOLLM2)(messages) == expected


def test_templates_are_read_as_in_transformers():
    """Which gives them no tools, rather than nothing of tools, and two more kinds of blocks."""
    source = (
        "{% if tools is not none %}tools {% endif %}{% for m in messages %}"
        "{% if loop.index > 1 %}{% break %}{% endif %}"
        "{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}"
    )
    template = Template(source, {}, ())
    messages = [{"role": "user", "content": one} for one in ("hello", "there")]
    assert template(messages) == "hello"
