"""A few conversations for when no dataset is available; no adapter was trained on them.

A model's decoder is proven on them, and merged weights and damaged adapters are found with them.
"""

from __future__ import annotations

from modelyard.chatdata.conversation import Conversation, Message
from modelyard.chatdata.template import ChatTokenizer, TemplateRefused

_QUESTIONS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("How many days does a week have?", "A week has seven days, from Monday to Sunday."),
    ("Write one sentence about the sea.", "The sea is wide, and it is never still."),
    ("What is two plus three?", "Two plus three is five."),
    ("Name three colours.", "Red, green and blue are three colours."),
    ("What does a baker do?", "A baker makes bread, rolls and cakes, and sells them."),
    ("Translate 'good morning' into French.", "In French, good morning is bonjour."),
    ("How do I boil an egg?", "Put it into boiling water for eight minutes, then cool it."),
)
BUILT_IN = tuple(
    Conversation((Message("user", question), Message("assistant", answer)), "built in", {})
    for question, answer in _QUESTIONS
)


def built_in_tokens(tokenizer: ChatTokenizer) -> list[list[int]]:
    """Their token ids, as the chat template renders them where it takes them."""
    return [tokenizer.encode(_text(tokenizer, conversation)) for conversation in BUILT_IN]


def _text(tokenizer: ChatTokenizer, conversation: Conversation) -> str:
    try:
        return tokenizer.render(conversation.messages)
    except TemplateRefused:
        return "\n".join(message.content for message in conversation.messages)
