"""Language model services of the command line: provider, prices, headers, cache."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import platformdirs

from knowledge.common.suggest import unknown
from knowledge.providers.base.answer_store import AnswerCache
from knowledge.providers.base.provider import OUTPUTS, Provider, ProviderOptions
from knowledge.providers.base.usage import Price, PriceTable, Usage
from knowledge.questions.template import Template
from pipeline.config.registry import load_choice
from pipeline.files import shipped


@dataclass(frozen=True)
class PriceQuote:
    """The price of a model, None if no table lists it, and the source of the price."""

    price: Price | None
    source: str

    def of(self, usage: Usage) -> str:
        """The cost of a usage in words."""
        return "cost unknown" if self.price is None else f"${self.price.of(usage):.4f}"

    def __str__(self) -> str:
        if self.price is None:
            return f"price unknown: {self.source}"
        return (
            f"price: ${self.price.input_usd:g} per million input tokens and "
            f"${self.price.output_usd:g} per million output tokens, by {self.source}"
        )


def service(
    model: str,
    base_url: str | None,
    key_env: str,
    header: list[str] | None,
    query: list[str] | None,
    *,
    output: str = "auto",
    **options: Any,
) -> ProviderOptions:
    """Options of a provider; `options` are further fields of `ProviderOptions`.

    Raises:
        LookupError: no such form of output.
        ValueError: a header or a part of the address that is not NAME=VALUE.
    """
    if output not in (known := ("auto", *OUTPUTS)):
        raise LookupError(unknown("output", output, known))
    return ProviderOptions(
        model=model,
        base_url=base_url,
        key_env=key_env,
        headers=headers(header or []),
        query=pairs("--query", query or []),
        output=output,
        **options,
    )


def answer_cache(chosen: Path | None) -> AnswerCache:
    """The answer cache of a folder, else of the user's cache folder."""
    return AnswerCache(chosen or Path(platformdirs.user_cache_dir("tak-seg")) / "answers")


def make_provider(
    name: str,
    template: Template,
    options: ProviderOptions,
    answers: Path | None,
    cache: Path | None,
) -> Provider:
    """The named provider; `recorded` without a store uses the shipped one, of a model if named."""
    if name == "recorded" and answers is None:
        answers = shipped.recorded_answers(template.name, options.model)
    memory = answer_cache(cache).folder / "servers.json"
    kind = load_choice("knowledge.providers", name, Provider)
    return kind.from_options(replace(options, answers=answers, memory=memory))


def quote_of(model: str, table: Path | None) -> PriceQuote:
    """The price of a model by the given table, else by the shipped one."""
    path = table or shipped.find_in("data", "prices", "usd.toml")
    prices = PriceTable.read(path)
    price = prices.get(model)
    if price is None:
        return PriceQuote(None, f"{path} of {prices.date} does not list {model!r} (--prices)")
    note = "" if table else " (an example: check it, and give your own with --prices)"
    return PriceQuote(price, f'{path}, [models."{model}"] of {prices.date}{note}')


def pairs(option: str, texts: list[str]) -> dict[str, str]:
    """`name=value` texts as a dictionary; ValueError for a text without a name."""
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            # A header without a name may be a key.
            shown = "" if option == "--header" else f" {text}"
            raise ValueError(f"{option}{shown}: write name=value")
        result[name.strip()] = value
    return result


def headers(texts: list[str]) -> dict[str, str]:
    """`NAME=VALUE` as HTTP headers; `env:VARIABLE` is read from the environment."""
    return from_environment(pairs("--header", texts))


def from_environment(given: dict[str, str]) -> dict[str, str]:
    """Values with `env:VARIABLE` replaced; ValueError for an unset or an invalid one."""
    result = {}
    for name, value in given.items():
        if value.startswith("env:"):
            variable = value.removeprefix("env:")
            if not os.environ.get(variable):
                raise ValueError(f"header {name}: the environment has no {variable}")
            value = os.environ[variable]
        result[name] = value.strip()
        if not (f"{name}{value}".isascii() and result[name].isprintable()):
            raise ValueError(f"header {name}: contains characters that are invalid in a header")
    return result
