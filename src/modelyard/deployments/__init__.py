"""What is live in each environment: plans, revisions, profile switches and effective configs.

Owns the revisions of an environment in state.db, the deployed files, and the plan of every change.
Does not know how a model is called or an index is searched.
"""
