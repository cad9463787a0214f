"""From organ names to labeled text vectors: questions, models, descriptions, checks, banks.

Never imports `segmentation` or `pipeline`. The names exported here are the public API; see
`docs/python-api.md`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from knowledge.asking.describe import describe as describe
    from knowledge.bank.bank import Bank as Bank
    from knowledge.bank.encoding import encode as encode
    from knowledge.descriptions import DescriptionSet as DescriptionSet
    from knowledge.encoders.base.encoder import TextEncoder as TextEncoder
    from knowledge.providers.base.provider import Provider as Provider
    from knowledge.questions.template import Template as Template

_HOMES = {
    "Bank": "knowledge.bank.bank",
    "DescriptionSet": "knowledge.descriptions",
    "Provider": "knowledge.providers.base.provider",
    "Template": "knowledge.questions.template",
    "TextEncoder": "knowledge.encoders.base.encoder",
    "describe": "knowledge.asking.describe",
    "encode": "knowledge.bank.encoding",
}
__all__ = ["Bank", "DescriptionSet", "Provider", "Template", "TextEncoder", "describe", "encode"]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use; importing the package stays cheap."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
