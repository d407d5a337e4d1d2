"""Conversations: reading what people have, checking it, turning it into tokens and masks.

Knows file formats, chat templates, tokenizers, splits and duplicates. Does not know models,
training or adapters, and never imports torch.
"""
