"""Fine-tuning at a provider: rows are sent, a job is followed, its model becomes a draft config.

Owns the plan of a job, its record in the experiment, and the calls of the fine-tuning API. It does
not know torch, how a model is asked, or who shows it.
"""
