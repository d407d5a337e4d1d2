"""The Hugging Face hub as a service: its cache, whether it may be asked, why it refused.

Does not know what is fetched from it.
"""
