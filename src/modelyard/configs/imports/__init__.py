"""Settings of axolotl, LLaMA-Factory and TRL, translated into a fine-tuning config.

Knows what the keys of those programs mean. Does not know how anything is trained, and runs nothing
of theirs.
"""
