"""Thoughts of reasoning models, removed from their answers.

Services should return thoughts beside the answer; many leave them in it, and every family of models
marks them in its own way.
"""

import re

_NAME = (
    r"(?:seed:)?(?:think|thinking|thoughts?|reason|reasoning|rationale|reflect|reflection|analysis"
    r"|scratchpad|(?:inner_)?monologue|chain_of_thought|cot|deliberation)"
)
# Marks before and after thoughts; letter case does not matter.
_PAIRS = (
    (rf"<\|?{_NAME}(?:\s[^<>]*)?\|?>", rf"<\|?/\s?{_NAME}\s?\|?>"),
    (rf"\[{_NAME}\]", rf"\[/{_NAME}\]"),  # Magistral
    (rf"◁{_NAME}▷", rf"◁/{_NAME}▷"),  # Kimi
    (rf"<\|(?:begin|start)_(?:of_)?{_NAME}\|>", rf"<\|end_(?:of_)?{_NAME}\|>"),  # Command A
    (r"<\|channel>\s*thought", r"<channel\|>"),  # Gemma 4
    (r"<unused94>(?:thought)?", r"<unused95>"),  # MedGemma
    (r"\bHere is my thought process:", r"\bHere is my response:"),  # Granite
    (r"^[ \t]*Thinking\.\.\.\n", r"\.\.\.done thinking\."),  # Ollama's terminal
)
# Groups `open0` and `close0` are the marks of the first pair, and so on.
_EDGE = re.compile(
    "|".join(
        f"(?P<open{number}>{first})|(?P<close{number}>{last})"
        for number, (first, last) in enumerate(_PAIRS)
    ),
    re.IGNORECASE | re.MULTILINE,
)
# Harmony (gpt-oss): every message stands in a channel, the answer in `final`.
_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)[^\n]{0,200}?<\|message\|>")
_END_OF_MESSAGE = re.compile(r"<\|(?:end|return|start|call|channel)\|>")
# Some servers drop harmony's marks and leave the names of the channels.
_BARE_CHANNEL = re.compile(r"\s*(?:analysis|commentary)(?=[A-Z{])")
_BARE_FINAL = "assistantfinal"
# Marks around the answer itself.
_ANSWER = re.compile(
    r"<(answer|response|output|final|final_answer|solution)>((?:(?!<\1>).)*?)</\1>"
    r"|<\|(?:start|begin)_(?:of_)?(response|solution|answer|box)\|>((?:(?!<\|).)*)"
    r"<\|end_(?:of_)?\3\|>",
    re.IGNORECASE | re.DOTALL,
)
_MARK = re.compile(r"<\|[^<>|\s]+\|?>|<[^<>|\s]+\|>|</?[A-Za-z][\w:-]*/?>|◁/?\w+▷|\[/?[A-Z_]{4,}\]")
_HEADING = re.compile(
    r"\W*(?:my |the )?(?:thinking|thoughts?|thought process|chain of thought|reasoning|analysis)"
    r"(?: process)?\W*[:\n]",
    re.IGNORECASE,
)


def without_thoughts(text: str) -> str:
    """The text outside thoughts; empty if there is nothing else.

    A closing mark alone ends thoughts that began before the text, an opening one alone begins
    thoughts that were cut off. Marks around the answer are removed too.
    """
    text = _outside(_final_channel(text))
    answers = [match[2] or match[4] or "" for match in _ANSWER.finditer(text)]
    return next((answer for answer in reversed(answers) if answer.strip()), text)


def unknown_mark(text: str) -> str:
    """A mark or heading in prose that may begin or end thoughts of an unknown kind; else empty."""
    match = _MARK.search(text) or _HEADING.match(text)
    return match[0].strip() if match else ""


def _final_channel(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if channels:
        final = [match for match in channels if match[1].lower() == "final"]
        return _END_OF_MESSAGE.split(text[final[-1].end() :])[0] if final else ""
    if _BARE_CHANNEL.match(text):
        return text.rpartition(_BARE_FINAL)[2] if _BARE_FINAL in text else ""
    return text


def _outside(text: str) -> str:
    """The text outside pairs of marks, after the last closing mark without an opening one."""
    parts: list[str] = []
    start, depth, outer, outer_kind = 0, 0, "", ""
    for edge in _EDGE.finditer(text):
        group = str(edge.lastgroup)
        opens, kind = group.startswith("open"), group.removeprefix("open").removeprefix("close")
        if depth and kind != outer_kind:
            continue
        if opens and not depth:
            parts.append(text[start : edge.start()])
            outer, outer_kind, depth = edge[0], kind, 1
        elif opens:
            # Thoughts may mention other marks; the same one again is a thought within the thought.
            depth += edge[0] == outer
        elif depth:
            depth, start = depth - 1, edge.end()
        else:
            parts, start = [], edge.end()
    return "".join(parts if depth else [*parts, text[start:]])
