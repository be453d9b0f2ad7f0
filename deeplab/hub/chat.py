"""Conversations as prompts, by the template of a folder."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from deeplab.core.errors import UserError
from deeplab.hub.folder import find

Message = Mapping[str, str]
"""{"role": "user", "content": "Hello"}; roles are those of the template, usually system, user and assistant."""


class Template(NamedTuple):
    """How a model writes a conversation.

    Attributes:
      source: Template in the language of Jinja.
      special: Special tokens by their names there, such as {"eos_token": "</s>"}.
      ends: Tokens that end an answer.
    """

    source: str
    special: Mapping[str, str]
    ends: tuple[int, ...]

    def __call__(self, messages: Sequence[Message]) -> str:
        """The prompt that asks for the next answer.

        Raises:
          UserError: Jinja is not installed, or the template refuses the messages.
        """
        try:
            from jinja2 import TemplateError
            from jinja2.ext import Extension, loopcontrols
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError as error:
            raise UserError("a chat template is written for Jinja; pip install jinja2") from error

        class Answers(Extension):
            """{% generation %} ... {% endgeneration %} around what a model has said, which is written as it is."""

            tags: ClassVar[set[str]] = {"generation"}

            def parse(self, parser: Any) -> Any:
                next(parser.stream)
                return parser.parse_statements(("name:endgeneration",), drop_needle=True)

        extensions = (Answers, loopcontrols)
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=extensions)
        environment.filters["tojson"] = lambda x, **options: json.dumps(x, ensure_ascii=False, **options)

        def refuse(message: str) -> None:
            raise TemplateError(message)

        today = {"strftime_now": lambda form: datetime.datetime.now().strftime(form)}
        given = {"messages": messages, "add_generation_prompt": True, "raise_exception": refuse, **today}
        given |= {"tools": None, "documents": None}  # which templates ask for, and transformers gives
        try:
            return environment.from_string(self.source).render(**self.special, **given)
        except TemplateError as error:
            raise UserError(f"the chat template refuses the messages: {error}") from error


def chat_template(source: str | Path) -> Template:
    """The chat template of a folder.

    Args:
      source: As in `load`.

    Raises:
      UserError: The folder has none.

    Example:
      >>> import json, pathlib, tempfile
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> told = {"chat_template": "{% for m in messages %}{{ m.content }}{% endfor %}"}
      >>> _ = (folder / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
      >>> template = chat_template(folder)
    """
    folder = find(source)
    said, config, ending = (_json(folder / f"{n}.json") for n in ("tokenizer_config", "config", "generation_config"))
    file = folder / "chat_template.jinja"
    written = file.read_text(encoding="utf-8") if file.exists() else said.get("chat_template")
    if isinstance(written, list):  # several by name
        written = next((one["template"] for one in written if one["name"] == "default"), None)
    if not written:
        raise UserError(f"{folder} has no chat template (chat_template.jinja); it is no model of conversations")
    special = {name: _content(value) for name, value in said.items() if name.endswith("_token") and value}
    ends = ending.get("eos_token_id", config.get("eos_token_id")) or ()
    return Template(written, special, (ends,) if isinstance(ends, int) else tuple(ends))


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, Mapping) else token


def _json(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
