"""What reasoning models write before their answer, taken out of it.

Services should hand thoughts over beside the answer; many leave them in, each in marks of its own.
"""

import re

_TAGS = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "seed:think")
# Opening and closing mark, as the models write them; upper and lower case alike.
MARKS = (
    *((f"<{tag}>", f"</{tag}>") for tag in _TAGS),
    ("[THINK]", "[/THINK]"),  # Magistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Command A
)
# Harmony (gpt-oss): every message stands in a channel, the answer in `final`.
_CHANNEL = re.compile(r"<\|channel\|>\s*([a-z]+)[^<]*<\|message\|>", re.IGNORECASE)
_END_OF_MESSAGE = re.compile(r"<\|(?:end|return|start|call)\|>")


def without_thoughts(text: str) -> str:
    """The text outside thoughts; empty if there is nothing else.

    A closing mark alone ends thoughts that began before the text, an opening one alone begins
    thoughts that were cut off.
    """
    text = _final_channel(text)
    for opening, closing in MARKS:
        first, last = re.escape(opening), re.escape(closing)
        text = re.sub(f"{first}(?:(?!{first}).)*?{last}", "", text, flags=re.DOTALL | re.IGNORECASE)
        text = re.split(last, text, flags=re.IGNORECASE)[-1]
        text = re.split(first, text, flags=re.IGNORECASE)[0]
    return text


def _final_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    final = [match for match in channels if match[1].lower() == "final"]
    return _END_OF_MESSAGE.split(text[final[-1].end() :])[0] if final else ""
