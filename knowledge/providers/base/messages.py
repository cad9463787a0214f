"""The messages of the chat protocol that put a question to a model."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

from knowledge.providers.base.provider import Question


def without_system(question: Question) -> Question:
    """The question with its system text at the head of the task."""
    if not question.system:
        return question
    return replace(question, system="", task=f"{question.system}\n\n{question.task}")


def messages_of(question: Question, output: str) -> list[dict[str, Any]]:
    """The messages: system, question with pictures, earlier answers with complaints."""
    text = question.task
    if output != "plain" and question.format_hint:
        text = f"{text}\n\n{question.format_hint}"
    content: Any = text
    if question.images:
        content = [{"type": "text", "text": text}]
        content += [
            {"type": "image_url", "image_url": {"url": _data_url(path)}} for path in question.images
        ]
    messages = [{"role": "system", "content": question.system}] if question.system else []
    messages.append({"role": "user", "content": content})
    for turn in question.turns:
        again = f"That answer cannot be used: {turn.complaint}. Answer the question again."
        messages.append({"role": "assistant", "content": turn.answer or "(empty)"})
        messages.append({"role": "user", "content": again})
    return messages


def _data_url(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
